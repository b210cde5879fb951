//! Alignment: a student map and a teacher map of the same channels and size.
//!
//! `S' = R(A(S))`, `T' = R(T)` with an adapter A (channels) and a resize R (space). Tokens and vectors come here as maps
//! (class tokens dropped, the grid restored, a vector at 1x1).
//!
//! A 1x1 convolution and a resize commute exactly, since the weights of a resize sum to 1, so they run in the order whose
//! largest tensor is smaller.
use burn::prelude::*;
use burn::tensor::activation::relu;
use serde::{Deserialize, Serialize};
use subband_models::TapShape;

use crate::parts::{nearest_temporary, resize_bilinear, separable_temporary};
use crate::{Conv, DistillError, Init, Parameters, adaptive_average_pool, resize_nearest};

/// The trainable map from the student's channels to the teacher's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AdapterKind {
    /// `none` where the channels agree, otherwise `conv1x1`.
    #[default]
    Auto,
    /// Nothing; an error where the channels differ.
    None,
    /// A 1x1 convolution with bias.
    Conv1x1,
    /// A 3x3 convolution with bias.
    Conv3x3,
    /// A 3x3 convolution, ReLU and a 1x1 convolution, both with bias and with the student's channels between them:
    /// MonoAFKD's adapter.
    Mlp,
}

/// The size on which maps are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Grid {
    /// The teacher's.
    #[default]
    Teacher,
    /// The student's.
    Student,
    /// The smaller height and the smaller width.
    Smaller,
    /// The larger height and the larger width.
    Larger,
}

impl Grid {
    /// The size for maps of these sizes (height, width).
    pub fn size(self, student: (usize, usize), teacher: (usize, usize)) -> (usize, usize) {
        match self {
            Self::Teacher => teacher,
            Self::Student => student,
            Self::Smaller => (student.0.min(teacher.0), student.1.min(teacher.1)),
            Self::Larger => (student.0.max(teacher.0), student.1.max(teacher.1)),
        }
    }
}

/// How a map changes its size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Resize {
    /// Two-point interpolation on each axis with pixel centres at halves (PyTorch without `align_corners`).
    #[default]
    Bilinear,
    /// The nearest pixel, PyTorch's rule.
    Nearest,
    /// The mean over the pixels that fall into each bin.
    Area,
}

impl Resize {
    /// Resizes `[N, C, H, W]` to `[N, C, size.0, size.1]`; the same size comes back untouched.
    pub fn apply(self, x: Tensor<4>, size: (usize, usize)) -> Tensor<4> {
        match self {
            Self::Bilinear => resize_bilinear(x, size),
            Self::Nearest => resize_nearest(x, size),
            Self::Area => adaptive_average_pool(x, size),
        }
    }

    /// Numbers of the largest tensor that the resize of one channel makes; 0 where the size stays.
    pub(crate) fn largest_temporary(self, from: (usize, usize), to: (usize, usize)) -> usize {
        match self {
            Self::Nearest => nearest_temporary(from, to),
            Self::Bilinear | Self::Area => separable_temporary(from, to),
        }
    }
}

/// The key `align` of a method: `align = { adapter = "conv1x1", grid = "smaller", resize = "area" }`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AlignConfig {
    /// `auto` (default), `none`, `conv1x1`, `conv3x3` or `mlp`.
    pub adapter: AdapterKind,
    /// `teacher` (default), `student`, `smaller` or `larger`.
    pub grid: Grid,
    /// `bilinear` (default), `nearest` or `area`.
    pub resize: Resize,
}

impl AlignConfig {
    /// The alignment of one pair of taps for `method` (named in errors). Parameters are drawn only if an adapter is
    /// needed: PyTorch's default for convolutions.
    pub fn init(
        &self,
        method: &str,
        student: TapShape,
        teacher: TapShape,
        parameters: &Parameters,
    ) -> Result<Align, DistillError> {
        let channels = [student.channels(), teacher.channels()];
        let kind = self.kind(channels);
        let conv = |name: &str, channels: [usize; 2], side: usize| {
            let part = parameters.part(name);
            Conv::new(&part, channels, side, Init::torch_default(channels[0] * side * side)).with_bias(&part)
        };
        let (first, second) = match kind {
            AdapterKind::None | AdapterKind::Auto if channels[0] == channels[1] => (None, None),
            AdapterKind::None | AdapterKind::Auto => {
                return Err(DistillError::Shapes {
                    method: method.to_string(),
                    reason: format!(
                        "`adapter = \"none\"` cannot join {} student channels to {} teacher channels; take `auto`",
                        channels[0], channels[1]
                    ),
                });
            }
            AdapterKind::Conv1x1 => (Some(conv("conv", channels, 1)), None),
            AdapterKind::Conv3x3 => (Some(conv("conv", channels, 3)), None),
            AdapterKind::Mlp => (Some(conv("conv", [channels[0]; 2], 3)), Some(conv("project", channels, 1))),
        };
        Ok(Align { first, second, pointwise: kind != AdapterKind::Conv3x3 && kind != AdapterKind::Mlp, config: *self })
    }

    /// The adapter between channels C_s and C_t.
    fn kind(&self, [student, teacher]: [usize; 2]) -> AdapterKind {
        match self.adapter {
            AdapterKind::Auto if student == teacher => AdapterKind::None,
            AdapterKind::Auto => AdapterKind::Conv1x1,
            kind => kind,
        }
    }

    /// Numbers of the largest tensor of one sample, with a 1x1 convolution before and after the resize.
    fn orders(&self, [student, teacher]: [usize; 2], from: (usize, usize), to: (usize, usize)) -> [usize; 2] {
        let resized = self.resize.largest_temporary(from, to);
        let adapted = |(h, w): (usize, usize)| Conv::largest_temporary([student, teacher], 1, h * w);
        [adapted(from).max(teacher * resized), adapted(to).max(student * resized)]
    }

    /// Whether a 1x1 convolution runs before the resize: where that needs less memory, and otherwise less arithmetic.
    fn adapts_first(&self, channels: [usize; 2], from: (usize, usize), to: (usize, usize)) -> bool {
        let [before, after] = self.orders(channels, from, to);
        before < after || before == after && from.0 * from.1 <= to.0 * to.1
    }

    /// Elements of the largest tensor of a batch in the alignment, the compared maps included: `N C_t H W`, or what
    /// adapter and resizes make on the way.
    pub fn largest_temporary(&self, student: TapShape, teacher: TapShape, batch: usize) -> usize {
        let (from, to) = (student.extent(), self.grid.size(student.extent(), teacher.extent()));
        let channels = [student.channels(), teacher.channels()];
        let resized = |from| channels[1] * self.resize.largest_temporary(from, to);
        let adapted = |channels, side| Conv::largest_temporary(channels, side, from.0 * from.1);
        let way = match self.kind(channels) {
            AdapterKind::None | AdapterKind::Auto => resized(from),
            AdapterKind::Conv1x1 => self.orders(channels, from, to).into_iter().min().unwrap_or(0),
            AdapterKind::Conv3x3 => adapted(channels, 3).max(resized(from)),
            AdapterKind::Mlp => adapted([channels[0]; 2], 3).max(adapted(channels, 1)).max(resized(from)),
        };
        batch * way.max(channels[1] * to.0 * to.1).max(resized(teacher.extent()))
    }
}

/// The alignment of one pair of taps; made by [`AlignConfig::init`].
#[derive(Module, Debug)]
pub struct Align {
    first: Option<Conv>,
    second: Option<Conv>,
    /// Whether adapter and resize commute.
    #[module(skip)]
    pointwise: bool,
    #[module(skip)]
    config: AlignConfig,
}

impl Align {
    /// S' and T'.
    ///
    /// # Shapes
    /// `[N, C_s, H_s, W_s]` and `[N, C_t, H_t, W_t]` to two maps `[N, C_t, H, W]` on the grid of the configuration.
    pub fn forward(&self, student: Tensor<4>, teacher: Tensor<4>) -> (Tensor<4>, Tensor<4>) {
        let [_, c, h, w] = student.dims();
        let [_, channels, height, width] = teacher.dims();
        let size = self.config.grid.size((h, w), (height, width));
        let resize = self.config.resize;
        let student = if self.pointwise && !self.config.adapts_first([c, channels], (h, w), size) {
            self.adapt(resize.apply(student, size))
        } else {
            resize.apply(self.adapt(student), size)
        };
        (student, resize.apply(teacher, size))
    }

    /// A(S).
    ///
    /// # Shapes
    /// `[N, C_s, H, W]` to `[N, C_t, H, W]`.
    pub fn adapt(&self, x: Tensor<4>) -> Tensor<4> {
        match (&self.first, &self.second) {
            (Some(first), Some(second)) => second.forward(relu(first.forward(x))),
            (Some(first), None) => first.forward(x),
            _ => x,
        }
    }
}

#[cfg(test)]
mod tests {
    use subband_seed::Stream;

    use super::*;
    use crate::check::{device, double, gradient_error, parameter_gradient_error, values, wave};

    const ADAPTERS: [AdapterKind; 4] =
        [AdapterKind::Auto, AdapterKind::Conv1x1, AdapterKind::Conv3x3, AdapterKind::Mlp];

    fn shape([channels, height, width]: [usize; 3]) -> TapShape {
        TapShape::Map { channels, height, width }
    }

    fn align(config: AlignConfig, student: [usize; 3], teacher: [usize; 3]) -> Align {
        let parameters = Parameters::new(Stream::new(4), &device());
        double(config.init("test", shape(student), shape(teacher), &parameters).unwrap())
    }

    #[test]
    fn every_choice_gives_the_grid_it_names() {
        let (student, teacher) = ([2, 4, 3], [3, 5, 2]);
        let sizes = [(Grid::Teacher, [5, 2]), (Grid::Student, [4, 3]), (Grid::Smaller, [4, 2]), (Grid::Larger, [5, 3])];
        for adapter in ADAPTERS {
            for resize in [Resize::Bilinear, Resize::Nearest, Resize::Area] {
                for (grid, [h, w]) in sizes {
                    let align = align(AlignConfig { adapter, grid, resize }, student, teacher);
                    let (s, t) = align.forward(wave([2, 2, 4, 3], 0.2, 0.37), wave([2, 3, 5, 2], 0.4, 0.37));
                    assert_eq!((s.dims(), t.dims()), ([2, 3, h, w], [2, 3, h, w]));
                }
            }
        }
    }

    #[test]
    fn a_pointwise_adapter_commutes_with_the_resize() {
        // Resized first, and adapted first: many channels become few.
        for (channels, before) in [([2, 3], false), ([10, 2], true)] {
            for resize in [Resize::Bilinear, Resize::Nearest, Resize::Area] {
                let config = AlignConfig { resize, ..Default::default() };
                assert_eq!(config.adapts_first(channels, (16, 16), (8, 8)), before, "{resize:?}");
                let align = align(config, [channels[0], 16, 16], [channels[1], 8, 8]);
                let x = wave([2, channels[0], 16, 16], 0.3, 0.41);
                let (aligned, _) = align.forward(x.clone(), wave([2, channels[1], 8, 8], 0.1, 0.37));
                for other in [resize.apply(align.adapt(x.clone()), (8, 8)), align.adapt(resize.apply(x, (8, 8)))] {
                    let pairs = values(aligned.clone()).into_iter().zip(values(other));
                    let error = pairs.fold(0.0_f64, |m, (a, b)| m.max((a - b).abs()));
                    assert!(error < 1e-14, "{resize:?}: {error}");
                }
            }
        }
    }

    #[test]
    fn gradients_reach_the_student_and_every_parameter() {
        for adapter in ADAPTERS {
            for size in [(4, 3), (1, 1), (7, 9)] {
                let align = align(AlignConfig { adapter, ..Default::default() }, [2, size.0, size.1], [3, 4, 3]);
                let teacher = wave([2, 3, 4, 3], 0.4, 0.37);
                let loss = |align: &Align, x: Tensor<4>| {
                    let (s, t) = align.forward(x, teacher.clone());
                    (s - t).square().sum()
                };
                let x = wave([2, 2, size.0, size.1], 0.3, 0.41);
                assert!(gradient_error(x.clone(), |x| loss(&align, x)) < 1e-7, "{adapter:?} {size:?}");
                assert!(parameter_gradient_error(align, |align| loss(align, x.clone())) < 1e-6, "{adapter:?}");
            }
        }
    }

    #[test]
    fn no_adapter_is_used_where_none_is_needed_and_asked_for_where_it_is() {
        assert_eq!(align(AlignConfig::default(), [3, 4, 4], [3, 2, 2]).num_params(), 0);
        let config = AlignConfig { adapter: AdapterKind::None, ..Default::default() };
        let parameters = Parameters::new(Stream::new(4), &device());
        let error = config.init("test", shape([2, 4, 4]), shape([3, 4, 4]), &parameters).unwrap_err().to_string();
        assert!(error.contains("2 student channels to 3") && error.contains("auto"), "{error}");
    }
}
