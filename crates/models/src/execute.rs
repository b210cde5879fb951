//! The forward pass: runs the steps that the wanted taps need and drops each value at its last use.
//!
//! Inside, maps are channels last (`[N, H, W, C]`): the image is turned once at the start, a tap once at the end.
use std::collections::BTreeMap;

use burn::prelude::*;
use subband_kernels::activation::{Activation, gelu};
use subband_kernels::attention::self_attention;
use subband_kernels::layout::channels_last;
use subband_kernels::resize::resize;
use subband_kernels::{batch_norm, pool};

use crate::fuse::{Plan, Step};
use crate::graph::{LayerKind, NodeId, Op};
use crate::hook::{Hooks, Replace};
use crate::layers::{Layer, Linear, Mode, plain};
use crate::lora::Noise;
use crate::nearest;
use crate::tap::{Features, TapShape};
use crate::value::{Tokens, Value};
use crate::{ModelError, Network};

/// Side of an image of which every network keeps more than one pixel, but where it averages them.
const LARGE: usize = 4096;

/// What all operations of a forward pass share.
#[derive(Clone, Copy)]
pub(crate) struct Pass<'a> {
    pub mode: Mode,
    pub noise: Option<&'a Noise>,
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
    /// tap need do not run, and neighbouring operations run as one where no wanted tap lies between them.
    ///
    /// # Errors
    /// An unknown tap, another number of channels or another size than the network takes, an input too small for its
    /// strides, training of a folded network or with one value per channel.
    pub fn forward(&self, x: Tensor<4>, mode: Mode, want: &[String]) -> Result<Features, ModelError> {
        self.forward_with(x, mode, want, None)
    }

    /// [`Network::forward`] with the randomness that a training pass of a network with dropout needs: one number of
    /// `noise.samples` for each image.
    ///
    /// # Errors
    /// As [`Network::forward`]; no noise, or that of another batch, where dropout needs it.
    pub fn forward_with(
        &self,
        x: Tensor<4>,
        mode: Mode,
        want: &[String],
        noise: Option<&Noise>,
    ) -> Result<Features, ModelError> {
        self.pass(x, mode, want, noise, Hooks { taps: &[], replace: &mut |_, x| Ok(x) })
    }

    /// [`Network::forward`] in which the values at the taps `hooked` are replaced, by what `replace` makes of them,
    /// before anything behind them runs. A tap in `want` that is also hooked gives the new value.
    ///
    /// `replace` gets the tap's name and its value as `[N, C, H, W]` (a vector is a 1x1 map, tokens lie on their grid;
    /// class tokens are not shown and stay) and returns a map of that shape. The result is differentiable in what the
    /// hook returns; for gradients with respect to a hook's own parameters inside a network that does not learn, run
    /// [`Network::constant`].
    ///
    /// # Errors
    /// As [`Network::forward`]; the hook's own error; another shape than the tap's; a value with autodiff in a network
    /// without.
    pub fn forward_hooked(
        &self,
        x: Tensor<4>,
        mode: Mode,
        want: &[String],
        hooked: &[String],
        replace: &mut Replace<'_>,
    ) -> Result<Features, ModelError> {
        self.pass(x, mode, want, None, Hooks { taps: hooked, replace })
    }

    fn pass(
        &self,
        x: Tensor<4>,
        mode: Mode,
        want: &[String],
        noise: Option<&Noise>,
        hooks: Hooks<'_, '_>,
    ) -> Result<Features, ModelError> {
        let [images, channels, height, width] = x.dims();
        self.check_input(channels, height, width, mode)?;
        let noise = noise.filter(|noise| noise.samples.len() == images);
        let x = if self.is_autodiff() { x.autodiff() } else { x.without_autodiff() };
        self.pass_from(0, Value::Map(channels_last(x)), Pass { mode, noise }, want, hooks)
    }

    /// Runs what lies behind the node `given`, of which this is the value.
    pub(crate) fn pass_from(
        &self,
        given: NodeId,
        value: Value,
        pass: Pass<'_>,
        want: &[String],
        mut hooks: Hooks<'_, '_>,
    ) -> Result<Features, ModelError> {
        let graph = self.graph();
        let find = |names: &[String]| names.iter().map(|name| self.tap_node(name)).collect::<Result<Vec<_>, _>>();
        let (nodes, hooked) = (find(want)?, find(hooks.taps)?);
        // A wanted value ends a fused step, and so does one that is replaced.
        let wanted: Vec<NodeId> = nodes.iter().chain(&hooked).copied().chain([graph.logits]).collect();
        let Plan { steps, reads } = Plan::new(graph, &wanted, given);
        if let Some(node) = crate::resume::bypass(graph, given, &steps, &wanted) {
            return Err(self.bypassed(given, node));
        }
        let mut values = Values { slots: vec![None; graph.nodes.len()], reads };
        values.slots[given] = Some(value);
        for step in &steps {
            let inputs = step.inputs(graph).filter_map(|input| values.take(input)).collect();
            values.slots[step.result] = Some(self.run(step, inputs, pass)?);
            for place in (0..hooked.len()).filter(|place| hooked[*place] == step.result) {
                if let Some(value) = values.take(step.result) {
                    let value = hooks.apply(&graph.network, &hooks.taps[place], value)?;
                    values.slots[step.result] = Some(value);
                }
            }
        }
        let mut taps = BTreeMap::new();
        for (name, node) in want.iter().zip(nodes) {
            if let Some(value) = values.take(node) {
                taps.insert(name.clone(), value.into_feature());
            }
        }
        match values.take(graph.logits) {
            Some(logits @ (Value::Vector(_) | Value::Map(_))) => Ok(Features { logits: logits.into_feature(), taps }),
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

    pub(crate) fn tap_node(&self, name: &str) -> Result<NodeId, ModelError> {
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

    /// One step on its inputs.
    fn run(&self, step: &Step, inputs: Vec<Value>, pass: Pass<'_>) -> Result<Value, ModelError> {
        let op = &self.graph().nodes[step.node].op;
        let mut inputs = inputs.into_iter();
        Ok(match (op, inputs.next(), inputs.next()) {
            (Op::Concat, Some(Value::Map(first)), second) => {
                let mut maps = vec![first];
                for value in second.into_iter().chain(inputs) {
                    match value {
                        Value::Map(x) => maps.push(x),
                        other => return Err(self.wrong_rank(step.node, Some(&other))),
                    }
                }
                Value::Map(Tensor::cat(maps, 3))
            }
            (Op::ResizeTo, Some(Value::Map(x)), Some(Value::Map(like))) => {
                let [_, height, width, _] = like.dims();
                Value::Map(resize(x, [height, width]))
            }
            (Op::Add, Some(Value::Map(a)), Some(Value::Map(b))) => Value::Map(batch_norm::add(a, b, step.activation)),
            (Op::BatchNorm(index), Some(Value::Map(x)), residual) => {
                let residual = match residual {
                    Some(Value::Map(r)) => Some(r),
                    None => None,
                    other => return Err(self.wrong_rank(step.result, other.as_ref())),
                };
                Value::Map(self.normalise(step, *index, x, residual, pass.mode)?)
            }
            (Op::Add, Some(Value::Tokens(a)), Some(Value::Tokens(b))) => {
                Value::Tokens(a.map(|a| step.activation.apply(a + b.values)))
            }
            (Op::Mean, Some(Value::Vector(a)), Some(Value::Vector(b))) => Value::Vector((a + b) * 0.5),
            (Op::Tokens, Some(Value::Map(x)), None) => Value::Tokens(Tokens::from_map(x)),
            (Op::Token(index), Some(Value::Tokens(x)), None) => Value::Vector(x.token(*index)),
            (op, Some(Value::Tokens(x)), None) => Value::Tokens(self.run_tokens(step, op, x, pass)?),
            (Op::GlobalAvgPool, Some(Value::Map(x)), None) => Value::Vector(pool::global_avg_pool(x)),
            (op, Some(Value::Map(x)), None) => Value::Map(self.run_map(step, op, x, pass)?),
            (Op::Relu, Some(Value::Vector(x)), None) => Value::Vector(Activation::Relu.apply(x)),
            (Op::Relu6, Some(Value::Vector(x)), None) => Value::Vector(Activation::Relu6.apply(x)),
            (Op::Linear(index), Some(Value::Vector(x)), None) => match self.layer(*index) {
                Layer::Linear(layer) => Value::Vector(self.linear(*index, layer, x, pass)?),
                _ => return Err(self.wrong_rank(step.node, Some(&Value::Vector(x)))),
            },
            (_, first, _) => return Err(self.wrong_rank(step.node, first.as_ref())),
        })
    }

    /// A batch normalisation, with the sum and the activation that it takes along.
    fn normalise(
        &self,
        step: &Step,
        index: usize,
        x: Tensor<4>,
        residual: Option<Tensor<4>>,
        mode: Mode,
    ) -> Result<Tensor<4>, ModelError> {
        let Layer::BatchNorm(layer) = self.layer(index) else {
            return Err(self.wrong_rank(step.node, Some(&Value::Map(x))));
        };
        // A frozen normalisation keeps its statistics too: it is the same function in every step.
        let mode = if self.is_frozen_layer(index) { Mode::Eval } else { mode };
        let single = |_| {
            // The bins of a pyramid stay one pixel whatever the image.
            let shape = self.graph().shapes(LARGE, LARGE).map(|shapes| shapes[step.node]);
            let larger = shape.is_ok_and(|shape| shape.extent() != (1, 1));
            ModelError::SingleValueStatistics { layer: self.graph().layers[index].name.clone(), larger }
        };
        layer.forward(x, residual, mode, step.activation).map_err(single)
    }

    /// An operation from one map to one map.
    fn run_map(&self, step: &Step, op: &Op, x: Tensor<4>, pass: Pass<'_>) -> Result<Tensor<4>, ModelError> {
        Ok(match op {
            Op::Conv(index) => match (self.layer(*index), &self.graph().layers[*index].kind) {
                (Layer::Conv(layer), LayerKind::Conv(conv)) => layer.forward(conv, x, step.activation),
                _ => return Err(self.wrong_rank(step.node, Some(&Value::Map(x)))),
            },
            Op::Relu => Activation::Relu.apply(x),
            Op::Relu6 => Activation::Relu6.apply(x),
            Op::Gelu => gelu(x),
            Op::MaxPool(window) => pool::max_pool(x, *window),
            Op::AvgPool(window) => pool::avg_pool(x, *window),
            Op::AdaptiveAvgPool { bins } => pool::adaptive_avg_pool(x, [*bins; 2]),
            Op::DropChannels { rate } => self.drop_channels(step.node, x, *rate, pass)?,
            Op::Shuffle { groups } => plain::shuffle(x, *groups),
            Op::Channels { start, len } => x.narrow(3, *start, *len),
            Op::SubsamplePad { stride, front, back } => plain::subsample_pad(x, *stride, *front, *back),
            _ => return Err(self.wrong_rank(step.node, Some(&Value::Map(x)))),
        })
    }

    /// Whole channels of each image dropped, in training.
    fn drop_channels(&self, node: NodeId, x: Tensor<4>, rate: f64, pass: Pass<'_>) -> Result<Tensor<4>, ModelError> {
        if rate == 0.0 || pass.mode == Mode::Eval {
            return Ok(x);
        }
        let Some(noise) = pass.noise else { return Err(ModelError::NoNoise { network: self.name().into() }) };
        let [n, _, _, c] = x.dims();
        let keep = noise.keep(&self.graph().nodes[node].name, rate, [1, c], (&x.device(), x.dtype()));
        Ok(x * keep.reshape([n, 1, 1, c]))
    }

    /// A fully connected layer on rows, those of each image one after another.
    fn linear(&self, index: usize, layer: &Linear, x: Tensor<2>, pass: Pass<'_>) -> Result<Tensor<2>, ModelError> {
        let spec = &self.graph().layers[index];
        let LayerKind::Linear { lora: Some(lora), .. } = spec.kind else { return Ok(layer.forward(x, 1.0, None)) };
        if lora.dropout == 0.0 || pass.mode == Mode::Eval {
            return Ok(layer.forward(x, lora.scale, None));
        }
        let Some(noise) = pass.noise else { return Err(ModelError::NoNoise { network: self.name().into() }) };
        let [rows, channels] = x.dims();
        let each = rows / noise.samples.len().max(1);
        let keep = noise.keep(&spec.name, lora.dropout, [each, channels], (&x.device(), x.dtype()));
        Ok(layer.forward(x, lora.scale, Some(keep)))
    }

    /// An operation from tokens to tokens.
    fn run_tokens(&self, step: &Step, op: &Op, x: Tokens, pass: Pass<'_>) -> Result<Tokens, ModelError> {
        Ok(match (op, op.layer().map(|index| self.layer(index))) {
            (Op::Linear(index), Some(Layer::Linear(layer))) => x.try_rows(|x| self.linear(*index, layer, x, pass))?,
            (Op::LayerNorm(_), Some(Layer::LayerNorm(layer))) => x.rows(|x| layer.forward(x)),
            (Op::Embed(_), Some(Layer::Embedding(layer))) => layer.forward(x),
            (Op::Attention { heads }, None) => x.map(|qkv| self_attention(qkv, *heads)),
            (Op::Gelu, None) => x.map(gelu),
            (Op::Relu, None) => x.map(|x| Activation::Relu.apply(x)),
            (Op::Relu6, None) => x.map(|x| Activation::Relu6.apply(x)),
            _ => return Err(self.wrong_rank(step.node, Some(&Value::Tokens(x)))),
        })
    }
}
