//! The interface every data set implements.

use crate::{DataError, Image, Mask};
use std::sync::Arc;

/// What the samples of a data set are labelled with, and so what a network learns from them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Task {
    /// One class for the whole image ([`Target::Class`]).
    Classification,
    /// A class for each pixel ([`Target::Mask`]).
    Segmentation,
}

/// What a sample is labelled with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A class index into [`Dataset::classes`].
    Class(usize),
    /// A class index for each pixel.
    Mask(Arc<Mask>),
}

/// One decoded sample: what the student sees, what the teacher sees, and the target.
#[derive(Debug, Clone)]
pub struct Sample {
    /// The student's image.
    pub student: Arc<Image>,
    /// The teacher's image where it is another one (a second modality of the same scene, of any size);
    /// `None` when the teacher sees the student's image.
    pub teacher: Option<Arc<Image>>,
    /// The label.
    pub target: Target,
}

impl Sample {
    /// A sample of one image for both networks.
    pub fn shared(image: Image, target: Target) -> Self {
        Self { student: Arc::new(image), teacher: None, target }
    }

    /// Bytes held by its images and its mask.
    pub fn bytes(&self) -> usize {
        let mask = if let Target::Mask(mask) = &self.target { mask.labels().len() } else { 0 };
        self.student.bytes() + self.teacher.as_ref().map_or(0, |t| t.bytes()) + mask
    }
}

/// An indexed, immutable collection of labelled images that several threads read at once.
pub trait Dataset: Send + Sync {
    /// The number of samples.
    fn len(&self) -> usize;

    /// True when there is no sample.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The class names; a label is an index into them.
    fn classes(&self) -> &[String];

    /// What the samples are labelled with; the same for all.
    fn task(&self) -> Task {
        Task::Classification
    }

    /// The class of the whole of sample `index` (`index < len`), known without decoding the image; `None` where each
    /// pixel has its own.
    fn label(&self, index: usize) -> Option<usize>;

    /// What names sample `index` in messages: its path, or its place in a packed file.
    fn describe(&self, index: usize) -> String;

    /// Reads and decodes sample `index` (`index < len`).
    fn load(&self, index: usize) -> Result<Sample, DataError>;

    /// Height and width of the student's image of sample `index`.
    fn size(&self, index: usize) -> Result<[usize; 2], DataError> {
        let image = self.load(index)?.student;
        Ok([image.height(), image.width()])
    }

    /// The place of sample `index` in the whole split as it lies on disk, whatever was chosen of it: what is drawn for
    /// an image in evaluation is drawn from this.
    fn origin(&self, index: usize) -> usize {
        index
    }

    /// The sample (by its [`Self::origin`]) that stands for all samples of the scene of sample `index`, such as an image
    /// and its mirror image; they stay together when a share is taken.
    fn scene(&self, index: usize) -> usize {
        self.origin(index)
    }

    /// True when samples have a teacher's image of their own ([`Sample::teacher`]); the same for all samples.
    fn has_teacher_view(&self) -> bool {
        false
    }

    /// True when samples already lie decoded in memory, so that a cache would only double them.
    fn in_memory(&self) -> bool {
        false
    }
}
