//! Proof of life: before the first step, every term is shown to be alive.
//!
//! Each part of the loss is computed alone on a few images of the first batch, and its gradient is followed to the
//! student. A part that is exactly zero, or whose gradient does not reach the student, would silently do nothing: the
//! usual causes are a detached tap, a frozen student, or a teacher that is the student.
use burn::optim::GradientsParams;
use subband_models::{Mode, Network};

use crate::TrainError;
use crate::gradients;
use crate::learner::{Inputs, Learner};

use super::step::scalar;

/// Images used; relational terms need several.
const IMAGES: usize = 16;

/// Checks every part of the loss. The learner is not changed: a copy with its own running statistics is used.
pub(super) fn check(learner: &Learner, inputs: &Inputs, teacher: Option<&Network>) -> Result<(), TrainError> {
    let inputs = inputs.first(IMAGES);
    let copy = Learner::new(
        learner.trainable.student.clone(),
        learner.trainable.methods.clone(),
        learner.arm.clone(),
        learner.wanted.clone(),
    );
    let mut index = 0;
    loop {
        // A backward pass uses its graph up, so each part gets a forward pass of its own.
        let mut parts = copy.parts(&inputs, teacher, Mode::Train, 1, 1)?;
        if index >= parts.len() {
            return Ok(());
        }
        let part = parts.swap_remove(index);
        index += 1;
        let value = scalar(part.value.clone());
        let dead = |message: String| {
            let (term, arm) = (part.name.clone(), learner.arm.name.clone());
            Err(TrainError::DeadTerm { term, arm, message })
        };
        let taps = part.reaches.join(", ");
        if value == 0.0 {
            return dead(format!("is exactly zero at step 1 (student taps: {taps}); it would teach nothing"));
        }
        // A value that is not finite is reported by the step itself, with its state saved.
        if !value.is_finite() {
            continue;
        }
        if !part.value.is_autodiff() {
            return dead(format!("has no graph: it does not depend on the student (student taps: {taps})"));
        }
        let grads = GradientsParams::from_grads(part.value.backward(), &copy.trainable.student);
        if grads.is_empty() || gradients::norm(&copy.trainable.student, &grads).value == 0.0 {
            return dead(format!(
                "gives the student no gradient at step 1 (student taps: {taps}): the tap is detached or everything \
                 before it is frozen"
            ));
        }
    }
}
