//! Distillation by Pearson correlation.
//!
//! Cao, Zhang, Gao, Cheng, Cheng, Cheng: PKD: General Distillation Framework for Object Detectors via Pearson
//! Correlation Coefficient (NeurIPS 2022). Each channel of a level is standardised over batch and space (m = N H W
//! values), and the standardised maps are to agree:
//!
//! `z(x)_c = (x_c - mean_c) / sigma_c`, `L = 1 / (2 C m) * sum_c sum_i (z(s)_ci - z(t)_ci)^2 = 1/C sum_c (1 - r_c)`,
//!
//! with r_c the correlation of the two channels, summed over the levels. The last equality holds for the biased sigma.
//! The released code takes the unbiased one and adds 1e-6 to it, which gives (m - 1)/m of that; so does
//! `variant = "reference"`, and `"paper"` computes 1 - r.
use burn::prelude::*;
use serde::{Deserialize, Serialize};

use super::level::{Level, Taps};
use crate::parts::mean_squared_error;
use crate::pieces::align::AlignConfig;
use crate::pieces::normalization::Normalization;
use crate::{About, DistillError, Method, MethodConfig, Parameters, ShapeBook, StepInput, Term, Variant, Wanted};

/// Keys of `method = "pkd"`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PkdConfig {
    /// `reference`: unbiased deviation plus 1e-6; `paper`: one minus the correlation.
    pub variant: Variant,
    /// Student taps, shallow to deep (default: all stages).
    pub student_taps: Option<Vec<String>>,
    /// Teacher taps, shallow to deep (default: all stages).
    pub teacher_taps: Option<Vec<String>>,
    /// How the maps are brought to the same channels and size.
    pub align: AlignConfig,
}

impl Default for PkdConfig {
    fn default() -> Self {
        Self { variant: Variant::Reference, student_taps: None, teacher_taps: None, align: AlignConfig::default() }
    }
}

impl PkdConfig {
    fn spread(&self) -> Taps<'_> {
        let (student, teacher) = (&self.student_taps, &self.teacher_taps);
        Taps { method: Self::ABOUT.name, student, teacher, deepest: false }
    }
}

impl MethodConfig for PkdConfig {
    type Method = Pkd;
    const ABOUT: About = About {
        name: "pkd",
        summary: "correlation of channels over batch and space",
        source: "Cao et al. 2022; weight 6 on each FPN level in mmrazor",
        weight: 6.0,
        warmup_epochs: 0,
        task_weight: 1.0,
        taps: "stage1..N",
    };

    fn taps(&self, book: &ShapeBook) -> Result<Wanted, DistillError> {
        self.spread().wanted(book)
    }

    fn init(&self, book: &ShapeBook, parameters: &Parameters) -> Result<Pkd, DistillError> {
        Ok(Pkd { levels: self.spread().levels(book, &self.align, parameters)?, variant: self.variant })
    }

    fn largest_temporary(&self, book: &ShapeBook, batch: usize) -> Result<usize, DistillError> {
        self.spread().largest_map(book, &self.align, batch)
    }
}

/// The loss with its adapters.
#[derive(Module, Debug)]
pub struct Pkd {
    levels: Vec<Level>,
    #[module(skip)]
    variant: Variant,
}

impl Method for Pkd {
    fn forward(&self, input: &StepInput) -> Result<Vec<Term>, DistillError> {
        let name = PkdConfig::ABOUT.name;
        let terms = self.levels.iter().map(|level| {
            let (student, teacher) = level.maps(name, input)?;
            let value = match self.variant {
                Variant::Reference => standardized_distance(student, teacher),
                Variant::Paper => decorrelation(student, teacher),
            };
            Ok(level.term(name, value))
        });
        terms.collect()
    }
}

/// Half the mean squared difference of the standardised maps. One value per channel (a batch of one at 1x1) has
/// deviation 0 and gives 0.
///
/// # Shapes
/// Two `[N, C, H, W]` to `[1]`.
fn standardized_distance(student: Tensor<4>, teacher: Tensor<4>) -> Tensor<1> {
    let normalized = |x| Normalization::Standardize.apply(x);
    mean_squared_error(normalized(student), normalized(teacher)) * 0.5
}

/// `1/C sum_c (1 - r_c)`; a channel that is constant on one side has r = 0.
///
/// # Shapes
/// Two `[N, C, H, W]` to `[1]`.
fn decorrelation(student: Tensor<4>, teacher: Tensor<4>) -> Tensor<1> {
    // Sums over one sample's places first: their order then never depends on the threads.
    let mean = |x: Tensor<4>| x.mean_dim(3).mean_dim(2).mean_dim(0);
    let centred = |x: Tensor<4>| x.clone() - mean(x);
    let (student, teacher) = (centred(student), centred(teacher));
    let deviation = |x: &Tensor<4>| mean(x.clone().square()).clamp_min(1e-24).sqrt();
    let deviations = deviation(&student) * deviation(&teacher);
    1.0 - (mean(student * teacher) / deviations).mean()
}

#[cfg(test)]
mod tests {
    use subband_seed::Stream;

    use super::*;
    use crate::check::{
        book, device, double, features, fill, fixture, gradient_error, labels, parameter_gradient_error, scalar,
        single, values, wave,
    };

    fn value(method: &Pkd, student: Tensor<4>, teacher: Tensor<4>) -> Tensor<1> {
        let (student, teacher) = (features(&[("stage1", student)]), features(&[("stage1", teacher)]));
        let input = StepInput {
            student: &student,
            teacher: &teacher,
            labels: labels(&[0, 1]).into(),
            samples: &[],
            epoch: 1,
            step: 1,
        };
        method.forward(&input).unwrap().remove(0).value
    }

    fn method(variant: Variant, student: [usize; 3], teacher: [usize; 3]) -> Pkd {
        let book = book(&[("stage1", &student)], &[("stage1", &teacher)]);
        let config = PkdConfig { variant, ..Default::default() };
        double(config.init(&book, &Parameters::new(Stream::new(3), &device())).unwrap())
    }

    #[test]
    fn values_match_the_oracle() {
        for (name, shape) in [("pkd.map", [2, 3, 4, 5]), ("pkd.row", [1, 1, 1, 3]), ("pkd.vector", [3, 2, 1, 1])] {
            let (student, teacher) = (wave(shape, 1.3, 0.41), wave(shape, 0.2, 0.37));
            let expected = fixture(name);
            for (form, expected) in [standardized_distance, decorrelation].iter().zip(expected) {
                let found = scalar(form(student.clone(), teacher.clone()));
                assert!((found - expected).abs() < 1e-9, "{name}: {found} instead of {expected}");
                let found = scalar(form(single(student.clone()), single(teacher.clone())));
                assert!((found - expected).abs() < 5e-5, "{name}: {found} instead of {expected}");
            }
        }
    }

    #[test]
    fn the_forms_differ_by_the_share_of_the_bias() {
        // Without the 1e-6 the code's value is (m - 1)/m of the paper's; with it, relatively 2e-6 less.
        let (student, teacher) = (wave([2, 3, 4, 5], 1.3, 0.41), wave([2, 3, 4, 5], 0.2, 0.37));
        let reference = scalar(standardized_distance(student.clone(), teacher.clone()));
        let paper = scalar(decorrelation(student, teacher));
        assert!((reference / paper * 40.0 / 39.0 - 1.0).abs() < 1e-5, "{reference} {paper}");
    }

    #[test]
    fn scale_and_offset_of_a_channel_do_not_matter() {
        let (student, teacher) = (wave([2, 3, 4, 5], 1.3, 0.41), wave([2, 3, 4, 5], 0.2, 0.37));
        let whole = scalar(decorrelation(student.clone(), teacher.clone()));
        assert!((scalar(decorrelation(student.clone() * 7.0 - 3.0, teacher)) - whole).abs() < 1e-12);
        assert!(scalar(decorrelation(student.clone(), student * 2.0 + 1.0)).abs() < 1e-12);
    }

    #[test]
    fn gradients_match_for_student_and_adapter() {
        let cases = [
            ([2, 3, 4, 5], [3, 4, 5]),
            ([2, 2, 7, 5], [3, 4, 3]),
            ([3, 2, 1, 1], [2, 1, 1]),
            ([1, 2, 1, 5], [2, 1, 3]),
        ];
        for ([n, c, h, w], teacher) in cases {
            for variant in [Variant::Reference, Variant::Paper] {
                let method = method(variant, [c, h, w], teacher);
                let target = wave([n, teacher[0], teacher[1], teacher[2]], 0.2, 0.37);
                let x = wave([n, c, h, w], 1.3, 0.41);
                let error = gradient_error(x.clone(), |x| value(&method, x, target.clone()));
                assert!(error < 1e-6, "{n}x{c}x{h}x{w} {variant:?}: {error}");
                if method.num_params() > 0 {
                    let loss = |m: &Pkd| value(m, x.clone(), target.clone());
                    assert!(parameter_gradient_error(fill(method), loss) < 1e-6, "{n}x{c}x{h}x{w} {variant:?}");
                }
            }
        }
    }

    #[test]
    fn a_single_value_and_a_constant_channel_stay_finite() {
        for variant in [Variant::Reference, Variant::Paper] {
            let method = method(variant, [2, 1, 1], [2, 1, 1]);
            let x = wave([1, 2, 1, 1], 1.3, 0.41).detach().require_grad();
            let loss = value(&method, x.clone(), wave([1, 2, 1, 1], 0.2, 0.37));
            assert!(scalar(loss.clone()).is_finite());
            let gradient = x.grad(&loss.backward()).map(|g| values(Tensor::from_inner(g)));
            assert!(gradient.is_none_or(|g| g.iter().all(|v| v.is_finite())), "{variant:?}");
        }
    }
}
