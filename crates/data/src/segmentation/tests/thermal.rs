//! RGB-thermal images: which bands each network is shown, and mirrored images that keep to their scene.

use super::*;
use crate::config::Bands;
use ::image::Rgba;

/// MFNet's layout: red is the column, green the row, blue 99, thermal 200 less twenty times the column.
fn mfnet(lists: &[(&str, &str)]) -> (tempfile::TempDir, DataConfig) {
    let root = tempfile::tempdir().unwrap();
    for (list, names) in lists {
        std::fs::write(root.path().join(format!("{list}.txt")), names).unwrap();
        for name in names.lines().filter(|name| !name.ends_with("_flip")) {
            let pixel = |x: u32, y: u32| Rgba([x as u8, y as u8, 99, 200 - 20 * x as u8]);
            save(&root.path().join(format!("images/{name}.png")), ImageBuffer::from_fn(6, 4, pixel));
            save_mask(&root.path().join(format!("labels/{name}.png")), (6, 4), |x, _| x as u8);
        }
    }
    let config = DataConfig { normalize: Some(Normalize::named("none")), ..of(DatasetKind::Mfnet, root.path()) };
    (root, config)
}

fn view(bands: Bands, channels: Option<usize>) -> Option<ViewConfig> {
    Some(ViewConfig { bands: Some(bands), channels, ..ViewConfig::default() })
}

/// Asserts the first image's values (in levels) of a view.
fn shows(view: &crate::View, channels: usize, value: impl Fn(usize, f32, f32) -> f32) {
    assert_eq!(view.shape[1..], [channels, 4, 6]);
    for (i, found) in view.data[..channels * 24].iter().enumerate() {
        let (c, y, x) = (i / 24, i % 24 / 6, i % 6);
        assert!((found * 255.0 - value(c, x as f32, y as f32)).abs() < 1e-3, "channel {c}, row {y}, column {x}");
    }
}

#[test]
fn a_teacher_sees_colours_and_a_student_the_thermal_band() {
    let (_root, base) = mfnet(&[("train", "a\nb"), ("val", "c")]);
    let colour = |c: usize, x: f32, y: f32| [x, y, 99.0][c];
    let thermal = |_: usize, x: f32, _: f32| 200.0 - 20.0 * x;
    let config = DataConfig { teacher: view(Bands::Rgb, None), student: view(Bands::Thermal, None), ..base.clone() };
    let splits = config.open(0).unwrap();
    assert_eq!((splits.channels, splits.train_pipeline.teacher_shape()), (1, [3, 4, 6]));
    for loader in [splits.train_loader(2, false).unwrap(), splits.eval_loader(&splits.test, 1).unwrap()] {
        let batch = batches(&loader).remove(0);
        shows(&batch.student, 1, thermal);
        shows(batch.teacher.as_ref().unwrap(), 3, colour);
    }
    // Resampled too: the band alone, linear in the column.
    let half = DataConfig { resize: Some(ResizeConfig::to(Size { height: 4, width: 3 })), ..config };
    let small = batches(&half.open_split("val", 0).unwrap().loader(1).unwrap()).remove(0);
    assert!((small.student.data[1] * 255.0 - 150.0).abs() < 1.0, "{}", small.student.data[1] * 255.0);
    // The thermal band three times, for a network of colour images; both views from [data].
    let config = DataConfig { bands: Some(Bands::Thermal), channels: Some(3), ..base.clone() };
    let batch = batches(&config.open_split("val", 0).unwrap().loader(1).unwrap()).remove(0);
    shows(&batch.student, 3, thermal);
    assert!(batch.teacher.is_none());
    // Luma of the colours, and a view of its own beside common bands.
    let config = DataConfig { bands: Some(Bands::All), student: view(Bands::Rgb, Some(1)), ..base };
    let splits = config.open(0).unwrap();
    let batch = batches(&splits.eval_loader(&splits.test, 1).unwrap()).remove(0);
    shows(&batch.student, 1, |_, x, y| 0.299 * x + 0.587 * y + 0.114 * 99.0);
    shows(batch.teacher.as_ref().unwrap(), 4, |c, x, y| if c < 3 { colour(c, x, y) } else { thermal(c, x, y) });
}

#[test]
fn images_of_no_data_set_may_be_the_thermal_band_alone() {
    let config = DataConfig { bands: Some(Bands::Thermal), ..DataConfig::new(DatasetKind::Msrs) };
    let pipeline = DataConfig { normalize: Some(Normalize::named("none")), ..config }.unlabelled(None).unwrap();
    let image = |channels: usize| {
        let values = (0..2 * channels as u8).collect();
        crate::Image::new("x", 2, 1, channels, crate::Samples::U8(values)).unwrap()
    };
    let seen = |channels: usize| pipeline.show("x.png", &image(channels), false).map(|view| view.data);
    assert_eq!((seen(1).unwrap(), seen(4).unwrap()), (vec![0.0, 1.0 / 255.0], vec![3.0 / 255.0, 7.0 / 255.0]));
    let error = seen(3).unwrap_err().to_string();
    assert!(error.contains("x.png") && error.contains("thermal"), "{error}");
}

#[test]
fn an_image_and_its_mirror_image_stay_in_one_part() {
    let names: Vec<String> = (0..10).flat_map(|i| [format!("{i}"), format!("{i}_flip")]).collect();
    let (root, config) = mfnet(&[("train", &names.join("\n")), ("test", "0")]);
    // One mirrored image has a file of its own.
    for folder in ["images", "labels"] {
        let [from, to] = ["3.png", "3_flip.png"].map(|name| root.path().join(folder).join(name));
        std::fs::copy(from, to).unwrap();
    }
    for seed in 0..6 {
        let splits = DataConfig { validation: Some(0.3), ..config.clone() }.open(seed).unwrap();
        let scenes = |data: &Arc<dyn Dataset>| (0..data.len()).map(|i| data.scene(i)).collect::<Vec<_>>();
        let (train, validation) = (scenes(&splits.train), scenes(&splits.validation.unwrap()));
        assert_eq!((train.len(), validation.len()), (14, 6));
        assert!(validation.iter().all(|scene| !train.contains(scene)), "{train:?} {validation:?}");
    }
}
