//! FAM-KD: Frequency Attention for Knowledge Distillation.
//!
//! Pham, Nguyen, Le, Phung, Nguyen, Dras, Do: Frequency Attention for Knowledge Distillation (WACV 2024). The student's
//! features pass a frequency attention module FAM and are to equal the teacher's:
//!
//! FAM (equation 4): with Z = FFT(x), a learned complex K and a high-pass mask h,
//! `FAM(x)_o = g1 Re IFFT(h sum_i Z_i K_io) + g2 (W x + b)_o`;
//!
//! layer-to-layer (equation 5): `L = sum_k mean (FAM(A(x_k, x_k)) - F^t_k)^2`;
//! review (equations 6 and 7), deepest level first: `z_k = A(x_k, z_{k+1})`, `z_N = x_N`,
//! `L = sum_k mean (FAM(z_k) - F^t_k)^2`.
//!
//! The paper and its code differ; [`Variant`] chooses, and `attention`, `high_pass` and `tail` change single parts:
//!
//! | part | `paper` | `reference` (review) | `reference` (layer-to-layer) |
//! |---|---|---|---|
//! | attention A | global softmax | local 3x3 per channel | none, a 1x1 conv + BN + ReLU instead |
//! | high-pass | the lowest 1 % of the bins | square of side 2 floor(floor(N/2)/10) | none |
//! | after FAM | nothing | BN + ReLU | BN |
//! | teacher taps | after the activation | after the activation | before the activation |
//!
//! (The layer-to-layer `paper` form has local self-attention, as its figure 2 draws it.)
//! The filter is a piece of its own, [`crate::pieces::filter`], and so is the distance.
//! Maps of another size than the teacher's are resized by nearest neighbour before FAM, which so runs at the teacher's
//! size; the resized map is also what the next shallower level gets.
mod attention;
mod block;
mod config;

pub use config::{AttentionKind, FamKdConfig, Graph, TailKind, Variant};

use burn::prelude::*;

use crate::pieces::distance::{Distance, Reduction};
use crate::{DistillError, Method, MethodConfig, Side, StepInput, Term};
use block::Block;

/// The blocks, shallow to deep.
#[derive(Module, Debug)]
pub struct FamKd {
    blocks: Vec<Block>,
    #[module(skip)]
    pairs: Vec<(String, String)>,
    #[module(skip)]
    review: bool,
    #[module(skip)]
    distance: Distance,
}

impl Method for FamKd {
    fn forward(&self, input: &StepInput) -> Result<Vec<Term>, DistillError> {
        let name = FamKdConfig::ABOUT.name;
        let mut deeper = None;
        let mut terms = Vec::with_capacity(self.blocks.len());
        for (block, (student, teacher)) in self.blocks.iter().zip(&self.pairs).rev() {
            let x = input.map(name, Side::Student, student)?;
            let target = input.map(name, Side::Teacher, teacher)?;
            let (output, fused) = block.forward(x, deeper.take())?;
            deeper = self.review.then_some(fused);
            let value = Reduction::Mean.apply(self.distance.elements(output, target)?);
            terms.push(Term::new(format!("{name}.{student}"), value, student).against(teacher));
        }
        terms.reverse();
        Ok(terms)
    }
}

#[cfg(test)]
mod tests;
