//! `subband distill` and `subband train`.
use std::path::PathBuf;

use subband_train::evidence::report::write_report;
use subband_train::{
    ArmResult, Figure, PromptResult, Recipe, RunOptions, RunSummary, Scores, Table, TrainError, by_arm, duration,
    spreads,
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
    let figures = figures(summary);
    let Some(primary) = figures.first() else { return Table::new(title(summary, "figures"), &[]) };
    let main = ["best", "last"].map(|epoch| format!("{} {epoch}", primary.label));
    let mut header = vec!["arm", "network", "parameters", "MACs", &main[0], &main[1]];
    header.extend(figures[1..].iter().map(|figure| figure.label));
    header.extend(["to alone", "time", "adapters"]);
    let mut table = Table::new(title(summary, primary.label), &header);
    let groups = by_arm(&summary.arms);
    let is_alone = |group: &[&ArmResult]| group[0].terms.iter().all(|term| term == "task");
    let best = |group: &[&ArmResult]| {
        spreads(&group.iter().map(|result| &result.best.test).collect::<Vec<_>>()).get(primary.name).copied()
    };
    let alone = groups.iter().find(|group| is_alone(group));
    let alone_value = alone.and_then(|group| best(group));
    let difference = |value: Option<f64>| match (value, alone_value) {
        (Some(value), Some(alone)) => format!("{:+.2}", value - alone.mean),
        _ => "-".into(),
    };
    if let Some(teacher) = &summary.teacher {
        let figure = |name: &str| teacher.test.get(name).map_or("-".into(), |value| format!("{value:.2}"));
        let mut cells = vec!["teacher".to_string(), teacher.network.clone(), teacher.params.to_string()];
        cells.extend([millions(teacher.macs), figure(primary.name), "-".into()]);
        cells.extend(figures[1..].iter().map(|of| figure(of.name)));
        cells.push(difference(teacher.test.get(primary.name)));
        cells.push(if teacher.epochs > 0 { duration(teacher.seconds) } else { "-".into() });
        cells.push("-".into());
        table.row(cells);
    }
    for group in &groups {
        let arm = group[0];
        let over = |of: fn(&ArmResult) -> &Scores, name: &str| {
            let all = spreads(&group.iter().map(|result| of(result)).collect::<Vec<_>>());
            all.get(name).map_or("-".into(), |spread| spread.to_string())
        };
        let mut cells = vec![arm.name.clone(), arm.network.clone(), arm.params.to_string(), millions(arm.macs)];
        cells.extend([over(|r| &r.best.test, primary.name), over(|r| &r.last.test, primary.name)]);
        cells.extend(figures[1..].iter().map(|figure| over(|r| &r.best.test, figure.name)));
        let own = alone.is_some_and(|alone| alone[0] == arm);
        cells.push(if own { "-".into() } else { difference(best(group).map(|spread| spread.mean)) });
        cells.push(duration(group.iter().map(|result| result.seconds).sum()));
        cells.push(arm.aux_params.to_string());
        table.row(cells);
    }
    table
}

/// The test figures in percent, the primary one first.
fn figures(summary: &RunSummary) -> Vec<Figure> {
    let tested = summary.arms.iter().map(|arm| &arm.best.test).chain(summary.teacher.iter().map(|of| &of.test));
    let first = tested.into_iter().find(|scores| !scores.is_empty());
    let known = first.into_iter().flat_map(|scores| scores.iter().filter_map(|(name, _)| Figure::named(name)));
    known.filter(|figure| figure.percent).collect()
}

/// What learning the prompts changed.
fn prompt_table(result: &PromptResult) -> Table {
    let value = |scores: &Scores| scores.primary().map_or("-".into(), |(figure, value)| figure.text(value));
    let title = format!(
        "Frequency prompts: teacher {} without, {} with fresh and {} with learned prompts ({})",
        result.teacher.headline(),
        value(&result.start),
        value(&result.end),
        result.file
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

fn title(summary: &RunSummary, label: &str) -> String {
    let chosen = match summary.arms.iter().any(|arm| arm.best.val.is_some()) {
        true => "the best epoch is chosen by validation",
        false => "no validation images, so the last epoch counts as the best",
    };
    let title = format!("{}: {label} on {} test images in per cent; {chosen}", summary.name, summary.test_images);
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
