//! ReviewKD.
//!
//! Chen, Liu, Zhao, Jia: Distilling Knowledge via Knowledge Review (CVPR 2021). Deepest level first, each level k has the
//! student feature x_k and the fused feature y of the deeper levels:
//!
//! ABF: `x = BN(conv1x1(x_k))`; `y = nearest(y)` to the size of x; `(a, b) = sigmoid(conv1x1([x, y]))`, two maps;
//! `x = a x + b y` (the deepest level has no fusion); x to the teacher's size by nearest neighbour; the next y is x;
//! `out_k = BN(conv3x3(x))` with the teacher's channels.
//!
//! HCL: the distance of a level is the MSE of the maps plus the MSEs of their averages over 4x4, 2x2 and 1x1 bins
//! (those smaller than the map), weighted 1, 1/2, 1/4, 1/8 and divided by the sum of the weights used. `L = sum_k HCL_k`.
//!
//! mdistiller's targets are the teacher's features before the activation and its pooled vector.
use burn::prelude::*;
use burn::tensor::activation::sigmoid;
use serde::{Deserialize, Serialize};
use subband_models::TapInfo;

use crate::parts::mean_squared_error;
use crate::shapes::Pairing;
use crate::{
    About, BatchNorm, Conv, DistillError, Init, Method, MethodConfig, Parameters, ShapeBook, Side, StepInput, Term,
    Wanted, adaptive_average_pool, resize_nearest,
};

/// Keys of `method = "reviewkd"`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReviewKdConfig {
    /// Student taps, shallow to deep (default: stages and `pooled`).
    pub student_taps: Option<Vec<String>>,
    /// Teacher taps, shallow to deep (default: stages before the activation, and `pooled`).
    pub teacher_taps: Option<Vec<String>>,
    /// Whether default student taps are before the activation (false for ResNet56 to 20, true for 32x4 to 8x4).
    pub student_preactivation: bool,
    /// Whether default teacher taps are before the activation (true in mdistiller).
    pub teacher_preactivation: bool,
    /// Upper bound of the channels in which levels are fused (512); the deepest student tap's channels otherwise.
    pub max_mid: usize,
}

impl Default for ReviewKdConfig {
    fn default() -> Self {
        Self {
            student_taps: None,
            teacher_taps: None,
            student_preactivation: false,
            teacher_preactivation: true,
            max_mid: 512,
        }
    }
}

impl ReviewKdConfig {
    fn pairs(&self, book: &ShapeBook) -> Result<Vec<(TapInfo, TapInfo)>, DistillError> {
        self.pairing().pairs(book)
    }

    fn pairing(&self) -> Pairing<'_> {
        Pairing {
            method: Self::ABOUT.name,
            student: &self.student_taps,
            teacher: &self.teacher_taps,
            pooled: true,
            student_pre: self.student_preactivation,
            teacher_pre: self.teacher_preactivation,
        }
    }

    fn mid(&self, pairs: &[(TapInfo, TapInfo)]) -> usize {
        pairs.last().map_or(0, |(student, _)| student.shape.channels()).min(self.max_mid)
    }
}

impl MethodConfig for ReviewKdConfig {
    type Method = ReviewKd;
    const ABOUT: About = About {
        name: "reviewkd",
        summary: "fused deep student features imitate shallower teacher features",
        source: "Chen et al. 2021; weight 0.6 for ResNet56 to 20 (110 to 32: 1; WRN, 8x4: 5), 20 warm-up epochs",
        weight: 0.6,
        warmup_epochs: 20,
        task_weight: 1.0,
        taps: "student stage1..N, pooled; teacher stage1..N.pre, pooled",
    };

    fn taps(&self, book: &ShapeBook) -> Result<Wanted, DistillError> {
        if self.max_mid == 0 {
            return Err(self.bad("`max_mid` must be at least 1 (usual: 512)"));
        }
        self.pairing().wanted(book)
    }

    fn init(&self, book: &ShapeBook, parameters: &Parameters) -> Result<ReviewKd, DistillError> {
        let pairs = self.pairs(book)?;
        let (mid, deepest) = (self.mid(&pairs), pairs.len() - 1);
        let block = |(k, (student, teacher)): (usize, &(TapInfo, TapInfo))| {
            let part = parameters.part("blocks").part(&k.to_string());
            Fusion::new(&part, [student.shape.channels(), mid, teacher.shape.channels()], k < deepest)
        };
        let blocks = pairs.iter().enumerate().map(block).collect();
        Ok(ReviewKd { blocks, pairs: pairs.into_iter().map(|(s, t)| (s.name, t.name)).collect() })
    }

    fn largest_temporary(&self, book: &ShapeBook, batch: usize) -> Result<usize, DistillError> {
        let pairs = self.pairs(book)?;
        let mid = self.mid(&pairs);
        let area = |tap: &TapInfo| tap.shape.extent().0 * tap.shape.extent().1;
        // Adapters turn their input to channels last; the deepest level has nothing to fuse with.
        let level = |(k, (s, t)): (usize, &(TapInfo, TapInfo))| {
            let joined = if k + 1 < pairs.len() { 2 * mid } else { mid };
            let turned = if area(s) > 1 { s.shape.channels() } else { 0 };
            (joined.max(turned) * area(s)).max(t.shape.channels().max(mid) * area(t))
        };
        Ok(batch * pairs.iter().enumerate().map(level).max().unwrap_or(0))
    }
}

/// The fusion blocks, shallow to deep.
#[derive(Module, Debug)]
pub struct ReviewKd {
    blocks: Vec<Fusion>,
    #[module(skip)]
    pairs: Vec<(String, String)>,
}

impl Method for ReviewKd {
    fn forward(&self, input: &StepInput) -> Result<Vec<Term>, DistillError> {
        let name = ReviewKdConfig::ABOUT.name;
        let mut deeper = None;
        let mut terms = Vec::with_capacity(self.blocks.len());
        for (block, (student, teacher)) in self.blocks.iter().zip(&self.pairs).rev() {
            let x = input.map(name, Side::Student, student)?;
            let target = input.map(name, Side::Teacher, teacher)?;
            let [_, _, height, width] = target.dims();
            let (output, fused) = block.forward(x, deeper, (height, width));
            deeper = Some(fused);
            terms.push(
                Term::new(format!("{name}.{student}"), pyramid_distance(output, target), student).against(teacher),
            );
        }
        terms.reverse();
        Ok(terms)
    }
}

/// One level: attention-based fusion (ABF).
#[derive(Module, Debug)]
struct Fusion {
    input: Conv,
    input_norm: BatchNorm,
    attention: Option<Conv>,
    output: Conv,
    output_norm: BatchNorm,
}

impl Fusion {
    fn new(parameters: &Parameters, channels: [usize; 3], fuses: bool) -> Self {
        let [input, mid, output] = channels;
        let attention = parameters.part("attention");
        Self {
            input: Conv::new(&parameters.part("input"), [input, mid], 1, Init::kaiming_uniform_a1(input)),
            input_norm: BatchNorm::new(&parameters.part("input_norm"), mid),
            attention: fuses
                .then(|| Conv::new(&attention, [2 * mid, 2], 1, Init::torch_default(2 * mid)).with_bias(&attention)),
            output: Conv::new(&parameters.part("output"), [mid, output], 3, Init::kaiming_uniform_a1(9 * mid)),
            output_norm: BatchNorm::new(&parameters.part("output_norm"), output),
        }
    }

    /// The level's output and the feature for the next shallower level.
    ///
    /// # Shapes
    /// x `[N, C, h, w]`, deeper `[N, M, ., .]`, size (H, W) to `[N, C_t, H, W]` and `[N, M, H, W]`.
    fn forward(&self, x: Tensor<4>, deeper: Option<Tensor<4>>, size: (usize, usize)) -> (Tensor<4>, Tensor<4>) {
        let mut x = self.input_norm.after(&self.input, x, false);
        if let (Some(attention), Some(y)) = (&self.attention, deeper) {
            let [_, _, h, w] = x.dims();
            let y = resize_nearest(y, (h, w));
            let gates = sigmoid(attention.forward(Tensor::cat(vec![x.clone(), y.clone()], 1)));
            x = x * gates.clone().narrow(1, 0, 1) + y * gates.narrow(1, 1, 1);
        }
        let x = resize_nearest(x, size);
        (self.output_norm.after(&self.output, x.clone(), false), x)
    }
}

/// HCL of one level.
///
/// # Shapes
/// Two `[N, C, H, W]` to `[1]`.
pub(crate) fn pyramid_distance(student: Tensor<4>, teacher: Tensor<4>) -> Tensor<1> {
    let [_, _, h, w] = student.dims();
    let mut sum = mean_squared_error(student.clone(), teacher.clone());
    let (mut weight, mut total) = (1.0, 1.0);
    // A level must be smaller than the map; the reference knows square maps only and looks at the height.
    for bins in [4, 2, 1].into_iter().filter(|&bins| bins < h.max(w)) {
        let pool = |x: &Tensor<4>| adaptive_average_pool(x.clone(), (bins.min(h), bins.min(w)));
        weight /= 2.0;
        total += weight;
        sum = sum + mean_squared_error(pool(&student), pool(&teacher)) * weight;
    }
    sum / total
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{book, device, double, features, fill, fixture, gradient_error, labels, scalar, wave};
    use subband_seed::Stream;

    #[test]
    fn pyramid_values_match_the_oracle() {
        for n in [1, 2, 3, 4, 5, 8] {
            let distance = pyramid_distance(wave([2, 3, n, n], 1.3, 0.41), wave([2, 3, n, n], 0.2, 0.37));
            let expected = fixture(&format!("hcl.{n}"))[0];
            assert!((scalar(distance) - expected).abs() < 1e-12, "{n}");
        }
    }

    fn method() -> (ReviewKd, ReviewKdConfig) {
        let student: [(&str, &[usize; 3]); 2] = [("stage1", &[3, 6, 6]), ("stage2", &[4, 3, 3])];
        let teacher: [(&str, &[usize; 3]); 2] = [("stage1.pre", &[5, 8, 8]), ("stage2.pre", &[6, 4, 4])];
        let config = ReviewKdConfig {
            student_taps: Some(vec!["stage1".into(), "stage2".into()]),
            teacher_taps: Some(vec!["stage1.pre".into(), "stage2.pre".into()]),
            ..Default::default()
        };
        let made = config.init(&book(&student, &teacher), &Parameters::new(Stream::new(3), &device()));
        (double(made.unwrap()), config)
    }

    fn total(method: &ReviewKd, shallow: Tensor<4>, deep: Tensor<4>) -> Tensor<1> {
        let student = features(&[("stage1", shallow), ("stage2", deep)]);
        let teacher =
            features(&[("stage1.pre", wave([2, 5, 8, 8], 0.2, 0.37)), ("stage2.pre", wave([2, 6, 4, 4], 0.9, 0.31))]);
        let input = StepInput {
            student: &student,
            teacher: &teacher,
            labels: labels(&[0, 1]).into(),
            samples: &[],
            epoch: 1,
            step: 1,
        };
        method.forward(&input).unwrap().into_iter().map(|t| t.value).reduce(|a, b| a + b).unwrap()
    }

    #[test]
    fn the_whole_graph_matches_the_oracle() {
        let method = fill(method().0);
        let value = total(&method, wave([2, 3, 6, 6], 0.3, 0.41), wave([2, 4, 3, 3], 0.6, 0.43));
        assert!((scalar(value.clone()) - fixture("reviewkd")[0]).abs() < 1e-10, "{}", scalar(value));
    }

    #[test]
    fn gradients_reach_both_taps() {
        let (method, _) = method();
        let deep = wave([2, 4, 3, 3], 0.6, 0.43);
        let maps = || (wave([2, 3, 6, 6], 0.3, 0.41), wave([2, 4, 3, 3], 0.6, 0.43));
        let error = crate::check::parameter_gradient_error(fill(method.clone()), |m| total(m, maps().0, maps().1));
        assert!(error < 1e-6, "{error}");
        let error = gradient_error(wave([2, 3, 6, 6], 0.3, 0.41), |x| total(&method, x, deep.clone()));
        assert!(error < 1e-6, "{error}");
        let shallow = wave([2, 3, 6, 6], 0.3, 0.41);
        let error = gradient_error(deep, |x| total(&method, shallow.clone(), x));
        assert!(error < 1e-6, "{error}");
    }
}
