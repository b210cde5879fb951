//! Time of each method's loss, forward and backward, on the taps of ResNet56 to ResNet20 at 32x32, batch 64; then of
//! MonoAFKD's parts on the four scales of its detector at 384x1280, batch 4.
//!
//! `cargo bench -p subband-distill [-- NAME..]`: all methods, or those named. Median and least of `SUBBAND_STEPS` steps
//! (5); the least says more on a machine that does other work.
use std::collections::BTreeMap;
use std::time::Instant;

use burn::prelude::*;
use subband_distill::{AnyMethodConfig, ShapeBook, StepInput, method_names};
use subband_models::{Feature, Features, NetworkConfig, TapInfo, TapKind, TapShape};
use subband_seed::Stream;

fn tensor<const D: usize>(shape: [usize; D], s: f64, device: &Device) -> Tensor<D> {
    let values: Vec<f32> = (0..shape.iter().product::<usize>()).map(|k| (0.37 * k as f64 + s).sin() as f32).collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}

fn features(taps: &[TapInfo], batch: usize, wanted: &[String], s: f64, device: &Device, leaf: bool) -> Features {
    let feature = |name: &String| {
        let tap = taps.iter().find(|t| &t.name == name).expect("methods ask for taps that exist");
        let feature = match tap.shape {
            TapShape::Map { channels, height, width } => {
                Feature::Map(tensor([batch, channels, height, width], s, device).set_require_grad(leaf))
            }
            other => Feature::Vector(tensor([batch, other.channels()], s, device).set_require_grad(leaf)),
        };
        (name.clone(), feature)
    };
    let taps: BTreeMap<String, Feature> = wanted.iter().map(feature).collect();
    Features { logits: Feature::Vector(tensor([batch, 100], s, device).set_require_grad(leaf)), taps }
}

fn main() {
    let device = Device::flex().autodiff();
    let taps = |name: &str| {
        let network = NetworkConfig::new(name, 3, 100).init(Stream::new(1), &Device::flex());
        network.expect("a published network").taps(32, 32).expect("an input of its size")
    };
    let book =
        ShapeBook { student: taps("cifar-resnet20"), teacher: taps("cifar-resnet56"), classes: 100, prompts: None };
    let mut tables: Vec<String> = method_names().iter().map(|name| format!("method = '{name}'")).collect();
    // Masks need prompts that a run learns first.
    tables.iter_mut().filter(|text| text.contains("freekd")).for_each(|text| text.push_str("\nmasks = 'none'"));
    for extra in ["variant = 'paper'", "filter = 'depthwise'", "graph = 'layer-to-layer'"] {
        tables.push(format!("method = 'fam-kd'\n{extra}"));
    }
    for extra in ["wfd = 0.0", "afa = 0.0", "variant = 'paper'", "attention = 'window'"] {
        tables.push(format!("method = 'monoafkd'\n{extra}"));
    }
    let all = "student_taps = ['stage1', 'stage2', 'stage3']\nteacher_taps = ['stage1', 'stage2', 'stage3']";
    tables.push(format!("method = 'sfkd'\n{all}"));
    tables.push("method = 'sfkd'\nrefine = false".to_string());
    tables.push("method = 'ufd-kd'\nprojector = 'conv'".to_string());
    let asked: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let wanted = |t: &String| asked.is_empty() || asked.iter().any(|name| t.starts_with(&format!("method = '{name}'")));
    tables.retain(wanted);
    measure(&book, 64, tables, &device);

    let scales = [(64, 96, 320), (128, 48, 160), (256, 24, 80), (512, 12, 40)];
    let scale = |(k, (channels, height, width)): (usize, (usize, usize, usize))| TapInfo {
        name: format!("stage{}", k + 1),
        shape: TapShape::Map { channels, height, width },
        stride: 384 / height,
        kind: TapKind::Post,
    };
    let taps: Vec<TapInfo> = scales.into_iter().enumerate().map(scale).collect();
    let book = ShapeBook { student: taps.clone(), teacher: taps, classes: 100, prompts: None };
    let bare = "method = 'monoafkd'\nalign = { adapter = 'none' }";
    let parts = ["afa = 0.0", "afa = 0.0\norientations = 'separate'", "wfd = 0.0", "wfd = 0.0\nvariant = 'paper'"];
    let mut tables: Vec<String> = parts.map(|part| format!("{bare}\n{part}")).to_vec();
    tables.push("method = 'affinity'\nadapter = 'none'".to_string());
    tables.retain(wanted);
    measure(&book, 4, tables, &device);
}

/// Prints a row for each method.
fn measure(book: &ShapeBook, batch: usize, tables: Vec<String>, device: &Device) {
    let steps = std::env::var("SUBBAND_STEPS").ok().and_then(|n| n.parse().ok()).unwrap_or(5).max(1);
    println!("{:<70} {:>10} {:>12} {:>9} {:>9}", "method", "parameters", "largest MiB", "ms", "least");
    for text in tables {
        let config = AnyMethodConfig::from_table(&text.parse().expect("TOML")).expect("a registered method");
        let cost = config.cost(book, batch, device).expect("shapes fit");
        let method = config.init(book, "bench", Stream::new(1), device).expect("shapes fit");
        let wanted = config.taps(book).expect("taps exist");
        let teacher = features(&book.teacher, batch, &wanted.teacher, 0.2, device, false);
        let labels = Tensor::<1, Int>::arange(0..batch as i64, device);
        let mut times: Vec<f64> = (0..=steps)
            .map(|step| {
                let student = features(&book.student, batch, &wanted.student, 1.3, device, true);
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
                let total = terms.into_iter().map(|t| t.value).reduce(|a, b| a + b).expect("a term");
                std::hint::black_box(total.backward());
                start.elapsed().as_secs_f64() * 1e3
            })
            .collect();
        times.remove(0);
        times.sort_by(f64::total_cmp);
        let largest = cost.largest_temporary as f64 / (1 << 20) as f64;
        let (median, least, parameters) = (times[steps / 2], times[0], cost.parameters);
        println!("{:<70} {parameters:>10} {largest:>12.1} {median:>9.1} {least:>9.1}", text.replace('\n', ", "));
    }
}
