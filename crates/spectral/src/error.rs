//! What can go wrong in this crate.

/// Errors of the transforms; each names the thing and the remedy.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SpectralError {
    /// No wavelet of this name.
    #[error("unknown wavelet `{name}`{}; known: haar, db1-db20, sym2-sym20, coif1-coif5, bior and rbio 1.1 to 6.8", suggestion(.nearest))]
    UnknownWavelet {
        /// The name asked for.
        name: String,
        /// The known name closest to it.
        nearest: Option<String>,
    },
    /// No boundary rule of this name.
    #[error("unknown boundary rule `{name}`; known: zero, symmetric, reflect, periodic, periodization, constant")]
    UnknownBoundary {
        /// The name asked for.
        name: String,
    },
    /// A transform of no levels, or of more than make sense.
    #[error("`levels` is {levels}; a wavelet transform takes 1 to {most}")]
    Levels {
        /// The number asked for.
        levels: usize,
        /// The largest number.
        most: usize,
    },
    /// An axis of length zero.
    #[error("a map of shape {shape:?} is empty; every axis needs at least one element")]
    EmptyMap {
        /// The shape `[N, C, H, W]`.
        shape: Vec<usize>,
    },
    /// Two maps that should agree in shape do not.
    #[error("{what}: expected shape {expected:?}, found {found:?}; resize or project one side first")]
    ShapeMismatch {
        /// What was compared.
        what: &'static str,
        /// The shape required.
        expected: Vec<usize>,
        /// The shape given.
        found: Vec<usize>,
    },
    /// An axis that the tensor has not.
    #[error("axis {axis} of a tensor with {rank} axes; use 0 to {}", rank - 1)]
    Axis {
        /// The axis asked for.
        axis: usize,
        /// The tensor's number of axes.
        rank: usize,
    },
    /// A parameter of a filter outside its range.
    #[error("{what} is {value}; use {range}")]
    Parameter {
        /// The parameter.
        what: &'static str,
        /// Its value.
        value: f64,
        /// The values allowed.
        range: &'static str,
    },
}

fn suggestion(name: &Option<String>) -> String {
    name.as_ref().map(|n| format!(" (did you mean `{n}`?)")).unwrap_or_default()
}
