//! Activation functions: those that other operations apply in their own pass, and GELU.
use burn::backend::Dispatch;
use burn::prelude::*;
use burn::tensor::DType;

mod gelu;

use gelu::GeluOps;

/// An activation that an operation applies to its result before writing it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Activation {
    /// The result as it is.
    #[default]
    None,
    /// `max(x, 0)`
    Relu,
    /// `min(max(x, 0), 6)`
    Relu6,
}

impl Activation {
    /// The activation as an operation of its own, on every backend; differentiable.
    pub fn apply<const D: usize>(self, x: Tensor<D>) -> Tensor<D> {
        match self {
            Activation::None => x,
            Activation::Relu => burn::tensor::activation::relu(x),
            // Masks rather than a clamp: the gradient at both ends is then zero, as it is in the fused passes.
            Activation::Relu6 => {
                let (low, high) = (x.clone().lower_equal_elem(0.0), x.clone().greater_equal_elem(6.0));
                x.mask_fill(low, 0.0).mask_fill(high, 6.0)
            }
        }
    }

    /// The two ends where the result is clipped, NaN where there is none: no comparison with it is true, so a loop can
    /// ask for both ends whatever the activation.
    pub(crate) fn limits(self) -> (f32, f32) {
        match self {
            Activation::None => (f32::NAN, f32::NAN),
            Activation::Relu => (0.0, f32::NAN),
            Activation::Relu6 => (0.0, 6.0),
        }
    }

    /// Smallest and largest value of the result.
    pub fn bounds(self) -> (f32, f32) {
        match self {
            Activation::None => (f32::NEG_INFINITY, f32::INFINITY),
            Activation::Relu => (0.0, f32::INFINITY),
            Activation::Relu6 => (0.0, 6.0),
        }
    }
}

/// A value clipped at [`Activation::limits`]; NaN stays NaN.
#[inline(always)]
pub(crate) fn clip(y: f32, (low, high): (f32, f32)) -> f32 {
    let y = if y < low { low } else { y };
    if y > high { high } else { y }
}

/// Whether an activation that returned `y`, or was given it, stops the gradient there. A NaN lets it pass.
#[inline(always)]
pub(crate) fn stops(y: f32, (low, high): (f32, f32)) -> bool {
    (y <= low) | (y >= high)
}

/// `x Phi(x)` with the exact normal distribution function (Hendrycks and Gimpel 2016); differentiable.
pub fn gelu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    if !(crate::is_flex(&x) && x.dtype() == DType::F32) || x.shape().num_elements() == 0 {
        return burn::tensor::activation::gelu(x);
    }
    Tensor::from_dispatch(<Dispatch as GeluOps>::subband_gelu(x.into_dispatch()))
}
