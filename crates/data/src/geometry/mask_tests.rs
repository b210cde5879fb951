//! Crops for masks: image and mask through one geometry, the rule of the largest class, padding.

use super::*;
use crate::config::{Bands, ResizeConfig, Size};
use crate::dataset::{Sample, Target};
use crate::image::Samples;
use crate::normalize::Normalize;
use crate::pipeline::{Pipeline, Prepared, ViewPlan};
use std::sync::Arc;
use subband_seed::Stream;

/// Labels of a mask of blocks with `side` pixels, neighbours always different.
fn blocks(width: usize, height: usize, side: usize) -> Mask {
    let label = |i: usize| ((i % width / side) % 3 * 3 + (i / width / side) % 3) as u8;
    Mask::new("blocks", width, height, (0..width * height).map(label).collect()).unwrap()
}

/// The colour of a class; no channel is ever 127.5, so that no normalised value is 0.
fn colour(label: u8) -> [u8; 3] {
    [20 * label + 10, 250 - 25 * label, 7 * (label % 4)]
}

fn picture(mask: &Mask) -> Image {
    let samples = mask.labels().iter().flat_map(|&l| colour(l)).collect();
    Image::new("picture", mask.width(), mask.height(), 3, Samples::U8(samples)).unwrap()
}

fn pipeline(geometry: GeometryPlan) -> Pipeline {
    let normalization = Normalize::Values { mean: vec![0.5], std: vec![1.0] }.resolve(3).unwrap();
    let view = ViewPlan {
        bands: Bands::All,
        channels: 3,
        size: geometry.size,
        native: None,
        photometric: None,
        normalization,
    };
    let filter = Filter::Bilinear;
    Pipeline {
        geometry,
        filter,
        student: view.clone(),
        teacher: view,
        own_colours: false,
        any_size: false,
        augment: true,
    }
}

fn prepared(plan: &GeometryPlan, mask: &Mask, seed: u64) -> (Prepared, Mask) {
    let sample = Sample::shared(picture(mask), Target::Mask(Arc::new(mask.clone())));
    let out = pipeline(plan.clone()).prepare("x", &sample, Stream::new(seed), true).unwrap();
    let Target::Mask(cut) = &out.target else { panic!("a mask") };
    let cut = Mask::clone(cut);
    (out, cut)
}

/// Asserts that every pixel of the mask lies under its colour: at pixels whose surroundings are of one class, where
/// resampling mixes nothing. Returns how many pixels were compared.
fn agree(out: &Prepared, mask: &Mask, reach: usize) -> usize {
    let [_, h, w] = out.student.shape;
    assert_eq!((mask.height(), mask.width()), (h, w));
    let at = |x: usize, y: usize| mask.labels()[y * w + x];
    let mut compared = 0;
    for y in 0..h {
        for x in 0..w {
            let values: [f32; 3] = std::array::from_fn(|c| out.student.data[(c * h + y) * w + x]);
            let label = at(x, y);
            assert_eq!(label == Mask::IGNORED, values == [0.0; 3], "padding at {x},{y}");
            // What lies beyond the edge of the crop is not known here.
            let inner = x >= reach && y >= reach && x + reach < w && y + reach < h;
            let square = || (y - reach..=y + reach).flat_map(|y| (x - reach..=x + reach).map(move |x| (x, y)));
            let plain = inner && square().all(|(x, y)| [label, Mask::IGNORED].contains(&at(x, y)));
            if label != Mask::IGNORED && plain {
                let expected = colour(label).map(|v| f32::from(v) / 255.0 - 0.5);
                assert!(values.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{x},{y}: {values:?} {label}");
                compared += 1;
            }
        }
    }
    compared
}

#[test]
fn image_and_mask_go_through_the_same_geometry() {
    let mut stream = Stream::new(4);
    let mut compared = 0;
    for seed in 0..300 {
        let mask = blocks(1 + stream.below(60), 1 + stream.below(60), 12);
        let size = [1 + stream.below(50), 1 + stream.below(50)];
        let resize = (seed % 3 == 0).then(|| ResizeConfig::to(Size { height: 31, width: 40 }));
        let scale = (seed % 4 > 0).then_some([0.5, 2.0]);
        let crop = Some(CropPlan { scale, max_class_share: (seed % 2 == 0).then_some(0.75) });
        let plan = GeometryPlan { size, resize, crop, padding: 0, flip: true };
        let (out, cut) = prepared(&plan, &mask, seed);
        let g = plan.decide(mask.width(), mask.height(), Some(&mask), Some(Stream::new(seed).with("geometry")));
        // Pixels of the input to one of the image; resampling reaches so far, and one pixel where it reduces.
        let enlarged =
            [size[0] as f64 / g.height / mask.height() as f64, size[1] as f64 / g.width / mask.width() as f64];
        let reach = enlarged[0].max(enlarged[1]).max(1.0).ceil() as usize + 1;
        compared += agree(&out, &cut, reach);
        assert_eq!(out.teacher.as_ref(), Some(&out.student));
    }
    assert!(compared > 20_000, "{compared}");
}

#[test]
fn without_resampling_every_pixel_agrees_and_padding_is_right_and_below() {
    let (mut padded, mut flipped) = (0, 0);
    for seed in 0..200 {
        let (w, h) = (1 + seed as usize % 7, 1 + seed as usize % 5);
        let mask = blocks(w, h, 1);
        let crop = Some(CropPlan { scale: None, max_class_share: None });
        let plan = GeometryPlan { size: [4, 5], resize: None, crop, padding: 0, flip: true };
        let (out, cut) = prepared(&plan, &mask, seed);
        agree(&out, &cut, 0);
        let inside = |x: usize, y: usize| x < w.min(5) && y < h.min(4);
        for (i, &label) in cut.labels().iter().enumerate() {
            assert_eq!(label != Mask::IGNORED, inside(i % 5, i / 5), "{w}x{h} seed {seed}");
        }
        let g = plan.decide(w, h, Some(&mask), Some(Stream::new(seed).with("geometry")));
        (padded, flipped) = (padded + usize::from(w < 5), flipped + usize::from(w < 5 && g.flip));
        if w < 5 && h <= 4 {
            // Nothing is cut away: mirrored or not, all of the mask is there.
            let row: Vec<u8> = cut.labels()[..w].to_vec();
            let mut source = mask.labels()[..w].to_vec();
            if g.flip {
                source.reverse();
            }
            assert_eq!(row, source);
        }
    }
    assert!(padded > 50 && flipped > 20);
}

#[test]
fn masks_take_the_label_under_the_centre() {
    let mask = blocks(6, 4, 1);
    let same = Geometry::IDENTITY.apply_mask(&mask, [4, 6]);
    assert_eq!(same, mask);
    // Twice the size: every label four times. Half the size: the second of each two (the centre is on the edge).
    let twice = Geometry::IDENTITY.apply_mask(&mask, [8, 12]);
    assert!((0..96).all(|i| twice.labels()[i] == mask.labels()[i / 24 * 6 + i % 12 / 2]));
    let half = Geometry::IDENTITY.apply_mask(&mask, [2, 3]);
    assert!((0..6).all(|i| half.labels()[i] == mask.labels()[(i / 3 * 2 + 1) * 6 + i % 3 * 2 + 1]));
    let beyond = Geometry { left: 2.0, ..Geometry::IDENTITY };
    assert!(beyond.apply_mask(&mask, [2, 2]).labels().iter().all(|&l| l == Mask::IGNORED));
    assert_eq!(beyond.covered([4, 6], [2, 2])[1], 0..0);
}

#[test]
fn nearest_labels_are_those_of_pillow() {
    // Image.resize((n, 1), NEAREST) of the indices of a row.
    let cases: [(usize, &[usize]); 5] = [
        (7, &[0, 2, 4, 6]),
        (7, &[0, 1, 1, 2, 3, 3, 4, 5, 5, 6]),
        (480, &[34, 102, 171, 240, 308, 377, 445]),
        (5, &[0, 0, 0, 1, 1, 2, 2, 2, 3, 3, 4, 4, 4]),
        (3, &[1]),
    ];
    for (n, expected) in cases {
        let found = Geometry::IDENTITY.sources([1, n], [1, expected.len()]);
        assert!(found[1].iter().map(|s| s.unwrap()).eq(expected.iter().copied()), "{n}: {found:?}");
    }
}

/// A plan that cuts `size` and applies `share`.
fn bounded(size: [usize; 2], share: Option<f64>) -> GeometryPlan {
    let crop = Some(CropPlan { scale: None, max_class_share: share });
    GeometryPlan { size, resize: None, crop, padding: 0, flip: false }
}

#[test]
fn one_class_may_not_fill_the_crop_where_another_crop_is_found() {
    // The left third is class 1, the rest class 0, and a stripe that does not count.
    let labels = (0..90 * 20).map(|i| {
        if i % 90 < 30 {
            1
        } else if i / 90 == 3 {
            255
        } else {
            0
        }
    });
    let mask = Mask::new("m", 90, 20, labels.collect()).unwrap();
    let share = |g: &Geometry| {
        let counts = g.apply_mask(&mask, [10, 20]).counts();
        counts[0].max(counts[1]) as f64 / (counts[0] + counts[1]) as f64
    };
    let too_much = |limit| {
        let plan = bounded([10, 20], limit);
        let draws = (0..500).map(|seed| plan.decide(90, 20, Some(&mask), Some(Stream::new(seed))));
        draws.filter(|g| share(g) >= 0.75).count()
    };
    // 9 of the 71 places show 6 to 14 columns of class 1: (62/71)^11 = 0.225 of the seeds find none in eleven draws.
    assert!(too_much(None) > 410);
    assert!((85..140).contains(&too_much(Some(0.75))), "{}", too_much(Some(0.75)));
}

#[test]
fn a_crop_is_drawn_again_ten_times_at_most_and_first_ones_are_kept() {
    let one = Mask::new("m", 50, 40, vec![2; 2000]).unwrap();
    let plan = bounded([10, 20], Some(0.75));
    for seed in 0..20 {
        let mut places = Stream::new(seed).with("crop");
        let draws: Vec<[f64; 2]> =
            (0..11).map(|_| [places.below(31) as f64 / 40.0, places.below(31) as f64 / 50.0]).collect();
        let found = plan.decide(50, 40, Some(&one), Some(Stream::new(seed)));
        assert_eq!([found.top, found.left], draws[10]);
        // A mask that is always varied enough keeps the first.
        let found = plan.decide(50, 40, Some(&blocks(50, 40, 1)), Some(Stream::new(seed)));
        assert_eq!([found.top, found.left], draws[0]);
        // Nothing counts: no class has a share below the bound, so the last is taken too.
        let none = Mask::new("m", 50, 40, vec![Mask::IGNORED; 2000]).unwrap();
        assert_eq!(plan.decide(50, 40, Some(&none), Some(Stream::new(seed))).top, draws[10][0]);
    }
}

#[test]
fn the_scale_is_drawn_from_its_bounds() {
    let crop = Some(CropPlan { scale: Some([0.5, 2.0]), max_class_share: None });
    let plan = GeometryPlan { size: [20, 30], resize: None, crop, padding: 0, flip: false };
    let mut widths: Vec<f64> = Vec::new();
    for seed in 0..2000 {
        let g = plan.decide(300, 100, None, Some(Stream::new(seed)));
        // A window of 30 of the scaled width: scaled = 30 / width.
        let scaled = [20.0 / g.height, 30.0 / g.width];
        assert!(scaled.iter().all(|s| (s - s.round()).abs() < 1e-9));
        assert!((scaled[1] / 300.0 - scaled[0] / 100.0).abs() < 0.01, "{scaled:?}");
        assert!(g.left >= 0.0 && g.left + g.width <= 1.0 + 1e-9 && g.top + g.height <= 1.0 + 1e-9);
        widths.push(scaled[1] / 300.0);
    }
    let mean = widths.iter().sum::<f64>() / 2000.0;
    assert!((mean - 1.25).abs() < 0.04 && widths.iter().all(|w| (0.498..=2.002).contains(w)), "{mean}");
    assert_eq!(plan.decide(300, 100, None, None), Geometry::IDENTITY);
}
