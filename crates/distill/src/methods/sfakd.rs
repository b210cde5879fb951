//! SFAKD: a depthwise spectral filter on the last feature.
//!
//! Code of Myleswork/SFAKD (its text has no peer-reviewed source; the formulas here are those of the code). With
//! `Z = F(x)` the orthonormal Fourier transform of each channel, a learned complex filter K of one number per channel and
//! frequency, and the smooth high-pass
//!
//! `h(u, v) = (1 - exp(-(u^2 + v^2) / (2 s^2))) / max`, s = 0.1 min(H, W), scaled so that its largest value is 1,
//!
//! the student's feature passes `y = g1 Re F^-1(h K Z) + g2 (W x + b)`, both g starting at 0.5 and K uniform in
//! [0, 1) / C_s^2, then the projector
//!
//! `P = ReLU BN conv1x1(C_t) . ReLU BN conv1x1 depthwise3x3 . ReLU BN conv1x1(m)`, m = floor((C_s + C_t) / 2),
//!
//! without biases, and `L = mean (P(y) - F^t)^2`. The larger of the two maps is first averaged down to the smaller.
//!
//! **Left out**: the code classifies with the teacher's last layer on the mean of P(y) over space and trains without
//! cross-entropy (SimKD's way), so that the projector stays in the deployed network. Here the student keeps its own
//! classifier, trained by the task's loss, and the projector is dropped after training. On a 1x1 map h is 0/0 in the code;
//! here it is 0 there, and the local path alone remains.
use burn::module::Param;
use burn::prelude::*;
use serde::{Deserialize, Serialize};
use subband_models::TapInfo;
use subband_spectral::{Mask, fam};

use crate::parts::{mean_squared_error, separable_temporary};
use crate::pieces::filter::{FilterKind, FrequencyAttention};
use crate::{
    About, BatchNorm, Conv, DistillError, Init, Method, MethodConfig, Parameters, ShapeBook, Side, StepInput, Term,
    Wanted, adaptive_average_pool,
};

/// Keys of `method = "sfakd"`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SfakdConfig {
    /// Width s of the high-pass as a share of min(H, W) (0.1), above 0.
    pub sigma: f64,
    /// Whether the projector ends with a ReLU (true; false for targets that can be negative, such as tokens).
    pub relu: bool,
    /// Student tap (default: the deepest stage).
    pub student_tap: Option<String>,
    /// Teacher tap (default: the deepest stage).
    pub teacher_tap: Option<String>,
}

impl Default for SfakdConfig {
    fn default() -> Self {
        Self { sigma: 0.1, relu: true, student_tap: None, teacher_tap: None }
    }
}

impl SfakdConfig {
    fn pair<'a>(&self, book: &'a ShapeBook) -> Result<(&'a TapInfo, &'a TapInfo), DistillError> {
        if !(self.sigma.is_finite() && self.sigma > 0.0) {
            return Err(self.bad(format!("`sigma = {}` must be above 0 (usual: 0.1)", self.sigma)));
        }
        let tap = |side, given| book.tap_or_deepest(Self::ABOUT.name, side, given);
        Ok((tap(Side::Student, &self.student_tap)?, tap(Side::Teacher, &self.teacher_tap)?))
    }
}

/// The size at which two taps are compared.
fn common(student: &TapInfo, teacher: &TapInfo) -> (usize, usize) {
    let ((h, w), (height, width)) = (student.shape.extent(), teacher.shape.extent());
    (h.min(height), w.min(width))
}

impl MethodConfig for SfakdConfig {
    type Method = Sfakd;
    const ABOUT: About = About {
        name: "sfakd",
        summary: "depthwise spectral filter with a smooth high-pass on the last feature",
        source: "code of Myleswork/SFAKD; weight 1, there without the task's loss and with the teacher's classifier",
        weight: 1.0,
        warmup_epochs: 0,
        task_weight: 1.0,
        taps: "the deepest stage",
    };

    fn taps(&self, book: &ShapeBook) -> Result<Wanted, DistillError> {
        let (student, teacher) = self.pair(book)?;
        Ok(Wanted { student: vec![student.name.clone()], teacher: vec![teacher.name.clone()] })
    }

    fn init(&self, book: &ShapeBook, parameters: &Parameters) -> Result<Sfakd, DistillError> {
        let (student, teacher) = self.pair(book)?;
        let (input, output) = (student.shape.channels(), teacher.shape.channels());
        let size = common(student, teacher);
        let middle = (input + output).div_euclid(2).max(1);
        let conv = |name: &str, channels: [usize; 2]| {
            Conv::new(&parameters.part(name), channels, 1, Init::torch_default(channels[0]))
        };
        let norm = |name: &str, channels| BatchNorm::new(&parameters.part(name), channels);
        Ok(Sfakd {
            filter: SpectralFilter::new(&parameters.part("filter"), input, size, self.sigma),
            reduce: conv("reduce", [input, middle]),
            reduce_norm: norm("reduce_norm", middle),
            depthwise: Conv::depthwise(&parameters.part("depthwise"), middle, 3),
            pointwise: conv("pointwise", [middle, middle]),
            pointwise_norm: norm("pointwise_norm", middle),
            expand: conv("expand", [middle, output]),
            expand_norm: norm("expand_norm", output),
            taps: (student.name.clone(), teacher.name.clone()),
            relu: self.relu,
        })
    }

    fn largest_temporary(&self, book: &ShapeBook, batch: usize) -> Result<usize, DistillError> {
        let (student, teacher) = self.pair(book)?;
        let size = common(student, teacher);
        let (input, output) = (student.shape.channels(), teacher.shape.channels());
        let averaged = |tap: &TapInfo| tap.shape.channels() * separable_temporary(tap.shape.extent(), size);
        // The middle width lies between the two.
        let map = averaged(student).max(averaged(teacher)).max(size.0 * size.1 * input.max(output));
        let depthwise = FilterKind::Depthwise;
        Ok((batch * map).max(FrequencyAttention::largest_temporary(batch, [input; 2], size, depthwise)))
    }
}

/// The filter and the projector.
#[derive(Module, Debug)]
pub struct Sfakd {
    filter: SpectralFilter,
    reduce: Conv,
    reduce_norm: BatchNorm,
    depthwise: Conv,
    pointwise: Conv,
    pointwise_norm: BatchNorm,
    expand: Conv,
    expand_norm: BatchNorm,
    #[module(skip)]
    taps: (String, String),
    #[module(skip)]
    relu: bool,
}

impl Method for Sfakd {
    fn forward(&self, input: &StepInput) -> Result<Vec<Term>, DistillError> {
        let name = SfakdConfig::ABOUT.name;
        let (student, teacher) = &self.taps;
        let value = self.loss(input.map(name, Side::Student, student)?, input.map(name, Side::Teacher, teacher)?)?;
        Ok(vec![Term::new(name, value, student)])
    }
}

impl Sfakd {
    /// L.
    ///
    /// # Shapes
    /// `[N, C_s, H_s, W_s]` and `[N, C_t, H_t, W_t]` to `[1]`.
    fn loss(&self, student: Tensor<4>, teacher: Tensor<4>) -> Result<Tensor<1>, DistillError> {
        let ([_, _, h, w], [_, _, height, width]) = (student.dims(), teacher.dims());
        let size = (h.min(height), w.min(width));
        let y = self.filter.forward(adaptive_average_pool(student, size))?;
        Ok(mean_squared_error(self.project(y), adaptive_average_pool(teacher, size)))
    }

    /// P(y).
    ///
    /// # Shapes
    /// `[N, C_s, H, W]` to `[N, C_t, H, W]`.
    fn project(&self, y: Tensor<4>) -> Tensor<4> {
        let y = self.reduce_norm.after(&self.reduce, y, true);
        let y = self.pointwise_norm.after(&self.pointwise, self.depthwise.forward(y), true);
        self.expand_norm.after(&self.expand, y, self.relu)
    }
}

/// y = g1 Re F^-1(h K F(x)) + g2 (W x + b).
#[derive(Module, Debug)]
struct SpectralFilter {
    /// Re K `[C, H, W]`.
    filter_re: Param<Tensor<3>>,
    /// Im K `[C, H, W]`.
    filter_im: Param<Tensor<3>>,
    gamma_global: Param<Tensor<1>>,
    gamma_local: Param<Tensor<1>>,
    local: Conv,
    #[module(skip)]
    high_pass: Mask,
}

impl SpectralFilter {
    fn new(parameters: &Parameters, channels: usize, (h, w): (usize, usize), sigma: f64) -> Self {
        let (shape, init) = ([channels, h, w], Init::Uniform(0.0, 1.0 / (channels * channels) as f64));
        let local = parameters.part("local");
        Self {
            filter_re: parameters.tensor("filter_re", shape, init),
            filter_im: parameters.tensor("filter_im", shape, init),
            gamma_global: parameters.tensor("gamma_global", [1], Init::Constant(0.5)),
            gamma_local: parameters.tensor("gamma_local", [1], Init::Constant(0.5)),
            local: Conv::new(&local, [channels; 2], 1, Init::torch_default(channels)).with_bias(&local),
            high_pass: high_pass([h, w], sigma),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Result<Tensor<4>, DistillError> {
        let gamma = |g: &Param<Tensor<1>>| g.val().reshape([1, 1, 1, 1]);
        let global = fam::filter_depthwise(x.clone(), self.filter_re.val(), self.filter_im.val(), &self.high_pass)?;
        Ok(global * gamma(&self.gamma_global) + self.local.forward(x) * gamma(&self.gamma_local))
    }
}

/// h over the frequencies of a map.
fn high_pass(size: [usize; 2], sigma: f64) -> Mask {
    let s = sigma * size[0].min(size[1]) as f64;
    let complement = |f: [i64; 2]| 1.0 - (-((f[0] * f[0] + f[1] * f[1]) as f64) / (2.0 * s * s)).exp();
    // The farthest frequency has the largest value; a 1x1 map has frequency 0 alone.
    let largest = complement([size[0] as i64 / 2, size[1] as i64 / 2]);
    Mask::from_fn(size, |f| if largest > 0.0 { complement(f) / largest } else { 0.0 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{
        book, device, double, fill, fixture, gradient_error, parameter_gradient_error, scalar, values, wave,
    };
    use subband_spectral::filter::Layout;

    fn method(student: &[usize; 3], teacher: &[usize; 3]) -> Sfakd {
        let book = book(&[("stage2", student)], &[("stage2", teacher)]);
        let made = SfakdConfig::default().init(&book, &Parameters::new(subband_seed::Stream::new(3), &device()));
        double(made.unwrap())
    }

    fn inputs(student: [usize; 3], teacher: [usize; 3]) -> (Tensor<4>, Tensor<4>) {
        let shape = |[c, h, w]: [usize; 3]| [2, c, h, w];
        (wave(shape(student), 1.3, 0.41), wave(shape(teacher), 0.2, 0.37))
    }

    #[test]
    fn values_match_the_oracle() {
        for (name, student, teacher) in [
            ("sfakd.same", [3, 4, 6], [6, 4, 6]),
            ("sfakd.student-larger", [4, 7, 6], [3, 3, 3]),
            ("sfakd.teacher-larger", [3, 5, 5], [5, 8, 8]),
        ] {
            let method = fill(method(&student, &teacher));
            let (s, t) = inputs(student, teacher);
            let value = scalar(method.loss(s, t).unwrap());
            assert!((value - fixture(name)[0]).abs() < 1e-9, "{name}: {value}");
        }
    }

    #[test]
    fn the_high_pass_is_that_of_the_code() {
        for (h, w) in [(8, 8), (7, 4), (2, 2)] {
            let found = high_pass([h, w], 0.1).values(Layout::Centred);
            let expected = fixture(&format!("sfakd.mask.{h}x{w}"));
            assert!(found.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-14), "{h}x{w}: {found:?}");
            assert_eq!(found.len(), expected.len());
        }
        assert_eq!(high_pass([1, 1], 0.1).values(Layout::Corner), [0.0]);
    }

    #[test]
    fn gradients_match_for_the_student_and_every_parameter() {
        for (student, teacher) in [([3, 4, 6], [5, 4, 6]), ([2, 7, 5], [3, 3, 3]), ([3, 3, 3], [2, 5, 7])] {
            let method = fill(method(&student, &teacher));
            let (s, t) = inputs(student, teacher);
            let error = gradient_error(s.clone(), |x| method.loss(x, t.clone()).unwrap());
            assert!(error < 1e-6, "{student:?}: {error}");
            let error = parameter_gradient_error(method, |m| m.loss(s.clone(), t.clone()).unwrap());
            assert!(error < 1e-6, "{student:?}: {error}");
        }
    }

    #[test]
    fn one_image_of_one_pixel_stays_finite() {
        let method = method(&[2, 1, 1], &[3, 1, 1]);
        let x = wave([1, 2, 1, 1], 0.3, 0.41).detach().require_grad();
        let loss = method.loss(x.clone(), wave([1, 3, 1, 1], 0.2, 0.37)).unwrap();
        assert!(scalar(loss.clone()).is_finite());
        let gradient = x.grad(&loss.backward()).unwrap().into_data();
        assert!(gradient.iter::<f64>().all(f64::is_finite));
        // A batch of three has a variance.
        let loss = method.loss(wave([3, 2, 1, 1], 0.3, 0.41), wave([3, 3, 1, 1], 0.2, 0.37)).unwrap();
        assert!(values(loss)[0] > 0.0);
    }
}
