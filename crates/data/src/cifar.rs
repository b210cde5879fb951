//! CIFAR-10 and CIFAR-100 (Krizhevsky 2009) in their binary and Python releases.
//!
//! Binary: records of the label bytes (CIFAR-10: one; CIFAR-100: coarse, then fine) and 3072 pixel bytes, the red,
//! green and blue planes of 32x32 each, row by row. Python: pickled dictionaries with the same pixels under `data`.
//! CIFAR-100 is read with its 100 fine labels.

use crate::config::DatasetKind;
use crate::download::{Archive, Progress, cache_folder};
use crate::image::Samples;
use crate::pickle::Pickle;
use crate::{DataError, Dataset, Image, Sample, Target};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const SIDE: usize = 32;
const AREA: usize = SIDE * SIDE;
const PIXELS: usize = 3 * AREA;

/// Which of the two data sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// 10 classes.
    Ten,
    /// 100 classes.
    Hundred,
}

/// One release: its archive and the names in it.
struct Release {
    archive: Archive,
    train: &'static [&'static str],
    test: &'static str,
    /// The file with the class names.
    names: &'static str,
    binary: bool,
}

impl Kind {
    fn classes(self) -> usize {
        match self {
            Self::Ten => 10,
            Self::Hundred => 100,
        }
    }

    /// The releases in the order in which they are looked for; the first is downloaded.
    fn releases(self) -> [Release; 2] {
        let release = |file: &'static str, md5, folder, train, test, names, binary| {
            let url = format!("https://www.cs.toronto.edu/~kriz/{file}");
            Release { archive: Archive { url, file, md5, folder }, train, test, names, binary }
        };
        match self {
            Self::Ten => [
                release(
                    "cifar-10-binary.tar.gz",
                    "c32a1d4ab5d03f1284b67883e8d87530",
                    "cifar-10-batches-bin",
                    &[
                        "data_batch_1.bin",
                        "data_batch_2.bin",
                        "data_batch_3.bin",
                        "data_batch_4.bin",
                        "data_batch_5.bin",
                    ],
                    "test_batch.bin",
                    "batches.meta.txt",
                    true,
                ),
                release(
                    "cifar-10-python.tar.gz",
                    "c58f30108f718f92721af3b95e74349a",
                    "cifar-10-batches-py",
                    &["data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5"],
                    "test_batch",
                    "batches.meta",
                    false,
                ),
            ],
            Self::Hundred => [
                release(
                    "cifar-100-binary.tar.gz",
                    "03b5dce01913d631647c71ecec9e9cb8",
                    "cifar-100-binary",
                    &["train.bin"],
                    "test.bin",
                    "fine_label_names.txt",
                    true,
                ),
                release(
                    "cifar-100-python.tar.gz",
                    "eb9058c3a382ffc7106e4002c42a8d85",
                    "cifar-100-python",
                    &["train"],
                    "test",
                    "meta",
                    false,
                ),
            ],
        }
    }
}

impl Release {
    /// The folder with the files: `base` itself or the archive's folder in it.
    fn folder(&self, base: &Path) -> Option<PathBuf> {
        let complete = |folder: &PathBuf| {
            self.train.iter().chain([&self.test, &self.names]).all(|name| folder.join(name).is_file())
        };
        [base.to_path_buf(), base.join(self.archive.folder)].into_iter().find(complete)
    }
}

/// One split in memory.
#[derive(Debug, Clone)]
pub struct Cifar {
    classes: Vec<String>,
    labels: Vec<u8>,
    pixels: Arc<[u8]>,
    /// The files and the number of the first image in each.
    files: Vec<(PathBuf, usize)>,
}

/// The data set that lies in `path`, if it is a CIFAR release.
pub(crate) fn detect(path: &Path) -> Option<DatasetKind> {
    let kinds = [(Kind::Ten, DatasetKind::Cifar10), (Kind::Hundred, DatasetKind::Cifar100)];
    kinds.into_iter().find(|(k, _)| k.releases().iter().any(|r| r.folder(path).is_some())).map(|(_, kind)| kind)
}

/// Opens the training and the test split of whichever release lies in `path` (default: the cache folder), unpacking
/// an archive that lies there, or downloading the binary release when `download` allows it.
pub(crate) fn open(
    kind: Kind,
    path: Option<&Path>,
    download: bool,
    progress: &mut dyn FnMut(Progress),
) -> Result<(Cifar, Cifar), DataError> {
    let base = path.map_or_else(cache_folder, Path::to_path_buf);
    let releases = kind.releases();
    if let Some((release, folder)) = releases.iter().find_map(|r| Some((r, r.folder(&base)?))) {
        return read_release(kind, release, &folder);
    }
    let lies_there = releases.iter().find(|r| base.join(r.archive.file).is_file());
    let release = lies_there.unwrap_or(&releases[0]);
    release.archive.provide(&base, download, progress)?;
    match release.folder(&base) {
        Some(folder) => read_release(kind, release, &folder),
        None => Err(DataError::Layout {
            path: base.join(release.archive.folder),
            reason: format!("files are missing; delete the folder and unpack {} again", release.archive.file),
        }),
    }
}

fn read_release(kind: Kind, release: &Release, folder: &Path) -> Result<(Cifar, Cifar), DataError> {
    let classes = class_names(kind, release, &folder.join(release.names))?;
    let split = |names: &[&str]| {
        let (mut labels, mut pixels, mut files) = (Vec::new(), Vec::new(), Vec::new());
        for name in names {
            let path = folder.join(name);
            files.push((path.clone(), labels.len()));
            let read = if release.binary { read_binary } else { read_python };
            read(kind, &path, &mut labels, &mut pixels)?;
        }
        Ok(Cifar { classes: classes.clone(), labels, pixels: pixels.into(), files })
    };
    Ok((split(release.train)?, split(&[release.test])?))
}

fn read_file(path: &Path) -> Result<Vec<u8>, DataError> {
    std::fs::read(path).map_err(|e| DataError::io("read", path, e))
}

fn class_names(kind: Kind, release: &Release, path: &Path) -> Result<Vec<String>, DataError> {
    let fail = |reason: String| DataError::Format { path: path.to_path_buf(), reason };
    let bytes = read_file(path)?;
    let names: Vec<String> = if release.binary {
        String::from_utf8_lossy(&bytes).lines().map(|l| l.trim().to_string()).filter(|l| !l.is_empty()).collect()
    } else {
        let key = if kind == Kind::Ten { "label_names" } else { "fine_label_names" };
        let pickle = Pickle::read(&bytes).map_err(fail)?;
        pickle.get(key).and_then(|id| pickle.strings(id)).map_err(fail)?
    };
    if names.len() != kind.classes() {
        return Err(fail(format!("{} class names instead of {}", names.len(), kind.classes())));
    }
    Ok(names)
}

fn read_binary(kind: Kind, path: &Path, labels: &mut Vec<u8>, pixels: &mut Vec<u8>) -> Result<(), DataError> {
    let bytes = read_file(path)?;
    let head = if kind == Kind::Ten { 1 } else { 2 };
    if bytes.is_empty() || bytes.len() % (head + PIXELS) != 0 {
        let reason = format!("{} bytes are not a whole number of records of {}", bytes.len(), head + PIXELS);
        return Err(DataError::Format { path: path.to_path_buf(), reason });
    }
    pixels.reserve(bytes.len());
    for record in bytes.chunks_exact(head + PIXELS) {
        // The fine label is the second byte of CIFAR-100.
        push_label(kind, path, i64::from(record[head - 1]), labels)?;
        pixels.extend_from_slice(&record[head..]);
    }
    Ok(())
}

fn read_python(kind: Kind, path: &Path, labels: &mut Vec<u8>, pixels: &mut Vec<u8>) -> Result<(), DataError> {
    let fail = |reason: String| DataError::Format { path: path.to_path_buf(), reason };
    let bytes = read_file(path)?;
    let pickle = Pickle::read(&bytes).map_err(fail)?;
    let key = if kind == Kind::Ten { "labels" } else { "fine_labels" };
    let own = pickle.get(key).and_then(|id| pickle.integers(id)).map_err(fail)?;
    let (data, shape) = pickle.get("data").and_then(|id| pickle.byte_array(id)).map_err(fail)?;
    if own.is_empty() || shape != [own.len() as i64, PIXELS as i64] || data.len() != own.len() * PIXELS {
        return Err(fail(format!("{} labels for pixels of shape {shape:?}", own.len())));
    }
    own.into_iter().try_for_each(|label| push_label(kind, path, label, labels))?;
    pixels.extend_from_slice(data);
    Ok(())
}

fn push_label(kind: Kind, path: &Path, label: i64, labels: &mut Vec<u8>) -> Result<(), DataError> {
    match u8::try_from(label).ok().filter(|&l| usize::from(l) < kind.classes()) {
        Some(label) => labels.push(label),
        None => {
            let reason = format!("label {label} with {} classes", kind.classes());
            return Err(DataError::Format { path: path.to_path_buf(), reason });
        }
    }
    Ok(())
}

impl Dataset for Cifar {
    fn len(&self) -> usize {
        self.labels.len()
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn label(&self, index: usize) -> usize {
        usize::from(self.labels[index])
    }

    fn describe(&self, index: usize) -> String {
        match self.files.iter().rev().find(|(_, first)| *first <= index) {
            Some((path, first)) => format!("{} image {}", path.display(), index - first),
            None => format!("image {index}"),
        }
    }

    fn load(&self, index: usize) -> Result<Sample, DataError> {
        let (red, rest) = self.pixels[index * PIXELS..][..PIXELS].split_at(AREA);
        let (green, blue) = rest.split_at(AREA);
        let pixels = red.iter().zip(green).zip(blue).flat_map(|((&r, &g), &b)| [r, g, b]).collect();
        Ok(Sample::shared(Image::from_parts(SIDE, SIDE, 3, Samples::U8(pixels)), Target::Class(self.label(index))))
    }

    fn in_memory(&self) -> bool {
        true
    }
}
