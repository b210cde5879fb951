//! Vision networks as graphs with named taps, and their weights in PyTorch's formats.
#![deny(missing_docs)]
mod tap;
pub use tap::{Feature, Features, TapInfo, TapKind, TapShape};
