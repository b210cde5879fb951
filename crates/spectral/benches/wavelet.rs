//! Times the Haar transform with an L1 loss, forward and backward; `benches/wavelet.py` times the same in PyTorch.
//!
//! Prints one line `case<TAB>shape<TAB>median<TAB>minimum` in milliseconds per case. An argument limits the run to the
//! cases that contain it.
use std::time::Instant;

use burn::prelude::*;
use burn::tensor::Distribution;
use subband_spectral::dwt::{Dwt2, Dwt2Config};

const SHAPES: [[usize; 4]; 3] = [[8, 256, 64, 64], [8, 256, 80, 80], [8, 512, 28, 28]];
const RUNS: usize = 15;

fn main() {
    subband_kernels::keep_freed_memory();
    let plain = Device::flex();
    let tracked = plain.clone().autodiff();
    plain.seed(1);
    let dwt = Dwt2Config::new("haar", 3).init().expect("a valid transform");
    for shape in SHAPES {
        let noise = || Tensor::<4>::random(shape, Distribution::Normal(0.0, 1.0), &plain);
        let x = Tensor::from_inner(noise()).to_device(&tracked).require_grad();
        let y = noise();
        let teacher = Tensor::from_inner(y.clone());
        report("one map, fused", shape, || backward(&x, dwt.band_means(x.clone()).expect("sizes").weighted(1.0, 1.0)));
        report("one map, bands", shape, || backward(&x, from_bands(&dwt, x.clone())));
        let both = || dwt.band_l1(x.clone(), teacher.clone()).expect("equal shapes").weighted(1.0, 1.0);
        report("two maps, fused", shape, || backward(&x, both()));
        report("two maps, bands", shape, || backward(&x, between_bands(&dwt, x.clone(), y.clone())));
    }
}

/// `mean |LL| + sum_j mean |detail_j|` from the bands themselves.
fn from_bands(dwt: &Dwt2, x: Tensor<4>) -> Tensor<1> {
    let d = dwt.forward(x).expect("sizes");
    d.details.into_iter().fold(d.ll.abs().mean(), |sum, detail| sum + detail.bands.abs().mean())
}

/// The same between two maps that are both transformed.
fn between_bands(dwt: &Dwt2, x: Tensor<4>, y: Tensor<4>) -> Tensor<1> {
    let (a, b) = (dwt.forward(x).expect("sizes"), dwt.forward(y).expect("sizes"));
    let low = (a.ll - Tensor::from_inner(b.ll)).abs().mean();
    let pairs = a.details.into_iter().zip(b.details);
    pairs.fold(low, |sum, (a, b)| sum + (a.bands - Tensor::from_inner(b.bands)).abs().mean())
}

fn backward(x: &Tensor<4>, loss: Tensor<1>) {
    let gradients = loss.backward();
    std::hint::black_box(x.grad(&gradients));
}

fn report(case: &str, shape: [usize; 4], mut run: impl FnMut()) {
    let wanted = std::env::args().skip(1).filter(|a| !a.starts_with('-')).all(|a| case.contains(&a));
    if !wanted {
        return;
    }
    run();
    let mut times: Vec<f64> = (0..RUNS)
        .map(|_| {
            let start = Instant::now();
            run();
            start.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    times.sort_by(f64::total_cmp);
    let shape = shape.map(|n| n.to_string()).join("x");
    println!("{case}\t{shape}\t{:.3}\t{:.3}", times[RUNS / 2], times[0]);
}
