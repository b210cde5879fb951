//! Images that cannot be decoded, under `skip_corrupt`: whole batches that do not come, in every phase of a run.
use super::*;
use crate::evidence::report::png::png;

const IMAGES: usize = 7;

/// Two classes of 16 x 16 pixels; of the training images one, of the test images none is broken.
fn photos() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (split, count) in [("train", IMAGES), ("val", 4)] {
        for index in 0..count {
            let class = if index % 2 == 0 { "bright" } else { "dark" };
            let place = folder.path().join(split).join(class);
            fs::create_dir_all(&place).unwrap();
            let value = |at: usize| ((if index % 2 == 0 { 190 } else { 40 }) + (13 * at + 29 * index) % 60) as u8;
            let values: Vec<u8> = (0..16 * 16 * 3).map(value).collect();
            fs::write(place.join(format!("{index}.png")), png(16, 16, 3, &values)).unwrap();
        }
    }
    fs::write(folder.path().join("train/dark/3.png"), b"no picture").unwrap();
    folder
}

fn photo_recipe(data: &Path, overrides: &[&str]) -> Recipe {
    let text = format!(
        "name = 'broken'\nseed = 4\n[data]\ndataset = 'folder'\npath = {:?}\nskip_corrupt = true\n\
         [teacher]\nnetwork = 'cifar-resnet8'\ntrain = {{ epochs = 1 }}\n[student]\nnetwork = 'cifar-resnet8'\n\
         [train]\nepochs = 2\nbatch_size = 1\ncheckpoint_every = 1\noptimizer = {{ kind = 'sgd', lr = 0.01 }}\n\
         [prompts]\nsteps = 10\nbatch_size = 1\ncheckpoint_every = 1\nlevels = 1\ntokens = 2\n\
         [report]\npictures = 0\n[[arm]]\nname = 'hints'\n[[arm.term]]\nmethod = 'fitnet'\n",
        data.display().to_string()
    );
    let overrides: Vec<String> = overrides.iter().map(|o| o.to_string()).collect();
    Recipe::parse(&text, "broken", &overrides).unwrap()
}

/// The numbers of the optimiser steps in a metrics file.
fn steps(folder: &Path) -> Vec<usize> {
    let number = |line: MetricLine| if let MetricLine::Step(record) = line { Some(record.step) } else { None };
    metrics(folder).into_iter().filter_map(number).collect()
}

#[test]
fn runs_with_missing_batches_end_with_the_same_bits_wherever_they_were_stopped() {
    let data = photos();
    let folder = tempfile::tempdir().unwrap();
    let whole = folder.path().join("whole");
    for accumulate in ["train.accumulate=1", "train.accumulate=2"] {
        let recipe = photo_recipe(data.path(), &[accumulate]);
        let whole = whole.join(accumulate);
        go(&recipe, &whole, false, &mut Silent).unwrap();
        let parts = ["arms/teacher", "prompts", "arms/hints"].map(|part| steps(&whole.join(part)));
        // The prompts go on where a batch is missing, and that of an image among two leaves its step a single image.
        assert!(parts[1].len() < 10 && parts[1].last() <= Some(&10), "{parts:?}");
        let per_epoch = if accumulate.ends_with('1') { IMAGES } else { IMAGES.div_ceil(2) };
        assert!(parts[2].len() >= 2 * (per_epoch - 1) && *parts[2].last().unwrap() <= 2 * per_epoch, "{parts:?}");
        let total: usize = parts.iter().map(Vec::len).sum();
        let ends = [parts[0].len(), parts[0].len() + parts[1].len(), total];
        let stops = ends.iter().flat_map(|end| [end - 3, end - 2, end - 1, *end]);
        for stop in stops {
            let parts = folder.path().join(format!("{accumulate}-{stop}"));
            go(&recipe, &parts, false, &mut StopAfter(stop)).unwrap_err();
            go(&recipe, &parts, true, &mut Silent).unwrap();
            for (part, file) in [("arms/teacher", "student-last"), (".", "prompts"), ("arms/hints", "student-last")] {
                let of = |out: &Path| fs::read(out.join(part).join(format!("{file}.safetensors"))).unwrap();
                assert!(of(&whole) == of(&parts), "{part} after a stop at {stop}, {accumulate}");
            }
            for part in ["arms/teacher", "prompts", "arms/hints"] {
                assert_eq!(metrics(&whole.join(part)), metrics(&parts.join(part)), "{part} after a stop at {stop}");
            }
            for part in ["arms/teacher", "arms/hints"] {
                let skipped = |out: &Path| fs::read_to_string(out.join(part).join("skipped.json")).unwrap();
                assert_eq!(skipped(&whole), skipped(&parts));
                assert_eq!(skipped(&parts).matches("3.png").count(), 1);
            }
        }
    }
}

#[test]
fn data_without_any_image_that_can_be_decoded_is_named() {
    let data = photos();
    for class in ["bright", "dark"] {
        for index in 0..IMAGES {
            let file = data.path().join("train").join(class).join(format!("{index}.png"));
            if file.exists() {
                fs::write(file, b"no picture").unwrap();
            }
        }
    }
    let recipe = photo_recipe(data.path(), &["data.resize=16"]);
    let folder = tempfile::tempdir().unwrap();
    let error = go(&recipe, &folder.path().join("run"), false, &mut Silent).unwrap_err().to_string();
    assert!(error.contains("no training image can be decoded"), "{error}");
}
