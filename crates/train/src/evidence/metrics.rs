//! `metrics.jsonl`: one JSON object per line, appended while the arm trains.
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use super::MetricLine;
use crate::{TrainError, files};

/// The open metrics file of an arm.
#[derive(Debug)]
pub struct MetricsFile {
    path: PathBuf,
    file: File,
}

impl MetricsFile {
    /// Opens the file with the lines up to optimiser step `done_steps` and epoch `done_epochs`: what an interrupted
    /// run wrote after its last checkpoint is cut off, because it will be written again. A half-written last line
    /// goes too.
    ///
    /// # Errors
    /// [`TrainError::Read`] and [`TrainError::Write`].
    pub fn open(path: &Path, done_steps: usize, done_epochs: usize) -> Result<Self, TrainError> {
        let mut kept = String::new();
        if done_steps > 0 && path.exists() {
            let text = files::read(path)?;
            for line in String::from_utf8_lossy(&text).lines() {
                let keep = match serde_json::from_str::<MetricLine>(line) {
                    Ok(MetricLine::Step(record)) => record.step <= done_steps,
                    Ok(MetricLine::Epoch(record)) => record.epoch <= done_epochs,
                    Err(_) => false,
                };
                if keep {
                    kept.push_str(line);
                    kept.push('\n');
                }
            }
        }
        files::write_atomic(path, kept.as_bytes())?;
        let file = OpenOptions::new().append(true).open(path).map_err(|source| Self::failed(path, source))?;
        Ok(Self { path: path.to_path_buf(), file })
    }

    /// Appends a line in one write.
    ///
    /// # Errors
    /// [`TrainError::Write`].
    pub fn push(&mut self, line: &MetricLine) -> Result<(), TrainError> {
        let write = |file: &mut File| -> std::io::Result<()> {
            let mut text = serde_json::to_string(line)?;
            text.push('\n');
            file.write_all(text.as_bytes())
        };
        write(&mut self.file).map_err(|source| Self::failed(&self.path, source))
    }

    /// Flushes to the disk, so that a checkpoint never runs ahead of its metrics.
    ///
    /// # Errors
    /// [`TrainError::Write`].
    pub fn sync(&mut self) -> Result<(), TrainError> {
        self.file.sync_data().map_err(|source| Self::failed(&self.path, source))
    }

    fn failed(path: &Path, source: std::io::Error) -> TrainError {
        TrainError::Write { path: path.to_path_buf(), source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::{EpochRecord, StepRecord};
    use std::collections::BTreeMap;

    fn step(step: usize) -> MetricLine {
        MetricLine::Step(StepRecord {
            epoch: 1,
            step,
            lr: 0.1,
            loss: 1.0,
            terms: BTreeMap::new(),
            weights: BTreeMap::new(),
            grad_norm: 1.0,
        })
    }

    fn epoch(epoch: usize) -> MetricLine {
        let train = BTreeMap::new();
        MetricLine::Epoch(EpochRecord {
            epoch,
            step: 4 * epoch,
            train,
            val: None,
            seconds: 1.0,
            images_per_second: 1.0,
            skipped: 0,
        })
    }

    #[test]
    fn lines_after_the_checkpoint_are_cut() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        let mut file = MetricsFile::open(&path, 0, 0).unwrap();
        for line in [step(1), step(4), epoch(1), step(5), step(6), step(8), epoch(2)] {
            file.push(&line).unwrap();
        }
        std::fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"kind\":\"st").unwrap();
        MetricsFile::open(&path, 6, 1).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 5, "{text}");
        assert!(text.lines().last().unwrap().contains("\"step\":6"));
        MetricsFile::open(&path, 0, 0).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "");
    }
}
