//! What can go wrong with a distillation term, each with its remedy.

/// One of the two networks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The network that learns.
    Student,
    /// The frozen network.
    Teacher,
}

impl std::fmt::Display for Side {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Student => "student",
            Self::Teacher => "teacher",
        })
    }
}

/// Errors of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DistillError {
    /// A term's table has no `method`.
    #[error("a distillation term needs `method = \"...\"`; there are {known}")]
    NoMethod {
        /// All methods, separated by commas.
        known: String,
    },
    /// The name is not in the registry.
    #[error("there is no distillation method `{name}`{}; there are {known}", did_you_mean(.nearest))]
    UnknownMethod {
        /// The name asked for.
        name: String,
        /// The registered name most like it.
        nearest: Option<String>,
        /// All methods, separated by commas.
        known: String,
    },
    /// A key that neither the term nor the method has.
    #[error("method `{method}` has no key `{key}`{}; it takes {known}", did_you_mean(.nearest))]
    UnknownKey {
        /// The method.
        method: String,
        /// The key found.
        key: String,
        /// The key most like it.
        nearest: Option<String>,
        /// All keys, separated by commas.
        known: String,
    },
    /// A value out of range or of the wrong type.
    #[error("method `{method}`: {reason}")]
    BadConfig {
        /// The method.
        method: String,
        /// What is wrong and what would be right.
        reason: String,
    },
    /// The network has no such tap.
    #[error("method `{method}`: the {side} has no tap `{tap}`{}; it has {available}", did_you_mean(.nearest))]
    UnknownTap {
        /// The method.
        method: String,
        /// Which network.
        side: Side,
        /// The tap asked for.
        tap: String,
        /// The tap most like it.
        nearest: Option<String>,
        /// All taps, separated by commas.
        available: String,
    },
    /// A forward pass did not return a tap that the method asked for.
    #[error("method `{method}`: the {side}'s features lack the tap `{tap}`; request the taps the method wants")]
    MissingFeature {
        /// The method.
        method: String,
        /// Which network.
        side: Side,
        /// The tap.
        tap: String,
    },
    /// Shapes of the two networks that no adapter can join.
    #[error("method `{method}`: {reason}")]
    Shapes {
        /// The method.
        method: String,
        /// Which shapes, and what to do.
        reason: String,
    },
    /// A transform refused its input.
    #[error("a frequency transform failed: {0}")]
    Spectral(#[from] subband_spectral::SpectralError),
    /// A file of frequency prompts that cannot be used.
    #[error("prompts `{}`: {reason}", path.display())]
    Prompts {
        /// The file.
        path: std::path::PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A checkpoint whose adapter parameters are not this method's.
    #[error("the saved parameters do not fit method `{method}`: {reason}")]
    State {
        /// The method.
        method: String,
        /// Which parameter, and how it differs.
        reason: String,
    },
}

fn did_you_mean(nearest: &Option<String>) -> String {
    nearest.as_ref().map(|n| format!(" (did you mean `{n}`?)")).unwrap_or_default()
}
