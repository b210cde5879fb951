//! A data set seen through a corruption.

use super::{Corruption, Fields, Frost, Severity};
use crate::{DataError, Dataset, Image, Sample, Task};
use std::sync::Arc;

/// A data set whose images are corrupted when loaded, before any resizing; targets stay.
///
/// The random numbers of a sample depend on the seed, the corruption, the severity and its place in the whole split
/// alone ([`Corruption::stream`], [`Dataset::origin`]), so an image is corrupted in the same way in every choice of them.
/// A teacher's image of its own is corrupted too, with the same stream, so that two views of equal size and channels get
/// the same noise. The fourth band of an image is another sensor's and stays as it is, but for
/// [`Corrupted::with_fourth_band`].
pub struct Corrupted {
    inner: Arc<dyn Dataset>,
    corruption: Corruption,
    severity: Severity,
    seed: u64,
    frost: Option<Arc<Frost>>,
    fourth_band: bool,
}

impl Corrupted {
    /// `inner` under a corruption; `seed` is the run's.
    pub fn new(inner: Arc<dyn Dataset>, corruption: Corruption, severity: Severity, seed: u64) -> Self {
        Self { inner, corruption, severity, seed, frost: None, fourth_band: false }
    }

    /// With the fourth band of images corrupted too, as an image of one channel: for networks that see it alone
    /// ([`Pipeline::shows_fourth_band_alone`](crate::Pipeline::shows_fourth_band_alone)).
    pub fn with_fourth_band(self, fourth_band: bool) -> Self {
        Self { fourth_band, ..self }
    }

    /// With these pictures of frost in place of [`Frost::synthetic`].
    pub fn with_frost(self, frost: Arc<Frost>) -> Self {
        Self { frost: Some(frost), ..self }
    }

    fn corrupt(&self, index: usize, image: &Image) -> Result<Image, DataError> {
        // Before anything is drawn: not every field has a meaning for a small image.
        Corruption::check(&self.inner.describe(index), image)?;
        let corrupted = self.colours(index, image)?;
        let Some(band) = image.fourth_band().filter(|_| self.fourth_band) else { return Ok(corrupted) };
        let band = self.colours(index, &band)?;
        Ok(corrupted.with_fourth_band(&band).unwrap_or(corrupted))
    }

    /// The colours of an image corrupted.
    fn colours(&self, index: usize, image: &Image) -> Result<Image, DataError> {
        let frost = self.frost.as_deref().unwrap_or(Frost::synthetic());
        let stream = self.corruption.stream(self.seed, self.inner.origin(index), self.severity);
        let fields = Fields::draw(self.corruption, self.severity, image, frost, stream);
        self.corruption.apply(image, self.severity, &fields).map_err(|error| match error {
            DataError::Corruption { reason, .. } => DataError::corruption(self.inner.describe(index), reason),
            other => other,
        })
    }
}

impl Dataset for Corrupted {
    fn len(&self) -> usize {
        self.inner.len()
    }
    fn classes(&self) -> &[String] {
        self.inner.classes()
    }
    fn task(&self) -> Task {
        self.inner.task()
    }
    fn label(&self, index: usize) -> Option<usize> {
        self.inner.label(index)
    }
    fn describe(&self, index: usize) -> String {
        format!("{} under {} {}", self.inner.describe(index), self.corruption, self.severity)
    }
    /// As the inner data set; an error when an image cannot be corrupted ([`Corruption::apply`]).
    fn load(&self, index: usize) -> Result<Sample, DataError> {
        let mut sample = self.inner.load(index)?;
        sample.student = Arc::new(self.corrupt(index, &sample.student)?);
        if let Some(teacher) = &sample.teacher {
            sample.teacher = Some(Arc::new(self.corrupt(index, teacher)?));
        }
        Ok(sample)
    }
    fn size(&self, index: usize) -> Result<[usize; 2], DataError> {
        self.inner.size(index)
    }
    fn origin(&self, index: usize) -> usize {
        self.inner.origin(index)
    }
    fn scene(&self, index: usize) -> usize {
        self.inner.scene(index)
    }
    fn has_teacher_view(&self) -> bool {
        self.inner.has_teacher_view()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Numbers;
    use crate::{Cached, Samples, Subset, Target};

    /// Flat RGB images of `size` (width, height) with a second view, grey where `grey_teacher`.
    struct Flat {
        size: (usize, usize),
        classes: Vec<String>,
        grey_teacher: bool,
    }

    impl Dataset for Flat {
        fn len(&self) -> usize {
            6
        }
        fn classes(&self) -> &[String] {
            &self.classes
        }
        fn label(&self, index: usize) -> Option<usize> {
            Some(index % 2)
        }
        fn describe(&self, index: usize) -> String {
            format!("flat {index}")
        }
        fn load(&self, index: usize) -> Result<Sample, DataError> {
            let (width, height) = self.size;
            let image = |channels, value| {
                let samples = Samples::U8(vec![value; width * height * channels]);
                Image::new("flat", width, height, channels, samples).map(Arc::new)
            };
            let channels = if self.grey_teacher { 1 } else { 3 };
            let teacher = Some(image(channels, 100)?);
            Ok(Sample { student: image(3, 100)?, teacher, target: Target::Class(index % 2) })
        }
        fn has_teacher_view(&self) -> bool {
            true
        }
    }

    fn flat_images() -> Flat {
        Flat { size: (34, 33), classes: vec!["even".into(), "odd".into()], grey_teacher: false }
    }

    fn flat(grey_teacher: bool) -> Arc<Flat> {
        Arc::new(Flat { grey_teacher, ..flat_images() })
    }

    #[test]
    fn images_are_corrupted_by_index_and_targets_stay() {
        let severity = Severity::ALL[2];
        for corruption in Corruption::ALL {
            let data = Corrupted::new(flat(false), corruption, severity, 7);
            let late = data.load(4).unwrap();
            let clean = flat(false).load(4).unwrap();
            let stream = corruption.stream(7, 4, severity);
            let fields = Fields::draw(corruption, severity, &clean.student, Frost::synthetic(), stream);
            assert!(*late.student == corruption.apply(&clean.student, severity, &fields).unwrap(), "{corruption}");
            // Equal views stay equal: the noise is the same.
            assert!(late.student == late.teacher.unwrap());
            assert_eq!((late.target, data.label(4), data.len()), (Target::Class(0), Some(0), 6));
            assert_eq!(data.classes(), flat(false).classes());
            assert!(data.load(4).unwrap().student == late.student);
            // A flat image shows nothing of pixels that are moved.
            let moves = [Corruption::MotionBlur, Corruption::GlassBlur, Corruption::ElasticTransform];
            if fields != Fields::None && !moves.contains(&corruption) {
                let [first, second] = [0, 1].map(|i| data.load(i).unwrap().student);
                let other_seed = Corrupted::new(flat(false), corruption, severity, 8).load(1).unwrap().student;
                assert!(first != second && second != other_seed, "{corruption}");
            }
        }
    }

    #[test]
    fn a_teacher_of_other_channels_is_corrupted_too() {
        let severity = Severity::ALL[0];
        for corruption in [Corruption::GaussianNoise, Corruption::Brightness, Corruption::Fog] {
            let sample = Corrupted::new(flat(true), corruption, severity, 7).load(0).unwrap();
            let teacher = sample.teacher.unwrap();
            assert_eq!(teacher.channels(), 1);
            assert!(teacher != flat(true).load(0).unwrap().teacher.unwrap(), "{corruption}");
        }
    }

    #[test]
    fn a_choice_of_images_corrupts_none_of_them_differently() {
        let corrupted = |inner| Corrupted::new(inner, Corruption::GaussianNoise, Severity::ALL[1], 3);
        let whole = corrupted(flat(false));
        let some: Arc<dyn Dataset> = Arc::new(Subset::new(flat(false), vec![5, 2]).unwrap());
        let cached = Cached::new(Arc::new(Subset::new(some.clone(), vec![1, 0]).unwrap()), Arc::new(0.into()));
        let (some, twice) = (corrupted(some), corrupted(Arc::new(cached)));
        for (part, index, place) in [(&some, 0, 5), (&some, 1, 2), (&twice, 0, 2), (&twice, 1, 5)] {
            assert!(part.load(index).unwrap().student == whole.load(place).unwrap().student, "{index} {place}");
            assert_eq!(part.origin(index), place);
        }
        assert!(whole.load(2).unwrap().student != whole.load(5).unwrap().student);
        assert_eq!(some.size(1).unwrap(), [33, 34]);
    }

    #[test]
    fn small_images_are_errors_that_name_them() {
        let data = Corrupted::new(Arc::new(Numbers::new(4, 2)), Corruption::Fog, Severity::ALL[0], 1);
        assert_eq!(data.describe(3), "number 3 under fog 1");
        assert!(!data.has_teacher_view() && !data.in_memory());
        for corruption in Corruption::ALL {
            for severity in Severity::ALL {
                let fails = |inner: Arc<dyn Dataset>, words: [&str; 2]| {
                    let error = Corrupted::new(inner, corruption, severity, 1).load(3).unwrap_err().to_string();
                    let words = words.into_iter().chain(["32x32", "before `resize`"]);
                    words.for_each(|word| assert!(error.contains(word), "{error}"));
                };
                fails(Arc::new(Numbers::new(4, 2)), ["number 3", "5x4"]);
                fails(Arc::new(Flat { size: (100, 6), ..flat_images() }), ["flat 3", "100x6"]);
                fails(Arc::new(Flat { size: (6, 100), ..flat_images() }), ["flat 3", "6x100"]);
            }
        }
    }

    #[test]
    fn the_fourth_band_is_corrupted_where_it_is_asked_for() {
        struct Four;
        impl Dataset for Four {
            fn len(&self) -> usize {
                1
            }
            fn classes(&self) -> &[String] {
                &[]
            }
            fn label(&self, _: usize) -> Option<usize> {
                None
            }
            fn describe(&self, _: usize) -> String {
                "four".into()
            }
            fn load(&self, _: usize) -> Result<Sample, DataError> {
                let samples = Samples::U8((0..34 * 33 * 4).map(|i| (i * 7 % 251) as u8).collect());
                let student = Arc::new(Image::new("four", 34, 33, 4, samples)?);
                Ok(Sample { student, teacher: None, target: Target::Class(0) })
            }
        }
        let (clean, severity) = (Four.load(0).unwrap().student, Severity::ALL[2]);
        for corruption in Corruption::ALL {
            let seen = |band| {
                let data = Corrupted::new(Arc::new(Four), corruption, severity, 7).with_fourth_band(band);
                data.load(0).unwrap().student
            };
            let (kept, all) = (seen(false), seen(true));
            assert!(kept.fourth_band() == clean.fourth_band() && kept.to_rgb8() == all.to_rgb8(), "{corruption}");
            let band = clean.fourth_band().unwrap();
            let stream = corruption.stream(7, 0, severity);
            let fields = Fields::draw(corruption, severity, &band, Frost::synthetic(), stream);
            assert!(all.fourth_band() == corruption.apply(&band, severity, &fields).ok(), "{corruption}");
            // Without colour there is nothing to saturate.
            let same = all.fourth_band() == clean.fourth_band();
            assert_eq!(same, corruption == Corruption::Saturate, "{corruption}");
        }
    }
}
