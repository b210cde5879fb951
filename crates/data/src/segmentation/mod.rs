//! Data sets with a class for each pixel: images beside label PNGs, in the layouts that users have.
//!
//! | data set | image | label file | splits |
//! |---|---|---|---|
//! | `camvid` | `train/<stem>.png` or `.jpg` | `trainannot/<stem>.png` | `train`, `val`, `test`; `train.txt` chooses and orders |
//! | `cityscapes` | `leftImg8bit/train/<city>/<name>_leftImg8bit.png` | `gtFine/train/<city>/<name>_gtFine_labelIds.png` | `train`, `val`, `test` |
//! | `mfnet` | `images/<name>.png` (RGB and thermal) | `labels/<name>.png` | `train.txt`, `val.txt`, `test.txt`, `test_day.txt`, .. |
//! | `msrs` | `train/vi/<name>.png`, `train/ir/<name>.png` | `train/Segmentation_labels/<name>.png` | folders; `test_day`: names that end in D |
//! | `masks` | `train/images/<stem>.png` or `.jpg` | `train/labels/<stem>.png` | folders, or `images/train` beside `labels/train` |
//!
//! An image without a label file, a label file without an image, an empty folder, a mask of another size than its
//! image and a label that is no class are errors that name the file.

mod camvid;
mod cityscapes;
mod labels;
mod mfnet;
mod pairs;
mod plain;
#[cfg(test)]
mod tests;

pub use labels::LabelMap;

use crate::config::{DataConfig, DatasetKind};
use crate::geometry::mirror;
use crate::{DataError, Dataset, Mask, Sample, Target, Task, decode};
use pairs::Pair;
use std::path::Path;
use std::sync::Arc;

/// One split of a data set with masks.
#[derive(Debug, Clone)]
pub struct MaskSet {
    classes: Vec<String>,
    map: LabelMap,
    pairs: Vec<Pair>,
    /// The first image of each image's scene; empty where each is a scene of its own.
    scenes: Vec<usize>,
}

/// The most classes: a label is one byte, and 255 is [`Mask::IGNORED`].
const MOST_CLASSES: usize = 255;

/// What is wrong with a list of class names, if anything.
pub(crate) fn check_classes(names: &[String]) -> Result<(), String> {
    if names.is_empty() || names.len() > MOST_CLASSES {
        return Err(format!("{} classes; 1 to {MOST_CLASSES} can be told apart", names.len()));
    }
    match names.iter().enumerate().find(|(at, name)| name.trim().is_empty() || names[..*at].contains(name)) {
        Some((at, name)) => Err(format!("class {at} (\"{name}\") is empty or given twice")),
        None => Ok(()),
    }
}

/// The data set with masks that lies in `root`, told by its folders.
pub(crate) fn detect(root: &Path) -> Option<DatasetKind> {
    let has = |path: &str| root.join(path).exists();
    let rules = [
        (has("leftImg8bit") && has("gtFine"), DatasetKind::Cityscapes),
        // Before MFNet: lists beside `images/train` are those of other programs.
        (plain::recognised(root), DatasetKind::Masks),
        (has("images") && has("labels") && has("train.txt"), DatasetKind::Mfnet),
        (has("train/vi") && has("train/Segmentation_labels"), DatasetKind::Msrs),
        (has("train") && has("trainannot"), DatasetKind::Camvid),
    ];
    rules.into_iter().find(|(found, _)| *found).map(|(_, kind)| kind)
}

/// The root folder of a checked configuration.
fn root(config: &DataConfig) -> &Path {
    config.path.as_deref().unwrap_or(Path::new("."))
}

/// The splits that lie on disk, `train` first.
pub(crate) fn split_names(config: &DataConfig) -> Vec<String> {
    let root = root(config);
    match config.dataset {
        DatasetKind::Camvid => camvid::splits(root),
        DatasetKind::Cityscapes => cityscapes::splits(root),
        DatasetKind::Mfnet => mfnet::splits(root),
        DatasetKind::Msrs => mfnet::msrs_splits(root),
        _ => plain::splits(root),
    }
}

/// The names of the validation and the test split among `splits`: the test images are those of `test`, or of `val`
/// when there is no `test`; with both, `val` chooses the best epoch. The labels of Cityscapes' `test` are kept back, so
/// its `val` is tested on.
pub(crate) fn roles(kind: DatasetKind, splits: &[String]) -> (Option<&'static str>, &'static str) {
    let has = |name: &str| splits.iter().any(|s| s == name);
    match has("test") && kind != DatasetKind::Cityscapes {
        true => (has("val").then_some("val"), "test"),
        // Without either, opening it says what is expected.
        false => (None, "val"),
    }
}

impl DatasetKind {
    /// Names of the classes, where every data set of this kind has the same: those of `camvid`, `cityscapes`, `mfnet`
    /// and `msrs`.
    pub fn class_names(self) -> Option<&'static [&'static str]> {
        match self {
            Self::Camvid => Some(&camvid::CLASSES),
            Self::Cityscapes => Some(&cityscapes::CLASSES),
            Self::Mfnet | Self::Msrs => Some(&mfnet::CLASSES),
            _ => None,
        }
    }

    /// From the values of label files to classes, where every data set of this kind has the same: those of
    /// [`Self::class_names`].
    pub fn label_map(self) -> Option<LabelMap> {
        match self {
            Self::Camvid => Some(camvid::map()),
            Self::Cityscapes => Some(cityscapes::map()),
            Self::Mfnet | Self::Msrs => Some(mfnet::map()),
            _ => None,
        }
    }
}

impl MaskSet {
    /// Opens `split` of what `config` describes; finds all its files, reads none but lists.
    ///
    /// # Errors
    /// A missing or empty folder, an image without a label file, a label file without an image, classes that are not
    /// given.
    pub fn open(config: &DataConfig, split: &str) -> Result<Self, DataError> {
        let root = root(config);
        if !root.is_dir() {
            let remedy = "give the folder of the data set under [data] as `path`".to_string();
            return Err(DataError::MissingFolder { path: root.to_path_buf(), remedy });
        }
        let pairs = match config.dataset {
            DatasetKind::Camvid => camvid::pairs(root, split)?,
            DatasetKind::Cityscapes => cityscapes::pairs(root, split)?,
            DatasetKind::Mfnet => mfnet::pairs(root, split)?,
            DatasetKind::Msrs => mfnet::msrs_pairs(root, split)?,
            _ => Vec::new(),
        };
        let (classes, map, pairs) = match (config.dataset.class_names(), config.dataset.label_map()) {
            (Some(names), Some(map)) => (names.iter().map(|name| (*name).to_string()).collect(), map, pairs),
            _ => {
                let classes = plain::classes(root, config.classes.as_deref())?;
                let map = LabelMap::of_config(config, &classes)?;
                (classes, map, plain::pairs(root, split)?)
            }
        };
        let scenes = if config.dataset == DatasetKind::Mfnet { mfnet::scenes(&pairs) } else { Vec::new() };
        Ok(Self { classes, map, pairs, scenes })
    }

    /// The path of image `index`.
    pub fn path(&self, index: usize) -> &Path {
        &self.pairs[index].image
    }

    /// The path of the label file of image `index`.
    pub fn label_path(&self, index: usize) -> &Path {
        &self.pairs[index].label
    }

    fn mask(&self, pair: &Pair, image: [usize; 2]) -> Result<Mask, DataError> {
        let mask = self.map.read(&pair.label)?;
        if [mask.width(), mask.height()] != image {
            let (file, [w, h]) = (pair.image.display(), image);
            let reason = format!(
                "it is {}x{} while its image {file} is {w}x{h} (width x height): a mask has a label for each pixel of \
                 its image",
                mask.width(),
                mask.height()
            );
            return Err(DataError::label(&pair.label, reason));
        }
        Ok(mask)
    }
}

impl Dataset for MaskSet {
    fn len(&self) -> usize {
        self.pairs.len()
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn task(&self) -> Task {
        Task::Segmentation
    }

    fn label(&self, _index: usize) -> Option<usize> {
        None
    }

    fn describe(&self, index: usize) -> String {
        let pair = &self.pairs[index];
        let turned = if pair.flip { " (mirrored)" } else { "" };
        format!("{}{turned}", pair.image.display())
    }

    /// Without its label file, which may not fit.
    fn size(&self, index: usize) -> Result<[usize; 2], DataError> {
        let image = decode::read(&self.pairs[index].image)?;
        Ok([image.height(), image.width()])
    }

    fn scene(&self, index: usize) -> usize {
        self.scenes.get(index).copied().unwrap_or(index)
    }

    fn load(&self, index: usize) -> Result<Sample, DataError> {
        let pair = &self.pairs[index];
        let mut image = decode::read(&pair.image)?;
        if let Some(thermal) = &pair.thermal {
            image = mfnet::join(&pair.image, &image, thermal)?;
        }
        let mut mask = self.mask(pair, [image.width(), image.height()])?;
        if pair.flip {
            mirror(&mut image);
            mask.mirror();
        }
        Ok(Sample::shared(image, Target::Mask(Arc::new(mask))))
    }
}
