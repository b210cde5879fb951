//! Builds what a recipe names: data, networks with their weights, methods with their adapters.
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use burn::prelude::*;
use subband_data::{Batch, Splits, Task, View};
use subband_distill::{AnyMethod, AnyMethodConfig, MaskKind, Prompts, ShapeBook, Wanted};
use subband_models::{ModelError, Network, NetworkConfig, StateDict, weights};
use subband_seed::Stream;

use crate::TrainError;
use crate::evaluate::default_batch;
use crate::learner::{Inputs, Learner};
use crate::prompts;
use crate::recipe::{ArmRecipe, Recipe, TrainRecipe};
use crate::task::{self, Judge, Objective};

/// The opened data and everything needed to build networks for it.
pub(crate) struct Setup {
    pub recipe: Recipe,
    pub splits: Splits,
    /// What the networks are judged by.
    pub judge: Judge,
    seed: Stream,
    /// The prompts that this run has learned.
    learned: OnceLock<Prompts>,
}

/// The files that a network starts from.
#[derive(Clone, Copy)]
struct Files<'a> {
    /// All of it.
    weights: Option<&'a PathBuf>,
    /// A classifier's, for the backbone of a segmenter.
    backbone: Option<&'a PathBuf>,
}

/// Which network of the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Teacher,
    Student,
}

impl Role {
    pub fn name(self) -> &'static str {
        match self {
            Self::Teacher => "teacher",
            Self::Student => "student",
        }
    }
}

impl Setup {
    /// Opens the data of a recipe.
    pub fn open(recipe: &Recipe) -> Result<Self, TrainError> {
        let splits = recipe.data.open(recipe.seed)?;
        if splits.train.len() < 2 {
            let count = splits.train.len();
            return Err(TrainError::Wiring(format!("the data set has {count} training images; at least 2 are needed")));
        }
        let judge = judge(recipe, &splits)?;
        for (role, network) in recipe.networks() {
            task::check(judge.task, role.name(), network)?;
        }
        let own = recipe.teacher.as_ref().and_then(|teacher| teacher.classes);
        if let (Some(own), Some(_)) = (own.filter(|own| *own != splits.classes.len()), &recipe.prompts) {
            return Err(TrainError::Wiring(format!(
                "[prompts] learn by the data set's labels of {} classes, but the teacher has {own}; give their file to the \
                 terms with `prompts` instead",
                splits.classes.len()
            )));
        }
        let (recipe, seed) = (recipe.clone(), Stream::new(recipe.seed));
        Ok(Self { recipe, splits, judge, seed, learned: OnceLock::new() })
    }

    /// The same images and teacher for another seed's student, adapters, order and augmentation.
    pub fn with_seed(&self, seed: u64) -> Self {
        let (recipe, splits) = (self.recipe.clone(), self.splits.with_seed(seed));
        Self { recipe, splits, judge: self.judge.clone(), seed: Stream::new(seed), learned: self.learned.clone() }
    }

    /// Channels, height and width of a network's input; the two views may differ.
    pub fn shape(&self, role: Role) -> [usize; 3] {
        match role {
            Role::Teacher => self.splits.train_pipeline.teacher_shape(),
            Role::Student => self.splits.train_pipeline.student_shape(),
        }
    }

    fn network(&self, role: Role, name: &str, files: Files<'_>, device: &Device) -> Result<Network, TrainError> {
        let context = |file: Option<&PathBuf>| match file {
            Some(file) => format!("{} weights {}", role.name(), file.display()),
            None => role.name().to_string(),
        };
        let fail = |file: Option<&PathBuf>| {
            let context = context(file);
            move |source: ModelError| TrainError::model(context, source)
        };
        let [channels, height, width] = self.shape(role);
        let config = NetworkConfig::new(name, channels, self.classes(role));
        let mut network = config.init(self.seed.with("init").with(role.name()), device).map_err(fail(None))?;
        if let Some(path) = files.weights {
            let state = weights::read(path).map_err(fail(None))?;
            if let Err(source) = network.load(&state) {
                return Err(match other_classes(&network, &state) {
                    Some(found) => TrainError::Wiring(self.other_classes(role, &network, path, found)),
                    None => fail(files.weights)(source),
                });
            }
        }
        if let Some(path) = files.backbone {
            let state = weights::read(path).map_err(fail(None))?;
            network.load_backbone(&state).map_err(fail(files.backbone))?;
        }
        network.taps(height, width).map_err(fail(None))?;
        Ok(network)
    }

    /// What to write in the recipe where a file is of a network with `found` classes.
    fn other_classes(&self, role: Role, network: &Network, file: &Path, found: usize) -> String {
        let (name, file) = (role.name(), file.display());
        let trained = self.recipe.teacher.as_ref().is_some_and(|teacher| teacher.train.is_some());
        let remedy = if role == Role::Teacher && !trained {
            format!("write teacher.classes = {found} (it is then not tested, and terms that read logits are refused)")
        } else if network.is_segmenter() {
            format!("write {name}.backbone = \"{file}\" in the place of {name}.weights to take its backbone alone")
        } else {
            format!("leave {name}.weights out, or name a file for these classes")
        };
        let own = self.classes(role);
        format!("{name} weights {file}: they are of {found} classes and the {name} has {own}; {remedy}")
    }

    /// Classes of a network: the data set's, unless the teacher has its own.
    pub fn classes(&self, role: Role) -> usize {
        let own = self.recipe.teacher.as_ref().and_then(|teacher| teacher.classes).filter(|_| role == Role::Teacher);
        own.unwrap_or(self.splits.classes.len())
    }

    /// Whether the teacher's classes are the data set's, so that it can be judged and learn by its labels.
    pub fn teacher_knows_labels(&self) -> bool {
        self.classes(Role::Teacher) == self.splits.classes.len()
    }

    /// Images of one forward pass in evaluation.
    pub fn eval_batch(&self, train: &TrainRecipe) -> usize {
        train.eval_batch_size.unwrap_or(default_batch(self.judge.task))
    }

    /// The teacher as the recipe starts it: random or loaded weights.
    pub fn teacher(&self, device: &Device) -> Result<Network, TrainError> {
        let Some(teacher) = &self.recipe.teacher else {
            return Err(TrainError::Wiring("the recipe has no [teacher]".into()));
        };
        let files = Files { weights: teacher.weights.as_ref(), backbone: teacher.backbone.as_ref() };
        self.network(Role::Teacher, &teacher.network, files, device)
    }

    /// The student at its start: the same for every arm.
    ///
    /// # Errors
    /// Also when every parameter is frozen.
    pub fn student(&self, device: &Device) -> Result<Network, TrainError> {
        let recipe = &self.recipe.student;
        let files = Files { weights: recipe.weights.as_ref(), backbone: recipe.backbone.as_ref() };
        let mut network = self.network(Role::Student, &recipe.network, files, device)?;
        if let Some(lora) = &recipe.lora {
            let seed = self.seed.with("init").with(Role::Student.name());
            network = network.with_lora(lora, seed).map_err(|source| TrainError::model("student.lora", source))?;
        }
        let network = network.freeze(&recipe.frozen).map_err(|source| TrainError::model("student.frozen", source))?;
        if network.trainable_count() == 0 {
            return Err(TrainError::Wiring(format!(
                "the student `{}` has no trainable parameter: `student.frozen = {:?}` freezes all of it, so nothing can \
                 be learned through {}",
                recipe.network,
                recipe.frozen,
                self.taps_read().join(", ")
            )));
        }
        Ok(network)
    }

    /// The network that is evaluated and written: low-rank factors are merged into the weights.
    pub fn exported(&self, network: &Network) -> Network {
        network.merged(self.recipe.student.merge.unwrap_or(1.0))
    }

    /// The randomness of a training step: of seed, epoch and step, counted from 1.
    pub fn noise(&self, epoch: usize, step: usize) -> Stream {
        self.seed.with("dropout").at(epoch as u64).at(step as u64)
    }

    /// The student taps that the arms' losses read.
    fn taps_read(&self) -> Vec<String> {
        let mut all = vec!["logits".to_string()];
        if let Ok(Some(book)) = self.book() {
            for term in self.recipe.arms.iter().flat_map(|arm| &arm.terms) {
                merge(&mut all, term.method.taps(&book).map(|taps| taps.student).unwrap_or_default());
            }
        }
        all
    }

    /// Taps of both networks, if there is a teacher, with the run's frequency prompts: the learned ones, or before they
    /// are learned fresh ones of the same shape.
    pub fn book(&self) -> Result<Option<ShapeBook>, TrainError> {
        let Some(mut book) = self.shapes()? else { return Ok(None) };
        book.prompts = match (&self.recipe.prompts, self.learned.get()) {
            (None, _) => None,
            (Some(_), Some(learned)) => Some(learned.clone()),
            (Some(recipe), None) => Some(prompts::fresh(self, recipe, &Device::flex())?),
        };
        Ok(Some(book))
    }

    /// Taps of both networks, if there is a teacher.
    pub fn shapes(&self) -> Result<Option<ShapeBook>, TrainError> {
        let Some(teacher) = &self.recipe.teacher else { return Ok(None) };
        let taps = |role: Role, name: &str| {
            let [channels, height, width] = self.shape(role);
            NetworkConfig::new(name, channels, self.classes(role))
                .taps(height, width)
                .map_err(|source| TrainError::model(role.name(), source))
        };
        Ok(Some(ShapeBook {
            student: taps(Role::Student, &self.recipe.student.network)?,
            teacher: taps(Role::Teacher, &teacher.network)?,
            classes: self.splits.classes.len(),
            prompts: None,
        }))
    }

    /// From now on the arms use the prompts in this file.
    pub fn learned(&self, file: &Path, device: &Device) -> Result<(), TrainError> {
        // The checkpoint of the phase has the same prompts.
        let prompts = Prompts::read(file, device).map_err(|source| TrainError::Resume {
            path: file.into(),
            message: format!("{source}; delete the file, and --resume writes it again"),
        })?;
        // Only the first call counts; a run learns once.
        let _ = self.learned.set(prompts);
        Ok(())
    }

    /// The student of an arm with the arm's methods, on `device` with autodiff.
    pub fn learner(&self, arm: &ArmRecipe, device: &Device) -> Result<Learner, TrainError> {
        let autodiff = device.clone().autodiff();
        let student = self.student(&autodiff)?;
        // The arm is not part of the path: the same term starts from the same adapters in every arm.
        let seed = self.seed.with("init").with("adapters");
        let (methods, wanted) = methods(arm, self.book()?.as_ref(), seed, &autodiff)?;
        let objective = Objective::new(self.judge.task, &student, self.recipe.train.aux_weight);
        let norm = self.recipe.teacher.as_ref().map(|teacher| teacher.batch_norm).unwrap_or_default();
        Ok(Learner::new(student, methods, arm.clone(), wanted, objective).taught_by(norm))
    }

    /// The teacher in a training of its own, on `device` with autodiff.
    pub fn teacher_learner(&self, train: &TrainRecipe, arm: ArmRecipe, device: &Device) -> Result<Learner, TrainError> {
        let network = self.teacher(device)?;
        let objective = Objective::new(self.judge.task, &network, train.aux_weight);
        Ok(Learner::new(network, Vec::new(), arm, Wanted::default(), objective))
    }

    /// Normal random images with random labels, for both views.
    pub fn random(&self, count: usize, device: &Device) -> Inputs {
        let mut stream = Stream::new(self.recipe.seed).with("plan");
        let mut view = |role| {
            let [channels, height, width] = self.shape(role);
            let shape = [count, channels, height, width];
            View { data: (0..shape.iter().product()).map(|_| stream.normal() as f32).collect(), shape }
        };
        let (student, teacher) = (view(Role::Student), view(Role::Teacher));
        let [_, height, width] = self.shape(Role::Student);
        let targets = task::random(self.judge.task, count, [height, width], self.splits.classes.len(), &mut stream);
        let batch = Batch { step: 0, student, teacher: Some(teacher), targets, indices: (0..count).collect() };
        Inputs::new(batch, device)
    }

    /// The batches of the training images; a last batch of a single image, which batch normalisation cannot use,
    /// is left out.
    pub fn train_loader(&self, train: &TrainRecipe) -> Result<subband_data::Loader, TrainError> {
        self.loader(train.batch_size)
    }

    /// [`Setup::train_loader`] for batches of this size.
    pub fn loader(&self, batch_size: usize) -> Result<subband_data::Loader, TrainError> {
        let lonely = self.splits.train.len() % batch_size == 1 && batch_size > 1;
        Ok(self.splits.train_loader(batch_size, lonely)?)
    }
}

/// The classes of a weight file that fits a network but for their number.
fn other_classes(network: &Network, state: &StateDict) -> Option<usize> {
    let classes = network.classes();
    let mut found = None;
    // Not every file counts batches.
    let counted = network.state_dict().into_iter().filter(|(name, _)| !name.ends_with("num_batches_tracked"));
    for (name, own) in counted {
        // In front of the names in a file may stand anything.
        let file = state.get(&name).or_else(|| {
            let behind = |key: &str| key.strip_suffix(name.as_str()).is_some_and(|front| front.ends_with('.'));
            state.iter().find(|(key, _)| behind(key)).map(|(_, data)| data)
        })?;
        let (own, file) = (own.shape().to_vec(), file.shape().to_vec());
        match (own == file, own.first(), file.first()) {
            (true, ..) => {}
            (false, Some(first), Some(other)) if *first == classes && own[1..] == file[1..] => {
                if found.replace(*other).is_some_and(|before| before != *other) {
                    return None;
                }
            }
            _ => return None,
        }
    }
    found
}

/// How this recipe's networks are judged on these images.
fn judge(recipe: &Recipe, splits: &Splits) -> Result<Judge, TrainError> {
    let task = splits.task;
    let teacher = recipe.teacher.as_ref().and_then(|teacher| teacher.train.as_ref());
    let pixels = [
        ("[evaluate]", recipe.evaluate.is_some()),
        ("train.aux_weight", recipe.train.aux_weight.is_some()),
        ("teacher.train.aux_weight", teacher.is_some_and(|train| train.aux_weight.is_some())),
    ];
    if let (Task::Classification, Some((key, _))) = (task, pixels.iter().find(|(_, given)| *given)) {
        return Err(TrainError::Wiring(format!(
            "{key} is for networks that label pixels, but the data set has one class for each image; leave it out"
        )));
    }
    let options = recipe.evaluate.clone().unwrap_or_default().with_protocol_of(recipe.data.dataset);
    let judge = Judge { task, classes: splits.classes.clone(), options };
    judge.tally()?;
    Ok(judge)
}

/// The methods of an arm's terms with fresh adapters on `autodiff`, and all taps they read.
///
/// # Errors
/// Terms without a teacher (`book` is `None`), taps that do not exist or do not fit.
pub(crate) fn methods(
    arm: &ArmRecipe,
    book: Option<&ShapeBook>,
    seed: Stream,
    autodiff: &Device,
) -> Result<(Vec<AnyMethod>, Wanted), TrainError> {
    let mut methods: Vec<AnyMethod> = Vec::new();
    let mut wanted = Wanted::default();
    for term in &arm.terms {
        let place = format!("arm \"{}\", term \"{}\"", arm.name, term.name);
        let fail = |source| TrainError::distill(&place, source);
        let Some(book) = book else {
            return Err(TrainError::Wiring(format!("arm \"{}\" has terms, but the recipe has no [teacher]", arm.name)));
        };
        let taps = term.method.taps(book).map_err(fail)?;
        merge(&mut wanted.student, taps.student);
        merge(&mut wanted.teacher, taps.teacher);
        let path = format!("method/{}", term.name);
        methods.push(term.method.init(book, &path, seed.with(&term.name), autodiff).map_err(fail)?);
    }
    Ok((methods, wanted))
}

/// Whether an arm depends on prompts that the run learns.
pub(crate) fn learned_prompts(arm: &ArmRecipe) -> bool {
    arm.terms.iter().any(|term| match &term.method {
        AnyMethodConfig::FreeKd(config) => config.masks == MaskKind::Prompts && config.prompts.is_none(),
        AnyMethodConfig::Maskd(config) => config.tokens.is_none() && config.untrained.is_none(),
        _ => false,
    })
}

/// Whether an arm looks through frequency prompts, whoever learned them.
pub(crate) fn has_prompts(arm: &ArmRecipe) -> bool {
    let masked =
        |method: &AnyMethodConfig| matches!(method, AnyMethodConfig::FreeKd(c) if c.masks == MaskKind::Prompts);
    arm.terms.iter().any(|term| masked(&term.method))
}

/// Adds the names that are not there yet; `logits` is always read and never a tap to ask for.
fn merge(all: &mut Vec<String>, more: Vec<String>) {
    for name in more {
        if name != "logits" && !all.contains(&name) {
            all.push(name);
        }
    }
}
