//! Opening what a [`DataConfig`] describes: splits, limits, cache and pipelines.

use crate::cache::Cached;
use crate::config::{DataConfig, DatasetKind, Filter, ViewConfig};
use crate::geometry::{CropPlan, GeometryPlan};
use crate::normalize::Normalize;
use crate::pipeline::{Pipeline, ViewPlan, zoomed};
use crate::segmentation::{self, MaskSet};
use crate::subset::{Subset, balanced, stratified};
use crate::{DataError, Dataset, Digits, Folder, Loader, LoaderConfig, Progress, Task, cifar};
use rayon::prelude::*;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use subband_seed::Stream;

/// An opened data set.
#[derive(Clone)]
pub struct Splits {
    /// The training images.
    pub train: Arc<dyn Dataset>,
    /// The images that choose the best epoch; `None` when there are none.
    pub validation: Option<Arc<dyn Dataset>>,
    /// The images that are only tested on.
    pub test: Arc<dyn Dataset>,
    /// What the images are labelled with.
    pub task: Task,
    /// Class names.
    pub classes: Vec<String>,
    /// Channels of the student's input.
    pub channels: usize,
    /// Height and width of the student's input in training.
    pub size: [usize; 2],
    /// From image to training input.
    pub train_pipeline: Pipeline,
    /// From image to evaluation input: no augmentation.
    pub eval_pipeline: Pipeline,
    loading: Loading,
}

/// One split, opened for evaluation.
#[derive(Clone)]
pub struct EvalSplit {
    /// The images.
    pub dataset: Arc<dyn Dataset>,
    /// What the images are labelled with.
    pub task: Task,
    /// Class names.
    pub classes: Vec<String>,
    /// Channels of the student's input.
    pub channels: usize,
    /// Height and width of the student's input; those of the first image where [`Pipeline::keeps_sizes`].
    pub size: [usize; 2],
    /// From image to input.
    pub pipeline: Pipeline,
    loading: Loading,
}

/// The part of the configuration that loaders need.
#[derive(Debug, Clone, Copy)]
struct Loading {
    seed: u64,
    workers: usize,
    skip_corrupt: bool,
}

impl Loading {
    fn config(self, batch_size: usize, shuffle: bool, drop_last: bool) -> LoaderConfig {
        let Self { seed, workers, skip_corrupt } = self;
        LoaderConfig { batch_size, shuffle, drop_last, workers, prefetch: 4, skip_corrupt, seed }
    }
}

impl Splits {
    /// The same images, in the order and with the augmentation of another seed.
    pub fn with_seed(&self, seed: u64) -> Self {
        Self { loading: Loading { seed, ..self.loading }, ..self.clone() }
    }

    /// The training loader: shuffled and augmented, each a function of seed and epoch.
    pub fn train_loader(&self, batch_size: usize, drop_last: bool) -> Result<Loader, DataError> {
        let config = self.loading.config(batch_size, true, drop_last);
        Loader::new(Arc::clone(&self.train), self.train_pipeline.clone(), config)
    }

    /// True when each pixel has a class: targets are masks.
    pub fn is_segmentation(&self) -> bool {
        self.task == Task::Segmentation
    }

    /// Reads every image and label file that training is judged by, so that a bad one is found before it and not after.
    /// Data sets without label files are left to their loaders.
    ///
    /// # Errors
    /// The first file that cannot be used, validation before test; none of damaged images that may be passed over.
    pub fn check_labels(&self) -> Result<(), DataError> {
        if !self.is_segmentation() {
            return Ok(());
        }
        for dataset in self.validation.iter().chain([&self.test]) {
            let found =
                (0..dataset.len()).into_par_iter().filter_map(|index| dataset.load(index).err().map(|e| (index, e)));
            let counts = |error: &DataError| !(self.loading.skip_corrupt && error.is_corrupt_sample());
            if let Some((_, error)) = found.filter(|(_, error)| counts(error)).min_by_key(|(index, _)| *index) {
                return Err(error);
            }
        }
        Ok(())
    }

    /// A loader for evaluation: the data set's order, no augmentation, all samples.
    pub fn eval_loader(&self, dataset: &Arc<dyn Dataset>, batch_size: usize) -> Result<Loader, DataError> {
        Loader::new(Arc::clone(dataset), self.eval_pipeline.clone(), self.loading.config(batch_size, false, false))
    }
}

impl EvalSplit {
    /// True when each pixel has a class: targets are masks.
    pub fn is_segmentation(&self) -> bool {
        self.task == Task::Segmentation
    }

    /// A loader in the data set's order over all samples.
    pub fn loader(&self, batch_size: usize) -> Result<Loader, DataError> {
        Loader::new(Arc::clone(&self.dataset), self.pipeline.clone(), self.loading.config(batch_size, false, false))
    }
}

/// Data sets as they lie on disk: training, the validation folder if there is one of its own, test.
type Raw = (Arc<dyn Dataset>, Option<Arc<dyn Dataset>>, Arc<dyn Dataset>);

impl DataConfig {
    /// Opens the data set without telling about a download. See [`Self::open_with`].
    pub fn open(&self, seed: u64) -> Result<Splits, DataError> {
        self.open_with(seed, &mut |_| {})
    }

    /// Opens the data set; `progress` is told about a download.
    ///
    /// `seed` chooses `train_limit`, `validation` and `test_limit`, in this order: the limit is taken from the
    /// training split, the validation share from what the limit left. Without `resize` and `crop` the size of training
    /// inputs is that of the training split's first image. Folders: the test images are those of `test/`,
    /// or of `val/` when there is no `test/`; with both and no `validation` share, `val/` is the validation split. So
    /// it is with masks, but that Cityscapes, whose test labels are kept back, is tested on `val`.
    pub fn open_with(&self, seed: u64, progress: &mut dyn FnMut(Progress)) -> Result<Splits, DataError> {
        self.check()?;
        let (mut train, mut validation, mut test) = self.open_raw(progress)?;
        let (train_pipeline, eval_pipeline) = self.pipelines(train.as_ref())?;
        let stream = Stream::new(seed).with("subset");
        if let Some(limit) = self.train_limit {
            let chosen = balanced(train.as_ref(), limit, stream.with("train limit"));
            train = Arc::new(Subset::new(train, chosen)?);
        }
        if let Some(share) = self.validation.filter(|s| *s > 0.0) {
            let (rest, part) = stratified(train.as_ref(), share, stream.with("validation"));
            if part.is_empty() {
                return Err(DataError::config("validation", "no class has two training images to share out"));
            }
            validation = Some(Arc::new(Subset::new(Arc::clone(&train), part)?));
            train = Arc::new(Subset::new(train, rest)?);
        }
        if let Some(limit) = self.test_limit {
            let chosen = balanced(test.as_ref(), limit, stream.with("test limit"));
            test = Arc::new(Subset::new(test, chosen)?);
        }
        let budget = Arc::new(AtomicUsize::new(self.cache_mb << 20));
        let cached = |data| self.cached(data, &budget);
        let (train, validation, test) = (cached(train), validation.map(cached), cached(test));
        let [channels, height, width] = train_pipeline.student_shape();
        Ok(Splits {
            task: train.task(),
            classes: train.classes().to_vec(),
            train,
            validation,
            test,
            channels,
            size: [height, width],
            train_pipeline,
            eval_pipeline,
            loading: self.loading(seed),
        })
    }

    /// Opens one split for evaluation: a folder's name, or `train` or `test` (`val` means `test`) of the other data
    /// sets; with masks the name of a folder or a list (`test_day` of `mfnet`). `test_limit` is kept, the other limits
    /// are not. A folder's classes are those of `train/` if it exists.
    pub fn open_split(&self, split: &str, seed: u64) -> Result<EvalSplit, DataError> {
        self.check()?;
        let mut dataset: Arc<dyn Dataset> = match (self.dataset, &self.path) {
            (DatasetKind::Folder, Some(root)) => {
                let classes =
                    if root.join("train").is_dir() { Some(Folder::class_names(root, "train")?) } else { None };
                Arc::new(Folder::open(root, split, classes.as_deref())?)
            }
            (kind, _) if kind.task() == Task::Segmentation => Arc::new(MaskSet::open(self, split)?),
            _ => {
                let (train, _, test) = self.open_raw(&mut |_| {})?;
                match split {
                    "train" => train,
                    "test" | "val" => test,
                    _ => return Err(DataError::config("split", format!("\"{split}\" is neither train nor test"))),
                }
            }
        };
        let (_, pipeline) = self.pipelines(dataset.as_ref())?;
        if let Some(limit) = self.test_limit {
            let chosen = balanced(dataset.as_ref(), limit, Stream::new(seed).with("subset").with("test limit"));
            dataset = Arc::new(Subset::new(dataset, chosen)?);
        }
        let [channels, height, width] = pipeline.student_shape();
        let (task, classes) = (dataset.task(), dataset.classes().to_vec());
        Ok(EvalSplit { dataset, task, classes, channels, size: [height, width], pipeline, loading: self.loading(seed) })
    }

    /// The splits that [`Self::open_split`] can open: those that lie on disk, or `train` and `test`. At least `train`,
    /// whose opening says what is missing.
    pub fn split_names(&self) -> Vec<String> {
        let names = match (self.dataset, &self.path) {
            (DatasetKind::Folder, Some(root)) => {
                let there = ["train", "val", "test"].into_iter().filter(|name| root.join(name).is_dir());
                there.map(str::to_string).collect()
            }
            (kind, _) if kind.task() == Task::Segmentation => segmentation::split_names(self),
            _ => vec!["train".to_string(), "test".to_string()],
        };
        if names.is_empty() { vec!["train".to_string()] } else { names }
    }

    fn open_raw(&self, progress: &mut dyn FnMut(Progress)) -> Result<Raw, DataError> {
        match self.dataset {
            DatasetKind::Digits => {
                let (train, test) = Digits::open()?;
                Ok((Arc::new(train), None, Arc::new(test)))
            }
            DatasetKind::Cifar10 | DatasetKind::Cifar100 => {
                let kind = if self.dataset == DatasetKind::Cifar10 { cifar::Kind::Ten } else { cifar::Kind::Hundred };
                let (train, test) = cifar::open(kind, self.path.as_deref(), self.download, progress)?;
                Ok((Arc::new(train), None, Arc::new(test)))
            }
            DatasetKind::Folder => self.open_folder(self.path.as_deref().unwrap_or(Path::new("."))),
            _ => self.open_masks(),
        }
    }

    fn open_masks(&self) -> Result<Raw, DataError> {
        let open = |split: &str| -> Result<Arc<dyn Dataset>, DataError> { Ok(Arc::new(MaskSet::open(self, split)?)) };
        let train = open("train")?;
        let (validation, test) = segmentation::roles(self.dataset, &segmentation::split_names(self));
        let validation = validation.filter(|_| self.validation.is_none()).map(open).transpose()?;
        Ok((train, validation, open(test)?))
    }

    fn open_folder(&self, root: &Path) -> Result<Raw, DataError> {
        let train = Folder::open(root, "train", None)?;
        let open = |split: &str| -> Result<Arc<dyn Dataset>, DataError> {
            Ok(Arc::new(Folder::open(root, split, Some(train.classes()))?))
        };
        let (has_val, has_test) = (root.join("val").is_dir(), root.join("test").is_dir());
        let own_validation = has_val && has_test && self.validation.is_none();
        let validation = if own_validation { Some(open("val")?) } else { None };
        // With neither folder the error says that val/ is expected.
        let test = open(if has_test { "test" } else { "val" })?;
        Ok((Arc::new(train), validation, test))
    }

    fn cached(&self, dataset: Arc<dyn Dataset>, budget: &Arc<AtomicUsize>) -> Arc<dyn Dataset> {
        if dataset.in_memory() || self.cache_mb == 0 {
            return dataset;
        }
        Arc::new(Cached::new(dataset, Arc::clone(budget)))
    }

    fn loading(&self, seed: u64) -> Loading {
        Loading { seed, workers: self.workers, skip_corrupt: self.skip_corrupt }
    }

    /// The training and the evaluation pipeline for images like those of `dataset`: a whole split, so that no size
    /// depends on the seed that chooses some of it.
    fn pipelines(&self, dataset: &dyn Dataset) -> Result<(Pipeline, Pipeline), DataError> {
        let whole = match &self.resize {
            Some(resize) => resize.size.array(),
            None => self.common_size(dataset)?,
        };
        let cut = self.crop.map_or(whole, |crop| crop.array());
        let crops = self.crop.is_some() || self.scale.is_some();
        let crop = crops.then_some(CropPlan { scale: self.scale, max_class_share: self.max_class_share });
        let native = dataset.task() == Task::Segmentation && self.resize.is_none();
        let train = self.pipeline(cut, crop, false)?;
        let eval = self.pipeline(whole, None, native)?.without_augmentation();
        Ok((train, eval))
    }

    /// A pipeline of training with inputs of `size`; `native`: every image at its own size.
    pub(crate) fn pipeline(
        &self,
        size: [usize; 2],
        crop: Option<CropPlan>,
        native: bool,
    ) -> Result<Pipeline, DataError> {
        let own = |view: &Option<ViewConfig>| view.as_ref().is_some_and(|v| v.photometric.is_some());
        let (resize, padding, flip) = (self.resize.clone(), self.crop_padding, self.flip);
        let window = self.crop.filter(|_| crop.is_none()).map(|crop| crop.array());
        let view = |own: &Option<ViewConfig>| self.view(own.as_ref(), size, native, window);
        Ok(Pipeline {
            filter: resize.as_ref().map_or(Filter::Bilinear, |r| r.filter),
            geometry: GeometryPlan { size, resize, crop, padding, flip },
            student: view(&self.student)?,
            teacher: view(&self.teacher)?,
            own_colours: own(&self.student) || own(&self.teacher),
            any_size: native,
            augment: true,
        })
    }

    /// What one network sees; `window` is the part that training crops where whole images are shown instead: a view's
    /// own size is then that of the window, and the image is enlarged as much.
    fn view(
        &self,
        own: Option<&ViewConfig>,
        size: [usize; 2],
        native: bool,
        window: Option<[usize; 2]>,
    ) -> Result<ViewPlan, DataError> {
        let (bands, channels) = self.bands_of(own);
        let default_name = match self.dataset {
            DatasetKind::Digits => "digits",
            DatasetKind::Cifar10 if channels == 3 => "cifar10",
            DatasetKind::Cifar100 if channels == 3 => "cifar100",
            kind if channels == 3 && (kind == DatasetKind::Folder || kind.task() == Task::Segmentation) => "imagenet",
            _ => "half",
        };
        let named = own.and_then(|v| v.normalize.as_ref()).or(self.normalize.as_ref()).cloned();
        let normalization = named.unwrap_or_else(|| Normalize::named(default_name)).resolve(channels)?;
        let photometric = own.and_then(|v| v.photometric).or(self.photometric);
        let (size, native) = match (own.and_then(|v| v.size).map(|size| size.array()), window) {
            (None, _) => (size, native.then_some([1.0; 2])),
            (Some(own), None) => (own, None),
            (Some(own), Some(window)) => {
                let zoom = [0, 1].map(|axis| own[axis] as f64 / window[axis] as f64);
                (zoomed(size, zoom), native.then_some(zoom))
            }
        };
        Ok(ViewPlan { bands, channels, size, native, photometric, normalization })
    }

    /// Height and width of the first image that can be read. Label files are left to the loader, which reports them in
    /// the order of the data, and to a summary, which counts them all.
    fn common_size(&self, dataset: &dyn Dataset) -> Result<[usize; 2], DataError> {
        let mut first = None;
        for index in 0..dataset.len() {
            match dataset.size(index) {
                Err(error) if self.skip_corrupt && error.is_corrupt_sample() => first.get_or_insert(error),
                found => return found,
            };
        }
        Err(first.unwrap_or_else(|| DataError::Loader("the data set holds no images".into())))
    }
}

#[cfg(test)]
mod tests;
