use subband_seed::Stream;

use super::*;
use crate::check::{
    book, device, double, features, fill, fixture, gradient_error, labels, parameter_gradient_error, scalar, single,
    wave,
};

fn table(text: &str) -> FreqKdConfig {
    toml::from_str(text).unwrap()
}

/// The method for one pair of taps.
fn method(config: &FreqKdConfig, student: [usize; 3], teacher: [usize; 3]) -> FreqKd {
    let book = book(&[("stage1", &student)], &[("stage1", &teacher)]);
    config.check().unwrap();
    double(config.init(&book, &Parameters::new(Stream::new(2), &device())).unwrap())
}

fn loss(method: &FreqKd, s: Tensor<4>, t: Tensor<4>) -> Tensor<1> {
    method.compare(&method.aligns[0], &method.pairs[0].distance, s, t).unwrap()
}

/// The fill rule of the golden values.
fn inputs([h, w]: [usize; 2]) -> (Tensor<4>, Tensor<4>) {
    (wave([2, 4, h, w], 1.3, 0.41), wave([2, 4, h, w], 0.2, 0.37))
}

#[test]
fn golden_values_of_bands_and_cosine() {
    let golden = [
        ([8, 8], 0.009478776503378581, 0.051835586540714226, 1.0111767761686208),
        ([9, 12], 0.08958692906612077, 0.038763092294695864, 1.041458595535218),
    ];
    for (size, low, high, cosine) in golden {
        let map = [4, size[0], size[1]];
        let texts = [
            ("low_weight = 1.0\nhigh_weight = 0.0", low),
            ("low_weight = 0.0\nhigh_weight = 1.0", high),
            ("", low + 0.1 * high),
            ("loss = 'cosine'", cosine),
        ];
        for (text, expected) in texts {
            let (s, t) = inputs(size);
            let method = method(&table(text), map, map);
            let value = scalar(loss(&method, s.clone(), t.clone()));
            assert!((value - expected).abs() < 1e-9, "{size:?} {text}: {value} for {expected}");
            let value = scalar(loss(&method, single(s), single(t)));
            assert!((value - expected).abs() < 5e-5, "{size:?} {text} in f32: {value} for {expected}");
        }
    }
}

/// The variants of the oracle: name, keys.
const VARIANTS: [(&str, &str); 8] = [
    ("cut10", "cutoff = 0.1"),
    ("cut25", "cutoff = 0.25"),
    ("cut75", "cutoff = 0.75"),
    ("cut100", "cutoff = 1.0"),
    ("paper", "variant = 'paper'"),
    ("radial", "mask = 'radial'"),
    ("signed", "high_distance = 'signed-log-mse'"),
    ("raw", "normalize = 'none'\nhigh_distance = 'mse'\nlow_distance = 'log-mse'"),
];

#[test]
fn variants_match_the_oracle() {
    for (name, text) in VARIANTS {
        let (s, t) = inputs([9, 12]);
        let value = scalar(loss(&method(&table(text), [4, 9, 12], [4, 9, 12]), s, t));
        assert!((value - fixture(&format!("freqkd.{name}"))[0]).abs() < 1e-12, "{name}: {value}");
    }
    assert_eq!(table("variant = 'paper'").mask((9, 12)).unwrap(), table("mask = 'symmetric'").mask((9, 12)).unwrap());
}

#[test]
fn projector_and_resize_match_the_oracle() {
    let method = fill(method(&FreqKdConfig::default(), [3, 5, 4], [4, 9, 12]));
    let value = scalar(loss(&method, wave([2, 3, 5, 4], 1.3, 0.41), wave([2, 4, 9, 12], 0.2, 0.37)));
    assert!((value - fixture("freqkd.projected")[0]).abs() < 1e-11, "{value}");
}

#[test]
fn gradients_match_for_odd_sizes_and_all_variants() {
    let texts = VARIANTS.map(|(_, text)| text).into_iter().chain(["", "loss = 'cosine'", "high_weight = 0.0"]);
    for text in texts {
        for [n, c, h, w] in [[2, 3, 5, 7], [1, 2, 1, 4], [1, 1, 4, 4]] {
            let method = method(&table(text), [c, h, w], [c, h, w]);
            let teacher = wave([n, c, h, w], 0.2, 0.37);
            let error = gradient_error(wave([n, c, h, w], 1.3, 0.41), |x| loss(&method, x, teacher.clone()));
            // One channel of unit length is +-1 everywhere: its gradient is 0, and so is the numeric one to 1e-9.
            assert!(error < 1e-6, "{text} {h}x{w}: {error}");
        }
    }
}

#[test]
fn gradients_of_the_adapter_match() {
    let method = method(&FreqKdConfig::default(), [3, 5, 4], [4, 3, 5]);
    let (s, t) = (wave([2, 3, 5, 4], 1.3, 0.41), wave([2, 4, 3, 5], 0.2, 0.37));
    assert!(gradient_error(s.clone(), |x| loss(&method, x, t.clone())) < 1e-6);
    assert!(parameter_gradient_error(method, |m| loss(m, s.clone(), t.clone())) < 1e-6);
}

#[test]
fn maps_of_one_place_are_compared_where_that_means_something() {
    let one = [4, 1, 1];
    for text in ["normalize = 'none'", "normalize = 'l2'", "loss = 'cosine'\nnormalize = 'none'"] {
        let method = method(&table(text), one, one);
        let teacher = wave([2, 4, 1, 1], 0.2, 0.37);
        let error = gradient_error(wave([2, 4, 1, 1], 1.3, 0.41), |x| loss(&method, x, teacher.clone()));
        assert!(error < 1e-6, "{text}: {error}");
    }
    let book = book(&[("stage1", &one)], &[("stage1", &one)]);
    let message = FreqKdConfig::default().taps(&book).unwrap_err().to_string();
    assert!(message.contains("stage1") && message.contains("mean-l2"), "{message}");
    let message = table("normalize = 'none'\nlow_weight = 0.0").taps(&book).unwrap_err().to_string();
    assert!(message.contains("no high frequencies") && message.contains("low_weight"), "{message}");
    table("normalize = 'none'").taps(&book).unwrap();
}

#[test]
fn one_channel_is_refused_where_only_its_sign_would_be_compared() {
    let one = book(&[("stage1", &[4, 4, 4])], &[("stage1", &[1, 4, 4])]);
    for text in ["", "normalize = 'l2'", "normalize = 'none'\nloss = 'cosine'"] {
        let message = table(text).taps(&one).unwrap_err().to_string();
        assert!(message.contains("one channel") && message.contains("sign"), "{text}: {message}");
    }
    table("normalize = 'standardize'").taps(&one).unwrap();
}

#[test]
fn the_radial_mask_of_a_row_counts_by_its_width() {
    let config = table("mask = 'radial'");
    let row = config.mask((1, 12)).unwrap();
    assert_eq!(row, Mask::low([1, 12], Pass::Radial(3.0)).unwrap());
    assert_eq!(config.mask((9, 12)).unwrap(), Mask::low([9, 12], Pass::Radial(2.25)).unwrap());
}

#[test]
fn keys_of_the_bands_are_refused_with_the_cosine() {
    let book = book(&[("stage1", &[4, 4, 4])], &[("stage1", &[4, 4, 4])]);
    for key in ["cutoff = 0.25", "mask = \"radial\"", "low_weight = 2.0", "high_distance = \"mse\""] {
        let message = table(&format!("loss = 'cosine'\n{key}")).taps(&book).unwrap_err().to_string();
        assert!(message.contains(&format!("`{key}`")) && message.contains("bands"), "{message}");
    }
}

#[test]
fn bad_values_name_the_key() {
    let book = book(&[("stage1", &[4, 4, 4])], &[("stage1", &[4, 4, 4])]);
    let message = |text: &str| table(text).taps(&book).unwrap_err().to_string();
    assert!(message("cutoff = 0.0").contains("cutoff"));
    assert!(message("cutoff = 1.5").contains("cutoff"));
    assert!(message("low_weight = -1.0").contains("low_weight"));
    assert!(message("low_weight = 0.0\nhigh_weight = 0.0").contains("both 0"));
}

#[test]
fn one_term_per_pair_of_taps() {
    let shapes =
        book(&[("stage1", &[4, 8, 8]), ("stage2", &[4, 4, 4])], &[("stage1", &[4, 8, 8]), ("stage2", &[4, 4, 4])]);
    let config = FreqKdConfig::default();
    let method = config.init(&shapes, &Parameters::new(Stream::new(2), &device())).unwrap();
    let taps = |s| features(&[("stage1", wave([2, 4, 8, 8], s, 0.41)), ("stage2", wave([2, 4, 4, 4], s, 0.41))]);
    let (student, teacher) = (taps(1.3), taps(0.2));
    let input = StepInput {
        student: &student,
        teacher: &teacher,
        labels: labels(&[0, 1]).into(),
        samples: &[],
        epoch: 1,
        step: 1,
    };
    let terms = method.forward(&input).unwrap();
    let names: Vec<&str> = terms.iter().map(|t| t.name.as_str()).collect();
    assert_eq!(names, ["freqkd.stage1", "freqkd.stage2"]);
    assert_eq!(config.largest_temporary(&shapes, 3).unwrap(), 3 * 4 * 64);
}

#[test]
fn the_composition_from_pieces_is_the_same() {
    let text =
        "normalize = 'mean-l2'\ntransform = 'fft'\nsplit = 'rectangle'\nhigh = { weight = 0.1, distance = 'log-mse' }";
    let composed: crate::ComposeConfig = toml::from_str(text).unwrap();
    let shapes = book(&[("stage1", &[4, 9, 12])], &[("stage1", &[4, 9, 12])]);
    let composed = composed.init(&shapes, &Parameters::new(Stream::new(2), &device())).unwrap();
    let (s, t) = inputs([9, 12]);
    let (student, teacher) = (features(&[("stage1", s.clone())]), features(&[("stage1", t.clone())]));
    let input = StepInput {
        student: &student,
        teacher: &teacher,
        labels: labels(&[0, 1]).into(),
        samples: &[],
        epoch: 1,
        step: 1,
    };
    let sum: f64 = composed.forward(&input).unwrap().into_iter().map(|term| scalar(term.value)).sum();
    let own = scalar(loss(&method(&FreqKdConfig::default(), [4, 9, 12], [4, 9, 12]), s, t));
    assert!((sum - own).abs() < 1e-13, "{sum} for {own}");
}
