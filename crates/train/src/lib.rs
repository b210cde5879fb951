//! The training system: recipe, plan, run with exact resume, and evidence.
//!
//! A [`Recipe`] describes a run completely. A [`Plan`] opens its data, builds its networks and checks every wire
//! before anything is trained. [`run`] trains the teacher and each arm, and leaves a run folder that proves what
//! happened; an interrupted run continues bit for bit.
#![deny(missing_docs)]
mod checkpoint;
mod error;
mod evaluate;
pub mod evidence;
pub mod files;
mod gradients;
mod learner;
mod measure;
mod optimizer;
pub mod pictures;
mod plan;
mod prompts;
pub mod recipe;
pub mod robustness;
mod rules;
mod run;
mod schedule;
mod setup;
mod spectrum;
mod table;
mod task;

pub use error::TrainError;
pub use evaluate::{Evaluation, default_batch, evaluate};
pub use evidence::{
    ArmResult, ClassScores, EpochRecord, EpochResult, Figure, NetworkRobustness, PartProof, PromptResult, PromptTap,
    Proof, Reached, RobustnessCell, RobustnessRecord, RunInfo, RunSummary, Scores, SeedSummary, Spread, TapProof,
    TeacherResult, by_arm, spreads,
};
pub use measure::{StepConfig, StepTimes, TrainingStep};
pub use plan::{ArmPlan, DataPlan, NetworkPlan, Plan, PlanOptions, PromptPlan, TermPlan, TimePart, TimePlan};
pub use recipe::{EvaluateMode, EvaluateRecipe, Recipe, ReportRecipe};
pub use run::{Event, Progress, RunOptions, Silent, run};
pub use schedule::{LearningRate, Schedule};
pub use spectrum::{Spectrum, SpectrumLayer, SpectrumRow};
pub use table::{Table, duration, significant};
