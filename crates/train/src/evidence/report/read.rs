//! Reads a run folder into plain values for the report.
//!
//! Everything is optional: a report can be asked for while the run is going on, after it was
//! stopped, or for a folder written by an older version. A line that was cut by a crash is
//! skipped, a number that is missing or not finite becomes `None`.

use super::gallery::{self, Gallery};
use super::rows::rows;
use super::{ReportError, robustness};
use crate::evidence::{
    ClassScores, EpochResult, Figure, MaskPictures, PromptResult, Proof, RobustnessRecord, Scores, Spread, spreads,
};
use crate::recipe::{ArmRecipe, label};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// What a run folder holds, as far as it was written.
#[derive(Debug, Default)]
pub(super) struct Run {
    pub name: String,
    pub finished: bool,
    pub info: Option<Value>,
    pub recipe: Option<String>,
    pub teacher: Option<Arm>,
    /// Every training.
    pub arms: Vec<Arm>,
    /// The arms, several seeds as one row.
    pub rows: Vec<Arm>,
    /// Several seeds; empty for one.
    pub seeds: Vec<u64>,
    pub test_images: Option<f64>,
    /// What counts in segmentations, by name.
    pub protocol: Option<String>,
    /// Names of the test figures, the primary one first.
    pub figures: Vec<Figure>,
    pub prompts: Option<PromptResult>,
    pub pictures: Option<MaskPictures>,
    /// The steps in which the prompts were learned.
    pub prompt_steps: Vec<Step>,
    /// Test images through every network.
    pub gallery: Option<Gallery>,
    /// Figures on corrupted images.
    pub robustness: Option<RobustnessRecord>,
    /// Why these cannot be read.
    pub robustness_damage: Option<String>,
    /// Folders of networks whose weights are no longer those of these figures.
    pub outdated: BTreeSet<String>,
}

/// One trained network: an arm of the comparison, or the teacher.
#[derive(Debug, Default)]
pub(super) struct Arm {
    /// The arm's name, with the seed where there are several.
    pub name: String,
    /// The arm's name alone.
    pub group: String,
    pub seed: Option<u64>,
    pub slug: String,
    pub network: Option<String>,
    pub params: Option<f64>,
    pub macs: Option<f64>,
    pub aux_params: Option<f64>,
    /// Training images that could not be decoded.
    pub skipped: Option<f64>,
    pub seconds: Option<f64>,
    pub best_epoch: Option<usize>,
    /// Test figures of the best epoch; with deviations in a row for several seeds.
    pub best: BTreeMap<String, Spread>,
    /// Seeds that are done, in a row for several.
    pub seeds_done: Option<usize>,
    /// Test figures of the last epoch.
    pub last: BTreeMap<String, Spread>,
    /// The classes on the test images, at the best epoch.
    pub classes: Vec<ClassScores>,
    pub terms: Vec<String>,
    pub planned_epochs: Option<f64>,
    pub epochs: Vec<Epoch>,
    pub steps: Vec<Step>,
    pub weights: Vec<PathBuf>,
    pub proof: Option<Proof>,
}

/// The record of one epoch.
#[derive(Debug, Default, Clone)]
pub(super) struct Epoch {
    pub epoch: f64,
    pub terms: BTreeMap<String, f64>,
    pub val: Scores,
    pub seconds: Option<f64>,
}

/// The loss terms of one optimiser step.
#[derive(Debug, Clone)]
pub(super) struct Step {
    pub step: f64,
    pub terms: BTreeMap<String, f64>,
}

impl Run {
    /// The figure that decides.
    pub fn primary(&self) -> Figure {
        // A run without any figure yet has nothing to show under this name.
        self.figures.first().copied().or(Figure::named("top1")).unwrap_or_default()
    }

    /// The primary figure of an arm's best epoch on the test images.
    pub fn best(&self, arm: &Arm) -> Option<f64> {
        arm.tested(self.primary().name).map(|spread| spread.mean)
    }
}

impl Arm {
    /// A figure of the best epoch on the test images, with its deviation over seeds.
    pub fn tested(&self, figure: &str) -> Option<Spread> {
        self.best.get(figure).copied().filter(|spread| spread.mean.is_finite())
    }

    /// An arm without any term but the task's own loss: the baseline of the comparison.
    pub fn is_baseline(&self) -> bool {
        let only_task = self.terms.iter().all(|term| is_task(term));
        let name = self.name.to_lowercase();
        only_task && (!self.terms.is_empty() || name.contains("alone") || name.contains("baseline"))
    }
}

/// The name under which the supervised loss of the task itself is logged.
pub(super) fn is_task(term: &str) -> bool {
    matches!(term, "task" | "cross_entropy" | "cross-entropy" | "ce")
}

/// Reads the folder; fails only where it is no run folder at all.
pub(super) fn run(dir: &Path) -> Result<Run, ReportError> {
    let results = json(&dir.join("results.json"))?;
    let info = json(&dir.join("run.json"))?;
    let recipe = text(&dir.join("recipe.toml"))?;
    let folders = arm_folders(&dir.join("arms"))?;
    if results.is_none() && recipe.is_none() && folders.is_empty() {
        return Err(ReportError::NotARun { path: dir.to_path_buf() });
    }
    let parsed: Option<toml::Table> = recipe.as_deref().and_then(|text| text.parse().ok());
    let mut run = Run { info, recipe, ..Run::default() };
    if let Some(results) = &results {
        run.finished = results.get("finished").and_then(Value::as_bool).unwrap_or(true);
        run.name = string(results, "name").unwrap_or_default();
        run.teacher = results.get("teacher").filter(|value| value.is_object()).map(teacher_summary);
        run.test_images = number(results, "test_images");
        run.protocol = string(results, "protocol");
        if let Some(arms) = results.get("arms").and_then(Value::as_array) {
            run.arms = arms.iter().map(arm_summary).collect();
        }
    }
    if let Some(recipe) = &parsed {
        from_recipe(&mut run, recipe);
    }
    if run.name.is_empty() {
        run.name = dir.file_name().map_or("run".into(), |name| name.to_string_lossy().into_owned());
    }
    let prompts = dir.join("prompts");
    run.prompts = record(&prompts.join("result.json"))?;
    run.pictures = record(&prompts.join("masks.json"))?;
    run.prompt_steps = metrics(&prompts.join("metrics.jsonl"))?.1;
    for (slug, folder) in folders {
        // A folder of an arm or a seed that the recipe no longer has.
        if parsed.is_some() && slug != "teacher" && !run.arms.iter().any(|arm| arm.slug == slug) {
            continue;
        }
        attach(&mut run, &slug, &folder)?;
    }
    run.rows = rows(&run.arms);
    run.figures = figures(&run);
    run.gallery = gallery::read(dir, &run)?;
    match record(&dir.join("robustness.json")) {
        Err(error @ ReportError::Json { .. }) => run.robustness_damage = Some(error.to_string()),
        record => run.robustness = record?,
    }
    run.outdated = run.robustness.iter().flat_map(|record| robustness::outdated(dir, record)).collect();
    Ok(run)
}

/// The figures in percent that the run has, the primary one first.
fn figures(run: &Run) -> Vec<Figure> {
    let all = || run.teacher.iter().chain(&run.rows);
    let tested = all().flat_map(|arm| arm.best.keys());
    let validated = all().flat_map(|arm| &arm.epochs).flat_map(|epoch| epoch.val.iter().map(|(name, _)| name));
    let names: Vec<(&str, f64)> = tested.map(String::as_str).chain(validated).map(|name| (name, 0.0)).collect();
    let mut figures: Vec<Figure> = Vec::new();
    for figure in Scores::new(names).iter().filter_map(|(name, _)| Figure::named(name)) {
        if figure.percent && !figures.contains(&figure) {
            figures.push(figure);
        }
    }
    figures
}

/// The arms in the recipe's order, those without results (yet) too and those that it does not name left out, and the
/// planned epochs.
fn from_recipe(run: &mut Run, recipe: &toml::Table) {
    let epochs = |table: Option<&toml::Value>| {
        table.and_then(|table| table.get("epochs")).and_then(toml::Value::as_integer).map(|epochs| epochs as f64)
    };
    let planned = epochs(recipe.get("train"));
    if run.name.is_empty() {
        run.name = recipe.get("name").and_then(toml::Value::as_str).unwrap_or_default().to_string();
    }
    let network = |key: &str| Some(recipe.get(key)?.get("network")?.as_str()?.to_string());
    let arms = recipe.get("arm").and_then(toml::Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let seeds = recipe.get("seeds").and_then(toml::Value::as_array).map(Vec::as_slice).unwrap_or_default();
    run.seeds = seeds.iter().filter_map(|seed| u64::try_from(seed.as_integer()?).ok()).collect();
    let trainings: Vec<Option<u64>> =
        if run.seeds.is_empty() { vec![None] } else { run.seeds.iter().copied().map(Some).collect() };
    let mut listed = std::mem::take(&mut run.arms);
    let mut missing = false;
    let alone = [toml::Value::Table(toml::Table::from_iter([("name".to_string(), "student alone".into())]))];
    for entry in if arms.is_empty() { &alone[..] } else { arms } {
        let Some(name) = entry.get("name").and_then(toml::Value::as_str) else { continue };
        let terms = entry.get("term").and_then(toml::Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let methods = terms.iter().filter_map(|term| term.get("method")?.as_str());
        let terms: Vec<String> = std::iter::once("task").chain(methods).map(String::from).collect();
        for seed in &trainings {
            let label = label(name, *seed);
            let arm = match listed.iter().position(|arm| arm.name == label) {
                Some(place) => listed.swap_remove(place),
                None => {
                    missing = true;
                    let (slug, group) = (arm_of(name).slug_of(*seed), name.to_string());
                    Arm { name: label, group, seed: *seed, slug, network: network("student"), ..Arm::default() }
                }
            };
            run.arms.push(Arm { planned_epochs: planned, terms: terms.clone(), ..arm });
        }
    }
    run.finished &= !missing;
    if run.teacher.is_none()
        && let Some(network) = network("teacher")
    {
        run.teacher = Some(Arm { name: "teacher".into(), network: Some(network), ..Arm::default() });
    }
    if let Some(teacher) = &mut run.teacher {
        teacher.planned_epochs = epochs(recipe.get("teacher").and_then(|teacher| teacher.get("train")));
    }
}

/// Adds the records and weight files of `arms/<slug>` to the arm they belong to.
fn attach(run: &mut Run, slug: &str, folder: &Path) -> Result<(), ReportError> {
    let (epochs, steps) = metrics(&folder.join("metrics.jsonl"))?;
    let weights: Vec<PathBuf> = ["student-best.safetensors", "student-last.safetensors"]
        .iter()
        .map(|name| folder.join(name))
        .filter(|path| path.is_file())
        .collect();
    let arm = if slug == "teacher" {
        run.teacher.get_or_insert_with(|| Arm { name: "teacher".into(), ..Arm::default() })
    } else {
        let position = run.arms.iter().position(|arm| arm.slug == slug).unwrap_or_else(|| {
            run.arms.push(Arm { name: slug.into(), group: slug.into(), slug: slug.into(), ..Arm::default() });
            run.arms.len() - 1
        });
        &mut run.arms[position]
    };
    arm.slug = slug.into();
    arm.proof = text(&folder.join("proof.json"))?.and_then(|text| serde_json::from_str(&text).ok());
    (arm.epochs, arm.steps, arm.weights) = (epochs, steps, weights);
    if arm.seconds.is_none() {
        arm.seconds = arm.epochs.iter().map(|epoch| epoch.seconds).sum::<Option<f64>>().filter(|sum| *sum > 0.0);
    }
    Ok(())
}

fn teacher_summary(value: &Value) -> Arm {
    let nested = arm_summary(value);
    let best = part::<Scores>(value, "test").map_or(nested.best.clone(), |test| spreads(&[&test]));
    Arm { name: "teacher".into(), best, classes: part(value, "classes").unwrap_or_default(), ..nested }
}

fn arm_summary(value: &Value) -> Arm {
    let [best, last] = ["best", "last"].map(|key| part::<EpochResult>(value, key));
    let tested = |epoch: Option<&EpochResult>| epoch.map(|epoch| spreads(&[&epoch.test])).unwrap_or_default();
    let group = string(value, "name").unwrap_or_default();
    let seed = value.get("seed").and_then(Value::as_u64);
    Arm {
        slug: string(value, "slug").unwrap_or_else(|| arm_of(&group).slug_of(seed)),
        name: label(&group, seed),
        group,
        seed,
        network: string(value, "network"),
        params: number(value, "params"),
        macs: number(value, "macs"),
        aux_params: number(value, "aux_params"),
        skipped: number(value, "skipped"),
        seconds: number(value, "seconds"),
        best_epoch: best.as_ref().map(|best| best.epoch),
        best: tested(best.as_ref()),
        last: tested(last.as_ref()),
        classes: best.map(|best| best.classes).unwrap_or_default(),
        terms: value
            .get("terms")
            .and_then(Value::as_array)
            .map(Vec::as_slice)
            .unwrap_or_default()
            .iter()
            .filter_map(term_name)
            .collect(),
        ..Arm::default()
    }
}

fn term_name(value: &Value) -> Option<String> {
    value.as_str().map(String::from).or_else(|| string(value, "name")).or_else(|| string(value, "method"))
}

/// Step and epoch records. After a resume an epoch may be logged twice: the later one counts.
fn metrics(path: &Path) -> Result<(Vec<Epoch>, Vec<Step>), ReportError> {
    let mut epochs: BTreeMap<u64, Epoch> = BTreeMap::new();
    let mut steps: BTreeMap<(u64, u64), Step> = BTreeMap::new();
    for line in text(path)?.unwrap_or_default().lines() {
        let Ok(value) = serde_json::from_str::<Value>(line) else { continue };
        let Some(epoch) = number(&value, "epoch") else { continue };
        match value.get("kind").and_then(Value::as_str) {
            Some("epoch") => {
                let record = Epoch {
                    epoch,
                    terms: terms(value.get("train")),
                    val: part(&value, "val").unwrap_or_default(),
                    seconds: number(&value, "seconds"),
                };
                epochs.insert(epoch as u64, record);
            }
            Some("step") => {
                let step = number(&value, "step").unwrap_or_default();
                steps.insert((epoch as u64, step as u64), Step { step, terms: terms(value.get("terms")) });
            }
            _ => {}
        }
    }
    Ok((epochs.into_values().collect(), steps.into_values().collect()))
}

/// Finite terms of a record; the total under the name `loss` is left out, it is their sum.
fn terms(value: Option<&Value>) -> BTreeMap<String, f64> {
    let Some(Value::Object(map)) = value else { return BTreeMap::new() };
    let nested = map.get("terms").and_then(Value::as_object).unwrap_or(map);
    nested
        .iter()
        .filter(|(name, _)| *name != "loss" && *name != "total")
        .filter_map(|(name, value)| Some((name.clone(), value.as_f64().filter(|value| value.is_finite())?)))
        .collect()
}

fn arm_folders(arms: &Path) -> Result<Vec<(String, PathBuf)>, ReportError> {
    let entries = match std::fs::read_dir(arms) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(ReportError::Io { path: arms.to_path_buf(), source }),
    };
    let mut folders: Vec<(String, PathBuf)> = entries
        .flatten()
        .filter(|entry| entry.path().is_dir())
        .map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path()))
        .collect();
    folders.sort();
    Ok(folders)
}

fn text(path: &Path) -> Result<Option<String>, ReportError> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(ReportError::Io { path: path.to_path_buf(), source }),
    }
}

fn json(path: &Path) -> Result<Option<Value>, ReportError> {
    let Some(text) = text(path)? else { return Ok(None) };
    serde_json::from_str(&text).map(Some).map_err(|source| ReportError::Json { path: path.to_path_buf(), source })
}

/// A file that this program wrote whole; one of another version is left out.
pub(super) fn record<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, ReportError> {
    Ok(json(path)?.and_then(|value| serde_json::from_value(value).ok()))
}

/// A part of a file, if it is there and reads as what it should be.
fn part<T: DeserializeOwned>(value: &Value, key: &str) -> Option<T> {
    serde_json::from_value(value.get(key)?.clone()).ok()
}

fn number(value: &Value, key: &str) -> Option<f64> {
    value.get(key)?.as_f64().filter(|number| number.is_finite())
}

fn string(value: &Value, key: &str) -> Option<String> {
    Some(value.get(key)?.as_str()?.to_string())
}

/// An arm of this name, for its folder's name.
fn arm_of(name: &str) -> ArmRecipe {
    ArmRecipe { name: name.into(), task_weight: 1.0, terms: Vec::new() }
}
