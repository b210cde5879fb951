//! Low-rank adaptation of fully connected layers.
//!
//! Hu et al.: LoRA: Low-Rank Adaptation of Large Language Models (ICLR 2022), as FreqKD trains its student. A layer with
//! the weight W `[out, in]` becomes
//!
//! ```text
//! y = x W^T + b + s (x . k) A^T B^T,    s = alpha / rank,   A [rank, in],   B [out, rank]
//! ```
//!
//! with W and b kept and only A and B trained. A starts uniform in +-1/sqrt(in) (Kaiming's law with a = sqrt 5), B at
//! zero, so that the network starts as it was, bit for bit. In training each number of x that enters A is dropped with
//! probability p: k is 0, or 1/(1 - p). k is a function of the run's seed, the epoch, the step, the layer and the image
//! ([`Noise`]), never of the batch it stands in or of threads.
//!
//! [`Network::merged`] gives the plain network with W + m s B A: m = 1 computes the same, FreqKD's detector takes m = 1/2.
//! In a state dict A and B are `lora_A` and `lora_B` beside the layer's `weight`.
use burn::module::Param;
use burn::prelude::*;
use burn::tensor::{DType, TensorData};
use subband_seed::Stream;

use crate::graph::{Init, LayerKind, LayerSpec};
use crate::init::Draw;
use crate::layers::{Layer, LowRank, param};
use crate::nearest;
use crate::{ModelError, Network};

/// What is adapted, and how.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoraConfig {
    /// Rank of the change, at least 1.
    pub rank: usize,
    /// Its scale is alpha / rank; above 0. Default: the rank (scale 1).
    #[serde(default)]
    pub alpha: Option<f64>,
    /// Probability p that an input is dropped in training, 0 to below 1. Default 0.
    #[serde(default)]
    pub dropout: f64,
    /// Names of fully connected layers or parts of them: `qkv`, `mlp.fc1`, `blocks.3`. Parts are whole words between
    /// dots.
    pub targets: Vec<String>,
}

impl LoraConfig {
    /// alpha / rank.
    pub fn scale(&self) -> f64 {
        self.alpha.map_or(1.0, |alpha| alpha / self.rank as f64)
    }

    fn problem(&self) -> Option<String> {
        let alpha = self.alpha.unwrap_or(1.0);
        if self.rank == 0 {
            return Some("`rank` must be at least 1".into());
        }
        if !(alpha.is_finite() && alpha > 0.0) {
            return Some(format!("`alpha = {alpha}` must be above 0"));
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return Some(format!("`dropout = {}` must be 0 or more and below 1", self.dropout));
        }
        self.targets.is_empty().then(|| "`targets` names no layer (usual: [\"qkv\", \"fc1\", \"fc2\"])".into())
    }
}

/// The adaptation of one layer, as the graph knows it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct LoraSpec {
    pub rank: usize,
    pub scale: f64,
    pub dropout: f64,
}

/// Where the randomness of a forward pass in training comes from.
#[derive(Debug, Clone)]
pub struct Noise {
    /// The stream of this step: of seed, epoch and step.
    pub stream: Stream,
    /// Number of each image of the batch in its data set.
    pub samples: Vec<u64>,
}

impl Noise {
    /// Factors k of a layer's inputs, 0 or 1/(1 - p), `[N rows, channels]` for N images of `rows` rows each.
    pub(crate) fn keep(
        &self,
        layer: &str,
        dropout: f64,
        [rows, channels]: [usize; 2],
        (device, dtype): (&Device, DType),
    ) -> Tensor<2> {
        // Sixteen bits decide: p is met to 1/65536.
        let limit = (dropout * 65536.0).round() as u64;
        let kept = (1.0 / (1.0 - dropout)) as f32;
        let count = rows * channels;
        let mut values = Vec::with_capacity(self.samples.len() * count);
        for sample in &self.samples {
            let mut stream = self.stream.with(layer).at(*sample);
            for first in (0..count).step_by(4) {
                let bits = stream.next_u64();
                let factor = |k: usize| if bits >> (16 * k) & 0xffff < limit { 0.0 } else { kept };
                values.extend((0..4.min(count - first)).map(factor));
            }
        }
        let shape = [self.samples.len() * rows, channels];
        Tensor::from_data(TensorData::new(values, shape), (device, dtype))
    }
}

impl Network {
    /// The network with low-rank factors on the layers that `config` names, everything else frozen. Factors are drawn
    /// from `seed` by name.
    ///
    /// # Errors
    /// A number out of range, a target that names no fully connected layer, a network that is adapted already.
    pub fn with_lora(mut self, config: &LoraConfig, seed: Stream) -> Result<Self, ModelError> {
        let bad = |network: &Self, reason: String| ModelError::BadConfig { network: network.name().into(), reason };
        if let Some(problem) = config.problem() {
            return Err(bad(&self, format!("`lora`: {problem}")));
        }
        if self.lora_layers().next().is_some() {
            return Err(bad(&self, "it has low-rank factors already; merge them first".into()));
        }
        let mut graph = self.graph().clone();
        for target in &config.targets {
            if !graph.layers.iter().any(|spec| adaptable(spec, target)) {
                return Err(ModelError::UnknownTarget {
                    network: self.name().into(),
                    target: target.clone(),
                    nearest: self.nearest_target(target),
                });
            }
        }
        let base: Vec<String> = graph.params().map(|(name, _)| name).collect();
        let device = self.device();
        for (spec, layer) in graph.layers.iter_mut().zip(self.layers_mut()) {
            if !config.targets.iter().any(|target| adaptable(spec, target)) {
                continue;
            }
            adapt(spec, layer, config, seed, &device);
        }
        self.replace_graph(graph);
        self.freeze_names(base);
        Ok(self)
    }

    /// The plain network with the weights W + m s B A, nothing of it frozen; m is any number. A network without factors
    /// comes back as it is.
    pub fn merged(&self, m: f64) -> Network {
        if self.lora_layers().next().is_none() {
            return self.clone();
        }
        let mut graph = self.graph().clone();
        let mut network = self.clone();
        for (spec, layer) in graph.layers.iter_mut().zip(network.layers_mut()) {
            let (LayerKind::Linear { lora, .. }, Layer::Linear(linear)) = (&mut spec.kind, layer) else { continue };
            let (Some(spec), Some(factors)) = (lora.take(), linear.lora.take()) else { continue };
            let old = linear.weight.val();
            let change = factors.product(m * spec.scale);
            let sum = old.clone().without_autodiff() + change;
            let value = if old.is_autodiff() { sum.autodiff() } else { sum };
            linear.weight = Param::initialized(linear.weight.id, value);
        }
        Network::thawed(network, graph)
    }

    /// Names of the adapted layers.
    pub fn lora_layers(&self) -> impl Iterator<Item = &str> {
        let adapted = |spec: &&LayerSpec| matches!(spec.kind, LayerKind::Linear { lora: Some(_), .. });
        self.graph().layers.iter().filter(adapted).map(|spec| spec.name.as_str())
    }

    /// The layer or the part of a name most like a target.
    fn nearest_target(&self, target: &str) -> Option<String> {
        let linear = |spec: &&LayerSpec| matches!(spec.kind, LayerKind::Linear { .. });
        let names: Vec<&str> = self.graph().layers.iter().filter(linear).map(|spec| spec.name.as_str()).collect();
        let ends = names.iter().filter_map(|name| name.rsplit('.').next());
        nearest(target, ends.chain(names.iter().copied()))
    }
}

/// Whether a layer is fully connected and its name holds `target` as whole words.
fn adaptable(spec: &LayerSpec, target: &str) -> bool {
    let whole = || format!(".{}.", spec.name).contains(&format!(".{}.", target.trim_matches('.')));
    matches!(spec.kind, LayerKind::Linear { .. }) && !target.is_empty() && whole()
}

/// Puts factors beside a layer's weight.
fn adapt(spec: &mut LayerSpec, layer: &mut Layer, config: &LoraConfig, seed: Stream, device: &Device) {
    let names = [spec.key("lora_A"), spec.key("lora_B")];
    let (LayerKind::Linear { inputs, outputs, lora, .. }, Layer::Linear(linear)) = (&mut spec.kind, layer) else {
        return;
    };
    let draw = Draw { init: Init::Uniform, fan_in: *inputs, fan_out: config.rank, seed, device };
    linear.lora = Some(LowRank {
        down: param(&names[0], draw.weight(&names[0], [config.rank, *inputs])),
        up: param(&names[1], Tensor::zeros([*outputs, config.rank], device)),
    });
    *lora = Some(LoraSpec { rank: config.rank, scale: config.scale(), dropout: config.dropout });
}
