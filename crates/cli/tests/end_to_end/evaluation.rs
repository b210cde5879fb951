//! Published weights on real images.
use crate::support::{cifar10_jpeg, shared, succeeds};

/// Evaluates a network of the option-A family on `cifar10-jpeg/val`.
fn eval(network: &str, file: &str, more: &[&str]) -> Option<serde_json::Value> {
    let (data, weights) = (cifar10_jpeg()?, shared(&format!("weights/{file}"))?);
    let (data, weights) = (data.to_str()?, weights.to_str()?);
    let args = ["eval", "--network", network, "--weights", weights, "--data", data, "--split", "val", "--json"];
    Some(serde_json::from_str(&succeeds(&[&args[..], more].concat())).unwrap())
}

#[test]
fn resnet20_classifies_as_many_images_as_in_pytorch() {
    let Some(result) = eval("cifar-resnet20a", "cifar10_resnet20.safetensors", &[]) else { return };
    let correct = result["correct"].as_i64().unwrap();
    assert_eq!(result["total"], 5000);
    assert!((correct - 4050).abs() <= 15, "{result}");
    assert!((result["top1"].as_f64().unwrap() - correct as f64 / 50.0).abs() < 1e-9);
    assert!(result["top5"].as_f64().unwrap() > 98.0);
}

#[test]
fn the_legacy_pickle_gives_the_same_as_safetensors() {
    let few = ["--limit", "200"];
    let Some(new) = eval("cifar-resnet56a", "cifar10_resnet56.safetensors", &few) else { return };
    let Some(old) = eval("cifar-resnet56a", "resnet56-4bfd9763.th", &few) else { return };
    assert_eq!(new, old);
    let top1 = new["top1"].as_f64().unwrap();
    assert!((top1 - 83.1).abs() < 8.0, "{top1} on 200 images, 83.1 on all");
}
