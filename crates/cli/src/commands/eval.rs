//! `subband eval`.
use std::path::Path;

use burn::prelude::*;
use subband_data::{DataConfig, DatasetKind, Loader, Normalize, ResizeConfig, Task};
use subband_models::{Network, NetworkConfig, weights};
use subband_seed::Stream;
use subband_train::pictures::RunNetwork;
use subband_train::robustness::{SplitRobustness, tables_of};
use subband_train::{EvaluateMode, EvaluateRecipe, Evaluation, Figure, Table, default_batch, evaluate};

use super::robustness::{Watch, frost_note, selection};
use super::{print, print_json};
use crate::args::EvalArgs;
use crate::device;
use crate::failure::Failure;
use crate::sizes::size;

/// Evaluates a network: of a run folder, or by its name and weights.
pub fn eval(args: &EvalArgs) -> Result<(), Failure> {
    for (flag, value) in [("--batch", args.batch), ("--limit", args.limit)] {
        if value == Some(0) {
            return Err(Failure::usage(format!("{flag} 0: there would be no images"), "use 1 or more"));
        }
    }
    let device = device::open(&args.compute)?;
    match (&args.run, &args.network, &args.weights, &args.data) {
        (Some(run), ..) => of_run(args, run, &device),
        (None, Some(network), Some(weights), Some(data)) => of_files(args, network, weights, data, &device),
        _ => Err(Failure::usage(
            "which network?",
            "give --run DIR, or --network NAME with --weights FILE and --data DIR",
        )),
    }
}

/// Evaluates a network of a run on the run's test images, or on another split of its data.
fn of_run(args: &EvalArgs, run: &Path, device: &Device) -> Result<(), Failure> {
    let network = RunNetwork::open(run, args.arm.as_deref(), args.last, device)?;
    let recipe = network.recipe();
    let mut data = recipe.data.clone();
    data.path = args.data.clone().or(data.path);
    data.test_limit = args.limit.or(data.test_limit);
    data.skip_corrupt |= args.skip_corrupt;
    // Every image is read once.
    data.cache_mb = 0;
    let options = options(args, recipe.evaluate.clone().unwrap_or_default(), data.dataset)?;
    let batch = args.batch.unwrap_or(network.batch());
    let loader = match &args.split {
        Some(split) => data.open_split(split, recipe.seed)?.loader(batch)?,
        None => {
            let splits = data.open(recipe.seed)?;
            splits.eval_loader(&splits.test, batch)?
        }
    };
    let result = network.evaluate(&loader, &options)?;
    report(args, network.name(), &loader, &result)
}

/// Evaluates weights on a split of a data set.
fn of_files(args: &EvalArgs, name: &str, file: &Path, data: &Path, device: &Device) -> Result<(), Failure> {
    let corrupted = &args.corruptions;
    let wanted = !corrupted.corruptions.is_empty();
    if !wanted && (!corrupted.severities.is_empty() || corrupted.frost.is_some()) {
        return Err(Failure::usage(
            "--severities and --frost are for corrupted images",
            "add --corruptions benchmark, or leave them out",
        ));
    }
    let config = DataConfig {
        channels: args.channels,
        normalize: args.normalize.as_deref().map(normalize).transpose()?,
        resize: resize(args.resize.as_deref())?,
        // Corruptions choose their images themselves, so that each is the same among few and among all.
        test_limit: args.limit.filter(|_| !wanted),
        skip_corrupt: args.skip_corrupt,
        // Every image is read once.
        cache_mb: 0,
        ..data_config(&data.to_string_lossy())
    };
    let selection = if wanted { Some(selection(corrupted)?) } else { None };
    let options = options(args, EvaluateRecipe::default(), config.dataset)?;
    let state = weights::read(file)?;
    let split = config.open_split(args.split.as_deref().unwrap_or("val"), 0).map_err(Failure::of_flags)?;
    let classes = args.classes.unwrap_or(split.classes.len());
    let mut network = NetworkConfig::new(name, split.channels, classes).init(Stream::new(0), device)?;
    network.load(&state).map_err(|error| Failure::from(error).about(file))?;
    let batch = args.batch.unwrap_or(default_batch(split.task));
    if let Some((grid, frost)) = selection {
        frost_note(&grid, &frost);
        let measurement = SplitRobustness { split, batch, limit: args.limit, seed: 0, grid, frost, options };
        return under_corruptions(args, &network, measurement);
    }
    let loader = split.loader(batch).map_err(Failure::of_flags)?;
    let result = evaluate(&network, &loader, &options).map_err(Failure::of_flags)?;
    report(args, name, &loader, &result)
}

/// Prints what was found.
fn report(args: &EvalArgs, network: &str, loader: &Loader, result: &Evaluation) -> Result<(), Failure> {
    for skipped in loader.skipped() {
        eprintln!("warning: passed over {}", skipped.error);
    }
    if args.json { print_json(result) } else { print(&text(network, result)) }
}

/// The clean figures, and those under corruptions.
fn under_corruptions(args: &EvalArgs, network: &Network, measurement: SplitRobustness) -> Result<(), Failure> {
    let mut watch = Watch::new(false);
    let outcome = measurement.measure(network, &mut |event| watch.event(&event));
    watch.finish();
    let result = outcome.map_err(Failure::of_flags)?;
    if args.json {
        return print_json(&result);
    }
    let tables: Vec<String> = tables_of(network.name(), &result).iter().map(|table| table.to_string()).collect();
    print(&format!("{}\n{}", text(network.name(), &result.clean), tables.join("\n")))
}

/// `base` with what the flags for data sets with masks say.
fn options(args: &EvalArgs, base: EvaluateRecipe, dataset: DatasetKind) -> Result<EvaluateRecipe, Failure> {
    let given = &args.masks;
    let sides = |name: &str, text: &Option<String>| {
        text.as_deref().map(|text| Ok::<_, Failure>(size(name, text)?.array())).transpose()
    };
    let [window, stride] = [sides("window", &given.window)?, sides("stride", &given.stride)?];
    let protocol = given.protocol.as_deref().map(str::parse).transpose();
    let protocol =
        protocol.map_err(|error: String| Failure::usage(format!("--protocol: {error}"), "choose one of them"))?;
    let any = window.is_some() || !given.scales.is_empty() || given.flip || protocol.is_some();
    if any && dataset.task() == Task::Classification {
        return Err(Failure::usage(
            "--window, --stride, --scales, --flip and --protocol are for data sets with masks",
            "leave them out, or give a data set with masks as --data",
        ));
    }
    let mut options = EvaluateRecipe { flip: given.flip || base.flip, protocol: protocol.or(base.protocol), ..base };
    if window.is_some() {
        (options.mode, options.window, options.stride) = (EvaluateMode::Slide, window, stride);
    }
    if !given.scales.is_empty() {
        options.scales = given.scales.clone();
    }
    match options.problem() {
        Some((key, message)) => Err(Failure::usage(format!("--{key} {message}"), "see `subband eval --help`")),
        None => Ok(options.with_protocol_of(dataset)),
    }
}

/// The size that `--resize` asks for.
pub fn resize(text: Option<&str>) -> Result<Option<ResizeConfig>, Failure> {
    text.map(|text| size("resize", text).map(ResizeConfig::to)).transpose()
}

/// The figures for people: a line, and tables of the classes and of groups of them where there are some.
fn text(network: &str, result: &Evaluation) -> String {
    let count = |name: &str| result.counts.get(name).copied().unwrap_or(0);
    if result.classes.is_empty() {
        return format!("{network}: {} of {} images correct, {}\n", count("correct"), count("total"), result.scores);
    }
    let protocol = result.protocol.map(|protocol| format!(" (protocol {protocol})")).unwrap_or_default();
    let tables = [rows("class", &result.classes), rows("category", &result.categories)];
    let tables: Vec<String> = tables.into_iter().flatten().map(|table| table.to_string()).collect();
    format!("{network}: {} images, {}{protocol}\n{}", count("images"), result.scores, tables.join("\n"))
}

/// A line for each class; nothing without classes.
fn rows(title: &str, classes: &[subband_train::ClassScores]) -> Option<Table> {
    let first = classes.first()?;
    let names: Vec<&str> = first.scores.iter().map(|(name, _)| name).collect();
    let labels = names.iter().map(|name| Figure::named(name).map_or(*name, |figure| figure.label));
    let header: Vec<&str> = std::iter::once(title).chain(labels).collect();
    let mut table = Table::new("", &header);
    for class in classes {
        let figure = |value: f64| if value.is_finite() { format!("{value:.2}") } else { "-".into() };
        let figures = names.iter().map(|name| class.scores.get(name).map_or("-".into(), figure));
        table.row(std::iter::once(class.name.clone()).chain(figures));
    }
    Some(table)
}

/// A data set by name, or whatever lies in a folder.
pub fn data_config(data: &str) -> DataConfig {
    match data {
        "digits" => DataConfig::new(DatasetKind::Digits),
        "cifar10" => DataConfig::new(DatasetKind::Cifar10),
        "cifar100" => DataConfig::new(DatasetKind::Cifar100),
        folder => DataConfig::detect(folder.as_ref()),
    }
}

/// A name, or means and deviations as `0.5,0.5,0.5/0.2,0.2,0.2`.
pub fn normalize(text: &str) -> Result<Normalize, Failure> {
    let Some((mean, std)) = text.split_once('/') else { return Ok(Normalize::named(text)) };
    let numbers = |part: &str| part.split(',').map(|number| number.trim().parse().ok()).collect::<Option<Vec<f64>>>();
    match (numbers(mean), numbers(std)) {
        (Some(mean), Some(std)) => Ok(Normalize::Values { mean, std }),
        _ => Err(Failure::usage(
            format!("--normalize {text} is neither a name nor MEAN/STD"),
            format!("names: {}; values for example 0.5,0.5,0.5/0.2,0.2,0.2", Normalize::NAMES.join(", ")),
        )),
    }
}
