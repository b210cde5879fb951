//! The gradient of crossed attention: both inputs' at once.
use burn::backend::autodiff::{
    Autodiff,
    checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
    grads::Gradients,
    ops::{Backward, Ops, OpsKind},
};

use super::{Backend, CrossedAttentionGradients, CrossedAttentionOps, FloatTensor, IntTensor};

/// What the backward pass needs: the inputs, the signs, the heads.
type Kept<B> = ([FloatTensor<B>; 2], IntTensor<B>, usize);

#[derive(Debug)]
struct Comparison;

impl<B: Backend + CrossedAttentionGradients> Backward<B, 2> for Comparison {
    type State = Kept<B>;
    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let (inputs, signs, heads) = ops.state;
        let dy = grads.consume::<B>(&ops.node);
        let gradients = B::subband_crossed_attention_gradient(inputs, signs, dy, heads);
        for (node, gradient) in ops.parents.into_iter().zip(gradients) {
            if let Some(node) = node {
                grads.register::<B>(node.id, gradient);
            }
        }
    }
}

impl<B, C> CrossedAttentionOps for Autodiff<B, C>
where
    B: Backend + CrossedAttentionOps + CrossedAttentionGradients,
    C: CheckpointStrategy,
{
    fn subband_crossed_attention(
        student: FloatTensor<Self>,
        teacher: FloatTensor<Self>,
        heads: usize,
    ) -> FloatTensor<Self> {
        let nodes = [student.node(), teacher.node()];
        let inputs = [student.into_primitive(), teacher.into_primitive()];
        match Backward::<B, 2>::prepare::<C>(Comparison, nodes).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let [s, t] = inputs.clone();
                let (y, signs) = B::subband_crossed_attention_signs(s, t, heads);
                prep.finish((inputs, signs, heads), y)
            }
            OpsKind::UnTracked(prep) => {
                let [s, t] = inputs;
                prep.finish(B::subband_crossed_attention(s, t, heads))
            }
        }
    }
}
