//! Convolution kernels: median milliseconds and GFLOP/s of the three directions, beside Burn's own operation.
//! Run with `cargo bench -p subband-kernels --bench conv`.
use std::time::Instant;

use burn::prelude::*;
use burn::tensor::Distribution;
use subband_kernels::conv::{ConvGeometry, ConvOptions, conv2d};
use subband_kernels::layout::{channels_first, channels_last};

fn median(mut run: impl FnMut()) -> f64 {
    run();
    let mut times: Vec<f64> = (0..9)
        .map(|_| {
            let start = Instant::now();
            run();
            start.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn main() {
    let device = Device::flex();
    println!("{:34} {:>8} {:>8} {:>8} {:>9} {:>9}", "shape", "fwd ms", "all ms", "GFLOP/s", "burn fwd", "burn all");
    for (name, x, w, stride, padding, groups) in [
        ("3x3 3-16 b64 32x32", [64, 3, 32, 32], [16, 3, 3, 3], 1, 1, 1),
        ("3x3 16-16 b64 32x32", [64, 16, 32, 32], [16, 16, 3, 3], 1, 1, 1),
        ("3x3 16-32 s2 b64 32x32", [64, 16, 32, 32], [32, 16, 3, 3], 2, 1, 1),
        ("3x3 32-32 b64 16x16", [64, 32, 16, 16], [32, 32, 3, 3], 1, 1, 1),
        ("3x3 64-64 b64 8x8", [64, 64, 8, 8], [64, 64, 3, 3], 1, 1, 1),
        ("3x3 64-64 b8 56x56", [8, 64, 56, 56], [64, 64, 3, 3], 1, 1, 1),
        ("3x3 512-512 b8 7x7", [8, 512, 7, 7], [512, 512, 3, 3], 1, 1, 1),
        ("7x7 3-64 s2 b8 224x224", [8, 3, 224, 224], [64, 3, 7, 7], 2, 3, 1),
        ("1x1 256-64 b8 56x56", [8, 256, 56, 56], [64, 256, 1, 1], 1, 0, 1),
        ("depthwise 3x3 96 b16 32x32", [16, 96, 32, 32], [96, 1, 3, 3], 1, 1, 96),
    ] {
        let options = ConvOptions { stride: [stride; 2], padding: [padding; 2], groups, ..Default::default() };
        let normal = |shape: [usize; 4], d: &Device| Tensor::<4>::random(shape, Distribution::Normal(0.0, 1.0), d);
        let (px, pw) = (normal(x, &device), normal(w, &device));
        let burns = burn::tensor::ops::ConvOptions::new([stride; 2], [padding; 2], [1, 1], groups);
        let ours = |x: Tensor<4>, w: Tensor<4>| channels_first(conv2d(channels_last(x), w, None, options));
        let theirs = |x: Tensor<4>, w: Tensor<4>| burn::tensor::module::conv2d(x, w, None, burns.clone());
        let ad = device.clone().autodiff();
        let (ax, aw) = (normal(x, &ad).require_grad(), normal(w, &ad).require_grad());
        let all = |f: &dyn Fn(Tensor<4>, Tensor<4>) -> Tensor<4>| {
            let grads = f(ax.clone(), aw.clone()).sum().backward();
            let _ = (ax.grad(&grads), aw.grad(&grads));
        };
        let forward = median(|| drop(ours(px.clone(), pw.clone())));
        let whole = median(|| all(&ours));
        let burn_forward = median(|| drop(theirs(px.clone(), pw.clone())));
        let burn_whole = median(|| all(&theirs));
        let macs = ConvGeometry::new(x, w, [stride; 2], [padding; 2], [1, 1], groups).map_or(0, |g| g.macs());
        let rate = 6e-6 * macs as f64 / whole;
        println!("{name:34} {forward:8.2} {whole:8.2} {rate:8.1} {burn_forward:9.2} {burn_whole:9.2}");
    }
}
