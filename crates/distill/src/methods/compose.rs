//! A loss put together in the recipe from the [pieces](crate::pieces).
//!
//! For each pair of taps, with the alignment A, a learned filter G on the student's side, the normalisation N, the bands B_b of a transform and its split, a mask
//! M_b, a normalisation of bands N', a distance's elements e and a reduction R:
//!
//! `L = sum_pairs sum_b w_b R(M_b e(N'(B_b(N(G(S')))), N'(B_b(N(T'))))),   (S', T') = A(S, T)`.
//!
//! The bands called low have their weight and distance, the others theirs. Where everything behind N is linear up to a
//! distance of the difference, only N(G(S')) - N(T') is transformed.
//!
//! FreqKD, for example, is
//!
//! ```toml
//! method = "compose"
//! normalize = "mean-l2"
//! transform = "fft"
//! split = "rectangle"
//! cutoff = 0.5
//! low = { weight = 1.0, distance = "mse" }
//! high = { weight = 0.1, distance = "log-mse" }
//! ```
use burn::prelude::*;
use serde::{Deserialize, Serialize};
use subband_models::TapInfo;

use crate::compared::Compared;
use crate::keys::refuse_unread;
use crate::pieces::align::{Align, AlignConfig};
use crate::pieces::bands::{Band, Bands, BandsConfig, Domain, Split, Transform};
use crate::pieces::distance::{Distance, GaussianPass, Reduction};
use crate::pieces::filter::{FilterKind, FrequencyAttention, HighPassKind};
use crate::pieces::mask::Mask;
use crate::pieces::normalization::Normalization;
use crate::shapes::Pairing;
use crate::{About, DistillError, Method, MethodConfig, Parameters, ShapeBook, Side, StepInput, Term, Wanted};

/// The learned filter of the student's side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Filter {
    /// No filter.
    #[default]
    None,
    /// FAM-KD's, one complex number per pair of channels and frequency.
    Dense,
    /// The same with one per channel and frequency, and a mixing matrix.
    Depthwise,
}

impl Filter {
    fn kind(self) -> Option<FilterKind> {
        match self {
            Self::None => None,
            Self::Dense => Some(FilterKind::Dense),
            Self::Depthwise => Some(FilterKind::Depthwise),
        }
    }
}

/// Weight and distance of the low or of the other bands.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BandLoss {
    /// Weight of each band, finite; 0 leaves them out. Default 1.
    pub weight: f64,
    /// Default `mse`.
    pub distance: Distance,
}

impl Default for BandLoss {
    fn default() -> Self {
        Self { weight: 1.0, distance: Distance::Mse }
    }
}

/// Keys of `method = "compose"`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ComposeConfig {
    /// Student taps (default: the stages).
    pub student_taps: Option<Vec<String>>,
    /// Teacher taps (default: the stages).
    pub teacher_taps: Option<Vec<String>>,
    /// Adapter, grid and resize.
    pub align: AlignConfig,
    /// Learned filter of the aligned student map: `none` (default), `dense` or `depthwise`.
    pub filter: Filter,
    /// High-pass of the filter: `none` (default), `square` or `rank`.
    pub high_pass: HighPassKind,
    /// Normalisation of the maps: `none` (default), `mean-l2`, `l2`, `batch`, `standardize`.
    pub normalize: Normalization,
    /// `dwt` (default), `none`, `fft`, `dct`, `channel-fft`, `channel-dct`.
    pub transform: Transform,
    /// `level` (default), `orientation`, `orientation-sum` for the DWT; `none`, `rectangle`, `radial`, `gaussian`, `dc`.
    pub split: Split,
    /// `space` (default) or `coefficients`.
    pub domain: Domain,
    /// Cut-off as a share of the highest frequency, in (0, 1] (0.5).
    pub cutoff: f64,
    /// Wavelet of the DWT (`haar`).
    pub wavelet: String,
    /// Levels of the DWT (3).
    pub levels: usize,
    /// Boundary rule of the DWT (`zero`).
    pub boundary: String,
    /// Normalisation of each band: as `normalize`.
    pub normalize_bands: Normalization,
    /// Factors on the elements: `none` (default) or `{ focal = { alpha = 1.0 } }`.
    pub mask: Mask,
    /// Weight and distance of the low band.
    pub low: BandLoss,
    /// Weight and distance of the other bands.
    pub high: BandLoss,
    /// `mean` (default), `sum` or `batch-mean`, for each band.
    pub reduction: Reduction,
}

impl Default for ComposeConfig {
    fn default() -> Self {
        Self {
            student_taps: None,
            teacher_taps: None,
            align: AlignConfig::default(),
            filter: Filter::None,
            high_pass: HighPassKind::None,
            normalize: Normalization::None,
            transform: Transform::Dwt,
            split: Split::Level,
            domain: Domain::Space,
            cutoff: 0.5,
            wavelet: "haar".into(),
            levels: 3,
            boundary: "zero".into(),
            normalize_bands: Normalization::None,
            mask: Mask::None,
            low: BandLoss::default(),
            high: BandLoss::default(),
            reduction: Reduction::Mean,
        }
    }
}

impl ComposeConfig {
    fn pairing(&self) -> Pairing<'_> {
        Pairing::stages(Self::ABOUT.name, &self.student_taps, &self.teacher_taps)
    }

    fn bands(&self) -> Result<Bands, DistillError> {
        let config = BandsConfig {
            transform: self.transform,
            split: self.split,
            domain: self.domain,
            cutoff: self.cutoff,
            wavelet: self.wavelet.clone(),
            levels: self.levels,
            boundary: self.boundary.clone(),
        };
        config.init().map_err(|reason| self.bad(reason))
    }

    fn check(&self) -> Result<(), DistillError> {
        for (key, loss) in [("low", self.low), ("high", self.high)] {
            if !(loss.weight.is_finite() && loss.weight >= 0.0) {
                return Err(self.bad(format!("`{key}.weight = {}` must be 0 or more", loss.weight)));
            }
            if let Some(problem) = loss.distance.problem() {
                return Err(self.bad(format!("`{key}.distance`: {problem}")));
            }
        }
        let combines = |loss: BandLoss| matches!(loss.distance, Distance::Cosine | Distance::FocalFrequency { .. });
        if self.mask != Mask::None && (combines(self.low) || combines(self.high)) {
            return Err(self.bad("a `mask` weighs single coefficients, which `cosine` and `focal-frequency` combine"));
        }
        if self.filter == Filter::None && self.high_pass != HighPassKind::None {
            return Err(self.bad("`high_pass` belongs to a `filter`; give `filter = \"dense\"` or `\"depthwise\"`"));
        }
        let only_low = self.split == Split::None;
        if self.low.weight == 0.0 && (only_low || self.high.weight == 0.0) {
            return Err(self.bad("every band has weight 0; give `low` or `high` a weight, or leave the term out"));
        }
        self.mask.problem().map_or(Ok(()), |problem| Err(self.bad(format!("`mask`: {problem}"))))
    }

    /// Refuses keys that the chosen transform and split do not read.
    fn check_unread(&self) -> Result<(), DistillError> {
        if !matches!(self.split, Split::Rectangle | Split::Radial | Split::Gaussian) {
            refuse_unread(self, &["cutoff"], "`split = \"rectangle\"`, `\"radial\"` and `\"gaussian\"`")?;
        }
        if matches!(self.transform, Transform::None | Transform::Dwt) {
            refuse_unread(self, &["domain"], "the Fourier and cosine transforms")?;
        }
        if self.transform != Transform::Dwt {
            refuse_unread(self, &["wavelet", "levels", "boundary"], "`transform = \"dwt\"`")?;
        }
        if self.split == Split::None {
            refuse_unread(self, &["high"], "a `split` into more than one band")?;
        }
        Ok(())
    }

    /// Refuses taps of which a band would have nothing to compare.
    fn check_pair(&self, bands: &Bands, student: &TapInfo, teacher: &TapInfo) -> Result<(), DistillError> {
        let size = self.align.grid.size(student.shape.extent(), teacher.shape.extent());
        let whole = Compared::new(Self::ABOUT.name, student, teacher, size);
        whole.normalized("normalize", self.normalize)?;
        for (band, low, channels, size) in bands.shapes(whole.channels, size) {
            let loss = if low { self.low } else { self.high };
            if loss.weight == 0.0 {
                continue;
            }
            let part = Compared { band: &band, channels, size, ..whole };
            let (why, remedy) = ("there are no high frequencies", "set `high.weight` to 0, or take other taps");
            match self.transform {
                Transform::Fft | Transform::Dct if !low => whole.needs_places(why, remedy)?,
                Transform::ChannelFft | Transform::ChannelDct if !low => whole.needs_channels(why, remedy)?,
                _ => {}
            }
            part.normalized("normalize_bands", self.normalize_bands)?;
            match loss.distance {
                Distance::Cosine => part.needs_channels("a cosine is a sign, which has no gradient", "take `mse`")?,
                Distance::GaussianSpectrum { pass: GaussianPass::High, .. } => {
                    part.needs_places("`pass = \"high\"` keeps nothing", "take `pass = \"low\"` or other taps")?;
                }
                _ => {}
            }
        }
        Ok(())
    }
}

impl MethodConfig for ComposeConfig {
    type Method = Compose;
    const ABOUT: About = About {
        name: "compose",
        summary: "a loss put together from pieces: transform, split, mask, normalisation, distance",
        source: "no paper: the pieces of those listed here; by default L2 on all Haar bands",
        weight: 1.0,
        warmup_epochs: 0,
        task_weight: 1.0,
        taps: "stage1..N",
    };

    fn taps(&self, book: &ShapeBook) -> Result<Wanted, DistillError> {
        self.check()?;
        let bands = self.bands()?;
        self.check_unread()?;
        for (student, teacher) in self.pairing().pairs(book)? {
            self.check_pair(&bands, &student, &teacher)?;
        }
        self.pairing().wanted(book)
    }

    fn init(&self, book: &ShapeBook, parameters: &Parameters) -> Result<Compose, DistillError> {
        let (mut aligns, mut filters, mut pairs) = (Vec::new(), Vec::new(), Vec::new());
        for (student, teacher) in self.pairing().pairs(book)? {
            let part = parameters.part(&student.name);
            aligns.push(self.align.init(Self::ABOUT.name, student.shape, teacher.shape, &part)?);
            if let Some(kind) = self.filter.kind() {
                let size = self.align.grid.size(student.shape.extent(), teacher.shape.extent());
                let channels = [teacher.shape.channels(); 2];
                filters.push(FrequencyAttention::new(&part.part("filter"), channels, size, kind, self.high_pass));
            }
            pairs.push((student.name, teacher.name));
        }
        Ok(Compose { aligns, filters, pairs, bands: self.bands()?, config: self.clone() })
    }

    fn largest_temporary(&self, book: &ShapeBook, batch: usize) -> Result<usize, DistillError> {
        let bands = self.bands()?;
        let sizes = self.pairing().pairs(book)?.into_iter().map(|(student, teacher)| {
            let size = self.align.grid.size(student.shape.extent(), teacher.shape.extent());
            let channels = teacher.shape.channels();
            // A spectrum that a distance takes of a band has no more numbers than the band.
            let most = bands.largest_temporary(batch, channels, size);
            let filter = |kind| FrequencyAttention::largest_temporary(batch, [channels; 2], size, kind);
            let aligned = self.align.largest_temporary(student.shape, teacher.shape, batch);
            aligned.max(most).max(self.filter.kind().map_or(0, filter))
        });
        Ok(sizes.max().unwrap_or(0))
    }
}

/// The composed loss.
#[derive(Module, Debug)]
pub struct Compose {
    aligns: Vec<Align>,
    /// One for each pair, or none.
    filters: Vec<FrequencyAttention>,
    #[module(skip)]
    pairs: Vec<(String, String)>,
    #[module(skip)]
    bands: Bands,
    #[module(skip)]
    config: ComposeConfig,
}

impl Method for Compose {
    fn forward(&self, input: &StepInput) -> Result<Vec<Term>, DistillError> {
        let name = ComposeConfig::ABOUT.name;
        let mut terms = Vec::new();
        for (k, (align, (student, teacher))) in self.aligns.iter().zip(&self.pairs).enumerate() {
            let s = input.map(name, Side::Student, student)?;
            let t = input.map(name, Side::Teacher, teacher)?;
            let (s, t) = align.forward(s, t);
            let s = match self.filters.get(k) {
                Some(filter) => filter.forward(s)?,
                None => s,
            };
            for (band, value) in self.compare(s, t)? {
                terms.push(Term::new(format!("{name}.{student}.{band}"), value, student).against(teacher));
            }
        }
        Ok(terms)
    }
}

impl Compose {
    /// The weighted loss of each band.
    ///
    /// # Shapes
    /// Two maps `[N, C, H, W]` to numbers `[1]`, by the band's name.
    fn compare(&self, s: Tensor<4>, t: Tensor<4>) -> Result<Vec<(String, Tensor<1>)>, DistillError> {
        let config = &self.config;
        let (s, t) = (config.normalize.apply(s), config.normalize.apply(t));
        let losses = [config.low, config.high];
        let linear = losses.iter().all(|loss| loss.weight == 0.0 || loss.distance.of_difference());
        if linear && config.normalize_bands == Normalization::None {
            let bands = self.bands.of(s - t)?.into_iter();
            let of_difference = |band: Band, distance: Distance| {
                let mask = config.mask.of_difference(&band.values);
                Ok((distance.elements_of(band.values)?, mask))
            };
            return bands.filter_map(|band| self.weigh(band, of_difference)).collect();
        }
        let teacher = self.bands.of(t)?;
        let pairs = self.bands.of(s)?.into_iter().zip(teacher);
        let of_pair = |(student, teacher): (Band, Band)| {
            let band = Band { values: config.normalize_bands.apply(student.values), ..student };
            let other = config.normalize_bands.apply(teacher.values);
            self.weigh(band, |band, distance| {
                let mask = config.mask.of_difference(&(band.values.clone() - other.clone()));
                Ok((distance.elements(band.values, other)?, mask))
            })
        };
        pairs.filter_map(of_pair).collect()
    }

    /// Name and loss of a band whose elements and mask `elements` gives; none if its weight is 0.
    fn weigh(
        &self,
        band: Band,
        elements: impl FnOnce(Band, Distance) -> Result<(Tensor<4>, Option<Tensor<4>>), DistillError>,
    ) -> Option<Result<(String, Tensor<1>), DistillError>> {
        let BandLoss { weight, distance } = if band.low { self.config.low } else { self.config.high };
        if weight == 0.0 {
            return None;
        }
        let name = band.name.clone();
        Some(elements(band, distance).map(|(elements, mask)| {
            let elements = match mask {
                Some(mask) => elements * mask,
                None => elements,
            };
            (name, self.config.reduction.apply(elements) * weight)
        }))
    }
}

#[cfg(test)]
mod tests;
