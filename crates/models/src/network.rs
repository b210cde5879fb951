//! The network: layers with parameters and the graph that connects them.
use std::collections::BTreeSet;
use std::sync::Arc;

use burn::module::ParamId;
use burn::prelude::*;
use subband_seed::Stream;

use crate::graph::{Graph, LayerKind};
use crate::layers::{Layer, param_id};
use crate::nearest;
use crate::tap::TapKind;
use crate::{ModelError, TapInfo, init, zoo};

/// What to build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkConfig {
    /// A name of [`network_names`].
    pub name: String,
    /// Channels of the input images (1 grey, 3 colour, 4 with depth or infrared).
    pub in_channels: usize,
    /// Number of classes K.
    pub classes: usize,
}

impl NetworkConfig {
    /// The network `name` for images of `in_channels` channels and `classes` classes.
    pub fn new(name: &str, in_channels: usize, classes: usize) -> Self {
        Self { name: name.to_string(), in_channels, classes }
    }

    /// Builds the network with fresh weights: the same seed and name give the same weights, whatever else is built.
    ///
    /// On a device with autodiff the parameters require gradients.
    ///
    /// # Errors
    /// An unknown name (the nearest one is offered); no channels or no classes.
    pub fn init(&self, seed: Stream, device: &Device) -> Result<Network, ModelError> {
        Ok(Network::from_graph(self.graph()?, seed, device))
    }

    /// Taps at an input size without making any weights.
    pub fn taps(&self, height: usize, width: usize) -> Result<Vec<TapInfo>, ModelError> {
        self.graph()?.tap_infos(height, width)
    }

    /// Whether the network gives class scores for every pixel (its logits are a map) and not one row per image.
    ///
    /// # Errors
    /// As [`NetworkConfig::init`].
    pub fn is_segmenter(&self) -> Result<bool, ModelError> {
        Ok(self.graph()?.is_segmenter())
    }

    pub(crate) fn graph(&self) -> Result<Graph, ModelError> {
        if self.in_channels == 0 || self.classes == 0 {
            let reason = format!(
                "needs at least one input channel and one class, got {} and {}",
                self.in_channels, self.classes
            );
            return Err(ModelError::BadConfig { network: self.name.clone(), reason });
        }
        zoo::build(&self.name, self.in_channels, self.classes).ok_or_else(|| ModelError::UnknownNetwork {
            name: self.name.clone(),
            nearest: nearest(&self.name, network_names()),
        })
    }
}

/// All names that [`NetworkConfig`] knows, in the order of their families.
pub fn network_names() -> Vec<&'static str> {
    zoo::names()
}

/// One parameter, as an optimiser or a person sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParamInfo {
    /// PyTorch's name.
    pub name: String,
    /// Its id in gradients and optimiser states, a function of the name.
    pub id: ParamId,
    /// Shape.
    pub shape: Vec<usize>,
    /// Whether it is trained (not frozen by [`Network::freeze`]).
    pub trainable: bool,
}

/// A network: a Burn module whose parameters an optimiser sees, with the graph that runs them.
///
/// A clone is independent, running statistics included. [`Module::num_params`] also counts running statistics;
/// [`Network::param_count`] does not.
#[derive(Module, Debug)]
pub struct Network {
    layers: Vec<Layer>,
    #[module(skip)]
    graph: Arc<Graph>,
    #[module(skip)]
    frozen: Arc<BTreeSet<String>>,
}

impl Network {
    pub(crate) fn from_graph(graph: Graph, seed: Stream, device: &Device) -> Self {
        let layers = graph.layers.iter().map(|spec| init::layer(spec, seed, device)).collect();
        Self::from_parts(layers, graph)
    }

    pub(crate) fn from_parts(layers: Vec<Layer>, graph: Graph) -> Self {
        Self { layers, graph: Arc::new(graph), frozen: Arc::default() }
    }

    /// The same network without its parameters: something to leave behind while an optimiser has them, so that it is
    /// their only owner and may work in place. It cannot run.
    pub fn hollow(&self) -> Self {
        Self { layers: Vec::new(), graph: self.graph.clone(), frozen: self.frozen.clone() }
    }

    /// Another description of the same layers.
    pub(crate) fn replace_graph(&mut self, graph: Graph) {
        self.graph = Arc::new(graph);
    }

    /// Freezes these parameters beside those that are.
    pub(crate) fn freeze_names(&mut self, names: impl IntoIterator<Item = String>) {
        let mut frozen = (*self.frozen).clone();
        frozen.extend(names);
        self.frozen = Arc::new(frozen);
        self.apply_frozen();
    }

    /// The layers of `network` under another description, nothing frozen.
    pub(crate) fn thawed(network: Network, graph: Graph) -> Self {
        let mut network = Self::from_parts(network.layers, graph);
        network.apply_frozen();
        network
    }

    pub(crate) fn graph(&self) -> &Graph {
        &self.graph
    }

    pub(crate) fn layer(&self, index: usize) -> &Layer {
        &self.layers[index]
    }

    pub(crate) fn layers_mut(&mut self) -> &mut [Layer] {
        &mut self.layers
    }

    /// The registered name.
    pub fn name(&self) -> &str {
        &self.graph.network
    }

    /// Channels of the input.
    pub fn in_channels(&self) -> usize {
        self.graph.in_channels
    }

    /// Side of the only input that the network takes; `None` for networks that take any size from a smallest one on.
    pub fn input_side(&self) -> Option<usize> {
        self.graph.side
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.graph.classes
    }

    /// Whether the logits are a map of class scores for every pixel (segmentation) and not one row per image.
    pub fn is_segmenter(&self) -> bool {
        self.graph.is_segmenter()
    }

    /// The device of the parameters, with its autodiff setting.
    pub fn device(&self) -> Device {
        self.layers.first().map_or_else(Device::default, Layer::device)
    }

    pub(crate) fn is_autodiff(&self) -> bool {
        self.device().is_autodiff()
    }

    /// Names of the taps, from the input to the logits.
    pub fn tap_names(&self) -> Vec<&str> {
        self.graph.taps.iter().map(|t| t.name.as_str()).collect()
    }

    /// The taps with their shapes for images of `height` x `width`.
    ///
    /// # Errors
    /// An input too small for the network's strides, or of another size than the only one it takes.
    pub fn taps(&self, height: usize, width: usize) -> Result<Vec<TapInfo>, ModelError> {
        self.graph.tap_infos(height, width)
    }

    /// Multiply-adds for one image: convolutions, fully connected layers and the two products of attention.
    ///
    /// # Errors
    /// An input too small for the network's strides, or of another size than the only one it takes.
    pub fn macs(&self, height: usize, width: usize) -> Result<u64, ModelError> {
        self.graph.macs(height, width)
    }

    /// Number of parameters, frozen ones included, running statistics not.
    pub fn param_count(&self) -> usize {
        self.graph.params().map(|(_, shape)| shape.iter().product::<usize>()).sum()
    }

    /// Number of parameters that are not frozen.
    pub fn trainable_count(&self) -> usize {
        self.params().filter(|p| p.trainable).map(|p| p.shape.iter().product::<usize>()).sum()
    }

    /// All parameters in the order of the layers.
    pub fn params(&self) -> impl Iterator<Item = ParamInfo> + '_ {
        self.graph.params().map(|(name, shape)| {
            let trainable = !self.frozen.contains(&name);
            ParamInfo { id: param_id(&name), name, shape, trainable }
        })
    }

    /// Freezes every parameter whose name starts with one of the prefixes (`conv1`, `layer1.0`; an empty one freezes
    /// all): it gets no gradient, and a batch normalisation frozen as a whole also keeps its running statistics and
    /// uses them. Freezing adds to what is frozen already.
    ///
    /// # Errors
    /// A prefix that matches no parameter.
    pub fn freeze(mut self, prefixes: &[String]) -> Result<Self, ModelError> {
        let mut frozen = BTreeSet::new();
        for prefix in prefixes {
            let names: Vec<String> =
                self.graph.params().map(|(name, _)| name).filter(|name| is_prefix(prefix, name)).collect();
            if names.is_empty() {
                return Err(ModelError::UnknownPrefix {
                    network: self.graph.network.clone(),
                    prefix: prefix.clone(),
                    nearest: {
                        let keys: Vec<String> = self.graph.params().map(|(key, _)| key).collect();
                        let layers = self.graph.layers.iter().map(|l| l.name.as_str());
                        nearest(prefix, layers.chain(keys.iter().map(String::as_str)))
                    },
                });
            }
            frozen.extend(names);
        }
        self.freeze_names(frozen);
        Ok(self)
    }

    /// Whether every parameter of a layer is frozen.
    pub(crate) fn is_frozen_layer(&self, index: usize) -> bool {
        let spec = &self.graph.layers[index];
        !self.frozen.is_empty() && spec.params().iter().all(|(s, _)| self.frozen.contains(&spec.key(s)))
    }

    /// Brings the parameters' gradient requirement in line with the frozen names.
    pub(crate) fn apply_frozen(&mut self) {
        let (graph, frozen) = (self.graph.clone(), self.frozen.clone());
        for (layer, spec) in self.layers.iter_mut().zip(&graph.layers) {
            layer.require_grad(|suffix| !frozen.contains(&spec.key(suffix)));
        }
    }

    /// A table of the taps, the parameters and the multiply-adds at an input size, for people.
    ///
    /// # Errors
    /// An input too small for the network's strides, or of another size than the only one it takes.
    pub fn describe(&self, height: usize, width: usize) -> Result<String, ModelError> {
        let mut text = format!(
            "{}: {} parameters, {} multiply-adds at {}x{height}x{width}, {} classes\n{:<14} {:>14} {:>7}  kind\n",
            self.name(),
            self.param_count(),
            self.macs(height, width)?,
            self.in_channels(),
            self.classes(),
            "tap",
            "shape",
            "stride",
        );
        for tap in self.taps(height, width)? {
            let kind = if tap.kind == TapKind::Pre { "pre-activation" } else { "post-activation" };
            text += &format!("{:<14} {:>14} {:>7}  {kind}\n", tap.name, tap.shape.to_string(), tap.stride);
        }
        Ok(text)
    }

    /// How many layers are batch normalisations.
    pub fn batch_norm_count(&self) -> usize {
        self.graph.layers.iter().filter(|l| matches!(l.kind, LayerKind::BatchNorm { .. })).count()
    }
}

/// `layer1` is a prefix of `layer1.0.conv1.weight` and not of `layer10.weight`.
fn is_prefix(prefix: &str, name: &str) -> bool {
    let prefix = prefix.trim_end_matches('.');
    prefix.is_empty() || name.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}
