//! What learning the prompts changed, measured on the test images, and pictures of the masks.
use burn::prelude::*;
use subband_data::Target;
use subband_distill::{DistillError, FrequencyKind, PromptSets, Prompts};
use subband_kernels::optimizer::sum_of_squares;
use subband_models::{Mode, Network};

use crate::TrainError;
use crate::evidence::{MaskPictures, PictureImage, PromptTap, Scores, SetMasks, TapMasks};
use crate::learner::Inputs;
use crate::pictures::{images as chosen_images, short_name};
use crate::prompts::run as prompted;
use crate::run::go_on;
use crate::run::progress::{Event, Progress};
use crate::run::step::scalar;
use crate::setup::Role;

use super::{NAME, PromptRun};

/// Test images that are pictured.
const PICTURES: usize = 2;
/// The longest side of a picture.
const LARGEST: usize = 320;

/// The teacher without prompts, with fresh and with learned ones.
pub(super) struct Comparison {
    pub plain: Scores,
    pub start: Scores,
    pub end: Scores,
    /// Largest difference of a logit between no prompts and prompts of 0 in the first batch, as a share of the largest.
    pub zero_difference: f64,
    /// Root mean square of the differences between no and fresh prompts, as a share of that of the logits.
    pub start_difference: f64,
    /// By tap: with fresh and with learned prompts.
    pub dissimilarities: Vec<[f64; 2]>,
}

/// Runs the test images through the teacher and through the teacher with each of two sets of prompts.
pub(super) fn compare(
    run: &PromptRun<'_>,
    network: &Network,
    both: [&Prompts; 2],
    progress: &mut dyn Progress,
) -> Result<Comparison, TrainError> {
    let loader = run.setup.splits.eval_loader(&run.setup.splits.test, run.setup.eval_batch(&run.setup.recipe.train))?;
    let judge = &run.setup.judge;
    let mut tallies = [judge.tally()?, judge.tally()?];
    let mut unprompted = judge.tally()?;
    let mut sums = vec![[0.0; 2]; both[0].taps().len()];
    let (mut differences, mut squares, mut at_zero) = (0.0_f64, 0.0_f64, None);
    let zero = zeros(both[0]).map_err(|source| TrainError::distill(NAME, source))?;
    for batch in loader.epoch(0, 0) {
        let batch = batch?;
        if batch.is_empty() {
            continue;
        }
        let (targets, count) = (batch.targets.clone(), batch.len());
        let images = Inputs::images(batch, Role::Teacher, &run.device);
        let plain = plain(network, images.clone(), &[])?;
        unprompted.add(&plain, &targets)?;
        let plain = plain.scores();
        squares += sum_of_squares(plain.clone());
        if at_zero.is_none() {
            let logits = prompted(network, &zero, images.clone())?.0.scores();
            at_zero = Some(most(logits - plain.clone()) / most(plain.clone()).max(f64::MIN_POSITIVE));
        }
        for (k, prompts) in both.into_iter().enumerate() {
            let (features, overlaps) = prompted(network, prompts, images.clone())?;
            if k == 0 {
                differences += sum_of_squares(features.scores() - plain.clone());
            }
            tallies[k].add(&features, &targets)?;
            for (sum, (_, overlap)) in sums.iter_mut().zip(overlaps) {
                // A dissimilarity is a mean over its batch.
                sum[k] += scalar(overlap) * count as f64;
            }
        }
        let event = Event::Evaluating { split: "test", done: tallies[0].images(), total: loader.samples() };
        go_on(progress.event(event), NAME, run.recipe.steps)?;
    }
    let total = tallies[0].images() as f64;
    let [start, end] = tallies.map(|tally| tally.result().map(|result| result.scores));
    Ok(Comparison {
        plain: unprompted.result()?.scores,
        start: start?,
        end: end?,
        zero_difference: at_zero.unwrap_or_default(),
        start_difference: (differences / squares.max(f64::MIN_POSITIVE)).sqrt(),
        dissimilarities: sums.into_iter().map(|sum| sum.map(|sum| sum / total)).collect(),
    })
}

/// Prompts of 0, of the same shape.
pub(super) fn zeros(prompts: &Prompts) -> Result<Prompts, DistillError> {
    let zero = |(name, data): (String, TensorData)| {
        let numbers = vec![0.0_f32; data.shape().iter().product()];
        (name, TensorData::new(numbers, data.shape().clone()))
    };
    super::load(prompts, &super::state(prompts).into_iter().map(zero).collect())
}

/// The record of one tap.
pub(super) fn tap(name: &str, sets: &PromptSets, [start, end]: [f64; 2]) -> PromptTap {
    PromptTap {
        tap: name.into(),
        channels: sets.channels(),
        sets: sets.names(),
        dissimilarity_start: start,
        dissimilarity_end: end,
    }
}

/// The masks of a few test images, the first of those that the run's other pictures show.
pub(super) fn pictures(run: &PromptRun<'_>, network: &Network, learned: &Prompts) -> Result<MaskPictures, TrainError> {
    let splits = &run.setup.splits;
    let mut images: Vec<PictureImage> = Vec::new();
    let mut taps: Vec<TapMasks> = Vec::new();
    for chosen in chosen_images(splits.test.as_ref(), PICTURES, run.setup.recipe.seed) {
        let described = splits.test.describe(chosen.index);
        let image = chosen.sample.teacher.as_ref().unwrap_or(&chosen.sample.student);
        let view = splits.eval_pipeline.show(&described, image, true)?;
        let image = Tensor::from_data(TensorData::new(view.data, view.shape), &run.device);
        let label = match &chosen.sample.target {
            Target::Class(class) => splits.classes.get(*class).cloned().unwrap_or_else(|| class.to_string()),
            Target::Mask(_) => short_name(&described),
        };
        images.push(picture(chosen.index, label, image.clone()));
        masks(network, learned, image, &mut taps)?;
    }
    let transform = match run.recipe.config.transform {
        FrequencyKind::Dwt => "dwt",
        FrequencyKind::Dft => "dft",
        FrequencyKind::Dct => "dct",
        FrequencyKind::None => "none",
    };
    Ok(MaskPictures { transform: transform.into(), images, taps })
}

/// Adds the masks of one image `[1, C, H, W]` to those of the taps.
fn masks(network: &Network, learned: &Prompts, image: Tensor<4>, taps: &mut Vec<TapMasks>) -> Result<(), TrainError> {
    let mut features = plain(network, image, learned.taps())?;
    for (tap, sets) in learned.iter() {
        let Some(feature) = features.taps.remove(tap) else { continue };
        let found = sets.masks(feature.into_map()).map_err(|source| TrainError::distill(NAME, source))?;
        if !taps.iter().any(|known| known.tap == tap) {
            taps.push(TapMasks { tap: tap.into(), sets: Vec::new() });
        }
        // It was put there if it was missing.
        let Some(entry) = taps.iter_mut().find(|known| known.tap == tap) else { continue };
        for (set, masks) in found {
            let [_, tokens, height, width] = masks.dims();
            let values = masks.into_data().convert::<f32>().try_to_vec::<f32>().unwrap_or_default();
            let values: Vec<Vec<f32>> = values.chunks(height * width).take(tokens).map(<[f32]>::to_vec).collect();
            match entry.sets.iter_mut().find(|known| known.set == set) {
                Some(known) => {
                    known.sizes.push([height, width]);
                    known.values.push(values);
                }
                None => entry.sets.push(SetMasks { set, sizes: vec![[height, width]], values: vec![values] }),
            }
        }
    }
    Ok(())
}

/// An image `[1, C, H, W]` in grey, stretched from its darkest to its brightest value; every second pixel or fewer of a
/// large one.
fn picture(index: usize, label: String, image: Tensor<4>) -> PictureImage {
    let [_, _, rows, columns] = image.dims();
    let values = image.mean_dim(1).into_data().convert::<f32>().try_to_vec::<f32>().unwrap_or_default();
    let low = values.iter().copied().fold(f32::INFINITY, f32::min);
    let high = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let scale = if high > low { 255.0 / (high - low) } else { 0.0 };
    let step = rows.max(columns).div_ceil(LARGEST);
    let kept = values.chunks(columns).step_by(step).flat_map(|row| row.iter().step_by(step));
    let grey = kept.map(|value| ((value - low) * scale).round() as u8).collect();
    PictureImage { index, label, height: rows.div_ceil(step), width: columns.div_ceil(step), grey }
}

/// The teacher without prompts.
fn plain(network: &Network, images: Tensor<4>, want: &[String]) -> Result<subband_models::Features, TrainError> {
    network.forward(images, Mode::Eval, want).map_err(|source| TrainError::model("teacher", source))
}

/// Largest magnitude.
fn most(values: Tensor<2>) -> f64 {
    scalar(values.abs().max())
}
