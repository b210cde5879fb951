//! The `[data]` table of a recipe and what it opens.

use crate::normalize::Normalize;
use crate::{DataError, Dataset, Loader, Pipeline};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::sync::Arc;

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

/// How images of any size come to one size.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ResizeConfig {
    /// Side of the square input.
    pub size: usize,
    /// How.
    pub mode: ResizeMode,
}

/// The kind of resizing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ResizeMode {
    /// The whole image to a square, its aspect ratio not kept.
    Squash,
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
    /// Its normalisation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub normalize: Option<Normalize>,
    /// Its colour changes, drawn independently of the other view's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub photometric: Option<PhotometricConfig>,
}

/// An opened data set.
#[derive(Clone)]
pub struct Splits {
    /// The training images.
    pub train: Arc<dyn Dataset>,
    /// The images that choose the best epoch; `None` when there are none.
    pub validation: Option<Arc<dyn Dataset>>,
    /// The images that are only tested on.
    pub test: Arc<dyn Dataset>,
    /// Class names.
    pub classes: Vec<String>,
    /// Channels of the input.
    pub channels: usize,
    /// Height and width of the input.
    pub size: [usize; 2],
    /// From image to training input.
    pub train_pipeline: Pipeline,
    /// From image to evaluation input: no augmentation.
    pub eval_pipeline: Pipeline,
}

impl DataConfig {
    /// Default values of everything but the kind.
    pub fn new(dataset: DatasetKind) -> Self {
        let _ = dataset;
        todo!()
    }
    /// Opens the data set. `seed` chooses limits and the validation split.
    pub fn open(&self, seed: u64) -> Result<Splits, DataError> {
        let _ = seed;
        todo!()
    }
}

impl Splits {
    /// The training loader: shuffled, augmented.
    pub fn train_loader(&self, batch_size: usize, drop_last: bool) -> Result<Loader, DataError> {
        let _ = (batch_size, drop_last);
        todo!()
    }
    /// A loader for evaluation: the data set's order, no augmentation, all samples.
    pub fn eval_loader(&self, dataset: &Arc<dyn Dataset>, batch_size: usize) -> Result<Loader, DataError> {
        let _ = (dataset, batch_size);
        todo!()
    }
}
