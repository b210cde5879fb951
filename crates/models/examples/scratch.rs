//! scratch
use burn::prelude::*;
use burn::optim::{GradientsParams, SgdConfig};
use burn::tensor::TensorData;
use subband_models::*;
use std::time::Instant;
fn wave(shape: [usize; 4], device: &Device) -> Tensor<4> {
    let values: Vec<f32> = (0..shape.iter().product()).map(|k: usize| (0.37 * k as f64 + 0.1).sin() as f32).collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}
fn main() {
    let device = Device::flex().autodiff();
    for name in ["cifar-resnet20a", "cifar-resnet20"] {
        let mut net = NetworkConfig::new(name, 3, 10).init(subband_seed::Stream::new(3), &device).unwrap();
        let x = wave([8, 3, 32, 32], &device);
        let mut opt = SgdConfig::new().init();
        for _ in 0..3 {
            let out = net.forward(x.clone(), Mode::Train, &[]).unwrap();
            let g = GradientsParams::from_grads((out.logits.powi_scalar(2)).mean().backward(), &net);
            net = opt.step(0.05, net, g);
        }
        weights::write_safetensors(format!("/tmp/{name}.safetensors").as_ref(), &net.state_dict()).unwrap();
        let y: Vec<f32> = net.valid().forward(wave([2, 3, 32, 32], &device.clone().without_autodiff()), Mode::Eval, &[]).unwrap().logits.into_data().to_vec().unwrap();
        std::fs::write(format!("/tmp/{name}.json"), format!("{y:?}")).unwrap();
    }
    let mut net = NetworkConfig::new("cifar-resnet20", 3, 10).init(subband_seed::Stream::new(3), &device).unwrap();
    let x = wave([64, 3, 32, 32], &device);
    let mut opt = SgdConfig::new().init();
    for _ in 0..6 {
        let t0 = Instant::now();
        let out = net.forward(x.clone(), Mode::Train, &[]).unwrap();
        let t1 = Instant::now();
        let g = GradientsParams::from_grads((out.logits.powi_scalar(2)).mean().backward(), &net);
        let t2 = Instant::now();
        net = opt.step(0.05, net, g);
        println!("train fwd {:?} bwd {:?} opt {:?}", t1 - t0, t2 - t1, t2.elapsed());
    }
    let plain = net.valid();
    let folded = net.fold_batch_norm(&[]);
    let x = x.inner();
    for _ in 0..4 {
        let t0 = Instant::now();
        plain.forward(x.clone(), Mode::Eval, &[]).unwrap();
        let t1 = Instant::now();
        folded.forward(x.clone(), Mode::Eval, &[]).unwrap();
        println!("eval {:?} folded {:?}", t1 - t0, t1.elapsed());
    }
    let t = Instant::now();
    let net = NetworkConfig::new("resnet50", 3, 1000).init(subband_seed::Stream::new(3), &device).unwrap();
    println!("resnet50 init {:?} {}", t.elapsed(), net.param_count());
}
