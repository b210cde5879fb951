//! The pieces of one training step: forward pass, backward pass, check of the gradient, update.
use burn::optim::GradientsParams;
use burn::prelude::*;
use subband_models::{Mode, Network};

use crate::TrainError;
use crate::gradients;
use crate::learner::{Inputs, Learner, Part, Trainable};
use crate::optimizer::Optimizer;

/// A batch with its place in the run.
pub(crate) struct Micro {
    pub inputs: Inputs,
    /// Epoch, from 1.
    pub epoch: usize,
    /// Optimiser step, from 1.
    pub step: usize,
}

/// What a forward pass gives.
pub(crate) struct Forward {
    /// The weighted sum with its graph, `[1]`.
    loss: Tensor<1>,
    /// Unweighted value and weight of each part.
    terms: Vec<(String, f64, f64)>,
}

/// What a forward and a backward pass give.
pub(crate) struct Pass {
    /// Gradients of the weighted sum.
    pub grads: GradientsParams,
    /// Unweighted value and weight of each part.
    pub terms: Vec<(String, f64, f64)>,
}

/// A part of the loss that is NaN or infinite, found before anything was updated.
#[derive(Debug)]
pub(crate) struct NotFinite {
    pub name: String,
    pub value: f64,
}

/// The outcome of a pass that may have met a NaN.
pub(crate) enum Outcome<T> {
    Done(T),
    NotFinite(NotFinite),
}

impl Forward {
    /// Backward pass.
    pub fn backward(self, trainable: &Trainable) -> Pass {
        Pass { grads: GradientsParams::from_grads(self.loss.backward(), trainable), terms: self.terms }
    }
}

/// The value of a `[1]` tensor.
pub(crate) fn scalar(value: Tensor<1>) -> f64 {
    let data = value.into_data().convert::<f64>();
    data.as_slice::<f64>().ok().and_then(|values| values.first().copied()).unwrap_or(f64::NAN)
}

/// Forward pass in training mode and check of every part.
pub(crate) fn try_forward(
    learner: &Learner,
    micro: &Micro,
    teacher: Option<&Network>,
) -> Result<Outcome<Forward>, TrainError> {
    let parts = learner.parts(&micro.inputs, teacher, Mode::Train, micro.epoch, micro.step)?;
    let mut terms = Vec::new();
    for part in &parts {
        let value = scalar(part.value.clone());
        if !value.is_finite() {
            return Ok(Outcome::NotFinite(NotFinite { name: part.name.clone(), value }));
        }
        terms.push((part.name.clone(), value, part.weight));
    }
    match total(parts) {
        Some(loss) => Ok(Outcome::Done(Forward { loss, terms })),
        None => Err(TrainError::Wiring(format!("arm \"{}\" has no loss term", learner.arm.name))),
    }
}

/// [`try_forward`] and the backward pass of the weighted sum.
pub(crate) fn try_backward(
    learner: &Learner,
    micro: &Micro,
    teacher: Option<&Network>,
) -> Result<Outcome<Pass>, TrainError> {
    Ok(match try_forward(learner, micro, teacher)? {
        Outcome::Done(forward) => Outcome::Done(forward.backward(&learner.trainable)),
        Outcome::NotFinite(bad) => Outcome::NotFinite(bad),
    })
}

/// [`try_backward`] where a NaN is an error: in the measurement of plans and benchmarks.
pub(crate) fn backward(learner: &Learner, micro: &Micro, teacher: Option<&Network>) -> Result<Pass, TrainError> {
    match try_backward(learner, micro, teacher)? {
        Outcome::Done(pass) => Ok(pass),
        Outcome::NotFinite(bad) => Err(bad.at_start(&learner.arm.name)),
    }
}

impl NotFinite {
    /// The error where nothing was trained yet.
    pub fn at_start(self, arm: &str) -> TrainError {
        let Self { name, value } = self;
        TrainError::Wiring(format!("term \"{name}\" of arm \"{arm}\" is {value} for the initial weights"))
    }
}

/// The global norm of the gradients, or the first parameter whose gradient is not finite.
pub(crate) fn finite_norm(trainable: &Trainable, grads: &GradientsParams) -> Result<f64, NotFinite> {
    let norm = gradients::norm(trainable, grads);
    if norm.value.is_finite() {
        return Ok(norm.value);
    }
    let name = format!("gradient norm (first at {})", norm.not_finite.unwrap_or_default());
    Err(NotFinite { name, value: norm.value })
}

/// Clips the gradients, whose global norm is `norm`, to `limit` and updates the parameters with learning rate `lr`.
pub(crate) fn update(
    learner: &mut Learner,
    optimizer: &mut Optimizer,
    mut grads: GradientsParams,
    (norm, limit): (f64, Option<f64>),
    lr: f64,
) {
    if let Some(limit) = limit {
        gradients::clip(&learner.trainable, &mut grads, norm, limit);
    }
    // Taken out rather than cloned: as their only owner the optimiser updates the parameters in place.
    let hollow = Trainable { student: learner.trainable.student.hollow(), methods: Vec::new() };
    let trainable = std::mem::replace(&mut learner.trainable, hollow);
    learner.trainable = optimizer.step(lr, trainable, &mut grads);
}

/// The weighted sum of the parts.
pub(crate) fn total(parts: Vec<Part>) -> Option<Tensor<1>> {
    parts.into_iter().map(|part| part.value.mul_scalar(part.weight)).reduce(|sum, part| sum + part)
}
