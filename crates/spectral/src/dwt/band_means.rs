//! Mean absolute value of every band: the L1 distance of two maps, band by band.
use burn::prelude::*;
use subband_kernels::dwt as kernels;

use super::{Dwt2, expect_shape, matrices, not_empty};
use crate::SpectralError;

/// The mean absolute value of each band of a [`Dwt2`].
#[derive(Debug, Clone)]
pub struct BandMeans {
    /// `[1 + 3 levels]`: LL, then LH, HL, HH of each level, finest first.
    pub values: Tensor<1>,
}

impl BandMeans {
    /// Mean of |LL|, shape `[1]`.
    pub fn ll(&self) -> Tensor<1> {
        self.values.clone().narrow(0, 0, 1)
    }

    /// Means of |LH|, |HL|, |HH| at a level (0 is the finest), shape `[3]`.
    ///
    /// # Panics
    /// When there is no such level.
    pub fn orientations(&self, level: usize) -> Tensor<1> {
        self.values.clone().narrow(0, 1 + 3 * level, 3)
    }

    /// Mean over all detail coefficients of a level, shape `[1]`: the mean over the `[N, C, 3, h, w]` of its bands.
    ///
    /// # Panics
    /// When there is no such level.
    pub fn detail(&self, level: usize) -> Tensor<1> {
        self.orientations(level).mean()
    }

    /// `low LL + sum_j high detail(j)`, shape `[1]`, in one product.
    pub fn weighted(&self, low: f64, high: f64) -> Tensor<1> {
        let count = self.values.dims()[0];
        let weights: Vec<f64> = (0..count).map(|b| if b == 0 { low } else { high / 3.0 }).collect();
        let data = TensorData::new(weights, [count]).convert_dtype(self.values.dtype());
        let weights = Tensor::<1>::from_data(data, (&self.values.device(), self.values.dtype()));
        (self.values.clone() * weights).sum()
    }
}

/// The mean absolute value of LL and of the orientation sum of each level of a [`Dwt2`].
#[derive(Debug, Clone)]
pub struct LevelMeans {
    /// `[1 + levels]`: LL, then LH + HL + HH of each level, finest first.
    pub values: Tensor<1>,
}

impl LevelMeans {
    /// `low LL + high sum_j level(j)`, shape `[1]`.
    pub fn weighted(&self, low: f64, high: f64) -> Tensor<1> {
        let levels = self.values.dims()[0] - 1;
        self.values.clone().narrow(0, 0, 1) * low + self.values.clone().narrow(0, 1, levels).sum() * high
    }
}

impl Dwt2 {
    /// `mean |LL(x) - LL(y)|` and, per level, `mean |(LH + HL + HH)(x) - (LH + HL + HH)(y)|`. Differentiable in both.
    ///
    /// The transform is linear, so only `x - y` is transformed. Haar runs as one fused pass on Flex, where the sum is
    /// `2a - LL` with `a` the top left pixel of each 2x2 block.
    ///
    /// # Errors
    /// [`SpectralError::EmptyMap`], [`SpectralError::ShapeMismatch`].
    pub fn orientation_sum_l1(&self, x: Tensor<4>, y: Tensor<4>) -> Result<LevelMeans, SpectralError> {
        not_empty(&x)?;
        expect_shape("maps to compare", &x.dims(), &y.dims())?;
        if self.is_fused(&x) && x.dtype() == y.dtype() && kernels::has_kernels(&y) {
            return Ok(LevelMeans { values: kernels::haar_l1_summed(x, Some(y), self.levels) });
        }
        let bands = self.forward(x - y)?;
        let levels = bands.details.iter().map(|detail| mean_size(detail.orientation_sum()));
        let means = std::iter::once(mean_size(bands.ll.clone())).chain(levels).collect();
        Ok(LevelMeans { values: Tensor::cat(means, 0) })
    }

    /// `mean |B(x)|` of every band B.
    ///
    /// Haar runs as one fused pass on Flex, forward and backward, without forming the bands.
    ///
    /// # Errors
    /// [`SpectralError::EmptyMap`].
    pub fn band_means(&self, x: Tensor<4>) -> Result<BandMeans, SpectralError> {
        not_empty(&x)?;
        if self.is_fused(&x) {
            return Ok(BandMeans { values: kernels::haar_l1(x, None, self.levels) });
        }
        self.compose(x)
    }

    /// `mean |B(x) - B(y)|` of every band B: the L1 distances of two maps. Differentiable in both.
    ///
    /// The transform is linear, so only `x - y` is transformed.
    ///
    /// # Errors
    /// [`SpectralError::EmptyMap`], [`SpectralError::ShapeMismatch`].
    pub fn band_l1(&self, x: Tensor<4>, y: Tensor<4>) -> Result<BandMeans, SpectralError> {
        not_empty(&x)?;
        expect_shape("maps to compare", &x.dims(), &y.dims())?;
        if self.is_fused(&x) && x.dtype() == y.dtype() && kernels::has_kernels(&y) {
            return Ok(BandMeans { values: kernels::haar_l1(x, Some(y), self.levels) });
        }
        self.compose(x - y)
    }

    /// Whether the fused Haar kernels take the map.
    pub(super) fn is_fused(&self, x: &Tensor<4>) -> bool {
        let [_, _, h, w] = x.dims();
        let mut sizes = std::iter::once([h, w]).chain(self.band_sizes([h, w])).take(self.levels);
        let haar = sizes.all(|size| matrices::is_haar(&self.wavelet, self.boundary, size));
        !self.portable && haar && kernels::has_kernels(x)
    }

    fn compose(&self, x: Tensor<4>) -> Result<BandMeans, SpectralError> {
        let bands = self.forward(x)?;
        let mut means = vec![mean_size(bands.ll)];
        for detail in bands.details {
            let [n, c, _, h, w] = detail.bands.dims();
            let planes = detail.bands.abs().reshape([n, c, 3, h * w]).sum_dim(3);
            means.push(planes.sum_dim(1).sum_dim(0).reshape([3]) / (n * c * h * w) as f64);
        }
        Ok(BandMeans { values: Tensor::cat(means, 0) })
    }
}

/// Mean of |x|, each sample summed for itself first: one sum over millions would depend on the threads.
fn mean_size(x: Tensor<4>) -> Tensor<1> {
    let ([n, ..], count) = (x.dims(), x.shape().num_elements());
    x.abs().reshape([n, count / n]).sum_dim(1).sum() / count as f64
}
