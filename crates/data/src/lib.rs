//! Image data sets, augmentation and the deterministic parallel loader.

mod config;
mod dataset;
mod error;
mod image;
mod loader;
mod normalize;
mod pipeline;

pub use config::{DataConfig, DatasetKind, PhotometricConfig, ResizeConfig, ResizeMode, Splits, ViewConfig};
pub use dataset::{Dataset, Sample, Target};
pub use error::DataError;
pub use image::{Image, LUMA, Samples};
pub use loader::{Batch, Epoch, Loader, LoaderConfig, Skipped, View};
pub use normalize::{Normalization, Normalize};
pub use pipeline::Pipeline;
