//! `robustness.json`: what is kept when something else is asked for.
//!
//! Cells are kept as long as they would come out the same: of the same images, the same weights and, for frost, the same
//! pictures. Another choice of corruptions, severities or arms only adds cells; the results are those of the last choice.
use std::path::{Path, PathBuf};

use super::Condition;
use crate::evaluate::Evaluation;
use crate::evidence::{RobustnessCell, RobustnessImages, RobustnessRecord};
use crate::{TrainError, files};

/// Name of the file in a run folder.
pub(super) const FILE: &str = "robustness.json";

/// What is to be measured again.
pub(super) struct Again {
    /// Folders of the networks.
    pub slugs: Vec<String>,
    /// Their cells.
    pub conditions: Vec<Condition>,
}

/// The file of a run with what is known so far.
pub(super) struct RecordFile {
    path: PathBuf,
    pub record: RobustnessRecord,
    /// What was there and is dropped, with the reason.
    pub renewed: Vec<String>,
}

impl RecordFile {
    /// The file with the selection of `fresh`, which has a place without cells for every network of the run. What an
    /// earlier measurement left is taken over, but for the cells that are to be measured `again`.
    ///
    /// # Errors
    /// Unless something is measured again: a damaged file, or one of other images.
    pub fn open(run: &Path, fresh: RobustnessRecord, again: Option<Again>) -> Result<Self, TrainError> {
        let path = run.join(FILE);
        let mut file = Self { path, record: fresh, renewed: Vec::new() };
        match (file.read(), again) {
            (Ok(Some(before)), None) => file.take_over(before),
            (Ok(Some(before)), Some(again)) => {
                file.take_over(before);
                file.forget(&again);
            }
            (Ok(None), _) => {}
            (Err(error), None) => return Err(error),
            (Err(_), Some(_)) => {
                file.renewed.push("what was there is damaged or of other images, and is dropped".into())
            }
        }
        file.summarise();
        Ok(file)
    }

    /// What an earlier measurement left, if it is there.
    fn read(&self) -> Result<Option<RobustnessRecord>, TrainError> {
        if !self.path.exists() {
            return Ok(None);
        }
        let bytes = files::read(&self.path)?;
        let before: RobustnessRecord = serde_json::from_slice(&bytes).map_err(|error| {
            let path = self.path.display();
            TrainError::Robustness(format!("{path} is damaged ({error}); --force measures everything again"))
        })?;
        self.check_images(&before.images)?;
        Ok(Some(before))
    }

    /// Drops the cells that are to be measured again.
    fn forget(&mut self, again: &Again) {
        let named = |cell: &RobustnessCell| {
            let is = |condition: &Condition| {
                (condition.name(), condition.severity()) == (cell.corruption.as_str(), cell.severity)
            };
            again.conditions.iter().any(is)
        };
        for network in self.record.networks.iter_mut().filter(|network| again.slugs.contains(&network.slug)) {
            network.cells.retain(|cell| !named(cell));
        }
    }

    fn take_over(&mut self, mut before: RobustnessRecord) {
        let frost = |cell: &RobustnessCell| cell.corruption == "frost";
        if before.frost != self.record.frost && before.networks.iter().any(|of| of.cells.iter().any(frost)) {
            if self.record.corruptions.iter().any(|name| name == "frost") {
                before.networks.iter_mut().for_each(|network| network.cells.retain(|cell| !frost(cell)));
                self.renewed.push("frost: it was made of other pictures".into());
            } else {
                self.record.frost = before.frost;
            }
        }
        for network in &mut self.record.networks {
            let Some(old) = before.networks.iter_mut().find(|old| old.slug == network.slug) else { continue };
            match (network.weights.is_empty(), old.weights == network.weights) {
                // Not chosen, so that its weights were not looked at.
                (true, _) => *network = old.clone(),
                (false, true) => network.cells = std::mem::take(&mut old.cells),
                (false, false) => self.renewed.push(format!("{}: its weights have changed", network.name)),
            }
        }
    }

    /// Refuses to mix figures of different images.
    fn check_images(&self, before: &RobustnessImages) -> Result<(), TrainError> {
        let (path, now) = (self.path.display(), &self.record.images);
        if before == now {
            return Ok(());
        }
        let text = |images: &RobustnessImages| match images.chosen == images.of {
            true => format!("all {} test images", images.of),
            false => format!("{} of {} test images", images.chosen, images.of),
        };
        let same_set = RobustnessImages { chosen: now.chosen, ..before.clone() } == *now;
        Err(TrainError::Robustness(match same_set {
            true => format!(
                "{path} holds figures on {}, which cannot be mixed with figures on {}; {} continues it, --force \
                 measures everything again",
                text(before),
                text(now),
                if before.chosen == before.of { "no --limit".into() } else { format!("--limit {}", before.chosen) },
            ),
            false => format!(
                "{path} was measured on other data or under another seed or [evaluate]; --force measures everything again"
            ),
        }))
    }

    /// Whether a network has no figures of a cell yet.
    pub fn lacks(&self, slug: &str, condition: Condition) -> bool {
        let network = self.record.networks.iter().find(|network| network.slug == slug);
        network.is_some_and(|network| network.cell(condition.name(), condition.severity()).is_none())
    }

    /// Adds a cell of a network.
    pub fn add(&mut self, slug: &str, condition: Condition, found: &Evaluation) {
        let cell = RobustnessCell {
            corruption: condition.name().into(),
            severity: condition.severity(),
            images: found.images(),
            figures: found.scores.clone(),
        };
        if let Some(network) = self.record.networks.iter_mut().find(|network| network.slug == slug) {
            network.cells.push(cell);
        }
    }

    /// Writes the file, whole or not at all.
    ///
    /// # Errors
    /// A full disk.
    pub fn write(&mut self) -> Result<(), TrainError> {
        self.summarise();
        // A network that was never measured has nothing to say.
        let networks = self.record.networks.iter().filter(|network| !network.cells.is_empty()).cloned().collect();
        let record = RobustnessRecord { networks, ..self.record.clone() };
        let text = serde_json::to_string_pretty(&record)
            .map_err(|error| TrainError::Write { path: self.path.clone(), source: error.into() })?;
        files::write_atomic(&self.path, format!("{text}\n").as_bytes())
    }

    fn summarise(&mut self) {
        let RobustnessRecord { networks, corruptions, severities, .. } = &mut self.record;
        networks.iter_mut().for_each(|network| network.summarise(corruptions, severities));
    }
}
