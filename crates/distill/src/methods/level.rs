//! Levels: pairs of taps, each with the alignment that makes their maps comparable.
use burn::prelude::*;
use subband_models::TapInfo;

use crate::pieces::align::{Align, AlignConfig};
use crate::shapes::Pairing;
use crate::{DistillError, Parameters, ShapeBook, Side, StepInput, Term, Wanted};

/// The two keys `student_taps` and `teacher_taps` of a method that aligns its maps.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Taps<'a> {
    pub method: &'static str,
    pub student: &'a Option<Vec<String>>,
    pub teacher: &'a Option<Vec<String>>,
    /// By default only the deepest stage is read, not all of them.
    pub deepest: bool,
}

impl Taps<'_> {
    /// The pairs, shallow to deep.
    pub fn pairs(&self, book: &ShapeBook) -> Result<Vec<(TapInfo, TapInfo)>, DistillError> {
        let names = |given: &Option<Vec<String>>, side| match given {
            None if self.deepest => book.stages(side).pop().map(|name| vec![name]),
            given => given.clone(),
        };
        let (student, teacher) = (names(self.student, Side::Student), names(self.teacher, Side::Teacher));
        let pairing = Pairing {
            method: self.method,
            student: &student,
            teacher: &teacher,
            pooled: false,
            student_pre: false,
            teacher_pre: false,
        };
        pairing.pairs(book)
    }

    /// The taps of the pairs.
    pub fn wanted(&self, book: &ShapeBook) -> Result<Wanted, DistillError> {
        let (student, teacher) = self.pairs(book)?.into_iter().map(|(s, t)| (s.name, t.name)).unzip();
        Ok(Wanted { student, teacher })
    }

    /// The levels with their adapters, if the configuration can join the shapes.
    pub fn levels(
        &self,
        book: &ShapeBook,
        align: &AlignConfig,
        parameters: &Parameters,
    ) -> Result<Vec<Level>, DistillError> {
        let level = |(k, (student, teacher)): (usize, (TapInfo, TapInfo))| {
            let part = parameters.part("levels").part(&k.to_string());
            let align = align.init(self.method, student.shape, teacher.shape, &part)?;
            Ok(Level { align, student: student.name, teacher: teacher.name })
        };
        self.pairs(book)?.into_iter().enumerate().map(level).collect()
    }

    /// Elements of the largest aligned map of a batch: those of the alignment itself included.
    pub fn largest_map(&self, book: &ShapeBook, align: &AlignConfig, batch: usize) -> Result<usize, DistillError> {
        let pairs = self.pairs(book)?;
        Ok(pairs.iter().map(|(s, t)| align.largest_temporary(s.shape, t.shape, batch)).max().unwrap_or(0))
    }
}

/// One pair of taps and its alignment.
#[derive(Module, Debug)]
pub(crate) struct Level {
    align: Align,
    #[module(skip)]
    student: String,
    #[module(skip)]
    teacher: String,
}

impl Level {
    /// The aligned maps of one step.
    ///
    /// # Shapes
    /// Two `[N, C_t, H, W]`.
    pub fn maps(&self, method: &str, input: &StepInput) -> Result<(Tensor<4>, Tensor<4>), DistillError> {
        let student = input.map(method, Side::Student, &self.student)?;
        let teacher = input.map(method, Side::Teacher, &self.teacher)?;
        Ok(self.align.forward(student, teacher))
    }

    /// The term of this level, named after the method and the student's tap.
    pub fn term(&self, method: &str, value: Tensor<1>) -> Term {
        Term::new(format!("{method}.{}", self.student), value, &self.student).against(&self.teacher)
    }
}
