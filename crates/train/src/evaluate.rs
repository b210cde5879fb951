//! Figures of a network on a set of images.
use std::collections::BTreeMap;
use std::ops::ControlFlow;

use burn::prelude::*;
use serde::Serialize;
use subband_data::{Loader, Task};
use subband_models::Network;

use crate::TrainError;
use crate::evidence::{ClassScores, Scores};
use crate::learner::Inputs;
use crate::recipe::EvaluateRecipe;
use crate::setup::Role;
use crate::task::{self, Judge};

/// What one evaluation found. JSON: one flat object of counts and figures, with `classes` where there are some.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Evaluation {
    /// What counts, of a segmentation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<subband_metrics::Protocol>,
    /// Counts: `correct`, `correct5` and `total` images of a classification; `images`, `pixels`, `ignored` pixels and
    /// `void` predictions (pixels without a predicted class) of a segmentation.
    #[serde(flatten)]
    pub counts: BTreeMap<String, usize>,
    /// Figures; those in percent are from 0 to 100.
    #[serde(flatten)]
    pub scores: Scores,
    /// The figures of every class, where the task has them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<ClassScores>,
    /// The figures of groups of classes, where the protocol has them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub categories: Vec<ClassScores>,
}

impl Evaluation {
    /// Images that were looked at.
    pub fn images(&self) -> usize {
        ["total", "images"].iter().find_map(|name| self.counts.get(*name)).copied().unwrap_or(0)
    }
}

/// Images of one forward pass in evaluation where nobody chooses.
pub fn default_batch(task: Task) -> usize {
    match task {
        Task::Classification => 128,
        Task::Segmentation => 4,
    }
}

/// Evaluates a network for what it was built for on the student's view of a loader's images, with the loader's classes;
/// `options` are for segmenters.
///
/// # Errors
/// Corrupt images, shapes that do not fit the network, labels of another task, options out of their ranges, no images,
/// no pixel that counts.
pub fn evaluate(network: &Network, loader: &Loader, options: &EvaluateRecipe) -> Result<Evaluation, TrainError> {
    let (task, classes) = (loader.dataset().task(), loader.dataset().classes().to_vec());
    task::check(task, "network", network.name())?;
    let judge = Judge { task, classes, options: options.clone() };
    evaluate_with(network, loader, Role::Student, &judge, &mut |_, _| ControlFlow::Continue(()))
}

/// Evaluates the student's or the teacher's view of a loader's images in evaluation mode, without autodiff and with the
/// batch normalisations folded. `progress` is told images done and in all, and may stop with [`TrainError::Stopped`].
///
/// # Errors
/// Corrupt images, shapes that do not fit the network, labels of another task, no images.
pub(crate) fn evaluate_with(
    network: &Network,
    loader: &Loader,
    role: Role,
    judge: &Judge,
    progress: &mut dyn FnMut(usize, usize) -> ControlFlow<()>,
) -> Result<Evaluation, TrainError> {
    let found = evaluate_each(&[&Subject::new(network, role)], loader, judge, progress)?;
    found.into_iter().next().ok_or_else(|| TrainError::Wiring("there is no network to evaluate".into()))
}

/// A network made ready for evaluation: without autodiff, with its batch normalisations folded.
pub(crate) struct Subject {
    network: Network,
    role: Role,
}

impl Subject {
    /// A network that sees the view of `role`.
    pub fn new(network: &Network, role: Role) -> Self {
        Self { network: network.valid().fold_batch_norm(&[]), role }
    }
}

/// Evaluates several networks in one pass over a loader's images, each of which is read and prepared once.
///
/// # Errors
/// As [`evaluate_with`].
pub(crate) fn evaluate_each(
    subjects: &[&Subject],
    loader: &Loader,
    judge: &Judge,
    progress: &mut dyn FnMut(usize, usize) -> ControlFlow<()>,
) -> Result<Vec<Evaluation>, TrainError> {
    let Some(first) = subjects.first() else { return Ok(Vec::new()) };
    let device = first.network.device();
    let mut tallies = subjects.iter().map(|_| judge.tally()).collect::<Result<Vec<_>, _>>()?;
    for batch in loader.epoch(0, 0) {
        let batch = batch?;
        if batch.is_empty() {
            continue;
        }
        let seen = |role| subjects.iter().any(|subject| subject.role == role);
        let view = |role| seen(role).then(|| Inputs::images(batch.clone(), role, &device));
        let (student, teacher) = (view(Role::Student), view(Role::Teacher));
        for (subject, tally) in subjects.iter().zip(&mut tallies) {
            let view = if subject.role == Role::Teacher { &teacher } else { &student };
            if let Some(images) = view {
                judge.add(&subject.network, images.clone(), &batch.targets, tally)?;
            }
        }
        let done = tallies.first().map_or(0, |tally| tally.images());
        if progress(done, loader.samples()).is_break() {
            return Err(TrainError::Stopped { arm: first.role.name().into(), step: 0 });
        }
    }
    // Which images they are is known here only.
    let named = |error| match error {
        TrainError::Wiring(reason) => {
            TrainError::Wiring(format!("{reason}; the first image is {}", loader.dataset().describe(0)))
        }
        other => other,
    };
    tallies.into_iter().map(|tally| tally.result().map_err(named)).collect()
}
