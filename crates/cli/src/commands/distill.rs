//! `subband distill` and `subband train`.
use std::path::PathBuf;

use subband_train::evidence::report::write_report;
use subband_train::{
    ArmResult, PromptResult, Recipe, RunOptions, RunSummary, Spread, Table, TrainError, by_arm, duration,
};

use super::print;
use crate::args::RunArgs;
use crate::console::Console;
use crate::device;
use crate::failure::Failure;

/// Runs all arms of a recipe.
pub fn distill(args: &RunArgs) -> Result<(), Failure> {
    let recipe = Recipe::load(&args.recipe.recipe, &args.recipe.set)?;
    // Prompts alone are worth a run: their file serves others.
    if recipe.prompts.is_none() && recipe.arms().iter().all(|arm| arm.terms.is_empty()) {
        return Err(Failure::usage(
            format!("the recipe {} has no distillation term", args.recipe.recipe.display()),
            "add [[arm]] with [[arm.term]] and method = \"...\" (see `subband methods`), or use `subband train`",
        ));
    }
    go(args, recipe, "")
}

/// Trains the recipe's student on labels alone.
pub fn train(args: &RunArgs) -> Result<(), Failure> {
    let mut recipe = Recipe::load(&args.recipe.recipe, &args.recipe.set)?;
    recipe.teacher = None;
    recipe.prompts = None;
    recipe.arms.clear();
    go(args, recipe, "-student")
}

fn go(args: &RunArgs, recipe: Recipe, suffix: &str) -> Result<(), Failure> {
    let device = device::open(&args.compute)?;
    let out_dir = args
        .out
        .clone()
        .unwrap_or_else(|| PathBuf::from("runs").join(format!("{}{suffix}", folder_name(&recipe.name))));
    let mut console = Console::new(args.quiet);
    let options = RunOptions { out_dir: out_dir.clone(), resume: args.resume, device, progress: &mut console };
    let outcome = subband_train::run(&recipe, options);
    console.finish();
    let summary = match outcome {
        Ok(summary) => summary,
        Err(error) => {
            // What was done so far deserves its report; the run's own error is the one to show.
            if !error.is_usage() || matches!(error, TrainError::DeadTerm { .. }) {
                let _ = write_report(&out_dir);
            }
            return Err(error.into());
        }
    };
    let report = write_report(&summary.folder)?;
    let prompts = summary.prompts.as_ref().map(|result| format!("{}\n", prompt_table(result))).unwrap_or_default();
    print(&format!("{}\n{prompts}Report: {}\n", table(&summary), report.display()))
}

/// A recipe's name as a folder name: path separators would lead elsewhere.
fn folder_name(name: &str) -> String {
    let safe: String = name.chars().map(|c| if c.is_alphanumeric() || "-_. ".contains(c) { c } else { '-' }).collect();
    match safe.trim_matches(['.', ' ']) {
        "" => "run".into(),
        name => name.into(),
    }
}

/// The result table: a row per arm, with mean and standard deviation where there are several seeds.
fn table(summary: &RunSummary) -> Table {
    let header =
        ["arm", "network", "parameters", "MACs", "top-1 best", "top-1 last", "top-5", "to alone", "time", "adapters"];
    let mut table = Table::new(title(summary), &header);
    let groups = by_arm(&summary.arms);
    let alone = groups.iter().find(|group| group[0].terms.iter().all(|term| term == "task")).map(|group| group[0]);
    let spread = |group: &[&ArmResult], of: fn(&ArmResult) -> f64| {
        Spread::of(&group.iter().map(|result| of(result)).collect::<Vec<_>>())
    };
    let best = |group: &[&ArmResult]| spread(group, |result| result.best.test_top1).map(|spread| spread.mean);
    let alone_top1 = groups.iter().find(|group| alone == Some(group[0])).and_then(|group| best(group));
    let difference = |top1: Option<f64>| match (top1, alone_top1) {
        (Some(top1), Some(alone)) => format!("{:+.2}", top1 - alone),
        _ => "-".into(),
    };
    if let Some(teacher) = &summary.teacher {
        table.row([
            "teacher".to_string(),
            teacher.network.clone(),
            teacher.params.to_string(),
            millions(teacher.macs),
            format!("{:.2}", teacher.test.top1),
            "-".into(),
            format!("{:.2}", teacher.test.top5),
            difference(Some(teacher.test.top1)),
            if teacher.epochs > 0 { duration(teacher.seconds) } else { "-".into() },
            "-".into(),
        ]);
    }
    for group in &groups {
        let arm = group[0];
        let cell = |of| spread(group, of).map_or("-".into(), |spread| spread.to_string());
        table.row([
            arm.name.clone(),
            arm.network.clone(),
            arm.params.to_string(),
            millions(arm.macs),
            cell(|result| result.best.test_top1),
            cell(|result| result.last.test_top1),
            cell(|result| result.best.test_top5),
            if alone == Some(arm) { "-".into() } else { difference(best(group)) },
            duration(group.iter().map(|result| result.seconds).sum()),
            arm.aux_params.to_string(),
        ]);
    }
    table
}

/// What learning the prompts changed.
fn prompt_table(result: &PromptResult) -> Table {
    let title = format!(
        "Frequency prompts: teacher top-1 {:.2} % without, {:.2} % with fresh and {:.2} % with learned prompts ({})",
        result.teacher.top1, result.start.top1, result.end.top1, result.file
    );
    let mut table =
        Table::new(title, &["tap", "channels", "sets", "prompts per set", "dissimilarity fresh", "learned"]);
    for tap in &result.taps {
        let counts = [tap.channels, tap.sets.len(), result.tokens].map(|n| n.to_string());
        let values = [tap.dissimilarity_start, tap.dissimilarity_end].map(|d| format!("{d:.4}"));
        table.row(std::iter::once(tap.tap.clone()).chain(counts).chain(values));
    }
    table
}

fn title(summary: &RunSummary) -> String {
    let title = format!(
        "{}: accuracy on {} test images in per cent; the best epoch is chosen by validation",
        summary.name, summary.test_images
    );
    match summary.over_seeds.first() {
        None => title,
        Some(first) => {
            let seeds: Vec<String> = first.seeds.iter().map(u64::to_string).collect();
            format!("{title}; mean ± standard deviation over the seeds {}", seeds.join(", "))
        }
    }
}

fn millions(macs: u64) -> String {
    format!("{:.2} M", macs as f64 / 1e6)
}
