//! Vision transformers: gradients of a very small one, tokens, input sizes, either head.
use std::collections::BTreeMap;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::prelude::*;
use burn::tensor::{DType, Gradients, TensorData};
use subband_seed::Stream;

use super::{feature_values, image, network, relative, strings, values, wave};
use crate::zoo::{Build, vit};
use crate::{Feature, Mode, ModelError, Network, TapShape};

/// Four blocks of two heads of three channels on 3 x 3 patches, in f64.
fn tiny(distilled: bool, device: &Device) -> Network {
    let variant = vit::Variant { width: 6, heads: 2, depth: 4, patch: 2, side: 3, distilled };
    let graph = vit::build(Build { network: "tiny", in_channels: 2, classes: 3 }, variant);
    Network::from_graph(graph, Stream::new(3), device).map(&mut Shift { only: None, step: 0.0 })
}

/// A direction for every parameter, from its id.
fn direction<const D: usize>(param: &Param<Tensor<D>>) -> Tensor<D> {
    let (shape, phase) = (param.val().dims(), (param.id.val() % 97) as f64);
    let values: Vec<f64> = (0..shape.iter().product()).map(|k: usize| (1.3 * k as f64 + phase).sin()).collect();
    Tensor::from_data(TensorData::new(values, shape), (&param.val().device().without_autodiff(), DType::F64))
}

/// Turns parameters into f64, well away from their first values, and moves one of them.
struct Shift {
    only: Option<u64>,
    step: f64,
}

impl ModuleMapper for Shift {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let direction = direction(&param);
        let step = match self.only {
            None => 0.4,
            Some(id) if id == param.id.val() => self.step,
            Some(_) => 0.0,
        };
        param.map(|x| Tensor::from_inner(x.inner().cast(DType::F64) + direction * step).require_grad())
    }
}

/// The derivative along every parameter's direction.
struct Slopes<'a>(&'a Gradients, BTreeMap<u64, f64>);

impl ModuleVisitor for Slopes<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let gradient = param.val().grad(self.0).expect("every parameter gets a gradient");
        self.1.insert(param.id.val(), values((gradient * direction(param)).sum())[0]);
    }
}

#[test]
fn gradients_of_every_parameter_match_differences() {
    let device = Device::flex().autodiff();
    for distilled in [false, true] {
        let net = tiny(distilled, &device);
        let x = wave([2, 2, 6, 6], 0.7, 0.1, &device).cast(DType::F64);
        let loss = |net: &Network| {
            let want = strings(&["stem", "stage2"]);
            let out = net.forward(x.clone(), Mode::Train, &want).unwrap();
            let scores = out.scores();
            let taps = out.taps.into_values().map(|f| f.into_map().powi_scalar(2).mean() * 0.1);
            taps.fold(scores.powi_scalar(2).sum(), |sum, tap| sum + tap)
        };
        let grads = loss(&net).backward();
        let mut slopes = Slopes(&grads, BTreeMap::new());
        net.visit(&mut slopes);
        assert_eq!(slopes.1.len(), net.params().count());
        for param in net.params() {
            let moved = |step| {
                let net = net.clone().map(&mut Shift { only: Some(param.id.val()), step });
                values(loss(&net))[0]
            };
            let wanted = (moved(1e-5) - moved(-1e-5)) / 2e-5;
            let found = slopes.1[&param.id.val()];
            let error = (found - wanted).abs() / wanted.abs().max(1e-3);
            assert!(error < 1e-5, "{}: {found} instead of {wanted}", param.name);
        }
    }
}

#[test]
fn only_the_size_of_the_positions_is_taken() {
    let device = Device::flex();
    let net = network("deit_tiny_patch16_224", 3, 10, &device);
    assert_eq!((net.input_side(), network("resnet18", 3, 10, &device).input_side()), (Some(224), None));
    for (height, width) in [(32, 32), (224, 225), (240, 224), (8, 8), (0, 0)] {
        let error = net.taps(height, width).unwrap_err();
        assert!(matches!(error, ModelError::InputSize { side: 224, .. }), "{error}");
        assert!(error.to_string().contains("224x224 only") && error.to_string().contains("resize"));
    }
    let error = net.forward(wave([1, 3, 32, 32], 0.3, 0.0, &device), Mode::Eval, &[]).unwrap_err();
    assert!(matches!(error, ModelError::InputSize { height: 32, .. }), "{error}");
}

#[test]
fn tokens_go_back_to_their_grid() {
    let device = Device::flex();
    let variant = vit::Variant { width: 6, heads: 2, depth: 4, patch: 2, side: 3, distilled: true };
    let graph = vit::build(Build { network: "tiny", in_channels: 2, classes: 3 }, variant);
    let net = Network::from_graph(graph, Stream::new(3), &device);
    let want = strings(&["stem", "norm", "pooled"]);
    let out = net.forward(wave([2, 2, 6, 6], 0.7, 0.1, &device), Mode::Eval, &want).unwrap();
    let shape = TapShape::Tokens { length: 9, channels: 6, prefix: 0, grid: (3, 3) };
    assert_eq!(out.taps["stem"].shape(), shape);
    let norm = out.taps["norm"].clone();
    assert_eq!(norm.shape(), TapShape::Tokens { length: 11, channels: 6, prefix: 2, grid: (3, 3) });
    let (tokens, map) = (feature_values(norm.clone()), values(norm.into_map()));
    for (n, c, place) in [(0, 0, 0), (0, 5, 8), (1, 2, 4), (1, 3, 5)] {
        assert_eq!(map[(n * 6 + c) * 9 + place], tokens[(n * 11 + 2 + place) * 6 + c]);
    }
    // The pooled vector is the class token.
    assert_eq!(feature_values(out.taps["pooled"].clone())[6..], tokens[11 * 6..][..6]);
}

#[test]
fn the_logits_of_a_distilled_network_are_the_mean_of_its_heads() {
    let device = Device::flex();
    let net = network("deit_tiny_distilled_patch16_224", 3, 7, &device);
    let want = strings(&["head", "head_dist"]);
    let out = net.forward(image(&net, 1, 0, 0, &device), Mode::Eval, &want).unwrap();
    let [a, b] = [0, 1].map(|i| feature_values(out.taps[&want[i]].clone()));
    let mean: Vec<f64> = a.iter().zip(&b).map(|(a, b)| (a + b) / 2.0).collect();
    assert!(relative(&values(out.scores()), &mean) < 1e-6);
    assert!(relative(&a, &b) > 1e-2);
}

#[test]
fn devices_snapshots_and_freezing() {
    let device = Device::flex();
    let net = network("deit_tiny_patch16_224", 3, 5, &device);
    let x = image(&net, 2, 0, 0, &device);
    let want = strings(&["stage4"]);
    let plain = net.forward(x.clone(), Mode::Eval, &want).unwrap();
    assert!(!plain.scores().is_autodiff());
    let trained = net.clone().freeze(&strings(&["cls_token", "patch_embed", "blocks.1"])).unwrap().train();
    let frozen: Vec<String> = trained.params().filter(|p| !p.trainable).map(|p| p.name).collect();
    assert_eq!(frozen.len(), 1 + 2 + 12);
    assert!(frozen.contains(&"cls_token".to_string()) && !frozen.contains(&"blocks.10.norm1.bias".to_string()));
    let out = trained.forward(x.clone(), Mode::Train, &want).unwrap();
    // There is no dropout: training is the same function.
    assert!(relative(&values(out.scores().inner()), &values(plain.scores())) < 1e-5);
    let grads = burn::optim::GradientsParams::from_grads(out.scores().sum().backward(), &trained);
    assert_eq!(grads.len(), trained.params().filter(|p| p.trainable).count());
    let valid = trained.valid().forward(x.clone(), Mode::Eval, &want).unwrap();
    assert!(matches!(valid.taps["stage4"], Feature::Tokens { prefix: 1, grid: (14, 14), .. }));
    assert_eq!(values(valid.scores()), values(plain.scores()));
    // One image of a batch is the same as the image alone.
    let alone = net.forward(x.narrow(0, 1, 1), Mode::Eval, &[]).unwrap();
    assert!(relative(&values(alone.scores()), &values(plain.scores())[5..]) < 1e-5);
    let text = net.describe(224, 224).unwrap();
    for part in ["5525381 parameters", "blocks.11", "197x192 tokens", "stage4", "pooled"] {
        assert!(text.contains(part), "{text}");
    }
    let error = net.freeze(&strings(&["cls_tokn"])).unwrap_err().to_string();
    assert!(error.contains("did you mean `cls_token`"), "{error}");
}

#[test]
fn weights_go_out_and_come_back() {
    let device = Device::flex();
    let source = network("deit_tiny_distilled_patch16_224", 3, 10, &device);
    let mut state = source.state_dict();
    let mut other = crate::NetworkConfig::new(source.name(), 3, 10).init(Stream::new(9), &device).unwrap();
    assert_ne!(other.state_dict()["pos_embed"].as_bytes(), state["pos_embed"].as_bytes());
    let report = other.load(&state.iter().map(|(k, v)| (format!("model.{k}"), v.clone())).collect()).unwrap();
    assert_eq!((report.prefix.as_str(), report.loaded), ("model.", state.len()));
    assert!(other.state_dict().iter().all(|(k, v)| v.as_bytes() == state[k].as_bytes()));
    // Another number of classes: only the two heads stay.
    let mut wide = network("deit_tiny_distilled_patch16_224", 3, 100, &device);
    let error = wide.load(&state).unwrap_err().to_string();
    assert!(error.contains("another number of classes"), "{error}");
    assert_eq!(wide.load_partial(&state).unwrap().mismatched.len(), 4);
    // A file without the distillation token is recognised.
    state.retain(|key, _| !key.contains("dist"));
    state.insert("pos_embed".into(), TensorData::new(vec![0.0f32; 197 * 192], [1, 197, 192]));
    let error = other.load(&state).unwrap_err().to_string();
    let fits = "`deit_tiny_patch16_224` or `vit_tiny_patch16_224` (3 input channels, 10 classes; a file";
    assert!(error.contains(fits), "{error}");
}
