//! Shapes to test: those of real networks, and random ones that lean towards the odd and the degenerate.
use super::super::ConvGeometry;
use subband_seed::Stream;

/// Channels around the sizes of vectors, panels, blocks and cache chunks.
const EDGES: [usize; 20] = [1, 2, 3, 4, 7, 8, 9, 15, 16, 17, 31, 32, 33, 40, 47, 48, 49, 63, 64, 65];
/// Multiply-adds of one direction, so that thousands of shapes take seconds.
const MOST: u64 = 800_000;

/// Shorthand for equal strides, paddings and dilations in both axes.
fn even(
    x: [usize; 4],
    w: [usize; 4],
    stride: usize,
    padding: usize,
    dilation: usize,
    groups: usize,
) -> Option<ConvGeometry> {
    ConvGeometry::new(x, w, [stride; 2], [padding; 2], [dilation; 2], groups)
}

/// Layers of networks, and a few shapes too large for the random ones.
pub(super) fn of_networks() -> Vec<ConvGeometry> {
    let list = [
        even([5, 3, 32, 32], [16, 3, 3, 3], 1, 1, 1, 1),
        even([4, 16, 32, 32], [16, 16, 3, 3], 1, 1, 1, 1),
        even([3, 16, 32, 32], [32, 16, 3, 3], 2, 1, 1, 1),
        even([9, 64, 8, 8], [64, 64, 3, 3], 1, 1, 1, 1),
        even([2, 3, 45, 37], [8, 3, 7, 7], 2, 3, 1, 1),
        even([3, 64, 14, 14], [32, 64, 1, 1], 1, 0, 1, 1),
        even([3, 24, 15, 15], [48, 24, 1, 1], 2, 0, 1, 1),
        even([2, 96, 16, 16], [96, 1, 3, 3], 1, 1, 1, 96),
        even([2, 30, 16, 16], [30, 1, 3, 3], 2, 1, 1, 30),
        even([2, 48, 9, 9], [60, 16, 1, 1], 1, 0, 1, 3),
        even([1, 32, 20, 20], [16, 32, 3, 3], 1, 4, 4, 1),
        even([2, 300, 7, 7], [264, 300, 3, 3], 1, 1, 1, 1),
        even([1, 4, 90, 130], [7, 4, 5, 5], 1, 2, 1, 1),
        // A pointwise depth of several chunks, over several blocks of rows.
        even([1, 400, 15, 15], [50, 400, 1, 1], 1, 0, 1, 1),
        // A large dW over several blocks of pixels.
        even([3, 70, 28, 28], [1, 70, 8, 8], 1, 4, 1, 1),
        even([2, 72, 33, 33], [16, 72, 8, 8], 1, 4, 1, 1),
        // Winograd, in whole tiles and with some that stick out.
        even([4, 32, 16, 16], [32, 32, 3, 3], 1, 1, 1, 1),
        even([3, 33, 19, 22], [50, 33, 3, 3], 1, 1, 1, 1),
        even([2, 48, 25, 30], [33, 48, 3, 3], 1, 0, 1, 1),
        // With taps apart, and half-filled tiles of many channels.
        even([1, 40, 33, 30], [36, 40, 3, 3], 1, 2, 2, 1),
        even([1, 128, 33, 31], [130, 128, 3, 3], 1, 1, 1, 1),
        even([2, 129, 20, 23], [128, 129, 3, 3], 1, 3, 3, 1),
        // More channels than a block has; more than one piece of tiles, and than one span of dY's channels.
        even([16, 520, 6, 6], [128, 520, 3, 3], 1, 1, 1, 1),
        even([36, 128, 6, 6], [260, 128, 3, 3], 1, 1, 1, 1),
        // Taps far apart: around the padding, with strides, groups and a depth of several chunks.
        even([2, 20, 19, 23], [33, 20, 3, 3], 1, 6, 6, 1),
        even([1, 17, 21, 30], [20, 17, 3, 3], 2, 8, 8, 1),
        even([1, 24, 15, 15], [32, 12, 3, 3], 1, 12, 12, 2),
        even([1, 400, 11, 12], [20, 400, 3, 3], 1, 4, 4, 1),
        even([2, 9, 5, 6], [20, 9, 3, 3], 1, 36, 36, 1),
        // A pointwise dW in parts of the pixels.
        even([3, 20, 30, 30], [24, 20, 1, 1], 1, 0, 1, 1),
        // An input-gradient phase that begins behind the end of dY.
        ConvGeometry::new([1, 3, 4, 2], [5, 3, 1, 2], [1, 2], [0, 3], [1, 7], 1),
    ];
    list.into_iter().flatten().collect()
}

/// 1 to 70 channels, half of them at the edges of tiles.
fn channels(stream: &mut Stream) -> usize {
    if stream.chance(0.5) { EDGES[stream.below(EDGES.len())] } else { 1 + stream.below(70) }
}

/// `low..=high`
fn between(stream: &mut Stream, low: usize, high: usize) -> usize {
    low + stream.below(high - low + 1)
}

/// A random shape; `index` chooses its kind in turn.
pub(super) fn random(index: usize, stream: &mut Stream) -> ConvGeometry {
    loop {
        let s = &mut *stream;
        let drawn = match index % 10 {
            0 => anything(s),
            1 => pointwise(s),
            2 => depthwise(s),
            3 => grouped(s),
            4 | 5 => wide(s),
            6 => degenerate(s),
            7 => many_weights(s),
            8 => many_images(s),
            _ => large_map(s),
        };
        if let Some(g) = drawn.filter(|g| g.macs() <= MOST) {
            return g;
        }
    }
}

fn anything(s: &mut Stream) -> Option<ConvGeometry> {
    let groups = between(s, 1, 3);
    let (depth, outputs) = (between(s, 1, 9), between(s, 1, 12));
    let x = [between(s, 1, 5), depth * groups, between(s, 1, 20), between(s, 1, 20)];
    let w = [outputs * groups, depth, between(s, 1, 5), between(s, 1, 5)];
    let mut pair = |low, high| [between(s, low, high), between(s, low, high)];
    ConvGeometry::new(x, w, pair(1, 3), pair(0, 4), pair(1, 3), groups)
}

/// 1x1, now and then with stride or padding, which is no plain product any more.
fn pointwise(s: &mut Stream) -> Option<ConvGeometry> {
    let (c, o) = (channels(s), channels(s));
    let x = [between(s, 1, 3), c, between(s, 1, 12), between(s, 1, 12)];
    let plain = s.chance(0.7);
    let (stride, padding) = if plain { (1, 0) } else { (between(s, 1, 3), between(s, 0, 1)) };
    even(x, [o, c, 1, 1], stride, padding, 1, 1)
}

fn depthwise(s: &mut Stream) -> Option<ConvGeometry> {
    let c = channels(s).max(2);
    let x = [between(s, 1, 4), c, between(s, 1, 14), between(s, 1, 14)];
    let w = [c, 1, between(s, 1, 7), between(s, 1, 7)];
    let mut pair = |low, high| [between(s, low, high), between(s, low, high)];
    ConvGeometry::new(x, w, pair(1, 4), pair(0, 4), pair(1, 3), c)
}

/// Groups of odd widths, one channel in or out among them.
fn grouped(s: &mut Stream) -> Option<ConvGeometry> {
    let groups = between(s, 2, 5);
    let (depth, outputs) = (EDGES[s.below(14)], EDGES[s.below(14)]);
    let x = [between(s, 1, 3), depth * groups, between(s, 1, 7), between(s, 1, 7)];
    let w = [outputs * groups, depth, between(s, 1, 3), between(s, 1, 3)];
    even(x, w, between(s, 1, 2), between(s, 0, 2), between(s, 1, 2), groups)
}

/// Many channels on small maps.
fn wide(s: &mut Stream) -> Option<ConvGeometry> {
    let (c, o) = (channels(s), channels(s));
    let x = [between(s, 1, 3), c, between(s, 1, 16), between(s, 1, 16)];
    let w = [o, c, between(s, 1, 3), between(s, 1, 3)];
    let mut pair = |low, high| [between(s, low, high), between(s, low, high)];
    ConvGeometry::new(x, w, pair(1, 2), pair(0, 2), pair(1, 2), 1)
}

/// Maps of one pixel, row or column, kernels larger than the map, strides larger than the kernel, more padding than
/// kernel.
fn degenerate(s: &mut Stream) -> Option<ConvGeometry> {
    let (c, o) = (channels(s), channels(s));
    let mut side = |low, high| if s.chance(0.4) { 1 } else { between(s, low, high) };
    let x = [side(2, 3), c, side(2, 9), side(2, 9)];
    let w = [o, c, side(2, 8), side(2, 8)];
    let mut pair = |low, high| [between(s, low, high), between(s, low, high)];
    ConvGeometry::new(x, w, pair(1, 7), pair(0, 8), pair(1, 4), 1)
}

/// More than 64 K weights, vectors of outputs rounded up.
fn many_weights(s: &mut Stream) -> Option<ConvGeometry> {
    let o = [1, 15, 16, 33, 48, 60][s.below(6)];
    let c = [40, 47, 48, 64, 70][s.below(5)];
    let side = between(s, 5, 11);
    let x = [between(s, 1, 2), c, between(s, 1, 6), between(s, 1, 6)];
    even(x, [o, c, side, side], between(s, 1, 2), between(s, side / 2, side), 1, 1)
}

/// Small maps of many images, which tasks take together.
fn many_images(s: &mut Stream) -> Option<ConvGeometry> {
    let (c, o) = (channels(s), channels(s));
    let x = [between(s, 6, 40), c, between(s, 1, 6), between(s, 1, 6)];
    let w = [o, c, between(s, 1, 3), between(s, 1, 3)];
    even(x, w, between(s, 1, 2), between(s, 0, 1), 1, 1)
}

/// Large maps with few channels, as in a first layer: strips of rows.
fn large_map(s: &mut Stream) -> Option<ConvGeometry> {
    let c = between(s, 1, 4);
    let x = [between(s, 1, 3), c, between(s, 15, 60), between(s, 15, 60)];
    let w = [channels(s), c, between(s, 1, 7), between(s, 1, 7)];
    even(x, w, between(s, 1, 4), between(s, 0, 3), between(s, 1, 2), 1)
}
