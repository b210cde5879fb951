//! Attention transfer.
//!
//! Zagoruyko, Komodakis: Paying More Attention to Attention (ICLR 2017). The attention map of a feature is the channel
//! mean of |F|^p, flattened and divided by its L2 norm, Q(F) = vec(a) / |vec(a)|_2. Over pairs of stages
//!
//! `L = sum_j mean (Q(F^s_j) - Q(F^t_j))^2`, mean over samples and positions.
//!
//! Where the sizes differ the larger map is average-pooled to the smaller. No parameters.
use burn::prelude::*;
use serde::{Deserialize, Serialize};
use subband_models::TapShape;

use crate::compared::Compared;
use crate::parts::{mean_squared_error, separable_temporary};
use crate::shapes::Pairing;
use crate::{
    About, DistillError, Method, MethodConfig, Parameters, ShapeBook, Side, StepInput, Term, Wanted,
    adaptive_average_pool,
};

/// Keys of `method = "at"`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AttentionTransferConfig {
    /// Exponent p (2), at least 1.
    pub p: f64,
    /// Student taps, shallow to deep (default: all stages).
    pub student_taps: Option<Vec<String>>,
    /// Teacher taps, shallow to deep (default: all stages).
    pub teacher_taps: Option<Vec<String>>,
}

impl Default for AttentionTransferConfig {
    fn default() -> Self {
        Self { p: 2.0, student_taps: None, teacher_taps: None }
    }
}

impl AttentionTransferConfig {
    fn pairing(&self) -> Pairing<'_> {
        Pairing::stages(Self::ABOUT.name, &self.student_taps, &self.teacher_taps)
    }
}

impl MethodConfig for AttentionTransferConfig {
    type Method = AttentionTransfer;
    const ABOUT: About = About {
        name: "at",
        summary: "spatial attention maps of the stages",
        source: "Zagoruyko and Komodakis 2017; p 2, weight 1000 from mdistiller",
        weight: 1000.0,
        warmup_epochs: 0,
        task_weight: 1.0,
        taps: "stage1..N",
    };

    fn taps(&self, book: &ShapeBook) -> Result<Wanted, DistillError> {
        if !(self.p.is_finite() && self.p >= 1.0) {
            return Err(self.bad(format!("`p = {}` must be at least 1 (usual: 2)", self.p)));
        }
        for (student, teacher) in self.pairing().pairs(book)? {
            let ((h, w), (height, width)) = (student.shape.extent(), teacher.shape.extent());
            let compared = Compared::new(Self::ABOUT.name, &student, &teacher, (h.min(height), w.min(width)));
            let remedy = "name taps with a height or width in `student_taps` and `teacher_taps`";
            compared.needs_places("every attention map is 1", remedy)?;
        }
        self.pairing().wanted(book)
    }

    fn init(&self, book: &ShapeBook, _: &Parameters) -> Result<AttentionTransfer, DistillError> {
        let wanted = self.taps(book)?;
        Ok(AttentionTransfer { pairs: wanted.student.into_iter().zip(wanted.teacher).collect(), p: self.p })
    }

    fn largest_temporary(&self, book: &ShapeBook, batch: usize) -> Result<usize, DistillError> {
        let pairs = self.pairing().pairs(book)?;
        let sizes = pairs.iter().flat_map(|(s, t)| {
            let ((h, w), (height, width)) = (s.shape.extent(), t.shape.extent());
            let size = (h.min(height), w.min(width));
            let power =
                |shape: TapShape| shape.channels() * separable_temporary(shape.extent(), size).max(size.0 * size.1);
            [power(s.shape), power(t.shape)]
        });
        Ok(batch * sizes.max().unwrap_or(0))
    }
}

/// The loss; it has no parameters.
#[derive(Module, Debug)]
pub struct AttentionTransfer {
    #[module(skip)]
    pairs: Vec<(String, String)>,
    #[module(skip)]
    p: f64,
}

impl Method for AttentionTransfer {
    fn forward(&self, input: &StepInput) -> Result<Vec<Term>, DistillError> {
        let name = AttentionTransferConfig::ABOUT.name;
        let terms = self.pairs.iter().map(|(student, teacher)| {
            let value = attention_loss(
                input.map(name, Side::Student, student)?,
                input.map(name, Side::Teacher, teacher)?,
                self.p,
            );
            Ok(Term::new(format!("{name}.{student}"), value, student).against(teacher))
        });
        terms.collect()
    }
}

/// `mean (Q(F^s) - Q(F^t))^2` of one pair.
///
/// # Shapes
/// `[N, C_s, H_s, W_s]` and `[N, C_t, H_t, W_t]` to `[1]`.
fn attention_loss(student: Tensor<4>, teacher: Tensor<4>, p: f64) -> Tensor<1> {
    let ([_, _, h, w], [_, _, height, width]) = (student.dims(), teacher.dims());
    let size = (h.min(height), w.min(width));
    mean_squared_error(
        attention(adaptive_average_pool(student, size), p),
        attention(adaptive_average_pool(teacher, size), p),
    )
}

/// Q(F): `[N, C, H, W]` to `[N, H W]`, rows of norm 1 (0 for a map of zeros).
fn attention(x: Tensor<4>, p: f64) -> Tensor<2> {
    let [n, _, h, w] = x.dims();
    // The square is its own case: the general power has no gradient at 0.
    let power = if p == 2.0 { x.square() } else { positive_power(x.abs(), p) };
    let map = power.mean_dim(1).reshape([n, h * w]);
    let norm2 = map.clone().square().sum_dim(1);
    // PyTorch divides by max(norm, 1e-12); under the root the bound also keeps the gradient finite at zero.
    map / norm2.clamp_min(1e-24).sqrt()
}

/// x^p for x >= 0, with gradient 0 at x = 0.
fn positive_power(x: Tensor<4>, p: f64) -> Tensor<4> {
    let zero = x.clone().equal_scalar(0.0);
    x.mask_fill(zero.clone(), 1.0).powf_scalar(p).mask_fill(zero, 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{book, fixture, gradient_error, scalar, wave};

    #[test]
    fn values_match_the_oracle() {
        let same = attention_loss(wave([2, 3, 3, 5], 1.3, 0.41), wave([2, 4, 3, 5], 0.2, 0.37), 2.0);
        assert!((scalar(same) - fixture("at.same")[0]).abs() < 1e-13);
        let pooled = attention_loss(wave([2, 3, 6, 6], 1.3, 0.41), wave([2, 4, 3, 3], 0.2, 0.37), 2.0);
        assert!((scalar(pooled) - fixture("at.pooled")[0]).abs() < 1e-13);
    }

    #[test]
    fn a_map_of_one_place_is_refused() {
        let shapes =
            book(&[("stage1", &[2, 4, 4]), ("stage2", &[2, 2, 2])], &[("stage1", &[3, 4, 4]), ("stage2", &[3, 1, 1])]);
        let message = AttentionTransferConfig::default().taps(&shapes).unwrap_err().to_string();
        assert!(["`at`", "stage2", "one place", "student_taps"].iter().all(|part| message.contains(part)), "{message}");
        let first = || Some(vec!["stage1".to_string()]);
        let named = AttentionTransferConfig { student_taps: first(), teacher_taps: first(), ..Default::default() };
        named.taps(&shapes).unwrap();
    }

    #[test]
    fn gradient_matches_and_dead_maps_stay_finite() {
        for p in [2.0, 3.0] {
            for shape in [[2, 3, 4, 5], [1, 1, 1, 1], [1, 2, 7, 3]] {
                let teacher = wave([shape[0], 4, 3, 3], 0.2, 0.37);
                let error = gradient_error(wave(shape, 1.3, 0.41), |x| attention_loss(x, teacher.clone(), p));
                assert!(error < 1e-7, "{p} {shape:?}: {error}");
            }
            let dead = wave([2, 3, 4, 4], 0.0, 0.0).require_grad();
            let loss = attention_loss(dead.clone(), wave([2, 3, 4, 4], 0.2, 0.37), p);
            let gradient = dead.grad(&loss.backward()).unwrap();
            assert!(gradient.into_data().iter::<f64>().all(f64::is_finite));
        }
    }
}
