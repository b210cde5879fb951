//! Shapes of every operation and the multiply-adds, without running anything.
use crate::ModelError;
use crate::graph::{Graph, LayerKind, Node, Op};
use crate::tap::{TapInfo, TapShape};

/// Output length of a sliding window; `None` when no window fits.
///
/// `floor((n + 2 p - d (k - 1) - 1) / s) + 1`
fn slide(n: usize, kernel: usize, stride: usize, padding: usize, dilation: usize) -> Option<usize> {
    (n + 2 * padding).checked_sub(dilation * (kernel - 1) + 1).map(|room| room / stride + 1)
}

/// Why a shape could not be found.
enum Misfit {
    /// Nothing is left of the map.
    Empty,
    /// The operation does not take such a shape.
    Rank(TapShape),
}

impl Graph {
    /// Shape of every node for one image of `height` x `width`.
    pub fn shapes(&self, height: usize, width: usize) -> Result<Vec<TapShape>, ModelError> {
        let mut shapes: Vec<TapShape> = Vec::with_capacity(self.nodes.len());
        for node in &self.nodes {
            let shape = self.shape_of(node, &shapes, height, width).map_err(|misfit| match misfit {
                Misfit::Rank(shape) => {
                    ModelError::WrongRank { network: self.network.clone(), node: node.name.clone(), shape }
                }
                Misfit::Empty => ModelError::InputTooSmall {
                    network: self.network.clone(),
                    height,
                    width,
                    node: node.name.clone(),
                    smallest: self.smallest_input(),
                },
            })?;
            shapes.push(shape);
        }
        Ok(shapes)
    }

    /// Side of the smallest square input that leaves something everywhere.
    fn smallest_input(&self) -> usize {
        let fits = |side: usize| {
            let mut shapes = vec![];
            self.nodes.iter().all(|node| match self.shape_of(node, &shapes, side, side) {
                Ok(shape) => {
                    shapes.push(shape);
                    true
                }
                Err(_) => false,
            })
        };
        (1..4096).find(|side| fits(*side)).unwrap_or(4096)
    }

    fn shape_of(&self, node: &Node, known: &[TapShape], height: usize, width: usize) -> Result<TapShape, Misfit> {
        let input = node.inputs.first().map(|i| known[*i]);
        let map = |input: Option<TapShape>| match input {
            Some(TapShape::Map { channels, height, width }) => Ok((channels, height, width)),
            Some(other) => Err(Misfit::Rank(other)),
            None => Ok((self.in_channels, height, width)),
        };
        let window = |(h, w): (usize, usize), k, s, p, d| match (slide(h, k, s, p, d), slide(w, k, s, p, d)) {
            (Some(height), Some(width)) => Ok((height, width)),
            _ => Err(Misfit::Empty),
        };
        let (channels, h, w) = match (&node.op, input) {
            (Op::Linear(layer), Some(TapShape::Vector { .. })) => {
                let LayerKind::Linear { outputs, .. } = self.layers[*layer].kind else { return Err(Misfit::Empty) };
                return Ok(TapShape::Vector { channels: outputs });
            }
            (Op::Relu | Op::Relu6 | Op::Add, Some(shape)) => return Ok(shape),
            _ => map(input)?,
        };
        if h == 0 || w == 0 {
            return Err(Misfit::Empty);
        }
        let (channels, (height, width)) = match &node.op {
            Op::Input | Op::Relu | Op::Relu6 | Op::Add | Op::Shuffle { .. } | Op::BatchNorm(_) => (channels, (h, w)),
            Op::Conv(layer) => {
                let LayerKind::Conv(c) = &self.layers[*layer].kind else { return Err(Misfit::Empty) };
                (c.out_channels, window((h, w), c.kernel, c.stride, c.padding, c.dilation)?)
            }
            Op::MaxPool(p) | Op::AvgPool(p) => (channels, window((h, w), p.kernel, p.stride, p.padding, 1)?),
            Op::GlobalAvgPool => return Ok(TapShape::Vector { channels }),
            Op::Concat => (node.inputs.iter().map(|i| known[*i].channels()).sum(), (h, w)),
            Op::Channels { len, .. } => (*len, (h, w)),
            Op::SubsamplePad { stride, front, back } => {
                (channels + front + back, (h.div_ceil(*stride), w.div_ceil(*stride)))
            }
            Op::Linear(_) => return Err(Misfit::Rank(TapShape::Map { channels, height: h, width: w })),
        };
        Ok(TapShape::Map { channels, height, width })
    }

    /// Taps with their shapes.
    pub fn tap_infos(&self, height: usize, width: usize) -> Result<Vec<TapInfo>, ModelError> {
        let shapes = self.shapes(height, width)?;
        let info = |tap: &crate::graph::Tap| {
            let shape = shapes[tap.node];
            let stride = height.div_ceil(shape.extent().0);
            TapInfo { name: tap.name.clone(), shape, stride, kind: tap.kind }
        };
        Ok(self.taps.iter().map(info).collect())
    }

    /// Multiply-adds of one image: convolutions and fully connected layers; biases, normalisation, activations and
    /// pooling count nothing (half of what PyTorch's FlopCounterMode reports).
    pub fn macs(&self, height: usize, width: usize) -> Result<u64, ModelError> {
        let shapes = self.shapes(height, width)?;
        let cost = |(node, shape): (&Node, &TapShape)| match &node.op {
            Op::Conv(layer) | Op::Linear(layer) => {
                let (h, w) = shape.extent();
                let weights: usize = match &self.layers[*layer].kind {
                    LayerKind::Conv(c) => c.weight_shape().iter().product(),
                    LayerKind::Linear { inputs, outputs, .. } => inputs * outputs,
                    LayerKind::BatchNorm { .. } => 0,
                };
                (h * w) as u64 * weights as u64
            }
            _ => 0,
        };
        Ok(self.nodes.iter().zip(&shapes).map(cost).sum())
    }
}
