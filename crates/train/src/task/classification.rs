//! One class for each image: cross-entropy, top-1 and top-5.
//!
//! ```text
//! CE(z, y) = mean over the batch of  -log softmax(z)_y
//! ```
use burn::prelude::*;
use subband_distill::Labels;
use subband_kernels::loss::cross_entropy;
use subband_metrics::TopK;
use subband_models::Features;

use crate::TrainError;
use crate::evaluate::Evaluation;
use crate::evidence::Scores;

/// The mean cross-entropy `[1]` of the scores with the labels.
pub(super) fn loss(features: &Features, labels: &Labels) -> Result<Tensor<1>, TrainError> {
    let classes = labels.images("task").map_err(|source| TrainError::distill("task", source))?;
    Ok(cross_entropy(features.scores(), classes, None))
}

/// Counts over batches of logits.
#[derive(Default)]
pub(crate) struct Tally {
    top: TopK,
    images: usize,
    loss: f64,
}

impl Tally {
    /// Adds a batch of logits `[N, K]` with its labels. Ranks and ties as in [`TopK`]; the loss is summed in f64.
    pub fn add(&mut self, logits: Tensor<2>, labels: &[usize]) -> Result<(), TrainError> {
        let classes = logits.dims()[1];
        let values = logits.into_data().convert::<f32>().try_to_vec::<f32>().unwrap_or_default();
        self.top.add(&values, labels, classes).map_err(TrainError::Wiring)?;
        self.loss += values.chunks_exact(classes).zip(labels).map(|(z, label)| negative_log(z, *label)).sum::<f64>();
        self.images += labels.len();
        Ok(())
    }

    /// Images so far.
    pub fn images(&self) -> usize {
        self.images
    }

    /// The figures.
    pub fn result(self) -> Evaluation {
        let figures = self.top.result();
        let correct5 = (figures.top5 / 100.0 * self.images as f64).round() as usize;
        let counts = [("correct", figures.correct as usize), ("correct5", correct5), ("total", self.images)];
        let loss = self.loss / self.images as f64;
        Evaluation {
            counts: counts.map(|(name, count)| (name.to_string(), count)).into(),
            scores: Scores::new([("top1", figures.top1), ("top5", figures.top5), ("loss", loss)]),
            ..Evaluation::default()
        }
    }
}

/// `-log softmax(z)_label = log sum exp(z) - z_label` in f64.
pub(super) fn negative_log(scores: &[f32], label: usize) -> f64 {
    let top = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = scores.iter().map(|z| f64::from(z - top).exp()).sum();
    sum.ln() + f64::from(top) - scores.get(label).map_or(f64::NAN, |z| f64::from(*z))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cross_entropy_meets_the_formula() {
        let want = (1.0_f64.exp() + 2.0_f64.exp() + 0.5_f64.exp()).ln() - 0.5;
        assert!((negative_log(&[1.0, 2.0, 0.5], 2) - want).abs() < 1e-12);
        assert!((negative_log(&[1000.0, 0.0], 1) - 1000.0).abs() < 1e-9);
    }
}
