//! Arguments of `bench`.
use std::path::PathBuf;

use clap::Args;

/// Arguments of `bench`.
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// Measure only this, see the list below; may be repeated
    #[arg(long, value_name = "NAME")]
    pub only: Vec<String>,
    /// Measure each convolution of the networks against the matrix-product peak instead of training steps
    #[arg(long)]
    pub kernels: bool,
    /// Processes of each side, which take turns
    #[arg(long, default_value_t = 3, value_name = "N")]
    pub rounds: usize,
    /// Counted steps in each process, after two that are not counted
    #[arg(long, default_value_t = 7, value_name = "N")]
    pub steps: usize,
    /// CPU threads of both sides; 0: all cores [default: 2, or fewer if there are fewer cores]
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
    /// Python that can import torch [default: $SUBBAND_PYTHON, or python3]
    #[arg(long, value_name = "PATH", conflicts_with = "no_torch")]
    pub python: Option<PathBuf>,
    /// Do not look for PyTorch
    #[arg(long)]
    pub no_torch: bool,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    /// Also replace the tables in a page, between its marks (docs/performance.md has them)
    #[arg(long, value_name = "FILE")]
    pub markdown: Option<PathBuf>,
    /// Answer a request of the measuring process (JSON)
    #[arg(long, hide = true)]
    pub worker: Option<String>,
}
