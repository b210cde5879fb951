//! Segmentation networks against mmsegmentation's listings and against PyTorch with weights from a formula
//! (`fixtures/segmenters.py`).
use std::collections::BTreeMap;

use burn::prelude::*;
use burn::tensor::{DType, TensorData, loss::cross_entropy_with_logits};
use serde::Deserialize;
use subband_seed::Stream;

use super::families::{check, formula, sums, visit};
use super::hooks::Double;
use super::{feature_values, hash, lines, listing, network, relative, strings, values, wave};
use crate::graph::Op;
use crate::{Feature, Mode, ModelError, Network, NetworkConfig, Noise, StateDict, TapShape};

#[derive(Deserialize)]
struct Case {
    name: String,
    shape: [usize; 4],
    train: bool,
    map: Vec<usize>,
    logits: Vec<f64>,
    taps: BTreeMap<String, [f64; 2]>,
    #[serde(default)]
    grads: BTreeMap<String, [f64; 2]>,
    #[serde(default)]
    running: BTreeMap<String, [f64; 2]>,
}

fn cases(train: bool) -> impl Iterator<Item = Case> {
    let all: Vec<Case> = serde_json::from_str(include_str!("../../fixtures/segmenters.json")).unwrap();
    all.into_iter().filter(move |case| case.train == train)
}

/// The network of a case in f32 or f64, without dropout, with the weights of the formula.
fn build(case: &Case, dtype: DType, device: &Device) -> Network {
    let mut graph = NetworkConfig::new(&case.name, case.shape[1], case.map[1]).graph().unwrap();
    for node in &mut graph.nodes {
        if let Op::DropChannels { rate } = &mut node.op {
            *rate = 0.0;
        }
    }
    let net = Network::from_graph(graph, Stream::new(0), device);
    let mut net = if dtype == DType::F64 { net.map(&mut Double) } else { net };
    let entries = net.graph().entries().filter(|(key, _)| !key.ends_with("num_batches_tracked"));
    let state: StateDict = entries.map(|(key, shape)| (key.clone(), formula(&key, &shape))).collect();
    let report = net.load(&state).unwrap();
    assert!(report.missing.is_empty() && report.unused.is_empty());
    net
}

#[test]
fn evaluation_matches_pytorch_folded_or_not() {
    let device = Device::flex();
    for case in cases(false) {
        let net = build(&case, DType::F32, &device);
        let want: Vec<String> = case.taps.keys().cloned().collect();
        for (net, folded) in [(net.clone(), false), (net.fold_batch_norm(&want), true)] {
            let what = format!("{} {:?} folded: {folded}", case.name, case.shape);
            let out = net.forward(wave(case.shape, 0.37, 0.1, &device), Mode::Eval, &want).unwrap();
            let Feature::Map(logits) = out.logits else { panic!("{what}: the logits are no map") };
            assert_eq!(logits.dims().to_vec(), case.map, "{what}");
            let error = relative(&values(logits), &case.logits);
            assert!(error < 1e-4, "{what}: {error:e}");
            assert_eq!(out.taps.len(), want.len());
            for (name, feature) in out.taps {
                check(sums(&feature_values(feature)), &case.taps[&name], 1e-4, &format!("{what} {name}"));
            }
        }
    }
}

/// Mean cross-entropy with the labels `3 i mod K`.
fn loss(rows: Tensor<2>) -> Tensor<1> {
    let [count, classes] = rows.dims();
    let labels: Vec<i64> = (0..count).map(|i| (3 * i % classes) as i64).collect();
    let labels = Tensor::<1, Int>::from_data(TensorData::new(labels, [count]), &rows.device());
    let onehot = labels.one_hot::<2>(classes).float().cast(rows.dtype());
    cross_entropy_with_logits(rows, onehot)
}

/// In f64 to the fixture's digits; in f32, on the fast kernels, to what rounding leaves of sums that cancel.
#[test]
fn a_training_step_matches_pytorch() {
    for case in cases(true) {
        training_step(&case, DType::F32, [1e-3, 5e-2, 1e-3]);
        training_step(&case, DType::F64, [1e-6; 3]);
    }
}

/// Tolerances of the logits, the gradients and the running statistics.
fn training_step(case: &Case, dtype: DType, tolerance: [f64; 3]) {
    let device = Device::flex().autodiff();
    let net = build(case, dtype, &device);
    let x = wave(case.shape, 0.37, 0.1, &device).cast(dtype);
    let out = net.forward(x, Mode::Train, &strings(&["aux"])).unwrap();
    let error = relative(&feature_values(out.logits.clone()), &case.logits);
    assert!(error < tolerance[0], "{} {dtype:?}: {error:e}", case.name);
    let aux = out.taps["aux"].clone().into_rows();
    let grads = (loss(out.scores()) + loss(aux) * 0.4).backward();
    let mut found = BTreeMap::new();
    visit(&net, &mut |name, grad| drop(found.insert(name, grad)), &grads);
    assert_eq!(found.len(), net.params().count(), "{}: some parameters get no gradient", case.name);
    assert!(case.grads.len() >= 7);
    for (key, wanted) in &case.grads {
        check(sums(&found[key]), wanted, tolerance[1], &format!("{} {dtype:?} {key}", case.name));
    }
    let state = net.state_dict();
    for (key, wanted) in &case.running {
        let found: Vec<f64> = state[key].iter::<f64>().collect();
        check(sums(&found), wanted, tolerance[2], &format!("{} {dtype:?} {key}", case.name));
    }
}

const LISTINGS: &str = include_str!("../../fixtures/segmenters.tsv");

#[test]
fn keys_counts_and_taps_match_the_listings() {
    for row in LISTINGS.lines() {
        let c: Vec<&str> = row.split('\t').collect();
        let (name, size): (&str, Vec<usize>) = (c[0], c[2].split('x').map(|n| n.parse().unwrap()).collect());
        let config = NetworkConfig::new(name, 3, c[3].parse().unwrap());
        let graph = config.graph().unwrap();
        let lines = lines(&graph);
        assert_eq!(lines.len().to_string(), c[5], "{name}");
        assert_eq!(hash(&lines), c[7], "{name}: {:?}", &lines[..4]);
        let params: usize = graph.params().map(|(_, shape)| shape.iter().product::<usize>()).sum();
        assert_eq!(params.to_string(), c[4], "{name}");
        assert_eq!(graph.macs(size[0], size[1]).unwrap().to_string(), c[6], "{name}");
        let convolutions: u64 = config.convolutions(size[0], size[1]).unwrap().iter().map(|conv| conv.macs()).sum();
        assert_eq!(convolutions.to_string(), c[6], "{name}");
        let taps = config.taps(size[0], size[1]).unwrap();
        let shape = |name: &str| taps.iter().find(|t| t.name == name).unwrap().shape.to_string();
        for (stage, wanted) in c[8].split(' ').enumerate() {
            assert_eq!(shape(&format!("stage{}", stage + 1)), wanted, "{name}");
        }
        assert_eq!((shape("logits").as_str(), shape("aux").as_str()), (c[9], c[9]), "{name}");
        assert_eq!(listing(c[1]).unwrap_or_else(|| lines.clone()), lines, "{name}");
    }
}

#[test]
fn segmenters_are_those_whose_logits_are_a_map() {
    for name in crate::network_names() {
        let config = NetworkConfig::new(name, 3, 19);
        let segmenter = name.starts_with("pspnet-") || name.starts_with("deeplabv3-");
        assert_eq!(config.is_segmenter().unwrap(), segmenter, "{name}");
        if !segmenter {
            continue;
        }
        let taps = config.taps(512, 1024).unwrap();
        let tap = |name: &str| taps.iter().find(|t| t.name == name).unwrap();
        let stride = if name.ends_with("-d8") { 8 } else { 16 };
        for last in ["stage4", "decoder", "logits"] {
            assert_eq!(tap(last).stride, stride, "{name} {last}");
        }
        assert_eq!(tap("logits").shape, TapShape::Map { channels: 19, height: 512 / stride, width: 1024 / stride });
        let narrow = name.contains("resnet18");
        assert_eq!(tap("decoder").shape.channels(), if narrow { 128 } else { 512 }, "{name}");
        // The deep stem and the other are told apart by their first convolution alone.
        let stem = if name.contains("mobilenet") || !name.contains("b-d") { 3 } else { 7 };
        assert_eq!(config.convolutions(64, 64).unwrap()[0].kernel, stem, "{name}");
    }
}

#[test]
fn the_stride_left_out_changes_no_tensor() {
    for name in crate::network_names().into_iter().filter(|name| name.ends_with("-d16")) {
        let other = name.replace("-d16", "-d8");
        let [a, b] = [name, &other].map(|name| lines(&NetworkConfig::new(name, 4, 5).graph().unwrap()));
        assert_eq!(a, b, "{name}");
    }
}

fn noise(seed: u64, samples: &[u64]) -> Noise {
    Noise { stream: Stream::new(seed), samples: samples.to_vec() }
}

/// `conv_seg` of `head` on the channels of `x` `[N, C, h, w]` times `keep` `[N, C]`.
fn classified(net: &Network, head: &str, x: Tensor<4>, keep: Tensor<2>) -> Vec<f64> {
    let [n, c, h, w] = x.dims();
    let state = net.state_dict();
    let tensor = |part: &str| state[&format!("{head}.conv_seg.{part}")].clone();
    let weight = Tensor::<4>::from_data(tensor("weight"), &x.device());
    let classes = weight.dims()[0];
    let bias = Tensor::<1>::from_data(tensor("bias"), &x.device()).reshape([1, classes, 1]);
    let x = (x * keep.reshape([n, c, 1, 1])).reshape([n, c, h * w]);
    values(weight.reshape([1, classes, c]).matmul(x) + bias)
}

#[test]
fn whole_channels_are_dropped_in_training_by_image() {
    let device = Device::flex();
    let net = network("pspnet-resnet18-d8", 3, 5, &device);
    let x = wave([3, 3, 33, 41], 0.37, 0.1, &device);
    let want = strings(&["decoder", "aux"]);
    let step = noise(3, &[40, 7, 40]);
    let out = net.forward_with(x.clone(), Mode::Train, &want, Some(&step)).unwrap();
    let keep = step.keep("decode_head.dropout", 0.1, [1, 128], (&device, DType::F32));
    let rows: Vec<Vec<f64>> = (0..3).map(|n| values(keep.clone().narrow(0, n, 1))).collect();
    // The image decides, not its place in the batch.
    assert!(rows[0] == rows[2] && rows[0] != rows[1]);
    let dropped = rows[..2].concat().iter().filter(|k| **k == 0.0).count();
    assert!((10..=45).contains(&dropped), "{dropped} of 256");
    assert!(rows.concat().iter().all(|k| *k == 0.0 || (k - 1.0 / 0.9).abs() < 1e-6));
    let wanted = classified(&net, "decode_head", out.taps["decoder"].clone().into_map(), keep);
    assert!(relative(&feature_values(out.logits.clone()), &wanted) < 1e-5);
    // Same noise, same bits; other noise, other logits but the same map in front of them.
    let again = net.forward_with(x.clone(), Mode::Train, &want, Some(&step)).unwrap();
    let other = net.forward_with(x.clone(), Mode::Train, &want, Some(&noise(4, &[40, 7, 40]))).unwrap();
    let tap = |out: &crate::Features, name: &str| feature_values(out.get(name).unwrap().clone());
    for name in ["logits", "aux", "decoder"] {
        assert_eq!(tap(&out, name), tap(&again, name), "{name}");
        assert_eq!(tap(&out, name) == tap(&other, name), name == "decoder", "{name}");
    }
    // No noise, or that of another batch.
    for step in [None, Some(&noise(3, &[1, 2]))] {
        let error = net.forward_with(x.clone(), Mode::Train, &[], step).unwrap_err();
        assert!(matches!(error, ModelError::NoNoise { .. }), "{error}");
    }
    // In evaluation every channel stays.
    let out = net.forward(x, Mode::Eval, &want).unwrap();
    let wanted =
        classified(&net, "decode_head", out.taps["decoder"].clone().into_map(), Tensor::ones([3, 128], &device));
    assert!(relative(&feature_values(out.logits), &wanted) < 1e-5);
}

#[test]
fn the_auxiliary_head_runs_only_when_it_is_wanted() {
    let device = Device::flex();
    let net = network("deeplabv3-resnet18-d16", 3, 5, &device);
    let x = wave([2, 3, 33, 33], 0.37, 0.1, &device);
    let step = noise(1, &[0, 1]);
    let count = |key: &str| net.state_dict()[&format!("{key}.num_batches_tracked")].iter::<i64>().next().unwrap();
    net.forward_with(x.clone(), Mode::Train, &[], Some(&step)).unwrap();
    assert_eq!((count("decode_head.bottleneck.bn"), count("auxiliary_head.convs.0.bn")), (1, 0));
    net.forward_with(x, Mode::Train, &strings(&["aux"]), Some(&step)).unwrap();
    assert_eq!((count("decode_head.bottleneck.bn"), count("auxiliary_head.convs.0.bn")), (2, 1));
}

#[test]
fn the_smallest_inputs_run_and_one_value_cannot_be_normalised() {
    let device = Device::flex();
    for name in ["pspnet-resnet18-d8", "pspnet-resnet18b-d16"] {
        let net = network(name, 1, 3, &device);
        for (height, width) in [(1, 1), (1, 40), (9, 2)] {
            let out = net.forward(wave([1, 1, height, width], 0.3, 0.0, &device), Mode::Eval, &[]).unwrap();
            assert!(values(out.scores()).iter().all(|v| v.is_finite()), "{name} {height}x{width}");
        }
        assert!(net.taps(0, 8).is_err());
        // One image has one value per channel in the coarsest bin, as in PyTorch.
        let x = wave([1, 1, 33, 33], 0.3, 0.0, &device);
        let error = net.forward_with(x, Mode::Train, &[], Some(&noise(1, &[0]))).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("`decode_head.psp_modules.0.1.bn`"), "{text}");
        assert!(text.ends_with("use a batch of two or more images"), "{text}");
        // In front of the bins it is the image that is too small.
        let x = wave([1, 1, 8, 8], 0.3, 0.0, &device);
        let error = net.forward_with(x, Mode::Train, &[], Some(&noise(1, &[0]))).unwrap_err();
        assert!(error.to_string().ends_with("two or more images, or larger images"), "{error}");
    }
}

#[test]
fn a_frozen_backbone_keeps_its_statistics_and_gets_no_gradient() {
    let device = Device::flex().autodiff();
    let net = network("pspnet-resnet18-d16", 3, 5, &device).freeze(&strings(&["backbone"])).unwrap();
    let trained: usize =
        net.params().filter(|p| !p.name.starts_with("backbone.")).map(|p| p.shape.iter().product::<usize>()).sum();
    assert_eq!(net.trainable_count(), trained);
    let before = net.state_dict();
    let x = wave([2, 3, 17, 33], 0.37, 0.1, &device);
    let out = net.forward_with(x, Mode::Train, &strings(&["aux"]), Some(&noise(1, &[0, 1]))).unwrap();
    let grads = (loss(out.scores()) + loss(out.taps["aux"].clone().into_rows())).backward();
    let mut found = BTreeMap::new();
    visit(&net, &mut |name, grad| drop(found.insert(name, grad)), &grads);
    assert!(found.keys().all(|name| !name.starts_with("backbone.")));
    assert_eq!(found.len(), net.params().filter(|p| p.trainable).count());
    for (key, data) in net.state_dict().into_iter().filter(|(key, _)| key.contains("running_mean")) {
        let moved = data.as_bytes() != before[&key].as_bytes();
        assert_eq!(moved, !key.starts_with("backbone."), "{key}");
    }
}

#[test]
fn low_rank_factors_need_a_fully_connected_layer() {
    let config: crate::LoraConfig =
        crate::LoraConfig { rank: 2, alpha: None, dropout: 0.0, targets: strings(&["conv_seg"]) };
    let error = network("pspnet-resnet18-d8", 3, 5, &Device::flex()).with_lora(&config, Stream::new(1)).unwrap_err();
    assert!(error.to_string().contains("no fully connected layer of `pspnet-resnet18-d8`"), "{error}");
}
