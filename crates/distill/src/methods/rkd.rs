//! Relational knowledge distillation.
//!
//! Park, Kim, Lu, Cho: Relational Knowledge Distillation (CVPR 2019). For the vectors e_i of a batch of N samples:
//!
//! distance: D_ij = |e_i - e_j| / mean of the non-zero distances;
//! angle: A_jik = cos of the angle at e_j between e_i and e_k, u_ij = (e_i - e_j) / |e_i - e_j|, A_jik = <u_ij, u_kj>;
//!
//! `L = d mean_ij h(D^s - D^t) + a mean_jik h(A^s - A^t)`, h the Huber function with threshold 1.
//!
//! The student's mean distance is part of the graph, as in the reference code. Coinciding samples have distance 0,
//! angle 0 and no gradient; a batch of one gives 0.
use burn::prelude::*;
use serde::{Deserialize, Serialize};
use subband_models::TapInfo;

use super::check_factors;
use crate::{About, DistillError, Method, MethodConfig, Parameters, ShapeBook, Side, StepInput, Term, Wanted};

/// Keys of `method = "rkd"`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RkdConfig {
    /// Factor of the distance part (25), 0 leaves it out.
    pub distance: f64,
    /// Factor of the angle part (50), 0 leaves it out.
    pub angle: f64,
    /// Student tap (default: `pooled`, of segmenters the deepest stage); a map is flattened.
    pub student_tap: Option<String>,
    /// Teacher tap (default: `pooled`, of segmenters the deepest stage); a map is flattened.
    pub teacher_tap: Option<String>,
}

impl Default for RkdConfig {
    fn default() -> Self {
        Self { distance: 25.0, angle: 50.0, student_tap: None, teacher_tap: None }
    }
}

impl RkdConfig {
    /// The two taps.
    fn pair<'a>(&self, book: &'a ShapeBook) -> Result<(&'a TapInfo, &'a TapInfo), DistillError> {
        let tap = |side, given| book.tap_or_pooled(Self::ABOUT.name, side, given);
        Ok((tap(Side::Student, &self.student_tap)?, tap(Side::Teacher, &self.teacher_tap)?))
    }
}

impl MethodConfig for RkdConfig {
    type Method = Rkd;
    const ABOUT: About = About {
        name: "rkd",
        summary: "distances and angles between the samples of a batch",
        source: "Park et al. 2019; distance 25, angle 50 from mdistiller",
        weight: 1.0,
        warmup_epochs: 0,
        task_weight: 1.0,
        taps: "pooled, of segmenters the deepest stage",
    };

    fn taps(&self, book: &ShapeBook) -> Result<Wanted, DistillError> {
        check_factors(self, &[("distance", self.distance), ("angle", self.angle)])?;
        let (student, teacher) = self.pair(book)?;
        Ok(Wanted { student: vec![student.name.clone()], teacher: vec![teacher.name.clone()] })
    }

    fn init(&self, book: &ShapeBook, _: &Parameters) -> Result<Rkd, DistillError> {
        let (student, teacher) = self.pair(book)?;
        let taps = (student.name.clone(), teacher.name.clone());
        Ok(Rkd { distance: self.distance, angle: self.angle, taps })
    }

    fn largest_temporary(&self, book: &ShapeBook, batch: usize) -> Result<usize, DistillError> {
        let size = |tap: &TapInfo| tap.shape.channels() * tap.shape.extent().0 * tap.shape.extent().1;
        let (student, teacher) = self.pair(book)?;
        let width = size(student).max(size(teacher));
        Ok(batch * batch * width.max(batch))
    }
}

/// The loss; it has no parameters.
#[derive(Module, Debug)]
pub struct Rkd {
    #[module(skip)]
    distance: f64,
    #[module(skip)]
    angle: f64,
    #[module(skip)]
    taps: (String, String),
}

impl Method for Rkd {
    fn forward(&self, input: &StepInput) -> Result<Vec<Term>, DistillError> {
        let name = RkdConfig::ABOUT.name;
        let student = input.map(name, Side::Student, &self.taps.0)?;
        let teacher = input.map(name, Side::Teacher, &self.taps.1)?;
        let (student, teacher) = (Pairs::new(student.flatten(1, 3)), Pairs::new(teacher.flatten(1, 3)));
        let parts =
            [("rkd.distance", distance_part as Part, self.distance), ("rkd.angle", angle_part as Part, self.angle)];
        let used = parts.into_iter().filter(|(_, _, factor)| *factor > 0.0);
        let term =
            |(name, part, factor): (&str, Part, f64)| Term::new(name, part(&student, &teacher) * factor, &self.taps.0);
        Ok(used.map(term).collect())
    }
}

/// A part of the loss without its factor.
type Part = fn(&Pairs, &Pairs) -> Tensor<1>;

fn distance_part(student: &Pairs, teacher: &Pairs) -> Tensor<1> {
    huber_mean(student.relative_distances() - teacher.relative_distances())
}

fn angle_part(student: &Pairs, teacher: &Pairs) -> Tensor<1> {
    huber_mean(student.angles() - teacher.angles())
}

/// Differences of all pairs of a batch.
struct Pairs {
    /// e_i - e_j at `[j, i, D]`.
    difference: Tensor<3>,
    /// |e_i - e_j| as `[N, N, 1]`, 1 where it is zero.
    distance: Tensor<3>,
    /// 1 where samples differ, 0 where they coincide, `[N, N, 1]`.
    apart: Tensor<3>,
}

impl Pairs {
    fn new(e: Tensor<2>) -> Self {
        let [n, d] = e.dims();
        let difference = e.clone().reshape([1, n, d]).expand([n, n, d]) - e.reshape([n, 1, d]).expand([n, n, d]);
        let squared = difference.clone().square().sum_dim(2);
        let same = squared.clone().lower_equal_scalar(1e-12);
        let apart = squared.ones_like().mask_fill(same.clone(), 0.0);
        // Masked before the root, so that coinciding samples never meet its infinite slope.
        Self { difference, distance: squared.mask_fill(same, 1.0).sqrt(), apart }
    }

    /// D, `[N, N, 1]`.
    fn relative_distances(&self) -> Tensor<3> {
        let distance = self.distance.clone() * self.apart.clone();
        let pairs = self.apart.clone().sum().clamp_min(1.0);
        let mean = distance.clone().sum() / pairs;
        // No pair at all: every distance is 0 and stays 0.
        let empty = mean.clone().equal_scalar(0.0);
        distance / mean.mask_fill(empty, 1.0).reshape([1, 1, 1])
    }

    /// A, `[N, N, N]`.
    fn angles(&self) -> Tensor<3> {
        let unit = self.difference.clone() / self.distance.clone() * self.apart.clone();
        unit.clone().matmul(unit.swap_dims(1, 2))
    }
}

/// Mean of x^2/2 within 1 and |x| - 1/2 beyond. Rows are summed for themselves first: N^3 angles are millions, which Burn
/// sums in an order that depends on the threads.
fn huber_mean(x: Tensor<3>) -> Tensor<1> {
    let [n, a, b] = x.dims();
    // With c = min(|x|, 1): c (|x| - c / 2) is both branches at once.
    let size = x.abs();
    let inner = size.clone().clamp_max(1.0);
    let values = inner.clone() * (size - inner * 0.5);
    values.reshape([n, a * b]).sum_dim(1).sum() / (n * a * b) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{book, device, features, fixture, gradient_error, labels, scalar, single, values, wave};
    use subband_seed::Stream;

    /// Both parts.
    fn relations(student: Tensor<2>, teacher: Tensor<2>) -> [Tensor<1>; 2] {
        let (student, teacher) = (Pairs::new(student), Pairs::new(teacher));
        [distance_part(&student, &teacher), angle_part(&student, &teacher)]
    }

    #[test]
    fn values_match_the_oracle() {
        let [distance, angle] = relations(wave([4, 3], 1.3, 0.41), wave([4, 5], 0.2, 0.97));
        assert!((scalar(distance) - fixture("rkd.distance")[0]).abs() < 1e-12);
        assert!((scalar(angle) - fixture("rkd.angle")[0]).abs() < 1e-12);
    }

    #[test]
    fn a_factor_of_zero_leaves_its_part_out() {
        let vector: (&str, &[usize; 3]) = ("pooled", &[3, 1, 1]);
        let shapes = book(&[vector], &[vector]);
        let maps = |s| features(&[("pooled", wave([3, 3, 1, 1], s, 0.41))]);
        let (student, teacher) = (maps(1.3), maps(0.2));
        let names = |distance, angle| {
            let config = RkdConfig { distance, angle, ..Default::default() };
            config.taps(&shapes).unwrap();
            let input = StepInput {
                student: &student,
                teacher: &teacher,
                labels: labels(&[0]).into(),
                samples: &[],
                epoch: 1,
                step: 1,
            };
            let method = config.init(&shapes, &Parameters::new(Stream::new(1), &device())).unwrap();
            let terms = method.forward(&input).unwrap();
            terms.into_iter().map(|term| term.name).collect::<Vec<_>>()
        };
        assert_eq!(names(25.0, 0.0), ["rkd.distance"]);
        assert_eq!(names(0.0, 50.0), ["rkd.angle"]);
        let none = RkdConfig { distance: 0.0, angle: 0.0, ..Default::default() };
        let message = none.taps(&shapes).unwrap_err().to_string();
        assert!(message.contains("`distance`, `angle` are all 0"), "{message}");
    }

    #[test]
    fn gradients_match_finite_differences() {
        let teacher = wave([4, 5], 0.2, 0.97);
        for part in 0..2 {
            let loss = |e| relations(e, teacher.clone())[part].clone();
            let error = gradient_error(wave([4, 3], 1.3, 0.41), loss);
            assert!(error < 1e-7, "{part}: {error}");
        }
    }

    #[test]
    fn one_sample_and_coinciding_samples_are_safe() {
        let [distance, angle] = relations(wave([1, 3], 1.3, 0.41), wave([1, 5], 0.2, 0.37));
        assert_eq!((scalar(distance), scalar(angle)), (0.0, 0.0));
        let one = wave([1, 3], 1.3, 0.41);
        let twins = Tensor::cat(vec![one.clone(), one, wave([1, 3], 0.3, 0.41)], 0).detach().require_grad();
        let [distance, angle] = relations(twins.clone(), wave([3, 5], 0.2, 0.37));
        let gradient = twins.grad(&(distance + angle).backward()).unwrap();
        assert!(values(Tensor::from_inner(gradient)).iter().all(|g: &f64| g.is_finite()));
    }

    #[test]
    fn millions_of_angles_do_not_depend_on_the_threads() {
        let angles = single(wave([170, 170, 170], 0.2, 0.37)).mul_scalar(2.0);
        assert!(crate::check::same_on_any_threads(|| huber_mean(angles.clone())));
    }
}
