//! Masked generative distillation.
//!
//! Yang, Li, Shao, Shi, Yuan, Yuan: Masked Generative Distillation (ECCV 2022). A random part of the student's map,
//! aligned to the teacher's channels by A, is hidden, and a small block G has to generate the whole teacher's map from
//! the rest:
//!
//! `G(x) = W_2 * ReLU(W_1 * x)`, both 3x3 with bias,
//!
//! `L = 1/N * sum_n sum_cij (G(M A(s)) - t)^2_ncij`, M = 0 with probability lambda, else 1.
//!
//! In the paper M is one map of places for all channels of a sample. The released code for classification hides whole
//! channels instead, that for detection and segmentation places. The sum is over all elements of a sample: the weight is
//! small (7e-5) because the loss is not a mean.
//!
//! M depends on the run's seed, the epoch, the step, the level and the sample, and on nothing else.
use burn::prelude::*;
use burn::tensor::TensorData;
use burn::tensor::activation::relu;
use serde::{Deserialize, Serialize};
use subband_models::TapInfo;
use subband_seed::Stream;

use super::level::{Level, Taps};
use crate::pieces::align::AlignConfig;
use crate::{
    About, Conv, DistillError, Init, Method, MethodConfig, Parameters, ShapeBook, StepInput, Term, Variant, Wanted,
};

/// What the mask of one sample hides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MgdMask {
    /// Places, in all channels at once: M is `[N, 1, H, W]`.
    Places,
    /// Channels, at all places at once: M is `[N, C, 1, 1]`.
    Channels,
}

/// Keys of `method = "mgd"`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MgdConfig {
    /// Whose details are followed; sets the defaults of `mask` and `ratio`.
    pub variant: Variant,
    /// What is hidden: `channels` (reference: the released classification code) or `places` (paper).
    pub mask: Option<MgdMask>,
    /// Hidden share lambda, 0 to below 1: 0.15 for the reference, 0.5 for the paper.
    pub ratio: Option<f64>,
    /// Student taps, shallow to deep (default: the deepest stage).
    pub student_taps: Option<Vec<String>>,
    /// Teacher taps, shallow to deep (default: the deepest stage).
    pub teacher_taps: Option<Vec<String>>,
    /// How the maps are brought to the same channels and size.
    pub align: AlignConfig,
}

impl Default for MgdConfig {
    fn default() -> Self {
        Self {
            variant: Variant::Reference,
            mask: None,
            ratio: None,
            student_taps: None,
            teacher_taps: None,
            align: AlignConfig::default(),
        }
    }
}

impl MgdConfig {
    fn spread(&self) -> Taps<'_> {
        let (student, teacher) = (&self.student_taps, &self.teacher_taps);
        Taps { method: Self::ABOUT.name, student, teacher, deepest: true }
    }

    fn masking(&self) -> (MgdMask, f64) {
        let (mask, ratio) = match self.variant {
            Variant::Reference => (MgdMask::Channels, 0.15),
            Variant::Paper => (MgdMask::Places, 0.5),
        };
        (self.mask.unwrap_or(mask), self.ratio.unwrap_or(ratio))
    }
}

impl MethodConfig for MgdConfig {
    type Method = Mgd;
    const ABOUT: About = About {
        name: "mgd",
        summary: "the teacher's map generated from a randomly masked student map",
        source: "Yang et al. 2022; weight 7e-5 and ratio 0.15 from its classification code",
        weight: 7e-5,
        warmup_epochs: 0,
        task_weight: 1.0,
        taps: "the deepest stage",
    };

    fn taps(&self, book: &ShapeBook) -> Result<Wanted, DistillError> {
        let (_, ratio) = self.masking();
        if !(0.0..1.0).contains(&ratio) {
            return Err(self.bad(format!("`ratio = {ratio}` must be from 0 to below 1 (usual: 0.15 to 0.75)")));
        }
        self.spread().wanted(book)
    }

    fn init(&self, book: &ShapeBook, parameters: &Parameters) -> Result<Mgd, DistillError> {
        let block = |(k, (_, teacher)): (usize, (TapInfo, TapInfo))| {
            Generation::new(&parameters.part("generation").part(&k.to_string()), teacher.shape.channels())
        };
        let (mask, ratio) = self.masking();
        Ok(Mgd {
            levels: self.spread().levels(book, &self.align, parameters)?,
            generation: self.spread().pairs(book)?.into_iter().enumerate().map(block).collect(),
            masks: Masks { kind: mask, ratio, seed: parameters.stream("masks") },
        })
    }

    fn largest_temporary(&self, book: &ShapeBook, batch: usize) -> Result<usize, DistillError> {
        self.spread().largest_map(book, &self.align, batch)
    }
}

/// The adapters and generation blocks.
#[derive(Module, Debug)]
pub struct Mgd {
    levels: Vec<Level>,
    generation: Vec<Generation>,
    #[module(skip)]
    masks: Masks,
}

impl Method for Mgd {
    fn forward(&self, input: &StepInput) -> Result<Vec<Term>, DistillError> {
        let name = MgdConfig::ABOUT.name;
        let levels = self.levels.iter().zip(&self.generation).enumerate();
        let terms = levels.map(|(k, (level, generation))| {
            let (student, teacher) = level.maps(name, input)?;
            let mask = self.masks.draw(&student, input, k);
            Ok(level.term(name, generation.loss(student, teacher, mask)))
        });
        terms.collect()
    }
}

/// How masks are drawn.
#[derive(Debug, Clone, Copy)]
struct Masks {
    kind: MgdMask,
    ratio: f64,
    seed: Stream,
}

impl Masks {
    /// M for the maps of one level at one step.
    ///
    /// # Shapes
    /// For `[N, C, H, W]`: `[N, 1, H, W]` or `[N, C, 1, 1]` of zeros and ones.
    fn draw(&self, like: &Tensor<4>, input: &StepInput, level: usize) -> Tensor<4> {
        let [n, c, h, w] = like.dims();
        let shape = match self.kind {
            MgdMask::Places => [n, 1, h, w],
            MgdMask::Channels => [n, c, 1, 1],
        };
        let step = self.seed.at(input.epoch as u64).at(input.step as u64).at(level as u64);
        let count = shape[1] * shape[2] * shape[3];
        let sample = |sample: usize| {
            let mut stream = step.at(input.sample(sample));
            (0..count).map(move |_| if stream.chance(self.ratio) { 0.0_f32 } else { 1.0 })
        };
        let values: Vec<f32> = (0..n).flat_map(sample).collect();
        Tensor::from_data(TensorData::new(values, shape), (&like.device(), like.dtype()))
    }
}

/// G: 3x3 convolution, ReLU, 3x3 convolution, all with the teacher's channels.
#[derive(Module, Debug)]
struct Generation {
    first: Conv,
    second: Conv,
}

impl Generation {
    fn new(parameters: &Parameters, channels: usize) -> Self {
        let conv = |name: &str| {
            let part = parameters.part(name);
            Conv::new(&part, [channels; 2], 3, Init::torch_default(9 * channels)).with_bias(&part)
        };
        Self { first: conv("first"), second: conv("second") }
    }

    /// The squared error of the generated map, summed over a sample's elements, mean over samples.
    ///
    /// # Shapes
    /// Two `[N, C, H, W]` and a mask that broadcasts to them, to `[1]`.
    fn loss(&self, student: Tensor<4>, teacher: Tensor<4>, mask: Tensor<4>) -> Tensor<1> {
        let generated = self.second.forward(relu(self.first.forward(student * mask)));
        let [n, c, h, w] = teacher.dims();
        (generated - teacher).square().reshape([n, c * h * w]).sum_dim(1).sum() / n as f64
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::DType;

    use super::*;
    use crate::check::{
        book, cast, device, double, features, fill, fixture, gradient_error, labels, parameter_gradient_error, scalar,
        single, values, wave,
    };

    fn method(config: &MgdConfig, student: [usize; 3], teacher: [usize; 3], seed: u64) -> Mgd {
        let book = book(&[("stage1", &student)], &[("stage1", &teacher)]);
        double(config.init(&book, &Parameters::new(Stream::new(seed), &device())).unwrap())
    }

    fn at(method: &Mgd, student: Tensor<4>, teacher: Tensor<4>, epoch: usize, step: usize) -> Tensor<1> {
        let (student, teacher) = (features(&[("stage1", student)]), features(&[("stage1", teacher)]));
        let input = StepInput {
            student: &student,
            teacher: &teacher,
            labels: labels(&[0, 1]).into(),
            samples: &[],
            epoch,
            step,
        };
        method.forward(&input).unwrap().remove(0).value
    }

    /// 1 where the wave is above -0.2.
    fn mask(shape: [usize; 4]) -> Tensor<4> {
        let shown = wave(shape, 0.5, 2.3).greater_elem(-0.2);
        wave(shape, 0.0, 0.0).zeros_like().mask_fill(shown, 1.0)
    }

    #[test]
    fn values_match_the_oracle_for_both_masks() {
        for (name, mask_shape) in [("mgd.places", [2, 1, 4, 5]), ("mgd.channels", [2, 3, 1, 1])] {
            let method = fill(method(&MgdConfig::default(), [2, 4, 5], [3, 4, 5], 1));
            let (student, teacher) = (wave([2, 2, 4, 5], 1.3, 0.41), wave([2, 3, 4, 5], 0.2, 0.37));
            let loss = |method: &Mgd, student: Tensor<4>, teacher: Tensor<4>, mask: Tensor<4>| {
                let (student, teacher) = {
                    let (own, other) = (features(&[("stage1", student)]), features(&[("stage1", teacher)]));
                    let input = StepInput {
                        student: &own,
                        teacher: &other,
                        labels: labels(&[0, 1]).into(),
                        samples: &[],
                        epoch: 1,
                        step: 1,
                    };
                    method.levels[0].maps("mgd", &input).unwrap()
                };
                scalar(method.generation[0].loss(student, teacher, mask))
            };
            let expected = fixture(name)[0];
            let found = loss(&method, student.clone(), teacher.clone(), mask(mask_shape));
            assert!((found - expected).abs() < 1e-9, "{name}: {found}");
            let found = loss(&cast(method, DType::F32), single(student), single(teacher), single(mask(mask_shape)));
            assert!((found / expected - 1.0).abs() < 5e-5, "{name}: {found}");
        }
    }

    #[test]
    fn gradients_match_for_student_and_blocks() {
        let cases = [([2, 3, 4, 5], [3, 4, 5]), ([2, 2, 7, 5], [3, 4, 3]), ([1, 1, 1, 1], [2, 1, 1])];
        for ([n, c, h, w], teacher) in cases {
            for variant in [Variant::Reference, Variant::Paper] {
                let method = fill(method(&MgdConfig { variant, ..Default::default() }, [c, h, w], teacher, 3));
                let target = wave([n, teacher[0], teacher[1], teacher[2]], 0.2, 0.37);
                let x = wave([n, c, h, w], 1.3, 0.41);
                let error = gradient_error(x.clone(), |x| at(&method, x, target.clone(), 1, 1));
                assert!(error < 1e-6, "{n}x{c}x{h}x{w} {variant:?}: {error}");
                let loss = |m: &Mgd| at(m, x.clone(), target.clone(), 1, 1);
                assert!(parameter_gradient_error(method, loss) < 1e-6, "{n}x{c}x{h}x{w} {variant:?}");
            }
        }
    }

    fn drawn(kind: MgdMask, seed: u64, n: usize, epoch: usize, step: usize, level: usize) -> Vec<f64> {
        let samples: Vec<u64> = (0..n as u64).collect();
        drawn_for(&samples, kind, seed, epoch, step, level)
    }

    fn drawn_for(samples: &[u64], kind: MgdMask, seed: u64, epoch: usize, step: usize, level: usize) -> Vec<f64> {
        let masks = Masks { kind, ratio: 0.3, seed: Stream::new(seed) };
        let (student, teacher) = (features(&[]), features(&[]));
        let input =
            StepInput { student: &student, teacher: &teacher, labels: labels(&[0]).into(), samples, epoch, step };
        values(masks.draw(&wave([samples.len(), 40, 6, 9], 0.1, 0.37), &input, level))
    }

    #[test]
    fn masks_follow_seed_epoch_step_level_and_sample_only() {
        for (kind, size) in [(MgdMask::Places, 54), (MgdMask::Channels, 40)] {
            let first = drawn(kind, 1, 8, 2, 5, 0);
            assert_eq!(first.len(), 8 * size);
            assert!(first.iter().all(|&m| m == 0.0 || m == 1.0));
            // A resumed run, another batch size: the same masks for the same samples.
            assert_eq!(drawn(kind, 1, 8, 2, 5, 0), first);
            assert_eq!(drawn(kind, 1, 3, 2, 5, 0), first[..3 * size]);
            // A sample takes its mask along, to another place of a batch and to another micro-batch of the step.
            assert_eq!(drawn_for(&[7, 2], kind, 1, 2, 5, 0), [&first[7 * size..], &first[2 * size..3 * size]].concat());
            for other in [
                drawn(kind, 2, 8, 2, 5, 0),
                drawn(kind, 1, 8, 3, 5, 0),
                drawn(kind, 1, 8, 2, 6, 0),
                drawn(kind, 1, 8, 2, 5, 1),
            ] {
                assert_ne!(other, first);
            }
            assert_ne!(first[..size], first[size..2 * size]);
            let hidden = drawn(kind, 1, 200, 1, 1, 0).iter().filter(|&&m| m == 0.0).count() as f64;
            assert!((hidden / (200 * size) as f64 - 0.3).abs() < 0.02, "{hidden}");
        }
    }

    #[test]
    fn a_whole_step_repeats_exactly_and_the_next_differs() {
        let (student, teacher) = (wave([2, 2, 4, 5], 1.3, 0.41), wave([2, 3, 4, 5], 0.2, 0.37));
        let config = MgdConfig { ratio: Some(0.5), ..Default::default() };
        let value = |epoch, step| {
            let method = method(&config, [2, 4, 5], [3, 4, 5], 7);
            scalar(at(&method, student.clone(), teacher.clone(), epoch, step))
        };
        assert_eq!(value(1, 3), value(1, 3));
        let steps: Vec<f64> = (1..6).map(|step| value(1, step)).collect();
        assert!(steps.windows(2).any(|pair| pair[0] != pair[1]), "{steps:?}");
    }

    #[test]
    fn a_ratio_of_one_is_refused() {
        let book = book(&[("stage1", &[2, 4, 4])], &[("stage1", &[2, 4, 4])]);
        let config = MgdConfig { ratio: Some(1.0), ..Default::default() };
        assert!(config.taps(&book).unwrap_err().to_string().contains("below 1"));
    }
}
