//! Time and memory of whole losses of frequency methods, forward and backward: FreeKD on the five levels of a feature
//! pyramid of 256 channels for a 400x672 image, FreqKD on five layers of a ViT-L/14 for a 512x640 image, MonoAFKD's WFD
//! on the four scales of its detector. `benches/methods.py` is the same in PyTorch; `benches/compare.sh methods` runs
//! both.
//!
//! Prints `case<TAB>shape<TAB>median<TAB>minimum<TAB>MiB`: milliseconds, and the growth of the peak resident memory. Each
//! case runs in a process of its own; a case's name as the argument runs that one alone.
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use burn::prelude::*;
use burn::tensor::Distribution;
use subband_distill::{AnyMethodConfig, Parameters, PromptConfig, Prompts, ShapeBook, StepInput, Variant};
use subband_models::{Feature, Features, TapInfo, TapKind, TapShape};
use subband_seed::Stream;

/// Batch, and channels, height and width of every map.
type Maps = (usize, &'static [[usize; 3]]);
const FPN: Maps = (2, &[[256, 50, 84], [256, 25, 42], [256, 13, 21], [256, 7, 11], [256, 4, 6]]);
const TOKENS: Maps = (2, &[[1024, 37, 46]; 5]);
const MONO: Maps = (4, &[[64, 96, 320], [128, 48, 160], [256, 24, 80], [512, 12, 40]]);
const RUNS: usize = 9;

/// Name, maps and table of each case. `PROMPTS` stands for a file of prompts.
const CASES: [(&str, Maps, &str); 6] = [
    ("freekd", FPN, "method = 'freekd'\nprompts = 'PROMPTS'"),
    ("freekd, one mask", FPN, "method = 'freekd'\nprompts = 'PROMPTS'"),
    ("freekd, no adapter", FPN, "method = 'freekd'\nprompts = 'PROMPTS'\nadapter = 'none'"),
    ("freekd, no adapter, one mask", FPN, "method = 'freekd'\nprompts = 'PROMPTS'\nadapter = 'none'"),
    ("freqkd", TOKENS, "method = 'freqkd'"),
    ("wfd", MONO, "method = 'monoafkd'\nafa = 0.0\nalign = { adapter = 'none' }"),
];

fn taps((_, maps): Maps) -> Vec<TapInfo> {
    let tap = |(k, [channels, height, width]): (usize, [usize; 3])| TapInfo {
        name: format!("stage{}", k + 1),
        shape: TapShape::Map { channels, height, width },
        stride: 1,
        kind: TapKind::Post,
    };
    maps.iter().copied().enumerate().map(tap).collect()
}

fn features(maps: Maps, device: &Device, leaf: bool) -> Features {
    let feature = |tap: TapInfo| {
        let ((height, width), channels) = (tap.shape.extent(), tap.shape.channels());
        let map = Tensor::<4>::random([maps.0, channels, height, width], Distribution::Normal(0.0, 1.0), device);
        (tap.name, Feature::Map(map.set_require_grad(leaf)))
    };
    let taps: BTreeMap<String, Feature> = taps(maps).into_iter().map(feature).collect();
    Features { logits: Feature::Vector(Tensor::zeros([maps.0, 2], device)), taps }
}

/// Random prompts, six per set, as the released configuration has them.
fn prompts(maps: Maps, device: &Device) -> PathBuf {
    let file = std::env::temp_dir().join(format!("subband-bench-{}.safetensors", std::process::id()));
    let named: Vec<(String, usize)> = taps(maps).into_iter().map(|t| (t.name, t.shape.channels())).collect();
    let config = PromptConfig { tokens: 6, ..PromptConfig::of(Variant::Reference) };
    let made = Prompts::init(&config, &named, &Parameters::new(Stream::new(1), device));
    made.and_then(|prompts| prompts.write(&file)).expect("prompts can be written");
    file
}

/// A field of this process's status in MiB; none where there is no such file.
fn status(field: &str) -> f64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(field)).unwrap_or_default();
    line.split_whitespace().find_map(|word| word.parse::<f64>().ok()).unwrap_or(f64::NAN) / 1024.0
}

fn measure(name: &str, maps: Maps, table: &str) {
    subband_kernels::keep_freed_memory();
    let device = Device::flex().autodiff();
    let book = ShapeBook { student: taps(maps), teacher: taps(maps), classes: 2, prompts: None };
    let file = prompts(maps, &device);
    let text = table.replace("PROMPTS", &file.display().to_string());
    let config = AnyMethodConfig::from_table(&text.parse().expect("TOML")).expect("known keys");
    let method = config.init(&book, "bench", Stream::new(1), &device).expect("shapes fit");
    let _ = std::fs::remove_file(&file);
    let (student, teacher) = (features(maps, &device, true), features(maps, &device, false));
    let labels = Tensor::<1, Int>::zeros([maps.0], &device);
    let before = status("VmRSS:");
    let _ = std::fs::write("/proc/self/clear_refs", "5");
    let mut times: Vec<f64> = (0..=RUNS)
        .map(|step| {
            let input = StepInput {
                student: &student,
                teacher: &teacher,
                labels: labels.clone().into(),
                samples: &[],
                epoch: 1,
                step,
            };
            let start = Instant::now();
            let terms = method.forward(&input).expect("shapes fit");
            let total = terms.into_iter().map(|t| t.value).reduce(|a, b| a + b).expect("a term per map");
            std::hint::black_box(total.backward());
            start.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    let memory = status("VmHWM:") - before;
    times.remove(0);
    times.sort_by(f64::total_cmp);
    println!("{name}\t{} maps\t{:.3}\t{:.3}\t{memory:.0}", maps.1.len(), times[RUNS / 2], times[0]);
}

fn main() {
    let asked = std::env::args().skip(1).find(|a| !a.starts_with('-'));
    let program = std::env::args().next().unwrap_or_default();
    for (name, maps, table) in CASES {
        match &asked {
            Some(asked) if asked == name => measure(name, maps, table),
            Some(_) => {}
            None => {
                let status = Command::new(Path::new(&program)).arg(name).status();
                assert!(status.is_ok_and(|s| s.success()), "the case {name} failed");
            }
        }
    }
}
