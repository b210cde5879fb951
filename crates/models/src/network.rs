//! The network: layers with parameters and the graph that connects them.
use burn::module::ParamId;
use burn::prelude::*;
use subband_seed::Stream;

use crate::{Features, ModelError, StateDict, TapInfo};

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
    /// A configuration.
    pub fn new(name: &str, in_channels: usize, classes: usize) -> Self {
        Self { name: name.to_string(), in_channels, classes }
    }

    /// Builds the network.
    pub fn init(&self, _seed: Stream, _device: &Device) -> Result<Network, ModelError> {
        todo!()
    }
}

/// Names.
pub fn network_names() -> Vec<&'static str> {
    todo!()
}

/// Mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Train.
    Train,
    /// Eval.
    Eval,
}

/// Report.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct LoadReport {
    /// Tensors loaded.
    pub loaded: usize,
    /// The prefix of the file's names that was left out (`module.`, ...).
    pub prefix: String,
    /// Tensors of the network that the file lacks.
    pub missing: Vec<String>,
    /// Tensors of the file that the network lacks.
    pub unused: Vec<String>,
    /// Tensors whose shape differs (only from `load_partial`).
    pub mismatched: Vec<String>,
}

/// One parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParamInfo {
    /// PyTorch's name.
    pub name: String,
    /// Its id in optimisers.
    pub id: ParamId,
    /// Shape.
    pub shape: Vec<usize>,
    /// Whether it is trained.
    pub trainable: bool,
}

/// Network.
#[derive(Module, Debug)]
pub struct Network {
    layers: Vec<burn::module::Param<Tensor<1>>>,
}

#[allow(missing_docs)]
impl Network {
    pub fn name(&self) -> &str {
        todo!()
    }
    pub fn in_channels(&self) -> usize {
        todo!()
    }
    pub fn classes(&self) -> usize {
        todo!()
    }
    pub fn device(&self) -> Device {
        todo!()
    }
    pub fn tap_names(&self) -> Vec<&str> {
        todo!()
    }
    pub fn taps(&self, _height: usize, _width: usize) -> Result<Vec<TapInfo>, ModelError> {
        todo!()
    }
    pub fn forward(&self, _x: Tensor<4>, _mode: Mode, _want: &[String]) -> Result<Features, ModelError> {
        todo!()
    }
    pub fn macs(&self, _height: usize, _width: usize) -> Result<u64, ModelError> {
        todo!()
    }
    pub fn param_count(&self) -> usize {
        todo!()
    }
    pub fn trainable_count(&self) -> usize {
        todo!()
    }
    pub fn params(&self) -> Vec<ParamInfo> {
        todo!()
    }
    pub fn fold_batch_norm(&self, _keep: &[String]) -> Network {
        todo!()
    }
    pub fn state_dict(&self) -> StateDict {
        todo!()
    }
    pub fn load(&mut self, _state: &StateDict) -> Result<LoadReport, ModelError> {
        todo!()
    }
    pub fn load_partial(&mut self, _state: &StateDict) -> Result<LoadReport, ModelError> {
        todo!()
    }
    pub fn freeze(self, _prefixes: &[String]) -> Result<Network, ModelError> {
        todo!()
    }
    pub fn describe(&self, _height: usize, _width: usize) -> Result<String, ModelError> {
        todo!()
    }
}
