//! Loops of the normalisation: per tile (see [`crate::rows`]) and compiled for each instruction set.
use std::mem::MaybeUninit;

use crate::activation::{clip, stops};
use crate::rows::Tile;
use crate::simd::multiversion;

/// The map x -> scale * (x - mean) + shift of every channel, repeated over a tile.
pub(super) struct Line {
    pub scale: Vec<f32>,
    pub mean: Vec<f32>,
    pub shift: Vec<f32>,
}

impl Line {
    pub fn new(tile: Tile, scale: &[f32], mean: &[f32], shift: &[f32]) -> Self {
        let spread = |v: &[f32]| tile.spread(v.iter().copied());
        Self { scale: spread(scale), mean: spread(mean), shift: spread(shift) }
    }
}

/// The mean is taken off first: folding it into the shift would lose digits when it is large.
#[inline(always)]
fn at(x: f32, scale: f32, mean: f32, shift: f32) -> f32 {
    scale * (x - mean) + shift
}

multiversion! {
    /// Adds x - shift and its square to the sums of the tile's places.
    pub(super) fn moments(x: &[f32], shift: &[f32], sum: &mut [f32], square: &mut [f32]) = moments_body;
}
#[inline(always)]
fn moments_body(x: &[f32], shift: &[f32], sum: &mut [f32], square: &mut [f32]) {
    for x in x.chunks(shift.len()) {
        for (((x, shift), sum), square) in x.iter().zip(shift).zip(&mut *sum).zip(&mut *square) {
            let d = x - shift;
            *sum += d;
            *square += d * d;
        }
    }
}

multiversion! {
    /// `to = act(scale (x - mean) + shift)`.
    pub(super) fn apply(x: &[f32], line: &Line, limits: (f32, f32), to: &mut [MaybeUninit<f32>]) = apply_body;
}
#[inline(always)]
fn apply_body(x: &[f32], line: &Line, limits: (f32, f32), to: &mut [MaybeUninit<f32>]) {
    let len = line.scale.len();
    for (x, to) in x.chunks(len).zip(to.chunks_mut(len)) {
        for ((((x, to), scale), mean), shift) in x.iter().zip(to).zip(&line.scale).zip(&line.mean).zip(&line.shift) {
            to.write(clip(at(*x, *scale, *mean, *shift), limits));
        }
    }
}

multiversion! {
    /// `to = act(scale (x - mean) + shift + residual)`.
    pub(super) fn apply_onto(
        x: &[f32],
        residual: &[f32],
        line: &Line,
        limits: (f32, f32),
        to: &mut [MaybeUninit<f32>],
    ) = apply_onto_body;
}
#[inline(always)]
fn apply_onto_body(x: &[f32], residual: &[f32], line: &Line, limits: (f32, f32), to: &mut [MaybeUninit<f32>]) {
    let len = line.scale.len();
    for ((x, residual), to) in x.chunks(len).zip(residual.chunks(len)).zip(to.chunks_mut(len)) {
        let places = x.iter().zip(residual).zip(to).zip(&line.scale).zip(&line.mean).zip(&line.shift);
        for (((((x, residual), to), scale), mean), shift) in places {
            to.write(clip(at(*x, *scale, *mean, *shift) + residual, limits));
        }
    }
}

multiversion! {
    /// Adds g and g * (x - mean) to the sums of the tile's places, where g is dy, or 0 where the activation of
    /// scale (x - mean) + shift is closed.
    pub(super) fn gradient_sums(
        dy: &[f32],
        x: &[f32],
        line: &Line,
        limits: (f32, f32),
        sum: &mut [f32],
        dot: &mut [f32],
    ) = gradient_sums_body;
}
#[inline(always)]
fn gradient_sums_body(dy: &[f32], x: &[f32], line: &Line, limits: (f32, f32), sum: &mut [f32], dot: &mut [f32]) {
    let len = line.scale.len();
    for (dy, x) in dy.chunks(len).zip(x.chunks(len)) {
        let places = dy.iter().zip(x).zip(&line.scale).zip(&line.mean).zip(&line.shift).zip(&mut *sum).zip(&mut *dot);
        for ((((((dy, x), scale), mean), shift), sum), dot) in places {
            let g = if stops(at(*x, *scale, *mean, *shift), limits) { 0.0 } else { *dy };
            *sum += g;
            *dot += g * (x - mean);
        }
    }
}

multiversion! {
    /// As [`gradient_sums`], by the activation's result y; g replaces dy.
    pub(super) fn gated_gradient_sums(
        dy: &mut [f32],
        y: &[f32],
        x: &[f32],
        line: &Line,
        limits: (f32, f32),
        sum: &mut [f32],
        dot: &mut [f32],
    ) = gated_gradient_sums_body;
}
#[inline(always)]
fn gated_gradient_sums_body(
    dy: &mut [f32],
    y: &[f32],
    x: &[f32],
    line: &Line,
    limits: (f32, f32),
    sum: &mut [f32],
    dot: &mut [f32],
) {
    let len = line.scale.len();
    for ((dy, y), x) in dy.chunks_mut(len).zip(y.chunks(len)).zip(x.chunks(len)) {
        let places = dy.iter_mut().zip(y).zip(x).zip(&line.mean).zip(&mut *sum).zip(&mut *dot);
        for (((((dy, y), x), mean), sum), dot) in places {
            let g = if stops(*y, limits) { 0.0 } else { *dy };
            *dy = g;
            *sum += g;
            *dot += g * (x - mean);
        }
    }
}

multiversion! {
    /// `scale * g + slope * (x - mean) + offset` in place of dy, with the g of [`gradient_sums`].
    pub(super) fn gradient(
        dy: &mut [f32],
        x: &[f32],
        line: &Line,
        slope: &[f32],
        offset: &[f32],
        limits: (f32, f32),
    ) = gradient_body;
}
#[inline(always)]
fn gradient_body(dy: &mut [f32], x: &[f32], line: &Line, slope: &[f32], offset: &[f32], limits: (f32, f32)) {
    let len = line.scale.len();
    for (dy, x) in dy.chunks_mut(len).zip(x.chunks(len)) {
        let line = line.scale.iter().zip(&line.mean).zip(&line.shift);
        for (((dy, x), ((scale, mean), shift)), (slope, offset)) in
            dy.iter_mut().zip(x).zip(line).zip(slope.iter().zip(offset))
        {
            let g = if stops(at(*x, *scale, *mean, *shift), limits) { 0.0 } else { *dy };
            *dy = scale * g + (slope * (x - mean) + offset);
        }
    }
}

multiversion! {
    /// `to = act(a + b)`.
    pub(super) fn sum(a: &[f32], b: &[f32], limits: (f32, f32), to: &mut [MaybeUninit<f32>]) = sum_body;
}
#[inline(always)]
fn sum_body(a: &[f32], b: &[f32], limits: (f32, f32), to: &mut [MaybeUninit<f32>]) {
    for ((a, b), to) in a.iter().zip(b).zip(to) {
        to.write(clip(a + b, limits));
    }
}

multiversion! {
    /// dy made 0 where an activation that returned y is closed.
    pub(super) fn gate(dy: &mut [f32], y: &[f32], limits: (f32, f32)) = gate_body;
}
#[inline(always)]
fn gate_body(dy: &mut [f32], y: &[f32], limits: (f32, f32)) {
    for (dy, y) in dy.iter_mut().zip(y) {
        *dy = if stops(*y, limits) { 0.0 } else { *dy };
    }
}
