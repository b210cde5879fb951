//! UFD-KD's projectors: a student map to the teacher's channels and places.
//!
//! **`attention`** (the code's). With x the student's map, `t(x) = ReLU BN conv3x3(x) + p`, p a learned map of the
//! student's shape (N(0, 0.02^2)); a learned query E of the teacher's shape, the same for all samples (N(0, 1)):
//!
//! - `q = W_q ReLU(W_e E)`, `k = W_k t(x)`, `v = W_v t(x)`, all 1x1;
//! - `a = softmax over the student's places of scale q^T k / sqrt(d)` in each head of d channels;
//! - `z = W_o (v a^T)`, `z' = LayerNorm over channels (z)`, `P(x) = z' + W_2 ReLU(W_1 z')`, W_1 to 4 C_t channels.
//!
//! The output grid is the query's, so no resize is needed. Left out: windows (all shipped files have one window), dropout
//! (its rates are 0), and two biases without effect, those of the 3x3 convolution (the normalisation removes it) and of
//! W_k (the softmax does).
//!
//! **`conv`** (written in the same file and disabled there, in the manner of MGD; a choice for smaller budgets): a 1x1
//! convolution where the channels differ, then `BN conv3x3 . ReLU BN conv3x3`. The student is first brought to the
//! teacher's size, averaged down or repeated up.
use burn::module::Param;
use burn::prelude::*;
use burn::tensor::activation::{relu, softmax};
use serde::{Deserialize, Serialize};
use subband_models::TapShape;

use crate::parts::{nearest_temporary, separable_temporary};
use crate::{BatchNorm, Conv, Init, Parameters, adaptive_average_pool, resize_nearest};

/// The form of the projectors; see the [module](self).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProjectorKind {
    /// Cross attention from learned queries.
    Attention,
    /// Two 3x3 convolutions.
    Conv,
}

/// The shapes of a projector.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    pub kind: ProjectorKind,
    pub student: TapShape,
    pub teacher: TapShape,
    pub heads: usize,
    pub softmax_scale: f64,
}

impl Plan {
    /// Elements of the largest tensor of a projector or of the loss.
    pub fn largest_temporary(&self, batch: usize) -> usize {
        let area = |shape: TapShape| shape.extent().0 * shape.extent().1;
        let (places, targets) = (area(self.student), area(self.teacher));
        let (input, output) = (self.student.channels(), self.teacher.channels());
        batch
            * match self.kind {
                ProjectorKind::Attention => {
                    let tokens = places * input.max(output);
                    tokens.max(self.heads * places * targets).max(4 * output * targets)
                }
                ProjectorKind::Conv => {
                    let ((h, w), size) = (self.student.extent(), self.teacher.extent());
                    let resized = match h < size.0 || w < size.1 {
                        true => nearest_temporary((h, w), size),
                        false => separable_temporary((h, w), size),
                    };
                    let adapt = if input == output { 0 } else { Conv::largest_temporary([input, output], 1, targets) };
                    (input * resized).max(adapt).max(output * targets)
                }
            }
    }
}

/// One projector.
#[derive(Module, Debug)]
#[allow(clippy::large_enum_variant, reason = "two exist per run")]
pub(super) enum Projector {
    /// See the [module](self).
    Attention(AttentionProjector),
    /// See the [module](self).
    Conv(ConvProjector),
}

impl Projector {
    /// With PyTorch's default values for the convolutions.
    pub fn new(parameters: &Parameters, plan: &Plan) -> Self {
        match plan.kind {
            ProjectorKind::Attention => Self::Attention(AttentionProjector::new(parameters, plan)),
            ProjectorKind::Conv => Self::Conv(ConvProjector::new(parameters, plan)),
        }
    }

    /// P(x).
    ///
    /// # Shapes
    /// `[N, C_s, H_s, W_s]` to `[N, C_t, H_t, W_t]`.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        match self {
            Self::Attention(projector) => projector.forward(x),
            Self::Conv(projector) => projector.forward(x),
        }
    }
}

/// A convolution without bias, PyTorch's default values.
fn conv(parameters: &Parameters, name: &str, channels: [usize; 2], kernel: usize) -> Conv {
    Conv::new(&parameters.part(name), channels, kernel, Init::torch_default(channels[0] * kernel * kernel))
}

/// A 1x1 convolution with bias.
fn linear(parameters: &Parameters, name: &str, channels: [usize; 2]) -> Conv {
    conv(parameters, name, channels, 1).with_bias(&parameters.part(name))
}

/// Cross attention from learned queries.
#[derive(Module, Debug)]
pub(super) struct AttentionProjector {
    enter: Conv,
    enter_norm: BatchNorm,
    /// p `[1, C_s, H_s, W_s]`.
    position: Param<Tensor<4>>,
    /// E `[1, C_t, H_t, W_t]`.
    query: Param<Tensor<4>>,
    query_enter: Conv,
    to_q: Conv,
    to_k: Conv,
    to_v: Conv,
    leave: Conv,
    norm_weight: Param<Tensor<1>>,
    norm_bias: Param<Tensor<1>>,
    expand: Conv,
    contract: Conv,
    #[module(skip)]
    heads: usize,
    #[module(skip)]
    softmax_scale: f64,
}

impl AttentionProjector {
    fn new(parameters: &Parameters, plan: &Plan) -> Self {
        let ((h, w), (height, width)) = (plan.student.extent(), plan.teacher.extent());
        let (input, output) = (plan.student.channels(), plan.teacher.channels());
        Self {
            enter: conv(parameters, "enter", [input; 2], 3),
            enter_norm: BatchNorm::new(&parameters.part("enter_norm"), input),
            position: parameters.tensor("position", [1, input, h, w], Init::Normal(0.02)),
            query: parameters.tensor("query", [1, output, height, width], Init::Normal(1.0)),
            query_enter: linear(parameters, "query_enter", [output; 2]),
            to_q: linear(parameters, "to_q", [output; 2]),
            to_k: conv(parameters, "to_k", [input, output], 1),
            to_v: linear(parameters, "to_v", [input, output]),
            leave: linear(parameters, "leave", [output; 2]),
            norm_weight: parameters.tensor("norm_weight", [output], Init::Constant(1.0)),
            norm_bias: parameters.tensor("norm_bias", [output], Init::Constant(0.0)),
            expand: linear(parameters, "expand", [output, 4 * output]),
            contract: linear(parameters, "contract", [4 * output, output]),
            heads: plan.heads,
            softmax_scale: plan.softmax_scale,
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let [n, _, h, w] = x.dims();
        let [_, channels, height, width] = self.query.val().dims();
        let (heads, depth) = (self.heads, channels / self.heads);
        let tokens = self.enter_norm.after(&self.enter, x, true) + self.position.val();
        let split = |x: Tensor<4>, places: usize| {
            let batch = x.dims()[0];
            x.reshape([batch, heads, depth, places])
        };
        // The query belongs to no sample: it is computed once and broadcast.
        let q = split(self.to_q.forward(relu(self.query_enter.forward(self.query.val()))), height * width);
        let k = split(self.to_k.forward(tokens.clone()), h * w);
        let v = split(self.to_v.forward(tokens), h * w);
        let scale = self.softmax_scale / (depth as f64).sqrt();
        let q = (q * scale).expand([n, heads, depth, height * width]);
        let attention = softmax(q.swap_dims(2, 3).matmul(k), 3);
        let z = v.matmul(attention.swap_dims(2, 3)).reshape([n, channels, height, width]);
        let z = self.normalize(self.leave.forward(z));
        z.clone() + self.contract.forward(relu(self.expand.forward(z)))
    }

    /// Mean 0 and variance 1 over the channels of each place, then scale and shift.
    fn normalize(&self, x: Tensor<4>) -> Tensor<4> {
        let channels = x.dims()[1];
        let centred = x.clone() - x.mean_dim(1);
        let variance = centred.clone().square().mean_dim(1);
        let per_channel = |p: &Param<Tensor<1>>| p.val().reshape([1, channels, 1, 1]);
        centred / (variance + 1e-5).sqrt() * per_channel(&self.norm_weight) + per_channel(&self.norm_bias)
    }
}

/// Two 3x3 convolutions.
#[derive(Module, Debug)]
pub(super) struct ConvProjector {
    adapt: Option<Conv>,
    first: Conv,
    first_norm: BatchNorm,
    second: Conv,
    second_norm: BatchNorm,
    #[module(skip)]
    size: (usize, usize),
}

impl ConvProjector {
    fn new(parameters: &Parameters, plan: &Plan) -> Self {
        let (input, output) = (plan.student.channels(), plan.teacher.channels());
        Self {
            adapt: (input != output).then(|| linear(parameters, "adapt", [input, output])),
            first: conv(parameters, "first", [output; 2], 3),
            first_norm: BatchNorm::new(&parameters.part("first_norm"), output),
            second: conv(parameters, "second", [output; 2], 3),
            second_norm: BatchNorm::new(&parameters.part("second_norm"), output),
            size: plan.teacher.extent(),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let [_, _, h, w] = x.dims();
        let smaller = h < self.size.0 || w < self.size.1;
        let x = if smaller { resize_nearest(x, self.size) } else { adaptive_average_pool(x, self.size) };
        let x = match &self.adapt {
            Some(adapt) => adapt.forward(x),
            None => x,
        };
        let x = self.first_norm.after(&self.first, x, true);
        self.second_norm.after(&self.second, x, false)
    }
}
