//! `subband taps`.
use burn::prelude::*;
use serde_json::json;
use subband_models::NetworkConfig;
use subband_seed::Stream;

use super::{print, print_json};
use crate::args::TapsArgs;
use crate::failure::Failure;
use crate::sizes::numbers;

/// Prints a network's taps at an input size.
pub fn taps(args: &TapsArgs) -> Result<(), Failure> {
    let [channels, height, width] = match &args.input {
        Some(text) => input(text)?,
        None if args.network.starts_with("cifar-") => [3, 32, 32],
        // The crops on which segmentation networks are compared; an unknown name is an error below.
        None if NetworkConfig::new(&args.network, 3, args.classes).is_segmenter().unwrap_or(false) => [3, 512, 1024],
        None => [3, 224, 224],
    };
    let network = NetworkConfig::new(&args.network, channels, args.classes).init(Stream::new(0), &Device::flex())?;
    if !args.json {
        return print(&network.describe(height, width)?);
    }
    print_json(&json!({
        "network": network.name(),
        "input": [channels, height, width],
        "classes": network.classes(),
        "params": network.param_count(),
        "macs": network.macs(height, width)?,
        "taps": network.taps(height, width)?,
    }))
}

/// `CxHxW`.
fn input(text: &str) -> Result<[usize; 3], Failure> {
    numbers(text).and_then(|numbers| numbers.try_into().ok()).ok_or_else(|| {
        Failure::usage(format!("--input {text} is not CxHxW"), "write channels, height and width, for example 3x32x32")
    })
}
