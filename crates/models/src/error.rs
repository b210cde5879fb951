//! What can go wrong with networks and weight files, each with its remedy.
use std::path::PathBuf;

use crate::tap::TapShape;

/// Errors of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// The name is not in the registry.
    #[error("there is no network `{name}`{}; `subband networks` lists them all", did_you_mean(.nearest))]
    UnknownNetwork {
        /// The name asked for.
        name: String,
        /// The registered name most like it.
        nearest: Option<String>,
    },
    /// A network cannot be built from this configuration.
    #[error("network `{network}`: {reason}")]
    BadConfig {
        /// The network.
        network: String,
        /// What is wrong and what would be right.
        reason: String,
    },
    /// The network has no such tap.
    #[error("network `{network}` has no tap `{name}`{}; it has {available}", did_you_mean(.nearest))]
    UnknownTap {
        /// The network.
        network: String,
        /// The tap asked for.
        name: String,
        /// The tap most like it.
        nearest: Option<String>,
        /// All taps, separated by commas.
        available: String,
    },
    /// The input is smaller than the network can reduce.
    #[error(
        "network `{network}` cannot take an input of {height}x{width}: nothing is left at `{node}`; \
         the smallest square input is {smallest}x{smallest}"
    )]
    InputTooSmall {
        /// The network.
        network: String,
        /// Input height.
        height: usize,
        /// Input width.
        width: usize,
        /// The operation whose output would be empty.
        node: String,
        /// Side of the smallest square input that works.
        smallest: usize,
    },
    /// The input has another size than the one the network's position embedding is for.
    #[error(
        "network `{network}` takes images of {side}x{side} only (it has one learned position per patch) and got \
         {height}x{width}; resize or crop the images to {side}x{side}"
    )]
    InputSize {
        /// The network.
        network: String,
        /// Side of the square input it takes.
        side: usize,
        /// Input height.
        height: usize,
        /// Input width.
        width: usize,
    },
    /// The input has another number of channels than the network.
    #[error(
        "network `{network}` was built for {expected} input channels and got {found}; \
         build it with `in_channels = {found}` or convert the images"
    )]
    InputChannels {
        /// The network.
        network: String,
        /// Channels it was built for.
        expected: usize,
        /// Channels of the input.
        found: usize,
    },
    /// Training statistics of a single value.
    #[error(
        "batch normalisation `{layer}` got one value per channel in training, whose variance is undefined; \
         use a batch of two or more images{}", if *.larger { ", or larger images" } else { "" }
    )]
    SingleValueStatistics {
        /// The layer.
        layer: String,
        /// Whether it has more values where the images are larger.
        larger: bool,
    },
    /// A network with folded batch normalisations was asked to train.
    #[error("network `{network}` has its batch normalisations folded and can only run in evaluation mode")]
    FoldedTraining {
        /// The network.
        network: String,
    },
    /// Two parts of a graph do not fit; raised for any tensor rank an operation cannot take.
    #[error("network `{network}`: operation `{node}` cannot take {shape}")]
    WrongRank {
        /// The network.
        network: String,
        /// The operation.
        node: String,
        /// What it got.
        shape: TapShape,
    },
    /// What replaces the value at a tap failed.
    #[error("at the tap `{tap}`: {source}")]
    Hook {
        /// The tap.
        tap: String,
        /// The hook's own error.
        source: crate::HookError,
    },
    /// A replaced value has another shape.
    #[error("the value put at the tap `{tap}` has the shape {found:?}, but the network goes on with {expected:?}")]
    HookShape {
        /// The tap.
        tap: String,
        /// Shape of the tap `[N, C, H, W]`.
        expected: [usize; 4],
        /// Shape of the new value.
        found: [usize; 4],
    },
    /// A replaced value has a graph that the network cannot carry on.
    #[error(
        "the value put at the tap `{tap}` has autodiff and the network `{network}` has not: run the network that \
         `Network::constant` makes of it"
    )]
    HookDevice {
        /// The network.
        network: String,
        /// The tap.
        tap: String,
    },
    /// The rest of a network needs more than the value at a tap.
    #[error(
        "network `{network}` cannot go on from the tap `{tap}` alone: `{node}` also reads what lies in front of it; \
         choose a tap through which everything passes"
    )]
    Bypassed {
        /// The network.
        network: String,
        /// The tap.
        tap: String,
        /// An operation that is needed and does not lie behind the tap.
        node: String,
    },
    /// The value that a network is to go on with does not fit.
    #[error("the value for the tap `{tap}` is {found}, but it is {expected} for images of {height}x{width}")]
    ResumeShape {
        /// The tap.
        tap: String,
        /// Height of the images.
        height: usize,
        /// Width of the images.
        width: usize,
        /// Shape of the tap for such images.
        expected: String,
        /// Shape of the value.
        found: String,
    },
    /// There is no class-activation map of this name.
    #[error("there is no class-activation map `{name}`{}; there are {known}", did_you_mean(.nearest))]
    UnknownCam {
        /// The name asked for.
        name: String,
        /// The name most like it.
        nearest: Option<String>,
        /// All names.
        known: String,
    },
    /// A class-activation map cannot be made.
    #[error("class-activation map of {what}: {reason}")]
    Cam {
        /// The image, tap or network.
        what: String,
        /// What is wrong and what would be right.
        reason: String,
    },
    /// A freeze prefix that matches no parameter.
    #[error("no parameter of `{network}` starts with `{prefix}`{}", did_you_mean(.nearest))]
    UnknownPrefix {
        /// The network.
        network: String,
        /// The prefix.
        prefix: String,
        /// The nearest module name.
        nearest: Option<String>,
    },
    /// A target of a low-rank adaptation that names no fully connected layer.
    #[error("no fully connected layer of `{network}` has `{target}` in its name{}", did_you_mean(.nearest))]
    UnknownTarget {
        /// The network.
        network: String,
        /// The target.
        target: String,
        /// The nearest name.
        nearest: Option<String>,
    },
    /// Dropout in a pass that brings no randomness.
    #[error("network `{network}` drops inputs in training: run it with `forward_with` and the step's noise")]
    NoNoise {
        /// The network.
        network: String,
    },
    /// The weights are those of another network.
    #[error(
        "these weights do not fit {target}: {matched} of its {expected} tensors are in the file's {found}, \
         missing for example {missing}, unused for example {unexpected}{remedy}"
    )]
    OtherNetwork {
        /// What was to be loaded: a network or its backbone.
        target: String,
        /// Tensors found by name.
        matched: usize,
        /// Tensors it has.
        expected: usize,
        /// Tensors the file has.
        found: usize,
        /// A few missing names.
        missing: String,
        /// A few names of the file that it lacks.
        unexpected: String,
        /// What the file fits and what to do with it, when it can be told.
        remedy: String,
    },
    /// Names fit and shapes do not.
    #[error("the shapes of these weights do not fit {target}: {details}{remedy}")]
    ShapeMismatch {
        /// What was to be loaded: a network or its backbone.
        target: String,
        /// Each mismatch: name, shape in the network, shape in the file.
        details: String,
        /// What to do, when it can be told (another number of classes or of input channels).
        remedy: String,
    },
    /// A tensor of the file has a type weights cannot have.
    #[error("tensor `{name}` of the weights has the type {dtype}, which cannot be turned into f32")]
    BadDtype {
        /// The tensor.
        name: String,
        /// Its type.
        dtype: String,
    },
    /// A weight file that cannot be read as what it claims to be.
    #[error("cannot read weights from {}: {reason}", .path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The file system refused.
    #[error("cannot {action} {}: {source}", .path.display())]
    Io {
        /// `read` or `write`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
}

fn did_you_mean(nearest: &Option<String>) -> String {
    nearest.as_ref().map(|n| format!(" (did you mean `{n}`?)")).unwrap_or_default()
}
