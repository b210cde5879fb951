//! Vision networks as graphs with named taps, and their weights in PyTorch's formats.
//!
//! A network is a list of named operations built by one short file per family (`zoo`). Everything else follows from
//! that list: the forward pass with only the operations that the wanted taps need, shapes, multiply-adds, folding of
//! batch normalisations, PyTorch's parameter names.
//!
//! Tap names are the same in all families: `stem`, `stage1` to `stageN`, the values before their activations as
//! `stageK.pre`, `pooled` (the classifier's input) and `logits`. Transformers also have `blocks.0` and so on, and `norm`;
//! segmentation networks (`pspnet-*`, `deeplabv3-*`), whose logits are a map, have `decoder` in place of `pooled`, and
//! `aux`.
//!
//! | what | how |
//! |---|---|
//! | the value at a tap replaced before the rest runs | [`Network::forward_hooked`] |
//! | the rest alone, from a value for a tap | [`Network::forward_from`] |
//! | where an image speaks for a class | [`Cam::maps`] |
//! | weights of a whole network, or of a segmenter's backbone | [`Network::load`], [`Network::load_backbone`] |
//! | low-rank factors beside frozen weights | [`LoraConfig`] |
//!
//! ```
//! use burn::prelude::*;
//! use subband_models::{Mode, NetworkConfig};
//! # fn main() -> Result<(), subband_models::ModelError> {
//! let device = Device::flex();
//! let network = NetworkConfig::new("cifar-resnet8", 3, 10).init(subband_seed::Stream::new(1), &device)?;
//! let images = Tensor::zeros([2, 3, 32, 32], &device);
//! let features = network.forward(images, Mode::Eval, &["stage2".to_string()])?;
//! assert_eq!(features.scores().dims(), [2, 10]);
//! assert_eq!(features.taps["stage2"].shape().to_string(), "32x16x16");
//! # Ok(())
//! # }
//! ```
#![deny(missing_docs)]
mod align;
mod backbone;
mod builder;
mod cam;
mod convolutions;
mod error;
mod execute;
mod fold;
mod fuse;
mod graph;
mod hook;
mod init;
mod layers;
mod lora;
mod network;
mod resume;
mod shape;
mod state;
mod tap;
mod value;
pub mod weights;
mod zoo;

#[cfg(test)]
mod tests;

pub use align::Mismatch;
pub use cam::{Cam, CamTarget, HeatMap};
pub use convolutions::ConvShape;
pub use error::ModelError;
pub use hook::{HookError, Replace};
pub use layers::Mode;
pub use lora::{LoraConfig, Noise};
pub use network::{Network, NetworkConfig, ParamInfo, network_names};
pub use state::LoadReport;
pub use subband_names::nearest;
pub use tap::{Feature, Features, TapInfo, TapKind, TapShape};
pub use weights::StateDict;
