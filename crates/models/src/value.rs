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
    /// The tokens of a transformer.
    Tokens(Tokens),
}

/// Sequences of one length.
#[derive(Clone)]
pub(crate) struct Tokens {
    /// `[N, L, C]`.
    pub values: Tensor<3>,
    /// Leading tokens without a place on the grid.
    pub prefix: usize,
    /// Rows and columns of the others.
    pub grid: (usize, usize),
}

impl Tokens {
    /// The pixels of a channels-last map, row by row; nothing moves.
    pub fn from_map(x: Tensor<4>) -> Self {
        let [n, h, w, c] = x.dims();
        Self { values: x.reshape([n, h * w, c]), prefix: 0, grid: (h, w) }
    }

    /// An operation on the sequences.
    pub fn map(self, f: impl FnOnce(Tensor<3>) -> Tensor<3>) -> Self {
        Self { values: f(self.values), ..self }
    }

    /// An operation on every token alone, as the rows of `[N L, C]`.
    pub fn rows(self, f: impl FnOnce(Tensor<2>) -> Tensor<2>) -> Self {
        let never = |x| Ok::<_, std::convert::Infallible>(f(x));
        match self.try_rows(never) {
            Ok(tokens) => tokens,
            Err(never) => match never {},
        }
    }

    /// As [`Tokens::rows`] for an operation that may fail.
    pub fn try_rows<E>(self, f: impl FnOnce(Tensor<2>) -> Result<Tensor<2>, E>) -> Result<Self, E> {
        let [n, l, c] = self.values.dims();
        let y = f(self.values.reshape([n * l, c]))?;
        let c = y.dims()[1];
        Ok(Self { values: y.reshape([n, l, c]), ..self })
    }

    /// One token as `[N, C]`.
    pub fn token(self, index: usize) -> Tensor<2> {
        let [n, _, c] = self.values.dims();
        self.values.narrow(1, index, 1).reshape([n, c])
    }
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
            Value::Tokens(x) => {
                let [_, length, channels] = x.values.dims();
                TapShape::Tokens { length, channels, prefix: x.prefix, grid: x.grid }
            }
        }
    }

    /// As it leaves the network: maps become `[N, C, H, W]`.
    pub fn into_feature(self) -> Feature {
        match self {
            Value::Map(x) => Feature::Map(channels_first(x)),
            Value::Vector(x) => Feature::Vector(x),
            Value::Tokens(Tokens { values, prefix, grid }) => Feature::Tokens { values, prefix, grid },
        }
    }
}
