//! Median milliseconds and peak memory of FreqKD's loss, forward and backward, on five maps of a ViT-L/14 for a 512x640
//! image: a line `case<TAB>number` each.
//!
//! `cargo bench -p subband-spectral --bench bands`; the same in PyTorch: `python3 benches/bands.py`. Set
//! `RAYON_NUM_THREADS=2` for the comparison. PyTorch computes it in two ways, so the same number stands here under both
//! names.
use std::hint::black_box;
use std::time::Instant;

use burn::prelude::*;
use burn::tensor::Distribution;
use subband_spectral::band_distance::{Band, BandDistance, Measure};
use subband_spectral::filter::{Mask, Pass};

const REPEATS: usize = 11;
const SHAPE: [usize; 4] = [1, 1024, 37, 46];

/// A line of this process's status, in MiB.
fn status(key: &str) -> f64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default();
    line.split_whitespace().find_map(|word| word.parse::<f64>().ok()).unwrap_or(f64::NAN) / 1024.0
}

fn report(name: &str, mut run: impl FnMut()) {
    let before = status("VmRSS:");
    run();
    let peak = status("VmHWM:") - before;
    let mut times: Vec<f64> = (0..REPEATS)
        .map(|_| {
            let start = Instant::now();
            run();
            start.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    times.sort_by(f64::total_cmp);
    for way in ["full transforms", "half transforms"] {
        println!("FreqKD {way} {name}\t{:.2}", times[REPEATS / 2]);
        println!("FreqKD {way} {name} peak MiB\t{peak:.1}");
    }
}

fn main() {
    let device = Device::flex().autodiff();
    let normal = || Tensor::<4>::random(SHAPE, Distribution::Normal(0.0, 1.0), &device);
    let pairs: Vec<(Tensor<4>, Tensor<4>)> = (0..5).map(|_| (normal().require_grad(), normal())).collect();
    let mask = Mask::low([SHAPE[2], SHAPE[3]], Pass::freqkd([SHAPE[2], SHAPE[3]], 0.5)).expect("a mask");
    let low = Band { weight: 1.0, measure: Measure::Plain };
    let distance = BandDistance::new(mask, true, low, Band { weight: 0.1, measure: Measure::Log });
    let loss = || {
        let parts = pairs.iter().map(|(s, t)| distance.between(s.clone(), t.clone()).expect("maps of the mask's size"));
        parts.reduce(|a, b| a + b).expect("five maps")
    };
    report("5x1024x37x46 forward+backward", || {
        let gradients = loss().backward();
        let all: Vec<_> = pairs.iter().map(|(s, _)| s.grad(&gradients)).collect();
        black_box(all);
    });
}
