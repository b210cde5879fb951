use subband_seed::Stream;

use super::*;
use crate::check::{book, device, double, fixture, gradient_error, scalar, wave};

fn method(config: ComposeConfig, shape: [usize; 3]) -> Compose {
    let book = book(&[("stage1", &shape)], &[("stage1", &shape)]);
    config.check().and_then(|()| config.check_unread()).unwrap();
    double(config.init(&book, &Parameters::new(Stream::new(3), &device())).unwrap())
}

fn table(text: &str) -> ComposeConfig {
    toml::from_str(text).unwrap()
}

/// Loss of each band for the student and teacher maps of the golden vectors.
fn compare(config: ComposeConfig, shape: [usize; 4]) -> Vec<(String, f64)> {
    let (s, t) = (wave(shape, 1.3, 0.41), wave(shape, 0.2, 0.37));
    let parts = method(config, [shape[1], shape[2], shape[3]]).compare(s, t).unwrap();
    parts.into_iter().map(|(name, value)| (name, scalar(value))).collect()
}

fn assert_parts(found: &[(String, f64)], expected: &[(&str, f64)]) {
    assert_eq!(found.len(), expected.len(), "{found:?}");
    for ((name, value), (known, number)) in found.iter().zip(expected) {
        assert!(name == known && (value - number).abs() < 1e-9, "{name} {value}, expected {known} {number}");
    }
}

const FREQKD: &str = "normalize = 'mean-l2'\ntransform = 'fft'\nsplit = 'rectangle'\nhigh = { distance = 'log-mse' }";

#[test]
fn freqkd_from_pieces_is_golden_g6() {
    let square = compare(table(FREQKD), [2, 4, 8, 8]);
    assert_parts(&square, &[("low", 0.009478776503378581), ("high", 0.051835586540714226)]);
    let odd = compare(table(FREQKD), [2, 4, 9, 12]);
    assert_parts(&odd, &[("low", 0.08958692906612077), ("high", 0.038763092294695864)]);
    let cosine = "transform = 'none'\nsplit = 'none'\nlow = { distance = 'cosine' }\nnormalize = 'mean-l2'";
    assert_parts(&compare(table(cosine), [2, 4, 8, 8]), &[("all", 1.0111767761686208)]);
}

#[test]
fn wavelet_losses_from_pieces_are_golden_g2_and_g5() {
    let plain = "low = { distance = 'l1' }\nhigh = { distance = 'l1' }";
    let expected = [("ll3", 0.473572123), ("level1", 0.517676300), ("level2", 0.839255092), ("level3", 0.414001879)];
    let found = compare(table(plain), [2, 4, 9, 12]);
    assert_parts(&found, &expected);
    let wfd =
        "split = 'orientation-sum'\nlow = { weight = 0.7, distance = 'l1' }\nhigh = { weight = 0.3, distance = 'l1' }";
    let sum: f64 = compare(table(wfd), [2, 4, 9, 12]).iter().map(|(_, value)| value).sum();
    assert!((sum - 1.4550143713299128).abs() < 1e-12, "{sum}");
}

#[test]
fn spectralkd_from_pieces_is_golden_g9() {
    let config = table("transform = 'fft'\nsplit = 'none'");
    assert_parts(&compare(config, [2, 4, 6, 6]), &[("all", 0.6626455415306791)]);
}

#[test]
fn a_focal_mask_and_band_normalisation_match_the_oracle() {
    let config = "split = 'orientation'\nlevels = 1\nmask = { focal = { alpha = 1.0 } }\nnormalize_bands = 'l2'\nreduction = 'batch-mean'";
    let found: Vec<f64> = compare(table(config), [2, 4, 5, 6]).into_iter().map(|(_, value)| value).collect();
    let expected = fixture("compose.focal");
    assert_eq!(found.len(), expected.len());
    assert!(found.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-9), "{found:?} {expected:?}");
}

#[test]
fn gradients_match_for_both_ways_of_computing() {
    let linear = "transform = 'dct'\nsplit = 'radial'\nlow = { distance = 'l1' }";
    let pair = "transform = 'channel-fft'\nsplit = 'rectangle'\ndomain = 'coefficients'\nhigh = { distance = 'signed-log-mse' }";
    for text in [linear, pair, FREQKD] {
        for [n, c, h, w] in [[2, 4, 5, 3], [1, 3, 1, 1], [1, 2, 7, 4]] {
            let method = method(table(text), [c, h, w]);
            let target = wave([n, c, h, w], 0.2, 0.37);
            let loss = |x| {
                let parts = method.compare(x, target.clone()).unwrap();
                parts.into_iter().map(|(_, value)| value).reduce(|a, b| a + b).unwrap()
            };
            let error = gradient_error(wave([n, c, h, w], 1.3, 0.91), loss);
            assert!(error < 2e-5, "{text} {n}x{c}x{h}x{w}: {error}");
        }
    }
}

#[test]
fn a_learned_filter_is_fam_and_gets_gradients() {
    // With the filter alone and everything compared at once this is FAM-KD without its graph: mean (FAM(S) - T)^2.
    for filter in ["dense", "depthwise"] {
        let text = format!("filter = '{filter}'\nhigh_pass = 'square'\ntransform = 'none'\nsplit = 'none'");
        let method = crate::check::fill(method(table(&text), [3, 5, 4]));
        let (s, t) = (wave([2, 3, 5, 4], 1.3, 0.41), wave([2, 3, 5, 4], 0.2, 0.37));
        let loss = |method: &Compose, s: Tensor<4>| {
            let s = method.filters[0].forward(s).unwrap();
            method.compare(s, t.clone()).unwrap().remove(0).1
        };
        let exact = crate::parts::mean_squared_error(method.filters[0].forward(s.clone()).unwrap(), t.clone());
        assert!((scalar(loss(&method, s.clone())) - scalar(exact)).abs() < 1e-14);
        assert!(gradient_error(s.clone(), |s| loss(&method, s)) < 1e-6, "{filter}");
        let error = crate::check::parameter_gradient_error(method, |method| loss(method, s.clone()));
        assert!(error < 1e-6, "{filter}: {error}");
    }
}

fn refusal(text: &str, shape: [usize; 3]) -> String {
    let book = book(&[("stage1", &shape)], &[("stage1", &shape)]);
    table(text).taps(&book).unwrap_err().to_string()
}

#[test]
fn keys_that_nothing_reads_are_refused() {
    let fft = "transform = 'fft'\nsplit = 'radial'";
    for (text, key, owner) in [
        ("cutoff = 0.25", "`cutoff = 0.25`", "radial"),
        ("domain = 'coefficients'", "`domain = \"coefficients\"`", "Fourier"),
        (&format!("{fft}\nwavelet = 'db2'"), "`wavelet = \"db2\"`", "dwt"),
        (&format!("{fft}\nlevels = 2"), "`levels = 2`", "dwt"),
        (&format!("{fft}\nboundary = 'symmetric'"), "`boundary = \"symmetric\"`", "dwt"),
        ("transform = 'fft'\nsplit = 'dc'\ncutoff = 0.25", "`cutoff = 0.25`", "gaussian"),
        ("transform = 'fft'\nsplit = 'none'\nhigh = { weight = 0.1 }", "`high = ", "split"),
    ] {
        let message = refusal(text, [4, 8, 8]);
        assert!(message.contains(key) && message.contains(owner) && message.contains("compose"), "{message}");
    }
    // What stands at its default was not asked for.
    let shape = book(&[("stage1", &[4, 8, 8])], &[("stage1", &[4, 8, 8])]);
    table(&format!("{fft}\nlevels = 3\ncutoff = 0.25")).taps(&shape).unwrap();
}

#[test]
fn bands_with_nothing_to_compare_are_refused() {
    let frequencies = "transform = 'fft'\nsplit = 'rectangle'";
    for (text, shape, found) in [
        ("normalize = 'mean-l2'", [4, 1, 1], "one place"),
        ("normalize = 'l2'", [1, 8, 8], "one channel"),
        ("normalize_bands = 'mean-l2'\nlow = { weight = 0.0 }", [4, 8, 8], "band `level3`"),
        ("normalize_bands = 'mean-l2'\nhigh = { weight = 0.0 }", [4, 8, 8], "band `ll3`"),
        ("normalize_bands = 'l2'", [1, 8, 8], "band `ll3`"),
        (frequencies, [4, 1, 1], "no high frequencies"),
        ("transform = 'channel-dct'\nsplit = 'dc'", [1, 4, 4], "no high frequencies"),
        ("low = { distance = 'cosine' }", [1, 8, 8], "cosine"),
        ("high = { distance = { gaussian-spectrum = { sigma = 0.2, pass = 'high' } } }", [4, 8, 8], "keeps nothing"),
    ] {
        let message = refusal(text, shape);
        assert!(message.contains(found) && message.contains("stage1"), "{text}: {message}");
    }
    for (text, shape) in [
        ("", [1, 1, 1]),
        (&format!("{frequencies}\nhigh = {{ weight = 0.0 }}"), [4, 1, 1]),
        ("normalize_bands = 'mean-l2'\nlevels = 2", [4, 8, 8]),
        ("high = { distance = 'cosine' }", [1, 8, 8]),
    ] {
        table(text).taps(&book(&[("stage1", &shape)], &[("stage1", &shape)])).unwrap();
    }
}

#[test]
fn the_shapes_of_bands_are_those_of_the_bands() {
    let splits = [
        ("dwt", "level"),
        ("dwt", "orientation"),
        ("dwt", "orientation-sum"),
        ("none", "none"),
        ("fft", "none"),
        ("fft", "radial"),
        ("dct", "gaussian"),
        ("channel-fft", "rectangle"),
        ("channel-dct", "dc"),
    ];
    for (transform, split) in splits {
        for domain in ["space", "coefficients"] {
            let text = format!("transform = '{transform}'\nsplit = '{split}'\ndomain = '{domain}'");
            for [n, c, h, w] in [[2, 3, 9, 4], [1, 1, 1, 1], [1, 4, 1, 6]] {
                let bands = table(&text).bands().unwrap();
                let made = bands.of(wave([n, c, h, w], 0.2, 0.37)).unwrap().into_iter();
                let made = made.map(|b| (b.name, b.low, b.values.dims()));
                let told = bands.shapes(c, (h, w)).into_iter().map(|(name, low, c, (h, w))| (name, low, [n, c, h, w]));
                assert_eq!(made.collect::<Vec<_>>(), told.collect::<Vec<_>>(), "{text}");
            }
        }
    }
}

#[test]
fn mistakes_name_the_key_and_what_fits() {
    let error = |text: &str| {
        let book = book(&[("stage1", &[2, 4, 4])], &[("stage1", &[2, 4, 4])]);
        table(text).taps(&book).unwrap_err().to_string()
    };
    assert!(error("transform = 'fft'").contains("`split = \"level\"` does not go with `transform = \"fft\"`"));
    assert!(error("split = 'radial'").contains("orientation-sum"));
    assert!(error("transform = 'fft'\nsplit = 'dc'\ncutoff = 1.5").contains("cutoff = 1.5"));
    assert!(error("wavelet = 'har'").contains("haar"));
    assert!(error("high_pass = 'rank'").contains("filter"));
    assert!(error("levels = 0").contains("levels"));
    assert!(error("low = { weight = 0.0 }\nhigh = { weight = 0.0 }").contains("weight 0"));
    assert!(error("low = { weight = -1.0 }").contains("low.weight"));
    assert!(error("mask = { focal = { alpha = 1.0 } }\nhigh = { distance = 'cosine' }").contains("cosine"));
    assert!(toml::from_str::<ComposeConfig>("high = { distence = 'l1' }").is_err());
}
