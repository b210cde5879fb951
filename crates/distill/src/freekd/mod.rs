//! FreeKD: Knowledge Distillation via Semantic Frequency Prompt.
//!
//! Zhang, Huang, Liu, Jiang, Cheng, Zhang: FreeKD (CVPR 2024). Student and teacher are compared band by band in a wavelet
//! transform xi, where masks of the teacher's bands look. Two stages:
//!
//! 1. *Prompts* ([`PromptSets`]). Inside the frozen teacher each band R of a tap becomes `R' = (sum_t M_t) R` with
//!    `M = sigmoid(P R)` (equations 4 and 5), the map `F' = xi^-1(all R')` (6) goes on through the network, and the
//!    prompts P learn from `L = L_task + lambda L_dis` (9); L_dis ([`Similarity`], 7 and 8) keeps the masks apart.
//! 2. *Distillation* ([`FreeKd`]). With the unprompted teacher and frozen prompts, over the bands a of the teacher and b
//!    of the aligned student (13):
//!
//!    `L = sum_k mean_t w |M_kt a_k - M_kt b_k| = sum_k mean w m_k |a_k - b_k|`, `m_k = mean_t M_kt`,
//!
//!    with the masks of the teacher on both sides and the position-aware weight `w = w_T w_S` (10 to 12, module `gate`).
//!    The right-hand side, the same since masks are positive, needs no tensor of T copies of a band.
//!
//! The paper and its code differ; [`Variant`](crate::Variant) chooses, and each key changes a single part:
//!
//! | part | key | `paper` | `reference` |
//! |---|---|---|---|
//! | masks and means | `grouping` | each of the 1 + 3 levels bands | LL, and each level with the mask of its bands' sum |
//! | low band in the loss | `low` | yes | no |
//! | position-aware weight | `position` | yes (*reconstruction*) | none |
//! | prompts per set (stage 1) | `tokens` | 2 | 6 |
//! | dissimilarity (stage 1) | `similarity` | Jaccard, all pairs | Dice on squares, different pairs |
//! | prompted map (stage 1) | `crop` | its own size | even sizes |
//!
//! The paper writes the L1 norm, the code takes means; means are taken here. The released configuration adds an MSE of
//! weight 5 on the same aligned features and a Smooth-L1 of weight 1 between regression outputs: terms of their own.
mod config;
mod dissimilarity;
mod file;
mod frequency;
mod gate;
mod loss;
mod prompts;

pub use config::{FreeKdConfig, MaskKind, Position};
pub use dissimilarity::Similarity;
pub use file::Prompts;
pub use frequency::{FrequencyKind, Grouping};
pub use prompts::{PromptConfig, PromptSets};

use burn::prelude::*;

use crate::{DistillError, Method, Side, StepInput, Term};
use loss::TapLoss;

/// Name in recipes.
const NAME: &str = "freekd";

/// The error for a bad key.
fn bad(reason: impl Into<String>) -> DistillError {
    DistillError::BadConfig { method: NAME.to_string(), reason: reason.into() }
}

/// Stage 2: one loss per pair of taps, shallow to deep.
#[derive(Module, Debug)]
pub struct FreeKd {
    taps: Vec<TapLoss>,
}

impl Method for FreeKd {
    fn forward(&self, input: &StepInput) -> Result<Vec<Term>, DistillError> {
        let pairs = self.taps.iter().map(|tap| {
            let student = input.map(NAME, Side::Student, &tap.student)?;
            let teacher = input.map(NAME, Side::Teacher, &tap.teacher)?;
            Ok(tap.align.forward(student, teacher))
        });
        let pairs = pairs.collect::<Result<Vec<_>, DistillError>>()?;
        let terms = self.taps.iter().enumerate().map(|(k, tap)| {
            let (student, teacher) = &pairs[k];
            // The deepest tap is its own later layer.
            let (later_student, later_teacher) = pairs.get(k + 1).unwrap_or(&pairs[k]);
            let value = tap.forward([student, later_student], [teacher, later_teacher])?;
            Ok(Term::new(format!("{NAME}.{}", tap.student), value, &tap.student).against(&tap.teacher))
        });
        terms.collect()
    }
}

#[cfg(test)]
mod tests;
