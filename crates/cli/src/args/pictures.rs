//! Arguments of `predict` and `cam`.
use std::path::PathBuf;

use clap::Args;

use super::ComputeArgs;

/// A trained network: of a run, or by its weights.
#[derive(Debug, Args)]
pub struct TrainedArgs {
    /// Run folder: network, classes, preparation and weights are taken from it
    #[arg(long, value_name = "DIR", required_unless_present = "network", conflicts_with_all = ["network", "weights", "classes", "class_names", "normalize", "channels", "resize"])]
    pub run: Option<PathBuf>,
    /// Which network of the run: an arm's name, or teacher; not needed if there is one arm
    #[arg(long, value_name = "NAME", requires = "run")]
    pub arm: Option<String>,
    /// The weights of the last epoch, not of the best
    #[arg(long, requires = "run")]
    pub last: bool,
    /// Network name, see `subband networks`
    #[arg(long, requires = "weights")]
    pub network: Option<String>,
    /// Weight file: safetensors, .pt, .pth or .th
    #[arg(long, value_name = "FILE")]
    pub weights: Option<PathBuf>,
    /// Number of classes, where they have no names
    #[arg(long, value_name = "N", conflicts_with = "class_names")]
    pub classes: Option<usize>,
    /// Class names: with commas, a file with one a line, or camvid, cityscapes, mfnet
    #[arg(long, value_name = "A,B,C")]
    pub class_names: Option<String>,
    /// imagenet, cifar10, cifar100, digits, half, none, or MEAN/STD with commas; default imagenet for 3 channels, else half
    #[arg(long)]
    pub normalize: Option<String>,
    /// Channels given to the network: 1, 3 or 4; default 3
    #[arg(long)]
    pub channels: Option<usize>,
    /// Show the network images at this size, or as squares of one side; default their own
    #[arg(long, value_name = "HxW")]
    pub resize: Option<String>,
}

/// Arguments of `predict`.
#[derive(Debug, Args)]
pub struct PredictArgs {
    /// Images (JPEG, PNG), or folders of them
    #[arg(required = true, value_name = "IMAGE")]
    pub images: Vec<PathBuf>,
    /// The network.
    #[command(flatten)]
    pub trained: TrainedArgs,
    /// Where pictures are written
    #[arg(long, value_name = "DIR", default_value = "predictions")]
    pub out: PathBuf,
    /// Share of the class colours over the image, from 0 to 1
    #[arg(long, default_value_t = 0.5)]
    pub alpha: f64,
    /// Draw no borders around regions
    #[arg(long)]
    pub no_contours: bool,
    /// Draw no legend below the image
    #[arg(long)]
    pub no_legend: bool,
    /// Also write NAME-labels.png: the class index of each pixel
    #[arg(long)]
    pub labels: bool,
    /// Also write NAME-labelIds.png with the label ids of Cityscapes, as its test server takes them
    #[arg(long)]
    pub label_ids: bool,
    /// Overwrite files that are there
    #[arg(long)]
    pub force: bool,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    /// Where to compute.
    #[command(flatten)]
    pub compute: ComputeArgs,
}

/// Arguments of `cam`.
#[derive(Debug, Args)]
pub struct CamArgs {
    /// Images (JPEG, PNG), or folders of them
    #[arg(required = true, value_name = "IMAGE")]
    pub images: Vec<PathBuf>,
    /// The network.
    #[command(flatten)]
    pub trained: TrainedArgs,
    /// Class by name or index; default: the predicted one, of a segmenter the largest
    #[arg(long, value_name = "CLASS")]
    pub class: Option<String>,
    /// Tap to look at; default the deepest stage, with ablation-cam a segmenter's decoder
    #[arg(long, value_name = "TAP")]
    pub tap: Option<String>,
    /// grad-cam (one backward pass) or ablation-cam (a pass for each channel of the tap)
    #[arg(long, default_value = "grad-cam", value_name = "NAME")]
    pub method: String,
    /// Where pictures are written
    #[arg(long, value_name = "DIR", default_value = "cams")]
    pub out: PathBuf,
    /// Share of the heat map over the image, from 0 to 1
    #[arg(long, default_value_t = 0.5)]
    pub alpha: f64,
    /// Overwrite files that are there
    #[arg(long)]
    pub force: bool,
    /// Where to compute.
    #[command(flatten)]
    pub compute: ComputeArgs,
}
