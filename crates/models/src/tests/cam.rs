//! Class-activation maps against pytorch-grad-cam (`fixtures/cam.py`).
use burn::prelude::*;
use burn::tensor::TensorData;
use serde::Deserialize;
use subband_seed::Stream;

use super::{families::formula, network, strings, wave};
use crate::builder::{ConvArgs, GraphBuilder};
use crate::graph::{Graph, Init};
use crate::zoo::{Build, vit};
use crate::{Cam, CamTarget, HeatMap, ModelError, Network, NetworkConfig, StateDict};

#[derive(Deserialize)]
struct Case {
    network: String,
    shape: [usize; 4],
    taps: Vec<String>,
    #[serde(rename = "grad-cam")]
    grad: Vec<f32>,
    #[serde(rename = "ablation-cam")]
    ablation: Vec<f32>,
}

/// Three convolutions; the logits are a map at stride 2.
pub(super) fn segmenter() -> Graph {
    let (mut g, input) = GraphBuilder::new(3, Init::Uniform, Init::Uniform);
    let x = g.conv("first", input, ConvArgs::new(6, 3).stride(2).bias());
    let x = g.relu(x);
    g.tap("stage1", x);
    let x = g.conv("second", x, ConvArgs::new(5, 3).bias());
    let x = g.relu(x);
    g.tap("stage2", x);
    let logits = g.conv("score", x, ConvArgs::new(4, 1).bias());
    g.close("segmenter", logits, None)
}

pub(super) fn transformer(distilled: bool) -> Graph {
    let variant = vit::Variant { width: 6, heads: 2, depth: 4, patch: 2, side: 3, distilled };
    vit::build(Build { network: "transformer", in_channels: 3, classes: 3 }, variant)
}

/// The network of a case with the script's weights.
pub(super) fn build(name: &str, device: &Device) -> Network {
    let mut net = match name {
        "segmenter" => Network::from_graph(segmenter(), Stream::new(1), device),
        "transformer" => Network::from_graph(transformer(false), Stream::new(1), device),
        name => network(name, 3, 10, device),
    };
    let entries = net.graph().entries().filter(|(key, _)| !key.ends_with("num_batches_tracked"));
    let state: StateDict = entries.map(|(key, shape)| (key.clone(), formula(&key, &shape))).collect();
    let report = net.load(&state).unwrap();
    assert!(report.missing.is_empty() && report.unused.is_empty());
    net
}

/// The script's mask.
fn pixels(class: usize, height: usize, width: usize, image: usize) -> CamTarget {
    let inside = |place: usize| {
        let (y, x) = (place / width, place % width);
        (7 * y + 3 * x + image) % 5 < 2 && 3 * x >= width
    };
    CamTarget::Pixels { class, height, width, mask: (0..height * width).map(inside).collect() }
}

fn targets(case: &str) -> Vec<CamTarget> {
    match case {
        "segmenter" => vec![pixels(1, 13, 10, 0), pixels(2, 13, 10, 1)],
        "transformer" => vec![CamTarget::Class(0), CamTarget::Class(2)],
        _ => vec![CamTarget::Class(3), CamTarget::Class(7)],
    }
}

fn flat(maps: &[HeatMap]) -> Vec<f32> {
    maps.iter().flat_map(|m| m.values.iter().copied()).collect()
}

#[test]
fn maps_are_those_of_pytorch_grad_cam() {
    let cases: Vec<Case> = serde_json::from_str(include_str!("../../fixtures/cam.json")).unwrap();
    for device in [Device::flex(), Device::flex().autodiff()] {
        for case in &cases {
            let (net, x) = (build(&case.network, &device), wave(case.shape, 0.37, 0.1, &device));
            for (cam, wanted) in [(Cam::Grad, &case.grad), (Cam::Ablation, &case.ablation)] {
                let maps = cam.maps(&net, x.clone(), &case.taps, &targets(&case.network)).unwrap();
                assert!(maps.iter().all(|m| (m.height, m.width) == (case.shape[2], case.shape[3])));
                let found = flat(&maps);
                assert_eq!(found.len(), wanted.len());
                let error = found.iter().zip(wanted).fold(0.0_f32, |m, (a, b)| m.max((a - b).abs()));
                assert!(error < 1e-4, "{} {:?} {cam}: {error:e}", case.network, case.taps);
            }
        }
    }
}

#[test]
fn an_image_is_explained_as_it_is_alone() {
    let device = Device::flex();
    let net = build("segmenter", &device);
    let x = wave([2, 3, 13, 10], 0.37, 0.1, &device);
    let (taps, both) = (strings(&["stage1"]), targets("segmenter"));
    for cam in Cam::ALL {
        let maps = cam.maps(&net, x.clone(), &taps, &both).unwrap();
        let alone = cam.maps(&net, x.clone().narrow(0, 1, 1), &taps, &both[1..]).unwrap();
        assert!(flat(&maps[1..]).iter().zip(flat(&alone)).all(|(a, b)| (a - b).abs() < 1e-5), "{cam}");
        assert_ne!(maps[0], maps[1]);
    }
}

#[test]
fn a_tap_with_one_place_or_without_a_way_to_the_score_gives_no_heat() {
    let device = Device::flex();
    // Only the class token of the last block goes on: no gradient on its grid.
    let net = build("transformer", &device);
    let x = wave([1, 3, 6, 6], 0.37, 0.1, &device);
    let maps = Cam::Grad.maps(&net, x, &strings(&["stage4"]), &[CamTarget::Class(1)]).unwrap();
    assert!(maps[0].values.iter().all(|v| *v == 0.0));
    let net = build("cifar-resnet8", &device);
    let x = wave([1, 3, 4, 4], 0.37, 0.1, &device);
    let maps = Cam::Ablation.maps(&net, x, &strings(&["stage3"]), &[CamTarget::Class(1)]).unwrap();
    assert_eq!(maps[0].values, [0.0; 16]);
}

#[test]
fn what_cannot_be_explained_is_named() {
    let device = Device::flex();
    let (net, seg) = (build("cifar-resnet8", &device), build("segmenter", &device));
    let x = wave([1, 3, 16, 16], 0.37, 0.1, &device);
    for cam in Cam::ALL {
        let fails = |net: &Network, taps: &[&str], targets: &[CamTarget], words: &str| {
            let error = cam.maps(net, x.clone(), &strings(taps), targets).unwrap_err();
            assert!(error.to_string().contains(words), "{error}");
            error
        };
        let class = CamTarget::Class;
        fails(&net, &[], &[class(1)], "no tap is named");
        fails(&net, &["stage3"], &[], "0 targets for 1 images");
        fails(&net, &["stage3"], &[class(10)], "image 0: there is no class 10, the network has 10");
        fails(&net, &["pooled"], &[class(1)], "it is a vector");
        fails(&net, &["stage3"], &[pixels(1, 16, 16, 0)], "name a class alone");
        fails(&seg, &["stage2"], &[class(1)], "needs the pixels");
        let mask = |mask| CamTarget::Pixels { class: 1, height: 2, width: 2, mask };
        fails(&seg, &["stage2"], &[mask(vec![true; 3])], "the mask of 2x2 has 3 values");
        fails(&seg, &["stage2"], &[mask(vec![false; 4])], "no pixel");
        let error = fails(&net, &["stge3"], &[class(1)], "did you mean `stage3`?");
        assert!(matches!(error, ModelError::UnknownTap { .. }));
    }
    // The auxiliary head is not on the way to the logits.
    let pspnet = NetworkConfig::new("pspnet-resnet18-d8", 3, 4).init(Stream::new(1), &device).unwrap();
    let all = CamTarget::Pixels { class: 1, height: 16, width: 16, mask: vec![true; 256] };
    let error = Cam::Grad.maps(&pspnet, x.clone(), &strings(&["aux"]), &[all]).unwrap_err();
    assert!(error.to_string().contains("the tap `aux`: the logits do not depend on it"), "{error}");
    let error = "grad-kam".parse::<Cam>().unwrap_err();
    assert!(error.to_string().contains("`grad-kam` (did you mean `grad-cam`?); there are grad-cam, ablation-cam"));
    assert!(Cam::ALL.iter().all(|cam| cam.to_string().parse::<Cam>().unwrap() == *cam));
    // A score of nothing has no shares.
    let mut state = net.state_dict();
    for (_, value) in state.iter_mut().filter(|(key, _)| key.starts_with("fc.")) {
        *value = TensorData::new(vec![0.0_f32; value.num_elements()], value.shape().clone());
    }
    let mut blind = net.clone();
    blind.load(&state).unwrap();
    let error = Cam::Ablation.maps(&blind, x, &strings(&["stage3"]), &[CamTarget::Class(1)]).unwrap_err();
    assert!(error.to_string().contains("image 0: the score of its target is 0"), "{error}");
}
