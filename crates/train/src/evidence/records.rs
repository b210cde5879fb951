//! The records of a run folder: lines of `metrics.jsonl`, `result.json` of an arm, `results.json` of the run.
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use subband_metrics::Protocol;

use super::{ClassScores, PromptResult, Scores, SeedSummary};
use crate::recipe::label;

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
    /// Unweighted terms; `task` is the cross-entropy, of a segmenter with that of its auxiliary head times `aux_weight`.
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

/// The chosen epoch of an arm and its figures: `{"epoch", "val": {"top1", ..}, "test": {"top1", ..}}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(from = "StoredEpoch")]
pub struct EpochResult {
    /// Epoch, from 1; 0 is the network as loaded.
    pub epoch: usize,
    /// On the validation images, if there are any.
    pub val: Option<Scores>,
    /// On the test images.
    pub test: Scores,
    /// The classes on the test images, where the task has figures of classes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<ClassScores>,
}

/// An epoch as files have it; the first versions wrote the figures of a classifier one by one.
#[derive(Deserialize)]
struct StoredEpoch {
    #[serde(default)]
    epoch: usize,
    #[serde(default)]
    val: Option<Scores>,
    #[serde(default)]
    test: Scores,
    #[serde(default)]
    classes: Vec<ClassScores>,
    #[serde(default)]
    val_top1: Option<f64>,
    #[serde(default)]
    test_top1: Option<f64>,
    #[serde(default)]
    test_top5: Option<f64>,
    #[serde(default)]
    test_loss: Option<f64>,
}

impl From<StoredEpoch> for EpochResult {
    fn from(stored: StoredEpoch) -> Self {
        let StoredEpoch { epoch, val, test, classes, .. } = stored;
        let val = val.or(stored.val_top1.map(|top1| Scores::new([("top1", top1)])));
        let single = [("top1", stored.test_top1), ("top5", stored.test_top5), ("loss", stored.test_loss)];
        let single = single.into_iter().filter_map(|(name, value)| Some((name, value?)));
        let test = if test.is_empty() { Scores::new(single) } else { test };
        Self { epoch, val, test, classes }
    }
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
    /// The epoch with the best primary figure on the validation images (the first one among equals).
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
    /// Figures on the test images, as used for the distillation; none where its classes are not the data set's.
    #[serde(default)]
    pub test: Scores,
    /// The classes on the test images, where the task has figures of classes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<ClassScores>,
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
    /// What counts, of segmentations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Protocol>,
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
    fn epochs_of_the_first_versions_are_read() {
        let old = "{\"epoch\":2,\"val_top1\":60.5,\"test_top1\":57.5,\"test_top5\":95.0,\"test_loss\":1.25}";
        let epoch: EpochResult = serde_json::from_str(old).unwrap();
        assert_eq!(epoch.test, Scores::new([("top1", 57.5), ("top5", 95.0), ("loss", 1.25)]));
        assert_eq!((epoch.epoch, epoch.val.clone()), (2, Some(Scores::new([("top1", 60.5)]))));
        let new = serde_json::to_string(&epoch).unwrap();
        let want = "{\"epoch\":2,\"val\":{\"top1\":60.5},\"test\":{\"top1\":57.5,\"top5\":95.0,\"loss\":1.25}}";
        assert_eq!(new, want);
        assert_eq!(serde_json::from_str::<EpochResult>(&new).unwrap(), epoch);
    }
}
