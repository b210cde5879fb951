//! The phase between the teacher and the arms in which frequency prompts are learned (`[prompts]`).
//!
//! ```text
//! prompts.safetensors              the learned prompts
//! prompts/metrics.jsonl            a line per step
//! prompts/checkpoint.safetensors   prompts and optimiser state
//! prompts/masks.json               masks over a few test images
//! prompts/result.json              when the phase is done
//! prompts/nonfinite/               state before a step that gave NaN
//! ```
mod evidence;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

use burn::optim::GradientsParams;
use burn::prelude::*;
use burn::tensor::TensorData;
use subband_data::Batch;
use subband_distill::{DistillError, PromptSets, Prompts};
use subband_models::Network;

use crate::checkpoint::{Checkpoint, Meta};
use crate::evidence::{MetricLine, MetricsFile, PromptResult, Scores, StepRecord};
use crate::learner::Inputs;
use crate::optimizer::{Optimizer, OptimizerState};
use crate::prompts::Prompted;
use crate::recipe::PromptRecipe;
use crate::schedule::LearningRate;
use crate::setup::Setup;
use crate::{TrainError, gradients, task};

use super::folder::{ArmFolder, write_json};
use super::go_on;
use super::nonfinite::{self, Replay};
use super::progress::{Event, Progress};
use super::step::scalar;

/// Name of the phase in events, messages and its checkpoint.
pub(super) const NAME: &str = "prompts";

/// What the phase needs.
pub(super) struct PromptRun<'a> {
    pub setup: &'a Setup,
    pub recipe: &'a PromptRecipe,
    pub folder: &'a ArmFolder,
    /// Where the learned prompts go.
    pub file: PathBuf,
    pub fingerprint: String,
    /// Device without autodiff.
    pub device: Device,
    /// Place among the arms.
    pub index: usize,
    pub teacher: &'a Network,
    /// The teacher's own test figures.
    pub scores: Scores,
}

/// The phase at work.
struct Loop<'a> {
    run: &'a PromptRun<'a>,
    work: Prompted,
    optimizer: Optimizer,
    meta: Meta,
    rate: LearningRate,
    metrics: MetricsFile,
    /// Whether the proof of life is still to come.
    unproved: bool,
}

impl PromptRun<'_> {
    /// Learns the prompts from their start or from the checkpoint, or returns the result of an earlier session.
    pub fn run(self, progress: &mut dyn Progress) -> Result<PromptResult, TrainError> {
        if let Some(result) = self.folder.stamped::<PromptResult>("result.json", &self.fingerprint)?
            && self.file.exists()
        {
            go_on(progress.event(Event::ArmSkipped { name: NAME, index: self.index }), NAME, result.steps)?;
            return Ok(result);
        }
        self.folder.create()?;
        let mut phase = self.start()?;
        let started = Event::PromptsStarted {
            index: self.index,
            steps: self.recipe.steps,
            batch_size: self.recipe.batch_size,
            done_steps: phase.meta.step,
            used: self.setup.recipe.arms.iter().any(crate::setup::learned_prompts),
        };
        go_on(progress.event(started), NAME, phase.meta.step)?;
        phase.learn(progress)?;
        let result = phase.finish(progress)?;
        self.folder.write_stamped("result.json", &self.fingerprint, &result)?;
        go_on(progress.event(Event::PromptsEnded { result: &result }), NAME, result.steps)?;
        Ok(result)
    }

    /// The loop at its beginning or at the checkpoint.
    fn start(&self) -> Result<Loop<'_>, TrainError> {
        let mut work = Prompted::new(self.setup, self.recipe, self.teacher, &self.device)?;
        let mut optimizer = Optimizer::new(&self.recipe.optimizer);
        let path = self.folder.checkpoint();
        let mut meta = Meta::start(NAME, &self.fingerprint);
        if path.exists() {
            let checkpoint = Checkpoint::read(&path, NAME, &self.fingerprint)?;
            let bad = |message: String| TrainError::Checkpoint { path: path.clone(), message };
            work.prompts = load(&work.prompts, &checkpoint.section("prompts."))
                .map_err(|e| bad(format!("does not fit the prompts ({e})")))?;
            let (tensors, counters) = (checkpoint.section("optimizer."), checkpoint.meta.counters.clone());
            optimizer.load(&work.prompts, OptimizerState { tensors, counters }, &self.device);
            meta = checkpoint.meta;
        }
        let rate = LearningRate {
            base: self.recipe.optimizer.lr(),
            schedule: self.recipe.schedule.clone(),
            warmup_epochs: 0.0,
            // The schedule runs once over all steps, whatever the number of images.
            epochs: 1,
            steps_per_epoch: self.recipe.steps,
        };
        let metrics = MetricsFile::open(&self.folder.file("metrics.jsonl"), meta.step, 0)?;
        let unproved = meta.step == 0;
        Ok(Loop { run: self, work, optimizer, meta, rate, metrics, unproved })
    }
}

/// Prompts by `<tap>.<set>`.
fn state(prompts: &Prompts) -> BTreeMap<String, TensorData> {
    let of = |(tap, sets): (&str, &PromptSets)| {
        let named = sets.state_dict().into_iter();
        named.map(|(set, data)| (format!("{tap}.{set}"), data)).collect::<Vec<_>>()
    };
    prompts.iter().flat_map(of).collect()
}

/// The same prompts with saved values.
fn load(prompts: &Prompts, saved: &BTreeMap<String, TensorData>) -> Result<Prompts, DistillError> {
    let part = |tap: &str| {
        // A set's name has no dot, a tap's may have one.
        let sets = saved.iter().filter_map(|(name, data)| match name.rsplit_once('.') {
            Some((own, set)) if own == tap => Some((set.to_string(), data.clone())),
            _ => None,
        });
        sets.collect()
    };
    let filled = prompts.iter().map(|(tap, sets)| Ok((tap.to_string(), sets.clone().load(&part(tap))?)));
    Ok(Prompts::new(filled.collect::<Result<_, DistillError>>()?))
}

impl Loop<'_> {
    /// The remaining steps, over as many passes through the training images as they take.
    fn learn(&mut self, progress: &mut dyn Progress) -> Result<(), TrainError> {
        let loader = self.run.setup.loader(self.run.recipe.batch_size)?;
        let (steps, per_epoch) = (self.run.recipe.steps, loader.steps());
        let mut seen = self.meta.step > 0;
        while self.meta.step < steps {
            let (done, within) = (self.meta.step / per_epoch, self.meta.step % per_epoch);
            let (start, end) = (done * per_epoch, (done + 1) * per_epoch);
            let mut batches = loader.epoch(done + 1, within);
            // A step whose images are all corrupt has no batch. It counts, so that a resumed run has the same steps.
            while self.meta.step < steps.min(end) {
                let batch = batches.next().transpose()?;
                self.meta.step = batch.as_ref().map_or(end, |batch| start + batch.step).min(steps);
                if let Some(batch) = batch.filter(|batch| start + batch.step < steps) {
                    seen = true;
                    self.batch(done + 1, batch, progress)?;
                }
            }
            if self.unproved && steps >= end {
                return Err(TrainError::Wiring(task::nothing_to_learn(seen)));
            }
        }
        self.checkpoint()
    }

    /// One batch: a step, its record, and a checkpoint if it is time for one.
    fn batch(&mut self, epoch: usize, batch: Batch, progress: &mut dyn Progress) -> Result<(), TrainError> {
        let start = Instant::now();
        let images = batch.len();
        let record = self.step(epoch, batch)?;
        self.meta.step += 1;
        self.meta.seconds += start.elapsed().as_secs_f64();
        let terms: Vec<(String, f64)> = record.terms.iter().map(|(name, value)| (name.clone(), *value)).collect();
        let StepRecord { epoch, step, lr, loss, .. } = record;
        self.metrics.push(&MetricLine::Step(record))?;
        go_on(progress.event(Event::Step { epoch, step, images, lr, loss, terms: &terms }), NAME, step)?;
        let every = self.run.recipe.checkpoint_every;
        if self.meta.step.is_multiple_of(every) && self.meta.step < self.run.recipe.steps {
            self.checkpoint()?;
        }
        Ok(())
    }

    /// One optimiser step.
    fn step(&mut self, epoch: usize, batch: Batch) -> Result<StepRecord, TrainError> {
        let (step, lr) = (self.meta.step + 1, self.rate.at(self.meta.step));
        let indices = vec![batch.indices.clone()];
        let labelled = task::has_labels(&batch.targets, batch.len());
        let inputs = Inputs::new(batch, &self.run.device);
        if self.unproved && labelled {
            self.work.prove(&inputs)?;
            self.unproved = false;
        }
        let parts = self.work.parts(&inputs)?;
        let (mut terms, mut weights, mut loss) = (BTreeMap::new(), BTreeMap::new(), 0.0);
        for part in &parts {
            let value = scalar(part.value.clone());
            if !value.is_finite() {
                return Err(self.stop(&part.name, value, (epoch, lr), indices));
            }
            loss += part.weight * value;
            terms.insert(part.name.clone(), value);
            weights.insert(part.name.clone(), part.weight);
        }
        // The task's part is always there.
        let total = parts.into_iter().map(|part| part.value * part.weight).reduce(|sum, part| sum + part);
        let Some(total) = total else { return Err(TrainError::Wiring("the prompts have no loss".into())) };
        let mut grads = GradientsParams::from_grads(total.backward(), &self.work.prompts);
        let norm = gradients::norm(&self.work.prompts, &grads);
        if let (false, place) = (norm.value.is_finite(), norm.not_finite.unwrap_or_default()) {
            return Err(self.stop(&format!("gradient norm (first at {place})"), norm.value, (epoch, lr), indices));
        }
        if let Some(limit) = self.run.recipe.clip_norm {
            gradients::clip(&self.work.prompts, &mut grads, norm.value, limit);
        }
        self.work.prompts = self.optimizer.step(lr, self.work.prompts.clone(), &mut grads);
        Ok(StepRecord { epoch, step, lr, loss, terms, weights, grad_norm: norm.value })
    }

    fn capture(&self) -> Checkpoint {
        let mut meta = self.meta.clone();
        let named = |prefix: &str, state: BTreeMap<String, TensorData>| -> Vec<(String, TensorData)> {
            state.into_iter().map(|(name, data)| (format!("{prefix}{name}"), data)).collect()
        };
        let optimizer = self.optimizer.state(&self.work.prompts);
        meta.counters = optimizer.counters;
        let tensors = named("prompts.", state(&self.work.prompts)).into_iter();
        Checkpoint { meta, tensors: tensors.chain(named("optimizer.", optimizer.tensors)).collect() }
    }

    fn checkpoint(&mut self) -> Result<(), TrainError> {
        self.metrics.sync()?;
        self.capture().write(&self.run.folder.checkpoint())
    }

    /// Saves the state before a step that gave NaN or infinity.
    fn stop(&self, what: &str, value: f64, (epoch, lr): (usize, f64), indices: Vec<Vec<usize>>) -> TrainError {
        let replay = Replay {
            what: what.into(),
            value: value.to_string(),
            arm: NAME.into(),
            epoch,
            step: self.meta.step + 1,
            lr,
            indices,
            recipe: "../../recipe.toml".into(),
            checkpoint: "checkpoint.safetensors".into(),
        };
        nonfinite::save(self.run.folder, replay, self.capture())
    }

    /// Writes the prompts, the pictures, and what the teacher does with fresh and with learned prompts.
    fn finish(self, progress: &mut dyn Progress) -> Result<PromptResult, TrainError> {
        let run = self.run;
        let (learned, network) = (self.work.prompts.valid(), self.work.network.valid());
        let fresh = crate::prompts::fresh(run.setup, run.recipe, &run.device)?;
        let compared = evidence::compare(run, &network, [&fresh, &learned], progress)?;
        let pictures = evidence::pictures(run, &network, &learned)?;
        write_json(&run.folder.file("masks.json"), &pictures)?;
        // Reads like a failure of every other file, a full disk for example.
        let failed = |error: DistillError| std::io::Error::other(error.to_string());
        learned
            .write(&run.file)
            .map_err(|error| TrainError::Write { path: run.file.clone(), source: failed(error) })?;
        let taps = learned.iter().zip(compared.dissimilarities);
        Ok(PromptResult {
            file: run.file.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            steps: self.meta.step,
            seconds: self.meta.seconds,
            params: learned.num_params(),
            tokens: run.recipe.config.tokens,
            // A teacher that is tested in windows or at several scales is compared with itself without them.
            teacher: if run.setup.judge.options.is_quick() { run.scores.clone() } else { compared.plain },
            start: compared.start,
            end: compared.end,
            zero_difference: compared.zero_difference,
            start_difference: compared.start_difference,
            taps: taps.map(|((tap, sets), d)| evidence::tap(tap, sets, d)).collect(),
        })
    }
}

#[cfg(test)]
mod tests;
