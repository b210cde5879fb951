//! Plain mean squared error between features.
//!
//! `L = sum_l mean (S'_l - T'_l)^2` over pairs of taps, or their mean over the pairs, with (S', T') from the
//! [alignment](crate::pieces::align). It is the loss that feature methods are compared with, and that FreeKD's released
//! configuration adds with weight 5.
use burn::prelude::*;
use serde::{Deserialize, Serialize};

use crate::parts::mean_squared_error;
use crate::pieces::align::{Align, AlignConfig};
use crate::shapes::Pairing;
use crate::{About, DistillError, Method, MethodConfig, Parameters, ShapeBook, Side, StepInput, Term, Wanted};

/// How the pairs of taps are put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OverTaps {
    /// Their sum.
    Sum,
    /// Their mean.
    Mean,
}

/// Keys of `method = "mse"`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MseConfig {
    /// Student taps (default: the stages).
    pub student_taps: Option<Vec<String>>,
    /// Teacher taps (default: the stages).
    pub teacher_taps: Option<Vec<String>>,
    /// Adapter, grid and resize.
    pub align: AlignConfig,
    /// `sum` (default) or `mean` over the pairs.
    pub over_taps: OverTaps,
}

impl Default for MseConfig {
    fn default() -> Self {
        Self { student_taps: None, teacher_taps: None, align: AlignConfig::default(), over_taps: OverTaps::Sum }
    }
}

impl MseConfig {
    fn pairing(&self) -> Pairing<'_> {
        Pairing::stages(Self::ABOUT.name, &self.student_taps, &self.teacher_taps)
    }
}

impl MethodConfig for MseConfig {
    type Method = Mse;
    const ABOUT: About = About {
        name: "mse",
        summary: "plain mean squared error of aligned features",
        source: "no single source; weight 5 in FreeKD's released configuration",
        weight: 1.0,
        warmup_epochs: 0,
        task_weight: 1.0,
        taps: "stage1..N",
    };

    fn taps(&self, book: &ShapeBook) -> Result<Wanted, DistillError> {
        self.pairing().wanted(book)
    }

    fn init(&self, book: &ShapeBook, parameters: &Parameters) -> Result<Mse, DistillError> {
        let (mut aligns, mut pairs) = (Vec::new(), Vec::new());
        for (student, teacher) in self.pairing().pairs(book)? {
            let part = parameters.part(&student.name);
            aligns.push(self.align.init(Self::ABOUT.name, student.shape, teacher.shape, &part)?);
            pairs.push((student.name, teacher.name));
        }
        let factor = match self.over_taps {
            OverTaps::Sum => 1.0,
            OverTaps::Mean => 1.0 / pairs.len() as f64,
        };
        Ok(Mse { aligns, pairs, factor })
    }

    fn largest_temporary(&self, book: &ShapeBook, batch: usize) -> Result<usize, DistillError> {
        let sizes = self.pairing().pairs(book)?.into_iter().map(|(student, teacher)| {
            let (h, w) = self.align.grid.size(student.shape.extent(), teacher.shape.extent());
            let map = batch * teacher.shape.channels() * h * w;
            map.max(self.align.largest_temporary(student.shape, teacher.shape, batch))
        });
        Ok(sizes.max().unwrap_or(0))
    }
}

/// The loss with its adapters.
#[derive(Module, Debug)]
pub struct Mse {
    aligns: Vec<Align>,
    #[module(skip)]
    pairs: Vec<(String, String)>,
    #[module(skip)]
    factor: f64,
}

impl Method for Mse {
    /// One term for each pair.
    ///
    /// # Shapes
    /// Student maps `[N, C_s, H_s, W_s]`, teacher maps `[N, C_t, H_t, W_t]`.
    fn forward(&self, input: &StepInput) -> Result<Vec<Term>, DistillError> {
        let name = MseConfig::ABOUT.name;
        let term = |(align, (student, teacher)): (&Align, &(String, String))| {
            let (s, t) = (input.map(name, Side::Student, student)?, input.map(name, Side::Teacher, teacher)?);
            let (s, t) = align.forward(s, t);
            Ok(Term::new(format!("{name}.{student}"), mean_squared_error(s, t) * self.factor, student).against(teacher))
        };
        self.aligns.iter().zip(&self.pairs).map(term).collect()
    }
}

#[cfg(test)]
mod tests {
    use subband_seed::Stream;

    use super::*;
    use crate::check::{
        book, device, double, features, fill, fixture, gradient_error, labels, parameter_gradient_error, scalar, wave,
    };

    fn method(over_taps: OverTaps, first: [usize; 3]) -> Mse {
        let book =
            book(&[("stage1", &first), ("stage2", &[3, 2, 2])], &[("stage1", &[4, 5, 7]), ("stage2", &[3, 2, 2])]);
        let config = MseConfig { over_taps, ..Default::default() };
        fill(double(config.init(&book, &Parameters::new(Stream::new(3), &device())).unwrap()))
    }

    fn losses(method: &Mse, first: Tensor<4>) -> Vec<Tensor<1>> {
        let n = first.dims()[0];
        let student = features(&[("stage1", first), ("stage2", wave([n, 3, 2, 2], 0.6, 0.43))]);
        let teacher = features(&[("stage1", wave([n, 4, 5, 7], 0.2, 0.37)), ("stage2", wave([n, 3, 2, 2], 0.9, 0.31))]);
        let labels = labels(&vec![0; n]);
        let input =
            StepInput { student: &student, teacher: &teacher, labels: labels.into(), samples: &[], epoch: 1, step: 1 };
        method.forward(&input).unwrap().into_iter().map(|term| term.value).collect()
    }

    #[test]
    fn values_match_the_oracle() {
        for (over_taps, share) in [(OverTaps::Sum, 1.0), (OverTaps::Mean, 0.5)] {
            let found = losses(&method(over_taps, [2, 5, 7]), wave([2, 2, 5, 7], 1.3, 0.41));
            for (value, expected) in found.into_iter().zip(fixture("mse")) {
                assert!((scalar(value) - share * expected).abs() < 1e-12);
            }
        }
    }

    #[test]
    fn gradients_match_finite_differences() {
        for [n, c, h, w] in [[2, 2, 5, 7], [1, 4, 1, 1], [1, 3, 9, 4]] {
            let method = method(OverTaps::Sum, [c, h, w]);
            let x = wave([n, c, h, w], 1.3, 0.41);
            let total = |m: &Mse, x| losses(m, x).into_iter().reduce(|a, b| a + b).unwrap();
            assert!(gradient_error(x.clone(), |x| total(&method, x)) < 1e-7, "{n}x{c}x{h}x{w}");
            if method.num_params() > 0 {
                assert!(parameter_gradient_error(method, |m| total(m, x.clone())) < 1e-7, "{n}x{c}x{h}x{w}");
            }
        }
    }
}
