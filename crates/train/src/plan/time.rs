//! Time estimate: a few real steps on random images.
use std::time::Instant;

use burn::optim::GradientsParams;
use burn::prelude::*;
use serde::Serialize;
use subband_data::{Targets, View};
use subband_models::Network;
use subband_seed::Stream;

use crate::TrainError;
use crate::learner::Learner;
use crate::optimizer::Optimizer;
use crate::prompts::Prompted;
use crate::recipe::{ArmRecipe, PromptRecipe, TrainRecipe};
use crate::run::step::{Micro, backward, scalar};
use crate::setup::{Role, Setup};
use crate::task::{self, Judge};

/// Estimated time of a run on an otherwise idle machine, without decoding of images.
#[derive(Debug, Clone, Serialize)]
pub struct TimePlan {
    /// The teacher's training, or the test of one that is used as loaded, the prompts and the arms.
    pub parts: Vec<TimePart>,
    /// Sum in seconds.
    pub seconds: f64,
}

/// A part of the time.
#[derive(Debug, Clone, Serialize)]
pub struct TimePart {
    /// Arm's name.
    pub name: String,
    /// Seconds of one optimiser step; 0 where nothing is trained.
    pub step_seconds: f64,
    /// Optimiser steps of one training; 0 where nothing is trained.
    pub steps: usize,
    /// Trainings: one for each seed.
    pub runs: usize,
    /// Seconds of all steps and evaluations of all trainings.
    pub seconds: f64,
}

/// Measured steps after one to warm up; the shortest counts, as it is the least disturbed.
const MEASURED: usize = 2;

/// Measures every arm.
pub(super) fn measure(setup: &Setup, device: &Device) -> Result<TimePlan, TrainError> {
    let recipe = &setup.recipe;
    let looks = Looks::new(setup)?;
    let mut parts = Vec::new();
    let mut teacher = None;
    if let Some(given) = &recipe.teacher {
        let network = setup.teacher(device)?;
        if let Some(train) = &given.train {
            let arm = ArmRecipe { name: "teacher".into(), task_weight: 1.0, terms: Vec::new() };
            let autodiff = device.clone().autodiff();
            let learner = setup.teacher_learner(train, arm, &autodiff)?;
            parts.push(part(setup, &looks, Role::Teacher, learner, train, None)?);
        } else if setup.teacher_knows_labels() {
            let seconds = looks.seconds(setup, &network, Role::Teacher, &setup.judge)?;
            let seconds = seconds * setup.splits.test.len() as f64;
            parts.push(TimePart { name: "test of the teacher".into(), step_seconds: 0.0, steps: 0, runs: 1, seconds });
        }
        if let Some(given) = &recipe.prompts {
            parts.push(prompts(setup, &looks, given, &network, device)?);
        }
        teacher = Some(network);
    }
    for arm in recipe.arms() {
        let learner = setup.learner(&arm, device)?;
        let folded = teacher.as_ref().map(|network: &Network| learner.prepared(network));
        parts.push(part(setup, &looks, Role::Student, learner, &recipe.train, folded.as_ref())?);
    }
    let seconds = parts.iter().map(|part| part.seconds).sum();
    Ok(TimePlan { parts, seconds })
}

fn part(
    setup: &Setup,
    looks: &Looks,
    role: Role,
    mut learner: Learner,
    train: &TrainRecipe,
    teacher: Option<&Network>,
) -> Result<TimePart, TrainError> {
    let name = learner.arm.name.clone();
    let device = &learner.trainable.student.device().without_autodiff();
    let inputs = setup.random(train.batch_size, device).seen_by(role);
    let mut optimizer = Optimizer::new(&train.optimizer);
    let mut best = f64::INFINITY;
    for index in 0..=MEASURED {
        let start = Instant::now();
        let micro = Micro { inputs: inputs.clone(), epoch: 1, step: 1 };
        let mut grads = backward(&learner, &micro, teacher)?.grads;
        learner.trainable = optimizer.step(1e-9, learner.trainable, &mut grads);
        if index > 0 {
            best = best.min(start.elapsed().as_secs_f64());
        }
    }
    let network = learner.trainable.student.valid();
    let batches = setup.train_loader(train)?.steps();
    let validation = setup.splits.validation.as_ref().map_or(0, |images| images.len());
    let validated = match validation {
        0 => 0.0,
        images => looks.seconds(setup, &network, role, &setup.judge.quick())? * (images * train.epochs) as f64,
    };
    // The last epoch, and the best one where images were kept to choose it.
    let tests = 1 + usize::from(validation > 0);
    let tested = looks.seconds(setup, &network, role, &setup.judge)? * (tests * setup.splits.test.len()) as f64;
    let step_seconds = best * train.accumulate as f64;
    let seconds = best * (batches * train.epochs) as f64 + validated + tested;
    let runs = if role == Role::Teacher { 1 } else { setup.recipe.trainings().len() };
    let steps = batches.div_ceil(train.accumulate) * train.epochs;
    Ok(TimePart { name, step_seconds, steps, runs, seconds: seconds * runs as f64 })
}

/// Images as the evaluation sees them: of the size of the first test image, with labels of the size of its file.
struct Looks {
    student: [usize; 3],
    teacher: [usize; 3],
    targets: Targets,
}

impl Looks {
    fn new(setup: &Setup) -> Result<Self, TrainError> {
        let splits = &setup.splits;
        let Some(batch) = splits.eval_loader(&splits.test, 1)?.epoch(0, 0).next().transpose()? else {
            return Err(TrainError::Wiring("no test image can be decoded".into()));
        };
        let sides = |view: &View| [view.shape[1], view.shape[2], view.shape[3]];
        let student = sides(&batch.student);
        let teacher = batch.teacher.as_ref().map_or(student, sides);
        let size = match &batch.targets {
            Targets::Masks(masks) => {
                masks.first().map_or([student[1], student[2]], |mask| [mask.height(), mask.width()])
            }
            Targets::Classes(_) => [student[1], student[2]],
        };
        let mut stream = Stream::new(setup.recipe.seed).with("plan").with("test");
        let targets = task::random(setup.judge.task, 1, size, splits.classes.len(), &mut stream);
        Ok(Self { student, teacher, targets })
    }

    /// `count` random images with the labels of one of them each.
    fn batch(&self, count: usize, role: Role, device: &Device) -> (Tensor<4>, Targets) {
        let [channels, height, width] = if role == Role::Teacher { self.teacher } else { self.student };
        let shape = [count, channels, height, width];
        let images = Tensor::random(shape, burn::tensor::Distribution::Normal(0.0, 1.0), device);
        let targets = match &self.targets {
            Targets::Classes(classes) => Targets::Classes(classes.iter().copied().cycle().take(count).collect()),
            Targets::Masks(masks) => Targets::Masks(masks.iter().cloned().cycle().take(count).collect()),
        };
        (images, targets)
    }

    /// Seconds in which an image is judged: network, up-sampling, class of each pixel, counts.
    fn seconds(&self, setup: &Setup, network: &Network, role: Role, judge: &Judge) -> Result<f64, TrainError> {
        let network = network.fold_batch_norm(&[]);
        // Windows and scales look at one image at a time.
        let count = if judge.options.is_quick() { setup.eval_batch(&setup.recipe.train) } else { 1 };
        let (images, targets) = self.batch(count, role, &network.device());
        let mut tally = judge.tally()?;
        let start = Instant::now();
        judge.add(&network, images, &targets, &mut tally)?;
        Ok(start.elapsed().as_secs_f64() / count as f64)
    }

    /// The same of a teacher with prompts in it.
    fn prompted(&self, setup: &Setup, work: &Prompted) -> Result<f64, TrainError> {
        let (network, prompts) = (work.network.valid(), work.prompts.valid());
        let count = setup.eval_batch(&setup.recipe.train);
        let (images, targets) = self.batch(count, Role::Teacher, &network.device());
        let mut tally = setup.judge.tally()?;
        let start = Instant::now();
        tally.add(&crate::prompts::run(&network, &prompts, images)?.0, &targets)?;
        Ok(start.elapsed().as_secs_f64() / count as f64)
    }
}

/// The learning of frequency prompts, with its passes over the test images: without, with fresh and with learned ones.
fn prompts(
    setup: &Setup,
    looks: &Looks,
    given: &PromptRecipe,
    teacher: &Network,
    device: &Device,
) -> Result<TimePart, TrainError> {
    let work = Prompted::new(setup, given, teacher, device)?;
    let inputs = setup.random(given.batch_size, device);
    let mut best = f64::INFINITY;
    for index in 0..=MEASURED {
        let start = Instant::now();
        let parts = work.parts(&inputs)?.into_iter().map(|part| part.value * part.weight);
        let Some(loss) = parts.reduce(|sum, part| sum + part) else { continue };
        let forward = scalar(loss.clone());
        if !forward.is_finite() {
            return Err(TrainError::Wiring(format!("the loss of the prompts is {forward} for random images")));
        }
        drop(GradientsParams::from_grads(loss.backward(), &work.prompts));
        if index > 0 {
            best = best.min(start.elapsed().as_secs_f64());
        }
    }
    let plain = looks.seconds(setup, teacher, Role::Teacher, &setup.judge.quick())?;
    let tested = (plain + 2.0 * looks.prompted(setup, &work)?) * setup.splits.test.len() as f64;
    let seconds = best * given.steps as f64 + tested;
    Ok(TimePart { name: "prompts".into(), step_seconds: best, steps: given.steps, runs: 1, seconds })
}
