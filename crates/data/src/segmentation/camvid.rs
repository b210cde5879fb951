//! CamVid (Brostow et al. 2009) as SegNet's authors prepared it: 480x360, 11 classes.

use super::labels::LabelMap;
use super::pairs::{self, Pair};
use crate::DataError;
use std::path::Path;

/// In the order of the label values.
pub const CLASSES: [&str; 11] =
    ["sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "bicyclist"];

/// The label of pixels without a class.
const VOID: u16 = 11;

pub fn map() -> LabelMap {
    LabelMap::plain(CLASSES.len(), Some(VOID)).fixed("0 to 10, and 11 for void")
}

pub fn splits(root: &Path) -> Vec<String> {
    pairs::present(&["train", "val", "test"], |s| root.join(s).is_dir() && root.join(format!("{s}annot")).is_dir())
}

/// `<split>/<stem>` beside `<split>annot/<stem>.png`; where `<split>.txt` lies beside them, it chooses and orders.
pub fn pairs(root: &Path, split: &str) -> Result<Vec<Pair>, DataError> {
    let (folder, labels) = (root.join(split), root.join(format!("{split}annot")));
    let list = root.join(format!("{split}.txt"));
    if !list.is_file() {
        return pairs::matched(&folder, &labels);
    }
    let images = pairs::images(&folder)?;
    let pair = |name: String| {
        let Some(image) = images.get(&name) else {
            let reason = format!("names \"{name}\", of which {} holds no image", folder.display());
            return Err(DataError::layout(&list, reason));
        };
        let label = labels.join(format!("{name}.png"));
        if !label.is_file() {
            return Err(pairs::missing_label(&label, image));
        }
        Ok(Pair::new(image.clone(), label))
    };
    pairs::listed(&list)?.into_iter().map(pair).collect()
}
