//! How far two maps are apart in a low and in a high band: the loss of FreqKD and its relatives.
//!
//! With a [`Mask`] of the low band and F the Fourier transform over space:
//!
//! ```text
//! y = z / |z|_2 over the channels at each place, z = x - mean over space of each channel   (or y = x)
//! low(y) = Re F^-1(mask . F(y)),   high(y) = y - low(y)
//! L = w_low mean (g_low(low(y_s)) - g_low(low(y_t)))^2 + w_high mean (g_high(high(y_s)) - g_high(high(y_t)))^2
//! ```
//!
//! g is one of [`Measure`]: z, ln(1 + |z|), or sgn(z) ln(1 + |z|); means are over all elements. The scaling of F cancels.
//! On Flex all of it is one operation ([`subband_kernels::band_distance`]) that holds one map beside its inputs, and only
//! if there is something to differentiate; elsewhere it is composed of tensor operations.
use std::sync::Arc;

use burn::prelude::*;
use subband_kernels::band_distance::{Bands, band_distance};

use crate::SpectralError;
use crate::filter::{self, Mask};

pub use subband_kernels::band_distance::{Band, Measure};

/// The distance for maps of one size; formula in the [module](self).
#[derive(Debug, Clone)]
pub struct BandDistance {
    mask: Mask,
    bands: Arc<Bands>,
}

impl BandDistance {
    /// The distance with this mask of the low band; `normalise` chooses y.
    pub fn new(mask: Mask, normalise: bool, low: Band, high: Band) -> Self {
        let bands = Arc::new(Bands { half: mask.half(), normalise, low, high });
        Self { mask, bands }
    }

    /// H, W of the maps that it compares.
    pub fn size(&self) -> [usize; 2] {
        self.mask.size()
    }

    /// L, `[1]`. The gradient goes to the student; the teacher counts as constant.
    ///
    /// # Shapes
    /// Both maps `[N, C, H, W]`, H and W the mask's.
    ///
    /// # Errors
    /// Maps without places, of different shapes, or of another size than the mask.
    pub fn between(&self, student: Tensor<4>, teacher: Tensor<4>) -> Result<Tensor<1>, SpectralError> {
        self.mask.fits(&student)?;
        if student.dims() != teacher.dims() {
            return Err(SpectralError::ShapeMismatch {
                what: "the second map of a distance",
                expected: student.dims().into(),
                found: teacher.dims().into(),
            });
        }
        let alike = student.dtype() == teacher.dtype() && student.dims()[..2].iter().all(|n| *n > 0);
        if alike && subband_kernels::fft::has_kernels(&student) {
            return Ok(band_distance(student, teacher, self.bands.clone()));
        }
        self.composed(student, teacher.detach())
    }

    /// [`BandDistance::between`] from tensor operations.
    fn composed(&self, student: Tensor<4>, teacher: Tensor<4>) -> Result<Tensor<1>, SpectralError> {
        let [s, t] = [student, teacher].map(|x| if self.bands.normalise { unit_deviations(x) } else { x });
        let (low, high) = filter::split(s, &self.mask)?;
        let (low_t, high_t) = filter::split(t, &self.mask)?;
        Ok(part(low, low_t, self.bands.low) + part(high, high_t, self.bands.high))
    }
}

/// z over its length; 0 where that is 0.
fn unit_deviations(x: Tensor<4>) -> Tensor<4> {
    let z = x.clone() - x.mean_dim(3).mean_dim(2);
    let squares = z.clone().square().sum_dim(1);
    let none = squares.clone().lower_elem(1e-24);
    z * squares.mask_fill(none.clone(), 1.0).sqrt().recip().mask_fill(none, 0.0)
}

/// One band's part of L.
fn part(s: Tensor<4>, t: Tensor<4>, band: Band) -> Tensor<1> {
    let g = |z: Tensor<4>| match band.measure {
        Measure::Plain => z,
        Measure::Log => z.abs().log1p(),
        Measure::SignedLog => {
            // +-1, also at 0, where the slope is 1.
            let sign = z.clone().detach().greater_equal_elem(0).float().cast(z.dtype()) * 2.0 - 1.0;
            sign * z.abs().log1p()
        }
    };
    let squares = (g(s) - g(t)).square();
    let ([n, ..], count) = (squares.dims(), squares.shape().num_elements());
    // Each sample for itself first: one sum over millions would depend on the threads.
    squares.reshape([n, count / n]).sum_dim(1).sum() * (band.weight / count as f64)
}

#[cfg(test)]
mod tests {
    use burn::tensor::DType;

    use super::*;
    use crate::filter::Pass;
    use crate::testing::{check_gradient, tensor, values, wave};

    fn map(shape: [usize; 4], s: f64, w: f64) -> Tensor<4> {
        tensor(&wave(shape.iter().product(), s, w), shape, DType::F64, &Device::flex())
    }

    fn distances(size: [usize; 2]) -> Vec<BandDistance> {
        let band = |weight, measure| Band { weight, measure };
        let masks = [Pass::freqkd(size, 0.5), Pass::Rectangle([1, 1]), Pass::Radial(1.5), Pass::Gaussian(1.2)];
        let measures =
            [(Measure::Plain, Measure::Log), (Measure::SignedLog, Measure::SignedLog), (Measure::Log, Measure::Plain)];
        let all = masks.into_iter().flat_map(|mask| measures.map(|m| (Mask::low(size, mask).unwrap(), m)));
        let both = |(mask, (low, high)): (Mask, _)| {
            [true, false].map(|n| BandDistance::new(mask.clone(), n, band(1.0, low), band(0.1, high)))
        };
        all.flat_map(both).collect()
    }

    #[test]
    fn both_ways_agree() {
        for shape in [[1, 1, 1, 1], [2, 5, 4, 7], [3, 2, 9, 1]] {
            for distance in distances([shape[2], shape[3]]) {
                let (s, t) = (map(shape, 1.3, 0.41), map(shape, 0.2, 0.37));
                let fused = values(distance.between(s.clone(), t.clone()).unwrap())[0];
                let composed = values(distance.composed(s, t).unwrap())[0];
                assert!((fused - composed).abs() < 1e-14, "{shape:?} {distance:?}: {fused} for {composed}");
            }
        }
    }

    #[test]
    fn gradients_by_finite_differences() {
        for shape in [[1, 3, 4, 5], [2, 2, 3, 1]] {
            for distance in distances([shape[2], shape[3]]) {
                let t = map(shape, 0.2, 0.37);
                check_gradient(shape, |x| {
                    let t = tensor(&values(t.clone()), shape, DType::F64, &x.device());
                    distance.between(x, t).unwrap().reshape([1, 1, 1, 1]) * 1e2
                });
            }
        }
    }

    #[test]
    fn shapes_that_do_not_fit_are_errors() {
        let distance = &distances([4, 4])[0];
        for other in [[1, 2, 4, 5], [1, 3, 4, 4]] {
            let error = distance.between(map([1, 2, 4, 4], 0.1, 0.37), map(other, 0.1, 0.37));
            assert!(matches!(error, Err(SpectralError::ShapeMismatch { .. })));
        }
    }
}
