//! The `bands` key: which bands of an RGB-thermal image a network is shown.

use crate::{DataError, Image};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// Bands of an RGB-thermal image.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Bands {
    /// Red, green, blue and thermal: 4 channels.
    #[default]
    All,
    /// Red, green and blue: 3 channels, or 1 (their luma).
    Rgb,
    /// The thermal band: 1 channel, or 3 with the same values.
    Thermal,
}

impl Bands {
    /// The name in recipes.
    pub const fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Rgb => "rgb",
            Self::Thermal => "thermal",
        }
    }

    /// Channels of a network's input where none are given.
    pub(crate) const fn channels(self) -> usize {
        match self {
            Self::All => 4,
            Self::Rgb => 3,
            Self::Thermal => 1,
        }
    }

    /// Whether these bands can be given as `channels` channels.
    pub(crate) const fn fits(self, channels: usize) -> bool {
        match self {
            Self::All => channels == 4,
            Self::Rgb | Self::Thermal => matches!(channels, 1 | 3),
        }
    }

    /// The part of an image that is shown: of [`Self::Thermal`] the fourth channel, or an image of one channel, which is
    /// the thermal band already. The conversion to the network's channels makes the other choices.
    ///
    /// # Errors
    /// The thermal band of a colour image without one; `name` stands in the error.
    pub(crate) fn of<'a>(self, name: &str, image: &'a Image) -> Result<Cow<'a, Image>, DataError> {
        if self != Self::Thermal || image.channels() == 1 {
            return Ok(Cow::Borrowed(image));
        }
        let fail = || DataError::NoThermalBand { path: name.to_string(), found: image.channels() };
        image.fourth_band().map(Cow::Owned).ok_or_else(fail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Samples;

    #[test]
    fn the_thermal_band_is_the_fourth_channel_or_the_only_one() {
        let image =
            |channels: usize| Image::new("x", 2, 1, channels, Samples::U8((0..2 * channels as u8).collect())).unwrap();
        let (one, three, four) = (image(1), image(3), image(4));
        assert_eq!(Bands::Thermal.of("x", &four).unwrap().samples(), &Samples::U8(vec![3, 7]));
        assert!(*Bands::Thermal.of("x", &one).unwrap() == one);
        assert!(*Bands::Rgb.of("x", &four).unwrap() == four && *Bands::All.of("x", &three).unwrap() == three);
        let error = Bands::Thermal.of("scene.png", &three).unwrap_err();
        assert!(error.to_string().contains("scene.png") && !error.is_corrupt_sample(), "{error}");
    }
}
