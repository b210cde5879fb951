//! VGG with batch normalisation for CIFAR, mdistiller's layout: five blocks, the first three closed by max pooling.
//!
//! Taps follow the reference's numbering of features: `stem` is block 0 and `stage1..4` are blocks 1 to 4, each after
//! its last ReLU and before pooling; `stem.pre` and `stageK.pre` are before that ReLU.
use super::Build;
use crate::builder::{ConvArgs, GraphBuilder};
use crate::graph::{Graph, Init};

const WIDTHS: [usize; 5] = [64, 128, 256, 512, 512];

/// Convolutions per block.
pub(super) fn build(b: Build<'_>, depths: [usize; 5]) -> Graph {
    let (mut g, mut x) = GraphBuilder::new(b.in_channels, Init::FanOut, Init::Normal(0.01));
    for (block, (depth, width)) in depths.into_iter().zip(WIDTHS).enumerate() {
        // The third pooling comes in front of block 3; block 4 works at the same size as block 3.
        if (1..=3).contains(&block) {
            x = g.max_pool(x, 2, 2, 0);
        }
        let tap = if block == 0 { "stem".to_string() } else { format!("stage{block}") };
        for i in 0..depth {
            let (conv, bn) = (format!("block{block}.{}", 3 * i), format!("block{block}.{}", 3 * i + 1));
            let pre = g.conv_bn(&conv, &bn, x, ConvArgs::new(width, 3).bias());
            x = g.relu(pre);
            if i + 1 == depth {
                g.tap_pre(&tap, pre);
            }
        }
        g.tap(&tap, x);
    }
    g.classify(b.network, x, "classifier", b.classes)
}
