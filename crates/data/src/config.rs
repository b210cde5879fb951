//! The `[data]` table of a recipe.

mod bands;
mod colours;
mod resize;
mod size;

pub use bands::Bands;
pub use colours::{Photometric, PhotometricConfig};
pub use resize::{Filter, ResizeConfig, ResizeMode};
pub use size::Size;

use crate::normalize::Normalize;
use crate::segmentation::{self, LabelMap};
use crate::{DataError, Task};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
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
    /// CamVid with 11 classes of pixels: `train`, `trainannot`, `val`, `valannot` and perhaps `test`, `testannot`.
    Camvid,
    /// Cityscapes with 19 classes of pixels: `leftImg8bit/<split>/<city>`, `gtFine/<split>/<city>`.
    Cityscapes,
    /// MFNet's RGB-thermal images with 9 classes of pixels: `images`, `labels` and a list for each split.
    Mfnet,
    /// MSRS, RGB-thermal pairs with MFNet's classes: `<split>/vi`, `<split>/ir`, `<split>/Segmentation_labels`.
    Msrs,
    /// Images and label PNGs: `<path>/<split>/images` and `<path>/<split>/labels`, or `images/<split>`,
    /// `labels/<split>`.
    Masks,
}

impl DatasetKind {
    /// What its samples are labelled with.
    pub fn task(self) -> Task {
        match self {
            Self::Digits | Self::Folder | Self::Cifar10 | Self::Cifar100 => Task::Classification,
            Self::Camvid | Self::Cityscapes | Self::Mfnet | Self::Msrs | Self::Masks => Task::Segmentation,
        }
    }
}

/// The `[data]` table of a recipe.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataConfig {
    /// Which data set: `digits`, `folder`, `cifar10`, `cifar100`, or with masks `camvid`, `cityscapes`, `mfnet`,
    /// `msrs`, `masks`.
    pub dataset: DatasetKind,
    /// The folder of the images, or where CIFAR lies or is downloaded to (default for CIFAR: the cache folder).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// `masks`: the class names, in the order of their label values. Default: the lines of `<path>/classes.txt`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classes: Option<Vec<String>>,
    /// `masks`: the label value of pixels that do not count. Default: 255.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ignore_label: Option<u16>,
    /// `masks`: from values of the label files to class indices (255: ignored), `"*"` standing for all values that are
    /// not named. Default: values are class indices.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label_map: Option<BTreeMap<String, u8>>,
    /// Fetch CIFAR when it is missing.
    #[serde(default = "yes")]
    pub download: bool,
    /// `mfnet` and `msrs`: the bands given to the networks. Default: all of them, or those that `channels` names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bands: Option<Bands>,
    /// Channels given to the networks: 1, 3 or 4. Default: 1 for digits, those of `bands` for mfnet and msrs, else 3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channels: Option<usize>,
    /// Normalisation of both views. Default: that of the data set (`imagenet` for a folder of RGB images).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub normalize: Option<Normalize>,
    /// Bring all images to one size: a number (the side, see [`ResizeMode::Squash`]), `[height, width]` or a table.
    /// Masks stay at the size of their files in evaluation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resize: Option<ResizeConfig>,
    /// Training: shift by up to this many pixels of the input, black outside (a crop of the padded image); 0: none.
    #[serde(default)]
    pub crop_padding: usize,
    /// Training with masks: bounds of a factor that the size (`resize`, or the image's own) is multiplied by. The
    /// result is cut or padded to `crop`. Default: no change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale: Option<[f64; 2]>,
    /// Training with masks: size of the random crop, a number or `[height, width]`. Default: `resize`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crop: Option<Size>,
    /// Training with masks: a crop in which one class covers this share of the pixels that count, or more, is drawn
    /// again, at most ten times. Default: the first crop is taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_class_share: Option<f64>,
    /// Training: mirror left-right with probability 1/2.
    #[serde(default)]
    pub flip: bool,
    /// Training: colour changes of both views, a table of strengths or `"mmseg"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub photometric: Option<Photometric>,
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

/// What one view (teacher or student) has of its own.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ViewConfig {
    /// Its bands. Default: those of `[data]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bands: Option<Bands>,
    /// Its channels: 1, 3 or 4. Default: those of `[data]`, or of its own bands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channels: Option<usize>,
    /// The size of its input (a side or `[height, width]`), resampled from the same window. Default: that of the data
    /// set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<Size>,
    /// Its normalisation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub normalize: Option<Normalize>,
    /// Its colour changes, drawn independently of the other view's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub photometric: Option<Photometric>,
}

impl DataConfig {
    /// Default values of everything but the kind: no augmentation, no limits, no validation split.
    pub fn new(dataset: DatasetKind) -> Self {
        Self {
            dataset,
            path: None,
            classes: None,
            ignore_label: None,
            label_map: None,
            download: yes(),
            bands: None,
            channels: None,
            normalize: None,
            resize: None,
            crop_padding: 0,
            scale: None,
            crop: None,
            max_class_share: None,
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

    /// A configuration for the data in `path`: CIFAR or a data set with masks when its files lie there, else an image
    /// folder.
    pub fn detect(path: &Path) -> Self {
        let kind = crate::cifar::detect(path).or_else(|| segmentation::detect(path)).unwrap_or(DatasetKind::Folder);
        Self { path: Some(path.to_path_buf()), ..Self::new(kind) }
    }

    /// Checks everything that can be checked without looking at the data.
    pub fn check(&self) -> Result<(), DataError> {
        self.check_source()?;
        self.check_views()?;
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
        match self.dataset.task() {
            Task::Classification => self.check_no_masks()?,
            Task::Segmentation => self.check_masks()?,
        }
        let views = [&self.student, &self.teacher];
        let own = views.into_iter().flatten().filter_map(|v| v.photometric.as_ref());
        self.photometric.iter().chain(own).try_for_each(Photometric::check)
    }

    /// Bands, channels and sizes, of both views and of each.
    pub(crate) fn check_views(&self) -> Result<(), DataError> {
        let none = ViewConfig::default();
        let [teacher, student] = [&self.teacher, &self.student].map(|view| view.as_ref().unwrap_or(&none));
        let has_bands = matches!(self.dataset, DatasetKind::Mfnet | DatasetKind::Msrs);
        for (keys, bands, channels, size) in [
            (["bands", "channels", "size"], self.bands, self.channels, None),
            (["teacher.bands", "teacher.channels", "teacher.size"], teacher.bands, teacher.channels, teacher.size),
            (["student.bands", "student.channels", "student.size"], student.bands, student.channels, student.size),
        ] {
            if bands.is_some() && !has_bands {
                let reason = "is for the RGB-thermal images of mfnet and msrs; leave it out";
                return Err(DataError::config(keys[0], reason));
            }
            if channels.is_some_and(|c| !matches!(c, 1 | 3 | 4)) {
                return Err(DataError::config(keys[1], "must be 1, 3 or 4"));
            }
            if size.is_some_and(|size| !size.is_sound()) {
                return Err(DataError::config(keys[2], "must be a side or [height, width] in 1..=8192"));
            }
        }
        for (key, view) in [("teacher.bands", &self.teacher), ("student.bands", &self.student)] {
            let own = view.as_ref().and_then(|v| v.bands);
            let (bands, channels) = self.bands_of(view.as_ref());
            if let Some(bands) = own.or(self.bands).filter(|_| !bands.fits(channels)) {
                let reason = format!(
                    "\"{}\" cannot be given as {channels} channels: \"all\" is 4, \"rgb\" 3 or 1, \"thermal\" 1 or 3; \
                     change `channels`, or leave it out",
                    bands.name()
                );
                return Err(DataError::config(if own.is_some() { key } else { "bands" }, reason));
            }
        }
        Ok(())
    }

    /// The bands and the channels of a view. Channels of `[data]` do not reach a view with bands of its own.
    pub(crate) fn bands_of(&self, view: Option<&ViewConfig>) -> (Bands, usize) {
        let own = view.and_then(|v| v.bands);
        let bands = own.or(self.bands).unwrap_or_default();
        let common = self.channels.filter(|_| own.is_none());
        let channels = view.and_then(|v| v.channels).or(common).unwrap_or(match self.dataset {
            DatasetKind::Digits => 1,
            DatasetKind::Mfnet | DatasetKind::Msrs => bands.channels(),
            _ => 3,
        });
        (bands, channels)
    }

    /// Where the data come from and what their classes are.
    fn check_source(&self) -> Result<(), DataError> {
        match self.dataset {
            DatasetKind::Digits if self.path.is_some() => {
                return Err(DataError::config("path", "the digits are embedded in the program; leave the key out"));
            }
            DatasetKind::Digits | DatasetKind::Cifar10 | DatasetKind::Cifar100 => {}
            _ if self.path.is_none() => {
                let name = format!("{:?}", self.dataset).to_lowercase();
                let reason = format!("dataset = \"{name}\" needs the folder of the images");
                return Err(DataError::config("path", reason));
            }
            _ => {}
        }
        if self.dataset == DatasetKind::Masks {
            if let Some(classes) = &self.classes {
                segmentation::check_classes(classes).map_err(|reason| DataError::config("classes", reason))?;
                LabelMap::of_config(self, classes)?;
            }
            return Ok(());
        }
        let reason = "belongs to dataset = \"masks\"; leave it out";
        let given = [
            ("classes", self.classes.is_some()),
            ("ignore_label", self.ignore_label.is_some()),
            ("label_map", self.label_map.is_some()),
        ];
        match given.into_iter().find(|(_, given)| *given) {
            Some((key, _)) => Err(DataError::config(key, reason)),
            None => Ok(()),
        }
    }

    /// The keys that need masks.
    fn check_no_masks(&self) -> Result<(), DataError> {
        let given = [
            ("scale", self.scale.is_some()),
            ("crop", self.crop.is_some()),
            ("max_class_share", self.max_class_share.is_some()),
        ];
        let reason = "is for data sets with masks; for classes of whole images use crop_padding, or resize with mode = \
                      \"random\"";
        match given.into_iter().find(|(_, given)| *given) {
            Some((key, _)) => Err(DataError::config(key, reason)),
            None => Ok(()),
        }
    }

    /// The values of the keys for masks, and keys that make no sense with masks.
    fn check_masks(&self) -> Result<(), DataError> {
        if self.resize.as_ref().is_some_and(|r| r.mode != ResizeMode::Squash) {
            let reason = "with masks only mode \"squash\" keeps every pixel that is evaluated; vary the training images \
                          with `scale` and `crop`";
            return Err(DataError::config("resize", reason));
        }
        if self.crop_padding > 0 {
            return Err(DataError::config("crop_padding", "is for classes of whole images; use `scale` and `crop`"));
        }
        if let Some([low, high]) = self.scale
            && !(low.is_finite() && high.is_finite() && 0.0 < low && low <= high && high <= 16.0)
        {
            return Err(DataError::config("scale", "must be [low, high] with 0 < low <= high <= 16"));
        }
        if self.crop.is_some_and(|crop| !crop.is_sound()) {
            return Err(DataError::config("crop", "must be a side or [height, width] in 1..=8192"));
        }
        match self.max_class_share {
            Some(share) if !(share > 0.0 && share <= 1.0) => {
                Err(DataError::config("max_class_share", "must be a share above 0 and at most 1"))
            }
            Some(_) if self.crop.is_none() && self.scale.is_none() => {
                Err(DataError::config("max_class_share", "chooses among crops: give `crop` or `scale` too"))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
