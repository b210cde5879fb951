//! Golden values, the oracle's projectors, finite differences.
use super::*;
use crate::check::{
    book, device, double, features, fill, fixture, gradient_error, labels, parameter_gradient_error, scalar, single,
    wave,
};

fn method(config: UfdKdConfig, student: &[usize; 3], teacher: &[usize; 3]) -> UfdKd {
    let book = book(&[("stage2", student)], &[("stage2", teacher)]);
    double(config.init(&book, &Parameters::new(subband_seed::Stream::new(3), &device())).unwrap())
}

/// All four terms of a method.
fn terms(method: &UfdKd, student: Tensor<4>, teacher: Tensor<4>) -> Vec<Term> {
    let (student, teacher) = (features(&[("stage2", student)]), features(&[("stage2", teacher)]));
    let input = StepInput {
        student: &student,
        teacher: &teacher,
        labels: labels(&[0]).into(),
        samples: &[],
        epoch: 1,
        step: 1,
    };
    method.forward(&input).unwrap()
}

fn inputs(student: [usize; 3], teacher: [usize; 3]) -> (Tensor<4>, Tensor<4>) {
    let shape = |[c, h, w]: [usize; 3]| [2, c, h, w];
    (wave(shape(student), 1.3, 0.41), wave(shape(teacher), 0.2, 0.37))
}

#[test]
fn the_published_golden_values() {
    let (s, t) = inputs([4, 3, 5], [4, 3, 5]);
    let golden = [33.586310767728534, 38.38256511539544, 10.79545607941817, 10.509681666110485];
    for (a, b, tolerance) in [(s.clone(), t.clone(), 1e-9), (single(s), single(t), 2e-4)] {
        let found = [spatial(a.clone(), b.clone()), channel(a, b)].concat().into_iter().map(scalar);
        for (value, expected) in found.zip(golden) {
            // In f32 relative to 5e-5 of values up to 38.
            assert!((value - expected).abs() < tolerance * expected.max(1.0), "{value} {expected}");
        }
    }
}

#[test]
fn the_cosine_transform_of_the_code_gives_the_same() {
    for shape in [[3, 4, 4], [5, 7, 7]] {
        let (s, t) = inputs(shape, shape);
        let found = [spatial(s.clone(), t.clone()), channel(s, t)].concat().into_iter().map(scalar);
        let expected = fixture(&format!("ufd-kd.dct.{}", shape[1]));
        assert!(found.zip(&expected).all(|(a, b)| (a - b).abs() < 1e-9), "{expected:?}");
    }
}

#[test]
fn projectors_match_the_oracle() {
    for (name, kind, student, teacher) in [
        ("ufd-kd.attention", ProjectorKind::Attention, [3, 4, 3], [6, 2, 5]),
        ("ufd-kd.conv", ProjectorKind::Conv, [3, 6, 4], [4, 3, 2]),
        ("ufd-kd.conv-up", ProjectorKind::Conv, [3, 2, 3], [3, 4, 5]),
    ] {
        let heads = Some(if teacher[0] == 6 { 2 } else { 1 });
        let config = UfdKdConfig { projector: kind, heads, ..Default::default() };
        let method = fill(method(config, &student, &teacher));
        let (s, t) = inputs(student, teacher);
        let found = terms(&method, s, t);
        let names: Vec<&str> = found.iter().map(|t| t.name.as_str()).collect();
        assert_eq!(names, ["ufd-kd.spatial-dc", "ufd-kd.spatial-ac", "ufd-kd.channel-dc", "ufd-kd.channel-ac"]);
        let expected = fixture(name);
        for (term, expected) in found.into_iter().zip(expected) {
            let value = scalar(term.value);
            assert!((value - expected).abs() < 1e-9, "{name}: {value} {expected}");
        }
    }
}

#[test]
fn gradients_match_for_the_student_and_every_parameter() {
    for kind in [ProjectorKind::Attention, ProjectorKind::Conv] {
        for (student, teacher) in [([3, 3, 4], [4, 2, 3]), ([2, 5, 3], [5, 5, 3])] {
            // A soft attention: at 5 the curvature shows in the difference quotient.
            let config = UfdKdConfig { projector: kind, channel_ac: 0.5, softmax_scale: 1.0, ..Default::default() };
            let method = method(config, &student, &teacher);
            let (s, t) = inputs(student, teacher);
            let total = |m: &UfdKd, x: Tensor<4>| {
                terms(m, x, t.clone()).into_iter().map(|t| t.value).reduce(|a, b| a + b).unwrap()
            };
            let error = gradient_error(s.clone(), |x| total(&method, x));
            assert!(error < 1e-6, "{kind:?} {student:?}: {error}");
            let error = parameter_gradient_error(method, |m| total(m, s.clone()));
            assert!(error < 1e-6, "{kind:?} {student:?}: {error}");
        }
    }
}

#[test]
fn one_pixel_and_one_channel_have_no_residual() {
    let (s, t) = (wave([1, 3, 1, 1], 1.3, 0.41), wave([1, 3, 1, 1], 0.2, 0.37));
    assert_eq!(scalar(spatial(s, t)[1].clone()), 0.0);
    let x = wave([1, 1, 3, 3], 1.3, 0.41).detach().require_grad();
    let [dc, ac] = channel(x.clone(), wave([1, 1, 3, 3], 0.2, 0.37));
    assert_eq!(scalar(ac.clone()), 0.0);
    let gradient = x.grad(&(dc + ac).backward()).unwrap().into_data();
    assert!(gradient.iter::<f64>().all(f64::is_finite));
}

#[test]
fn terms_that_would_be_constant_are_refused() {
    // One channel needs the convolutions: a layer normalisation of one number is a constant.
    let only = |key: &str, one: bool| {
        let weight = |name: &str| if name == key { 0.01 } else { 0.0 };
        UfdKdConfig {
            spatial_dc: weight("spatial_dc"),
            spatial_ac: weight("spatial_ac"),
            channel_dc: weight("channel_dc"),
            channel_ac: weight("channel_ac"),
            projector: if one { ProjectorKind::Conv } else { ProjectorKind::Attention },
            ..Default::default()
        }
    };
    for (shape, alive) in [([4, 1, 1], "spatial_dc"), ([1, 4, 4], "channel_dc"), ([4, 4, 4], "all")] {
        let book = book(&[("stage2", &[3, 4, 4])], &[("stage2", &shape)]);
        for key in ["spatial_dc", "spatial_ac", "channel_dc", "channel_ac"] {
            let config = only(key, shape[0] == 1);
            // A term is refused exactly where its gradient at the student is zero up to rounding.
            let method = double(config.init(&book, &Parameters::new(subband_seed::Stream::new(3), &device())).unwrap());
            let (s, t) = inputs([3, 4, 4], shape);
            let s = s.detach().require_grad();
            let gradient = s.grad(&terms(&method, s.clone(), t).remove(0).value.backward()).unwrap();
            let largest = gradient.into_data().iter::<f64>().fold(0.0_f64, |m, g| m.max(g.abs()));
            let refused = config.taps(&book);
            assert_eq!(refused.is_ok(), largest > 1e-9, "{shape:?} {key}: {largest}");
            assert_eq!(refused.is_ok(), alive == "all" || alive == key, "{shape:?} {key}");
            if let Err(error) = refused {
                assert!(error.to_string().contains(key), "{error}");
            }
        }
    }
}

#[test]
fn one_channel_behind_the_attention_is_refused() {
    let book = book(&[("stage2", &[3, 4, 4])], &[("stage2", &[1, 4, 4])]);
    let message = UfdKdConfig::default().taps(&book).unwrap_err().to_string();
    assert!(message.contains("layer normalisation") && message.contains("conv"), "{message}");
}

#[test]
fn keys_of_the_attention_are_refused_with_convolutions() {
    let book = book(&[("stage2", &[3, 4, 4])], &[("stage2", &[64, 4, 4])]);
    let conv = UfdKdConfig { projector: ProjectorKind::Conv, ..Default::default() };
    conv.taps(&book).unwrap();
    for (config, key) in [
        (UfdKdConfig { heads: Some(7), ..conv.clone() }, "`heads = 7`"),
        (UfdKdConfig { softmax_scale: 2.0, ..conv }, "`softmax_scale = 2.0`"),
    ] {
        let message = config.taps(&book).unwrap_err().to_string();
        assert!(message.contains(key) && message.contains("attention"), "{message}");
    }
}

#[test]
fn weights_choose_terms_and_projectors() {
    let config = UfdKdConfig { channel_dc: 0.0, channel_ac: 0.0, spatial_dc: 0.0, ..Default::default() };
    let method = method(config, &[3, 4, 4], &[4, 4, 4]);
    assert!(method.channel.is_none());
    let (s, t) = inputs([3, 4, 4], [4, 4, 4]);
    let found = terms(&method, s, t);
    assert_eq!(found.iter().map(|t| t.name.as_str()).collect::<Vec<_>>(), ["ufd-kd.spatial-ac"]);
}

#[test]
fn bad_keys_name_the_remedy() {
    let book = book(&[("stage2", &[3, 4, 4])], &[("stage2", &[64, 4, 4])]);
    let message = |config: UfdKdConfig| config.taps(&book).unwrap_err().to_string();
    assert!(message(UfdKdConfig { heads: Some(7), ..Default::default() }).contains("64 channels"));
    assert!(message(UfdKdConfig { softmax_scale: 0.0, ..Default::default() }).contains("usual: 5"));
    assert!(message(UfdKdConfig { spatial_ac: -1.0, ..Default::default() }).contains("spatial_ac"));
    let none = UfdKdConfig { spatial_dc: 0.0, spatial_ac: 0.0, channel_dc: 0.0, channel_ac: 0.0, ..Default::default() };
    assert!(message(none).contains("all four"));
    assert_eq!(UfdKdConfig::default().plan(&book).unwrap().heads, 2);
}
