//! What can go wrong with data, each with the thing named and the remedy.

use std::path::PathBuf;

/// An error of a data set, an image or a data configuration.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// A folder that must exist does not.
    #[error("there is no folder {path}: {remedy}")]
    MissingFolder {
        /// The folder looked for.
        path: PathBuf,
        /// What to do.
        remedy: String,
    },
    /// A file or folder could not be read or written.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// The verb: "read", "list", "write".
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// A file is not the image its name promises, or is damaged.
    #[error("cannot use the image {path}: {reason}")]
    Image {
        /// The image, or the record of a packed file.
        path: String,
        /// Why.
        reason: String,
    },
    /// The label file of an image is missing, has no image, or does not fit its image or the classes.
    #[error("cannot use the label file {path}: {reason}")]
    Label {
        /// The label file.
        path: PathBuf,
        /// What is wrong and what to do.
        reason: String,
    },
    /// An image has not the size of the others and no resize was asked for.
    #[error(
        "the image {path} is {width}x{height} while this data set's images are {expected_width}x{expected_height} \
         (width x height): set `resize` under [data] to bring all images to one size"
    )]
    Size {
        /// The image.
        path: String,
        /// Its width.
        width: usize,
        /// Its height.
        height: usize,
        /// The common width.
        expected_width: usize,
        /// The common height.
        expected_height: usize,
    },
    /// Channels cannot be converted.
    #[error("the image {path} has {found} channels, which cannot become {wanted}: set `channels` under [data]")]
    Channels {
        /// The image.
        path: String,
        /// Its channel count.
        found: usize,
        /// The channel count wanted.
        wanted: usize,
    },
    /// An image has no thermal band and that is what was asked for.
    #[error(
        "the image {path} has {found} channels and none of them is thermal: give RGB and thermal in four channels or \
         the thermal band alone, or change `bands` under [data]"
    )]
    NoThermalBand {
        /// The image.
        path: String,
        /// Its channel count.
        found: usize,
    },
    /// A folder is not laid out as its data set is.
    #[error("{path}: {reason}")]
    Layout {
        /// The folder or file.
        path: PathBuf,
        /// What is wrong and what is expected.
        reason: String,
    },
    /// A packed data file (CIFAR binary, pickle, the embedded digits) is not in its format.
    #[error("{path} is damaged or of another format: {reason}")]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A data set could not be downloaded.
    #[error("cannot download {url}: {reason}. Without a network, put the file at {put} (or unpack it in that folder)")]
    Download {
        /// The address.
        url: String,
        /// Why.
        reason: String,
        /// Where a copy of the archive is looked for.
        put: PathBuf,
    },
    /// A file's checksum is not the published one.
    #[error("{path} has the MD5 checksum {found} instead of {expected}: delete it and fetch it again")]
    Checksum {
        /// The file.
        path: PathBuf,
        /// Its checksum.
        found: String,
        /// The published checksum.
        expected: String,
    },
    /// A value under `[data]` makes no sense.
    #[error("[data] {key}: {reason}")]
    Config {
        /// The key.
        key: &'static str,
        /// What is wrong and what is allowed.
        reason: String,
    },
    /// An image cannot be corrupted as asked, or the corruption does not exist.
    #[error("cannot corrupt {subject}: {reason}")]
    Corruption {
        /// The image, or what was given as a name or severity.
        subject: String,
        /// What is wrong and what is allowed.
        reason: String,
    },
    /// The threads of the loader could not be started or died.
    #[error("the loader failed: {0}")]
    Loader(String),
}

impl DataError {
    /// True when one image (or its label file) cannot be decoded, so that `skip_corrupt` may pass over it. A label file
    /// that decodes but does not fit ([`Self::Label`]) is a fault of the data set and always stops.
    pub fn is_corrupt_sample(&self) -> bool {
        matches!(self, Self::Image { .. })
    }

    pub(crate) fn io(action: &'static str, path: &std::path::Path, source: std::io::Error) -> Self {
        Self::Io { action, path: path.to_path_buf(), source }
    }

    pub(crate) fn image(path: impl std::fmt::Display, reason: impl std::fmt::Display) -> Self {
        Self::Image { path: path.to_string(), reason: reason.to_string() }
    }

    pub(crate) fn label(path: &std::path::Path, reason: impl Into<String>) -> Self {
        Self::Label { path: path.to_path_buf(), reason: reason.into() }
    }

    pub(crate) fn layout(path: &std::path::Path, reason: impl Into<String>) -> Self {
        Self::Layout { path: path.to_path_buf(), reason: reason.into() }
    }

    pub(crate) fn corruption(subject: impl std::fmt::Display, reason: impl std::fmt::Display) -> Self {
        Self::Corruption { subject: subject.to_string(), reason: reason.to_string() }
    }

    pub(crate) fn config(key: &'static str, reason: impl Into<String>) -> Self {
        Self::Config { key, reason: reason.into() }
    }
}
