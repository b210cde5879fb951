//! Values against the golden ones and the oracle, gradients, shapes, settings.
use burn::module::Param;
use burn::tensor::DType;
use subband_seed::Stream;
use subband_spectral::dwt::Dwt2Config;

use super::afa::{AfaConfig, AttentionAxis};
use super::affinity::AffinityConfig;
use super::wfd::Orientations;
use super::*;
use crate::check::{
    book, device, double, features, fill, fixture, gradient_error, labels, parameter_gradient_error, scalar, wave,
};
use crate::{Parameters, ShapeBook, Variant};

fn student(shape: [usize; 4]) -> Tensor<4> {
    wave(shape, 1.3, 0.41)
}

fn teacher(shape: [usize; 4]) -> Tensor<4> {
    wave(shape, 0.2, 0.37)
}

fn parameters() -> Parameters {
    Parameters::new(Stream::new(5), &device())
}

/// The alignment of 4 channels with 2 heads and the golden values in its parameters.
fn golden(axis: AttentionAxis) -> Afa {
    let config = AfaConfig { channels: 4, heads: 2, axis, window: 3, grid: (2, 3) };
    let afa = double(config.init(&parameters()));
    let value = |like: &Tensor<2>, s: f64, factor: f64| {
        Param::from_tensor(Tensor::from_inner((wave(like.dims(), s, 0.37) * factor).inner()).require_grad())
    };
    let shift = |s: f64| Param::from_tensor(Tensor::from_inner((wave([12], s, 0.37) * 0.1).inner()).require_grad());
    Afa {
        qkv_weight: value(&afa.qkv_weight.val(), 0.1, 0.5),
        qkv_bias: shift(0.2),
        in_weight: value(&afa.in_weight.val(), 0.3, 0.5),
        in_bias: shift(0.4),
        out_weight: value(&afa.out_weight.val(), 0.5, 0.5),
        config,
    }
}

fn wfd(orientations: Orientations, wavelet: &str) -> Wfd {
    Wfd { dwt: Dwt2Config::new(wavelet, 3).init().unwrap(), orientations, low: 0.7, high: 0.3 }
}

#[test]
fn golden_values_are_met() {
    let (s, t) = (student([2, 4, 9, 12]), teacher([2, 4, 9, 12]));
    let corner = |x: &Tensor<4>| x.clone().narrow(2, 0, 2).narrow(3, 0, 3);
    let close = |name: &str, found: Tensor<1>, expected: f64| {
        let found = scalar(found);
        assert!((found - expected).abs() < 1e-12, "{name}: {found} {expected}");
    };
    close("wfd", wfd(Orientations::Summed, "haar").forward(s.clone(), t.clone()).unwrap(), 1.455_014_371_329_912_8);
    let afa = |axis| golden(axis).forward(corner(&s), corner(&t));
    close("batch", afa(AttentionAxis::Batch), 0.069_100_230_418_956_13);
    close("coarsest", afa(AttentionAxis::Coarsest), 0.047_122_169_813_746_55);
    close("window", afa(AttentionAxis::Window), 0.047_122_169_813_746_55);
    close("affinity", affinity_loss(s.clone(), t.clone(), (9, 12)), 0.879_351_092_760_246_7);
    close("affinity, resized", affinity_loss(s, t, (3, 4)), 0.852_673_634_437_925_1);
}

#[test]
fn values_match_the_oracle() {
    let (s, t) = (student([2, 4, 5, 7]), teacher([2, 4, 5, 7]));
    for (name, axis) in
        [("batch", AttentionAxis::Batch), ("window", AttentionAxis::Window), ("coarsest", AttentionAxis::Coarsest)]
    {
        let found = scalar(golden(axis).forward(s.clone(), t.clone()));
        let expected = fixture(&format!("afa.{name}"))[0];
        assert!((found - expected).abs() < 1e-12, "{name}: {found} {expected}");
    }
    for (name, orientations) in [("summed", Orientations::Summed), ("separate", Orientations::Separate)] {
        let found = scalar(wfd(orientations, "haar").forward(s.clone(), t.clone()).unwrap());
        let expected = fixture(&format!("wfd.{name}"))[0];
        assert!((found - expected).abs() < 1e-12, "{name}: {found} {expected}");
    }
}

#[test]
fn gradients_match_finite_differences() {
    for [n, h, w] in [[2, 5, 7], [3, 4, 4], [1, 2, 3], [2, 1, 1], [1, 1, 1]] {
        let shape = [n, 4, h, w];
        let t = teacher(shape);
        for axis in [AttentionAxis::Batch, AttentionAxis::Window, AttentionAxis::Coarsest] {
            let afa = golden(axis);
            let error = gradient_error(student(shape), |s| afa.forward(s, t.clone()));
            assert!(error < 1e-6, "{axis:?} {shape:?}: {error}");
            let error = parameter_gradient_error(afa, |afa| afa.forward(student(shape), t.clone()));
            assert!(error < 1e-6, "parameters, {axis:?} {shape:?}: {error}");
        }
        for orientations in [Orientations::Summed, Orientations::Separate] {
            for wavelet in ["haar", "db2"] {
                let wfd = wfd(orientations, wavelet);
                let error = gradient_error(student(shape), |s| wfd.forward(s, t.clone()).unwrap());
                assert!(error < 1e-7, "{wavelet} {orientations:?} {shape:?}: {error}");
            }
        }
        let error = gradient_error(student(shape), |s| affinity_loss(s, t.clone(), (3, 2)));
        assert!(error < 1e-7, "affinity {shape:?}: {error}");
    }
}

#[test]
fn one_image_leaves_the_values_alone() {
    // One token has weight 1 on both sides: only mean |W_out (v_t - v_s)| is left.
    let afa = golden(AttentionAxis::Batch);
    let (s, t) = (student([1, 4, 2, 3]), teacher([1, 4, 2, 3]));
    let swapped = scalar(afa.forward(t.clone(), s.clone()));
    let loss = scalar(afa.forward(s.clone(), t.clone()));
    assert!(loss > 0.0 && (loss - swapped).abs() < 1e-15);
    // Linear in the difference of the maps, which an attention with a choice is not.
    let twice = scalar(afa.forward(s.clone() * 2.0 - t.clone(), t));
    assert!((twice - 2.0 * loss).abs() < 1e-12, "{twice} {loss}");
}

fn shapes() -> ShapeBook {
    let own: [(&str, &[usize; 3]); 2] = [("stage1", &[3, 8, 8]), ("stage2", &[6, 5, 3])];
    book(&own, &[("stage1", &[4, 8, 8]), ("stage2", &[6, 4, 4])])
}

fn terms(method: &MonoAfkd, first: Tensor<4>, second: Tensor<4>) -> Vec<Term> {
    let student = features(&[("stage1", first), ("stage2", second)]);
    let n = student.scores().dims()[0];
    let teacher = features(&[("stage1", wave([n, 4, 8, 8], 0.2, 0.37)), ("stage2", wave([n, 6, 4, 4], 0.9, 0.31))]);
    let labels = labels(&vec![1; n]);
    method
        .forward(&crate::StepInput {
            student: &student,
            teacher: &teacher,
            labels: labels.into(),
            samples: &[],
            epoch: 1,
            step: 1,
        })
        .unwrap()
}

#[test]
fn the_method_joins_other_channels_and_sizes() {
    for variant in [Variant::Reference, Variant::Paper] {
        let config = MonoAfkdConfig { variant, affinity: 0.1, ..Default::default() };
        let method = fill(double(config.init(&shapes(), &parameters()).unwrap()));
        let inputs = [wave([2, 3, 8, 8], 0.5, 0.41), wave([2, 6, 5, 3], 0.7, 0.43)];
        let [first, second] = inputs.clone();
        let names: Vec<String> =
            terms(&method, first.clone(), second.clone()).into_iter().map(|term| term.name).collect();
        let expected = ["afa.stage1", "affinity.stage1", "wfd.stage1", "afa.stage2", "affinity.stage2", "wfd.stage2"];
        assert_eq!(names, expected.map(|part| format!("monoafkd.{part}")));
        let total = |terms: Vec<Term>| terms.into_iter().map(|t| t.value).reduce(|a, b| a + b).unwrap();
        let error = gradient_error(first.clone(), |x| total(terms(&method, x, second.clone())));
        assert!(error < 1e-5, "{variant:?}: {error}");
        let error = parameter_gradient_error(method, |m| total(terms(m, first.clone(), second.clone())));
        assert!(error < 1e-5, "parameters, {variant:?}: {error}");
    }
}

#[test]
fn fused_and_composed_attention_agree() {
    for (axis, shape) in [
        (AttentionAxis::Batch, [5, 4, 6, 7]),
        (AttentionAxis::Window, [8, 4, 8, 7]),
        (AttentionAxis::Coarsest, [40, 4, 4, 6]),
    ] {
        let exact = scalar(golden(axis).forward(student(shape), teacher(shape)));
        let single = |x: Tensor<4>| Tensor::from_inner(x.inner().cast(DType::F32));
        let afa = crate::check::cast(golden(axis), DType::F32);
        let found = scalar(afa.forward(single(student(shape)), single(teacher(shape))));
        assert!((found - exact).abs() < 1e-6, "{axis:?}: {found} {exact}");
    }
}

#[test]
fn settings_that_cannot_work_name_the_remedy() {
    let large: (&str, &[usize; 3]) = ("stage1", &[4, 96, 320]);
    let message = |config: MonoAfkdConfig| config.taps(&book(&[large], &[large])).unwrap_err().to_string();
    let coarsest = MonoAfkdConfig { variant: Variant::Paper, ..Default::default() };
    let text = message(coarsest.clone());
    assert!(text.contains("30720 places") && text.contains("3600 MiB") && text.contains("window"), "{text}");
    let window = MonoAfkdConfig { attention: Some(AttentionAxis::Window), ..coarsest.clone() };
    assert!(window.taps(&book(&[large], &[large])).is_ok());
    assert!(message(MonoAfkdConfig { window: 64, ..window.clone() }).contains("smaller `window`"));
    // A window is never larger than the map: 8x8 places at most here.
    let small: (&str, &[usize; 3]) = ("stage1", &[4, 8, 8]);
    for side in [64, 1 << 32] {
        MonoAfkdConfig { window: side, max_tokens: 64, ..window.clone() }.taps(&book(&[small], &[small])).unwrap();
    }
    assert!(message(MonoAfkdConfig { window: 1 << 32, ..window }).contains("smaller `window`"));
    let endless = AffinityConfig { grid: Some([1 << 32, 1 << 32]), ..Default::default() };
    assert!(endless.taps(&book(&[small], &[small])).unwrap_err().to_string().contains("smaller `grid`"));
    for bad in [
        MonoAfkdConfig { wavelet: "hat".into(), ..Default::default() },
        MonoAfkdConfig { boundary: "hat".into(), ..Default::default() },
    ] {
        let text = message(bad);
        assert!(text.contains("hat") && text.contains("`monoafkd`"), "{text}");
    }
    assert!(message(MonoAfkdConfig { heads: Some(vec![3]), ..Default::default() }).contains("3 heads do not divide"));
    assert!(message(MonoAfkdConfig { heads: Some(vec![2, 2]), ..Default::default() }).contains("1 pairs"));
    assert!(message(MonoAfkdConfig { afa: 0.0, wfd: 0.0, ..Default::default() }).contains("all 0"));
    assert!(message(MonoAfkdConfig { levels: 0, ..Default::default() }).contains("level"));
    let affinity = AffinityConfig::default().taps(&book(&[large], &[large])).unwrap_err().to_string();
    assert!(affinity.contains("smaller `grid`"), "{affinity}");
    let small = AffinityConfig { grid: Some([12, 40]), ..Default::default() };
    assert!(small.taps(&book(&[large], &[large])).is_ok());
}

#[test]
fn switches_leave_parameters_out() {
    let count = |config: MonoAfkdConfig| config.init(&shapes(), &parameters()).unwrap().num_params();
    let adapters = count(MonoAfkdConfig { afa: 0.0, ..Default::default() });
    // 3x3 and 1x1 convolutions with bias, 3 to 4 and 6 to 6 channels.
    assert_eq!(adapters, (3 * 3 * 9 + 3) + (3 * 4 + 4) + (6 * 6 * 9 + 6) + (6 * 6 + 6));
    // Two projections of [3 C, C] with bias, one of [C, C] without.
    let attention = |c: usize| 7 * c * c + 6 * c;
    assert_eq!(count(MonoAfkdConfig::default()), adapters + attention(4) + attention(6));
}
