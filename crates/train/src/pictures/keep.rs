//! What a run keeps to look at: the same few test images through the teacher and every arm.
//!
//! ```text
//! pictures/pictures.json            the images and their classes
//! pictures/image-<k>.jpg            a photo, made smaller
//! pictures/truth-<k>.png            its true label map (segmenters)
//! arms/<slug>/pictures/pictures.json
//! arms/<slug>/pictures/<k>.png      the network's label map at its best epoch (segmenters)
//! arms/<slug>/pictures/<k>-<method>.png  a class-activation map
//! ```
//! Everything is a function of the recipe, the test images and the weights, so a resumed run has the same files.
use std::path::{Path, PathBuf};

use burn::prelude::*;
use subband_data::{Filter, Geometry, Image, Mask, Target, encode};
use subband_metrics::Segmentation;
use subband_models::{Cam, Network, NetworkConfig, TapInfo, TapShape, weights};
use subband_seed::Stream;

use super::choose::{self, Chosen, short_name};
use super::palette::{Palette, viridis};
use super::predictor::Predictor;
use crate::evidence::{ActivationMap, NetworkPictures, PictureSet, Predicted, ShownImage};
use crate::recipe::ReportRecipe;
use crate::setup::{Role, Setup};
use crate::{TrainError, files};

/// Quality of the photos.
const JPEG_QUALITY: u8 = 82;
/// The longest side of an activation map; it is smooth.
const HEAT_SIDE: usize = 64;
/// Steps of its colours.
const HEAT_STEPS: usize = 128;

/// The pictures of a run.
pub(crate) struct Gallery<'a> {
    setup: &'a Setup,
    folder: PathBuf,
    device: Device,
    recipe: ReportRecipe,
    chosen: Vec<Chosen>,
    set: PictureSet,
}

impl<'a> Gallery<'a> {
    /// Chooses the images and writes them into a run's folder; `None` where the recipe wants no pictures.
    ///
    /// # Errors
    /// A full disk.
    pub fn open(setup: &'a Setup, folder: &Path, device: &Device) -> Result<Option<Self>, TrainError> {
        let recipe = setup.recipe.report.clone().unwrap_or_default();
        let segmentation = setup.splits.is_segmentation();
        // Of a classifier there is nothing to draw but activation maps.
        let explained = if recipe.cams.as_ref().is_some_and(Vec::is_empty) { 0 } else { recipe.cam_images };
        let count = if segmentation { recipe.pictures } else { recipe.pictures.min(explained) };
        if count == 0 {
            return Ok(None);
        }
        let chosen = choose::images(setup.splits.test.as_ref(), count, setup.recipe.seed);
        let classes = setup.splits.classes.clone();
        let palette = Palette::of_classes(&classes);
        let colours = (0..classes.len()).map(|class| palette.colour(u8::try_from(class).unwrap_or(u8::MAX))).collect();
        let set = PictureSet { segmentation, classes, colours, images: Vec::new() };
        let mut gallery = Self { setup, folder: folder.into(), device: device.clone(), recipe, chosen, set };
        gallery.write_set(explained)?;
        Ok(Some(gallery))
    }

    /// Draws what a network of the run makes of the images, if it is not there; `slug` is its folder's name, `key` stands
    /// for all that its weights depend on. `load` gives the network and is not called if nothing is to be drawn.
    ///
    /// # Errors
    /// A full disk. What cannot be drawn for other reasons is noted: no result of the run depends on it.
    pub fn draw(
        &self,
        load: impl FnOnce() -> Result<Network, TrainError>,
        role: Role,
        slug: &str,
        key: &str,
    ) -> Result<(), TrainError> {
        let folder = self.folder.join("arms").join(slug).join("pictures");
        let cams = self.cams(role);
        let key = self.key(key, &cams);
        if done(&folder.join("pictures.json"), &key) {
            return Ok(());
        }
        files::create_folder(&folder)?;
        let found = match load() {
            Ok(network) => self.found(network, role, &cams, key, &folder)?,
            // Without its key it is tried again.
            Err(error) => {
                let predictions = vec![Predicted::default(); self.chosen.len()];
                NetworkPictures { key: String::new(), predictions, maps: Vec::new(), notes: vec![error.to_string()] }
            }
        };
        write_json(&folder.join("pictures.json"), &found)
    }

    fn found(
        &self,
        network: Network,
        role: Role,
        cams: &[Cam],
        key: String,
        folder: &Path,
    ) -> Result<NetworkPictures, TrainError> {
        let options = self.setup.judge.options.clone();
        let pipeline = self.setup.splits.eval_pipeline.clone();
        let predictor = Predictor::new(network, pipeline, role == Role::Teacher, self.set.classes.clone(), options);
        let mut found = NetworkPictures { key, predictions: Vec::new(), maps: Vec::new(), notes: Vec::new() };
        for (place, chosen) in self.chosen.iter().enumerate() {
            let image = seen_image(chosen, role);
            let prediction = noted("prediction", self.predict(&predictor, place, image, folder), &mut found.notes)?;
            found.predictions.push(prediction.unwrap_or_default());
            for method in cams {
                let map = self.explain(&predictor, place, image, *method, folder);
                found.maps.extend(noted(method.name(), map, &mut found.notes)?.flatten());
            }
        }
        Ok(found)
    }

    /// [`Gallery::draw`] with the weights of an arm's best epoch.
    ///
    /// # Errors
    /// As [`Gallery::draw`].
    pub fn draw_arm(&self, slug: &str, best: &Path, key: &str) -> Result<(), TrainError> {
        let load = || {
            let fail = |source| TrainError::model(format!("arm {slug}"), source);
            let (name, [channels, ..]) = (&self.setup.recipe.student.network, self.setup.shape(Role::Student));
            let config = NetworkConfig::new(name, channels, self.set.classes.len());
            let mut network = config.init(Stream::new(0), &self.device).map_err(fail)?;
            network.load(&weights::read(best).map_err(fail)?).map_err(fail)?;
            Ok(network)
        };
        self.draw(load, Role::Student, slug, key)
    }

    /// The methods of a network's activation maps: those that the recipe names, or the usual ones.
    fn cams(&self, role: Role) -> Vec<Cam> {
        let [channels, height, width] = self.setup.shape(role);
        let name = self.setup.recipe.networks().find(|(of, _)| *of == role).map_or("", |(_, name)| name);
        let taps = NetworkConfig::new(name, channels, self.setup.classes(role)).taps(height, width);
        self.recipe.cams.clone().unwrap_or_else(|| usual_cams(&taps.unwrap_or_default()))
    }

    fn write_set(&mut self, explained: usize) -> Result<(), TrainError> {
        let folder = self.folder.join("pictures");
        files::create_folder(&folder)?;
        let mut before: Vec<usize> = Vec::new();
        for (place, chosen) in self.chosen.iter().enumerate() {
            let described = self.setup.splits.test.describe(chosen.index);
            let image = &chosen.sample.student;
            let [height, width] = small(image.height(), image.width(), PictureSet::SIDE);
            let photo = format!("image-{place}.jpg");
            let shown = Geometry::IDENTITY.apply(&described, image, [height, width], Filter::Bilinear)?;
            let bytes = encode::rgb_jpeg(width, height, &shown.to_rgb8(), JPEG_QUALITY)?;
            files::write_atomic(&folder.join(&photo), &bytes)?;
            let truth = match &chosen.sample.target {
                Target::Mask(mask) => {
                    let name = format!("truth-{place}.png");
                    files::write_atomic(&folder.join(&name), &label_png(&self.set, mask, [height, width])?)?;
                    Some(name)
                }
                Target::Class(_) => None,
            };
            let class = chosen.explained(&before).filter(|_| place < explained);
            before.extend(class);
            self.set.images.push(ShownImage {
                index: chosen.index,
                name: short_name(&described),
                photo,
                width,
                height,
                truth,
                shares: chosen.shares.clone(),
                explained: class,
            });
        }
        write_json(&folder.join("pictures.json"), &self.set)
    }

    /// What a network's pictures depend on.
    fn key(&self, weights: &str, cams: &[Cam]) -> String {
        let images: Vec<String> =
            self.set.images.iter().map(|image| format!("{}:{:?}", image.index, image.explained)).collect();
        let cams: Vec<&str> = cams.iter().map(|cam| cam.name()).collect();
        format!("{weights} images {} {}", images.join(","), cams.join(","))
    }

    fn predict(
        &self,
        predictor: &Predictor,
        place: usize,
        image: &Image,
        folder: &Path,
    ) -> Result<Predicted, TrainError> {
        let (chosen, shown) = (&self.chosen[place], &self.set.images[place]);
        let name = &shown.name;
        let Target::Mask(truth) = &chosen.sample.target else {
            let probabilities = predictor.probabilities(name, image)?;
            let best = (0..probabilities.len()).fold(0, |a, b| if probabilities[b] > probabilities[a] { b } else { a });
            let class = probabilities.get(best).map(|probability| (best, *probability));
            return Ok(Predicted { labels: None, accuracy: None, miou: None, class });
        };
        let labels = predictor.labels(name, image)?;
        let mask = Mask::new(name, image.width(), image.height(), labels)?;
        // A teacher may see an image of another size than the label file's.
        let fitted = Geometry::IDENTITY.apply_mask(&mask, [truth.height(), truth.width()]);
        let mut counts = Segmentation::new(self.set.classes.len()).map_err(TrainError::Wiring)?;
        counts.add(truth.labels(), fitted.labels()).map_err(TrainError::Wiring)?;
        // None where no pixel of this image counts.
        let figures = counts.result(self.setup.judge.options.protocol.unwrap_or_default()).ok();
        let file = format!("{place}.png");
        files::write_atomic(&folder.join(&file), &label_png(&self.set, &mask, [shown.height, shown.width])?)?;
        let (accuracy, miou) = figures.map(|of| (of.accuracy, of.miou)).unzip();
        Ok(Predicted { labels: Some(file), accuracy, miou, class: None })
    }

    /// The activation map of an image, if it is one of those that get some.
    fn explain(
        &self,
        predictor: &Predictor,
        place: usize,
        image: &Image,
        method: Cam,
        folder: &Path,
    ) -> Result<Option<ActivationMap>, TrainError> {
        let shown = &self.set.images[place];
        let Some(class) = shown.explained else { return Ok(None) };
        let Some(tap) = predictor.usual_tap(method, &shown.name, image)? else { return Ok(None) };
        let mask = match &self.chosen[place].sample.target {
            // The true pixels of the class: the same question to every network.
            Target::Mask(truth) => {
                let fitted = Geometry::IDENTITY.apply_mask(truth, [image.height(), image.width()]);
                Some(fitted.labels().iter().map(|label| usize::from(*label) == class).collect::<Vec<bool>>())
            }
            Target::Class(_) => None,
        };
        let mask = mask.as_deref().filter(|mask| mask.contains(&true));
        let heat = predictor.heat(&shown.name, image, (method, &tap), class, mask)?;
        let file = format!("{place}-{method}.png");
        files::write_atomic(&folder.join(&file), &heat_png(&heat, [image.height(), image.width()])?)?;
        Ok(Some(ActivationMap { image: place, method: method.name().into(), tap, file }))
    }
}

/// What was drawn; a failure becomes a note, unless it is one of writing.
fn noted<T>(what: &str, drawn: Result<T, TrainError>, notes: &mut Vec<String>) -> Result<Option<T>, TrainError> {
    match drawn {
        Ok(drawn) => Ok(Some(drawn)),
        Err(error @ TrainError::Write { .. }) => Err(error),
        Err(error) => {
            notes.push(format!("{what}: {error}"));
            Ok(None)
        }
    }
}

/// All methods, but for Ablation-CAM of a transformer, which runs nearly the whole network once for each channel.
fn usual_cams(taps: &[TapInfo]) -> Vec<Cam> {
    let transformer = taps.iter().any(|tap| matches!(tap.shape, TapShape::Tokens { .. }));
    Cam::ALL.into_iter().filter(|cam| *cam != Cam::Ablation || !transformer).collect()
}

/// What a network sees of a sample.
fn seen_image(chosen: &Chosen, role: Role) -> &Image {
    let sample = &chosen.sample;
    match (role, &sample.teacher) {
        (Role::Teacher, Some(teacher)) => teacher,
        _ => &sample.student,
    }
}

/// Whether pictures with this key are there.
fn done(record: &Path, key: &str) -> bool {
    let bytes = std::fs::read(record).unwrap_or_default();
    serde_json::from_slice::<NetworkPictures>(&bytes).is_ok_and(|found| found.key == key)
}

/// Height and width with the longer side at most `side`, the ratio kept.
fn small(height: usize, width: usize, side: usize) -> [usize; 2] {
    let longest = height.max(width);
    if longest <= side {
        return [height, width];
    }
    [height, width].map(|s| ((s * side) as f64 / longest as f64).round().max(1.0) as usize)
}

/// A label map at `size` in the colours of the classes; ignored pixels are transparent.
fn label_png(set: &PictureSet, mask: &Mask, size: [usize; 2]) -> Result<Vec<u8>, TrainError> {
    let fitted = Geometry::IDENTITY.apply_mask(mask, size);
    let mut palette: Vec<[u8; 4]> = set.colours.iter().map(|[r, g, b]| [*r, *g, *b, 255]).collect();
    palette.truncate(255);
    let clear = palette.len();
    palette.push([0; 4]);
    let index = |label: &u8| usize::from(*label).min(clear) as u8;
    let indices: Vec<u8> = fitted.labels().iter().map(index).collect();
    Ok(encode::palette_png(size[1], size[0], &indices, &palette)?)
}

/// A heat map of `[height, width]` made smaller, in colours.
fn heat_png(heat: &[f32], [height, width]: [usize; 2]) -> Result<Vec<u8>, TrainError> {
    let [h, w] = small(height, width, HEAT_SIDE);
    let mean = |y: usize, x: usize| {
        let (rows, columns) = (y * height / h..(y + 1) * height / h, x * width / w..(x + 1) * width / w);
        let count = (rows.len() * columns.len()).max(1) as f32;
        rows.flat_map(|row| columns.clone().map(move |column| heat[row * width + column])).sum::<f32>() / count
    };
    let step = |value: f32| (value * (HEAT_STEPS - 1) as f32).round().clamp(0.0, (HEAT_STEPS - 1) as f32) as u8;
    let indices: Vec<u8> = (0..h).flat_map(|y| (0..w).map(move |x| (y, x))).map(|(y, x)| step(mean(y, x))).collect();
    let colour = |k: usize| {
        let [r, g, b] = viridis(k as f64 / (HEAT_STEPS - 1) as f64);
        [r, g, b, 255]
    };
    Ok(encode::palette_png(w, h, &indices, &(0..HEAT_STEPS).map(colour).collect::<Vec<_>>())?)
}

fn write_json<T: serde::Serialize>(path: &Path, value: &T) -> Result<(), TrainError> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| TrainError::Write { path: path.into(), source: error.into() })?;
    files::write_atomic(path, format!("{text}\n").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use subband_data::{Samples, decode};

    #[test]
    fn ablation_cam_of_a_transformer_is_not_usual() {
        let usual = |name: &str| usual_cams(&NetworkConfig::new(name, 3, 10).taps(224, 224).unwrap());
        assert_eq!(usual("resnet18"), Cam::ALL);
        assert_eq!(usual("deit_tiny_patch16_224"), [Cam::Grad]);
    }

    #[test]
    fn sizes_keep_their_ratio() {
        assert_eq!(small(360, 480, 320), [240, 320]);
        assert_eq!(small(20, 30, 320), [20, 30]);
        assert_eq!(small(1, 5000, 320), [1, 320]);
    }

    #[test]
    fn label_maps_have_the_class_colours_and_are_clear_where_ignored() {
        let colours = vec![[1, 2, 3], [4, 5, 6]];
        let classes = vec!["a".to_string(), "b".into()];
        let set = PictureSet { segmentation: true, classes, colours, images: Vec::new() };
        let mask = Mask::new("m", 3, 1, vec![1, 0, Mask::IGNORED]).unwrap();
        let image = decode::decode(&label_png(&set, &mask, [1, 3]).unwrap(), "m").unwrap();
        assert_eq!(image.samples(), &Samples::U8(vec![4, 5, 6, 255, 1, 2, 3, 255, 0, 0, 0, 0]));
        assert_eq!(decode::decode(&label_png(&set, &mask, [2, 6]).unwrap(), "m").unwrap().width(), 6);
    }

    #[test]
    fn heat_maps_are_averaged_over_blocks() {
        let heat: Vec<f32> = (0..2 * 128).map(|k| if k % 2 == 0 { 0.0 } else { 1.0 }).collect();
        let image = decode::decode(&heat_png(&heat, [2, 128]).unwrap(), "h").unwrap();
        assert_eq!((image.width(), image.height()), (64, 1));
        let middle = viridis(64.0 / 127.0);
        let Samples::U8(values) = image.samples() else { panic!("8 bits") };
        assert!(values.chunks(3).all(|pixel| *pixel == middle));
        let one = decode::decode(&heat_png(&[1.0], [1, 1]).unwrap(), "h").unwrap();
        assert_eq!(one.samples(), &Samples::U8(vec![253, 231, 37]));
    }
}
