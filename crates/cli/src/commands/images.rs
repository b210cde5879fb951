//! The images of `predict` and `cam`, and where their pictures go.
use std::collections::{HashMap, HashSet};
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use subband_data::{Image, decode};
use subband_train::files;
use subband_train::pictures::Predictor;

use super::print;
use crate::failure::Failure;

/// The image files that the arguments name, those of a folder by name.
///
/// # Errors
/// A path that is not there, a folder without images.
pub fn find(given: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let mut found = Vec::new();
    for path in given {
        match path.is_dir() {
            true => found.extend(in_folder(path)?),
            false if path.exists() => found.push(path.clone()),
            false => {
                return Err(Failure::usage(
                    format!("there is no image {}", path.display()),
                    "give image files or folders that hold some",
                ));
            }
        }
    }
    Ok(found)
}

fn in_folder(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let fail = |error: std::io::Error| {
        Failure::usage(format!("cannot list {}: {error}", folder.display()), "check that the folder may be read")
    };
    let entries = std::fs::read_dir(folder).map_err(fail)?.collect::<Result<Vec<_>, _>>().map_err(fail)?;
    let count = entries.len();
    let is_image = |path: &PathBuf| {
        let ending = path.extension().map(|ending| ending.to_string_lossy().to_lowercase());
        path.is_file() && ending.is_some_and(|ending| decode::EXTENSIONS.contains(&ending.as_str()))
    };
    let mut images: Vec<PathBuf> = entries.into_iter().map(|entry| entry.path()).filter(is_image).collect();
    images.sort();
    match (images.is_empty(), count) {
        (true, 0) => Err(Failure::usage(
            format!("the folder {} is empty", folder.display()),
            "give a folder with images; folders inside it are not looked into",
        )),
        (true, _) => Err(Failure::usage(
            format!("the folder {} holds no image: nothing in it ends in .jpg, .jpeg or .png", folder.display()),
            "give a folder with images; folders inside it are not looked into",
        )),
        _ => Ok(images),
    }
}

/// The output files of each image: `endings` behind its name.
///
/// # Errors
/// Two images of one name, an output that is an input, files that are there without `force`.
pub fn outputs(images: &[PathBuf], out: &Path, endings: &[String], force: bool) -> Result<Vec<Vec<PathBuf>>, Failure> {
    let shown: HashSet<PathBuf> = images.iter().filter_map(|image| image.canonicalize().ok()).collect();
    let stem = |image: &Path| image.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let files = |image: &PathBuf| endings.iter().map(|ending| out.join(stem(image) + ending)).collect::<Vec<_>>();
    let all: Vec<Vec<PathBuf>> = images.iter().map(files).collect();
    let mut taken: HashMap<&Path, &Path> = HashMap::new();
    for (image, files) in images.iter().zip(&all) {
        for file in files {
            if let Some(other) = taken.insert(file, image) {
                return Err(Failure::usage(
                    format!("{} and {} would be written to the same file", other.display(), image.display()),
                    "run them one after the other with another --out",
                ));
            }
        }
        for file in files.iter().filter(|file| file.exists()) {
            if file.canonicalize().is_ok_and(|file| shown.contains(&file)) {
                return Err(Failure::usage(
                    format!("the picture {} would overwrite an image that is shown", file.display()),
                    "choose another folder with --out",
                ));
            }
            if !force {
                return Err(Failure::usage(
                    format!("{} is there already", file.display()),
                    "--force overwrites it, --out DIR writes elsewhere; nothing was changed",
                ));
            }
        }
    }
    Ok(all)
}

/// Does `work` for every image with its place, prints the line that it gives, and goes on after a bad image: each is
/// reported as it comes, the last one at the end. A folder that cannot be written to stops at once.
///
/// # Errors
/// The last failure, if there was one.
pub fn each(
    images: &[PathBuf],
    network: &Predictor,
    mut work: impl FnMut(usize, &str, &Image) -> Result<String, Failure>,
) -> Result<(), Failure> {
    let terminal = std::io::stderr().is_terminal();
    let mut last: Option<Failure> = None;
    let mut bad = 0;
    for (place, path) in images.iter().enumerate() {
        if terminal && images.len() > 1 {
            eprint!("\r\x1b[K{} of {}  {}", place + 1, images.len(), path.display());
        }
        let name = path.display().to_string();
        let done = read(path, network).and_then(|image| work(place, &name, &image));
        // What is printed next begins on an empty line.
        if terminal && images.len() > 1 {
            eprint!("\r\x1b[K");
        }
        if let Err(failure) = done.and_then(|line| print(&line)) {
            bad += 1;
            if let Some(before) = last.replace(failure) {
                eprintln!("error: {}", before.message());
            }
            if last.as_ref().is_some_and(Failure::is_of_disk) {
                break;
            }
        }
    }
    match last {
        None => Ok(()),
        Some(failure) if images.len() == 1 || failure.is_of_disk() => Err(failure),
        Some(failure) => {
            let good = images.len() - bad;
            Err(failure.with_help(format!("{good} of {} images were used; remove or replace the others", images.len())))
        }
    }
}

/// Reads an image that the network can be shown.
fn read(path: &Path, network: &Predictor) -> Result<Image, Failure> {
    let image = decode::read(path)
        .map_err(|error| Failure::failed(error.to_string(), "remove or replace the file; JPEG and PNG are read"))?;
    if !image.converts_to(network.channels()) {
        let (has, wants) = (image.channels(), network.channels());
        return Err(Failure::failed(
            format!("{} has {has} channels, but the network takes {wants}", path.display()),
            "a network for 4 channels is shown RGB PNGs with the fourth band where others have alpha",
        ));
    }
    Ok(image)
}

/// Writes a file, whole or not at all.
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    Ok(files::write_atomic(path, bytes)?)
}

/// Refuses a share outside 0 to 1.
pub fn check_alpha(alpha: f64) -> Result<(), Failure> {
    match (0.0..=1.0).contains(&alpha) {
        true => Ok(()),
        false => Err(Failure::usage(format!("--alpha {alpha} is no share"), "give a number from 0 to 1")),
    }
}
