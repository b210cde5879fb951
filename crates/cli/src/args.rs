//! The command line. What a command takes stands in the file of its family.
mod bench;
mod evaluation;
mod pictures;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::guide;
pub use bench::BenchArgs;
pub use evaluation::{CorruptionArgs, EvalArgs, RobustnessArgs};
pub use pictures::{CamArgs, PredictArgs, TrainedArgs};

/// Frequency-domain knowledge distillation for vision networks, in pure Rust.
#[derive(Debug, Parser)]
#[command(name = "subband", version, after_help = guide::ROOT, max_term_width = 110)]
pub struct Cli {
    /// What to do; nothing shows a short guide.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a recipe: the teacher, the student alone, the student with each method; table and report at the end
    #[command(after_help = guide::DISTILL)]
    Distill(RunArgs),
    /// Train the recipe's student on labels alone (to make a teacher, or a baseline)
    #[command(after_help = guide::TRAIN)]
    Train(RunArgs),
    /// Show what a recipe would do: shapes at each tap, adapters, memory, multiply-adds, time
    #[command(after_help = guide::PLAN)]
    Plan(PlanArgs),
    /// Compare the teacher's and the student's features by frequency, layer for layer
    #[command(after_help = guide::SPECTRUM)]
    Spectrum(SpectrumArgs),
    /// Measure a network with given weights: accuracy, of a segmentation network mIoU
    #[command(after_help = guide::EVAL)]
    Eval(Box<EvalArgs>),
    /// Measure how much a run's networks keep of their accuracy on corrupted images: mPC and rPC
    #[command(after_help = guide::ROBUSTNESS)]
    Robustness(RobustnessArgs),
    /// Run a trained network on images: overlays of a segmenter, the best five classes of a classifier
    #[command(after_help = guide::PREDICT)]
    Predict(PredictArgs),
    /// Draw which places of images speak for a class: Grad-CAM or Ablation-CAM
    #[command(after_help = guide::CAM)]
    Cam(CamArgs),
    /// List a network's taps with shapes and strides
    #[command(after_help = guide::TAPS)]
    Taps(TapsArgs),
    /// Look into a data set, or download one
    #[command(after_help = guide::DATA)]
    Data(DataArgs),
    /// Measure training steps and convolutions, side by side with PyTorch
    #[command(after_help = guide::bench())]
    Bench(BenchArgs),
    /// List the distillation methods
    Methods(ListArgs),
    /// List the networks
    Networks(ListArgs),
    /// Write report.html of a run folder anew
    #[command(after_help = guide::REPORT)]
    Report(ReportArgs),
}

/// A recipe and changes to it.
#[derive(Debug, Args)]
pub struct RecipeArgs {
    /// Recipe file (TOML)
    pub recipe: PathBuf,
    /// Change a value of the recipe, for example train.epochs=2 or arm.KD.term.kd.temperature=2; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

/// Where to compute.
#[derive(Debug, Args)]
pub struct ComputeArgs {
    /// flex (CPU), or cuda, rocm, wgpu, vulkan, metal if compiled in; a number chooses one of several: cuda:1
    #[arg(long, default_value = "flex")]
    pub device: String,
    /// CPU threads; 0: all cores. Results do not depend on it
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub threads: usize,
}

/// Arguments of `distill` and `train`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// The recipe.
    #[command(flatten)]
    pub recipe: RecipeArgs,
    /// Run folder; default runs/NAME with the recipe's name
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Continue the run in that folder; finished arms are not run again
    #[arg(long)]
    pub resume: bool,
    /// Only print the result
    #[arg(long, short)]
    pub quiet: bool,
    /// Where to compute.
    #[command(flatten)]
    pub compute: ComputeArgs,
}

/// Arguments of `plan`.
#[derive(Debug, Args)]
pub struct PlanArgs {
    /// The recipe.
    #[command(flatten)]
    pub recipe: RecipeArgs,
    /// Do not measure training steps for the time estimate
    #[arg(long)]
    pub no_time: bool,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    /// Where to compute.
    #[command(flatten)]
    pub compute: ComputeArgs,
}

/// Arguments of `spectrum`.
#[derive(Debug, Args)]
pub struct SpectrumArgs {
    /// The recipe.
    #[command(flatten)]
    pub recipe: RecipeArgs,
    /// Test images to look at
    #[arg(long, default_value_t = 64, value_name = "N")]
    pub images: usize,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    /// Where to compute.
    #[command(flatten)]
    pub compute: ComputeArgs,
}

/// Arguments of `taps`.
#[derive(Debug, Args)]
pub struct TapsArgs {
    /// Network name, see `subband networks`
    pub network: String,
    /// Channels, height and width of the input; default 3x32x32, for ImageNet networks 3x224x224, for segmentation
    /// networks 3x512x1024
    #[arg(long, value_name = "CxHxW")]
    pub input: Option<String>,
    /// Classes
    #[arg(long, default_value_t = 10)]
    pub classes: usize,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `data`.
#[derive(Debug, Args)]
pub struct DataArgs {
    /// What to do with the data set.
    #[command(subcommand)]
    pub command: DataCommand,
}

/// The commands of `data`.
#[derive(Debug, Subcommand)]
pub enum DataCommand {
    /// Classes, images, sizes and damaged files of a data set
    Inspect {
        /// Folder, or digits, cifar10, cifar100, or a recipe, whose data are then read
        data: PathBuf,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Download a data set with its checksum
    Download {
        /// cifar10 or cifar100
        name: String,
        /// Where to; default the cache folder
        #[arg(long, value_name = "DIR")]
        to: Option<PathBuf>,
    },
}

/// Arguments of the lists.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `report`.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// Run folder
    pub run: PathBuf,
}
