//! The transforms on Burn's tape.
//!
//! A tape node has one output, a spectrum two parts. Packing the parts in one tensor would cost a copy of both in each
//! direction, so an operation with two outputs becomes three nodes: a *joint* node with a placeholder of one number,
//! whose parents are the inputs, and a node per part, whose parent is the joint node. The backward step of a part puts
//! its gradient into a cell shared with the joint node and gives that node a placeholder gradient; the joint node, which
//! the tape visits after its children, takes what the cell holds. A part that no loss used left nothing there: zero.
use std::sync::{Arc, Mutex, PoisonError};

use burn::backend::autodiff::{
    Autodiff,
    checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
    grads::Gradients,
    ops::{Backward, Ops, OpsKind},
};
use burn::backend::{AutodiffBackend, Backend, TensorMetadata, tensor::FloatTensor};
use burn::tensor::Shape;

use super::{Factors, FftOps};

/// The gradients of the two parts, until the joint node takes them.
type Cell<B> = Arc<Mutex<[Option<FloatTensor<B>>; 2]>>;

/// Backward step of a part: its gradient goes to the cell.
#[derive(Debug)]
struct Part;

impl<B: Backend> Backward<B, 1> for Part {
    type State = (usize, Cell<B>);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let (part, cell) = ops.state;
        let gradient = grads.consume::<B>(&ops.node);
        let placeholder = B::float_zeros(Shape::new([1]), &gradient.device(), gradient.dtype().into());
        cell.lock().unwrap_or_else(PoisonError::into_inner)[part] = Some(gradient);
        let [joint] = ops.parents;
        if let Some(joint) = joint {
            grads.register::<B>(joint.id, placeholder);
        }
    }
}

/// Takes both gradients out of the cell; a missing one is zero.
fn take<B: Backend>(cell: &Cell<B>) -> [FloatTensor<B>; 2] {
    let mut parts = cell.lock().unwrap_or_else(PoisonError::into_inner);
    let zeros = |like: &FloatTensor<B>| B::float_zeros(like.shape(), &like.device(), like.dtype().into());
    match [parts[0].take(), parts[1].take()] {
        [Some(re), Some(im)] => [re, im],
        [Some(re), None] => [re.clone(), zeros(&re)],
        [None, Some(im)] => [zeros(&im), im],
        [None, None] => unreachable!("the tape runs a node only after one of its children"),
    }
}

/// A tensor of the tape.
type Taped<B, C> = FloatTensor<Autodiff<B, C>>;

/// The two part nodes over a joint node.
fn parts<B: Backend, C: CheckpointStrategy>(
    joint: Taped<B, C>,
    cell: &Cell<B>,
    (re, im): (FloatTensor<B>, FloatTensor<B>),
) -> (Taped<B, C>, Taped<B, C>) {
    let part = |i: usize, value| match Part.prepare::<C>([joint.node()]).compute_bound().stateful() {
        OpsKind::Tracked(prep) => prep.finish((i, cell.clone()), value),
        OpsKind::UnTracked(prep) => prep.finish(value),
    };
    (part(0, re), part(1, im))
}

/// Gives two parents their gradients. (A macro, as Burn does not export the type of a parent.)
macro_rules! register_both {
    ($B:ty, $parents:expr, $grads:expr, $gradients:expr) => {
        let (first, second) = $gradients;
        for (parent, gradient) in $parents.into_iter().zip([first, second]) {
            if let Some(node) = parent {
                $grads.register::<$B>(node.id, gradient);
            }
        }
    };
}

fn placeholder<B: Backend>(like: &FloatTensor<B>) -> FloatTensor<B> {
    B::float_zeros(Shape::new([1]), &like.device(), like.dtype().into())
}

#[derive(Debug)]
struct RealToHalf;

impl<B: Backend + FftOps> Backward<B, 1> for RealToHalf {
    type State = (Cell<B>, usize, Factors);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let (cell, width, factors) = ops.state;
        grads.consume::<B>(&ops.node);
        let [re, im] = take::<B>(&cell);
        let [x] = ops.parents;
        if let Some(x) = x {
            grads.register::<B>(x.id, B::subband_half_to_real(re, im, width, factors));
        }
    }
}

#[derive(Debug)]
struct HalfToReal;

impl<B: Backend + FftOps> Backward<B, 2> for HalfToReal {
    type State = Factors;

    fn backward(self, ops: Ops<Factors, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let gradient = grads.consume::<B>(&ops.node);
        register_both!(B, ops.parents, grads, B::subband_real_to_half(gradient, ops.state));
    }
}

#[derive(Debug)]
struct Complex;

impl<B: Backend + FftOps> Backward<B, 2> for Complex {
    type State = (Cell<B>, bool, f64);

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let (cell, inverse, scale) = ops.state;
        grads.consume::<B>(&ops.node);
        let [re, im] = take::<B>(&cell);
        register_both!(B, ops.parents, grads, B::subband_complex(re, im, !inverse, scale));
    }
}

#[derive(Debug)]
struct Amplitude;

impl<B: Backend + FftOps> Backward<B, 2> for Amplitude {
    type State = [FloatTensor<B>; 3];

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let [re, im, amplitude] = ops.state;
        let dy = grads.consume::<B>(&ops.node);
        register_both!(B, ops.parents, grads, B::subband_amplitude_gradients(re, im, amplitude, dy));
    }
}

impl<B: Backend + FftOps, C: CheckpointStrategy> FftOps for Autodiff<B, C> {
    fn subband_real_to_half(x: FloatTensor<Self>, factors: Factors) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let width = x.shape()[3];
        let prepared = RealToHalf.prepare::<C>([x.node()]).compute_bound().stateful();
        let half = B::subband_real_to_half(x.into_primitive(), factors);
        match prepared {
            OpsKind::Tracked(prep) => {
                let cell = Cell::<B>::default();
                let joint = prep.finish((cell.clone(), width, factors), placeholder::<B>(&half.0));
                parts::<B, C>(joint, &cell, half)
            }
            OpsKind::UnTracked(_) => (Self::from_inner(half.0), Self::from_inner(half.1)),
        }
    }

    fn subband_half_to_real(
        re: FloatTensor<Self>,
        im: FloatTensor<Self>,
        width: usize,
        factors: Factors,
    ) -> FloatTensor<Self> {
        let prepared = HalfToReal.prepare::<C>([re.node(), im.node()]).compute_bound().stateful();
        let x = B::subband_half_to_real(re.into_primitive(), im.into_primitive(), width, factors);
        match prepared {
            OpsKind::Tracked(prep) => prep.finish(factors, x),
            OpsKind::UnTracked(prep) => prep.finish(x),
        }
    }

    fn subband_complex(
        re: FloatTensor<Self>,
        im: FloatTensor<Self>,
        inverse: bool,
        scale: f64,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let prepared = Complex.prepare::<C>([re.node(), im.node()]).compute_bound().stateful();
        let spectrum = B::subband_complex(re.into_primitive(), im.into_primitive(), inverse, scale);
        match prepared {
            OpsKind::Tracked(prep) => {
                let cell = Cell::<B>::default();
                let joint = prep.finish((cell.clone(), inverse, scale), placeholder::<B>(&spectrum.0));
                parts::<B, C>(joint, &cell, spectrum)
            }
            OpsKind::UnTracked(_) => (Self::from_inner(spectrum.0), Self::from_inner(spectrum.1)),
        }
    }

    fn subband_amplitude(re: FloatTensor<Self>, im: FloatTensor<Self>) -> FloatTensor<Self> {
        let prepared = Amplitude.prepare::<C>([re.node(), im.node()]).compute_bound().stateful();
        let [re, im] = [re, im].map(|t| t.into_primitive());
        match prepared {
            OpsKind::Tracked(prep) => {
                let y = B::subband_amplitude(re.clone(), im.clone());
                prep.finish([re, im, y.clone()], y)
            }
            OpsKind::UnTracked(prep) => prep.finish(B::subband_amplitude(re, im)),
        }
    }

    fn subband_amplitude_gradients(
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        unreachable!("only `backward` calls this, on the inner backend: Burn has no gradient of a gradient")
    }
}
