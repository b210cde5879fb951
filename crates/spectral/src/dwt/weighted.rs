//! Weighted absolute values of every band, by sample and channel: distances that look at chosen places.
use burn::prelude::*;
use subband_kernels::dwt as kernels;

use super::{Decomposition, Dwt2, expect_shape, not_empty};
use crate::SpectralError;

/// One weight per coefficient of a [`Decomposition`], the same for all channels.
#[derive(Debug, Clone)]
pub struct BandWeights {
    /// Of LL, `[N, 1, h, w]`.
    pub ll: Tensor<4>,
    /// Of each level, finest first: `[N, 1, 3, h, w]`, or `[N, 1, 1, h, w]` for all three orientations.
    pub details: Vec<Tensor<5>>,
}

impl BandWeights {
    /// The same weights, as constants.
    fn detached(&self) -> Self {
        Self { ll: self.ll.clone().detach(), details: self.details.iter().map(|d| d.clone().detach()).collect() }
    }

    /// `[N, coefficients]`: LL, then LH, HL, HH of each level, finest first.
    fn packed(&self) -> Tensor<2> {
        let n = self.ll.dims()[0];
        let details = self.details.iter().map(|level| {
            let [_, _, _, h, w] = level.dims();
            level.clone().expand([n, 1, 3, h, w]).reshape([n, 3 * h * w])
        });
        Tensor::cat(std::iter::once(self.ll.clone().flatten::<2>(1, 3)).chain(details).collect(), 1)
    }

    fn fits(&self, n: usize, sizes: &[[usize; 2]]) -> Result<(), SpectralError> {
        let [h, w] = sizes[sizes.len() - 1];
        expect_shape("weights of LL", &[n, 1, h, w], &self.ll.dims())?;
        expect_shape("levels of weights", &[sizes.len()], &[self.details.len()])?;
        self.details.iter().zip(sizes).try_for_each(|(level, [h, w])| {
            let orientations = if level.dims()[2] == 1 { 1 } else { 3 };
            expect_shape("weights of a level", &[n, 1, orientations, *h, *w], &level.dims())
        })
    }
}

impl Decomposition {
    /// `sum w |B|` over the places of every band B. Differentiable in the bands and in the weights.
    ///
    /// # Shapes
    /// `[N, C, 1 + 3 levels]`: LL, then LH, HL, HH of each level, finest first. The weights must have the shapes of
    /// [`BandWeights`].
    pub fn weighted_l1(&self, weights: &BandWeights) -> Tensor<3> {
        let low = (self.ll.clone().abs() * weights.ll.clone()).flatten::<3>(2, 3).sum_dim(2);
        let details = self.details.iter().zip(&weights.details).map(|(detail, w)| {
            (detail.bands.clone().abs() * w.clone()).flatten::<4>(3, 4).sum_dim(3).squeeze_dim::<3>(3)
        });
        Tensor::cat(std::iter::once(low).chain(details).collect(), 2)
    }
}

impl Dwt2 {
    /// `sum w |B(x) - B(y)|` over the places of every band B, by sample and channel. Differentiable in both maps; the
    /// weights are constants.
    ///
    /// The transform is linear, so only `x - y` is transformed; Haar runs as one fused pass on Flex, forward and
    /// backward, without forming the bands.
    ///
    /// # Shapes
    /// x and y `[N, C, H, W]`, weights as [`BandWeights`] says, to `[N, C, 1 + 3 levels]` as
    /// [`Decomposition::weighted_l1`].
    ///
    /// # Errors
    /// [`SpectralError::EmptyMap`], [`SpectralError::ShapeMismatch`].
    pub fn weighted_l1(&self, x: Tensor<4>, y: Tensor<4>, weights: &BandWeights) -> Result<Tensor<3>, SpectralError> {
        not_empty(&x)?;
        expect_shape("maps to compare", &x.dims(), &y.dims())?;
        let [n, _, h, w] = x.dims();
        weights.fits(n, &self.band_sizes([h, w]))?;
        let packed = weights.detached().packed();
        let alike = x.dtype() == y.dtype() && x.dtype() == packed.dtype();
        if self.is_fused(&x) && alike && kernels::has_kernels(&y) {
            return Ok(kernels::haar_weighted_l1(x, y, packed, self.levels()));
        }
        Ok(self.forward(x - y)?.weighted_l1(&weights.detached()))
    }
}
