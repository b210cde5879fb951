//! The layouts of published data sets, made up small, and two real ones.

use super::*;
use crate::testing::real;
use ::image::Rgba;
use std::path::PathBuf;

#[test]
fn camvid_lists_choose_and_order() {
    let root = tempfile::tempdir().unwrap();
    for (folder, names) in [("train", ["x", "y", "z"]), ("val", ["u", "v", "w"])] {
        for name in names {
            save_image(&root.path().join(format!("{folder}/{name}.png")), (5, 3));
            save_mask(&root.path().join(format!("{folder}annot/{name}.png")), (5, 3), |x, y| label(x, y, 0, 12));
        }
    }
    let config = DataConfig::detect(root.path());
    assert_eq!(config.dataset, DatasetKind::Camvid);
    assert_eq!(config.open_split("train", 0).unwrap().dataset.len(), 3);
    let list = root.path().join("train.txt");
    std::fs::write(&list, "/SegNet/CamVid/train/z.png /SegNet/CamVid/trainannot/z.png;\nx.png\r\n\n").unwrap();
    let split = config.open_split("train", 0).unwrap();
    assert!(split.dataset.len() == 2 && split.dataset.describe(0).ends_with("z.png"));
    let batch = batches(&split.loader(2).unwrap()).remove(0);
    let written: Vec<u8> = (0..15).map(|i| label(i % 5, i / 5, 0, 12)).collect();
    assert!(masks(&batch).iter().all(|mask| mask.labels() == written));
    // 11 is void.
    save_mask(&root.path().join("trainannot/z.png"), (5, 3), |x, _| 10 + (x % 2) as u8);
    let batch = batches(&split.loader(2).unwrap()).remove(0);
    assert_eq!(masks(&batch)[0].labels()[..2], [10, 255]);
    // Dots of a name are no ending.
    for folder in ["train", "trainannot"] {
        let folder = root.path().join(folder);
        std::fs::copy(folder.join("y.png"), folder.join("y.1.png")).unwrap();
    }
    std::fs::write(&list, "y.1\n").unwrap();
    assert!(config.open_split("train", 0).unwrap().dataset.describe(0).ends_with("y.1.png"));
    std::fs::write(&list, "q.png").unwrap();
    let error = config.open_split("train", 0).err().unwrap().to_string();
    assert!(error.contains("train.txt") && error.contains("\"q\""), "{error}");
}

#[test]
fn cityscapes_ids_become_training_ids() {
    let root = tempfile::tempdir().unwrap();
    let at = |path: &str| root.path().join(path);
    // Row y holds the ids 9 y .. 9 y + 8, up to 35, and 255 stands for -1.
    let id = |x: u32, y: u32| if y == 4 { 255 } else { (9 * y + x) as u8 };
    for (split, city) in [("train", "bremen"), ("train", "aachen"), ("val", "ulm"), ("test", "bonn")] {
        let name = format!("{split}/{city}/{city}_000000_000019");
        save_image(&at(&format!("leftImg8bit/{name}_leftImg8bit.png")), (9, 5));
        save_mask(&at(&format!("gtFine/{name}_gtFine_labelIds.png")), (9, 5), id);
    }
    let config = DataConfig::detect(root.path());
    assert_eq!((config.dataset, config.split_names().len()), (DatasetKind::Cityscapes, 3));
    let splits = config.open(0).unwrap();
    assert!(splits.validation.is_none() && splits.test.describe(0).contains("ulm"));
    assert!(splits.train.describe(0).contains("aachen") && splits.classes.len() == 19);
    let batch = batches(&splits.eval_loader(&splits.test, 1).unwrap()).remove(0);
    // From the label table of cityscapesScripts: (id, training id).
    let table = [
        (7, 0),
        (8, 1),
        (11, 2),
        (12, 3),
        (13, 4),
        (17, 5),
        (19, 6),
        (20, 7),
        (21, 8),
        (22, 9),
        (23, 10),
        (24, 11),
        (25, 12),
        (26, 13),
        (27, 14),
        (28, 15),
        (31, 16),
        (32, 17),
        (33, 18),
    ];
    for (i, &found) in masks(&batch)[0].labels().iter().enumerate() {
        let id = id(i as u32 % 9, i as u32 / 9);
        let expected = table.iter().find(|(from, _)| *from == id).map_or(255, |(_, to)| *to);
        assert_eq!(found, expected, "id {id}");
    }
    let label = at("gtFine/train/bremen/bremen_000000_000019_gtFine_labelIds.png");
    std::fs::remove_file(&label).unwrap();
    let error = config.open(0).err().unwrap().to_string();
    assert!(error.contains("bremen_000000_000019_gtFine_labelIds.png") && error.contains("leftImg8bit"), "{error}");
    let error = config.open_split("tset", 0).err().unwrap().to_string();
    assert!(error.contains("leftImg8bit/tset"), "{error}");
}

/// Four channels that tell column, row, a constant, and a fourth band that is 0 in places.
fn four(x: u32, y: u32) -> [u8; 4] {
    [10 * x as u8, 10 * y as u8, 99, if (x + y).is_multiple_of(2) { 0 } else { 40 * x as u8 }]
}

#[test]
fn mfnet_keeps_the_thermal_band_and_mirrors_listed_flips() {
    let root = tempfile::tempdir().unwrap();
    let at = |path: &str| root.path().join(path);
    for name in ["00001D", "00002N", "00003D"] {
        save(&at(&format!("images/{name}.png")), ImageBuffer::from_fn(6, 4, |x, y| Rgba(four(x, y))));
        save_mask(&at(&format!("labels/{name}.png")), (6, 4), |x, _| x as u8);
    }
    std::fs::write(at("train.txt"), "00002N\n00001D_flip\n00001D").unwrap();
    std::fs::write(at("val.txt"), "00003D").unwrap();
    std::fs::write(at("test.txt"), "00003D\n").unwrap();
    std::fs::write(at("test_day.txt"), "00003D").unwrap();
    let config = DataConfig { normalize: Some(Normalize::named("none")), ..DataConfig::detect(root.path()) };
    assert_eq!(
        (config.dataset, config.split_names()),
        (DatasetKind::Mfnet, ["train", "val", "test", "test_day"].map(String::from).to_vec())
    );
    let splits = config.open(0).unwrap();
    assert_eq!((splits.channels, splits.train.len(), splits.classes.len()), (4, 3, 9));
    assert!(splits.validation.is_some() && splits.train.describe(1).contains("mirrored"));
    assert_eq!(config.open_split("test_day", 0).unwrap().dataset.len(), 1);
    let batch = batches(&splits.eval_loader(&splits.train, 3).unwrap()).remove(0);
    for (n, mask) in masks(&batch).iter().enumerate() {
        for i in 0..24 {
            let x = if n == 1 { 5 - i % 6 } else { i % 6 };
            assert_eq!(mask.labels()[i], x as u8);
            for (c, value) in four(x as u32, (i / 6) as u32).into_iter().enumerate() {
                assert!((batch.student.data[(n * 4 + c) * 24 + i] * 255.0 - f32::from(value)).abs() < 1e-4);
            }
        }
    }
    // Resampling must not weigh colours by the fourth band: red is linear in x, so its middle column stays in between.
    let half = DataConfig { resize: Some(ResizeConfig::to(Size { height: 2, width: 3 })), ..config.clone() };
    let small = batches(&half.open_split("test", 0).unwrap().loader(1).unwrap()).remove(0);
    assert!((small.student.data[1] * 255.0 - 25.0).abs() < 1.0, "{}", small.student.data[1] * 255.0);
    let three = DataConfig { channels: Some(3), ..config.clone() }.open_split("test", 0).unwrap();
    assert_eq!(batches(&three.loader(1).unwrap())[0].student.shape, [1, 3, 4, 6]);
    std::fs::write(at("val.txt"), "00009N_flip").unwrap();
    let error = config.open_split("val", 0).err().unwrap().to_string();
    assert!(error.contains("val.txt") && error.contains("00009N"), "{error}");
    let error = config.open_split("vla", 0).err().unwrap().to_string();
    assert!(error.contains("vla.txt") && error.contains("test_day"), "{error}");
}

#[test]
fn msrs_joins_colour_and_infrared() {
    let root = tempfile::tempdir().unwrap();
    let at = |path: String| root.path().join(path);
    for (split, name) in [("train", "00001D"), ("test", "00002D"), ("test", "00003N")] {
        save_image(&at(format!("{split}/vi/{name}.png")), (6, 4));
        save_mask(&at(format!("{split}/ir/{name}.png")), (6, 4), |x, y| (x * 30 + y) as u8);
        save_mask(&at(format!("{split}/Segmentation_labels/{name}.png")), (6, 4), |x, _| x as u8);
    }
    let config = DataConfig { normalize: Some(Normalize::named("none")), ..DataConfig::detect(root.path()) };
    assert_eq!((config.dataset, config.split_names().len()), (DatasetKind::Msrs, 4));
    let splits = config.open(0).unwrap();
    assert_eq!((splits.channels, splits.test.len(), splits.validation.is_none()), (4, 2, true));
    let night = config.open_split("test_night", 0).unwrap();
    assert!(night.dataset.len() == 1 && night.dataset.describe(0).contains("00003N"));
    let batch = batches(&night.loader(1).unwrap()).remove(0);
    let plane = |c: usize| &batch.student.data[c * 24..][..24];
    assert!((0..24).all(|i| (plane(3)[i] * 255.0 - (i % 6 * 30 + i / 6) as f32).abs() < 1e-4));
    assert!((0..24).all(|i| (plane(1)[i] * 255.0 - (i / 6) as f32).abs() < 1e-4));
    // Infrared of three equal channels has the same values and still 8 bits.
    let ir = ImageBuffer::from_fn(6, 4, |x, y| Rgb([(x * 30 + y) as u8; 3]));
    save(&at("test/ir/00003N.png".into()), ir);
    let again = config.open_split("test_night", 0).unwrap();
    assert_eq!(again.dataset.load(0).unwrap().student, night.dataset.load(0).unwrap().student);
    assert_eq!(again.dataset.load(0).unwrap().student.samples().bits(), 8);
    assert_eq!(batches(&again.loader(1).unwrap()), [batch]);
    // Infrared of 16 bits beside colour of 8 keeps its depth.
    save(&at("test/ir/00003N.png".into()), ImageBuffer::from_fn(6, 4, |x, y| Luma([(x * 9000 + y) as u16])));
    let deep = again.dataset.load(0).unwrap().student;
    assert!((0..24).all(|i| (deep.samples().unit(4 * i + 3) * 65535.0 - (i % 6 * 9000 + i / 6) as f32).abs() < 0.01));
    // Another size is a fault of the data set, which no `skip_corrupt` passes over.
    save_mask(&at("test/ir/00003N.png".into()), (5, 4), |_, _| 0);
    let error = again.dataset.load(0).err().unwrap();
    assert!(!error.is_corrupt_sample(), "{error}");
    assert!(error.to_string().contains("ir/00003N.png") && error.to_string().contains("5x4"), "{error}");
    std::fs::remove_file(at("test/ir/00003N.png".into())).unwrap();
    let error = config.open_split("test", 0).err().unwrap().to_string();
    assert!(error.contains("vi/00003N.png") && error.contains("ir"), "{error}");
}

#[test]
fn camvid_is_the_published_data() {
    let Some(path) = real("camvid") else { return };
    let config = DataConfig {
        resize: Some(ResizeConfig::to(Size { height: 180, width: 240 })),
        scale: Some([0.5, 2.0]),
        max_class_share: Some(0.75),
        flip: true,
        photometric: Some(Photometric::Distortion),
        train_limit: Some(12),
        ..DataConfig::detect(&path)
    };
    assert_eq!((config.dataset, config.split_names()), (DatasetKind::Camvid, vec!["train".into(), "val".to_string()]));
    assert_eq!(config.open_split("train", 0).unwrap().dataset.len(), 367);
    let splits = config.open(5).unwrap();
    assert_eq!((splits.train.len(), splits.test.len(), splits.classes[8].as_str()), (12, 101, "car"));
    let epoch = |workers| {
        let splits = DataConfig { workers, ..config.clone() }.open(5).unwrap();
        batches(&splits.train_loader(4, true).unwrap())
    };
    let one = epoch(1);
    assert_eq!((one.len(), one[0].student.shape), (3, [4, 3, 180, 240]));
    assert!(one.iter().flat_map(masks).all(|m| (m.width(), m.height()) == (240, 180)));
    assert!(one == epoch(2));
    let batch = batches(&splits.eval_loader(&splits.test, 101).unwrap()).remove(0);
    assert_eq!(batch.student.shape, [101, 3, 180, 240]);
    // Pixels of each label in valannot, counted with Pillow and numpy; the last is void.
    let counted = [1601620, 4531180, 98499, 5053176, 1521751, 2851125, 155724, 537197, 304716, 113531, 387010, 297271];
    let mut found = [0; 256];
    for mask in masks(&batch) {
        assert_eq!((mask.width(), mask.height()), (480, 360));
        found.iter_mut().zip(mask.counts()).for_each(|(sum, n)| *sum += n);
    }
    assert_eq!((found[..11].to_vec(), found[255]), (counted[..11].to_vec(), counted[11]));
    assert_eq!(found.iter().sum::<usize>(), 101 * 480 * 360);
}

/// Links every file of `from` whose stem `wanted` takes into `to`.
#[cfg(unix)]
fn link(from: &Path, to: &Path, wanted: impl Fn(&str) -> bool) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let file: PathBuf = entry.unwrap().path();
        if wanted(&file.file_stem().unwrap().to_string_lossy()) {
            std::os::unix::fs::symlink(&file, to.join(file.file_name().unwrap())).unwrap();
        }
    }
}

#[cfg(unix)]
#[test]
fn coco_with_images_of_many_sizes() {
    let Some(path) = real("coco-256") else { return };
    let root = tempfile::tempdir().unwrap();
    let (images, labels) = (path.join("images/train2017"), path.join("semantic_segmentation/masks/train2017"));
    link(&images, &root.path().join("images/train"), |_| true);
    link(&labels, &root.path().join("labels/train"), |_| true);
    // 0 is unlabelled; thing and stuff classes go up to 200.
    let config = DataConfig {
        classes: Some((0..200).map(|i| format!("class {}", i + 1)).collect()),
        label_map: Some((0..=200_u8).map(|v| (v.to_string(), v.wrapping_sub(1))).collect()),
        ..of(DatasetKind::Masks, root.path())
    };
    let error = config.open_split("train", 0).err().unwrap().to_string();
    assert!(error.contains("does not exist") && error.contains("images/train"), "{error}");
    std::fs::remove_dir_all(root.path().join("images")).unwrap();
    link(&images, &root.path().join("images/train"), |stem| labels.join(format!("{stem}.png")).is_file());
    let split = config.open_split("train", 0).unwrap();
    assert_eq!(split.dataset.len(), 100);
    let summary = summarize(split.dataset.as_ref(), 3);
    // Counted with Pillow and numpy.
    let pixels = summary.pixels.unwrap();
    assert_eq!((pixels.ignored, pixels.total(), summary.corrupt.len()), (1_243_063, 12_554_880, 0));
    assert!(summary.sizes.len() > 5);
    let found = batches(&split.loader(8).unwrap());
    assert!(found.len() > 13 && found.iter().flat_map(|b| b.indices.clone()).eq(0..100));
    for batch in &found {
        let [_, _, h, w] = batch.student.shape;
        assert!(masks(batch).iter().all(|m| (m.height(), m.width()) == (h, w)));
    }
}

/// Speed of training batches; run with `cargo test --release -p subband-data -- --ignored --nocapture`.
#[test]
#[ignore = "measures time"]
fn camvid_speed() {
    let Some(path) = real("camvid") else { return };
    let config = DataConfig {
        scale: Some([0.5, 2.0]),
        crop: Some(Size { height: 360, width: 480 }),
        max_class_share: Some(0.75),
        flip: true,
        workers: 1,
        train_limit: Some(100),
        ..of(DatasetKind::Camvid, &path)
    };
    for photometric in [None, Some(Photometric::Distortion)] {
        let splits = DataConfig { photometric, ..config.clone() }.open(1).unwrap();
        let loader = splits.train_loader(4, true).unwrap();
        for epoch in 0..2 {
            let start = std::time::Instant::now();
            let images: usize = loader.epoch(epoch, 0).map(|b| b.unwrap().len()).sum();
            let speed = images as f64 / start.elapsed().as_secs_f64();
            println!("camvid at 360x480, {photometric:?}, epoch {epoch}: {speed:.0} images/s");
        }
    }
}
