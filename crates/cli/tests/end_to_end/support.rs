//! Starting the program, a small recipe, and data that may not be there.
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

/// The program under test.
pub fn subband(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_subband"));
    command.args(args);
    command
}

/// Runs the program to its end.
pub fn run(args: &[&str]) -> Output {
    subband(args).output().unwrap()
}

/// Runs the program, which must succeed, and returns its standard output.
pub fn succeeds(args: &[&str]) -> String {
    let output = run(args);
    assert!(output.status.success(), "{args:?}\n{}", stderr(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// Runs the program, which must fail with `code` and one clear error, and returns that.
pub fn refused(code: i32, args: &[&str]) -> String {
    let output = run(args);
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(code), "{args:?}\n{text}");
    assert_eq!(text.lines().filter(|line| line.starts_with("error: ")).count(), 1, "{args:?}\n{text}");
    assert_eq!(text.lines().filter(|line| line.starts_with("help: ")).count(), 1, "{args:?}\n{text}");
    assert!(!text.contains("panicked") && !text.contains("this is a bug"), "{text}");
    text
}

/// What the program wrote to standard error.
pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A recipe of a few seconds with every kind of arm: no term, a term on logits, a term with adapters.
pub const TINY: &str = r#"
name = "tiny"
seed = 0
[data]
dataset = "digits"
train_limit = 80
test_limit = 60
validation = 0.2
crop_padding = 2
[teacher]
network = "cifar-resnet14"
train = { epochs = 1 }
[student]
network = "cifar-resnet8"
[train]
epochs = 2
batch_size = 16
checkpoint_every = 3
[[arm]]
name = "student alone"
[[arm]]
name = "KD"
task_weight = 0.1
[[arm.term]]
method = "kd"
[[arm]]
name = "FAM-KD"
[[arm.term]]
method = "fam-kd"
weight = "auto:0.5"
warmup_epochs = 1
"#;

/// A folder with the small recipe in it.
pub struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("tiny.toml"), TINY).unwrap();
        Self { folder }
    }

    /// A path in the folder as text.
    pub fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_string()
    }

    pub fn recipe(&self) -> String {
        self.path("tiny.toml")
    }

    /// `distill` of the small recipe into `out`, with further arguments.
    pub fn distill<'a>(&self, out: &'a str, recipe: &'a str, more: &[&'a str]) -> Vec<&'a str> {
        [&["distill", recipe, "--out", out], more].concat()
    }
}

pub fn json(path: impl AsRef<Path>) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// The folder with weights and packed images, if there is one; a note if not.
pub fn shared(file: &str) -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let shared = std::env::var_os("SUBBAND_DATA").map_or_else(|| root.join("../shared"), PathBuf::from);
    let path = shared.join(file);
    if !path.exists() {
        println!("skipped: {} is not there (set SUBBAND_DATA)", path.display());
        return None;
    }
    Some(path)
}

/// The unpacked JPEG images of CIFAR-10, unpacked on first use.
pub fn cifar10_jpeg() -> Option<PathBuf> {
    let pack = shared("data/cifar10-jpeg.tar.xz")?;
    let cache = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/data");
    let folder = cache.join("cifar10-jpeg");
    if folder.join("val").is_dir() {
        return Some(folder);
    }
    std::fs::create_dir_all(&cache).unwrap();
    let unpacking = tempfile::tempdir_in(&cache).unwrap();
    let done = Command::new("tar").arg("xf").arg(&pack).arg("-C").arg(unpacking.path()).status();
    if !done.is_ok_and(|status| status.success()) {
        println!("skipped: `tar` cannot unpack {}", pack.display());
        return None;
    }
    // Whole or not at all; another test may have been faster.
    let _ = std::fs::rename(unpacking.path().join("cifar10-jpeg"), &folder);
    folder.join("val").is_dir().then_some(folder)
}
