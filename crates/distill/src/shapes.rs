//! Tap shapes of both networks and how methods choose and pair taps.
use subband_models::{TapInfo, TapShape, nearest};

use crate::{DistillError, Prompts, Side, Wanted};

/// The taps of both networks at the training input size.
#[derive(Debug, Clone, Default)]
pub struct ShapeBook {
    /// The student's taps.
    pub student: Vec<TapInfo>,
    /// The teacher's taps.
    pub teacher: Vec<TapInfo>,
    /// Number of classes K.
    pub classes: usize,
    /// Frequency prompts that the run learns itself, for terms that name no file of theirs.
    pub prompts: Option<Prompts>,
}

impl ShapeBook {
    /// The taps of one side.
    pub fn side(&self, side: Side) -> &[TapInfo] {
        match side {
            Side::Student => &self.student,
            Side::Teacher => &self.teacher,
        }
    }

    /// The tap of this name, or an error that lists the available ones.
    pub fn tap(&self, method: &str, side: Side, name: &str) -> Result<&TapInfo, DistillError> {
        let taps = self.side(side);
        taps.iter().find(|t| t.name == name).ok_or_else(|| DistillError::UnknownTap {
            method: method.to_string(),
            side,
            tap: name.to_string(),
            nearest: nearest(name, taps.iter().map(|t| t.name.as_str())),
            available: taps.iter().map(|t| t.name.as_str()).collect::<Vec<_>>().join(", "),
        })
    }

    /// The tap `given`, or else the deepest stage of one side.
    pub fn tap_or_deepest(&self, method: &str, side: Side, given: &Option<String>) -> Result<&TapInfo, DistillError> {
        match given.clone().or_else(|| self.stages(side).pop()) {
            Some(name) => self.tap(method, side, &name),
            None => Err(DistillError::Shapes {
                method: method.to_string(),
                reason: format!("the {side} has no stage; name one of its taps with `{side}_tap`"),
            }),
        }
    }

    /// The tap `given`, or else `pooled`, or else (segmenters have none) the deepest stage of one side.
    pub fn tap_or_pooled(&self, method: &str, side: Side, given: &Option<String>) -> Result<&TapInfo, DistillError> {
        let has_pooled = self.side(side).iter().any(|tap| tap.name == "pooled");
        let usual = has_pooled.then(|| "pooled".to_string());
        self.tap_or_deepest(method, side, &given.clone().or(usual))
    }

    /// Whether the student gives class scores of pixels, not of images.
    pub fn is_segmentation(&self) -> bool {
        self.student.iter().any(|tap| tap.name == "logits" && matches!(tap.shape, TapShape::Map { .. }))
    }

    /// Names `stage1`, `stage2`, ... of one side, shallow to deep.
    pub fn stages(&self, side: Side) -> Vec<String> {
        let mut numbers: Vec<usize> =
            self.side(side).iter().filter_map(|t| t.name.strip_prefix("stage")?.parse().ok()).collect();
        numbers.sort_unstable();
        numbers.iter().map(|k| format!("stage{k}")).collect()
    }
}

/// Which taps a method compares: explicit names, or the stages (and the pooled vector) of both networks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pairing<'a> {
    pub method: &'a str,
    /// Explicit student taps, shallow to deep.
    pub student: &'a Option<Vec<String>>,
    /// Explicit teacher taps, shallow to deep.
    pub teacher: &'a Option<Vec<String>>,
    /// Default taps end with `pooled`.
    pub pooled: bool,
    /// Default student taps are the pre-activation ones.
    pub student_pre: bool,
    /// Default teacher taps are the pre-activation ones.
    pub teacher_pre: bool,
}

impl<'a> Pairing<'a> {
    /// By default all stages, after their activation.
    pub fn stages(method: &'a str, student: &'a Option<Vec<String>>, teacher: &'a Option<Vec<String>>) -> Self {
        Self { method, student, teacher, pooled: false, student_pre: false, teacher_pre: false }
    }

    /// The pairs, shallow to deep. Networks with different numbers of stages are aligned at the deepest stage.
    pub fn pairs(&self, book: &ShapeBook) -> Result<Vec<(TapInfo, TapInfo)>, DistillError> {
        let students = self.names(book, Side::Student)?;
        let teachers = self.names(book, Side::Teacher)?;
        let explicit = self.student.is_some() || self.teacher.is_some();
        if students.is_empty() || teachers.is_empty() || explicit && students.len() != teachers.len() {
            return Err(DistillError::Shapes {
                method: self.method.to_string(),
                reason: format!(
                    "{} student taps ({}) against {} teacher taps ({}); give `student_taps` and `teacher_taps` of equal \
                     length, shallow to deep",
                    students.len(),
                    students.join(", "),
                    teachers.len(),
                    teachers.join(", ")
                ),
            });
        }
        let n = students.len().min(teachers.len());
        let pairs = students[students.len() - n..].iter().zip(&teachers[teachers.len() - n..]);
        pairs
            .map(|(s, t)| {
                let student = book.tap(self.method, Side::Student, s)?.clone();
                Ok((student, book.tap(self.method, Side::Teacher, t)?.clone()))
            })
            .collect()
    }

    /// The taps of the pairs, in their order.
    pub fn wanted(&self, book: &ShapeBook) -> Result<Wanted, DistillError> {
        let (student, teacher) = self.pairs(book)?.into_iter().map(|(s, t)| (s.name, t.name)).unzip();
        Ok(Wanted { student, teacher })
    }

    fn names(&self, book: &ShapeBook, side: Side) -> Result<Vec<String>, DistillError> {
        let (explicit, pre) = match side {
            Side::Student => (self.student, self.student_pre),
            Side::Teacher => (self.teacher, self.teacher_pre),
        };
        if let Some(names) = explicit {
            return Ok(names.clone());
        }
        let mut names = book.stages(side);
        if pre {
            names.iter_mut().for_each(|n| n.push_str(".pre"));
        }
        let has = |side| book.side(side).iter().any(|t| t.name == "pooled");
        if self.pooled && has(Side::Student) && has(Side::Teacher) {
            names.push("pooled".to_string());
        }
        Ok(names)
    }
}
