//! Stage 2: golden values, the oracle's values, gradients, keys.
use burn::prelude::*;
use burn::tensor::DType;
use subband_models::Features;

use super::*;
use crate::check::{
    book, cast, features, fill, fixture, gradient_error, labels, parameter_gradient_error, scalar, single,
};
use crate::freekd::gate::{Weights, relations};
use crate::freekd::loss::BandLoss;
use crate::{MethodConfig, ShapeBook};

fn band_loss(keys: PromptConfig, low: bool, high: bool) -> BandLoss {
    BandLoss { bands: keys.keys().init().unwrap(), low, high }
}

fn golden() -> (Tensor<4>, Tensor<4>) {
    (wave([2, 4, 9, 12], 1.3, 0.41), wave([2, 4, 9, 12], 0.2, 0.37))
}

#[test]
fn the_loss_meets_the_golden_values() {
    // G2 of the reference.
    let (student, teacher) = golden();
    let sets = waves(&two_tokens(Variant::Reference), 4);
    let loss = band_loss(PromptConfig::default(), false, true);
    let value = |s: Tensor<4>, t: Tensor<4>, sets: &PromptSets| {
        let masks = sets.mean_masks(t.clone(), |set| loss.compares(set)).unwrap();
        scalar(loss.between(s, t, Some(masks), Weights::default()).unwrap())
    };
    assert!((value(student.clone(), teacher.clone(), &sets) - 0.8906200311385402).abs() < 1e-13);
    let in_single = value(single(student.clone()), single(teacher.clone()), &cast(sets.clone(), DType::F32));
    assert!((in_single - 0.8906200311385402).abs() < 5e-5);
    // As written, with T copies of each band: mean over N, T, C, orientations and places of |M S - M T|.
    let bands = |x: Tensor<4>| loss.bands.forward(x).unwrap().details;
    let masks = sets.masks(teacher.clone()).unwrap();
    let direct = bands(student).into_iter().zip(bands(teacher)).zip(&masks[1..]).map(|((s, t), (_, mask))| {
        let [n, tokens, h, w] = mask.dims();
        let copies = |b: Tensor<5>| b.unsqueeze_dim::<6>(1) * mask.clone().reshape([n, tokens, 1, 1, h, w]);
        scalar((copies(s.bands) - copies(t.bands)).abs().mean())
    });
    assert!((direct.sum::<f64>() - 0.8906200311385402).abs() < 1e-12);
}

#[test]
fn plain_band_distances_meet_the_golden_values() {
    let (student, teacher) = golden();
    let levels = [0.517676300, 0.839255092, 0.414001879];
    let value = |grouping, low, high| {
        let loss = band_loss(PromptConfig { grouping, ..Default::default() }, low, high);
        scalar(loss.between(student.clone(), teacher.clone(), None, Weights::default()).unwrap())
    };
    assert!((value(Grouping::Level, true, false) - 0.473572123).abs() < 1e-9);
    assert!((value(Grouping::Level, false, true) - levels.iter().sum::<f64>()).abs() < 2e-9);
    let all = 0.473572123 + 3.0 * levels.iter().sum::<f64>();
    assert!((value(Grouping::Band, true, true) - all).abs() < 6e-9);
}

fn shapes() -> ShapeBook {
    book(&[("stage1", &[3, 5, 6]), ("stage2", &[6, 3, 2])], &[("stage1", &[4, 5, 6]), ("stage2", &[5, 3, 2])])
}

fn own() -> [Tensor<4>; 2] {
    [wave([2, 3, 5, 6], 1.3, 0.41), wave([2, 6, 3, 2], 0.6, 0.43)]
}

fn teacher() -> Features {
    features(&[("stage1", wave([2, 4, 5, 6], 0.2, 0.37)), ("stage2", wave([2, 5, 3, 2], 0.9, 0.31))])
}

fn losses(method: &FreeKd, [a, b]: [Tensor<4>; 2]) -> Vec<Tensor<1>> {
    let student = features(&[("stage1", a), ("stage2", b)]);
    let input = StepInput {
        student: &student,
        teacher: &teacher(),
        labels: labels(&[0, 1]).into(),
        samples: &[],
        epoch: 1,
        step: 1,
    };
    method.forward(&input).unwrap().into_iter().map(|t| t.value).collect()
}

/// The method of two levels in f64; with `masked` its prompts are those of the oracle.
fn method(config: FreeKdConfig, masked: bool) -> FreeKd {
    let config = FreeKdConfig { levels: 2, masks: MaskKind::None, ..config };
    let mut method = fill(double(config.init(&shapes(), &parameters()).unwrap()));
    if masked {
        let keys = config.keys();
        let prompts = PromptConfig {
            levels: 2,
            grouping: keys.grouping,
            transform: keys.transform,
            ..two_tokens(config.variant)
        };
        for (tap, channels) in method.taps.iter_mut().zip([4, 5]) {
            tap.prompts = Some(waves(&prompts, channels));
        }
    }
    method
}

fn cases() -> Vec<(FreeKdConfig, bool, String)> {
    let paper = |position| FreeKdConfig { variant: Variant::Paper, position: Some(position), ..Default::default() };
    let all = [
        (Position::None, "none"),
        (Position::Relation, "relation"),
        (Position::Se, "se"),
        (Position::Cbam, "cbam"),
        (Position::NonLocal, "non-local"),
    ];
    let mut cases = vec![(FreeKdConfig::default(), true, "freekd.reference".to_string())];
    for (position, name) in all {
        cases.push((paper(position), true, format!("freekd.{name}")));
        let level = FreeKdConfig { grouping: Some(Grouping::Level), ..paper(position) };
        cases.push((level, false, format!("freekd.{name}.plain")));
    }
    for (transform, name) in [(FrequencyKind::Dft, "dft"), (FrequencyKind::Dct, "dct")] {
        let band = FreeKdConfig { transform, ..paper(Position::None) };
        cases.push((band, true, format!("freekd.{name}.band")));
        let grouping = Some(Grouping::Level);
        let level = FreeKdConfig { transform, grouping, ..paper(Position::Relation) };
        cases.push((level, true, format!("freekd.{name}.level")));
    }
    cases
}

#[test]
fn every_form_matches_the_oracle() {
    for (config, masked, name) in cases() {
        let found: Vec<f64> = losses(&method(config, masked), own()).into_iter().map(scalar).collect();
        assert_close(&found, &fixture(&name), 1e-11);
    }
}

#[test]
fn gradients_match_finite_differences_in_every_form() {
    for (config, masked, name) in cases() {
        let method = method(config, masked);
        for level in 0..2 {
            let loss = |x: Tensor<4>| {
                let mut maps = own();
                maps[level] = x;
                losses(&method, maps).into_iter().reduce(|a, b| a + b).unwrap()
            };
            let error = gradient_error(own()[level].clone(), loss);
            assert!(error < 2e-5, "{name} level {level}: {error}");
        }
        let loss = |m: &FreeKd| losses(m, own()).into_iter().reduce(|a, b| a + b).unwrap();
        let error = parameter_gradient_error(method, loss);
        assert!(error < 2e-5, "{name}: {error}");
    }
}

#[test]
fn every_wavelet_and_boundary_and_any_size_has_a_right_gradient() {
    let boundaries = subband_spectral::Boundary::ALL.map(|b| b.name());
    let wavelets = ["haar", "db3", "sym4", "coif1", "bior2.2", "rbio1.3"];
    let sizes = [[2, 2, 7, 5], [1, 2, 1, 1], [1, 1, 8, 3]];
    for (k, (wavelet, boundary)) in wavelets.iter().flat_map(|w| boundaries.map(|b| (w, b))).enumerate() {
        let [n, c, h, w] = sizes[k % 3];
        let (wavelet, boundary) = (wavelet.to_string(), boundary.to_string());
        let config = PromptConfig { wavelet, boundary, levels: 2, ..two_tokens(Variant::Reference) };
        let (sets, loss) = (waves(&config, c), band_loss(config.clone(), true, true));
        let teacher = wave([n, c, h, w], 0.2, 0.37);
        let value = |x: Tensor<4>| {
            let masks = sets.mean_masks(teacher.clone(), |_| true).unwrap();
            loss.between(x, teacher.clone(), Some(masks), Weights::default()).unwrap()
        };
        let error = gradient_error(wave([n, c, h, w], 1.3, 0.41), value);
        assert!(error < 1e-6, "{config:?} {h}x{w}: {error}");
    }
}

#[test]
fn other_sizes_are_aligned_and_one_pixel_is_finite() {
    let small: [(&str, &[usize; 3]); 2] = [("stage1", &[3, 7, 4]), ("stage2", &[6, 1, 1])];
    let book = book(&small, &[("stage1", &[4, 5, 6]), ("stage2", &[5, 3, 2])]);
    for position in [Position::None, Position::Relation, Position::Se, Position::Cbam, Position::NonLocal] {
        let config = FreeKdConfig {
            variant: Variant::Paper,
            position: Some(position),
            masks: MaskKind::None,
            ..Default::default()
        };
        let method = double(config.init(&book, &parameters()).unwrap());
        for value in losses(&method, [wave([2, 3, 7, 4], 1.3, 0.41), wave([2, 6, 1, 1], 0.6, 0.43)]) {
            assert!(scalar(value).is_finite());
        }
        assert!(config.largest_temporary(&book, 2).unwrap() >= 2 * 4 * 30);
    }
}

#[test]
fn weights_of_relations_have_mean_one_and_see_the_later_layer() {
    let (map, later) = (wave([2, 6, 5, 4], 0.2, 0.37), wave([2, 3, 3, 2], 0.9, 0.31));
    let weights = relations(map.clone(), later.clone());
    assert_eq!(weights.dims(), [2, 6]);
    assert_close(&values(weights.clone().mean_dim(1)), &[1.0, 1.0], 1e-13);
    let other = relations(map, later * -1.0);
    assert!((weights - other).abs().max().into_data().iter::<f64>().next().unwrap() > 1e-3);
}

#[test]
fn impossible_keys_are_named() {
    let message = |config: FreeKdConfig| config.taps(&shapes()).unwrap_err().to_string();
    assert!(message(FreeKdConfig { high: false, ..Default::default() }).contains("compares nothing"));
    assert!(message(FreeKdConfig { levels: 0, ..Default::default() }).contains("`levels = 0`"));
    assert!(message(FreeKdConfig { wavelet: "harr".into(), ..Default::default() }).contains("did you mean `haar`"));
    assert!(message(FreeKdConfig { boundary: "zeros".into(), ..Default::default() }).contains("symmetric"));
    let idle = FreeKdConfig { masks: MaskKind::None, prompts: Some("p.safetensors".into()), ..Default::default() };
    let text = message(idle.clone());
    assert!(
        text.contains("`prompts = \"p.safetensors\"` has no effect") && text.contains("masks = \"prompts\""),
        "{text}"
    );
    // A plan counts without the file, which need not exist yet.
    FreeKdConfig { masks: MaskKind::Prompts, ..idle }.without_files().taps(&shapes()).unwrap();
    let transform = FrequencyKind::Dct;
    let spatial = FreeKdConfig { transform, position: Some(Position::Cbam), ..Default::default() };
    assert!(message(spatial).contains("relation"));
    // Taps are known without the prompts; the method needs them.
    assert_eq!(FreeKdConfig::default().taps(&shapes()).unwrap().teacher, ["stage1", "stage2"]);
    let lacking = FreeKdConfig::default().init(&shapes(), &parameters()).unwrap_err().to_string();
    assert!(lacking.contains("prompts = \"FILE\"") && lacking.contains("[prompts]"), "{lacking}");
}
