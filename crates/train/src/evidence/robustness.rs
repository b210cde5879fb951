//! `robustness.json`: the figures of a run's networks on corrupted test images.
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use subband_metrics::{Robustness, RobustnessResult};

use super::{Figure, Scores};

/// The figures of a network under one corruption at one severity.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RobustnessCell {
    /// The corruption, or [`RobustnessCell::CLEAN`].
    pub corruption: String,
    /// 1 to 5; 0 for clean images.
    pub severity: u8,
    /// Images looked at.
    pub images: usize,
    /// All figures of the task.
    pub figures: Scores,
}

impl RobustnessCell {
    /// The name that stands for no corruption.
    pub const CLEAN: &str = "clean";
}

/// A network on clean and on corrupted images.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NetworkRobustness {
    /// The arm with its seed if there are several; `teacher` for the teacher.
    pub name: String,
    /// Its folder under `arms`.
    pub slug: String,
    /// Name of the network.
    pub network: String,
    /// SHA-256 of its weight file; figures of other weights are not kept.
    pub weights: String,
    /// Whether it was still in training, so that the weights are not final.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unfinished: bool,
    /// What is measured so far, in the order in which it was.
    pub cells: Vec<RobustnessCell>,
    /// P, mPC and rPC of every figure in percent; empty until each cell that was asked for is there.
    pub results: BTreeMap<String, RobustnessResult>,
}

impl NetworkRobustness {
    /// The figures of one cell, if they are there.
    pub fn cell(&self, corruption: &str, severity: u8) -> Option<&RobustnessCell> {
        self.cells.iter().find(|cell| cell.corruption == corruption && cell.severity == severity)
    }

    /// The figure that decides, with its result.
    pub fn primary(&self) -> Option<(Figure, &RobustnessResult)> {
        let clean = self.results.iter().map(|(name, result)| (name.as_str(), result.clean));
        let (figure, _) = Scores::new(clean).primary()?;
        Some((figure, self.results.get(figure.name)?))
    }

    /// Computes the results anew over a selection of the cells; none while one of them is missing. A figure that is not
    /// finite in one of them has no result.
    pub fn summarise(&mut self, corruptions: &[String], severities: &[u8]) {
        self.results.clear();
        let clean = self.cell(RobustnessCell::CLEAN, 0).map(|cell| cell.figures.clone()).unwrap_or_default();
        for (name, value) in clean.iter() {
            if Figure::named(name).is_some_and(|figure| figure.percent)
                && let Ok(result) = self.over(name, value, corruptions, severities)
            {
                self.results.insert(name.into(), result);
            }
        }
    }

    /// One figure over the grid; an error where a cell is missing or not finite.
    fn over(
        &self,
        name: &str,
        clean: f64,
        corruptions: &[String],
        severities: &[u8],
    ) -> Result<RobustnessResult, String> {
        let names: Vec<&str> = corruptions.iter().map(String::as_str).collect();
        let mut grid = Robustness::new(&names, severities)?;
        grid.add_clean(clean)?;
        for corruption in corruptions {
            for severity in severities {
                if let Some(value) = self.cell(corruption, *severity).and_then(|cell| cell.figures.get(name)) {
                    grid.add(corruption, *severity, value)?;
                }
            }
        }
        grid.result()
    }
}

/// The images of all cells of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RobustnessImages {
    /// Images that were chosen.
    pub chosen: usize,
    /// Test images of the run.
    pub of: usize,
    /// The run's seed, of which the choice and the corruptions are functions.
    pub seed: u64,
    /// Hash of the recipe's tables `[data]` and `[evaluate]`.
    pub fingerprint: String,
}

/// `robustness.json` of a run folder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RobustnessRecord {
    /// Name of the run.
    pub run: String,
    /// Version of the program that wrote it last.
    pub version: String,
    /// On which images.
    pub images: RobustnessImages,
    /// `generated`, or `pictures` with a hash of them: what the corruption `frost` lays over images.
    pub frost: String,
    /// The corruptions asked for last.
    pub corruptions: Vec<String>,
    /// The severities asked for last.
    pub severities: Vec<u8>,
    /// Every network that was measured, in the run's order, the teacher first.
    pub networks: Vec<NetworkRobustness>,
}

impl RobustnessRecord {
    /// The name of frost that was made by formula.
    pub const GENERATED: &str = "generated";

    /// Whether figures depend on textures that stand in for the photographs of the Python package.
    pub fn has_generated_frost(&self) -> bool {
        self.frost == Self::GENERATED && self.corruptions.iter().any(|name| name == "frost")
    }

    /// The figure that decides, if a network is complete.
    pub fn primary(&self) -> Option<Figure> {
        self.networks.iter().find_map(|network| network.primary()).map(|(figure, _)| figure)
    }

    /// The images that were looked at: those chosen, less what could not be decoded under `skip_corrupt`.
    pub fn looked_at(&self) -> usize {
        let cells = self.networks.iter().flat_map(|network| &network.cells);
        cells.map(|cell| cell.images).max().unwrap_or(self.images.chosen)
    }

    /// Cells of the selection, clean images among them.
    pub fn cells(&self) -> usize {
        1 + self.corruptions.len() * self.severities.len()
    }

    /// Cells of the selection that a network has.
    pub fn done(&self, network: &NetworkRobustness) -> usize {
        let has = |corruption: &str, severity: u8| usize::from(network.cell(corruption, severity).is_some());
        let corrupted: usize =
            self.corruptions.iter().flat_map(|name| self.severities.iter().map(|severity| has(name, *severity))).sum();
        corrupted + has(RobustnessCell::CLEAN, 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(corruption: &str, severity: u8, miou: f64) -> RobustnessCell {
        let figures = Scores::new([("miou", miou), ("accuracy", f64::NAN), ("loss", 1.0)]);
        RobustnessCell { corruption: corruption.into(), severity, images: 4, figures }
    }

    #[test]
    fn results_wait_for_every_cell_of_the_selection() {
        let cells = vec![cell("clean", 0, 80.0), cell("fog", 5, 20.0), cell("fog", 1, 60.0), cell("snow", 1, 7.0)];
        let mut network = NetworkRobustness {
            name: "KD".into(),
            slug: "kd".into(),
            network: "x".into(),
            weights: "w".into(),
            unfinished: false,
            cells,
            results: BTreeMap::new(),
        };
        let fog = ["fog".to_string()];
        network.summarise(&fog, &[1, 5]);
        let (figure, result) = network.primary().unwrap();
        assert_eq!((figure.name, result.clean, result.mpc, result.rpc), ("miou", 80.0, 40.0, Some(50.0)));
        assert_eq!(result.per_severity, [60.0, 20.0]);
        // A loss has no share of its own left, and what is not a number has no mean.
        assert_eq!(network.results.keys().collect::<Vec<_>>(), ["miou"]);
        network.summarise(&fog, &[1]);
        assert_eq!(network.primary().unwrap().1.mpc, 60.0);
        network.summarise(&["fog".into(), "snow".into()], &[1, 5]);
        assert!(network.primary().is_none());
    }
}
