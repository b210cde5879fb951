//! One forward and backward pass.
use burn::optim::GradientsParams;
use burn::prelude::*;
use subband_models::{Mode, Network};

use crate::TrainError;
use crate::learner::{Inputs, Learner, Part};

/// A batch with its place in the run.
pub(crate) struct Micro {
    pub inputs: Inputs,
    /// Epoch, from 1.
    pub epoch: usize,
    /// Optimiser step, from 1.
    pub step: usize,
}

/// What a pass gives.
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
pub(crate) enum Outcome {
    Done(Pass),
    NotFinite(NotFinite),
}

/// The value of a `[1]` tensor.
pub(crate) fn scalar(value: Tensor<1>) -> f64 {
    let data = value.into_data().convert::<f64>();
    data.as_slice::<f64>().ok().and_then(|values| values.first().copied()).unwrap_or(f64::NAN)
}

/// Forward pass in training mode, check of every part, backward pass of the weighted sum.
pub(crate) fn try_backward(learner: &Learner, micro: &Micro, teacher: Option<&Network>) -> Result<Outcome, TrainError> {
    let parts = learner.parts(&micro.inputs, teacher, Mode::Train, micro.epoch, micro.step)?;
    let mut terms = Vec::new();
    for part in &parts {
        let value = scalar(part.value.clone());
        if !value.is_finite() {
            return Ok(Outcome::NotFinite(NotFinite { name: part.name.clone(), value }));
        }
        terms.push((part.name.clone(), value, part.weight));
    }
    let Some(loss) = total(parts) else {
        return Err(TrainError::Wiring(format!("arm \"{}\" has no loss term", learner.arm.name)));
    };
    let grads = GradientsParams::from_grads(loss.backward(), &learner.trainable);
    Ok(Outcome::Done(Pass { grads, terms }))
}

/// [`try_backward`] for callers to whom a NaN does not matter (time measurement).
pub(crate) fn backward(learner: &Learner, micro: &Micro, teacher: Option<&Network>) -> Result<Pass, TrainError> {
    match try_backward(learner, micro, teacher)? {
        Outcome::Done(pass) => Ok(pass),
        Outcome::NotFinite(NotFinite { name, value }) => Err(TrainError::Wiring(format!(
            "term \"{name}\" of arm \"{}\" is {value} for the initial weights",
            learner.arm.name
        ))),
    }
}

/// The weighted sum of the parts.
pub(crate) fn total(parts: Vec<Part>) -> Option<Tensor<1>> {
    parts.into_iter().map(|part| part.value.mul_scalar(part.weight)).reduce(|sum, part| sum + part)
}
