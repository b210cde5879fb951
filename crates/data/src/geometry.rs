//! Where in an image the network looks: decided once for a sample, applied to each of its views.
//!
//! A [`Geometry`] is a window in relative coordinates (the whole image is 0..1 on both axes) and a mirror bit. Two
//! modalities of one scene therefore share it whatever their sizes. A window may reach beyond the image; what lies
//! outside is black, that is 0 before normalisation, as in the reference training of CIFAR networks (crop of the
//! image padded with zeros).

use crate::DataError;
use crate::config::{Filter, ResizeConfig, ResizeMode};
use crate::image::{Image, Samples};
use fast_image_resize as fir;
use subband_seed::Stream;

/// A window in relative coordinates and whether to mirror it left-right.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Geometry {
    /// Left edge of the window; negative when it begins outside the image.
    pub left: f64,
    /// Top edge of the window.
    pub top: f64,
    /// Width of the window; 1 is the image's width.
    pub width: f64,
    /// Height of the window; 1 is the image's height.
    pub height: f64,
    /// Mirror left-right after cutting.
    pub flip: bool,
}

impl Geometry {
    /// The whole image as it is.
    pub const IDENTITY: Self = Self { left: 0.0, top: 0.0, width: 1.0, height: 1.0, flip: false };

    /// Cuts the window out of `image` and brings it to `size` = `[height, width]`.
    ///
    /// A window on whole pixels of the very size is copied; any other is resampled with an anti-aliasing filter (the
    /// filter's support grows with the reduction, as in Pillow). `name` stands in errors.
    pub fn apply(&self, name: &str, image: &Image, size: [usize; 2], filter: Filter) -> Result<Image, DataError> {
        let (w, h) = (image.width() as f64, image.height() as f64);
        let window = [self.left * w, self.top * h, self.width * w, self.height * h];
        let whole = |x: f64| (x - x.round()).abs() < 1e-6;
        let copied = window.iter().all(|&x| whole(x)) && window[2].round() as usize == size[1];
        let mut out = if copied && window[3].round() as usize == size[0] {
            cut(image, window[0].round() as isize, window[1].round() as isize, size[1], size[0])
        } else {
            resample(name, image, window, size, filter)?
        };
        if self.flip {
            mirror(&mut out);
        }
        Ok(out)
    }
}

/// How the window of each sample is found.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct GeometryPlan {
    /// Height and width of the student's input, to which `padding` refers.
    pub size: [usize; 2],
    /// Without it the images have `size` already.
    pub resize: Option<ResizeConfig>,
    /// Largest shift in pixels of the input.
    pub padding: usize,
    /// Mirror half of the samples.
    pub flip: bool,
}

impl GeometryPlan {
    /// The window for an image of `width` x `height`; `stream` is `None` in evaluation, which draws nothing.
    pub fn decide(&self, width: usize, height: usize, stream: Option<Stream>) -> Geometry {
        let mut geometry = match (&self.resize, stream) {
            (Some(r), Some(s)) if r.mode == ResizeMode::Random => random_window(r, width, height, s.with("window")),
            (Some(r), _) if r.mode != ResizeMode::Squash => centre_window(r, width, height),
            _ => Geometry::IDENTITY,
        };
        let Some(stream) = stream else { return geometry };
        if self.padding > 0 {
            let mut draw = stream.with("shift");
            let mut shift = |side: usize| (draw.below(2 * self.padding + 1) as f64 - self.padding as f64) / side as f64;
            geometry.top += shift(self.size[0]) * geometry.height;
            geometry.left += shift(self.size[1]) * geometry.width;
        }
        geometry.flip = self.flip && stream.with("flip").chance(0.5);
        geometry
    }
}

/// The shorter side scaled to `shorter`, then the central square of `size`.
///
/// The scaled longer side is `trunc(shorter * long / short)` and the offset `(side - size) / 2` is rounded half to
/// even, which are torchvision's rules.
fn centre_window(resize: &ResizeConfig, width: usize, height: usize) -> Geometry {
    let (size, shorter) = (resize.size as f64, resize.shorter() as f64);
    let short = width.min(height) as f64;
    let axis = |side: usize| {
        let scaled = if side as f64 == short { shorter } else { (shorter * side as f64 / short).trunc() };
        (((scaled - size) / 2.0).round_ties_even() / scaled, size / scaled)
    };
    let ((left, w), (top, h)) = (axis(width), axis(height));
    Geometry { left, top, width: w, height: h, flip: false }
}

/// A window of random area and aspect ratio ("Going deeper with convolutions", Szegedy et al. 2015, section 6): ten
/// tries, then the largest central window with an allowed ratio.
fn random_window(resize: &ResizeConfig, width: usize, height: usize, mut stream: Stream) -> Geometry {
    let (w, h) = (width as f64, height as f64);
    for _ in 0..10 {
        let area = w * h * stream.range(resize.scale[0], resize.scale[1]);
        let ratio = stream.range(resize.ratio[0].ln(), resize.ratio[1].ln()).exp();
        let (cw, ch) = ((area * ratio).sqrt().round(), (area / ratio).sqrt().round());
        if cw >= 1.0 && ch >= 1.0 && cw <= w && ch <= h {
            let top = stream.below((h - ch) as usize + 1) as f64;
            let left = stream.below((w - cw) as usize + 1) as f64;
            return Geometry { left: left / w, top: top / h, width: cw / w, height: ch / h, flip: false };
        }
    }
    let (mut cw, mut ch) = (w, h);
    if w / h < resize.ratio[0] {
        ch = (w / resize.ratio[0]).round().clamp(1.0, h);
    } else if w / h > resize.ratio[1] {
        cw = (h * resize.ratio[1]).round().clamp(1.0, w);
    }
    let (left, top) = (((w - cw) / 2.0).floor(), ((h - ch) / 2.0).floor());
    Geometry { left: left / w, top: top / h, width: cw / w, height: ch / h, flip: false }
}

/// The `width` x `height` pixels from (`x`, `y`) on, black outside the image.
fn cut(image: &Image, x: isize, y: isize, width: usize, height: usize) -> Image {
    if x == 0 && y == 0 && width == image.width() && height == image.height() {
        return image.clone();
    }
    let samples = match image.samples() {
        Samples::U8(v) => Samples::U8(cut_samples(v, image, x, y, width, height)),
        Samples::U16(v) => Samples::U16(cut_samples(v, image, x, y, width, height)),
        Samples::F32(v) => Samples::F32(cut_samples(v, image, x, y, width, height)),
    };
    Image::from_parts(width, height, image.channels(), samples)
}

fn cut_samples<T: Copy + Default>(v: &[T], image: &Image, x: isize, y: isize, width: usize, height: usize) -> Vec<T> {
    let (w, h, c) = (image.width() as isize, image.height() as isize, image.channels());
    let mut out = vec![T::default(); width * height * c];
    // Columns of the window that lie in the image.
    let (from, to) = ((-x).clamp(0, width as isize), (w - x).clamp(0, width as isize));
    if from >= to {
        return out;
    }
    for (row, line) in out.chunks_exact_mut(width * c).enumerate() {
        let source = y + row as isize;
        if (0..h).contains(&source) {
            let start = (source * w + x + from) as usize * c;
            let count = (to - from) as usize * c;
            line[from as usize * c..][..count].copy_from_slice(&v[start..start + count]);
        }
    }
    out
}

/// Mirrors left-right in place.
fn mirror(image: &mut Image) {
    fn turn<T>(v: &mut [T], width: usize, channels: usize) {
        for row in v.chunks_exact_mut(width * channels) {
            row.reverse();
            row.chunks_exact_mut(channels).for_each(<[T]>::reverse);
        }
    }
    let (width, channels) = (image.width(), image.channels());
    match image.samples_mut() {
        Samples::U8(v) => turn(v, width, channels),
        Samples::U16(v) => turn(v, width, channels),
        Samples::F32(v) => turn(v, width, channels),
    }
}

/// Resamples `window` = `[left, top, width, height]` in pixels to `size` = `[height, width]`.
fn resample(name: &str, image: &Image, window: [f64; 4], size: [usize; 2], filter: Filter) -> Result<Image, DataError> {
    let fail = |e: &dyn std::fmt::Display| DataError::image(name, format!("cannot be resized: {e}"));
    let [mut left, mut top, width, height] = window;
    // The resampler's window must lie inside, so what reaches beyond is padded with black first.
    let beyond = |low: f64, extent: f64, side: usize| {
        let before = (-low).max(0.0).ceil() as usize;
        let after = (low + extent - side as f64 - 1e-9).max(0.0).ceil() as usize;
        (before, before + side + after)
    };
    let (pad_x, full_w) = beyond(left, width, image.width());
    let (pad_y, full_h) = beyond(top, height, image.height());
    let padded = cut(image, -(pad_x as isize), -(pad_y as isize), full_w, full_h);
    left += pad_x as f64;
    top += pad_y as f64;

    let filter = match filter {
        Filter::Bilinear => fir::FilterType::Bilinear,
        Filter::Bicubic => fir::FilterType::CatmullRom,
    };
    let options = fir::ResizeOptions::new()
        .resize_alg(fir::ResizeAlg::Convolution(filter))
        .crop(left, top, width.min(full_w as f64 - left), height.min(full_h as f64 - top))
        .use_alpha(false);
    let source = to_fir(&padded).map_err(|e| fail(&e))?;
    let mut target = fir::images::Image::new(size[1] as u32, size[0] as u32, pixel_type(image));
    fir::Resizer::new().resize(&source, &mut target, &options).map_err(|e| fail(&e))?;
    Ok(Image::from_parts(size[1], size[0], image.channels(), from_fir(image, target)))
}

fn pixel_type(image: &Image) -> fir::PixelType {
    use fir::PixelType as P;
    match (image.samples(), image.channels()) {
        (Samples::U8(_), 1) => P::U8,
        (Samples::U8(_), 3) => P::U8x3,
        (Samples::U8(_), _) => P::U8x4,
        (Samples::U16(_), 1) => P::U16,
        (Samples::U16(_), 3) => P::U16x3,
        (Samples::U16(_), _) => P::U16x4,
        (Samples::F32(_), 1) => P::F32,
        (Samples::F32(_), 3) => P::F32x3,
        (Samples::F32(_), _) => P::F32x4,
    }
}

fn to_fir(image: &Image) -> Result<fir::images::Image<'static>, fir::ImageBufferError> {
    let (width, height, kind) = (image.width() as u32, image.height() as u32, pixel_type(image));
    let bytes: Vec<u8> = match image.samples() {
        Samples::U8(v) => return fir::images::Image::from_vec_u8(width, height, v.clone(), kind),
        Samples::U16(v) => v.iter().flat_map(|x| x.to_ne_bytes()).collect(),
        Samples::F32(v) => v.iter().flat_map(|x| x.to_ne_bytes()).collect(),
    };
    // A fresh image is aligned for its pixel type, a vector of bytes need not be.
    let mut out = fir::images::Image::new(width, height, kind);
    out.buffer_mut().copy_from_slice(&bytes);
    Ok(out)
}

fn from_fir(like: &Image, image: fir::images::Image) -> Samples {
    match like.samples() {
        Samples::U8(_) => Samples::U8(image.into_vec()),
        Samples::U16(_) => {
            Samples::U16(image.buffer().as_chunks::<2>().0.iter().map(|b| u16::from_ne_bytes(*b)).collect())
        }
        Samples::F32(_) => {
            Samples::F32(image.buffer().as_chunks::<4>().0.iter().map(|b| f32::from_ne_bytes(*b)).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ramp(width: usize, height: usize, channels: usize) -> Image {
        let samples = (0..width * height * channels).map(|i| (i * 37 % 251) as u8 + 1).collect();
        Image::new("ramp", width, height, channels, Samples::U8(samples)).unwrap()
    }

    fn values(image: &Image) -> Vec<f32> {
        (0..image.samples().len()).map(|i| image.samples().unit(i)).collect()
    }

    #[test]
    fn any_shifted_and_mirrored_crop_equals_direct_indexing() {
        let mut stream = Stream::new(11);
        for case in 0..300_u64 {
            let (w, h) = (1 + stream.below(9), 1 + stream.below(9));
            let image = ramp(w, h, [1, 3, 4][stream.below(3)]);
            let plan = GeometryPlan { size: [h, w], resize: None, padding: stream.below(12), flip: true };
            let g = plan.decide(w, h, Some(Stream::new(case)));
            let out = g.apply("x", &image, [h, w], Filter::Bilinear).unwrap();
            let (dx, dy) = ((g.left * w as f64).round() as isize, (g.top * h as f64).round() as isize);
            assert!(dx.unsigned_abs() <= plan.padding && dy.unsigned_abs() <= plan.padding);
            let c = image.channels();
            let (got, source) = (values(&out), values(&image));
            for y in 0..h {
                for x in 0..w {
                    let column = if g.flip { w - 1 - x } else { x };
                    let (sx, sy) = (column as isize + dx, y as isize + dy);
                    let inside = (0..w as isize).contains(&sx) && (0..h as isize).contains(&sy);
                    for k in 0..c {
                        let expected = if inside { source[(sy as usize * w + sx as usize) * c + k] } else { 0.0 };
                        assert_eq!(got[(y * w + x) * c + k], expected);
                    }
                }
            }
        }
    }

    #[test]
    fn shifts_and_mirrors_are_spread_evenly() {
        let plan = GeometryPlan { size: [32, 32], resize: None, padding: 4, flip: true };
        let (mut shifts, mut flips) = ([0; 9], 0);
        for i in 0..9000 {
            let g = plan.decide(32, 32, Some(Stream::new(i)));
            shifts[((g.left * 32.0) + 4.0) as usize] += 1;
            flips += usize::from(g.flip);
        }
        assert!(shifts.iter().all(|&n| (850..1150).contains(&n)), "{shifts:?}");
        assert!((4300..4700).contains(&flips));
        assert_eq!(plan.decide(32, 32, None), Geometry::IDENTITY);
    }

    #[test]
    fn a_second_modality_shares_the_window() {
        // The second view has twice the resolution: pixels in blocks of 2x2 of the first.
        let small = ramp(6, 5, 1);
        let source = values(&small);
        let big: Vec<f32> = (0..10 * 12).map(|i| source[(i / 12 / 2) * 6 + i % 12 / 2]).collect();
        let big = Image::new("big", 12, 10, 1, Samples::F32(big)).unwrap();
        let plan = GeometryPlan { size: [5, 6], resize: None, padding: 3, flip: true };
        for seed in 0..50 {
            let g = plan.decide(6, 5, Some(Stream::new(seed)));
            let a = values(&g.apply("a", &small, [5, 6], Filter::Bilinear).unwrap());
            let b = values(&g.apply("b", &big, [10, 12], Filter::Bilinear).unwrap());
            let blocks = (0..10 * 12).map(|i| a[(i / 12 / 2) * 6 + i % 12 / 2]);
            assert!(blocks.eq(b.iter().copied()), "{g:?}");
        }
    }

    #[test]
    fn centre_window_follows_the_reference_rules() {
        let resize = ResizeConfig { mode: ResizeMode::Random, ..ResizeConfig::square(224) };
        // 500x375: longer side trunc(256 * 500 / 375) = 341; offsets round(58.5) = 58 and 16.
        let g = centre_window(&resize, 500, 375);
        assert!((g.left - 58.0 / 341.0).abs() < 1e-12 && (g.width - 224.0 / 341.0).abs() < 1e-12);
        assert!((g.top - 16.0 / 256.0).abs() < 1e-12 && (g.height - 224.0 / 256.0).abs() < 1e-12);
    }

    #[test]
    fn random_windows_stay_inside_and_keep_their_bounds() {
        let resize = ResizeConfig { mode: ResizeMode::Random, ..ResizeConfig::square(16) };
        for (w, h) in [(64, 64), (500, 375), (3, 90), (90, 3), (1, 1), (2, 1)] {
            for seed in 0..200 {
                let g = random_window(&resize, w, h, Stream::new(seed));
                assert!(g.left >= 0.0 && g.top >= 0.0 && g.width > 0.0 && g.height > 0.0);
                assert!(g.left + g.width <= 1.0 + 1e-9 && g.top + g.height <= 1.0 + 1e-9, "{g:?}");
            }
        }
    }

    #[test]
    fn resampling_keeps_constants_and_depth_and_averages() {
        for samples in [Samples::U8(vec![90; 35]), Samples::U16(vec![30000; 35]), Samples::F32(vec![0.25; 35])] {
            let image = Image::new("c", 7, 5, 1, samples).unwrap();
            for size in [[1, 1], [3, 4], [11, 13]] {
                let out = Geometry::IDENTITY.apply("c", &image, size, Filter::Bicubic).unwrap();
                assert_eq!(
                    (out.height(), out.width(), out.samples().bits()),
                    (size[0], size[1], image.samples().bits())
                );
                assert!(values(&out).iter().all(|v| (v - image.samples().unit(0)).abs() < 1e-5));
            }
        }
        // Bilinear reduction by 2 of [0, 0, 8, 8]: triangle of support 2 about 1.0, weights 3 3 1 (/7).
        let image = Image::new("t", 4, 1, 1, Samples::F32(vec![0.0, 0.0, 8.0, 8.0])).unwrap();
        let out = values(&Geometry::IDENTITY.apply("t", &image, [1, 2], Filter::Bilinear).unwrap());
        assert!((out[0] - 8.0 / 7.0).abs() < 1e-5 && (out[1] - 48.0 / 7.0).abs() < 1e-5, "{out:?}");
    }

    #[test]
    fn resampling_equals_pillow() {
        // See fixtures/make_pillow.py.
        let oracle = include_bytes!("../fixtures/pillow_resize.bin");
        let pixel = |i: usize| (i / 3 % 17, i / 3 / 17, i % 3);
        let picture = (0..17 * 13 * 3).map(pixel).map(|(x, y, c)| ((13 * x + 7 * y + 50 * c + x * y) % 256) as u8);
        let image = Image::new("p", 17, 13, 3, Samples::U8(picture.collect())).unwrap();
        let centre = ResizeConfig { mode: ResizeMode::Center, shorter: Some(10), ..ResizeConfig::square(8) };
        let cases = [
            (Geometry::IDENTITY, [5, 7], Filter::Bilinear, 0),
            (Geometry::IDENTITY, [5, 7], Filter::Bicubic, 105),
            (centre_window(&centre, 17, 13), [8, 8], Filter::Bilinear, 210),
        ];
        for (geometry, size, filter, start) in cases {
            let out = geometry.apply("p", &image, size, filter).unwrap();
            let Samples::U8(found) = out.samples() else { panic!("8 bits") };
            let expected = &oracle[start..start + found.len()];
            assert!(found.iter().zip(expected).all(|(a, b)| a.abs_diff(*b) <= 1), "{found:?} {expected:?}");
        }
    }

    #[test]
    fn one_pixel_images_work() {
        let image = ramp(1, 1, 3);
        let plan = GeometryPlan { size: [1, 1], resize: None, padding: 2, flip: true };
        for seed in 0..20 {
            plan.decide(1, 1, Some(Stream::new(seed))).apply("p", &image, [1, 1], Filter::Bilinear).unwrap();
        }
        let up = Geometry::IDENTITY.apply("p", &image, [4, 4], Filter::Bilinear).unwrap();
        assert!(values(&up).chunks(3).all(|p| p == values(&image)));
    }
}
