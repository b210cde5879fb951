//! Golden values, the oracle's values and gradients of FAM-KD.
use burn::tensor::DType;
use subband_seed::Stream;
use subband_spectral::filter::Layout;

use super::attention::{GlobalAttention, LocalAttention};
use super::*;
use crate::check::{
    book, cast, device, double, features, fill, fixture, gradient_error, labels, parameter_gradient_error, scalar,
    single, values, wave,
};
use crate::parameters::{StateDict, load};
use crate::pieces::filter::{FilterKind, FrequencyAttention, HighPassKind, high_pass_mask};
use crate::{Parameters, ShapeBook};

/// An f64 module with these values by parameter name.
fn with_values<M: Module>(module: M, named: &[(&str, Tensor<1>, &[usize])]) -> M {
    let shaped = |(name, x, shape): &(&str, Tensor<1>, &[usize])| {
        (name.to_string(), TensorData::new(values(x.clone()), shape.to_vec()))
    };
    load(double(module), 0, &named.iter().map(shaped).collect::<StateDict>()).unwrap()
}

fn assert_close(found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len());
    for (k, (a, b)) in found.iter().zip(expected).enumerate() {
        assert!((a - b).abs() < tolerance, "number {k}: {a} instead of {b}");
    }
}

fn fam(n: usize, kind: FilterKind, high_pass: HighPassKind) -> FrequencyAttention {
    FrequencyAttention::new(&Parameters::new(Stream::new(1), &device()), [2, 3], (n, n), kind, high_pass)
}

fn golden_fam(n: usize) -> FrequencyAttention {
    let k = 6 * n * n;
    let shape = [2, 3, n, n];
    with_values(
        fam(n, FilterKind::Dense, HighPassKind::Square),
        &[
            ("filter_re", wave([k], 0.3, 0.11), &shape),
            ("filter_im", wave([k], 0.9, 0.13), &shape),
            ("local.weight", wave([6], 0.5, 0.37), &[3, 2, 1, 1]),
            ("local.bias", wave([3], 0.8, 0.37), &[3]),
            ("gamma_global", wave([1], 0.0, 0.0) + 0.5, &[1]),
            ("gamma_local", wave([1], 0.0, 0.0) + 0.5, &[1]),
        ],
    )
}

#[test]
fn fam_meets_the_golden_values() {
    // G3 of the reference, which prints nine decimals.
    let cases = [
        (4, [21.950187139, 41.310403373, 0.553160262, 1.020028416, 1.340082668]),
        (20, [528.089561259, 300.933661922, 0.161838418, 0.090838188, 0.047287012]),
        (21, [581.761214431, 630.168523219, 0.137722023, 0.667443046, 0.964125067]),
    ];
    for (n, expected) in cases {
        let y = values(golden_fam(n).forward(wave([1, 2, n, n], 0.25, 0.37)).unwrap());
        let squares = y.iter().map(|v| v * v).sum();
        assert_close(&[y.iter().sum(), squares, y[0], y[1], y[2]], &expected, 1e-9);
        let in_single = cast(golden_fam(n), DType::F32).forward(single(wave([1, 2, n, n], 0.25, 0.37))).unwrap();
        assert_close(&values(in_single), &y, 5e-5);
    }
}

fn local(channels: usize) -> LocalAttention {
    LocalAttention::new(&Parameters::new(Stream::new(1), &device()), channels)
}

#[test]
fn local_attention_meets_the_golden_values() {
    // G4 of the reference.
    let square = |s| wave([16], s, 0.37);
    let attention = with_values(
        local(4),
        &[
            ("query.weight", square(0.1), &[4, 4, 1, 1]),
            ("key.weight", square(0.2), &[4, 4, 1, 1]),
            ("value.weight", square(0.3), &[4, 4, 1, 1]),
            ("vertical", wave([6], 0.4, 0.37), &[2, 3]),
            ("horizontal", wave([6], 0.6, 0.37), &[2, 3]),
        ],
    );
    let y = values(attention.forward(wave([1, 4, 3, 3], 0.15, 0.37), wave([1, 4, 3, 3], 0.95, 0.37)));
    let expected = [
        -0.186612919,
        -0.254413901,
        -0.169373092,
        -0.177634372,
        -0.202779727,
        -0.090072585,
        -0.048928349,
        -0.016302359,
        0.021458374,
    ];
    assert_close(&y[..9], &expected, 1e-9);
    let (a, b) = (single(wave([1, 4, 3, 3], 0.15, 0.37)), single(wave([1, 4, 3, 3], 0.95, 0.37)));
    assert_close(&values(cast(attention, DType::F32).forward(a, b)), &y, 5e-5);
    assert_close(&[y.iter().sum(), y.iter().map(|v| v * v).sum()], &[0.685813876, 1.226805506], 1e-9);
}

#[test]
fn masks_match_the_oracle() {
    for (kind, name) in [(HighPassKind::Square, "square"), (HighPassKind::Rank, "rank")] {
        for (h, w) in [(20, 20), (32, 32), (9, 30), (8, 8), (1, 1)] {
            let mask = high_pass_mask((h, w), kind).values(Layout::Corner);
            let removed: Vec<f64> = (0..h * w).filter(|&k| mask[k] == 0.0).map(|k| k as f64).collect();
            assert_eq!(removed, fixture(&format!("mask.{name}.{h}x{w}")), "{name} {h}x{w}");
        }
    }
}

fn shapes() -> ShapeBook {
    book(
        &[("stage1", &[4, 6, 6]), ("stage2", &[6, 3, 3]), ("pooled", &[6, 1, 1])],
        &[("stage1", &[5, 8, 8]), ("stage2", &[8, 4, 4]), ("pooled", &[7, 1, 1])],
    )
}

fn student(batch: usize) -> [Tensor<4>; 3] {
    [wave([batch, 4, 6, 6], 0.3, 0.41), wave([batch, 6, 3, 3], 0.6, 0.43), wave([batch, 6, 1, 1], 0.8, 0.47)]
}

fn losses(method: &FamKd, [a, b, c]: [Tensor<4>; 3]) -> Vec<Tensor<1>> {
    let batch = a.dims()[0];
    let student = features(&[("stage1", a), ("stage2", b), ("pooled", c)]);
    let teacher = features(&[
        ("stage1", wave([batch, 5, 8, 8], 0.2, 0.37)),
        ("stage2", wave([batch, 8, 4, 4], 0.9, 0.31)),
        ("pooled", wave([batch, 7, 1, 1], 0.4, 0.33)),
    ]);
    let input = StepInput {
        student: &student,
        teacher: &teacher,
        labels: labels(&[0]).into(),
        samples: &[],
        epoch: 1,
        step: 1,
    };
    method.forward(&input).unwrap().into_iter().map(|t| t.value).collect()
}

fn config(graph: Graph, variant: Variant) -> FamKdConfig {
    FamKdConfig { graph, variant, teacher_preactivation: Some(false), ..Default::default() }
}

fn made(config: &FamKdConfig) -> FamKd {
    double(config.init(&shapes(), &Parameters::new(Stream::new(5), &device())).unwrap())
}

#[test]
fn every_form_matches_the_oracle() {
    use {Graph::*, Variant::*};
    let depthwise = FamKdConfig { filter: FilterKind::Depthwise, ..config(Review, Reference) };
    let cases = [
        (config(Review, Reference), "fam-kd.review.reference"),
        (config(Review, Paper), "fam-kd.review.paper"),
        (depthwise, "fam-kd.review.reference.depthwise"),
        (config(LayerToLayer, Reference), "fam-kd.layer.reference"),
        (config(LayerToLayer, Paper), "fam-kd.layer.paper"),
    ];
    for (config, name) in cases {
        let found: Vec<f64> = losses(&fill(made(&config)), student(2)).into_iter().map(scalar).collect();
        let expected = fixture(name);
        assert_close(&found, &expected, 1e-9);
    }
}

#[test]
fn gradients_match_finite_differences_in_every_form() {
    for (graph, variant) in
        [Graph::Review, Graph::LayerToLayer].into_iter().flat_map(|g| [(g, Variant::Reference), (g, Variant::Paper)])
    {
        let method = made(&config(graph, variant));
        for level in 0..if graph == Graph::Review { 3 } else { 2 } {
            let loss = |x: Tensor<4>| {
                let mut maps = student(2);
                maps[level] = x;
                losses(&method, maps).into_iter().reduce(|a, b| a + b).unwrap()
            };
            let error = gradient_error(student(2)[level].clone(), loss);
            assert!(error < 2e-5, "{graph:?} {variant:?} level {level}: {error}");
        }
        for filter in [FilterKind::Dense, FilterKind::Depthwise] {
            let method = fill(made(&FamKdConfig { filter, ..config(graph, variant) }));
            let loss = |m: &FamKd| losses(m, student(2)).into_iter().reduce(|a, b| a + b).unwrap();
            let error = parameter_gradient_error(method, loss);
            assert!(error < 1e-6, "{graph:?} {variant:?} {filter:?}: {error}");
        }
    }
}

#[test]
fn repeated_queries_are_attended_once() {
    // Equation 7 resizes the query map first; attending at its own size and resizing the result is the same.
    let parameters = Parameters::new(Stream::new(2), &device());
    let attention = double(GlobalAttention::new(&parameters, [3, 2, 4]));
    let (x, y) = (wave([2, 2, 6, 4], 0.3, 0.41), wave([2, 3, 3, 2], 0.7, 0.37));
    let early = attention.forward(x.clone(), crate::resize_nearest(y.clone(), (6, 4)));
    assert_close(&values(attention.forward(x, y)), &values(early), 1e-13);
}

#[test]
fn one_sample_and_one_pixel_are_finite() {
    for variant in [Variant::Reference, Variant::Paper] {
        for value in losses(&made(&config(Graph::Review, variant)), student(1)) {
            assert!(scalar(value).is_finite());
        }
    }
}

#[test]
fn parameters_of_the_published_pair_are_counted() {
    // ResNet56 to 20: 0.79 M complex numbers in K (the reference counts a complex weight once).
    let stages: [(&str, &[usize; 3]); 4] =
        [("stage1", &[16, 32, 32]), ("stage2", &[32, 16, 16]), ("stage3", &[64, 8, 8]), ("pooled", &[64, 1, 1])];
    let config = FamKdConfig::default();
    let method = config.init(&book(&stages, &stages), &Parameters::new(Stream::new(1), &device())).unwrap();
    let complex = 16 * 16 * 1024 + 32 * 32 * 256 + 64 * 64 * 64 + 64 * 64;
    let total = method.num_params();
    assert_eq!(complex, 790_528);
    // Without the unused adapter of the deepest block: about 0.82 M.
    let once = total - complex;
    assert!((815_000..825_000).contains(&once), "{once}");
}

#[test]
fn impossible_settings_are_named() {
    let none = FamKdConfig { attention: Some(AttentionKind::None), ..Default::default() };
    assert!(none.taps(&shapes()).unwrap_err().to_string().contains("cannot fuse"));
    let odd = FamKdConfig { mid: Some(vec![4, 6, 8]), ..Default::default() };
    assert!(odd.taps(&shapes()).unwrap_err().to_string().contains("multiple of 4"));
    let lost = FamKdConfig {
        student_taps: Some(vec!["stage9".into()]),
        teacher_taps: Some(vec!["stage1".into()]),
        ..Default::default()
    };
    let message = lost.taps(&shapes()).unwrap_err().to_string();
    assert!(message.contains("no tap `stage9`") && message.contains("stage1, stage2, pooled"), "{message}");
}
