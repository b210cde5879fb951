//! Everything that can go wrong between a recipe and its evidence.
use std::path::PathBuf;

/// An error of the training system. Each variant names the thing at fault and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The recipe file could not be read.
    #[error("cannot read the recipe {}: {source}", path.display())]
    RecipeRead {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The recipe is not valid TOML.
    #[error("the recipe {} is not valid TOML: {message}", path.display())]
    RecipeSyntax {
        /// The file.
        path: PathBuf,
        /// The parser's message with line and column.
        message: String,
    },
    /// A key that no recipe has.
    #[error("unknown key `{key}` in the recipe{}{}", line_text(*.line), nearest_text(.nearest, .known))]
    UnknownKey {
        /// Dotted path of the key.
        key: String,
        /// Line of the file, where it is known.
        line: Option<usize>,
        /// The most similar valid key, if one is similar at all.
        nearest: Option<String>,
        /// All valid keys at this place.
        known: Vec<String>,
    },
    /// A key that must be there is missing.
    #[error("the recipe has no `{key}`{}: {hint}", line_text(*.line))]
    MissingKey {
        /// Dotted path of the key.
        key: String,
        /// Line of the table that lacks it.
        line: Option<usize>,
        /// What to write.
        hint: String,
    },
    /// A value of the wrong type or out of its range.
    #[error("`{key}`{}: {message}", line_text(*.line))]
    BadValue {
        /// Dotted path of the key.
        key: String,
        /// Line of the file, where it is known.
        line: Option<usize>,
        /// What is wrong and what is allowed.
        message: String,
    },
    /// A `--set` that cannot be applied.
    #[error("--set {text}: {message}")]
    BadOverride {
        /// The override as given.
        text: String,
        /// What is wrong.
        message: String,
    },
    /// Networks, taps, data and methods do not fit together.
    #[error("{0}")]
    Wiring(String),
    /// A measurement of robustness that cannot be made as asked.
    #[error("{0}")]
    Robustness(String),
    /// A network or its weights.
    #[error("{context}: {source}")]
    Model {
        /// Which network of the run.
        context: String,
        /// The error of the models crate.
        source: Box<subband_models::ModelError>,
    },
    /// The data set.
    #[error(transparent)]
    Data(#[from] subband_data::DataError),
    /// A distillation method.
    #[error("{context}: {source}")]
    Distill {
        /// Which arm and term.
        context: String,
        /// The error of the distill crate.
        source: Box<subband_distill::DistillError>,
    },
    /// A file or folder could not be written. Files are written beside their place and renamed, so none is half-written.
    #[error("cannot write {}: {source}; free some space or choose another folder with --out, then run again, a training with --resume (no file is half-written)", path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file of the run folder could not be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The run folder is in use by an earlier run.
    #[error("{} already holds a run; continue it with --resume or choose another folder with --out", path.display())]
    FolderInUse {
        /// The folder.
        path: PathBuf,
    },
    /// Nothing to resume, or the folder belongs to another recipe.
    #[error("cannot resume {}: {message}", path.display())]
    Resume {
        /// The folder.
        path: PathBuf,
        /// Why and what to do.
        message: String,
    },
    /// A checkpoint that is damaged or belongs to something else.
    #[error("the checkpoint {} {message}; nothing was changed. Move the file away to start this arm from its beginning", path.display())]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// A loss term or the gradient became NaN or infinite.
    #[error("{what} is {value} at epoch {epoch}, step {step} of arm \"{arm}\"; the state before this step is saved in {} for a replay. Usual remedies: a lower learning rate, warmup_epochs, clip_norm", saved.display())]
    NonFinite {
        /// The term or `gradient norm`.
        what: String,
        /// Its value as text.
        value: String,
        /// Arm's name.
        arm: String,
        /// Epoch, counted from 1.
        epoch: usize,
        /// Optimiser step in the run, counted from 1.
        step: usize,
        /// Folder with the saved state.
        saved: PathBuf,
    },
    /// A part of the loss that is zero, not finite or does not reach the student at step 1; nothing of its arm was
    /// written.
    #[error("term \"{term}\" of arm \"{arm}\" {message}")]
    DeadTerm {
        /// The term.
        term: String,
        /// The arm.
        arm: String,
        /// What was seen, with the taps involved.
        message: String,
    },
    /// The run was stopped by its caller; the last checkpoint stands.
    #[error("stopped on request after step {step} of arm \"{arm}\"; continue with --resume")]
    Stopped {
        /// The arm.
        arm: String,
        /// Steps done.
        step: usize,
    },
}

impl TrainError {
    /// An error of the models crate; `context` says which network.
    pub fn model(context: impl Into<String>, source: subband_models::ModelError) -> Self {
        Self::Model { context: context.into(), source: Box::new(source) }
    }

    /// An error of the distill crate; `context` says which arm and term.
    pub fn distill(context: impl Into<String>, source: subband_distill::DistillError) -> Self {
        Self::Distill { context: context.into(), source: Box::new(source) }
    }

    /// Whether the user's recipe, command or files are at fault (exit code 2) and not the run itself.
    pub fn is_usage(&self) -> bool {
        matches!(
            self,
            Self::RecipeRead { .. }
                | Self::RecipeSyntax { .. }
                | Self::UnknownKey { .. }
                | Self::MissingKey { .. }
                | Self::BadValue { .. }
                | Self::BadOverride { .. }
                | Self::Wiring(_)
                | Self::Robustness(_)
                | Self::FolderInUse { .. }
                | Self::Resume { .. }
                | Self::DeadTerm { .. }
        )
    }
}

fn line_text(line: Option<usize>) -> String {
    line.map(|line| format!(" (line {line})")).unwrap_or_default()
}

fn nearest_text(nearest: &Option<String>, known: &[String]) -> String {
    match nearest {
        Some(name) => format!("; did you mean `{name}`?"),
        None => format!("; known keys here: {}", known.join(", ")),
    }
}
