use super::*;
use crate::config::{Photometric, PhotometricConfig, ResizeConfig, ResizeMode, Size};
use crate::testing::real;
use crate::{Batch, Samples, summarize};
use std::path::PathBuf;

fn folder(path: PathBuf) -> DataConfig {
    DataConfig { path: Some(path), ..DataConfig::new(DatasetKind::Folder) }
}

fn batches(loader: &Loader, epoch: usize) -> Vec<Batch> {
    loader.epoch(epoch, 0).map(|b| b.unwrap()).collect()
}

fn labels(dataset: &Arc<dyn Dataset>) -> Vec<usize> {
    let mut counts = vec![0; dataset.classes().len()];
    (0..dataset.len()).for_each(|i| counts[dataset.label(i).unwrap()] += 1);
    counts
}

#[test]
fn digits_with_a_limit_and_a_validation_split() {
    let config = DataConfig {
        train_limit: Some(1000),
        validation: Some(0.1),
        test_limit: Some(50),
        ..DataConfig::new(DatasetKind::Digits)
    };
    let splits = config.open(3).unwrap();
    assert_eq!((splits.channels, splits.size, splits.classes.len()), (1, [28, 28], 10));
    let validation = splits.validation.clone().unwrap();
    assert_eq!((labels(&splits.train), labels(&validation)), (vec![90; 10], vec![10; 10]));
    assert_eq!(labels(&splits.test), [5; 10]);
    let names = |d: &Arc<dyn Dataset>| (0..d.len()).map(|i| d.describe(i)).collect::<Vec<_>>();
    assert!(names(&validation).iter().all(|n| !names(&splits.train).contains(n)));
    assert_eq!(names(&config.open(3).unwrap().train), names(&splits.train));
    assert_ne!(names(&config.open(4).unwrap().train), names(&splits.train));
    // The named normalisation fits: training values have mean 0 and deviation 1.
    let full = DataConfig::new(DatasetKind::Digits).open(1).unwrap();
    let data: Vec<f32> =
        batches(&full.eval_loader(&full.train, 500).unwrap(), 0).into_iter().flat_map(|b| b.student.data).collect();
    let mean = data.iter().map(|&x| f64::from(x)).sum::<f64>() / data.len() as f64;
    let var = data.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / data.len() as f64;
    assert!(mean.abs() < 1e-3 && (var - 1.0).abs() < 1e-3, "{mean} {var}");
}

#[test]
fn evaluation_reads_images_once_where_only_colours_in_training_differ() {
    let jitter = PhotometricConfig { brightness: 0.4, contrast: 0.0, saturation: 0.0 };
    let student = ViewConfig { photometric: Some(Photometric::Factors(jitter)), ..ViewConfig::default() };
    let config = DataConfig {
        student: Some(student),
        train_limit: Some(20),
        test_limit: Some(10),
        ..DataConfig::new(DatasetKind::Digits)
    };
    let splits = config.open(1).unwrap();
    assert!(batches(&splits.train_loader(20, false).unwrap(), 0)[0].teacher.is_some());
    assert!(batches(&splits.eval_loader(&splits.test, 10).unwrap(), 0)[0].teacher.is_none());
}

#[test]
fn the_size_of_crops_depends_on_no_choice_of_images() {
    let root = tempfile::tempdir().unwrap();
    std::fs::write(root.path().join("classes.txt"), "a\nb").unwrap();
    for split in ["train", "val"] {
        for (i, (w, h)) in [(9, 7), (5, 4), (4, 5), (6, 6)].into_iter().enumerate() {
            for folder in ["images", "labels"] {
                let path = root.path().join(split).join(folder);
                std::fs::create_dir_all(&path).unwrap();
                ::image::GrayImage::from_pixel(w, h, ::image::Luma([0])).save(path.join(format!("{i}.png"))).unwrap();
            }
        }
    }
    let config = DataConfig {
        scale: Some([0.5, 2.0]),
        train_limit: Some(2),
        test_limit: Some(1),
        path: Some(root.path().into()),
        ..DataConfig::new(DatasetKind::Masks)
    };
    for seed in 0..8 {
        assert_eq!(config.open(seed).unwrap().size, [7, 9]);
        assert_eq!(config.open_split("val", seed).unwrap().size, [7, 9]);
    }
    // A wrong list of classes is no matter of sizes: the loader stops at the first label file.
    for (i, (w, h)) in [(9, 7), (5, 4), (4, 5), (6, 6)].into_iter().enumerate() {
        let wrong = ::image::GrayImage::from_pixel(w, h, ::image::Luma([7]));
        wrong.save(root.path().join(format!("train/labels/{i}.png"))).unwrap();
    }
    let splits = config.open(0).unwrap();
    assert_eq!(splits.size, [7, 9]);
    let error = splits.train_loader(2, false).unwrap().epoch(0, 0).next().unwrap().unwrap_err().to_string();
    assert!(error.contains("label 7") && error.contains(".png"), "{error}");
}

#[test]
fn the_teacher_view_appears_when_it_differs_and_shares_the_geometry() {
    let base =
        DataConfig { crop_padding: 4, flip: true, train_limit: Some(40), ..DataConfig::new(DatasetKind::Digits) };
    let first = |config: &DataConfig| batches(&config.open(1).unwrap().train_loader(40, false).unwrap(), 2).remove(0);
    assert!(first(&base).teacher.is_none());
    let half = ViewConfig { normalize: Some(Normalize::named("half")), channels: Some(3), ..ViewConfig::default() };
    let batch = first(&DataConfig { teacher: Some(half), ..base.clone() });
    let teacher = batch.teacher.unwrap();
    assert_eq!((teacher.shape, batch.student.shape), ([40, 3, 28, 28], [40, 1, 28, 28]));
    for n in 0..40 {
        for p in 0..784 {
            let (s, t) = (batch.student.data[n * 784 + p], teacher.data[n * 3 * 784 + 784 + p]);
            assert!((s * 0.3086 + 0.1313 - (t * 0.5 + 0.5)).abs() < 1e-5);
        }
    }
    let big = ViewConfig { size: Some(Size::square(56)), ..ViewConfig::default() };
    assert_eq!(first(&DataConfig { teacher: Some(big), ..base.clone() }).teacher.unwrap().shape, [40, 1, 56, 56]);
    // Colours of both views together are one draw; a view's own are another.
    let colours = Photometric::Factors(PhotometricConfig { brightness: 0.5, contrast: 0.0, saturation: 0.0 });
    let common = DataConfig { photometric: Some(colours), ..base };
    assert!(first(&common).teacher.is_none());
    let own = ViewConfig { photometric: Some(colours), ..ViewConfig::default() };
    let batch = first(&DataConfig { teacher: Some(own), ..common.clone() });
    assert_ne!(batch.teacher.unwrap().data, batch.student.data);
    let evaluated = common.open(1).unwrap();
    assert!(batches(&evaluated.eval_loader(&evaluated.test, 500).unwrap(), 0)[0].teacher.is_none());
}

#[test]
fn cifar10_as_jpeg_is_the_published_data() {
    let Some(path) = real("cifar10-jpeg") else { return };
    let split = folder(path.clone()).open_split("val", 0).unwrap();
    assert_eq!((split.dataset.len(), split.channels, split.size), (5000, 3, [32, 32]));
    assert_eq!(split.classes[..3], ["airplane", "automobile", "bird"]);
    let summary = summarize(split.dataset.as_ref(), 3);
    assert!(summary.corrupt.is_empty() && summary.sizes == [((32, 32), 5000)]);
    // Published for the whole pack: mean .4913/.4821/.4465; the deviation of all pixels of CIFAR-10 is .247/.243/.262.
    for (found, published) in summary.mean.iter().zip([0.4913, 0.4821, 0.4465]) {
        assert!((found - published).abs() < 0.01, "{:?}", summary.mean);
    }
    for (found, published) in summary.std.iter().zip([0.247, 0.243, 0.262]) {
        assert!((found - published).abs() < 0.01, "{:?}", summary.std);
    }

    let config =
        DataConfig { train_limit: Some(500), validation: Some(0.2), crop_padding: 4, flip: true, ..folder(path) };
    let epochs = |workers| {
        let splits = DataConfig { workers, ..config.clone() }.open(7).unwrap();
        assert_eq!((labels(&splits.train), splits.test.len()), (vec![40; 10], 5000));
        let loader = splits.train_loader(64, true).unwrap();
        // The second epoch comes from the cache.
        [batches(&loader, 0), batches(&loader, 1)]
    };
    let one = epochs(1);
    assert_eq!((one[0].len(), &one[0][0].student.shape), (6, &[64, 3, 32, 32]));
    assert!(one == epochs(2) && one == epochs(4));
    let uncached = DataConfig { cache_mb: 0, ..config }.open(7).unwrap();
    assert!(one[1] == batches(&uncached.train_loader(64, true).unwrap(), 1));
}

#[test]
fn tiny_imagenet_has_grey_files() {
    let Some(path) = real("tiny-imagenet-20") else { return };
    let config = folder(path);
    let split = config.open_split("val", 0).unwrap();
    let summary = summarize(split.dataset.as_ref(), 3);
    assert_eq!((summary.total, summary.classes.len(), summary.corrupt.len()), (1000, 20, 0));
    assert!(summary.channels[&1] > 5 && summary.channels[&1] + summary.channels[&3] == 1000);
    let grey = (0..1000).find(|&i| split.dataset.load(i).unwrap().student.channels() == 1).unwrap();
    let loader = split.loader(50).unwrap();
    let batch = loader.epoch(0, grey / 50).next().unwrap().unwrap();
    let area = 64 * 64;
    let planes = &batch.student.data[grey % 50 * 3 * area..][..3 * area];
    let unit = |c: usize, p: usize| planes[c * area + p] * [0.229, 0.224, 0.225][c] + [0.485, 0.456, 0.406][c];
    assert!((0..area).all(|p| (unit(0, p) - unit(2, p)).abs() < 1e-5));
    let random = ResizeConfig { mode: ResizeMode::Random, ..ResizeConfig::square(33) };
    let splits = DataConfig { resize: Some(random), flip: true, train_limit: Some(60), ..config }.open(1).unwrap();
    let batch = batches(&splits.train_loader(60, true).unwrap(), 0).remove(0);
    assert_eq!(batch.student.shape, [60, 3, 33, 33]);
    assert!(batch.student.data.iter().all(|v| (-2.2..2.7).contains(v)));
    assert_eq!(splits.test.len(), 1000);
}

/// A folder data set of PNGs made by `pixel(class, x, y)`, two classes, `sizes` in each split.
fn write_folder(sizes: &[(u32, u32)]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for split in ["train", "val"] {
        for (class, name) in ["cat", "dog"].iter().enumerate() {
            let folder = root.path().join(split).join(name);
            std::fs::create_dir_all(&folder).unwrap();
            for (i, &(w, h)) in sizes.iter().enumerate() {
                let pixel = |x: u32, y: u32| ::image::Luma([(1000 * x + 3000 * y + 20000 * class as u32) as u16]);
                ::image::ImageBuffer::from_fn(w, h, pixel).save(folder.join(format!("{i}.png"))).unwrap();
            }
        }
    }
    root
}

#[test]
fn sixteen_bit_grey_pngs_keep_their_depth_to_the_network() {
    let root = write_folder(&[(3, 5)]);
    let config =
        DataConfig { channels: Some(1), normalize: Some(Normalize::named("none")), ..folder(root.path().into()) };
    let splits = config.open(0).unwrap();
    let batch = batches(&splits.eval_loader(&splits.test, 8).unwrap(), 0).remove(0);
    assert_eq!((batch.student.shape, batch.targets.classes()), ([2, 1, 5, 3], &[0, 1][..]));
    for (i, value) in batch.student.data.iter().enumerate() {
        let (class, y, x) = (i / 15, i % 15 / 3, i % 3);
        let expected = (1000 * x + 3000 * y + 20000 * class) as f32 / 65535.0;
        assert!((value - expected).abs() < 1e-7);
    }
    assert!(matches!(splits.test.load(0).unwrap().student.samples(), Samples::U16(_)));
}

#[test]
fn sizes_must_agree_unless_resized_and_one_pixel_works() {
    let root = write_folder(&[(4, 4), (6, 3), (1, 1)]);
    let splits = folder(root.path().into()).open(0).unwrap();
    let loader = splits.eval_loader(&splits.test, 8).unwrap();
    let error = loader.epoch(0, 0).next().unwrap().unwrap_err().to_string();
    assert!(error.contains("1.png") && error.contains("6x3") && error.contains("resize"), "{error}");
    for mode in [ResizeMode::Squash, ResizeMode::Center, ResizeMode::Random] {
        let resize = Some(ResizeConfig { mode, ..ResizeConfig::square(7) });
        let splits = DataConfig { resize, flip: true, ..folder(root.path().into()) }.open(0).unwrap();
        for loader in [splits.train_loader(4, false).unwrap(), splits.eval_loader(&splits.test, 4).unwrap()] {
            let all = batches(&loader, 0);
            assert_eq!((all[0].student.shape, all[1].student.shape), ([4, 3, 7, 7], [2, 3, 7, 7]));
        }
    }
    let single = write_folder(&[(1, 1)]);
    let splits = DataConfig { crop_padding: 1, ..folder(single.path().into()) }.open(0).unwrap();
    assert_eq!(batches(&splits.train_loader(1, false).unwrap(), 0)[0].student.shape, [1, 3, 1, 1]);
}

#[test]
fn a_text_file_named_jpg_stops_or_is_skipped() {
    let root = write_folder(&[(4, 4), (4, 4)]);
    std::fs::write(root.path().join("train/cat/0-first.jpg"), "hello").unwrap();
    let config = folder(root.path().into());
    let error = config.open(0).err().unwrap().to_string();
    assert!(error.contains("0-first.jpg") && error.contains("text"), "{error}");
    let splits = DataConfig { skip_corrupt: true, ..config }.open(0).unwrap();
    let loader = splits.train_loader(2, false).unwrap();
    // Its companion in the batch is left out too: batch normalisation cannot learn from one image.
    let sizes = |batches: Vec<crate::Batch>| batches.iter().map(|b| (b.step, b.len())).collect::<Vec<_>>();
    for epoch in 0..4 {
        let found = sizes(batches(&loader, epoch));
        let whole = found.iter().filter(|(_, size)| *size == 2).count();
        let rest = found.iter().filter(|(step, size)| *size == 1 && *step == 2).count();
        assert!((whole, rest) == (1, 1) || (whole, rest) == (2, 0), "{found:?}");
    }
    let skipped = loader.skipped();
    assert!(skipped.len() == 1 && skipped[0].error.contains("0-first.jpg"));
    // Batches of one are what was asked for, and evaluation takes what there is.
    let singles = splits.train_loader(1, false).unwrap();
    assert_eq!(batches(&singles, 0).len(), 4);
    let evaluation = splits.eval_loader(&splits.train, 2).unwrap();
    assert_eq!(batches(&evaluation, 0).iter().map(|b| b.len()).sum::<usize>(), 4);
}

#[test]
fn folders_choose_their_splits_as_stated() {
    let root = write_folder(&[(4, 4); 5]);
    let config = folder(root.path().into());
    let splits = config.open(0).unwrap();
    assert!(splits.validation.is_none() && splits.test.describe(0).contains("val"));
    let copy = |from: &str, to: &str| {
        let path = root.path().join(to).join("cat");
        std::fs::create_dir_all(&path).unwrap();
        std::fs::copy(root.path().join(from).join("cat/0.png"), path.join("0.png")).unwrap();
    };
    copy("val", "test");
    let splits = config.open(0).unwrap();
    assert!(splits.validation.unwrap().describe(0).contains("val"));
    assert_eq!((splits.test.len(), splits.classes.len()), (1, 2));
    let splits = DataConfig { validation: Some(0.2), ..config.clone() }.open(0).unwrap();
    assert!(splits.validation.unwrap().describe(0).contains("train"));
    assert_eq!(config.open_split("test", 0).unwrap().classes, ["cat", "dog"]);
    let none = config.open_split("tset", 0).err().unwrap().to_string();
    assert!(none.contains("tset") && none.contains("val"), "{none}");
    assert!(folder(root.path().join("nowhere")).open(0).err().unwrap().to_string().contains("nowhere"));
    assert!(matches!(DataConfig::detect(root.path()).dataset, DatasetKind::Folder));
    let error = DataConfig::new(DatasetKind::Digits).open_split("vla", 0).err().unwrap().to_string();
    assert!(error.contains("vla"), "{error}");
}

/// Speed of decoding; run with `cargo test --release -p subband-data -- --ignored --nocapture`.
#[test]
#[ignore = "measures time"]
fn decoding_speed() {
    for (name, limit) in [("cifar10-jpeg", 20_000), ("tiny-imagenet-20", 9000)] {
        let Some(path) = real(name) else { return };
        for workers in [1, 2] {
            let config =
                DataConfig { crop_padding: 4, flip: true, train_limit: Some(limit), workers, ..folder(path.clone()) };
            let splits = config.open(1).unwrap();
            let loader = splits.train_loader(128, false).unwrap();
            for epoch in 0..2 {
                let start = std::time::Instant::now();
                let images: usize = batches(&loader, epoch).iter().map(|b| b.len()).sum();
                println!(
                    "{name}: {workers} workers, epoch {epoch}: {:.0} images/s",
                    images as f64 / start.elapsed().as_secs_f64()
                );
            }
        }
    }
}
