//! First values of the weights, a function of the seed and the parameter's name only.
use burn::prelude::*;
use burn::tensor::TensorData;
use subband_seed::Stream;

use crate::graph::{Conv, Init, LayerKind, LayerSpec};
use crate::layers::{BatchNorm2d, Conv2d, Embedding, Layer, LayerNorm, Linear, param};

/// Standard deviation of tokens and positions. (Their published law is cut at +-2, a hundred deviations away.)
const EMBEDDING_STD: f64 = 0.02;

/// Draws one layer.
pub(crate) fn layer(spec: &LayerSpec, seed: Stream, device: &Device) -> Layer {
    let name = |suffix: &str| spec.key(suffix);
    match &spec.kind {
        LayerKind::BatchNorm { channels } => Layer::BatchNorm(BatchNorm2d::new(&spec.name, *channels, device)),
        LayerKind::Conv(conv) => {
            let (fan_in, fan_out) = fans(conv);
            let draw = Draw { init: conv.init, fan_in, fan_out, seed, device };
            let bias = conv.bias.then(|| param(&name("bias"), draw.bias(&name("bias"), conv.out_channels)));
            Layer::Conv(Conv2d {
                weight: param(&name("weight"), draw.weight(&name("weight"), conv.weight_shape())),
                bias,
            })
        }
        LayerKind::LayerNorm { channels } => Layer::LayerNorm(LayerNorm {
            weight: param(&name("weight"), Tensor::ones([*channels], device)),
            bias: param(&name("bias"), Tensor::zeros([*channels], device)),
        }),
        LayerKind::Embedding { channels, extra, side } => {
            let draw = Draw { init: Init::Normal(EMBEDDING_STD), fan_in: 1, fan_out: 1, seed, device };
            let tokens = |suffix: &str, count| param(&name(suffix), draw.weight(&name(suffix), [1, count, *channels]));
            Layer::Embedding(Embedding {
                cls_token: tokens("cls_token", 1),
                dist_token: (*extra == 2).then(|| tokens("dist_token", 1)),
                pos_embed: tokens("pos_embed", extra + side * side),
            })
        }
        // Low-rank factors come on top of a finished network.
        LayerKind::Linear { inputs, outputs, init, .. } => {
            let draw = Draw { init: *init, fan_in: *inputs, fan_out: *outputs, seed, device };
            Layer::Linear(Linear {
                weight: param(&name("weight"), draw.weight(&name("weight"), [*outputs, *inputs])),
                bias: param(&name("bias"), draw.bias(&name("bias"), *outputs)),
                lora: None,
            })
        }
    }
}

fn fans(conv: &Conv) -> (usize, usize) {
    let area = conv.kernel * conv.kernel;
    (conv.in_channels / conv.groups * area, conv.out_channels * area)
}

/// How a layer's tensors are drawn.
pub(crate) struct Draw<'a> {
    pub init: Init,
    pub fan_in: usize,
    pub fan_out: usize,
    pub seed: Stream,
    pub device: &'a Device,
}

impl Draw<'_> {
    /// A weight, from the stream of its name.
    pub fn weight<const D: usize>(&self, name: &str, shape: [usize; D]) -> Tensor<D> {
        match self.init {
            Init::FanOut => self.normal(name, shape, (2.0 / self.fan_out as f64).sqrt()),
            Init::FanIn => self.normal(name, shape, (2.0 / self.fan_in as f64).sqrt()),
            Init::Normal(std) => self.normal(name, shape, std),
            Init::Uniform | Init::UniformZeroBias => self.uniform(name, shape),
        }
    }

    fn bias(&self, name: &str, channels: usize) -> Tensor<1> {
        match self.init {
            Init::Uniform | Init::FanIn => self.uniform(name, [channels]),
            Init::FanOut | Init::Normal(_) | Init::UniformZeroBias => Tensor::zeros([channels], self.device),
        }
    }

    fn normal<const D: usize>(&self, name: &str, shape: [usize; D], std: f64) -> Tensor<D> {
        self.fill(name, shape, |stream| std * stream.normal())
    }

    fn uniform<const D: usize>(&self, name: &str, shape: [usize; D]) -> Tensor<D> {
        let bound = 1.0 / (self.fan_in as f64).sqrt();
        self.fill(name, shape, |stream| stream.range(-bound, bound))
    }

    fn fill<const D: usize>(&self, name: &str, shape: [usize; D], draw: impl Fn(&mut Stream) -> f64) -> Tensor<D> {
        let mut stream = self.seed.with(name);
        let values: Vec<f32> = (0..shape.iter().product()).map(|_| draw(&mut stream) as f32).collect();
        Tensor::from_data(TensorData::new(values, shape), self.device)
    }
}
