//! Channel-wise distillation.
//!
//! Shu, Liu, Gao, Yan, Shen: Channel-wise Knowledge Distillation for Dense Prediction (ICCV 2021). Each channel of a map
//! is read as a distribution over its places i, softened by a temperature T:
//!
//! `phi(y)_ci = exp(y_ci / T) / sum_j exp(y_cj / T)`,
//!
//! `L = T^2 / (N C) * sum_n sum_c sum_i phi(t)_nci (ln phi(t)_nci - ln phi(s)_nci)`.
//!
//! Feature maps (the last one before the classifier) and maps of logits are treated alike. Where the channels differ a
//! 1x1 convolution brings the student's to the teacher's; the released code adds batch normalisation and ReLU.
use burn::prelude::*;
use burn::tensor::activation::log_softmax;
use serde::{Deserialize, Serialize};

use super::check_temperature;
use super::level::{Level, Taps};
use crate::compared::Compared;
use crate::pieces::align::AlignConfig;
use crate::{
    About, BatchNorm, DistillError, Method, MethodConfig, Parameters, ShapeBook, StepInput, Term, Variant, Wanted,
};

/// What follows the adapter of the student.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CwdTail {
    /// Nothing.
    None,
    /// Batch normalisation and ReLU.
    BnRelu,
}

/// Keys of `method = "cwd"`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CwdConfig {
    /// Whose details are followed: the released code's or the paper's. Sets the default of `tail`.
    pub variant: Variant,
    /// Temperature T (4), above 0.
    pub temperature: f64,
    /// What follows the adapter where there is one: `bn-relu` (reference) or `none` (paper).
    pub tail: Option<CwdTail>,
    /// Student taps, shallow to deep (default: the deepest stage). A map of logits is a tap like any other.
    pub student_taps: Option<Vec<String>>,
    /// Teacher taps, shallow to deep (default: the deepest stage).
    pub teacher_taps: Option<Vec<String>>,
    /// How the maps are brought to the same channels and size.
    pub align: AlignConfig,
}

impl Default for CwdConfig {
    fn default() -> Self {
        Self {
            variant: Variant::Reference,
            temperature: 4.0,
            tail: None,
            student_taps: None,
            teacher_taps: None,
            align: AlignConfig::default(),
        }
    }
}

impl CwdConfig {
    fn spread(&self) -> Taps<'_> {
        let (student, teacher) = (&self.student_taps, &self.teacher_taps);
        Taps { method: Self::ABOUT.name, student, teacher, deepest: true }
    }

    fn tail(&self) -> CwdTail {
        self.tail.unwrap_or(match self.variant {
            Variant::Reference => CwdTail::BnRelu,
            Variant::Paper => CwdTail::None,
        })
    }
}

impl MethodConfig for CwdConfig {
    type Method = Cwd;
    const ABOUT: About = About {
        name: "cwd",
        summary: "each channel as a distribution over its places, KL divergence",
        source: "Shu et al. 2021; T 4, weight 50 for features (3 for maps of logits)",
        weight: 50.0,
        warmup_epochs: 0,
        task_weight: 1.0,
        taps: "the deepest stage",
    };

    fn taps(&self, book: &ShapeBook) -> Result<Wanted, DistillError> {
        check_temperature(self, self.temperature)?;
        for (student, teacher) in self.spread().pairs(book)? {
            let size = self.align.grid.size(student.shape.extent(), teacher.shape.extent());
            let compared = Compared::new(Self::ABOUT.name, &student, &teacher, size);
            compared.needs_places("every distribution is 1", "take taps with a height or width")?;
        }
        self.spread().wanted(book)
    }

    fn init(&self, book: &ShapeBook, parameters: &Parameters) -> Result<Cwd, DistillError> {
        let levels = self.spread().levels(book, &self.align, parameters)?;
        let tail = |(k, (level, (_, teacher))): (usize, (&Level, (_, subband_models::TapInfo)))| {
            let part = parameters.part("tails").part(&k.to_string());
            // Without an adapter the channels already are the teacher's.
            let norm = self.tail() == CwdTail::BnRelu && level.num_params() > 0;
            norm.then(|| BatchNorm::new(&part, teacher.shape.channels()))
        };
        let tails = levels.iter().zip(self.spread().pairs(book)?).enumerate().map(tail).collect();
        Ok(Cwd { levels, tails, temperature: self.temperature })
    }

    fn largest_temporary(&self, book: &ShapeBook, batch: usize) -> Result<usize, DistillError> {
        self.spread().largest_map(book, &self.align, batch)
    }
}

/// The loss with its adapters.
#[derive(Module, Debug)]
pub struct Cwd {
    levels: Vec<Level>,
    tails: Vec<Option<BatchNorm>>,
    #[module(skip)]
    temperature: f64,
}

impl Method for Cwd {
    fn forward(&self, input: &StepInput) -> Result<Vec<Term>, DistillError> {
        let name = CwdConfig::ABOUT.name;
        let terms = self.levels.iter().zip(&self.tails).map(|(level, tail)| {
            let (student, teacher) = level.maps(name, input)?;
            let student = match tail {
                Some(norm) => norm.forward_relu(student),
                None => student,
            };
            Ok(level.term(name, channel_divergence(student, teacher, self.temperature)))
        });
        terms.collect()
    }
}

/// `T^2 / (N C) sum KL(phi(t) || phi(s))` over samples and channels.
///
/// # Shapes
/// Two `[N, C, H, W]` to `[1]`.
fn channel_divergence(student: Tensor<4>, teacher: Tensor<4>, temperature: f64) -> Tensor<1> {
    let [n, c, h, w] = student.dims();
    let log = |x: Tensor<4>| log_softmax(x.reshape([n, c, h * w]) / temperature, 2);
    let (student, teacher) = (log(student), log(teacher));
    let rows = (teacher.clone().exp() * (teacher - student)).sum_dim(2);
    rows.sum_dim(1).sum() * (temperature * temperature / (n * c) as f64)
}

#[cfg(test)]
mod tests {
    use burn::tensor::DType;
    use subband_seed::Stream;

    use super::*;
    use crate::check::{
        book, cast, device, double, features, fill, fixture, gradient_error, labels, parameter_gradient_error, scalar,
        single, wave,
    };

    fn method(config: &CwdConfig, student: [usize; 3], teacher: [usize; 3]) -> Cwd {
        let book = book(&[("stage1", &student)], &[("stage1", &teacher)]);
        double(config.init(&book, &Parameters::new(Stream::new(3), &device())).unwrap())
    }

    fn value(method: &Cwd, student: Tensor<4>, teacher: Tensor<4>) -> Tensor<1> {
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

    fn maps([n, c, h, w]: [usize; 4], channels: usize) -> (Tensor<4>, Tensor<4>) {
        (wave([n, c, h, w], 1.3, 0.41), wave([n, channels, h, w], 0.2, 0.37))
    }

    #[test]
    fn values_match_the_oracle() {
        for (name, shape) in [("cwd.map", [2, 3, 4, 5]), ("cwd.row", [1, 1, 1, 2]), ("cwd.odd", [3, 2, 7, 3])] {
            let (student, teacher) = maps(shape, shape[1]);
            for (temperature, expected) in [4.0, 1.0].into_iter().zip(fixture(name)) {
                let found = scalar(channel_divergence(student.clone(), teacher.clone(), temperature));
                assert!((found - expected).abs() < 1e-9, "{name} {temperature}: {found}");
                let found = scalar(channel_divergence(single(student.clone()), single(teacher.clone()), temperature));
                assert!((found - expected).abs() < 5e-5, "{name} {temperature}: {found}");
            }
        }
    }

    #[test]
    fn both_variants_match_the_oracle_where_channels_differ() {
        for (name, variant) in [("cwd.reference", Variant::Reference), ("cwd.paper", Variant::Paper)] {
            let config = CwdConfig { variant, ..Default::default() };
            let method = fill(method(&config, [3, 4, 5], [2, 4, 5]));
            let (student, teacher) = maps([2, 3, 4, 5], 2);
            let found = scalar(value(&method, student.clone(), teacher.clone()));
            assert!((found - fixture(name)[0]).abs() < 1e-9, "{name}: {found}");
            let found = scalar(value(&cast(method, DType::F32), single(student), single(teacher)));
            assert!((found - fixture(name)[0]).abs() < 5e-5, "{name}: {found}");
        }
    }

    #[test]
    fn gradients_match_for_student_and_adapter() {
        for (student, teacher) in
            [([2, 3, 4, 5], [2, 4, 5]), ([1, 2, 1, 3], [2, 1, 3]), ([2, 2, 7, 5], [3, 4, 3]), ([1, 1, 1, 1], [1, 2, 1])]
        {
            for variant in [Variant::Reference, Variant::Paper] {
                let [_, c, h, w] = student;
                let method = method(&CwdConfig { variant, ..Default::default() }, [c, h, w], teacher);
                let target = wave([student[0], teacher[0], teacher[1], teacher[2]], 0.2, 0.37);
                let x = wave(student, 1.3, 0.41);
                let error = gradient_error(x.clone(), |x| value(&method, x, target.clone()));
                assert!(error < 1e-6, "{student:?} {variant:?}: {error}");
                if method.num_params() > 0 {
                    let loss = |m: &Cwd| value(m, x.clone(), target.clone());
                    assert!(parameter_gradient_error(fill(method), loss) < 1e-6, "{student:?} {variant:?}");
                }
            }
        }
    }

    #[test]
    fn a_map_of_one_place_is_refused_and_huge_values_stay_finite() {
        let flat = book(&[("stage1", &[3, 1, 1])], &[("stage1", &[3, 1, 1])]);
        let error = CwdConfig::default().taps(&flat).unwrap_err().to_string();
        assert!(error.contains("stage1") && error.contains("one place"), "{error}");
        let (student, teacher) = maps([1, 2, 3, 3], 2);
        assert!(scalar(channel_divergence(student * 1e4, teacher * -1e4, 1.0)).is_finite());
        let (same, _) = maps([2, 3, 3, 3], 3);
        assert!(scalar(channel_divergence(same.clone(), same + 2.0, 4.0)).abs() < 1e-14);
    }
}
