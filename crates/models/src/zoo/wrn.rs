//! Wide residual networks for CIFAR (Zagoruyko and Komodakis 2016): pre-activation blocks, depth `6 n + 4`.
//!
//! Taps: `stem` is the first convolution's output and `stage1..3` are raw block outputs, before any activation;
//! `stageK.pre` is the batch normalisation that follows (of the next stage's first block, or the last one) applied to
//! them. The reference code computes that normalisation a second time for its tap, which in training updates its
//! running statistics twice; here it is the same operation, run once.
use super::Build;
use crate::builder::{ConvArgs, GraphBuilder};
use crate::graph::{Graph, Init, NodeId};

/// Depth and widening factor.
pub(super) fn build(b: Build<'_>, depth: usize, widen: usize) -> Graph {
    let (mut g, input) = GraphBuilder::new(b.in_channels, Init::FanOut, Init::UniformZeroBias);
    let mut x = g.conv("conv1", input, ConvArgs::new(16, 3));
    g.tap("stem", x);
    for stage in 1..=3 {
        let width = (16 << (stage - 1)) * widen;
        for block in 0..(depth - 4) / 6 {
            let name = format!("block{stage}.layer.{block}");
            let normal = g.bn(&format!("{name}.bn1"), x);
            if block == 0 && stage > 1 {
                close_stage(&mut g, stage - 1, x, normal);
            }
            let stride = if block == 0 && stage > 1 { 2 } else { 1 };
            x = pre_activation_block(&mut g, &name, x, normal, width, stride);
        }
    }
    let normal = g.bn("bn1", x);
    close_stage(&mut g, 3, x, normal);
    let active = g.relu(normal);
    g.classify(b.network, active, "fc", b.classes)
}

fn close_stage(g: &mut GraphBuilder, stage: usize, raw: NodeId, normal: NodeId) {
    g.tap_pre(&format!("stage{stage}"), normal);
    g.tap(&format!("stage{stage}"), raw);
}

/// A block from its input and its first normalisation; a projection takes the activated input.
fn pre_activation_block(
    g: &mut GraphBuilder,
    name: &str,
    x: NodeId,
    normal: NodeId,
    width: usize,
    stride: usize,
) -> NodeId {
    let key = |part: &str| format!("{name}.{part}");
    let active = g.relu(normal);
    let y = g.conv_bn_relu(&key("conv1"), &key("bn2"), active, ConvArgs::new(width, 3).stride(stride));
    let y = g.conv(&key("conv2"), y, ConvArgs::new(width, 3));
    let side = if g.channels(x) == width {
        x
    } else {
        g.conv(&key("convShortcut"), active, ConvArgs::new(width, 1).stride(stride))
    };
    g.add(side, y)
}
