//! `subband eval`.
use subband_data::{DataConfig, DatasetKind, Normalize, ResizeConfig, Task};
use subband_models::{Network, NetworkConfig, weights};
use subband_seed::Stream;
use subband_train::robustness::{SplitRobustness, tables_of};
use subband_train::{EvaluateMode, EvaluateRecipe, Evaluation, Figure, Table, evaluate};

use super::robustness::{Watch, frost_note, selection};
use super::{print, print_json};
use crate::args::EvalArgs;
use crate::device;
use crate::failure::Failure;

/// Evaluates a network on a split.
pub fn eval(args: &EvalArgs) -> Result<(), Failure> {
    if args.batch == Some(0) {
        return Err(Failure::usage("--batch 0: a forward pass needs images", "use 1 or more"));
    }
    let device = device::open(&args.compute)?;
    let mut config = data_config(&args.data.to_string_lossy());
    config.channels = args.channels;
    config.normalize = args.normalize.as_deref().map(normalize).transpose()?;
    config.resize = args.resize.map(ResizeConfig::square);
    let corrupted = &args.corruptions;
    let wanted = !corrupted.corruptions.is_empty();
    if !wanted && (!corrupted.severities.is_empty() || corrupted.frost.is_some()) {
        return Err(Failure::usage(
            "--severities and --frost are for corrupted images",
            "add --corruptions benchmark, or leave them out",
        ));
    }
    // Corruptions choose their images themselves, so that each is the same among few and among all.
    config.test_limit = args.limit.filter(|_| !wanted);
    config.skip_corrupt = args.skip_corrupt;
    let selection = if wanted { Some(selection(corrupted)?) } else { None };
    // Every image is read once.
    config.cache_mb = 0;
    let options = options(args, config.dataset)?;
    let state = weights::read(&args.weights)?;
    let split = config.open_split(&args.split, 0)?;
    let classes = args.classes.unwrap_or(split.classes.len());
    let mut network = NetworkConfig::new(&args.network, split.channels, classes).init(Stream::new(0), &device)?;
    network.load(&state).map_err(|error| Failure::from(error).about(&args.weights))?;
    let default = if split.is_segmentation() { 4 } else { 128 };
    let batch = args.batch.unwrap_or(default);
    if let Some((grid, frost)) = selection {
        frost_note(&grid, &frost);
        return under_corruptions(
            args,
            &network,
            SplitRobustness { split, batch, limit: args.limit, seed: 0, grid, frost, options },
        );
    }
    let loader = split.loader(batch)?;
    let result = evaluate(&network, &loader, &options)?;
    for skipped in loader.skipped() {
        eprintln!("warning: passed over {}", skipped.error);
    }
    if args.json { print_json(&result) } else { print(&text(&args.network, &result)) }
}

/// The clean figures, and those under corruptions.
fn under_corruptions(args: &EvalArgs, network: &Network, measurement: SplitRobustness) -> Result<(), Failure> {
    let mut watch = Watch::new(false);
    let outcome = measurement.measure(network, &mut |event| watch.event(&event));
    watch.finish();
    let result = outcome?;
    if args.json {
        return print_json(&result);
    }
    let tables: Vec<String> = tables_of(&args.network, &result).iter().map(|table| table.to_string()).collect();
    print(&format!("{}\n{}", text(&args.network, &result.clean), tables.join("\n")))
}

/// The flags for data sets with masks.
fn options(args: &EvalArgs, dataset: DatasetKind) -> Result<EvaluateRecipe, Failure> {
    let given = &args.masks;
    let size = |name: &str, text: &Option<String>| text.as_deref().map(|text| size(name, text)).transpose();
    let [window, stride] = [size("window", &given.window)?, size("stride", &given.stride)?];
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
    let mut options = EvaluateRecipe { window, stride, flip: given.flip, protocol, ..EvaluateRecipe::default() };
    if window.is_some() {
        options.mode = EvaluateMode::Slide;
    }
    if !given.scales.is_empty() {
        options.scales = given.scales.clone();
    }
    match options.problem() {
        Some((key, message)) => Err(Failure::usage(format!("--{key} {message}"), "see `subband eval --help`")),
        None => Ok(options.with_protocol_of(dataset)),
    }
}

/// `HxW` in pixels.
fn size(name: &str, text: &str) -> Result<[usize; 2], Failure> {
    let sides = text.split_once('x').and_then(|(h, w)| Some([h.trim().parse().ok()?, w.trim().parse().ok()?]));
    sides.ok_or_else(|| {
        Failure::usage(format!("--{name} {text} is not a height and a width"), "write for example 512x1024")
    })
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
