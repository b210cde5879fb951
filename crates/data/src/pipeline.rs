//! From a decoded sample to the values the networks get.

use crate::config::{Bands, Filter, Photometric};
use crate::dataset::{Sample, Target};
use crate::distortion::distort;
use crate::geometry::GeometryPlan;
use crate::image::Image;
use crate::normalize::Normalization;
use crate::{DataError, Geometry};
use std::sync::Arc;
use subband_seed::Stream;

/// What is done to one view after the common geometry.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ViewPlan {
    pub bands: Bands,
    pub channels: usize,
    /// Height and width.
    pub size: [usize; 2],
    /// Every image comes at its own size times these factors, and `size` is that of the first.
    pub native: Option<[f64; 2]>,
    pub photometric: Option<Photometric>,
    pub normalization: Normalization,
}

/// A size times a factor for each axis, to the nearest pixel.
pub(crate) fn zoomed(size: [usize; 2], zoom: [f64; 2]) -> [usize; 2] {
    [0, 1].map(|axis| ((size[axis] as f64 * zoom[axis]).round() as usize).max(1))
}

/// The values of one view of one sample.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Values {
    /// `C x H x W`.
    pub data: Vec<f32>,
    /// `[C, H, W]`.
    pub shape: [usize; 3],
}

/// What a batch takes from one sample.
#[derive(Debug, Clone)]
pub(crate) struct Prepared {
    pub student: Values,
    pub teacher: Option<Values>,
    pub target: Target,
}

/// What the views of one sample share.
struct Common<'a> {
    name: &'a str,
    geometry: Geometry,
    filter: Filter,
    /// Outside the image values are 0 after normalisation; else black.
    mean_outside: bool,
}

impl ViewPlan {
    fn values(&self, common: &Common, image: &Image, colours: Option<Stream>) -> Result<Values, DataError> {
        let [height, width] = match self.native {
            Some(zoom) => zoomed([image.height(), image.width()], zoom),
            None => self.size,
        };
        let mut data = vec![0.0; self.channels * height * width];
        let whole = [0..height, 0..width];
        let covered = match common.mean_outside {
            true => common.geometry.covered([image.height(), image.width()], [height, width]),
            false => whole.clone(),
        };
        if covered == whole {
            self.write(common, &common.geometry, image, [height, width], colours, &mut data)?;
        } else if covered.iter().all(|range| !range.is_empty()) {
            let [rows, columns] = &covered;
            let inner = common.geometry.inner(&covered, [height, width]);
            let mut part = vec![0.0; self.channels * rows.len() * columns.len()];
            self.write(common, &inner, image, [rows.len(), columns.len()], colours, &mut part)?;
            for (at, line) in part.chunks_exact(columns.len()).enumerate() {
                let (channel, row) = (at / rows.len(), rows.start + at % rows.len());
                data[(channel * height + row) * width + columns.start..][..columns.len()].copy_from_slice(line);
            }
        }
        Ok(Values { data, shape: [self.channels, height, width] })
    }

    fn write(
        &self,
        common: &Common,
        geometry: &Geometry,
        image: &Image,
        size: [usize; 2],
        colours: Option<Stream>,
        out: &mut [f32],
    ) -> Result<(), DataError> {
        let seen = self.bands.of(common.name, image)?;
        geometry.apply(common.name, &seen, size, common.filter)?.write_planes(common.name, self.channels, out)?;
        match (&self.photometric, colours) {
            (Some(Photometric::Factors(factors)), Some(stream)) => factors.apply(out, self.channels, stream),
            (Some(Photometric::Distortion), Some(stream)) => distort(out, self.channels, stream),
            _ => {}
        }
        self.normalization.apply(out);
        Ok(())
    }
}

/// Geometry, colour changes, channel conversion and normalisation of both views; made by
/// [`DataConfig`](crate::DataConfig).
///
/// What it draws is a function of the seed, the epoch and the sample's index only.
#[derive(Debug, Clone)]
pub struct Pipeline {
    pub(crate) geometry: GeometryPlan,
    pub(crate) filter: Filter,
    pub(crate) student: ViewPlan,
    pub(crate) teacher: ViewPlan,
    /// The teacher's colour changes are drawn apart from the student's.
    pub(crate) own_colours: bool,
    /// Images of any size are taken without `resize` and `crop`: evaluation with masks.
    pub(crate) any_size: bool,
    /// False in evaluation.
    pub(crate) augment: bool,
}

impl Pipeline {
    /// Channels, height and width of the student's input; those of the first image where [`Self::keeps_sizes`].
    pub fn student_shape(&self) -> [usize; 3] {
        [self.student.channels, self.student.size[0], self.student.size[1]]
    }

    /// Channels, height and width of the teacher's input; those of the first image where [`Self::keeps_sizes`].
    pub fn teacher_shape(&self) -> [usize; 3] {
        [self.teacher.channels, self.teacher.size[0], self.teacher.size[1]]
    }

    /// True when every image goes to the networks at its own size (or that times a factor), so that inputs may differ
    /// from one batch to the next: evaluation with masks and without `resize`.
    pub fn keeps_sizes(&self) -> bool {
        self.student.native.is_some()
    }

    /// True when a network sees the fourth band of an image alone.
    pub fn shows_fourth_band_alone(&self) -> bool {
        [&self.student, &self.teacher].iter().any(|view| view.bands == Bands::Thermal)
    }

    /// The same without anything random: evaluation.
    pub(crate) fn without_augmentation(self) -> Self {
        let plain = |view: ViewPlan| ViewPlan { photometric: None, ..view };
        let (student, teacher) = (plain(self.student), plain(self.teacher));
        Self { student, teacher, own_colours: false, augment: false, ..self }
    }

    /// True when, even from one image, teacher and student get different values.
    pub fn views_differ(&self) -> bool {
        self.student != self.teacher || self.own_colours
    }

    /// The views of one sample (the teacher's if `paired`) and its target: masks at the student's size in training, as
    /// they are in evaluation. `draws` is the sample's stream in this epoch; it is not used in evaluation.
    pub(crate) fn prepare(
        &self,
        name: &str,
        sample: &Sample,
        draws: Stream,
        paired: bool,
    ) -> Result<Prepared, DataError> {
        let draws = self.augment.then_some(draws);
        let image = &sample.student;
        self.check_size(name, image)?;
        let mask = if let Target::Mask(mask) = &sample.target { Some(mask) } else { None };
        let stream = draws.map(|s| s.with("geometry"));
        let geometry = self.geometry.decide(image.width(), image.height(), mask.map(Arc::as_ref), stream);
        let common = Common { name, geometry, filter: self.filter, mean_outside: self.geometry.crop.is_some() };
        let colours = draws.map(|s| s.with("colours"));
        let student = self.student.values(&common, image, colours)?;
        let teacher = match paired {
            true => {
                let image = sample.teacher.as_ref().unwrap_or(image);
                let own = self.own_colours || sample.teacher.is_some();
                let colours = if own { draws.map(|s| s.with("teacher colours")) } else { colours };
                Some(self.teacher.values(&common, image, colours)?)
            }
            false => None,
        };
        let target = match mask {
            Some(mask) if self.augment => Target::Mask(Arc::new(geometry.apply_mask(mask, self.student.size))),
            _ => sample.target.clone(),
        };
        Ok(Prepared { student, teacher, target })
    }

    /// What one network sees of an image in evaluation.
    pub(crate) fn seen(&self, name: &str, image: &Image, teacher: bool) -> Result<Values, DataError> {
        self.check_size(name, image)?;
        let geometry = self.geometry.decide(image.width(), image.height(), None, None);
        let common = Common { name, geometry, filter: self.filter, mean_outside: false };
        let view = if teacher { &self.teacher } else { &self.student };
        view.values(&common, image, None)
    }

    /// Without `resize` and `crop` all images have one size, or keep theirs.
    fn check_size(&self, name: &str, image: &Image) -> Result<(), DataError> {
        let one_size = self.geometry.resize.is_none() && self.geometry.crop.is_none() && !self.any_size;
        if !one_size || [image.height(), image.width()] == self.geometry.size {
            return Ok(());
        }
        Err(DataError::Size {
            path: name.to_string(),
            width: image.width(),
            height: image.height(),
            expected_width: self.geometry.size[1],
            expected_height: self.geometry.size[0],
        })
    }
}
