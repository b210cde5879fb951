//! Proof of life: before the first step, every part of the loss is shown to be alive.
//!
//! On a few images of the first batch each part must have a finite value that is not zero; its gradient must arrive at
//! every student tap that it names, and from there at parameters of the student that are trained. What fails here
//! would silently do nothing for the whole run: a detached tap, a frozen student, a teacher that is the student, a loss
//! that is constant up to rounding.
use std::path::PathBuf;

use burn::module::{Module, ModuleVisitor, Param, ParamId};
use burn::optim::{GradientsAccumulator, GradientsParams};
use burn::prelude::*;
use subband_kernels::optimizer::sum_of_squares;
use subband_models::{Features, Network};

use crate::TrainError;
use crate::evidence::{PartProof, Proof, Reached, TapProof};
use crate::gradients;
use crate::learner::probe::{Probe, TapGradients, feature_norm, is_attached, tap_gradients};
use crate::learner::{Inputs, Learner, Part, Source};
use crate::recipe::Recipe;
use crate::setup::{Role, Setup};

use super::step::scalar;

/// Images used; relational terms need several.
pub(crate) const IMAGES: usize = 16;
/// A loss that a change of the whole tap moves by less than this share of itself is constant: what moves it is the
/// rounding of f32, of 6e-8 in every operation.
const ROUNDING: f64 = 1e-6;

/// Whether a loss of this value is constant up to rounding, from the norms of the gradient and of the values at each tap.
fn is_constant(value: f64, norms: &[(f64, f64)]) -> bool {
    let moves = norms.iter().map(|(gradient, size)| gradient * size).fold(0.0, f64::max);
    // A tap of zeros has no size of its own, so nothing is known.
    moves <= ROUNDING * value.abs() && !norms.is_empty() && norms.iter().all(|(_, size)| *size > 0.0)
}

/// How far the networks are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Networks {
    /// As at step 1.
    Ready,
    /// The teacher is still to be trained: values that are not finite wait for step 1.
    Untrained,
    /// The same, and it starts as the student does, so that their difference is 0 until then.
    Twins,
}

impl Networks {
    pub fn of(recipe: &Recipe) -> Self {
        let Some(teacher) = recipe.teacher.as_ref().filter(|teacher| teacher.train.is_some()) else {
            return Self::Ready;
        };
        let student = &recipe.student;
        let same_file = |own: &Option<PathBuf>, other: &Option<PathBuf>| own.is_some() && own == other;
        // One backbone may stand under several heads.
        let weights = teacher.network == student.network && same_file(&teacher.weights, &student.weights);
        match weights || same_file(&teacher.backbone, &student.backbone) {
            true => Self::Twins,
            false => Self::Untrained,
        }
    }

    /// Whether this value says nothing yet.
    pub fn waits(self, value: f64) -> bool {
        match self {
            Self::Ready => false,
            Self::Untrained => !value.is_finite(),
            Self::Twins => !value.is_finite() || value == 0.0,
        }
    }
}

/// Checks the wiring of every arm on random images, before anything is written. A teacher that is still to be trained
/// has its initial weights here, so values that are not finite wait for step 1.
pub(crate) fn wiring(setup: &Setup, device: &Device) -> Result<(), TrainError> {
    let recipe = &setup.recipe;
    let teacher = match &recipe.teacher {
        Some(_) => Some(setup.teacher(device)?),
        None => None,
    };
    let networks = Networks::of(recipe);
    let inputs = setup.random(recipe.train.batch_size.min(IMAGES), device).seen_by(Role::Student);
    for arm in recipe.arms() {
        let learner = setup.learner(&arm, device)?;
        let folded = teacher.as_ref().map(|teacher| learner.prepared(teacher));
        Prover::new(&learner, &inputs, folded.as_ref(), networks)?.prove()?;
    }
    Ok(())
}

/// Checks every part of the loss at step 1. The learner is not changed.
pub(super) fn prove(learner: &Learner, inputs: &Inputs, teacher: Option<&Network>) -> Result<Proof, TrainError> {
    Prover::new(learner, &inputs.first(IMAGES), teacher, Networks::Ready)?.prove()
}

struct Prover<'a> {
    learner: &'a Learner,
    probe: Probe,
    images: usize,
    networks: Networks,
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
    fn new(
        learner: &'a Learner,
        inputs: &Inputs,
        teacher: Option<&Network>,
        networks: Networks,
    ) -> Result<Self, TrainError> {
        let probe = Probe::new(learner, inputs.clone(), teacher, (1, 1))?;
        Ok(Self { learner, probe, images: inputs.count, networks })
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
            if self.networks.waits(value) {
                continue;
            }
            self.check_value(&part, value)?;
            let at_taps = match part.value.is_tracked() {
                true => tap_gradients(&part.value, &leaves),
                false => Default::default(),
            };
            let trail = self.probe.trail()?;
            let taps = self.taps(&part, &at_taps, &trail)?;
            self.check_rounding(&part, value, &taps)?;
            let grads = self.probe.follow(&at_taps, &trail);
            let norm = gradients::norm(network, &grads);
            let reached = self.reached(&part, &grads, &norm)?;
            sum.accumulate(network, grads);
            bare.push(Bare { name: part.name, value, weight: part.weight, norm: norm.value, taps, reached });
        }
        let norm = gradients::norm(network, &sum.grads()).value;
        Ok((bare, norm))
    }

    /// The taps at which a part's gradient arrives; every one that it names must be among them.
    fn taps(&self, part: &Part, at_taps: &TapGradients, trail: &Features) -> Result<Vec<TapProof>, TrainError> {
        let mut taps = Vec::new();
        for tap in &part.reaches {
            let gradient = at_taps.get(tap).map_or(0.0, feature_norm);
            self.check_tap(part, tap, gradient, is_attached(trail, tap))?;
            taps.push(TapProof { tap: tap.clone(), gradient });
        }
        let others = at_taps.iter().filter(|(tap, _)| !part.reaches.contains(tap));
        let others = others.map(|(tap, gradient)| TapProof { tap: tap.clone(), gradient: feature_norm(gradient) });
        taps.extend(others.filter(|tap| tap.gradient > 0.0));
        Ok(taps)
    }

    fn dead<T>(&self, part: &Part, message: String) -> Result<T, TrainError> {
        Err(TrainError::DeadTerm { term: part.name.clone(), arm: self.learner.arm.name.clone(), message })
    }

    /// The usual reason where there is a single image, else the one given.
    fn reason(&self, otherwise: &str) -> String {
        match self.images {
            1 => "it was seen on a single image, and terms that compare images, or adapters with batch normalisation, \
                  have nothing to work on there: raise train.batch_size to 2 or more"
                .into(),
            _ => otherwise.into(),
        }
    }

    fn check_value(&self, part: &Part, value: f64) -> Result<(), TrainError> {
        let taps = part.reaches.join(", ");
        let task = part.name == "task";
        if value == 0.0 && task {
            let reason = "the student is certain of every label already, so that there is nothing to learn";
            return self.dead(part, format!("is exactly 0 at step 1: {reason}"));
        }
        if !value.is_finite() && task {
            let reason =
                "the student's scores are not numbers, or too far apart: look at student.weights and data.normalize";
            return self.dead(part, format!("is {value} for the initial weights: {reason}"));
        }
        if value == 0.0 {
            let reason = self.reason(
                "student and teacher agree there already, or one of the term's own keys turns it off; choose other taps \
                 (student_tap, or student_taps and teacher_taps), change that key, or remove the term",
            );
            let message = format!("is exactly 0 at step 1 (student taps: {taps}), so it would teach nothing: {reason}");
            return self.dead(part, message);
        }
        if !value.is_finite() {
            let reason = self.reason("what it reads there is not a number, or out of the range of its keys");
            return self.dead(part, format!("is {value} for the initial weights (student taps: {taps}): {reason}"));
        }
        Ok(())
    }

    /// `gradient` is the norm that arrives at the tap, `attached` whether the tap leads to trained parameters.
    fn check_tap(&self, part: &Part, tap: &str, gradient: f64, attached: Option<bool>) -> Result<(), TrainError> {
        match attached {
            None => self.dead(part, format!("must reach the student tap `{tap}`, which the student was not asked for")),
            Some(_) if !gradient.is_finite() => {
                let reason = self.reason("lower what the term divides by or raises to a power");
                self.dead(part, format!("has the gradient {gradient} at the student tap `{tap}` at step 1: {reason}"))
            }
            Some(_) if gradient == 0.0 => {
                let reason = self.reason("the tap is detached inside the term");
                self.dead(part, format!("gives the student tap `{tap}` no gradient at step 1: {reason}"))
            }
            Some(false) => self.dead(
                part,
                format!("reads the student tap `{tap}`, which leads to no trained parameter: {}", self.untrained()),
            ),
            Some(true) => Ok(()),
        }
    }

    /// A loss L with the gradients g at its taps t is dead if `max over taps of |g| |t| <= ROUNDING |L|`: even a change
    /// of a tap by its own size would not change it.
    fn check_rounding(&self, part: &Part, value: f64, taps: &[TapProof]) -> Result<(), TrainError> {
        let norms: Vec<(f64, f64)> = taps.iter().map(|tap| (tap.gradient, self.probe.tap_norm(&tap.tap))).collect();
        if !is_constant(value, &norms) {
            return Ok(());
        }
        let names: Vec<&str> = taps.iter().map(|tap| tap.tap.as_str()).collect();
        let reason = self.reason("the term has nothing to say about these taps or so few classes; remove it");
        let message = format!(
            "is {value} at step 1 whatever the student does (student taps: {}): its gradient of {:.1e} is rounding only; \
             {reason}",
            names.join(", "),
            taps.iter().map(|tap| tap.gradient).fold(0.0, f64::max)
        );
        self.dead(part, message)
    }

    /// Why nothing before a tap is trained, and what to do about it.
    fn untrained(&self) -> String {
        let all: Vec<_> = self.probe.network().params().collect();
        let named = |trainable: bool| -> Vec<&str> {
            all.iter().filter(|param| param.trainable == trainable).map(|param| param.name.as_str()).collect()
        };
        let (trained, frozen) = (named(true), named(false));
        let ends = |names: &[&'_ str]| Some((names.first()?.to_string(), names.last()?.to_string()));
        match (ends(&trained), ends(&frozen)) {
            (Some((first, last)), _) if trained.iter().all(|name| name.contains("lora_")) => format!(
                "student.lora trains {} tensors alone, from {first} to {last}; name a layer before the tap among its \
                 targets, or choose a later tap",
                trained.len()
            ),
            (_, Some((first, last))) => format!(
                "student.frozen keeps everything before it as it is ({} of {} tensors, from {first} to {last}); leave \
                 layers before the tap free, or choose a later tap",
                frozen.len(),
                all.len()
            ),
            _ => "it is detached from the student".into(),
        }
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
                format!(
                    "gives no parameter of the student a gradient at step 1 (taps: {}): {}",
                    part.reaches.join(", "),
                    self.reason("what lies between the taps and the trained layers lets none through")
                ),
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

#[cfg(test)]
mod tests {
    use super::is_constant;

    #[test]
    fn only_what_no_tap_can_move_is_constant() {
        assert!(is_constant(2.0, &[(1e-8, 10.0)]) && is_constant(-2.0, &[(1e-8, 10.0), (0.0, 3.0)]));
        assert!(!is_constant(2.0, &[(1e-8, 10.0), (1e-3, 1.0)]));
        assert!(!is_constant(2e-6, &[(1e-8, 10.0)]), "small losses have small gradients");
        assert!(!is_constant(2.0, &[(1e-8, 0.0)]) && !is_constant(2.0, &[]));
    }
}
