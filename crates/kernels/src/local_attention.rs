//! Local 3 x 3 attention of each channel on its own, the fusion step of FAM-KD's published code.
//!
//! For map position p of channel c, with the neighbours n = (dy, dx) in 0..3 x 0..3 around it and keys and values 0
//! outside the map:
//!
//! ```text
//! l_n = q_c(p) (k_c(p + n) + rel_c,n)      rel_c,n = rel_h[c][dy] for c < C/2, rel_w[c - C/2][dx] above
//! a   = softmax over the nine l_n          y_c(p) = sum_n a_n v_c(p + n)
//! ```
//!
//! There is no sum over channels and no scaling. Neighbours outside the map take part with key rel and value 0. (The code
//! pads before its 1 x 1 convolutions; these have no bias, so padding after them is the same.)
//!
//! Backward, with g = dy: `d_n = a_n g (v_n - y)`, dq = sum_n d_n (k_n + rel_n), dk(p + n) += q d_n, dv(p + n) += a_n g,
//! drel_n = sum over batch and positions of q d_n. The softmax is computed again rather than kept.
use burn::backend::autodiff::{
    Autodiff,
    checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
    grads::Gradients,
    ops::{Backward, Ops, OpsKind},
};
use burn::backend::{
    Backend, Dispatch, Flex, TensorMetadata, backend_extension, flex::FlexTensor, tensor::FloatTensor,
};
use burn::prelude::*;
use burn::tensor::DType;
use burn::tensor::activation::softmax;

mod planes;
#[cfg(test)]
mod tests;

use crate::fft::lanes::Real;
use crate::fft::{by_dtype, dense, has_kernels};
use planes::{Arguments, Derivatives};

/// Local attention as a custom operation.
#[backend_extension(Flex, Autodiff)]
pub trait AttentionOps: Backend {
    /// y from q, k, v, rel_h, rel_w.
    fn subband_local_attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        rel_h: FloatTensor<Self>,
        rel_w: FloatTensor<Self>,
    ) -> FloatTensor<Self>;
    /// The five gradients.
    #[allow(clippy::type_complexity, reason = "the dispatch macro reads the tuple")]
    fn subband_local_attention_gradients(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        rel_h: FloatTensor<Self>,
        rel_w: FloatTensor<Self>,
        dy: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);
}

fn arguments<T: Real>([q, k, v, rel_h, rel_w]: &[FlexTensor; 5]) -> Arguments<'_, T> {
    let [_, channels, height, width] = q.shape().dims();
    Arguments {
        channels,
        size: [height, width],
        q: T::numbers(q),
        k: T::numbers(k),
        v: T::numbers(v),
        rel: [T::numbers(rel_h), T::numbers(rel_w)],
    }
}

fn flex_forward<T: Real>(inputs: [FlexTensor; 5]) -> FlexTensor {
    let inputs = inputs.map(dense);
    T::tensor(arguments::<T>(&inputs).forward(), &inputs[0].shape()[..])
}

type Five<T> = (T, T, T, T, T);

fn flex_backward<T: Real>(inputs: [FlexTensor; 5], dy: FlexTensor) -> Five<FlexTensor> {
    let (inputs, dy) = (inputs.map(dense), dense(dy));
    let Derivatives { q, k, v, rel: [rel_h, rel_w] } = arguments::<T>(&inputs).backward(T::numbers(&dy));
    let tensor = |values: Vec<T>, i: usize| T::tensor(values, &inputs[i].shape()[..]);
    (tensor(q, 0), tensor(k, 1), tensor(v, 2), tensor(rel_h, 3), tensor(rel_w, 4))
}

impl AttentionOps for Flex {
    fn subband_local_attention(
        q: FlexTensor,
        k: FlexTensor,
        v: FlexTensor,
        rel_h: FlexTensor,
        rel_w: FlexTensor,
    ) -> FlexTensor {
        by_dtype!(q, flex_forward([q, k, v, rel_h, rel_w]))
    }
    fn subband_local_attention_gradients(
        q: FlexTensor,
        k: FlexTensor,
        v: FlexTensor,
        rel_h: FlexTensor,
        rel_w: FlexTensor,
        dy: FlexTensor,
    ) -> Five<FlexTensor> {
        by_dtype!(q, flex_backward([q, k, v, rel_h, rel_w], dy))
    }
}

#[derive(Debug)]
struct LocalAttention;

impl<B: Backend + AttentionOps> Backward<B, 5> for LocalAttention {
    type State = [FloatTensor<B>; 5];

    fn backward(self, ops: Ops<Self::State, 5>, grads: &mut Gradients, _: &mut Checkpointer) {
        let [q, k, v, h, w] = ops.state;
        let dy = grads.consume::<B>(&ops.node);
        let (q, k, v, h, w) = B::subband_local_attention_gradients(q, k, v, h, w, dy);
        for (parent, gradient) in ops.parents.into_iter().zip([q, k, v, h, w]) {
            if let Some(node) = parent {
                grads.register::<B>(node.id, gradient);
            }
        }
    }
}

impl<B: Backend + AttentionOps, C: CheckpointStrategy> AttentionOps for Autodiff<B, C> {
    fn subband_local_attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        rel_h: FloatTensor<Self>,
        rel_w: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let nodes = [q.node(), k.node(), v.node(), rel_h.node(), rel_w.node()];
        let inputs = [q, k, v, rel_h, rel_w].map(|t| t.into_primitive());
        let run = |[q, k, v, h, w]: [FloatTensor<B>; 5]| B::subband_local_attention(q, k, v, h, w);
        match LocalAttention.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish(inputs.clone(), run(inputs)),
            OpsKind::UnTracked(prep) => prep.finish(run(inputs)),
        }
    }

    fn subband_local_attention_gradients(
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
    ) -> Five<FloatTensor<Self>> {
        unreachable!("only `backward` calls this, on the inner backend: Burn has no gradient of a gradient")
    }
}

/// Local 3 x 3 attention per channel; see the [module](self).
///
/// Queries q, keys k and values v are `[N, C, H, W]` without padding; `rel_h` (offsets along the height, for the first
/// C/2 channels) and `rel_w` (along the width, for the rest) are `[C/2, 3]`, entry j for the neighbour at distance j - 1.
/// C is even. Returns `[N, C, H, W]`. Differentiable in all five, on every backend.
pub fn local_attention(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, rel_h: Tensor<2>, rel_w: Tensor<2>) -> Tensor<4> {
    let channels = q.dims()[1];
    assert!(channels.is_multiple_of(2), "local attention splits its {channels} channels in two halves");
    assert!(q.dims() == k.dims() && q.dims() == v.dims(), "queries, keys and values have one shape");
    assert!(rel_h.dims() == [channels / 2, 3] && rel_w.dims() == [channels / 2, 3], "offsets are [C/2, 3]");
    let one_type = [k.dtype(), v.dtype(), rel_h.dtype(), rel_w.dtype()].iter().all(|&d| d == q.dtype());
    if !(has_kernels(&q) && one_type) {
        return local_attention_portable(q, k, v, rel_h, rel_w);
    }
    Tensor::from_dispatch(<Dispatch as AttentionOps>::subband_local_attention(
        q.into_dispatch(),
        k.into_dispatch(),
        v.into_dispatch(),
        rel_h.into_dispatch(),
        rel_w.into_dispatch(),
    ))
}

/// [`local_attention`] from tensor operations, for any backend; it holds nine maps per map.
pub fn local_attention_portable(
    q: Tensor<4>,
    k: Tensor<4>,
    v: Tensor<4>,
    rel_h: Tensor<2>,
    rel_w: Tensor<2>,
) -> Tensor<4> {
    let [_, _, height, width] = q.dims();
    // [N, C, 9, H, W]
    let around = |x: Tensor<4>| -> Tensor<5> {
        let x = x.pad((1, 1, 1, 1), 0.0);
        let at = |n: usize| x.clone().narrow(2, n / 3, height).narrow(3, n % 3, width);
        Tensor::stack((0..9).map(at).collect(), 2)
    };
    // [C, 9]: rel_h repeats each entry for the three dx, rel_w the three entries for each dy.
    let pick = |rel: Tensor<2>, index: fn(usize) -> usize| {
        Tensor::cat((0..9).map(|n| rel.clone().narrow(1, index(n), 1)).collect(), 1)
    };
    let rel = Tensor::cat(vec![pick(rel_h, |n| n / 3), pick(rel_w, |n| n % 3)], 0);
    let [c, _] = rel.dims();
    let logits = (around(k) + rel.reshape([1, c, 9, 1, 1])) * q.unsqueeze_dim::<5>(2);
    (softmax(logits, 2) * around(v)).sum_dim(2).squeeze_dim(2)
}
