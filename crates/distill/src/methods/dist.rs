//! Distillation from a stronger teacher.
//!
//! Huang, You, Wang, Qian, Xu: Knowledge Distillation from A Stronger Teacher (NeurIPS 2022). With y = softmax(z / T) as
//! an N x K matrix and r the Pearson correlation, the rows (a sample's classes) and the columns (a class' samples) are
//! to correlate instead of being equal:
//!
//! `inter = 1 - 1/N sum_n r(y^s_n:, y^t_n:)`, `intra = 1 - 1/K sum_k r(y^s_:k, y^t_:k)`,
//!
//! `L = beta T^2 inter + gamma T^2 intra`.
//!
//! r(a, b) = <a', b'> / (|a'| |b'| + 1e-8) with a', b' the deviations from the mean. T^2 is the factor of the released
//! classification code; at T = 1, the setting of the ImageNet experiments, it makes no difference.
use burn::prelude::*;
use burn::tensor::activation::softmax;
use serde::{Deserialize, Serialize};

use super::{check_factors, check_temperature};
use crate::scores;
use crate::{About, DistillError, Method, MethodConfig, Parameters, ShapeBook, StepInput, Term, Wanted};

/// Keys of `method = "dist"`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DistConfig {
    /// Factor of the rows' part (1; 2 on CIFAR-100), 0 leaves it out.
    pub beta: f64,
    /// Factor of the columns' part (1; 2 on CIFAR-100), 0 leaves it out.
    pub gamma: f64,
    /// Temperature T (1; 4 on CIFAR-100), above 0.
    pub temperature: f64,
    /// Whether both parts are multiplied by T^2 (true).
    pub temperature_squared: bool,
}

impl Default for DistConfig {
    fn default() -> Self {
        Self { beta: 1.0, gamma: 1.0, temperature: 1.0, temperature_squared: true }
    }
}

impl MethodConfig for DistConfig {
    type Method = Dist;
    const ABOUT: About = About {
        name: "dist",
        summary: "correlation of predictions over classes and over samples",
        source: "Huang et al. 2022; beta 1, gamma 1, T 1 from its code (CIFAR-100: 2, 2, 4)",
        weight: 1.0,
        warmup_epochs: 0,
        task_weight: 1.0,
        taps: "logits",
    };

    fn taps(&self, book: &ShapeBook) -> Result<Wanted, DistillError> {
        check_temperature(self, self.temperature)?;
        check_factors(self, &[("beta", self.beta), ("gamma", self.gamma)])?;
        // One class has no correlation.
        scores::check_logits(self, book, 2)?;
        if book.classes == 2 && self.beta > 0.0 {
            // (a, -a) against (b, -b) correlates to 1 or -1, whatever a and b are.
            return Err(self.bad("with two classes the relation between classes is constant; set `beta = 0`"));
        }
        Ok(Wanted::default())
    }

    fn init(&self, _: &ShapeBook, _: &Parameters) -> Result<Dist, DistillError> {
        Ok(Dist { config: self.clone() })
    }

    fn largest_temporary(&self, book: &ShapeBook, batch: usize) -> Result<usize, DistillError> {
        Ok(scores::largest(book, batch))
    }
}

/// The loss; it has no parameters.
#[derive(Module, Debug)]
pub struct Dist {
    #[module(skip)]
    config: DistConfig,
}

impl Method for Dist {
    fn forward(&self, input: &StepInput) -> Result<Vec<Term>, DistillError> {
        let config = &self.config;
        let scale = if config.temperature_squared { config.temperature.powi(2) } else { 1.0 };
        let [student, teacher] = input.scores("dist")?;
        let [inter, intra] = relations(student, teacher, config.temperature);
        let parts = [("dist.inter", inter, config.beta), ("dist.intra", intra, config.gamma)];
        let used = parts.into_iter().filter(|(_, _, factor)| *factor > 0.0);
        Ok(used.map(|(name, value, factor)| Term::new(name, value * (factor * scale), "logits")).collect())
    }
}

/// The two parts without factors.
///
/// # Shapes
/// Logits `[N, K]` to two `[1]`.
fn relations(student: Tensor<2>, teacher: Tensor<2>, temperature: f64) -> [Tensor<1>; 2] {
    let (student, teacher) = (softmax(student / temperature, 1), softmax(teacher / temperature, 1));
    [1, 0].map(|dim| 1.0 - correlation(student.clone(), teacher.clone(), dim).mean())
}

/// r along one axis, `[N, K]` to `[N, 1]` or `[1, K]`; 0 where one side is constant (a batch of one, along samples).
fn correlation(a: Tensor<2>, b: Tensor<2>, dim: usize) -> Tensor<2> {
    let centred = |x: Tensor<2>| x.clone() - x.mean_dim(dim);
    let (a, b) = (centred(a), centred(b));
    // Under the root the bound keeps the gradient of a constant side finite.
    let length = |x: &Tensor<2>| x.clone().square().sum_dim(dim).clamp_min(1e-30).sqrt();
    let lengths = length(&a) * length(&b) + 1e-8;
    (a * b).sum_dim(dim) / lengths
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{book, features, fixture, gradient_error, labels, scalar, single, values, wave};

    fn logits(n: usize, k: usize) -> (Tensor<2>, Tensor<2>) {
        (wave([n, k], 1.3, 0.41) * 2.0, wave([n, k], 0.2, 0.37) * 3.0)
    }

    #[test]
    fn values_match_the_oracle() {
        for (name, n, k, temperature) in [("dist.t1", 3, 5, 1.0), ("dist.t4", 4, 3, 4.0), ("dist.two", 2, 2, 1.0)] {
            let (student, teacher) = logits(n, k);
            let found = relations(student.clone(), teacher.clone(), temperature).map(scalar);
            let in_single = relations(single(student), single(teacher), temperature).map(scalar);
            for ((a, b), expected) in found.into_iter().zip(in_single).zip(fixture(name)) {
                assert!((a - expected).abs() < 1e-9, "{name}: {a} instead of {expected}");
                assert!((b - expected).abs() < 5e-5, "{name}: {b} instead of {expected}");
            }
        }
    }

    #[test]
    fn factors_and_the_square_of_the_temperature_multiply() {
        let (student, teacher) = (features(&[]), features(&[]));
        let mut student = student;
        student.logits = subband_models::Feature::Vector(student.scores() * -0.7);
        let term = |config: DistConfig| -> Vec<f64> {
            let input = StepInput {
                student: &student,
                teacher: &teacher,
                labels: labels(&[0]).into(),
                samples: &[],
                epoch: 1,
                step: 1,
            };
            let terms = Dist { config }.forward(&input).unwrap();
            terms.into_iter().map(|t| scalar(t.value)).collect()
        };
        let plain = DistConfig { temperature: 3.0, temperature_squared: false, ..Default::default() };
        let squared = DistConfig { temperature_squared: true, ..plain.clone() };
        let weighted = DistConfig { beta: 2.0, gamma: 0.5, ..plain.clone() };
        let (plain, squared, weighted) = (term(plain), term(squared), term(weighted));
        let plain_config = DistConfig { temperature: 3.0, temperature_squared: false, ..Default::default() };
        assert_eq!(term(DistConfig { beta: 0.0, ..plain_config.clone() }), plain[1..]);
        assert_eq!(term(DistConfig { gamma: 0.0, ..plain_config }), plain[..1]);
        let none = DistConfig { beta: 0.0, gamma: 0.0, ..Default::default() };
        let message = none.taps(&book(&[], &[])).unwrap_err().to_string();
        assert!(message.contains("`beta`, `gamma` are all 0"), "{message}");
        assert!(plain[0] > 0.1);
        for k in 0..2 {
            assert!((squared[k] - 9.0 * plain[k]).abs() < 1e-12);
            assert!((weighted[k] - [2.0, 0.5][k] * plain[k]).abs() < 1e-12);
        }
    }

    #[test]
    fn gradients_match_finite_differences() {
        for (n, k) in [(3, 5), (2, 2), (4, 3)] {
            let (student, teacher) = logits(n, k);
            for part in 0..2 {
                let loss = |z| relations(z, teacher.clone(), 2.0)[part].clone();
                let error = gradient_error(student.clone(), loss);
                assert!(error < 1e-6, "{n}x{k} part {part}: {error}");
            }
        }
    }

    #[test]
    fn a_batch_of_one_has_no_columns_to_correlate_and_stays_finite() {
        let (student, teacher) = logits(1, 4);
        let student = student.detach().require_grad();
        let [inter, intra] = relations(student.clone(), teacher, 1.0);
        assert_eq!(scalar(intra.clone()), 1.0);
        let gradient = student.grad(&(inter + intra).backward()).unwrap();
        assert!(values(Tensor::from_inner(gradient)).iter().all(|g| g.is_finite()));
    }
}
