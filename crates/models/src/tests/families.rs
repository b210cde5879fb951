//! Each family against PyTorch with weights from a formula (`fixtures/families.py`).
use std::collections::BTreeMap;

use burn::prelude::*;
use burn::tensor::{TensorData, loss::cross_entropy_with_logits};
use serde::Deserialize;

use super::{feature_values, fnv, network, relative, values, wave};
use crate::{Mode, Network, StateDict};

#[derive(Deserialize)]
struct Case {
    name: String,
    shape: [usize; 4],
    logits: Vec<f64>,
    taps: BTreeMap<String, [f64; 2]>,
    train: Option<Step>,
}

#[derive(Deserialize)]
struct Step {
    logits: Vec<f64>,
    grads: BTreeMap<String, [f64; 2]>,
    running: BTreeMap<String, [f64; 2]>,
}

fn cases() -> Vec<Case> {
    serde_json::from_str(include_str!("../../fixtures/families.json")).unwrap()
}

/// The sine of an angle of millions of turns: whole turns first taken off with the rounding error of one made good, which
/// is several times faster than what the standard library does and the same to the last bit but one.
fn sine(angle: f64) -> f64 {
    const TURN: f64 = std::f64::consts::TAU;
    const TURN_REST: f64 = 2.449_293_598_294_706_4e-16;
    let turns = (angle / TURN).round();
    turns.mul_add(-TURN_REST, turns.mul_add(-TURN, angle)).sin()
}

#[test]
fn sines_of_large_angles() {
    for i in (0..2_400_000).step_by(97) {
        let angle = 0.7 * (f64::from(i) * f64::from(i)) + 3.21;
        assert!((sine(angle) - angle.sin()).abs() < 1e-15, "{angle}");
    }
}

/// The formula of the script.
pub(super) fn formula(key: &str, shape: &[usize]) -> TensorData {
    let phase = (fnv(key.bytes()) % 1000) as f64 / 100.0;
    let scale = (2.0 / shape.iter().skip(1).product::<usize>() as f64).sqrt();
    let value = |i: usize| {
        let wave = sine(0.7 * (i as f64 * i as f64) + phase);
        let value = match key {
            _ if shape.len() > 1 => wave * scale,
            k if k.ends_with("running_var") => 1.0 + 0.5 * wave,
            k if k.ends_with("weight") => 1.0 + 0.3 * wave,
            _ => 0.2 * wave,
        };
        value as f32
    };
    TensorData::new((0..shape.iter().product()).map(value).collect::<Vec<f32>>(), shape.to_vec())
}

fn build(case: &Case, device: &Device) -> Network {
    let mut net = network(&case.name, case.shape[1], 10, device);
    let entries = net.graph().entries().filter(|(key, _)| !key.ends_with("num_batches_tracked"));
    let state: StateDict = entries.map(|(key, shape)| (key.clone(), formula(&key, &shape))).collect();
    let report = net.load(&state).unwrap();
    assert!(report.missing.is_empty() && report.unused.is_empty());
    net
}

pub(super) fn check(found: [f64; 2], wanted: &[f64; 2], tolerance: f64, what: &str) {
    // The sum may cancel; its error is measured against what the squares allow.
    let scale = [wanted[0].abs().max(wanted[1].sqrt()), wanted[1]];
    for i in 0..2 {
        let error = (found[i] - wanted[i]).abs() / scale[i].max(1e-12);
        assert!(error < tolerance, "{what}: {found:?} instead of {wanted:?}");
    }
}

pub(super) fn sums(x: &[f64]) -> [f64; 2] {
    [x.iter().sum(), x.iter().map(|v| v * v).sum()]
}

#[test]
fn evaluation_matches_pytorch_folded_or_not() {
    let device = Device::flex();
    for case in cases() {
        let net = build(&case, &device);
        let want: Vec<String> = case.taps.keys().cloned().collect();
        for (net, folded) in [(net.clone(), false), (net.fold_batch_norm(&want), true)] {
            let what = format!("{} folded: {folded}", case.name);
            let out = net.forward(wave(case.shape, 0.37, 0.1, &device), Mode::Eval, &want).unwrap();
            let error = relative(&values(out.scores()), &case.logits);
            assert!(error < 1e-4, "{what}: {error:e}");
            assert_eq!(out.taps.len(), want.len());
            for (name, feature) in out.taps {
                check(sums(&feature_values(feature)), &case.taps[&name], 1e-4, &format!("{what} {name}"));
            }
        }
    }
}

#[test]
fn a_training_step_matches_pytorch() {
    let device = Device::flex().autodiff();
    for case in cases() {
        let Some(step) = &case.train else { continue };
        let net = build(&case, &device);
        let out = net.forward(wave(case.shape, 0.37, 0.1, &device), Mode::Train, &[]).unwrap();
        let labels = Tensor::<1, Int>::from_data([3, 7], &device);
        let onehot = labels.one_hot::<2>(10).float();
        let error = relative(&values(out.scores().inner()), &step.logits);
        assert!(error < 1e-3, "{}: {error:e}", case.name);
        let grads = cross_entropy_with_logits(out.scores(), onehot).backward();
        let mut found = BTreeMap::new();
        visit(&net, &mut |name, grad| drop(found.insert(name, grad)), &grads);
        for (key, wanted) in &step.grads {
            let scale = sums(&found[key]);
            assert!(scale[1] > 0.0, "{key}: the gradient is zero");
            check(scale, wanted, 1e-3, &format!("{} {key}", case.name));
        }
        let state = net.state_dict();
        for (key, wanted) in &step.running {
            let found: Vec<f64> = state[key].iter::<f64>().collect();
            check(sums(&found), wanted, 1e-4, &format!("{} {key}", case.name));
        }
        let counts = state.iter().filter(|(k, _)| k.ends_with("num_batches_tracked"));
        assert!(counts.map(|(_, v)| v.iter::<i64>().next().unwrap()).all(|n| n == 1));
    }
}

/// Gradients by parameter name, through the ids that an optimiser uses.
pub(super) fn visit(net: &Network, put: &mut dyn FnMut(String, Vec<f64>), grads: &burn::tensor::Gradients) {
    struct Visitor<'a> {
        names: BTreeMap<u64, String>,
        put: &'a mut dyn FnMut(String, Vec<f64>),
        grads: &'a burn::tensor::Gradients,
    }
    impl burn::module::ModuleVisitor for Visitor<'_> {
        fn visit_float<const D: usize>(&mut self, param: &burn::module::Param<Tensor<D>>) {
            if let (Some(name), true) = (self.names.get(&param.id.val()), param.val().is_require_grad())
                && let Some(grad) = param.val().grad(self.grads)
            {
                (self.put)(name.clone(), values(grad));
            }
        }
    }
    let names = net.params().map(|p| (p.id.val(), p.name)).collect();
    net.visit(&mut Visitor { names, put, grads });
}
