//! `largest_temporary` of every method against numbers worked out by hand.
//!
//! Two pairs of networks with two stages, [channels, height, width]:
//!
//! | | student | teacher |
//! |---|---|---|
//! | same | [16, 16, 16], [32, 8, 8] | the same |
//! | larger | [64, 16, 16], [128, 8, 8] | [16, 8, 8], [32, 4, 4] |
//!
//! each with `pooled` of the deepest channels and 5 classes, two samples. The numbers were also held against the largest
//! allocation of a forward pass. In the larger case a 1x1 adapter of stage 1 runs first: 16·16·16 = 4096 numbers of a
//! sample, and 16·16·8 on the way of its resize; resized first it would have been 64·16·8 = 8192.
use super::*;
use crate::check::{book, device, least_keys};

const SAMPLES: usize = 2;

fn shapes(student: [[usize; 3]; 2], teacher: [[usize; 3]; 2]) -> ShapeBook {
    let side = |[a, b]: [[usize; 3]; 2]| {
        [("stage1", a), ("stage1.pre", a), ("stage2", b), ("stage2.pre", b), ("pooled", [b[0], 1, 1])]
    };
    let (student, teacher) = (side(student), side(teacher));
    let named = |taps: &'static [(&'static str, [usize; 3]); 5]| taps.each_ref().map(|(name, shape)| (*name, shape));
    book(&named(Box::leak(Box::new(student))), &named(Box::leak(Box::new(teacher))))
}

fn same() -> ShapeBook {
    shapes([[16, 16, 16], [32, 8, 8]], [[16, 16, 16], [32, 8, 8]])
}

fn larger() -> ShapeBook {
    shapes([[64, 16, 16], [128, 8, 8]], [[16, 8, 8], [32, 4, 4]])
}

/// Numbers of the largest temporary.
fn numbers(table: &str, book: &ShapeBook) -> usize {
    let config = AnyMethodConfig::from_table(&table.parse().unwrap()).unwrap();
    config.taps(book).unwrap();
    config.cost(book, SAMPLES, &device()).unwrap().largest_temporary / size_of::<f32>()
}

/// What a method with its defaults holds at most, same and larger.
fn expected(method: &str) -> [usize; 2] {
    let each = |numbers: [usize; 2]| numbers.map(|n| SAMPLES * n);
    match method {
        // One row of scores.
        "kd" | "dkd" | "ofa" | "dist" => each([5, 5]),
        // Differences of all pairs of `pooled`.
        "rkd" => each([SAMPLES * 32, SAMPLES * 128]),
        // The wider vector.
        "infonce" => each([32, 128]),
        // A band of `pooled`, of the teacher's width.
        "fd-cmkd" => each([32, 32]),
        // Stage 2; halved by a stride of two from the whole student's map.
        "fitnet" => each([32 * 8 * 8, 128 * 8 * 8]),
        // Squares of stage 1, or the student's map between the two axes of its average.
        "at" | "spectralkd" => each([16 * 16 * 16, 64 * 16 * 8]),
        // The compared map of stage 1; where the student is larger, its adapter's.
        "mse" | "pkd" | "maskd" | "freqkd" | "ffl" | "wavelet-kd" | "compose" => each([16 * 16 * 16, 16 * 16 * 16]),
        // The same for stage 2 alone.
        "cwd" | "mgd" | "sfkd" => each([32 * 8 * 8, 32 * 8 * 8]),
        // `relation` brings stage 2 of the teacher's channels to the size of stage 1.
        "freekd" => each([32 * 16 * 16, 16 * 16 * 16]),
        // Two maps of the deepest width, joined at stage 1 of the student.
        "reviewkd" => each([2 * 32 * 16 * 16, 2 * 128 * 16 * 16]),
        // The filter of stage 2 on half a spectrum: no samples.
        "fam-kd" => [32 * 32 * 2 * 8 * 5, 128 * 32 * 2 * 4 * 3],
        // Half a spectrum of stage 2, or the student's map between the two axes of its average.
        "sfakd" => each([32 * 2 * 8 * 5, 128 * 8 * 4]),
        // Four times the channels in the feed-forward layer, or the student's tokens.
        "ufd-kd" => each([4 * 32 * 8 * 8, 128 * 8 * 8]),
        // Queries, keys and values of stage 1, or the 3x3 convolution on the student's.
        "monoafkd" => each([3 * 16 * 16 * 16, 64 * 16 * 16]),
        // The 3x3 convolution on the student's stage 1.
        "affinity" => each([16 * 16 * 16, 64 * 16 * 16]),
        other => panic!("work out the largest temporary of `{other}`"),
    }
}

#[test]
fn every_method_says_what_it_holds_at_most() {
    for name in method_names() {
        let found = [same(), larger()].map(|book| numbers(&least_keys(name), &book));
        assert_eq!(found, expected(name), "{name}");
    }
}

#[test]
fn bands_of_long_wavelets_are_counted() {
    // db4 has 8 taps: 16 -> 11 -> 9 -> 8 and 8 -> 7 -> 7 -> 7. Three bands of 16 channels at 11x11.
    let finest = SAMPLES * 3 * 16 * 11 * 11;
    for table in [
        "method = 'compose'\nwavelet = 'db4'",
        "method = 'wavelet-kd'\nwavelet = 'db4'",
        "method = 'freekd'\nmasks = 'none'\nwavelet = 'db4'",
        "method = 'monoafkd'\nafa = 0.0\nwavelet = 'db4'",
    ] {
        assert_eq!(numbers(table, &same()), finest, "{table}");
    }
    // Two levels of stage 2 alone.
    assert_eq!(numbers("method = 'sfkd'\nwavelet = 'db4'", &same()), SAMPLES * 3 * 32 * 7 * 7);
    // bior4.4 has 10 taps and makes small maps grow: 4 -> 6 -> 7 -> 8; the last level is the largest.
    for method in ["compose", "wavelet-kd", "freekd\nmasks = 'none"] {
        let table = format!("method = '{method}'\nwavelet = 'bior4.4'\nlevels = 3").replace("freekd\n", "freekd'\n");
        assert_eq!(numbers(&table, &larger()), SAMPLES * 3 * 32 * 8 * 8, "{table}");
    }
}

#[test]
fn spectra_are_counted_where_they_are_held() {
    let of = |keys: &str| numbers(&format!("method = 'compose'\n{keys}"), &same());
    // Stage 1 has 16 x 9 complex numbers for 16 x 16 real ones, stage 2 less in all.
    assert_eq!(of("transform = 'fft'\nsplit = 'none'"), SAMPLES * 2 * 16 * 16 * 9);
    assert_eq!(of("transform = 'channel-fft'\nsplit = 'none'"), SAMPLES * 2 * 9 * 16 * 16);
    assert_eq!(of("transform = 'channel-fft'\nsplit = 'dc'\ndomain = 'coefficients'"), SAMPLES * 2 * 9 * 16 * 16);
    // In space the filter holds none.
    assert_eq!(of("transform = 'fft'\nsplit = 'rectangle'"), SAMPLES * 16 * 16 * 16);
    let focal = "transform = 'none'\nsplit = 'none'\nlow = { distance = { focal-frequency = { alpha = 1.0 } } }";
    assert_eq!(of(focal), SAMPLES * 16 * 16 * 16);
    assert_eq!(of("transform = 'none'\nsplit = 'none'\nfilter = 'dense'"), 32 * 32 * 2 * 8 * 5);
}

#[test]
fn alignments_count_adapters_and_resizes() {
    let of = |align: &str| numbers(&format!("method = 'mse'\nalign = {{ {align} }}"), &larger());
    for resize in ["bilinear", "area", "nearest"] {
        assert_eq!(of(&format!("resize = '{resize}'")), SAMPLES * 16 * 16 * 16, "{resize}");
    }
    for adapter in ["conv3x3", "mlp"] {
        assert_eq!(of(&format!("adapter = '{adapter}'")), SAMPLES * 64 * 16 * 16, "{adapter}");
    }
    // Fewer student channels are resized first: 16·16·8 on the way, then 64 channels on 8x8.
    let wide = shapes([[16, 16, 16], [32, 8, 8]], [[64, 8, 8], [128, 4, 4]]);
    assert_eq!(numbers("method = 'mse'", &wide), SAMPLES * 64 * 8 * 8);
    // 512 channels to 64 at 8x8, not 512 channels on the way from 8x8 to 4x4.
    let narrow = shapes([[512, 8, 8]; 2], [[64, 4, 4]; 2]);
    assert_eq!(numbers("method = 'mse'", &narrow), SAMPLES * 64 * 8 * 8);
}
