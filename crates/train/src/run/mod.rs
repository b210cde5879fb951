//! Runs a recipe: the teacher first, then every arm from the same student, in the same order of images.
//!
//! Run folder:
//! ```text
//! recipe.toml                      resolved recipe
//! run.json                         versions, seed, device, machine
//! results.json                     table of results, rewritten after each arm
//! arms/<slug>/proof.json           every part of the loss at step 1
//! arms/<slug>/metrics.jsonl        a line per step and per epoch
//! arms/<slug>/checkpoint.safetensors
//! arms/<slug>/student-best.safetensors, student-last.safetensors
//! arms/<slug>/result.json          when the arm is done
//! arms/<slug>/skipped.json         images left out under skip_corrupt, if any
//! arms/<slug>/nonfinite/           state before a step that gave NaN
//! arms/<slug>-seed<n>/...          in the place of arms/<slug>, one for each of several seeds
//! arms/teacher/...                 the same for the teacher, if the run trains it
//! inputs.json                      classes and image size, so that networks can be used without the data set
//! pictures/, arms/<slug>/pictures/ some test images and what each network makes of them
//! robustness.json                  figures on corrupted images, if they were measured
//! prompts.safetensors, prompts/... frequency prompts, if the run learns them
//! ```
mod arm;
mod auto;
mod closing;
mod folder;
mod named_files;
mod nonfinite;
mod progress;
mod prompts;
pub(crate) mod proof;
mod state;
pub(crate) mod step;

#[cfg(test)]
mod tests;

use std::ops::ControlFlow;
use std::path::PathBuf;

use burn::prelude::*;
use subband_models::{Network, weights};

use crate::evaluate::evaluate_with;
use crate::evidence::{ArmResult, PromptResult, RunSummary, TeacherResult};
use crate::pictures::{self, Gallery};
use crate::plan::Plan;
use crate::recipe::{ArmRecipe, Recipe};
use crate::setup::{Role, Setup};
use crate::{Scores, TrainError};

use arm::ArmRun;
pub(crate) use auto::AutoWeights;
use folder::{Folder, Tested};
pub use progress::{Event, Progress, Silent};
use prompts::PromptRun;

/// How to run.
pub struct RunOptions<'a> {
    /// The run folder; made if it is not there.
    pub out_dir: PathBuf,
    /// Continue the run in that folder. A folder without a run is then started from its beginning.
    pub resume: bool,
    /// Device without autodiff.
    pub device: Device,
    /// Receives what happens.
    pub progress: &'a mut dyn Progress,
}

/// Runs a recipe and writes its run folder (all but the report).
///
/// # Errors
/// Wiring errors before anything is written; afterwards a full disk, corrupt images, NaN or infinity, a term that
/// does not reach the student, a damaged checkpoint, or [`TrainError::Stopped`] on the caller's request.
pub fn run(recipe: &Recipe, options: RunOptions<'_>) -> Result<RunSummary, TrainError> {
    let setup = Setup::open(recipe)?;
    Plan::wire(&setup, &options.device)?;
    // A folder that is there was begun with this wiring.
    if !Folder::begun(&options.out_dir) {
        setup.splits.check_labels()?;
        proof::wiring(&setup, &options.device)?;
    }
    let folder = Folder::open(&options.out_dir, recipe, &options.device, options.resume)?;
    let mut runner = Runner { setup: &setup, folder: &folder, device: options.device, index: 0 };
    runner.run(options.progress)
}

struct Runner<'a> {
    setup: &'a Setup,
    folder: &'a Folder,
    device: Device,
    /// Place of the next arm.
    index: usize,
}

impl Runner<'_> {
    fn run(&mut self, progress: &mut dyn Progress) -> Result<RunSummary, TrainError> {
        let recipe = &self.setup.recipe;
        let arms = recipe.arms();
        let trainings = recipe.trainings();
        let total = arms.len() * trainings.len();
        let trained = recipe.teacher.as_ref().is_some_and(|teacher| teacher.train.is_some());
        let before = usize::from(trained) + usize::from(recipe.prompts.is_some());
        let started = Event::RunStarted { name: &recipe.name, arms: total + before };
        if progress.event(started).is_break() {
            return Err(TrainError::Stopped { arm: recipe.name.clone(), step: 0 });
        }
        let mut summary = RunSummary {
            name: recipe.name.clone(),
            finished: false,
            test_images: self.setup.splits.test.len(),
            protocol: self.setup.judge.protocol(),
            teacher: None,
            prompts: None,
            arms: Vec::new(),
            over_seeds: Vec::new(),
            folder: self.folder.path().to_path_buf(),
        };
        pictures::write_inputs(self.setup, self.folder.path())?;
        let gallery = Gallery::open(self.setup, self.folder.path(), &self.device)?;
        let teacher = match &recipe.teacher {
            Some(_) => {
                let (network, result) = self.teacher(progress)?;
                summary.teacher = Some(result);
                Some(network)
            }
            None => None,
        };
        if let (Some(network), Some(result)) = (&teacher, &summary.teacher) {
            summary.prompts = self.prompts(network, result.test.clone(), progress)?;
        }
        // What earlier sessions finished stays listed, wherever this one may be stopped.
        let mut done = self.folder.done();
        summary.list(&done);
        self.folder.write_results(&summary)?;
        // Of other classes there is no truth to lay beside.
        let known = self.setup.teacher_knows_labels();
        if let (Some(gallery), Some(network)) = (&gallery, teacher.as_ref().filter(|_| known)) {
            let load = || Ok(network.clone());
            gallery.draw(load, Role::Teacher, "teacher", &self.folder.fingerprint(None, None))?;
        }
        let all = arms.iter().flat_map(|arm| trainings.iter().map(move |seed| (arm, *seed)));
        for (index, (arm, seed)) in all.enumerate() {
            done[index] = Some(self.arm(arm, seed, teacher.as_ref(), progress)?);
            summary.list(&done);
            self.folder.write_results(&summary)?;
            // The report shows the first of several seeds.
            if let Some(gallery) = gallery.as_ref().filter(|_| trainings.first() == Some(&seed)) {
                let (slug, key) = (arm.slug_of(seed), self.folder.fingerprint(Some(arm), seed));
                gallery.draw_arm(&slug, &self.folder.arm(&slug).best(), &key)?;
            }
        }
        Ok(summary)
    }

    /// The teacher as the arms use it, trained first if the recipe says so, and its test figures.
    fn teacher(&mut self, progress: &mut dyn Progress) -> Result<(Network, TeacherResult), TrainError> {
        let mut network = self.setup.teacher(&self.device)?;
        let [_, height, width] = self.setup.shape(Role::Teacher);
        let macs = network.macs(height, width).map_err(|source| TrainError::model("teacher", source))?;
        let mut result = TeacherResult {
            network: network.name().into(),
            params: network.param_count(),
            macs,
            epochs: 0,
            seconds: 0.0,
            test: Scores::default(),
            classes: Vec::new(),
        };
        let train = self.setup.recipe.teacher.as_ref().and_then(|teacher| teacher.train.as_ref());
        let Some(train) = train else {
            let tested = self.test_as_loaded(&network, progress)?;
            (result.test, result.classes) = (tested.scores, tested.classes);
            return Ok((network, result));
        };
        let arm = ArmRecipe { name: "teacher".into(), task_weight: 1.0, terms: Vec::new() };
        let autodiff = self.device.clone().autodiff();
        let learner = self.setup.teacher_learner(train, arm, &autodiff)?;
        let arm_folder = self.folder.arm("teacher");
        let done = ArmRun {
            setup: self.setup,
            folder: &arm_folder,
            slug: "teacher".into(),
            seed: None,
            fingerprint: self.folder.fingerprint(None, None),
            train,
            role: Role::Teacher,
            device: self.device.clone(),
            index: self.next(),
            teacher: None,
        }
        .run(learner, progress)?;
        let state = weights::read(&arm_folder.best()).map_err(|source| TrainError::model("trained teacher", source))?;
        network.load(&state).map_err(|source| TrainError::model("trained teacher", source))?;
        (result.epochs, result.seconds) = (done.epochs, done.seconds);
        (result.test, result.classes) = (done.best.test, done.best.classes);
        Ok((network, result))
    }

    /// The prompts that the recipe asks for, which the arms then use.
    fn prompts(
        &mut self,
        teacher: &Network,
        scores: Scores,
        progress: &mut dyn Progress,
    ) -> Result<Option<PromptResult>, TrainError> {
        let Some(recipe) = &self.setup.recipe.prompts else { return Ok(None) };
        let file = self.folder.prompt_file();
        let phase = PromptRun {
            setup: self.setup,
            recipe,
            folder: &self.folder.prompts(),
            file: file.clone(),
            fingerprint: self.folder.prompt_fingerprint(),
            device: self.device.clone(),
            index: self.next(),
            teacher,
            scores,
        };
        let result = phase.run(progress)?;
        self.setup.learned(&file, &self.device)?;
        Ok(Some(result))
    }

    /// Test figures of a teacher that is not trained here; kept in the folder, so that a resumed run has them. None for
    /// classes that are not the data set's.
    fn test_as_loaded(&self, network: &Network, progress: &mut dyn Progress) -> Result<Tested, TrainError> {
        let fingerprint = self.folder.fingerprint(None, None);
        let arm_folder = self.folder.arm("teacher");
        if let Some(tested) = arm_folder.test(&fingerprint) {
            return Ok(tested);
        }
        if !self.setup.teacher_knows_labels() {
            return Ok(Tested { scores: Scores::default(), classes: Vec::new() });
        }
        let batch = self.setup.eval_batch(&self.setup.recipe.train);
        let loader = self.setup.splits.eval_loader(&self.setup.splits.test, batch)?;
        let mut told = |done, total| progress.event(Event::Evaluating { split: "test", done, total });
        let found = evaluate_with(network, &loader, Role::Teacher, &self.setup.judge, &mut told)?;
        let tested = Tested { scores: found.scores, classes: found.classes };
        arm_folder.write_test(&fingerprint, &tested)?;
        Ok(tested)
    }

    fn arm(
        &mut self,
        arm: &ArmRecipe,
        seed: Option<u64>,
        teacher: Option<&Network>,
        progress: &mut dyn Progress,
    ) -> Result<ArmResult, TrainError> {
        let seeded = seed.map(|seed| self.setup.with_seed(seed));
        let setup = seeded.as_ref().unwrap_or(self.setup);
        let learner = setup.learner(arm, &self.device)?;
        let folded = teacher.filter(|_| !arm.terms.is_empty());
        let folded = folded.map(|network| learner.prepared(network));
        ArmRun {
            setup,
            folder: &self.folder.arm(&arm.slug_of(seed)),
            slug: arm.slug_of(seed),
            seed,
            fingerprint: self.folder.fingerprint(Some(arm), seed),
            train: &self.setup.recipe.train,
            role: Role::Student,
            device: self.device.clone(),
            index: self.next(),
            teacher: folded.as_ref(),
        }
        .run(learner, progress)
    }

    fn next(&mut self) -> usize {
        self.index += 1;
        self.index - 1
    }
}

/// The caller's answer to an event as a result.
fn go_on(answer: ControlFlow<()>, arm: &str, step: usize) -> Result<(), TrainError> {
    match answer {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(TrainError::Stopped { arm: arm.into(), step }),
    }
}
