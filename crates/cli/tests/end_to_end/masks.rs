//! `subband eval` on a folder of images with masks, and the figures of a run again.
use image::{GrayImage, Luma, Rgb, RgbImage};
use serde_json::Value;
use subband_models::{NetworkConfig, weights};

use crate::support::{Place, json, refused, succeeds};

/// Two images with two classes in `train` and in `val`, and random weights of a segmentation network.
fn place() -> Place {
    let place = Place::new();
    for (split, index) in [("train", 5_u32), ("train", 9), ("val", 0), ("val", 1)] {
        let (width, height) = (40 + index, 32);
        let image = RgbImage::from_fn(width, height, |x, y| Rgb([(x * 5) as u8, (y * 7) as u8, (x + y + index) as u8]));
        let labels = GrayImage::from_fn(width, height, |x, y| Luma([if y == 0 { 255 } else { u8::from(x > 17) }]));
        let folder = |kind: &str| place.path(&format!("data/{split}/{kind}"));
        std::fs::create_dir_all(folder("images")).unwrap();
        std::fs::create_dir_all(folder("labels")).unwrap();
        image.save(format!("{}/{index}.png", folder("images"))).unwrap();
        labels.save(format!("{}/{index}.png", folder("labels"))).unwrap();
    }
    std::fs::write(place.path("data/classes.txt"), "left\nright\n").unwrap();
    let network = NetworkConfig::new("pspnet-resnet18-d16", 3, 2);
    let network = network.init(subband_seed::Stream::new(1), &burn::prelude::Device::flex()).unwrap();
    weights::write_safetensors(place.path("weights.safetensors").as_ref(), &network.state_dict()).unwrap();
    place
}

/// What `eval` finds.
fn found(args: &[&str]) -> Value {
    serde_json::from_str(&succeeds(&[args, &["--json"]].concat())).unwrap()
}

#[test]
fn segmentation_networks_are_evaluated_class_by_class() {
    let place = place();
    let (data, file) = (place.path("data"), place.path("weights.safetensors"));
    let args = ["eval", "--network", "pspnet-resnet18-d16", "--weights", &file, "--data", &data];
    let text = succeeds(&args);
    assert!(text.contains("2 images, mIoU ") && text.contains("pixel accuracy"), "{text}");
    assert!(text.lines().any(|line| line.trim().starts_with("right")), "{text}");
    let json = |more: &[&str]| found(&[&args[..], more].concat());
    let plain = json(&[]);
    assert_eq!((&plain["images"], &plain["pixels"], &plain["ignored"]), (&2.into(), &(81 * 31).into(), &81.into()));
    let ious: Vec<f64> = (0..2).map(|class| plain["classes"][class]["iou"].as_f64().unwrap()).collect();
    assert_eq!(plain["protocol"], "standard");
    assert!((plain["miou"].as_f64().unwrap() - (ious[0] + ious[1]) / 2.0).abs() < 1e-9);
    // The size of the batch changes nothing; other views of the image change the loss.
    assert_eq!(json(&["--batch", "1"]), plain);
    assert_eq!(json(&["--window", "24"]), json(&["--window", "24,24"]));
    let views = json(&["--window", "24x24", "--stride", "16x16", "--scales", "0.75,1", "--flip"]);
    assert_ne!(views["loss"], plain["loss"]);
}

#[test]
fn flags_and_networks_that_do_not_fit_are_refused() {
    let place = place();
    let (data, file) = (place.path("data"), place.path("weights.safetensors"));
    let args = ["eval", "--network", "pspnet-resnet18-d16", "--weights", &file, "--data", &data];
    let error = |more: &[&str]| refused(2, &[&args[..], more].concat());
    assert!(error(&["--window", "24x"]).contains("--window 24x") && error(&["--resize", "0"]).contains("--resize 0"));
    assert!(error(&["--limit", "0"]).contains("--limit 0"));
    assert!(error(&["--window", "24x24", "--stride", "30x8"]).contains("--stride"));
    assert!(error(&["--protocol", "mfnet-rtfent"]).contains("did you mean `mfnet-rtfnet`"));
    assert!(error(&["--protocol", "cityscapes"]).contains("19 classes"));
    let digits =
        ["eval", "--network", "cifar-resnet8", "--weights", &file, "--data", "digits", "--split", "test", "--flip"];
    assert!(refused(2, &digits).contains("data sets with masks"));
}

#[test]
fn the_figures_of_a_run_are_found_again() {
    let place = place();
    let (data, file, out) = (place.path("data"), place.path("weights.safetensors"), place.path("run"));
    let text = format!(
        "seed = 4\n[data]\ndataset = \"masks\"\npath = {data:?}\nresize = [24, 40]\n\
         [teacher]\nnetwork = \"pspnet-resnet18-d16\"\nweights = {file:?}\n\
         [student]\nnetwork = \"pspnet-mobilenetv2-d16\"\n[train]\nepochs = 2\nbatch_size = 2\n\
         [evaluate]\nscales = [1.0, 1.25]\nflip = true\n[report]\npictures = 0\n\
         [[arm]]\nname = \"student alone\"\n[[arm]]\nname = \"KD\"\n[[arm.term]]\nmethod = \"kd\"\n"
    );
    let recipe = place.path("masks.toml");
    std::fs::write(&recipe, text).unwrap();
    succeeds(&place.distill(&out, &recipe, &["--quiet"]));
    let results = json(format!("{out}/results.json"));
    let same = |found: &Value, figures: &Value| {
        let figures = figures.as_object().unwrap();
        assert!(figures.contains_key("miou") && figures.contains_key("loss"));
        figures.iter().for_each(|(name, value)| assert_eq!(&found[name], value, "{name}"));
    };
    let of_run = |more: &[&str]| found(&[&["eval", "--run", &out], more].concat());
    same(&of_run(&["--arm", "teacher"]), &results["teacher"]["test"]);
    same(&of_run(&["--arm", "student alone"]), &results["arms"][0]["best"]["test"]);
    same(&of_run(&["--arm", "KD", "--last"]), &results["arms"][1]["last"]["test"]);
    let kd = of_run(&["--arm", "kd"]);
    assert_eq!(kd["classes"], results["arms"][1]["best"]["classes"]);
    // The same by hand: any size, not only squares.
    let weights = format!("{out}/arms/kd/student-best.safetensors");
    let by_hand = ["eval", "--network", "pspnet-mobilenetv2-d16", "--weights", &weights, "--data", &data];
    let view = ["--resize", "24x40", "--scales", "1,1.25", "--flip"];
    assert_eq!(found(&[&by_hand[..], &view[..]].concat()), kd);
    assert_ne!(found(&[&by_hand[..], &view[2..]].concat())["loss"], kd["loss"]);
    assert!(succeeds(&["data", "inspect", &data]).contains("different sizes: training needs `resize`"));
    // Flags take the place of what the recipe says.
    assert_ne!(of_run(&["--arm", "kd", "--scales", "1"])["loss"], kd["loss"]);
    assert_ne!(of_run(&["--arm", "kd", "--split", "train"])["pixels"], kd["pixels"]);
    assert_eq!(of_run(&["--arm", "kd", "--limit", "1"])["images"], 1);
    let error = |more: &[&str]| refused(2, &[&["eval", "--run", &out], more].concat());
    assert!(error(&[]).contains("choose one with --arm") && error(&["--arm", "CWD"]).contains("\"CWD\""));
    // A recipe says more of its data than the folder does.
    let inspected = succeeds(&["data", "inspect", &recipe]);
    assert!(inspected.contains("train: ") && inspected.contains("Input to a network: 3"), "{inspected}");
    // The data set was moved.
    let moved = place.path("moved");
    std::fs::rename(&data, &moved).unwrap();
    let gone = error(&["--arm", "kd"]);
    assert!(gone.contains("there is no folder") && gone.contains("--data"), "{gone}");
    assert_eq!(of_run(&["--arm", "kd", "--data", &moved]), kd);
    let little = ["robustness", &out, "--arm", "KD", "--limit", "1", "--corruptions", "contrast", "--severities", "1"];
    let gone = refused(2, &little);
    assert!(gone.contains("there is no folder"), "{gone}");
    assert!(succeeds(&[&little[..], &["--quiet", "--data", &moved]].concat()).contains("contrast"));
}
