//! The dual-stream dual-stage refinement of wavelet bands.
//!
//! A reconstruction from its name: the low stream is LL_J, the high stream the detail bands of all levels.
//!
//! Stage 1, within each band: `B <- conv1x1(GELU(BN(depthwise3x3(B))))`. The low band and each level have weights of
//! their own; LH, HL and HH of a level share them and are normalised together.
//!
//! Stage 2, between the streams, with `m_l` the mean of LL over its places and `m_h` the mean of the detail bands over
//! places, orientations and levels (each level counts alike), both `[N, C]`:
//! `LL <- LL sigmoid(W_l m_h + b_l)`, `D_j <- D_j sigmoid(W_h m_l + b_h)`.
use burn::prelude::*;
use burn::tensor::activation::sigmoid;
use subband_kernels::activation::gelu;
use subband_spectral::dwt::{Decomposition, Detail};

use crate::{BatchNorm, Conv, Init, Parameters};

/// The refinement for maps of a width and a number of levels, of any size.
#[derive(Module, Debug)]
pub struct Ds2s {
    low: Band,
    /// Finest level first.
    high: Vec<Band>,
    low_gate: Option<Conv>,
    high_gate: Option<Conv>,
}

impl Ds2s {
    /// For `channels` channels and `levels` levels; `exchange`: with the second stage. PyTorch's default values.
    pub fn new(parameters: &Parameters, channels: usize, levels: usize, exchange: bool) -> Self {
        let gate = |name: &str| exchange.then(|| pointwise(&parameters.part(name), channels));
        let high = parameters.part("high");
        Self {
            low: Band::new(&parameters.part("low"), channels),
            high: (0..levels).map(|level| Band::new(&high.part(&level.to_string()), channels)).collect(),
            low_gate: gate("low_gate"),
            high_gate: gate("high_gate"),
        }
    }

    /// The refined bands.
    ///
    /// # Shapes
    /// LL `[N, C, h, w]` and details `[N, C, 3, h_j, w_j]` to the same.
    pub fn forward(&self, bands: Decomposition) -> Decomposition {
        let [n, c, _, _] = bands.ll.dims();
        let mut low = self.low.forward(bands.ll);
        // The orientations of a level become samples: [N, 3, C, h, w] as [3N, C, h, w].
        let refined = self.high.iter().zip(bands.details).map(|(band, detail)| {
            let [.., h, w] = detail.bands.dims();
            (band.forward(detail.bands.swap_dims(1, 2).reshape([3 * n, c, h, w])), detail.size)
        });
        let mut high: Vec<(Tensor<4>, [usize; 2])> = refined.collect();
        if let (Some(low_gate), Some(high_gate)) = (&self.low_gate, &self.high_gate) {
            let low_factor = sigmoid(low_gate.forward(mean_of_high(&high, n)));
            let high_factor = sigmoid(high_gate.forward(places_mean(low.clone()))).reshape([n, 1, c, 1]);
            let of_orientation = high_factor.expand([n, 3, c, 1]).reshape([3 * n, c, 1, 1]);
            low = low * low_factor;
            high = high.into_iter().map(|(x, size)| (x * of_orientation.clone(), size)).collect();
        }
        let details = high.into_iter().map(|(x, size)| {
            let [_, _, h, w] = x.dims();
            Detail { bands: x.reshape([n, 3, c, h, w]).swap_dims(1, 2), size }
        });
        Decomposition { ll: low, details: details.collect() }
    }
}

/// m_h as `[N, C, 1, 1]`.
fn mean_of_high(high: &[(Tensor<4>, [usize; 2])], samples: usize) -> Tensor<4> {
    let means = high.iter().map(|(x, _)| {
        let c = x.dims()[1];
        places_mean(x.clone()).reshape([samples, 3, c, 1]).mean_dim(1).reshape([samples, c, 1, 1])
    });
    // There is at least one level.
    let sum = means.reduce(|a, b| a + b);
    sum.map(|sum| sum / high.len() as f64).unwrap_or_else(|| unreachable!("a transform has at least one level"))
}

/// The mean over the places of each channel, `[N, C, 1, 1]`.
fn places_mean(x: Tensor<4>) -> Tensor<4> {
    let [n, c, h, w] = x.dims();
    x.reshape([n, c, h * w]).mean_dim(2).reshape([n, c, 1, 1])
}

/// A 1x1 convolution with bias.
fn pointwise(parameters: &Parameters, channels: usize) -> Conv {
    Conv::new(parameters, [channels; 2], 1, Init::torch_default(channels)).with_bias(parameters)
}

/// Stage 1 of one band.
#[derive(Module, Debug)]
struct Band {
    depthwise: Conv,
    norm: BatchNorm,
    mix: Conv,
}

impl Band {
    fn new(parameters: &Parameters, channels: usize) -> Self {
        Self {
            depthwise: Conv::depthwise(&parameters.part("depthwise"), channels, 3),
            norm: BatchNorm::new(&parameters.part("norm"), channels),
            mix: pointwise(&parameters.part("mix"), channels),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        self.mix.forward(gelu(self.norm.after(&self.depthwise, x, false)))
    }
}
