//! What is saved when a term or the gradient becomes NaN or infinite.
use serde::Serialize;

use crate::TrainError;
use crate::checkpoint::Checkpoint;
use crate::files;

use super::folder::{ArmFolder, write_json};

/// `nonfinite/replay.json`: which step to repeat.
#[derive(Debug, Serialize)]
pub(super) struct Replay {
    /// Term or `gradient norm (parameter)`.
    pub what: String,
    /// `NaN`, `inf` or `-inf`.
    pub value: String,
    /// Arm's name.
    pub arm: String,
    /// Epoch, from 1.
    pub epoch: usize,
    /// Optimiser step in the arm, from 1.
    pub step: usize,
    /// Learning rate of the step.
    pub lr: f64,
    /// Training images of the step, by index, one list per micro-batch.
    pub indices: Vec<Vec<usize>>,
    /// The recipe, relative to this file.
    pub recipe: String,
    /// The state before the step, relative to this file.
    pub checkpoint: String,
}

/// Saves the state and gives the error to stop with.
pub(super) fn save(folder: &ArmFolder, replay: Replay, before: Checkpoint) -> TrainError {
    let path = folder.file("nonfinite");
    let write = || {
        files::create_folder(&path)?;
        before.write(&path.join("checkpoint.safetensors"))?;
        write_json(&path.join("replay.json"), &replay)
    };
    if let Err(error) = write() {
        return error;
    }
    let Replay { what, value, arm, epoch, step, .. } = replay;
    TrainError::NonFinite { what, value, arm, epoch, step, saved: path }
}
