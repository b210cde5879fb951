//! SpectralKD.
//!
//! Tian et al.: SpectralKD: A Unified Framework for Interpreting and Distilling Vision Transformers via Spectral Analysis
//! (arXiv 2412.19055), formula from its code. The teacher's C_t channels are averaged in C_s adaptive bins; then, with
//! the orthonormal real transform `F` of height and width, which keeps the columns 0..=W/2,
//!
//! `L = (1/P) sum over pairs p of mean |[Re F(S_p), Im F(S_p)] - [Re F(T_p), Im F(T_p)]|^2`,
//!
//! mean over `[N, C, H, W/2 + 1, 2]`. F is linear, so S - T is transformed once. No parameters.
//!
//! Two cases that the code does not have are extensions: where the student is wider, its channels are averaged instead,
//! and where the sizes differ, the larger map is averaged down to the smaller.
use burn::prelude::*;
use serde::{Deserialize, Serialize};
use subband_models::TapShape;
use subband_spectral::Norm;
use subband_spectral::fft::rfft2;

use crate::parts::separable_temporary;
use crate::pieces::distance::Reduction;
use crate::shapes::Pairing;
use crate::{
    About, DistillError, Method, MethodConfig, Parameters, ShapeBook, Side, StepInput, Term, Wanted,
    adaptive_average_pool,
};

/// Keys of `method = "spectralkd"`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SpectralKdConfig {
    /// Student taps, shallow to deep (default: all stages).
    pub student_taps: Option<Vec<String>>,
    /// Teacher taps, shallow to deep (default: all stages).
    pub teacher_taps: Option<Vec<String>>,
}

impl SpectralKdConfig {
    fn pairing(&self) -> Pairing<'_> {
        Pairing::stages(Self::ABOUT.name, &self.student_taps, &self.teacher_taps)
    }
}

/// Channels, height and width at which two taps are compared.
fn common(student: TapShape, teacher: TapShape) -> [usize; 3] {
    let ((h, w), (height, width)) = (student.extent(), teacher.extent());
    [student.channels().min(teacher.channels()), h.min(height), w.min(width)]
}

impl MethodConfig for SpectralKdConfig {
    type Method = SpectralKd;
    const ABOUT: About = About {
        name: "spectralkd",
        summary: "mean squared error of real Fourier spectra, teacher channels averaged",
        source: "Tian et al. 2024; weight 0.2 for DeiT (Swin: 0.05), beside KD with 0.9 of the task",
        weight: 0.2,
        warmup_epochs: 0,
        task_weight: 0.1,
        taps: "stage1..N",
    };

    fn taps(&self, book: &ShapeBook) -> Result<Wanted, DistillError> {
        self.pairing().wanted(book)
    }

    fn init(&self, book: &ShapeBook, _: &Parameters) -> Result<SpectralKd, DistillError> {
        let wanted = self.taps(book)?;
        Ok(SpectralKd { pairs: wanted.student.into_iter().zip(wanted.teacher).collect() })
    }

    fn largest_temporary(&self, book: &ShapeBook, batch: usize) -> Result<usize, DistillError> {
        let pairs = self.pairing().pairs(book)?;
        let sizes = pairs.iter().map(|(s, t)| {
            let [compared, h, w] = common(s.shape, t.shape);
            // A map averaged in space, before its channels are; real and imaginary parts are tensors of their own.
            let pooled = [s, t].map(|tap| tap.shape.channels() * separable_temporary(tap.shape.extent(), (h, w)));
            pooled[0].max(pooled[1]).max(compared * h * w)
        });
        Ok(batch * sizes.max().unwrap_or(0))
    }
}

/// The loss; it has no parameters.
#[derive(Module, Debug)]
pub struct SpectralKd {
    #[module(skip)]
    pairs: Vec<(String, String)>,
}

impl Method for SpectralKd {
    fn forward(&self, input: &StepInput) -> Result<Vec<Term>, DistillError> {
        let name = SpectralKdConfig::ABOUT.name;
        let terms = self.pairs.iter().map(|(student, teacher)| {
            let value =
                spectral_loss(input.map(name, Side::Student, student)?, input.map(name, Side::Teacher, teacher)?)?;
            Ok(Term::new(format!("{name}.{student}"), value / self.pairs.len() as f64, student).against(teacher))
        });
        terms.collect()
    }
}

/// The squared error of the spectra of one pair.
///
/// # Shapes
/// `[N, C_s, H_s, W_s]` and `[N, C_t, H_t, W_t]` to `[1]`.
fn spectral_loss(student: Tensor<4>, teacher: Tensor<4>) -> Result<Tensor<1>, DistillError> {
    let ([_, channels, h, w], [_, width, rows, columns]) = (student.dims(), teacher.dims());
    let (size, channels) = ((h.min(rows), w.min(columns)), channels.min(width));
    let [student, teacher] = [student, teacher].map(|x| average_channels(adaptive_average_pool(x, size), channels));
    let power = rfft2(student - teacher, Norm::Ortho)?.power();
    // Two numbers, a real and an imaginary part, stand behind each square.
    Ok(Reduction::Mean.apply(power) / 2.0)
}

/// Adaptive average bins over the channel axis.
///
/// # Shapes
/// `[N, C, H, W]` to `[N, channels, H, W]`.
fn average_channels(x: Tensor<4>, channels: usize) -> Tensor<4> {
    let [n, c, h, w] = x.dims();
    if c == channels {
        return x;
    }
    adaptive_average_pool(x.reshape([n, 1, c, h * w]), (channels, h * w)).reshape([n, channels, h, w])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{fixture, gradient_error, scalar, single, wave};

    #[test]
    fn the_published_golden_value() {
        let (s, t) = (wave([2, 4, 6, 6], 1.3, 0.41), wave([2, 4, 6, 6], 0.2, 0.37));
        let golden = 0.662_645_541_530_679_1;
        assert!((scalar(spectral_loss(s.clone(), t.clone()).unwrap()) - golden).abs() < 1e-9);
        assert!((scalar(spectral_loss(single(s), single(t)).unwrap()) - golden).abs() < 5e-5);
    }

    #[test]
    fn values_match_the_oracle() {
        for (name, student, teacher) in [
            ("spectralkd.channels", [2, 4, 5, 7], [2, 6, 5, 7]),
            ("spectralkd.wider", [1, 5, 3, 4], [1, 3, 6, 4]),
            ("spectralkd.1x1", [1, 3, 1, 1], [1, 5, 1, 1]),
        ] {
            let value = scalar(spectral_loss(wave(student, 1.3, 0.41), wave(teacher, 0.2, 0.37)).unwrap());
            assert!((value - fixture(name)[0]).abs() < 1e-9, "{name}: {value}");
        }
    }

    #[test]
    fn gradient_matches_at_odd_sizes() {
        for (student, teacher) in [
            ([2, 4, 5, 7], [2, 6, 5, 7]),
            ([1, 5, 7, 4], [1, 3, 6, 4]),
            ([1, 2, 1, 1], [1, 2, 1, 1]),
            ([2, 3, 4, 3], [2, 5, 9, 8]),
        ] {
            let target = wave(teacher, 0.2, 0.37);
            let error = gradient_error(wave(student, 1.3, 0.41), |x| spectral_loss(x, target.clone()).unwrap());
            assert!(error < 1e-7, "{student:?}: {error}");
        }
    }
}
