//! Golden values, the oracle's values and gradients of FreeKD.
mod file;
mod loss;
mod prompts;

use burn::tensor::TensorData;
use subband_seed::Stream;

use super::*;
use crate::check::{device, double, values, wave};
use crate::{Parameters, StateDict, Variant};

fn parameters() -> Parameters {
    Parameters::new(Stream::new(1), &device())
}

/// f64 prompts: set number s (from 0) holds `0.5 sin(0.37 k + 0.7)`, k counted on through all sets, as in G2.
fn waves(config: &PromptConfig, channels: usize) -> PromptSets {
    let sets = double(config.init(channels, &parameters()).unwrap());
    let each = config.tokens * channels;
    let all = values(wave([sets.names().len() * each], 0.7, 0.37) * 0.5);
    let named = sets.names().into_iter().zip(all.chunks(each));
    let shaped = named.map(|(name, part)| (name, TensorData::new(part.to_vec(), [config.tokens, channels])));
    let state: StateDict = shaped.collect();
    sets.load(&state).unwrap()
}

fn two_tokens(variant: Variant) -> PromptConfig {
    PromptConfig { tokens: 2, ..PromptConfig::of(variant) }
}

fn assert_close(found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len());
    for (k, (a, b)) in found.iter().zip(expected).enumerate() {
        assert!((a - b).abs() < tolerance, "number {k}: {a} instead of {b}");
    }
}
