//! Depthwise convolution (one input and one output channel per group): too thin for a matrix product, bound by memory.
//!
//! Each plane is padded once; then every tap is a scaled, shifted addition over the whole plane, in vector blocks.
use rayon::prelude::*;

use super::geometry::{AxisPhase, ConvGeometry, Shifted};
use crate::simd::multiversion;

/// Positions per block: a few vectors of accumulators.
const BLOCK: usize = 64;

multiversion! {
    /// `out[p] = sum_t weights[t] * plane[offsets[t] + p]`; `out.len()` is a multiple of BLOCK.
    fn sum_taps(plane: &[f32], offsets: &[usize], weights: &[f32], out: &mut [f32]) = sum_taps_body;
}
#[inline(always)]
fn sum_taps_body(plane: &[f32], offsets: &[usize], weights: &[f32], out: &mut [f32]) {
    for (block, out) in out.chunks_exact_mut(BLOCK).enumerate() {
        let mut acc = [0.0f32; BLOCK];
        for (&offset, &w) in offsets.iter().zip(weights) {
            let source = &plane[offset + block * BLOCK..][..BLOCK];
            for (a, &s) in acc.iter_mut().zip(source) {
                *a = w.mul_add(s, *a);
            }
        }
        out.copy_from_slice(&acc);
    }
}

multiversion! {
    /// `sums[t] += sum_p dy[p] * plane[offsets[t] + p]`; `dy.len()` is a multiple of BLOCK.
    fn dot_taps(plane: &[f32], offsets: &[usize], dy: &[f32], sums: &mut [f32]) = dot_taps_body;
}
#[inline(always)]
fn dot_taps_body(plane: &[f32], offsets: &[usize], dy: &[f32], sums: &mut [f32]) {
    for (&offset, sum) in offsets.iter().zip(sums) {
        let mut acc = [0.0f32; BLOCK];
        for (block, dy) in dy.chunks_exact(BLOCK).enumerate() {
            let source = &plane[offset + block * BLOCK..][..BLOCK];
            for ((a, &d), &s) in acc.iter_mut().zip(dy).zip(source) {
                *a = d.mul_add(s, *a);
            }
        }
        *sum += acc.iter().sum::<f32>();
    }
}

/// Padded planes and block-sized buffers of one task.
struct Plane<'a> {
    product: &'a Shifted,
    offsets: Vec<usize>,
    padded: Vec<f32>,
    /// Positions in padded coordinates, rounded up to whole blocks.
    flat: Vec<f32>,
}

impl<'a> Plane<'a> {
    fn new(product: &'a Shifted) -> Self {
        let (height, pitch) = (product.phases[0].0.length, product.pitch());
        let area = height * pitch;
        let offsets = product.taps.iter().map(|&(phase, dy, dx, _)| phase * area + dy * pitch + dx).collect();
        let length = ((product.rows - 1) * pitch + product.columns).next_multiple_of(BLOCK);
        Self { product, offsets, padded: vec![0.0; area * product.phases.len() + BLOCK], flat: vec![0.0; length] }
    }

    fn gather(&mut self, source: &[f32], size: [usize; 2]) {
        let pitch = self.product.pitch();
        let area = self.product.phases[0].0.length * pitch;
        for ((rows, columns), plane) in self.product.phases.iter().zip(self.padded.chunks_exact_mut(area)) {
            for (i, row) in plane.chunks_exact_mut(pitch).enumerate() {
                let y = rows.origin + (rows.step * i) as isize;
                if y >= 0 && (y as usize) < size[0] {
                    let source = &source[y as usize * size[1]..][..size[1]];
                    for (x, value) in row.iter_mut().enumerate() {
                        *value = at(source, columns, x);
                    }
                }
            }
        }
    }
}

#[inline]
fn at(source: &[f32], phase: &AxisPhase, i: usize) -> f32 {
    let x = phase.origin + (phase.step * i) as isize;
    if x < 0 { 0.0 } else { source.get(x as usize).copied().unwrap_or(0.0) }
}

/// Forward pass or input gradient of every plane: `to` planes from `from` planes, one kernel per channel.
pub(crate) fn run(
    products: &[Shifted],
    channels: usize,
    (from, from_size): (&[f32], [usize; 2]),
    weights: &[f32],
    (to, to_size): (&mut [f32], [usize; 2]),
) {
    let area = weights.len() / channels;
    to.par_chunks_exact_mut(to_size[0] * to_size[1]).enumerate().for_each_init(
        || products.iter().map(Plane::new).collect::<Vec<_>>(),
        |planes, (index, to)| {
            let source = &from[index * from_size[0] * from_size[1]..][..from_size[0] * from_size[1]];
            let kernel = &weights[index % channels * area..][..area];
            for plane in planes {
                plane.gather(source, from_size);
                let taps: Vec<f32> = plane.product.taps.iter().map(|t| kernel[t.3]).collect();
                sum_taps(&plane.padded, &plane.offsets, &taps, &mut plane.flat);
                scatter(plane, to, to_size[1]);
            }
        },
    );
}

fn scatter(plane: &Plane<'_>, to: &mut [f32], width: usize) {
    let [(y0, sy), (x0, sx)] = plane.product.target;
    for y in 0..plane.product.rows {
        let from = &plane.flat[y * plane.product.pitch()..][..plane.product.columns];
        let to = &mut to[(y0 + y * sy) * width + x0..];
        if sx == 1 {
            to[..from.len()].copy_from_slice(from);
        } else {
            from.iter().enumerate().for_each(|(x, &v)| to[x * sx] = v);
        }
    }
}

/// dW `[C, 1, kh, kw]`; each channel sums over the batch in order.
pub(crate) fn weight_gradient(g: &ConvGeometry, x: &[f32], dy: &[f32]) -> Vec<f32> {
    let product = Shifted::forward(g);
    let (in_area, out_area, kernel) = (g.input[0] * g.input[1], g.output[0] * g.output[1], g.kernel[0] * g.kernel[1]);
    let mut dw = vec![0.0; g.channels_out * kernel];
    dw.par_chunks_exact_mut(kernel).enumerate().for_each_init(
        || Plane::new(&product),
        |plane, (c, dw)| {
            for n in 0..g.batch {
                let index = n * g.channels_in + c;
                plane.gather(&x[index * in_area..][..in_area], g.input);
                spread(&mut plane.flat, &dy[index * out_area..][..out_area], g.output[1], product.pitch());
                dot_taps(&plane.padded, &plane.offsets, &plane.flat, dw);
            }
        },
    );
    dw
}

/// Rows of `width` into rows of `pitch`, zero between and behind.
fn spread(flat: &mut [f32], rows: &[f32], width: usize, pitch: usize) {
    flat.fill(0.0);
    for (y, row) in rows.chunks_exact(width).enumerate() {
        flat[y * pitch..][..width].copy_from_slice(row);
    }
}
