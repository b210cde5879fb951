//! The class scores of both networks row by row, for methods that compare predictions.
//!
//! Of a classifier a row is an image. Of a segmenter it is a pixel of the student's map of logits: the teacher's map is
//! brought to its size by bilinear interpolation where the strides differ, and labels by the nearest one, row `i` of h
//! reading row `floor(i H / h)` of H, as PyTorch does.
use burn::prelude::*;
use burn::tensor::TensorData;
use subband_models::{Feature, TapShape};

use crate::{DistillError, Labels, MethodConfig, ShapeBook, Side, StepInput, resize_bilinear};

/// Scores with the true class of every row; rows that are ignored are left out.
pub(crate) struct Labelled {
    /// `[R, K]`.
    pub student: Tensor<2>,
    /// `[R, K]`, constant.
    pub teacher: Tensor<2>,
    /// `[R]`.
    pub labels: Tensor<1, Int>,
}

impl StepInput<'_> {
    /// Rows of scores of student and teacher, `[R, K]` each.
    ///
    /// # Errors
    /// [`DistillError::Shapes`] where one gives scores of images and the other of pixels.
    pub(crate) fn scores(&self, method: &str) -> Result<[Tensor<2>; 2], DistillError> {
        let teacher = match (&self.student.logits, &self.teacher.logits) {
            (Feature::Map(own), Feature::Map(other)) => {
                let [_, _, height, width] = own.dims();
                Feature::Map(resize_bilinear(other.clone(), (height, width)))
            }
            (Feature::Vector(_), other @ Feature::Vector(_)) => other.clone(),
            (own, other) => return Err(kinds(method, own.shape(), other.shape())),
        };
        Ok([self.student.scores(), teacher.into_rows()])
    }

    /// The rows with a true class; `None` if there is none in this batch.
    ///
    /// # Errors
    /// As [`Self::scores`]; labels of images for scores of pixels, or the reverse.
    pub(crate) fn labelled(&self, method: &str) -> Result<Option<Labelled>, DistillError> {
        let [student, teacher] = self.scores(method)?;
        let pixels = match (&self.labels, &self.student.logits) {
            (Labels::Pixels(pixels), Feature::Map(map)) => at_size(pixels.clone(), [map.dims()[2], map.dims()[3]]),
            (labels, Feature::Vector(_)) => {
                return Ok(Some(Labelled { student, teacher, labels: labels.images(method)? }));
            }
            _ => {
                return Err(DistillError::Shapes {
                    method: method.to_string(),
                    reason: "the scores are of pixels, but there is one class for each image".to_string(),
                });
            }
        };
        let labels = pixels.flatten::<1>(0, 2);
        let kept: Vec<i64> = labels.to_data().iter::<i64>().zip(0..).filter(|(l, _)| *l >= 0).map(|(_, i)| i).collect();
        if kept.is_empty() {
            return Ok(None);
        }
        let rows = kept.len();
        let kept = Tensor::<1, Int>::from_data(TensorData::new(kept, [rows]), &labels.device());
        let take = |x: Tensor<2>| x.select(0, kept.clone());
        Ok(Some(Labelled { student: take(student), teacher: take(teacher), labels: labels.select(0, kept.clone()) }))
    }

    /// A loss of 0 that depends on the student's scores: of a batch in which nothing is labelled.
    pub(crate) fn nothing(&self) -> Tensor<1> {
        self.student.scores().narrow(0, 0, 1).sum() * 0.0
    }
}

/// Labels `[N, H, W]` at another size.
fn at_size(labels: Tensor<3, Int>, size: [usize; 2]) -> Tensor<3, Int> {
    let [_, height, width] = labels.dims();
    let device = labels.device();
    let index = |input: usize, output: usize| {
        let index: Vec<i64> = (0..output).map(|i| (i * input / output) as i64).collect();
        Tensor::<1, Int>::from_data(TensorData::new(index, [output]), &device)
    };
    labels.select(1, index(height, size[0])).select(2, index(width, size[1]))
}

fn kinds(method: &str, student: TapShape, teacher: TapShape) -> DistillError {
    DistillError::Shapes {
        method: method.to_string(),
        reason: format!(
            "the student's logits are {student} and the teacher's {teacher}: predictions of an image and of its pixels \
             cannot be compared; take a method that compares feature taps"
        ),
    }
}

/// Checks that predictions of both networks can be compared: of images or of pixels both, with the same classes, at
/// least `least`.
pub(crate) fn check_logits<C: MethodConfig>(_: &C, book: &ShapeBook, least: usize) -> Result<(), DistillError> {
    let method = C::ABOUT.name;
    let shape = |side| book.tap(method, side, "logits").map(|tap| tap.shape);
    // Without the tap in the book there is nothing to compare yet.
    let (Ok(own), Ok(other)) = (shape(Side::Student), shape(Side::Teacher)) else { return Ok(()) };
    let is_map = |shape: &TapShape| matches!(shape, TapShape::Map { .. });
    if is_map(&own) != is_map(&other) {
        return Err(kinds(method, own, other));
    }
    let (student, teacher) = (own.channels(), other.channels());
    if student == teacher && student >= least {
        return Ok(());
    }
    Err(DistillError::Shapes {
        method: method.to_string(),
        reason: format!(
            "the student has {student} classes and the teacher {teacher}; both need the same number, at least {least}; \
             methods that compare feature taps do not need it"
        ),
    })
}

/// Numbers of the largest tensor of scores for a batch: `[R, K]` at the student's size, or the teacher's map while it is
/// brought there.
pub(crate) fn largest(book: &ShapeBook, batch: usize) -> usize {
    let extent = |side| {
        let tap = book.side(side).iter().find(|tap| tap.name == "logits");
        tap.map_or((1, 1), |tap| tap.shape.extent())
    };
    let (own, other) = (extent(Side::Student), extent(Side::Teacher));
    let places = (own.0 * own.1).max(crate::parts::separable_temporary(other, own));
    batch * book.classes * places
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{device, gradient_error, scalar, values, wave};
    use crate::{AnyMethodConfig, method_names};
    use subband_models::{Features, TapInfo, TapKind};
    use subband_seed::Stream;

    fn features(logits: Tensor<4>) -> Features {
        Features { logits: Feature::Map(logits), taps: Default::default() }
    }

    fn pixels(n: usize, h: usize, w: usize, class: impl Fn(usize) -> i64) -> Labels {
        let values: Vec<i64> = (0..n * h * w).map(class).collect();
        Labels::Pixels(Tensor::from_data(TensorData::new(values, [n, h, w]), &device()))
    }

    fn book(student: [usize; 3], teacher: [usize; 3]) -> ShapeBook {
        let logits = |[channels, height, width]: [usize; 3]| {
            let shape = TapShape::Map { channels, height, width };
            vec![TapInfo { name: "logits".into(), shape, stride: 8, kind: TapKind::Post }]
        };
        ShapeBook { student: logits(student), teacher: logits(teacher), classes: student[0], prompts: None }
    }

    /// The methods that compare predictions.
    fn on_logits() -> Vec<(&'static str, AnyMethodConfig)> {
        let config = |name: &str| {
            let table = format!("method = '{name}'");
            AnyMethodConfig::from_table(&toml::from_str(&table).unwrap()).unwrap()
        };
        let names = method_names().into_iter().filter(|name| ["kd", "dkd", "dist", "ofa"].contains(name));
        names.map(|name| (name, config(name))).collect()
    }

    fn loss(config: &AnyMethodConfig, book: &ShapeBook, s: Tensor<4>, t: Tensor<4>, labels: &Labels) -> Tensor<1> {
        let method = config.init(book, "arm/term", Stream::new(1), &device()).unwrap();
        let (student, teacher) = (features(s), features(t));
        let input =
            StepInput { student: &student, teacher: &teacher, labels: labels.clone(), samples: &[], epoch: 1, step: 1 };
        method.forward(&input).unwrap().into_iter().map(|term| term.value).reduce(|a, b| a + b).unwrap()
    }

    #[test]
    fn pixels_are_rows_as_images_are() {
        // Four images of one pixel, or one image of 2 x 2.
        let (joined, single) = (book([3, 2, 2], [3, 2, 2]), book([3, 1, 1], [3, 1, 1]));
        let (s, t) = (wave([1, 3, 2, 2], 0.3, 0.7), wave([1, 3, 2, 2], 0.9, 0.4));
        let rows = |x: &Tensor<4>| x.clone().permute([0, 2, 3, 1]).reshape([4, 3, 1, 1]);
        let classes = [2, 0, 1, 1];
        assert_eq!(on_logits().len(), 4);
        for (name, config) in on_logits() {
            let whole = loss(&config, &joined, s.clone(), t.clone(), &pixels(1, 2, 2, |i| classes[i]));
            let apart = loss(&config, &single, rows(&s), rows(&t), &pixels(4, 1, 1, |i| classes[i]));
            assert!((scalar(whole.clone()) - scalar(apart)).abs() < 1e-12, "{name}");
            assert!(scalar(whole) > 0.0, "{name}");
        }
    }

    #[test]
    fn strides_and_label_sizes_may_differ() {
        let book = book([3, 3, 5], [3, 7, 4]);
        let teacher = wave([2, 3, 7, 4], 0.9, 0.4);
        let labels = pixels(2, 9, 11, |i| (i % 4) as i64 - 1);
        for (name, config) in on_logits() {
            config.taps(&book).unwrap();
            let error =
                gradient_error(wave([2, 3, 3, 5], 0.3, 0.7), |s| loss(&config, &book, s, teacher.clone(), &labels));
            assert!(error < 1e-6, "{name}: {error:.1e}");
        }
    }

    #[test]
    fn labels_are_the_nearest_and_ignored_pixels_do_not_count() {
        let labels = Tensor::from_data(TensorData::new((0..12_i64).collect(), [1, 3, 4]), &device());
        // Rows 0, 1 of 3 for h = 2: floor(i 3 / 2); columns 0, 1, 2 of 4 for w = 3: floor(i 4 / 3).
        assert_eq!(values(at_size(labels, [2, 3]).float()), [0.0, 1.0, 2.0, 4.0, 5.0, 6.0]);
        let (s, t) = (wave([1, 3, 1, 3], 0.3, 0.7), wave([1, 3, 1, 3], 0.9, 0.4));
        let (all, part) = (book([3, 1, 3], [3, 1, 3]), book([3, 1, 2], [3, 1, 2]));
        for (name, config) in on_logits().into_iter().filter(|(name, _)| ["dkd", "ofa"].contains(name)) {
            let ignored = loss(&config, &all, s.clone(), t.clone(), &pixels(1, 1, 3, |i| [1, 2, -1][i]));
            let cut = |x: &Tensor<4>| x.clone().narrow(3, 0, 2);
            let without = loss(&config, &part, cut(&s), cut(&t), &pixels(1, 1, 2, |i| [1, 2][i]));
            assert!((scalar(ignored) - scalar(without)).abs() < 1e-12, "{name}");
            let none = loss(&config, &all, s.clone(), t.clone(), &pixels(1, 1, 3, |_| -1));
            assert_eq!(scalar(none), 0.0, "{name}");
        }
    }

    #[test]
    fn images_against_pixels_and_other_classes_are_refused_with_a_reason() {
        let mut mixed = book([3, 3, 5], [3, 3, 5]);
        mixed.teacher[0].shape = TapShape::Vector { channels: 3 };
        let other = book([3, 3, 5], [19, 3, 5]);
        for (name, config) in on_logits() {
            let error = config.taps(&mixed).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains("pixels"), "{error}");
            let error = config.taps(&other).unwrap_err().to_string();
            assert!(error.contains("3 classes") && error.contains("19"), "{error}");
        }
    }
}
