use super::*;
use burn::module::ParamId;
use serde::Deserialize;

#[derive(Module, Debug)]
struct One {
    w: Param<Tensor<1>>,
}

#[derive(Deserialize)]
struct Fixture {
    start: Vec<f64>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    lr: Vec<f64>,
    values: Vec<Vec<f64>>,
}

fn fixture() -> Fixture {
    serde_json::from_str(include_str!("../../fixtures/optimizers.json")).unwrap()
}

fn recipe(name: &str) -> OptimizerRecipe {
    match name {
        "sgd plain" => OptimizerRecipe::Sgd { lr: 0.1, momentum: 0.0, weight_decay: 0.0, nesterov: false },
        "sgd momentum decay" => OptimizerRecipe::Sgd { lr: 0.1, momentum: 0.9, weight_decay: 5e-2, nesterov: false },
        "sgd nesterov" => OptimizerRecipe::Sgd { lr: 0.1, momentum: 0.8, weight_decay: 1e-2, nesterov: true },
        "adam decay" => OptimizerRecipe::Adam { lr: 0.1, betas: [0.9, 0.99], eps: 1e-8, weight_decay: 0.05 },
        "adamw" => OptimizerRecipe::Adamw { lr: 0.1, betas: [0.9, 0.99], eps: 1e-8, weight_decay: 0.05 },
        other => panic!("no recipe for {other}"),
    }
}

fn module(start: &[f64]) -> One {
    let device = Device::flex().autodiff();
    let values: Vec<f32> = start.iter().map(|v| *v as f32).collect();
    let tensor: Tensor<1> = Tensor::from_data(TensorData::new(values, [start.len()]), &device);
    One { w: Param::initialized(ParamId::from(7), tensor.require_grad()) }
}

/// The fixture script's formula.
fn gradients(module: &One, step: usize) -> GradientsParams {
    let n = module.w.val().dims()[0];
    let values: Vec<f32> = (0..n).map(|i| (((step * 7 + i * 3) % 11) as f32 - 5.0) / 10.0).collect();
    let mut grads = GradientsParams::new();
    let tensor = Tensor::<1>::from_data(TensorData::new(values, [n]), &Device::flex());
    grads.register(module.w.id, tensor);
    grads
}

fn values(module: &One) -> Vec<f32> {
    module.w.val().into_data().try_to_vec::<f32>().unwrap()
}

#[test]
fn updates_meet_the_values_of_torch() {
    let fixture = fixture();
    for case in &fixture.cases {
        let mut module = module(&fixture.start);
        let mut optimizer = Optimizer::new(&recipe(&case.name));
        for (step, want) in case.values.iter().enumerate() {
            let mut grads = gradients(&module, step);
            module = optimizer.step(case.lr[step], module, &mut grads);
            for (got, want) in values(&module).iter().zip(want) {
                assert!((f64::from(*got) - want).abs() < 3e-6, "{} step {step}: {got} != {want}", case.name);
            }
        }
        assert!(module.w.val().is_require_grad(), "the parameter stays trainable");
    }
}

#[test]
fn a_stored_state_continues_bit_for_bit() {
    let fixture = fixture();
    for case in &fixture.cases {
        let mut whole = module(&fixture.start);
        let mut optimizer = Optimizer::new(&recipe(&case.name));
        for step in 0..3 {
            let mut grads = gradients(&whole, step);
            whole = optimizer.step(case.lr[step], whole, &mut grads);
        }
        let state = optimizer.state(&whole);
        assert_eq!(state.tensors.len(), recipe(&case.name).slots(), "{}", case.name);
        let mut resumed = module(&values(&whole).iter().map(|v| f64::from(*v)).collect::<Vec<_>>());
        let mut second = Optimizer::new(&recipe(&case.name));
        second.load(&resumed, state, &Device::flex());
        for step in 3..6 {
            let mut grads = gradients(&whole, step);
            whole = optimizer.step(case.lr[step], whole, &mut grads);
            let mut grads = gradients(&resumed, step);
            resumed = second.step(case.lr[step], resumed, &mut grads);
        }
        assert_eq!(values(&whole), values(&resumed), "{}", case.name);
    }
}

#[test]
fn a_parameter_without_a_gradient_is_left_alone() {
    let start = module(&[1.0, 2.0]);
    let mut optimizer = Optimizer::new(&recipe("sgd momentum decay"));
    let after = optimizer.step(0.1, start.clone(), &mut GradientsParams::new());
    assert_eq!(values(&after), values(&start));
    assert_eq!(optimizer.state(&after), OptimizerState::default());
}
