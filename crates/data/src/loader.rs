//! Batches of a data set, decoded in parallel and prepared ahead.
//!
//! The order of an epoch is `Stream::new(seed).with("order").at(epoch).permutation(n)` and batch `k` holds the samples
//! at places `k B .. (k + 1) B` of it. Every sample's augmentation is drawn from
//! `Stream::new(seed).with("augment").at(epoch).at(index)`. So the contents depend on neither the number of workers
//! nor on where in the epoch reading starts, and a resumed run goes on with exactly the batches that were missing.
//!
//! Where images keep sizes of their own (evaluation with masks), samples of one step that differ in size come in
//! several batches of that step, cut where the size changes, in the data set's order.

use crate::pipeline::{Prepared, Values};
use crate::{DataError, Dataset, Mask, Pipeline, Target};
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use subband_seed::Stream;

/// A batch of one network's input.
#[derive(Debug, Clone, PartialEq)]
pub struct View {
    /// Normalised values, `N x C x H x W`.
    pub data: Vec<f32>,
    /// `[N, C, H, W]`.
    pub shape: [usize; 4],
}

/// What the samples of a batch are labelled with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Targets {
    /// The class of each sample.
    Classes(Vec<usize>),
    /// The classes of each sample's pixels: in training at the size of the student's input, in evaluation at the size
    /// of the label file.
    Masks(Vec<Arc<Mask>>),
}

impl Targets {
    /// The classes of samples with one class each; empty for masks.
    pub fn classes(&self) -> &[usize] {
        match self {
            Self::Classes(classes) => classes,
            Self::Masks(_) => &[],
        }
    }
}

impl Batch {
    /// The number of samples.
    pub fn len(&self) -> usize {
        self.indices.len()
    }

    /// True without samples.
    pub fn is_empty(&self) -> bool {
        self.indices.is_empty()
    }
}

/// One step's samples; never empty.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// The step of the epoch it belongs to, from 0; consecutive batches share it where images of several sizes meet.
    pub step: usize,
    /// What the student sees.
    pub student: View,
    /// What the teacher sees; `None` when that is the same values as the student's.
    pub teacher: Option<View>,
    /// What the samples are labelled with.
    pub targets: Targets,
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
    /// Decoding threads; 0: one for each core. The batches do not depend on it.
    pub workers: usize,
    /// Batches prepared ahead, from 1.
    pub prefetch: usize,
    /// Drop images that cannot be decoded instead of stopping. Their batch becomes smaller; a batch with no image
    /// left is passed over (its step number with it), and so is, with `shuffle`, one that shrank to a single image,
    /// which batch normalisation cannot learn from.
    pub skip_corrupt: bool,
    /// The run's seed.
    pub seed: u64,
}

/// An image that was passed over.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Skipped {
    /// Index in the loader's data set.
    pub index: usize,
    /// The error, which names the path.
    pub error: String,
}

/// What the epochs of one loader share.
struct Source {
    dataset: Arc<dyn Dataset>,
    pipeline: Pipeline,
    config: LoaderConfig,
    paired: bool,
    pool: rayon::ThreadPool,
    skipped: Mutex<BTreeMap<usize, String>>,
}

/// Reads a data set in batches, epoch by epoch.
pub struct Loader {
    source: Arc<Source>,
}

impl Loader {
    /// A loader with its own decoding threads. An error when the batch size is 0, the data set is empty, or the
    /// threads cannot be started.
    pub fn new(dataset: Arc<dyn Dataset>, pipeline: Pipeline, config: LoaderConfig) -> Result<Self, DataError> {
        if config.batch_size == 0 {
            return Err(DataError::Loader("the batch size must be at least 1".into()));
        }
        if dataset.is_empty() {
            return Err(DataError::Loader("the data set holds no images".into()));
        }
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(config.workers)
            .thread_name(|i| format!("decode-{i}"))
            .build()
            .map_err(|e| DataError::Loader(e.to_string()))?;
        let paired = dataset.has_teacher_view() || pipeline.views_differ();
        let skipped = Mutex::new(BTreeMap::new());
        Ok(Self { source: Arc::new(Source { dataset, pipeline, config, paired, pool, skipped }) })
    }

    /// Samples of the data set.
    pub fn samples(&self) -> usize {
        self.source.dataset.len()
    }

    /// Steps of an epoch.
    pub fn steps(&self) -> usize {
        let (n, batch) = (self.samples(), self.source.config.batch_size);
        if self.source.config.drop_last { n / batch } else { n.div_ceil(batch) }
    }

    /// The data set it reads; [`Batch::indices`] are indices into it.
    pub fn dataset(&self) -> &Arc<dyn Dataset> {
        &self.source.dataset
    }

    /// The batches of `epoch` from `start_step` on (0: all), prepared by a background thread from now on.
    pub fn epoch(&self, epoch: usize, start_step: usize) -> Epoch {
        let (sender, receiver) = sync_channel(self.source.config.prefetch.max(1));
        let (source, steps) = (Arc::clone(&self.source), self.steps());
        let work = move || source.fill(epoch, start_step..steps, &sender);
        match std::thread::Builder::new().name("loader".into()).spawn(work) {
            Ok(thread) => Epoch { receiver: Some(receiver), thread: Some(thread), failure: None },
            Err(e) => Epoch { receiver: None, thread: None, failure: Some(DataError::Loader(e.to_string())) },
        }
    }

    /// The images passed over so far, each once, by index. Empty unless `skip_corrupt` is set.
    pub fn skipped(&self) -> Vec<Skipped> {
        let skipped = self.source.skipped.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        skipped.iter().map(|(&index, error)| Skipped { index, error: error.clone() }).collect()
    }
}

/// One pass over the data: an iterator of batches. It ends after an error. Dropping it stops the preparation.
pub struct Epoch {
    receiver: Option<Receiver<Message>>,
    thread: Option<JoinHandle<()>>,
    failure: Option<DataError>,
}

/// What the background thread sends. Without `Done` a closed channel means that the thread died.
enum Message {
    Batch(Box<Batch>),
    Failed(DataError),
    Done,
}

impl Iterator for Epoch {
    type Item = Result<Batch, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(failure) = self.failure.take() {
            return Some(Err(failure));
        }
        let message = self.receiver.as_ref()?.recv();
        if let Ok(Message::Batch(batch)) = message {
            return Some(Ok(*batch));
        }
        self.receiver = None;
        match message {
            Ok(Message::Failed(error)) => Some(Err(error)),
            Err(_) => Some(Err(DataError::Loader("a decoding thread ended unexpectedly".into()))),
            Ok(_) => None,
        }
    }
}

impl Drop for Epoch {
    fn drop(&mut self) {
        // Closing the channel first makes the thread's next send fail, so that it ends.
        self.receiver = None;
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was already reported by the missing `Done`.
            let _ = thread.join();
        }
    }
}

impl Source {
    /// The samples of an epoch in order.
    fn order(&self, epoch: usize) -> Vec<usize> {
        let n = self.dataset.len();
        if self.config.shuffle {
            Stream::new(self.config.seed).with("order").at(epoch as u64).permutation(n)
        } else {
            (0..n).collect()
        }
    }

    /// Prepares and sends the batches of `steps`, until the receiver is gone.
    fn fill(&self, epoch: usize, steps: std::ops::Range<usize>, sender: &SyncSender<Message>) {
        let order = self.order(epoch);
        for step in steps {
            let from = step * self.config.batch_size;
            let to = (from + self.config.batch_size).min(order.len());
            match self.pool.install(|| self.batches(epoch, step, &order[from..to])) {
                Ok(batches) => {
                    for batch in batches {
                        if sender.send(Message::Batch(Box::new(batch))).is_err() {
                            return;
                        }
                    }
                }
                Err(error) => {
                    // Nobody may be listening any more, which is fine.
                    let _ = sender.send(Message::Failed(error));
                    return;
                }
            }
        }
        // The receiver may be gone already, which is fine.
        let _ = sender.send(Message::Done);
    }

    /// Decodes the samples `indices` in parallel: one batch, or several where their sizes differ.
    fn batches(&self, epoch: usize, step: usize, indices: &[usize]) -> Result<Vec<Batch>, DataError> {
        let results: Vec<_> = indices.par_iter().map(|&index| self.sample(epoch, index)).collect();
        let kept = self.keep(indices, results)?;
        if self.config.shuffle && kept.len() == 1 && indices.len() > 1 {
            return Ok(Vec::new());
        }
        let shapes = |p: &Prepared| (p.student.shape, p.teacher.as_ref().map(|t| t.shape));
        Ok(kept.chunk_by(|(_, a), (_, b)| shapes(a) == shapes(b)).map(|group| batch(step, group)).collect())
    }

    fn sample(&self, epoch: usize, index: usize) -> Result<Prepared, DataError> {
        let draws = Stream::new(self.config.seed).with("augment").at(epoch as u64).at(index as u64);
        let sample = self.dataset.load(index)?;
        self.pipeline.prepare(&self.dataset.describe(index), &sample, draws, self.paired)
    }

    /// The samples that are there with their indices; the first error in the epoch's order unless it may be passed
    /// over.
    fn keep(
        &self,
        indices: &[usize],
        results: Vec<Result<Prepared, DataError>>,
    ) -> Result<Vec<(usize, Prepared)>, DataError> {
        let mut kept = Vec::with_capacity(indices.len());
        for (&index, result) in indices.iter().zip(results) {
            match result {
                Ok(prepared) => kept.push((index, prepared)),
                Err(error) if self.config.skip_corrupt && error.is_corrupt_sample() => {
                    let mut skipped = self.skipped.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    skipped.entry(index).or_insert_with(|| error.to_string());
                }
                Err(error) => return Err(error),
            }
        }
        Ok(kept)
    }
}

/// Values of one shape one after another.
fn view<'a>(parts: impl Iterator<Item = &'a Values>) -> View {
    let mut out = View { data: Vec::new(), shape: [0; 4] };
    for values in parts {
        let [c, h, w] = values.shape;
        out.shape = [out.shape[0] + 1, c, h, w];
        out.data.extend_from_slice(&values.data);
    }
    out
}

/// Samples of one size as a batch.
fn batch(step: usize, samples: &[(usize, Prepared)]) -> Batch {
    let (mut classes, mut masks) = (Vec::new(), Vec::new());
    for (_, prepared) in samples {
        match &prepared.target {
            Target::Class(class) => classes.push(*class),
            Target::Mask(mask) => masks.push(Arc::clone(mask)),
        }
    }
    Batch {
        step,
        student: view(samples.iter().map(|(_, p)| &p.student)),
        teacher: samples
            .iter()
            .all(|(_, p)| p.teacher.is_some())
            .then(|| view(samples.iter().filter_map(|(_, p)| p.teacher.as_ref()))),
        targets: if masks.is_empty() { Targets::Classes(classes) } else { Targets::Masks(masks) },
        indices: samples.iter().map(|(index, _)| *index).collect(),
    }
}

#[cfg(test)]
mod tests;
