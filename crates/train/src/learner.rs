//! The trained module of an arm, student and adapters together, and its loss.
//!
//! ```text
//! loss = task_weight * task loss + sum over terms i of  w_i(epoch) * sum over parts of term i
//! ```
//! The task's loss with the labels is that of [`crate::task`]: a cross-entropy of images or of pixels.
//! `w_i` is the recipe's factor, or what [`crate::run`] has measured for an automatic weight.
pub(crate) mod probe;

use burn::module::Module;
use burn::prelude::*;
use subband_data::{Batch, Mask, Targets, View};
use subband_distill::{AnyMethod, Labels, StepInput, Wanted};
use subband_models::{Feature, Features, Mode, Network, Noise};
use subband_seed::Stream;

use crate::TrainError;
use crate::recipe::{ArmRecipe, TeacherNorm};
use crate::setup::Role;
use crate::task::Objective;

/// What the optimiser updates.
#[derive(Module, Debug)]
pub(crate) struct Trainable {
    /// The network that is kept.
    pub student: Network,
    /// The methods with their adapters, in the order of the arm's terms.
    pub methods: Vec<AnyMethod>,
}

/// A student in training under the terms of its arm.
pub(crate) struct Learner {
    pub trainable: Trainable,
    pub arm: ArmRecipe,
    /// The loss with the labels.
    pub objective: Objective,
    /// What the teacher's batch normalisations use.
    pub teacher_norm: TeacherNorm,
    pub wanted: Wanted,
    /// Full weight of each term. That of an automatic one starts as its share and is then measured.
    pub weights: Vec<f64>,
}

/// What a loss is computed by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// The loss with the labels.
    Task,
    /// A term of the arm, by its place.
    Term(usize),
}

/// What a loss is computed from.
pub(crate) struct Sight<'a> {
    /// The student's features.
    pub student: &'a Features,
    /// The teacher's features as constants; `None` without a teacher.
    pub teacher: Option<&'a Features>,
    /// True classes.
    pub labels: &'a Labels,
    /// Number of each image in its data set.
    pub samples: &'a [u64],
    /// Epoch and optimiser step, from 1.
    pub time: (usize, usize),
}

/// A part of the loss of one batch.
pub(crate) struct Part {
    /// `task`, `kd`, `rkd.angle`, ...
    pub name: String,
    /// Value `[1]`, unweighted, with its graph.
    pub value: Tensor<1>,
    /// Its factor in this epoch.
    pub weight: f64,
    /// Student taps its gradient must reach.
    pub reaches: Vec<String>,
}

/// A batch on the device.
#[derive(Clone)]
pub(crate) struct Inputs {
    /// Student's images `[N, C, H, W]`.
    pub student: Tensor<4>,
    /// Teacher's images.
    pub teacher: Tensor<4>,
    /// True classes.
    pub labels: Labels,
    /// N.
    pub count: usize,
    /// What dropout draws from.
    pub noise: Noise,
}

impl Inputs {
    /// Moves a batch to `device` (without autodiff).
    pub fn new(batch: Batch, device: &Device) -> Self {
        let tensor = |view: View| Tensor::<4>::from_data(TensorData::new(view.data, view.shape), device);
        let count = batch.len();
        let student = tensor(batch.student);
        let teacher = batch.teacher.map_or_else(|| student.clone(), tensor);
        let labels = labels(batch.targets, device);
        let samples = batch.indices.iter().map(|index| *index as u64).collect();
        Self { student, teacher, labels, count, noise: Noise { stream: Stream::new(0), samples } }
    }

    /// One network's view of a batch in evaluation `[N, C, H, W]`; its masks may have any sizes.
    pub fn images(batch: Batch, role: Role, device: &Device) -> Tensor<4> {
        let view = match (role, batch.teacher) {
            (Role::Teacher, Some(teacher)) => teacher,
            _ => batch.student,
        };
        Tensor::from_data(TensorData::new(view.data, view.shape), device)
    }

    /// The inputs of a step, whose randomness comes from `stream`.
    pub fn at(mut self, stream: Stream) -> Self {
        self.noise.stream = stream;
        self
    }

    /// The inputs of a network in training: a teacher in training sees the teacher's images.
    pub fn seen_by(mut self, role: Role) -> Self {
        if role == Role::Teacher {
            self.student = self.teacher.clone();
        }
        self
    }

    /// The first `n` images.
    pub fn first(&self, n: usize) -> Self {
        let count = n.min(self.count);
        Self {
            student: self.student.clone().narrow(0, 0, count),
            teacher: self.teacher.clone().narrow(0, 0, count),
            labels: self.labels.narrow(0, count),
            count,
            noise: Noise { stream: self.noise.stream, samples: self.noise.samples[..count].to_vec() },
        }
    }
}

impl Learner {
    pub fn new(
        student: Network,
        methods: Vec<AnyMethod>,
        arm: ArmRecipe,
        mut wanted: Wanted,
        objective: Objective,
    ) -> Self {
        let objective = if arm.task_weight > 0.0 { objective } else { objective.without_aux() };
        wanted
            .student
            .extend(objective.taps().into_iter().filter(|tap| !wanted.student.contains(tap)).collect::<Vec<_>>());
        let weights = arm.terms.iter().map(|term| term.weight.weight.number()).collect();
        let (trainable, teacher_norm) = (Trainable { student, methods }, TeacherNorm::Frozen);
        Self { trainable, arm, objective, teacher_norm, wanted, weights }
    }

    /// The same under a teacher whose batch normalisations use this.
    pub fn taught_by(self, teacher_norm: TeacherNorm) -> Self {
        Self { teacher_norm, ..self }
    }

    /// A teacher as this learner runs it: batch normalisations with constant statistics are folded.
    pub fn prepared(&self, teacher: &Network) -> Network {
        match self.teacher_norm {
            TeacherNorm::Frozen => teacher.fold_batch_norm(&self.wanted.teacher),
            TeacherNorm::Batch => teacher.valid(),
        }
    }

    /// A learner for experiments: its running statistics are its own.
    pub fn copy(&self) -> Self {
        let Self { trainable, arm, objective, teacher_norm, wanted, weights } = self;
        let (trainable, arm, wanted, weights) = (trainable.clone(), arm.clone(), wanted.clone(), weights.clone());
        Self { trainable, arm, objective: *objective, teacher_norm: *teacher_norm, wanted, weights }
    }

    /// Parameters of the adapters.
    pub fn aux_params(&self) -> usize {
        self.trainable.methods.iter().map(AnyMethod::param_count).sum()
    }

    /// What the loss is made of, the task first.
    pub fn sources(&self) -> Vec<Source> {
        let task = (self.arm.task_weight > 0.0).then_some(Source::Task);
        task.into_iter().chain((0..self.arm.terms.len()).map(Source::Term)).collect()
    }

    /// The student's logits and wanted taps.
    pub fn student(&self, inputs: &Inputs, mode: Mode) -> Result<Features, TrainError> {
        let features = self
            .trainable
            .student
            .forward_with(inputs.student.clone(), mode, &self.wanted.student, Some(&inputs.noise))
            .map_err(|source| TrainError::model("student", source))?;
        #[cfg(test)]
        let features = mutation::detached(mutation::Place::Network, features);
        Ok(features)
    }

    /// The teacher's logits and wanted taps as constants; `None` if no term reads them.
    pub fn teacher(&self, inputs: &Inputs, teacher: Option<&Network>) -> Result<Option<Features>, TrainError> {
        let Some(teacher) = teacher.filter(|_| !self.arm.terms.is_empty()) else { return Ok(None) };
        let (images, wanted) = (inputs.teacher.clone(), &self.wanted.teacher);
        let features = match self.teacher_norm {
            TeacherNorm::Frozen => teacher.forward(images, Mode::Eval, wanted),
            TeacherNorm::Batch => {
                let stream = inputs.noise.stream.with("teacher");
                let noise = Noise { stream, samples: inputs.noise.samples.clone() };
                // A copy, whose running statistics are forgotten.
                teacher.clone().forward_with(images, Mode::Train, wanted, Some(&noise))
            }
        };
        features.map(|features| Some(lift(features))).map_err(|source| TrainError::model("teacher", source))
    }

    /// The parts of the loss for one batch, the task's first.
    pub fn parts(
        &self,
        inputs: &Inputs,
        teacher: Option<&Network>,
        mode: Mode,
        epoch: usize,
        step: usize,
    ) -> Result<Vec<Part>, TrainError> {
        let (student, teacher) = (self.student(inputs, mode)?, self.teacher(inputs, teacher)?);
        let sight = Sight {
            student: &student,
            teacher: teacher.as_ref(),
            labels: &inputs.labels,
            samples: &inputs.noise.samples,
            time: (epoch, step),
        };
        let mut parts = Vec::new();
        for source in self.sources() {
            parts.extend(self.parts_of(source, &sight)?);
        }
        Ok(parts)
    }

    /// The parts of one source; none for a term without a teacher.
    pub fn parts_of(&self, source: Source, sight: &Sight) -> Result<Vec<Part>, TrainError> {
        match source {
            Source::Task => Ok(vec![Part {
                name: "task".into(),
                value: self.objective.loss(sight.student, sight.labels)?,
                weight: self.arm.task_weight,
                reaches: self.objective.reaches(),
            }]),
            Source::Term(index) => self.term(index, sight),
        }
    }

    fn term(&self, index: usize, sight: &Sight) -> Result<Vec<Part>, TrainError> {
        let Some(teacher) = sight.teacher else { return Ok(Vec::new()) };
        let (term, (epoch, step)) = (&self.arm.terms[index], sight.time);
        #[cfg(test)]
        let student = &mutation::detached(mutation::Place::Method, sight.student.clone());
        #[cfg(not(test))]
        let student = sight.student;
        let (labels, samples) = (sight.labels.clone(), sight.samples);
        let input = StepInput { student, teacher, labels, samples, epoch, step };
        let terms = self.trainable.methods[index].forward(&input).map_err(|source| {
            TrainError::distill(format!("arm \"{}\", term \"{}\"", self.arm.name, term.name), source)
        })?;
        let weight = term.weight.at(epoch, self.weights[index]);
        let part = |part: subband_distill::Term| {
            let name = match part.name.strip_prefix(term.method.about().name) {
                Some(rest) => format!("{}{rest}", term.name),
                None => format!("{}.{}", term.name, part.name),
            };
            Part { name, value: part.value, weight, reaches: part.reaches }
        };
        Ok(terms.into_iter().map(part).collect())
    }
}

/// True classes on the device.
fn labels(targets: Targets, device: &Device) -> Labels {
    match targets {
        Targets::Classes(classes) => {
            let classes: Vec<i64> = classes.into_iter().map(|class| class as i64).collect();
            let shape = [classes.len()];
            Labels::Images(Tensor::from_data(TensorData::new(classes, shape), device))
        }
        Targets::Masks(masks) => {
            let (height, width) = masks.first().map_or((0, 0), |mask| (mask.height(), mask.width()));
            let class = |label: &u8| if *label == Mask::IGNORED { -1 } else { i64::from(*label) };
            let classes: Vec<i64> = masks.iter().flat_map(|mask| mask.labels().iter().map(class)).collect();
            Labels::Pixels(Tensor::from_data(TensorData::new(classes, [masks.len(), height, width]), device))
        }
    }
}

/// A teacher's features as constants on the student's autodiff device.
fn lift(features: Features) -> Features {
    let feature = |feature| match feature {
        Feature::Map(x) => Feature::Map(x.autodiff()),
        Feature::Vector(x) => Feature::Vector(x.autodiff()),
        Feature::Tokens { values, prefix, grid } => Feature::Tokens { values: values.autodiff(), prefix, grid },
    };
    Features {
        logits: feature(features.logits),
        taps: features.taps.into_iter().map(|(name, value)| (name, feature(value))).collect(),
    }
}

#[cfg(test)]
pub(crate) mod mutation;
#[cfg(test)]
mod tests;
