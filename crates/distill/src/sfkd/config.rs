//! The configuration of SFKD.
use serde::{Deserialize, Serialize};
use subband_models::TapInfo;
use subband_spectral::dwt::{Dwt2, Dwt2Config};

use super::{Ds2s, Sfkd};
use crate::compared::Compared;
use crate::methods::level::Taps;
use crate::pieces::align::{AdapterKind, AlignConfig, Grid, Resize};
use crate::pieces::bands::largest_details;
use crate::pieces::distance::{Distance, GaussianPass};
use crate::pieces::normalization::Normalization;
use crate::{About, DistillError, MethodConfig, Parameters, ShapeBook, Wanted};

/// How the refined map and the teacher's are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SfkdLoss {
    /// Gaussian-filtered frequency loss.
    Gffl,
    /// Mean squared error: what the summary of the paper compares it with.
    Mse,
}

/// Keys of `method = "sfkd"`. All defaults are a reconstruction; see the [module](super).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SfkdConfig {
    /// Wavelet (`haar`).
    pub wavelet: String,
    /// Levels J (2), at least 1.
    pub levels: usize,
    /// Whether the student's bands are refined by DS2S (true).
    pub refine: bool,
    /// Whether DS2S has its second stage, the gates between the streams (true).
    pub exchange: bool,
    /// Whether the refined map is added to the aligned one instead of replacing it (true).
    pub residual: bool,
    /// `gffl` (default) or `mse`.
    pub loss: SfkdLoss,
    /// `low` (default) or `high`: which end of the spectrum the Gaussian keeps.
    pub pass: GaussianPass,
    /// Standard deviation of the Gaussian as a share of min(H, W) (0.25), above 0.
    pub sigma: f64,
    /// Normalisation before the comparison (`l2`); also `none`, `mean-l2`, `batch`, `standardize`.
    pub normalize: Normalization,
    /// Channels and size of the comparison (default `{ adapter = "auto", grid = "smaller", resize = "area" }`; a recipe's
    /// table keeps what it leaves out).
    pub align: AlignConfig,
    /// Student taps, shallow to deep (default: the deepest stage).
    pub student_taps: Option<Vec<String>>,
    /// Teacher taps, shallow to deep (default: the deepest stage).
    pub teacher_taps: Option<Vec<String>>,
}

impl Default for SfkdConfig {
    fn default() -> Self {
        Self {
            wavelet: "haar".to_string(),
            levels: 2,
            refine: true,
            exchange: true,
            residual: true,
            loss: SfkdLoss::Gffl,
            pass: GaussianPass::Low,
            sigma: 0.25,
            normalize: Normalization::L2,
            align: AlignConfig { adapter: AdapterKind::Auto, grid: Grid::Smaller, resize: Resize::Area },
            student_taps: None,
            teacher_taps: None,
        }
    }
}

impl SfkdConfig {
    /// The pairs of taps; of a side that names none the deepest stage.
    fn pairs(&self, book: &ShapeBook) -> Result<Vec<(TapInfo, TapInfo)>, DistillError> {
        let (student, teacher) = (&self.student_taps, &self.teacher_taps);
        Taps { method: Self::ABOUT.name, student, teacher, deepest: true }.pairs(book)
    }

    /// Refuses taps of which nothing would be left to compare.
    fn check_pair(&self, student: &TapInfo, teacher: &TapInfo) -> Result<(), DistillError> {
        let size = self.align.grid.size(student.shape.extent(), teacher.shape.extent());
        let compared = Compared::new(Self::ABOUT.name, student, teacher, size);
        compared.normalized("normalize", self.normalize)?;
        if (self.loss, self.pass) == (SfkdLoss::Gffl, GaussianPass::High) {
            compared.needs_places("`pass = \"high\"` keeps nothing", "take `pass = \"low\"` or other taps")?;
        }
        Ok(())
    }

    /// The transform; checks the keys.
    fn transform(&self) -> Result<Dwt2, DistillError> {
        if !(1..=16).contains(&self.levels) {
            return Err(self.bad(format!("`levels = {}` must be 1 to 16 (usual: 2)", self.levels)));
        }
        self.distance().problem().map_or(Ok(()), |problem| Err(self.bad(problem)))?;
        Dwt2Config::new(&self.wavelet, self.levels).init().map_err(|error| self.bad(error.to_string()))
    }

    fn distance(&self) -> Distance {
        match self.loss {
            SfkdLoss::Gffl => Distance::GaussianSpectrum { sigma: self.sigma, pass: self.pass },
            SfkdLoss::Mse => Distance::Mse,
        }
    }
}

impl MethodConfig for SfkdConfig {
    type Method = Sfkd;
    const ABOUT: About = About {
        name: "sfkd",
        summary: "wavelet bands of the student refined in two streams, compared under a Gaussian in the Fourier domain",
        source: "reconstruction from the abstract of Wang and Wang 2026; every default is this crate's choice",
        weight: 100.0,
        warmup_epochs: 0,
        task_weight: 1.0,
        taps: "the deepest stage",
    };

    fn taps(&self, book: &ShapeBook) -> Result<Wanted, DistillError> {
        self.transform()?;
        let pairs = self.pairs(book)?;
        pairs.iter().try_for_each(|(student, teacher)| self.check_pair(student, teacher))?;
        let (student, teacher) = pairs.into_iter().map(|(s, t)| (s.name, t.name)).unzip();
        Ok(Wanted { student, teacher })
    }

    fn init(&self, book: &ShapeBook, parameters: &Parameters) -> Result<Sfkd, DistillError> {
        let dwt = self.transform()?;
        let pairs = self.pairs(book)?;
        let mut aligns = Vec::with_capacity(pairs.len());
        let mut refinements = Vec::new();
        for (student, teacher) in &pairs {
            let part = parameters.part(&student.name);
            aligns.push(self.align.init(Self::ABOUT.name, student.shape, teacher.shape, &part.part("align"))?);
            if self.refine {
                let channels = teacher.shape.channels();
                refinements.push(Ds2s::new(&part.part("ds2s"), channels, self.levels, self.exchange));
            }
        }
        Ok(Sfkd {
            aligns,
            refinements,
            pairs: pairs.into_iter().map(|(s, t)| (s.name, t.name)).collect(),
            dwt,
            residual: self.residual,
            normalize: self.normalize,
            distance: self.distance(),
        })
    }

    fn largest_temporary(&self, book: &ShapeBook, batch: usize) -> Result<usize, DistillError> {
        let dwt = self.transform()?;
        let sizes = self.pairs(book)?.into_iter().map(|(s, t)| {
            let (h, w) = self.align.grid.size(s.shape.extent(), t.shape.extent());
            // The three bands of a level are one tensor, on tiny maps larger than the map.
            let detail = if self.refine { largest_details(&dwt, (h, w)) } else { 0 };
            let bands = batch * t.shape.channels() * detail;
            self.align.largest_temporary(s.shape, t.shape, batch).max(bands)
        });
        Ok(sizes.max().unwrap_or(0))
    }
}
