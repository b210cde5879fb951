//! A user's own images beside label PNGs of the same stem, with a list of classes.

use super::check_classes;
use super::pairs::{self, Pair};
use crate::DataError;
use std::path::{Path, PathBuf};

const SPLITS: [&str; 3] = ["train", "val", "test"];

/// Names of the folder of label files.
const LABELS: [&str; 2] = ["labels", "masks"];

/// The folders of images and labels of a split: `<split>/images` and `<split>/labels`, or `images/<split>` and
/// `labels/<split>`; `masks` does for `labels`.
fn folders(root: &Path, split: &str) -> Option<(PathBuf, PathBuf)> {
    let split_first = LABELS.map(|labels| (root.join(split).join("images"), root.join(split).join(labels)));
    let split_last = LABELS.map(|labels| (root.join("images").join(split), root.join(labels).join(split)));
    split_first.into_iter().chain(split_last).find(|(images, labels)| images.is_dir() && labels.is_dir())
}

/// Whether a split lies there whole.
pub fn recognised(root: &Path) -> bool {
    SPLITS.iter().any(|split| folders(root, split).is_some())
}

/// The folder of images of a split, with or without labels.
fn images(root: &Path, split: &str) -> Option<PathBuf> {
    [root.join(split).join("images"), root.join("images").join(split)].into_iter().find(|folder| folder.is_dir())
}

/// The splits with images. One without labels is among them: its error is better than a split that changes its role
/// because another one is not seen.
pub fn splits(root: &Path) -> Vec<String> {
    pairs::present(&SPLITS, |split| images(root, split).is_some())
}

pub fn pairs(root: &Path, split: &str) -> Result<Vec<Pair>, DataError> {
    let Some((images, labels)) = folders(root, split) else {
        if let Some(images) = images(root, split) {
            let labels = if images.ends_with("images") {
                root.join(split).join("labels")
            } else {
                root.join("labels").join(split)
            };
            let remedy = format!(
                "it holds the label PNGs of {} (`masks` does for `labels`): add it, or rename the folder of the images",
                images.display()
            );
            return Err(DataError::MissingFolder { path: labels, remedy });
        }
        let found = splits(root).join(", ");
        let found = if found.is_empty() { "no split".to_string() } else { found };
        let remedy = format!(
            "expected {split}/images and {split}/labels in {}, or images/{split} and labels/{split}; found {found}",
            root.display()
        );
        return Err(DataError::MissingFolder { path: root.join(split), remedy });
    };
    pairs::matched(&images, &labels)
}

/// The class names: those given, or the lines of `classes.txt`.
pub fn classes(root: &Path, given: Option<&[String]>) -> Result<Vec<String>, DataError> {
    if let Some(given) = given {
        return Ok(given.to_vec());
    }
    let file = root.join("classes.txt");
    if !file.is_file() {
        let reason = format!(
            "are needed: classes = [\"road\", ..] in the order of the label values, or a file {} with one name a line",
            file.display()
        );
        return Err(DataError::config("classes", reason));
    }
    let text = std::fs::read_to_string(&file).map_err(|e| DataError::io("read", &file, e))?;
    let names: Vec<String> = text.trim_end().lines().map(|line| line.trim().to_string()).collect();
    check_classes(&names).map_err(|reason| DataError::layout(&file, reason))?;
    Ok(names)
}
