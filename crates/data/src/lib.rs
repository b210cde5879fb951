//! Image data sets, augmentation and the deterministic parallel loader.
//!
//! A [`Dataset`] gives decoded [`Sample`]s: the student's image, the teacher's where it is another one, and the target.
//! A [`Pipeline`] turns a sample into the values both networks get: the geometry is decided once and shared, colours
//! and normalisation belong to each view. A [`Loader`] does this in parallel and ahead of time. [`DataConfig`] is the
//! `[data]` table of a recipe and opens all of it:
//!
//! ```
//! use subband_data::{DataConfig, DatasetKind};
//! let splits = DataConfig::new(DatasetKind::Digits).open(1)?;
//! let loader = splits.train_loader(32, true)?;
//! let batch = loader.epoch(0, 0).next().expect("156 steps")?;
//! assert_eq!(batch.student.shape, [32, 1, 28, 28]);
//! # Ok::<(), subband_data::DataError>(())
//! ```
//!
//! Everything random is drawn from paths of `subband-seed`, so batches depend on the seed, the epoch and the sample
//! alone, never on threads or on what was read before.

mod cache;
mod cifar;
mod config;
pub mod corruption;
mod dataset;
pub mod decode;
mod digits;
mod distortion;
mod download;
pub mod encode;
mod error;
mod folder;
mod geometry;
mod image;
mod loader;
mod mask;
mod md5;
mod normalize;
mod open;
mod photometric;
mod pickle;
mod pipeline;
mod segmentation;
mod subset;
mod summary;
#[cfg(test)]
mod testing;
mod unlabelled;

pub use cache::Cached;
pub use cifar::{Cifar, Kind as CifarKind};
pub use config::{
    Bands, DataConfig, DatasetKind, Filter, Photometric, PhotometricConfig, ResizeConfig, ResizeMode, Size, ViewConfig,
};
pub use corruption::{Corrupted, Corruption, Fields, Severity};
pub use dataset::{Dataset, Sample, Target, Task};
pub use digits::Digits;
pub use download::{Progress, cache_folder};
pub use error::DataError;
pub use folder::Folder;
pub use geometry::Geometry;
pub use image::{Image, LUMA, Samples};
pub use loader::{Batch, Epoch, Loader, LoaderConfig, Skipped, Targets, View};
pub use mask::Mask;
pub use normalize::{Normalization, Normalize};
pub use open::{EvalSplit, Splits};
pub use pipeline::Pipeline;
pub use segmentation::{LabelMap, MaskSet};
pub use subset::{Subset, balanced, stratified};
pub use summary::{PixelSummary, Summary, summarize};
