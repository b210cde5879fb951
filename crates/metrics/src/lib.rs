//! Evaluation figures: top-1 and top-5 accuracy, means of named loss terms, the confusion matrix.
//!
//! Everything takes plain slices and gives `f64`. Accumulators are filled batch by batch and hold counts of the whole
//! split, so the size of a batch never changes a figure.

mod confusion;
mod means;
mod topk;

pub use confusion::Confusion;
pub use means::Means;
pub use topk::{TopK, TopKResult};
