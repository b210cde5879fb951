//! Where it was measured, and the tables in a page between two marks.
use std::path::Path;

use serde::Serialize;
use subband_train::{RunInfo, Table, files};

use super::runner::Runner;
use crate::failure::Failure;

/// Machine, versions and settings of a measurement.
#[derive(Debug, Clone, Serialize)]
pub struct Environment {
    processor: String,
    cores: usize,
    threads: usize,
    /// Processes that ran or waited on average over the last minute before the start, if the system says so.
    load_at_start: Option<String>,
    /// Share of the cores' time that other programs used during the measurement, in per cent, if the system says so.
    pub other_work_percent: Option<f64>,
    subband: String,
    pytorch: Option<String>,
    rounds: usize,
    steps: usize,
}

impl Environment {
    /// This machine, now.
    pub fn new(runner: &Runner, rounds: usize, steps: usize) -> Self {
        let info = RunInfo::new(0, &burn::prelude::Device::flex(), 0);
        let load = std::fs::read_to_string("/proc/loadavg").ok();
        Self {
            processor: info.processor,
            cores: cores(),
            threads: runner.threads,
            load_at_start: load.and_then(|text| text.split_whitespace().next().map(str::to_string)),
            other_work_percent: None,
            subband: info.version,
            pytorch: runner.torch.as_ref().map(|torch| torch.version.clone()),
            rounds,
            steps,
        }
    }
}

impl std::fmt::Display for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}, {} cores, {} threads, Subband {}", self.processor, self.cores, self.threads, self.subband)?;
        if let Some(version) = &self.pytorch {
            write!(f, ", PyTorch {version}")?;
        }
        write!(f, "; {} rounds of {} steps", self.rounds, self.steps)?;
        if let Some(load) = &self.load_at_start {
            write!(f, "; load at the start {load}")?;
        }
        match self.other_work_percent {
            Some(share) => write!(f, "; other programs used {share:.0} % of the cores' time"),
            None => Ok(()),
        }
    }
}

/// Cores this process may use.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| cores.get())
}

/// Which part of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Section {
    /// `subband bench`.
    Steps,
    /// `subband bench --kernels`.
    Kernels,
}

impl Section {
    /// The marks around the part.
    fn marks(self) -> [String; 2] {
        let name = if self == Self::Steps { "steps" } else { "kernels" };
        ["begin", "end"].map(|word| format!("<!-- {word} measured {name} -->"))
    }

    /// The page with the part replaced by `content`, or what is wrong with its marks.
    fn replace(self, page: &str, content: &str) -> Result<String, String> {
        let [begin, end] = self.marks();
        let missing = |mark: &str| format!("the line `{mark}` is missing");
        let (before, rest) = page.split_once(&begin).ok_or_else(|| missing(&begin))?;
        let (_, after) = rest.split_once(&end).ok_or_else(|| missing(&end))?;
        Ok(format!("{before}{begin}\n{content}\n{end}{after}"))
    }
}

/// The page with a part replaced by `content`.
fn renewed(path: &Path, section: Section, content: &str) -> Result<String, Failure> {
    let replaced = String::from_utf8(files::read(path)?)
        .map_err(|_| "it is not text".to_string())
        .and_then(|page| section.replace(&page, content));
    replaced.map_err(|reason| {
        let [begin, end] = section.marks();
        Failure::usage(
            format!("--markdown {}: {reason}", path.display()),
            format!("the tables go between the lines `{begin}` and `{end}`"),
        )
    })
}

/// Replaces a part of a page.
///
/// # Errors
/// The page cannot be read or written, or has no marks for this part.
pub fn write(path: &Path, section: Section, content: &str) -> Result<(), Failure> {
    Ok(files::write_atomic(path, renewed(path, section, content)?.as_bytes())?)
}

/// Whether [`write()`] would find its place, so that nothing is measured in vain.
///
/// # Errors
/// As [`write()`].
pub fn check(path: &Path, section: Section) -> Result<(), Failure> {
    renewed(path, section, "").map(drop)
}

/// The environment and tables in Markdown.
pub fn markdown(environment: &Environment, tables: &[Table]) -> String {
    let mut text = format!("\n{environment}.\n");
    for table in tables {
        text += &format!("\n**{}**\n\n", table.title);
        let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
        text += &line(&table.header);
        text += &format!("|{}\n", "---|".repeat(table.header.len()));
        text.extend(table.rows.iter().map(|row| line(row)));
    }
    text
}
