//! Stage 2: the distance of the bands, where the masks look.
use burn::prelude::*;
use burn::tensor::TensorData;
use subband_spectral::dwt::BandWeights;

use super::frequency::Bands;
use super::gate::{Gates, Weights};
use super::{Grouping, PromptSets};
use crate::pieces::align::Align;
use crate::{DistillError, adaptive_average_pool};

/// The loss of one pair of taps.
#[derive(Module, Debug)]
pub(super) struct TapLoss {
    pub align: Align,
    pub gates: Gates,
    /// Frozen, so no parameters of this module; `None` looks everywhere.
    #[module(skip)]
    pub prompts: Option<PromptSets>,
    #[module(skip)]
    pub loss: BandLoss,
    #[module(skip)]
    pub student: String,
    #[module(skip)]
    pub teacher: String,
}

impl TapLoss {
    /// The loss of aligned maps, each with the next deeper one for the gates.
    ///
    /// # Shapes
    /// `[N, C, H, W]` and `[N, C', H', W']` on both sides to `[1]`.
    pub fn forward(&self, student: [&Tensor<4>; 2], teacher: [&Tensor<4>; 2]) -> Result<Tensor<1>, DistillError> {
        let [_, _, h, w] = teacher[0].dims();
        let size = self.loss.bands.sizes([h, w])[0];
        let weights = self.gates.forward(teacher, student, size);
        let masks = match &self.prompts {
            Some(prompts) => Some(prompts.mean_masks(teacher[0].clone(), |set| self.loss.compares(set))?),
            None => None,
        };
        self.loss.between(student[0].clone(), teacher[0].clone(), masks, weights)
    }
}

/// Which bands are compared.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct BandLoss {
    pub bands: Bands,
    pub low: bool,
    pub high: bool,
}

impl BandLoss {
    /// Whether a set of bands (0 is LL) is compared.
    pub fn compares(&self, set: usize) -> bool {
        if set == 0 { self.low } else { self.high }
    }

    /// `sum_k mean w_k |a_k - b_k|` over the compared sets k of bands, a of the teacher and b of the student, with
    /// `w = mean_t M_t` times the weights of channels and places.
    ///
    /// The transform is linear, so only the difference of the maps is transformed.
    ///
    /// # Shapes
    /// Maps `[N, C, H, W]`, masks `[N, 1, h, w]` per set (none: 1 everywhere) to `[1]`.
    pub fn between(
        &self,
        student: Tensor<4>,
        teacher: Tensor<4>,
        masks: Option<Vec<Option<Tensor<4>>>>,
        weights: Weights,
    ) -> Result<Tensor<1>, DistillError> {
        let plain = masks.is_none() && weights.channels.is_none() && weights.places.is_none();
        if let (true, Some(dwt)) = (plain, self.bands.wavelets()) {
            // Three means of a level's orientations are three times their common mean.
            let high = if self.bands.grouping() == Grouping::Band { 3.0 } else { 1.0 };
            let means = dwt.band_l1(student, teacher)?;
            return Ok(means.weighted(f64::from(u8::from(self.low)), if self.high { high } else { 0.0 }));
        }
        let [n, c, h, w] = student.dims();
        let sizes = self.bands.sizes([h, w]);
        let places = self.place_weights(&student, masks, weights.places.as_ref(), &sizes);
        let sums = match (self.bands.wavelets(), weights.places) {
            (Some(dwt), None) => dwt.weighted_l1(student, teacher, &places)?,
            // The weights of places are learned: their gradient is wanted too.
            _ => self.bands.forward(student - teacher)?.weighted_l1(&places),
        };
        let by_channel = (sums * self.factors(n * c, &sizes, &places.ll)).sum_dim(2).squeeze_dim::<2>(2);
        let by_channel = match weights.channels {
            Some(weights) => by_channel * weights,
            None => by_channel,
        };
        // Sample by sample: one sum over all would depend on the number of threads for large batches.
        Ok(by_channel.sum_dim(1).sum())
    }

    /// Masks times the weights of places; 0 for sets that are not compared.
    fn place_weights(
        &self,
        like: &Tensor<4>,
        masks: Option<Vec<Option<Tensor<4>>>>,
        places: Option<&Tensor<4>>,
        sizes: &[[usize; 2]],
    ) -> BandWeights {
        let (n, options) = (like.dims()[0], (&like.device(), like.dtype()));
        let count = self.bands.set_names().len();
        let mut masks = masks.map_or_else(|| vec![None; count], |masks| masks);
        let of = |(set, mask): (usize, &mut Option<Tensor<4>>)| {
            let per_level = (count - 1) / sizes.len();
            let [h, w] = if set == 0 { sizes[sizes.len() - 1] } else { sizes[(set - 1) / per_level] };
            if !self.compares(set) {
                return Tensor::zeros([n, 1, h, w], options);
            }
            let mask = mask.take().unwrap_or_else(|| Tensor::ones([n, 1, h, w], options));
            match places {
                Some(places) => mask * adaptive_average_pool(places.clone(), (h, w)),
                None => mask,
            }
        };
        let (ll, details) = self.bands.spread(masks.iter_mut().enumerate().map(of).collect());
        BandWeights { ll, details }
    }

    /// What makes sums over N, C and places into means, `[1, 1, 1 + 3 levels]`: of each band, or of the three of a level.
    fn factors(&self, maps: usize, sizes: &[[usize; 2]], like: &Tensor<4>) -> Tensor<3> {
        let share = if self.bands.grouping() == Grouping::Level { 3.0 } else { 1.0 };
        let mean = |[h, w]: [usize; 2], share: f64| 1.0 / (share * (maps * h * w) as f64);
        let low = mean(sizes[sizes.len() - 1], 1.0);
        let values: Vec<f64> = std::iter::once(low).chain(sizes.iter().flat_map(|s| [mean(*s, share); 3])).collect();
        let shape = [1, 1, values.len()];
        Tensor::from_data(TensorData::new(values, shape), (&like.device(), like.dtype()))
    }
}
