//! Median milliseconds of the Fourier transforms and FAM-KD's modules, a line `case<TAB>ms` each.
//!
//! `cargo bench -p subband-spectral --bench fft`; the same cases in PyTorch: `python3 benches/fft.py`. Set
//! `RAYON_NUM_THREADS=2` for the comparison. An argument keeps the cases whose names contain it.
use std::hint::black_box;
use std::time::Instant;

use burn::prelude::*;
use burn::tensor::Distribution;
use subband_kernels::conv::{ConvOptions, conv2d};
use subband_kernels::layout::{channels_first, channels_last};
use subband_kernels::local_attention::local_attention;
use subband_spectral::{Mask, Norm, fam, fft, filter};

const REPEATS: usize = 11;

fn report(name: &str, mut run: impl FnMut()) {
    if std::env::args().skip(1).any(|a| !a.starts_with('-') && !name.contains(&a)) {
        return;
    }
    run();
    run();
    let mut times: Vec<f64> = (0..REPEATS)
        .map(|_| {
            let start = Instant::now();
            run();
            start.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    times.sort_by(f64::total_cmp);
    let best = std::env::var("BEST").is_ok();
    println!("{name}\t{:.2}", times[if best { 0 } else { REPEATS / 2 }]);
}

fn normal<const D: usize>(shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::random(shape, Distribution::Normal(0.0, 1.0), device)
}

fn transforms(device: &Device) {
    let ad = device.clone().autodiff();
    for shape in [[8, 512, 28, 28], [8, 256, 56, 56], [8, 256, 64, 64], [8, 256, 80, 80]] {
        let name = shape.map(|n| n.to_string()).join("x");
        let x = normal(shape, device);
        report(&format!("rfft2 {name} forward"), || {
            black_box(fft::rfft2(x.clone(), Norm::Ortho).expect("a map").re);
        });
        let x = normal(shape, &ad).require_grad();
        report(&format!("rfft2 {name} forward+backward"), || {
            let loss = fft::rfft2(x.clone(), Norm::Ortho).expect("a map").amplitude().mean();
            black_box(x.grad(&loss.backward()));
        });
        let mask = Mask::low([shape[2], shape[3]], filter::Pass::freqkd([shape[2], shape[3]], 0.5)).expect("a mask");
        report(&format!("low-high split {name} forward+backward"), || {
            let (low, high) = filter::split(x.clone(), &mask).expect("a mask of the map's size");
            let loss = low.square().mean() + high.square().mean();
            black_box(x.grad(&loss.backward()));
        });
    }
}

fn modules(device: &Device) {
    let ad = device.clone().autodiff();
    for [b, cin, cout, n] in [[64, 16, 16, 32], [64, 32, 32, 16], [64, 64, 64, 8], [32, 64, 64, 28]] {
        let name = format!("b{b} {cin}-{cout}@{n}");
        let x = normal([b, cin, n, n], &ad).require_grad();
        let uniform = || Tensor::<4>::random([cin, cout, n, n], Distribution::Uniform(0.0, 1.0), &ad);
        let [re, im] = [uniform(), uniform()].map(|k| (k / (cin * cout) as f64).detach().require_grad());
        let weight = normal([cout, cin, 1, 1], &ad).require_grad();
        let bias = normal([cout], &ad).require_grad();
        let mask = Mask::fam_reference([n, n]);
        report(&format!("FAM {name} forward+backward"), || {
            let global = fam::filter(x.clone(), re.clone(), im.clone(), &mask).expect("fitting shapes");
            let local = channels_first(conv2d(
                channels_last(x.clone()),
                weight.clone(),
                Some(bias.clone()),
                ConvOptions::default(),
            ));
            let grads = (global * 0.5 + local * 0.5).square().mean().backward();
            black_box((x.grad(&grads), re.grad(&grads), im.grad(&grads), weight.grad(&grads)));
        });
        let [q, k, v] = [0; 3].map(|_| normal([b, cin, n, n], &ad).require_grad());
        let [rel_h, rel_w] = [0; 2].map(|_| normal([cin / 2, 3], &ad).require_grad());
        report(&format!("local attention {name} forward+backward"), || {
            let y = local_attention(q.clone(), k.clone(), v.clone(), rel_h.clone(), rel_w.clone());
            let grads = y.square().mean().backward();
            black_box((q.grad(&grads), k.grad(&grads), v.grad(&grads), rel_h.grad(&grads)));
        });
    }
}

fn main() {
    subband_kernels::keep_freed_memory();
    let device = Device::flex();
    transforms(&device);
    modules(&device);
}
