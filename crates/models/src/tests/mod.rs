//! Tests of the whole crate.
mod cam;
mod families;
mod fixtures;
mod fusion;
mod golden;
mod hooks;
mod layers;
mod lora;
mod networks;
mod resume;
mod segmenter_weights;
mod segmenters;
mod transformers;
mod weights;

use std::path::PathBuf;

use burn::prelude::*;
use burn::tensor::TensorData;

use crate::graph::Graph;
use crate::{Feature, Network, NetworkConfig, network_names};

/// A file or folder of the shared data (`SUBBAND_DATA`, or `shared` beside the workspace); says so when it is missing.
fn shared(path: &str) -> Option<PathBuf> {
    let beside = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let root = std::env::var_os("SUBBAND_DATA").map_or(beside, PathBuf::from);
    let path = root.join(path);
    if path.exists() {
        return Some(path);
    }
    println!("skipped: {} is missing (set SUBBAND_DATA)", path.display());
    None
}

/// FNV-1a, as the scripts of the fixtures have it.
fn fnv(bytes: impl Iterator<Item = u8>) -> u64 {
    bytes.fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3))
}

/// `key shape` of each tensor of a network, sorted.
fn lines(graph: &Graph) -> Vec<String> {
    let text = |shape: &[usize]| shape.iter().map(usize::to_string).collect::<Vec<_>>().join("x");
    let mut lines: Vec<String> = graph.entries().map(|(key, shape)| format!("{key} {}", text(&shape))).collect();
    lines.sort();
    lines
}

/// What the listings' tables have in place of such lines.
fn hash(lines: &[String]) -> String {
    format!("{:016x}", fnv(lines.iter().flat_map(|line| line.bytes().chain([b'\n']))))
}

/// Such lines of a full listing, where the shared files are there; some are not in every copy of them.
fn listing(source: &str) -> Option<Vec<String>> {
    let file = shared("reference/architectures/keys")?.join(format!("{source}.tsv"));
    let line = |line: &str| line.split('\t').take(2).collect::<Vec<_>>().join(" ");
    let mut lines: Vec<String> = std::fs::read_to_string(file).ok()?.lines().map(line).collect();
    lines.sort();
    Some(lines)
}

/// `sin(w k + s)` at the flat index k, in f64 and then rounded: an input anybody can make.
fn wave(shape: [usize; 4], w: f64, s: f64, device: &Device) -> Tensor<4> {
    let values: Vec<f32> = (0..shape.iter().product()).map(|k: usize| (w * k as f64 + s).sin() as f32).collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// An image that a network takes: `height` x `width`, or the only size it knows.
fn image(net: &Network, batch: usize, height: usize, width: usize, device: &Device) -> Tensor<4> {
    let (height, width) = net.input_side().map_or((height, width), |side| (side, side));
    wave([batch, net.in_channels(), height, width], 0.3, 0.0, device)
}

/// Names of the networks that run in no time; of the transformers and the segmentation networks the smallest of each
/// kind.
fn small() -> impl Iterator<Item = &'static str> {
    let large = ["110", "101", "32x4", "deit_small", "deit_base", "vit_"];
    let segmenters = ["pspnet-resnet18b-d16", "deeplabv3-resnet18-d8", "pspnet-mobilenetv2-d8"];
    network_names().into_iter().filter(move |name| match name.ends_with("-d8") || name.ends_with("-d16") {
        true => segmenters.contains(name),
        false => !large.iter().any(|part| name.contains(part)),
    })
}

/// One network of each builder and kind of block, the shallowest: deeper ones repeat the same steps.
const KINDS: [&str; 17] = [
    "cifar-resnet8",
    "cifar-resnet20a",
    "cifar-resnet8x4",
    "cifar-wrn-16-1",
    "cifar-wrn-16-2",
    "cifar-vgg8",
    "cifar-mobilenetv2",
    "cifar-shufflenetv1",
    "cifar-shufflenetv2",
    "cifar-resnet18-wide",
    "resnet18",
    "resnet50",
    "mobilenet_v2",
    "pspnet-resnet18-d8",
    "deeplabv3-mobilenetv2-d16",
    "deit_tiny_patch16_224",
    "deit_tiny_distilled_patch16_224",
];

/// All values of a feature, the tokens off the grid included.
fn feature_values(feature: Feature) -> Vec<f64> {
    match feature {
        Feature::Map(x) => values(x),
        Feature::Vector(x) => values(x),
        Feature::Tokens { values: x, .. } => values(x),
    }
}

fn network(name: &str, in_channels: usize, classes: usize, device: &Device) -> Network {
    NetworkConfig::new(name, in_channels, classes).init(subband_seed::Stream::new(5), device).unwrap()
}

fn strings(names: &[&str]) -> Vec<String> {
    names.iter().map(|n| n.to_string()).collect()
}

fn values<const D: usize>(x: Tensor<D>) -> Vec<f64> {
    x.into_data().iter::<f64>().collect()
}

/// Largest difference over the largest magnitude of the reference.
fn relative(found: &[f64], wanted: &[f64]) -> f64 {
    assert_eq!(found.len(), wanted.len());
    let scale = wanted.iter().fold(0.0_f64, |m, x| m.max(x.abs()));
    found.iter().zip(wanted).fold(0.0_f64, |m, (a, b)| m.max((a - b).abs())) / scale
}
