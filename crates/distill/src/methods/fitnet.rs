//! FitNet hints.
//!
//! Romero et al.: FitNets: Hints for Thin Deep Nets (ICLR 2015). One student map, through a convolutional regressor r,
//! is to equal one teacher map:
//!
//! `L = mean (r(F^s) - F^t)^2`, r = ReLU(BN(conv)).
//!
//! The convolution follows from the shapes: equal sizes 1x1; student twice as large 3x3 with stride 2; otherwise 1x1
//! after averaging down or nearest-neighbour resizing up to the teacher's size.
use burn::prelude::*;
use serde::{Deserialize, Serialize};

use crate::parts::{mean_squared_error, nearest_temporary, separable_temporary};
use crate::{
    About, BatchNorm, Conv, DistillError, Init, Method, MethodConfig, Parameters, ShapeBook, Side, StepInput, Term,
    Wanted, adaptive_average_pool, resize_nearest,
};

/// Keys of `method = "fitnet"`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FitNetConfig {
    /// Student tap (`stage2`: hint layer 2 of mdistiller).
    pub student_tap: String,
    /// Teacher tap (`stage2`).
    pub teacher_tap: String,
    /// Whether the regressor ends with a ReLU (true: targets after an activation are not negative).
    pub relu: bool,
}

impl Default for FitNetConfig {
    fn default() -> Self {
        Self { student_tap: "stage2".to_string(), teacher_tap: "stage2".to_string(), relu: true }
    }
}

/// Whether a convolution with stride 2 makes the one size of the other.
fn halves(size: (usize, usize), target: (usize, usize)) -> bool {
    size != target && (size.0.div_ceil(2), size.1.div_ceil(2)) == target
}

impl MethodConfig for FitNetConfig {
    type Method = FitNet;
    const ABOUT: About = About {
        name: "fitnet",
        summary: "one hint layer through a convolutional regressor",
        source: "Romero et al. 2015; weight 100 at hint layer 2 from mdistiller",
        weight: 100.0,
        warmup_epochs: 0,
        task_weight: 1.0,
        taps: "stage2",
    };

    fn taps(&self, book: &ShapeBook) -> Result<Wanted, DistillError> {
        book.tap(Self::ABOUT.name, Side::Student, &self.student_tap)?;
        book.tap(Self::ABOUT.name, Side::Teacher, &self.teacher_tap)?;
        Ok(Wanted { student: vec![self.student_tap.clone()], teacher: vec![self.teacher_tap.clone()] })
    }

    fn init(&self, book: &ShapeBook, parameters: &Parameters) -> Result<FitNet, DistillError> {
        let student = book.tap(Self::ABOUT.name, Side::Student, &self.student_tap)?.shape;
        let teacher = book.tap(Self::ABOUT.name, Side::Teacher, &self.teacher_tap)?.shape;
        let (size, target) = (student.extent(), teacher.extent());
        let channels = [student.channels(), teacher.channels()];
        let (kernel, stride) = if halves(size, target) { (3, 2) } else { (1, 1) };
        let part = parameters.part("conv");
        let init = Init::torch_default(channels[0] * kernel * kernel);
        let conv = Conv::new(&part, channels, kernel, init).with_bias(&part).with_stride(stride);
        Ok(FitNet { conv, norm: BatchNorm::new(&parameters.part("norm"), channels[1]), config: self.clone() })
    }

    fn largest_temporary(&self, book: &ShapeBook, batch: usize) -> Result<usize, DistillError> {
        let student = book.tap(Self::ABOUT.name, Side::Student, &self.student_tap)?.shape;
        let teacher = book.tap(Self::ABOUT.name, Side::Teacher, &self.teacher_tap)?.shape;
        let (from, to) = (student.extent(), teacher.extent());
        let area = |(h, w): (usize, usize)| h * w;
        let (input, output) = (student.channels(), teacher.channels());
        // The stride of two works on the student's whole map; otherwise it changes its size first.
        let most = if halves(from, to) {
            (input * area(from)).max(output * area(to))
        } else {
            let shrinks = from.0 >= to.0 && from.1 >= to.1;
            let resized = if shrinks { separable_temporary(from, to) } else { nearest_temporary(from, to) };
            (input * resized).max(Conv::largest_temporary([input, output], 1, area(to)))
        };
        Ok(batch * most)
    }
}

/// The regressor.
#[derive(Module, Debug)]
pub struct FitNet {
    conv: Conv,
    norm: BatchNorm,
    #[module(skip)]
    config: FitNetConfig,
}

impl Method for FitNet {
    fn forward(&self, input: &StepInput) -> Result<Vec<Term>, DistillError> {
        let name = FitNetConfig::ABOUT.name;
        let student = input.map(name, Side::Student, &self.config.student_tap)?;
        let teacher = input.map(name, Side::Teacher, &self.config.teacher_tap)?;
        let value = mean_squared_error(self.regress(student, &teacher), teacher);
        Ok(vec![Term::new(name, value, &self.config.student_tap)])
    }
}

impl FitNet {
    /// r(F^s).
    ///
    /// # Shapes
    /// `[N, C_s, H_s, W_s]` to the teacher's `[N, C_t, H_t, W_t]`.
    fn regress(&self, student: Tensor<4>, teacher: &Tensor<4>) -> Tensor<4> {
        let [_, _, height, width] = teacher.dims();
        let [_, _, h, w] = student.dims();
        let size = (height, width);
        let x = if self.conv.stride() == 2 {
            student
        } else if h >= height && w >= width {
            adaptive_average_pool(student, size)
        } else {
            resize_nearest(student, size)
        };
        let x = self.conv.forward(x);
        if self.config.relu { self.norm.forward_relu(x) } else { self.norm.forward(x) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{book, double, fill, fixture, gradient_error, scalar, wave};

    fn method(student: &[usize; 3], teacher: &[usize; 3]) -> FitNet {
        let book = book(&[("stage2", student)], &[("stage2", teacher)]);
        let config = FitNetConfig::default();
        let made = config.init(&book, &Parameters::new(subband_seed::Stream::new(3), &crate::check::device()));
        double(made.unwrap())
    }

    #[test]
    fn values_match_the_oracle() {
        for (name, student, teacher) in [("fitnet.same", [2, 3, 3], [3, 3, 3]), ("fitnet.half", [2, 6, 5], [3, 3, 3])] {
            let method = fill(method(&student, &teacher));
            let x = wave([2, student[0], student[1], student[2]], 0.3, 0.41);
            let target = wave([2, 3, 3, 3], 0.2, 0.37);
            let value = scalar(mean_squared_error(method.regress(x, &target), target));
            assert!((value - fixture(name)[0]).abs() < 1e-11, "{name}: {value}");
        }
    }

    #[test]
    fn gradient_matches_for_every_adapter() {
        for student in [[2, 4, 4], [2, 8, 8], [2, 2, 2], [2, 5, 7], [1, 1, 1]] {
            let method = method(&student, &[3, 4, 4]);
            let target = wave([2, 3, 4, 4], 0.2, 0.37);
            let loss = |x| mean_squared_error(method.regress(x, &target), target.clone());
            let error = gradient_error(wave([2, student[0], student[1], student[2]], 0.3, 0.41), loss);
            assert!(error < 1e-6, "{student:?}: {error}");
        }
    }
}
