//! Time of one training step of a network: forward, backward, optimiser; and of an evaluation pass, folded or not.
//! Run with `cargo bench -p subband-models --bench step -- cifar-resnet20 64 32`.
use std::time::Instant;

use burn::optim::{GradientsParams, SgdConfig};
use burn::prelude::*;
use burn::tensor::Distribution;
use subband_models::{Mode, NetworkConfig};

const STEPS: usize = 9;

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn milliseconds(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e3
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    let name = args.first().map_or("cifar-resnet20", String::as_str);
    let number = |i: usize, default: usize| args.get(i).and_then(|a| a.parse().ok()).unwrap_or(default);
    let (batch, size) = (number(1, 64), number(2, 32));

    let device = Device::flex().autodiff();
    let seed = subband_seed::Stream::new(1);
    let mut network = NetworkConfig::new(name, 3, 10).init(seed, &device).expect("a registered network");
    let x = Tensor::<4>::random([batch, 3, size, size], Distribution::Normal(0.0, 1.0), &device);
    let mut optimiser = SgdConfig::new().init();
    let mut times = [const { Vec::new() }; 3];
    for _ in 0..STEPS {
        let start = Instant::now();
        let out = network.forward(x.clone(), Mode::Train, &[]).expect("a valid input");
        times[0].push(milliseconds(start));
        let start = Instant::now();
        let grads = GradientsParams::from_grads(out.logits.powi_scalar(2).mean().backward(), &network);
        times[1].push(milliseconds(start));
        let start = Instant::now();
        network = optimiser.step(0.01, network, grads);
        times[2].push(milliseconds(start));
    }
    let [forward, backward, update] = times.map(median);
    println!("{name} b{batch} {size}x{size}: forward {forward:.1} ms, backward {backward:.1}, optimiser {update:.1}");

    let (plain, folded) = (network.valid(), network.fold_batch_norm(&[]));
    let x = x.inner();
    let run = |net: &subband_models::Network| {
        let passes = (0..STEPS).map(|_| {
            let start = Instant::now();
            let _ = net.forward(x.clone(), Mode::Eval, &[]);
            milliseconds(start)
        });
        median(passes.collect())
    };
    println!("evaluation {:.1} ms, folded {:.1} ms", run(&plain), run(&folded));
}
