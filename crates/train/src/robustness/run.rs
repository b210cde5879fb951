//! The teacher and the arms of a run folder, cell by cell.
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use burn::prelude::*;
use sha2::{Digest, Sha256};
use subband_models::{NetworkConfig, weights};
use subband_seed::Stream;

use super::images::{Images, Skips, hex};
use super::record::{Again, RecordFile};
use super::{Condition, CorruptionGrid, FrostSource, RobustnessEvent};
use crate::evaluate::{Subject, evaluate_each};
use crate::evidence::{NetworkRobustness, RobustnessImages, RobustnessRecord};
use crate::pictures::{TEACHER, recipe_of, weight_file};
use crate::recipe::Recipe;
use crate::setup::{Role, Setup};
use crate::{TrainError, files};

/// What is measured of a run.
pub struct RobustnessOptions<'a> {
    /// Corruptions and severities.
    pub grid: CorruptionGrid,
    /// Names of arms (all seeds of one), of trainings (`KD, seed 2`) or of their folders, `teacher`; empty: all.
    pub arms: Vec<String>,
    /// Where the run's data set lies now; `None`: where its recipe says.
    pub data: Option<PathBuf>,
    /// Only this many test images.
    pub limit: Option<usize>,
    /// What frost is made of.
    pub frost: FrostSource,
    /// Measures the chosen networks under the chosen corruptions again; other figures of the folder stay.
    pub force: bool,
    /// Device without autodiff.
    pub device: Device,
    /// Is told what happens; `Break` stops after this batch of images. The cells before it are kept.
    pub progress: &'a mut dyn FnMut(RobustnessEvent<'_>) -> ControlFlow<()>,
}

/// Evaluates the networks of a run (weights of the best epoch, of those in training the best so far) on its test images,
/// clean and corrupted, and writes `robustness.json` after every cell; cells that are there are not measured again. The
/// record has the networks that were asked for.
///
/// # Errors
/// No run folder, no such arm, no weights yet; a `robustness.json` of other images; images that cannot be corrupted;
/// a full disk.
pub fn robustness(run: &Path, options: RobustnessOptions<'_>) -> Result<RobustnessRecord, TrainError> {
    let recipe = recipe_of(run)?;
    let listed = listed(&recipe);
    let (wanted, mut left_out) = wanted(&recipe, run, &listed, &options.arms)?;
    let mut found = recipe.clone();
    found.data.path = options.data.or(found.data.path);
    let setup = Setup::open(&found)?;
    let knows = |network: &Trained| network.of.role == Role::Student || setup.teacher_knows_labels();
    let (chosen, strangers): (Vec<Trained>, Vec<Trained>) = wanted.into_iter().partition(knows);
    for network in strangers {
        let reason = "its classes are not the data set's, so it cannot be judged by the labels";
        if options.arms.iter().any(|arm| network.of.is(arm)) {
            return Err(TrainError::Robustness(format!("the {}: {reason}; leave it out", network.of.name)));
        }
        left_out.push((network.of, reason.into()));
    }
    let batch = setup.eval_batch(&recipe.train);
    let images = Images::of_run(&setup.splits, batch, recipe.seed, options.frost).limited(options.limit)?;
    let fresh = fresh(&recipe, &images, &options.grid, &listed, &chosen);
    let again = options.force.then(|| Again {
        slugs: chosen.iter().map(|network| network.of.slug.clone()).collect(),
        conditions: options.grid.conditions(),
    });
    let file = RecordFile::open(run, fresh, again)?;
    let mut work = Work { setup: &setup, images, file, chosen, device: options.device };
    work.measure(&options.grid, &left_out, options.progress)?;
    let slugs: Vec<&str> = work.chosen.iter().map(|network| network.of.slug.as_str()).collect();
    let mut record = work.file.record;
    record.networks.retain(|network| slugs.contains(&network.slug.as_str()));
    Ok(record)
}

/// A network of the run.
#[derive(Clone)]
struct Listed {
    name: String,
    slug: String,
    /// The arm without its seed.
    group: String,
    role: Role,
}

impl Listed {
    /// Whether it is meant by an argument.
    fn is(&self, arm: &String) -> bool {
        [&self.name, &self.slug, &self.group].contains(&arm)
    }
}

/// A network of the run that has weights.
struct Trained {
    of: Listed,
    network: String,
    file: PathBuf,
    hash: String,
    /// Whether it is still in training.
    unfinished: bool,
}

impl Trained {
    /// The files of a network of the run.
    fn find(recipe: &Recipe, run: &Path, of: &Listed) -> Result<Self, TrainError> {
        let file = weight_file(recipe, run, &of.slug, false)?;
        let hash = weight_hash(&file)?;
        let network = recipe.networks().find(|(role, _)| *role == of.role).map(|(_, name)| name.to_string());
        let as_loaded = of.role == Role::Teacher && recipe.teacher.as_ref().is_some_and(|of| of.train.is_none());
        let unfinished = !as_loaded && !run.join("arms").join(&of.slug).join("result.json").is_file();
        Ok(Self { of: of.clone(), network: network.unwrap_or_default(), file, hash, unfinished })
    }

    fn open(&self, setup: &Setup, device: &Device) -> Result<Subject, TrainError> {
        let fail = |source| TrainError::model(self.file.display().to_string(), source);
        let [channels, ..] = setup.shape(self.of.role);
        let config = NetworkConfig::new(&self.network, channels, setup.classes(self.of.role));
        let mut network = config.init(Stream::new(0), device).map_err(fail)?;
        network.load(&weights::read(&self.file).map_err(fail)?).map_err(fail)?;
        Ok(Subject::new(&network, self.of.role))
    }
}

/// Networks that cannot be measured, each with the reason.
type LeftOut = Vec<(Listed, String)>;

/// The teacher and every training of every arm.
fn listed(recipe: &Recipe) -> Vec<Listed> {
    let (name, role) = (TEACHER.to_string(), Role::Teacher);
    let teacher = Listed { slug: name.clone(), group: name.clone(), name, role };
    let mut listed: Vec<Listed> = recipe.teacher.iter().map(|_| teacher.clone()).collect();
    for arm in recipe.arms() {
        let of = |seed| Listed {
            name: arm.label_of(seed),
            slug: arm.slug_of(seed),
            group: arm.name.clone(),
            role: Role::Student,
        };
        listed.extend(recipe.trainings().into_iter().map(of));
    }
    listed
}

/// The networks that are asked for, and those of them without weights. Files of others are not looked at.
fn wanted(
    recipe: &Recipe,
    run: &Path,
    listed: &[Listed],
    arms: &[String],
) -> Result<(Vec<Trained>, LeftOut), TrainError> {
    let folder = run.display();
    if let Some(arm) = arms.iter().find(|arm| !listed.iter().any(|of| of.is(arm))) {
        let known: Vec<String> = listed.iter().map(|of| format!("\"{}\"", of.name)).collect();
        let message = format!("the run {folder} has no arm \"{arm}\"; it has {}", known.join(", "));
        return Err(TrainError::Robustness(message));
    }
    let (mut found, mut left_out): (Vec<Trained>, LeftOut) = (Vec::new(), Vec::new());
    for of in listed.iter().filter(|of| arms.is_empty() || arms.iter().any(|arm| of.is(arm))) {
        match Trained::find(recipe, run, of) {
            Ok(network) => found.push(network),
            Err(error) => left_out.push((of.clone(), error.to_string())),
        }
    }
    for arm in arms.iter().filter(|arm| !found.iter().any(|network| network.of.is(arm))) {
        if let Some((of, reason)) = left_out.iter().find(|(of, _)| of.is(arm)) {
            return Err(TrainError::Robustness(format!("\"{}\" cannot be measured: {reason}", of.name)));
        }
    }
    match found.is_empty() {
        true => Err(TrainError::Robustness(format!(
            "the run {folder} has no trained network yet; continue it with `subband distill RECIPE --out {folder} --resume`"
        ))),
        false => Ok((found, left_out)),
    }
}

/// The first 16 bytes of a weight file's SHA-256.
///
/// # Errors
/// A file that cannot be read.
pub(crate) fn weight_hash(file: &Path) -> Result<String, TrainError> {
    Ok(files::hash(file)?.chars().take(32).collect())
}

/// The record of a measurement that has not begun. A network that was not chosen has no hash: what is there of it stays.
fn fresh(
    recipe: &Recipe,
    images: &Images,
    grid: &CorruptionGrid,
    listed: &[Listed],
    chosen: &[Trained],
) -> RobustnessRecord {
    let empty = |of: &Listed| {
        let found = chosen.iter().find(|network| network.of.slug == of.slug);
        NetworkRobustness {
            name: of.name.clone(),
            slug: of.slug.clone(),
            network: found.map(|network| network.network.clone()).unwrap_or_default(),
            weights: found.map(|network| network.hash.clone()).unwrap_or_default(),
            unfinished: found.is_some_and(|network| network.unfinished),
            cells: Vec::new(),
            results: BTreeMap::new(),
        }
    };
    RobustnessRecord {
        run: recipe.name.clone(),
        version: env!("CARGO_PKG_VERSION").into(),
        images: RobustnessImages {
            chosen: images.len(),
            of: images.of(),
            seed: recipe.seed,
            fingerprint: fingerprint(recipe),
        },
        frost: images.frost().into(),
        corruptions: grid.corruption_names(),
        severities: grid.levels(),
        networks: listed.iter().map(empty).collect(),
    }
}

/// Hash of what test images and predictions depend on beside seed and weights.
fn fingerprint(recipe: &Recipe) -> String {
    let mut table: toml::Table = recipe.to_toml().parse().unwrap_or_default();
    table.retain(|key, _| key == "data" || key == "evaluate");
    if let Some(toml::Value::Table(data)) = table.get_mut("data") {
        ["workers", "cache_mb"].iter().for_each(|key| drop(data.remove(*key)));
    }
    hex(&Sha256::digest(toml::to_string(&table).unwrap_or_default().as_bytes()))
}

/// A measurement that is going on.
struct Work<'a> {
    setup: &'a Setup,
    images: Images,
    file: RecordFile,
    chosen: Vec<Trained>,
    device: Device,
}

impl Work<'_> {
    fn measure(
        &mut self,
        grid: &CorruptionGrid,
        left_out: &LeftOut,
        progress: &mut dyn FnMut(RobustnessEvent<'_>) -> ControlFlow<()>,
    ) -> Result<(), TrainError> {
        let left_out: Vec<(String, String)> =
            left_out.iter().map(|(of, reason)| (of.name.clone(), reason.clone())).collect();
        let lacking = |condition: Condition| -> Vec<usize> {
            let lacks = |place: &usize| self.file.lacks(&self.chosen[*place].of.slug, condition);
            (0..self.chosen.len()).filter(lacks).collect()
        };
        let conditions = grid.conditions();
        let all = conditions.len() * self.chosen.len();
        let missing: Vec<(Condition, Vec<usize>)> = conditions.into_iter().map(|c| (c, lacking(c))).collect();
        let missing: Vec<_> = missing.into_iter().filter(|(_, networks)| !networks.is_empty()).collect();
        let names: Vec<String> = self.chosen.iter().map(|network| network.of.name.clone()).collect();
        let unfinished = self.chosen.iter().filter(|network| network.unfinished);
        let unfinished: Vec<String> = unfinished.map(|network| network.of.name.clone()).collect();
        let mut answer = progress(RobustnessEvent::Started {
            networks: &names,
            left_out: &left_out,
            unfinished: &unfinished,
            cells: missing.len(),
            kept: all - missing.iter().map(|(_, networks)| networks.len()).sum::<usize>(),
            images: self.images.len(),
            renewed: &self.file.renewed,
        });
        // Opened before anything is measured, so that weights that do not fit are told at once.
        let mut subjects: Vec<Option<Subject>> = Vec::new();
        for (place, network) in self.chosen.iter().enumerate() {
            let used = missing.iter().any(|(_, networks)| networks.contains(&place));
            subjects.push(if used { Some(network.open(self.setup, &self.device)?) } else { None });
        }
        let (cells, mut skips) = (missing.len(), Skips::default());
        for (place, (condition, networks)) in missing.into_iter().enumerate() {
            if answer.is_break() {
                return Err(TrainError::Stopped { arm: names.join(", "), step: place });
            }
            let cell = place + 1;
            let mut told = |done, total| progress(RobustnessEvent::Evaluating { cell, cells, condition, done, total });
            let seen: Vec<&Subject> = networks.iter().filter_map(|place| subjects[*place].as_ref()).collect();
            let loader = self.images.under(condition)?;
            let found = evaluate_each(&seen, &loader, &self.setup.judge, &mut told)?;
            answer = skips.tell(&loader, progress);
            let mut figures = Vec::new();
            for (place, evaluation) in networks.iter().zip(&found) {
                self.file.add(&self.chosen[*place].of.slug, condition, evaluation);
                figures.push((names[*place].clone(), evaluation.scores.clone()));
            }
            self.file.write()?;
            let ended = progress(RobustnessEvent::CellEnded { cell, cells, condition, figures: &figures });
            answer = if answer.is_break() { answer } else { ended };
        }
        // The selection may be another one even if no cell was missing.
        self.file.write()
    }
}
