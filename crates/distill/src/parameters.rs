//! Parameters of adapters: initial values from a seed path, ids and names that never depend on chance.
use std::collections::BTreeMap;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::prelude::*;
use burn::tensor::TensorData;
use subband_seed::Stream;

/// Parameters by name, as saved in checkpoints.
pub type StateDict = BTreeMap<String, TensorData>;

/// How a parameter starts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Init {
    /// All equal.
    Constant(f64),
    /// Uniform in `[low, high)`.
    Uniform(f64, f64),
    /// Normal with mean 0 and this standard deviation.
    Normal(f64),
}

impl Init {
    /// PyTorch's default for convolutions and their biases: uniform in +-1/sqrt(fan in).
    pub fn torch_default(fan_in: usize) -> Self {
        let bound = 1.0 / (fan_in as f64).sqrt();
        Self::Uniform(-bound, bound)
    }

    /// Kaiming uniform with `a = 1`: uniform in +-sqrt(3/fan in).
    pub fn kaiming_uniform_a1(fan_in: usize) -> Self {
        let bound = (3.0 / fan_in as f64).sqrt();
        Self::Uniform(-bound, bound)
    }

    /// Kaiming normal, fan-out mode, ReLU gain: standard deviation sqrt(2/fan out).
    pub fn kaiming_normal_fan_out(fan_out: usize) -> Self {
        Self::Normal((2.0 / fan_out as f64).sqrt())
    }
}

/// Makes the parameters of one method (or of a named part of it).
#[derive(Debug, Clone)]
pub struct Parameters {
    seed: Stream,
    device: Device,
}

impl Parameters {
    /// Parameters drawn from `seed`, placed on `device` (the autodiff device of the student).
    pub fn new(seed: Stream, device: &Device) -> Self {
        Self { seed, device: device.clone() }
    }

    /// Where the parameters are placed.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// For the part named `name`: a stream of its own.
    pub fn part(&self, name: &str) -> Self {
        Self { seed: self.seed.with(name), device: self.device.clone() }
    }

    /// A stream of its own for draws that are not parameters.
    pub fn stream(&self, name: &str) -> Stream {
        self.seed.with(name)
    }

    /// A trainable parameter of this shape.
    pub fn tensor<const D: usize>(&self, name: &str, shape: [usize; D], init: Init) -> Param<Tensor<D>> {
        let mut stream = self.seed.with(name);
        let count = shape.iter().product();
        let values: Vec<f32> = (0..count)
            .map(|_| match init {
                Init::Constant(value) => value as f32,
                Init::Uniform(low, high) => stream.range(low, high) as f32,
                Init::Normal(deviation) => (deviation * stream.normal()) as f32,
            })
            .collect();
        // The id is replaced by a hash of the name once the whole method is built (`name_ids`).
        Param::from_tensor(Tensor::from_data(TensorData::new(values, shape), &self.device))
    }
}

/// Gives each parameter an id that is a hash of `path` and its name, so that optimiser states find it in a later run.
pub(crate) fn name_ids<M: Module>(module: M, path: &str) -> M {
    module.map(&mut NameIds { base: path.to_string(), path: Vec::new() })
}

struct NameIds {
    base: String,
    path: Vec<String>,
}

impl ModuleMapper for NameIds {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let name = format!("{}/{}", self.base, self.path.join("."));
        // FNV-1a over the bytes: stable across platforms and versions.
        let hash =
            name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
        let (_, value, mapper) = param.consume();
        Param::from_mapped_value(ParamId::from(hash), value, mapper)
    }
}

/// The parameters by name (path inside the method: `blocks.0.fam.bias`). `skip` leading path parts are left out.
pub(crate) fn state<M: Module>(module: &M, skip: usize) -> StateDict {
    let mut reader = Reader { skip, path: Vec::new(), state: StateDict::new() };
    module.visit(&mut reader);
    reader.state
}

struct Reader {
    skip: usize,
    path: Vec<String>,
    state: StateDict,
}

impl ModuleVisitor for Reader {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.state.insert(self.path[self.skip..].join("."), param.val().into_data());
    }
}

/// Puts saved values back. The error says which parameter is missing, unknown or of another shape.
pub(crate) fn load<M: Module>(module: M, skip: usize, state: &StateDict) -> Result<M, String> {
    let mut writer = Writer { skip, path: Vec::new(), left: state.iter().collect(), problem: None };
    let module = module.map(&mut writer);
    if let Some(problem) = writer.problem {
        return Err(problem);
    }
    match writer.left.keys().next() {
        Some(name) => Err(format!("`{name}` is saved but not a parameter of it")),
        None => Ok(module),
    }
}

struct Writer<'a> {
    skip: usize,
    path: Vec<String>,
    left: BTreeMap<&'a String, &'a TensorData>,
    problem: Option<String>,
}

impl ModuleMapper for Writer<'_> {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let name = self.path[self.skip..].join(".");
        let Some(data) = self.left.remove(&name) else {
            self.problem.get_or_insert(format!("`{name}` is missing"));
            return param;
        };
        let shape: Vec<usize> = data.shape().iter().copied().collect();
        let expected = param.val().dims();
        if shape != expected {
            self.problem.get_or_insert(format!("`{name}` has shape {shape:?} instead of {expected:?}"));
            return param;
        }
        param.map(|old| {
            let tensor: Tensor<D> = Tensor::from_data(data.clone(), (&old.device(), old.dtype()));
            // A fresh leaf: the graph of the old value must not be entered.
            if old.is_require_grad() { tensor.require_grad() } else { tensor }
        })
    }
}
