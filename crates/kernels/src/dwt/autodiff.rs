//! Gradients of the wavelet operations: split and merge are each other's, by the same matrices.
use std::sync::Arc;

use burn::backend::autodiff::{
    Autodiff,
    checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
    grads::Gradients,
    ops::{Backward, Ops, OpsKind, binary, unary},
};

use super::{Backend, DwtGradients, DwtOps, FloatTensor, Frame, IntTensor, Pyramid, TensorMetadata};

#[derive(Debug)]
struct SplitLow;

impl<B: Backend + DwtGradients> Backward<B, 1> for SplitLow {
    type State = Arc<Frame>;
    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let frame = ops.state;
        unary::<B, _>(ops.parents, ops.node, grads, |g| B::subband_dwt_merge_low(g, &frame));
    }
}

#[derive(Debug)]
struct SplitDetail;

impl<B: Backend + DwtGradients> Backward<B, 1> for SplitDetail {
    type State = Arc<Frame>;
    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let frame = ops.state;
        unary::<B, _>(ops.parents, ops.node, grads, |g| B::subband_dwt_merge_detail(g, &frame));
    }
}

#[derive(Debug)]
struct Merge;

impl<B: Backend + DwtGradients> Backward<B, 2> for Merge {
    type State = Arc<Frame>;
    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let frame = ops.state;
        binary::<B, _, _>(
            ops.parents,
            ops.node,
            grads,
            |g| B::subband_dwt_split_low(g, &frame),
            |g| B::subband_dwt_split_detail(g, &frame),
        );
    }
}

/// What [`BandMeans`] keeps: signs, shape of the maps, pyramid.
type Kept<B> = (IntTensor<B>, [usize; 4], Arc<Pyramid>);

#[derive(Debug)]
struct BandMeans;

impl<B: Backend + DwtGradients> Backward<B, 1> for BandMeans {
    type State = Kept<B>;
    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let (signs, shape, p) = ops.state;
        let gradient = |g| B::subband_haar_l1_gradient(signs, g, shape, &p, false);
        unary::<B, _>(ops.parents, ops.node, grads, gradient);
    }
}

#[derive(Debug)]
struct BandDistances;

impl<B: Backend + DwtGradients> Backward<B, 2> for BandDistances {
    type State = Kept<B>;
    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let (signs, shape, p) = ops.state;
        let gradient = |g, negative| B::subband_haar_l1_gradient(signs.clone(), g, shape, &p, negative);
        binary::<B, _, _>(ops.parents, ops.node, grads, |g| gradient(g, false), |g| gradient(g, true));
    }
}

/// What [`WeightedDistances`] keeps: signs, weights, shape of the maps, pyramid.
type KeptWeighted<B> = (IntTensor<B>, FloatTensor<B>, [usize; 4], Arc<Pyramid>);

#[derive(Debug)]
struct WeightedDistances;

impl<B: Backend + DwtGradients> Backward<B, 2> for WeightedDistances {
    type State = KeptWeighted<B>;
    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let (signs, weights, shape, p) = ops.state;
        let gradient =
            |g, negative| B::subband_haar_weighted_gradient(signs.clone(), weights.clone(), g, shape, &p, negative);
        binary::<B, _, _>(ops.parents, ops.node, grads, |g| gradient(g, false), |g| gradient(g, true));
    }
}

impl<B: Backend + DwtOps + DwtGradients, C: CheckpointStrategy> DwtOps for Autodiff<B, C> {
    fn subband_dwt_split(x: FloatTensor<Self>, frame: Arc<Frame>) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let low = Backward::<B, 1>::prepare::<C>(SplitLow, [x.node()]).compute_bound().stateful();
        let detail = Backward::<B, 1>::prepare::<C>(SplitDetail, [x.node()]).compute_bound().stateful();
        let values = B::subband_dwt_split(x.into_primitive(), frame.clone());
        let low = match low {
            OpsKind::Tracked(prep) => prep.finish(frame.clone(), values.0),
            OpsKind::UnTracked(prep) => prep.finish(values.0),
        };
        let detail = match detail {
            OpsKind::Tracked(prep) => prep.finish(frame, values.1),
            OpsKind::UnTracked(prep) => prep.finish(values.1),
        };
        (low, detail)
    }

    fn subband_dwt_merge(low: FloatTensor<Self>, detail: FloatTensor<Self>, frame: Arc<Frame>) -> FloatTensor<Self> {
        let nodes = [low.node(), detail.node()];
        let prep = Backward::<B, 2>::prepare::<C>(Merge, nodes).compute_bound().stateful();
        let value = B::subband_dwt_merge(low.into_primitive(), detail.into_primitive(), frame.clone());
        match prep {
            OpsKind::Tracked(prep) => prep.finish(frame, value),
            OpsKind::UnTracked(prep) => prep.finish(value),
        }
    }

    fn subband_haar_l1(x: FloatTensor<Self>, pyramid: Arc<Pyramid>) -> FloatTensor<Self> {
        let shape = x.shape().dims();
        match Backward::<B, 1>::prepare::<C>(BandMeans, [x.node()]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let (means, signs) = B::subband_haar_l1_signs(x.into_primitive(), None, &pyramid);
                prep.finish((signs, shape, pyramid), means)
            }
            OpsKind::UnTracked(prep) => prep.finish(B::subband_haar_l1(x.into_primitive(), pyramid)),
        }
    }

    fn subband_haar_l1_between(x: FloatTensor<Self>, y: FloatTensor<Self>, pyramid: Arc<Pyramid>) -> FloatTensor<Self> {
        let (shape, nodes) = (x.shape().dims(), [x.node(), y.node()]);
        match Backward::<B, 2>::prepare::<C>(BandDistances, nodes).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let (x, y) = (x.into_primitive(), y.into_primitive());
                let (means, signs) = B::subband_haar_l1_signs(x, Some(y), &pyramid);
                prep.finish((signs, shape, pyramid), means)
            }
            OpsKind::UnTracked(prep) => {
                prep.finish(B::subband_haar_l1_between(x.into_primitive(), y.into_primitive(), pyramid))
            }
        }
    }

    fn subband_haar_weighted(
        x: FloatTensor<Self>,
        y: FloatTensor<Self>,
        weights: FloatTensor<Self>,
        pyramid: Arc<Pyramid>,
    ) -> FloatTensor<Self> {
        let (shape, nodes) = (x.shape().dims(), [x.node(), y.node()]);
        let prep = Backward::<B, 2>::prepare::<C>(WeightedDistances, nodes).compute_bound().stateful();
        let (x, y, weights) = (x.into_primitive(), y.into_primitive(), weights.into_primitive());
        match prep {
            OpsKind::Tracked(prep) => {
                let (sums, signs) = B::subband_haar_weighted_signs(x, y, weights.clone(), &pyramid);
                prep.finish((signs, weights, shape, pyramid), sums)
            }
            OpsKind::UnTracked(prep) => prep.finish(B::subband_haar_weighted(x, y, weights, pyramid)),
        }
    }
}
