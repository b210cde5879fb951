//! The plan: everything that can be known, and everything that can be wrong, before any training.
mod tables;
mod time;

use std::path::Path;

use burn::prelude::*;
use serde::Serialize;
use subband_data::Task;
use subband_distill::Weight;
use subband_models::{Network, TapInfo};

use crate::TrainError;
use crate::recipe::{ArmRecipe, PromptRecipe, Recipe, TeacherNorm};
use crate::run::proof;
use crate::setup::{Role, Setup};

pub use time::{TimePart, TimePlan};

/// What to find out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlanOptions {
    /// Measure training steps for an estimate of the time.
    pub time: bool,
}

impl Default for PlanOptions {
    fn default() -> Self {
        Self { time: true }
    }
}

/// A recipe worked out: data, networks with taps, adapters, memory, steps, time. Its `Display` is a set of tables.
#[derive(Debug, Clone, Serialize)]
pub struct Plan {
    /// Name of the recipe.
    pub name: String,
    /// Device.
    pub device: String,
    /// The images.
    pub data: DataPlan,
    /// The teacher, if there is one.
    pub teacher: Option<NetworkPlan>,
    /// The student.
    pub student: NetworkPlan,
    /// The learning of frequency prompts, if the recipe asks for it.
    pub prompts: Option<PromptPlan>,
    /// Several seeds, with each of which every arm is trained; empty for one.
    pub seeds: Vec<u64>,
    /// The arms.
    pub arms: Vec<ArmPlan>,
    /// What is allowed, but perhaps not meant.
    pub warnings: Vec<String>,
    /// Estimated time, if it was asked for.
    pub time: Option<TimePlan>,
}

/// Images of a plan.
#[derive(Debug, Clone, Serialize)]
pub struct DataPlan {
    /// Name of the data set and its folder.
    pub dataset: String,
    /// What its images are labelled with.
    pub task: Task,
    /// Training images.
    pub train: usize,
    /// Images kept to choose the best epoch.
    pub validation: usize,
    /// Test images.
    pub test: usize,
    /// Classes.
    pub classes: usize,
    /// Channels of the input.
    pub channels: usize,
    /// Height and width of the input.
    pub size: [usize; 2],
}

/// A network of a plan.
#[derive(Debug, Clone, Serialize)]
pub struct NetworkPlan {
    /// `teacher` or `student`.
    pub role: String,
    /// Network name.
    pub network: String,
    /// Where its weights come from.
    pub weights: String,
    /// What its batch normalisations use in the arms' steps: `batch`, or `frozen` for running statistics.
    pub batch_norm: String,
    /// Parameters.
    pub params: usize,
    /// Parameters that are trained.
    pub trainable: usize,
    /// Multiply-adds of one image.
    pub macs: u64,
    /// Its taps.
    pub taps: Vec<TapInfo>,
}

/// An arm of a plan.
#[derive(Debug, Clone, Serialize)]
pub struct ArmPlan {
    /// Name.
    pub name: String,
    /// Folder.
    pub slug: String,
    /// Weight of the task's loss.
    pub task_weight: f64,
    /// Its terms.
    pub terms: Vec<TermPlan>,
    /// Parameters of all adapters.
    pub aux_params: usize,
    /// Bytes of student and adapters: parameters, gradients and optimiser state.
    pub state_bytes: u64,
    /// Optimiser steps of one training.
    pub steps: usize,
}

/// The learning of frequency prompts.
#[derive(Debug, Clone, Serialize)]
pub struct PromptPlan {
    /// Teacher taps that get prompts.
    pub taps: Vec<String>,
    /// Sets of prompts at each tap.
    pub sets: Vec<String>,
    /// Prompts of one set.
    pub tokens: usize,
    /// Numbers to learn.
    pub params: usize,
    /// Optimiser steps.
    pub steps: usize,
    /// Images of a step.
    pub batch_size: usize,
    /// The arms that use them.
    pub used_by: Vec<String>,
}

/// A distillation term of a plan.
#[derive(Debug, Clone, Serialize)]
pub struct TermPlan {
    /// Name in the metrics.
    pub name: String,
    /// Method.
    pub method: String,
    /// Full weight: a number, or `auto:` and the share of the task's gradient.
    pub weight: Weight,
    /// Epochs of warm-up.
    pub warmup_epochs: usize,
    /// Student taps it reads beside the logits.
    pub student_taps: Vec<String>,
    /// Teacher taps it reads beside the logits.
    pub teacher_taps: Vec<String>,
    /// Parameters of its adapters.
    pub aux_params: usize,
    /// Bytes of its largest temporary tensor.
    pub largest_temporary: u64,
}

impl Plan {
    /// Works a recipe out on a device, with the time estimate.
    ///
    /// # Errors
    /// As [`Plan::with`].
    pub fn new(recipe: &Recipe, device: &Device) -> Result<Self, TrainError> {
        Self::with(recipe, device, PlanOptions::default())
    }

    /// Works a recipe out on a device (given without autodiff).
    ///
    /// # Errors
    /// Everything that would go wrong in training for reasons of wiring: missing images, weights of another network,
    /// unknown taps, shapes that no adapter joins, a student frozen whole, a term that does not reach the student.
    pub fn with(recipe: &Recipe, device: &Device, options: PlanOptions) -> Result<Self, TrainError> {
        let setup = Setup::open(recipe)?;
        let plan = Self::wire(&setup, device)?;
        proof::wiring(&setup, device)?;
        let time = if options.time { Some(time::measure(&setup, device)?) } else { None };
        Ok(Self { time, ..plan })
    }

    /// The plan without the time.
    pub(crate) fn wire(setup: &Setup, device: &Device) -> Result<Self, TrainError> {
        let recipe = &setup.recipe;
        let teacher = match &recipe.teacher {
            Some(given) => {
                let network = setup.teacher(device)?;
                let trained = given.train.as_ref().map(|train| train.epochs);
                Some(network_plan(
                    setup,
                    Role::Teacher,
                    &network,
                    weights_text(given.weights.as_deref(), given.backbone.as_deref(), trained),
                )?)
            }
            None => None,
        };
        let prompts = recipe.prompts.as_ref().map(|given| prompt_plan(setup, given, device)).transpose()?;
        let student = setup.student(device)?;
        let weights = weights_text(recipe.student.weights.as_deref(), recipe.student.backbone.as_deref(), None);
        let arms: Vec<ArmPlan> = recipe
            .arms()
            .iter()
            .map(|arm| arm_plan(setup, arm, &student, device))
            .collect::<Result<_, TrainError>>()?;
        Ok(Self {
            name: recipe.name.clone(),
            device: crate::evidence::device_name(device),
            data: data_plan(setup),
            teacher,
            student: network_plan(setup, Role::Student, &student, weights)?,
            prompts,
            seeds: recipe.seeds.clone(),
            warnings: warnings(&arms, recipe.train.epochs),
            arms,
            time: None,
        })
    }
}

/// Warm-ups that the training ends in.
fn warnings(arms: &[ArmPlan], epochs: usize) -> Vec<String> {
    let terms = arms.iter().flat_map(|arm| arm.terms.iter().map(move |term| (arm, term)));
    let long = terms.filter(|(_, term)| term.warmup_epochs > epochs);
    let text = |(arm, term): (&ArmPlan, &TermPlan)| {
        let (warm, share) = (term.warmup_epochs, 100 * epochs / term.warmup_epochs);
        format!(
            "term \"{}\" of arm \"{}\" warms up over {warm} epochs, of which there are {epochs}: its weight ends at \
             {share} % of {}; set its warmup_epochs",
            term.name, arm.name, term.weight
        )
    };
    long.map(text).collect()
}

fn weights_text(file: Option<&Path>, backbone: Option<&Path>, trained: Option<usize>) -> String {
    let start = match (file, backbone) {
        (Some(file), _) => file.display().to_string(),
        (None, Some(backbone)) => format!("{} (backbone)", backbone.display()),
        (None, None) => "random".to_string(),
    };
    match trained {
        Some(epochs) => format!("{start}, then {epochs} epochs"),
        None => start,
    }
}

fn data_plan(setup: &Setup) -> DataPlan {
    let (splits, data) = (&setup.splits, &setup.recipe.data);
    let kind = format!("{:?}", data.dataset).to_lowercase();
    DataPlan {
        task: splits.task,
        dataset: data.path.as_ref().map_or(kind.clone(), |path| format!("{kind} {}", path.display())),
        train: splits.train.len(),
        validation: splits.validation.as_ref().map_or(0, |images| images.len()),
        test: splits.test.len(),
        classes: splits.classes.len(),
        channels: splits.channels,
        size: splits.size,
    }
}

fn network_plan(setup: &Setup, role: Role, network: &Network, weights: String) -> Result<NetworkPlan, TrainError> {
    let [_, height, width] = setup.shape(role);
    let fail = |source| TrainError::model(role.name(), source);
    let norm = setup.recipe.teacher.as_ref().map(|teacher| teacher.batch_norm).filter(|_| role == Role::Teacher);
    let batch_norm = match (network.batch_norm_count(), norm) {
        (0, _) => "-",
        (_, Some(TeacherNorm::Frozen)) => "frozen",
        (_, Some(TeacherNorm::Batch) | None) => "batch",
    };
    Ok(NetworkPlan {
        role: role.name().into(),
        network: network.name().into(),
        weights,
        batch_norm: batch_norm.into(),
        params: network.param_count(),
        trainable: network.trainable_count(),
        macs: network.macs(height, width).map_err(fail)?,
        taps: network.taps(height, width).map_err(fail)?,
    })
}

fn prompt_plan(setup: &Setup, given: &PromptRecipe, device: &Device) -> Result<PromptPlan, TrainError> {
    let prompts = crate::prompts::fresh(setup, given, device)?;
    let users = |arm: &&ArmRecipe| crate::setup::learned_prompts(arm);
    Ok(PromptPlan {
        taps: prompts.taps().to_vec(),
        sets: prompts.iter().next().map(|(_, sets)| sets.names()).unwrap_or_default(),
        tokens: given.config.tokens,
        params: prompts.num_params(),
        steps: given.steps,
        batch_size: given.batch_size,
        used_by: setup.recipe.arms.iter().filter(users).map(|arm| arm.name.clone()).collect(),
    })
}

fn arm_plan(setup: &Setup, arm: &ArmRecipe, student: &Network, device: &Device) -> Result<ArmPlan, TrainError> {
    let train = &setup.recipe.train;
    let mut terms = Vec::new();
    if let Some(book) = setup.book()? {
        if crate::setup::has_prompts(arm) {
            // Whether the prompts are there and fit their terms is seen when the terms are made.
            setup.learner(arm, device)?;
        }
        for term in &arm.terms {
            let place = format!("arm \"{}\", term \"{}\"", arm.name, term.name);
            let fail = |source| TrainError::distill(&place, source);
            let taps = term.method.taps(&book).map_err(fail)?;
            let cost = term.method.cost(&book, train.batch_size, device).map_err(fail)?;
            terms.push(TermPlan {
                name: term.name.clone(),
                method: term.method.about().name.into(),
                weight: term.weight.weight,
                warmup_epochs: term.weight.warmup_epochs,
                student_taps: taps.student,
                teacher_taps: taps.teacher,
                aux_params: cost.parameters,
                largest_temporary: cost.largest_temporary as u64,
            });
        }
    }
    let aux_params = terms.iter().map(|term| term.aux_params).sum();
    // Every parameter has a value; a trained one also a gradient and the optimiser's slots.
    let trained = student.trainable_count() + aux_params;
    let numbers = student.param_count() + aux_params + trained * (1 + train.optimizer.slots());
    let batches = setup.train_loader(train)?.steps();
    Ok(ArmPlan {
        name: arm.name.clone(),
        slug: arm.slug(),
        task_weight: arm.task_weight,
        terms,
        aux_params,
        state_bytes: 4 * numbers as u64,
        steps: batches.div_ceil(train.accumulate) * train.epochs,
    })
}
