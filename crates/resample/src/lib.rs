//! Resampling of pixels with anti-aliasing filters: the filter's support grows with the reduction, as in Pillow.
//!
//! This is all of `fast_image_resize` that is used. Its code is generated where it is called, for every kind of pixel,
//! precision and instruction set, and that takes a compiler minutes; so it is called here, behind a function that is not
//! generic, and not from a crate that changes often.

use fast_image_resize as fir;
use fir::images::Image;

/// How a sample is stored, in the machine's byte order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// 8 bits.
    U8,
    /// 16 bits.
    U16,
    /// Single precision.
    F32,
}

/// A resampling filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filter {
    /// Triangle.
    Bilinear,
    /// Cubic convolution with a = -0.5.
    Bicubic,
}

/// Pixels row by row, channels interleaved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pixels {
    /// The samples' bytes.
    pub bytes: Vec<u8>,
    /// Height and width.
    pub size: [usize; 2],
    /// 1, 3 or 4.
    pub channels: usize,
    /// How each sample is stored.
    pub depth: Depth,
}

impl Pixels {
    fn kind(&self) -> Result<fir::PixelType, String> {
        use fir::PixelType as P;
        Ok(match (self.depth, self.channels) {
            (Depth::U8, 1) => P::U8,
            (Depth::U8, 3) => P::U8x3,
            (Depth::U8, 4) => P::U8x4,
            (Depth::U16, 1) => P::U16,
            (Depth::U16, 3) => P::U16x3,
            (Depth::U16, 4) => P::U16x4,
            (Depth::F32, 1) => P::F32,
            (Depth::F32, 3) => P::F32x3,
            (Depth::F32, 4) => P::F32x4,
            (_, channels) => return Err(format!("{channels} channels (1, 3 and 4 are supported)")),
        })
    }

    /// The part `window` = `[left, top, width, height]` in pixels, which lies inside, at `size` = `[height, width]`. The
    /// fourth channel is data like the others: nothing is multiplied by it.
    ///
    /// # Errors
    /// A number of bytes that does not fit size, channels and depth; a window that reaches beyond; a side of 0.
    pub fn resample(self, window: [f64; 4], size: [usize; 2], filter: Filter) -> Result<Self, String> {
        let (kind, [left, top, width, height]) = (self.kind()?, window);
        let sides = |[height, width]: [usize; 2]| match (u32::try_from(height), u32::try_from(width)) {
            (Ok(height), Ok(width)) => Ok((width, height)),
            _ => Err(format!("{width} x {height} pixels")),
        };
        let ((w, h), (to_w, to_h)) = (sides(self.size)?, sides(size)?);
        let wanted = self.size[0].saturating_mul(self.size[1]).saturating_mul(kind.size());
        if self.bytes.len() != wanted {
            return Err(format!("{} bytes for pixels that take {wanted}", self.bytes.len()));
        }
        let source = match self.depth {
            Depth::U8 => Image::from_vec_u8(w, h, self.bytes, kind).map_err(|error| error.to_string())?,
            // A fresh image is aligned for its pixel type, a vector of bytes need not be.
            Depth::U16 | Depth::F32 => {
                let mut image = Image::new(w, h, kind);
                image.buffer_mut().copy_from_slice(&self.bytes);
                image
            }
        };
        let filter = match filter {
            Filter::Bilinear => fir::FilterType::Bilinear,
            Filter::Bicubic => fir::FilterType::CatmullRom,
        };
        let options = fir::ResizeOptions::new()
            .resize_alg(fir::ResizeAlg::Convolution(filter))
            .crop(left, top, width, height)
            .use_alpha(false);
        let mut target = Image::new(to_w, to_h, kind);
        fir::Resizer::new().resize(&source, &mut target, &options).map_err(|error| error.to_string())?;
        // Only the vector of bytes has no room for alignment.
        let bytes = if self.depth == Depth::U8 { target.into_vec() } else { target.buffer().to_vec() };
        Ok(Self { bytes, size, channels: self.channels, depth: self.depth })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_halved_by_its_triangle_at_every_depth() {
        // Weights of the triangle of width 4 at the centres 1 and 3 of 0, 1, 2, 3 (the parts outside left out):
        // (3, 3, 1) / 7 and (1, 3, 3) / 7.
        let levels = [70_u16, 140, 210, 0];
        let want = [(3 * 70 + 3 * 140 + 210) as f32 / 7.0, (140 + 3 * 210) as f32 / 7.0];
        for depth in [Depth::U8, Depth::U16, Depth::F32] {
            for channels in [1, 3, 4] {
                let bytes = |level: u16| match depth {
                    Depth::U8 => vec![level as u8],
                    Depth::U16 => level.to_ne_bytes().to_vec(),
                    Depth::F32 => f32::from(level).to_ne_bytes().to_vec(),
                };
                let row = levels.iter().flat_map(|level| bytes(*level).repeat(channels)).collect();
                let pixels = Pixels { bytes: row, size: [1, 4], channels, depth };
                let half = pixels.resample([0.0, 0.0, 4.0, 1.0], [1, 2], Filter::Bilinear).unwrap();
                let found: Vec<f32> = match depth {
                    Depth::U8 => half.bytes.iter().map(|b| f32::from(*b)).collect(),
                    Depth::U16 => half.bytes.as_chunks().0.iter().map(|b| f32::from(u16::from_ne_bytes(*b))).collect(),
                    Depth::F32 => half.bytes.as_chunks().0.iter().map(|b| f32::from_ne_bytes(*b)).collect(),
                };
                assert_eq!((half.size, found.len()), ([1, 2], 2 * channels));
                for (at, value) in found.iter().enumerate() {
                    let slack = if depth == Depth::F32 { 1e-3 } else { 0.5001 };
                    assert!((value - want[at / channels]).abs() <= slack, "{depth:?} {channels}: {found:?}");
                }
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let pixels = |bytes: usize, channels| {
            let pixels = Pixels { bytes: vec![0; bytes], size: [2, 2], channels, depth: Depth::U16 };
            pixels.resample([0.0, 0.0, 2.0, 2.0], [1, 1], Filter::Bicubic)
        };
        assert!(pixels(8, 1).is_ok() && pixels(24, 3).is_ok());
        assert!(pixels(7, 1).unwrap_err().contains("7 bytes"));
        assert!(pixels(16, 2).unwrap_err().contains("2 channels"));
        let small = Pixels { bytes: vec![0; 4], size: [2, 2], channels: 1, depth: Depth::U8 };
        assert!(small.resample([0.0, 0.0, 3.0, 2.0], [1, 1], Filter::Bilinear).is_err());
    }
}
