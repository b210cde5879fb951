//! Errors as the user sees them: one line that says what is wrong, one that says what to do, and an exit code.
use std::fmt;

use subband_data::DataError;
use subband_distill::DistillError;
use subband_models::ModelError;
use subband_train::TrainError;
use subband_train::evidence::report::ReportError;

/// The command, the recipe or a file it names is wrong.
const USAGE: u8 = 2;
/// Something failed while running.
const FAILED: u8 = 1;

/// What ends the program.
#[derive(Debug)]
pub struct Failure {
    message: String,
    help: String,
    /// Exit code.
    pub code: u8,
    of_disk: bool,
}

impl Failure {
    /// A mistake in the command line or in a file it names.
    pub fn usage(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { message: message.into(), help: help.into(), code: USAGE, of_disk: false }
    }

    /// A failure while running.
    pub fn failed(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { message: message.into(), help: help.into(), code: FAILED, of_disk: false }
    }

    /// An error of data that flags describe, in their words: no recipe is there to be corrected.
    pub fn of_flags(error: impl Into<TrainError>) -> Self {
        let (message, help) = match error.into() {
            TrainError::Data(DataError::Config { key, reason }) => match key {
                // What lies in the folder, not what a flag says.
                "classes" => (format!("{key} {reason}"), "write the names into classes.txt, one a line"),
                "normalize" => (format!("--{key}: {reason}"), "on the command line: --normalize MEAN/STD with commas"),
                key => (format!("--{key}: {reason}"), "correct the flag; --help shows examples"),
            },
            TrainError::Data(DataError::Size { path, width, height, expected_width, expected_height }) => (
                format!(
                    "the image {path} is {width}x{height} while this data set's images are \
                     {expected_width}x{expected_height} (width x height)"
                ),
                "--resize HEIGHTxWIDTH brings all images to one size",
            ),
            TrainError::Data(DataError::Channels { path, found, wanted }) => (
                format!("the image {path} has {found} channels, which cannot become {wanted}"),
                "choose the channels with --channels",
            ),
            TrainError::Data(error @ DataError::Image { .. }) => {
                let help = "remove or replace the file, or pass over such files with --skip-corrupt";
                return Self::failed(error.to_string(), help);
            }
            error => return error.into(),
        };
        Self::usage(message, help)
    }

    /// What is wrong.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The same failure with another remedy.
    pub fn with_help(self, help: impl Into<String>) -> Self {
        Self { help: help.into(), ..self }
    }

    /// Whether a file could not be written: what comes next could not be either.
    pub fn is_of_disk(&self) -> bool {
        self.of_disk
    }

    /// The same failure with the file it is about in front.
    pub fn about(self, path: &std::path::Path) -> Self {
        Self { message: format!("{}: {}", path.display(), self.message), ..self }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "error: {}", self.message)?;
        if !self.help.is_empty() {
            writeln!(f, "help: {}", self.help)?;
        }
        Ok(())
    }
}

impl From<TrainError> for Failure {
    fn from(error: TrainError) -> Self {
        let code = if error.is_usage() { USAGE } else { FAILED };
        let of_disk = matches!(error, TrainError::Write { .. });
        let help = match error {
            TrainError::Data(error) => return error.into(),
            TrainError::Model { context, source } => {
                let inner = Self::from(*source);
                return Self { message: format!("{context}: {}", inner.message), ..inner };
            }
            TrainError::Distill { context, source } => {
                let inner = Self::from(*source);
                return Self { message: format!("{context}: {}", inner.message), ..inner };
            }
            TrainError::RecipeRead { .. } => "give the path of a recipe; recipes/quickstart.toml is a first one",
            TrainError::RecipeSyntax { .. } => "correct the line shown",
            TrainError::UnknownKey { .. } | TrainError::MissingKey { .. } | TrainError::BadValue { .. } => {
                "correct the recipe or the --set; `subband plan RECIPE` checks one without training"
            }
            TrainError::BadOverride { .. } => "write --set section.key=value, for example --set train.epochs=2",
            TrainError::Wiring(ref message) if message.contains("tap") => {
                "`subband taps NETWORK` lists taps, `subband plan RECIPE` checks a recipe"
            }
            TrainError::Wiring(_) => "`subband plan RECIPE` checks a recipe, `subband --help` lists the commands",
            TrainError::Robustness(_) => "`subband robustness --help` shows examples",
            TrainError::Write { .. } => "nothing that was there before is lost",
            TrainError::Read { .. } => "check that the file exists and may be read",
            TrainError::FolderInUse { .. } => "--resume continues it, --out DIR starts another; nothing was changed",
            TrainError::Resume { .. } => "use the recipe and --set values the run was started with, or another --out",
            TrainError::Checkpoint { .. } => "the other arms of the run are not affected",
            TrainError::NonFinite { .. } => "lower train.optimizer.lr first; then raise warmup_epochs or set clip_norm",
            TrainError::DeadTerm { .. } => {
                "`subband plan RECIPE` shows every part of the loss alive; to leave a term out, remove its [[arm.term]]"
            }
            TrainError::Stopped { .. } => "",
        };
        Self { message: error.to_string(), help: help.into(), code, of_disk }
    }
}

impl From<ModelError> for Failure {
    fn from(error: ModelError) -> Self {
        let (help, code) = match &error {
            ModelError::UnknownNetwork { .. } => ("`subband networks` lists all networks", USAGE),
            ModelError::UnknownTap { .. } => ("`subband taps NETWORK` lists taps with their shapes", USAGE),
            ModelError::Corrupt { .. } => ("fetch or save the file again; it was read only", USAGE),
            ModelError::Io { action, .. } if *action == "read" => {
                ("check the path and that the file may be read", USAGE)
            }
            ModelError::Io { .. } => ("free some space or choose another folder with --out", FAILED),
            ModelError::InputSize { .. } => ("for example --resize 224, in a recipe --set data.resize=224", USAGE),
            ModelError::UnknownCam { .. } => ("choose one of them with --method", USAGE),
            ModelError::Cam { .. } => ("take another class, another --tap or the other --method", USAGE),
            ModelError::UnknownPrefix { .. } => ("student.frozen takes beginnings of parameter names", USAGE),
            _ => (
                "choose the network, the number of classes (--classes, --class-names) and the weights so that they belong \
                 together",
                USAGE,
            ),
        };
        Self { message: error.to_string(), help: help.into(), code, of_disk: false }
    }
}

impl From<DistillError> for Failure {
    fn from(error: DistillError) -> Self {
        let help = "`subband methods` lists methods, `subband taps NETWORK` lists taps";
        Self { message: error.to_string(), help: help.into(), code: USAGE, of_disk: false }
    }
}

impl From<DataError> for Failure {
    fn from(error: DataError) -> Self {
        let (help, code) = match &error {
            DataError::MissingFolder { .. } | DataError::Layout { .. } => (
                "an image folder holds train/<class>/* and val/<class>/*, one with masks train/images/* and \
                 train/labels/*; `subband data inspect DIR` looks into one; of a run whose data set was moved, --data DIR \
                 says where it is",
                USAGE,
            ),
            DataError::Image { .. } => {
                ("remove or replace the file, or set data.skip_corrupt=true to pass over such files", FAILED)
            }
            DataError::Label { .. } => ("correct the file; `subband data inspect` lists all such files", USAGE),
            DataError::Size { .. } => ("for example --set data.resize=32; with masks `crop` does as well", USAGE),
            DataError::Config { .. } | DataError::Channels { .. } => ("correct the recipe's [data] table", USAGE),
            DataError::Corruption { .. } => {
                ("images are corrupted at their own size: 32x32 pixels or more; severities are 1 to 5", USAGE)
            }
            DataError::Download { .. } => ("check the network connection, or put the file there by hand", FAILED),
            _ => ("`subband data inspect` looks into a data set", FAILED),
        };
        Self { message: error.to_string(), help: help.into(), code, of_disk: false }
    }
}

impl From<ReportError> for Failure {
    fn from(error: ReportError) -> Self {
        match error {
            ReportError::Write(error) => error.into(),
            error @ ReportError::NotARun { .. } => {
                Self::usage(error.to_string(), "run folders lie under runs/ by default")
            }
            error => Self::failed(error.to_string(), "the rest of the run folder is not affected"),
        }
    }
}

/// A panic is a bug of this program: say so, and leave with code 101 at once, so that no thread is waited for.
pub fn install_panic_hook() {
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map(|place| format!(" ({}:{})", place.file(), place.line())).unwrap_or_default();
        let message = info.payload_as_str().unwrap_or("no message").lines().next().unwrap_or_default().to_string();
        eprintln!("error: this is a bug in subband {}: {message}{place}", env!("CARGO_PKG_VERSION"));
        eprintln!(
            "help: please report it with the command and the recipe; a run continues from its last checkpoint with --resume"
        );
        std::process::exit(101);
    }));
}
