use subband_seed::Stream;

use super::*;
use crate::check::{
    book, device, double, features, fill, fixture, gradient_error, labels, parameter_gradient_error, scalar, values,
    wave,
};

fn table(text: &str) -> FdCmkdConfig {
    toml::from_str(text).unwrap()
}

/// The method for one pair of taps, `[C, H, W]` each.
fn method(config: &FdCmkdConfig, student: [usize; 3], teacher: [usize; 3]) -> FdCmkd {
    let tap = if teacher[1..] == [1, 1] { "pooled" } else { "stage1" };
    let book = book(&[(tap, &student)], &[(tap, &teacher)]);
    config.taps(&book).unwrap();
    double(config.init(&book, &Parameters::new(Stream::new(2), &device())).unwrap())
}

fn parts(method: &FdCmkd, s: Tensor<4>, t: Tensor<4>) -> Vec<(&'static str, f64)> {
    let labels = labels(&(0..s.dims()[0] as i64).map(|i| 2 * i % 5).collect::<Vec<_>>());
    method.compare(0, s, t, &labels.into()).unwrap().into_iter().map(|(name, value)| (name, scalar(value))).collect()
}

fn total(method: &FdCmkd, s: Tensor<4>, t: Tensor<4>) -> Tensor<1> {
    let labels = labels(&(0..s.dims()[0] as i64).map(|i| 2 * i % 5).collect::<Vec<_>>());
    method.compare(0, s, t, &labels.into()).unwrap().into_iter().map(|(_, value)| value).reduce(|a, b| a + b).unwrap()
}

#[test]
fn golden_values() {
    let config = table("shared_classifier = false\nown_classifier = false");
    let method = method(&config, [16, 1, 1], [16, 1, 1]);
    let found = parts(&method, wave([3, 16, 1, 1], 1.3, 0.41), wave([3, 16, 1, 1], 0.2, 0.37));
    assert_eq!((found[0].0, found[1].0, found.len()), ("low", "high", 2));
    assert!((found[0].1 - 0.17244725835953698).abs() < 1e-9, "{found:?}");
    assert!((found[1].1 - 0.0984993784073221).abs() < 1e-9, "{found:?}");
}

#[test]
fn all_parts_match_the_oracle() {
    // An adapter and odd channels; then a map, whose places are vectors.
    let adapted = fill(method(&FdCmkdConfig::default(), [6, 1, 1], [9, 1, 1]));
    let found = parts(&adapted, wave([3, 6, 1, 1], 1.3, 0.41), wave([3, 9, 1, 1], 0.2, 0.37));
    let expected = fixture("fd-cmkd.parts");
    assert_eq!(found.iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["low", "high", "shared", "own"]);
    for ((name, value), expected) in found.iter().zip(&expected) {
        assert!((value - expected).abs() < 1e-11, "{name}: {value} for {expected}");
    }
    let text = "cutoff = 0.25\nscale = false\nstudent_taps = ['stage1']\nteacher_taps = ['stage1']";
    let dense = method(&table(text), [10, 3, 2], [10, 3, 2]);
    let found = parts(&dense, wave([2, 10, 3, 2], 1.3, 0.41), wave([2, 10, 3, 2], 0.2, 0.37));
    for ((name, value), expected) in found.iter().zip(&fixture("fd-cmkd.map")) {
        assert!((value - expected).abs() < 1e-11, "{name}: {value} for {expected}");
    }
    assert_eq!(found.len(), 2);
}

#[test]
fn bands_and_mean_add_up_and_are_orthogonal() {
    for channels in [4, 5, 7, 16] {
        let masks = FdCmkdConfig::default().masks(channels);
        let x = wave([2, channels, 2, 1], 0.3, 0.41);
        let [low, high] = bands(x.clone(), &masks).unwrap();
        let rest = values(x.clone() - x.mean_dim(1) - low.clone() - high.clone());
        assert!(rest.iter().all(|v| v.abs() < 1e-13), "{channels}");
        let inner = values((low.clone() * high.clone()).sum());
        assert!(inner[0].abs() < 1e-12 && scalar(low.square().sum()) > 1e-3 && scalar(high.square().sum()) > 1e-3);
    }
}

#[test]
fn gradients_match_for_student_adapter_and_classifiers() {
    for text in ["", "scale = false\nhigh_distance = 'log-mse'", "cutoff = 0.3\nlow_distance = 'signed-log-mse'"] {
        for channels in [[8, 8], [3, 9]] {
            let method = method(&table(text), [channels[0], 1, 1], [channels[1], 1, 1]);
            let (s, t) = (wave([3, channels[0], 1, 1], 1.3, 0.41), wave([3, channels[1], 1, 1], 0.2, 0.37));
            assert!(gradient_error(s.clone(), |x| total(&method, x, t.clone())) < 1e-6, "{text} {channels:?}");
            assert!(parameter_gradient_error(method, |m| total(m, s.clone(), t.clone())) < 1e-6, "{text}");
        }
    }
    let text = "student_taps = ['stage1']\nteacher_taps = ['stage1']";
    let dense = method(&table(text), [4, 3, 3], [6, 5, 2]);
    let t = wave([1, 6, 5, 2], 0.2, 0.37);
    assert!(gradient_error(wave([1, 4, 3, 3], 1.3, 0.41), |x| total(&dense, x, t.clone())) < 1e-6);
}

#[test]
fn weights_and_switches_take_parts_away() {
    let names = |text: &str| {
        let method = method(&table(text), [8, 1, 1], [8, 1, 1]);
        let found = parts(&method, wave([2, 8, 1, 1], 1.3, 0.41), wave([2, 8, 1, 1], 0.2, 0.37));
        (found.into_iter().map(|(name, _)| name).collect::<Vec<_>>().join(" "), method.num_params())
    };
    let head = 5 * 8 + 5;
    assert_eq!(names(""), ("low high shared own".into(), 4 * head));
    assert_eq!(names("own_classifier = false"), ("low high shared".into(), 2 * head));
    assert_eq!(names("shared_weight = 0.0\nlow_weight = 0.0"), ("high own".into(), 2 * head));
}

#[test]
fn what_does_not_fit_is_explained() {
    let shapes =
        book(&[("stage1", &[8, 4, 4]), ("pooled", &[8, 1, 1])], &[("stage1", &[8, 4, 4]), ("pooled", &[3, 1, 1])]);
    let message = |text: &str| table(text).taps(&shapes).unwrap_err().to_string();
    assert!(message("").contains("at least 4"));
    assert!(message("cutoff = 1.0").contains("cutoff"));
    assert!(message("low_weight = 0.0\nhigh_weight = 0.0").contains("high_weight"));
    let maps = "student_taps = ['stage1']\nteacher_taps = ['stage1']\n";
    let text = message(&format!("{maps}own_classifier = true"));
    assert!(text.contains("own_classifier") && text.contains("4x4"), "{text}");
    let student = features(&[("pooled", wave([2, 8, 1, 1], 0.3, 0.41))]);
    let input = StepInput {
        student: &student,
        teacher: &student,
        labels: labels(&[0, 1]).into(),
        samples: &[],
        epoch: 1,
        step: 1,
    };
    let good = book(&[("pooled", &[8, 1, 1])], &[("pooled", &[8, 1, 1])]);
    let made = double(FdCmkdConfig::default().init(&good, &Parameters::new(Stream::new(2), &device())).unwrap());
    let names: Vec<String> = made.forward(&input).unwrap().into_iter().map(|t| t.name).collect();
    assert_eq!(names[0], "fd-cmkd.pooled.low");
}

#[test]
fn a_side_without_names_reads_its_pooled_vector() {
    let shapes =
        book(&[("stage2", &[4, 2, 2]), ("pooled", &[4, 1, 1])], &[("stage2", &[8, 2, 2]), ("pooled", &[8, 1, 1])]);
    for (text, student, teacher) in [
        ("student_taps = ['stage2']", "stage2", "pooled"),
        ("teacher_taps = ['stage2']", "pooled", "stage2"),
        ("", "pooled", "pooled"),
    ] {
        let wanted = table(text).taps(&shapes).unwrap();
        assert_eq!((wanted.student, wanted.teacher), (vec![student.to_string()], vec![teacher.to_string()]), "{text}");
    }
}
