//! One class for each pixel: cross-entropy of pixels, intersection over union.
//!
//! With the logits z brought bilinearly to the size of the labels y, and the mean over all pixels of the batch whose
//! label is not ignored,
//! ```text
//! loss = CE(z, y) + aux_weight * CE(z_aux, y)          CE(z, y) = mean over pixels of  -log softmax(z)_y
//! ```
//! which is 0 where every pixel is ignored. `z_aux` are the scores of the auxiliary head (Zhao et al. 2017, section 3.3).
use burn::prelude::*;
use rayon::prelude::*;
use subband_data::Mask;
use subband_distill::Labels;
use subband_kernels::loss::pixel_cross_entropy;
use subband_metrics::{CategoryFigures, ClassFigures, Protocol, Segmentation, SegmentationResult};
use subband_models::Features;

use super::classification::negative_log;
use super::inference::{Prediction, Values};
use crate::TrainError;
use crate::evaluate::Evaluation;
use crate::evidence::{ClassScores, Scores};

/// Pixels whose figures are summed in one go; a fixed number, so that no sum depends on the number of threads.
const BLOCK: usize = 4096;

/// The loss `[1]` of a batch, that of the tap `aux.0` with the factor `aux.1` included.
pub(super) fn loss(features: &Features, labels: &Labels, aux: (&str, f64)) -> Result<Tensor<1>, TrainError> {
    let Labels::Pixels(classes) = labels else {
        return Err(TrainError::Wiring("a segmenter cannot learn from one class for each image".into()));
    };
    let loss = pixels(features.logits.clone().into_map(), classes.clone());
    let (tap, weight) = aux;
    match features.taps.get(tap).filter(|_| weight > 0.0) {
        Some(scores) => Ok(loss + pixels(scores.clone().into_map(), classes.clone()).mul_scalar(weight)),
        None => Ok(loss),
    }
}

/// Cross-entropy `[1]` of scores `[N, K, h, w]` with classes `[N, H, W]`; negative ones are not counted.
fn pixels(scores: Tensor<4>, classes: Tensor<3, Int>) -> Tensor<1> {
    // Channels last, which is how a network has them.
    pixel_cross_entropy(scores.permute([0, 2, 3, 1]), classes, None)
}

/// Counts over images.
pub(crate) struct Tally {
    counts: Segmentation,
    classes: Vec<String>,
    protocol: Protocol,
    images: usize,
    loss: f64,
    pixels: usize,
}

impl Tally {
    /// Nothing counted yet.
    pub fn new(classes: &[String], protocol: Protocol) -> Result<Self, TrainError> {
        let counts = Segmentation::new(classes.len()).map_err(TrainError::Wiring)?;
        // Said now, not after the last image.
        counts.result(protocol).map_err(TrainError::Wiring)?;
        Ok(Self { counts, classes: classes.to_vec(), protocol, images: 0, loss: 0.0, pixels: 0 })
    }

    /// Adds the prediction of an image at the size of its label map.
    pub fn add(&mut self, prediction: Prediction, mask: &Mask) -> Result<(), TrainError> {
        let truth = mask.labels();
        let classes = self.counts.classes();
        let (values, rows) = prediction.rows();
        let k = rows.len() / truth.len().max(1);
        if k < classes || rows.len() != k * truth.len() {
            return Err(TrainError::Wiring(format!(
                "the network gives {k} scores for each pixel, but the data set has {classes} classes"
            )));
        }
        let blocks = rows.par_chunks(BLOCK * k).zip(truth.par_chunks(BLOCK));
        let blocks: Vec<(Vec<u8>, f64)> = blocks.map(|(rows, truth)| block(values, rows, truth, k)).collect();
        let predicted: Vec<u8> = blocks.iter().flat_map(|(predicted, _)| predicted.iter().copied()).collect();
        self.counts.add(truth, &predicted).map_err(TrainError::Wiring)?;
        self.loss += blocks.iter().map(|(_, loss)| loss).sum::<f64>();
        self.pixels += truth.iter().filter(|label| **label != Mask::IGNORED).count();
        self.images += 1;
        Ok(())
    }

    /// Images so far.
    pub fn images(&self) -> usize {
        self.images
    }

    /// The figures.
    ///
    /// # Errors
    /// No pixel that counts.
    pub fn result(self) -> Result<Evaluation, TrainError> {
        let found = self.counts.result(self.protocol).map_err(TrainError::Wiring)?;
        if found.per_class.iter().all(|class| class.iou.is_none()) {
            return Err(nothing_counts(&found));
        }
        let figure = |value: Option<f64>| value.unwrap_or(f64::NAN);
        // What that code's authors call the accuracy of a class.
        let with_precision = self.protocol == Protocol::MfnetRepository;
        let class = |(name, of): (String, ClassFigures)| {
            let precision = with_precision.then(|| ("precision", figure(of.precision)));
            let others = [("iou", figure(of.iou)), ("accuracy", figure(of.accuracy))];
            ClassScores { name, scores: Scores::new(others.into_iter().chain(precision)) }
        };
        let category = |of: &CategoryFigures| ClassScores {
            name: of.name.clone(),
            scores: Scores::new([("iou", figure(of.iou))]),
        };
        let counts = [
            ("images", self.images),
            ("pixels", self.pixels),
            ("ignored", found.ignored as usize),
            ("void", found.void as usize),
        ];
        Ok(Evaluation {
            protocol: Some(self.protocol),
            counts: counts.map(|(name, count)| (name.to_string(), count)).into(),
            scores: scores(&found, self.loss / self.pixels as f64),
            categories: found.categories.iter().map(category).collect(),
            classes: self.classes.into_iter().zip(found.per_class).map(class).collect(),
        })
    }
}

/// The figures of all classes together. Those that a protocol leaves undefined are not among them.
fn scores(found: &SegmentationResult, loss: f64) -> Scores {
    let common = [("miou", found.miou), ("macc", found.macc), ("accuracy", found.accuracy), ("loss", loss)];
    let plain = found.miou_plain.filter(|_| found.protocol == Protocol::MfnetRtfnet);
    let own = [("miou_categories", found.miou_categories), ("miou_plain", plain)];
    Scores::new(common.into_iter().chain(own.into_iter().filter_map(|(name, value)| Some((name, value?)))))
}

/// The error for images of which no figure can be given.
fn nothing_counts(found: &SegmentationResult) -> TrainError {
    let all = found.pixels + found.ignored;
    TrainError::Wiring(match found.pixels {
        0 => format!(
            "all {all} pixels of {} images are ignored, so there is nothing to judge by: check `label_map` and \
             `ignore_label` under [data], and whether the labels of this split are published (those of Cityscapes' test \
             split are not: evaluate on val)",
            found.images
        ),
        _ => format!(
            "no pixel of {} images is, or is predicted as, a class that counts under the protocol `{}`: choose another \
             protocol, or check the labels",
            found.images, found.protocol
        ),
    })
}

/// The predicted class of each row of `k` values, and the sum of the rows' losses.
fn block(values: Values, rows: &[f32], truth: &[u8], k: usize) -> (Vec<u8>, f64) {
    let mut loss = 0.0;
    let each = rows.chunks_exact(k).zip(truth).map(|(row, label)| {
        if *label != Mask::IGNORED {
            loss += match values {
                Values::Logits => negative_log(row, usize::from(*label)),
                Values::Probabilities => row.get(usize::from(*label)).map_or(f64::NAN, |p| log_loss(*p)),
            };
        }
        best(row)
    });
    (each.collect(), loss)
}

/// -ln p of a probability in single precision, in which small ones become 0: no more than that of the smallest number
/// that is left, 87.3.
fn log_loss(p: f32) -> f64 {
    -f64::from(p.clamp(f32::MIN_POSITIVE, f32::INFINITY)).ln()
}

/// The class of the largest value, the first among equals; none of the classes where a value is not a number.
pub(crate) fn best(row: &[f32]) -> u8 {
    let mut best = 0;
    for (index, value) in row.iter().enumerate() {
        if value.is_nan() {
            return u8::MAX;
        }
        if *value > row[best] {
            best = index;
        }
    }
    u8::try_from(best).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::log_loss;

    #[test]
    fn a_probability_that_vanished_has_a_finite_loss() {
        assert_eq!(log_loss(0.5), std::f64::consts::LN_2);
        assert!((log_loss(0.0) - 87.336).abs() < 1e-2 && log_loss(0.0) == log_loss(1e-45));
        assert!(log_loss(f32::NAN).is_nan());
    }
}
