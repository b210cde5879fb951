//! Automatic weights: `weight = "auto:0.5"` is measured over the first steps, then frozen.
//!
//! With `g_task` the gradient of `task_weight * CE` and `g_i` that of the unweighted term i, both on the student's
//! parameters and averaged over the micro-batches of a step as the optimiser sees them, the full weight at step t is
//! ```text
//! w_i(t) = share * sum over s = 1 .. min(t, STEPS) of |g_task(s)|  /  sum over the same s of |g_i(s)|
//! ```
//! The sums, not a mean of quotients: a single small `|g_i|` cannot make the weight explode. A warm-up multiplies the
//! weight and is not part of it. The measurement runs on a copy of the student, so that its running statistics are
//! updated once per step as ever.
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use subband_models::Network;

use crate::TrainError;
use crate::gradients::{self, Mean};
use crate::learner::probe::Probe;
use crate::learner::{Inputs, Learner, Source};

/// Optimiser steps over which a weight is measured.
pub(crate) const STEPS: usize = 10;

/// What has been measured for one automatic weight; part of the checkpoint.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Measured {
    /// Optimiser steps so far.
    pub steps: usize,
    /// Sum of the task's gradient norms, as the bits of an f64.
    task: u64,
    /// Sum of the term's.
    term: u64,
}

/// By term name.
pub(crate) type AutoWeights = BTreeMap<String, Measured>;

impl Measured {
    fn add(&mut self, task: f64, term: f64) {
        let sum = |bits: u64, value: f64| (f64::from_bits(bits) + value).to_bits();
        *self = Self { steps: self.steps + 1, task: sum(self.task, task), term: sum(self.term, term) };
    }

    /// The full weight; `None` before there is anything to divide by.
    fn weight(&self, share: f64) -> Option<f64> {
        let (task, term) = (f64::from_bits(self.task), f64::from_bits(self.term));
        (term > 0.0).then(|| share * task / term)
    }
}

/// Measures the automatic weights that are not frozen yet on the micro-batches of a step (its epoch and number are
/// `time`), sets them in `learner` and returns what was measured so far.
pub(super) fn measure(
    learner: &mut Learner,
    so_far: &AutoWeights,
    micros: &[Inputs],
    teacher: Option<&Network>,
    time: (usize, usize),
) -> Result<AutoWeights, TrainError> {
    let mut measured = so_far.clone();
    let open = |index: &usize| {
        let term = &learner.arm.terms[*index];
        let done = so_far.get(&term.name).is_some_and(|measured| measured.steps >= STEPS);
        term.weight.weight.share().is_some() && !done
    };
    let terms: Vec<usize> = (0..learner.arm.terms.len()).filter(open).collect();
    if terms.is_empty() {
        return Ok(measured);
    }
    let sources: Vec<Source> = [Source::Task].into_iter().chain(terms.iter().copied().map(Source::Term)).collect();
    let norms = norms(learner, &sources, micros, teacher, time)?;
    // A loss that is not finite is reported by the step itself, with its state saved.
    if norms.iter().any(|norm| !norm.is_finite()) {
        return Ok(measured);
    }
    let task = norms[0] * learner.arm.task_weight;
    for (index, norm) in terms.into_iter().zip(&norms[1..]) {
        measured.entry(learner.arm.terms[index].name.clone()).or_default().add(task, *norm);
    }
    set(learner, &measured);
    Ok(measured)
}

/// The norm of each source's gradient on the student's parameters, averaged over the micro-batches.
fn norms(
    learner: &Learner,
    sources: &[Source],
    micros: &[Inputs],
    teacher: Option<&Network>,
    time: (usize, usize),
) -> Result<Vec<f64>, TrainError> {
    let student = &learner.trainable.student;
    let mut means: Vec<Mean<Network>> = sources.iter().map(|_| Mean::new()).collect();
    for inputs in micros {
        let probe = Probe::new(learner, inputs.clone(), teacher, time)?;
        for (source, mean) in sources.iter().zip(&mut means) {
            mean.add(student, probe.gradient(*source)?);
        }
    }
    Ok(means.into_iter().map(|mean| gradients::norm(student, &mean.take(student)).value).collect())
}

/// Puts the weights that `measured` gives into the learner.
pub(super) fn set(learner: &mut Learner, measured: &AutoWeights) {
    for (term, full) in learner.arm.terms.iter().zip(&mut learner.weights) {
        let weight = term.weight.weight.share().and_then(|share| measured.get(&term.name)?.weight(share));
        *full = weight.unwrap_or(*full);
    }
}

/// Full weight of every automatic term, by name.
pub(super) fn weights(learner: &Learner) -> BTreeMap<String, f64> {
    let automatic = |(term, full): (&subband_distill::TermConfig, &f64)| {
        term.weight.weight.share().map(|_| (term.name.clone(), *full))
    };
    learner.arm.terms.iter().zip(&learner.weights).filter_map(automatic).collect()
}

/// Whether the measurement ends between two states.
pub(super) fn ends(before: &AutoWeights, after: &AutoWeights) -> bool {
    let steps = |weights: &AutoWeights| weights.values().map(|measured| measured.steps).min().unwrap_or(0);
    steps(before) < STEPS && steps(after) >= STEPS
}
