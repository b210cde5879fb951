//! The end of an epoch and the end of an arm: validation, the best epoch, the test, the records.
use std::collections::BTreeMap;

use subband_data::Skipped;
use subband_models::{ModelError, Network, StateDict, weights};

use super::arm::Loop;
use super::folder::write_json;
use super::progress::{Event, Progress};
use super::{auto, go_on};
use crate::TrainError;
use crate::checkpoint::Best;
use crate::evaluate::{Evaluation, evaluate_with};
use crate::evidence::{ArmResult, EpochRecord, EpochResult, MetricLine, Scores};

/// Which images.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Split {
    Validation,
    Test,
}

/// Writes a network's weights; a full disk reads the same as for every other file.
fn write_weights(path: &std::path::Path, state: &StateDict) -> Result<(), TrainError> {
    weights::write_safetensors(path, state).map_err(|error| match error {
        ModelError::Io { source, path, .. } => TrainError::Write { path, source },
        other => TrainError::model("student", other),
    })
}

impl Loop<'_> {
    /// Evaluates; a stop names this arm and step.
    fn evaluate(&self, network: &Network, split: Split, progress: &mut dyn Progress) -> Result<Evaluation, TrainError> {
        let run = self.run;
        let splits = &run.setup.splits;
        let (images, name, judge) = match (&splits.validation, split) {
            (Some(images), Split::Validation) => (images, "validation", run.setup.judge.quick()),
            _ => (&splits.test, "test", run.setup.judge.clone()),
        };
        let loader = splits.eval_loader(images, run.setup.eval_batch(run.train))?;
        let mut told = |done, total| progress.event(Event::Evaluating { split: name, done, total });
        evaluate_with(network, &loader, run.role, &judge, &mut told).map_err(|error| match error {
            TrainError::Stopped { .. } => TrainError::Stopped { arm: self.name.clone(), step: self.meta.step },
            other => other,
        })
    }

    /// Validation, best epoch, weights, metrics, checkpoint: in the order in which a crash between them does no harm.
    pub(super) fn end_epoch(&mut self, epoch: usize, progress: &mut dyn Progress) -> Result<(), TrainError> {
        let student = &self.run.setup.exported(&self.learner.trainable.student);
        let val = match self.run.setup.splits.validation {
            Some(_) => Some(self.evaluate(student, Split::Validation, progress)?.scores),
            None => None,
        };
        // The first among equals.
        let best = val.as_ref().filter(|val| self.meta.best.as_ref().is_none_or(|best| val.better_than(&best.val())));
        let state = student.state_dict();
        let is_best = best.is_some();
        if let Some(val) = best {
            write_weights(&self.run.folder.best(), &state)?;
            self.meta.best = Some(Best::new(epoch, val));
        }
        write_weights(&self.run.folder.last(), &state)?;
        let skipped = self.skipped();
        if !skipped.is_empty() {
            let skipped: Vec<Skipped> = skipped.into_iter().map(|(index, error)| Skipped { index, error }).collect();
            write_json(&self.run.folder.file("skipped.json"), &skipped)?;
        }
        let record = self.epoch_record(epoch, val);
        self.metrics.push(&MetricLine::Epoch(record.clone()))?;
        self.meta.epochs_done = epoch;
        self.meta.step_in_epoch = 0;
        (self.meta.epoch_seconds, self.meta.epoch_images) = (0.0, 0);
        self.meta.epoch_sums.clear();
        self.checkpoint()?;
        go_on(progress.event(Event::EpochEnded { record: &record, best: is_best }), &self.name, self.meta.step)
    }

    fn epoch_record(&self, epoch: usize, val: Option<Scores>) -> EpochRecord {
        let images = self.meta.epoch_images.max(1) as f64;
        let mean = |(name, bits): (&String, &u64)| (name.clone(), f64::from_bits(*bits) / images);
        let seconds = self.meta.epoch_seconds;
        EpochRecord {
            epoch,
            step: self.meta.step,
            train: self.meta.epoch_sums.iter().map(mean).collect::<BTreeMap<_, _>>(),
            val,
            seconds,
            images_per_second: if seconds > 0.0 { self.meta.epoch_images as f64 / seconds } else { 0.0 },
            skipped: self.skipped().len(),
        }
    }

    /// Tests the last and the best epoch.
    pub(super) fn finish(self, progress: &mut dyn Progress) -> Result<ArmResult, TrainError> {
        let student = &self.run.setup.exported(&self.learner.trainable.student);
        let epochs = self.run.train.epochs;
        let test = self.evaluate(student, Split::Test, progress)?;
        let last = epoch_result(epochs, self.last_validation(), test);
        let best = match &self.meta.best {
            // Without validation images there is no better guess than the last epoch.
            None => {
                write_weights(&self.run.folder.best(), &student.state_dict())?;
                last.clone()
            }
            Some(best) if best.epoch == epochs => last.clone(),
            Some(best) => {
                let mut network = student.clone();
                let state = weights::read(&self.run.folder.best()).map_err(|e| TrainError::model("best weights", e))?;
                network.load(&state).map_err(|e| TrainError::model("best weights", e))?;
                let test = self.evaluate(&network, Split::Test, progress)?;
                epoch_result(best.epoch, Some(best.val()), test)
            }
        };
        let [_, height, width] = self.run.setup.shape(self.run.role);
        let mut terms: Vec<String> = if self.learner.arm.task_weight > 0.0 { vec!["task".into()] } else { Vec::new() };
        terms.extend(self.learner.arm.terms.iter().map(|term| term.name.clone()));
        Ok(ArmResult {
            name: self.learner.arm.name.clone(),
            slug: self.run.slug.clone(),
            seed: self.run.seed,
            network: student.name().into(),
            params: student.param_count(),
            macs: student.macs(height, width).map_err(|e| TrainError::model("student", e))?,
            epochs,
            steps: self.meta.step,
            seconds: self.meta.seconds,
            aux_params: self.learner.aux_params(),
            best,
            last,
            terms,
            auto_weights: auto::weights(&self.learner),
        })
    }

    /// Validation figures of the last epoch, read back from the metrics, because a resumed run did not compute them.
    fn last_validation(&self) -> Option<Scores> {
        let text = std::fs::read_to_string(self.run.folder.file("metrics.jsonl")).ok()?;
        let line = text.lines().rev().find_map(|line| match serde_json::from_str::<MetricLine>(line) {
            Ok(MetricLine::Epoch(record)) => Some(record),
            _ => None,
        })?;
        line.val
    }
}

fn epoch_result(epoch: usize, val: Option<Scores>, test: Evaluation) -> EpochResult {
    EpochResult { epoch, val, test: test.scores, classes: test.classes }
}
