//! The loader.
use crate::{DataError, Dataset, Pipeline};
use std::sync::Arc;

/// A batch of one network's input.
#[derive(Debug, Clone, PartialEq)]
pub struct View {
    /// Normalised values, `N x C x H x W`.
    pub data: Vec<f32>,
    /// `[N, C, H, W]`.
    pub shape: [usize; 4],
}

/// One step's samples.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// The step of the epoch it belongs to, from 0.
    pub step: usize,
    /// What the student sees.
    pub student: View,
    /// What the teacher sees; `None` when that is the same values as the student's.
    pub teacher: Option<View>,
    /// Class index of each sample.
    pub labels: Vec<usize>,
    /// Index of each sample in the data set the loader reads.
    pub indices: Vec<usize>,
}

/// How a [`Loader`] goes through its data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoaderConfig {
    /// Samples in a batch, from 1.
    pub batch_size: usize,
    /// A new order each epoch (a function of seed and epoch); false: the data set's own order.
    pub shuffle: bool,
    /// Leave out the last batch when it is not full.
    pub drop_last: bool,
    /// Decoding threads; 0: one for each core.
    pub workers: usize,
    /// Batches prepared ahead, from 1.
    pub prefetch: usize,
    /// Drop images that cannot be decoded instead of stopping.
    pub skip_corrupt: bool,
    /// The run's seed.
    pub seed: u64,
}

/// An image that was passed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// Index in the loader's data set.
    pub index: usize,
    /// The error, which names the path.
    pub error: String,
}

/// Reads a data set in batches.
pub struct Loader {}

/// One pass: an iterator of batches.
pub struct Epoch {}

impl Loader {
    /// A loader.
    pub fn new(dataset: Arc<dyn Dataset>, pipeline: Pipeline, config: LoaderConfig) -> Result<Self, DataError> {
        let _ = (dataset, pipeline, config);
        todo!()
    }
    /// Number of samples of an epoch.
    pub fn samples(&self) -> usize {
        todo!()
    }
    /// Steps of an epoch.
    pub fn steps(&self) -> usize {
        todo!()
    }
    /// The batches of `epoch` from `start_step` on (0: all).
    pub fn epoch(&self, epoch: usize, start_step: usize) -> Epoch {
        let _ = (epoch, start_step);
        todo!()
    }
    /// Skipped so far.
    pub fn skipped(&self) -> Vec<Skipped> {
        todo!()
    }
}

impl Iterator for Epoch {
    type Item = Result<Batch, DataError>;
    fn next(&mut self) -> Option<Self::Item> {
        todo!()
    }
}
