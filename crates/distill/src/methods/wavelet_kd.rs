//! Wavelet knowledge distillation.
//!
//! Zhang, Chen, Tu, Xu, Luo, Wang: Wavelet Knowledge Distillation: Towards Efficient Image-to-Image Translation (CVPR
//! 2022, arXiv 2203.06321). With the detail bands `D_j(x) = [LH_j, HL_j, HH_j]` of a J-level wavelet transform
//!
//! `L = sum_j mean |D_j(S) - D_j(T)|`, mean over `[N, C, 3, h_j, w_j]`, and optionally `+ low mean |LL_J(S) - LL_J(T)|`.
//!
//! The source compares the images that two generators return; here any pair of taps can be compared, brought to the same
//! channels and size first ([`crate::pieces::align`]). The transform is linear, so only S - T is transformed, and for
//! Haar the bands are never formed.
use burn::prelude::*;
use serde::{Deserialize, Serialize};
use subband_spectral::dwt::{Dwt2, Dwt2Config};

use super::check_factor;
use crate::pieces::align::{Align, AlignConfig};
use crate::pieces::bands::{is_fused, largest_details};
use crate::shapes::Pairing;
use crate::{About, DistillError, Method, MethodConfig, Parameters, ShapeBook, Side, StepInput, Term, Wanted};

/// Keys of `method = "wavelet-kd"`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WaveletKdConfig {
    /// Wavelet (`haar`, as the code).
    pub wavelet: String,
    /// Levels J (4, as the code), at least 1.
    pub levels: usize,
    /// Factor of the low band LL (0: left out, as the paper; 1 is the code's mode with low and high bands).
    pub low: f64,
    /// Factor of the detail bands (1).
    pub high: f64,
    /// How the maps are brought to the same channels and size.
    pub align: AlignConfig,
    /// Student taps, shallow to deep (default: all stages).
    pub student_taps: Option<Vec<String>>,
    /// Teacher taps, shallow to deep (default: all stages).
    pub teacher_taps: Option<Vec<String>>,
}

impl Default for WaveletKdConfig {
    fn default() -> Self {
        Self {
            wavelet: "haar".to_string(),
            levels: 4,
            low: 0.0,
            high: 1.0,
            align: AlignConfig::default(),
            student_taps: None,
            teacher_taps: None,
        }
    }
}

impl WaveletKdConfig {
    fn pairing(&self) -> Pairing<'_> {
        Pairing::stages(Self::ABOUT.name, &self.student_taps, &self.teacher_taps)
    }

    /// The transform; checks the keys.
    fn transform(&self) -> Result<Dwt2, DistillError> {
        check_factor(self, "low", self.low)?;
        check_factor(self, "high", self.high)?;
        if self.low + self.high == 0.0 {
            return Err(self.bad("`low` and `high` are both 0: nothing is compared; set one of them to 1"));
        }
        if !(1..=16).contains(&self.levels) {
            return Err(self.bad(format!("`levels = {}` must be 1 to 16 (usual: 4)", self.levels)));
        }
        Dwt2Config::new(&self.wavelet, self.levels).init().map_err(|error| self.bad(error.to_string()))
    }
}

impl MethodConfig for WaveletKdConfig {
    type Method = WaveletKd;
    const ABOUT: About = About {
        name: "wavelet-kd",
        summary: "L1 distance of the wavelet detail bands, all levels",
        source: "Zhang et al. 2022; haar and 4 levels from its code, there on generated images; weight 1",
        weight: 1.0,
        warmup_epochs: 0,
        task_weight: 1.0,
        taps: "stage1..N",
    };

    fn taps(&self, book: &ShapeBook) -> Result<Wanted, DistillError> {
        self.transform()?;
        self.pairing().wanted(book)
    }

    fn init(&self, book: &ShapeBook, parameters: &Parameters) -> Result<WaveletKd, DistillError> {
        let transform = self.transform()?;
        let pairs = self.pairing().pairs(book)?;
        let aligns = pairs
            .iter()
            .map(|(s, t)| self.align.init(Self::ABOUT.name, s.shape, t.shape, &parameters.part("align").part(&s.name)));
        Ok(WaveletKd {
            aligns: aligns.collect::<Result<_, _>>()?,
            pairs: pairs.iter().map(|(s, t)| (s.name.clone(), t.name.clone())).collect(),
            factors: (self.low, self.high),
            transform,
        })
    }

    fn largest_temporary(&self, book: &ShapeBook, batch: usize) -> Result<usize, DistillError> {
        let (pairs, dwt) = (self.pairing().pairs(book)?, self.transform()?);
        let sizes = pairs.iter().map(|(s, t)| {
            let (h, w) = self.align.grid.size(s.shape.extent(), t.shape.extent());
            let bands = if is_fused(&dwt, [h, w]) { 0 } else { largest_details(&dwt, (h, w)) };
            self.align.largest_temporary(s.shape, t.shape, batch).max(batch * t.shape.channels() * bands)
        });
        Ok(sizes.max().unwrap_or(0))
    }
}

/// The adapters and the transform.
#[derive(Module, Debug)]
pub struct WaveletKd {
    aligns: Vec<Align>,
    #[module(skip)]
    pairs: Vec<(String, String)>,
    /// Of the low band and of the detail bands.
    #[module(skip)]
    factors: (f64, f64),
    #[module(skip)]
    transform: Dwt2,
}

impl Method for WaveletKd {
    fn forward(&self, input: &StepInput) -> Result<Vec<Term>, DistillError> {
        let name = WaveletKdConfig::ABOUT.name;
        let terms = self.aligns.iter().zip(&self.pairs).map(|(align, (student, teacher))| {
            let (s, t) =
                align.forward(input.map(name, Side::Student, student)?, input.map(name, Side::Teacher, teacher)?);
            Ok(Term::new(format!("{name}.{student}"), self.loss(s, t)?, student).against(teacher))
        });
        terms.collect()
    }
}

impl WaveletKd {
    /// L of one aligned pair.
    ///
    /// # Shapes
    /// `[N, C, H, W]` twice to `[1]`.
    fn loss(&self, student: Tensor<4>, teacher: Tensor<4>) -> Result<Tensor<1>, DistillError> {
        let (low, high) = self.factors;
        Ok(self.transform.band_l1(student, teacher)?.weighted(low, high))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{book, device, double, fixture, gradient_error, parameter_gradient_error, scalar, single, wave};

    fn method(config: WaveletKdConfig, student: &[usize; 3], teacher: &[usize; 3]) -> WaveletKd {
        let book = book(&[("stage1", student)], &[("stage1", teacher)]);
        double(config.init(&book, &Parameters::new(subband_seed::Stream::new(3), &device())).unwrap())
    }

    fn maps([n, c, h, w]: [usize; 4]) -> (Tensor<4>, Tensor<4>) {
        (wave([n, c, h, w], 1.3, 0.41), wave([n, c, h, w], 0.2, 0.37))
    }

    #[test]
    fn values_match_the_oracle() {
        for (name, levels, low, shape) in [
            ("wavelet-kd.high", 4, 0.0, [2, 4, 9, 12]),
            ("wavelet-kd.both", 2, 1.0, [2, 4, 9, 12]),
            ("wavelet-kd.1x1", 4, 0.0, [1, 3, 1, 1]),
        ] {
            let channels = [shape[1], shape[2], shape[3]];
            let config = WaveletKdConfig { levels, low, ..Default::default() };
            let method = method(config, &channels, &channels);
            let (s, t) = maps(shape);
            let value = scalar(method.loss(s.clone(), t.clone()).unwrap());
            assert!((value - fixture(name)[0]).abs() < 1e-9, "{name}: {value}");
            let value = scalar(method.loss(single(s), single(t)).unwrap());
            assert!((value - fixture(name)[0]).abs() < 5e-5, "{name} in f32: {value}");
        }
    }

    #[test]
    fn gradients_match_for_the_student_and_its_adapter() {
        for (wavelet, size) in [("haar", (9, 7)), ("db2", (5, 6)), ("haar", (1, 1)), ("haar", (8, 8))] {
            let config = WaveletKdConfig { wavelet: wavelet.into(), levels: 3, low: 0.5, ..Default::default() };
            let method = method(config, &[2, size.0, size.1], &[3, 5, 6]);
            let teacher = wave([1, 3, 5, 6], 0.2, 0.37);
            let loss = |method: &WaveletKd, x: Tensor<4>| {
                let (s, t) = method.aligns[0].forward(x, teacher.clone());
                method.loss(s, t).unwrap()
            };
            let x = wave([1, 2, size.0, size.1], 1.3, 0.41);
            assert!(gradient_error(x.clone(), |x| loss(&method, x)) < 1e-6, "{wavelet} {size:?}");
            assert!(parameter_gradient_error(method, |m| loss(m, x.clone())) < 1e-6, "{wavelet} {size:?}");
        }
    }

    #[test]
    fn bad_keys_name_the_remedy() {
        let book = book(&[("stage1", &[2, 4, 4])], &[("stage1", &[2, 4, 4])]);
        let message = |config: WaveletKdConfig| config.taps(&book).unwrap_err().to_string();
        assert!(message(WaveletKdConfig { levels: 0, ..Default::default() }).contains("1 to 16"));
        assert!(message(WaveletKdConfig { high: 0.0, ..Default::default() }).contains("`low` and `high`"));
        assert!(message(WaveletKdConfig { low: -1.0, ..Default::default() }).contains("`low = -1`"));
        let unknown = message(WaveletKdConfig { wavelet: "hat".into(), ..Default::default() });
        assert!(unknown.contains("hat") && unknown.contains("`wavelet-kd`"), "{unknown}");
    }
}
