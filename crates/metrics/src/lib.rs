//! Evaluation figures: top-1 and top-5 accuracy, intersection over union, robustness, means of named loss terms, the
//! confusion matrix.
//!
//! Everything takes plain slices and gives `f64`. Accumulators are filled batch by batch and hold counts of the whole
//! split, so the size of a batch never changes a figure.

pub mod cityscapes;
mod confusion;
mod means;
mod protocol;
mod robustness;
mod segmentation;
#[cfg(test)]
mod tests;
mod topk;

pub use confusion::Confusion;
pub use means::Means;
pub use protocol::Protocol;
pub use robustness::{CorruptionMean, Robustness, RobustnessResult};
pub use segmentation::{CategoryFigures, ClassFigures, IGNORED, Segmentation, SegmentationResult};
pub use topk::{TopK, TopKResult};
