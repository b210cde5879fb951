//! Decoupled knowledge distillation.
//!
//! Zhao, Cui, Song, Qiu, Liang: Decoupled Knowledge Distillation (CVPR 2022). With p = softmax(z / T), the true class t,
//! b = (p_t, 1 - p_t) and q_c = p_c / (1 - p_t) for c != t (softmax over the other classes),
//!
//! `L = alpha T^2/N sum_n KL(b^t || b^s) + beta T^2/N sum_n KL(q^t || q^s)`.
use burn::prelude::*;
use burn::tensor::activation::log_softmax;
use serde::{Deserialize, Serialize};

use super::kd::divergence;
use super::{check_factors, check_temperature, one_hot};
use crate::scores::{self, Labelled};
use crate::{About, DistillError, Method, MethodConfig, Parameters, ShapeBook, StepInput, Term, Wanted};

/// Keys of `method = "dkd"`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DkdConfig {
    /// Factor of the target-class part (1), 0 leaves it out.
    pub alpha: f64,
    /// Factor of the other-classes part: 2 for ResNet56 to 20 and 110 to 32 (default), 6 for WRN and VGG, 8 otherwise;
    /// 0 leaves it out.
    pub beta: f64,
    /// Temperature T (4).
    pub temperature: f64,
}

impl Default for DkdConfig {
    fn default() -> Self {
        Self { alpha: 1.0, beta: 2.0, temperature: 4.0 }
    }
}

impl MethodConfig for DkdConfig {
    type Method = Dkd;
    const ABOUT: About = About {
        name: "dkd",
        summary: "soft logits, true class and other classes apart",
        source: "Zhao et al. 2022; alpha 1, beta 2, T 4, 20 warm-up epochs as for ResNet56 to 20 in mdistiller",
        weight: 1.0,
        warmup_epochs: 20,
        task_weight: 1.0,
        taps: "logits",
    };

    fn taps(&self, book: &ShapeBook) -> Result<Wanted, DistillError> {
        check_temperature(self, self.temperature)?;
        check_factors(self, &[("alpha", self.alpha), ("beta", self.beta)])?;
        scores::check_logits(self, book, 2)?;
        Ok(Wanted::default())
    }

    fn init(&self, _: &ShapeBook, _: &Parameters) -> Result<Dkd, DistillError> {
        Ok(Dkd { config: self.clone() })
    }

    fn largest_temporary(&self, book: &ShapeBook, batch: usize) -> Result<usize, DistillError> {
        Ok(scores::largest(book, batch))
    }
}

/// The loss; it has no parameters.
#[derive(Module, Debug)]
pub struct Dkd {
    #[module(skip)]
    config: DkdConfig,
}

impl Method for Dkd {
    fn forward(&self, input: &StepInput) -> Result<Vec<Term>, DistillError> {
        let [target, others] = match input.labelled("dkd")? {
            Some(Labelled { student, teacher, labels }) => decoupled(student, teacher, labels, self.config.temperature),
            None => [input.nothing(), input.nothing()],
        };
        let parts = [("dkd.target", target, self.config.alpha), ("dkd.others", others, self.config.beta)];
        let used = parts.into_iter().filter(|(_, _, factor)| *factor > 0.0);
        Ok(used.map(|(name, value, factor)| Term::new(name, value * factor, "logits")).collect())
    }
}

/// Large enough to vanish in every softmax, small enough to stay finite in every product.
const AWAY: f64 = -1e9;

/// The target part and the part of the other classes, each with T^2, batch mean.
///
/// # Shapes
/// Logits `[N, K]` with K >= 2, labels `[N]`, to two `[1]`.
fn decoupled(student: Tensor<2>, teacher: Tensor<2>, labels: Tensor<1, Int>, temperature: f64) -> [Tensor<1>; 2] {
    let [n, classes] = student.dims();
    let truth = one_hot(labels, classes);
    let scale = temperature * temperature / n as f64;
    let student = split(student / temperature, truth.clone());
    let teacher = split(teacher / temperature, truth);
    [divergence(student.0, teacher.0) * scale, divergence(student.1, teacher.1) * scale]
}

/// `(ln p_t, ln(1 - p_t))` as `[N, 2]`, and the log-softmax over the other classes `[N, K]` (far below 0 at t).
fn split(scaled: Tensor<2>, truth: Tensor<2, Bool>) -> (Tensor<2>, Tensor<2>) {
    let log_p = log_softmax(scaled.clone(), 1);
    let target = log_p.clone().mask_fill(truth.clone().bool_not(), 0.0).sum_dim(1);
    // ln(1 - p_t) = logsumexp of ln p_c over c != t: no cancellation when p_t is near 1.
    let others = log_p.mask_fill(truth.clone(), AWAY);
    let top = others.clone().detach().max_dim(1);
    let rest = (others - top.clone()).exp().sum_dim(1).log() + top;
    let others = log_softmax(scaled.mask_fill(truth, AWAY), 1);
    (Tensor::cat(vec![target, rest], 1), others)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{book, features, fixture, gradient_error, labels, scalar, wave};

    #[test]
    fn values_match_the_oracle() {
        let (student, teacher) = (wave([3, 5], 1.3, 0.41), wave([3, 5], 0.2, 0.37));
        let [target, others] = decoupled(student, teacher, labels(&[1, 3, 0]), 4.0);
        assert!((scalar(target) - fixture("dkd.target")[0]).abs() < 1e-12);
        assert!((scalar(others) - fixture("dkd.others")[0]).abs() < 1e-12);
    }

    #[test]
    fn a_factor_of_zero_leaves_its_part_out() {
        let shapes = book(&[], &[]);
        let (student, teacher) = (features(&[]), features(&[]));
        let names = |alpha, beta| {
            let config = DkdConfig { alpha, beta, ..Default::default() };
            config.taps(&shapes).unwrap();
            let input = StepInput {
                student: &student,
                teacher: &teacher,
                labels: labels(&[0]).into(),
                samples: &[],
                epoch: 1,
                step: 1,
            };
            let terms = Dkd { config }.forward(&input).unwrap();
            terms.into_iter().map(|term| term.name).collect::<Vec<_>>()
        };
        assert_eq!(names(0.0, 2.0), ["dkd.others"]);
        assert_eq!(names(1.0, 0.0), ["dkd.target"]);
        assert_eq!(names(1.0, 2.0), ["dkd.target", "dkd.others"]);
        let none = DkdConfig { alpha: 0.0, beta: 0.0, ..Default::default() };
        let message = none.taps(&shapes).unwrap_err().to_string();
        assert!(message.contains("`alpha`, `beta` are all 0"), "{message}");
    }

    #[test]
    fn the_parts_recombine_to_kd() {
        // KL = KL(b) + (1 - p^t_t) KL(q): equation 7 of the paper, for one sample.
        let (student, teacher) = (wave([1, 6], 1.3, 0.41), wave([1, 6], 0.2, 0.37));
        let [target, others] = decoupled(student.clone(), teacher.clone(), labels(&[2]), 1.0);
        let rest = 1.0 - crate::check::values(log_softmax(teacher.clone(), 1).exp())[2];
        let whole = scalar(super::super::kd::soft_divergence(student, teacher, 1.0));
        assert!((scalar(target) + rest * scalar(others) - whole).abs() < 1e-12);
    }

    #[test]
    fn gradient_matches_and_sure_teachers_stay_finite() {
        for n in [1, 3] {
            let teacher = wave([n, 5], 0.2, 0.37);
            let classes = labels(&[1, 3, 0][..n]);
            let loss = |z| {
                let [a, b] = decoupled(z, teacher.clone(), classes.clone(), 4.0);
                a + b * 2.0
            };
            assert!(gradient_error(wave([n, 5], 1.3, 0.41), loss) < 1e-8);
        }
        let sure = wave([2, 2], 0.1, 1.9) * 1e3;
        let [a, b] = decoupled(-sure.clone(), sure, labels(&[0, 1]), 1.0);
        assert!(scalar(a).is_finite() && scalar(b).is_finite());
    }
}
