//! The section of pictures: the same test images through every network, side by side, and what they look at.
//!
//! A photo stands in the page once; label maps and activation maps are small pictures that the style sheet lays over it.
use std::fmt::Write;
use std::path::{Path, PathBuf};

use super::masks::tile;
use super::png::{data_uri, file_uri};
use super::read::{Arm, Run, record};
use super::text::{capital, escape};
use super::{ReportError, page};
use crate::evidence::{NetworkPictures, PictureSet, Predicted, ShownImage};
use crate::pictures::{share_text, viridis};

/// The most classes that are all in the legend; of more, those that the images have.
const ALL_CLASSES: usize = 40;

/// The pictures of a run folder.
#[derive(Debug)]
pub(super) struct Gallery {
    set: PictureSet,
    /// Folder of the photos and true label maps.
    folder: PathBuf,
    networks: Vec<Shown>,
}

/// A network with what it makes of the images.
#[derive(Debug)]
struct Shown {
    name: String,
    class: String,
    folder: PathBuf,
    pictures: NetworkPictures,
}

/// Reads the pictures of a run: of the teacher and of every arm that has some, with the first of several seeds.
pub(super) fn read(dir: &Path, run: &Run) -> Result<Option<Gallery>, ReportError> {
    let folder = dir.join("pictures");
    let Some(set) = record::<PictureSet>(&folder.join("pictures.json"))? else { return Ok(None) };
    let arms = run.arms.iter().filter(|arm| arm.seed.is_none() || arm.seed == run.seeds.first().copied());
    let arms = arms.map(|arm| (arm, arm.group.clone(), page::class(run, arm)));
    let teacher = run.teacher.iter().map(|arm| (arm, "teacher".to_string(), "teacher".to_string()));
    let mut networks = Vec::new();
    for (arm, name, class) in teacher.chain(arms) {
        let folder = dir.join("arms").join(slug(arm)).join("pictures");
        // Drawn for other images: of a session with other keys.
        let fits = |pictures: &NetworkPictures| pictures.predictions.len() == set.images.len();
        if let Some(pictures) = record::<NetworkPictures>(&folder.join("pictures.json"))?.filter(fits) {
            networks.push(Shown { name, class, folder, pictures });
        }
    }
    Ok((!networks.is_empty()).then_some(Gallery { set, folder, networks }))
}

fn slug(arm: &Arm) -> &str {
    if arm.slug.is_empty() { "teacher" } else { &arm.slug }
}

/// The section; empty without pictures.
pub(super) fn section(run: &Run) -> String {
    let Some(gallery) = &run.gallery else { return String::new() };
    let mut html = String::from("<h2>Seen side by side</h2>");
    for (place, image) in gallery.set.images.iter().enumerate() {
        // Once; every tile refers to it.
        let Some(photo) = uri(&gallery.folder, &image.photo) else { continue };
        let _ = write!(
            html,
            "<svg class=\"hidden\" aria-hidden=\"true\"><symbol id=\"{}\" viewBox=\"0 0 100 100\" preserveAspectRatio=\"none\">\
             <image href=\"{photo}\" width=\"100\" height=\"100\" preserveAspectRatio=\"none\"/></symbol></svg>",
            symbol(place)
        );
    }
    if gallery.set.segmentation {
        html.push_str(&predictions(gallery, run.seeds.len() > 1));
    }
    html + &maps(gallery, run.seeds.len() > 1)
}

fn predictions(gallery: &Gallery, seeds: bool) -> String {
    let mut html = format!(
        "<p class=\"note\">Test images that together show many classes, chosen by the seed, with the predictions of each \
         network at its best epoch{} laid over them. The figures under a picture are of this image alone. Hold the pointer \
         over a picture to see what is below the colours.</p>",
        if seeds { " and with the first seed" } else { "" }
    );
    html.push_str(&legend(&gallery.set));
    for (place, image) in gallery.set.images.iter().enumerate() {
        let mut cells = vec![cell(image, place, "image", &escape(&image.name), "")];
        if let Some(truth) = image.truth.as_ref().and_then(|file| uri(&gallery.folder, file)) {
            cells.push(cell(image, place, "ground truth", &largest(&gallery.set, image), &layer("labels", &truth)));
        }
        for network in &gallery.networks {
            let found = &network.pictures.predictions[place];
            let Some(map) = found.labels.as_ref().and_then(|file| uri(&network.folder, file)) else { continue };
            cells.push(cell(image, place, &network.label(), &figures(found), &layer("labels", &map)));
        }
        let _ = write!(html, "<div class=\"strip\">{}</div>", cells.concat());
    }
    html
}

/// The activation maps, a strip for each image and method.
fn maps(gallery: &Gallery, seeds: bool) -> String {
    let mut methods: Vec<&str> = Vec::new();
    for map in gallery.networks.iter().flat_map(|network| &network.pictures.maps) {
        if !methods.contains(&map.method.as_str()) {
            methods.push(&map.method);
        }
    }
    let mut html = String::new();
    for method in methods {
        for (place, image) in gallery.set.images.iter().enumerate() {
            html.push_str(&strip_of_maps(gallery, place, image, method));
        }
    }
    let notes: String = gallery.networks.iter().flat_map(Shown::notes).collect();
    if html.is_empty() {
        return notes;
    }
    let target = match gallery.set.segmentation {
        true => "the scores of one class on its true pixels",
        false => "the score of the true class",
    };
    format!(
        "<h3>Where the networks look</h3><p class=\"note\">Class-activation maps at the best epoch{}: which places of the \
         features at a tap speak for {target}. Each map runs from its own smallest to its own largest value, so brightness \
         can be compared within a picture, not between two.</p>{html}{}{notes}",
        if seeds { " with the first seed" } else { "" },
        scale()
    )
}

fn strip_of_maps(gallery: &Gallery, place: usize, image: &ShownImage, method: &str) -> String {
    let Some(class) = image.explained.and_then(|class| gallery.set.classes.get(class)) else { return String::new() };
    let mut cells = vec![cell(image, place, "image", &escape(&image.name), "")];
    for network in &gallery.networks {
        let map = network.pictures.maps.iter().find(|map| map.image == place && map.method == method);
        let Some((map, uri)) = map.and_then(|map| Some((map, uri(&network.folder, &map.file)?))) else { continue };
        let found = &network.pictures.predictions[place];
        let below = match found.class.and_then(|(class, share)| Some((gallery.set.classes.get(class)?, share))) {
            Some((class, share)) => format!("{}: {} {}", escape(&map.tap), escape(class), unbroken(share)),
            None => escape(&map.tap),
        };
        cells.push(cell(image, place, &network.label(), &below, &layer("warm", &uri)));
    }
    if cells.len() == 1 {
        return String::new();
    }
    let name = match method {
        "grad-cam" => "Grad-CAM",
        "ablation-cam" => "Ablation-CAM",
        other => other,
    };
    format!("<h4>{name} for “{}”</h4><div class=\"strip\">{}</div>", escape(class), cells.concat())
}

impl Shown {
    /// The name with the colour of the arm in the charts.
    fn label(&self) -> String {
        format!("<span class=\"swatch {}\"></span>{}", self.class, escape(&self.name))
    }

    fn notes(&self) -> impl Iterator<Item = String> + '_ {
        let note = |note: &String| format!("<p class=\"note\">{}: {}</p>", escape(&self.name), escape(note));
        self.pictures.notes.iter().map(note)
    }
}

/// A picture with its name, which is HTML, and a line of text below it.
fn cell(image: &ShownImage, place: usize, name: &str, below: &str, layer: &str) -> String {
    let shape = image.height as f64 / image.width.max(1) as f64;
    let label = format!("image {}", place + 1);
    format!(
        "<figure class=\"cell\">{}<figcaption><b>{name}</b><br>{below}</figcaption></figure>",
        tile(Some(&symbol(place)), &label, shape, layer)
    )
}

/// A picture over the photo; `class` says how it is laid over it.
fn layer(class: &str, uri: &str) -> String {
    format!("<image class=\"{class}\" href=\"{uri}\" width=\"100\" height=\"HEIGHT\" preserveAspectRatio=\"none\"/>")
}

fn symbol(place: usize) -> String {
    format!("shown{place}")
}

fn figures(found: &Predicted) -> String {
    let text = |label: &str, value: Option<f64>| value.map(|value| format!("{label} {value:.1}\u{a0}%"));
    let parts = [text("mIoU", found.miou), text("accuracy", found.accuracy)];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// A share in per cent, kept on one line.
fn unbroken(share: f64) -> String {
    escape(&share_text(share)).replace(' ', "\u{a0}")
}

/// The three largest true classes.
fn largest(set: &PictureSet, image: &ShownImage) -> String {
    let known = image.shares.iter().filter_map(|(class, share)| Some((set.classes.get(usize::from(*class))?, share)));
    let parts: Vec<String> =
        known.take(3).map(|(name, share)| format!("{} {}", escape(name), unbroken(*share))).collect();
    capital(&parts.join(", "))
}

/// The colours of the classes.
fn legend(set: &PictureSet) -> String {
    let shown = |class: usize| {
        let has = |image: &ShownImage| image.shares.iter().any(|(found, _)| usize::from(*found) == class);
        set.classes.len() <= ALL_CLASSES || set.images.iter().any(has)
    };
    let mut html = String::from("<p class=\"key\">");
    for (class, (name, [r, g, b])) in set.classes.iter().zip(&set.colours).enumerate().filter(|(k, _)| shown(*k)) {
        let _ = write!(
            html,
            "<span><i style=\"background:rgb({r},{g},{b})\" title=\"class {class}\"></i>{}</span> ",
            escape(name)
        );
    }
    html + "</p>"
}

/// The colours of activation maps.
fn scale() -> String {
    const STEPS: usize = 64;
    let pixels: Vec<u8> = (0..STEPS).flat_map(|k| viridis(k as f64 / (STEPS - 1) as f64)).collect();
    format!(
        "<div class=\"scale\"><span>least</span><img alt=\"colour scale from least to most\" src=\"{}\"><span>most</span></div>",
        data_uri(STEPS, 1, 3, &pixels)
    )
}

/// A file of the folder as a data URI, if it can be read.
fn uri(folder: &Path, file: &str) -> Option<String> {
    // The name comes out of a record; it leads nowhere else.
    let name = Path::new(file).file_name()?;
    let bytes = std::fs::read(folder.join(name)).ok()?;
    Some(file_uri(if file.ends_with(".jpg") { "jpeg" } else { "png" }, &bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::ActivationMap;

    fn write(folder: &Path, name: &str, bytes: &[u8]) {
        std::fs::create_dir_all(folder).unwrap();
        std::fs::write(folder.join(name), bytes).unwrap();
    }

    /// A folder with two images, a teacher and `arms` arms.
    fn folder(segmentation: bool, arms: usize) -> (tempfile::TempDir, Run) {
        let dir = tempfile::tempdir().unwrap();
        let image = |k: usize| ShownImage {
            index: 7 + k,
            name: format!("<scene {k}>.png"),
            photo: format!("image-{k}.jpg"),
            width: 40,
            height: 30,
            truth: segmentation.then(|| format!("truth-{k}.png")),
            shares: vec![(1, 0.75), (0, 0.25)],
            explained: (k == 0).then_some(1),
        };
        let set = PictureSet {
            segmentation,
            classes: vec!["road".into(), "<sky>".into()],
            colours: vec![[1, 2, 3], [4, 5, 6]],
            images: vec![image(0), image(1)],
        };
        let shared = dir.path().join("pictures");
        write(&shared, "pictures.json", &serde_json::to_vec(&set).unwrap());
        for k in 0..2 {
            write(&shared, &format!("image-{k}.jpg"), format!("photo {k}").as_bytes());
            write(&shared, &format!("truth-{k}.png"), b"truth");
        }
        let found = |k: usize| Predicted {
            labels: segmentation.then(|| format!("{k}.png")),
            accuracy: segmentation.then_some(91.25),
            miou: segmentation.then_some(54.0),
            class: (!segmentation).then_some((1, 0.9)),
        };
        let map =
            ActivationMap { image: 0, method: "grad-cam".into(), tap: "stage4".into(), file: "0-grad-cam.png".into() };
        let pictures = NetworkPictures {
            key: "k".into(),
            predictions: vec![found(0), found(1)],
            maps: vec![map],
            notes: vec!["ablation-cam: score <0>".into()],
        };
        let names: Vec<String> = (0..arms).map(|k| format!("arm-{k}")).collect();
        for name in names.iter().map(String::as_str).chain(["teacher"]) {
            let folder = dir.path().join("arms").join(name).join("pictures");
            write(&folder, "pictures.json", &serde_json::to_vec(&pictures).unwrap());
            for file in ["0.png", "1.png", "0-grad-cam.png"] {
                write(&folder, file, b"map");
            }
        }
        let arm = |name: &String| Arm { name: name.clone(), group: name.clone(), slug: name.clone(), ..Arm::default() };
        let mut run = Run { arms: names.iter().map(arm).collect(), teacher: Some(Arm::default()), ..Run::default() };
        run.gallery = read(dir.path(), &run).unwrap();
        (dir, run)
    }

    #[test]
    fn photos_stand_once_and_every_network_is_beside_the_truth() {
        let (_dir, run) = folder(true, 3);
        let html = section(&run);
        for k in 0..2 {
            let photo = file_uri("jpeg", format!("photo {k}").as_bytes());
            assert_eq!(html.matches(&photo).count(), 1);
        }
        // Two images by truth, teacher and three arms; one image by teacher and three arms.
        assert_eq!(html.matches("class=\"labels\"").count(), 2 * 5);
        assert_eq!(html.matches("class=\"warm\"").count(), 4);
        assert_eq!(html.matches("mIoU 54.0\u{a0}%, accuracy 91.2\u{a0}%").count(), 2 * 4);
        for part in ["rgb(4,5,6)", "&lt;sky&gt; 75\u{a0}%", "Grad-CAM for “&lt;sky&gt;”", "stage4", "score &lt;0&gt;"]
        {
            assert!(html.contains(part), "{part}");
        }
        assert!(!html.contains("<scene") && !html.contains("HEIGHT"));
        for tag in ["svg", "div", "figure", "symbol", "span", "p", "figcaption"] {
            let open = html.matches(&format!("<{tag}>")).count() + html.matches(&format!("<{tag} ")).count();
            assert_eq!(open, html.matches(&format!("</{tag}>")).count(), "{tag}");
        }
    }

    #[test]
    fn classifiers_have_maps_with_their_answers() {
        let (_dir, run) = folder(false, 1);
        let html = section(&run);
        assert!(!html.contains("class=\"labels\"") && html.matches("class=\"warm\"").count() == 2);
        assert!(html.contains("stage4: &lt;sky&gt; 90\u{a0}%") && html.contains("the true class"));
    }

    #[test]
    fn what_is_missing_or_of_other_images_is_left_out() {
        let (dir, mut run) = folder(true, 2);
        std::fs::remove_file(dir.path().join("arms/arm-0/pictures/1.png")).unwrap();
        write(&dir.path().join("arms/arm-1/pictures"), "pictures.json", b"{\"key\":\"\",\"predictions\":[]}");
        run.gallery = read(dir.path(), &run).unwrap();
        let html = section(&run);
        assert_eq!(html.matches("class=\"labels\"").count(), 2 * 3 - 1);
        std::fs::remove_file(dir.path().join("pictures/pictures.json")).unwrap();
        run.gallery = read(dir.path(), &run).unwrap();
        assert!(run.gallery.is_none() && section(&run).is_empty());
    }

    #[test]
    fn only_the_first_seed_is_shown() {
        let (dir, mut run) = folder(true, 2);
        run.seeds = vec![4, 5];
        (run.arms[0].seed, run.arms[1].seed) = (Some(4), Some(5));
        run.gallery = read(dir.path(), &run).unwrap();
        let html = section(&run);
        assert!(html.contains("arm-0") && !html.contains("arm-1") && html.contains("the first seed"));
    }
}
