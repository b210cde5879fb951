//! Each mistake is one clear error with a remedy, and nothing is written.
use std::path::Path;

use crate::support::{Place, refused, succeeds};

/// Runs the small recipe with changes that must be refused before anything is written.
fn spoilt(place: &Place, code: i32, changes: &[&str]) -> String {
    let (recipe, out) = (place.recipe(), place.path("never"));
    let mut args = place.distill(&out, &recipe, &[]);
    for change in changes {
        args.extend(["--set", change]);
    }
    let text = refused(code, &args);
    assert!(!Path::new(&out).exists(), "{changes:?} left a run folder\n{text}");
    text
}

fn says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "`{part}` is not in:\n{text}");
    }
}

#[test]
fn recipes_that_cannot_be_right() {
    let place = Place::new();
    says(&spoilt(&place, 2, &["train.epoch=2"]), &["`train.epoch`", "did you mean", "epochs"]);
    says(&spoilt(&place, 2, &["train.epochs=-1"]), &["train.epochs"]);
    says(&spoilt(&place, 2, &["arm.kdd.task_weight=1"]), &["kdd", "KD"]);
    says(&spoilt(&place, 2, &["train.epochs"]), &["key=value"]);
    says(&spoilt(&place, 2, &["arm.KD.term.kd.temprature=2"]), &["temprature", "temperature"]);
    says(&spoilt(&place, 2, &["student.network=cifar-resnet9"]), &["cifar-resnet9", "cifar-resnet8"]);
    let taps = spoilt(&place, 2, &["arm.FAM-KD.term.fam-kd.student_taps=[\"stagee2\"]"]);
    says(&taps, &["stagee2", "stage1", "stage2", "stage3", "FAM-KD"]);
    let missing = place.path("nowhere.toml");
    says(&refused(2, &["distill", &missing]), &["nowhere.toml"]);
    std::fs::write(&missing, "name = \"x\n").unwrap();
    says(&refused(2, &["distill", &missing]), &["nowhere.toml", "1"]);
    std::fs::write(
        &missing,
        "[data]\ndataset = \"digits\"\n[student]\nnetwork = \"cifar-resnet8\"\n[train]\nepochs = 1\n",
    )
    .unwrap();
    says(&refused(2, &["distill", &missing]), &["no distillation term", "subband train"]);
}

#[test]
fn a_student_frozen_by_mistake() {
    let place = Place::new();
    says(&spoilt(&place, 2, &["student.frozen=[\"\"]"]), &["no trainable parameter"]);
    says(&spoilt(&place, 2, &["student.frozen=[\"layr1\"]"]), &["layr1", "layer1"]);
    // Layers after a tap are free, those before it are not: its term would do nothing.
    let first = spoilt(&place, 2, &["student.frozen=[\"conv1\", \"bn1\", \"layer1\"]"]);
    says(&first, &["fam-kd.", "FAM-KD", "`stage1`", "student.frozen", "from conv1.weight to layer1."]);
    let recipe = place.recipe();
    let plan = refused(2, &["plan", &recipe, "--no-time", "--set", "student.frozen=[\"conv1\", \"bn1\", \"layer1\"]"]);
    says(&plan, &["`stage1`"]);
}

#[test]
fn terms_that_would_do_nothing() {
    let place = Place::new();
    says(&spoilt(&place, 2, &["arm.KD.term.kd.weight=0"]), &["`arm.1.term.0.weight`", "kd", "remove its [[arm.term]]"]);
    says(&spoilt(&place, 2, &["arm.KD.term.kd.weight=auto"]), &["weight", "auto:0.5"]);
    let share = spoilt(&place, 2, &["arm.KD.term.kd.weight=auto:0.5", "arm.KD.task_weight=0"]);
    says(&share, &["auto:0.5", "`task_weight`", "KD"]);
}

#[test]
fn folders_and_images() {
    let place = Place::new();
    let nowhere = place.path("nowhere");
    let folder = |path: &str| [String::from("data.dataset=folder"), format!("data.path={path}")];
    let [kind, path] = folder(&nowhere);
    says(&spoilt(&place, 2, &[&kind, &path]), &["nowhere", "train/<class>"]);
    says(&refused(2, &["data", "inspect", &nowhere]), &["nowhere"]);

    let images = place.path("images");
    for split in ["train", "val"] {
        for class in ["cat", "dog"] {
            let class = Path::new(&images).join(split).join(class);
            std::fs::create_dir_all(&class).unwrap();
            for index in 0..20_u8 {
                let pixel = |x: u32, y: u32| image::Rgb([index.wrapping_mul(12), x as u8 * 30, y as u8 * 30]);
                let image = image::RgbImage::from_fn(8, 8, pixel);
                image.save(class.join(format!("{index:02}.jpg"))).unwrap();
            }
        }
    }
    let text = Path::new(&images).join("train/dog/07.jpg");
    std::fs::write(&text, "this is no picture\n").unwrap();
    let recipe = place.recipe();
    let out = place.path("images-run");
    let [kind, path] = folder(&images);
    let small =
        ["data.train_limit=40", "data.crop_padding=0", "train.batch_size=8", "train.epochs=1", "data.validation=0.0"];
    let mut args = place.distill(&out, &recipe, &["--quiet", "--set", &kind, "--set", &path]);
    small.iter().for_each(|change| args.extend(["--set", change]));
    says(&refused(1, &args), &["07.jpg", "skip_corrupt"]);
    assert!(!Path::new(&out).join("arms/teacher/student-last.safetensors").exists());
    says(&succeeds(&["data", "inspect", &images]), &["1 images cannot be used", "07.jpg", "8x8"]);
    let out = place.path("skipping");
    args[3] = &out;
    args.extend(["--set", "data.skip_corrupt=true"]);
    says(&succeeds(&args), &["FAM-KD"]);
}

#[test]
fn weights_of_another_network_and_damaged_ones() {
    let place = Place::new();
    let (recipe, made) = (place.recipe(), place.path("made"));
    succeeds(&["train", &recipe, "--out", &made, "--quiet", "--set", "train.epochs=1"]);
    let student = format!("{made}/arms/student-alone/student-last.safetensors");
    // The teacher is a resnet14; these are the weights of a resnet8.
    says(&spoilt(&place, 2, &[&format!("teacher.weights={student}")]), &["student-last.safetensors", "cifar-resnet14"]);
    let cut = place.path("cut.safetensors");
    let bytes = std::fs::read(&student).unwrap();
    std::fs::write(&cut, &bytes[..bytes.len() / 2]).unwrap();
    says(&spoilt(&place, 2, &[&format!("student.weights={cut}")]), &["cut.safetensors"]);
    let eval = |weights: &str, network: &str| {
        refused(2, &["eval", "--network", network, "--weights", weights, "--data", "digits", "--split", "test"])
    };
    says(&eval(&cut, "cifar-resnet8"), &["cut.safetensors"]);
    says(&eval(&student, "cifar-vgg8"), &["student-last.safetensors", "cifar-vgg8"]);
    says(&eval(&place.path("none.pth"), "cifar-resnet8"), &["none.pth"]);
    std::fs::write(&cut, "PK\u{3}\u{4} hardly").unwrap();
    says(&eval(&cut, "cifar-resnet8"), &["cut.safetensors"]);
}

#[test]
fn commands_that_cannot_be_right() {
    let place = Place::new();
    says(&refused(2, &["taps", "cifar-resnt20"]), &["cifar-resnt20", "cifar-resnet20", "subband networks"]);
    says(&refused(2, &["taps", "cifar-resnet20", "--input", "32x32"]), &["CxHxW"]);
    says(&refused(2, &["report", &place.path("")]), &["run folder"]);
    says(&refused(2, &["data", "download", "imagenet"]), &["imagenet", "cifar10"]);
    let weights = place.path("weights.safetensors");
    let network = subband_models::NetworkConfig::new("cifar-resnet8", 1, 10);
    let network = network.init(subband_seed::Stream::new(1), &burn::prelude::Device::flex()).unwrap();
    subband_models::weights::write_safetensors(weights.as_ref(), &network.state_dict()).unwrap();
    let eval = ["eval", "--network", "cifar-resnet8", "--weights", &weights, "--data", "digits"];
    // No recipe is named where there is none.
    for (flag, value) in [("--channels", "2"), ("--normalize", "imagnet"), ("--split", "dev"), ("--resize", "9000")] {
        let text = refused(2, &[&eval[..], &[flag, value]].concat());
        assert!(text.contains(flag) && !text.contains("recipe") && !text.contains("[data]"), "{text}");
    }
    let recipe = place.recipe();
    says(&refused(2, &["plan", &recipe, "--device", "abacus"]), &["abacus", "flex"]);
    says(&refused(2, &["plan", &recipe, "--device", "flex:1"]), &["--threads"]);
    if !cfg!(feature = "cuda") {
        says(&refused(2, &["plan", &recipe, "--device", "cuda:0"]), &["--features cuda"]);
    }
    let none = place.path("none");
    says(&refused(2, &["distill", &recipe, "--set", "teacher.train.epochs=0", "--out", &none]), &["epochs"]);
    assert!(!Path::new(&none).exists());
}
