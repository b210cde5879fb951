//! Plain folders of masks: loading, batches, faults. The layouts of published sets are in `layouts`.

mod layouts;
mod thermal;

use super::*;
use crate::config::{Photometric, ResizeConfig, Size, ViewConfig};
use crate::{Batch, Loader, Normalize, Targets, summarize};
use ::image::{DynamicImage, ImageBuffer, Luma, Rgb};

/// Labels of a written image: `(x + y + seed) % classes`.
fn label(x: u32, y: u32, seed: u32, classes: u32) -> u8 {
    ((x + y + seed) % classes) as u8
}

fn save(path: &Path, image: impl Into<DynamicImage>) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    image.into().save(path).unwrap();
}

fn save_mask(path: &Path, (w, h): (u32, u32), pixel: impl Fn(u32, u32) -> u8) {
    save(path, ImageBuffer::from_fn(w, h, |x, y| Luma([pixel(x, y)])));
}

/// An image whose red tells the column and whose green the row.
fn save_image(path: &Path, (w, h): (u32, u32)) {
    save(path, ImageBuffer::from_fn(w, h, |x, y| Rgb([x as u8, y as u8, 200])));
}

/// `<split>/images` and `<split>/labels` with three classes, images of `sizes` in each split.
fn write_masks(sizes: &[(u32, u32)]) -> (tempfile::TempDir, DataConfig) {
    let root = tempfile::tempdir().unwrap();
    for split in ["train", "val"] {
        for (i, &size) in sizes.iter().enumerate() {
            let folder = root.path().join(split);
            save_image(&folder.join(format!("images/{i}.png")), size);
            save_mask(&folder.join(format!("labels/{i}.png")), size, |x, y| label(x, y, i as u32, 3));
        }
    }
    let config = DataConfig {
        classes: Some(["a", "b", "c"].map(String::from).to_vec()),
        normalize: Some(Normalize::named("none")),
        ..of(DatasetKind::Masks, root.path())
    };
    (root, config)
}

fn of(kind: DatasetKind, path: &Path) -> DataConfig {
    DataConfig { path: Some(path.to_path_buf()), ..DataConfig::new(kind) }
}

fn batches(loader: &Loader) -> Vec<Batch> {
    loader.epoch(0, 0).map(|b| b.unwrap()).collect()
}

fn masks(batch: &Batch) -> &[Arc<Mask>] {
    let Targets::Masks(masks) = &batch.targets else { panic!("masks") };
    masks
}

fn error(config: &DataConfig) -> String {
    let first = |splits: crate::Splits| {
        let loader = splits.eval_loader(&splits.train, 4)?;
        loader.epoch(0, 0).collect::<Result<Vec<_>, _>>().map(|_| ())
    };
    config.open(0).and_then(first).unwrap_err().to_string()
}

#[test]
fn evaluation_keeps_sizes_and_cuts_batches_where_they_change() {
    let sizes = [(6, 4), (6, 4), (4, 6), (1, 1), (6, 4)];
    let (_root, config) = write_masks(&sizes);
    let splits = DataConfig { crop: Some(Size::square(4)), ..config.clone() }.open(0).unwrap();
    assert!(splits.is_segmentation() && splits.eval_pipeline.keeps_sizes() && !splits.train_pipeline.keeps_sizes());
    assert_eq!((splits.size, splits.classes.len(), splits.channels), ([4, 4], 3, 3));
    let found = batches(&splits.eval_loader(&splits.test, 3).unwrap());
    let shape = |b: &Batch| (b.step, b.indices.clone(), b.student.shape);
    let expected = [
        (0, vec![0, 1], [2, 3, 4, 6]),
        (0, vec![2], [1, 3, 6, 4]),
        (1, vec![3], [1, 3, 1, 1]),
        (1, vec![4], [1, 3, 4, 6]),
    ];
    assert_eq!(found.iter().map(shape).collect::<Vec<_>>(), expected);
    for batch in &found {
        for (n, (&index, mask)) in batch.indices.iter().zip(masks(batch)).enumerate() {
            let (w, h) = sizes[index];
            assert_eq!((mask.width(), mask.height()), (w as usize, h as usize));
            for (i, &l) in mask.labels().iter().enumerate() {
                let (x, y) = (i as u32 % w, i as u32 / w);
                assert_eq!(l, label(x, y, index as u32, 3));
                let area = (w * h) as usize;
                assert!((batch.student.data[n * 3 * area + i] - x as f32 / 255.0).abs() < 1e-7);
            }
        }
    }
    // Resized: one batch, and the masks are still those of the files.
    let splits = DataConfig { resize: Some(ResizeConfig::to(Size { height: 3, width: 5 })), ..config }.open(0).unwrap();
    let found = batches(&splits.eval_loader(&splits.test, 8).unwrap());
    assert_eq!((found.len(), found[0].student.shape, splits.size), (1, [5, 3, 3, 5], [3, 5]));
    assert_eq!(masks(&found[0]).iter().map(|m| m.width()).collect::<Vec<_>>(), [6, 6, 4, 1, 6]);
    let train = batches(&splits.train_loader(2, false).unwrap());
    assert!(train.iter().flat_map(masks).all(|m| (m.width(), m.height()) == (5, 3)));
}

#[test]
fn training_without_resize_or_crop_wants_one_size() {
    let (_root, config) = write_masks(&[(6, 4), (5, 4)]);
    let splits = config.open(0).unwrap();
    let loader = splits.train_loader(2, false).unwrap();
    let error = loader.epoch(0, 0).next().unwrap().unwrap_err().to_string();
    assert!(error.contains("1.png") && error.contains("resize"), "{error}");
    // Views of their own sizes: the geometry is common, the mask has the student's.
    let view = |side| Some(ViewConfig { size: Some(Size::square(side)), ..ViewConfig::default() });
    let config = DataConfig { crop: Some(Size::square(4)), teacher: view(8), flip: true, ..config };
    let splits = config.open(0).unwrap();
    let batch = batches(&splits.train_loader(2, false).unwrap()).remove(0);
    assert_eq!((batch.student.shape, batch.teacher.as_ref().unwrap().shape), ([2, 3, 4, 4], [2, 3, 8, 8]));
    assert!(masks(&batch).iter().all(|m| (m.width(), m.height()) == (4, 4)));
    // Evaluation shows the whole image at the enlargement of the crops.
    assert_eq!(splits.eval_pipeline.teacher_shape(), [3, 8, 12]);
    let found = batches(&splits.eval_loader(&splits.test, 1).unwrap());
    let shapes = |b: &Batch| (b.student.shape, b.teacher.as_ref().unwrap().shape);
    assert_eq!(shapes(&found[0]), ([1, 3, 4, 6], [1, 3, 8, 12]));
    assert_eq!(shapes(&found[1]), ([1, 3, 4, 5], [1, 3, 8, 10]));
    let resized = DataConfig { resize: Some(ResizeConfig::to(Size { height: 6, width: 9 })), ..config };
    let splits = resized.open(0).unwrap();
    assert_eq!(shapes(&batches(&splits.eval_loader(&splits.test, 2).unwrap())[0]), ([2, 3, 6, 9], [2, 3, 12, 18]));
}

#[test]
fn training_batches_depend_on_seed_and_epoch_alone() {
    let (_root, config) = write_masks(&[(40, 30), (33, 41), (9, 7), (1, 1), (20, 64)]);
    let config = DataConfig {
        scale: Some([0.5, 2.0]),
        crop: Some(Size { height: 16, width: 20 }),
        max_class_share: Some(0.75),
        flip: true,
        photometric: Some(Photometric::Distortion),
        ..config
    };
    let epoch = |workers, seed, epoch| {
        let splits = DataConfig { workers, ..config.clone() }.open(seed).unwrap();
        let loader = splits.train_loader(2, false).unwrap();
        loader.epoch(epoch, 0).map(|b| b.unwrap()).collect::<Vec<_>>()
    };
    let one = epoch(1, 3, 0);
    assert_eq!((one.len(), one[0].student.shape), (3, [2, 3, 16, 20]));
    assert!(one == epoch(2, 3, 0) && one == epoch(4, 3, 0));
    assert!(one != epoch(1, 3, 1) && one != epoch(1, 4, 0));
    let labels: Vec<u8> = one.iter().flat_map(masks).flat_map(|m| m.labels().to_vec()).collect();
    assert!(
        labels.contains(&0)
            && labels.contains(&2)
            && labels.contains(&255)
            && labels.iter().all(|l| *l < 3 || *l == 255)
    );
    assert!(one.iter().all(|b| b.student.data.iter().all(|v| (0.0..=1.0).contains(v))));
}

#[test]
fn limits_and_shares_are_the_plain_seeded_choice() {
    let (_root, config) = write_masks(&[(3, 3); 10]);
    let config = DataConfig { train_limit: Some(8), validation: Some(0.25), test_limit: Some(4), ..config };
    let splits = config.open(1).unwrap();
    let validation = splits.validation.unwrap();
    assert_eq!((splits.train.len(), validation.len(), splits.test.len()), (6, 2, 4));
    let names = |d: &Arc<dyn Dataset>| (0..d.len()).map(|i| d.describe(i)).collect::<Vec<_>>();
    assert!(names(&validation).iter().all(|n| !names(&splits.train).contains(n)));
    assert!((2..9).any(|seed| names(&config.open(seed).unwrap().test) != names(&splits.test)));
    assert_eq!((splits.test.task(), splits.test.label(0)), (Task::Segmentation, None));
    assert_eq!(config.open_split("val", 0).unwrap().dataset.len(), 4);
}

#[test]
fn faults_name_the_file_and_the_remedy() {
    let check = |spoil: &dyn Fn(&Path, &mut DataConfig), words: &[&str]| {
        let (root, mut config) = write_masks(&[(6, 4), (6, 4)]);
        spoil(root.path(), &mut config);
        let error = error(&config);
        assert!(words.iter().all(|w| error.contains(w)), "{error}");
    };
    let label = |root: &Path| root.join("train/labels/1.png");
    check(
        &|r, _| save_mask(&label(r), (6, 4), |x, y| if (x, y) == (5, 2) { 7 } else { 0 }),
        &["labels/1.png", "column 5, row 2", "label 7", "3 classes", "ignore_label"],
    );
    check(&|r, _| save_mask(&label(r), (6, 5), |_, _| 0), &["labels/1.png", "6x5", "images/1.png", "6x4"]);
    check(&|r, _| std::fs::remove_file(label(r)).unwrap(), &["labels/1.png", "images/1.png", "does not exist"]);
    check(
        &|r, _| std::fs::remove_file(r.join("train/images/0.png")).unwrap(),
        &["labels/0.png", "no image of that name"],
    );
    check(
        &|r, _| {
            for file in ["0.png", "1.png"] {
                std::fs::remove_file(r.join("train/images").join(file)).unwrap();
            }
        },
        &["train/images", "holds no images"],
    );
    check(&|r, _| save_image(&label(r), (6, 4)), &["labels/1.png", "colour picture", "palette"]);
    let wide = |x: u32, _| Luma([if x == 3 { 24_001_u16 } else { 1 }]);
    check(
        &|r, _| save(&label(r), ImageBuffer::from_fn(6, 4, wide)),
        &["labels/1.png", "24001", "16-bit", "column 3, row 0"],
    );
    check(&|r, _| std::fs::write(label(r), "hello").unwrap(), &["labels/1.png", "text"]);
    check(
        &|r, _| std::fs::copy(r.join("train/images/0.png"), r.join("train/images/0.jpg")).map(|_| ()).unwrap(),
        &["0.png", "0.jpg", "one stem"],
    );
    check(&|_, c| c.path = Some("nowhere".into()), &["nowhere", "path"]);
    check(&|_, c| c.classes = None, &["classes", "classes.txt"]);
    check(&|r, _| std::fs::remove_dir_all(r.join("val")).unwrap(), &["val/images", "found train"]);
    check(
        &|r, _| std::fs::rename(r.join("train/images/0.png"), r.join("train/images/0.bmp")).unwrap(),
        &["labels/0.png", "0.bmp is neither JPEG nor PNG"],
    );
    check(
        &|r, _| (0..2).for_each(|i| std::fs::remove_file(r.join(format!("train/labels/{i}.png"))).unwrap()),
        &["train/labels", "holds no label files"],
    );
    check(
        &|r, _| ["x", "y"].iter().for_each(|n| save_image(&r.join(format!("train/images/{n}.png")), (6, 4))),
        &["train/labels/x.png", "images/x.png", "so do the images y.png"],
    );
    // A split without labels is an error and not a split that is not there.
    check(&|r, _| std::fs::rename(r.join("val/labels"), r.join("val/notes")).unwrap(), &["val/labels", "val/images"]);
    check(&|r, _| save_image(&r.join("test/images/x.png"), (6, 4)), &["test/labels", "test/images", "rename"]);
    check(
        &|r, _| save(&r.join("val/images/x.png"), ImageBuffer::from_pixel(1, 1, Luma([1_u8]))),
        &["val/labels/x.png"],
    );
    // With 16 bits and small values all is well, and a JPEG cannot hold labels.
    let (root, config) = write_masks(&[(6, 4), (6, 4)]);
    save(&label(root.path()), ImageBuffer::from_fn(6, 4, |x, _| Luma([(x % 3) as u16])));
    assert_eq!(
        masks(&batches(&config.open_split("train", 0).unwrap().loader(2).unwrap())[0])[1].labels()[..3],
        [0, 1, 2]
    );
    let jpeg = root.path().join("jpeg.jpg");
    save_mask(&jpeg, (6, 4), |_, _| 0);
    std::fs::copy(jpeg, label(root.path())).unwrap();
    assert!(super::tests::error(&config).contains("no PNG"));
}

#[test]
fn labels_that_judge_are_checked_before_training() {
    let (root, config) = write_masks(&[(6, 4), (6, 4)]);
    let config = DataConfig { resize: Some(ResizeConfig::to(Size::square(4))), ..config };
    let splits = config.open(0).unwrap();
    splits.check_labels().unwrap();
    save_mask(&root.path().join("val/labels/1.png"), (6, 4), |_, _| 7);
    let error = config.open(0).unwrap().check_labels().unwrap_err().to_string();
    assert!(error.contains("val/labels/1.png") && error.contains("label 7"), "{error}");
    // An image that may be passed over is, a wrong label is not.
    std::fs::write(root.path().join("val/images/0.png"), "hello").unwrap();
    let error = config.open(0).unwrap().check_labels().unwrap_err().to_string();
    assert!(error.contains("val/images/0.png"), "{error}");
    let error = DataConfig { skip_corrupt: true, ..config }.open(0).unwrap().check_labels().unwrap_err().to_string();
    assert!(error.contains("val/labels/1.png"), "{error}");
}

#[test]
fn damaged_files_may_be_skipped_and_wrong_labels_may_not() {
    let (root, config) = write_masks(&[(6, 4); 4]);
    std::fs::write(root.path().join("train/labels/2.png"), "hello").unwrap();
    let config = DataConfig { skip_corrupt: true, ..config };
    let splits = config.open(0).unwrap();
    let loader = splits.train_loader(4, false).unwrap();
    assert_eq!(batches(&loader)[0].len(), 3);
    assert!(loader.skipped()[0].error.contains("labels/2.png"));
    let summary = summarize(splits.train.as_ref(), 3);
    assert_eq!((summary.total, summary.corrupt.len(), summary.sizes.as_slice()), (4, 1, &[((6, 4), 3)][..]));
    let pixels = summary.pixels.unwrap();
    assert_eq!((pixels.classes, pixels.ignored), (vec![24, 24, 24], 0));
    assert_eq!(summary.classes[1], ("b".to_string(), 3));
    save_mask(&root.path().join("train/labels/2.png"), (6, 4), |_, _| 9);
    assert!(error(&config).contains("label 9"));
    // Opening reads no label file, so that all wrong ones can be listed.
    save_mask(&root.path().join("train/labels/0.png"), (6, 4), |_, _| 8);
    let summary = summarize(config.open_split("train", 0).unwrap().dataset.as_ref(), 3);
    let errors: Vec<String> = summary.corrupt.iter().map(|s| s.error.clone()).collect();
    assert!(errors.len() == 2 && errors[0].contains("label 8") && errors[1].contains("label 9"), "{errors:?}");
}

#[test]
fn label_values_are_mapped_and_ignored_as_the_recipe_says() {
    let (root, config) = write_masks(&[(6, 4)]);
    std::fs::write(root.path().join("classes.txt"), "sky\nroad\n\n").unwrap();
    let map = [("1".to_string(), 0), ("2".to_string(), 1)].into_iter().collect();
    let config = DataConfig { classes: None, ignore_label: Some(0), label_map: Some(map), ..config };
    let split = config.open_split("train", 0).unwrap();
    assert_eq!(split.classes, ["sky", "road"]);
    let batch = batches(&split.loader(1).unwrap()).remove(0);
    assert_eq!(masks(&batch)[0].labels()[..6], [255, 0, 1, 255, 0, 1]);
    let summary = summarize(split.dataset.as_ref(), 3);
    let pixels = summary.pixels.unwrap();
    assert_eq!((pixels.ignored, pixels.total(), pixels.ignored_share(), pixels.share(1)), (8, 24, 1.0 / 3.0, 0.5));
    std::fs::write(root.path().join("classes.txt"), "sky\nsky").unwrap();
    let error = config.open_split("train", 0).err().unwrap().to_string();
    assert!(error.contains("classes.txt") && error.contains("twice"), "{error}");
}

#[test]
fn the_other_folder_order_and_grey_images_work() {
    let root = tempfile::tempdir().unwrap();
    let at = |path: &str| root.path().join(path);
    for split in ["train", "val", "test"] {
        save(&at(&format!("images/{split}/a.b.png")), ImageBuffer::from_pixel(5, 3, Luma([70_u16])));
        save_mask(&at(&format!("masks/{split}/a.b.png")), (5, 3), |x, _| (x % 2) as u8);
    }
    std::fs::write(at("classes.txt"), "a\nb").unwrap();
    assert_eq!(detect(root.path()), Some(DatasetKind::Masks));
    // Lists of another program beside them do not make it MFNet.
    std::fs::rename(at("masks"), at("labels")).unwrap();
    std::fs::write(at("train.txt"), "images/train/a.b.png").unwrap();
    assert_eq!(detect(root.path()), Some(DatasetKind::Masks));
    let config = DataConfig::detect(root.path());
    assert_eq!(config.split_names(), ["train", "val", "test"]);
    let splits = config.open(0).unwrap();
    assert!(splits.validation.is_some() && splits.test.describe(0).contains("test"));
    let batch = batches(&splits.train_loader(1, false).unwrap()).remove(0);
    assert_eq!((batch.student.shape, masks(&batch)[0].labels()[..2].to_vec()), ([1, 3, 3, 5], vec![0, 1]));
}
