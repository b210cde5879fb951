//! The operations on Flex and their gradients.
use burn::backend::autodiff::{
    Autodiff,
    checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
    grads::Gradients,
    ops::{Backward, Ops, OpsKind},
};
use burn::backend::{Backend, Flex, backend_extension, flex::FlexTensor, tensor::FloatTensor};

use super::kernels::Line;
use super::passes::{self, Slopes};
use crate::activation::Activation;
use crate::flex::{contiguous, owned, tensor, values, values_mut};
use crate::rows::Tile;

/// What is done with x before the residual and the activation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Map {
    /// Normalised by its own statistics, with this epsilon; they depend on x in the gradient.
    Normalise(f32),
    /// `scale * x + shift`; the statistics are not looked at.
    Affine,
}

/// Normalisation, affine maps and sums of channels-last maps as custom operations. `stats` is `[2, C]`: means, then
/// biased variances.
#[backend_extension(Flex, Autodiff)]
pub trait NormOps: Backend {
    /// Mean and biased variance of every channel, `[2, C]`; without a gradient of its own, which is part of that of
    /// the next.
    fn subband_norm_stats(x: FloatTensor<Self>) -> FloatTensor<Self>;
    /// `act(map(x))`, gamma and beta being scale and shift.
    fn subband_norm_apply(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        stats: FloatTensor<Self>,
        map: Map,
        activation: Activation,
    ) -> FloatTensor<Self>;
    /// `act(map(x) + residual)`
    fn subband_norm_apply_onto(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        stats: FloatTensor<Self>,
        residual: FloatTensor<Self>,
        map: Map,
        activation: Activation,
    ) -> FloatTensor<Self>;
    /// `act(a + b)`
    fn subband_sum(a: FloatTensor<Self>, b: FloatTensor<Self>, activation: Activation) -> FloatTensor<Self>;
}

/// The map of each channel, and `1 / sqrt(variance + epsilon)` (1 for an affine map).
struct Channels {
    line: Line,
    inverse_deviation: Vec<f64>,
}

impl Channels {
    fn new(tile: Tile, gamma: &FlexTensor, beta: &FlexTensor, stats: &FlexTensor, map: Map) -> Self {
        let (gamma, beta) = (contiguous(gamma.clone()), contiguous(beta.clone()));
        let (gamma, beta) = (values(&gamma), values(&beta));
        match map {
            Map::Affine => {
                let line = Line::new(tile, gamma, &vec![0.0; tile.channels], beta);
                Self { line, inverse_deviation: vec![1.0; tile.channels] }
            }
            Map::Normalise(epsilon) => {
                let stats = contiguous(stats.clone());
                let (mean, variance) = values(&stats).split_at(tile.channels);
                let inverse = |v: &f32| 1.0 / (f64::from(*v) + f64::from(epsilon)).sqrt();
                let inverse_deviation: Vec<f64> = variance.iter().map(inverse).collect();
                let scale = gamma.iter().zip(&inverse_deviation).map(|(g, i)| (f64::from(*g) * i) as f32);
                Self { line: Line::new(tile, &scale.collect::<Vec<_>>(), mean, beta), inverse_deviation }
            }
        }
    }
}

fn tile(x: &FlexTensor) -> Tile {
    Tile::new(x.layout().shape()[3])
}

fn like(values: Vec<f32>, x: &FlexTensor) -> FlexTensor {
    tensor(values, x.layout().shape().to_vec())
}

fn per_channel(values: impl Iterator<Item = f64>) -> FlexTensor {
    let values: Vec<f32> = values.map(|v| v as f32).collect();
    let shape = vec![values.len()];
    tensor(values, shape)
}

fn apply(
    x: FlexTensor,
    [gamma, beta, stats]: [FlexTensor; 3],
    residual: Option<FlexTensor>,
    map: Map,
    activation: Activation,
) -> FlexTensor {
    let x = contiguous(x);
    let tile = tile(&x);
    let line = Channels::new(tile, &gamma, &beta, &stats, map).line;
    like(passes::apply(values(&x), residual.as_ref().map(values), tile, &line, activation.limits()), &x)
}

impl NormOps for Flex {
    fn subband_norm_stats(x: FlexTensor) -> FlexTensor {
        let x = contiguous(x);
        let channels = tile(&x).channels;
        let stats = passes::statistics(values(&x), channels);
        tensor(stats.into_iter().flatten().map(|v| v as f32).collect(), vec![2, channels])
    }

    fn subband_norm_apply(
        x: FlexTensor,
        gamma: FlexTensor,
        beta: FlexTensor,
        stats: FlexTensor,
        map: Map,
        activation: Activation,
    ) -> FlexTensor {
        apply(x, [gamma, beta, stats], None, map, activation)
    }

    fn subband_norm_apply_onto(
        x: FlexTensor,
        gamma: FlexTensor,
        beta: FlexTensor,
        stats: FlexTensor,
        residual: FlexTensor,
        map: Map,
        activation: Activation,
    ) -> FlexTensor {
        apply(x, [gamma, beta, stats], Some(contiguous(residual)), map, activation)
    }

    fn subband_sum(a: FlexTensor, b: FlexTensor, activation: Activation) -> FlexTensor {
        let (a, b) = (contiguous(a), contiguous(b));
        like(passes::sum(values(&a), values(&b), activation.limits()), &a)
    }
}

/// What the backward pass of `subband_norm_apply` needs.
#[derive(Debug, Clone)]
struct Saved {
    x: FlexTensor,
    gamma: FlexTensor,
    beta: FlexTensor,
    stats: FlexTensor,
    /// The result, kept where the activation cannot be told from x alone: there was a residual.
    y: Option<FlexTensor>,
    map: Map,
    activation: Activation,
}

struct Derivatives {
    x: FlexTensor,
    gamma: FlexTensor,
    beta: FlexTensor,
    residual: Option<FlexTensor>,
}

impl Saved {
    fn derivatives(self, dy: FlexTensor, wants_residual: bool) -> Derivatives {
        let x = contiguous(self.x);
        let tile = tile(&x);
        let channels = Channels::new(tile, &self.gamma, &self.beta, &self.stats, self.map);
        let line = &channels.line;
        // First pass; with a residual it leaves g, which is the residual's gradient, in the place of dy.
        let (g, limits, [sum, dot]) = match self.y {
            Some(y) => {
                let (mut dy, y) = (owned(dy), contiguous(y));
                let limits = self.activation.limits();
                let sums = passes::gated_sums(values_mut(&mut dy), values(&y), values(&x), tile, line, limits);
                (dy, Activation::None.limits(), sums)
            }
            None => {
                let (dy, limits) = (contiguous(dy), self.activation.limits());
                let sums = passes::sums(values(&dy), values(&x), tile, line, limits);
                (dy, limits, sums)
            }
        };
        let residual = wants_residual.then(|| g.clone());
        let slopes = channels.slopes(tile, self.map, &sum, &dot, values(&x).len());
        // Second pass.
        let dx = if g.is_unique() {
            let mut g = g;
            passes::gradient(values_mut(&mut g), values(&x), tile, line, &slopes, limits);
            g
        } else {
            like(passes::fresh_gradient(values(&g), values(&x), tile, line, &slopes, limits), &x)
        };
        let gamma = per_channel(dot.iter().zip(&channels.inverse_deviation).map(|(d, i)| d * i));
        Derivatives { x: dx, gamma, beta: per_channel(sum.into_iter()), residual }
    }
}

impl Channels {
    /// dx = scale * (g - sum / M - (x - mean) * inverse^2 * dot / M), or scale * g for an affine map.
    fn slopes(&self, tile: Tile, map: Map, sum: &[f64], dot: &[f64], numbers: usize) -> Slopes {
        if map == Map::Affine {
            let zero = vec![0.0; tile.len];
            return Slopes { slope: zero.clone(), offset: zero };
        }
        let count = (numbers / tile.channels) as f64;
        let scale = || self.line.scale.iter().map(|s| -f64::from(*s) / count);
        let slopes = scale().zip(&self.inverse_deviation).zip(dot).map(|((s, i), d)| (s * i * i * d) as f32);
        let offsets = scale().zip(sum).map(|(s, b)| (s * b) as f32);
        let (slopes, offsets): (Vec<f32>, Vec<f32>) = (slopes.collect(), offsets.collect());
        Slopes { slope: tile.spread(slopes.iter().copied()), offset: tile.spread(offsets.iter().copied()) }
    }
}

#[derive(Debug)]
struct Norm;

impl Backward<Flex, 3> for Norm {
    type State = Saved;

    fn backward(self, ops: Ops<Saved, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let d = ops.state.derivatives(grads.consume::<Flex>(&ops.node), false);
        for (parent, gradient) in ops.parents.into_iter().zip([d.x, d.gamma, d.beta]) {
            if let Some(node) = parent {
                grads.register::<Flex>(node.id, gradient);
            }
        }
    }
}

impl Backward<Flex, 4> for Norm {
    type State = Saved;

    fn backward(self, ops: Ops<Saved, 4>, grads: &mut Gradients, _: &mut Checkpointer) {
        let [x, gamma, beta, residual] = ops.parents;
        let d = ops.state.derivatives(grads.consume::<Flex>(&ops.node), residual.is_some());
        let pairs = [(x, Some(d.x)), (gamma, Some(d.gamma)), (beta, Some(d.beta)), (residual, d.residual)];
        for (parent, gradient) in pairs {
            if let (Some(node), Some(gradient)) = (parent, gradient) {
                grads.register::<Flex>(node.id, gradient);
            }
        }
    }
}

#[derive(Debug)]
struct Sum;

impl Backward<Flex, 2> for Sum {
    type State = Option<(FlexTensor, Activation)>;

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let mut g = grads.consume::<Flex>(&ops.node);
        if let Some((y, activation)) = ops.state {
            g = owned(g);
            passes::gate(values_mut(&mut g), values(&contiguous(y)), activation.limits());
        }
        for node in ops.parents.into_iter().flatten() {
            grads.register::<Flex>(node.id, g.clone());
        }
    }
}

impl<C: CheckpointStrategy> NormOps for Autodiff<Flex, C> {
    fn subband_norm_stats(_: FloatTensor<Self>) -> FloatTensor<Self> {
        unreachable!("statistics are taken from the inner tensor; their gradient is part of dx")
    }

    fn subband_norm_apply(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        stats: FloatTensor<Self>,
        map: Map,
        activation: Activation,
    ) -> FloatTensor<Self> {
        let nodes = [x.node(), gamma.node(), beta.node()];
        let [x, gamma, beta, stats] = [x, gamma, beta, stats].map(|t| t.into_primitive());
        let y = apply(x.clone(), [gamma.clone(), beta.clone(), stats.clone()], None, map, activation);
        match Backward::<Flex, 3>::prepare::<C>(Norm, nodes).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish(Saved { x, gamma, beta, stats, y: None, map, activation }, y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }

    fn subband_norm_apply_onto(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        stats: FloatTensor<Self>,
        residual: FloatTensor<Self>,
        map: Map,
        activation: Activation,
    ) -> FloatTensor<Self> {
        let nodes = [x.node(), gamma.node(), beta.node(), residual.node()];
        let [x, gamma, beta, stats, residual] = [x, gamma, beta, stats, residual].map(|t| t.into_primitive());
        let parameters = [gamma.clone(), beta.clone(), stats.clone()];
        let result = apply(x.clone(), parameters, Some(contiguous(residual)), map, activation);
        match Backward::<Flex, 4>::prepare::<C>(Norm, nodes).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let y = (activation != Activation::None).then(|| result.clone());
                prep.finish(Saved { x, gamma, beta, stats, y, map, activation }, result)
            }
            OpsKind::UnTracked(prep) => prep.finish(result),
        }
    }

    fn subband_sum(a: FloatTensor<Self>, b: FloatTensor<Self>, activation: Activation) -> FloatTensor<Self> {
        let nodes = [a.node(), b.node()];
        let y = Flex::subband_sum(a.into_primitive(), b.into_primitive(), activation);
        match Sum.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish((activation != Activation::None).then(|| (y.clone(), activation)), y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }
}
