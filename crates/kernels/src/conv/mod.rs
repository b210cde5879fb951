//! 2-D convolution with fast CPU kernels for its three directions.
//!
//! Maps are channels last, `[N, H, W, C]`. [`conv2d`] is differentiable and runs on every backend: f32 tensors on Flex
//! take the kernels of this module, all others Burn's own operation. The kernels never build an im2col matrix:
//!
//! | case | method | why |
//! |---|---|---|
//! | 1x1, stride 1 | product of plain matrices over all pixels | nothing to pad, and tiles may cross rows |
//! | depthwise, all three directions | vectors of channels, taps one by one | one product per float read: bound by memory |
//! | 3x3, stride 1, any dilation, 32 channels or more on both sides, 64 well-filled tiles | Winograd (`winograd.rs`) | a quarter of the products |
//! | taps four or more pixels apart, not Winograd | tap by tap around the padding (`around.rs`) | no copy of rows between taps, no products with the padding |
//! | forward, other | product that reads padded rows in place (`correlate.rs`) | a kernel row is one run of channels |
//! | input gradient | the same over dY, one product per phase of the stride | every input pixel is written once |
//! | weight gradient, 3x3, 128 channels or more, 64 well-filled tiles | Winograd backwards (`winograd/weights.rs`) | a quarter of the products |
//! | weight gradient, up to 64 K weights | parts of the batch sum on their own | dW stays in cache |
//! | weight gradient, larger | blocks of pixels, tasks share out dW | copies of dW would cost more than they save |
//!
//! Tiles of 4x4 results are well filled when 5/6 of them lie on the map, with 128 channels or more on both sides half
//! of them. The last two rows multiply the padding as if it were image, however wide the dilation makes it: there is no
//! weight gradient around the padding.
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
use rayon::prelude::*;

mod around;
mod blocks;
mod correlate;
mod depthwise;
mod geometry;
mod strip;
#[cfg(test)]
mod tests;
mod weight_gradient;
mod winograd;

use correlate::{Direction, Target};
pub use geometry::ConvGeometry;
use geometry::Correlation;

use crate::activation::Activation;
use crate::flex::{contiguous, tensor4, values};
use crate::layout::{channels_first, channels_last};
use crate::product::{Destination, Epilogue, Matrix, Panels, Product, Weights, multiply, multiply_across};

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
    /// `act(y + bias)`, without a gradient.
    fn subband_conv2d_inference(
        x: FloatTensor<Self>,
        w: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        g: ConvGeometry,
        activation: Activation,
    ) -> FloatTensor<Self>;
}

fn is_depthwise(g: &ConvGeometry) -> bool {
    g.groups > 1 && g.group_in() == 1 && g.group_out() == 1
}

/// One pixel in, one pixel out: a product of plain matrices over all pixels at once.
fn is_pointwise(g: &ConvGeometry) -> bool {
    g.groups == 1 && g.kernel == [1, 1] && g.stride == [1, 1] && g.padding == [0, 0]
}

/// The kernels below rely on these lengths.
///
/// # Panics
/// When a slice has not the shape that `g` gives it.
fn check(g: &ConvGeometry, x: Option<&[f32]>, w: Option<&[f32]>, y: Option<&[f32]>, bias: Option<&[f32]>) {
    let input = g.batch * g.input[0] * g.input[1] * g.channels_in;
    let weights = g.channels_out * g.group_in() * g.kernel[0] * g.kernel[1];
    assert!(x.is_none_or(|x| x.len() == input), "x has not the shape of the convolution");
    assert!(w.is_none_or(|w| w.len() == weights), "w has not the shape of the convolution");
    assert!(y.is_none_or(|y| y.len() == g.pixels_out() * g.channels_out), "dy has not the shape of the convolution");
    assert!(bias.is_none_or(|b| b.len() == g.channels_out), "the bias needs one value per output channel");
}

/// y, with an epilogue. The slices have the shapes of `g`.
fn forward(product: &Product, g: &ConvGeometry, x: &[f32], w: &[f32], epilogue: Epilogue<'_>) -> Vec<f32> {
    check(g, Some(x), Some(w), None, epilogue.bias);
    let length = g.pixels_out() * g.channels_out;
    // SAFETY: every branch writes all pixels in all channels.
    unsafe {
        Destination::filled(length, |data| {
            let target = Target { data, size: g.output, channels: g.channels_out };
            if is_depthwise(g) {
                depthwise::run(&[Correlation::forward(g)], g.batch, (x, g.input), w, target);
                finish(g, data, epilogue);
            } else if is_pointwise(g) {
                let columns = Weights::matrix(w, (g.channels_out, g.channels_in), (g.channels_in, 1));
                let x = Matrix::dense(x, g.pixels_out(), g.channels_in);
                multiply(product, x, &Panels::pack(product, columns), epilogue, data, g.channels_out);
            } else {
                let direction = Direction::Forward;
                correlate::run(product, g, direction, &Correlation::forward(g), x, w, epilogue, target);
            }
        })
    }
}

/// Bias and bounds of a depthwise result, which is all written.
fn finish(g: &ConvGeometry, y: Destination, epilogue: Epilogue<'_>) {
    if epilogue.bias.is_none() && epilogue.bounds.is_none() {
        return;
    }
    let (low, high) = epilogue.bounds.unwrap_or((f32::NEG_INFINITY, f32::INFINITY));
    (0..g.batch * g.output[0]).into_par_iter().for_each(|row| {
        let length = g.output[1] * g.channels_out;
        // SAFETY: these floats were written before, and only this task has this row.
        let row = unsafe { std::slice::from_raw_parts_mut(y.at(row * length, length), length) };
        for pixel in row.chunks_exact_mut(g.channels_out) {
            match epilogue.bias {
                Some(bias) => pixel.iter_mut().zip(bias).for_each(|(v, b)| *v = (*v + b).clamp(low, high)),
                None => pixel.iter_mut().for_each(|v| *v = v.clamp(low, high)),
            }
        }
    });
}

fn input_gradient(product: &Product, g: &ConvGeometry, dy: &[f32], w: &[f32]) -> Vec<f32> {
    check(g, None, Some(w), Some(dy), None);
    let length = g.batch * g.input[0] * g.input[1] * g.channels_in;
    // SAFETY: the phases of the input cover all of its pixels.
    unsafe {
        Destination::filled(length, |data| {
            if is_pointwise(g) {
                let columns = Weights::matrix(w, (g.channels_in, 1), (g.channels_out, g.channels_in));
                let dy = Matrix::dense(dy, g.pixels_out(), g.channels_out);
                return multiply(
                    product,
                    dy,
                    &Panels::pack(product, columns),
                    Epilogue::default(),
                    data,
                    g.channels_in,
                );
            }
            let phases = Correlation::input_gradient(g);
            let target = Target { data, size: g.input, channels: g.channels_in };
            if is_depthwise(g) {
                return depthwise::run(&phases, g.batch, (dy, g.output), w, target);
            }
            for c in &phases {
                correlate::run(product, g, Direction::InputGradient, c, dy, w, Epilogue::default(), target);
            }
        })
    }
}

fn weight_gradient(product: &Product, g: &ConvGeometry, x: &[f32], dy: &[f32]) -> Vec<f32> {
    check(g, Some(x), None, Some(dy), None);
    if is_depthwise(g) {
        return depthwise::weight_gradient(g, x, dy);
    }
    if is_pointwise(g) {
        let (x, dy) =
            (Matrix::dense(x, g.pixels_out(), g.channels_in), Matrix::dense(dy, g.pixels_out(), g.channels_out));
        let length = g.channels_out * g.channels_in;
        // SAFETY: the product writes all of dW.
        return unsafe { Destination::filled(length, |dw| multiply_across(product, dy, x, dw, g.channels_in)) };
    }
    weight_gradient::run(product, g, x, dy)
}

impl ConvOps for Flex {
    fn subband_conv2d(x: FlexTensor, w: FlexTensor, g: ConvGeometry) -> FlexTensor {
        let (x, w) = (contiguous(x), contiguous(w));
        let shape = [g.batch, g.output[0], g.output[1], g.channels_out];
        tensor4(forward(Product::detect(), &g, values(&x), values(&w), Epilogue::default()), shape)
    }

    fn subband_conv2d_dx(dy: FlexTensor, w: FlexTensor, g: ConvGeometry) -> FlexTensor {
        let (dy, w) = (contiguous(dy), contiguous(w));
        let shape = [g.batch, g.input[0], g.input[1], g.channels_in];
        tensor4(input_gradient(Product::detect(), &g, values(&dy), values(&w)), shape)
    }

    fn subband_conv2d_dw(x: FlexTensor, dy: FlexTensor, g: ConvGeometry) -> FlexTensor {
        let (x, dy) = (contiguous(x), contiguous(dy));
        let shape = [g.channels_out, g.group_in(), g.kernel[0], g.kernel[1]];
        tensor4(weight_gradient(Product::detect(), &g, values(&x), values(&dy)), shape)
    }
}

impl ConvInferenceOps for Flex {
    fn subband_conv2d_inference(
        x: FlexTensor,
        w: FlexTensor,
        bias: FlexTensor,
        g: ConvGeometry,
        activation: Activation,
    ) -> FlexTensor {
        let (x, w, bias) = (contiguous(x), contiguous(w), contiguous(bias));
        let bounds = (activation != Activation::None).then(|| activation.bounds());
        let epilogue = Epilogue { bias: Some(values(&bias)), bounds };
        let shape = [g.batch, g.output[0], g.output[1], g.channels_out];
        tensor4(forward(Product::detect(), &g, values(&x), values(&w), epilogue), shape)
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
    let Some(g) = fast_geometry(&x, &w, options) else { return portable(x, w, bias, options) };
    let y = Tensor::from_dispatch(<Dispatch as ConvOps>::subband_conv2d(x.into_dispatch(), w.into_dispatch(), g));
    match bias {
        Some(bias) => y + bias.reshape([1, 1, 1, g.channels_out]),
        None => y,
    }
}

/// Convolution with bias and activation in one pass, for networks that only infer. On an autodiff device it is
/// differentiable, but not faster than [`conv2d`].
///
/// # Shapes
/// As [`conv2d`].
///
/// # Panics
/// As [`conv2d`], and when the bias has not one value per output channel.
pub fn conv2d_inference(
    x: Tensor<4>,
    w: Tensor<4>,
    bias: Tensor<1>,
    options: ConvOptions,
    activation: Activation,
) -> Tensor<4> {
    let plain = !x.device().is_autodiff() && bias.dtype() == DType::F32;
    let fast = if plain { fast_geometry(&x, &w, options) } else { None };
    let Some(g) = fast else { return activation.apply(conv2d(x, w, Some(bias), options)) };
    let (x, w, bias) = (x.into_dispatch(), w.into_dispatch(), bias.into_dispatch());
    Tensor::from_dispatch(<Dispatch as ConvInferenceOps>::subband_conv2d_inference(x, w, bias, g, activation))
}

/// The geometry when the kernels of this module apply: f32 on Flex, shapes that fit.
fn fast_geometry(x: &Tensor<4>, w: &Tensor<4>, o: ConvOptions) -> Option<ConvGeometry> {
    let f32s = x.dtype() == DType::F32 && w.dtype() == DType::F32;
    let [n, height, width, channels] = x.dims();
    let g = ConvGeometry::new([n, channels, height, width], w.dims(), o.stride, o.padding, o.dilation, o.groups)?;
    (f32s && crate::is_flex(x)).then_some(g)
}

/// Burn's own operation.
fn portable(x: Tensor<4>, w: Tensor<4>, bias: Option<Tensor<1>>, o: ConvOptions) -> Tensor<4> {
    let options = burn::tensor::ops::ConvOptions::new(o.stride, o.padding, o.dilation, o.groups);
    channels_last(burn::tensor::module::conv2d(channels_first(x), w, bias, options))
}
