//! Folding batch normalisations into the convolutions in front of them, for evaluation.
//!
//! In evaluation a batch normalisation is `a (conv(x) + bias) + c` per channel with constant `a` and `c`, which is a
//! convolution with the weight `a W` and the bias `a bias + c`.
use burn::module::Param;
use burn::prelude::*;

use crate::Network;
use crate::graph::{Graph, LayerKind, LayerSpec, NodeId, Op};
use crate::layers::{BatchNorm2d, Conv2d, Layer, param_id};

impl Network {
    /// The same function with every foldable batch normalisation absorbed by its convolution; evaluation only.
    ///
    /// A normalisation is foldable when it is the only reader of a convolution whose own output is not a tap named
    /// in `keep`. Taps on outputs that no longer exist are dropped; all others keep their values. Normalisations
    /// that follow something else (pre-activation networks) stay as they are.
    ///
    /// The result is for inference: it lies on the device without autodiff and its parameters are not trained.
    pub fn fold_batch_norm(&self, keep: &[String]) -> Network {
        let source = self.graph();
        let pairs = foldable(source, keep);
        let mut graph = Graph { layers: vec![], nodes: vec![], taps: vec![], folded: true, ..source.clone() };
        let (mut layers, mut place) = (vec![], vec![None; source.nodes.len()]);
        for (id, node) in source.nodes.iter().enumerate() {
            if let Some(conv) = pairs[id] {
                // The normalisation's readers now read the convolution.
                place[id] = place[conv];
                continue;
            }
            let mut node = node.clone();
            node.inputs = node.inputs.iter().filter_map(|input| place[*input]).collect();
            if let Some(index) = node.op.layer_mut() {
                let normal = pairs.iter().position(|conv| *conv == Some(id));
                let (layer, spec) = self.folded_layer(*index, normal);
                *index = layers.len();
                layers.push(layer);
                graph.layers.push(spec);
            }
            place[id] = Some(graph.nodes.len());
            graph.nodes.push(node);
        }
        let absorbed: Vec<NodeId> = pairs.iter().flatten().copied().collect();
        for tap in source.taps.iter().filter(|tap| !absorbed.contains(&tap.node)) {
            if let Some(node) = place[tap.node] {
                graph.taps.push(crate::graph::Tap { node, ..tap.clone() });
            }
        }
        graph.logits = place[source.logits].unwrap_or(0);
        Network::from_parts(layers, graph).valid().no_grad()
    }

    /// The same function on the autodiff device, with every parameter a constant: gradients pass through it, from the
    /// logits and the taps to its input and to what [`Network::forward_hooked`] puts at the taps in `keep`, and none
    /// are made for its weights. Batch normalisations are folded; evaluation only.
    pub fn constant(&self, keep: &[String]) -> Network {
        self.fold_batch_norm(keep).train()
    }

    /// A layer of the folded network; `normal` is the node of the batch normalisation that a convolution absorbs.
    fn folded_layer(&self, index: usize, normal: Option<NodeId>) -> (Layer, LayerSpec) {
        let spec = self.graph().layers[index].clone();
        let normal = normal.and_then(|node| match self.graph().nodes[node].op {
            Op::BatchNorm(layer) => Some(self.layer(layer)),
            _ => None,
        });
        match (self.layer(index), spec.kind, normal) {
            (Layer::Conv(conv), LayerKind::Conv(mut settings), Some(Layer::BatchNorm(normal))) => {
                settings.bias = true;
                let layer = Layer::Conv(absorb(&spec.name, conv, normal));
                (layer, LayerSpec { name: spec.name, kind: LayerKind::Conv(settings) })
            }
            (layer, kind, _) => (layer.clone(), LayerSpec { name: spec.name, kind }),
        }
    }
}

/// For each batch normalisation that folds, the convolution's node.
fn foldable(graph: &Graph, keep: &[String]) -> Vec<Option<NodeId>> {
    let uses = graph.uses();
    let kept = |node: NodeId| graph.taps.iter().any(|t| t.node == node && keep.contains(&t.name));
    let pair = |node: &crate::graph::Node| {
        let conv = *node.inputs.first()?;
        let follows = matches!(node.op, Op::BatchNorm(_)) && matches!(graph.nodes[conv].op, Op::Conv(_));
        (follows && uses[conv] == 1 && !kept(conv)).then_some(conv)
    };
    graph.nodes.iter().map(pair).collect()
}

fn absorb(name: &str, conv: &Conv2d, normal: &BatchNorm2d) -> Conv2d {
    let (scale, shift) = normal.affine();
    let (scale, shift) = (scale.without_autodiff(), shift.without_autodiff());
    let channels = scale.dims()[0];
    let weight = conv.weight.val().without_autodiff() * scale.clone().reshape([channels, 1, 1, 1]);
    let bias = match &conv.bias {
        Some(bias) => bias.val().without_autodiff() * scale + shift,
        None => shift,
    };
    Conv2d {
        weight: Param::initialized(conv.weight.id, weight),
        bias: Some(Param::initialized(param_id(&format!("{name}.bias")), bias)),
    }
}
