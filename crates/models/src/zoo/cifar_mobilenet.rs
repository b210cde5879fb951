//! MobileNetV2 of half width for CIFAR ("mobile_half" of mdistiller): plain ReLU, expansion everywhere.
//!
//! Taps: `stem` after the first ReLU; `stage1..4` are the outputs of block groups 1, 2, 4 and 6. These end in a linear
//! bottleneck, so there is no tap before an activation.
use super::Build;
use crate::builder::{ConvArgs, GraphBuilder};
use crate::graph::{Graph, Init, NodeId};

/// Expansion, output channels at full width, blocks, first stride.
const GROUPS: [(usize, usize, usize, usize); 7] =
    [(1, 16, 1, 1), (6, 24, 2, 1), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)];

/// The network.
pub(super) fn build(b: Build<'_>) -> Graph {
    let (mut g, input) = GraphBuilder::new(b.in_channels, Init::FanOut, Init::Normal(0.01));
    let mut x = g.conv_bn_relu("conv1.0", "conv1.1", input, ConvArgs::new(16, 3).stride(2));
    g.tap("stem", x);
    for (group, (expansion, width, blocks, stride)) in GROUPS.into_iter().enumerate() {
        for block in 0..blocks {
            let stride = if block == 0 { stride } else { 1 };
            x = inverted_residual(&mut g, &format!("blocks.{group}.{block}.conv"), x, expansion, width / 2, stride);
        }
        if let Some(stage) = [1, 2, 4, 6].iter().position(|tapped| *tapped == group) {
            g.tap(&format!("stage{}", stage + 1), x);
        }
    }
    let x = g.conv_bn_relu("conv2.0", "conv2.1", x, ConvArgs::new(1280, 1));
    g.classify(b.network, x, "classifier.0", b.classes)
}

fn inverted_residual(
    g: &mut GraphBuilder,
    name: &str,
    x: NodeId,
    expansion: usize,
    out: usize,
    stride: usize,
) -> NodeId {
    let key = |i: usize| format!("{name}.{i}");
    let hidden = g.channels(x) * expansion;
    let y = g.conv_bn_relu(&key(0), &key(1), x, ConvArgs::new(hidden, 1));
    let y = g.conv_bn_relu(&key(3), &key(4), y, ConvArgs::new(hidden, 3).stride(stride).groups(hidden));
    let y = g.conv_bn(&key(6), &key(7), y, ConvArgs::new(out, 1));
    if stride == 1 && g.channels(x) == out { g.add(x, y) } else { y }
}
