//! A network as data: operations, the layers whose parameters they use, and taps.
use subband_kernels::pool::Window;

use crate::tap::TapKind;

/// Index of an operation in [`Graph::nodes`]; inputs always come before their consumers.
pub(crate) type NodeId = usize;

/// One kind of operation. Layers are indices into [`Graph::layers`].
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Op {
    /// The image.
    Input,
    /// Convolution with a layer's weights.
    Conv(usize),
    /// Batch normalisation with a layer's weights and running statistics.
    BatchNorm(usize),
    /// Fully connected layer on a vector.
    Linear(usize),
    /// `max(x, 0)`.
    Relu,
    /// `min(max(x, 0), 6)`.
    Relu6,
    /// Sum of two values of one shape.
    Add,
    /// Maximum over windows.
    MaxPool(Window),
    /// Mean over windows; padded zeros count, as in PyTorch's default.
    AvgPool(Window),
    /// Mean over the whole map: `[N, C, H, W]` to `[N, C]`.
    GlobalAvgPool,
    /// Concatenation along the channels.
    Concat,
    /// ShuffleNet's interleaving of `groups` groups of channels.
    Shuffle {
        /// Number of groups.
        groups: usize,
    },
    /// Channels `start..start + len`.
    Channels {
        /// First channel.
        start: usize,
        /// Number of channels.
        len: usize,
    },
    /// Every `stride`-th pixel, with zero channels put in front and behind: the parameter-free "option A" shortcut
    /// of He et al. 2016, section 4.2.
    SubsamplePad {
        /// Pixel step.
        stride: usize,
        /// Zero channels in front.
        front: usize,
        /// Zero channels behind.
        back: usize,
    },
}

/// An operation with its inputs.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    /// The layer's PyTorch name, or what the operation does and a running number.
    pub name: String,
    pub op: Op,
    pub inputs: Vec<NodeId>,
}

/// A named place where a feature can be read.
#[derive(Debug, Clone)]
pub(crate) struct Tap {
    pub name: String,
    pub node: NodeId,
    pub kind: TapKind,
}

/// Settings of a convolution; square kernels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Conv {
    pub in_channels: usize,
    pub out_channels: usize,
    pub kernel: usize,
    pub stride: usize,
    pub padding: usize,
    pub dilation: usize,
    pub groups: usize,
    pub bias: bool,
    pub init: Init,
}

/// How a weight is drawn, in PyTorch's terms. `fan_in` counts the inputs of one output value, `fan_out` is
/// `out_channels * kernel^2`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Init {
    /// Kaiming normal, `fan_out`: standard deviation `sqrt(2 / fan_out)`. Biases are zero.
    FanOut,
    /// Kaiming normal, `fan_in`. Biases as in [`Init::Uniform`].
    FanIn,
    /// PyTorch's default: weight and bias uniform in `+-1 / sqrt(fan_in)`.
    Uniform,
    /// As [`Init::Uniform`] with a zero bias.
    UniformZeroBias,
    /// Normal with this standard deviation, zero bias.
    Normal(f64),
}

/// A layer with parameters: its PyTorch name and its settings.
#[derive(Debug, Clone)]
pub(crate) struct LayerSpec {
    pub name: String,
    pub kind: LayerKind,
}

/// What a layer is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum LayerKind {
    Conv(Conv),
    BatchNorm { channels: usize },
    Linear { inputs: usize, outputs: usize, init: Init },
}

impl LayerSpec {
    /// The parameters (not the running statistics): suffix and shape.
    pub fn params(&self) -> Vec<(&'static str, Vec<usize>)> {
        match &self.kind {
            LayerKind::Conv(c) => {
                let mut list = vec![("weight", c.weight_shape().to_vec())];
                if c.bias {
                    list.push(("bias", vec![c.out_channels]));
                }
                list
            }
            LayerKind::BatchNorm { channels } => vec![("weight", vec![*channels]), ("bias", vec![*channels])],
            LayerKind::Linear { inputs, outputs, .. } => {
                vec![("weight", vec![*outputs, *inputs]), ("bias", vec![*outputs])]
            }
        }
    }

    /// All entries of the state dict: suffix and shape. `num_batches_tracked` is a scalar.
    pub fn entries(&self) -> Vec<(&'static str, Vec<usize>)> {
        let mut list = self.params();
        if let LayerKind::BatchNorm { channels } = self.kind {
            list.push(("running_mean", vec![channels]));
            list.push(("running_var", vec![channels]));
            list.push(("num_batches_tracked", vec![]));
        }
        list
    }
}

impl Conv {
    /// `[out, in / groups, k, k]`.
    pub fn weight_shape(&self) -> [usize; 4] {
        [self.out_channels, self.in_channels / self.groups, self.kernel, self.kernel]
    }
}

/// A network as data.
#[derive(Debug, Clone)]
pub(crate) struct Graph {
    pub network: String,
    pub in_channels: usize,
    pub classes: usize,
    pub layers: Vec<LayerSpec>,
    pub nodes: Vec<Node>,
    pub taps: Vec<Tap>,
    pub logits: NodeId,
    /// Whether batch normalisations were folded into convolutions (such a graph cannot train).
    pub folded: bool,
}

impl Graph {
    /// Names and shapes of the whole state dict.
    pub fn entries(&self) -> impl Iterator<Item = (String, Vec<usize>)> + '_ {
        self.layers.iter().flat_map(|l| l.entries().into_iter().map(|(s, shape)| (format!("{}.{s}", l.name), shape)))
    }

    /// Names and shapes of the parameters.
    pub fn params(&self) -> impl Iterator<Item = (String, Vec<usize>)> + '_ {
        self.layers.iter().flat_map(|l| l.params().into_iter().map(|(s, shape)| (format!("{}.{s}", l.name), shape)))
    }

    /// How many operations read each node.
    pub fn uses(&self) -> Vec<usize> {
        let mut uses = vec![0; self.nodes.len()];
        for input in self.nodes.iter().flat_map(|n| &n.inputs) {
            uses[*input] += 1;
        }
        uses
    }
}
