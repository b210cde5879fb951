//! A learner and its optimiser as a checkpoint, and back.
use std::collections::BTreeMap;
use std::path::Path;

use burn::prelude::*;
use burn::tensor::TensorData;

use crate::TrainError;
use crate::checkpoint::{Checkpoint, Meta};
use crate::learner::{Learner, Trainable};
use crate::optimizer::{Optimizer, OptimizerState};

use super::auto;

fn prefixed(prefix: &str, state: BTreeMap<String, TensorData>, into: &mut BTreeMap<String, TensorData>) {
    into.extend(state.into_iter().map(|(name, data)| (format!("{prefix}{name}"), data)));
}

/// Everything needed to continue from here.
pub(super) fn capture(trainable: &Trainable, optimizer: &Optimizer, mut meta: Meta) -> Checkpoint {
    let mut tensors = BTreeMap::new();
    prefixed("student.", trainable.student.state_dict(), &mut tensors);
    for (index, method) in trainable.methods.iter().enumerate() {
        prefixed(&format!("method.{index}."), method.state_dict(), &mut tensors);
    }
    let state = optimizer.state(trainable);
    prefixed("optimizer.", state.tensors, &mut tensors);
    meta.counters = state.counters;
    Checkpoint { meta, tensors }
}

/// Puts a checkpoint into a freshly built learner and optimiser.
pub(super) fn restore(
    path: &Path,
    checkpoint: Checkpoint,
    mut learner: Learner,
    optimizer: &mut Optimizer,
    device: &Device,
) -> Result<(Learner, Meta), TrainError> {
    let bad = |message: String| TrainError::Checkpoint { path: path.into(), message };
    let student = checkpoint.section("student.");
    learner.trainable.student.load(&student).map_err(|e| bad(format!("does not fit the student ({e})")))?;
    let mut methods = Vec::new();
    for (index, method) in learner.trainable.methods.into_iter().enumerate() {
        let state = checkpoint.section(&format!("method.{index}."));
        methods.push(method.load(&state).map_err(|e| bad(format!("does not fit the arm's methods ({e})")))?);
    }
    learner.trainable.methods = methods;
    let state =
        OptimizerState { tensors: checkpoint.section("optimizer."), counters: checkpoint.meta.counters.clone() };
    optimizer.load(&learner.trainable, state, device);
    auto::set(&mut learner, &checkpoint.meta.auto);
    Ok((learner, checkpoint.meta))
}
