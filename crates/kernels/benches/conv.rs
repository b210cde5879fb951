//! Convolution kernels: median milliseconds and GFLOP/s of the three directions, beside Burn's own operation.
//! Run with `cargo bench -p subband-kernels --bench conv`.

use burn::prelude::*;
use burn::tensor::Distribution;
use subband_kernels::conv::{ConvGeometry, ConvOptions, conv2d};

const REPEAT: usize = 21;

fn now() -> f64 {
    unsafe extern "C" {
        fn clock_gettime(clock: i32, time: *mut [i64; 2]) -> i32;
    }
    let mut time = [0; 2];
    unsafe { clock_gettime(2, &mut time) };
    time[0] as f64 * 1e3 + time[1] as f64 * 1e-6
}

fn median(mut run: impl FnMut()) -> f64 {
    run();
    let mut times: Vec<f64> = (0..REPEAT)
        .map(|_| {
            let start = now();
            run();
            now() - start
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[times.len() / 4]
}

fn main() {
    subband_kernels::keep_freed_memory();
    let device = Device::flex();
    println!("{:34} {:>8} {:>6} {:>8} {:>6} {:>8} {:>6}", "shape", "fwd ms", "GF/s", "dX ms", "GF/s", "dW ms", "GF/s");
    for (name, x, w, stride, padding, groups) in [
        ("3x3 3-16 b64 32x32", [64, 3, 32, 32], [16, 3, 3, 3], 1, 1, 1),
        ("3x3 16-16 b64 32x32", [64, 16, 32, 32], [16, 16, 3, 3], 1, 1, 1),
        ("3x3 16-32 s2 b64 32x32", [64, 16, 32, 32], [32, 16, 3, 3], 2, 1, 1),
        ("3x3 32-32 b64 16x16", [64, 32, 16, 16], [32, 32, 3, 3], 1, 1, 1),
        ("3x3 64-64 b64 8x8", [64, 64, 8, 8], [64, 64, 3, 3], 1, 1, 1),
        ("3x3 32-32 b64 32x32", [64, 32, 32, 32], [32, 32, 3, 3], 1, 1, 1),
        ("3x3 64-128 s2 b8 56x56", [8, 64, 56, 56], [128, 64, 3, 3], 2, 1, 1),
        ("3x3 128-128 b8 28x28", [8, 128, 28, 28], [128, 128, 3, 3], 1, 1, 1),
        ("3x3 256-256 b8 14x14", [8, 256, 14, 14], [256, 256, 3, 3], 1, 1, 1),
        ("3x3 64-64 b8 56x56", [8, 64, 56, 56], [64, 64, 3, 3], 1, 1, 1),
        ("3x3 512-512 b8 7x7", [8, 512, 7, 7], [512, 512, 3, 3], 1, 1, 1),
        ("7x7 3-64 s2 b8 224x224", [8, 3, 224, 224], [64, 3, 7, 7], 2, 3, 1),
        ("1x1 256-64 b8 56x56", [8, 256, 56, 56], [64, 256, 1, 1], 1, 0, 1),
        ("depthwise 3x3 96 b16 32x32", [16, 96, 32, 32], [96, 1, 3, 3], 1, 1, 96),
    ] {
        if std::env::args().nth(1).is_some_and(|only| only != "--bench" && !name.contains(&only)) {
            continue;
        }
        let options = ConvOptions { stride: [stride; 2], padding: [padding; 2], groups, ..Default::default() };
        let normal = |shape: [usize; 4], d: &Device| Tensor::<4>::random(shape, Distribution::Normal(0.0, 1.0), d);
        let last = [x[0], x[2], x[3], x[1]];
        let (px, pw) = (normal(last, &device), normal(w, &device));
        let ad = device.clone().autodiff();
        let forward = median(|| drop(conv2d(px.clone(), pw.clone(), None, options)));
        let part = |track_x: bool, track_w: bool| {
            let (mut ax, mut aw) = (normal(last, &ad), normal(w, &ad));
            if track_x {
                ax = ax.require_grad()
            }
            if track_w {
                aw = aw.require_grad()
            }
            let y = conv2d(ax.clone(), aw.clone(), None, options);
            let dy = Tensor::from_inner(normal(y.dims(), &device));
            let mut times = Vec::new();
            for _ in 0..REPEAT {
                let loss = (conv2d(ax.clone(), aw.clone(), None, options) * dy.clone()).sum();
                let start = now();
                let grads = loss.backward();
                let _ = (ax.grad(&grads), aw.grad(&grads));
                times.push(now() - start);
            }
            times.sort_by(f64::total_cmp);
            times[times.len() / 4]
        };
        let (dx, dw) = (part(true, false), part(false, true));
        let macs = ConvGeometry::new(x, w, [stride; 2], [padding; 2], [1, 1], groups).map_or(0, |g| g.macs());
        let rate = |t: f64| 2e-6 * macs as f64 / t;
        println!("{name:34} {forward:8.2} {:6.0} {dx:8.2} {:6.0} {dw:8.2} {:6.0}", rate(forward), rate(dx), rate(dw));
    }
}
