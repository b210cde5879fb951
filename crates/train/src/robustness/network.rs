//! One network on a split.
use std::collections::BTreeMap;
use std::ops::ControlFlow;

use serde::Serialize;
use subband_data::EvalSplit;
use subband_metrics::RobustnessResult;
use subband_models::Network;

use super::images::{Images, Skips};
use super::{CorruptionGrid, FrostSource, RobustnessEvent};
use crate::TrainError;
use crate::evaluate::{Evaluation, Subject, evaluate_each};
use crate::evidence::{NetworkRobustness, RobustnessCell};
use crate::recipe::EvaluateRecipe;
use crate::setup::Role;
use crate::task::{self, Judge};

/// A network on clean and on corrupted images. JSON: what [`Evaluation`] has of the clean images, and `robustness`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RobustnessOf {
    /// On clean images.
    #[serde(flatten)]
    pub clean: Evaluation,
    /// On corrupted ones.
    pub robustness: Corruptions,
}

/// The corrupted part of [`RobustnessOf`].
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Corruptions {
    /// Images of each cell that were looked at.
    pub images: usize,
    /// What frost is made of: `generated`, or `pictures` with a hash of them.
    pub frost: String,
    /// P, mPC and rPC by figure.
    pub results: BTreeMap<String, RobustnessResult>,
    /// The figures of every cell.
    pub cells: Vec<RobustnessCell>,
}

/// A measurement on the images of a split.
#[derive(Clone)]
pub struct SplitRobustness {
    /// The images.
    pub split: EvalSplit,
    /// Images of a forward pass.
    pub batch: usize,
    /// Only this many images.
    pub limit: Option<usize>,
    /// What the choice of images and the corruptions are functions of.
    pub seed: u64,
    /// What is done to them.
    pub grid: CorruptionGrid,
    /// What frost is made of.
    pub frost: FrostSource,
    /// How segmenters look at images.
    pub options: EvaluateRecipe,
}

impl SplitRobustness {
    /// Evaluates a network on the clean images and under every corruption.
    ///
    /// # Errors
    /// As [`crate::evaluate()`]; images that cannot be corrupted (smaller than 32 x 32).
    pub fn measure(
        &self,
        network: &Network,
        progress: &mut dyn FnMut(RobustnessEvent<'_>) -> ControlFlow<()>,
    ) -> Result<RobustnessOf, TrainError> {
        let split = &self.split;
        task::check(split.task, "network", network.name())?;
        let judge = Judge { task: split.task, classes: split.classes.clone(), options: self.options.clone() };
        let images = Images::of_split(split, self.batch, self.seed, self.frost.clone()).limited(self.limit)?;
        let subject = Subject::new(network, Role::Student);
        let grid = &self.grid;
        let names = [network.name().to_string()];
        let conditions = grid.conditions();
        let cells = conditions.len();
        let started = RobustnessEvent::Started {
            networks: &names,
            left_out: &[],
            unfinished: &[],
            cells,
            kept: 0,
            images: images.len(),
            renewed: &[],
        };
        let mut go_on = progress(started);
        let mut found = NetworkRobustness {
            name: names[0].clone(),
            slug: String::new(),
            network: network.name().into(),
            weights: String::new(),
            unfinished: false,
            cells: Vec::new(),
            results: BTreeMap::new(),
        };
        let (mut clean, mut skips) = (None, Skips::default());
        for (place, condition) in conditions.into_iter().enumerate() {
            if go_on.is_break() {
                return Err(TrainError::Stopped { arm: names[0].clone(), step: place });
            }
            let cell = place + 1;
            let mut told = |done, total| progress(RobustnessEvent::Evaluating { cell, cells, condition, done, total });
            let loader = images.under(condition)?;
            let evaluation = evaluate_each(&[&subject], &loader, &judge, &mut told)?.swap_remove(0);
            let figures = [(names[0].clone(), evaluation.scores.clone())];
            go_on = skips.tell(&loader, progress);
            let ended = progress(RobustnessEvent::CellEnded { cell, cells, condition, figures: &figures });
            go_on = if go_on.is_break() { go_on } else { ended };
            found.cells.push(RobustnessCell {
                corruption: condition.name().into(),
                severity: condition.severity(),
                images: evaluation.images(),
                figures: evaluation.scores.clone(),
            });
            clean.get_or_insert(evaluation);
        }
        let Some(clean) = clean else { return Err(TrainError::Robustness("there is no cell to measure".into())) };
        found.summarise(&grid.corruption_names(), &grid.levels());
        let frost = images.frost().to_string();
        let robustness = Corruptions { images: clean.images(), frost, results: found.results, cells: found.cells };
        Ok(RobustnessOf { clean, robustness })
    }
}
