//! What a map is to explain, as weights of the logits.
use burn::prelude::*;
use burn::tensor::TensorData;

use super::error;
use super::heat::resize_transposed;
use crate::{Feature, ModelError, TapShape};

/// What an image's map explains: its score is differentiated or seen to fall.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CamTarget {
    /// The logit of a class; of classifiers.
    Class(usize),
    /// The sum of a class's logits over some pixels; of segmenters. The logits are taken as resized bilinearly to the
    /// size of the mask, which may be that of the image or of the logits.
    Pixels {
        /// The class.
        class: usize,
        /// Rows of the mask.
        height: usize,
        /// Columns of the mask.
        width: usize,
        /// Row by row, true for the pixels of the sum.
        mask: Vec<bool>,
    },
}

/// A score as a sum over places of logits of one class.
pub(super) struct Score {
    class: usize,
    /// One weight for each place of the logits; one for those of a classifier.
    weights: Vec<f64>,
}

impl CamTarget {
    /// The score of image `index` as weights of logits of this shape.
    pub(super) fn score(&self, index: usize, logits: TapShape) -> Result<Score, ModelError> {
        let fail = |reason: String| Err(error(&format!("image {index}"), reason));
        let (class, classes) = (self.class(), logits.channels());
        if class >= classes {
            return fail(format!("there is no class {class}, the network has {classes}"));
        }
        let weights = match (self, logits) {
            (Self::Class(_), TapShape::Vector { .. }) => vec![1.0],
            (Self::Class(_), _) => return fail("a segmenter needs the pixels that are to be explained".into()),
            (Self::Pixels { height, width, mask, .. }, TapShape::Map { height: h, width: w, .. }) => {
                if mask.len() != height * width {
                    return fail(format!("the mask of {height}x{width} has {} values", mask.len()));
                }
                if !mask.contains(&true) {
                    return fail("its mask has no pixel".into());
                }
                let mask: Vec<f64> = mask.iter().map(|pixel| f64::from(u8::from(*pixel))).collect();
                resize_transposed(&mask, (*height, *width), (h, w))
            }
            (Self::Pixels { .. }, _) => return fail("a classifier has no pixels, name a class alone".into()),
        };
        Ok(Score { class, weights })
    }

    fn class(&self) -> usize {
        match self {
            Self::Class(class) | Self::Pixels { class, .. } => *class,
        }
    }
}

impl Score {
    /// The score of each image of a batch.
    pub(super) fn of(&self, logits: &Feature) -> Vec<f64> {
        let class: Vec<f64> = match logits.clone() {
            Feature::Map(x) => x.narrow(1, self.class, 1).into_data().iter::<f64>().collect(),
            Feature::Vector(x) => x.narrow(1, self.class, 1).into_data().iter::<f64>().collect(),
            Feature::Tokens { .. } => vec![],
        };
        let sum = |values: &[f64]| values.iter().zip(&self.weights).map(|(v, w)| v * w).sum();
        class.chunks_exact(self.weights.len()).map(sum).collect()
    }
}

/// The sum of all images' scores, differentiable in the logits.
pub(super) fn total(scores: &[Score], logits: Feature) -> Tensor<1> {
    let rows = logits.into_rows();
    let [count, classes] = rows.dims();
    let mut weights = vec![0.0_f32; count * classes];
    let mut place = 0;
    for score in scores {
        for weight in &score.weights {
            weights[place * classes + score.class] = *weight as f32;
            place += 1;
        }
    }
    let weights = Tensor::from_data(TensorData::new(weights, [count, classes]), (&rows.device(), rows.dtype()));
    (rows * weights).sum()
}
