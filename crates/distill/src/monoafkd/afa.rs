//! Attention-based feature alignment.
//!
//! A map gives tokens x in groups; within a group all tokens attend to each other. One linear layer, and after it the
//! projections of a multi-head attention, are shared by student and teacher:
//!
//! `(q, k, v) = W_in (W_qkv x + b_qkv) + b_in`, block by block, and with crossed keys and values
//!
//! ```text
//! P_s^h = softmax(q_s^h k_t^hT / sqrt(d))     O_s = W_out P_s v_t + b_out     A_s = mean_h P_s^h
//! P_t^h = softmax(q_t^h k_s^hT / sqrt(d))     O_t = W_out P_t v_s + b_out     A_t = mean_h P_t^h
//! L = mean |A_s - A_t| + mean |O_s - O_t|
//! ```
//! Three of these need not be computed: `W_in W_qkv` is one matrix, so the two layers cost one; W_out is linear, so it
//! sees `P_s v_t - P_t v_s` alone; and b_out cancels, so there is none.
//!
//! | tokens | groups | name |
//! |---|---|---|
//! | the images of the batch | places | `batch`: what the released code computes, as its attention takes the batch for the sequence |
//! | the places of a window | images and windows | `window`: *reconstruction* |
//! | the places of the coarsest map, to which larger ones are averaged | images | `coarsest`: *reconstruction* |
//!
//! With a batch of one, `batch` has a single token: its weight is 1 on both sides, the first part of L is 0 and the
//! second is `mean |W_out (v_t - v_s)|`.
use burn::module::Param;
use burn::prelude::*;
use serde::{Deserialize, Serialize};
use subband_kernels::crossed_attention::{crossed_attention, is_fused, kept_bytes};
use subband_kernels::layout::channels_last;
use subband_kernels::linear::linear;

use crate::pieces::align::Resize;
use crate::{Init, Parameters, adaptive_average_pool};

/// What attends to what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AttentionAxis {
    /// The images of a batch, at each place by itself.
    Batch,
    /// The places of a window.
    Window,
    /// All places, on the grid of the smallest map.
    Coarsest,
}

/// The alignment of one scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AfaConfig {
    /// Channels C of both maps.
    pub channels: usize,
    /// Heads, a divisor of C.
    pub heads: usize,
    /// What attends to what.
    pub axis: AttentionAxis,
    /// Longest side of a window (`window`).
    pub window: usize,
    /// Height and width of the coarsest map (`coarsest`).
    pub grid: (usize, usize),
}

/// A rectangle of equal windows: where it starts, how many windows there are and how large they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run {
    start: usize,
    count: usize,
    side: usize,
}

/// The longest of the parts that [`runs`] makes.
pub(super) fn longest_window(n: usize, side: usize) -> usize {
    runs(n, side).iter().map(|run| run.side).max().unwrap_or(0)
}

/// An axis of length `n` in the fewest parts of at most `side`, as equal as they can be: at most two runs.
fn runs(n: usize, side: usize) -> Vec<Run> {
    let parts = n.div_ceil(side.max(1)).max(1);
    let (short, longer) = (n / parts, n % parts);
    let long = Run { start: 0, count: longer, side: short + 1 };
    let rest = Run { start: longer * (short + 1), count: parts - longer, side: short };
    [long, rest].into_iter().filter(|run| run.count > 0).collect()
}

impl AfaConfig {
    /// Parameters as PyTorch starts a linear layer and a multi-head attention.
    pub fn init(&self, parameters: &Parameters) -> Afa {
        let c = self.channels;
        let linear = Init::torch_default(c);
        // Xavier uniform over [3 C, C].
        let bound = (6.0 / (4 * c) as f64).sqrt();
        Afa {
            qkv_weight: parameters.tensor("qkv_weight", [3 * c, c], linear),
            qkv_bias: parameters.tensor("qkv_bias", [3 * c], linear),
            in_weight: parameters.tensor("in_weight", [3 * c, c], Init::Uniform(-bound, bound)),
            in_bias: parameters.tensor("in_bias", [3 * c], Init::Constant(0.0)),
            out_weight: parameters.tensor("out_weight", [c, c], linear),
            config: *self,
        }
    }

    /// Tokens L and groups G of every part of a map `[batch, C, height, width]`.
    fn parts(&self, batch: usize, (height, width): (usize, usize)) -> Vec<(usize, usize)> {
        match self.axis {
            AttentionAxis::Batch => vec![(batch, height * width)],
            AttentionAxis::Coarsest => vec![(self.grid.0 * self.grid.1, batch)],
            AttentionAxis::Window => {
                let (rows, columns) = (runs(height, self.window), runs(width, self.window));
                let pairs = rows.iter().flat_map(|r| columns.iter().map(move |c| (r, c)));
                pairs.map(|(r, c)| (r.side * c.side, batch * r.count * c.count)).collect()
            }
        }
    }

    /// Elements of the largest intermediate tensor for maps of this size: queries, keys and values, or what attention
    /// keeps (a byte per pair of tokens where it is fused, otherwise the weights of all heads).
    pub fn largest_temporary(&self, batch: usize, size: (usize, usize)) -> usize {
        let part = |(l, g): (usize, usize)| {
            let kept = if is_fused(l, g) { kept_bytes(l, g).div_ceil(4) } else { self.heads * g * l * l };
            kept.max(3 * self.channels * l * g)
        };
        let pooled = match self.axis {
            AttentionAxis::Coarsest => batch * self.channels * Resize::Area.largest_temporary(size, self.grid),
            _ => 0,
        };
        self.parts(batch, size).into_iter().map(part).max().unwrap_or(0).max(pooled)
    }
}

/// The shared layers; made by [`AfaConfig::init`].
#[derive(Module, Debug)]
pub struct Afa {
    /// W_qkv `[3 C, C]`.
    pub(super) qkv_weight: Param<Tensor<2>>,
    /// b_qkv `[3 C]`.
    pub(super) qkv_bias: Param<Tensor<1>>,
    /// W_in `[3 C, C]`: three blocks, each for its part.
    pub(super) in_weight: Param<Tensor<2>>,
    /// b_in `[3 C]`.
    pub(super) in_bias: Param<Tensor<1>>,
    /// W_out `[C, C]`.
    pub(super) out_weight: Param<Tensor<2>>,
    #[module(skip)]
    pub(super) config: AfaConfig,
}

impl Afa {
    /// L.
    ///
    /// # Shapes
    /// Two maps `[N, C, H, W]` to `[1]`.
    pub fn forward(&self, student: Tensor<4>, teacher: Tensor<4>) -> Tensor<1> {
        let (weight, bias) = self.projection();
        let (students, teachers) = (self.tokens(student), self.tokens(teacher));
        let (mut weights, mut outputs) = (Vec::new(), Vec::new());
        let (mut pairs, mut count) = (0, 0);
        for (s, t) in students.into_iter().zip(teachers) {
            let [l, g, c] = s.dims();
            let project =
                |x: Tensor<3>| linear(x.reshape([l * g, c]), weight.clone(), Some(bias.clone())).reshape([l, g, 3 * c]);
            let (difference, distance) = crossed_attention(project(s), project(t), self.config.heads);
            let output = linear(difference.reshape([l * g, c]), self.out_weight.val(), None);
            weights.push(distance * (g * l * l) as f64);
            outputs.push(output.abs().reshape([l, g * c]).sum_dim(1).sum());
            pairs += g * l * l;
            count += l * g * c;
        }
        let total = |parts: Vec<Tensor<1>>| parts.into_iter().reduce(|a, b| a + b);
        match (total(weights), total(outputs)) {
            (Some(weights), Some(outputs)) => weights / pairs as f64 + outputs / count as f64,
            // Maps have at least one place: there is always a part.
            _ => Tensor::zeros([1], (&weight.device(), weight.dtype())),
        }
    }

    /// W_in W_qkv and W_in b_qkv + b_in, block by block.
    fn projection(&self) -> (Tensor<2>, Tensor<1>) {
        let c = self.config.channels;
        let inner = self.in_weight.val().reshape([3, c, c]);
        let weight = inner.clone().matmul(self.qkv_weight.val().reshape([3, c, c])).reshape([3 * c, c]);
        let bias = inner.matmul(self.qkv_bias.val().reshape([3, c, 1])).reshape([3 * c]) + self.in_bias.val();
        (weight, bias)
    }

    /// The tokens `[L, G, C]` of every part of a map.
    fn tokens(&self, x: Tensor<4>) -> Vec<Tensor<3>> {
        let [n, c, h, w] = x.dims();
        match self.config.axis {
            AttentionAxis::Batch => vec![channels_last(x).reshape([n, h * w, c])],
            AttentionAxis::Coarsest => {
                let (height, width) = self.config.grid;
                vec![windows(adaptive_average_pool(x, (height, width)), [1, height, 1, width])]
            }
            AttentionAxis::Window => {
                let (rows, columns) = (runs(h, self.config.window), runs(w, self.config.window));
                let pairs = rows.iter().flat_map(|r| columns.iter().map(move |c| (r, c)));
                let cut = |(r, c): (&Run, &Run)| {
                    let part = x.clone().narrow(2, r.start, r.count * r.side).narrow(3, c.start, c.count * c.side);
                    windows(part, [r.count, r.side, c.count, c.side])
                };
                pairs.map(cut).collect()
            }
        }
    }
}

/// A map of `rows` windows of `height` by `columns` of `width` as `[height width, N rows columns, C]`.
fn windows(x: Tensor<4>, [rows, height, columns, width]: [usize; 4]) -> Tensor<3> {
    let [n, c, _, _] = x.dims();
    let x = x.reshape([n, c, rows, height, columns, width]).permute([3, 5, 0, 2, 4, 1]);
    x.reshape([height * width, n * rows * columns, c])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_few_and_nearly_equal() {
        let sides =
            |n, side| runs(n, side).into_iter().flat_map(|r| std::iter::repeat_n(r.side, r.count)).collect::<Vec<_>>();
        assert_eq!(sides(16, 8), [8, 8]);
        assert_eq!(sides(12, 8), [6, 6]);
        assert_eq!(sides(7, 3), [3, 2, 2]);
        assert_eq!(sides(37, 8), [8, 8, 7, 7, 7]);
        assert_eq!(sides(1, 8), [1]);
        for n in 1..40 {
            let mut end = 0;
            for run in runs(n, 5) {
                assert!(run.side <= 5 && run.start == end);
                end += run.count * run.side;
            }
            assert_eq!(end, n);
        }
    }
}
