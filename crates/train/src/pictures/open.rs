//! A trained network out of a run folder: to be shown images, or to be evaluated again.
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use burn::prelude::*;
use serde::{Deserialize, Serialize};
use subband_data::{Loader, Pipeline};
use subband_models::{Network, NetworkConfig, weights};
use subband_seed::Stream;

use super::predictor::Predictor;
use crate::evaluate::{Evaluation, default_batch, evaluate_with};
use crate::recipe::{EvaluateRecipe, Recipe};
use crate::setup::{Role, Setup};
use crate::task::{self, Judge};
use crate::{TrainError, files};

/// Name of the record in the run folder.
const INPUTS: &str = "inputs.json";
/// The name that stands for the teacher among the arms.
pub(crate) const TEACHER: &str = "teacher";

/// `inputs.json`: what of the data set is needed to use a run's networks without it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Inputs {
    /// Names of the classes.
    classes: Vec<String>,
    /// Height and width of the images where they all have one size and the recipe names none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    size: Option<[usize; 2]>,
}

impl Inputs {
    fn of(recipe: &Recipe, splits: &subband_data::Splits) -> Self {
        let fixed = recipe.data.resize.is_none() && !splits.is_segmentation();
        Self { classes: splits.classes.clone(), size: fixed.then_some(splits.size) }
    }
}

/// Writes `inputs.json` into a run folder.
///
/// # Errors
/// A full disk.
pub(crate) fn write_inputs(setup: &Setup, run: &Path) -> Result<(), TrainError> {
    let path = run.join(INPUTS);
    let text = serde_json::to_string_pretty(&Inputs::of(&setup.recipe, &setup.splits))
        .map_err(|error| TrainError::Write { path: path.clone(), source: error.into() })?;
    files::write_atomic(&path, format!("{text}\n").as_bytes())
}

/// A trained network of a run, with what the run knows of it.
pub struct RunNetwork {
    recipe: Recipe,
    role: Role,
    network: Network,
    /// How it is shown images that belong to no data set.
    pipeline: Pipeline,
    /// Names of its classes.
    classes: Vec<String>,
}

impl RunNetwork {
    /// A network of the run in `run`: that of an arm, by its name or its folder's, or `teacher`; `None` if the run has
    /// one arm. It has the weights of the best epoch, or of the last one (`last`).
    ///
    /// # Errors
    /// No run folder, no such arm, an arm without weights yet, weights that do not fit.
    pub fn open(run: &Path, arm: Option<&str>, last: bool, device: &Device) -> Result<Self, TrainError> {
        let recipe = recipe_of(run)?;
        let slug = find(&recipe, arm, run)?;
        let role = if slug == TEACHER { Role::Teacher } else { Role::Student };
        let file = weight_file(&recipe, run, &slug, last)?;
        let mut inputs = inputs(&recipe, run)?;
        let pipeline = recipe.data.unlabelled(inputs.size)?;
        let teacher = role == Role::Teacher;
        let own = recipe.teacher.as_ref().and_then(|teacher| teacher.classes).filter(|_| teacher);
        if let Some(count) = own.filter(|count| *count != inputs.classes.len()) {
            inputs.classes = (0..count).map(|class| format!("class {class}")).collect();
        }
        let network = recipe.networks().find(|(of, _)| *of == role).map(|(_, name)| name);
        // `find` takes `teacher` only where the recipe has one.
        let name = network.unwrap_or(&recipe.student.network);
        let fail = |source| TrainError::model(file.display().to_string(), source);
        let config = NetworkConfig::new(name, pipeline.channels(teacher), inputs.classes.len());
        let mut network = config.init(Stream::new(0), device).map_err(fail)?;
        network.load(&weights::read(&file).map_err(fail)?).map_err(fail)?;
        Ok(Self { role, network, pipeline, classes: inputs.classes, recipe })
    }

    /// The recipe of its run.
    pub fn recipe(&self) -> &Recipe {
        &self.recipe
    }

    /// Name of the network.
    pub fn name(&self) -> &str {
        self.network.name()
    }

    /// Images of a forward pass when the run evaluates it.
    pub fn batch(&self) -> usize {
        let usual = default_batch(self.recipe.data.dataset.task());
        self.recipe.train.eval_batch_size.unwrap_or(usual)
    }

    /// Evaluates it on its view of a loader's images. With the recipe's test images, its `[evaluate]` as `options` and
    /// [`RunNetwork::batch`] the figures are those of the run.
    ///
    /// # Errors
    /// As [`crate::evaluate()`]; a teacher whose classes are not the data set's.
    pub fn evaluate(&self, loader: &Loader, options: &EvaluateRecipe) -> Result<Evaluation, TrainError> {
        let (task, classes) = (loader.dataset().task(), loader.dataset().classes().to_vec());
        if self.classes.len() != classes.len() {
            return Err(TrainError::Wiring(format!(
                "the {} has {} classes and the data set {}, so it cannot be judged by the labels",
                self.role.name(),
                self.classes.len(),
                classes.len()
            )));
        }
        task::check(task, self.role.name(), self.name())?;
        let judge = Judge { task, classes, options: options.clone() };
        evaluate_with(&self.network, loader, self.role, &judge, &mut |_, _| ControlFlow::Continue(()))
    }
}

impl Predictor {
    /// The network that [`RunNetwork::open`] finds.
    ///
    /// # Errors
    /// As [`RunNetwork::open`].
    pub fn of_run(run: &Path, arm: Option<&str>, last: bool, device: &Device) -> Result<Self, TrainError> {
        let RunNetwork { recipe, role, network, pipeline, classes } = RunNetwork::open(run, arm, last, device)?;
        Ok(Self::new(network, pipeline, role == Role::Teacher, classes, recipe.evaluate.unwrap_or_default()))
    }
}

/// The recipe of a run folder.
///
/// # Errors
/// No run folder, a damaged recipe.
pub(crate) fn recipe_of(run: &Path) -> Result<Recipe, TrainError> {
    let file = run.join("recipe.toml");
    match file.is_file() {
        true => Recipe::load(&file, &[]),
        false => Err(TrainError::Wiring(format!(
            "{} is no run folder: it has no recipe.toml; give the folder that `subband distill` or `subband train` \
             printed",
            run.display()
        ))),
    }
}

/// The folder name of the arm that is meant.
fn find(recipe: &Recipe, arm: Option<&str>, run: &Path) -> Result<String, TrainError> {
    let arms = recipe.arms();
    let trained = arms.iter().flat_map(|arm| recipe.trainings().into_iter().map(move |seed| (arm, seed)));
    let mut known: Vec<(String, String)> = trained.map(|(arm, seed)| (arm.label_of(seed), arm.slug_of(seed))).collect();
    if arm.is_none()
        && let [(_, only)] = &known[..]
    {
        return Ok(only.clone());
    }
    if recipe.teacher.is_some() {
        known.push((TEACHER.into(), TEACHER.into()));
    }
    let found = known.iter().find(|(label, slug)| arm.is_some_and(|arm| arm == label || arm == slug));
    let names = || known.iter().map(|(label, _)| format!("\"{label}\"")).collect::<Vec<_>>().join(", ");
    match (found, arm) {
        (Some((_, slug)), _) => Ok(slug.clone()),
        (None, Some(arm)) => {
            Err(TrainError::Wiring(format!("the run {} has no arm \"{arm}\"; it has {}", run.display(), names())))
        }
        (None, None) => Err(TrainError::Wiring(format!(
            "the run {} has several networks; choose one with --arm: {}",
            run.display(),
            names()
        ))),
    }
}

/// The weights of the arm; those that the recipe names for a teacher that is not trained in the run.
///
/// # Errors
/// No weights yet.
pub(crate) fn weight_file(recipe: &Recipe, run: &Path, slug: &str, last: bool) -> Result<PathBuf, TrainError> {
    let epoch = if last { "last" } else { "best" };
    let file = run.join("arms").join(slug).join(format!("student-{epoch}.safetensors"));
    let given = recipe.teacher.as_ref().filter(|_| slug == TEACHER);
    match given.and_then(|teacher| teacher.weights.clone().filter(|_| teacher.train.is_none())) {
        Some(weights) => Ok(weights),
        None if file.is_file() => Ok(file),
        None => Err(TrainError::Wiring(format!(
            "there is no {}: that network has not finished an epoch; continue the run with --resume",
            file.display()
        ))),
    }
}

/// The record of the run; one of a folder without it is made from the data set.
fn inputs(recipe: &Recipe, run: &Path) -> Result<Inputs, TrainError> {
    let bytes = std::fs::read(run.join(INPUTS)).unwrap_or_default();
    match serde_json::from_slice(&bytes) {
        Ok(inputs) => Ok(inputs),
        Err(_) => Ok(Inputs::of(recipe, &recipe.data.open(recipe.seed)?)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECIPE: &str = "[data]\ndataset = \"digits\"\n[teacher]\nnetwork = \"cifar-resnet14\"\ntrain = { epochs = 1 }\n\
                          [student]\nnetwork = \"cifar-resnet8\"\n[train]\nepochs = 1\n";

    fn found(more: &str, arm: Option<&str>) -> Result<String, String> {
        let recipe = Recipe::parse(&format!("{RECIPE}{more}"), "r", &[]).unwrap();
        find(&recipe, arm, Path::new("runs/x")).map_err(|error| error.to_string())
    }

    #[test]
    fn arms_are_found_by_name_and_folder() {
        let two = "[[arm]]\nname = \"Student alone\"\n[[arm]]\nname = \"KD\"\n[[arm.term]]\nmethod = \"kd\"\n";
        for (arm, slug) in [("KD", "kd"), ("kd", "kd"), ("Student alone", "student-alone"), ("teacher", "teacher")] {
            assert_eq!(found(two, Some(arm)).unwrap(), slug);
        }
        let unknown = found(two, Some("FreeKD")).unwrap_err();
        assert!(
            unknown.contains("\"FreeKD\"") && unknown.contains("\"KD\"") && unknown.contains("runs/x"),
            "{unknown}"
        );
        assert!(found(two, None).unwrap_err().contains("--arm"));
        // One arm needs no name, whether it is written or not.
        assert_eq!(found("", None).unwrap(), "student-alone");
        assert_eq!(found("[[arm]]\nname = \"A\"\n", None).unwrap(), "a");
    }

    #[test]
    fn several_seeds_are_networks_of_their_own() {
        let recipe = Recipe::parse(&format!("seeds = [1, 2]\n{RECIPE}[[arm]]\nname = \"A\"\n"), "r", &[]).unwrap();
        let found = |arm| find(&recipe, arm, Path::new("x")).map_err(|error| error.to_string());
        assert_eq!(found(Some("A, seed 2")).unwrap(), "a-seed2");
        assert_eq!(found(Some("a-seed1")).unwrap(), "a-seed1");
        assert!(found(Some("A")).unwrap_err().contains("\"A, seed 1\""));
    }

    #[test]
    fn folders_that_hold_no_run_or_no_weights_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = |arm| Predictor::of_run(folder.path(), arm, false, &Device::flex()).err().unwrap().to_string();
        assert!(error(None).contains("no recipe.toml"));
        std::fs::write(folder.path().join("recipe.toml"), RECIPE).unwrap();
        assert!(error(None).contains("student-best.safetensors") && error(None).contains("--resume"));
    }
}
