//! InfoNCE between student and teacher.
//!
//! Van den Oord, Li, Vinyals: Representation Learning with Contrastive Predictive Coding (2018), equation 4, with the
//! cosine over a temperature as the score. With unit vectors u_i = P v^s_i / |P v^s_i| and z_i = v^t_i / |v^t_i| of image
//! i in a batch of N, the teacher's vector of the same image is the positive and those of the others are the negatives:
//!
//! `L = -mean_i ln( exp(<u_i, z_i> / t) / sum_j exp(<u_i, z_j> / t) )`
//!
//! `symmetric = true` averages it with the same of the teacher's vectors against the student's. A map is averaged over
//! space first. P is the adapter, none where the widths agree. A batch of one has no negatives: the loss is 0.
use burn::prelude::*;
use burn::tensor::activation::log_softmax;
use serde::{Deserialize, Serialize};
use subband_models::{TapInfo, TapShape};

use super::{check_temperature, one_hot};
use crate::compared::Compared;
use crate::parts::separable_temporary;
use crate::pieces::align::{AdapterKind, Align, AlignConfig};
use crate::pieces::normalization::unit_length;
use crate::{
    About, DistillError, Method, MethodConfig, Parameters, ShapeBook, Side, StepInput, Term, Wanted,
    adaptive_average_pool,
};

/// Keys of `method = "infonce"`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct InfoNceConfig {
    /// Temperature t (0.07), above 0.
    pub temperature: f64,
    /// Whether the teacher's vectors are compared with the student's too (false).
    pub symmetric: bool,
    /// Student tap (default: `pooled`, of segmenters the deepest stage).
    pub student_tap: Option<String>,
    /// Teacher tap (default: `pooled`, of segmenters the deepest stage).
    pub teacher_tap: Option<String>,
    /// The projector P: `auto` (default: linear with bias where the widths differ), `none`, `conv1x1` (linear), `mlp`.
    pub adapter: AdapterKind,
}

impl Default for InfoNceConfig {
    fn default() -> Self {
        let adapter = AdapterKind::Auto;
        Self { temperature: 0.07, symmetric: false, student_tap: None, teacher_tap: None, adapter }
    }
}

impl InfoNceConfig {
    /// The two taps.
    fn pair<'a>(&self, book: &'a ShapeBook) -> Result<(&'a TapInfo, &'a TapInfo), DistillError> {
        let tap = |side, given| book.tap_or_pooled(Self::ABOUT.name, side, given);
        Ok((tap(Side::Student, &self.student_tap)?, tap(Side::Teacher, &self.teacher_tap)?))
    }
}

impl MethodConfig for InfoNceConfig {
    type Method = InfoNce;
    const ABOUT: About = About {
        name: "infonce",
        summary: "each image's student vector is to find the teacher's among the batch",
        source: "van den Oord et al. 2018; temperature 0.07 from Wu et al. 2018",
        weight: 1.0,
        warmup_epochs: 0,
        task_weight: 1.0,
        taps: "pooled, of segmenters the deepest stage",
    };

    fn taps(&self, book: &ShapeBook) -> Result<Wanted, DistillError> {
        check_temperature(self, self.temperature)?;
        let (student, teacher) = self.pair(book)?;
        let why = "a vector's direction is a sign, which has no gradient";
        Compared::new(Self::ABOUT.name, student, teacher, (1, 1))
            .needs_channels(why, "choose another `teacher_tap`")?;
        Ok(Wanted { student: vec![student.name.clone()], teacher: vec![teacher.name.clone()] })
    }

    fn init(&self, book: &ShapeBook, parameters: &Parameters) -> Result<InfoNce, DistillError> {
        let (student, teacher) = self.pair(book)?;
        let taps = (student.name.clone(), teacher.name.clone());
        let vector = |tap: &TapInfo| TapShape::Vector { channels: tap.shape.channels() };
        let align = AlignConfig { adapter: self.adapter, ..Default::default() };
        let projector = align.init(Self::ABOUT.name, vector(student), vector(teacher), parameters)?;
        Ok(InfoNce { projector, config: self.clone(), taps })
    }

    fn largest_temporary(&self, book: &ShapeBook, batch: usize) -> Result<usize, DistillError> {
        // A map is averaged over its rows first.
        let width = |tap: &TapInfo| tap.shape.channels() * separable_temporary(tap.shape.extent(), (1, 1)).max(1);
        let (student, teacher) = self.pair(book)?;
        Ok(batch * batch.max(width(student)).max(width(teacher)))
    }
}

/// The loss with its projector.
#[derive(Module, Debug)]
pub struct InfoNce {
    projector: Align,
    #[module(skip)]
    config: InfoNceConfig,
    #[module(skip)]
    taps: (String, String),
}

impl Method for InfoNce {
    fn forward(&self, input: &StepInput) -> Result<Vec<Term>, DistillError> {
        let name = InfoNceConfig::ABOUT.name;
        let student = adaptive_average_pool(input.map(name, Side::Student, &self.taps.0)?, (1, 1));
        let teacher = adaptive_average_pool(input.map(name, Side::Teacher, &self.taps.1)?, (1, 1));
        let value = self.contrast(self.projector.adapt(student).flatten(1, 3), teacher.flatten(1, 3));
        Ok(vec![Term::new(name, value, &self.taps.0)])
    }
}

impl InfoNce {
    /// L.
    ///
    /// # Shapes
    /// Two `[N, D]` to `[1]`.
    fn contrast(&self, student: Tensor<2>, teacher: Tensor<2>) -> Tensor<1> {
        let scores = unit_length(student, 1).matmul(unit_length(teacher, 1).transpose()) / self.config.temperature;
        let forth = positives(scores.clone());
        if self.config.symmetric { (forth + positives(scores.transpose())) * 0.5 } else { forth }
    }
}

/// `-mean_i ln softmax(scores_i)_i`.
fn positives(scores: Tensor<2>) -> Tensor<1> {
    let n = scores.dims()[0];
    let own = one_hot(Tensor::<1, Int>::arange(0..n as i64, &scores.device()), n);
    log_softmax(scores, 1).mask_fill(own.bool_not(), 0.0).sum_dim(1).sum() / -(n as f64)
}

#[cfg(test)]
mod tests {
    use subband_seed::Stream;

    use super::*;
    use crate::check::{book, device, double, fill, fixture, gradient_error, parameter_gradient_error, scalar, wave};

    fn method(config: InfoNceConfig, widths: [usize; 2]) -> InfoNce {
        let [student, teacher] = widths.map(|c| [c, 1, 1]);
        let book = book(&[("pooled", &student)], &[("pooled", &teacher)]);
        fill(double(config.init(&book, &Parameters::new(Stream::new(3), &device())).unwrap()))
    }

    fn loss(method: &InfoNce, x: Tensor<4>, width: usize) -> Tensor<1> {
        let teacher = wave([x.dims()[0], width], 0.2, 0.97);
        method.contrast(method.projector.adapt(x).flatten(1, 3), teacher)
    }

    #[test]
    fn values_match_the_oracle() {
        for (name, symmetric, width) in [("same", false, 6), ("symmetric", true, 6), ("projected", false, 3)] {
            let method = method(InfoNceConfig { symmetric, ..Default::default() }, [width, 6]);
            let value = scalar(loss(&method, wave([4, width, 1, 1], 1.3, 0.41), 6));
            let expected = fixture(&format!("infonce.{name}"))[0];
            assert!((value - expected).abs() < 1e-11, "{name}: {value} {expected}");
        }
    }

    #[test]
    fn gradients_match_finite_differences() {
        for symmetric in [false, true] {
            let method = method(InfoNceConfig { symmetric, ..Default::default() }, [3, 6]);
            let x = wave([4, 3, 1, 1], 1.3, 0.41);
            assert!(gradient_error(x.clone(), |x| loss(&method, x, 6)) < 1e-6);
            assert!(parameter_gradient_error(method, |m| loss(m, x.clone(), 6)) < 1e-6);
        }
    }

    #[test]
    fn one_image_and_vectors_of_zeros_are_safe() {
        let method = method(InfoNceConfig::default(), [6, 6]);
        assert_eq!(scalar(loss(&method, wave([1, 6, 1, 1], 1.3, 0.41), 6)), 0.0);
        let dead = wave([3, 6, 1, 1], 0.0, 0.0).require_grad();
        let gradient = dead.grad(&loss(&method, dead.clone(), 6).backward()).unwrap();
        assert!(gradient.into_data().iter::<f64>().all(f64::is_finite));
    }

    #[test]
    fn vectors_of_one_channel_are_refused() {
        let book = book(&[("pooled", &[3, 1, 1])], &[("pooled", &[1, 1, 1])]);
        let message = InfoNceConfig::default().taps(&book).unwrap_err().to_string();
        assert!(message.contains("pooled") && message.contains("one channel"), "{message}");
    }

    #[test]
    fn a_cold_temperature_is_refused() {
        let cold = InfoNceConfig { temperature: 0.0, ..Default::default() };
        let vector: (&str, &[usize; 3]) = ("pooled", &[3, 1, 1]);
        assert!(cold.taps(&book(&[vector], &[vector])).unwrap_err().to_string().contains("above 0"));
    }
}
