//! Tests of the whole crate.
mod families;
mod fixtures;
mod fusion;
mod golden;
mod layers;
mod networks;
mod weights;

use std::path::PathBuf;

use burn::prelude::*;
use burn::tensor::TensorData;

use crate::{Network, NetworkConfig};

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

/// `sin(w k + s)` at the flat index k, in f64 and then rounded: an input anybody can make.
fn wave(shape: [usize; 4], w: f64, s: f64, device: &Device) -> Tensor<4> {
    let values: Vec<f32> = (0..shape.iter().product()).map(|k: usize| (w * k as f64 + s).sin() as f32).collect();
    Tensor::from_data(TensorData::new(values, shape), device)
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
