//! The transforms as products with Fourier matrices: plain tensor operations for any backend.
//!
//! Complexity is N^3 for an N x N map, in matrix products; the matrices are made on the host in f64 and rounded to the
//! tensor's type.
use burn::prelude::*;
use burn::tensor::TensorData;
use subband_kernels::fft::Factors;

use super::Spectrum;

/// cos and sin of `2 pi j k / n` for j < n and k < `columns`, times `factor(k)`, as `[1, 1, n, columns]`.
fn matrices(n: usize, columns: usize, factor: impl Fn(usize) -> f64, like: &Tensor<4>) -> [Tensor<4>; 2] {
    let make = |f: fn(f64) -> f64| {
        let values: Vec<f64> = (0..n * columns)
            .map(|i| {
                let (j, k) = (i / columns, i % columns);
                factor(k) * f(std::f64::consts::TAU * (j * k % n) as f64 / n as f64)
            })
            .collect();
        Tensor::<4>::from_data(TensorData::new(values, [1, 1, n, columns]), (&like.device(), like.dtype()))
    };
    [make(f64::cos), make(f64::sin)]
}

/// Complex transform along H: a product from the left.
fn along_height(x: Spectrum, inverse: bool) -> Spectrum {
    let h = x.dims()[2];
    let [c, s] = matrices(h, h, |_| 1.0, &x.re);
    let s = if inverse { -s } else { s };
    Spectrum {
        re: c.clone().matmul(x.re.clone()) + s.clone().matmul(x.im.clone()),
        im: c.matmul(x.im) - s.matmul(x.re),
    }
}

/// [`subband_kernels::fft::complex`] from tensor operations.
pub fn complex(x: Spectrum, inverse: bool, scale: f64) -> Spectrum {
    let w = x.dims()[3];
    let [c, s] = matrices(w, w, |_| scale, &x.re);
    let s = if inverse { -s } else { s };
    let rows = Spectrum {
        re: x.re.clone().matmul(c.clone()) + x.im.clone().matmul(s.clone()),
        im: x.im.matmul(c) - x.re.matmul(s),
    };
    along_height(rows, inverse)
}

/// Weight and scale of column k of a half spectrum of width w.
fn column_factor(w: usize, factors: Factors) -> impl Fn(usize) -> f64 {
    move |k| if k == 0 || 2 * k == w { factors.scale } else { factors.scale * factors.interior }
}

/// [`subband_kernels::fft::real_to_half`] from tensor operations.
pub fn real_to_half(x: Tensor<4>, factors: Factors) -> Spectrum {
    let w = x.dims()[3];
    let [c, s] = matrices(w, w / 2 + 1, column_factor(w, factors), &x);
    along_height(Spectrum { re: x.clone().matmul(c), im: -x.matmul(s) }, false)
}

/// [`subband_kernels::fft::half_to_real`] from tensor operations.
pub fn half_to_real(y: Spectrum, width: usize, factors: Factors) -> Tensor<4> {
    let y = along_height(y, true);
    let [c, s] = matrices(width, width / 2 + 1, column_factor(width, factors), &y.re);
    y.re.matmul(c.transpose()) - y.im.matmul(s.transpose())
}

/// [`Spectrum::amplitude`] from tensor operations.
pub fn amplitude(x: &Spectrum) -> Tensor<4> {
    let power = x.power();
    let zero = power.clone().equal_elem(0);
    power.mask_fill(zero.clone(), 1).sqrt().mask_fill(zero, 0)
}
