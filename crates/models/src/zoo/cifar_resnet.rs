//! CIFAR ResNets (He et al. 2016, section 4.2): three stages of basic blocks, depth `6 n + 2`.
//!
//! Two key layouts are in use. mdistiller's has projection shortcuts and the classifier `fc`; the "option A" one has
//! parameter-free shortcuts and the classifier `linear`. Taps: `stem` after the first ReLU, `stage1..3` after the last
//! ReLU of the stage, `stage1..3.pre` before it.
use super::Build;
use crate::builder::{ConvArgs, GraphBuilder};
use crate::graph::{Graph, Init, NodeId};

/// Widths of the stem and the stages.
pub(super) const THIN: [usize; 4] = [16, 16, 32, 64];
/// Widths of the `x4` networks; their first stage changes the width too.
pub(super) const WIDE: [usize; 4] = [32, 64, 128, 256];

/// mdistiller's networks.
pub(super) fn build(b: Build<'_>, depth: usize, widths: [usize; 4]) -> Graph {
    let (g, input) = GraphBuilder::new(b.in_channels, Init::FanOut, Init::Uniform);
    stages(b, g, input, depth, widths, Shortcut::Projection, "fc")
}

/// Networks with zero-padded shortcuts.
pub(super) fn build_option_a(b: Build<'_>, depth: usize) -> Graph {
    let (g, input) = GraphBuilder::new(b.in_channels, Init::FanIn, Init::FanIn);
    stages(b, g, input, depth, THIN, Shortcut::Pad, "linear")
}

/// What a block adds when its input and output differ in shape.
#[derive(Clone, Copy, PartialEq)]
enum Shortcut {
    /// 1x1 convolution and batch normalisation.
    Projection,
    /// Subsampling and zero channels.
    Pad,
}

fn stages(
    b: Build<'_>,
    mut g: GraphBuilder,
    input: NodeId,
    depth: usize,
    widths: [usize; 4],
    shortcut: Shortcut,
    classifier: &str,
) -> Graph {
    let mut x = g.conv_bn_relu("conv1", "bn1", input, ConvArgs::new(widths[0], 3));
    g.tap("stem", x);
    for (stage, width) in widths.into_iter().enumerate().skip(1) {
        let mut pre = x;
        for block in 0..(depth - 2) / 6 {
            let stride = if block == 0 && stage > 1 { 2 } else { 1 };
            pre = basic_block(&mut g, &format!("layer{stage}.{block}"), x, width, stride, shortcut);
            x = g.relu(pre);
        }
        g.tap_pre(&format!("stage{stage}"), pre);
        g.tap(&format!("stage{stage}"), x);
    }
    g.classify(b.network, x, classifier, b.classes)
}

/// The sum before the block's last ReLU.
fn basic_block(g: &mut GraphBuilder, name: &str, x: NodeId, width: usize, stride: usize, shortcut: Shortcut) -> NodeId {
    let key = |part: &str| format!("{name}.{part}");
    let y = g.conv_bn_relu(&key("conv1"), &key("bn1"), x, ConvArgs::new(width, 3).stride(stride));
    let y = g.conv_bn(&key("conv2"), &key("bn2"), y, ConvArgs::new(width, 3));
    let changes = stride != 1 || g.channels(x) != width;
    let side = match (changes, shortcut) {
        (false, _) => x,
        (true, Shortcut::Pad) => g.subsample_pad(x, stride, width),
        (true, Shortcut::Projection) => {
            g.conv_bn(&key("downsample.0"), &key("downsample.1"), x, ConvArgs::new(width, 1).stride(stride))
        }
    };
    g.add(y, side)
}
