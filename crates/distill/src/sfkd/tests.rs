//! The oracle's values, finite differences, tokens against maps, edge sizes.
use burn::module::Module;
use subband_models::{Feature, Features, TapInfo, TapKind, TapShape};

use super::*;
use crate::check::{
    book, cast, device, double, fill, fixture, gradient_error, labels, parameter_gradient_error, scalar, single,
    values, wave,
};
use crate::pieces::distance::GaussianPass;
use crate::{MethodConfig, Parameters, ShapeBook};

fn build(config: SfkdConfig, book: &ShapeBook) -> Sfkd {
    double(config.init(book, &Parameters::new(subband_seed::Stream::new(3), &device())).unwrap())
}

fn method(config: SfkdConfig, student: &[usize; 3], teacher: &[usize; 3]) -> Sfkd {
    build(config, &book(&[("stage2", student)], &[("stage2", teacher)]))
}

fn inputs(batch: usize, student: [usize; 3], teacher: [usize; 3]) -> (Tensor<4>, Tensor<4>) {
    let shape = |[c, h, w]: [usize; 3]| [batch, c, h, w];
    (wave(shape(student), 1.3, 0.41), wave(shape(teacher), 0.2, 0.37))
}

#[test]
fn values_match_the_oracle() {
    let plain = SfkdConfig::default();
    for (name, student, teacher, config) in [
        ("default", [3, 8, 6], [4, 7, 7], plain.clone()),
        ("same-channels", [4, 5, 9], [4, 5, 9], SfkdConfig { levels: 3, ..plain.clone() }),
        ("high", [3, 4, 4], [4, 8, 8], SfkdConfig { levels: 1, pass: GaussianPass::High, ..plain.clone() }),
        ("no-exchange", [3, 6, 6], [4, 6, 6], SfkdConfig { exchange: false, ..plain.clone() }),
        ("no-residual", [3, 6, 6], [4, 6, 6], SfkdConfig { residual: false, ..plain.clone() }),
        ("no-refine", [3, 6, 6], [4, 6, 6], SfkdConfig { refine: false, ..plain.clone() }),
        ("mse", [3, 6, 6], [4, 6, 6], SfkdConfig { loss: SfkdLoss::Mse, ..plain }),
    ] {
        let method = fill(method(config, &student, &teacher));
        let (s, t) = inputs(2, student, teacher);
        let expected = fixture(&format!("sfkd.{name}"))[0];
        let value = scalar(method.loss(0, s.clone(), t.clone()).unwrap());
        assert!((value - expected).abs() < 1e-9, "{name}: {value} {expected}");
        let method = cast(method, burn::tensor::DType::F32);
        let value = scalar(method.loss(0, single(s), single(t)).unwrap());
        assert!((value - expected).abs() < 5e-5, "{name} in f32: {value} {expected}");
    }
}

#[test]
fn gradients_match_for_the_student_and_every_parameter() {
    for (student, teacher, levels, pass) in [
        ([3, 4, 6], [4, 4, 6], 2, GaussianPass::Low),
        ([2, 7, 5], [3, 3, 3], 1, GaussianPass::High),
        ([3, 5, 5], [3, 9, 7], 3, GaussianPass::Low),
    ] {
        let method = fill(method(SfkdConfig { levels, pass, ..Default::default() }, &student, &teacher));
        let (s, t) = inputs(2, student, teacher);
        let error = gradient_error(s.clone(), |x| method.loss(0, x, t.clone()).unwrap());
        assert!(error < 1e-6, "{student:?}: {error}");
        let error = parameter_gradient_error(method, |m| m.loss(0, s.clone(), t.clone()).unwrap());
        assert!(error < 1e-6, "{student:?}: {error}");
    }
}

#[test]
fn one_image_of_one_pixel_stays_finite() {
    for (student, teacher) in [([2, 1, 1], [3, 1, 1]), ([3, 7, 7], [3, 1, 1]), ([2, 1, 1], [4, 5, 5])] {
        let method = method(SfkdConfig::default(), &student, &teacher);
        let (s, t) = inputs(1, student, teacher);
        let x = s.detach().require_grad();
        let loss = method.loss(0, x.clone(), t).unwrap();
        assert!(scalar(loss.clone()) > 0.0);
        let gradient = x.grad(&loss.backward()).unwrap().into_data();
        assert!(gradient.iter::<f64>().all(f64::is_finite), "{student:?}");
    }
}

fn tap(shape: TapShape) -> Vec<TapInfo> {
    vec![TapInfo { name: "stage1".to_string(), shape, stride: 1, kind: TapKind::Post }]
}

/// Tokens of a 4x4 grid behind a class token, 6 wide, and a 5 wide map of 7x7: one as student, the other as teacher.
#[test]
fn tokens_teach_maps_and_maps_teach_tokens() {
    let tokens = TapShape::Tokens { length: 17, channels: 6, prefix: 1, grid: (4, 4) };
    let map = TapShape::Map { channels: 5, height: 7, width: 7 };
    let feature = |shape: TapShape, s: f64, leaf: bool| match shape {
        TapShape::Tokens { prefix, grid, .. } => {
            let values = wave([2, 17, 6], s, 0.37).detach().set_require_grad(leaf);
            Feature::Tokens { values, prefix, grid }
        }
        _ => Feature::Map(wave([2, 5, 7, 7], s, 0.41).detach().set_require_grad(leaf)),
    };
    for (student, teacher) in [(map, tokens), (tokens, map)] {
        let book = ShapeBook { student: tap(student), teacher: tap(teacher), classes: 5, prompts: None };
        let method = build(SfkdConfig::default(), &book);
        let side = |shape, s, leaf| Features {
            logits: subband_models::Feature::Vector(wave([2, 5], 0.3, 0.37)),
            taps: [("stage1".to_string(), feature(shape, s, leaf))].into(),
        };
        let (own, seen) = (side(student, 1.3, true), side(teacher, 0.2, false));
        let input = StepInput {
            student: &own,
            teacher: &seen,
            labels: labels(&[0, 1]).into(),
            samples: &[],
            epoch: 1,
            step: 1,
        };
        let term = method.forward(&input).unwrap().remove(0);
        assert_eq!((term.name.as_str(), term.reaches.as_slice()), ("sfkd.stage1", ["stage1".to_string()].as_slice()));
        assert!(scalar(term.value.clone()) > 0.0);
        let gradients = term.value.backward();
        match &own.taps["stage1"] {
            Feature::Tokens { values: x, .. } => {
                let gradient = values(Tensor::<3>::from_inner(x.grad(&gradients).unwrap()));
                // The class token of each sample has no place on the grid; every other token has a gradient.
                for (i, token) in gradient.chunks(6).enumerate() {
                    assert_eq!(token.iter().all(|g| *g == 0.0), i % 17 == 0, "token {i}");
                }
            }
            Feature::Map(x) => {
                let gradient = values(Tensor::<4>::from_inner(x.grad(&gradients).unwrap()));
                assert!(gradient.iter().all(|g| *g != 0.0 && g.is_finite()));
            }
            Feature::Vector(_) => unreachable!(),
        }
    }
}

#[test]
fn switches_change_the_parameters_they_name() {
    let count = |config: SfkdConfig, teacher: [usize; 3]| method(config, &[4, 8, 8], &teacher).num_params();
    let (same, plain) = ([4, 8, 8], SfkdConfig::default());
    // Three bands of 9 C + 2 C + C^2 + C, two gates of C^2 + C.
    assert_eq!(count(plain.clone(), same), 3 * (12 * 4 + 16) + 2 * 20);
    assert_eq!(count(SfkdConfig { exchange: false, ..plain.clone() }, same), 3 * 64);
    assert_eq!(count(SfkdConfig { levels: 1, exchange: false, ..plain.clone() }, same), 2 * 64);
    assert_eq!(count(SfkdConfig { refine: false, ..plain.clone() }, same), 0);
    assert_eq!(count(SfkdConfig { refine: false, ..plain }, [6, 8, 8]), 4 * 6 + 6);
}

#[test]
fn taps_with_nothing_to_compare_are_refused() {
    let plain = SfkdConfig::default();
    let message = |config: &SfkdConfig, shape: [usize; 3]| {
        config.taps(&book(&[("stage2", &[2, 4, 4])], &[("stage2", &shape)])).unwrap_err().to_string()
    };
    let high = SfkdConfig { pass: GaussianPass::High, ..plain.clone() };
    assert!(message(&high, [3, 1, 1]).contains("one place"));
    let centred = SfkdConfig { normalize: Normalization::MeanL2, ..plain.clone() };
    assert!(message(&centred, [3, 1, 1]).contains("`normalize = \"mean-l2\"`"));
    assert!(message(&plain, [1, 4, 4]).contains("one channel"));
    plain.taps(&book(&[("stage2", &[2, 4, 4])], &[("stage2", &[3, 1, 1])])).unwrap();
    // The Gaussian is no part of the plain error.
    let error = SfkdConfig { loss: SfkdLoss::Mse, ..high };
    error.taps(&book(&[("stage2", &[2, 4, 4])], &[("stage2", &[3, 1, 1])])).unwrap();
}

#[test]
fn a_side_without_names_reads_its_deepest_stage() {
    let sides: [(&str, &[usize; 3]); 3] = [("stage1", &[2, 8, 8]), ("stage2", &[3, 4, 4]), ("stage3", &[4, 2, 2])];
    let book = book(&sides, &sides);
    let name = |tap: &str| Some(vec![tap.to_string()]);
    for (student, teacher) in [(name("stage1"), None), (None, name("stage2")), (None, None)] {
        let config = SfkdConfig { student_taps: student.clone(), teacher_taps: teacher.clone(), ..Default::default() };
        let wanted = config.taps(&book).unwrap();
        let deepest = || vec!["stage3".to_string()];
        assert_eq!(
            (wanted.student, wanted.teacher),
            (student.unwrap_or_else(deepest), teacher.unwrap_or_else(deepest))
        );
    }
}

#[test]
fn bad_keys_name_the_remedy() {
    let book = book(&[("stage2", &[2, 4, 4])], &[("stage2", &[3, 4, 4])]);
    let message = |config: SfkdConfig| config.taps(&book).unwrap_err().to_string();
    assert!(message(SfkdConfig { levels: 0, ..Default::default() }).contains("1 to 16"));
    assert!(message(SfkdConfig { sigma: 0.0, ..Default::default() }).contains("sigma = 0"));
    let unknown = message(SfkdConfig { wavelet: "hat".into(), ..Default::default() });
    assert!(unknown.contains("hat") && unknown.contains("`sfkd`"), "{unknown}");
    let only = SfkdConfig { student_taps: Some(vec!["stage9".into()]), ..Default::default() };
    assert!(message(only).contains("stage9"));
}
