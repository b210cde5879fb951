//! Going on from a tap.
use burn::prelude::*;
use subband_seed::Stream;

use super::cam::transformer;
use super::{KINDS, feature_values, image, network, strings, values, wave};
use crate::{Feature, Mode, ModelError, Network};

#[test]
fn the_rest_gives_what_the_whole_gives() {
    let device = Device::flex();
    for name in KINDS {
        let net = network(name, 3, 7, &device);
        let x = image(&net, 2, 33, 37, &device);
        let size = (x.dims()[2], x.dims()[3]);
        let taps: Vec<String> = net.tap_names().into_iter().map(str::to_string).collect();
        let whole = net.forward(x, Mode::Eval, &taps).unwrap();
        let mut resumed = 0;
        for tap in &taps {
            let rest = match net.forward_from(tap, whole.taps[tap].clone(), size) {
                Ok(rest) => rest,
                // A tap beside the main road; the message says which operation needs more.
                Err(error @ ModelError::Bypassed { .. }) => {
                    assert!(error.to_string().contains(tap.as_str()), "{error}");
                    continue;
                }
                Err(error) => panic!("{name} {tap}: {error}"),
            };
            resumed += 1;
            assert_eq!(feature_values(rest), feature_values(whole.logits.clone()), "{name} {tap}");
        }
        assert!(resumed >= 5, "{name}: {resumed} of {}", taps.len());
    }
}

#[test]
fn gradients_reach_the_value() {
    let device = Device::flex().autodiff();
    let net = network("cifar-resnet8", 3, 10, &device).constant(&[]);
    let plain = wave([2, 32, 8, 8], 0.3, 0.2, &Device::flex());
    let value = Tensor::from_inner(plain).require_grad();
    let rest = net.forward_from("stage2", Feature::Map(value.clone()), (16, 16)).unwrap();
    let gradient = value.grad(&rest.into_rows().sum().backward()).unwrap();
    assert!(values(gradient).iter().any(|g| *g != 0.0));
}

#[test]
fn ways_around_the_tap_and_wrong_shapes_are_refused() {
    let device = Device::flex();
    let net = Network::from_graph(transformer(true), Stream::new(1), &device);
    let x = wave([1, 3, 6, 6], 0.37, 0.1, &device);
    let whole = net.forward(x, Mode::Eval, &strings(&["norm", "pooled"])).unwrap();
    let from = |tap: &str| net.forward_from(tap, whole.taps[tap].clone(), (6, 6));
    assert_eq!(feature_values(from("norm").unwrap()), feature_values(whole.logits.clone()));
    // The other head reads the distillation token.
    let error = from("pooled").unwrap_err().to_string();
    assert!(error.contains("from the tap `pooled` alone: `head_dist`"), "{error}");
    let net = network("cifar-resnet8", 3, 10, &device);
    let value = Feature::Map(wave([1, 32, 8, 9], 0.3, 0.2, &device));
    let error = net.forward_from("stage2", value.clone(), (16, 16)).unwrap_err();
    let wanted = "the value for the tap `stage2` is 32x8x9, but it is 32x8x8 for images of 16x16";
    assert_eq!(error.to_string(), wanted);
    let fits = net.forward_from("stage2", value, (16, 17)).unwrap();
    assert_eq!(fits.into_rows().dims(), [1, 10]);
    let vector = Feature::Vector(Tensor::zeros([1, 32], &device));
    assert!(net.forward_from("stage2", vector.clone(), (16, 16)).is_err());
    assert!(matches!(net.forward_from("stage7", vector, (16, 16)), Err(ModelError::UnknownTap { .. })));
}
