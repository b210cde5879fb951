//! Robustness: what is left of a network's figures on corrupted images (Michaelis et al. 2019, arXiv 1907.07484).
//!
//! With a figure P on clean images and `P_cs` under corruption c at severity s,
//! ```text
//! mPC = mean_c mean_s P_cs        rPC = 100 mPC / P
//! ```
//! An image is corrupted after decoding, at its own size, before it is resized; what is random is a function of the seed,
//! the corruption, the severity and the image's place in its data set. So figures depend on neither threads nor on what
//! was measured before, and networks are compared on the very same pixels: each corrupted image is made once and shown
//! to all of them.
//!
//! | file | is about |
//! |---|---|
//! | `grid` | corruptions and severities by name, and the cells they make |
//! | `images` | the images under a corruption, and what frost is made of |
//! | `network` | one network on a split |
//! | `run` | the teacher and the arms of a run folder, cell by cell |
//! | `record` | `robustness.json`: what is kept when something else is asked for |
//! | `table` | the results as text |
mod grid;
mod images;
mod network;
mod record;
mod run;
mod table;

#[cfg(test)]
mod tests;

pub use grid::{Condition, CorruptionGrid};
pub use images::FrostSource;
pub use network::{Corruptions, RobustnessOf, SplitRobustness};
pub use run::{RobustnessOptions, robustness};
pub use table::{tables, tables_of};

pub(crate) use run::weight_hash;

use subband_data::Skipped;

use crate::evidence::Scores;

/// What a measurement tells its caller while it works.
#[derive(Debug, Clone)]
pub enum RobustnessEvent<'a> {
    /// The measurement begins or continues.
    Started {
        /// Names of the networks.
        networks: &'a [String],
        /// Networks of the run that are left out, with the reason.
        left_out: &'a [(String, String)],
        /// Networks that are still in training: their figures are not final.
        unfinished: &'a [String],
        /// Cells to measure now, clean images among them.
        cells: usize,
        /// Cells of these networks that were measured before.
        kept: usize,
        /// Images of a cell.
        images: usize,
        /// Why figures that were there are measured again, if some are.
        renewed: &'a [String],
    },
    /// Images are being evaluated.
    Evaluating {
        /// Place of the cell among those to measure, from 1.
        cell: usize,
        /// Cells to measure.
        cells: usize,
        /// The cell.
        condition: Condition,
        /// Images done.
        done: usize,
        /// Images of the cell.
        total: usize,
    },
    /// Images cannot be decoded and are passed over (`skip_corrupt`); told once.
    Skipped {
        /// The images, with the errors that name them.
        images: &'a [Skipped],
    },
    /// A cell is done, and with a run folder on the disk.
    CellEnded {
        /// Place of the cell among those to measure, from 1.
        cell: usize,
        /// Cells to measure.
        cells: usize,
        /// The cell.
        condition: Condition,
        /// Figures by network.
        figures: &'a [(String, Scores)],
    },
}
