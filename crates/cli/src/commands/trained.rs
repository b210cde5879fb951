//! The network of `predict` and `cam`: out of a run folder, or by name and weights.
use std::path::Path;

use burn::prelude::*;
use subband_data::{DataConfig, DatasetKind};
use subband_models::{NetworkConfig, weights};
use subband_seed::Stream;
use subband_train::EvaluateRecipe;
use subband_train::pictures::Predictor;

use super::eval::{normalize, resize};
use crate::args::TrainedArgs;
use crate::failure::Failure;

/// The network that the arguments name, ready to be shown images.
///
/// # Errors
/// No such run, arm, network or weights; weights of another network or number of classes.
pub fn open(args: &TrainedArgs, device: &Device) -> Result<Predictor, Failure> {
    if let Some(run) = &args.run {
        return Ok(Predictor::of_run(run, args.arm.as_deref(), args.last, device)?);
    }
    let (Some(name), Some(file)) = (&args.network, &args.weights) else {
        return Err(Failure::usage("which network?", "give --run DIR, or --network NAME with --weights FILE"));
    };
    let classes = class_names(args)?;
    let channels = args.channels.unwrap_or(3);
    let config = NetworkConfig::new(name, channels, classes.len());
    // The kind stands for the defaults of preparation alone.
    let kind = if config.is_segmenter()? { DatasetKind::Masks } else { DatasetKind::Folder };
    let data = DataConfig {
        channels: Some(channels),
        normalize: args.normalize.as_deref().map(normalize).transpose()?,
        resize: resize(args.resize.as_deref())?,
        ..DataConfig::new(kind)
    };
    let pipeline = data.unlabelled(None).map_err(Failure::of_flags)?;
    let state = weights::read(file)?;
    let mut network = config.init(Stream::new(0), device)?;
    network.load(&state).map_err(|error| Failure::from(error).about(file))?;
    Ok(Predictor::new(network, pipeline, false, classes, EvaluateRecipe::default()))
}

/// The names that `--class-names` gives, or numbers in their place.
fn class_names(args: &TrainedArgs) -> Result<Vec<String>, Failure> {
    let Some(text) = &args.class_names else {
        return match args.classes {
            Some(count) if count > 0 => Ok((0..count).map(|class| format!("class {class}")).collect()),
            _ => Err(Failure::usage(
                "how many classes has the network?",
                "give --class-names road,sky,... (or a file with one a line, or camvid, cityscapes, mfnet), or --classes N",
            )),
        };
    };
    let known = match text.as_str() {
        "camvid" => DatasetKind::Camvid.class_names(),
        "cityscapes" => DatasetKind::Cityscapes.class_names(),
        "mfnet" | "msrs" => DatasetKind::Mfnet.class_names(),
        _ => None,
    };
    if let Some(known) = known {
        return Ok(known.iter().map(|name| name.to_string()).collect());
    }
    let names: Vec<String> = match Path::new(text).is_file() {
        true => {
            let read = std::fs::read_to_string(text).map_err(|error| {
                Failure::usage(
                    format!("--class-names: cannot read {text}: {error}"),
                    "give a text file with one name a line",
                )
            })?;
            read.trim_end().lines().map(|line| line.trim().to_string()).collect()
        }
        false if !text.contains(',') => {
            return Err(Failure::usage(
                format!("--class-names {text}: there is no such file, and one name is no list"),
                "write the names with commas, give a file with one a line, camvid, cityscapes, mfnet or msrs, or --classes N",
            ));
        }
        false => text.split(',').map(|name| name.trim().to_string()).collect(),
    };
    match names.iter().any(String::is_empty) {
        true => Err(Failure::usage(
            format!("--class-names {text}: a name is empty"),
            "write a name for every class, or give --classes N",
        )),
        false => Ok(names),
    }
}
