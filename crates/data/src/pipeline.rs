//! From a decoded sample to the values the networks get.

use crate::config::{Filter, PhotometricConfig};
use crate::dataset::Sample;
use crate::geometry::GeometryPlan;
use crate::image::Image;
use crate::normalize::Normalization;
use crate::{DataError, Geometry};
use subband_seed::Stream;

/// What is done to one view after the common geometry.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ViewPlan {
    pub channels: usize,
    /// Height and width.
    pub size: [usize; 2],
    pub photometric: Option<PhotometricConfig>,
    pub normalization: Normalization,
}

impl ViewPlan {
    /// Values of one sample.
    pub fn values(&self) -> usize {
        self.channels * self.size[0] * self.size[1]
    }

    fn write(
        &self,
        name: &str,
        image: &Image,
        geometry: &Geometry,
        filter: Filter,
        colours: Option<Stream>,
        out: &mut [f32],
    ) -> Result<(), DataError> {
        geometry.apply(name, image, self.size, filter)?.write_planes(name, self.channels, out)?;
        if let (Some(photometric), Some(stream)) = (&self.photometric, colours) {
            photometric.apply(out, self.channels, stream);
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
    /// False in evaluation.
    pub(crate) augment: bool,
}

impl Pipeline {
    /// Channels, height and width of the student's input.
    pub fn student_shape(&self) -> [usize; 3] {
        [self.student.channels, self.student.size[0], self.student.size[1]]
    }

    /// Channels, height and width of the teacher's input.
    pub fn teacher_shape(&self) -> [usize; 3] {
        [self.teacher.channels, self.teacher.size[0], self.teacher.size[1]]
    }

    /// True when, even from one image, teacher and student get different values.
    pub fn views_differ(&self) -> bool {
        self.student != self.teacher || (self.augment && self.own_colours)
    }

    /// Writes the views of one sample. `draws` is the sample's stream in this epoch; it is not used in evaluation.
    pub(crate) fn write(
        &self,
        name: &str,
        sample: &Sample,
        draws: Stream,
        student: &mut [f32],
        teacher: Option<&mut [f32]>,
    ) -> Result<(), DataError> {
        let draws = self.augment.then_some(draws);
        let image = &sample.student;
        if self.geometry.resize.is_none() && [image.height(), image.width()] != self.geometry.size {
            return Err(DataError::Size {
                path: name.to_string(),
                width: image.width(),
                height: image.height(),
                expected_width: self.geometry.size[1],
                expected_height: self.geometry.size[0],
            });
        }
        let geometry = self.geometry.decide(image.width(), image.height(), draws.map(|s| s.with("geometry")));
        let colours = draws.map(|s| s.with("colours"));
        self.student.write(name, image, &geometry, self.filter, colours, student)?;
        if let Some(out) = teacher {
            let image = sample.teacher.as_ref().unwrap_or(image);
            let own = self.own_colours || sample.teacher.is_some();
            let colours = if own { draws.map(|s| s.with("teacher colours")) } else { colours };
            self.teacher.write(name, image, &geometry, self.filter, colours, out)?;
        }
        Ok(())
    }
}
