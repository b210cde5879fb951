//! The trained module of an arm, student and adapters together, and its loss.
//!
//! ```text
//! loss = task_weight * CE(student logits, labels) + sum over terms i of  w_i(epoch) * sum over parts of term i
//! CE(z, y) = mean over the batch of  -log softmax(z)_y
//! ```
use burn::module::Module;
use burn::prelude::*;
use subband_data::{Batch, View};
use subband_distill::{AnyMethod, StepInput, Wanted};
use subband_kernels::loss::cross_entropy;
use subband_models::{Feature, Features, Mode, Network};

use crate::TrainError;
use crate::recipe::ArmRecipe;
use crate::setup::Role;

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
    pub wanted: Wanted,
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
    /// Classes `[N]`.
    pub labels: Tensor<1, Int>,
    /// N.
    pub count: usize,
}

impl Inputs {
    /// Moves a batch to `device` (without autodiff).
    pub fn new(batch: Batch, device: &Device) -> Self {
        let tensor = |view: View| Tensor::<4>::from_data(TensorData::new(view.data, view.shape), device);
        let count = batch.labels.len();
        let labels: Vec<i64> = batch.labels.iter().map(|label| *label as i64).collect();
        let student = tensor(batch.student);
        let teacher = batch.teacher.map_or_else(|| student.clone(), tensor);
        Self { student, teacher, labels: Tensor::from_data(TensorData::new(labels, [count]), device), count }
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
            labels: self.labels.clone().narrow(0, 0, count),
            count,
        }
    }
}

impl Learner {
    pub fn new(student: Network, methods: Vec<AnyMethod>, arm: ArmRecipe, wanted: Wanted) -> Self {
        Self { trainable: Trainable { student, methods }, arm, wanted }
    }

    /// Parameters of the adapters.
    pub fn aux_params(&self) -> usize {
        self.trainable.methods.iter().map(AnyMethod::param_count).sum()
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
        let student = forward("student", &self.trainable.student, inputs.student.clone(), mode, &self.wanted.student)?;
        let mut parts = Vec::new();
        if self.arm.task_weight > 0.0 {
            parts.push(Part {
                name: "task".into(),
                value: cross_entropy(student.logits.clone(), inputs.labels.clone(), None),
                weight: self.arm.task_weight,
                reaches: vec!["logits".into()],
            });
        }
        if let (Some(teacher), false) = (teacher, self.arm.terms.is_empty()) {
            let features = forward("teacher", teacher, inputs.teacher.clone(), Mode::Eval, &self.wanted.teacher)?;
            let features = lift(features);
            let labels = inputs.labels.clone();
            let input = StepInput { student: &student, teacher: &features, labels, epoch, step };
            for (term, method) in self.arm.terms.iter().zip(&self.trainable.methods) {
                let terms = method.forward(&input).map_err(|source| {
                    TrainError::distill(format!("arm \"{}\", term \"{}\"", self.arm.name, term.name), source)
                })?;
                for part in terms {
                    let name = match part.name.strip_prefix(term.method.about().name) {
                        Some(rest) => format!("{}{rest}", term.name),
                        None => format!("{}.{}", term.name, part.name),
                    };
                    let weight = term.weight.at(epoch);
                    parts.push(Part { name, value: part.value, weight, reaches: part.reaches });
                }
            }
        }
        Ok(parts)
    }
}

fn forward(role: &str, network: &Network, x: Tensor<4>, mode: Mode, want: &[String]) -> Result<Features, TrainError> {
    network.forward(x, mode, want).map_err(|source| TrainError::model(role, source))
}

/// A teacher's features as constants on the student's autodiff device.
fn lift(features: Features) -> Features {
    let feature = |feature| match feature {
        Feature::Map(x) => Feature::Map(x.autodiff()),
        Feature::Vector(x) => Feature::Vector(x.autodiff()),
        Feature::Tokens { values, prefix, grid } => Feature::Tokens { values: values.autodiff(), prefix, grid },
    };
    Features {
        logits: features.logits.autodiff(),
        taps: features.taps.into_iter().map(|(name, value)| (name, feature(value))).collect(),
    }
}

#[cfg(test)]
mod tests;
