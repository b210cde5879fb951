//! What layers with weights and a bias share as custom operations: their trait, and the backward pass.

/// Declares the operations `y = forward(x, w, bias)`, `dx(dy, w)`, `dw(dy, x)` and `db(dy)` of a layer that is linear in
/// each argument, and differentiates them: x is kept only when w is tracked, and w only when x is.
macro_rules! layer_ops {
    ($(#[$doc:meta])* $name:ident { $forward:ident, $dx:ident, $dw:ident, $db:ident }) => {
        $(#[$doc])*
        #[doc(hidden)]
        #[burn::backend::backend_extension(Flex, Autodiff)]
        pub trait $name: burn::backend::Backend {
            /// y.
            fn $forward(x: FloatTensor<Self>, w: FloatTensor<Self>, bias: FloatTensor<Self>) -> FloatTensor<Self>;
            /// dx.
            fn $dx(dy: FloatTensor<Self>, w: FloatTensor<Self>) -> FloatTensor<Self>;
            /// dw.
            fn $dw(dy: FloatTensor<Self>, x: FloatTensor<Self>) -> FloatTensor<Self>;
            /// db.
            fn $db(dy: FloatTensor<Self>) -> FloatTensor<Self>;
        }

        impl<B: Backend + $name, C: CheckpointStrategy> $name for Autodiff<B, C> {
            fn $forward(x: FloatTensor<Self>, w: FloatTensor<Self>, bias: FloatTensor<Self>) -> FloatTensor<Self> {
                #[derive(Debug)]
                struct Layer;
                impl<B: Backend + $name> Backward<B, 3> for Layer {
                    /// x when w is tracked, w when x is.
                    type State = (Option<B::FloatTensorPrimitive>, Option<B::FloatTensorPrimitive>);
                    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
                        let (x, w) = ops.state;
                        let dy = grads.consume::<B>(&ops.node);
                        let [to_x, to_w, to_bias] = ops.parents;
                        if let Some(node) = to_bias {
                            grads.register::<B>(node.id, B::$db(dy.clone()));
                        }
                        if let (Some(node), Some(x)) = (to_w, x) {
                            grads.register::<B>(node.id, B::$dw(dy.clone(), x));
                        }
                        if let (Some(node), Some(w)) = (to_x, w) {
                            grads.register::<B>(node.id, B::$dx(dy, w));
                        }
                    }
                }
                let (tracks_x, tracks_w) = (x.is_tracked(), w.is_tracked());
                let nodes = [x.node(), w.node(), bias.node()];
                let (x, w, bias) = (x.into_primitive(), w.into_primitive(), bias.into_primitive());
                let state = (tracks_w.then(|| x.clone()), tracks_x.then(|| w.clone()));
                let y = B::$forward(x, w, bias);
                match Layer.prepare::<C>(nodes).compute_bound().stateful() {
                    OpsKind::Tracked(prep) => prep.finish(state, y),
                    OpsKind::UnTracked(prep) => prep.finish(y),
                }
            }

            fn $dx(_: FloatTensor<Self>, _: FloatTensor<Self>) -> FloatTensor<Self> {
                unreachable!("gradients of gradients are not supported by Burn's autodiff")
            }

            fn $dw(_: FloatTensor<Self>, _: FloatTensor<Self>) -> FloatTensor<Self> {
                unreachable!("gradients of gradients are not supported by Burn's autodiff")
            }

            fn $db(_: FloatTensor<Self>) -> FloatTensor<Self> {
                unreachable!("gradients of gradients are not supported by Burn's autodiff")
            }
        }
    };
}
pub(crate) use layer_ops;
