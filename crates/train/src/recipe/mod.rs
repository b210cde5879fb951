//! The recipe: everything a run depends on, in one TOML file.
//!
//! [`Recipe::load`] reads the file, applies `--set` overrides, rejects unknown keys with the nearest valid name and
//! checks every value's range. [`Recipe::to_toml`] writes the resolved recipe, defaults filled in, which the run folder
//! keeps. Relative paths in a recipe are relative to the folder the command is started in.
//!
//! ```toml
//! name = "quickstart"
//! seed = 1
//! [data]
//! dataset = "digits"
//! [teacher]
//! network = "cifar-resnet20"
//! train = { epochs = 2 }
//! [student]
//! network = "cifar-resnet8"
//! [train]
//! epochs = 4
//! batch_size = 64
//! optimizer = { kind = "sgd", lr = 0.05, momentum = 0.9, weight_decay = 5e-4 }
//! [[arm]]
//! name = "student alone"
//! [[arm]]
//! name = "KD"
//! task_weight = 0.1
//! [[arm.term]]
//! method = "kd"
//! weight = 0.9
//! temperature = 4.0
//! ```
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use subband_data::DataConfig;
use subband_distill::TermConfig;
use subband_models::LoraConfig;

use crate::schedule::Schedule;
use crate::setup::Role;

mod check;
mod evaluate;
mod overrides;
mod prompts;
mod read;
mod report;

pub use evaluate::{EvaluateMode, EvaluateRecipe};
pub use prompts::PromptRecipe;
pub use report::ReportRecipe;

/// A whole run. Top level of the file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Name of the run, shown in tables and the report. Default: the file's name.
    pub name: String,
    /// Seed of everything random: initial weights, order, augmentation, split. Default 1. With [`Self::seeds`] their
    /// first one.
    pub seed: u64,
    /// Several seeds, written instead of `seed`: every arm is trained once with each. The images of each split are
    /// chosen and the teacher is prepared with the first; initial student and adapters, order and augmentation follow
    /// each. Empty: `seed` alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub seeds: Vec<u64>,
    /// `[data]`: images and their preparation; its keys are the fields of [`DataConfig`].
    pub data: DataConfig,
    /// `[teacher]`: needed by distillation terms.
    pub teacher: Option<TeacherRecipe>,
    /// `[student]`: the network to train.
    pub student: StudentRecipe,
    /// `[train]`: the budget, equal for all arms.
    pub train: TrainRecipe,
    /// `[evaluate]`: how segmenters are tested. None: whole images once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evaluate: Option<EvaluateRecipe>,
    /// `[prompts]`: frequency prompts to learn inside the teacher before the arms, for terms of FreeKD that name no file
    /// and of MasKD without tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompts: Option<PromptRecipe>,
    /// `[report]`: pictures that the run keeps and the report shows. None: the defaults.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<ReportRecipe>,
    /// `[[arm]]`: the student's runs to compare. None: one arm, the student alone.
    #[serde(rename = "arm")]
    pub arms: Vec<ArmRecipe>,
}

/// `[teacher]`: the network to learn from. It needs `weights` or `train`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TeacherRecipe {
    /// Registered network name.
    pub network: String,
    /// Weights file (safetensors, .pt, .pth, .th) to start from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<PathBuf>,
    /// A classifier's weights for the backbone of a segmenter, whose heads start from random weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backbone: Option<PathBuf>,
    /// Classes of its own, if they are not the data set's: it is then not tested, and only terms that read no logits
    /// fit. Default: the data set's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classes: Option<usize>,
    /// What its batch normalisations use while it teaches. Default `frozen`.
    #[serde(default, skip_serializing_if = "TeacherNorm::is_frozen")]
    pub batch_norm: TeacherNorm,
    /// Keys of `[train]` for training or fine-tuning the teacher first; missing keys are taken from `[train]`.
    /// Absent: the teacher is used as loaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub train: Option<TrainRecipe>,
}

/// What a teacher's batch normalisations use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TeacherNorm {
    /// Their running statistics, as in evaluation.
    #[default]
    Frozen,
    /// The batch's statistics, as code that leaves the teacher in training mode does; its dropout is then on too. The
    /// running statistics stay as they are.
    Batch,
}

impl TeacherNorm {
    fn is_frozen(&self) -> bool {
        *self == Self::Frozen
    }
}

/// `[student]`: the network to train.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StudentRecipe {
    /// Registered network name.
    pub network: String,
    /// Weights file to start from. Absent: random weights drawn from the seed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<PathBuf>,
    /// A classifier's weights for the backbone of a segmenter, whose heads start from random weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backbone: Option<PathBuf>,
    /// Parameters whose names start with one of these stay as they are. Default none.
    #[serde(default)]
    pub frozen: Vec<String>,
    /// Strength m of the low-rank factors in the weights that are evaluated and written: W + m (alpha / rank) B A.
    /// Default 1, which is the trained network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub merge: Option<f64>,
    /// `{ rank, alpha, dropout, targets }`: train low-rank factors of fully connected layers and nothing else, see
    /// [`LoraConfig`]. Default none: all parameters are trained.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lora: Option<LoraConfig>,
}

/// `[train]`: the budget of every arm.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainRecipe {
    /// Passes over the training images, at least 1.
    pub epochs: usize,
    /// Images of one forward pass, at least 1. Default 64.
    #[serde(default = "batch_size")]
    pub batch_size: usize,
    /// Forward passes whose gradients are averaged for one optimiser step, at least 1. Default 1.
    #[serde(default = "one")]
    pub accumulate: usize,
    /// `{ kind = "sgd" | "adam" | "adamw", ... }`. Default SGD with rate 0.05, momentum 0.9, weight decay 5e-4.
    #[serde(default)]
    pub optimizer: OptimizerRecipe,
    /// `{ kind = "constant" | "step" | "cosine" | "polynomial", ... }`. Default cosine.
    #[serde(default = "cosine")]
    pub schedule: Schedule,
    /// Epochs of linear warm-up of the learning rate, 0 or more, fractions allowed. Default 0.
    #[serde(default)]
    pub warmup_epochs: f64,
    /// Largest global gradient norm (L2 over all parameters); larger gradients are scaled down to it. Default none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clip_norm: Option<f64>,
    /// Segmenters: factor of the auxiliary head's loss, 0 or more; 0 leaves the head out. Default 0.4.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aux_weight: Option<f64>,
    /// Optimiser steps between checkpoints; there is one at every epoch's end in any case. Default: only those.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint_every: Option<usize>,
    /// Images of one forward pass in evaluation. Default 128, and 4 where every pixel has a label.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eval_batch_size: Option<usize>,
}

fn batch_size() -> usize {
    64
}

fn one() -> usize {
    1
}

fn cosine() -> Schedule {
    Schedule::Cosine { final_factor: 0.0 }
}

/// The optimiser, with PyTorch's semantics and defaults.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum OptimizerRecipe {
    /// Stochastic gradient descent; the weight decay is added to the gradient.
    Sgd {
        /// Learning rate, above 0.
        lr: f64,
        /// Momentum, 0 to below 1. Default 0.9.
        #[serde(default = "momentum")]
        momentum: f64,
        /// L2 penalty, 0 or more. Default 5e-4.
        #[serde(default = "sgd_decay")]
        weight_decay: f64,
        /// Nesterov's form of the momentum. Default false.
        #[serde(default)]
        nesterov: bool,
    },
    /// Adam (Kingma, Ba 2015); the weight decay is added to the gradient.
    Adam {
        /// Learning rate, above 0.
        lr: f64,
        /// Decay of the two moments, each 0 to below 1. Default [0.9, 0.999].
        #[serde(default = "betas")]
        betas: [f64; 2],
        /// Added to the root of the second moment, above 0. Default 1e-8.
        #[serde(default = "epsilon")]
        eps: f64,
        /// L2 penalty, 0 or more. Default 0.
        #[serde(default)]
        weight_decay: f64,
    },
    /// Adam with decoupled weight decay (Loshchilov, Hutter 2019).
    Adamw {
        /// Learning rate, above 0.
        lr: f64,
        /// Decay of the two moments, each 0 to below 1. Default [0.9, 0.999].
        #[serde(default = "betas")]
        betas: [f64; 2],
        /// Added to the root of the second moment, above 0. Default 1e-8.
        #[serde(default = "epsilon")]
        eps: f64,
        /// Decoupled decay, 0 or more. Default 0.01.
        #[serde(default = "adamw_decay")]
        weight_decay: f64,
    },
}

fn momentum() -> f64 {
    0.9
}

fn sgd_decay() -> f64 {
    5e-4
}

fn betas() -> [f64; 2] {
    [0.9, 0.999]
}

fn epsilon() -> f64 {
    1e-8
}

fn adamw_decay() -> f64 {
    0.01
}

impl Default for OptimizerRecipe {
    fn default() -> Self {
        Self::Sgd { lr: 0.05, momentum: momentum(), weight_decay: sgd_decay(), nesterov: false }
    }
}

impl OptimizerRecipe {
    /// The full learning rate.
    pub fn lr(&self) -> f64 {
        match self {
            Self::Sgd { lr, .. } | Self::Adam { lr, .. } | Self::Adamw { lr, .. } => *lr,
        }
    }

    /// State tensors the optimiser keeps per parameter.
    pub fn slots(&self) -> usize {
        match self {
            Self::Sgd { momentum, .. } => usize::from(*momentum > 0.0),
            Self::Adam { .. } | Self::Adamw { .. } => 2,
        }
    }
}

/// `[[arm]]`: one training of the student.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArmRecipe {
    /// Name, unique in the recipe; its folder is the name in lower case with `-` for everything else.
    pub name: String,
    /// Weight of the cross-entropy with the labels, 0 or more. Default 1.
    #[serde(default = "full")]
    pub task_weight: f64,
    /// `[[arm.term]]`: distillation terms, added to the task's loss. None: the student alone. A term has `method`,
    /// `weight`, `warmup_epochs` and `name` (defaults: the method's) and the method's own keys, see [`TermConfig`].
    #[serde(rename = "term", default)]
    pub terms: Vec<TermConfig>,
}

fn full() -> f64 {
    1.0
}

impl Recipe {
    /// The resolved recipe as TOML; reading it back gives an equal recipe.
    pub fn to_toml(&self) -> String {
        // Every field is a table, a string or a finite number, which TOML can hold.
        let text = toml::to_string(self);
        let text = text.unwrap_or_else(|error| format!("# the recipe could not be written: {error}\n"));
        // `seeds` stands in the place of `seed`, which is the second line.
        if self.seeds.is_empty() { text } else { text.replacen(&format!("\nseed = {}\n", self.seed), "\n", 1) }
    }

    /// The seed of each training of an arm: `None` for the only one, or one after the other.
    pub fn trainings(&self) -> Vec<Option<u64>> {
        if self.seeds.is_empty() { vec![None] } else { self.seeds.iter().copied().map(Some).collect() }
    }

    /// The networks by their roles.
    pub(crate) fn networks(&self) -> impl Iterator<Item = (Role, &str)> {
        let teacher = self.teacher.iter().map(|teacher| (Role::Teacher, teacher.network.as_str()));
        teacher.chain([(Role::Student, self.student.network.as_str())])
    }

    /// The arms to train: the recipe's, or the student alone if it has none.
    pub fn arms(&self) -> Vec<ArmRecipe> {
        if self.arms.is_empty() {
            return vec![ArmRecipe { name: "student alone".into(), task_weight: 1.0, terms: Vec::new() }];
        }
        self.arms.clone()
    }
}

impl ArmRecipe {
    /// The arm's folder name: lower-case letters and digits of the name, everything else one `-`.
    pub fn slug(&self) -> String {
        slug(&self.name)
    }

    /// The folder name of one of several trainings, `kd-seed2`; [`Self::slug`] for the only one.
    pub fn slug_of(&self, seed: Option<u64>) -> String {
        seed.map_or(self.slug(), |seed| format!("{}-seed{seed}", self.slug()))
    }

    /// The name of one of several trainings, `KD, seed 2`; the arm's name for the only one.
    pub fn label_of(&self, seed: Option<u64>) -> String {
        label(&self.name, seed)
    }
}

/// An arm's name with the seed, if it is one of several trainings.
pub(crate) fn label(name: &str, seed: Option<u64>) -> String {
    seed.map_or(name.to_string(), |seed| format!("{name}, seed {seed}"))
}

fn slug(name: &str) -> String {
    let mut slug = String::new();
    for c in name.chars() {
        if c.is_ascii_alphanumeric() {
            slug.push(c.to_ascii_lowercase());
        } else if !slug.ends_with('-') && !slug.is_empty() {
            slug.push('-');
        }
    }
    let slug = slug.trim_end_matches('-').to_string();
    if slug.is_empty() { "arm".into() } else { slug }
}

#[cfg(test)]
mod tests;
