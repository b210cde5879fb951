//! SFKD: spatial-frequency joint-aware heterogeneous distillation. **A reconstruction.**
//!
//! Wang, Wang: SFKD: Spatial-Frequency Joint-Aware Heterogeneous Knowledge Distillation via Multi-Level Wavelet Spectral
//! Interaction (arXiv 2607.01906). Only the abstract was available: it names a multi-level wavelet transform, a
//! dual-stream dual-stage refinement (DS2S) of its bands, their recombination, and a Gaussian-filtered frequency loss
//! (GFFL). Everything below that these words do not fix is this crate's choice, and each choice is a key of
//! [`SfkdConfig`].
//!
//! 1. **Alignment.** Tokens lose their class token and go back to their grid. Student S and teacher T are brought to the
//!    smaller of their two sizes by averaging, and the student to the teacher's channels by a 1x1 convolution where they
//!    differ ([`crate::pieces::align`]).
//! 2. **Transform** of the aligned student only: `LL_J, D_1 .. D_J = DWT(S')`, Haar, J = 2. The teacher is not refined,
//!    so its transform and inverse would cancel and are not made.
//! 3. **DS2S** ([`Ds2s`]): two streams, low (LL_J) and high (D_1 .. D_J), in two stages. Within each band
//!    `B <- conv1x1 GELU BN depthwise3x3 (B)`; then each stream is scaled by a gate from the other's mean
//!    `LL <- LL sigmoid(W_l mean(D) + b_l)`, `D <- D sigmoid(W_h mean(LL) + b_h)`, one factor per sample and channel.
//! 4. **Recombination**: `R = S' + DWT^-1(LL, D_1 .. D_J)`.
//! 5. **GFFL**: `L = mean over N, C, H, W of G |F(n(R)) - F(n(T'))|^2`, F orthonormal, n to unit length over the channels
//!    of each place, `G(u, v) = exp(-(u^2 + v^2) / (2 s^2))` with s = 0.25 min(H, W) for `pass = "low"` ("informative
//!    global information"), 1 - G for `pass = "high"`.
//!
//! The abstract's logit distillation is a term of its own (`kd`). DS2S is trained with the student and dropped after it.
mod config;
mod ds2s;

pub use config::{SfkdConfig, SfkdLoss};
pub use ds2s::Ds2s;

use burn::prelude::*;
use subband_spectral::dwt::Dwt2;

use crate::pieces::align::Align;
use crate::pieces::distance::{Distance, Reduction};
use crate::pieces::normalization::Normalization;
use crate::{DistillError, Method, MethodConfig, Side, StepInput, Term};

/// Alignment and refinement of each pair of taps.
#[derive(Module, Debug)]
pub struct Sfkd {
    aligns: Vec<Align>,
    /// One for each pair; empty without refinement.
    refinements: Vec<Ds2s>,
    #[module(skip)]
    pairs: Vec<(String, String)>,
    #[module(skip)]
    dwt: Dwt2,
    #[module(skip)]
    residual: bool,
    #[module(skip)]
    normalize: Normalization,
    #[module(skip)]
    distance: Distance,
}

impl Method for Sfkd {
    fn forward(&self, input: &StepInput) -> Result<Vec<Term>, DistillError> {
        let name = SfkdConfig::ABOUT.name;
        let terms = self.pairs.iter().enumerate().map(|(k, (student, teacher))| {
            let value =
                self.loss(k, input.map(name, Side::Student, student)?, input.map(name, Side::Teacher, teacher)?)?;
            Ok(Term::new(format!("{name}.{student}"), value, student).against(teacher))
        });
        terms.collect()
    }
}

impl Sfkd {
    /// L of pair `k`.
    ///
    /// # Shapes
    /// `[N, C_s, H_s, W_s]` and `[N, C_t, H_t, W_t]` to `[1]`.
    fn loss(&self, k: usize, student: Tensor<4>, teacher: Tensor<4>) -> Result<Tensor<1>, DistillError> {
        let (student, teacher) = self.aligns[k].forward(student, teacher);
        let refined = self.refine(k, student)?;
        let (a, b) = (self.normalize.apply(refined), self.normalize.apply(teacher));
        Ok(Reduction::Mean.apply(self.distance.elements(a, b)?))
    }

    /// R of pair `k`.
    ///
    /// # Shapes
    /// `[N, C, H, W]` to the same.
    fn refine(&self, k: usize, aligned: Tensor<4>) -> Result<Tensor<4>, DistillError> {
        let Some(refinement) = self.refinements.get(k) else { return Ok(aligned) };
        let bands = self.dwt.forward(aligned.clone())?;
        let refined = self.dwt.inverse(refinement.forward(bands))?;
        Ok(if self.residual { aligned + refined } else { refined })
    }
}

#[cfg(test)]
mod tests;
