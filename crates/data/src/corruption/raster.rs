//! The colour samples of an image with 8 bits, and the way back to 8 bits.

use crate::Image;
use std::borrow::Cow;

/// The 1 or 3 channels of an image that corruptions change.
pub(super) struct Raster<'a> {
    pub width: usize,
    pub height: usize,
    /// 1 or 3.
    pub channels: usize,
    /// `H x W x C`, interleaved.
    pub data: Cow<'a, [u8]>,
}

impl<'a> Raster<'a> {
    /// The colour of an image that can be corrupted ([`super::Corruption::check`]), deeper samples rounded to 8 bits.
    pub fn of(image: &'a Image) -> Self {
        let (width, height, samples) = (image.width(), image.height(), image.eight_bits());
        let (channels, data) = match image.channels() {
            4 => (3, samples.as_chunks::<4>().0.iter().flat_map(|p| [p[0], p[1], p[2]]).collect()),
            channels => (channels, samples),
        };
        Self { width, height, channels, data }
    }

    /// The samples of `image` with its colour replaced; a fourth channel is kept, with 8 bits.
    pub fn restore(&self, image: &Image, colour: Vec<u8>) -> Vec<u8> {
        if image.channels() != 4 {
            return colour;
        }
        let old = image.eight_bits();
        let pairs = colour.as_chunks::<3>().0.iter().zip(old.as_chunks::<4>().0);
        pairs.flat_map(|(new, old)| [new[0], new[1], new[2], old[3]]).collect()
    }

    /// All samples divided by 255.
    pub fn unit(&self) -> Vec<f64> {
        self.data.iter().map(|&v| f64::from(v) / 255.0).collect()
    }

    /// All samples divided by 255, rounded to single precision.
    pub fn unit_f32(&self) -> Vec<f32> {
        self.data.iter().map(|&v| (f64::from(v) / 255.0) as f32).collect()
    }

    /// Values `f(x)` of each sample, brought back to 8 bits.
    pub fn map(&self, f: impl Fn(f64) -> f64) -> Vec<u8> {
        let table: [u8; 256] = std::array::from_fn(|i| byte(f(i as f64 / 255.0)));
        self.data.iter().map(|&v| table[usize::from(v)]).collect()
    }
}

/// A value of `[0, 1]` as 8 bits: clipped, times 255, truncated.
pub(super) fn byte(x: f64) -> u8 {
    (x.clamp(0.0, 1.0) * 255.0) as u8
}

/// [`byte`] in single precision.
pub(super) fn byte_f32(x: f32) -> u8 {
    (x.clamp(0.0, 1.0) * 255.0) as u8
}
