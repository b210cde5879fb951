//! One level of FAM-KD: adapters, attention, resize, FAM, tail.
use burn::prelude::*;
use subband_spectral::SpectralError;

use super::attention::{GlobalAttention, LocalAttention};
use super::config::{AttentionKind, TailKind};
use crate::parts::nearest_temporary;
use crate::pieces::filter::{FilterKind, FrequencyAttention, HighPassKind};
use crate::{BatchNorm, Conv, Init, Parameters, resize_nearest};

/// The shapes and parts of one block.
#[derive(Debug, Clone)]
pub(super) struct BlockPlan {
    /// Channels of the student's tap.
    pub input: usize,
    /// Size of the student's tap.
    pub size: (usize, usize),
    /// Channels and size of what the deeper block hands on (review, not the deepest).
    pub deeper: Option<(usize, (usize, usize))>,
    /// Channels inside the block.
    pub mid: usize,
    /// Channels of the teacher's tap.
    pub output: usize,
    /// Size of the teacher's tap.
    pub target: (usize, usize),
    pub attention: AttentionKind,
    /// Whether features get a conv + BN + ReLU where their channels are not `mid` (global attention projects instead).
    pub adapts: bool,
    /// Whether the own feature gets it even if they are.
    pub adapts_always: bool,
    pub filter: FilterKind,
    pub high_pass: HighPassKind,
    pub tail: TailKind,
}

impl BlockPlan {
    /// Channels that enter FAM.
    fn inner(&self) -> usize {
        let projected = self.adapts || self.attention == AttentionKind::Global;
        if projected { self.mid } else { self.input }
    }

    /// Channels and size handed to the next shallower block.
    pub fn fused(&self) -> (usize, (usize, usize)) {
        (self.inner(), self.target)
    }

    /// Whether the own feature passes an adapter.
    fn adapts_own(&self) -> bool {
        self.adapts && (self.input != self.mid || self.adapts_always)
    }

    /// Elements of the largest intermediate tensor.
    pub fn largest_temporary(&self, batch: usize) -> usize {
        let area = |(h, w): (usize, usize)| h * w;
        let (deeper, deeper_size) = self.deeper.unwrap_or((self.input, self.size));
        // Adapters turn their input to channels last.
        let adapter = |input: usize, size| self.mid.max(if area(size) > 1 { input } else { 0 }) * area(size);
        let own = if self.adapts_own() { adapter(self.input, self.size) } else { 0 };
        let other = if self.adapts && deeper != self.mid { adapter(deeper, deeper_size) } else { 0 };
        let resized = self.inner() * nearest_temporary(self.size, self.target);
        let (attention, scores) = match self.attention {
            AttentionKind::Local => {
                let y = self.mid * nearest_temporary(deeper_size, self.size);
                (LocalAttention::largest_temporary(1, self.mid, area(self.size)).max(y), 0)
            }
            AttentionKind::Global => {
                let size = GlobalAttention::query_size(deeper_size, self.size);
                let query = (deeper * nearest_temporary(deeper_size, size)).max(Conv::largest_temporary(
                    [deeper, self.mid],
                    1,
                    area(size),
                ));
                let key = Conv::largest_temporary([self.input, self.mid], 1, area(self.size));
                let resized = self.mid * nearest_temporary(size, self.size);
                let scores = GlobalAttention::largest_temporary(batch, area(size), area(self.size));
                (query.max(key).max(resized), scores)
            }
            AttentionKind::None => (0, 0),
        };
        let fam = FrequencyAttention::largest_temporary(batch, [self.inner(), self.output], self.target, self.filter);
        fam.max(scores).max(batch * own.max(other).max(attention).max(resized))
    }
}

/// ReLU(BN(1x1 conv)), without bias, Kaiming-uniform.
#[derive(Module, Debug)]
pub(super) struct Adapter {
    conv: Conv,
    norm: BatchNorm,
}

impl Adapter {
    fn new(parameters: &Parameters, channels: [usize; 2]) -> Self {
        let conv = Conv::new(&parameters.part("conv"), channels, 1, Init::kaiming_uniform_a1(channels[0]));
        Self { conv, norm: BatchNorm::new(&parameters.part("norm"), channels[1]) }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        self.norm.after(&self.conv, x, true)
    }
}

/// One block. Absent parts cost nothing: there are no dead parameters.
#[derive(Module, Debug)]
pub(super) struct Block {
    own: Option<Adapter>,
    deeper: Option<Adapter>,
    local: Option<LocalAttention>,
    global: Option<GlobalAttention>,
    fam: FrequencyAttention,
    tail: Option<BatchNorm>,
    #[module(skip)]
    rectifies: bool,
    #[module(skip)]
    target: (usize, usize),
}

impl Block {
    pub fn new(parameters: &Parameters, plan: &BlockPlan) -> Self {
        let adapter = |name: &str, input: usize| Adapter::new(&parameters.part(name), [input, plan.mid]);
        let (deeper, _) = plan.deeper.unwrap_or((plan.input, plan.size));
        let fam = parameters.part("fam");
        Self {
            own: plan.adapts_own().then(|| adapter("own", plan.input)),
            deeper: (plan.adapts && plan.deeper.is_some() && deeper != plan.mid).then(|| adapter("deeper", deeper)),
            local: (plan.attention == AttentionKind::Local)
                .then(|| LocalAttention::new(&parameters.part("local"), plan.mid)),
            global: (plan.attention == AttentionKind::Global)
                .then(|| GlobalAttention::new(&parameters.part("global"), [deeper, plan.input, plan.mid])),
            fam: FrequencyAttention::new(&fam, [plan.inner(), plan.output], plan.target, plan.filter, plan.high_pass),
            tail: (plan.tail != TailKind::None).then(|| BatchNorm::new(&parameters.part("tail"), plan.output)),
            rectifies: plan.tail == TailKind::BnRelu,
            target: plan.target,
        }
    }

    /// The level's output and the feature for the next shallower level. Without a deeper feature attention is
    /// self-attention.
    ///
    /// # Shapes
    /// x `[N, C, h, w]`, deeper `[N, D, ., .]` to `[N, C_t, H, W]` and `[N, M, H, W]`, (H, W) the teacher's size.
    pub fn forward(&self, x: Tensor<4>, deeper: Option<Tensor<4>>) -> Result<(Tensor<4>, Tensor<4>), SpectralError> {
        let x = match &self.own {
            Some(adapter) => adapter.forward(x),
            None => x,
        };
        let y = match (deeper, &self.deeper) {
            (Some(y), Some(adapter)) => adapter.forward(y),
            (Some(y), None) => y,
            (None, _) => x.clone(),
        };
        let x = match (&self.local, &self.global) {
            (Some(local), _) => {
                let [_, _, h, w] = x.dims();
                local.forward(x, resize_nearest(y, (h, w)))
            }
            (None, Some(global)) => global.forward(x, y),
            (None, None) => x,
        };
        let x = resize_nearest(x, self.target);
        let output = self.fam.forward(x.clone())?;
        let output = match &self.tail {
            Some(tail) if self.rectifies => tail.forward_relu(output),
            Some(tail) => tail.forward(output),
            None => output,
        };
        Ok((output, x))
    }
}
