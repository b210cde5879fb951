//! Cutting, mirroring and resampling of images.

use crate::DataError;
use crate::config::Filter;
use crate::image::{Image, Samples};
use subband_resample::{Depth, Pixels};

/// The `width` x `height` pixels from (`x`, `y`) on, black outside the image.
pub(super) fn cut(image: &Image, x: isize, y: isize, width: usize, height: usize) -> Image {
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
pub(crate) fn mirror(image: &mut Image) {
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
pub(super) fn resample(
    name: &str,
    image: &Image,
    window: [f64; 4],
    size: [usize; 2],
    filter: Filter,
) -> Result<Image, DataError> {
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
        Filter::Bilinear => subband_resample::Filter::Bilinear,
        Filter::Bicubic => subband_resample::Filter::Bicubic,
    };
    let window = [left, top, width.min(full_w as f64 - left), height.min(full_h as f64 - top)];
    let resampled = to_pixels(&padded).resample(window, size, filter);
    let resampled = resampled.map_err(|error| DataError::image(name, format!("cannot be resized: {error}")))?;
    Ok(Image::from_parts(size[1], size[0], image.channels(), to_samples(resampled)))
}

fn to_pixels(image: &Image) -> Pixels {
    let (depth, bytes) = match image.samples() {
        Samples::U8(v) => (Depth::U8, v.clone()),
        Samples::U16(v) => (Depth::U16, v.iter().flat_map(|x| x.to_ne_bytes()).collect()),
        Samples::F32(v) => (Depth::F32, v.iter().flat_map(|x| x.to_ne_bytes()).collect()),
    };
    Pixels { bytes, size: [image.height(), image.width()], channels: image.channels(), depth }
}

fn to_samples(pixels: Pixels) -> Samples {
    match pixels.depth {
        Depth::U8 => Samples::U8(pixels.bytes),
        Depth::U16 => Samples::U16(pixels.bytes.as_chunks().0.iter().map(|b| u16::from_ne_bytes(*b)).collect()),
        Depth::F32 => Samples::F32(pixels.bytes.as_chunks().0.iter().map(|b| f32::from_ne_bytes(*b)).collect()),
    }
}
