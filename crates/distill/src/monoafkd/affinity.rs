//! Affinity between places.
//!
//! Every scale is resized bilinearly to one grid of L places; with F the map as a matrix `[C, L]` of each of N images
//!
//! `G = F^T F` (L x L, not normalised),  `L = mean |G_s - G_t| / N`,
//!
//! the mean over all N L L entries. The second division by N is the released code's: the term shrinks with the batch.
//! Channels of student and teacher need not agree.
use burn::prelude::*;
use serde::{Deserialize, Serialize};

use super::config::{check_tokens, coarsest};
use crate::pieces::align::{AdapterKind, Align, AlignConfig, Resize};
use crate::shapes::Pairing;
use crate::{
    About, Conv, DistillError, Method, MethodConfig, Parameters, ShapeBook, Side, StepInput, Term, Wanted,
    resize_bilinear,
};

/// Mean absolute difference of the affinities on `grid`, divided by the batch.
///
/// # Shapes
/// `[N, C_s, H_s, W_s]` and `[N, C_t, H_t, W_t]` to `[1]`.
pub fn affinity_loss(student: Tensor<4>, teacher: Tensor<4>, grid: (usize, usize)) -> Tensor<1> {
    let [n, ..] = student.dims();
    let places = grid.0 * grid.1;
    let affinity = |x: Tensor<4>| {
        let columns = resize_bilinear(x, grid).flatten::<3>(2, 3);
        columns.clone().swap_dims(1, 2).matmul(columns)
    };
    let apart = (affinity(student) - affinity(teacher)).abs().reshape([n, places * places]);
    apart.sum_dim(1).sum() / (n * places * places) as f64 / n as f64
}

/// Keys of `method = "affinity"`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AffinityConfig {
    /// Student taps (default: the stages).
    pub student_taps: Option<Vec<String>>,
    /// Teacher taps (default: the stages).
    pub teacher_taps: Option<Vec<String>>,
    /// What the student's maps pass first: `mlp` (default), `conv1x1`, `conv3x3`, or `none` (also `auto`).
    pub adapter: AdapterKind,
    /// Height and width on which places are compared (default: those of the teacher's smallest map).
    pub grid: Option<[usize; 2]>,
    /// Most places L (1024): an affinity has L x L entries.
    pub max_tokens: usize,
}

impl Default for AffinityConfig {
    fn default() -> Self {
        Self { student_taps: None, teacher_taps: None, adapter: AdapterKind::Mlp, grid: None, max_tokens: 1024 }
    }
}

impl AffinityConfig {
    fn pairing(&self) -> Pairing<'_> {
        Pairing::stages(Self::ABOUT.name, &self.student_taps, &self.teacher_taps)
    }

    fn grid(&self, book: &ShapeBook) -> Result<(usize, usize), DistillError> {
        let grid = match self.grid {
            Some([0, _] | [_, 0]) => return Err(self.bad("`grid` must be a height and a width of 1 or more")),
            Some([height, width]) => (height, width),
            None => coarsest(&self.pairing().pairs(book)?),
        };
        check_tokens(self, grid, self.max_tokens, "give a smaller `grid`")?;
        Ok(grid)
    }

    fn adapts(&self) -> bool {
        !matches!(self.adapter, AdapterKind::None | AdapterKind::Auto)
    }
}

impl MethodConfig for AffinityConfig {
    type Method = Affinity;
    const ABOUT: About = About {
        name: "affinity",
        summary: "inner products between the places of a map (MonoDistill, MonoAFKD)",
        source: "Chong et al. 2022 (MonoDistill); weight 1, adapter and grid from MonoAFKD's code",
        weight: 1.0,
        warmup_epochs: 0,
        task_weight: 1.0,
        taps: "stage1..N",
    };

    fn taps(&self, book: &ShapeBook) -> Result<Wanted, DistillError> {
        self.grid(book)?;
        self.pairing().wanted(book)
    }

    fn init(&self, book: &ShapeBook, parameters: &Parameters) -> Result<Affinity, DistillError> {
        let (mut adapters, mut pairs) = (Vec::new(), Vec::new());
        for (student, teacher) in self.pairing().pairs(book)? {
            if self.adapts() {
                let align = AlignConfig { adapter: self.adapter, ..Default::default() };
                let part = parameters.part(&student.name);
                adapters.push(align.init(Self::ABOUT.name, student.shape, teacher.shape, &part)?);
            }
            pairs.push((student.name, teacher.name));
        }
        Ok(Affinity { adapters, pairs, grid: self.grid(book)? })
    }

    fn largest_temporary(&self, book: &ShapeBook, batch: usize) -> Result<usize, DistillError> {
        let grid = self.grid(book)?;
        let places = grid.0 * grid.1;
        let sizes = self.pairing().pairs(book)?.into_iter().map(|(s, t)| {
            let [input, output] = [s.shape.channels(), t.shape.channels()];
            let area = s.shape.extent().0 * s.shape.extent().1;
            let conv = |channels, side| Conv::largest_temporary(channels, side, area);
            let (adapted, channels) = match self.adapter {
                AdapterKind::None | AdapterKind::Auto => (0, input),
                AdapterKind::Conv1x1 => (conv([input, output], 1), output),
                AdapterKind::Conv3x3 => (conv([input, output], 3), output),
                AdapterKind::Mlp => (conv([input; 2], 3).max(conv([input, output], 1)), output),
            };
            let resized = |c: usize, from| c * Resize::Bilinear.largest_temporary(from, grid);
            let resized = resized(channels, s.shape.extent()).max(resized(output, t.shape.extent()));
            batch * adapted.max(resized).max(places * places)
        });
        Ok(sizes.max().unwrap_or(0))
    }
}

/// The loss with its adapters (none, or one for each pair).
#[derive(Module, Debug)]
pub struct Affinity {
    adapters: Vec<Align>,
    #[module(skip)]
    pairs: Vec<(String, String)>,
    #[module(skip)]
    grid: (usize, usize),
}

impl Method for Affinity {
    fn forward(&self, input: &StepInput) -> Result<Vec<Term>, DistillError> {
        let name = AffinityConfig::ABOUT.name;
        let term = |(k, (student, teacher)): (usize, &(String, String))| {
            let s = input.map(name, Side::Student, student)?;
            let s = match self.adapters.get(k) {
                Some(adapter) => adapter.adapt(s),
                None => s,
            };
            let value = affinity_loss(s, input.map(name, Side::Teacher, teacher)?, self.grid);
            Ok(Term::new(format!("{name}.{student}"), value, student).against(teacher))
        };
        self.pairs.iter().enumerate().map(term).collect()
    }
}
