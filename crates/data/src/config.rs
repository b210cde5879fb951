//! The `[data]` table of a recipe.

use crate::DataError;
use crate::normalize::Normalize;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use std::path::{Path, PathBuf};

/// The kinds of data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DatasetKind {
    /// The handwritten digits embedded in the program (28x28 grey, 10 classes, 5,000 train and 1,000 test).
    Digits,
    /// `<path>/<split>/<class>/<image>`.
    Folder,
    /// CIFAR-10, binary or Python release.
    Cifar10,
    /// CIFAR-100 with the 100 fine labels, binary or Python release.
    Cifar100,
}

/// The `[data]` table of a recipe.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataConfig {
    /// Which data set: `digits`, `folder`, `cifar10`, `cifar100`.
    pub dataset: DatasetKind,
    /// The folder of the images, or where CIFAR lies or is downloaded to (default for CIFAR: the cache folder).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// Fetch CIFAR when it is missing.
    #[serde(default = "yes")]
    pub download: bool,
    /// Channels given to the networks: 1, 3 or 4. Default: 1 for digits, else 3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channels: Option<usize>,
    /// Normalisation of both views. Default: that of the data set (`imagenet` for a folder of RGB images).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub normalize: Option<Normalize>,
    /// Bring all images to one size: a number (the side, see [`ResizeMode::Squash`]) or a table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resize: Option<ResizeConfig>,
    /// Training: shift by up to this many pixels of the input, black outside (a crop of the padded image); 0: none.
    #[serde(default)]
    pub crop_padding: usize,
    /// Training: mirror left-right with probability 1/2.
    #[serde(default)]
    pub flip: bool,
    /// Training: colour changes of both views.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub photometric: Option<PhotometricConfig>,
    /// What the teacher's view has of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub teacher: Option<ViewConfig>,
    /// What the student's view has of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub student: Option<ViewConfig>,
    /// Use this many training images: the first of a seeded class-balanced order. The validation share is taken out
    /// of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub train_limit: Option<usize>,
    /// Use this many test images, chosen the same way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_limit: Option<usize>,
    /// Share of the training images (`0 <= share < 1`), stratified by class, kept out of training to choose the best
    /// epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation: Option<f64>,
    /// Drop images that cannot be decoded, count and report them; false: the first one stops the run.
    #[serde(default)]
    pub skip_corrupt: bool,
    /// Decoding threads; 0: one for each core. The result does not depend on it.
    #[serde(default)]
    pub workers: usize,
    /// Memory for decoded images in MiB, so that later epochs need no decoding; 0: no cache.
    #[serde(default = "default_cache")]
    pub cache_mb: usize,
}

fn yes() -> bool {
    true
}

fn default_cache() -> usize {
    512
}

/// How images of any size come to one size; in the recipe a number (the side, mode `squash`) or a table.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ResizeConfig {
    /// Side of the square input in pixels.
    pub size: usize,
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
    /// The whole image to a square, its aspect ratio not kept.
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
        let (scale, ratio) = ([0.08, 1.0], [3.0 / 4.0, 4.0 / 3.0]);
        Self { size, mode: ResizeMode::Squash, shorter: None, scale, ratio, filter: Filter::Bilinear }
    }

    /// Length of the shorter side before the central square is cut.
    pub fn shorter(&self) -> usize {
        self.shorter.unwrap_or((self.size as f64 / 0.875).floor() as usize)
    }

    fn check(&self) -> Result<(), DataError> {
        let bounds = |b: [f64; 2]| b[0].is_finite() && b[1].is_finite() && 0.0 < b[0] && b[0] <= b[1];
        let reason = if !(1..=8192).contains(&self.size) {
            "size must lie in 1..=8192"
        } else if self.shorter() < self.size {
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

/// Reads a number or a table; by hand, because an untagged enum loses the name of a wrong key.
struct ResizeVisitor;

impl<'de> Visitor<'de> for ResizeVisitor {
    type Value = ResizeConfig;

    fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "a side in pixels or a table {{ size, mode, shorter, scale, ratio, filter }}")
    }

    fn visit_u64<E: de::Error>(self, size: u64) -> Result<ResizeConfig, E> {
        Ok(ResizeConfig::square(usize::try_from(size).unwrap_or(usize::MAX)))
    }

    fn visit_i64<E: de::Error>(self, size: i64) -> Result<ResizeConfig, E> {
        let size = u64::try_from(size).map_err(|_| E::invalid_value(de::Unexpected::Signed(size), &self))?;
        self.visit_u64(size)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<ResizeConfig, A::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Table {
            size: usize,
            #[serde(default)]
            mode: ResizeMode,
            shorter: Option<usize>,
            scale: Option<[f64; 2]>,
            ratio: Option<[f64; 2]>,
            #[serde(default)]
            filter: Filter,
        }
        let t = Table::deserialize(de::value::MapAccessDeserializer::new(map))?;
        let base = ResizeConfig::square(t.size);
        let (scale, ratio) = (t.scale.unwrap_or(base.scale), t.ratio.unwrap_or(base.ratio));
        Ok(ResizeConfig { mode: t.mode, shorter: t.shorter, scale, ratio, filter: t.filter, ..base })
    }
}

/// Colour changes of a training image, drawn for each sample and epoch.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PhotometricConfig {
    /// Factor of the brightness, drawn from `[1 - x, 1 + x]`.
    #[serde(default)]
    pub brightness: f64,
    /// Factor of the contrast (distance to the mean grey), drawn from `[1 - x, 1 + x]`.
    #[serde(default)]
    pub contrast: f64,
    /// Factor of the saturation (distance to the pixel's grey), drawn from `[1 - x, 1 + x]`.
    #[serde(default)]
    pub saturation: f64,
}

/// What one view (teacher or student) has of its own.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ViewConfig {
    /// Its channels: 1, 3 or 4. Default: those of `[data]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channels: Option<usize>,
    /// The side of its square input, resampled from the same window. Default: that of the data set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<usize>,
    /// Its normalisation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub normalize: Option<Normalize>,
    /// Its colour changes, drawn independently of the other view's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub photometric: Option<PhotometricConfig>,
}

impl DataConfig {
    /// Default values of everything but the kind: no augmentation, no limits, no validation split.
    pub fn new(dataset: DatasetKind) -> Self {
        Self {
            dataset,
            path: None,
            download: yes(),
            channels: None,
            normalize: None,
            resize: None,
            crop_padding: 0,
            flip: false,
            photometric: None,
            teacher: None,
            student: None,
            train_limit: None,
            test_limit: None,
            validation: None,
            skip_corrupt: false,
            workers: 0,
            cache_mb: default_cache(),
        }
    }

    /// A configuration for the data in `path`: CIFAR when one of its releases lies there, else an image folder.
    pub fn detect(path: &Path) -> Self {
        let kind = crate::cifar::detect(path).unwrap_or(DatasetKind::Folder);
        Self { path: Some(path.to_path_buf()), ..Self::new(kind) }
    }

    /// Checks everything that can be checked without looking at the data.
    pub fn check(&self) -> Result<(), DataError> {
        if self.dataset == DatasetKind::Folder && self.path.is_none() {
            return Err(DataError::config("path", "dataset = \"folder\" needs the folder of the images"));
        }
        if self.dataset == DatasetKind::Digits && self.path.is_some() {
            return Err(DataError::config("path", "the digits are embedded in the program; leave the key out"));
        }
        let own = |view: &Option<ViewConfig>| view.as_ref().and_then(|v| v.channels);
        let channels = [self.channels, own(&self.teacher), own(&self.student)];
        if channels.iter().flatten().any(|c| !matches!(c, 1 | 3 | 4)) {
            return Err(DataError::config("channels", "must be 1, 3 or 4"));
        }
        if self.validation.is_some_and(|v| !(0.0..1.0).contains(&v)) {
            return Err(DataError::config("validation", "must be a share from 0 up to, not including, 1"));
        }
        if self.train_limit == Some(0) || self.test_limit == Some(0) {
            return Err(DataError::config("train_limit, test_limit", "must be at least 1"));
        }
        if let Some(resize) = &self.resize {
            resize.check()?;
            if resize.mode == ResizeMode::Random && self.crop_padding > 0 {
                return Err(DataError::config("crop_padding", "has no meaning with resize mode \"random\""));
            }
        }
        let own = [&self.student, &self.teacher].into_iter().flatten().filter_map(|v| v.photometric.as_ref());
        self.photometric.iter().chain(own).try_for_each(PhotometricConfig::check)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recipe_table_reads_and_writes() {
        let text = r#"
            dataset = "folder"
            path = "images"
            normalize = "imagenet"
            crop_padding = 4
            flip = true
            resize = { size = 224, mode = "random", filter = "bicubic" }
            train_limit = 5000
            validation = 0.1
            [teacher]
            normalize = { mean = [0.5], std = [0.25] }
        "#;
        let config: DataConfig = toml::from_str(text).unwrap();
        assert_eq!((config.train_limit, config.crop_padding, config.flip), (Some(5000), 4, true));
        let resize = config.resize.clone().unwrap();
        assert_eq!((resize.mode, resize.shorter(), resize.filter), (ResizeMode::Random, 256, Filter::Bicubic));
        let again: DataConfig = toml::from_str(&toml::to_string(&config).unwrap()).unwrap();
        assert_eq!(again, config);
        let number: DataConfig = toml::from_str("dataset = \"digits\"\nresize = 32").unwrap();
        assert_eq!(number.resize, Some(ResizeConfig::square(32)));
        assert_eq!(toml::from_str::<DataConfig>("dataset = \"digits\"").unwrap(), DataConfig::new(DatasetKind::Digits));
    }

    #[test]
    fn wrong_keys_and_values_are_named() {
        for (text, words) in [
            ("dataset = \"digits\"\nflipp = true", "flipp"),
            ("dataset = \"mnist\"", "mnist"),
            ("dataset = \"digits\"\nnormalize = \"imagnet\"", "imagnet"),
            ("dataset = \"digits\"\nnormalize = { mean = [0.5], sdt = [1.0] }", "sdt"),
            ("dataset = \"digits\"\nresize = { size = 32, mod = \"squash\" }", "mod"),
            ("dataset = \"digits\"\nresize = -3", "-3"),
        ] {
            let error = toml::from_str::<DataConfig>(text).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
        let base = || DataConfig::new(DatasetKind::Digits);
        let bad = [
            DataConfig { path: Some("x".into()), ..base() },
            DataConfig { dataset: DatasetKind::Folder, ..base() },
            DataConfig { channels: Some(2), ..base() },
            DataConfig { validation: Some(1.0), ..base() },
            DataConfig { validation: Some(f64::NAN), ..base() },
            DataConfig { train_limit: Some(0), ..base() },
            DataConfig { resize: Some(ResizeConfig { shorter: Some(3), ..ResizeConfig::square(8) }), ..base() },
            DataConfig { resize: Some(ResizeConfig::square(0)), ..base() },
        ];
        for config in bad {
            assert!(matches!(config.check(), Err(DataError::Config { .. })), "{config:?}");
        }
        base().check().unwrap();
    }
}
