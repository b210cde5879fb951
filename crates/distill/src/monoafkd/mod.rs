//! MonoAFKD: attention-aligned features and wavelet frequencies for monocular 3D detection.
//!
//! *Align and Frequency cross Knowledge Distillation for Monocular 3D Object Detection*, github.com/pxrw/MonoAFKD, read
//! at commit eb92376. Of the paper only the abstract is available: `reference` is the released code, and what `paper`
//! does differently follows the abstract ("spatially aligns", "capturing information in the frequency domain").
//!
//! | file | holds |
//! |---|---|
//! | [`afa`] | attention-based feature alignment of one scale |
//! | [`wfd`] | wavelet frequency distillation of one scale |
//! | [`affinity`] | affinity between places, also the method `affinity` |
//! | [`heads`] | the terms on the outputs of a monocular detector |
//!
//! For every scale l, with S' = A(S) from the adapter A (3x3 convolution, ReLU, 1x1 convolution):
//!
//! `L = sum_l (afa AFA_l(S'_l, T_l) + wfd WFD_l(S'_l, T_l) + affinity Aff_l(S'_l, T_l))`,
//!
//! in the released code 10 times AFA + WFD, and once the affinity and the head terms.
//!
//! | | `reference` | `paper` |
//! |---|---|---|
//! | attention | over the batch, at each place | over the places of the coarsest grid (*reconstruction*) |
//! | details of a level | sum of the three orientations | each orientation (*reconstruction*) |
use burn::prelude::*;

pub mod afa;
pub mod affinity;
mod config;
pub mod heads;
#[cfg(test)]
mod tests;
pub mod wfd;

pub use config::MonoAfkdConfig;

use crate::pieces::align::Align;
use crate::{DistillError, Method, MethodConfig, Side, StepInput, Term};
use afa::Afa;
use affinity::affinity_loss;
use wfd::Wfd;

/// Factors of the parts, each switched off by 0.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Factors {
    pub afa: f64,
    pub wfd: f64,
    pub affinity: f64,
}

/// The method with its adapters and alignments, one for each pair of taps.
#[derive(Module, Debug)]
pub struct MonoAfkd {
    aligns: Vec<Align>,
    /// Empty if the factor of AFA is 0.
    afa: Vec<Afa>,
    #[module(skip)]
    wfd: Wfd,
    #[module(skip)]
    pairs: Vec<(String, String)>,
    #[module(skip)]
    factors: Factors,
    /// The grid of the affinity.
    #[module(skip)]
    grid: (usize, usize),
}

impl Method for MonoAfkd {
    fn forward(&self, input: &StepInput) -> Result<Vec<Term>, DistillError> {
        let name = MonoAfkdConfig::ABOUT.name;
        let mut terms = Vec::new();
        for (k, (align, (student, teacher))) in self.aligns.iter().zip(&self.pairs).enumerate() {
            let (s, t) = (input.map(name, Side::Student, student)?, input.map(name, Side::Teacher, teacher)?);
            let (s, t) = align.forward(s, t);
            let mut push = |part: &str, value| {
                let term = Term::new(format!("{name}.{part}.{student}"), value, student);
                terms.push(term.against(teacher));
            };
            if let Some(afa) = self.afa.get(k) {
                push("afa", afa.forward(s.clone(), t.clone()) * self.factors.afa);
            }
            if self.factors.affinity != 0.0 {
                push("affinity", affinity_loss(s.clone(), t.clone(), self.grid) * self.factors.affinity);
            }
            if self.factors.wfd != 0.0 {
                push("wfd", self.wfd.forward(s, t)? * self.factors.wfd);
            }
        }
        Ok(terms)
    }
}
