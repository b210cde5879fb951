//! The run folder: its files, what may be resumed in it, and fingerprints of its arms.
use std::path::{Path, PathBuf};

use burn::prelude::*;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use toml::{Table, Value};

use crate::checkpoint::Checkpoint;
use crate::evidence::{ArmResult, ClassScores, PromptResult, RunInfo, RunSummary, Scores};
use crate::recipe::{ArmRecipe, Recipe};
use crate::{TrainError, files};

use super::named_files;

/// Keys that may change between the sessions of a run, because no result depends on them (on the size of a batch in
/// evaluation its figures do, in the last digits of single precision).
const FREE: [&str; 10] = [
    "name",
    "arm",
    "report",
    "data.workers",
    "data.cache_mb",
    "train.checkpoint_every",
    "train.eval_batch_size",
    "teacher.train.checkpoint_every",
    "prompts.checkpoint_every",
    "teacher.train.eval_batch_size",
];

/// An opened run folder.
pub(super) struct Folder {
    path: PathBuf,
    recipe: Recipe,
    /// Results of earlier sessions: a place for every training, arm after arm and seed after seed.
    done: Vec<Option<ArmResult>>,
}

/// The folder of one arm.
pub(super) struct ArmFolder {
    path: PathBuf,
}

/// A JSON file that says what it belongs to.
#[derive(Serialize, Deserialize)]
struct Stamped<T> {
    fingerprint: String,
    #[serde(flatten)]
    value: T,
}

/// `test.json`: the figures of a teacher that is used as loaded.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Tested {
    #[serde(flatten)]
    pub scores: Scores,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<ClassScores>,
}

impl Folder {
    /// Makes or re-opens a run folder and writes `recipe.toml` and `run.json`.
    ///
    /// # Errors
    /// A folder that is in use, and what of it belongs to another recipe or is damaged: before anything is written.
    pub fn open(path: &Path, recipe: &Recipe, device: &Device, resume: bool) -> Result<Self, TrainError> {
        let recipe_path = path.join("recipe.toml");
        let mut folder = Self { path: path.into(), recipe: recipe.clone(), done: Vec::new() };
        let (mut resumed, mut files_before) = (0, Default::default());
        let files_now = named_files::hashes(&table_of(recipe))?;
        if Self::begun(path) {
            if !resume {
                return Err(TrainError::FolderInUse { path: path.into() });
            }
            check_same(path, &recipe_path, recipe)?;
            let info = std::fs::read(path.join("run.json")).ok();
            let info = info.and_then(|bytes| serde_json::from_slice::<RunInfo>(&bytes).ok());
            (resumed, files_before) = info.map_or((1, files_before), |info| (info.resumed + 1, info.files));
        }
        let named = named_files::same(path, files_before, files_now)?;
        folder.done = folder.examine()?;
        files::create_folder(path)?;
        files::write_atomic(&recipe_path, recipe.to_toml().as_bytes())?;
        let info = RunInfo { seeds: recipe.seeds.clone(), files: named, ..RunInfo::new(recipe.seed, device, resumed) };
        write_json(&path.join("run.json"), &info)?;
        Ok(folder)
    }

    /// The trainings that earlier sessions finished; whatever is there must belong to this recipe.
    fn examine(&self) -> Result<Vec<Option<ArmResult>>, TrainError> {
        if self.recipe.teacher.as_ref().is_some_and(|teacher| teacher.train.is_some()) {
            self.arm("teacher").examine::<ArmResult>("teacher", &self.fingerprint(None, None))?;
        }
        if self.recipe.prompts.is_some() {
            self.prompts().examine::<PromptResult>(super::prompts::NAME, &self.prompt_fingerprint())?;
        }
        let mut done = Vec::new();
        for arm in self.recipe.arms() {
            for seed in self.recipe.trainings() {
                let slug = arm.slug_of(seed);
                done.push(self.arm(&slug).examine(&slug, &self.fingerprint(Some(&arm), seed))?);
            }
        }
        Ok(done)
    }

    /// Results of earlier sessions, a place for every training of every arm.
    pub fn done(&self) -> Vec<Option<ArmResult>> {
        self.done.clone()
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether there is a run at `path`.
    pub fn begun(path: &Path) -> bool {
        path.join("recipe.toml").exists()
    }

    /// The folder of an arm, which may not be there yet.
    pub fn arm(&self, slug: &str) -> ArmFolder {
        ArmFolder { path: self.path.join("arms").join(slug) }
    }

    pub fn write_results(&self, summary: &RunSummary) -> Result<(), TrainError> {
        write_json(&self.path.join("results.json"), summary)
    }

    /// The folder of the prompts.
    pub fn prompts(&self) -> ArmFolder {
        ArmFolder { path: self.path.join("prompts") }
    }

    /// The file of the learned prompts.
    pub fn prompt_file(&self) -> PathBuf {
        self.path.join("prompts.safetensors")
    }

    /// Hash of everything that the prompts depend on.
    pub fn prompt_fingerprint(&self) -> String {
        let mut table = self.table(None);
        table.remove("student");
        table.remove("train");
        hash(&table)
    }

    /// Hash of everything that the weights of an arm (`None`: of the teacher) depend on; `seed` is that of one of
    /// several trainings.
    pub fn fingerprint(&self, arm: Option<&ArmRecipe>, seed: Option<u64>) -> String {
        let mut table = self.table(arm);
        if let Some(seed) = seed {
            table.insert("training_seed".into(), Value::String(seed.to_string()));
        }
        if !arm.is_some_and(crate::setup::learned_prompts) {
            table.remove("prompts");
        }
        match arm {
            None => {
                table.remove("student");
                table.remove("train");
            }
            Some(arm) if arm.terms.is_empty() => drop(table.remove("teacher")),
            Some(_) => {}
        }
        hash(&table)
    }

    /// The recipe with at most one arm, without the keys that no result depends on.
    fn table(&self, arm: Option<&ArmRecipe>) -> Table {
        let mut recipe = self.recipe.clone();
        recipe.arms = arm.cloned().into_iter().collect();
        recipe.seeds.clear();
        let mut table = table_of(&recipe);
        for key in FREE.iter().filter(|key| **key != "arm") {
            remove(&mut table, key);
        }
        table
    }
}

impl ArmFolder {
    /// Makes the folder.
    pub fn create(&self) -> Result<(), TrainError> {
        files::create_folder(&self.path)
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    pub fn checkpoint(&self) -> PathBuf {
        self.file("checkpoint.safetensors")
    }

    pub fn best(&self) -> PathBuf {
        self.file("student-best.safetensors")
    }

    pub fn last(&self) -> PathBuf {
        self.file("student-last.safetensors")
    }

    /// The result of an arm that is done.
    ///
    /// # Errors
    /// A result of another recipe.
    pub fn result(&self, fingerprint: &str) -> Result<Option<ArmResult>, TrainError> {
        self.stamped("result.json", fingerprint)
    }

    pub fn write_result(&self, fingerprint: &str, result: &ArmResult) -> Result<(), TrainError> {
        self.write_stamped("result.json", fingerprint, result)
    }

    /// The result if the part is done; a checkpoint that it would continue from must fit too.
    fn examine<T: DeserializeOwned>(&self, slug: &str, fingerprint: &str) -> Result<Option<T>, TrainError> {
        let result = self.stamped("result.json", fingerprint)?;
        if result.is_none() && self.checkpoint().exists() {
            Checkpoint::read(&self.checkpoint(), slug, fingerprint)?;
        }
        Ok(result)
    }

    /// A file that [`ArmFolder::write_stamped`] wrote, if it is there.
    ///
    /// # Errors
    /// A damaged file, or one of another recipe.
    pub fn stamped<T: DeserializeOwned>(&self, name: &str, fingerprint: &str) -> Result<Option<T>, TrainError> {
        let path = self.file(name);
        if !path.exists() {
            return Ok(None);
        }
        let bad = |message: &str| TrainError::Resume { path: path.clone(), message: message.into() };
        let stamped: Stamped<T> = serde_json::from_slice(&files::read(&path)?)
            .map_err(|_| bad("the file is damaged; delete it to finish this part again from its checkpoint"))?;
        if stamped.fingerprint != fingerprint {
            return Err(bad("this part was finished under another recipe; choose another folder with --out"));
        }
        Ok(Some(stamped.value))
    }

    /// Writes a value with what it belongs to.
    pub fn write_stamped<T: Serialize + Clone>(
        &self,
        name: &str,
        fingerprint: &str,
        value: &T,
    ) -> Result<(), TrainError> {
        write_json(&self.file(name), &Stamped { fingerprint: fingerprint.into(), value: value.clone() })
    }

    /// Test figures of an untrained teacher, if they are there and of this recipe.
    pub fn test(&self, fingerprint: &str) -> Option<Tested> {
        let bytes = std::fs::read(self.file("test.json")).ok()?;
        let stamped: Stamped<Tested> = serde_json::from_slice(&bytes).ok()?;
        (stamped.fingerprint == fingerprint).then_some(stamped.value)
    }

    pub fn write_test(&self, fingerprint: &str, tested: &Tested) -> Result<(), TrainError> {
        self.create()?;
        self.write_stamped("test.json", fingerprint, tested)
    }
}

/// Writes indented JSON, whole or not at all.
pub(super) fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), TrainError> {
    let mut text = serde_json::to_string_pretty(value)
        .map_err(|error| TrainError::Write { path: path.into(), source: error.into() })?;
    text.push('\n');
    files::write_atomic(path, text.as_bytes())
}

fn hash(table: &Table) -> String {
    let hash = Sha256::digest(toml::to_string(table).unwrap_or_default().as_bytes());
    hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

fn table_of(recipe: &Recipe) -> Table {
    recipe.to_toml().parse().unwrap_or_default()
}

/// Refuses to continue under a recipe that would give other results.
fn check_same(folder: &Path, stored: &Path, recipe: &Recipe) -> Result<(), TrainError> {
    let text = files::read(stored)?;
    let fail = |message: String| Err(TrainError::Resume { path: folder.into(), message });
    let Ok(mut old) = String::from_utf8_lossy(&text).parse::<Table>() else {
        return fail("its recipe.toml is damaged; restore the file".into());
    };
    let mut new = table_of(recipe);
    // The prompts and the arms that use them have fingerprints of their own.
    for key in FREE.into_iter().chain(["prompts"]) {
        remove(&mut old, key);
        remove(&mut new, key);
    }
    first_seed(&mut old);
    first_seed(&mut new);
    let mut keys = Vec::new();
    differences(&Value::Table(old), &Value::Table(new), String::new(), &mut keys);
    match keys.is_empty() {
        true => Ok(()),
        false => fail(format!(
            "the recipe differs from the run's in {}; set it back or choose another folder with --out",
            keys.join(", ")
        )),
    }
}

/// Leaves the first of several seeds: the others may change, each has folders of its own.
fn first_seed(table: &mut Table) {
    if let Some(Value::Array(seeds)) = table.get_mut("seeds") {
        seeds.truncate(1);
    }
}

fn remove(table: &mut Table, key: &str) {
    match key.split_once('.') {
        None => drop(table.remove(key)),
        Some((first, rest)) => {
            if let Some(Value::Table(inner)) = table.get_mut(first) {
                remove(inner, rest);
            }
        }
    }
}

/// Dotted keys in which two values differ.
fn differences(a: &Value, b: &Value, path: String, found: &mut Vec<String>) {
    let (Value::Table(x), Value::Table(y)) = (a, b) else {
        if a != b {
            found.push(format!("`{path}`"));
        }
        return;
    };
    let names: std::collections::BTreeSet<&String> = x.keys().chain(y.keys()).collect();
    for name in names {
        let inner = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        match (x.get(name), y.get(name)) {
            (Some(a), Some(b)) => differences(a, b, inner, found),
            _ => found.push(format!("`{inner}`")),
        }
    }
}
