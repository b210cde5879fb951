//! Arguments of `eval` and `robustness`.
use std::path::PathBuf;

use clap::Args;

use super::ComputeArgs;

/// Arguments of `eval`.
#[derive(Debug, Args)]
pub struct EvalArgs {
    /// Run folder: network, weights, data with their preparation and way of evaluation are taken from it
    #[arg(long, value_name = "DIR", required_unless_present = "network", conflicts_with_all = ["network", "weights", "classes", "normalize", "channels", "resize", "corruptions", "severities", "frost"])]
    pub run: Option<PathBuf>,
    /// Which network of the run: an arm's name, or teacher; not needed if there is one arm
    #[arg(long, value_name = "NAME", requires = "run")]
    pub arm: Option<String>,
    /// The weights of the last epoch, not of the best
    #[arg(long, requires = "run")]
    pub last: bool,
    /// Network name, see `subband networks`
    #[arg(long, requires = "weights", requires = "data")]
    pub network: Option<String>,
    /// Weight file: safetensors, .pt, .pth or .th
    #[arg(long, value_name = "FILE")]
    pub weights: Option<PathBuf>,
    /// Image folder with SPLIT/CLASS/IMAGE inside, a data set with masks (CamVid, Cityscapes, MFNet, MSRS, or
    /// SPLIT/images beside SPLIT/labels), or digits, cifar10, cifar100; with --run where its data set lies now
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Which split: the folder's name, or train or test; default val, of a run its test images
    #[arg(long)]
    pub split: Option<String>,
    /// imagenet, cifar10, cifar100, digits, half, none, or MEAN/STD with commas: 0.5,0.5,0.5/0.2,0.2,0.2.
    /// Default: imagenet for colour images, the data set's own otherwise
    #[arg(long)]
    pub normalize: Option<String>,
    /// Channels given to the network: 1, 3 or 4; default 3, digits 1, mfnet and msrs 4
    #[arg(long)]
    pub channels: Option<usize>,
    /// Classes of the network, if it has more than the data set
    #[arg(long)]
    pub classes: Option<usize>,
    /// Bring all images to this size, or to squares of one side; masks keep the size of their files
    #[arg(long, value_name = "HxW")]
    pub resize: Option<String>,
    /// Images of one forward pass; default 128, and 4 with masks; of a run its eval_batch_size
    #[arg(long)]
    pub batch: Option<usize>,
    /// How segmentation networks are evaluated.
    #[command(flatten)]
    pub masks: MaskArgs,
    /// Corrupted images.
    #[command(flatten)]
    pub corruptions: CorruptionArgs,
    /// Only this many images, the same number of each class; with masks a seeded choice
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
    /// Where the run's data set lies, if it is no longer where the recipe says, seen from here
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
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

/// Arguments of `eval` for data sets with masks. Where a run is evaluated they stand in the place of its `[evaluate]`.
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
