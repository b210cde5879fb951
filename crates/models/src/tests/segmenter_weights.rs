//! Weights of segmentation networks: whole files, and classifiers' files for their backbones.
use burn::prelude::*;
use burn::tensor::TensorData;

use super::weights::prefixed;
use super::{feature_values, network, shared, strings, wave};
use crate::{Mode, ModelError, Network, StateDict, weights};

fn in_backbone(state: &StateDict) -> usize {
    state.keys().filter(|key| key.starts_with("backbone.")).count()
}

/// Taps of two networks that must be the same numbers.
fn same_taps(net: &Network, other: &Network, pairs: &[(&str, &str)]) {
    let x = wave([1, net.in_channels(), 40, 33], 0.3, 0.2, &Device::flex());
    for (own, its) in pairs {
        let read = |net: &Network, tap: &str| {
            let out = net.forward(x.clone(), Mode::Eval, &strings(&[tap])).unwrap();
            feature_values(out.taps[tap].clone())
        };
        assert_eq!(read(net, own), read(other, its), "{} {own}", net.name());
    }
}

#[test]
fn checkpoints_load_and_another_number_of_classes_is_named() {
    let device = Device::flex();
    let source = network("pspnet-resnet18-d8", 3, 19, &device);
    let plain = source.state_dict();
    // As mmsegmentation writes them, the optimiser's state beside.
    let mut checkpoint = prefixed(&plain, "state_dict.");
    checkpoint.insert("optimizer.state.0.momentum_buffer".into(), TensorData::from([1.0f32]));
    let mut net = network("pspnet-resnet18-d16", 3, 19, &device);
    let report = net.load(&checkpoint).unwrap();
    assert_eq!((report.prefix.as_str(), report.loaded, report.outside), ("state_dict.", plain.len(), 1));
    assert!(net.state_dict().iter().all(|(key, data)| data.as_bytes() == plain[key].as_bytes()));
    let mut other = network("pspnet-resnet18-d8", 3, 11, &device);
    let text = other.load(&checkpoint).unwrap_err().to_string();
    assert!(text.contains("decode_head.conv_seg.weight: 11x128x1x1 here, 19x128x1x1 in the file"), "{text}");
    assert!(text.contains("another number of classes"), "{text}");
    let report = other.load_partial(&checkpoint).unwrap();
    assert_eq!((report.mismatched.len(), report.loaded), (4, plain.len() - 4));
    // The two strides have the same tensors.
    let text = network("pspnet-resnet50-d8", 3, 19, &device).load(&checkpoint).unwrap_err().to_string();
    let fits =
        "fits `pspnet-resnet18-d8` or `pspnet-resnet18-d16` (3 input channels, 19 classes; a file does not tell which)";
    assert!(text.contains(fits), "{text}");
    // Counters as vectors of one, beside a wrong shape: only that is named.
    let mut old = plain.clone();
    for (_, counter) in old.iter_mut().filter(|(key, _)| key.ends_with("num_batches_tracked")) {
        *counter = TensorData::new(vec![7i64], [1]);
    }
    assert_eq!(net.load(&old).unwrap().loaded, plain.len());
    assert_eq!(other.load_partial(&old).unwrap().mismatched.len(), 4);
    assert!(other.load(&old).unwrap_err().to_string().contains("another number of classes"));
    // A file without the auxiliary head is no whole network.
    let headless: StateDict = plain.into_iter().filter(|(key, _)| !key.starts_with("auxiliary_head")).collect();
    let text = net.load(&headless).unwrap_err().to_string();
    assert!(text.contains("auxiliary_head.") && !text.contains("backbone alone"), "{text}");
}

#[test]
fn a_classifiers_weights_become_the_backbone() {
    let device = Device::flex();
    // What lies in front of the strides left out gives the classifier's own features.
    for (source, target, pairs) in [
        (
            "resnet18",
            "pspnet-resnet18b-d8",
            &[("stem", "stem"), ("stage1", "stage1"), ("stage2.pre", "stage2.pre")][..],
        ),
        ("resnet18", "deeplabv3-resnet18b-d16", &[("stage2", "stage2"), ("stage3", "stage3")]),
        ("resnet50", "pspnet-resnet50b-d16", &[("stage3", "stage3")]),
        ("mobilenet_v2", "pspnet-mobilenetv2-d8", &[("stem", "stem"), ("stage1", "stage2"), ("stage2", "stage3")]),
        ("mobilenet_v2", "deeplabv3-mobilenetv2-d16", &[("stage3", "stage4")]),
    ] {
        let source = network(source, 3, 10, &device);
        let mut net = network(target, 3, 4, &device);
        let before = net.state_dict();
        let report = net.load_backbone(&prefixed(&source.state_dict(), "module.")).unwrap();
        assert_eq!((report.prefix.as_str(), report.loaded), ("module.", in_backbone(&before)), "{target}");
        assert!(report.mismatched.is_empty() && report.outside == 0);
        assert!(
            report.unused.iter().all(|key| ["fc.", "classifier.", "features.18."].iter().any(|p| key.starts_with(p)))
        );
        let heads = |key: &&String| !key.starts_with("backbone.") && !key.ends_with("num_batches_tracked");
        let mut missing = report.missing.clone();
        missing.sort();
        assert_eq!(missing, before.keys().filter(heads).cloned().collect::<Vec<_>>(), "{target}");
        same_taps(&net, &source, pairs);
        for (key, data) in net.state_dict().iter().filter(|(key, _)| !key.starts_with("backbone.")) {
            assert_eq!(data.as_bytes(), before[key].as_bytes(), "{target}: the head keeps its own {key}");
        }
    }
}

#[test]
fn a_backbone_of_a_checkpoint_or_of_mmpretrain_fits() {
    let device = Device::flex();
    let source = network("pspnet-resnet18-d8", 3, 19, &device);
    let state = prefixed(&source.state_dict(), "state_dict.");
    let mut net = network("deeplabv3-resnet18-d16", 3, 4, &device);
    let report = net.load_backbone(&state).unwrap();
    assert_eq!((report.prefix.as_str(), report.loaded), ("state_dict.backbone.", in_backbone(&source.state_dict())));
    same_taps(&net, &source, &[("stage2", "stage2")]);
    // A published ResNetV1c: names without `backbone.`, a classifier of its own.
    let bare = source.state_dict().into_iter().filter_map(|(k, v)| Some((k.strip_prefix("backbone.")?.to_string(), v)));
    let mut bare: StateDict = bare.collect();
    bare.insert("fc.weight".into(), TensorData::zeros::<f32, _>([1000, 512]));
    let mut net = network("pspnet-resnet18-d8", 3, 4, &device);
    assert_eq!(net.load_backbone(&bare).unwrap().unused, ["fc.weight"]);
    same_taps(&net, &source, &[("stage4", "stage4")]);
    // As a whole network it is refused, with the way out.
    let text = net.load(&bare).unwrap_err().to_string();
    assert!(text.contains("it holds the backbone alone"), "{text}");
}

#[test]
fn timm_and_published_mobilenets_fit() {
    let mut net = network("deeplabv3-mobilenetv2-d8", 3, 4, &Device::flex());
    let all = in_backbone(&net.state_dict());
    let entry = |line: &str| {
        let (key, shape) = line.split_once(' ').unwrap();
        let shape: Vec<usize> = shape.split('x').filter_map(|n| n.parse().ok()).collect();
        (key.to_string(), TensorData::zeros::<f32, _>(shape))
    };
    let state: StateDict = include_str!("../../fixtures/timm_mobilenetv2.tsv").lines().map(entry).collect();
    let report = net.load_backbone(&state).unwrap();
    assert_eq!((report.loaded, report.mismatched.len()), (all, 0));
    let head = |key: &String| ["conv_head.", "bn2.", "classifier."].iter().any(|part| key.starts_with(part));
    assert!(report.unused.iter().all(head) && report.loaded + report.unused.len() == state.len());
    if let Some(file) = shared("weights/imagenet_mobilenet_v2.safetensors") {
        let state = weights::read(&file).unwrap();
        assert_eq!(net.load_backbone(&state).unwrap().loaded, all);
        let own = net.state_dict()["backbone.layer7.0.conv.2.bn.running_var"].clone();
        assert_eq!(own.as_bytes(), state["features.17.conv.3.running_var"].as_bytes());
    }
}

#[test]
fn other_backbones_are_refused_by_name() {
    let device = Device::flex();
    let refused = |target: &str, state: &StateDict| {
        let mut net = network(target, 3, 4, &device);
        let before = net.state_dict();
        let error = net.load_backbone(state).unwrap_err();
        assert!(net.state_dict().iter().all(|(k, v)| v.as_bytes() == before[k].as_bytes()), "half loaded");
        error
    };
    let plain = network("resnet18", 3, 10, &device).state_dict();
    // Another stem; the name of the network that has it.
    let text = refused("pspnet-resnet18-d8", &plain).to_string();
    assert!(text.contains("stem.0.weight") && text.contains("backbone of `pspnet-resnet18b-d8`"), "{text}");
    // A deeper one holds all names.
    let deeper = network("resnet34", 3, 10, &device).state_dict();
    let error = refused("pspnet-resnet18b-d8", &deeper);
    let text = error.to_string();
    assert!(matches!(&error, ModelError::OtherNetwork { .. }) && text.contains("layer1.2."), "{text}");
    assert!(text.contains("do not fit the backbone of `pspnet-resnet18b-d8`"), "{text}");
    // Names fit, a shape does not.
    let mut wide = plain.clone();
    wide.insert("layer1.0.conv1.weight".into(), TensorData::zeros::<f32, _>([64, 64, 1, 1]));
    let text = refused("pspnet-resnet18b-d8", &wide).to_string();
    assert!(text.contains("backbone.layer1.0.conv1.weight: 64x64x3x3 here, 64x64x1x1 in the file"), "{text}");
    let error = network("resnet18", 3, 10, &device).load_backbone(&plain).unwrap_err();
    assert!(matches!(error, ModelError::BadConfig { .. }), "{error}");
}

#[test]
fn a_first_convolution_for_other_channels_stays_fresh() {
    let device = Device::flex();
    let state = network("resnet18", 3, 10, &device).state_dict();
    let mut net = network("pspnet-resnet18b-d8", 4, 5, &device);
    let before = net.state_dict();
    let report = net.load_backbone(&state).unwrap();
    let [mismatch] = &report.mismatched[..] else { panic!("{:?}", report.mismatched) };
    assert_eq!(mismatch.to_string(), "backbone.conv1.weight: 64x4x7x7 here, 64x3x7x7 in the file");
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["mismatched"], serde_json::json!([mismatch.to_string()]));
    assert_eq!(report.loaded, in_backbone(&before) - 1);
    let after = net.state_dict();
    assert_eq!(after["backbone.conv1.weight"].as_bytes(), before["backbone.conv1.weight"].as_bytes());
    assert_eq!(after["backbone.layer4.1.conv2.weight"].as_bytes(), state["layer4.1.conv2.weight"].as_bytes());
}
