//! The two attentions of FAM-KD.
//!
//! Global (equation 7 of the paper), x the level's own feature, y the deeper one, rows are positions:
//! `A(x, y) = softmax((W_Q y)(W_K x)^T) W_V x`, without scaling, softmax over the positions of x.
//!
//! Local (the released code, after Ramachandran et al. 2019), per channel c and position p with its 9 neighbours n:
//! `A(x, y)_c,p = sum_n softmax_n(q_c,p (k_c,n + r_c,n)) v_c,n`, q = W_Q y, k = W_K x, v = W_V x, where r is a vertical
//! offset for the first half of the channels and a horizontal one for the second. Beyond the border k and v are 0;
//! these cells take part with their offsets. There is no sum over channels and no scaling.
use burn::module::Param;
use burn::prelude::*;
use burn::tensor::activation::softmax;
use subband_kernels::local_attention::local_attention;

use crate::{Conv, Init, Parameters, resize_nearest};

/// Local 3x3 attention per channel.
#[derive(Module, Debug)]
pub(super) struct LocalAttention {
    query: Conv,
    key: Conv,
    value: Conv,
    /// Offsets by row of the window, `[C / 2, 3]`.
    vertical: Param<Tensor<2>>,
    /// Offsets by column of the window, `[C / 2, 3]`.
    horizontal: Param<Tensor<2>>,
}

impl LocalAttention {
    pub fn new(parameters: &Parameters, channels: usize) -> Self {
        let projection = |name: &str| Conv::projection(&parameters.part(name), [channels; 2]);
        Self {
            query: projection("query"),
            key: projection("key"),
            value: projection("value"),
            vertical: parameters.tensor("vertical", [channels / 2, 3], Init::Normal(1.0)),
            horizontal: parameters.tensor("horizontal", [channels / 2, 3], Init::Normal(1.0)),
        }
    }

    pub fn largest_temporary(batch: usize, channels: usize, area: usize) -> usize {
        batch * channels * area
    }

    /// # Shapes
    /// x and y `[N, C, H, W]` to the same.
    pub fn forward(&self, x: Tensor<4>, y: Tensor<4>) -> Tensor<4> {
        let (query, key, value) = (self.query.forward(y), self.key.forward(x.clone()), self.value.forward(x));
        local_attention(query, key, value, self.vertical.val(), self.horizontal.val())
    }
}

/// Global softmax cross-attention.
#[derive(Module, Debug)]
pub(super) struct GlobalAttention {
    query: Conv,
    key: Conv,
    value: Conv,
}

/// Elements of the score matrices that are made at once. The tape keeps the weights of all chunks: queries x positions
/// per sample, 256 x 1024 for the 32x32 level of a CIFAR ResNet (1 MiB), where a 32x32 query map would need four times
/// as much.
const CHUNK: usize = 1 << 22;

impl GlobalAttention {
    /// `channels`: of y, of x, of the result.
    pub fn new(parameters: &Parameters, channels: [usize; 3]) -> Self {
        let [query, own, mid] = channels;
        let projection = |name: &str, input: usize| Conv::projection(&parameters.part(name), [input, mid]);
        Self { query: projection("query", query), key: projection("key", own), value: projection("value", own) }
    }

    /// The size at which queries are made: y's own if resizing it up would only repeat queries.
    pub fn query_size(deeper: (usize, usize), own: (usize, usize)) -> (usize, usize) {
        if deeper.0 <= own.0 && deeper.1 <= own.1 { deeper } else { own }
    }

    pub fn largest_temporary(batch: usize, queries: usize, positions: usize) -> usize {
        (batch * queries * positions).min(CHUNK.max(queries * positions))
    }

    /// # Shapes
    /// x `[N, C, H, W]`, y `[N, D, h, w]` to `[N, M, H, W]`.
    pub fn forward(&self, x: Tensor<4>, y: Tensor<4>) -> Tensor<4> {
        let ([n, _, h, w], [_, _, hy, wy]) = (x.dims(), y.dims());
        // The paper resizes y to the size of x first. A nearest-neighbour copy of a query has a copy of its result, so
        // the result is resized instead: a quarter of the scores for each doubling of the size.
        let size = Self::query_size((hy, wy), (h, w));
        let query = self.query.forward(resize_nearest(y, size)).flatten::<3>(2, 3).swap_dims(1, 2);
        let key = self.key.forward(x.clone()).flatten::<3>(2, 3);
        let value = self.value.forward(x).flatten::<3>(2, 3).swap_dims(1, 2);
        let (positions, mid) = (size.0 * size.1, value.dims()[2]);
        let step = (CHUNK / (positions * h * w)).clamp(1, n.max(1));
        let chunks = (0..n).step_by(step).map(|start| {
            let length = step.min(n - start);
            let part = |t: &Tensor<3>| t.clone().narrow(0, start, length);
            softmax(part(&query).matmul(part(&key)), 2).matmul(part(&value))
        });
        let fused = Tensor::cat(chunks.collect(), 0).swap_dims(1, 2).reshape([n, mid, size.0, size.1]);
        resize_nearest(fused, (h, w))
    }
}
