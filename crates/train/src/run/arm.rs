//! The training loop of one arm.
use std::collections::BTreeMap;
use std::time::Instant;

use burn::prelude::*;
use subband_data::{Batch, Loader};
use subband_models::Network;

use crate::TrainError;
use crate::checkpoint::{Checkpoint, Meta};
use crate::evidence::{ArmResult, MetricLine, MetricsFile, Proof, StepRecord};
use crate::gradients::Mean;
use crate::learner::{Inputs, Learner};
use crate::optimizer::Optimizer;
use crate::recipe::TrainRecipe;
use crate::schedule::LearningRate;
use crate::setup::{Role, Setup};
use crate::task;

use super::folder::{ArmFolder, write_json};
use super::nonfinite::{self, Replay};
use super::progress::{Event, Progress};
use super::step::{Micro, NotFinite, Outcome, finite_norm, try_backward, update};
use super::{auto, go_on, proof, state};

/// What an arm needs.
pub(super) struct ArmRun<'a> {
    pub setup: &'a Setup,
    pub folder: &'a ArmFolder,
    pub slug: String,
    /// The seed, if it is one of several.
    pub seed: Option<u64>,
    pub fingerprint: String,
    pub train: &'a TrainRecipe,
    pub role: Role,
    pub device: Device,
    /// Place among the arms.
    pub index: usize,
    /// Folded teacher on the device without autodiff.
    pub teacher: Option<&'a Network>,
}

/// An arm at work.
pub(super) struct Loop<'a> {
    pub run: &'a ArmRun<'a>,
    pub learner: Learner,
    optimizer: Optimizer,
    pub meta: Meta,
    rate: LearningRate,
    pub loader: Loader,
    pub metrics: MetricsFile,
    pub name: String,
    /// What the proof of life showed, unless an earlier session began the arm.
    proof: Option<Proof>,
}

impl ArmRun<'_> {
    /// Trains the arm from its start or from its checkpoint, or returns the result of an earlier session.
    pub fn run(self, learner: Learner, progress: &mut dyn Progress) -> Result<ArmResult, TrainError> {
        let name = learner.arm.label_of(self.seed);
        if let Some(result) = self.folder.result(&self.fingerprint)? {
            go_on(progress.event(Event::ArmSkipped { name: &name, index: self.index }), &name, result.steps)?;
            return Ok(result);
        }
        let mut work = self.start(learner)?;
        let started = Event::ArmStarted {
            name: &name,
            index: self.index,
            epochs: self.train.epochs,
            steps_per_epoch: work.rate.steps_per_epoch,
            done_steps: work.meta.step,
            images_per_epoch: work.loader.samples(),
        };
        go_on(progress.event(started), &name, work.meta.step)?;
        if let Some(proof) = &work.proof {
            go_on(progress.event(Event::Proved { name: &name, proof }), &name, work.meta.step)?;
        }
        while work.meta.epochs_done < self.train.epochs {
            work.epoch(progress)?;
        }
        let result = work.finish(progress)?;
        self.folder.write_result(&self.fingerprint, &result)?;
        go_on(progress.event(Event::ArmEnded { result: &result }), &name, result.steps)?;
        Ok(result)
    }

    /// The loop at its beginning or at the checkpoint.
    fn start(&self, learner: Learner) -> Result<Loop<'_>, TrainError> {
        let mut optimizer = Optimizer::new(&self.train.optimizer);
        let path = self.folder.checkpoint();
        let loader = self.setup.train_loader(self.train)?;
        let (learner, meta, proof) = if path.exists() {
            let checkpoint = Checkpoint::read(&path, &self.slug, &self.fingerprint)?;
            let (learner, meta) = state::restore(&path, checkpoint, learner, &mut optimizer, &self.device)?;
            (learner, meta, None)
        } else {
            let proof = self.prove(&learner, &loader)?;
            (learner, Meta::start(&self.slug, &self.fingerprint), Some(proof))
        };
        let rate = LearningRate {
            base: self.train.optimizer.lr(),
            schedule: self.train.schedule.clone(),
            warmup_epochs: self.train.warmup_epochs,
            epochs: self.train.epochs,
            steps_per_epoch: loader.steps().div_ceil(self.train.accumulate),
        };
        let metrics = MetricsFile::open(&self.folder.file("metrics.jsonl"), meta.step, meta.epochs_done)?;
        let name = learner.arm.label_of(self.seed);
        Ok(Loop { run: self, learner, optimizer, meta, rate, loader, metrics, name, proof })
    }

    /// The proof of life on the first images; the arm's folder is made once it stands.
    fn prove(&self, learner: &Learner, loader: &Loader) -> Result<Proof, TrainError> {
        let inputs = Inputs::new(self.first_batch(loader)?, &self.device).seen_by(self.role);
        let proof = proof::prove(learner, &inputs, self.teacher)?;
        self.folder.create()?;
        write_json(&self.folder.file("proof.json"), &proof)?;
        Ok(proof)
    }

    /// The first batch that shows something: skipped corrupt images can leave one with a single image, and all pixels
    /// of the first images may be ignored.
    fn first_batch(&self, loader: &Loader) -> Result<Batch, TrainError> {
        let wanted = self.train.batch_size.min(2);
        let (mut found, mut seen): (Option<Batch>, bool) = (None, false);
        for batch in loader.epoch(1, 0) {
            let batch = batch?;
            seen = true;
            if task::has_labels(&batch.targets, proof::IMAGES)
                && batch.len() > found.as_ref().map_or(0, |found| found.len())
            {
                found = Some(batch);
            }
            if found.as_ref().is_some_and(|found| found.len() >= wanted) {
                break;
            }
        }
        found.ok_or_else(|| TrainError::Wiring(task::nothing_to_learn(seen)))
    }
}

impl Loop<'_> {
    /// The rest of the running epoch, then its evaluation and checkpoint.
    fn epoch(&mut self, progress: &mut dyn Progress) -> Result<(), TrainError> {
        let epoch = self.meta.epochs_done + 1;
        let accumulate = self.run.train.accumulate;
        let mut batches = self.loader.epoch(epoch, self.meta.step_in_epoch * accumulate).peekable();
        // A step whose images are all corrupt has no batch. It counts, so that a resumed run has the same steps.
        while self.meta.step_in_epoch < self.rate.steps_per_epoch {
            let start = Instant::now();
            let place = self.meta.step_in_epoch;
            let mut micros = Vec::new();
            while micros.len() < accumulate {
                let belongs = |batch: &Result<Batch, _>| batch.as_ref().map_or(true, |b| b.step / accumulate == place);
                let Some(batch) = batches.next_if(belongs) else { break };
                micros.push(batch?);
            }
            let before = self.meta.auto.clone();
            let record = if micros.is_empty() { None } else { Some(self.step(epoch, micros)?) };
            self.meta.step += 1;
            self.meta.step_in_epoch += 1;
            let seconds = start.elapsed().as_secs_f64();
            self.meta.seconds += seconds;
            self.meta.epoch_seconds += seconds;
            if let Some((record, images)) = record {
                self.report(record, images, progress)?;
            }
            if auto::ends(&before, &self.meta.auto) {
                let weights = &auto::weights(&self.learner);
                let frozen = Event::WeightsFrozen { name: &self.name, steps: auto::STEPS, weights };
                go_on(progress.event(frozen), &self.name, self.meta.step)?;
            }
            let every = self.run.train.checkpoint_every;
            let at_end = self.meta.step_in_epoch >= self.rate.steps_per_epoch;
            if every.is_some_and(|every| self.meta.step.is_multiple_of(every)) && !at_end {
                self.checkpoint()?;
            }
        }
        self.end_epoch(epoch, progress)
    }

    /// One optimiser step over its micro-batches; gives its record and image count.
    fn step(&mut self, epoch: usize, micros: Vec<Batch>) -> Result<(StepRecord, usize), TrainError> {
        let step = self.meta.step + 1;
        let lr = self.rate.at(self.meta.step);
        let before = self.learner.trainable.clone();
        let indices: Vec<Vec<usize>> = micros.iter().map(|batch| batch.indices.clone()).collect();
        let noise = self.run.setup.noise(epoch, step);
        let to_inputs = |batch| Inputs::new(batch, &self.run.device).seen_by(self.run.role).at(noise);
        let micros: Vec<Inputs> = micros.into_iter().map(to_inputs).collect();
        let teacher = self.run.teacher;
        let measured = auto::measure(&mut self.learner, &self.meta.auto, &micros, teacher, (epoch, step))?;
        let mut mean = Mean::new();
        let mut sums: Vec<(String, f64, f64)> = Vec::new();
        let mut images = 0;
        for inputs in micros {
            let count = inputs.count;
            let pass = match try_backward(&self.learner, &Micro { inputs, epoch, step }, teacher)? {
                Outcome::Done(pass) => pass,
                Outcome::NotFinite(bad) => return Err(self.stop(bad, epoch, lr, indices, &before)),
            };
            mean.add(&self.learner.trainable, pass.grads);
            add_terms(&mut sums, pass.terms, count);
            images += count;
        }
        let grads = mean.take(&self.learner.trainable);
        let norm = match finite_norm(&self.learner.trainable, &grads) {
            Ok(norm) => norm,
            Err(bad) => return Err(self.stop(bad, epoch, lr, indices, &before)),
        };
        drop(before);
        // Only now: a replay of a step that failed measures again.
        self.meta.auto = measured;
        update(&mut self.learner, &mut self.optimizer, grads, (norm, self.run.train.clip_norm), lr);
        Ok((self.record(epoch, lr, sums, images, norm), images))
    }

    /// Adds a step to the epoch's sums and makes its record.
    fn record(
        &mut self,
        epoch: usize,
        lr: f64,
        sums: Vec<(String, f64, f64)>,
        images: usize,
        grad_norm: f64,
    ) -> StepRecord {
        let n = images as f64;
        let loss: f64 = sums.iter().map(|(_, sum, weight)| weight * sum / n).sum();
        let totals = sums.iter().map(|(name, sum, _)| (name.as_str(), *sum));
        for (name, sum) in totals.chain([("loss", loss * n)]) {
            let bits = self.meta.epoch_sums.entry(name.to_string()).or_insert(0.0_f64.to_bits());
            *bits = (f64::from_bits(*bits) + sum).to_bits();
        }
        self.meta.epoch_images += images;
        let weights = sums.iter().map(|(name, _, weight)| (name.clone(), *weight)).collect();
        let terms = sums.into_iter().map(|(name, sum, _)| (name, sum / n)).collect();
        StepRecord { epoch, step: self.meta.step + 1, lr, loss, terms, weights, grad_norm }
    }

    fn report(&mut self, record: StepRecord, images: usize, progress: &mut dyn Progress) -> Result<(), TrainError> {
        let terms: Vec<(String, f64)> = record.terms.iter().map(|(name, value)| (name.clone(), *value)).collect();
        let StepRecord { epoch, step, lr, loss, .. } = record;
        self.metrics.push(&MetricLine::Step(record))?;
        go_on(progress.event(Event::Step { epoch, step, images, lr, loss, terms: &terms }), &self.name, step)
    }

    /// Saves the state before a step that gave NaN or infinity.
    fn stop(
        &self,
        bad: NotFinite,
        epoch: usize,
        lr: f64,
        indices: Vec<Vec<usize>>,
        before: &crate::learner::Trainable,
    ) -> TrainError {
        let replay = Replay {
            what: bad.name,
            value: bad.value.to_string(),
            arm: self.name.clone(),
            epoch,
            step: self.meta.step + 1,
            lr,
            indices,
            recipe: "../../../recipe.toml".into(),
            checkpoint: "checkpoint.safetensors".into(),
        };
        nonfinite::save(self.run.folder, replay, state::capture(before, &self.optimizer, self.meta.clone()))
    }

    /// Images left out so far, those of earlier sessions too.
    pub fn skipped(&self) -> BTreeMap<usize, String> {
        let mut all = self.meta.skipped.clone();
        all.extend(self.loader.skipped().into_iter().map(|skipped| (skipped.index, skipped.error)));
        all
    }

    pub fn checkpoint(&mut self) -> Result<(), TrainError> {
        self.meta.skipped = self.skipped();
        self.metrics.sync()?;
        state::capture(&self.learner.trainable, &self.optimizer, self.meta.clone()).write(&self.run.folder.checkpoint())
    }
}

/// Sums `value * images` per part, in the order of the parts.
fn add_terms(sums: &mut Vec<(String, f64, f64)>, terms: Vec<(String, f64, f64)>, images: usize) {
    for (name, value, weight) in terms {
        match sums.iter_mut().find(|(known, _, _)| *known == name) {
            Some((_, sum, _)) => *sum += value * images as f64,
            None => sums.push((name, value * images as f64, weight)),
        }
    }
}
