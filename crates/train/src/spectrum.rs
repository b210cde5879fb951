//! How the features of a recipe's teacher and student differ by frequency, stage for stage.
//!
//! Both networks run, as the recipe starts them, over test images; at each pair of stages (aligned at the deepest) their
//! maps are brought to the smaller size by averaging and compared in the radial bands of [`analysis`], whole maps first.
//! Distances and coherence need equal channels; the alignment of kernels (CKA) does not.
use burn::prelude::*;
use serde::Serialize;
use subband_distill::{Side, adaptive_average_pool};
use subband_models::{Feature, Features, Mode, Network};
use subband_spectral::SpectralError;
use subband_spectral::analysis::{self, RADIAL_BANDS, Samples};

use crate::learner::Inputs;
use crate::recipe::Recipe;
use crate::setup::{Role, Setup};
use crate::{Table, TrainError};

/// Most images of one forward pass.
const BATCH: usize = 16;
/// Most bytes of maps that are kept: 2 GiB.
const MEMORY: usize = 2 << 30;
/// Places of every map whose channel vectors stand for it in CKA and MMD, as in FreqKD's analysis.
const PLACES: usize = 10;

/// Most images of one comparison: the pairs of their `2 PLACES MOST` vectors, which MMD keeps, then take 1 GB.
pub const MOST: usize = 400;

/// Both networks' features by frequency.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Spectrum {
    /// Teacher network.
    pub teacher: String,
    /// Student network.
    pub student: String,
    /// Whether the teacher's weights are random: the recipe names no file, not even one of its backbone.
    pub random_teacher: bool,
    /// The same of the student.
    pub random_student: bool,
    /// Images looked at.
    pub images: usize,
    /// Stages, shallow to deep.
    pub layers: Vec<SpectrumLayer>,
}

/// A pair of stages.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SpectrumLayer {
    /// Student tap.
    pub student: String,
    /// Teacher tap.
    pub teacher: String,
    /// Height and width at which they are compared.
    pub size: (usize, usize),
    /// The whole maps, then the bands.
    pub rows: Vec<SpectrumRow>,
}

/// The figures of one band. A band without frequencies at this size has no energy and no figures; those that compare
/// channels need equal ones.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SpectrumRow {
    /// `all`, `low`, `middle`, `high`.
    pub band: String,
    /// Share of the student's energy.
    pub student_energy: f64,
    /// Share of the teacher's energy.
    pub teacher_energy: f64,
    /// Mean squared difference.
    pub mse: Option<f64>,
    /// That over the teacher's mean square in the band.
    pub normalized_mse: Option<f64>,
    /// Mean over images of 1 - cosine.
    pub cosine: Option<f64>,
    /// Mean coherence over the band's frequencies.
    pub coherence: Option<f64>,
    /// Squared maximum mean discrepancy of channel vectors.
    pub mmd: Option<f64>,
    /// Linear centred kernel alignment of channel vectors.
    pub cka: Option<f64>,
}

impl Spectrum {
    /// Runs both networks over the first `images` test images; those of another size than the first are passed over.
    ///
    /// # Errors
    /// No images, more than 400 or more than memory holds the maps of; a recipe without teacher, data or weights that
    /// cannot be read, networks without stages.
    pub fn of(recipe: &Recipe, images: usize, device: &Device) -> Result<Self, TrainError> {
        if !(1..=MOST).contains(&images) {
            return Err(TrainError::Wiring(format!(
                "{images} images cannot be compared: take 1 to {MOST}, since MMD and CKA weigh every pair of their vectors"
            )));
        }
        let setup = Setup::open(recipe)?;
        let device = &device.clone().without_autodiff();
        let (teacher, student) = (setup.teacher(device)?, setup.exported(&setup.student(device)?));
        let Some(book) = setup.book()? else { return Err(TrainError::Wiring("the recipe has no [teacher]".into())) };
        let (students, teachers) = (book.stages(Side::Student), book.stages(Side::Teacher));
        let n = students.len().min(teachers.len());
        if n == 0 {
            let names = format!("`{}` and `{}`", student.name(), teacher.name());
            return Err(TrainError::Wiring(format!("{names} have no stages to compare")));
        }
        let [students, teachers] = [students, teachers].map(|all| all[all.len() - n..].to_vec());
        let mut maps = vec![[Vec::new(), Vec::new()]; n];
        let images = images.min(setup.splits.test.len());
        let batch_size = setup.eval_batch(&recipe.train).min(BATCH);
        let loader = setup.splits.eval_loader(&setup.splits.test, batch_size)?;
        let (mut count, mut first) = (0, None);
        for batch in loader.epoch(0, 0) {
            let batch = batch?;
            if batch.is_empty() {
                continue;
            }
            // Maps of several sizes cannot be put side by side.
            let sizes =
                (batch.student.shape[2..].to_vec(), batch.teacher.as_ref().map(|view| view.shape[2..].to_vec()));
            if *first.get_or_insert_with(|| sizes.clone()) != sizes {
                continue;
            }
            let taken = batch.len().min(images - count);
            count += taken;
            let seen = |network, role, taps| {
                let x = Inputs::images(batch.clone(), role, device).narrow(0, 0, taken);
                look(network, x, taps)
            };
            let mut student = seen(&student, Role::Student, &students)?;
            let mut teacher = seen(&teacher, Role::Teacher, &teachers)?;
            let mut bytes = 0;
            for (maps, (own, other)) in maps.iter_mut().zip(students.iter().zip(&teachers)) {
                let pair = [student.taps.remove(own), teacher.taps.remove(other)].map(|map| map.map(Feature::into_map));
                let [Some(s), Some(t)] = pair else { continue };
                // Only what is compared is kept.
                for (kept, map) in maps.iter_mut().zip(common(s, t)) {
                    bytes += map.shape().num_elements() * size_of::<f32>();
                    kept.push(map);
                }
            }
            fits(images, bytes / taken)?;
            // What follows need not be decoded.
            if count >= images {
                break;
            }
        }
        if count == 0 {
            return Err(TrainError::Wiring("there are no test images to look at".into()));
        }
        let layers = maps.into_iter().zip(students.iter().zip(&teachers)).map(|(sides, (student, teacher))| {
            let [s, t] = sides.map(|parts| Tensor::cat(parts, 0));
            let fail = |error: SpectralError| TrainError::Wiring(format!("`{student}` and `{teacher}`: {error}"));
            layer(student, teacher, s, t).map_err(fail)
        });
        let layers = layers.collect::<Result<_, _>>()?;
        Ok(Self {
            teacher: teacher.name().into(),
            student: student.name().into(),
            random_teacher: recipe.teacher.as_ref().is_some_and(|of| of.weights.is_none() && of.backbone.is_none()),
            random_student: recipe.student.weights.is_none() && recipe.student.backbone.is_none(),
            images: count,
            layers,
        })
    }

    /// The figures as a table.
    pub fn table(&self) -> Table {
        let random = |random: bool| if random { ", random weights" } else { "" };
        let title = format!(
            "{} (student{}) against {} (teacher{}) on {} images: energy in per cent, 0 is equal but for coherence and CKA",
            self.student,
            random(self.random_student),
            self.teacher,
            random(self.random_teacher),
            self.images
        );
        let header =
            ["stage", "size", "band", "student", "teacher", "MSE", "MSE/energy", "cosine", "coherence", "MMD", "CKA"];
        let mut table = Table::new(title, &header);
        let number = |value: Option<f64>| match value {
            Some(value) if value.is_finite() && value != 0.0 && value.abs() < 1e-3 => format!("{value:.1e}"),
            Some(value) if value.is_finite() => format!("{value:.3}"),
            _ => "-".to_string(),
        };
        let percent = |share: f64| if share.is_finite() { format!("{:.1}", 100.0 * share) } else { "-".into() };
        for layer in &self.layers {
            let stage = match layer.student == layer.teacher {
                true => layer.student.clone(),
                false => format!("{} {}", layer.student, layer.teacher),
            };
            for row in &layer.rows {
                let place = [stage.clone(), format!("{}x{}", layer.size.0, layer.size.1), row.band.clone()];
                let energy = [percent(row.student_energy), percent(row.teacher_energy)];
                let figures = [row.mse, row.normalized_mse, row.cosine, row.coherence, row.mmd, row.cka];
                table.row(place.into_iter().chain(energy).chain(figures.map(number)));
            }
        }
        table
    }
}

impl std::fmt::Display for Spectrum {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.table())
    }
}

fn look(network: &Network, x: Tensor<4>, taps: &[String]) -> Result<Features, TrainError> {
    network.forward(x, Mode::Eval, taps).map_err(|source| TrainError::model(network.name().to_string(), source))
}

/// Two maps at the smaller of their sizes, by averaging.
fn common(s: Tensor<4>, t: Tensor<4>) -> [Tensor<4>; 2] {
    let [_, _, h, w] = s.dims();
    let [_, _, height, width] = t.dims();
    let size = (h.min(height), w.min(width));
    [s, t].map(|x| adaptive_average_pool(x, size))
}

/// Whether the maps of so many images, each of so many bytes, can be kept.
fn fits(images: usize, bytes: usize) -> Result<(), TrainError> {
    let most = MEMORY / bytes.max(1);
    if images <= most {
        return Ok(());
    }
    let gib = |bytes: usize| bytes as f64 / f64::from(1 << 30);
    Err(TrainError::Wiring(match most {
        0 => format!("the maps of one image take {:.1} GiB, more than {:.0} GiB", gib(bytes), gib(MEMORY)),
        most => format!(
            "the maps of {images} images take {:.1} GiB, more than {:.0} GiB; --images {most} fits",
            gib(images * bytes),
            gib(MEMORY)
        ),
    }))
}

/// Compares one pair of taps, both of one size.
fn layer(student: &str, teacher: &str, s: Tensor<4>, t: Tensor<4>) -> Result<SpectrumLayer, SpectralError> {
    let [_, _, height, width] = s.dims();
    let size = (height, width);
    let shares = [analysis::energy_shares(s.clone())?, analysis::energy_shares(t.clone())?];
    let coherence = if s.dims() == t.dims() { Some(analysis::coherence(s.clone(), t.clone())?) } else { None };
    let mut rows = vec![row("all", [1.0; 2], None, s.clone(), t.clone())?];
    for (k, band) in RADIAL_BANDS.into_iter().enumerate() {
        let energy = [shares[0][k], shares[1][k]];
        let coherence = coherence.map(|all| all[k]);
        rows.push(match band.is_empty([size.0, size.1]) {
            true => empty_row(band.name()),
            false => row(band.name(), energy, coherence, band.part(s.clone())?, band.part(t.clone())?)?,
        });
    }
    Ok(SpectrumLayer { student: student.into(), teacher: teacher.into(), size, rows })
}

/// The row of a band without frequencies.
fn empty_row(band: &str) -> SpectrumRow {
    SpectrumRow {
        band: band.into(),
        student_energy: 0.0,
        teacher_energy: 0.0,
        mse: None,
        normalized_mse: None,
        cosine: None,
        coherence: None,
        mmd: None,
        cka: None,
    }
}

fn row(
    band: &str,
    [student_energy, teacher_energy]: [f64; 2],
    coherence: Option<f64>,
    s: Tensor<4>,
    t: Tensor<4>,
) -> Result<SpectrumRow, SpectralError> {
    let alike = s.dims() == t.dims();
    let divergence = if alike { Some(analysis::divergence(s.clone(), t.clone())?) } else { None };
    let [x, y] = [s, t].map(|x| Samples::of_maps(x, PLACES));
    Ok(SpectrumRow {
        band: band.into(),
        student_energy,
        teacher_energy,
        mse: divergence.map(|d| d.mse),
        normalized_mse: divergence.map(|d| d.normalized_mse),
        cosine: divergence.map(|d| d.cosine),
        coherence,
        mmd: if alike { Some(analysis::rbf_mmd(&x, &y)?) } else { None },
        cka: Some(analysis::linear_cka(&x, &y)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two networks on a few digits; `student` may be the teacher's.
    fn spectrum(student: &str) -> Spectrum {
        let text = format!(
            "[data]\ndataset = 'digits'\ntrain_limit = 20\ntest_limit = 20\n[teacher]\nnetwork = 'cifar-resnet14'\n\
             train = {{ epochs = 1 }}\n[student]\nnetwork = '{student}'\n[train]\nepochs = 1\n"
        );
        let recipe = Recipe::parse(&text, "spectrum", &[]).unwrap();
        Spectrum::of(&recipe, 12, &Device::flex()).unwrap()
    }

    #[test]
    fn every_stage_and_band_has_its_figures() {
        let found = spectrum("cifar-resnet8");
        assert_eq!((found.images, found.layers.len()), (12, 3));
        for layer in &found.layers {
            let bands: Vec<&str> = layer.rows.iter().map(|row| row.band.as_str()).collect();
            assert_eq!(bands, ["all", "low", "middle", "high"]);
            let shares: f64 = layer.rows[1..].iter().map(|row| row.student_energy).sum();
            assert!((shares - 1.0).abs() < 1e-9);
            for row in layer.rows.iter().filter(|row| row.teacher_energy > 0.0) {
                assert!(row.mse.unwrap() > 0.0 && row.cosine.unwrap() > 0.0 && row.mmd.unwrap() >= 0.0, "{row:?}");
                assert!((0.0..=1.0 + 1e-9).contains(&row.cka.unwrap()), "{row:?}");
            }
            // The bands are orthogonal: their squared differences add up.
            let parts: f64 = layer.rows[1..].iter().map(|row| row.mse.unwrap()).sum();
            assert!((parts / layer.rows[0].mse.unwrap() - 1.0).abs() < 1e-4);
        }
        let text = found.to_string();
        assert!(text.contains("stage3") && text.contains("CKA") && text.lines().count() == 2 + 3 * 4, "{text}");
    }

    #[test]
    fn other_channels_leave_what_can_be_compared() {
        let found = spectrum("cifar-resnet8x4");
        let row = &found.layers[0].rows[1];
        assert!(row.mse.is_none() && row.mmd.is_none() && row.cka.unwrap() > 0.0, "{row:?}");
        assert!(serde_json::to_string(&found).unwrap().contains("\"mse\":null"));
    }

    #[test]
    fn a_band_without_frequencies_has_no_figures() {
        let map = |k: f32| Tensor::<4>::from_data([[[[k]], [[1.0 - k]]], [[[k * k]], [[2.0]]]], &Device::flex());
        let found = layer("pooled", "pooled", map(0.3), map(0.7)).unwrap();
        let figures = |row: &SpectrumRow| [row.mse, row.normalized_mse, row.cosine, row.coherence, row.mmd, row.cka];
        assert!(figures(&found.rows[1])[..3].iter().all(|figure| figure.is_some_and(|figure| figure > 0.0)));
        for row in &found.rows[2..] {
            assert_eq!((row.student_energy, figures(row)), (0.0, [None; 6]), "{row:?}");
        }
    }

    #[test]
    fn images_are_bounded_and_random_weights_are_named() {
        let text = "[data]\ndataset = 'digits'\n[teacher]\nnetwork = 'cifar-resnet8'\ntrain = { epochs = 1 }\n\
                    [student]\nnetwork = 'cifar-resnet8'\n[train]\nepochs = 1\n";
        let recipe = Recipe::parse(text, "spectrum", &[]).unwrap();
        for images in [0, MOST + 1] {
            let error = Spectrum::of(&recipe, images, &Device::flex()).unwrap_err().to_string();
            assert!(error.contains("1 to 400"), "{error}");
        }
        let title = spectrum("cifar-resnet8").table().title;
        assert_eq!(title.matches("random weights").count(), 2, "{title}");
    }

    #[test]
    fn memory_is_bounded_and_what_fits_is_named() {
        let megabytes = 30 << 20;
        assert!(fits(68, megabytes).is_ok() && fits(1, 0).is_ok());
        let error = fits(400, megabytes).unwrap_err().to_string();
        assert!(error.contains("11.7 GiB") && error.contains("2 GiB") && error.contains("--images 68 fits"), "{error}");
        assert!(fits(1, 3 << 30).unwrap_err().to_string().contains("one image take 3.0 GiB"));
    }
}
