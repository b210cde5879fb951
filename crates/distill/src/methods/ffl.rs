//! Focal frequency loss.
//!
//! Jiang, Dai, Wu, Loy: Focal Frequency Loss for Image Reconstruction and Synthesis (ICCV 2021, arXiv 2012.12821),
//! equations 8 to 10 of the paper and the options of its code. With F the orthonormal Fourier transform of each channel
//! and D = F(S) - F(T)
//!
//! `L = mean over N, C, H, W of W |D|^2`, `W = |D|^alpha / max over the map's frequencies`, without gradient.
//!
//! What is hard to match counts more. Options ([`Focal`]): the spectra averaged over the batch first, the logarithm
//! `ln(1 + |D|^alpha)` as the weight, one maximum for the whole batch, and p x p patches with a spectrum each. The source
//! compares images; here any pair of taps, brought to the same channels and size first.
use burn::prelude::*;
use serde::{Deserialize, Serialize};

use crate::pieces::align::{Align, AlignConfig};
use crate::pieces::distance::Reduction;
use crate::pieces::focal::Focal;
use crate::shapes::Pairing;
use crate::{About, DistillError, Method, MethodConfig, Parameters, ShapeBook, Side, StepInput, Term, Wanted};

/// Keys of `method = "ffl"`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FflConfig {
    /// Exponent of the weight (1), 0 or more.
    pub alpha: f64,
    /// Whether the spectra are averaged over the batch first (false).
    pub ave_spectrum: bool,
    /// Whether the weight is the logarithm ln(1 + |D|^alpha) (false).
    pub log_matrix: bool,
    /// Whether one maximum of the whole batch scales the weights (false: one of each map).
    pub batch_matrix: bool,
    /// Patches along each axis, of which each has its own spectrum (1); must divide height and width.
    pub patch_factor: usize,
    /// How the maps are brought to the same channels and size.
    pub align: AlignConfig,
    /// Student taps, shallow to deep (default: all stages).
    pub student_taps: Option<Vec<String>>,
    /// Teacher taps, shallow to deep (default: all stages).
    pub teacher_taps: Option<Vec<String>>,
}

impl Default for FflConfig {
    fn default() -> Self {
        let Focal { alpha, ave_spectrum, log_matrix, batch_matrix, patch_factor } = Focal::default();
        Self {
            alpha,
            ave_spectrum,
            log_matrix,
            batch_matrix,
            patch_factor,
            align: AlignConfig::default(),
            student_taps: None,
            teacher_taps: None,
        }
    }
}

impl FflConfig {
    fn focal(&self) -> Result<Focal, DistillError> {
        let Self { alpha, ave_spectrum, log_matrix, batch_matrix, patch_factor, .. } = *self;
        let focal = Focal { alpha, ave_spectrum, log_matrix, batch_matrix, patch_factor };
        focal.problem().map_or(Ok(focal), |problem| Err(self.bad(problem)))
    }

    fn pairing(&self) -> Pairing<'_> {
        Pairing::stages(Self::ABOUT.name, &self.student_taps, &self.teacher_taps)
    }
}

impl MethodConfig for FflConfig {
    type Method = Ffl;
    const ABOUT: About = About {
        name: "ffl",
        summary: "focal frequency loss: squared error of spectra, large differences weighted up",
        source: "Jiang et al. 2021, there on images; alpha 1 and weight 1 from its code",
        weight: 1.0,
        warmup_epochs: 0,
        task_weight: 1.0,
        taps: "stage1..N",
    };

    fn taps(&self, book: &ShapeBook) -> Result<Wanted, DistillError> {
        let p = self.focal()?.patch_factor;
        for (student, teacher) in self.pairing().pairs(book)? {
            let (h, w) = self.align.grid.size(student.shape.extent(), teacher.shape.extent());
            if h % p != 0 || w % p != 0 {
                return Err(self.bad(format!(
                    "`patch_factor = {p}` does not divide the {h}x{w} map of `{}`; take 1 or other taps",
                    student.name
                )));
            }
        }
        self.pairing().wanted(book)
    }

    fn init(&self, book: &ShapeBook, parameters: &Parameters) -> Result<Ffl, DistillError> {
        let pairs = self.pairing().pairs(book)?;
        let aligns = pairs
            .iter()
            .map(|(s, t)| self.align.init(Self::ABOUT.name, s.shape, t.shape, &parameters.part("align").part(&s.name)));
        Ok(Ffl {
            aligns: aligns.collect::<Result<_, _>>()?,
            pairs: pairs.iter().map(|(s, t)| (s.name.clone(), t.name.clone())).collect(),
            focal: self.focal()?,
        })
    }

    fn largest_temporary(&self, book: &ShapeBook, batch: usize) -> Result<usize, DistillError> {
        let p = self.patch_factor.max(1);
        let pairs = self.pairing().pairs(book)?;
        let sizes = pairs.iter().map(|(s, t)| {
            let (h, w) = self.align.grid.size(s.shape.extent(), t.shape.extent());
            // Half spectra, one tensor each for real and imaginary parts: h x (w/2 + 1) numbers per patch.
            let half = h * p * (w / p / 2 + 1);
            self.align.largest_temporary(s.shape, t.shape, batch).max(batch * t.shape.channels() * half)
        });
        Ok(sizes.max().unwrap_or(0))
    }
}

/// The adapters.
#[derive(Module, Debug)]
pub struct Ffl {
    aligns: Vec<Align>,
    #[module(skip)]
    pairs: Vec<(String, String)>,
    #[module(skip)]
    focal: Focal,
}

impl Method for Ffl {
    fn forward(&self, input: &StepInput) -> Result<Vec<Term>, DistillError> {
        let name = FflConfig::ABOUT.name;
        let terms = self.aligns.iter().zip(&self.pairs).map(|(align, (student, teacher))| {
            let (s, t) =
                align.forward(input.map(name, Side::Student, student)?, input.map(name, Side::Teacher, teacher)?);
            let value = Reduction::Mean.apply(self.focal.elements_of(s - t)?);
            Ok(Term::new(format!("{name}.{student}"), value, student).against(teacher))
        });
        terms.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{book, device, double, features, fixture, labels, parameter_gradient_error, scalar, wave};

    fn method(config: FflConfig, student: &[usize; 3], teacher: &[usize; 3]) -> Result<Ffl, DistillError> {
        let book = book(&[("stage1", student)], &[("stage1", teacher)]);
        config.taps(&book)?;
        Ok(double(config.init(&book, &Parameters::new(subband_seed::Stream::new(3), &device()))?))
    }

    fn loss(method: &Ffl, student: Tensor<4>, teacher: Tensor<4>) -> Tensor<1> {
        let (student, teacher) = (features(&[("stage1", student)]), features(&[("stage1", teacher)]));
        let input = StepInput {
            student: &student,
            teacher: &teacher,
            labels: labels(&[0]).into(),
            samples: &[],
            epoch: 1,
            step: 1,
        };
        method.forward(&input).unwrap().remove(0).value
    }

    #[test]
    fn values_match_the_oracle() {
        let options: [(&str, FflConfig); 6] = [
            ("plain", FflConfig::default()),
            ("alpha", FflConfig { alpha: 1.7, ..Default::default() }),
            ("average", FflConfig { ave_spectrum: true, ..Default::default() }),
            ("log", FflConfig { log_matrix: true, ..Default::default() }),
            ("batch", FflConfig { batch_matrix: true, ..Default::default() }),
            ("patch", FflConfig { patch_factor: 3, log_matrix: true, ..Default::default() }),
        ];
        for (name, config) in options {
            let method = method(config, &[4, 9, 12], &[4, 9, 12]).unwrap();
            let value = scalar(loss(&method, wave([2, 4, 9, 12], 1.3, 0.41), wave([2, 4, 9, 12], 0.2, 0.37)));
            assert!((value - fixture(&format!("ffl.{name}"))[0]).abs() < 1e-9, "{name}: {value}");
        }
    }

    #[test]
    fn gradients_reach_the_adapter_at_odd_sizes() {
        // With alpha 0 the weight is 1 and has no part in the difference quotient.
        for size in [(7, 3), (1, 1), (4, 5)] {
            let config = FflConfig { alpha: 0.0, ..Default::default() };
            let method = method(config, &[2, size.0, size.1], &[3, 5, 7]).unwrap();
            let (x, t) = (wave([1, 2, size.0, size.1], 1.3, 0.41), wave([1, 3, 5, 7], 0.2, 0.37));
            let error = parameter_gradient_error(method, |m| loss(m, x.clone(), t.clone()));
            assert!(error < 1e-6, "{size:?}: {error}");
        }
    }

    #[test]
    fn bad_keys_name_the_remedy() {
        let message = |config| method(config, &[2, 4, 6], &[2, 4, 6]).unwrap_err().to_string();
        assert!(message(FflConfig { alpha: -1.0, ..Default::default() }).contains("alpha = -1"));
        assert!(message(FflConfig { patch_factor: 0, ..Default::default() }).contains("patch_factor = 0"));
        assert!(message(FflConfig { patch_factor: 4, ..Default::default() }).contains("4x6"));
    }
}
