//! ShuffleNet V1 (Zhang et al. 2018, 3 groups) and V2 (Ma et al. 2018, x1) for CIFAR, mdistiller's layout.
//!
//! Taps: `stem` after the first ReLU; `stage1..3` are stage outputs (V2: after the channel shuffle); `stageK.pre` is
//! before the last ReLU (V2: the untouched half and the processed half before its ReLU, not shuffled).
use super::Build;
use crate::builder::{ConvArgs, GraphBuilder};
use crate::graph::{Graph, Init, NodeId};

const UNITS: [usize; 3] = [4, 8, 4];
const GROUPS: usize = 3;

/// ShuffleNet V1.
pub(super) fn build_v1(b: Build<'_>) -> Graph {
    let (mut g, input) = GraphBuilder::new(b.in_channels, Init::Uniform, Init::Uniform);
    let mut x = g.conv_bn_relu("conv1", "bn1", input, ConvArgs::new(24, 1));
    g.tap("stem", x);
    for (i, (units, width)) in UNITS.into_iter().zip([240, 480, 960]).enumerate() {
        let mut pre = x;
        for unit in 0..units {
            pre = unit_v1(&mut g, &format!("layer{}.{unit}", i + 1), x, width, unit == 0);
            x = g.relu(pre);
        }
        g.tap_pre(&format!("stage{}", i + 1), pre);
        g.tap(&format!("stage{}", i + 1), x);
    }
    g.classify(b.network, x, "linear", b.classes)
}

/// A unit up to its last ReLU. The first unit of a stage halves the map and concatenates the pooled input, so its
/// own branch has only the channels that the input leaves.
fn unit_v1(g: &mut GraphBuilder, name: &str, x: NodeId, width: usize, down: bool) -> NodeId {
    let key = |part: &str| format!("{name}.{part}");
    let (stride, out) = if down { (2, width - g.channels(x)) } else { (1, width) };
    let middle = out / 4;
    // The 24 channels of the stem are too few to group.
    let groups = if g.channels(x) == 24 { 1 } else { GROUPS };
    let y = g.conv_bn_relu(&key("conv1"), &key("bn1"), x, ConvArgs::new(middle, 1).groups(groups));
    let y = g.shuffle(y, groups);
    let y = g.conv_bn_relu(&key("conv2"), &key("bn2"), y, ConvArgs::new(middle, 3).stride(stride).groups(middle));
    let y = g.conv_bn(&key("conv3"), &key("bn3"), y, ConvArgs::new(out, 1).groups(GROUPS));
    if down {
        let pooled = g.avg_pool(x, 3, 2, 1);
        g.concat(&[y, pooled])
    } else {
        g.add(y, x)
    }
}

/// ShuffleNet V2.
pub(super) fn build_v2(b: Build<'_>) -> Graph {
    let (mut g, input) = GraphBuilder::new(b.in_channels, Init::Uniform, Init::Uniform);
    let mut x = g.conv_bn_relu("conv1", "bn1", input, ConvArgs::new(24, 1));
    g.tap("stem", x);
    for (i, (units, width)) in UNITS.into_iter().zip([116, 232, 464]).enumerate() {
        let stage = i + 1;
        x = down_v2(&mut g, &format!("layer{stage}.0"), x, width);
        let mut pre = x;
        for unit in 1..units {
            (x, pre) = basic_v2(&mut g, &format!("layer{stage}.{unit}"), x);
        }
        g.tap_pre(&format!("stage{stage}"), pre);
        g.tap(&format!("stage{stage}"), x);
    }
    let x = g.conv_bn_relu("conv2", "bn2", x, ConvArgs::new(1024, 1));
    g.classify(b.network, x, "linear", b.classes)
}

fn down_v2(g: &mut GraphBuilder, name: &str, x: NodeId, width: usize) -> NodeId {
    let conv = |i: usize| format!("{name}.conv{i}");
    let bn = |i: usize| format!("{name}.bn{i}");
    let (inputs, half) = (g.channels(x), width / 2);
    let left = g.conv_bn(&conv(1), &bn(1), x, ConvArgs::new(inputs, 3).stride(2).groups(inputs));
    let left = g.conv_bn_relu(&conv(2), &bn(2), left, ConvArgs::new(half, 1));
    let right = g.conv_bn_relu(&conv(3), &bn(3), x, ConvArgs::new(half, 1));
    let right = g.conv_bn(&conv(4), &bn(4), right, ConvArgs::new(half, 3).stride(2).groups(half));
    let right = g.conv_bn_relu(&conv(5), &bn(5), right, ConvArgs::new(half, 1));
    let both = g.concat(&[left, right]);
    g.shuffle(both, 2)
}

/// Output and the value before the activation.
fn basic_v2(g: &mut GraphBuilder, name: &str, x: NodeId) -> (NodeId, NodeId) {
    let conv = |i: usize| format!("{name}.conv{i}");
    let bn = |i: usize| format!("{name}.bn{i}");
    let half = g.channels(x) / 2;
    let kept = g.slice(x, 0, half);
    let y = g.slice(x, half, half);
    let y = g.conv_bn_relu(&conv(1), &bn(1), y, ConvArgs::new(half, 1));
    let y = g.conv_bn(&conv(2), &bn(2), y, ConvArgs::new(half, 3).groups(half));
    let pre = g.conv_bn(&conv(3), &bn(3), y, ConvArgs::new(half, 1));
    let y = g.relu(pre);
    let both = g.concat(&[kept, y]);
    let out = g.shuffle(both, 2);
    (out, g.concat(&[kept, pre]))
}
