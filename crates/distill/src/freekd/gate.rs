//! What weighs channels and places beside the masks (section 3.3; Table 8).
//!
//! Each network has a gate of its own, the student's on its aligned map; the weights of both are multiplied (equation
//! 12) and brought to mean 1, over the channels and over the places. Without that the loss could be had for nothing by
//! closing the gates. Everything but equations 10 to 12 is *reconstruction*: the paper gives neither the layers of the
//! gates nor the resizing, and the released code has no gates.
//!
//! * `relation`: `A = softmax(psi(F) F^T / sqrt(H W))` over the channels of F, `[C', C]`, with psi(F) the next deeper
//!   tap's map at the size of F by nearest neighbour (the deepest tap: F itself); `w = sigmoid(MLP(a))` with a the column
//!   means of A times C (its row means are all equal).
//! * `se`: `w = sigmoid(MLP(mean of F over places))`.
//! * `cbam`: the same on mean and maximum, `w = sigmoid(MLP(mean) + MLP(max))`, and for places
//!   `v = sigmoid(conv7x7([mean_c, max_c] of w F))`.
//! * `non-local`: `v_p = mean_q softmax_p((W_q F)_q . (W_k F)_p)` on F averaged to the size of the finest bands: how much
//!   the other places attend to p.
//!
//! MLP: linear to `max(C / 16, 16)`, ReLU, linear back, PyTorch's default initial values.
use burn::module::Param;
use burn::prelude::*;
use burn::tensor::activation::{relu, sigmoid, softmax};

use super::Position;
use crate::{Conv, Init, Parameters, adaptive_average_pool, resize_nearest};

/// Weights of a pair of maps; absent ones are 1.
#[derive(Debug, Clone, Default)]
pub(super) struct Weights {
    /// `[N, C]`, mean 1 over C.
    pub channels: Option<Tensor<2>>,
    /// `[N, 1, h, w]` of the finest bands' size, mean 1 over places.
    pub places: Option<Tensor<4>>,
}

/// Width of the hidden layer for C channels.
pub(super) fn hidden(channels: usize) -> usize {
    (channels / 16).max(16)
}

/// The gates of teacher and student at one tap.
#[derive(Module, Debug)]
pub(super) struct Gates {
    teacher: Option<Gate>,
    student: Option<Gate>,
}

impl Gates {
    pub fn new(position: Position, channels: usize, parameters: &Parameters) -> Self {
        let gate = |name: &str| Gate::new(position, channels, &parameters.part(name));
        Self { teacher: gate("teacher"), student: gate("student") }
    }

    /// Both gates together.
    ///
    /// # Shapes
    /// Maps `[N, C, H, W]` of the teacher and the aligned student, each with the next deeper one `[N, C', H', W']`;
    /// `size` is that of the finest bands.
    pub fn forward(&self, teacher: [&Tensor<4>; 2], student: [&Tensor<4>; 2], size: [usize; 2]) -> Weights {
        let (Some(a), Some(b)) = (&self.teacher, &self.student) else { return Weights::default() };
        let (a, b) = (a.forward(teacher, size), b.forward(student, size));
        let channels = both(a.channels, b.channels).map(|w| {
            let mean = w.clone().mean_dim(1).clamp_min(1e-12);
            w / mean
        });
        let places = both(a.places, b.places).map(|w| {
            let [n, _, h, w_] = w.dims();
            let mean = w.clone().reshape([n, h * w_]).mean_dim(1).clamp_min(1e-12).reshape([n, 1, 1, 1]);
            w / mean
        });
        Weights { channels, places }
    }
}

fn both<const D: usize>(a: Option<Tensor<D>>, b: Option<Tensor<D>>) -> Option<Tensor<D>> {
    Some(a? * b?)
}

/// One network's gate.
#[derive(Module, Debug)]
enum Gate {
    Relation(Mlp),
    Squeeze(Mlp),
    NonLocal(NonLocal),
    Block(Cbam),
}

impl Gate {
    fn new(position: Position, channels: usize, parameters: &Parameters) -> Option<Self> {
        let mlp = || Mlp::new(&parameters.part("mlp"), channels);
        Some(match position {
            Position::None => return None,
            Position::Relation => Self::Relation(mlp()),
            Position::Se => Self::Squeeze(mlp()),
            Position::NonLocal => Self::NonLocal(NonLocal::new(parameters, channels)),
            Position::Cbam => Self::Block(Cbam::new(parameters, mlp())),
        })
    }

    fn forward(&self, [map, later]: [&Tensor<4>; 2], size: [usize; 2]) -> Weights {
        let channels = |w: Tensor<2>| Weights { channels: Some(sigmoid(w)), places: None };
        match self {
            Self::Relation(mlp) => channels(mlp.forward(relations(map.clone(), later.clone()))),
            Self::Squeeze(mlp) => channels(mlp.forward(flat(map).mean_dim(2).squeeze_dim(2))),
            Self::NonLocal(attention) => Weights { channels: None, places: Some(attention.forward(map.clone(), size)) },
            Self::Block(block) => block.forward(map.clone(), size),
        }
    }
}

fn flat(map: &Tensor<4>) -> Tensor<3> {
    map.clone().flatten(2, 3)
}

/// Column means of A times C.
///
/// # Shapes
/// `[N, C, H, W]` and the next deeper `[N, C', H', W']` to `[N, C]`, mean 1.
pub(super) fn relations(map: Tensor<4>, later: Tensor<4>) -> Tensor<2> {
    let [_, channels, h, w] = map.dims();
    let later = resize_nearest(later, (h, w)).flatten::<3>(2, 3);
    let scores = later.matmul(flat(&map).swap_dims(1, 2)) / ((h * w) as f64).sqrt();
    softmax(scores, 2).mean_dim(1).squeeze_dim::<2>(1) * channels as f64
}

/// Two linear layers with a ReLU between them.
#[derive(Module, Debug)]
struct Mlp {
    squeeze: Param<Tensor<2>>,
    squeeze_bias: Param<Tensor<1>>,
    expand: Param<Tensor<2>>,
    expand_bias: Param<Tensor<1>>,
}

impl Mlp {
    fn new(parameters: &Parameters, channels: usize) -> Self {
        let width = hidden(channels);
        let (first, second) = (Init::torch_default(channels), Init::torch_default(width));
        Self {
            squeeze: parameters.tensor("squeeze", [channels, width], first),
            squeeze_bias: parameters.tensor("squeeze_bias", [width], first),
            expand: parameters.tensor("expand", [width, channels], second),
            expand_bias: parameters.tensor("expand_bias", [channels], second),
        }
    }

    /// `[N, C]` to the same.
    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let inner = relu(x.matmul(self.squeeze.val()) + self.squeeze_bias.val().unsqueeze());
        inner.matmul(self.expand.val()) + self.expand_bias.val().unsqueeze()
    }
}

/// Attention between places, with half the channels.
#[derive(Module, Debug)]
struct NonLocal {
    query: Conv,
    key: Conv,
}

impl NonLocal {
    fn new(parameters: &Parameters, channels: usize) -> Self {
        let inner = (channels / 2).max(1);
        let conv = |name: &str| Conv::new(&parameters.part(name), [channels, inner], 1, Init::torch_default(channels));
        Self { query: conv("query"), key: conv("key") }
    }

    fn forward(&self, map: Tensor<4>, [h, w]: [usize; 2]) -> Tensor<4> {
        let n = map.dims()[0];
        let map = adaptive_average_pool(map, (h, w));
        let query = flat(&self.query.forward(map.clone())).swap_dims(1, 2);
        let attention = softmax(query.matmul(flat(&self.key.forward(map))), 2);
        attention.mean_dim(1).reshape([n, 1, h, w])
    }
}

/// Channel attention, then spatial attention.
#[derive(Module, Debug)]
struct Cbam {
    mlp: Mlp,
    spatial: Conv,
}

impl Cbam {
    fn new(parameters: &Parameters, mlp: Mlp) -> Self {
        let spatial = Conv::new(&parameters.part("spatial"), [2, 1], 7, Init::torch_default(2 * 49));
        Self { mlp, spatial }
    }

    fn forward(&self, map: Tensor<4>, [h, w]: [usize; 2]) -> Weights {
        let [n, c, _, _] = map.dims();
        let (mean, most) = (flat(&map).mean_dim(2).squeeze_dim(2), flat(&map).max_dim(2).squeeze_dim(2));
        let channels = sigmoid(self.mlp.forward(mean) + self.mlp.forward(most));
        let map = map * channels.clone().reshape([n, c, 1, 1]);
        let seen = Tensor::cat(vec![map.clone().mean_dim(1), map.max_dim(1)], 1);
        let places = sigmoid(self.spatial.forward(seen));
        Weights { channels: Some(channels), places: Some(adaptive_average_pool(places, (h, w))) }
    }
}
