//! Pooling on Flex and its gradients.
use burn::backend::autodiff::{
    Autodiff,
    checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
    grads::Gradients,
    ops::{Backward, Ops, OpsKind, unary},
};
use burn::backend::{Backend, Flex, backend_extension, flex::FlexTensor, tensor::FloatTensor};

use super::kernels::{self, Sizes};
use crate::flex::{contiguous, tensor, tensor4, values};

/// Pooling as custom operations.
#[backend_extension(Flex, Autodiff)]
pub trait PoolOps: Backend {
    /// Maximum over windows.
    fn subband_max_pool(x: FloatTensor<Self>, sizes: Sizes) -> FloatTensor<Self>;
    /// Mean over windows.
    fn subband_avg_pool(x: FloatTensor<Self>, sizes: Sizes) -> FloatTensor<Self>;
    /// Mean over the map.
    fn subband_global_avg_pool(x: FloatTensor<Self>) -> FloatTensor<Self>;
}

fn out(sizes: Sizes) -> [usize; 4] {
    [sizes.map[0], sizes.out[0], sizes.out[1], sizes.map[3]]
}

fn dims(x: &FlexTensor) -> [usize; 4] {
    x.layout().shape().dims()
}

impl PoolOps for Flex {
    fn subband_max_pool(x: FlexTensor, sizes: Sizes) -> FlexTensor {
        tensor4(kernels::max(values(&contiguous(x)), sizes).0, out(sizes))
    }

    fn subband_avg_pool(x: FlexTensor, sizes: Sizes) -> FlexTensor {
        tensor4(kernels::mean(values(&contiguous(x)), sizes), out(sizes))
    }

    fn subband_global_avg_pool(x: FlexTensor) -> FlexTensor {
        let [n, _, _, c] = dims(&x);
        tensor(kernels::global_mean(values(&contiguous(x)), n, c), vec![n, c])
    }
}

#[derive(Debug)]
struct Max;

impl Backward<Flex, 1> for Max {
    /// Where in its window each maximum was.
    type State = (Vec<u8>, Sizes);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let (at, sizes) = ops.state;
        unary::<Flex, _>(ops.parents, ops.node, grads, |dy| {
            tensor4(kernels::max_gradient(values(&contiguous(dy)), &at, sizes), sizes.map)
        });
    }
}

#[derive(Debug)]
struct Mean;

impl Backward<Flex, 1> for Mean {
    type State = Sizes;

    fn backward(self, ops: Ops<Sizes, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let sizes = ops.state;
        unary::<Flex, _>(ops.parents, ops.node, grads, |dy| {
            tensor4(kernels::mean_gradient(values(&contiguous(dy)), sizes), sizes.map)
        });
    }
}

#[derive(Debug)]
struct GlobalMean;

impl Backward<Flex, 1> for GlobalMean {
    type State = [usize; 4];

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let map = ops.state;
        unary::<Flex, _>(ops.parents, ops.node, grads, |dy| {
            tensor4(kernels::global_mean_gradient(values(&contiguous(dy)), map[0], map[1] * map[2]), map)
        });
    }
}

impl<C: CheckpointStrategy> PoolOps for Autodiff<Flex, C> {
    fn subband_max_pool(x: FloatTensor<Self>, sizes: Sizes) -> FloatTensor<Self> {
        let node = x.node();
        let (y, at) = kernels::max(values(&contiguous(x.into_primitive())), sizes);
        let y = tensor4(y, out(sizes));
        match Max.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish((at, sizes), y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }

    fn subband_avg_pool(x: FloatTensor<Self>, sizes: Sizes) -> FloatTensor<Self> {
        let node = x.node();
        let y = Flex::subband_avg_pool(x.into_primitive(), sizes);
        match Mean.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish(sizes, y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }

    fn subband_global_avg_pool(x: FloatTensor<Self>) -> FloatTensor<Self> {
        let node = x.node();
        let x = x.into_primitive();
        let map = dims(&x);
        let y = Flex::subband_global_avg_pool(x);
        match GlobalMean.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish(map, y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }
}
