//! An image in memory: interleaved samples with their bit depth kept.

use crate::DataError;
use std::borrow::Cow;

/// The samples of an [`Image`], row by row, channels interleaved (`H x W x C`).
#[derive(Debug, Clone, PartialEq)]
pub enum Samples {
    /// 8 bits a sample, white is 255.
    U8(Vec<u8>),
    /// 16 bits a sample, white is 65535.
    U16(Vec<u16>),
    /// Floating point, white is 1.
    F32(Vec<f32>),
}

impl Samples {
    /// The number of samples (`H * W * C`).
    pub fn len(&self) -> usize {
        match self {
            Self::U8(v) => v.len(),
            Self::U16(v) => v.len(),
            Self::F32(v) => v.len(),
        }
    }

    /// True when there is no sample.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bits of one sample: 8, 16 or 32.
    pub fn bits(&self) -> usize {
        match self {
            Self::U8(_) => 8,
            Self::U16(_) => 16,
            Self::F32(_) => 32,
        }
    }

    /// Sample `i` in `[0, 1]` (a float sample is given as it is).
    #[inline]
    pub fn unit(&self, i: usize) -> f32 {
        match self {
            Self::U8(v) => f32::from(v[i]) / 255.0,
            Self::U16(v) => f32::from(v[i]) / 65535.0,
            Self::F32(v) => v[i],
        }
    }
}

/// A decoded image of 1 (grey), 3 (RGB) or 4 (RGB and a fourth band, alpha or thermal) channels; never empty.
///
/// The fourth band is data: nothing here premultiplies by it.
#[derive(Debug, Clone, PartialEq)]
pub struct Image {
    width: usize,
    height: usize,
    channels: usize,
    samples: Samples,
}

/// Weights of red, green and blue in the grey value (ITU-R BT.601 luma).
pub const LUMA: [f32; 3] = [0.299, 0.587, 0.114];

impl Image {
    /// An image from its samples; an error when a side is zero, the channel count is not 1, 3 or 4, or the number of
    /// samples is not `height * width * channels`. `name` stands in the error.
    pub fn new(name: &str, width: usize, height: usize, channels: usize, samples: Samples) -> Result<Self, DataError> {
        if width == 0 || height == 0 {
            return Err(DataError::image(name, format!("it is empty ({width}x{height} pixels)")));
        }
        if !matches!(channels, 1 | 3 | 4) {
            return Err(DataError::image(name, format!("{channels} channels (1, 3 and 4 are supported)")));
        }
        let expected = width.checked_mul(height).and_then(|n| n.checked_mul(channels));
        if expected != Some(samples.len()) {
            let reason = format!("{} samples for {width}x{height}x{channels}", samples.len());
            return Err(DataError::image(name, reason));
        }
        Ok(Self { width, height, channels, samples })
    }

    /// For callers that keep the invariant themselves.
    pub(crate) fn from_parts(width: usize, height: usize, channels: usize, samples: Samples) -> Self {
        debug_assert!(width > 0 && height > 0 && samples.len() == width * height * channels);
        Self { width, height, channels, samples }
    }

    /// Width in pixels.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Height in pixels.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Channel count: 1, 3 or 4.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// The samples, `H x W x C`.
    pub fn samples(&self) -> &Samples {
        &self.samples
    }

    pub(crate) fn samples_mut(&mut self) -> &mut Samples {
        &mut self.samples
    }

    /// Bytes held by the samples.
    pub fn bytes(&self) -> usize {
        self.samples.len() * self.samples.bits() / 8
    }

    /// True when [`Self::write_planes`] can give `channels`: 1 from 1, 3 and 4; 3 from 1, 3 and 4; 4 from 4 only.
    pub fn converts_to(&self, channels: usize) -> bool {
        matches!((self.channels, channels), (1 | 3 | 4, 1 | 3) | (4, 4))
    }

    /// The samples with 8 bits, `H x W x C`: deeper ones rounded, floating-point ones brought into `[0, 1]` first.
    pub fn eight_bits(&self) -> Cow<'_, [u8]> {
        match &self.samples {
            Samples::U8(v) => Cow::Borrowed(v),
            Samples::U16(v) => v.iter().map(|&x| ((u32::from(x) + 128) / 257) as u8).collect(),
            Samples::F32(v) => v.iter().map(|&x| (x * 255.0).round().clamp(0.0, 255.0) as u8).collect(),
        }
    }

    /// The image as a picture to look at: `H x W x 3` values of 8 bits ([`Self::eight_bits`]), grey in all three
    /// channels, a fourth band left out.
    pub fn to_rgb8(&self) -> Vec<u8> {
        let pixel = |p: &[u8]| if self.channels == 1 { [p[0]; 3] } else { [p[0], p[1], p[2]] };
        self.eight_bits().chunks_exact(self.channels).flat_map(pixel).collect()
    }

    /// The image with the samples of another one-channel image of 8 bits and of its size as the fourth channel, itself
    /// of 8 bits; `None` where that does not fit.
    pub(crate) fn with_fourth_band(&self, band: &Self) -> Option<Self> {
        let fits = self.channels == 4 && band.channels == 1 && (self.width, self.height) == (band.width, band.height);
        let (Samples::U8(own), Samples::U8(band)) = (&self.samples, &band.samples) else { return None };
        let pixels = own.as_chunks::<4>().0.iter().zip(band);
        let samples = pixels.flat_map(|(pixel, band)| [pixel[0], pixel[1], pixel[2], *band]).collect();
        fits.then(|| Self::from_parts(self.width, self.height, 4, Samples::U8(samples)))
    }

    /// The fourth channel as an image of one; `None` of an image without it.
    pub fn fourth_band(&self) -> Option<Self> {
        fn fourth<T: Copy>(v: &[T]) -> Vec<T> {
            v.as_chunks::<4>().0.iter().map(|pixel| pixel[3]).collect()
        }
        if self.channels != 4 {
            return None;
        }
        let samples = match &self.samples {
            Samples::U8(v) => Samples::U8(fourth(v)),
            Samples::U16(v) => Samples::U16(fourth(v)),
            Samples::F32(v) => Samples::F32(fourth(v)),
        };
        Some(Self::from_parts(self.width, self.height, 1, samples))
    }

    /// Writes the image as `channels` planes (`C x H x W`) of values in `[0, 1]`.
    ///
    /// Grey becomes RGB by replication, RGB becomes grey by luma ([`LUMA`]), a fourth band is dropped unless 4
    /// channels are wanted. `out` holds `channels * height * width` values. The error names `name`.
    pub fn write_planes(&self, name: &str, channels: usize, out: &mut [f32]) -> Result<(), DataError> {
        if !self.converts_to(channels) {
            return Err(DataError::Channels { path: name.to_string(), found: self.channels, wanted: channels });
        }
        match &self.samples {
            Samples::U8(v) => {
                let table: [f32; 256] = std::array::from_fn(|i| i as f32 / 255.0);
                planes(v, self.channels, channels, out, |x| table[usize::from(x)]);
            }
            Samples::U16(v) => planes(v, self.channels, channels, out, |x| f32::from(x) / 65535.0),
            Samples::F32(v) => planes(v, self.channels, channels, out, |x| x),
        }
        Ok(())
    }
}

/// De-interleaves `from`-channel pixels into `to` planes through `unit`.
fn planes<T: Copy>(pixels: &[T], from: usize, to: usize, out: &mut [f32], unit: impl Fn(T) -> f32) {
    let area = pixels.len() / from;
    if to == 1 && from >= 3 {
        for (value, pixel) in out.iter_mut().zip(pixels.chunks_exact(from)) {
            *value = LUMA[0] * unit(pixel[0]) + LUMA[1] * unit(pixel[1]) + LUMA[2] * unit(pixel[2]);
        }
        return;
    }
    for (channel, plane) in out.chunks_exact_mut(area).take(to).enumerate() {
        let source = if from == 1 { 0 } else { channel };
        for (value, pixel) in plane.iter_mut().zip(pixels.chunks_exact(from)) {
            *value = unit(pixel[source]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planes_of(image: &Image, channels: usize) -> Vec<f32> {
        let mut out = vec![-1.0; channels * image.width() * image.height()];
        image.write_planes("x", channels, &mut out).unwrap();
        out
    }

    #[test]
    fn channels_convert_as_stated() {
        let rgb = Image::new("x", 2, 1, 3, Samples::U8(vec![255, 0, 0, 10, 20, 30])).unwrap();
        assert_eq!(planes_of(&rgb, 3), [1.0, 10.0 / 255.0, 0.0, 20.0 / 255.0, 0.0, 30.0 / 255.0]);
        let grey = planes_of(&rgb, 1);
        assert!((grey[0] - 0.299).abs() < 1e-6);
        assert!((grey[1] - (2.99 + 11.74 + 3.42) / 255.0).abs() < 1e-6);
        let one = Image::new("x", 1, 1, 1, Samples::U16(vec![65535])).unwrap();
        assert_eq!(planes_of(&one, 3), [1.0, 1.0, 1.0]);
        let four = Image::new("x", 1, 1, 4, Samples::F32(vec![0.1, 0.2, 0.3, 0.9])).unwrap();
        assert_eq!(planes_of(&four, 4), [0.1, 0.2, 0.3, 0.9]);
        assert_eq!(planes_of(&four, 3), [0.1, 0.2, 0.3]);
        let error = rgb.write_planes("a.png", 4, &mut [0.0; 8]).unwrap_err().to_string();
        assert!(error.contains("a.png") && error.contains("3 channels"), "{error}");
    }

    #[test]
    fn pictures_have_three_channels_of_8_bits() {
        let grey = Image::new("x", 2, 1, 1, Samples::U16(vec![0x0100, 65535])).unwrap();
        assert_eq!(grey.to_rgb8(), [1, 1, 1, 255, 255, 255]);
        let four = Image::new("x", 1, 1, 4, Samples::F32(vec![0.1, 1.5, 0.5, 0.9])).unwrap();
        assert_eq!(four.to_rgb8(), [26, 255, 128]);
        assert_eq!((four.eight_bits().to_vec(), grey.eight_bits().to_vec()), (vec![26, 255, 128, 230], vec![1, 255]));
        assert_eq!(four.fourth_band().unwrap().samples(), &Samples::F32(vec![0.9]));
        assert!(grey.fourth_band().is_none());
        let rgb = Image::new("x", 1, 1, 3, Samples::U8(vec![7, 8, 9])).unwrap();
        assert_eq!(rgb.to_rgb8(), [7, 8, 9]);
    }

    #[test]
    fn impossible_images_are_refused() {
        for (w, h, c, n) in [(0, 1, 1, 0), (1, 0, 3, 0), (1, 1, 2, 2), (2, 2, 3, 11), (usize::MAX, 3, 3, 9)] {
            assert!(Image::new("bad", w, h, c, Samples::U8(vec![0; n])).is_err(), "{w}x{h}x{c} with {n}");
        }
    }
}
