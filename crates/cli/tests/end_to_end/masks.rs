//! `subband eval` on a folder of images with masks.
use image::{GrayImage, Luma, Rgb, RgbImage};
use subband_models::{NetworkConfig, weights};

use crate::support::{Place, refused, succeeds};

/// Two images with two classes in `val`, and random weights of a segmentation network.
fn place() -> Place {
    let place = Place::new();
    for index in 0..2_u32 {
        let (width, height) = (40 + index, 32);
        let image = RgbImage::from_fn(width, height, |x, y| Rgb([(x * 6) as u8, (y * 7) as u8, (x + y + index) as u8]));
        let labels = GrayImage::from_fn(width, height, |x, y| Luma([if y == 0 { 255 } else { u8::from(x > 17) }]));
        std::fs::create_dir_all(place.path("data/val/images")).unwrap();
        std::fs::create_dir_all(place.path("data/val/labels")).unwrap();
        image.save(place.path(&format!("data/val/images/{index}.png"))).unwrap();
        labels.save(place.path(&format!("data/val/labels/{index}.png"))).unwrap();
    }
    std::fs::write(place.path("data/classes.txt"), "left\nright\n").unwrap();
    let network = NetworkConfig::new("pspnet-resnet18-d16", 3, 2);
    let network = network.init(subband_seed::Stream::new(1), &burn::prelude::Device::flex()).unwrap();
    weights::write_safetensors(place.path("weights.safetensors").as_ref(), &network.state_dict()).unwrap();
    place
}

#[test]
fn segmentation_networks_are_evaluated_class_by_class() {
    let place = place();
    let (data, file) = (place.path("data"), place.path("weights.safetensors"));
    let args = ["eval", "--network", "pspnet-resnet18-d16", "--weights", &file, "--data", &data];
    let text = succeeds(&args);
    assert!(text.contains("2 images, mIoU ") && text.contains("pixel accuracy"), "{text}");
    assert!(text.lines().any(|line| line.trim().starts_with("right")), "{text}");
    let json = |more: &[&str]| -> serde_json::Value {
        serde_json::from_str(&succeeds(&[&args[..], &["--json"], more].concat())).unwrap()
    };
    let plain = json(&[]);
    assert_eq!((&plain["images"], &plain["pixels"], &plain["ignored"]), (&2.into(), &(81 * 31).into(), &81.into()));
    let ious: Vec<f64> = (0..2).map(|class| plain["classes"][class]["iou"].as_f64().unwrap()).collect();
    assert_eq!(plain["protocol"], "standard");
    assert!((plain["miou"].as_f64().unwrap() - (ious[0] + ious[1]) / 2.0).abs() < 1e-9);
    // The size of the batch changes nothing; other views of the image change the loss.
    assert_eq!(json(&["--batch", "1"]), plain);
    let views = json(&["--window", "24x24", "--stride", "16x16", "--scales", "0.75,1", "--flip"]);
    assert_ne!(views["loss"], plain["loss"]);
}

#[test]
fn flags_and_networks_that_do_not_fit_are_refused() {
    let place = place();
    let (data, file) = (place.path("data"), place.path("weights.safetensors"));
    let args = ["eval", "--network", "pspnet-resnet18-d16", "--weights", &file, "--data", &data];
    let error = |more: &[&str]| refused(2, &[&args[..], more].concat());
    assert!(error(&["--window", "24"]).contains("--window 24"));
    assert!(error(&["--window", "24x24", "--stride", "30x8"]).contains("--stride"));
    assert!(error(&["--protocol", "mfnet-rtfent"]).contains("did you mean `mfnet-rtfnet`"));
    assert!(error(&["--protocol", "cityscapes"]).contains("19 classes"));
    let digits =
        ["eval", "--network", "cifar-resnet8", "--weights", &file, "--data", "digits", "--split", "test", "--flip"];
    assert!(refused(2, &digits).contains("data sets with masks"));
}
