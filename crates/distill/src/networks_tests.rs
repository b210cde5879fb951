//! Methods on real networks: every pair of architectures gets adapters, and one whole step runs.
use burn::prelude::*;
use burn::tensor::TensorData;
use subband_models::{Mode, Network, NetworkConfig, Noise};
use subband_seed::Stream;

use crate::check::{device, labels, least_keys, single, wave};
use crate::{AnyMethodConfig, Labels, ShapeBook, StepInput, method_names};

fn network(name: &str, device: &Device) -> Network {
    NetworkConfig::new(name, 3, 10).init(Stream::new(1), device).unwrap()
}

fn book(student: &Network, teacher: &Network, [height, width]: [usize; 2]) -> ShapeBook {
    ShapeBook {
        student: student.taps(height, width).unwrap(),
        teacher: teacher.taps(height, width).unwrap(),
        classes: student.classes(),
        prompts: None,
    }
}

fn config(text: &str) -> AnyMethodConfig {
    AnyMethodConfig::from_table(&text.parse().unwrap()).unwrap()
}

#[test]
fn pairs_of_different_architectures_get_adapters() {
    let plain = Device::flex();
    for (teacher, student, size) in [
        ("cifar-resnet56", "cifar-resnet20", 32),
        ("cifar-wrn-40-2", "cifar-wrn-40-1", 32),
        ("cifar-resnet32x4", "cifar-shufflenetv1", 32),
        ("cifar-resnet32x4", "cifar-shufflenetv2", 32),
        ("cifar-vgg13", "cifar-mobilenetv2", 32),
        ("cifar-resnet20", "cifar-vgg8", 32),
        ("vit_small_patch16_224", "deit_tiny_distilled_patch16_224", 224),
        ("resnet18", "deit_tiny_patch16_224", 224),
        ("deit_tiny_patch16_224", "mobilenet_v2", 224),
    ] {
        let book = book(&network(student, &plain), &network(teacher, &plain), [size; 2]);
        for name in method_names() {
            let text = match name {
                "fam-kd" => "method = 'fam-kd'\nfilter = 'depthwise'".to_string(),
                // A transformer's blocks have no activation to read in front of.
                "reviewkd" if size == 224 => "method = 'reviewkd'\nteacher_preactivation = false".to_string(),
                _ => least_keys(name),
            };
            let made = config(&text).init(&book, "pair", Stream::new(1), &plain);
            assert!(made.is_ok(), "{teacher} to {student}, {name}: {}", made.unwrap_err());
        }
    }
}

#[test]
fn one_step_of_every_method_trains_student_and_adapters() {
    step("cifar-resnet8", "cifar-resnet14", [32; 2]);
}

#[test]
fn one_step_of_every_method_trains_a_transformer_by_a_convolutional_teacher() {
    step("deit_tiny_patch16_224", "resnet18", [224; 2]);
}

#[test]
fn one_step_of_every_method_trains_a_segmenter() {
    step("pspnet-resnet18-d8", "pspnet-resnet18-d8", [33, 41]);
}

#[test]
fn one_step_of_every_method_trains_a_segmenter_of_another_stride() {
    step("deeplabv3-mobilenetv2-d16", "pspnet-resnet18-d8", [33, 41]);
}

/// Four images' classes, or those of their pixels with every seventh ignored.
fn truth(book: &ShapeBook, [height, width]: [usize; 2]) -> Labels {
    if !book.is_segmentation() {
        return labels(&[1, 3, 0, 9]).into();
    }
    let classes: Vec<i64> = (0..4 * height * width).map(|k| if k % 7 == 0 { -1 } else { k as i64 * 3 % 10 }).collect();
    Labels::Pixels(Tensor::from_data(TensorData::new(classes, [4, height, width]), &device()))
}

fn step(student: &str, teacher: &str, size: [usize; 2]) {
    let (plain, device) = (Device::flex(), device());
    let (student, teacher) = (network(student, &device), network(teacher, &plain));
    let book = book(&student, &teacher, size);
    // Of a segmenter's dropout.
    let noise = Noise { stream: Stream::new(2), samples: vec![0, 1, 2, 3] };
    let images = single(wave([4, 3, size[0], size[1]], 0.3, 0.37));
    for name in method_names() {
        let config = config(&least_keys(name));
        let wanted = config.taps(&book).unwrap_or_else(|error| panic!("{name}: {error}"));
        let method = config.init(&book, "step", Stream::new(1), &device).unwrap();
        let seen = teacher.forward(images.clone().inner(), Mode::Eval, &wanted.teacher).unwrap();
        let moved = |f: subband_models::Feature| match f {
            subband_models::Feature::Map(x) => subband_models::Feature::Map(Tensor::from_inner(x)),
            subband_models::Feature::Vector(x) => subband_models::Feature::Vector(Tensor::from_inner(x)),
            subband_models::Feature::Tokens { values, prefix, grid } => {
                subband_models::Feature::Tokens { values: Tensor::from_inner(values), prefix, grid }
            }
        };
        let seen = subband_models::Features {
            logits: moved(seen.logits),
            taps: seen.taps.into_iter().map(|(name, f)| (name, moved(f))).collect(),
        };
        let own = student.forward_with(images.clone(), Mode::Train, &wanted.student, Some(&noise)).unwrap();
        let input =
            StepInput { student: &own, teacher: &seen, labels: truth(&book, size), samples: &[], epoch: 1, step: 1 };
        let terms = method.forward(&input).unwrap_or_else(|error| panic!("{name}: {error}"));
        let total = terms.into_iter().map(|t| t.value).reduce(|a, b| a + b).unwrap();
        let value = total.clone().into_data().iter::<f64>().next().unwrap();
        assert!(value.is_finite() && value != 0.0, "{name}: {value}");
        let gradients = total.backward();
        let reached = reached(&student, &gradients);
        assert!(reached > 0, "{name} reaches no parameter of the student");
        // The spectrum of a 1x1 map is real, so the imaginary part of the pooled level's filter does nothing.
        let idle = usize::from(name == "fam-kd" && !book.is_segmentation());
        assert_eq!(self::reached(&method, &gradients) + idle, method.state_dict().len(), "{name}: idle adapters");
    }
}

/// Parameters with a gradient that is finite and not all zero.
fn reached<M: burn::module::Module>(module: &M, gradients: &burn::tensor::Gradients) -> usize {
    struct Count<'a>(&'a burn::tensor::Gradients, usize);
    impl burn::module::ModuleVisitor for Count<'_> {
        fn visit_float<const D: usize>(&mut self, param: &burn::module::Param<Tensor<D>>) {
            let Some(gradient) = param.val().grad(self.0) else { return };
            let largest = gradient.into_data().iter::<f64>().fold(0.0_f64, |m, g| m.max(g.abs()));
            assert!(largest.is_finite());
            self.1 += usize::from(largest > 0.0);
        }
    }
    let mut count = Count(gradients, 0);
    module.visit(&mut count);
    count.1
}
