//! The `resize` key: how images of any size come to one size.

use super::Size;
use crate::DataError;
use serde::de::{self, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// How images of any size come to one size; in the recipe a number or `[height, width]` (mode `squash`), or a table.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ResizeConfig {
    /// Size of the input: the side of a square, or `[height, width]`.
    pub size: Size,
    /// How.
    pub mode: ResizeMode,
    /// Modes `center` and `random`: the shorter side is scaled to this before the central square is cut.
    /// Default: `size / 0.875`, which is 256 for 224.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shorter: Option<usize>,
    /// Mode `random`: bounds of the window's share of the image's area.
    pub scale: [f64; 2],
    /// Mode `random`: bounds of the window's width over height.
    pub ratio: [f64; 2],
    /// The resampling filter; anti-aliased in either case.
    pub filter: Filter,
}

/// The kind of resizing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ResizeMode {
    /// The whole image to the size, its aspect ratio not kept.
    #[default]
    Squash,
    /// Shorter side scaled, central square cut, in training as in evaluation.
    Center,
    /// Training: a window of random area and aspect ratio. Evaluation: as `center`.
    Random,
}

/// A resampling filter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Filter {
    /// Triangle.
    #[default]
    Bilinear,
    /// Cubic convolution with a = -0.5, as Pillow has it.
    Bicubic,
}

impl ResizeConfig {
    /// The whole image to a square of side `size`, bilinear.
    pub fn square(size: usize) -> Self {
        Self::to(Size::square(size))
    }

    /// The whole image to `size`, bilinear.
    pub fn to(size: Size) -> Self {
        let (scale, ratio) = ([0.08, 1.0], [3.0 / 4.0, 4.0 / 3.0]);
        Self { size, mode: ResizeMode::Squash, shorter: None, scale, ratio, filter: Filter::Bilinear }
    }

    /// Length of the shorter side before the central square is cut.
    pub fn shorter(&self) -> usize {
        self.shorter.unwrap_or((self.size.height as f64 / 0.875).floor() as usize)
    }

    /// The first value that is given and not read in this mode. Recipes that a run writes have all values, so the
    /// defaults may stand everywhere.
    fn unread(&self) -> Option<&'static str> {
        let default = Self::to(self.size);
        match self.mode {
            ResizeMode::Random => None,
            _ if self.scale != default.scale => {
                Some("scale is read in mode random only; with masks give `scale` under [data], beside `resize`")
            }
            _ if self.ratio != default.ratio => Some("ratio is read in mode random only"),
            ResizeMode::Squash if self.shorter.is_some() => {
                Some("shorter is read in modes center and random only: squash brings the whole image to size")
            }
            _ => None,
        }
    }

    pub(crate) fn check(&self) -> Result<(), DataError> {
        let bounds = |b: [f64; 2]| b[0].is_finite() && b[1].is_finite() && 0.0 < b[0] && b[0] <= b[1];
        let reason = if let Some(unread) = self.unread() {
            unread
        } else if !self.size.is_sound() {
            "size must lie in 1..=8192"
        } else if self.mode != ResizeMode::Squash && !self.size.is_square() {
            "modes center and random cut squares: give size one number, or use mode squash"
        } else if self.mode != ResizeMode::Squash && self.shorter() < self.size.height {
            "shorter must not be less than size"
        } else if !bounds(self.scale) || self.scale[1] > 1.0 {
            "scale must be [low, high] with 0 < low <= high <= 1"
        } else if !bounds(self.ratio) {
            "ratio must be [low, high] with 0 < low <= high"
        } else {
            return Ok(());
        };
        Err(DataError::config("resize", reason))
    }
}

impl<'de> Deserialize<'de> for ResizeConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ResizeVisitor)
    }
}

/// Reads a number, a pair or a table; by hand, because an untagged enum loses the name of a wrong key.
struct ResizeVisitor;

impl<'de> Visitor<'de> for ResizeVisitor {
    type Value = ResizeConfig;

    fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "a side in pixels, [height, width] or a table {{ size, mode, shorter, scale, ratio, filter }}")
    }

    fn visit_u64<E: de::Error>(self, size: u64) -> Result<ResizeConfig, E> {
        Ok(ResizeConfig::square(usize::try_from(size).unwrap_or(usize::MAX)))
    }

    fn visit_i64<E: de::Error>(self, size: i64) -> Result<ResizeConfig, E> {
        let size = u64::try_from(size).map_err(|_| E::invalid_value(de::Unexpected::Signed(size), &self))?;
        self.visit_u64(size)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<ResizeConfig, A::Error> {
        Size::deserialize(de::value::SeqAccessDeserializer::new(seq)).map(ResizeConfig::to)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<ResizeConfig, A::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Table {
            size: Size,
            #[serde(default)]
            mode: ResizeMode,
            shorter: Option<usize>,
            scale: Option<[f64; 2]>,
            ratio: Option<[f64; 2]>,
            #[serde(default)]
            filter: Filter,
        }
        let t = Table::deserialize(de::value::MapAccessDeserializer::new(map))?;
        let base = ResizeConfig::to(t.size);
        let (scale, ratio) = (t.scale.unwrap_or(base.scale), t.ratio.unwrap_or(base.ratio));
        Ok(ResizeConfig { mode: t.mode, shorter: t.shorter, scale, ratio, filter: t.filter, ..base })
    }
}
