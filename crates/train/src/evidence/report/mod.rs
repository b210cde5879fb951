//! `report.html`: one self-contained page about a run, made from the files of its folder alone.
//!
//! Style sheet and charts are inline, nothing is fetched and no script runs, so the page reads the same from a disk,
//! in a mail or printed. It can be written at any time: for an unfinished run it says so and shows what there is.

mod chart;
mod curves;
mod dots;
mod environment;
mod gallery;
mod masks;
mod page;
pub(crate) mod png;
mod proof;
mod read;
mod results;
mod robustness;
mod rows;
mod text;

use std::path::{Path, PathBuf};

/// Why a report could not be written.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The folder has none of a run's files.
    #[error("{} is no run folder: it has no results.json, recipe.toml or arms; give the folder that `subband distill` printed", path.display())]
    NotARun {
        /// The folder.
        path: PathBuf,
    },
    /// A file could not be read.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// A JSON file of the folder is damaged.
    #[error("{} is not valid JSON ({source}); {} writes it anew", path.display(), writer(path))]
    Json {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
    /// The page could not be written.
    #[error(transparent)]
    Write(#[from] crate::TrainError),
}

/// The command that writes a file of the folder.
fn writer(path: &Path) -> &'static str {
    match path.ends_with("robustness.json") {
        true => "`subband robustness --force`",
        false => "`subband distill --resume`",
    }
}

/// Writes `report.html` into a run folder and returns its path.
///
/// # Errors
/// [`ReportError`]; a missing or cut-off metrics file is no error, its part of the page is left out, nor is a damaged
/// `robustness.json`, which its part of the page names.
pub fn write_report(run_dir: &Path) -> Result<PathBuf, ReportError> {
    let run = read::run(run_dir)?;
    let path = run_dir.join("report.html");
    crate::files::write_atomic(&path, page::html(&run).as_bytes())?;
    Ok(path)
}

#[cfg(test)]
mod tests;
