//! The passes over a map, block by block; maps are `[rows, C]` and statistics one value per channel.
use rayon::prelude::*;

use super::kernels::{self, Line};
use crate::memory::{initialized, room};
use crate::rows::{Tile, total};

/// Numbers that are copied before they are worked on in place: they stay in the first-level cache.
const PIECE: usize = 1 << 11;

/// Runs `work(block, sums, squares)` on all blocks, the sums being zero and as long as a tile, and returns both
/// totals per channel.
fn two_sums(
    tile: Tile,
    blocks: impl IndexedParallelIterator<Item = usize>,
    work: impl Fn(usize, &mut [f32], &mut [f32]) + Sync + Send,
) -> [Vec<f64>; 2] {
    let channels = tile.channels;
    let mut parts = vec![0.0; blocks.len() * 2 * channels];
    blocks.zip(parts.par_chunks_exact_mut(2 * channels)).for_each_init(
        || (vec![0.0; tile.len], vec![0.0; tile.len]),
        |(first, second), (k, part)| {
            first.fill(0.0);
            second.fill(0.0);
            work(k, first, second);
            let (a, b) = part.split_at_mut(channels);
            tile.gather(first, a);
            tile.gather(second, b);
        },
    );
    let mut sums = total(&parts, 2 * channels);
    let second = sums.split_off(channels);
    [sums, second]
}

/// Block `k` of a map.
fn block(map: &[f32], tile: Tile, k: usize) -> &[f32] {
    &map[k * tile.block..map.len().min((k + 1) * tile.block)]
}

/// Mean and biased variance of every channel. Sums run around the first row's values, so that they lose no digits when
/// the mean is far from zero; a sum in f32 has at most `block / len` (64) terms, the rest is f64.
pub(super) fn statistics(x: &[f32], channels: usize) -> [Vec<f64>; 2] {
    let tile = Tile::new(channels);
    let shift = tile.spread(x[..channels].iter().copied());
    let blocks = (0..tile.blocks(x.len())).into_par_iter();
    let [sum, square] = two_sums(tile, blocks, |k, sum, square| {
        kernels::moments(block(x, tile, k), &shift, sum, square);
    });
    let count = (x.len() / channels) as f64;
    let offset = sum.iter().map(|s| s / count);
    let variance = square.iter().zip(offset.clone()).map(|(q, d)| {
        let v = q / count - d * d;
        // A NaN is not less than zero and stays.
        if v < 0.0 { 0.0 } else { v }
    });
    [offset.clone().zip(&shift).map(|(d, s)| f64::from(*s) + d).collect(), variance.collect()]
}

/// `act(line(x) + residual)`.
pub(super) fn apply(x: &[f32], residual: Option<&[f32]>, tile: Tile, line: &Line, limits: (f32, f32)) -> Vec<f32> {
    let mut to = room(x.len());
    to.par_chunks_mut(tile.block).enumerate().for_each(|(k, to)| {
        let x = block(x, tile, k);
        match residual {
            None => kernels::apply(x, line, limits, to),
            Some(residual) => kernels::apply_onto(x, block(residual, tile, k), line, limits, to),
        }
    });
    // SAFETY: the blocks are the whole buffer, and each has been written: x and the residual have its length.
    unsafe { initialized(to) }
}

/// `[sum g, sum g (x - mean)]` per channel, see [`kernels::gradient_sums`].
pub(super) fn sums(dy: &[f32], x: &[f32], tile: Tile, line: &Line, limits: (f32, f32)) -> [Vec<f64>; 2] {
    let blocks = (0..tile.blocks(x.len())).into_par_iter();
    two_sums(tile, blocks, |k, sum, dot| {
        kernels::gradient_sums(block(dy, tile, k), block(x, tile, k), line, limits, sum, dot);
    })
}

/// As [`sums`], by the result y; g replaces dy.
pub(super) fn gated_sums(
    dy: &mut [f32],
    y: &[f32],
    x: &[f32],
    tile: Tile,
    line: &Line,
    limits: (f32, f32),
) -> [Vec<f64>; 2] {
    let channels = tile.channels;
    let mut parts = vec![0.0; tile.blocks(x.len()) * 2 * channels];
    let blocks = dy.par_chunks_mut(tile.block).zip(parts.par_chunks_exact_mut(2 * channels)).enumerate();
    blocks.for_each_init(
        || (vec![0.0; tile.len], vec![0.0; tile.len]),
        |(sum, dot), (k, (dy, part))| {
            sum.fill(0.0);
            dot.fill(0.0);
            kernels::gated_gradient_sums(dy, block(y, tile, k), block(x, tile, k), line, limits, sum, dot);
            let (a, b) = part.split_at_mut(channels);
            tile.gather(sum, a);
            tile.gather(dot, b);
        },
    );
    let mut sums = total(&parts, 2 * channels);
    let dots = sums.split_off(channels);
    [sums, dots]
}

/// The second pass of the backward direction: dx = scale * g + slope * (x - mean) + offset.
pub(super) struct Slopes {
    pub slope: Vec<f32>,
    pub offset: Vec<f32>,
}

/// dx in place of dy.
pub(super) fn gradient(dy: &mut [f32], x: &[f32], tile: Tile, line: &Line, slopes: &Slopes, limits: (f32, f32)) {
    dy.par_chunks_mut(tile.block).enumerate().for_each(|(k, dy)| {
        kernels::gradient(dy, block(x, tile, k), line, &slopes.slope, &slopes.offset, limits);
    });
}

/// dx in a buffer of its own, for a dy that others hold.
pub(super) fn fresh_gradient(
    dy: &[f32],
    x: &[f32],
    tile: Tile,
    line: &Line,
    slopes: &Slopes,
    limits: (f32, f32),
) -> Vec<f32> {
    let piece = tile.len * (PIECE / tile.len).max(1);
    let mut to = room(x.len());
    to.par_chunks_mut(tile.block).enumerate().for_each(|(k, to)| {
        let pieces = to.chunks_mut(piece).zip(block(dy, tile, k).chunks(piece)).zip(block(x, tile, k).chunks(piece));
        for ((to, dy), x) in pieces {
            kernels::gradient(to.write_copy_of_slice(dy), x, line, &slopes.slope, &slopes.offset, limits);
        }
    });
    // SAFETY: the blocks and their pieces are the whole buffer, and each has been written.
    unsafe { initialized(to) }
}

/// Numbers that one task of the elementwise passes takes.
const SPAN: usize = 1 << 14;

/// `act(a + b)`.
pub(super) fn sum(a: &[f32], b: &[f32], limits: (f32, f32)) -> Vec<f32> {
    let mut to = room(a.len());
    to.par_chunks_mut(SPAN)
        .zip(a.par_chunks(SPAN).zip(b.par_chunks(SPAN)))
        .for_each(|(to, (a, b))| kernels::sum(a, b, limits, to));
    // SAFETY: the spans are the whole buffer, and each has been written: a and b have its length.
    unsafe { initialized(to) }
}

/// dy made 0 where an activation that returned y is closed.
pub(super) fn gate(dy: &mut [f32], y: &[f32], limits: (f32, f32)) {
    dy.par_chunks_mut(SPAN).zip(y.par_chunks(SPAN)).for_each(|(dy, y)| kernels::gate(dy, y, limits));
}
