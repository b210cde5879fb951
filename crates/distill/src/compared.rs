//! Two taps as a method compares them, and what cannot be compared there.
//!
//! A loss of maps that have shrunk to one place or one channel can be zero or constant whatever the student does. Rounding
//! may still give it a gradient of some 1e-8, with which a run would learn nothing: such taps are refused before it
//! starts.
use subband_models::TapInfo;

use crate::DistillError;
use crate::pieces::normalization::Normalization;

/// A pair of taps at the channels and the size (height, width) of its comparison.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Compared<'a> {
    pub method: &'static str,
    pub student: &'a TapInfo,
    pub teacher: &'a TapInfo,
    pub channels: usize,
    pub size: (usize, usize),
    /// The band of the map that is looked at; empty for the whole.
    pub band: &'a str,
}

impl<'a> Compared<'a> {
    /// At the teacher's channels.
    pub fn new(method: &'static str, student: &'a TapInfo, teacher: &'a TapInfo, size: (usize, usize)) -> Self {
        Self { method, student, teacher, channels: teacher.shape.channels(), size, band: "" }
    }

    /// Refuses a map of one place: `why` says what happens there, `remedy` what to do.
    pub fn needs_places(&self, why: &str, remedy: &str) -> Result<(), DistillError> {
        if self.size == (1, 1) { Err(self.refused("one place", why, remedy)) } else { Ok(()) }
    }

    /// Refuses a map of one channel.
    pub fn needs_channels(&self, why: &str, remedy: &str) -> Result<(), DistillError> {
        if self.channels == 1 { Err(self.refused("one channel", why, remedy)) } else { Ok(()) }
    }

    /// Refuses what the normalisation under this key would leave empty: the deviations of one place from their mean, or
    /// the directions of vectors of one channel.
    pub fn normalized(&self, key: &str, normalization: Normalization) -> Result<(), DistillError> {
        let given = format!("`{key} = \"{}\"`", normalization.name());
        if normalization == Normalization::MeanL2 {
            let remedy = "choose other taps, another `align.grid` or another normalisation";
            self.needs_places(&format!("{given} leaves nothing"), remedy)?;
        }
        if matches!(normalization, Normalization::MeanL2 | Normalization::L2) {
            let why = format!("{given} leaves a sign, which has no gradient");
            self.needs_channels(&why, "choose other taps or another normalisation")?;
        }
        Ok(())
    }

    fn refused(&self, place: &str, why: &str, remedy: &str) -> DistillError {
        let (student, teacher) = (self.student, self.teacher);
        let band = if self.band.is_empty() { String::new() } else { format!(" in the band `{}`", self.band) };
        DistillError::Shapes {
            method: self.method.to_string(),
            reason: format!(
                "`{}` ({}) against `{}` ({}) is compared{band} at {place}, where {why}; {remedy}",
                student.name, student.shape, teacher.name, teacher.shape
            ),
        }
    }
}
