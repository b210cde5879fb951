//! `subband predict`.
use std::path::PathBuf;

use serde_json::{Value, json};
use subband_data::{Image, encode};
use subband_metrics::cityscapes;
use subband_train::pictures::{Picture, Predictor, class_strip, share_text, shares};
use subband_train::{Table, files};

use super::images::{self, check_alpha, each, write};
use super::{print, print_json, trained};
use crate::args::PredictArgs;
use crate::device;
use crate::failure::Failure;

/// Classes that are printed for an image.
const TOP: usize = 5;

/// Predicts on images.
pub fn predict(args: &PredictArgs) -> Result<(), Failure> {
    check_alpha(args.alpha)?;
    let device = device::open(&args.compute)?;
    let found = images::find(&args.images)?;
    let network = trained::open(&args.trained, &device)?;
    if network.is_segmenter() { segment(args, &network, &found) } else { classify(args, &network, &found) }
}

/// Draws a segmenter's predictions.
fn segment(args: &PredictArgs, network: &Predictor, found: &[PathBuf]) -> Result<(), Failure> {
    if args.label_ids && !network.classes().iter().map(String::as_str).eq(cityscapes::class_names()) {
        return Err(Failure::usage(
            "--label-ids: the network's classes are not those of Cityscapes",
            "use --labels for class indices",
        ));
    }
    let mut endings = vec![".png".to_string()];
    endings.extend(args.labels.then(|| "-labels.png".to_string()));
    endings.extend(args.label_ids.then(|| "-labelIds.png".to_string()));
    let outputs = images::outputs(found, &args.out, &endings, args.force)?;
    files::create_folder(&args.out)?;
    let mut records = Vec::new();
    let outcome = each(found, network, |place, name, image| {
        let labels = network.labels(name, image)?;
        let (width, height) = (image.width(), image.height());
        let shares = shares(&labels);
        write(&outputs[place][0], &overlay(args, network, image, &labels, &shares)?)?;
        let mut others = outputs[place][1..].iter();
        if let Some(file) = others.next().filter(|_| args.labels) {
            write(file, &encode::grey_png(width, height, &labels)?)?;
        }
        if args.label_ids {
            // 0 is Cityscapes's id of what has no class.
            let ids: Vec<u8> = labels.iter().map(|class| cityscapes::label_id(*class).unwrap_or(0)).collect();
            if let Some(file) = outputs[place].last() {
                write(file, &encode::grey_png(width, height, &ids)?)?;
            }
        }
        let class = |class: u8| network.classes().get(usize::from(class)).cloned().unwrap_or_default();
        let listed: Vec<Value> =
            shares.iter().map(|(k, share)| json!({ "class": class(*k), "index": k, "share": share })).collect();
        records.push(json!({ "image": name, "files": outputs[place], "shares": listed }));
        if args.json {
            return Ok(String::new());
        }
        let parts: Vec<String> =
            shares.iter().take(TOP).map(|(k, share)| format!("{} {}", class(*k), share_text(*share))).collect();
        Ok(format!("{}  {}\n", outputs[place][0].display(), parts.join(", ")))
    });
    if args.json {
        print_json(&json!({ "network": network.network_name(), "images": records }))?;
    }
    outcome
}

/// The overlay as a PNG.
fn overlay(
    args: &PredictArgs,
    network: &Predictor,
    image: &Image,
    labels: &[u8],
    shares: &[(u8, f64)],
) -> Result<Vec<u8>, Failure> {
    let picture = Picture { width: image.width(), height: image.height(), rgb: image.to_rgb8() };
    let mut picture = picture.with_labels(labels, network.palette(), args.alpha, !args.no_contours);
    if !args.no_legend {
        picture = picture.above(&class_strip(image.width(), network.classes(), network.palette(), shares));
    }
    Ok(encode::rgb_png(picture.width, picture.height, &picture.rgb)?)
}

/// Prints a classifier's best classes.
fn classify(args: &PredictArgs, network: &Predictor, found: &[PathBuf]) -> Result<(), Failure> {
    if args.labels || args.label_ids {
        return Err(Failure::usage(
            format!("`{}` gives one class for each image and labels no pixels", network.network_name()),
            "leave --labels and --label-ids out",
        ));
    }
    let count = TOP.min(network.classes().len());
    let header: Vec<String> =
        std::iter::once("image".to_string()).chain((1..=count).map(|place| format!("{place}"))).collect();
    let mut table = Table::new("", &header.iter().map(String::as_str).collect::<Vec<_>>());
    let mut records = Vec::new();
    let outcome = each(found, network, |_, name, image| {
        let probabilities = network.probabilities(name, image)?;
        let mut order: Vec<usize> = (0..probabilities.len()).collect();
        // The first among equals stays first.
        order.sort_by(|a, b| probabilities[*b].total_cmp(&probabilities[*a]));
        order.truncate(count);
        let class = |k: &usize| network.classes().get(*k).cloned().unwrap_or_else(|| format!("class {k}"));
        let cells = order.iter().map(|k| format!("{} {}", class(k), share_text(probabilities[*k])));
        table.row(std::iter::once(name.to_string()).chain(cells));
        let top: Vec<Value> =
            order.iter().map(|k| json!({ "class": class(k), "index": k, "probability": probabilities[*k] })).collect();
        records.push(json!({ "image": name, "top": top }));
        Ok(String::new())
    });
    match (args.json, table.rows.is_empty()) {
        (true, _) => print_json(&json!({ "network": network.network_name(), "images": records }))?,
        (false, false) => print(&table.to_string())?,
        (false, true) => {}
    }
    outcome
}
