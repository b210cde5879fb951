//! Terms on the outputs of a monocular 3D detector (MonoDistill's, as MonoAFKD's code keeps them, weight 1 in all).
//!
//! With a mask M over the dense maps (1 within the support of the Gaussians that mark the objects of an image, drawn at
//! the centre of each 2D box with CornerNet's radius), K regions of interest and B heading bins:
//!
//! ```text
//! offset-2D, size-2D            sum M |s - t| / (channels of the map * sum M)
//! offset-3D, size-3D, depth     mean |s - t| over all regions (depth: over their 7x7 cells too)
//! heading                       sum p_t (ln p_t - ln p_s) / (K B) + sum_k |s_k - t_k| / K
//! ```
//! where p is the softmax over the first B of the 2 B heading outputs, and s_k is the residual (one of the last B) at the
//! true bin of region k. The divergence is a mean over elements, so it is divided by B as well. There is no term on the
//! heat map and none on uncertainties. Without objects every term is 0.
//!
//! These are functions of tensors: this crate has no detector that would make them a method.
use burn::prelude::*;
use burn::tensor::activation::log_softmax;

use crate::DistillError;
use crate::methods::one_hot;

/// The outputs of one network that are compared.
#[derive(Debug, Clone)]
pub struct HeadOutputs {
    /// Offset of the 2D centre, `[N, 2, H, W]`, in cells.
    pub offset_2d: Tensor<4>,
    /// Size of the 2D box, `[N, 2, H, W]`, in cells.
    pub size_2d: Tensor<4>,
    /// Offset of the projected 3D centre, `[K, 2]`, in cells.
    pub offset_3d: Tensor<2>,
    /// Size of the 3D box, `[K, 3]`, in metres.
    pub size_3d: Tensor<2>,
    /// Depth at each cell of a region, `[K, 7, 7]`, in metres.
    pub depth: Tensor<3>,
    /// Scores of B bins, then the residual angle (radians) in each of them, `[K, 2 B]`.
    pub heading: Tensor<2>,
}

/// The six terms, `[1]` each.
#[derive(Debug, Clone)]
pub struct HeadLosses {
    /// Offset of the 2D centre.
    pub offset_2d: Tensor<1>,
    /// Size of the 2D box.
    pub size_2d: Tensor<1>,
    /// Offset of the 3D centre.
    pub offset_3d: Tensor<1>,
    /// Size of the 3D box.
    pub size_3d: Tensor<1>,
    /// Depth map.
    pub depth: Tensor<1>,
    /// Heading.
    pub heading: Tensor<1>,
}

impl HeadLosses {
    /// Their sum.
    pub fn total(self) -> Tensor<1> {
        self.offset_2d + self.size_2d + self.offset_3d + self.size_3d + self.depth + self.heading
    }
}

/// All terms of a batch.
///
/// # Shapes
/// As in [`HeadOutputs`]; `mask` `[N, 1, H, W]`, true where an object is marked; `bins` `[K]`, the true heading bins.
///
/// # Errors
/// [`DistillError::Shapes`] when the outputs do not fit together.
pub fn head_losses(
    student: HeadOutputs,
    teacher: HeadOutputs,
    mask: Tensor<4, Bool>,
    bins: Tensor<1, Int>,
) -> Result<HeadLosses, DistillError> {
    Ok(HeadLosses {
        offset_2d: masked_l1(student.offset_2d, teacher.offset_2d, mask.clone())?,
        size_2d: masked_l1(student.size_2d, teacher.size_2d, mask)?,
        offset_3d: region_l1(student.offset_3d, teacher.offset_3d)?,
        size_3d: region_l1(student.size_3d, teacher.size_3d)?,
        depth: region_l1(student.depth, teacher.depth)?,
        heading: heading_loss(student.heading, teacher.heading, bins)?,
    })
}

fn agree<const D: usize>(what: &str, student: [usize; D], teacher: [usize; D]) -> Result<(), DistillError> {
    if student == teacher {
        return Ok(());
    }
    Err(DistillError::Shapes {
        method: "monoafkd".to_string(),
        reason: format!("{what}: the student has {student:?} and the teacher {teacher:?}; both need the same"),
    })
}

/// Mean of |s - t| over the channels of the places where `mask` is true; 0 where it never is.
///
/// # Shapes
/// Two maps `[N, C, H, W]` and `[N, 1, H, W]` to `[1]`.
///
/// # Errors
/// [`DistillError::Shapes`] when they do not fit together.
pub fn masked_l1(student: Tensor<4>, teacher: Tensor<4>, mask: Tensor<4, Bool>) -> Result<Tensor<1>, DistillError> {
    let [n, c, h, w] = student.dims();
    agree("dense maps", student.dims(), teacher.dims())?;
    agree("mask and dense map (one channel)", [n, 1, h, w], mask.dims())?;
    let inside = mask.float().cast(student.dtype());
    let marked = inside.clone().reshape([n, h * w]).sum_dim(1).sum().clamp_min(1.0);
    let apart = (student - teacher).abs() * inside;
    Ok(apart.reshape([n, c * h * w]).sum_dim(1).sum() / (marked * c as f64))
}

/// Mean of |s - t| over everything; 0 without regions.
///
/// # Shapes
/// Two `[K, ...]` to `[1]`; K may be 0.
///
/// # Errors
/// [`DistillError::Shapes`] when they differ.
pub fn region_l1<const D: usize>(student: Tensor<D>, teacher: Tensor<D>) -> Result<Tensor<1>, DistillError> {
    agree("regions", student.dims(), teacher.dims())?;
    let count = student.shape().num_elements();
    if count == 0 {
        return Ok(nothing(&student));
    }
    let regions = student.dims()[0];
    let apart = (student - teacher).abs().reshape([regions, count / regions]);
    Ok(apart.sum_dim(1).sum() / count as f64)
}

/// Divergence of the bins and difference of the residuals at the true bin; 0 without regions.
///
/// # Shapes
/// Two `[K, 2 B]` and bins `[K]` in 0..B to `[1]`; K may be 0. A bin outside 0..B has no residual term.
///
/// # Errors
/// [`DistillError::Shapes`] when they do not fit together.
pub fn heading_loss(student: Tensor<2>, teacher: Tensor<2>, bins: Tensor<1, Int>) -> Result<Tensor<1>, DistillError> {
    let [k, width] = student.dims();
    agree("headings", student.dims(), teacher.dims())?;
    agree("headings and true bins", [k], bins.dims())?;
    if !width.is_multiple_of(2) {
        return Err(DistillError::Shapes {
            method: "monoafkd".to_string(),
            reason: format!("{width} heading outputs are not as many residuals as bins; the number must be even"),
        });
    }
    if k == 0 || width == 0 {
        return Ok(nothing(&student));
    }
    let count = width / 2;
    let split = |x: Tensor<2>| (x.clone().narrow(1, 0, count), x.narrow(1, count, count));
    let ((s, s_residuals), (t, t_residuals)) = (split(student), split(teacher));
    let (s, t) = (log_softmax(s, 1), log_softmax(t, 1));
    let divergence = (t.clone().exp() * (t - s)).sum_dim(1).sum() / (k * count) as f64;
    let elsewhere = one_hot(bins, count).bool_not();
    let residual = (s_residuals - t_residuals).abs().mask_fill(elsewhere, 0.0);
    Ok(divergence + residual.sum_dim(1).sum() / k as f64)
}

fn nothing<const D: usize>(like: &Tensor<D>) -> Tensor<1> {
    Tensor::zeros([1], (&like.device(), like.dtype()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{DType, TensorData};

    use crate::check::{device, fixture, gradient_error, labels, scalar, wave};

    fn mask(all: bool) -> Tensor<4, Bool> {
        let values: Vec<bool> = (0..2 * 5 * 7).map(|k| all && k % 3 == 1).collect();
        Tensor::from_data(TensorData::new(values, [2, 1, 5, 7]), &device())
    }

    fn outputs(s: f64, w: f64) -> HeadOutputs {
        HeadOutputs {
            offset_2d: wave([2, 2, 5, 7], s, w),
            size_2d: wave([2, 2, 5, 7], s + 0.1, w),
            offset_3d: wave([3, 2], s + 0.2, w),
            size_3d: wave([3, 3], s + 0.3, w),
            depth: wave([3, 7, 7], s + 0.4, w),
            heading: wave([3, 24], s + 0.5, w),
        }
    }

    #[test]
    fn values_match_the_oracle() {
        let losses = head_losses(outputs(1.3, 0.41), outputs(0.2, 0.37), mask(true), labels(&[4, 0, 11])).unwrap();
        let parts =
            [&losses.offset_2d, &losses.size_2d, &losses.offset_3d, &losses.size_3d, &losses.depth, &losses.heading];
        for (part, expected) in parts.into_iter().zip(fixture("monoafkd.heads")) {
            assert!((scalar(part.clone()) - expected).abs() < 1e-12, "{} {expected}", scalar(part.clone()));
        }
        let total = scalar(losses.total());
        assert!((total - fixture("monoafkd.heads").iter().sum::<f64>()).abs() < 1e-12);
    }

    #[test]
    fn gradients_match_finite_differences() {
        let teacher = outputs(0.2, 0.37);
        let dense = |x| masked_l1(x, teacher.offset_2d.clone(), mask(true)).unwrap();
        assert!(gradient_error(wave([2, 2, 5, 7], 1.3, 0.41), dense) < 1e-7);
        let depth = |x| region_l1(x, teacher.depth.clone()).unwrap();
        assert!(gradient_error(wave([3, 7, 7], 1.3, 0.41), depth) < 1e-7);
        let heading = |x| heading_loss(x, teacher.heading.clone(), labels(&[4, 0, 11])).unwrap();
        assert!(gradient_error(wave([3, 24], 1.3, 0.41), heading) < 1e-7);
    }

    #[test]
    fn no_object_is_no_loss() {
        let (s, t) = (wave([2, 2, 5, 7], 1.3, 0.41), wave([2, 2, 5, 7], 0.2, 0.37));
        assert_eq!(scalar(masked_l1(s, t, mask(false)).unwrap()), 0.0);
        let none = || Tensor::<2>::from_data(TensorData::new(Vec::<f64>::new(), [0, 24]), (&device(), DType::F64));
        assert_eq!(scalar(region_l1(none(), none()).unwrap()), 0.0);
        assert_eq!(scalar(heading_loss(none(), none(), labels(&[])).unwrap()), 0.0);
    }

    #[test]
    fn misfits_are_named() {
        let (two, three) = (wave([2, 24], 0.1, 0.37), wave([3, 24], 0.1, 0.37));
        assert!(region_l1(two.clone(), three).unwrap_err().to_string().contains("[3, 24]"));
        assert!(heading_loss(two.clone(), two, labels(&[1])).unwrap_err().to_string().contains("true bins"));
        let odd = wave([2, 5], 0.1, 0.37);
        assert!(heading_loss(odd.clone(), odd, labels(&[1, 0])).unwrap_err().to_string().contains("even"));
    }
}
