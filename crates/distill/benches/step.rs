//! Time of each method's loss, forward and backward, on the taps of ResNet56 to ResNet20 at 32x32, batch 64.
//!
//! `cargo bench -p subband-distill`
use std::collections::BTreeMap;
use std::time::Instant;

use burn::prelude::*;
use subband_distill::{AnyMethodConfig, ShapeBook, StepInput, method_names};
use subband_models::{Feature, Features, NetworkConfig, TapInfo, TapShape};
use subband_seed::Stream;

const BATCH: usize = 64;

fn tensor<const D: usize>(shape: [usize; D], s: f64, device: &Device) -> Tensor<D> {
    let values: Vec<f32> = (0..shape.iter().product::<usize>()).map(|k| (0.37 * k as f64 + s).sin() as f32).collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}

fn features(taps: &[TapInfo], wanted: &[String], s: f64, device: &Device, leaf: bool) -> Features {
    let feature = |name: &String| {
        let tap = taps.iter().find(|t| &t.name == name).expect("methods ask for taps that exist");
        let feature = match tap.shape {
            TapShape::Map { channels, height, width } => {
                Feature::Map(tensor([BATCH, channels, height, width], s, device).set_require_grad(leaf))
            }
            other => Feature::Vector(tensor([BATCH, other.channels()], s, device).set_require_grad(leaf)),
        };
        (name.clone(), feature)
    };
    let taps: BTreeMap<String, Feature> = wanted.iter().map(feature).collect();
    Features { logits: tensor([BATCH, 100], s, device).set_require_grad(leaf), taps }
}

fn main() {
    let device = Device::flex().autodiff();
    let taps = |name: &str| {
        let network = NetworkConfig::new(name, 3, 100).init(Stream::new(1), &Device::flex());
        network.and_then(|n| n.taps(32, 32)).expect("a published network")
    };
    let book =
        ShapeBook { student: taps("cifar-resnet20"), teacher: taps("cifar-resnet56"), classes: 100, prompts: None };
    let mut tables: Vec<String> = method_names().iter().map(|name| format!("method = '{name}'")).collect();
    for extra in ["variant = 'paper'", "filter = 'depthwise'", "graph = 'layer-to-layer'"] {
        tables.push(format!("method = 'fam-kd'\n{extra}"));
    }
    println!("{:<50} {:>10} {:>12} {:>9}", "method", "parameters", "largest MiB", "ms");
    for text in tables {
        let config = AnyMethodConfig::from_table(&text.parse().expect("TOML")).expect("a registered method");
        let cost = config.cost(&book, BATCH, &device).expect("shapes fit");
        let method = config.init(&book, "bench", Stream::new(1), &device).expect("shapes fit");
        let wanted = config.taps(&book).expect("taps exist");
        let teacher = features(&book.teacher, &wanted.teacher, 0.2, &device, false);
        let labels = Tensor::<1, Int>::arange(0..BATCH as i64, &device);
        let mut times: Vec<f64> = (0..6)
            .map(|step| {
                let student = features(&book.student, &wanted.student, 1.3, &device, true);
                let input = StepInput { student: &student, teacher: &teacher, labels: labels.clone(), epoch: 1, step };
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
        println!("{:<50} {:>10} {largest:>12.1} {:>9.1}", text.replace('\n', ", "), cost.parameters, times[2]);
    }
}
