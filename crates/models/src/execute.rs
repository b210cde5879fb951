//! The forward pass: walks the operations that the wanted taps need and drops each value at its last use.
use std::collections::BTreeMap;

use burn::prelude::*;

use crate::error::nearest;
use crate::graph::{Graph, LayerKind, NodeId, Op};
use crate::layers::{Layer, Mode, plain};
use crate::tap::{Feature, Features, TapShape};
use crate::{ModelError, Network};

/// What an operation yields.
#[derive(Clone)]
enum Value {
    Map(Tensor<4>),
    Vector(Tensor<2>),
}

impl Value {
    fn shape(&self) -> TapShape {
        match self {
            Value::Map(x) => {
                let [_, channels, height, width] = x.dims();
                TapShape::Map { channels, height, width }
            }
            Value::Vector(x) => TapShape::Vector { channels: x.dims()[1] },
        }
    }

    fn into_feature(self) -> Feature {
        match self {
            Value::Map(x) => Feature::Map(x),
            Value::Vector(x) => Feature::Vector(x),
        }
    }
}

/// How often each node's value is still to be read; zero for those that nothing wanted depends on.
fn reads(graph: &Graph, wanted: &[NodeId]) -> Vec<usize> {
    let mut reads = vec![0; graph.nodes.len()];
    for node in wanted {
        reads[*node] += 1;
    }
    for id in (0..graph.nodes.len()).rev() {
        if reads[id] > 0 {
            graph.nodes[id].inputs.iter().for_each(|input| reads[*input] += 1);
        }
    }
    reads
}

/// For each node, whether it computes the ReLU of its only reader as well: convolutions and batch normalisations do so
/// in the same pass.
fn fused_relus(graph: &Graph, reads: &[usize]) -> Vec<bool> {
    let mut fused = vec![false; graph.nodes.len()];
    for (id, node) in graph.nodes.iter().enumerate() {
        if let (Op::Relu, [input], true) = (&node.op, node.inputs.as_slice(), reads[id] > 0) {
            let takes = matches!(graph.nodes[*input].op, Op::Conv(_) | Op::BatchNorm(_));
            fused[*input] = takes && reads[*input] == 1;
        }
    }
    fused
}

/// The values that are alive.
struct Values {
    slots: Vec<Option<Value>>,
    reads: Vec<usize>,
}

impl Values {
    /// Reads a value; the last read moves it out, so that an operation may work in place.
    fn take(&mut self, id: NodeId) -> Option<Value> {
        self.reads[id] -= 1;
        if self.reads[id] == 0 { self.slots[id].take() } else { self.slots[id].clone() }
    }
}

impl Network {
    /// Runs the network on `[N, C, H, W]` and reads the taps named in `want`; logits always.
    ///
    /// The features have autodiff when the network's parameters do. Operations that neither the logits nor a wanted
    /// tap need do not run.
    ///
    /// # Errors
    /// An unknown tap, another number of channels than the network takes, an input too small for its strides,
    /// training of a folded network or with one value per channel.
    pub fn forward(&self, x: Tensor<4>, mode: Mode, want: &[String]) -> Result<Features, ModelError> {
        let graph = self.graph();
        let [_, channels, height, width] = x.dims();
        self.check_input(channels, height, width, mode)?;
        let nodes = want.iter().map(|name| self.tap_node(name)).collect::<Result<Vec<_>, _>>()?;
        let mut wanted = nodes.clone();
        wanted.push(graph.logits);
        let reads = reads(graph, &wanted);
        let fused = fused_relus(graph, &reads);
        let mut values = Values { slots: vec![None; graph.nodes.len()], reads };
        values.slots[0] = Some(Value::Map(if self.is_autodiff() { x.autodiff() } else { x.without_autodiff() }));
        for id in 1..graph.nodes.len() {
            if values.reads[id] > 0 {
                let node = &graph.nodes[id];
                let mut inputs: Vec<Value> = node.inputs.iter().filter_map(|i| values.take(*i)).collect();
                let done = matches!(node.op, Op::Relu) && node.inputs.iter().all(|input| fused[*input]);
                values.slots[id] = if done { inputs.pop() } else { Some(self.apply(id, inputs, mode, fused[id])?) };
            }
        }
        let mut taps = BTreeMap::new();
        for (name, node) in want.iter().zip(nodes) {
            if let Some(value) = values.take(node) {
                taps.insert(name.clone(), value.into_feature());
            }
        }
        match values.take(graph.logits) {
            Some(Value::Vector(logits)) => Ok(Features { logits, taps }),
            other => Err(self.wrong_rank(graph.logits, other.as_ref())),
        }
    }

    fn check_input(&self, channels: usize, height: usize, width: usize, mode: Mode) -> Result<(), ModelError> {
        let graph = self.graph();
        if channels != graph.in_channels {
            let network = graph.network.clone();
            return Err(ModelError::InputChannels { network, expected: graph.in_channels, found: channels });
        }
        if graph.folded && mode == Mode::Train {
            return Err(ModelError::FoldedTraining { network: graph.network.clone() });
        }
        graph.shapes(height, width).map(|_| ())
    }

    fn tap_node(&self, name: &str) -> Result<NodeId, ModelError> {
        let graph = self.graph();
        graph.taps.iter().find(|t| t.name == name).map(|t| t.node).ok_or_else(|| ModelError::UnknownTap {
            network: graph.network.clone(),
            name: name.to_string(),
            nearest: nearest(name, graph.taps.iter().map(|t| t.name.as_str())),
            available: graph.taps.iter().map(|t| t.name.as_str()).collect::<Vec<_>>().join(", "),
        })
    }

    fn wrong_rank(&self, id: NodeId, value: Option<&Value>) -> ModelError {
        let (network, node) = (self.graph().network.clone(), self.graph().nodes[id].name.clone());
        ModelError::WrongRank { network, node, shape: value.map_or(TapShape::Vector { channels: 0 }, Value::shape) }
    }

    /// One operation on its inputs; `relu` asks it to clamp its result at zero.
    fn apply(&self, id: NodeId, inputs: Vec<Value>, mode: Mode, relu: bool) -> Result<Value, ModelError> {
        let op = &self.graph().nodes[id].op;
        let mut inputs = inputs.into_iter();
        Ok(match (op, inputs.next(), inputs.next()) {
            (Op::Concat, Some(Value::Map(first)), second) => {
                let rest = second.into_iter().chain(inputs);
                let maps = rest.filter_map(|v| if let Value::Map(x) = v { Some(x) } else { None });
                Value::Map(Tensor::cat(std::iter::once(first).chain(maps).collect(), 1))
            }
            (Op::Add, Some(Value::Map(a)), Some(Value::Map(b))) => Value::Map(a + b),
            (Op::GlobalAvgPool, Some(Value::Map(x)), _) => Value::Vector(plain::global_avg_pool(x)),
            (op, Some(Value::Map(x)), None) => Value::Map(self.apply_map(id, op, x, mode, relu)?),
            (Op::Relu, Some(Value::Vector(x)), None) => Value::Vector(plain::relu(x)),
            (Op::Relu6, Some(Value::Vector(x)), None) => Value::Vector(plain::relu6(x)),
            (Op::Linear(layer), Some(Value::Vector(x)), None) => match self.layer(*layer) {
                Layer::Linear(linear) => Value::Vector(linear.forward(x)),
                _ => return Err(self.wrong_rank(id, Some(&Value::Vector(x)))),
            },
            (_, first, _) => return Err(self.wrong_rank(id, first.as_ref())),
        })
    }

    /// An operation from one map to one map.
    fn apply_map(&self, id: NodeId, op: &Op, x: Tensor<4>, mode: Mode, relu: bool) -> Result<Tensor<4>, ModelError> {
        Ok(match op {
            Op::Conv(index) => match (self.layer(*index), &self.graph().layers[*index].kind) {
                (Layer::Conv(layer), LayerKind::Conv(conv)) => layer.forward(conv, x, relu),
                _ => return Err(self.wrong_rank(id, Some(&Value::Map(x)))),
            },
            Op::BatchNorm(index) => match self.layer(*index) {
                Layer::BatchNorm(layer) => {
                    // A frozen normalisation keeps its statistics too: it is the same function in every step.
                    let mode = if self.is_frozen_layer(*index) { Mode::Eval } else { mode };
                    let name = || self.graph().layers[*index].name.clone();
                    layer.forward(x, mode, relu).map_err(|_| ModelError::SingleValueStatistics { layer: name() })?
                }
                _ => return Err(self.wrong_rank(id, Some(&Value::Map(x)))),
            },
            Op::Relu => plain::relu(x),
            Op::Relu6 => plain::relu6(x),
            Op::MaxPool(window) => plain::max_pool(x, *window),
            Op::AvgPool(window) => plain::avg_pool(x, *window),
            Op::Shuffle { groups } => plain::shuffle(x, *groups),
            Op::Channels { start, len } => x.narrow(1, *start, *len),
            Op::SubsamplePad { stride, front, back } => plain::subsample_pad(x, *stride, *front, *back),
            Op::Input | Op::Add | Op::Concat | Op::GlobalAvgPool | Op::Linear(_) => {
                return Err(self.wrong_rank(id, Some(&Value::Map(x))));
            }
        })
    }
}
