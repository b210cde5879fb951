//! Time of FreeKD's second stage, forward and backward, on the five levels of a feature pyramid of 256 channels for a
//! 400x672 image, batch 2, six prompts per set; `benches/freekd.py` times the same in PyTorch.
//!
//! Prints `case<TAB>shape<TAB>median<TAB>minimum` in milliseconds, and the peak of resident memory last. An argument
//! limits the run to the cases that contain it: for the memory of one case alone.
use std::collections::BTreeMap;
use std::time::Instant;

use burn::prelude::*;
use subband_distill::{AnyMethodConfig, Parameters, PromptConfig, Prompts, ShapeBook, StepInput, Variant};
use subband_models::{Feature, Features, TapInfo, TapKind, TapShape};
use subband_seed::Stream;

const SIZES: [[usize; 2]; 5] = [[50, 84], [25, 42], [13, 21], [7, 11], [4, 6]];
const CHANNELS: usize = 256;
const BATCH: usize = 2;
const RUNS: usize = 15;

fn taps() -> Vec<TapInfo> {
    let tap = |(k, [height, width]): (usize, [usize; 2])| TapInfo {
        name: format!("stage{}", k + 1),
        shape: TapShape::Map { channels: CHANNELS, height, width },
        stride: 8 << k,
        kind: TapKind::Post,
    };
    SIZES.into_iter().enumerate().map(tap).collect()
}

fn features(s: f64, device: &Device, leaf: bool) -> Features {
    let feature = |tap: TapInfo| {
        let (height, width) = tap.shape.extent();
        let shape = [BATCH, CHANNELS, height, width];
        let wave = |k: usize| (0.37 * k as f64 + s).sin() as f32;
        let values: Vec<f32> = (0..shape.iter().product::<usize>()).map(wave).collect();
        let map = Tensor::<4>::from_data(TensorData::new(values, shape), device).set_require_grad(leaf);
        (tap.name, Feature::Map(map))
    };
    let taps: BTreeMap<String, Feature> = taps().into_iter().map(feature).collect();
    Features { logits: Tensor::zeros([BATCH, 2], device), taps }
}

fn main() {
    subband_kernels::keep_freed_memory();
    let device = Device::flex().autodiff();
    let book = ShapeBook { student: taps(), teacher: taps(), classes: 2, prompts: None };
    let limit: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let file = std::env::temp_dir().join(format!("subband-bench-freekd-{}.safetensors", std::process::id()));
    let named: Vec<(String, usize)> = taps().into_iter().map(|t| (t.name, CHANNELS)).collect();
    for (case, variant, extra) in [
        ("masked", Variant::Reference, ""),
        ("paper bands", Variant::Paper, "position = 'none'"),
        ("paper bands and relation", Variant::Paper, ""),
        ("plain bands", Variant::Reference, "masks = 'none'"),
    ] {
        if !limit.iter().all(|part| case.contains(part.as_str())) {
            continue;
        }
        let prompts = PromptConfig { tokens: 6, ..PromptConfig::of(variant) };
        let parameters = Parameters::new(Stream::new(1), &device);
        Prompts::init(&prompts, &named, &parameters).and_then(|p| p.write(&file)).expect("prompts can be written");
        let word = if variant == Variant::Paper { "paper" } else { "reference" };
        let text = format!("method = 'freekd'\nvariant = '{word}'\nprompts = '{}'\n{extra}", file.display());
        let config = AnyMethodConfig::from_table(&text.parse().expect("TOML")).expect("known keys");
        let method = config.init(&book, "bench", Stream::new(1), &device).expect("shapes fit");
        let (student, teacher) = (features(1.3, &device, true), features(0.2, &device, false));
        let labels = Tensor::<1, Int>::zeros([BATCH], &device);
        let mut times: Vec<f64> = (0..=RUNS)
            .map(|step| {
                let input = StepInput { student: &student, teacher: &teacher, labels: labels.clone(), epoch: 1, step };
                let start = Instant::now();
                let terms = method.forward(&input).expect("shapes fit");
                let total = terms.into_iter().map(|t| t.value).reduce(|a, b| a + b).expect("five terms");
                std::hint::black_box(total.backward());
                start.elapsed().as_secs_f64() * 1e3
            })
            .collect();
        times.remove(0);
        times.sort_by(f64::total_cmp);
        println!("{case}\t{BATCH}x{CHANNELS}\t{:.3}\t{:.3}", times[RUNS / 2], times[0]);
    }
    let _ = std::fs::remove_file(&file);
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    if let Some(line) = status.lines().find(|line| line.starts_with("VmHWM")) {
        eprintln!("peak resident memory: {}", line.trim_start_matches("VmHWM:").trim());
    }
}
