//! Colour changes of one view, on values in `[0, 1]`.
//!
//! In this order, each followed by clamping to `[0, 1]`: brightness `x <- f x`; contrast `x <- f x + (1 - f) m` with
//! `m` the mean grey value of the image; saturation `x <- f x + (1 - f) g` with `g` the pixel's grey value. Each
//! factor `f` is drawn from `[max(0, 1 - s), 1 + s]`. A fourth channel is left alone; one channel has no saturation.

use crate::DataError;
use crate::config::PhotometricConfig;
use crate::image::LUMA;
use subband_seed::Stream;

impl PhotometricConfig {
    /// An error when a strength is negative or not finite.
    pub(crate) fn check(&self) -> Result<(), DataError> {
        let strengths = [self.brightness, self.contrast, self.saturation];
        if strengths.iter().all(|s| s.is_finite() && *s >= 0.0) {
            return Ok(());
        }
        Err(DataError::config("photometric", "brightness, contrast and saturation must be 0 or more"))
    }

    /// Changes `channels` planes in place with factors drawn from `stream`.
    pub(crate) fn apply(&self, planes: &mut [f32], channels: usize, mut stream: Stream) {
        let mut factor = |s: f64| (s > 0.0).then(|| stream.range((1.0 - s).max(0.0), 1.0 + s) as f32);
        // Drawn in this order whether used or not by the channel count.
        let (brightness, contrast, saturation) =
            (factor(self.brightness), factor(self.contrast), factor(self.saturation));
        let area = planes.len() / channels;
        let colour = &mut planes[..area * channels.min(3)];
        if let Some(f) = brightness {
            colour.iter_mut().for_each(|x| *x = (*x * f).clamp(0.0, 1.0));
        }
        if let Some(f) = contrast {
            let mean = (0..area).map(|i| f64::from(grey(colour, area, i))).sum::<f64>() / area as f64;
            let rest = (1.0 - f) * mean as f32;
            colour.iter_mut().for_each(|x| *x = (*x * f + rest).clamp(0.0, 1.0));
        }
        if let Some(f) = saturation.filter(|_| channels >= 3) {
            for i in 0..area {
                let rest = (1.0 - f) * grey(colour, area, i);
                for c in 0..3 {
                    colour[c * area + i] = (colour[c * area + i] * f + rest).clamp(0.0, 1.0);
                }
            }
        }
    }
}

/// The grey value of pixel `i` of one or three planes.
fn grey(planes: &[f32], area: usize, i: usize) -> f32 {
    if planes.len() == area {
        return planes[i];
    }
    LUMA[0] * planes[i] + LUMA[1] * planes[area + i] + LUMA[2] * planes[2 * area + i]
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: [f32; 8] = [0.2, 0.4, 0.3, 0.5, 0.1, 0.6, 0.9, 0.8];

    #[test]
    fn each_change_is_its_formula_and_the_fourth_channel_stays() {
        let stream = Stream::new(3);
        let f = { stream }.range(0.5, 1.5) as f32;
        let changed = |config: PhotometricConfig| {
            let mut planes = START;
            config.apply(&mut planes, 4, stream);
            assert_eq!(planes[6..], START[6..]);
            planes
        };
        let grey = |i: usize| 0.299 * START[i] + 0.587 * START[2 + i] + 0.114 * START[4 + i];
        let mean = (grey(0) + grey(1)) / 2.0;
        let none = PhotometricConfig { brightness: 0.0, contrast: 0.0, saturation: 0.0 };
        let bright = changed(PhotometricConfig { brightness: 0.5, ..none });
        let contrast = changed(PhotometricConfig { contrast: 0.5, ..none });
        let saturated = changed(PhotometricConfig { saturation: 0.5, ..none });
        for i in 0..6 {
            let x = START[i];
            assert!((bright[i] - (x * f).clamp(0.0, 1.0)).abs() < 1e-6);
            assert!((contrast[i] - (x * f + (1.0 - f) * mean).clamp(0.0, 1.0)).abs() < 1e-6);
            assert!((saturated[i] - (x * f + (1.0 - f) * grey(i % 2)).clamp(0.0, 1.0)).abs() < 1e-6);
        }
        assert_eq!(changed(none), START);
    }

    #[test]
    fn grey_images_and_single_pixels_work() {
        let all = PhotometricConfig { brightness: 0.4, contrast: 0.4, saturation: 0.4 };
        let mut pixel = [0.5];
        all.apply(&mut pixel, 1, Stream::new(1));
        assert!((0.0..=1.0).contains(&pixel[0]));
        assert!(PhotometricConfig { brightness: -0.1, ..all }.check().is_err());
    }
}
