//! Gradients of single parts of a loss, followed from the part to the taps and from the taps to the student.
//!
//! With `t_k` the student's taps (logits included), `theta` its parameters and `L` a part of the loss,
//! ```text
//! g_k = dL / dt_k                               on copies of the taps that are leaves of their own graph
//! dL / dtheta = d / dtheta  sum over k of <t_k, g_k>        with g_k held constant
//! ```
//! The first line says which taps a part uses, the second which parameters of the student they lead to. Burn uses a
//! graph up in its backward pass; so cut, the losses need no second forward pass of the student and the student none
//! of the teacher.
use std::collections::BTreeMap;

use burn::optim::GradientsParams;
use burn::prelude::*;
use subband_kernels::optimizer::sum_of_squares;
use subband_models::{Feature, Features, Mode, Network};

use crate::TrainError;

use super::{Inputs, Learner, Part, Sight, Source};

/// Gradients at the student's taps by name; a tap that the loss does not use is absent.
pub(crate) type TapGradients = BTreeMap<String, Feature>;

/// A learner on one batch. The learner it was made from stays as it is.
pub(crate) struct Probe {
    learner: Learner,
    inputs: Inputs,
    /// The student's features, cut from their graph.
    student: Features,
    teacher: Option<Features>,
    time: (usize, usize),
}

impl Probe {
    /// Runs student and teacher; `time` is the epoch and the optimiser step, from 1.
    pub fn new(
        learner: &Learner,
        inputs: Inputs,
        teacher: Option<&Network>,
        time: (usize, usize),
    ) -> Result<Self, TrainError> {
        let learner = learner.copy();
        let student = detach(learner.student(&inputs, Mode::Train)?);
        let teacher = learner.teacher(&inputs, teacher)?;
        Ok(Self { learner, inputs, student, teacher, time })
    }

    /// The student.
    pub fn network(&self) -> &Network {
        &self.learner.trainable.student
    }

    /// L2 norm of the student's values at a tap; 0 for one that is not there.
    pub fn tap_norm(&self, tap: &str) -> f64 {
        feature(&self.student, tap).map_or(0.0, |feature| feature_norm(&inner(feature)))
    }

    /// The parts of one source on leaves of their own, and these leaves.
    pub fn parts(&self, source: Source) -> Result<(Vec<Part>, Features), TrainError> {
        let leaves = leaves(&self.student);
        let (teacher, labels, samples) = (self.teacher.as_ref(), &self.inputs.labels, &self.inputs.noise.samples);
        let sight = Sight { student: &leaves, teacher, labels, samples, time: self.time };
        Ok((self.learner.parts_of(source, &sight)?, leaves))
    }

    /// The gradient of the sum of a source's parts, before any weight, on the student's parameters.
    pub fn gradient(&self, source: Source) -> Result<GradientsParams, TrainError> {
        let (parts, leaves) = self.parts(source)?;
        let sum = parts.into_iter().map(|part| part.value).reduce(|sum, part| sum + part);
        match sum.filter(Tensor::is_tracked) {
            Some(sum) => Ok(self.follow(&tap_gradients(&sum, &leaves), &self.trail()?)),
            None => Ok(GradientsParams::new()),
        }
    }

    /// The student's features with a fresh graph, for one [`Probe::follow`].
    pub fn trail(&self) -> Result<Features, TrainError> {
        self.learner.student(&self.inputs, Mode::Train)
    }

    /// The gradient on the student's parameters that these gradients at the taps of `trail` give.
    pub fn follow(&self, taps: &TapGradients, trail: &Features) -> GradientsParams {
        let product = |(name, gradient): (&String, &Feature)| inner_product(feature(trail, name)?, gradient.clone());
        match taps.iter().filter_map(product).reduce(|sum, tap| sum + tap).filter(Tensor::is_tracked) {
            Some(sum) => GradientsParams::from_grads(sum.backward(), self.network()),
            None => GradientsParams::new(),
        }
    }
}

/// The gradients of `loss`, which must be tracked, at the leaves. This uses its graph up.
pub(crate) fn tap_gradients(loss: &Tensor<1>, leaves: &Features) -> TapGradients {
    let gradients = loss.backward();
    let mut found = TapGradients::new();
    let names = leaves.taps.keys().map(String::as_str).chain(["logits"]);
    for name in names {
        let gradient = match feature(leaves, name) {
            Some(Feature::Map(leaf)) => leaf.grad(&gradients).map(Feature::Map),
            Some(Feature::Vector(leaf)) => leaf.grad(&gradients).map(Feature::Vector),
            Some(Feature::Tokens { values, prefix, grid }) => {
                values.grad(&gradients).map(|values| Feature::Tokens { values, prefix, grid })
            }
            None => None,
        };
        found.extend(gradient.map(|gradient| (name.to_string(), gradient)));
    }
    found
}

/// L2 norm of a feature without autodiff.
pub(crate) fn feature_norm(feature: &Feature) -> f64 {
    let squares = match feature.clone() {
        Feature::Map(x) => sum_of_squares(x),
        Feature::Vector(x) => sum_of_squares(x),
        Feature::Tokens { values, .. } => sum_of_squares(values),
    };
    squares.sqrt()
}

/// Whether a tap's graph leads to a parameter that is trained; `None` if there is no such tap.
pub(crate) fn is_attached(features: &Features, tap: &str) -> Option<bool> {
    feature(features, tap).map(|feature| match feature {
        Feature::Map(x) => x.is_tracked(),
        Feature::Vector(x) => x.is_tracked(),
        Feature::Tokens { values, .. } => values.is_tracked(),
    })
}

fn feature(features: &Features, name: &str) -> Option<Feature> {
    features.get(name).cloned()
}

/// `<x, g>`, `[1]`, with `g` held constant.
fn inner_product(x: Feature, g: Feature) -> Option<Tensor<1>> {
    Some(match (x, g) {
        (Feature::Map(x), Feature::Map(g)) => (x * g.autodiff()).sum(),
        (Feature::Vector(x), Feature::Vector(g)) => (x * g.autodiff()).sum(),
        (Feature::Tokens { values: x, .. }, Feature::Tokens { values: g, .. }) => (x * g.autodiff()).sum(),
        _ => return None,
    })
}

/// A feature without autodiff.
fn inner(feature: Feature) -> Feature {
    match feature {
        Feature::Map(x) => Feature::Map(x.inner()),
        Feature::Vector(x) => Feature::Vector(x.inner()),
        Feature::Tokens { values, prefix, grid } => Feature::Tokens { values: values.inner(), prefix, grid },
    }
}

fn each(features: Features, map: impl Fn(Feature) -> Feature) -> Features {
    let logits = map(features.logits);
    Features { logits, taps: features.taps.into_iter().map(|(name, tap)| (name, map(tap))).collect() }
}

fn detach(features: Features) -> Features {
    each(features, Feature::detach)
}

/// Leaves with the values of `features`, which have no graph.
fn leaves(features: &Features) -> Features {
    each(features.clone(), |feature| match feature.detach() {
        Feature::Map(x) => Feature::Map(x.require_grad()),
        Feature::Vector(x) => Feature::Vector(x.require_grad()),
        Feature::Tokens { values, prefix, grid } => Feature::Tokens { values: values.require_grad(), prefix, grid },
    })
}
