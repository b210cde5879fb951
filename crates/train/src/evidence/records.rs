//! The records of a run folder: lines of `metrics.jsonl`, `result.json` of an arm, `results.json` of the run.
use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

use super::{PromptResult, SeedSummary};
use crate::recipe::label;

/// JSON has no infinity and no NaN: they are written as `null` and read as NaN.
fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Option::<f64>::deserialize(deserializer)?.unwrap_or(f64::NAN))
}

/// A line of `metrics.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum MetricLine {
    /// An optimiser step.
    Step(StepRecord),
    /// An epoch.
    Epoch(EpochRecord),
}

/// An optimiser step in `metrics.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepRecord {
    /// Epoch, from 1.
    pub epoch: usize,
    /// Optimiser step in the arm, from 1.
    pub step: usize,
    /// Learning rate used.
    pub lr: f64,
    /// Weighted sum of the terms: what was minimised.
    pub loss: f64,
    /// Unweighted terms; `task` is the cross-entropy.
    pub terms: BTreeMap<String, f64>,
    /// Weights of the terms at this step.
    pub weights: BTreeMap<String, f64>,
    /// L2 norm of the gradient over all parameters, before clipping.
    pub grad_norm: f64,
}

/// An epoch in `metrics.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EpochRecord {
    /// Epoch, from 1.
    pub epoch: usize,
    /// Optimiser steps in the arm so far.
    pub step: usize,
    /// Means of the terms over the epoch's images, and `loss`.
    pub train: BTreeMap<String, f64>,
    /// The validation images, if there are any.
    pub val: Option<Scores>,
    /// Training time of the epoch, evaluation excluded.
    pub seconds: f64,
    /// Training images per second.
    pub images_per_second: f64,
    /// Training images left out because they cannot be decoded (with `skip_corrupt`); `skipped.json` names them.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub skipped: usize,
}

fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// Figures of one evaluation.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    /// Share of images whose label has the highest score, in percent.
    pub top1: f64,
    /// Share of images whose label is among the five highest scores, in percent.
    pub top5: f64,
    /// Mean cross-entropy.
    #[serde(deserialize_with = "number")]
    pub loss: f64,
}

/// The chosen epoch of an arm and its test figures.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EpochResult {
    /// Epoch, from 1; 0 is the network as loaded.
    pub epoch: usize,
    /// Validation top-1 in percent, if there are validation images.
    pub val_top1: Option<f64>,
    /// Test top-1 in percent.
    pub test_top1: f64,
    /// Test top-5 in percent.
    pub test_top5: f64,
    /// Mean test cross-entropy.
    #[serde(deserialize_with = "number")]
    pub test_loss: f64,
}

/// `arms/<slug>/result.json` and an element of `results.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ArmResult {
    /// Name in the recipe; `teacher` for the teacher.
    pub name: String,
    /// Folder under `arms`.
    pub slug: String,
    /// The seed, where the recipe has several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Network name.
    pub network: String,
    /// Parameters of the network.
    pub params: usize,
    /// Multiply-adds of one image.
    pub macs: u64,
    /// Epochs trained.
    pub epochs: usize,
    /// Optimiser steps.
    pub steps: usize,
    /// Training time in seconds over all sessions of the run, evaluation excluded.
    pub seconds: f64,
    /// Parameters of the methods' adapters, which the deployed student does not have.
    pub aux_params: usize,
    /// The epoch with the best validation top-1 (the first one among equals).
    pub best: EpochResult,
    /// The last epoch.
    pub last: EpochResult,
    /// Names of the loss terms.
    pub terms: Vec<String>,
    /// What was measured for the terms with an automatic weight.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub auto_weights: BTreeMap<String, f64>,
}

impl ArmResult {
    /// The name, with the seed where there are several.
    pub fn label(&self) -> String {
        label(&self.name, self.seed)
    }
}

/// The teacher in `results.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TeacherResult {
    /// Network name.
    pub network: String,
    /// Parameters.
    pub params: usize,
    /// Multiply-adds of one image.
    pub macs: u64,
    /// Epochs it was trained in this run; 0 if used as loaded.
    pub epochs: usize,
    /// Training time in seconds in this run.
    pub seconds: f64,
    /// Figures on the test images, as used for the distillation.
    pub test: Scores,
}

/// `results.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunSummary {
    /// Name of the recipe.
    pub name: String,
    /// Whether all arms are done.
    pub finished: bool,
    /// Test images.
    pub test_images: usize,
    /// The teacher, if there is one.
    pub teacher: Option<TeacherResult>,
    /// The frequency prompts, if the run learns them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompts: Option<PromptResult>,
    /// The trainings that are done, in the recipe's order: of the first arm with each seed, of the second, ...
    pub arms: Vec<ArmResult>,
    /// Each arm over its seeds so far, where the recipe has several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub over_seeds: Vec<SeedSummary>,
    /// The run folder.
    #[serde(skip)]
    pub folder: std::path::PathBuf,
}

impl RunSummary {
    /// Lists the trainings that are done; `all` has a place for every one.
    pub(crate) fn list(&mut self, all: &[Option<ArmResult>]) {
        self.arms = all.iter().flatten().cloned().collect();
        self.over_seeds = super::over_seeds(&self.arms);
        self.finished = self.arms.len() == all.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_infinite_loss_survives_as_not_a_number() {
        let text = serde_json::to_string(&Scores { top1: 10.0, top5: 50.0, loss: f64::INFINITY }).unwrap();
        let back: Scores = serde_json::from_str(&text).unwrap();
        assert!(back.loss.is_nan() && back.top1 == 10.0);
    }
}
