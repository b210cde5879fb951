//! What a distillation method is: its configuration, its inputs and its terms.
use burn::module::Module;
use burn::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;
use subband_models::{Feature, Features};

use crate::{DistillError, Parameters, ShapeBook, Side};

/// The true classes of a batch.
#[derive(Debug, Clone)]
pub enum Labels {
    /// One class for each image, `[N]`.
    Images(Tensor<1, Int>),
    /// One class for each pixel, `[N, H, W]` at the size of the student's images; a negative one is ignored.
    Pixels(Tensor<3, Int>),
}

impl From<Tensor<1, Int>> for Labels {
    fn from(classes: Tensor<1, Int>) -> Self {
        Self::Images(classes)
    }
}

impl Labels {
    /// Images N.
    pub fn count(&self) -> usize {
        match self {
            Self::Images(x) => x.dims()[0],
            Self::Pixels(x) => x.dims()[0],
        }
    }

    /// Those of the images `start..start + count`.
    pub fn narrow(&self, start: usize, count: usize) -> Self {
        match self.clone() {
            Self::Images(x) => Self::Images(x.narrow(0, start, count)),
            Self::Pixels(x) => Self::Pixels(x.narrow(0, start, count)),
        }
    }

    /// The class of each image.
    ///
    /// # Errors
    /// [`DistillError::Shapes`] for classes of pixels, which `method` does not take.
    pub fn images(&self, method: &str) -> Result<Tensor<1, Int>, DistillError> {
        match self {
            Self::Images(classes) => Ok(classes.clone()),
            Self::Pixels(_) => Err(DistillError::Shapes {
                method: method.to_string(),
                reason: "it needs one class for each image, and these are classes of pixels".to_string(),
            }),
        }
    }
}

/// What one step hands to every method.
#[derive(Debug, Clone)]
pub struct StepInput<'a> {
    /// The student's logits and taps, on the autodiff device.
    pub student: &'a Features,
    /// The teacher's logits and taps, moved to the student's autodiff device and detached.
    pub teacher: &'a Features,
    /// True classes, on the same device.
    pub labels: Labels,
    /// Number of each image of the batch in its data set, for what is drawn by sample; empty: its place in the batch.
    pub samples: &'a [u64],
    /// Epoch, counted from 1.
    pub epoch: usize,
    /// Step of the run, counted from 1.
    pub step: usize,
}

impl StepInput<'_> {
    /// The number by which what is random for image `place` of the batch is drawn.
    pub fn sample(&self, place: usize) -> u64 {
        self.samples.get(place).copied().unwrap_or(place as u64)
    }

    /// The feature at a tap of one side.
    pub fn feature(&self, method: &str, side: Side, tap: &str) -> Result<Feature, DistillError> {
        let features = match side {
            Side::Student => self.student,
            Side::Teacher => self.teacher,
        };
        features.get(tap).cloned().ok_or_else(|| DistillError::MissingFeature {
            method: method.to_string(),
            side,
            tap: tap.to_string(),
        })
    }

    /// The feature at a tap as a map `[N, C, H, W]` (a vector is 1x1, tokens go back to their grid).
    pub fn map(&self, method: &str, side: Side, tap: &str) -> Result<Tensor<4>, DistillError> {
        Ok(self.feature(method, side, tap)?.into_map())
    }
}

/// One part of a method's loss.
#[derive(Debug, Clone)]
pub struct Term {
    /// The method's name, and the part's after a dot if there are several: `kd`, `rkd.angle`, `fam-kd.stage2`.
    pub name: String,
    /// The value `[1]`, before the term's weight and warm-up. The method's loss is the sum of its terms.
    pub value: Tensor<1>,
    /// Student taps (`logits` included) that the gradient of this part must reach.
    pub reaches: Vec<String>,
    /// The teacher's tap, which tells parts of the same student tap apart.
    teacher: Option<String>,
}

impl Term {
    /// A term whose gradient must reach one student tap.
    pub fn new(name: impl Into<String>, value: Tensor<1>, reaches: &str) -> Self {
        Self { name: name.into(), value, reaches: vec![reaches.to_string()], teacher: None }
    }

    /// The same term, of a comparison with this tap of the teacher.
    pub(crate) fn against(self, teacher: &str) -> Self {
        Self { teacher: Some(teacher.to_string()), ..self }
    }

    /// The terms under names of their own: where a student tap is compared twice, the second name ends with the
    /// teacher's tap (and a number, should that repeat too). A run adds up terms by name.
    pub(crate) fn distinct(mut terms: Vec<Self>) -> Vec<Self> {
        for k in 1..terms.len() {
            let (before, rest) = terms.split_at_mut(k);
            let term = &mut rest[0];
            let taken = |name: &str| before.iter().any(|other| other.name == name);
            if !taken(&term.name) {
                continue;
            }
            if let Some(teacher) = &term.teacher {
                term.name = format!("{}.{teacher}", term.name);
            }
            let name = term.name.clone();
            let mut number = 2;
            while taken(&term.name) {
                term.name = format!("{name}.{number}");
                number += 1;
            }
        }
        terms
    }
}

/// The taps that a method reads. Logits are always there and not listed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Of the student.
    pub student: Vec<String>,
    /// Of the teacher.
    pub teacher: Vec<String>,
}

/// What a method adds to a training step.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cost {
    /// Trainable numbers of the adapters (a complex number counts twice).
    pub parameters: usize,
    /// Bytes of the largest single intermediate tensor at the given batch size, in f32.
    pub largest_temporary: usize,
}

/// Facts about a method for help texts and tables.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct About {
    /// Name in recipes.
    pub name: &'static str,
    /// One line.
    pub summary: &'static str,
    /// Paper, and where the defaults come from.
    pub source: &'static str,
    /// Weight of the term if the recipe gives none.
    pub weight: f64,
    /// Warm-up of the term in epochs if the recipe gives none.
    pub warmup_epochs: usize,
    /// Weight of the task loss that the source uses beside this term.
    pub task_weight: f64,
    /// Taps read by default.
    pub taps: &'static str,
}

/// A method's configuration: the keys of its recipe table.
pub trait MethodConfig: Default + Clone + PartialEq + std::fmt::Debug + Serialize + DeserializeOwned {
    /// The method it builds.
    type Method: Method;
    /// Name, source and defaults.
    const ABOUT: About;

    /// Which taps are read, given both networks. Also checks the configuration's values.
    fn taps(&self, book: &ShapeBook) -> Result<Wanted, DistillError>;

    /// Builds the method with adapters for these shapes.
    fn init(&self, book: &ShapeBook, parameters: &Parameters) -> Result<Self::Method, DistillError>;

    /// Elements of the largest single tensor between the taps and the loss for a batch of `batch`; its gradient has the
    /// same size. Not counted are the taps with their gradients, which are the networks', parameters, and what a kernel
    /// keeps for itself while it runs.
    fn largest_temporary(&self, book: &ShapeBook, batch: usize) -> Result<usize, DistillError>;

    /// The same method without files that only exist once a run is on its way (its parameters are equal): what a plan
    /// counts.
    fn without_files(&self) -> Self {
        self.clone()
    }

    /// The error for a bad value of this configuration.
    fn bad(&self, reason: impl Into<String>) -> DistillError {
        DistillError::BadConfig { method: Self::ABOUT.name.to_string(), reason: reason.into() }
    }
}

/// A distillation method with its trainable adapters.
pub trait Method: Module {
    /// The parts of the loss for one step.
    fn forward(&self, input: &StepInput) -> Result<Vec<Term>, DistillError>;
}
