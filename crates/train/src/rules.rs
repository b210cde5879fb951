//! The optimisers' update rules, with their state by name.
//!
//! The steps are those of [`subband_kernels::optimizer`]: one pass in place on Flex in f32, tensor operations elsewhere.
//! The states have the names of Burn's own rules in a record (`momentum.velocity`; `momentum.time`, `momentum.moment_1`,
//! `momentum.moment_2`), so that a checkpoint does not depend on which of them wrote it.
use burn::optim::{Optimizer as Rule, RecordState, StateSink, StateSource};
use burn::prelude::*;
use subband_kernels::optimizer::{AdamW, Sgd, adamw_step, descend, sgd_step};

/// SGD; the learning rate is given with each step.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SgdRule(pub Sgd);

/// State of [`SgdRule`].
#[derive(Clone)]
pub(crate) struct Velocity<const D: usize>(Option<Tensor<D>>);

const VELOCITY: &str = "momentum.velocity";

impl Rule for SgdRule {
    type State<const D: usize> = Velocity<D>;

    fn step<const D: usize>(
        &self,
        lr: f64,
        w: Tensor<D>,
        g: Tensor<D>,
        state: Option<Velocity<D>>,
    ) -> (Tensor<D>, Option<Velocity<D>>) {
        let rule = Sgd { lr, ..self.0 };
        if rule.momentum == 0.0 {
            return (descend(w, g, rule), Some(Velocity(None)));
        }
        let (w, v) = sgd_step(w, g, state.and_then(|state| state.0), rule);
        (w, Some(Velocity(Some(v))))
    }

    fn to_device<const D: usize>(state: Velocity<D>, device: &Device) -> Velocity<D> {
        Velocity(state.0.map(|v| v.to_device(device)))
    }
}

impl<const D: usize> RecordState for Velocity<D> {
    fn state_flatten(&self, prefix: &str, out: &mut StateSink) {
        if let Some(v) = &self.0 {
            out.push_tensor(prefix, VELOCITY, v.to_data());
        }
    }

    fn state_unflatten(prefix: &str, src: &mut StateSource, device: &Device) -> Option<Self> {
        Some(Self(tensor(prefix, VELOCITY, src, device)))
    }
}

/// Adam or AdamW; the learning rate is given with each step and its number is part of the state.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AdamRule {
    /// The constants; their decay is AdamW's decoupled one.
    pub rule: AdamW,
    /// Adam's decay: this times the parameter is added to the gradient.
    pub coupled: f64,
}

/// State of [`AdamRule`].
#[derive(Clone)]
pub(crate) struct Moments<const D: usize> {
    /// Steps done.
    time: u64,
    moments: [Tensor<D>; 2],
}

const TIME: &str = "momentum.time";
const MOMENTS: [&str; 2] = ["momentum.moment_1", "momentum.moment_2"];

impl Rule for AdamRule {
    type State<const D: usize> = Moments<D>;

    fn step<const D: usize>(
        &self,
        lr: f64,
        w: Tensor<D>,
        g: Tensor<D>,
        state: Option<Moments<D>>,
    ) -> (Tensor<D>, Option<Moments<D>>) {
        let (time, moments) = state.map_or((0, None), |state| (state.time, Some(state.moments)));
        let time = time + 1;
        let g = if self.coupled == 0.0 { g } else { g + w.clone() * self.coupled };
        let (w, moments) = adamw_step(w, g, moments, AdamW { lr, time, ..self.rule });
        (w, Some(Moments { time, moments }))
    }

    fn to_device<const D: usize>(state: Moments<D>, device: &Device) -> Moments<D> {
        Moments { time: state.time, moments: state.moments.map(|m| m.to_device(device)) }
    }
}

impl<const D: usize> RecordState for Moments<D> {
    fn state_flatten(&self, prefix: &str, out: &mut StateSink) {
        out.push_scalar(prefix, TIME, self.time.into());
        for (name, moment) in MOMENTS.iter().zip(&self.moments) {
            out.push_tensor(prefix, name, moment.to_data());
        }
    }

    fn state_unflatten(prefix: &str, src: &mut StateSource, device: &Device) -> Option<Self> {
        let time = src.take_scalar(prefix, TIME)?.try_into().ok()?;
        let [first, second] = MOMENTS.map(|name| tensor(prefix, name, src, device));
        Some(Self { time, moments: [first?, second?] })
    }
}

fn tensor<const D: usize>(prefix: &str, leaf: &str, src: &mut StateSource, device: &Device) -> Option<Tensor<D>> {
    let data = src.take_tensor(prefix, leaf)?;
    let dtype = data.dtype();
    Some(Tensor::from_data(data, (device, dtype)))
}
