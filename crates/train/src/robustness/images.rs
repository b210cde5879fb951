//! The images under a corruption, and what frost is made of.
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use subband_data::corruption::Frost;
use subband_data::{Corrupted, Corruption, DataError, Dataset, EvalSplit, Loader, Samples, Splits, Subset, balanced};
use subband_seed::Stream;

use super::{Condition, CorruptionGrid, RobustnessEvent};
use crate::TrainError;
use crate::evidence::RobustnessRecord;

/// What the corruption `frost` lays over images.
#[derive(Debug, Clone)]
pub struct FrostSource {
    pictures: Option<Arc<Frost>>,
    name: String,
}

impl FrostSource {
    /// The pictures of a folder such as `imagecorruptions/frost` in Python's site-packages; without one, textures that
    /// are made by formula and only resemble them.
    ///
    /// # Errors
    /// Pictures that are missing or broken; a folder where `grid` has no frost.
    pub fn open(folder: Option<&Path>, grid: &CorruptionGrid) -> Result<Self, TrainError> {
        let Some(folder) = folder else {
            return Ok(Self { pictures: None, name: RobustnessRecord::GENERATED.into() });
        };
        if !grid.contains(Corruption::Frost) {
            return Err(TrainError::Robustness(
                "pictures of frost are given, but `frost` is not among the corruptions; add it or leave the folder out"
                    .into(),
            ));
        }
        let pictures = Frost::from_folder(folder)?;
        let mut hash = Sha256::new();
        for index in 0..5 {
            let picture = pictures.texture(index);
            hash.update((picture.width() as u64).to_le_bytes());
            if let Samples::U8(samples) = picture.samples() {
                hash.update(samples);
            }
        }
        let name = format!("pictures {}", hex(&hash.finalize()));
        Ok(Self { pictures: Some(Arc::new(pictures)), name })
    }

    /// Whether it is made by formula.
    pub fn is_generated(&self) -> bool {
        self.pictures.is_none()
    }

    /// `generated`, or `pictures` with a hash of them.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// The first 16 bytes of a hash in hexadecimal.
pub(super) fn hex(hash: &[u8]) -> String {
    hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// Opens a loader on a data set of the same kind.
type Open = Box<dyn Fn(Arc<dyn Dataset>) -> Result<Loader, DataError>>;

/// Images that can be corrupted.
pub(crate) struct Images {
    dataset: Arc<dyn Dataset>,
    chosen: Option<Vec<usize>>,
    seed: u64,
    frost: FrostSource,
    /// Whether a network sees the fourth band alone, which is then corrupted too.
    fourth_band: bool,
    open: Open,
}

impl Images {
    /// The test images of a run.
    pub fn of_run(splits: &Splits, batch: usize, seed: u64, frost: FrostSource) -> Self {
        let fourth_band = splits.eval_pipeline.shows_fourth_band_alone();
        let (dataset, splits) = (Arc::clone(&splits.test), splits.clone());
        let open: Open = Box::new(move |dataset| splits.eval_loader(&dataset, batch));
        Self { dataset, chosen: None, seed, frost, fourth_band, open }
    }

    /// The images of a split.
    pub fn of_split(split: &EvalSplit, batch: usize, seed: u64, frost: FrostSource) -> Self {
        let fourth_band = split.pipeline.shows_fourth_band_alone();
        let (dataset, split) = (Arc::clone(&split.dataset), split.clone());
        let open: Open = Box::new(move |dataset| {
            let mut split = split.clone();
            split.dataset = dataset;
            split.loader(batch)
        });
        Self { dataset, chosen: None, seed, frost, fourth_band, open }
    }

    /// Some of them: those that `test_limit = limit` of a recipe with this seed takes. Each is corrupted as it is among
    /// all.
    ///
    /// # Errors
    /// No images.
    pub fn limited(mut self, limit: Option<usize>) -> Result<Self, TrainError> {
        let Some(limit) = limit else { return Ok(self) };
        if limit == 0 {
            return Err(TrainError::Robustness("0 images measure nothing; choose a limit of 1 or more".into()));
        }
        if limit < self.dataset.len() {
            let stream = Stream::new(self.seed).with("subset").with("test limit");
            self.chosen = Some(balanced(self.dataset.as_ref(), limit, stream));
        }
        Ok(self)
    }

    /// Images of a cell.
    pub fn len(&self) -> usize {
        self.chosen.as_ref().map_or(self.dataset.len(), Vec::len)
    }

    /// Images to choose from.
    pub fn of(&self) -> usize {
        self.dataset.len()
    }

    /// Name of what frost is made of.
    pub fn frost(&self) -> &str {
        self.frost.name()
    }

    /// A loader on the images of a cell.
    ///
    /// # Errors
    /// No images.
    pub fn under(&self, condition: Condition) -> Result<Loader, TrainError> {
        let mut dataset = Arc::clone(&self.dataset);
        if let Condition::Corrupted(corruption, severity) = condition {
            let corrupted = Corrupted::new(dataset, corruption, severity, self.seed).with_fourth_band(self.fourth_band);
            dataset = match &self.frost.pictures {
                Some(pictures) => Arc::new(corrupted.with_frost(Arc::clone(pictures))),
                None => Arc::new(corrupted),
            };
        }
        if let Some(chosen) = &self.chosen {
            dataset = Arc::new(Subset::new(dataset, chosen.clone())?);
        }
        Ok((self.open)(dataset)?)
    }
}

/// Tells once which images were passed over.
#[derive(Default)]
pub(super) struct Skips {
    told: bool,
}

impl Skips {
    /// After a pass over the images of a loader.
    pub fn tell(
        &mut self,
        loader: &Loader,
        progress: &mut dyn FnMut(RobustnessEvent<'_>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let images = loader.skipped();
        if self.told || images.is_empty() {
            return ControlFlow::Continue(());
        }
        self.told = true;
        progress(RobustnessEvent::Skipped { images: &images })
    }
}
