//! 2-D convolution with fast CPU kernels for its three directions.
//!
//! [`conv2d`] is differentiable and runs on every backend: f32 tensors on Flex take the kernels of this module, all
//! others Burn's own operation. The kernels never build an im2col matrix:
//!
//! | direction | method |
//! |---|---|
//! | forward | matrix product over shifted views of zero-padded planes (`micro.rs`); stride s splits them into s x s phases |
//! | input gradient | the same, over the output's gradient, one product per phase of the input |
//! | weight gradient | matrix product with channels innermost, positions as the inner loop |
//! | depthwise, all three | shifted additions over whole planes |
//!
//! Every output is one sum in a fixed order, so results are equal bit for bit for any number of threads.
use burn::backend::autodiff::{
    Autodiff,
    checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
    grads::Gradients,
    ops::{Backward, Ops, OpsKind, binary},
};
use burn::backend::{Backend, Dispatch, Flex, backend_extension, flex::FlexTensor, tensor::FloatTensor};
use burn::prelude::*;
use burn::tensor::DType;

mod depthwise;
mod geometry;
mod micro;
mod shifted;
#[cfg(test)]
mod tests;
mod weight_gradient;

pub use geometry::ConvGeometry;
use geometry::Shifted;
use micro::Micro;
use shifted::{Direction, Epilogue, Source};

use crate::activation::Activation;
use crate::flex::{contiguous, tensor4, values};
use crate::layout::{channels_first, channels_last};

/// Convolution and its two gradients as custom operations.
#[backend_extension(Flex, Autodiff)]
pub trait ConvOps: Backend {
    /// y from x and w.
    fn subband_conv2d(x: FloatTensor<Self>, w: FloatTensor<Self>, g: ConvGeometry) -> FloatTensor<Self>;
    /// dX from dY and w.
    fn subband_conv2d_dx(dy: FloatTensor<Self>, w: FloatTensor<Self>, g: ConvGeometry) -> FloatTensor<Self>;
    /// dW from x and dY.
    fn subband_conv2d_dw(x: FloatTensor<Self>, dy: FloatTensor<Self>, g: ConvGeometry) -> FloatTensor<Self>;
}

/// The forward pass of networks that only infer.
#[backend_extension(Flex)]
pub trait ConvInferenceOps: Backend {
    /// `max(y + bias, 0)` or `y + bias`, without a gradient.
    fn subband_conv2d_inference(
        x: FloatTensor<Self>,
        w: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        g: ConvGeometry,
        relu: bool,
    ) -> FloatTensor<Self>;
}

fn is_depthwise(g: &ConvGeometry) -> bool {
    g.groups > 1 && g.group_in() == 1 && g.group_out() == 1
}

/// y, with an epilogue. The slices have the shapes of `g`.
fn forward(g: &ConvGeometry, x: &[f32], w: &[f32], epilogue: Epilogue<'_>) -> Vec<f32> {
    let product = Shifted::forward(g);
    let mut y = vec![0.0; g.batch * g.channels_out * g.output[0] * g.output[1]];
    if is_depthwise(g) {
        depthwise::run(&[product], g.channels_in, (x, g.input), w, (&mut y, g.output));
        finish(g, &mut y, epilogue);
    } else {
        let source = Source { data: x, images: g.batch, channels: g.channels_in, size: g.input };
        shifted::run(&Micro::detect(), g, Direction::Forward, source, w, &product, epilogue, (&mut y, g.output));
    }
    y
}

/// Bias and ReLU of a depthwise result.
fn finish(g: &ConvGeometry, y: &mut [f32], epilogue: Epilogue<'_>) {
    if epilogue.bias.is_none() && !epilogue.relu {
        return;
    }
    for (index, plane) in y.chunks_exact_mut(g.output[0] * g.output[1]).enumerate() {
        let bias = epilogue.bias.map_or(0.0, |b| b[index % g.channels_out]);
        let floor = if epilogue.relu { 0.0 } else { f32::NEG_INFINITY };
        plane.iter_mut().for_each(|v| *v = (*v + bias).max(floor));
    }
}

fn input_gradient(g: &ConvGeometry, dy: &[f32], w: &[f32]) -> Vec<f32> {
    let products = Shifted::input_gradient(g);
    let mut dx = vec![0.0; g.batch * g.channels_in * g.input[0] * g.input[1]];
    if is_depthwise(g) {
        let reached: Vec<_> = products.into_iter().filter(|p| !p.taps.is_empty()).collect();
        depthwise::run(&reached, g.channels_in, (dy, g.output), w, (&mut dx, g.input));
        return dx;
    }
    let source = Source { data: dy, images: g.batch, channels: g.channels_out, size: g.output };
    for product in products.iter().filter(|p| !p.taps.is_empty()) {
        let (direction, out) = (Direction::InputGradient, (&mut dx[..], g.input));
        shifted::run(&Micro::detect(), g, direction, source, w, product, Epilogue::default(), out);
    }
    dx
}

fn weight_gradient(g: &ConvGeometry, x: &[f32], dy: &[f32]) -> Vec<f32> {
    if is_depthwise(g) {
        depthwise::weight_gradient(g, x, dy)
    } else {
        weight_gradient::run(&Micro::detect(), g, x, dy)
    }
}

fn output_shape(g: &ConvGeometry) -> [usize; 4] {
    [g.batch, g.channels_out, g.output[0], g.output[1]]
}

impl ConvOps for Flex {
    fn subband_conv2d(x: FlexTensor, w: FlexTensor, g: ConvGeometry) -> FlexTensor {
        let (x, w) = (contiguous(x), contiguous(w));
        tensor4(forward(&g, values(&x), values(&w), Epilogue::default()), output_shape(&g))
    }

    fn subband_conv2d_dx(dy: FlexTensor, w: FlexTensor, g: ConvGeometry) -> FlexTensor {
        let (dy, w) = (contiguous(dy), contiguous(w));
        let shape = [g.batch, g.channels_in, g.input[0], g.input[1]];
        tensor4(input_gradient(&g, values(&dy), values(&w)), shape)
    }

    fn subband_conv2d_dw(x: FlexTensor, dy: FlexTensor, g: ConvGeometry) -> FlexTensor {
        let (x, dy) = (contiguous(x), contiguous(dy));
        let shape = [g.channels_out, g.group_in(), g.kernel[0], g.kernel[1]];
        tensor4(weight_gradient(&g, values(&x), values(&dy)), shape)
    }
}

impl ConvInferenceOps for Flex {
    fn subband_conv2d_inference(
        x: FlexTensor,
        w: FlexTensor,
        bias: FlexTensor,
        g: ConvGeometry,
        relu: bool,
    ) -> FlexTensor {
        let (x, w, bias) = (contiguous(x), contiguous(w), contiguous(bias));
        let epilogue = Epilogue { bias: Some(values(&bias)), relu };
        tensor4(forward(&g, values(&x), values(&w), epilogue), output_shape(&g))
    }
}

impl<B: Backend + ConvOps, C: CheckpointStrategy> ConvOps for Autodiff<B, C> {
    fn subband_conv2d(x: FloatTensor<Self>, w: FloatTensor<Self>, g: ConvGeometry) -> FloatTensor<Self> {
        #[derive(Debug)]
        struct Convolution;
        impl<B: Backend + ConvOps> Backward<B, 2> for Convolution {
            type State = (Option<B::FloatTensorPrimitive>, Option<B::FloatTensorPrimitive>, ConvGeometry);
            fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
                let (x, w, g) = ops.state;
                binary::<B, _, _>(
                    ops.parents,
                    ops.node,
                    grads,
                    // Each operand was kept exactly when the other one is tracked.
                    |dy| match w {
                        Some(w) => B::subband_conv2d_dx(dy, w, g),
                        None => dy,
                    },
                    |dy| match x {
                        Some(x) => B::subband_conv2d_dw(x, dy, g),
                        None => dy,
                    },
                );
            }
        }
        let (tracks_x, tracks_w) = (x.is_tracked(), w.is_tracked());
        match Convolution.prepare::<C>([x.node(), w.node()]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let (x, w) = (x.into_primitive(), w.into_primitive());
                let state = (tracks_w.then(|| x.clone()), tracks_x.then(|| w.clone()), g);
                prep.finish(state, B::subband_conv2d(x, w, g))
            }
            OpsKind::UnTracked(prep) => prep.finish(B::subband_conv2d(x.into_primitive(), w.into_primitive(), g)),
        }
    }

    fn subband_conv2d_dx(_: FloatTensor<Self>, _: FloatTensor<Self>, _: ConvGeometry) -> FloatTensor<Self> {
        unreachable!("gradients of gradients are not supported by Burn's autodiff")
    }

    fn subband_conv2d_dw(_: FloatTensor<Self>, _: FloatTensor<Self>, _: ConvGeometry) -> FloatTensor<Self> {
        unreachable!("gradients of gradients are not supported by Burn's autodiff")
    }
}

/// Stride, padding, dilation and groups of a convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConvOptions {
    /// Stride along height and width.
    pub stride: [usize; 2],
    /// Zero padding on both sides along height and width.
    pub padding: [usize; 2],
    /// Dilation along height and width.
    pub dilation: [usize; 2],
    /// Groups.
    pub groups: usize,
}

impl Default for ConvOptions {
    fn default() -> Self {
        Self { stride: [1, 1], padding: [0, 0], dilation: [1, 1], groups: 1 }
    }
}

/// Convolution of channels-last maps, differentiable in all three operands, on every backend.
///
/// # Shapes
/// - `x`: `[N, H, W, C]`, `w`: `[O, C/G, kh, kw]` as PyTorch stores it, `bias`: `[O]`
/// - result: `[N, (H + 2p - d(kh-1) - 1)/s + 1, ..., O]`
///
/// # Panics
/// When the shapes do not fit together, as Burn's own operation does.
pub fn conv2d(x: Tensor<4>, w: Tensor<4>, bias: Option<Tensor<1>>, options: ConvOptions) -> Tensor<4> {
    let x = channels_first(x);
    let Some(g) = fast_geometry(&x, &w, options) else { return channels_last(portable(x, w, bias, options)) };
    let y = Tensor::from_dispatch(<Dispatch as ConvOps>::subband_conv2d(x.into_dispatch(), w.into_dispatch(), g));
    channels_last(match bias {
        Some(bias) => y + bias.reshape([1, g.channels_out, 1, 1]),
        None => y,
    })
}

/// Convolution with bias and activation in one pass, for networks that only infer. On an autodiff device it is
/// differentiable, but not faster than [`conv2d`].
///
/// # Shapes
/// As [`conv2d`].
pub fn conv2d_inference(
    x: Tensor<4>,
    w: Tensor<4>,
    bias: Tensor<1>,
    options: ConvOptions,
    activation: Activation,
) -> Tensor<4> {
    activation.apply(conv2d(x, w, Some(bias), options))
}

/// The geometry when the kernels of this module apply: f32 on Flex, shapes that fit, offsets within 32 bits.
fn fast_geometry(x: &Tensor<4>, w: &Tensor<4>, o: ConvOptions) -> Option<ConvGeometry> {
    let f32s = x.dtype() == DType::F32 && w.dtype() == DType::F32;
    let g = ConvGeometry::new(x.dims(), w.dims(), o.stride, o.padding, o.dilation, o.groups)?;
    let floats = |size: [usize; 2], c: usize| g.batch * c * (size[0] + 64) * (size[1] + 64);
    let small = floats(g.input, g.channels_in).max(floats(g.output, g.channels_out)) < u32::MAX as usize;
    (f32s && small && crate::is_flex(x)).then_some(g)
}

fn portable(x: Tensor<4>, w: Tensor<4>, bias: Option<Tensor<1>>, o: ConvOptions) -> Tensor<4> {
    let options = burn::tensor::ops::ConvOptions::new(o.stride, o.padding, o.dilation, o.groups);
    burn::tensor::module::conv2d(x, w, bias, options)
}
