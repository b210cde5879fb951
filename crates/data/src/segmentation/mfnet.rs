//! MFNet (Ha et al. 2017) and MSRS (Tang et al. 2022): street scenes in colour and thermal infrared, 640x480.
//!
//! MFNet's PNGs hold the thermal band where others have alpha, so it is data and never multiplied into the colours.
//! MSRS keeps the two apart and is joined to the same four channels on reading. Its images come from MFNet, partly from
//! the other split: the two sets must not be mixed.

use super::labels::LabelMap;
use super::pairs::{self, Pair};
use crate::image::Samples;
use crate::{DataError, Image, decode};
use std::collections::HashMap;
use std::path::Path;

/// In the order of the label values; 0 is what has no other class.
pub const CLASSES: [&str; 9] =
    ["unlabelled", "car", "person", "bike", "curve", "car_stop", "guardrail", "color_cone", "bump"];

/// Names of images that are another one mirrored end in this.
const FLIPPED: &str = "_flip";

pub fn map() -> LabelMap {
    LabelMap::plain(CLASSES.len(), None).fixed("0 to 8")
}

pub fn splits(root: &Path) -> Vec<String> {
    let names = ["train", "val", "test", "test_day", "test_night"];
    pairs::present(&names, |s| root.join(format!("{s}.txt")).is_file())
}

/// The images that `<split>.txt` names, in its order. A name ending in `_flip` without a file of its own is the image
/// without that ending, mirrored.
pub fn pairs(root: &Path, split: &str) -> Result<Vec<Pair>, DataError> {
    let list = root.join(format!("{split}.txt"));
    if !list.is_file() {
        let found = splits(root).join(", ");
        let found = if found.is_empty() { "none".to_string() } else { found };
        let reason = format!(
            "there is no such list of names; expected images/, labels/ and a list for each split; found {found}"
        );
        return Err(DataError::layout(&list, reason));
    }
    let file = |folder: &str, name: &str| root.join(folder).join(format!("{name}.png"));
    let pair = |name: String| {
        let (name, flip) = match name.strip_suffix(FLIPPED) {
            Some(base) if !file("images", &name).is_file() => (base, true),
            _ => (name.as_str(), false),
        };
        let (image, label) = (file("images", name), file("labels", name));
        if !image.is_file() {
            let reason = format!("names \"{name}\", but there is no file {}", image.display());
            return Err(DataError::layout(&list, reason));
        }
        if !label.is_file() {
            return Err(pairs::missing_label(&label, &image));
        }
        Ok(Pair { flip, ..Pair::new(image, label) })
    };
    pairs::listed(&list)?.into_iter().map(pair).collect()
}

/// For each image the place of the first one of its scene: a name and the same with `_flip` are one scene, whether the
/// mirrored image has a file or is made.
pub fn scenes(pairs: &[Pair]) -> Vec<usize> {
    let mut first: HashMap<String, usize> = HashMap::new();
    let stem = |pair: &Pair| pair.image.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let name = |pair: &Pair| stem(pair).trim_end_matches(FLIPPED).to_string();
    pairs.iter().enumerate().map(|(place, pair)| *first.entry(name(pair)).or_insert(place)).collect()
}

pub fn msrs_splits(root: &Path) -> Vec<String> {
    let mut names = pairs::present(&["train", "test"], |s| root.join(s).join("vi").is_dir());
    if names.iter().any(|name| name == "test") {
        names.extend(["test_day".to_string(), "test_night".to_string()]);
    }
    names
}

/// The pairs of `<split>/vi` and `<split>/ir`; `<split>_day` and `<split>_night` are those whose names end in D and N.
pub fn msrs_pairs(root: &Path, split: &str) -> Result<Vec<Pair>, DataError> {
    let (folder, ending) = match (split.strip_suffix("_day"), split.strip_suffix("_night")) {
        (Some(folder), _) => (folder, "D"),
        (_, Some(folder)) => (folder, "N"),
        _ => (split, ""),
    };
    let folder = root.join(folder);
    let mut thermal = pairs::images(&folder.join("ir"))?;
    let mut out = Vec::new();
    for pair in pairs::matched(&folder.join("vi"), &folder.join("Segmentation_labels"))? {
        let stem = pair.image.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if !stem.ends_with(ending) {
            continue;
        }
        let Some(other) = thermal.remove(&stem) else {
            let reason = format!("{} holds no image of that name", folder.join("ir").display());
            return Err(DataError::layout(&pair.image, reason));
        };
        out.push(Pair { thermal: Some(other), ..pair });
    }
    if out.is_empty() {
        return Err(DataError::layout(&folder, format!("holds no images whose names end in {ending}")));
    }
    Ok(out)
}

/// `colour` with the image in the file `thermal` as its fourth channel, with the depth of both where it is one; `path`
/// is the colour image's. Thermal images of three or four channels become grey as all images do.
pub fn join(path: &Path, colour: &Image, thermal: &Path) -> Result<Image, DataError> {
    let name = thermal.display().to_string();
    let other = decode::read(thermal)?;
    let (w, h) = (colour.width(), colour.height());
    if (other.width(), other.height()) != (w, h) {
        let (ow, oh) = (other.width(), other.height());
        let reason = format!(
            "it is {ow}x{oh} while {} is {w}x{h} (width x height): the two are one scene, pixel by pixel",
            path.display()
        );
        return Err(DataError::layout(thermal, reason));
    }
    let area = w * h;
    let mut planes = vec![0.0; 4 * area];
    colour.write_planes(&path.display().to_string(), 3, &mut planes[..3 * area])?;
    other.write_planes(&name, 1, &mut planes[3 * area..])?;
    let joined = (0..4 * area).map(|i| planes[i % 4 * area + i / 4]);
    // Single precision tells all values of 16 bits apart, so they come back as they were.
    let samples = match (colour.samples(), other.samples()) {
        (Samples::U8(_), Samples::U8(_)) => Samples::U8(joined.map(|x| (x * 255.0).round() as u8).collect()),
        (Samples::U16(_), Samples::U16(_)) => Samples::U16(joined.map(|x| (x * 65535.0).round() as u16).collect()),
        _ => Samples::F32(joined.collect()),
    };
    Image::new(&name, w, h, 4, samples)
}
