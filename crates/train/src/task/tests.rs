use std::sync::Arc;

use subband_data::Mask;
use subband_models::Feature;

use super::*;

/// Features of a segmenter whose logits are this map.
fn features(logits: Tensor<4>, aux: Option<Tensor<4>>) -> Features {
    let taps = aux.map(|aux| (AUX.to_string(), Feature::Map(aux))).into_iter().collect();
    Features { logits: Feature::Map(logits), taps }
}

/// Values like a wave, all different.
fn wave(shape: [usize; 4], step: f64) -> Vec<f64> {
    (0..shape.iter().product::<usize>()).map(|k| 2.0 * (step * (k as f64 + 1.0)).sin()).collect()
}

fn map(values: &[f64], shape: [usize; 4], device: &Device) -> Tensor<4> {
    let values: Vec<f32> = values.iter().map(|value| *value as f32).collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// Bilinear interpolation at half-pixel centres of one plane, by its definition.
fn resized(plane: &[f64], [h, w]: [usize; 2], [height, width]: [usize; 2]) -> Vec<f64> {
    let place = |p: usize, from: usize, to: usize| {
        let s = ((p as f64 + 0.5) * from as f64 / to as f64 - 0.5).max(0.0);
        let i = (s.floor() as usize).min(from - 1);
        (i, (i + 1).min(from - 1), s - i as f64)
    };
    let mut out = Vec::new();
    for y in 0..height {
        for x in 0..width {
            let ((a, b, t), (c, d, u)) = (place(y, h, height), place(x, w, width));
            let row = |r: usize| plane[r * w + c] * (1.0 - u) + plane[r * w + d] * u;
            out.push(row(a) * (1.0 - t) + row(b) * t);
        }
    }
    out
}

/// Mean over counted pixels of -log softmax of the resized scores, from its definition in f64.
fn oracle(values: &[f64], [n, k, h, w]: [usize; 4], labels: &[u8], size: [usize; 2]) -> f64 {
    let (mut sum, mut count) = (0.0, 0.0);
    for image in 0..n {
        let planes: Vec<Vec<f64>> =
            (0..k).map(|class| resized(&values[(image * k + class) * h * w..][..h * w], [h, w], size)).collect();
        for pixel in 0..size[0] * size[1] {
            let label = labels[image * size[0] * size[1] + pixel];
            if label != Mask::IGNORED {
                let total: f64 = planes.iter().map(|plane| plane[pixel].exp()).sum();
                sum += total.ln() - planes[usize::from(label)][pixel];
                count += 1.0;
            }
        }
    }
    sum / count
}

/// Labels of three classes with an ignored one here and there.
fn labels(count: usize) -> Vec<u8> {
    (0..count).map(|k| if k % 7 == 3 { Mask::IGNORED } else { (k * 5 % 3) as u8 }).collect()
}

fn pixels(labels: &[u8], shape: [usize; 3], device: &Device) -> Labels {
    let classes: Vec<i64> = labels.iter().map(|l| if *l == Mask::IGNORED { -1 } else { i64::from(*l) }).collect();
    Labels::Pixels(Tensor::from_data(TensorData::new(classes, shape), device))
}

#[test]
fn the_loss_of_pixels_meets_its_definition_with_and_without_the_auxiliary_head() {
    let device = Device::flex();
    for (shape, size) in [([2, 3, 3, 4], [7, 9]), ([1, 3, 1, 1], [5, 2]), ([1, 3, 4, 4], [4, 4])] {
        let [n, k, h, w] = shape;
        let (main, aux) = (wave(shape, 0.37), wave([n, k, h, w], 0.59));
        let truth = labels(n * size[0] * size[1]);
        let given = pixels(&truth, [n, size[0], size[1]], &device);
        let want = [&main, &aux].map(|values| oracle(values, shape, &truth, size));
        let features = features(map(&main, shape, &device), Some(map(&aux, shape, &device)));
        for (weight, want) in [(0.0, want[0]), (0.4, want[0] + 0.4 * want[1])] {
            let objective = Objective { task: Task::Segmentation, aux_weight: weight };
            let found = objective.loss(&features, &given).unwrap().into_scalar::<f32>();
            assert!((f64::from(found) - want).abs() < 1e-5 * want, "{shape:?} {weight}: {found} for {want}");
        }
    }
}

#[test]
fn a_batch_without_a_counted_pixel_has_the_loss_zero() {
    let device = Device::flex();
    let given = pixels(&[Mask::IGNORED; 4], [1, 2, 2], &device);
    let features = features(map(&wave([1, 3, 2, 2], 0.4), [1, 3, 2, 2], &device), None);
    assert_eq!(Objective::plain(Task::Segmentation).loss(&features, &given).unwrap().into_scalar::<f32>(), 0.0);
    let images = Labels::Images(Tensor::from_data([0_i64], &device));
    assert!(Objective::plain(Task::Segmentation).loss(&features, &images).is_err());
    assert!(Objective::plain(Task::Classification).loss(&features, &given).is_err());
}

fn judge() -> Judge {
    let classes = ["sky", "road", "car"].map(String::from).into();
    Judge { task: Task::Segmentation, classes, options: EvaluateRecipe::default() }
}

#[test]
fn figures_of_pixels_are_those_of_the_confusion_matrix() {
    let device = Device::flex();
    // Scores at the size of the labels: the prediction is class 0, 1, 1, 2 in the order of the pixels.
    let scores = [[3.0, 0.0, 1.0, -1.0], [1.0, 2.0, 2.0, 0.0], [0.0, 1.0, 0.0, 4.0]].concat();
    let mask = |labels: &[u8]| Arc::new(Mask::new("made up", 2, 2, labels.to_vec()).unwrap());
    let mut tally = judge().tally().unwrap();
    let targets = Targets::Masks(vec![mask(&[0, 0, 1, Mask::IGNORED])]);
    tally.add(&features(map(&scores, [1, 3, 2, 2], &device), None), &targets).unwrap();
    let found = tally.result().unwrap();
    // Class 0: 1 of 2 found; class 1: found, and one pixel too much; class 2 does not occur.
    let figure = |name: &str| found.scores.get(name).unwrap();
    assert_eq!((figure("miou"), figure("macc")), (50.0, 75.0));
    assert!((figure("accuracy") - 200.0 / 3.0).abs() < 1e-9);
    let ious: Vec<f64> = found.classes.iter().map(|class| class.scores.get("iou").unwrap()).collect();
    assert!(ious[..2] == [50.0, 50.0] && ious[2].is_nan());
    assert_eq!(found.counts["pixels"] + found.counts["ignored"], 4);
    let truth = [0, 0, 1, Mask::IGNORED];
    assert!((figure("loss") - oracle(&scores, [1, 3, 2, 2], &truth, [2, 2])).abs() < 1e-6);
    // Masks of other sizes: the logits are brought to each.
    let mut tally = judge().tally().unwrap();
    let large = Arc::new(Mask::new("made up", 5, 3, labels(15)).unwrap());
    let two = map(&wave([2, 3, 2, 2], 0.3), [2, 3, 2, 2], &device);
    tally.add(&features(two, None), &Targets::Masks(vec![mask(&[0, 1, 2, 0]), large])).unwrap();
    assert_eq!((tally.images(), tally.result().unwrap().counts["pixels"]), (2, 4 + 13));
    // Labels outside the classes, and labels of images.
    let mut tally = judge().tally().unwrap();
    let features = features(map(&scores, [1, 3, 2, 2], &device), None);
    assert!(tally.add(&features, &Targets::Masks(vec![mask(&[0, 1, 3, 0])])).is_err());
    assert!(tally.add(&features, &Targets::Classes(vec![0])).unwrap_err().to_string().contains("labels of images"));
    assert!(tally.result().is_err());
}

/// The figures of an image of one row whose pixels have the classes `truth` and are predicted as `predicted`.
fn row(protocol: &str, truth: &[u8], predicted: &[u8]) -> Result<Evaluation, TrainError> {
    let protocol: Protocol = protocol.parse().unwrap();
    let k = protocol.classes().unwrap_or(3);
    let options = EvaluateRecipe { protocol: Some(protocol), ..EvaluateRecipe::default() };
    let judge = Judge { task: Task::Segmentation, classes: (0..k).map(|c| c.to_string()).collect(), options };
    let mut scores = vec![0.0; k * truth.len()];
    predicted.iter().enumerate().for_each(|(at, class)| scores[usize::from(*class) * truth.len() + at] = 9.0);
    let logits = map(&scores, [1, k, 1, truth.len()], &Device::flex());
    let mut tally = judge.tally().unwrap();
    let mask = Mask::new("made up", truth.len(), 1, truth.to_vec()).unwrap();
    tally.add(&features(logits, None), &Targets::Masks(vec![Arc::new(mask)])).unwrap();
    tally.result()
}

#[test]
fn protocols_bring_figures_of_their_own() {
    let names = |found: &Evaluation| found.scores.iter().map(|(name, _)| name.to_string()).collect::<Vec<_>>();
    let common = ["miou", "macc", "accuracy", "loss"];
    let standard = row("standard", &[0, 1, 2, 2], &[0, 1, 2, 1]).unwrap();
    assert_eq!((names(&standard), standard.protocol), (common.map(String::from).to_vec(), Some(Protocol::Standard)));
    assert!(standard.categories.is_empty() && standard.classes[0].scores.get("precision").is_none());
    // Two classes of one category taken for each other: road and sidewalk are both flat.
    let street = row("cityscapes", &[0, 1, 11], &[1, 0, 11]).unwrap();
    assert_eq!((street.scores.get("miou"), street.scores.get("miou_categories")), (Some(100.0 / 3.0), Some(100.0)));
    let flat = &street.categories[0];
    assert_eq!((flat.name.as_str(), flat.scores.get("iou"), street.categories.len()), ("flat", Some(100.0), 7));
    let json = serde_json::to_value(&street).unwrap();
    assert_eq!((&json["protocol"], &json["void"]), (&"cityscapes".into(), &0.into()));
    // All nine classes, or all but the last.
    let all: Vec<u8> = (0..9).collect();
    let whole = row("mfnet-rtfnet", &all, &[0, 1, 2, 3, 4, 5, 6, 7, 7]).unwrap();
    assert_eq!(whole.scores.get("miou_plain"), whole.scores.get("miou"));
    let part = row("mfnet-rtfnet", &all[..8], &all[..8]).unwrap();
    assert_eq!((part.scores.get("miou_plain"), part.scores.get("miou")), (None, Some(800.0 / 9.0)));
    let repository = row("mfnet-repository", &[1, 2, 2, 2], &[1, 1, 2, 2]).unwrap();
    let precision = |class: usize| repository.classes[class].scores.get("precision").unwrap();
    assert_eq!((precision(1), precision(2)), (50.0, 100.0));
    assert!(precision(3).is_nan() && !names(&repository).contains(&"miou_plain".to_string()));
}

#[test]
fn images_of_which_nothing_counts_are_an_error() {
    let error = row("standard", &[255; 6], &[0; 6]).unwrap_err().to_string();
    assert!(["all 6 pixels of 1 images", "label_map", "test split"].iter().all(|word| error.contains(word)), "{error}");
    let error = row("mfnet-foreground", &[0; 4], &[0; 4]).unwrap_err().to_string();
    assert!(error.contains("`mfnet-foreground`"), "{error}");
    assert_eq!(row("mfnet-foreground", &[0; 4], &[0, 0, 1, 0]).unwrap().scores.get("miou"), Some(0.0));
}

/// The crate that reads Cityscapes and the one that counts it know its labels apart from each other.
#[test]
fn cityscapes_has_one_table_of_labels() {
    let kind = subband_data::DatasetKind::Cityscapes;
    let names: Vec<&str> = subband_metrics::cityscapes::class_names().collect();
    assert_eq!(kind.class_names().unwrap(), names);
    let map = kind.label_map().unwrap();
    for id in 0..=255 {
        let class = subband_metrics::cityscapes::train_id(id).unwrap_or(Mask::IGNORED);
        assert_eq!(map.class(id.into()), Some(class), "{id}");
    }
}

#[test]
fn protocols_that_do_not_fit_the_classes_are_refused() {
    let mut judge = judge();
    judge.options.protocol = Some("mfnet-rtfnet".parse().unwrap());
    assert!(judge.tally().err().unwrap().to_string().contains("9 classes"));
}
