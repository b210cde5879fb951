//! What operations pass on: as features, but maps are channels last.
use burn::prelude::*;
use subband_kernels::layout::channels_first;

use crate::tap::{Feature, TapShape};

/// The result of an operation.
#[derive(Clone)]
pub(crate) enum Value {
    /// `[N, H, W, C]`.
    Map(Tensor<4>),
    /// `[N, C]`.
    Vector(Tensor<2>),
}

impl Value {
    /// Shape for one image.
    pub fn shape(&self) -> TapShape {
        match self {
            Value::Map(x) => {
                let [_, height, width, channels] = x.dims();
                TapShape::Map { channels, height, width }
            }
            Value::Vector(x) => TapShape::Vector { channels: x.dims()[1] },
        }
    }

    /// As it leaves the network: maps become `[N, C, H, W]`.
    pub fn into_feature(self) -> Feature {
        match self {
            Value::Map(x) => Feature::Map(channels_first(x)),
            Value::Vector(x) => Feature::Vector(x),
        }
    }
}
