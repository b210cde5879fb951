//! Images without labels: what a trained network is shown, prepared as in evaluation.

use crate::config::{DataConfig, ResizeConfig};
use crate::loader::View;
use crate::pipeline::Pipeline;
use crate::{DataError, Geometry, Image, Size};

impl DataConfig {
    /// The evaluation pipeline for images that belong to no data set; nothing of the data set is opened.
    ///
    /// Where the configuration has no `resize`, images are brought to `size` = `[height, width]` without keeping their
    /// aspect ratio, or stay as they are where that is `None`.
    ///
    /// # Errors
    /// A normalisation that does not fit the channels, a size out of range.
    pub fn unlabelled(&self, size: Option<[usize; 2]>) -> Result<Pipeline, DataError> {
        self.check_views()?;
        let given = size.map(|[height, width]| ResizeConfig::to(Size { height, width }));
        let config = Self { resize: self.resize.clone().or(given), ..self.clone() };
        if let Some(resize) = &config.resize {
            resize.check()?;
        }
        // Without a size the plan's own is not read.
        let whole = config.resize.as_ref().map_or([1, 1], |resize| resize.size.array());
        let pipeline = config.pipeline(whole, None, config.resize.is_none())?;
        Ok(pipeline.without_augmentation())
    }
}

impl Pipeline {
    /// What the student sees of an image in evaluation, or the teacher, as a batch of one; `name` stands in errors.
    ///
    /// # Errors
    /// Channels that cannot be converted.
    pub fn show(&self, name: &str, image: &Image, teacher: bool) -> Result<View, DataError> {
        let values = self.seen(name, image, teacher)?;
        let [channels, height, width] = values.shape;
        Ok(View { data: values.data, shape: [1, channels, height, width] })
    }

    /// The part of an image of `width` x `height` that the networks see in evaluation.
    pub fn window(&self, width: usize, height: usize) -> Geometry {
        self.geometry.decide(width, height, None, None)
    }

    /// Channels that the student takes, or the teacher.
    pub fn channels(&self, teacher: bool) -> usize {
        if teacher { self.teacher.channels } else { self.student.channels }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DatasetKind, Normalize, Samples};

    fn image(width: usize, height: usize, channels: usize) -> Image {
        let values = (0..width * height * channels).map(|v| (v * 11 % 256) as u8).collect();
        Image::new("made up", width, height, channels, Samples::U8(values)).unwrap()
    }

    #[test]
    fn images_keep_their_size_or_come_to_one() {
        let config = DataConfig { normalize: Some(Normalize::named("none")), ..DataConfig::new(DatasetKind::Masks) };
        let grey = image(5, 3, 1);
        let view = config.unlabelled(None).unwrap().show("x", &grey, false).unwrap();
        assert_eq!(view.shape, [1, 3, 3, 5]);
        // Values in 0..=1, the grey ones in every channel.
        assert_eq!(view.data[..15], view.data[15..30]);
        assert!((view.data[1] - 11.0 / 255.0).abs() < 1e-7);
        let pipeline = config.unlabelled(Some([4, 6])).unwrap();
        assert_eq!(pipeline.show("x", &grey, true).unwrap().shape, [1, 3, 4, 6]);
        assert_eq!(pipeline.window(5, 3), Geometry::IDENTITY);
        // The configuration's own size goes first.
        let own = DataConfig { resize: Some(ResizeConfig::square(2)), ..config.clone() };
        assert_eq!(own.unlabelled(Some([4, 6])).unwrap().show("x", &grey, false).unwrap().shape, [1, 3, 2, 2]);
        assert!(config.unlabelled(Some([0, 6])).is_err());
    }

    #[test]
    fn what_is_seen_is_what_an_evaluation_sees() {
        let config = DataConfig::new(DatasetKind::Digits);
        let splits = DataConfig { test_limit: Some(1), ..config.clone() }.open(1).unwrap();
        let batch = splits.eval_loader(&splits.test, 1).unwrap().epoch(0, 0).next().unwrap().unwrap();
        let sample = splits.test.load(0).unwrap();
        let pipeline = config.unlabelled(Some([28, 28])).unwrap();
        assert_eq!(pipeline.show("digit", &sample.student, false).unwrap(), batch.student);
    }

    #[test]
    fn missing_channels_are_an_error_that_names_the_image() {
        let pipeline = DataConfig::new(DatasetKind::Mfnet).unlabelled(None).unwrap();
        assert_eq!(pipeline.channels(false), 4);
        let error = pipeline.show("scene.png", &image(4, 4, 3), false).unwrap_err().to_string();
        assert!(error.contains("scene.png") && error.contains("3 channels"), "{error}");
    }
}
