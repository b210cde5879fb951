//! Images and their label files, found by name.

use crate::DataError;
use crate::folder::{is_image, list, name_of};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// An image and its label file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    pub image: PathBuf,
    /// A thermal image that becomes the fourth channel.
    pub thermal: Option<PathBuf>,
    pub label: PathBuf,
    /// Both are mirrored left-right when read.
    pub flip: bool,
}

impl Pair {
    pub fn new(image: PathBuf, label: PathBuf) -> Self {
        Self { image, thermal: None, label, flip: false }
    }
}

/// The files of `folder` that `wanted` takes, by their stem. An error for a missing or empty folder and for two files
/// of one stem.
pub fn by_stem(
    folder: &Path,
    what: &str,
    wanted: impl Fn(&Path) -> bool,
) -> Result<BTreeMap<String, PathBuf>, DataError> {
    if !folder.is_dir() {
        let remedy = format!("the {what} are expected there");
        return Err(DataError::MissingFolder { path: folder.to_path_buf(), remedy });
    }
    let mut out = BTreeMap::new();
    for file in list(folder)?.1.into_iter().filter(|f| wanted(f)) {
        let stem = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if let Some(other) = out.insert(stem, file.clone()) {
            let reason = format!("it and {} have one stem, by which labels are found: rename one", name_of(&other));
            return Err(DataError::layout(&file, reason));
        }
    }
    if out.is_empty() {
        return Err(DataError::layout(folder, format!("holds no {what}")));
    }
    Ok(out)
}

/// The JPEG and PNG files of `folder` by their stem.
pub fn images(folder: &Path) -> Result<BTreeMap<String, PathBuf>, DataError> {
    by_stem(folder, "images (JPEG or PNG files)", is_image)
}

/// The PNG files of `folder` by their stem.
pub fn label_files(folder: &Path) -> Result<BTreeMap<String, PathBuf>, DataError> {
    by_stem(folder, "label files (PNG)", |f| f.extension().is_some_and(|e| e.eq_ignore_ascii_case("png")))
}

/// The image of each stem beside the label file of the same stem, ascending; nothing may be left over.
pub fn matched(image_folder: &Path, label_folder: &Path) -> Result<Vec<Pair>, DataError> {
    let images = images(image_folder)?;
    let mut labels = label_files(label_folder)?;
    let (mut pairs, mut alone) = (Vec::with_capacity(images.len()), Vec::new());
    for (stem, image) in images {
        match labels.remove(&stem) {
            Some(label) => pairs.push(Pair::new(image, label)),
            None => alone.push((stem, image)),
        }
    }
    if let Some((stem, image)) = alone.first() {
        let rest = others(alone.iter().map(|(_, image)| name_of(image)), "so do the images");
        let reason = format!("{}{rest}", needed_by(image));
        return Err(DataError::label(&label_folder.join(format!("{stem}.png")), reason));
    }
    let Some(label) = labels.values().next() else { return Ok(pairs) };
    let stem = label.file_stem();
    let other = list(image_folder)?.1.into_iter().find(|file| file.file_stem() == stem);
    let why = match other {
        Some(file) => format!("holds no image of that name, and {} is neither JPEG nor PNG", name_of(&file)),
        None => "holds no image of that name".to_string(),
    };
    let rest = others(labels.values().map(|label| name_of(label)), "the same holds for");
    let reason = format!("{} {why}: add it, or take the label file away{rest}", image_folder.display());
    Err(DataError::label(label, reason))
}

/// The names behind the first one, if there are some.
fn others(names: impl Iterator<Item = String>, what: &str) -> String {
    const SHOWN: usize = 10;
    let names: Vec<String> = names.skip(1).collect();
    let more = names.len().saturating_sub(SHOWN);
    let shown = names[..names.len() - more].join(", ");
    match (names.is_empty(), more) {
        (true, _) => String::new(),
        (_, 0) => format!("; {what} {shown}"),
        (_, more) => format!("; {what} {shown} and {more} more"),
    }
}

/// The error for an image without a label file.
pub fn missing_label(label: &Path, image: &Path) -> DataError {
    DataError::label(label, needed_by(image))
}

fn needed_by(image: &Path) -> String {
    format!("it does not exist, and the image {} needs it: add it, or take the image away", image.display())
}

/// The stems that a list names, one a line: the first word of the line without folders, ending and `;`.
pub fn listed(list: &Path) -> Result<Vec<String>, DataError> {
    let text = std::fs::read_to_string(list).map_err(|e| DataError::io("read", list, e))?;
    let first = |line: &str| line.split_whitespace().next().map(|word| word.trim_end_matches(';').to_string());
    // Only the ending of an image: names may hold dots of their own.
    let stem = |word: String| {
        let path = Path::new(&word);
        let name = if is_image(path) { path.file_stem() } else { path.file_name() };
        name.map(|name| name.to_string_lossy().into_owned())
    };
    let names: Vec<String> = text.lines().filter_map(first).filter_map(stem).collect();
    if names.is_empty() {
        return Err(DataError::layout(list, "names no image: one name a line is expected"));
    }
    Ok(names)
}

/// Of `names`, those for which `there` holds.
pub fn present(names: &[&str], there: impl Fn(&str) -> bool) -> Vec<String> {
    names.iter().filter(|name| there(name)).map(|name| (*name).to_string()).collect()
}
