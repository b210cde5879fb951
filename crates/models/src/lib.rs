//! Vision networks as graphs with named taps, and their weights in PyTorch's formats.
//!
//! A network is a list of named operations built by one short file per family (`zoo`). Everything else follows from
//! that list: the forward pass with only the operations that the wanted taps need, shapes, multiply-adds, folding of
//! batch normalisations, PyTorch's parameter names.
#![deny(missing_docs)]
mod error;
mod network;
mod tap;
pub mod weights;

pub use error::ModelError;
pub use network::{LoadReport, Mode, Network, NetworkConfig, ParamInfo, network_names};
pub use tap::{Feature, Features, TapInfo, TapKind, TapShape};
pub use weights::StateDict;
