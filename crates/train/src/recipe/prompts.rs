//! `[prompts]`: frequency prompts that are learned inside the frozen teacher before the arms.
use serde::{Deserialize, Serialize};
use subband_distill::PromptConfig;
use toml::Table;

use super::OptimizerRecipe;
use super::read::Reader;
use crate::TrainError;
use crate::schedule::Schedule;

/// `[prompts]`: stage 1 of FreeKD. The teacher runs with masked frequency bands at its taps, and only the prompts that
/// make the masks learn: `loss = cross-entropy + dissimilarity_weight * sum over taps of the masks' dissimilarity`.
///
/// FreeKD gives no schedule for this stage. The defaults of `steps`, `optimizer`, `schedule` and `batch_size` are those
/// of MasKD, whose authors overlap and whose masks are learned in the same way: an assumption.
///
/// Its other keys are those of [`PromptConfig`]: `variant`, `tokens`, `grouping`, `transform`, ...
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PromptRecipe {
    /// Teacher taps that get prompts. Default: its stages.
    #[serde(default)]
    pub taps: Vec<String>,
    /// Optimiser steps, at least 1. Default 2000.
    #[serde(default = "steps")]
    pub steps: usize,
    /// Images of a step, at least 1. Default 16.
    #[serde(default = "prompt_batch")]
    pub batch_size: usize,
    /// As in `[train]`. Default Adam with rate 0.01 and weight decay 1e-3.
    #[serde(default = "optimizer")]
    pub optimizer: OptimizerRecipe,
    /// As in `[train]`, over the steps. Default cosine to 1e-4 of the rate.
    #[serde(default = "schedule")]
    pub schedule: Schedule,
    /// Largest global gradient norm. Default none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clip_norm: Option<f64>,
    /// Optimiser steps between checkpoints. Default 100.
    #[serde(default = "checkpoint_every")]
    pub checkpoint_every: usize,
    /// Factor of the dissimilarity, 0 or more. Default 1 (the paper's lambda).
    #[serde(default = "one")]
    pub dissimilarity_weight: f64,
    /// The prompts and the bands they mask.
    #[serde(flatten)]
    pub config: PromptConfig,
}

/// The keys beside those of [`PromptConfig`].
const OWN: [&str; 8] =
    ["taps", "steps", "batch_size", "optimizer", "schedule", "clip_norm", "checkpoint_every", "dissimilarity_weight"];

fn steps() -> usize {
    2000
}

fn prompt_batch() -> usize {
    16
}

fn checkpoint_every() -> usize {
    100
}

fn one() -> f64 {
    1.0
}

fn optimizer() -> OptimizerRecipe {
    OptimizerRecipe::Adam { lr: 0.01, betas: [0.9, 0.999], eps: 1e-8, weight_decay: 1e-3 }
}

fn schedule() -> Schedule {
    Schedule::Cosine { final_factor: 1e-4 }
}

impl Reader<'_> {
    /// `[prompts]` as written.
    pub(super) fn prompts(&self, table: Table) -> Result<PromptRecipe, TrainError> {
        let prompts = Table::try_from(PromptConfig::default()).unwrap_or_default();
        let known: Vec<&str> = OWN.into_iter().chain(prompts.keys().map(String::as_str)).collect();
        for (key, value) in &table {
            let inner = format!("prompts.{key}");
            match key.as_str() {
                "optimizer" => self.check::<OptimizerRecipe>(value, &inner)?,
                "schedule" => self.check::<Schedule>(value, &inner)?,
                key => self.known(key, "prompts", &known)?,
            }
            // All keys have defaults; alone, the one at fault is known.
            let alone = Table::from_iter([(key.clone(), value.clone())]);
            if let Err(error) = alone.try_into::<PromptRecipe>() {
                return Err(self.bad(&inner, super::read::plain(error.message())));
            }
        }
        self.section(table, "prompts")
    }
}

/// Checks the ranges; those of the prompts themselves are checked where they are made.
pub(super) fn check(prompts: &PromptRecipe, teacher: bool, reader: &Reader<'_>) -> Result<(), TrainError> {
    let bad = |key: &str, message: String| Err(reader.bad(&format!("prompts{key}"), message));
    if !teacher {
        return bad("", "there are prompts to learn, but no [teacher] to learn them in".into());
    }
    for (key, value) in [
        (".steps", prompts.steps),
        (".batch_size", prompts.batch_size),
        (".checkpoint_every", prompts.checkpoint_every),
    ] {
        if value == 0 {
            return bad(key, "must be at least 1".into());
        }
    }
    let weight = prompts.dissimilarity_weight;
    if !(weight.is_finite() && weight >= 0.0) {
        return bad(".dissimilarity_weight", format!("{weight} is not 0 or more"));
    }
    if let Some((index, tap)) = prompts.taps.iter().enumerate().find(|(i, tap)| prompts.taps[..*i].contains(tap)) {
        return bad(".taps", format!("names `{tap}` twice, the second time at place {}", index + 1));
    }
    if let Some(norm) = prompts.clip_norm.filter(|norm| !(norm.is_finite() && *norm > 0.0)) {
        return bad(".clip_norm", format!("{norm} is not above 0"));
    }
    if let Some((key, message)) = prompts.schedule.problem() {
        return bad(&format!(".schedule.{key}"), message);
    }
    super::check::optimizer(&prompts.optimizer, "prompts.optimizer", reader)
}
