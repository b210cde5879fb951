//! FreeKD: Knowledge Distillation via Semantic Frequency Prompt.
mod dissimilarity;
mod file;
mod frequency;
mod prompts;

pub use dissimilarity::Similarity;
pub use file::Prompts;
pub use frequency::{FrequencyKind, Grouping};
pub use prompts::{PromptConfig, PromptSets};

use crate::DistillError;

/// Name in recipes.
const NAME: &str = "freekd";

/// The error for a bad key.
fn bad(reason: impl Into<String>) -> DistillError {
    DistillError::BadConfig { method: NAME.to_string(), reason: reason.into() }
}

#[cfg(test)]
mod tests;
