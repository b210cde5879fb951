//! UFD-KD: unified frequency decoupling.
//!
//! Formulas from the code of lusilili/UFD-KD. The student's feature passes two projectors of equal form, P_1 for the
//! spatial and P_2 for the channel branch, to the teacher's shape (see [`projector`]). Each branch is split by a cosine
//! transform into its constant part (DC) and the rest (AC). The transform need not be made: DC is the mean, AC what is
//! left. With `n(x) = x / max(|x|_2, 1e-12)`
//!
//! - spatial: `DC(x) = mean of x over H, W`, `AC(x) = x - DC(x)`, n over the channels at each place;
//! - channel: `DC(x) = mean of x over C`, `AC(x) = x - DC(x)`, n over the places of each channel (so the code's reshape
//!   has it).
//!
//! Each of the four terms is `w / N sum (n(part(P(F^s))) - n(part(F^t)))^2`, a sum over all elements, with w = 0.03
//! (spatial DC), 0.065 (spatial AC), 0.003 (channel DC), 0.0065 (channel AC).
//!
//! A DC part is constant over the places (channels), so its sum is H W (C) times that of one copy, and one is all that is
//! formed. The code's transform has the map's height on both axes and takes square maps only; the means take any.
pub mod projector;

use burn::prelude::*;
use serde::{Deserialize, Serialize};
use subband_models::TapInfo;

use super::check_factor;
use crate::compared::Compared;
use crate::keys::refuse_unread;
use crate::pieces::normalization::unit_length;
use crate::{About, DistillError, Method, MethodConfig, Parameters, ShapeBook, Side, StepInput, Term, Wanted};
use projector::{Plan, Projector, ProjectorKind};

/// Keys of `method = "ufd-kd"`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct UfdKdConfig {
    /// `attention` (default) or `conv`.
    pub projector: ProjectorKind,
    /// Heads of the attention; must divide the teacher's channels (default: the largest divisor that leaves at least 32
    /// channels to a head, as the code's 24 heads of 768 channels; with fewer than 32 channels one).
    pub heads: Option<usize>,
    /// Factor on the attention's logits beside 1/sqrt(channels per head) (5).
    pub softmax_scale: f64,
    /// Weight of the spatial DC term (0.03).
    pub spatial_dc: f64,
    /// Weight of the spatial AC term (0.065).
    pub spatial_ac: f64,
    /// Weight of the channel DC term (0.003).
    pub channel_dc: f64,
    /// Weight of the channel AC term (0.0065).
    pub channel_ac: f64,
    /// Student tap (default: the deepest stage).
    pub student_tap: Option<String>,
    /// Teacher tap (default: the deepest stage).
    pub teacher_tap: Option<String>,
}

impl Default for UfdKdConfig {
    fn default() -> Self {
        Self {
            projector: ProjectorKind::Attention,
            heads: None,
            softmax_scale: 5.0,
            spatial_dc: 0.03,
            spatial_ac: 0.065,
            channel_dc: 0.003,
            channel_ac: 0.0065,
            student_tap: None,
            teacher_tap: None,
        }
    }
}

impl UfdKdConfig {
    fn pair<'a>(&self, book: &'a ShapeBook) -> Result<(&'a TapInfo, &'a TapInfo), DistillError> {
        let tap = |side, given| book.tap_or_deepest(Self::ABOUT.name, side, given);
        Ok((tap(Side::Student, &self.student_tap)?, tap(Side::Teacher, &self.teacher_tap)?))
    }

    /// The shapes of the projectors; checks the keys.
    fn plan(&self, book: &ShapeBook) -> Result<Plan, DistillError> {
        for (key, weight) in self.weights() {
            check_factor(self, key, weight)?;
        }
        if self.weights().iter().all(|(_, weight)| *weight == 0.0) {
            return Err(self.bad("all four weights are 0; leave one of them above 0"));
        }
        if !(self.softmax_scale.is_finite() && self.softmax_scale > 0.0) {
            return Err(self.bad(format!("`softmax_scale = {}` must be above 0 (usual: 5)", self.softmax_scale)));
        }
        let (student, teacher) = self.pair(book)?;
        let channels = teacher.shape.channels();
        let attention = self.projector == ProjectorKind::Attention;
        let heads = self.heads.filter(|_| attention).unwrap_or_else(|| {
            (1..=channels.div_ceil(32)).rev().find(|h| channels % h == 0 && channels / h >= 32).unwrap_or(1)
        });
        if heads == 0 || channels % heads != 0 {
            return Err(self.bad(format!("`heads = {heads}` must divide the teacher's {channels} channels")));
        }
        Ok(Plan {
            kind: self.projector,
            student: student.shape,
            teacher: teacher.shape,
            heads,
            softmax_scale: self.softmax_scale,
        })
    }

    /// Refuses terms that would be constant, and keys that nothing reads.
    fn check(&self, book: &ShapeBook) -> Result<(), DistillError> {
        let (student, teacher) = self.pair(book)?;
        let compared = Compared::new(Self::ABOUT.name, student, teacher, teacher.shape.extent());
        match self.projector {
            ProjectorKind::Conv => {
                refuse_unread(self, &["heads", "softmax_scale"], "`projector = \"attention\"`")?;
            }
            ProjectorKind::Attention => {
                let why = "the layer normalisation after the attention leaves a constant";
                compared.needs_channels(why, "take `projector = \"conv\"`")?;
            }
        }
        let remedy = "take a tap with more, or set the weight to 0";
        for (key, weight) in self.weights() {
            // What is divided by its length must have more than one component, and a residual more than one value.
            let (places, channels) = match key {
                "spatial_dc" => (false, true),
                "spatial_ac" | "channel_ac" => (true, true),
                _ => (true, false),
            };
            let why = format!("the term of `{key}` is constant");
            if weight > 0.0 && places {
                compared.needs_places(&why, remedy)?;
            }
            if weight > 0.0 && channels {
                compared.needs_channels(&why, remedy)?;
            }
        }
        Ok(())
    }

    /// Key and weight of each term.
    fn weights(&self) -> [(&'static str, f64); 4] {
        [
            ("spatial_dc", self.spatial_dc),
            ("spatial_ac", self.spatial_ac),
            ("channel_dc", self.channel_dc),
            ("channel_ac", self.channel_ac),
        ]
    }
}

impl MethodConfig for UfdKdConfig {
    type Method = UfdKd;
    const ABOUT: About = About {
        name: "ufd-kd",
        summary: "means and residuals over space and over channels, each normalised",
        source: "code of lusilili/UFD-KD; the four weights inside, beside KD with temperature 1 and weight 0.5",
        weight: 1.0,
        warmup_epochs: 0,
        task_weight: 0.5,
        taps: "the deepest stage",
    };

    fn taps(&self, book: &ShapeBook) -> Result<Wanted, DistillError> {
        self.plan(book)?;
        self.check(book)?;
        let (student, teacher) = self.pair(book)?;
        Ok(Wanted { student: vec![student.name.clone()], teacher: vec![teacher.name.clone()] })
    }

    fn init(&self, book: &ShapeBook, parameters: &Parameters) -> Result<UfdKd, DistillError> {
        let plan = self.plan(book)?;
        let (student, teacher) = self.pair(book)?;
        // A branch without weight has no projector.
        let projector = |name: &str, weight: f64| (weight > 0.0).then(|| Projector::new(&parameters.part(name), &plan));
        Ok(UfdKd {
            spatial: projector("spatial", self.spatial_dc + self.spatial_ac),
            channel: projector("channel", self.channel_dc + self.channel_ac),
            taps: (student.name.clone(), teacher.name.clone()),
            weights: self.weights(),
        })
    }

    fn largest_temporary(&self, book: &ShapeBook, batch: usize) -> Result<usize, DistillError> {
        Ok(self.plan(book)?.largest_temporary(batch))
    }
}

/// The projectors of both branches.
#[derive(Module, Debug)]
pub struct UfdKd {
    spatial: Option<Projector>,
    channel: Option<Projector>,
    #[module(skip)]
    taps: (String, String),
    #[module(skip)]
    weights: [(&'static str, f64); 4],
}

impl Method for UfdKd {
    fn forward(&self, input: &StepInput) -> Result<Vec<Term>, DistillError> {
        let name = UfdKdConfig::ABOUT.name;
        let (tap, teacher) = &self.taps;
        let student = input.map(name, Side::Student, tap)?;
        let teacher = input.map(name, Side::Teacher, teacher)?;
        let mut values = Vec::with_capacity(4);
        for (projector, branch) in [(&self.spatial, spatial as Branch), (&self.channel, channel as Branch)] {
            values.extend(match projector {
                Some(projector) => branch(projector.forward(student.clone()), teacher.clone()).map(Some),
                None => [None, None],
            });
        }
        let terms = values.into_iter().zip(self.weights).filter(|(_, (_, weight))| *weight > 0.0);
        let named = terms.filter_map(|(value, (key, weight))| Some((value? * weight, key.replace('_', "-"))));
        Ok(named.map(|(value, key)| Term::new(format!("{name}.{key}"), value, tap)).collect())
    }
}

type Branch = fn(Tensor<4>, Tensor<4>) -> [Tensor<1>; 2];

/// DC and AC terms of the spatial branch, unweighted.
///
/// # Shapes
/// `[N, C, H, W]` twice to two `[1]`.
fn spatial(student: Tensor<4>, teacher: Tensor<4>) -> [Tensor<1>; 2] {
    let [n, c, h, w] = student.dims();
    // Places last, as the mean is over them.
    let parts = [student, teacher].map(|x| split::<2>(x.reshape([n, c, h * w])));
    compare(parts, 1, h * w)
}

/// DC and AC terms of the channel branch, unweighted.
///
/// # Shapes
/// `[N, C, H, W]` twice to two `[1]`.
fn channel(student: Tensor<4>, teacher: Tensor<4>) -> [Tensor<1>; 2] {
    let [n, c, h, w] = student.dims();
    let parts = [student, teacher].map(|x| split::<1>(x.reshape([n, c, h * w])));
    compare(parts, 2, c)
}

/// Mean over an axis (kept with length 1), and the rest.
fn split<const AXIS: usize>(x: Tensor<3>) -> [Tensor<3>; 2] {
    let mean = x.clone().mean_dim(AXIS);
    let rest = x - mean.clone();
    [mean, rest]
}

/// Squared distances of the DC parts, of which `copies` stand in the sum, and of the AC parts, each part normalised along
/// `axis`.
fn compare([[dc_s, ac_s], [dc_t, ac_t]]: [[Tensor<3>; 2]; 2], axis: usize, copies: usize) -> [Tensor<1>; 2] {
    let distance = |s: Tensor<3>, t: Tensor<3>| {
        let [n, a, b] = s.dims();
        let squares = (unit_length(s, axis) - unit_length(t, axis)).square();
        // Each sample for itself first, so that the order of the additions does not depend on the threads.
        squares.reshape([n, a * b]).sum_dim(1).sum() / n as f64
    };
    [distance(dc_s, dc_t) * copies as f64, distance(ac_s, ac_t)]
}

#[cfg(test)]
mod tests;
