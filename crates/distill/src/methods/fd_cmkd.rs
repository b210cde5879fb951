//! FD-CMKD: feature vectors compared in two bands of a Fourier transform over their channels.
//!
//! Liu et al.: Distilling Cross-Modal Knowledge via Feature Disentanglement (AAAI 2026, arXiv 2511.19887), with what its
//! released code adds. For a pooled vector x of C channels (or the vector at each place of a map or token), R its real
//! Fourier transform over the channels with the bins 0..C/2, and B = max(1, floor(cutoff floor(C/2))):
//!
//! ```text
//! low = R^-1 (bins 1..B of R x),   high = R^-1 (bins B+1..C/2 of R x);   bin 0, the mean, is in neither
//! u(v) = v / |v|_2,   g(v) = sgn(v) ln(1 + |v|)
//! L_low = mean (u(low_s) - u(low_t))^2,   L_high = mean (g(u(high_s)) - g(u(high_t)))^2
//! L_shared = sum over b in low, high:  CE(H_b(b_s), labels) + CE(H_b(b_t), labels),   H_b(v) = W_b relu(v) + a_b
//! L_own = sum over b in low, high:     CE(K_b(b_s), labels),   K_b of the same form
//! ```
//!
//! The classifiers H are shared by student and teacher and pull both into one space; the classifiers K are the student's
//! own. A vector that is zero stays zero. For maps and tokens of more than one place there are no classifiers.
use burn::module::Param;
use burn::prelude::*;
use burn::tensor::activation::relu;
use serde::{Deserialize, Serialize};
use subband_kernels::loss::cross_entropy;
use subband_models::TapInfo;
use subband_spectral::filter::{self, Mask};

use super::check_factor;
use super::freqkd::BandMeasure;
use crate::pieces::align::{Align, AlignConfig};
use crate::pieces::distance::{Distance, Reduction};
use crate::pieces::normalization::Normalization;
use crate::shapes::Pairing;
use crate::{
    About, DistillError, Init, Labels, Method, MethodConfig, Parameters, ShapeBook, Side, StepInput, Term, Wanted,
};

/// Keys of `method = "fd-cmkd"`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FdCmkdConfig {
    /// Share of the bins 1..C/2 that belong to the low band, in (0, 1) (0.5).
    pub cutoff: f64,
    /// Whether band vectors are divided by their length before the comparison (true).
    pub scale: bool,
    /// Weight of L_low (1).
    pub low_weight: f64,
    /// Weight of L_high (1).
    pub high_weight: f64,
    /// What of the low band is compared: `mse` (default), `log-mse` or `signed-log-mse`.
    pub low_distance: BandMeasure,
    /// What of the high band is compared: `signed-log-mse` (default), `mse` or `log-mse`.
    pub high_distance: BandMeasure,
    /// Whether there are the shared classifiers H (default: for taps of one place, if images have classes).
    pub shared_classifier: Option<bool>,
    /// Weight of L_shared (1).
    pub shared_weight: f64,
    /// Whether there are the student's own classifiers K (default: for taps of one place, if images have classes).
    pub own_classifier: Option<bool>,
    /// Weight of L_own (1).
    pub own_weight: f64,
    /// Adapter, grid and resize: a linear map where the channels differ.
    pub align: AlignConfig,
    /// Student taps (default: `pooled`, of segmenters the deepest stage).
    pub student_taps: Option<Vec<String>>,
    /// Teacher taps (default: `pooled`, of segmenters the deepest stage).
    pub teacher_taps: Option<Vec<String>>,
}

impl Default for FdCmkdConfig {
    fn default() -> Self {
        Self {
            cutoff: 0.5,
            scale: true,
            low_weight: 1.0,
            high_weight: 1.0,
            low_distance: BandMeasure::Mse,
            high_distance: BandMeasure::SignedLogMse,
            shared_classifier: None,
            shared_weight: 1.0,
            own_classifier: None,
            own_weight: 1.0,
            align: AlignConfig::default(),
            student_taps: None,
            teacher_taps: None,
        }
    }
}

impl FdCmkdConfig {
    fn pairs(&self, book: &ShapeBook) -> Result<Vec<(TapInfo, TapInfo)>, DistillError> {
        let usual = |side| book.tap_or_pooled(Self::ABOUT.name, side, &None).map(|tap| vec![tap.name.clone()]);
        let or_pooled = |given: &Option<Vec<String>>, side| match given {
            Some(names) => Ok(Some(names.clone())),
            None => usual(side).map(Some),
        };
        let student = or_pooled(&self.student_taps, Side::Student)?;
        let teacher = or_pooled(&self.teacher_taps, Side::Teacher)?;
        Pairing::stages(Self::ABOUT.name, &student, &teacher).pairs(book)
    }

    /// Places at which a pair is compared.
    fn size(&self, student: &TapInfo, teacher: &TapInfo) -> (usize, usize) {
        self.align.grid.size(student.shape.extent(), teacher.shape.extent())
    }

    /// Whether a pair has vectors with a class, which classifiers take: one place, and classes of images.
    fn is_classified(&self, book: &ShapeBook, student: &TapInfo, teacher: &TapInfo) -> bool {
        self.size(student, teacher) == (1, 1) && !book.is_segmentation()
    }

    fn check(&self) -> Result<(), DistillError> {
        if !(self.cutoff > 0.0 && self.cutoff < 1.0) {
            return Err(self.bad(format!("`cutoff = {}` must lie between 0 and 1 (usual: 0.5)", self.cutoff)));
        }
        let weights = [
            ("low_weight", self.low_weight),
            ("high_weight", self.high_weight),
            ("shared_weight", self.shared_weight),
            ("own_weight", self.own_weight),
        ];
        weights.iter().try_for_each(|(key, weight)| check_factor(self, key, *weight))?;
        if weights[..2].iter().all(|(_, weight)| *weight == 0.0) {
            return Err(self.bad("`low_weight` and `high_weight` are both 0: nothing of the teacher would be used"));
        }
        Ok(())
    }

    fn check_pair(&self, book: &ShapeBook, student: &TapInfo, teacher: &TapInfo) -> Result<(), DistillError> {
        let shapes = |reason: String| DistillError::Shapes { method: Self::ABOUT.name.to_string(), reason };
        let channels = teacher.shape.channels();
        if channels < 4 {
            return Err(shapes(format!(
                "`{}` has {channels} channels; two bands beside the mean need at least 4",
                teacher.name
            )));
        }
        let asked = [("shared_classifier", self.shared_classifier), ("own_classifier", self.own_classifier)];
        let key = asked.iter().find(|(_, asked)| *asked == Some(true)).map(|(key, _)| key);
        let places = self.size(student, teacher);
        match key {
            Some(key) if book.is_segmentation() => Err(shapes(format!(
                "`{key} = true` needs one class for each image, but pixels have the classes here; leave the classifiers out"
            ))),
            Some(key) if places != (1, 1) => Err(shapes(format!(
                "`{key} = true` needs one vector per image, but `{}` has {}x{} places; take `pooled` or leave the \
                 classifiers out",
                student.name, places.0, places.1
            ))),
            _ => Ok(()),
        }
    }

    /// The masks of the two bands over the frequencies of C channels.
    fn masks(&self, channels: usize) -> [Mask; 2] {
        let last = channels / 2;
        let low = ((last as f64 * self.cutoff) as usize).clamp(1, last - 1) as u64;
        let band = |from: u64, to: u64| {
            Mask::from_fn([1, channels], move |[_, f]| f64::from(u8::from((from..=to).contains(&f.unsigned_abs()))))
        };
        [band(1, low), band(low + 1, last as u64)]
    }
}

impl MethodConfig for FdCmkdConfig {
    type Method = FdCmkd;
    const ABOUT: About = About {
        name: "fd-cmkd",
        summary: "vectors in two bands over the channels, with classifiers shared by both networks",
        source: "Liu et al. 2026; all weights 1, cut-off 0.5 from its code",
        weight: 1.0,
        warmup_epochs: 0,
        task_weight: 1.0,
        taps: "pooled, of segmenters the deepest stage",
    };

    fn taps(&self, book: &ShapeBook) -> Result<Wanted, DistillError> {
        self.check()?;
        let mut wanted = Wanted::default();
        for (student, teacher) in self.pairs(book)? {
            self.check_pair(book, &student, &teacher)?;
            wanted.student.push(student.name);
            wanted.teacher.push(teacher.name);
        }
        Ok(wanted)
    }

    fn init(&self, book: &ShapeBook, parameters: &Parameters) -> Result<FdCmkd, DistillError> {
        let (mut aligns, mut shared, mut own, mut pairs) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (student, teacher) in self.pairs(book)? {
            let part = parameters.part(&student.name);
            aligns.push(self.align.init(Self::ABOUT.name, student.shape, teacher.shape, &part)?);
            let channels = teacher.shape.channels();
            let single = self.is_classified(book, &student, &teacher);
            let heads = |asked: Option<bool>, weight: f64, name: &str| {
                let wanted = asked.unwrap_or(single) && weight > 0.0;
                wanted.then(|| Heads::new(&part.part(name), channels, book.classes))
            };
            shared.push(heads(self.shared_classifier, self.shared_weight, "shared"));
            own.push(heads(self.own_classifier, self.own_weight, "own"));
            pairs.push(Pair { student: student.name, teacher: teacher.name, masks: self.masks(channels) });
        }
        Ok(FdCmkd { aligns, shared, own, pairs, config: self.clone() })
    }

    fn largest_temporary(&self, book: &ShapeBook, batch: usize) -> Result<usize, DistillError> {
        // A band is as large as the compared map; classifiers give N K scores.
        let sizes = self.pairs(book)?.into_iter().map(|(s, t)| {
            let heads = [(self.shared_classifier, self.shared_weight), (self.own_classifier, self.own_weight)];
            let single = self.is_classified(book, &s, &t);
            let classifies = heads.iter().any(|(asked, weight)| asked.unwrap_or(single) && *weight > 0.0);
            let scores = if classifies { batch * book.classes } else { 0 };
            self.align.largest_temporary(s.shape, t.shape, batch).max(scores)
        });
        Ok(sizes.max().unwrap_or(0))
    }
}

/// Classifiers of the low and of the high band.
#[derive(Module, Debug)]
struct Heads {
    low: Head,
    high: Head,
}

/// `W relu(v) + a`.
#[derive(Module, Debug)]
struct Head {
    weight: Param<Tensor<2>>,
    bias: Param<Tensor<1>>,
}

impl Heads {
    fn new(parameters: &Parameters, channels: usize, classes: usize) -> Self {
        let head = |name: &str| {
            let (part, init) = (parameters.part(name), Init::torch_default(channels));
            Head {
                weight: part.tensor("weight", [classes, channels], init),
                bias: part.tensor("bias", [classes], init),
            }
        };
        Self { low: head("low"), high: head("high") }
    }

    /// The sum of both bands' cross-entropies.
    ///
    /// # Shapes
    /// Bands `[N, C, 1, 1]` and labels `[N]` to `[1]`.
    fn loss(&self, bands: &[Tensor<4>; 2], labels: &Tensor<1, Int>) -> Tensor<1> {
        let part = |head: &Head, band: &Tensor<4>| {
            let [n, c, _, _] = band.dims();
            let x = relu(band.clone()).reshape([n, c]);
            let logits = x.matmul(head.weight.val().transpose()) + head.bias.val().unsqueeze::<2>();
            cross_entropy(logits, labels.clone(), None)
        };
        part(&self.low, &bands[0]) + part(&self.high, &bands[1])
    }
}

/// Two taps and their bands.
#[derive(Debug, Clone)]
struct Pair {
    student: String,
    teacher: String,
    masks: [Mask; 2],
}

/// The loss with its adapters and classifiers.
#[derive(Module, Debug)]
pub struct FdCmkd {
    aligns: Vec<Align>,
    shared: Vec<Option<Heads>>,
    own: Vec<Option<Heads>>,
    #[module(skip)]
    pairs: Vec<Pair>,
    #[module(skip)]
    config: FdCmkdConfig,
}

impl Method for FdCmkd {
    fn forward(&self, input: &StepInput) -> Result<Vec<Term>, DistillError> {
        let name = FdCmkdConfig::ABOUT.name;
        let mut terms = Vec::new();
        for (k, pair) in self.pairs.iter().enumerate() {
            let s = input.map(name, Side::Student, &pair.student)?;
            let t = input.map(name, Side::Teacher, &pair.teacher)?;
            for (part, value) in self.compare(k, s, t, &input.labels)? {
                terms.push(
                    Term::new(format!("{name}.{}.{part}", pair.student), value, &pair.student).against(&pair.teacher),
                );
            }
        }
        Ok(terms)
    }
}

impl FdCmkd {
    /// The weighted parts of the loss of pair `k` by name.
    ///
    /// # Shapes
    /// `[N, C_s, H_s, W_s]`, `[N, C_t, H_t, W_t]` and the true classes to numbers `[1]`.
    fn compare(
        &self,
        k: usize,
        student: Tensor<4>,
        teacher: Tensor<4>,
        labels: &Labels,
    ) -> Result<Vec<(&'static str, Tensor<1>)>, DistillError> {
        let config = &self.config;
        let (s, t) = self.aligns[k].forward(student, teacher);
        let (s, t) = (bands(s, &self.pairs[k].masks)?, bands(t, &self.pairs[k].masks)?);
        let compared =
            [("low", config.low_weight, config.low_distance), ("high", config.high_weight, config.high_distance)];
        let mut parts = Vec::new();
        for ((name, weight, measure), (s, t)) in compared.into_iter().zip(s.iter().zip(&t)) {
            if weight > 0.0 {
                parts.push((name, self.distance(measure, s.clone(), t.clone())? * weight));
            }
        }
        // There are classifiers only where images have classes.
        let classes = || labels.images(FdCmkdConfig::ABOUT.name);
        if let Some(heads) = &self.shared[k] {
            let labels = &classes()?;
            parts.push(("shared", (heads.loss(&s, labels) + heads.loss(&t, labels)) * config.shared_weight));
        }
        if let Some(heads) = &self.own[k] {
            parts.push(("own", heads.loss(&s, &classes()?) * config.own_weight));
        }
        Ok(parts)
    }

    fn distance(&self, measure: BandMeasure, s: Tensor<4>, t: Tensor<4>) -> Result<Tensor<1>, DistillError> {
        let scale = if self.config.scale { Normalization::L2 } else { Normalization::None };
        let distance = match measure {
            BandMeasure::Mse => Distance::Mse,
            BandMeasure::LogMse => Distance::LogMse,
            BandMeasure::SignedLogMse => Distance::SignedLogMse,
        };
        Ok(Reduction::Mean.apply(distance.elements(scale.apply(s), scale.apply(t))?))
    }
}

/// The bands of the channel vectors at each place.
///
/// # Shapes
/// `[N, C, H, W]` to two of the same.
fn bands(x: Tensor<4>, masks: &[Mask; 2]) -> Result<[Tensor<4>; 2], DistillError> {
    let [n, c, h, w] = x.dims();
    // A vector is a map of height 1 and width C; for pooled vectors these are views.
    let rows = x.permute([0, 2, 3, 1]).reshape([n * h * w, 1, 1, c]);
    let back = |rows: Tensor<4>| rows.reshape([n, h, w, c]).permute([0, 3, 1, 2]);
    let mean = rows.clone().mean_dim(3);
    let low = filter::apply(rows.clone(), &masks[0])?;
    let high = rows - mean - low.clone();
    Ok([back(low), back(high)])
}

#[cfg(test)]
mod tests;
