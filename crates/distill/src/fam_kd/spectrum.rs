//! The global branch of FAM as plain tensor operations: dense DFT matrices, one matrix product per frequency.
use burn::prelude::*;
use burn::tensor::{DType, TensorData};

/// A complex tensor.
pub(super) struct Complex<const D: usize> {
    pub re: Tensor<D>,
    pub im: Tensor<D>,
}

/// cos and sin of `2 pi j k / n`, divided by sqrt(n), `[n, n]`.
fn matrices(n: usize, device: &Device, dtype: DType) -> Complex<2> {
    let table = |f: fn(f64) -> f64| {
        let value = |k: usize| f(std::f64::consts::TAU * ((k / n) * (k % n) % n) as f64 / n as f64) / (n as f64).sqrt();
        let values: Vec<f64> = (0..n * n).map(value).collect();
        Tensor::from_data(TensorData::new(values, [n, n]), (device, dtype))
    };
    Complex { re: table(f64::cos), im: table(f64::sin) }
}

/// The orthonormal 2-D DFT of real maps.
///
/// # Shapes
/// `[N, C, H, W]` to the same, twice.
pub(super) fn transform(x: Tensor<4>) -> Complex<4> {
    let [n, c, h, w] = x.dims();
    let (device, dtype) = (x.device(), x.dtype());
    let (rows, columns) = (matrices(h, &device, dtype), matrices(w, &device, dtype));
    let x = x.reshape([n * c * h, w]);
    // exp(-i t) = cos t - i sin t.
    let re = x.clone().matmul(columns.re).reshape([n * c, h, w]);
    let im = -x.matmul(columns.im).reshape([n * c, h, w]);
    let (cos, sin) = (rows.re.unsqueeze::<3>(), rows.im.unsqueeze::<3>());
    let out_re = cos.clone().matmul(re.clone()) + sin.clone().matmul(im.clone());
    let out_im = cos.matmul(im) - sin.matmul(re);
    Complex { re: out_re.reshape([n, c, h, w]), im: out_im.reshape([n, c, h, w]) }
}

/// The real part of the orthonormal inverse 2-D DFT.
///
/// # Shapes
/// `[N, C, H, W]` to the same.
pub(super) fn inverse_real(y: Complex<4>) -> Tensor<4> {
    let [n, c, h, w] = y.re.dims();
    let (device, dtype) = (y.re.device(), y.re.dtype());
    let (rows, columns) = (matrices(h, &device, dtype), matrices(w, &device, dtype));
    let (re, im) = (y.re.reshape([n * c, h, w]), y.im.reshape([n * c, h, w]));
    let (cos, sin) = (rows.re.unsqueeze::<3>(), rows.im.unsqueeze::<3>());
    let row_re = cos.clone().matmul(re.clone()) - sin.clone().matmul(im.clone());
    let row_im = cos.matmul(im) + sin.matmul(re);
    let flat = |x: Tensor<3>| x.reshape([n * c * h, w]);
    (flat(row_re).matmul(columns.re) - flat(row_im).matmul(columns.im)).reshape([n, c, h, w])
}

/// `Y_o(u, v) = sum_i Z_i(u, v) K_io(u, v)`.
///
/// # Shapes
/// Z `[N, C_in, H, W]`, K `[C_in, C_out, H, W]` to `[N, C_out, H, W]`.
pub(super) fn mix(z: Complex<4>, k: Complex<4>) -> Complex<4> {
    let [n, input, h, w] = z.re.dims();
    let output = k.re.dims()[1];
    let bins = |x: Tensor<4>, a: usize, b: usize| x.reshape([a, b, h * w]).permute([2, 0, 1]);
    let (zr, zi) = (bins(z.re, n, input), bins(z.im, n, input));
    let (kr, ki) = (bins(k.re, input, output), bins(k.im, input, output));
    let back = |x: Tensor<3>| x.permute([1, 2, 0]).reshape([n, output, h, w]);
    Complex {
        re: back(zr.clone().matmul(kr.clone()) - zi.clone().matmul(ki.clone())),
        im: back(zr.matmul(ki) + zi.matmul(kr)),
    }
}
