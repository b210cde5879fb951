//! The command line.
mod pictures;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::guide;
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
    /// Count how many images a network with given weights classifies correctly
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
    #[command(after_help = guide::BENCH)]
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

/// Arguments of `eval`.
#[derive(Debug, Args)]
pub struct EvalArgs {
    /// Network name, see `subband networks`
    #[arg(long)]
    pub network: String,
    /// Weight file: safetensors, .pt, .pth or .th
    #[arg(long, value_name = "FILE")]
    pub weights: PathBuf,
    /// Image folder with SPLIT/CLASS/IMAGE inside, a data set with masks (CamVid, Cityscapes, MFNet, MSRS, or
    /// SPLIT/images beside SPLIT/labels), or digits, cifar10, cifar100
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,
    /// Which split: the folder's name, or train or test
    #[arg(long, default_value = "val")]
    pub split: String,
    /// imagenet, cifar10, cifar100, digits, half, none, or MEAN/STD with commas: 0.5,0.5,0.5/0.2,0.2,0.2.
    /// Default: imagenet for colour folders, the data set's own otherwise
    #[arg(long)]
    pub normalize: Option<String>,
    /// Channels given to the network: 1, 3 or 4; default 3, digits 1
    #[arg(long)]
    pub channels: Option<usize>,
    /// Classes of the network, if it has more than the data set
    #[arg(long)]
    pub classes: Option<usize>,
    /// Bring all images to squares of this side
    #[arg(long)]
    pub resize: Option<usize>,
    /// Images of one forward pass; default 128, and 4 with masks
    #[arg(long)]
    pub batch: Option<usize>,
    /// How segmentation networks are evaluated.
    #[command(flatten)]
    pub masks: MaskArgs,
    /// Corrupted images.
    #[command(flatten)]
    pub corruptions: CorruptionArgs,
    /// Only this many images, the same number of each class
    #[arg(long)]
    pub limit: Option<usize>,
    /// Pass over images that cannot be decoded
    #[arg(long)]
    pub skip_corrupt: bool,
    /// Print one JSON object: correct, correct5, total, top1 and top5 in percent, loss; with masks images, pixels,
    /// ignored, miou, macc and accuracy in percent, loss, classes; with --corruptions also robustness
    #[arg(long)]
    pub json: bool,
    /// Where to compute.
    #[command(flatten)]
    pub compute: ComputeArgs,
}

/// Corruptions, their severities, and what one of them is made of.
#[derive(Debug, Args)]
pub struct CorruptionArgs {
    /// Corrupt the images: benchmark (the 15 of mPC), all (19), or names, for example fog,snow
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub corruptions: Vec<String>,
    /// Severities of the corruptions, from 1 to 5; default all
    #[arg(long, value_name = "LEVELS", value_delimiter = ',')]
    pub severities: Vec<u8>,
    /// Folder with the pictures frost1 to frost5 of the Python package imagecorruptions; default generated textures
    #[arg(long, value_name = "DIR")]
    pub frost: Option<PathBuf>,
}

/// Arguments of `robustness`.
#[derive(Debug, Args)]
pub struct RobustnessArgs {
    /// Run folder
    pub run: PathBuf,
    /// Only this network: an arm's name, or teacher; may be repeated
    #[arg(long, value_name = "NAME")]
    pub arm: Vec<String>,
    /// What is done to the images; default the benchmark at all severities.
    #[command(flatten)]
    pub corruptions: CorruptionArgs,
    /// Only this many test images: the ones that data.test_limit would choose
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
    /// Measure the chosen arms and corruptions again; what else RUN/robustness.json has stays
    #[arg(long)]
    pub force: bool,
    /// Only print the result
    #[arg(long, short)]
    pub quiet: bool,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    /// Where to compute.
    #[command(flatten)]
    pub compute: ComputeArgs,
}

/// Arguments of `eval` for data sets with masks.
#[derive(Debug, Args)]
pub struct MaskArgs {
    /// With masks: look at windows of this size instead of the whole image, and average their scores
    #[arg(long, value_name = "HxW")]
    pub window: Option<String>,
    /// With masks: pixels from one window to the next; default two thirds of the window
    #[arg(long, value_name = "HxW", requires = "window")]
    pub stride: Option<String>,
    /// With masks: sizes of the image to look at, for example 0.75,1,1.25; probabilities are averaged
    #[arg(long, value_name = "FACTORS", value_delimiter = ',')]
    pub scales: Vec<f64>,
    /// With masks: also look at the mirrored image
    #[arg(long)]
    pub flip: bool,
    /// With masks: standard, cityscapes, mfnet-repository, mfnet-rtfnet or mfnet-foreground; default that of the data set
    #[arg(long)]
    pub protocol: Option<String>,
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
        /// Folder, or digits, cifar10, cifar100
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
