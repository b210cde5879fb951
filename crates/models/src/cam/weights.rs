//! The weights of the channels.
use std::collections::BTreeMap;
use std::ops::Range;

use burn::prelude::*;
use burn::tensor::{DType, TensorData};

use super::error;
use super::target::{CamTarget, Score, total};
use crate::{Feature, Mode, ModelError, Network};

/// Activations at a tap and the weights of their channels.
pub(super) struct Weighted {
    /// `[N, C, H, W]` of the activations.
    pub shape: [usize; 4],
    pub activations: Vec<f64>,
    /// `[N, C]`.
    pub weights: Vec<f64>,
}

/// How far an ablated channel lies below the smallest activation, where that is not 0.
const FAR: f64 = 1e7;
/// The largest number of channels that are ablated in one pass.
const BATCH: usize = 32;
/// The largest number of values of such a batch.
const VALUES: usize = 1 << 24;

fn scores(targets: &[CamTarget], logits: &Feature) -> Result<Vec<Score>, ModelError> {
    targets.iter().enumerate().map(|(index, target)| target.score(index, logits.shape())).collect()
}

fn numbers<const D: usize>(x: Tensor<D>) -> Vec<f64> {
    x.into_data().iter::<f64>().collect()
}

/// Grad-CAM: the mean gradient of each channel.
///
/// A probe of zeros is added at each tap: the gradient in it is that in the activation, and probes at several taps do
/// not cut each other off.
pub(super) fn gradient(
    network: &Network,
    images: Tensor<4>,
    taps: &[String],
    targets: &[CamTarget],
) -> Result<Vec<Weighted>, ModelError> {
    let network = network.constant(taps);
    let mut probes = BTreeMap::new();
    let mut probe = |tap: &str, x: Tensor<4>| {
        let values = x.clone().inner();
        let zeros = Tensor::from_inner(values.zeros_like()).require_grad();
        probes.insert(tap.to_string(), (values, zeros.clone()));
        Ok(x + zeros)
    };
    let features = network.forward_hooked(images, Mode::Eval, &[], taps, &mut probe)?;
    let scores = scores(targets, &features.logits)?;
    let unread = |tap: &String| error(&format!("the tap `{tap}`"), "the logits do not depend on it".into());
    let total = total(&scores, features.logits);
    if let (false, Some(tap)) = (total.is_tracked(), taps.first()) {
        return Err(unread(tap));
    }
    let gradients = total.backward();
    let weighted = |tap: &String| {
        let unread = || unread(tap);
        let (values, zeros) = probes.get(tap).ok_or_else(unread)?;
        let gradient = numbers(zeros.grad(&gradients).ok_or_else(unread)?);
        let shape @ [_, _, h, w] = values.dims();
        let mean = |channel: &[f64]| channel.iter().sum::<f64>() / (h * w) as f64;
        let weights = gradient.chunks_exact(h * w).map(mean).collect();
        Ok(Weighted { shape, activations: numbers(values.clone()), weights })
    };
    taps.iter().map(weighted).collect()
}

/// Ablation-CAM: the share of the score that is lost without each channel.
pub(super) fn ablation(
    network: &Network,
    images: Tensor<4>,
    taps: &[String],
    targets: &[CamTarget],
) -> Result<Vec<Weighted>, ModelError> {
    let network = network.fold_batch_norm(taps);
    let [_, _, height, width] = images.dims();
    let features = network.forward(images, Mode::Eval, taps)?;
    let scores = scores(targets, &features.logits)?;
    let mut layers = Vec::new();
    for tap in taps {
        let feature = features.get(tap).ok_or_else(|| error(tap, "it was not read".into()))?;
        let mut weights = Vec::new();
        for (index, score) in scores.iter().enumerate() {
            let whole = score.of(&part(&features.logits, index))[0];
            if whole == 0.0 || !whole.is_finite() {
                let reason = format!("the score of its target is {whole}, and the losses are shares of it");
                return Err(error(&format!("image {index}"), reason));
            }
            let image = part(feature, index);
            for ablated in ablations(&image) {
                let rest = network.forward_from(tap, ablated, (height, width))?;
                weights.extend(score.of(&rest).into_iter().map(|left| (whole - left) / whole));
            }
        }
        let map = feature.clone().into_map();
        layers.push(Weighted { shape: map.dims(), activations: numbers(map), weights });
    }
    Ok(layers)
}

/// One image of a feature.
fn part(feature: &Feature, index: usize) -> Feature {
    match feature.clone() {
        Feature::Map(x) => Feature::Map(x.narrow(0, index, 1)),
        Feature::Vector(x) => Feature::Vector(x.narrow(0, index, 1)),
        Feature::Tokens { values, prefix, grid } => {
            Feature::Tokens { values: values.narrow(0, index, 1), prefix, grid }
        }
    }
}

/// Batches of one image's feature, each copy without one channel, all channels in turn.
fn ablations(image: &Feature) -> impl Iterator<Item = Feature> + '_ {
    let channels = image.shape().channels();
    let (values, smallest) = match image {
        Feature::Map(x) => (x.shape().num_elements(), x.clone().min()),
        Feature::Vector(x) => (x.shape().num_elements(), x.clone().min()),
        Feature::Tokens { values, .. } => (values.shape().num_elements(), values.clone().min()),
    };
    let smallest = numbers(smallest)[0];
    let fill = if smallest == 0.0 { 0.0 } else { smallest - FAR };
    let batch = (VALUES / values.max(1)).clamp(1, BATCH);
    let ranges = (0..channels).step_by(batch).map(move |first| first..channels.min(first + batch));
    ranges.map(move |range| without(image, range, fill))
}

/// Copies of one image's feature: in each, one channel of the range is `fill` everywhere.
fn without(image: &Feature, range: Range<usize>, fill: f64) -> Feature {
    let (copies, channels) = (range.len(), image.shape().channels());
    let table = |at: f64, else_: f64, device: &Device, dtype: DType| -> Tensor<2> {
        let value = |k: usize| if range.start + k / channels == k % channels { at } else { else_ };
        let data = TensorData::new((0..copies * channels).map(value).collect::<Vec<f64>>(), [copies, channels]);
        Tensor::from_data(data, (device, dtype))
    };
    match image.clone() {
        Feature::Map(x) => {
            let table = |at, else_| table(at, else_, &x.device(), x.dtype()).reshape([copies, channels, 1, 1]);
            let copied = x.clone().repeat_dim(0, copies);
            Feature::Map(copied * table(0.0, 1.0) + table(fill, 0.0))
        }
        Feature::Vector(x) => {
            let table = |at, else_| table(at, else_, &x.device(), x.dtype());
            Feature::Vector(x.clone().repeat_dim(0, copies) * table(0.0, 1.0) + table(fill, 0.0))
        }
        Feature::Tokens { values: x, prefix, grid } => {
            let table = |at, else_| table(at, else_, &x.device(), x.dtype()).reshape([copies, 1, channels]);
            let values = x.clone().repeat_dim(0, copies) * table(0.0, 1.0) + table(fill, 0.0);
            Feature::Tokens { values, prefix, grid }
        }
    }
}
