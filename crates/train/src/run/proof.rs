//! Proof of life: before the first step, every part of the loss is shown to be alive.
//!
//! On a few images of the first batch each part must have a finite value that is not zero; its gradient must arrive at
//! every student tap that it names, and from there at parameters of the student that are trained. What fails here
//! would silently do nothing for the whole run: a detached tap, a frozen student, a teacher that is the student.
use burn::module::{Module, ModuleVisitor, Param, ParamId};
use burn::optim::{GradientsAccumulator, GradientsParams};
use burn::prelude::*;
use subband_kernels::optimizer::sum_of_squares;
use subband_models::Network;

use crate::TrainError;
use crate::evidence::{PartProof, Proof, Reached, TapProof};
use crate::gradients;
use crate::learner::probe::{Probe, feature_norm, is_attached, tap_gradients};
use crate::learner::{Inputs, Learner, Part, Source};
use crate::setup::{Role, Setup};

use super::step::scalar;

/// Images used; relational terms need several.
pub(crate) const IMAGES: usize = 16;

/// Checks the wiring of every arm on random images, before anything is written. A teacher that is still to be trained
/// has its initial weights here, so values that are zero or not finite wait for step 1.
pub(crate) fn wiring(setup: &Setup, device: &Device) -> Result<(), TrainError> {
    let recipe = &setup.recipe;
    let teacher = match &recipe.teacher {
        Some(_) => Some(setup.teacher(device)?),
        None => None,
    };
    let ready = recipe.teacher.as_ref().is_none_or(|teacher| teacher.train.is_none());
    let inputs = setup.random(recipe.train.batch_size.min(IMAGES), device).seen_by(Role::Student);
    for arm in recipe.arms() {
        let learner = setup.learner(&arm, device)?;
        let folded = teacher.as_ref().map(|teacher| teacher.fold_batch_norm(&learner.wanted.teacher));
        Prover::new(&learner, &inputs, folded.as_ref(), ready)?.prove()?;
    }
    Ok(())
}

/// Checks every part of the loss at step 1. The learner is not changed.
pub(super) fn prove(learner: &Learner, inputs: &Inputs, teacher: Option<&Network>) -> Result<Proof, TrainError> {
    Prover::new(learner, &inputs.first(IMAGES), teacher, true)?.prove()
}

struct Prover<'a> {
    learner: &'a Learner,
    probe: Probe,
    images: usize,
    /// Whether values count: networks are as at step 1.
    strict: bool,
}

/// A part before its weight.
struct Bare {
    name: String,
    value: f64,
    weight: f64,
    norm: f64,
    taps: Vec<TapProof>,
    reached: Reached,
}

impl<'a> Prover<'a> {
    fn new(learner: &'a Learner, inputs: &Inputs, teacher: Option<&Network>, strict: bool) -> Result<Self, TrainError> {
        let probe = Probe::new(learner, inputs.clone(), teacher, (1, 1))?;
        Ok(Self { learner, probe, images: inputs.count, strict })
    }

    fn prove(&self) -> Result<Proof, TrainError> {
        let mut parts: Vec<PartProof> = Vec::new();
        let mut task = None;
        for source in self.learner.sources() {
            let (bare, norm) = self.source(source)?;
            let automatic = match source {
                Source::Task => {
                    task = Some(norm * self.learner.arm.task_weight);
                    false
                }
                Source::Term(index) => self.learner.arm.terms[index].weight.weight.share().is_some(),
            };
            for Bare { name, value, mut weight, norm: own, taps, reached } in bare {
                // Until it is measured, the learner takes the share itself for an automatic weight.
                if let (true, Some(task)) = (automatic, task) {
                    weight *= task / norm;
                }
                let gradient = weight * own;
                let to_task = task.filter(|_| source != Source::Task).map(|task| gradient / task);
                parts.push(PartProof { name, value, weight, gradient, to_task, taps, reached });
            }
        }
        Ok(Proof { images: self.images, parts })
    }

    /// The parts of a source, and the norm of the gradient of their sum.
    fn source(&self, source: Source) -> Result<(Vec<Bare>, f64), TrainError> {
        let network = self.probe.network();
        let mut sum = GradientsAccumulator::new();
        let mut bare = Vec::new();
        // A backward pass uses the graph up, so each part is computed anew.
        for index in 0.. {
            let (mut parts, leaves) = self.probe.parts(source)?;
            if index >= parts.len() {
                break;
            }
            let part = parts.swap_remove(index);
            let value = scalar(part.value.clone());
            if !self.strict && (value == 0.0 || !value.is_finite()) {
                continue;
            }
            self.check_value(&part, value)?;
            let at_taps = match part.value.is_tracked() {
                true => tap_gradients(&part.value, &leaves),
                false => Default::default(),
            };
            let trail = self.probe.trail()?;
            let mut taps = Vec::new();
            for tap in &part.reaches {
                let gradient = at_taps.get(tap).map_or(0.0, feature_norm);
                self.check_tap(&part, tap, gradient, is_attached(&trail, tap))?;
                taps.push(TapProof { tap: tap.clone(), gradient });
            }
            let grads = self.probe.follow(&at_taps, &trail);
            let norm = gradients::norm(network, &grads);
            let reached = self.reached(&part, &grads, &norm)?;
            sum.accumulate(network, grads);
            bare.push(Bare { name: part.name, value, weight: part.weight, norm: norm.value, taps, reached });
        }
        let norm = gradients::norm(network, &sum.grads()).value;
        Ok((bare, norm))
    }

    fn dead<T>(&self, part: &Part, message: String) -> Result<T, TrainError> {
        Err(TrainError::DeadTerm { term: part.name.clone(), arm: self.learner.arm.name.clone(), message })
    }

    fn check_value(&self, part: &Part, value: f64) -> Result<(), TrainError> {
        let taps = part.reaches.join(", ");
        if value == 0.0 {
            return self.dead(
                part,
                format!(
                    "is exactly 0 at step 1 (student taps: {taps}), so it would teach nothing: student and teacher \
                     agree there already, or a factor among the term's own keys is 0"
                ),
            );
        }
        if !value.is_finite() {
            return self.dead(part, format!("is {value} for the initial weights (student taps: {taps})"));
        }
        Ok(())
    }

    /// `gradient` is the norm that arrives at the tap, `attached` whether the tap leads to trained parameters.
    fn check_tap(&self, part: &Part, tap: &str, gradient: f64, attached: Option<bool>) -> Result<(), TrainError> {
        match attached {
            None => self.dead(part, format!("must reach the student tap `{tap}`, which the student was not asked for")),
            Some(_) if !gradient.is_finite() => {
                self.dead(part, format!("has the gradient {gradient} at the student tap `{tap}` at step 1"))
            }
            Some(_) if gradient == 0.0 => self.dead(
                part,
                format!("gives the student tap `{tap}` no gradient at step 1: the tap is detached inside the term"),
            ),
            Some(false) => self.dead(
                part,
                format!(
                    "reads the student tap `{tap}`, which leads to no trained parameter: {}",
                    match self.frozen() {
                        Some(frozen) => format!("student.frozen keeps everything before it as it is ({frozen})"),
                        None => "it is detached from the student".into(),
                    }
                ),
            ),
            Some(true) => Ok(()),
        }
    }

    /// `12 of 65 tensors, from conv1.weight to layer1.0.bn2.bias`.
    fn frozen(&self) -> Option<String> {
        let all: Vec<_> = self.probe.network().params().collect();
        let frozen: Vec<&str> = all.iter().filter(|param| !param.trainable).map(|param| param.name.as_str()).collect();
        let (first, last) = (frozen.first()?, frozen.last()?);
        Some(format!("{} of {} tensors, from {first} to {last}", frozen.len(), all.len()))
    }

    /// The tensors of the student that a gradient reaches, by PyTorch's names.
    fn reached(&self, part: &Part, grads: &GradientsParams, norm: &gradients::Norm) -> Result<Reached, TrainError> {
        if let Some(tensor) = &norm.not_finite {
            return self.dead(part, format!("has a gradient at step 1 that is not finite, first at {tensor}"));
        }
        let mut alive = Alive { grads, found: Vec::new() };
        self.probe.network().visit(&mut alive);
        let all: Vec<_> = self.probe.network().params().collect();
        let names: Vec<&str> =
            all.iter().filter(|param| alive.found.contains(&param.id)).map(|param| param.name.as_str()).collect();
        match (names.first(), names.last()) {
            (Some(first), Some(last)) => {
                Ok(Reached { tensors: names.len(), of: all.len(), first: first.to_string(), last: last.to_string() })
            }
            _ => self.dead(
                part,
                format!("gives no parameter of the student a gradient at step 1 (taps: {})", part.reaches.join(", ")),
            ),
        }
    }
}

/// Parameters with a gradient that is not all zero.
struct Alive<'a> {
    grads: &'a GradientsParams,
    found: Vec<ParamId>,
}

impl ModuleVisitor for Alive<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if self.grads.get::<D>(param.id).is_some_and(|gradient| sum_of_squares(gradient) > 0.0) {
            self.found.push(param.id);
        }
    }
}
