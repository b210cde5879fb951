//! Robustness against corruptions of the images (Michaelis et al., arXiv 1907.07484, section 3).
//!
//! With the figure `P` on clean images and `P[c][s]` under corruption `c` at severity `s`, both of any kind (accuracy,
//! mean IoU, average precision),
//!
//! ```text
//! mPC = mean_c mean_s P[c][s]        rPC = 100 mPC / P
//! ```
use serde::{Deserialize, Serialize};
use subband_names::hint;

/// The figures of a grid of corruptions and severities, each cell filled once.
#[derive(Debug, Clone, PartialEq)]
pub struct Robustness {
    corruptions: Vec<String>,
    severities: Vec<u8>,
    clean: Option<f64>,
    cells: Vec<Option<f64>>,
}

/// A mean over some cells.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CorruptionMean {
    /// The corruption.
    pub corruption: String,
    /// Mean over the severities.
    pub mean: f64,
    /// By severity, in the order of [`RobustnessResult::severities`].
    pub figures: Vec<f64>,
}

/// The figures of a whole grid, in the unit of the figures that were added.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RobustnessResult {
    /// P: the figure on clean images.
    pub clean: f64,
    /// mPC: the mean over corruptions and severities.
    pub mpc: f64,
    /// rPC: mPC in percent of the clean figure; `None` when that is 0.
    pub rpc: Option<f64>,
    /// The severities.
    pub severities: Vec<u8>,
    /// The mean over the corruptions by severity, in the same order.
    pub per_severity: Vec<f64>,
    /// By corruption.
    pub per_corruption: Vec<CorruptionMean>,
}

impl Robustness {
    /// An empty grid; errors for an empty list and for a name or severity that stands there twice.
    pub fn new(corruptions: &[&str], severities: &[u8]) -> Result<Self, String> {
        if corruptions.is_empty() || severities.is_empty() {
            return Err("robustness needs at least one corruption and one severity".into());
        }
        for (place, name) in corruptions.iter().enumerate() {
            if corruptions[..place].contains(name) {
                return Err(format!("the corruption `{name}` is listed twice"));
            }
        }
        for (place, severity) in severities.iter().enumerate() {
            if severities[..place].contains(severity) {
                return Err(format!("severity {severity} is listed twice"));
            }
        }
        Ok(Self {
            corruptions: corruptions.iter().map(|c| c.to_string()).collect(),
            severities: severities.to_vec(),
            clean: None,
            cells: vec![None; corruptions.len() * severities.len()],
        })
    }

    /// Sets the figure on clean images; errors when it is there already or is not finite.
    pub fn add_clean(&mut self, figure: f64) -> Result<(), String> {
        fill(&mut self.clean, figure).map_err(|e| format!("clean images: {e}"))
    }

    /// Sets the figure of one cell; errors, which name the cell, when it lies outside the grid, is there already or is
    /// not finite.
    pub fn add(&mut self, corruption: &str, severity: u8, figure: f64) -> Result<(), String> {
        let Some(row) = self.corruptions.iter().position(|c| c == corruption) else {
            let guess = hint(corruption, self.corruptions.iter().map(String::as_str));
            return Err(format!("the corruption `{corruption}` is not in the grid{guess}"));
        };
        let Some(column) = self.severities.iter().position(|s| *s == severity) else {
            return Err(format!("`{corruption}`: severity {severity} is not one of {:?}", self.severities));
        };
        let cell = &mut self.cells[row * self.severities.len() + column];
        fill(cell, figure).map_err(|e| format!("`{corruption}` at severity {severity}: {e}"))
    }

    /// The cells without a figure: corruption and severity.
    pub fn missing(&self) -> impl Iterator<Item = (&str, u8)> {
        let empty = self.cells.iter().enumerate().filter(|(_, cell)| cell.is_none()).map(|(place, _)| place);
        let width = self.severities.len();
        empty.map(move |place| (self.corruptions[place / width].as_str(), self.severities[place % width]))
    }

    /// The figures; an error that names what is missing.
    pub fn result(&self) -> Result<RobustnessResult, String> {
        let mut missing: Vec<String> = self.missing().map(|(c, s)| format!("`{c}` at severity {s}")).collect();
        let Some(clean) = self.clean.filter(|_| missing.is_empty()) else {
            if self.clean.is_none() {
                missing.insert(0, "clean images".into());
            }
            return Err(format!("figures are missing for {}", missing.join(", ")));
        };
        let cells: Vec<f64> = self.cells.iter().flatten().copied().collect();
        let width = self.severities.len();
        let rows = self.corruptions.iter().zip(cells.chunks_exact(width));
        let per_corruption: Vec<CorruptionMean> = rows
            .map(|(c, figures)| CorruptionMean {
                corruption: c.clone(),
                mean: mean(figures.iter().copied()),
                figures: figures.to_vec(),
            })
            .collect();
        let per_severity = (0..width).map(|s| mean(cells.iter().skip(s).step_by(width).copied())).collect();
        // Every corruption has the same severities, so this is the mean of the means as well.
        let mpc = mean(cells.iter().copied());
        let rpc = (clean != 0.0).then(|| 100.0 * mpc / clean);
        Ok(RobustnessResult { clean, mpc, rpc, severities: self.severities.clone(), per_severity, per_corruption })
    }
}

fn fill(cell: &mut Option<f64>, figure: f64) -> Result<(), String> {
    if !figure.is_finite() {
        return Err(format!("{figure} is not a figure"));
    }
    match cell.replace(figure) {
        None => Ok(()),
        Some(before) => {
            *cell = Some(before);
            Err(format!("has the figure {before} already, {figure} is a second one"))
        }
    }
}

/// The mean of at least one value.
fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = values.len() as f64;
    values.sum::<f64>() / count
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled() -> Robustness {
        let mut grid = Robustness::new(&["fog", "snow", "pixelate"], &[1, 3, 5]).unwrap();
        grid.add_clean(80.0).unwrap();
        for (row, corruption) in ["pixelate", "fog", "snow"].into_iter().enumerate() {
            for (column, severity) in [5, 1, 3].into_iter().enumerate() {
                grid.add(corruption, severity, (10 * row + column) as f64).unwrap();
            }
        }
        grid
    }

    #[test]
    fn means_are_of_the_right_cells() {
        let result = filled().result().unwrap();
        // pixelate 1, 2, 0; fog 11, 12, 10; snow 21, 22, 20 at the severities 1, 3, 5.
        assert_eq!((result.clean, result.mpc, result.rpc), (80.0, 11.0, Some(13.75)));
        assert_eq!(result.per_severity, [11.0, 12.0, 10.0]);
        let names: Vec<_> = result.per_corruption.iter().map(|c| (c.corruption.as_str(), c.mean)).collect();
        assert_eq!(names, [("fog", 11.0), ("snow", 21.0), ("pixelate", 1.0)]);
        assert_eq!(result.per_corruption[0].figures, [11.0, 12.0, 10.0]);
    }

    #[test]
    fn missing_and_second_figures_are_named() {
        let mut grid = filled();
        let error = grid.add("snow", 3, 7.0).unwrap_err();
        assert_eq!(error, "`snow` at severity 3: has the figure 22 already, 7 is a second one");
        assert!(grid.add_clean(1.0).unwrap_err().contains("clean images"));
        assert_eq!(grid.result(), filled().result());
        let mut grid = Robustness::new(&["fog", "snow"], &[1, 2]).unwrap();
        grid.add("fog", 2, 4.0).unwrap();
        let error = grid.result().unwrap_err();
        assert!(
            error.ends_with("clean images, `fog` at severity 1, `snow` at severity 1, `snow` at severity 2"),
            "{error}"
        );
        assert!(grid.add("fgo", 1, 4.0).unwrap_err().contains("`fgo` is not in the grid"));
        assert!(grid.add("snwo", 1, 4.0).unwrap_err().contains("did you mean `snow`?"));
        assert!(grid.add("snow", 3, 4.0).unwrap_err().contains("severity 3 is not one of [1, 2]"));
        assert!(grid.add("snow", 1, f64::NAN).unwrap_err().contains("NaN is not a figure"));
        assert_eq!(grid.missing().count(), 3);
    }

    #[test]
    fn grids_without_sense_are_refused() {
        assert!(Robustness::new(&[], &[1]).is_err() && Robustness::new(&["fog"], &[]).is_err());
        assert!(Robustness::new(&["fog", "fog"], &[1]).unwrap_err().contains("`fog` is listed twice"));
        assert!(Robustness::new(&["fog"], &[2, 2]).unwrap_err().contains("severity 2 is listed twice"));
        let mut dark = Robustness::new(&["fog"], &[1]).unwrap();
        dark.add_clean(0.0).unwrap();
        dark.add("fog", 1, 0.0).unwrap();
        assert_eq!(dark.result().unwrap().rpc, None);
    }
}
