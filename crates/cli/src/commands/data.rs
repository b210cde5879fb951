//! `subband data`.
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use indicatif::{ProgressBar, ProgressStyle};
use subband_data::{DataConfig, DataError, DatasetKind, EvalSplit, Progress, Summary, cache_folder, summarize};
use subband_train::{Recipe, Table};

use super::eval::data_config;
use super::{print, print_json};
use crate::args::{DataArgs, DataCommand};
use crate::failure::Failure;

/// Runs a command of `data`.
pub fn data(args: &DataArgs) -> Result<(), Failure> {
    match &args.command {
        DataCommand::Inspect { data, json } => inspect(data, *json),
        DataCommand::Download { name, to } => download(name, to.as_deref()),
    }
}

/// Reads every image of every split.
fn inspect(data: &Path, json: bool) -> Result<(), Failure> {
    let config = match data.extension().is_some_and(|ending| ending == "toml") {
        true => Recipe::load(data, &[])?.data,
        false => data_config(&data.to_string_lossy()),
    };
    let mut summaries = BTreeMap::new();
    let mut last = None;
    for (name, split) in splits(&config)? {
        summaries.insert(name, summarize(split.dataset.as_ref(), split.channels));
        last = Some(split);
    }
    if json {
        return print_json(&summaries);
    }
    let mut text = String::new();
    for (name, summary) in &summaries {
        text += &describe(name, summary);
    }
    if let Some(split) = last {
        let [height, width] = split.size;
        let (channels, classes) = (split.channels, split.classes.len());
        let sizes: BTreeSet<_> =
            summaries.values().flat_map(|summary| summary.sizes.iter().map(|(size, _)| size)).collect();
        text += &match sizes.len() {
            0 | 1 => format!("Input to a network: {channels}x{height}x{width}, {classes} classes\n"),
            _ => format!(
                "Input to a network: {channels} channels, {classes} classes. The images have different sizes: training \
                 needs `resize` (or with masks `crop`) under [data]\n"
            ),
        };
    }
    print(&text)
}

/// The splits that are there; without any, opening `train` says what is expected.
fn splits(config: &DataConfig) -> Result<Vec<(String, EvalSplit)>, Failure> {
    let mut config = config.clone();
    // Damaged images are counted, and one at the very front must not hide the rest.
    (config.cache_mb, config.skip_corrupt) = (0, true);
    let open = |name: String| {
        let split = config.open_split(&name, 0)?;
        Ok((name, split))
    };
    let opened: Result<_, DataError> = config.split_names().into_iter().map(open).collect();
    opened.map_err(Failure::of_flags)
}

fn describe(name: &str, summary: &Summary) -> String {
    let list = |counts: &BTreeMap<usize, usize>, unit: &str| {
        counts.iter().map(|(value, count)| format!("{value} {unit} ({count})")).collect::<Vec<_>>().join(", ")
    };
    let numbers = |values: &[f64]| values.iter().map(|value| format!("{value:.4}")).collect::<Vec<_>>().join(", ");
    let mut sizes: Vec<String> =
        summary.sizes.iter().take(6).map(|((w, h), count)| format!("{w}x{h} ({count})")).collect();
    if summary.sizes.len() > 6 {
        sizes.push(format!("and {} more", summary.sizes.len() - 6));
    }
    let mut text = classes(name, summary).to_string();
    // Of images that cannot be read there is nothing to say.
    if !sizes.is_empty() {
        text += &format!(
            "  sizes (width x height)  {}\n  stored as  {}; {}\n  mean {}   deviation {}\n",
            sizes.join(", "),
            list(&summary.channels, "channels"),
            list(&summary.bits, "bits"),
            numbers(&summary.mean),
            numbers(&summary.std),
        );
    }
    if !summary.corrupt.is_empty() {
        text += &format!("  {} images cannot be used:\n", summary.corrupt.len());
        for skipped in summary.corrupt.iter().take(20) {
            text += &format!("    {}\n", skipped.error);
        }
    }
    text + "\n"
}

/// The classes with their images and, with masks, their pixels.
fn classes(name: &str, summary: &Summary) -> Table {
    let title = format!("{name}: {} images, {} classes", summary.total, summary.classes.len());
    let Some(pixels) = &summary.pixels else {
        let mut table = Table::new(title, &["class", "images"]);
        summary.classes.iter().for_each(|(class, count)| table.row([class.clone(), count.to_string()]));
        return table;
    };
    let mut table = Table::new(title, &["class", "images with it", "pixels", "share"]);
    for (at, (class, count)) in summary.classes.iter().enumerate() {
        let share = format!("{:.2} %", 100.0 * pixels.share(at));
        table.row([class.clone(), count.to_string(), pixels.classes[at].to_string(), share]);
    }
    let share = format!("{:.2} % of all", 100.0 * pixels.ignored_share());
    table.row(["(ignored)".to_string(), String::new(), pixels.ignored.to_string(), share]);
    table
}

fn download(name: &str, to: Option<&Path>) -> Result<(), Failure> {
    let mut config = match name {
        "cifar10" => DataConfig::new(DatasetKind::Cifar10),
        "cifar100" => DataConfig::new(DatasetKind::Cifar100),
        _ => {
            let help = "cifar10 and cifar100 can be downloaded; digits is inside this program";
            return Err(Failure::usage(format!("there is no download named {name}"), help));
        }
    };
    config.path = to.map(Path::to_path_buf);
    let style = ProgressStyle::with_template("{wide_bar} {bytes}/{total_bytes}  {bytes_per_sec}  {eta} left");
    let bar = ProgressBar::no_length().with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    let splits = config.open_with(0, &mut |progress: Progress| {
        if let Some(total) = progress.total {
            bar.set_length(total);
        }
        bar.set_position(progress.done);
    });
    bar.finish_and_clear();
    let splits = splits.map_err(Failure::of_flags)?;
    let place = to.map_or_else(cache_folder, Path::to_path_buf);
    print(&format!(
        "{name}: {} training and {} test images in {}\n",
        splits.train.len(),
        splits.test.len(),
        place.display()
    ))
}
