//! What a run tells its caller while it works. The library itself prints nothing.
use std::collections::BTreeMap;
use std::ops::ControlFlow;

use crate::evidence::{EpochRecord, Proof};

/// Something that happened in a run.
#[derive(Debug, Clone)]
pub enum Event<'a> {
    /// The run begins.
    RunStarted {
        /// The recipe's name.
        name: &'a str,
        /// Arms to come, the trained teacher included.
        arms: usize,
    },
    /// An arm (or the teacher) begins or continues.
    ArmStarted {
        /// Name.
        name: &'a str,
        /// Place among the arms, from 0.
        index: usize,
        /// Epochs of the arm.
        epochs: usize,
        /// Optimiser steps per epoch.
        steps_per_epoch: usize,
        /// Steps already done by an earlier run.
        done_steps: usize,
        /// Images of one epoch.
        images_per_epoch: usize,
    },
    /// The arm was finished by an earlier run; its result is used.
    ArmSkipped {
        /// Name.
        name: &'a str,
        /// Place among the arms, from 0.
        index: usize,
    },
    /// The learning of the frequency prompts begins or continues; it has an `ArmSkipped` and `Step`s like an arm.
    PromptsStarted {
        /// Place among the arms, from 0.
        index: usize,
        /// Optimiser steps.
        steps: usize,
        /// Images of a step.
        batch_size: usize,
        /// Steps already done by an earlier run.
        done_steps: usize,
        /// Whether an arm uses the prompts.
        used: bool,
    },
    /// The prompts are learned and written.
    PromptsEnded {
        /// What came of them.
        result: &'a crate::evidence::PromptResult,
    },
    /// Every part of the arm's loss was shown to be alive; comes after the start of an arm, not of a resumed one.
    Proved {
        /// Name.
        name: &'a str,
        /// What was seen, as in `proof.json`.
        proof: &'a Proof,
    },
    /// The arm's automatic weights are measured and stay as they are.
    WeightsFrozen {
        /// Name.
        name: &'a str,
        /// Optimiser steps of the measurement.
        steps: usize,
        /// Full weight by term.
        weights: &'a BTreeMap<String, f64>,
    },
    /// An optimiser step is done.
    Step {
        /// Epoch, from 1.
        epoch: usize,
        /// Optimiser step in the arm, from 1.
        step: usize,
        /// Images of this step.
        images: usize,
        /// Learning rate used.
        lr: f64,
        /// Weighted sum of the terms.
        loss: f64,
        /// Unweighted terms by name.
        terms: &'a [(String, f64)],
    },
    /// Validation or test images are being evaluated.
    Evaluating {
        /// `validation` or `test`.
        split: &'a str,
        /// Images done.
        done: usize,
        /// Images in all.
        total: usize,
    },
    /// An epoch is done and validated.
    EpochEnded {
        /// The record as it is written to `metrics.jsonl`.
        record: &'a EpochRecord,
        /// Whether it is the best so far.
        best: bool,
    },
    /// An arm is done and tested.
    ArmEnded {
        /// Its result.
        result: &'a crate::evidence::ArmResult,
    },
}

/// Receives the events of a run.
pub trait Progress {
    /// Called for every event. `Break` stops the run after this step without writing a further checkpoint, as a
    /// killed process would; the last checkpoint stands.
    fn event(&mut self, event: Event<'_>) -> ControlFlow<()>;
}

/// Ignores all events.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn event(&mut self, _: Event<'_>) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}
