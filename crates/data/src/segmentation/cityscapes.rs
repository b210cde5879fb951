//! Cityscapes (Cordts et al. 2016) with the fine annotations: 2048x1024, 19 classes.
//!
//! The files of label ids are read and turned into the 19 training classes here, so those of training ids need not be
//! generated.

use super::labels::LabelMap;
use super::pairs::{self, Pair};
use crate::DataError;
use crate::folder::{list, name_of};
use std::path::Path;

/// In the order of the training ids.
pub const CLASSES: [&str; 19] = [
    "road",
    "sidewalk",
    "building",
    "wall",
    "fence",
    "pole",
    "traffic light",
    "traffic sign",
    "vegetation",
    "terrain",
    "sky",
    "person",
    "rider",
    "car",
    "truck",
    "bus",
    "train",
    "motorcycle",
    "bicycle",
];

/// The label id of each class; all other ids (ego vehicle, border, licence plate, ...) do not count.
pub const IDS: [u16; 19] = [7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33];

const IMAGE_END: &str = "_leftImg8bit";

pub fn map() -> LabelMap {
    let pairs: Vec<(u16, u8)> = IDS.into_iter().zip(0..).collect();
    LabelMap::only(&pairs, CLASSES.len()).fixed("the label ids of Cityscapes")
}

pub fn splits(root: &Path) -> Vec<String> {
    pairs::present(&["train", "val", "test"], |s| {
        root.join("leftImg8bit").join(s).is_dir() && root.join("gtFine").join(s).is_dir()
    })
}

/// The images of all cities of a split, ascending by city and name.
pub fn pairs(root: &Path, split: &str) -> Result<Vec<Pair>, DataError> {
    let folder = root.join("leftImg8bit").join(split);
    if !folder.is_dir() {
        let remedy = "expected leftImg8bit/<split>/<city> and gtFine/<split>/<city>, as the archives of Cityscapes \
                      unpack"
            .to_string();
        return Err(DataError::MissingFolder { path: folder, remedy });
    }
    let (mut cities, _) = list(&folder)?;
    cities.sort_unstable();
    let mut out = Vec::new();
    for city in cities {
        let labels = root.join("gtFine").join(split).join(name_of(&city));
        for (stem, image) in pairs::images(&city)? {
            let Some(name) = stem.strip_suffix(IMAGE_END) else {
                let reason = format!("its name does not end in {IMAGE_END} as those of Cityscapes do");
                return Err(DataError::layout(&image, reason));
            };
            let label = labels.join(format!("{name}_gtFine_labelIds.png"));
            if !label.is_file() {
                return Err(pairs::missing_label(&label, &image));
            }
            out.push(Pair::new(image, label));
        }
    }
    if out.is_empty() {
        return Err(DataError::layout(&folder, "holds no city folders with images"));
    }
    Ok(out)
}
