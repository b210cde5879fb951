//! The configuration of FAM-KD and the blocks it leads to.
use serde::{Deserialize, Serialize};
use subband_models::TapInfo;

use super::FamKd;
use super::block::{Block, BlockPlan};
use crate::pieces::distance::Distance;
use crate::pieces::filter::{FilterKind, HighPassKind};
use crate::shapes::Pairing;
use crate::{About, DistillError, MethodConfig, Parameters, ShapeBook, Wanted};

/// How levels are connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Graph {
    /// Deep student features are fused into shallower ones (section 3.2.2).
    Review,
    /// Each level by itself (section 3.2.1).
    LayerToLayer,
}

/// Whose details are followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Variant {
    /// The released code.
    Reference,
    /// The paper's equations.
    Paper,
}

/// The attention that fuses levels (review) or precedes FAM (layer-to-layer).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AttentionKind {
    /// Per channel over 3x3 neighbours.
    Local,
    /// Softmax over all positions (equation 7).
    Global,
    /// None; only with `graph = "layer-to-layer"`.
    None,
}

/// What follows FAM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TailKind {
    /// Batch normalisation and ReLU.
    BnRelu,
    /// Batch normalisation.
    Bn,
    /// Nothing.
    None,
}

/// Keys of `method = "fam-kd"`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FamKdConfig {
    /// `review` (default) or `layer-to-layer`.
    pub graph: Graph,
    /// `reference` (default) or `paper`: sets the four keys below that are not given.
    pub variant: Variant,
    /// `dense` (default) or `depthwise`.
    pub filter: FilterKind,
    /// `local`, `global` or `none`.
    pub attention: Option<AttentionKind>,
    /// `square`, `rank` or `none`.
    pub high_pass: Option<HighPassKind>,
    /// `bn-relu`, `bn` or `none`.
    pub tail: Option<TailKind>,
    /// What compares a level's output with the teacher's feature, mean over all elements: `mse` (default; paper and code)
    /// or another of [`Distance`].
    pub distance: Distance,
    /// Whether default teacher taps are before the activation.
    pub teacher_preactivation: Option<bool>,
    /// Whether default student taps are before the activation (false; true for ResNet32x4 to 8x4).
    pub student_preactivation: bool,
    /// Student taps, shallow to deep (default: stages, and `pooled` for review).
    pub student_taps: Option<Vec<String>>,
    /// Teacher taps, shallow to deep (default: stages, and `pooled` for review).
    pub teacher_taps: Option<Vec<String>>,
    /// Channels of each level inside its block, shallow to deep; multiples of 4 with local attention (default: the
    /// student's channels, rounded up to such a multiple).
    pub mid: Option<Vec<usize>>,
}

impl Default for FamKdConfig {
    fn default() -> Self {
        Self {
            graph: Graph::Review,
            variant: Variant::Reference,
            filter: FilterKind::Dense,
            attention: None,
            high_pass: None,
            tail: None,
            distance: Distance::Mse,
            teacher_preactivation: None,
            student_preactivation: false,
            student_taps: None,
            teacher_taps: None,
            mid: None,
        }
    }
}

impl FamKdConfig {
    fn is_reference_layer(&self) -> bool {
        self.graph == Graph::LayerToLayer && self.variant == Variant::Reference
    }

    pub(super) fn attention(&self) -> AttentionKind {
        self.attention.unwrap_or(match (self.graph, self.variant) {
            (Graph::Review, Variant::Paper) => AttentionKind::Global,
            (Graph::LayerToLayer, Variant::Reference) => AttentionKind::None,
            _ => AttentionKind::Local,
        })
    }

    pub(super) fn high_pass(&self) -> HighPassKind {
        self.high_pass.unwrap_or(match (self.graph, self.variant) {
            (_, Variant::Paper) => HighPassKind::Rank,
            (Graph::Review, _) => HighPassKind::Square,
            (Graph::LayerToLayer, _) => HighPassKind::None,
        })
    }

    pub(super) fn tail(&self) -> TailKind {
        self.tail.unwrap_or(match (self.graph, self.variant) {
            (_, Variant::Paper) => TailKind::None,
            (Graph::Review, _) => TailKind::BnRelu,
            (Graph::LayerToLayer, _) => TailKind::Bn,
        })
    }

    fn pairing(&self) -> Pairing<'_> {
        Pairing {
            method: Self::ABOUT.name,
            student: &self.student_taps,
            teacher: &self.teacher_taps,
            pooled: self.graph == Graph::Review,
            student_pre: self.student_preactivation,
            teacher_pre: self.teacher_preactivation.unwrap_or(self.is_reference_layer()),
        }
    }

    fn pairs(&self, book: &ShapeBook) -> Result<Vec<(TapInfo, TapInfo)>, DistillError> {
        self.pairing().pairs(book)
    }

    /// The shapes of every block, shallow to deep.
    pub(super) fn plans(&self, book: &ShapeBook) -> Result<Vec<BlockPlan>, DistillError> {
        let pairs = self.pairs(book)?;
        let mids = self.mids(&pairs)?;
        let review = self.graph == Graph::Review;
        if review && self.attention() == AttentionKind::None {
            return Err(self.bad(
                "`attention = \"none\"` cannot fuse levels; take `local` or `global`, or `graph = \"layer-to-layer\"`",
            ));
        }
        let mut plans: Vec<BlockPlan> = Vec::with_capacity(pairs.len());
        // Deepest first, since each block takes what its deeper neighbour hands on.
        for ((student, teacher), mid) in pairs.iter().zip(mids).rev() {
            let deeper = if review { plans.last().map(BlockPlan::fused) } else { None };
            plans.push(BlockPlan {
                input: student.shape.channels(),
                size: student.shape.extent(),
                deeper,
                mid,
                output: teacher.shape.channels(),
                target: teacher.shape.extent(),
                attention: if review && deeper.is_none() { AttentionKind::None } else { self.attention() },
                adapts: self.attention() != AttentionKind::Global,
                adapts_always: self.is_reference_layer(),
                filter: self.filter,
                high_pass: self.high_pass(),
                tail: self.tail(),
            });
        }
        plans.reverse();
        Ok(plans)
    }

    fn mids(&self, pairs: &[(TapInfo, TapInfo)]) -> Result<Vec<usize>, DistillError> {
        let step = if self.attention() == AttentionKind::Local { 4 } else { 1 };
        let Some(mids) = &self.mid else {
            return Ok(pairs.iter().map(|(s, _)| s.shape.channels().next_multiple_of(step)).collect());
        };
        if mids.len() != pairs.len() || mids.iter().any(|&m| m == 0 || m % step != 0) {
            return Err(self.bad(format!(
                "`mid = {mids:?}` must be {} channel numbers, shallow to deep, each a multiple of {step}",
                pairs.len()
            )));
        }
        Ok(mids.clone())
    }
}

impl MethodConfig for FamKdConfig {
    type Method = FamKd;
    const ABOUT: About = About {
        name: "fam-kd",
        summary: "frequency attention: a learned global filter in the Fourier domain",
        source: "Pham et al. 2024; weight 0.8 for ResNet56 to 20 (110 to 32: 1; WRN: 5; 32x4 to 8x4: 20), 20 warm-up \
                 epochs (ImageNet: 1; its layer-to-layer experiment: 0)",
        weight: 0.8,
        warmup_epochs: 20,
        task_weight: 1.0,
        taps: "stage1..N, pooled",
    };

    fn taps(&self, book: &ShapeBook) -> Result<Wanted, DistillError> {
        if let Some(problem) = self.distance.problem() {
            return Err(self.bad(format!("`distance`: {problem}")));
        }
        self.plans(book)?;
        self.pairing().wanted(book)
    }

    fn init(&self, book: &ShapeBook, parameters: &Parameters) -> Result<FamKd, DistillError> {
        let plans = self.plans(book)?;
        let parameters = parameters.part("blocks");
        let blocks = plans.iter().enumerate().map(|(k, plan)| Block::new(&parameters.part(&k.to_string()), plan));
        Ok(FamKd {
            blocks: blocks.collect(),
            pairs: self.pairs(book)?.into_iter().map(|(s, t)| (s.name, t.name)).collect(),
            review: self.graph == Graph::Review,
            distance: self.distance,
        })
    }

    fn largest_temporary(&self, book: &ShapeBook, batch: usize) -> Result<usize, DistillError> {
        Ok(self.plans(book)?.iter().map(|plan| plan.largest_temporary(batch)).max().unwrap_or(0))
    }
}
