use super::*;
use crate::config::{Bands, Filter};
use crate::geometry::GeometryPlan;
use crate::normalize::Normalize;
use crate::pipeline::ViewPlan;
use crate::testing::Numbers;

fn pipeline(augment: bool) -> Pipeline {
    let view = ViewPlan {
        bands: Bands::All,
        channels: 1,
        size: [4, 5],
        native: None,
        photometric: None,
        normalization: Normalize::named("none").resolve(1).unwrap(),
    };
    Pipeline {
        geometry: GeometryPlan { size: [4, 5], resize: None, crop: None, padding: 2, flip: true },
        filter: Filter::Bilinear,
        student: view.clone(),
        teacher: view,
        own_colours: false,
        any_size: false,
        augment,
    }
}

fn config() -> LoaderConfig {
    LoaderConfig {
        batch_size: 8,
        shuffle: true,
        drop_last: false,
        workers: 2,
        prefetch: 2,
        skip_corrupt: false,
        seed: 5,
    }
}

fn loader(data: Numbers, augment: bool, config: LoaderConfig) -> Loader {
    Loader::new(Arc::new(data), pipeline(augment), config).unwrap()
}

fn all(epoch: Epoch) -> Vec<Batch> {
    epoch.map(|b| b.unwrap()).collect()
}

#[test]
fn batches_do_not_depend_on_the_workers() {
    let epoch = |workers| all(loader(Numbers::new(67, 5), true, LoaderConfig { workers, ..config() }).epoch(3, 0));
    let one = epoch(1);
    assert_eq!(one.len(), 9);
    assert_eq!(one[8].student.shape, [3, 1, 4, 5]);
    assert_eq!(one, epoch(2));
    assert_eq!(one, epoch(4));
}

#[test]
fn an_epoch_resumes_in_its_middle() {
    let loader = loader(Numbers::new(67, 5), true, config());
    let whole = all(loader.epoch(2, 0));
    for start in [1, 4, 8] {
        assert_eq!(all(loader.epoch(2, start)), whole[start..]);
    }
    assert!(all(loader.epoch(2, 9)).is_empty() && all(loader.epoch(2, 100)).is_empty());
}

#[test]
fn every_sample_comes_once_and_epochs_and_seeds_differ() {
    let loader = loader(Numbers::new(67, 5), true, config());
    let order = |epoch| all(loader.epoch(epoch, 0)).into_iter().flat_map(|b| b.indices).collect::<Vec<_>>();
    let (a, b) = (order(0), order(1));
    assert_ne!(a, b);
    let mut sorted = a.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, (0..67).collect::<Vec<_>>());
    let other = super::tests::loader(Numbers::new(67, 5), true, LoaderConfig { seed: 6, ..config() });
    assert_ne!(other.epoch(0, 0).next().unwrap().unwrap().indices, a[..8]);
}

#[test]
fn augmentation_follows_the_sample_not_its_place() {
    // The same sample in the same epoch, reached with another batch size, has the same values.
    let rows = |batch_size| {
        let loader = loader(Numbers::new(40, 5), true, LoaderConfig { batch_size, shuffle: false, ..config() });
        let batches = all(loader.epoch(1, 0));
        batches.into_iter().flat_map(|b| b.student.data).collect::<Vec<f32>>()
    };
    assert_eq!(rows(8), rows(7));
    assert_eq!(rows(8), rows(1));
}

#[test]
fn evaluation_is_sequential_and_exact() {
    let batches = all(loader(Numbers::new(10, 3), false, LoaderConfig { shuffle: false, ..config() }).epoch(0, 0));
    assert_eq!(batches[1].indices, [8, 9]);
    assert_eq!(batches[0].targets.classes(), [0, 1, 2, 0, 1, 2, 0, 1]);
    let expected: Vec<f32> = (8..10).flat_map(Numbers::pixels).map(|p| f32::from(p) / 255.0).collect();
    assert!(batches[1].student.data.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-6));
    assert!(batches[0].teacher.is_none());
}

#[test]
fn the_last_batch_is_kept_or_dropped() {
    for (n, batch_size, kept, dropped) in [(10, 4, 3, 2), (8, 4, 2, 2), (3, 4, 1, 0), (1, 1, 1, 1)] {
        for (drop_last, steps) in [(false, kept), (true, dropped)] {
            let loader = loader(Numbers::new(n, 2), true, LoaderConfig { batch_size, drop_last, ..config() });
            assert_eq!((loader.steps(), all(loader.epoch(0, 0)).len()), (steps, steps));
        }
    }
}

#[test]
fn a_corrupt_image_stops_the_epoch_by_name() {
    let mut data = Numbers::new(40, 2);
    data.broken = vec![21, 19];
    let loader = loader(data, true, LoaderConfig { shuffle: false, ..config() });
    let results: Vec<_> = loader.epoch(0, 0).collect();
    assert_eq!(results.len(), 3);
    assert!(results[1].is_ok());
    let error = results[2].as_ref().unwrap_err().to_string();
    assert!(error.contains("number 19"), "{error}");
}

#[test]
fn corrupt_images_are_dropped_counted_and_deterministic() {
    let run = |workers, start| {
        let mut data = Numbers::new(24, 2);
        data.broken = vec![3, 8, 9, 10, 11, 12, 13, 14, 15];
        let settings = LoaderConfig { shuffle: false, skip_corrupt: true, workers, ..config() };
        let loader = loader(data, true, settings);
        (all(loader.epoch(0, start)), loader.skipped())
    };
    let (batches, skipped) = run(1, 0);
    // The second batch has lost all its images and is passed over.
    assert_eq!(batches.iter().map(|b| b.step).collect::<Vec<_>>(), [0, 2]);
    assert_eq!(batches[0].indices, [0, 1, 2, 4, 5, 6, 7]);
    assert_eq!(batches[0].student.data.len(), 7 * 20);
    assert_eq!(skipped.iter().map(|s| s.index).collect::<Vec<_>>(), [3, 8, 9, 10, 11, 12, 13, 14, 15]);
    assert!(skipped[0].error.contains("number 3"));
    assert_eq!(run(4, 0), (batches.clone(), skipped));
    assert_eq!(run(2, 1).0, batches[1..]);
    // What is kept has the values it would have had beside the corrupt ones.
    let whole = all(loader(Numbers::new(24, 2), true, LoaderConfig { shuffle: false, ..config() }).epoch(0, 0));
    assert_eq!(batches[0].student.data[3 * 20..4 * 20], whole[0].student.data[4 * 20..5 * 20]);
}

#[test]
fn a_second_modality_shares_the_geometry() {
    let mut data = Numbers::new(16, 2);
    data.second_view = true;
    for batch in all(loader(data, true, config()).epoch(0, 0)) {
        let teacher = batch.teacher.unwrap();
        assert_eq!(teacher.shape, batch.student.shape);
        // The teacher's image is the negative; outside the image both are 0.
        let sums = teacher.data.iter().zip(&batch.student.data).map(|(t, s)| t + s);
        assert!(sums.into_iter().all(|x| x == 0.0 || (x - 1.0).abs() < 1e-6));
    }
}

#[test]
fn an_epoch_can_be_left_early_and_bad_settings_are_refused() {
    let loader = loader(Numbers::new(500, 2), true, config());
    for _ in 0..20 {
        assert!(loader.epoch(0, 0).next().unwrap().is_ok());
    }
    let zero = LoaderConfig { batch_size: 0, ..config() };
    assert!(Loader::new(Arc::new(Numbers::new(5, 2)), pipeline(true), zero).is_err());
    assert!(Loader::new(Arc::new(Numbers::new(0, 1)), pipeline(true), config()).is_err());
}
