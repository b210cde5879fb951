//! Pipeline.
/// From decoded sample to normalised values.
#[derive(Debug, Clone)]
pub struct Pipeline {}
