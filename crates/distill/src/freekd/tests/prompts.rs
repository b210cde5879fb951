//! Stage 1: masks, dissimilarity, prompted maps, files.
use burn::prelude::*;
use burn::tensor::DType;

use super::*;
use crate::check::{cast, gradient_error, parameter_gradient_error, scalar, single};

const ALL: [(FrequencyKind, Grouping); 6] = [
    (FrequencyKind::Dwt, Grouping::Level),
    (FrequencyKind::Dwt, Grouping::Band),
    (FrequencyKind::Dft, Grouping::Level),
    (FrequencyKind::Dft, Grouping::Band),
    (FrequencyKind::Dct, Grouping::Level),
    (FrequencyKind::Dct, Grouping::Band),
];

#[test]
fn prompted_maps_meet_the_golden_values() {
    // G2 of the reference, which prints nine decimals.
    let sets = waves(&two_tokens(Variant::Reference), 4);
    let teacher = wave([2, 4, 9, 12], 0.2, 0.37);
    let (map, overlap) = sets.prompted(teacher.clone()).unwrap();
    assert_eq!(map.dims(), [2, 4, 10, 12]);
    assert!((scalar(overlap) - 3.9952007421987683).abs() < 1e-12);
    let y = values(map.clone());
    let squares = y.iter().map(|v| v * v).sum();
    let expected = [2.155291966, 454.854714386, 0.197879216, 0.479188702, 0.686330200, 0.814826731];
    assert_close(&[y.iter().sum(), squares, y[0], y[1], y[2], y[3]], &expected, 1e-9);
    let (in_single, overlap) = cast(sets.clone(), DType::F32).prompted(single(teacher.clone())).unwrap();
    assert_close(&values(in_single), &y, 5e-5);
    assert!((scalar(overlap) - 3.9952007421987683).abs() < 5e-5);
    // Cropped, it is the upper left part.
    let cropped = waves(&PromptConfig { crop: true, ..two_tokens(Variant::Reference) }, 4).prompted(teacher).unwrap();
    assert_close(&values(cropped.0), &values(map.narrow(2, 0, 9)), 1e-14);
}

#[test]
fn two_empty_prompts_change_nothing_and_six_treble() {
    for (transform, grouping) in ALL {
        for shape in [[2, 3, 9, 12], [1, 1, 1, 1], [1, 2, 7, 1], [1, 2, 8, 8]] {
            for tokens in [2, 6] {
                let config = PromptConfig { transform, grouping, tokens, crop: true, ..Default::default() };
                let sets = config.init(shape[1], &parameters()).unwrap();
                let empty =
                    sets.state_dict().into_iter().map(|(k, v)| (k, TensorData::zeros::<f32, _>(v.shape().clone())));
                let sets = double(sets).load(&empty.collect()).unwrap();
                let x = wave(shape, 0.3, 0.37);
                let (y, _) = sets.prompted(x.clone()).unwrap();
                assert_eq!(y.dims(), shape);
                assert_close(&values(y), &values(x * (tokens as f64 / 2.0)), 1e-12);
            }
        }
    }
}

#[test]
fn every_wavelet_family_and_boundary_gives_the_map_back() {
    for wavelet in ["haar", "db3", "sym4", "coif1", "bior2.2", "rbio1.3"] {
        for boundary in subband_spectral::Boundary::ALL {
            let keys = (wavelet.to_string(), boundary.name().to_string());
            let config = PromptConfig { wavelet: keys.0, boundary: keys.1, tokens: 2, levels: 2, ..Default::default() };
            for crop in [true, false] {
                let sets = double(PromptConfig { crop, ..config.clone() }.init(2, &parameters()).unwrap());
                let zero =
                    sets.state_dict().into_iter().map(|(k, v)| (k, TensorData::zeros::<f64, _>(v.shape().clone())));
                let sets = sets.load(&zero.collect()).unwrap();
                let x = wave([1, 2, 7, 10], 0.3, 0.37);
                let (y, _) = sets.prompted(x.clone()).unwrap();
                assert_eq!(y.dims(), [1, 2, if crop { 7 } else { 8 }, 10], "{wavelet} {boundary:?}");
                assert_close(&values(y.narrow(2, 0, 7)), &values(x), 1e-9);
            }
        }
    }
}

#[test]
fn masks_are_named_and_fit_their_bands() {
    let x = wave([2, 4, 9, 12], 0.2, 0.37);
    for (transform, grouping) in ALL {
        let sets = waves(&PromptConfig { transform, grouping, tokens: 3, ..Default::default() }, 4);
        let masks = sets.masks(x.clone()).unwrap();
        let names: Vec<&str> = masks.iter().map(|(name, _)| name.as_str()).collect();
        match grouping {
            Grouping::Level => assert_eq!(names, ["ll3", "level1", "level2", "level3"]),
            Grouping::Band => {
                assert_eq!(names, ["ll3", "lh1", "hl1", "hh1", "lh2", "hl2", "hh2", "lh3", "hl3", "hh3"])
            }
        }
        assert_eq!((masks[0].1.dims(), masks[1].1.dims()), ([2, 3, 2, 2], [2, 3, 5, 6]));
        for (name, mask) in &masks {
            let mask = values(mask.clone());
            assert!(mask.iter().all(|m| *m > 0.0 && *m < 1.0), "{name}");
            assert!(mask.iter().any(|m| (m - 0.5).abs() > 1e-3), "{name} looks at nothing");
        }
        // The short cut of stage 2: the transform of P x is P times the transform of x.
        for (mean, (_, mask)) in sets.mean_masks(x.clone(), |_| true).unwrap().into_iter().zip(masks) {
            assert_close(&values(mean.unwrap()), &values(mask.mean_dim(1)), 1e-13);
        }
        let some = sets.mean_masks(x.clone(), |k| k == 2).unwrap();
        assert!(some.iter().enumerate().all(|(k, mask)| mask.is_some() == (k == 2)));
    }
}

#[test]
fn gradients_reach_prompts_and_maps() {
    for (transform, grouping) in ALL {
        for variant in [Variant::Reference, Variant::Paper] {
            for shape in [[2, 3, 5, 6], [1, 1, 1, 1], [1, 2, 3, 7]] {
                let config = PromptConfig { transform, grouping, levels: 2, ..two_tokens(variant) };
                let loss = |sets: &PromptSets, x: Tensor<4>| {
                    let (y, overlap) = sets.prompted(x).unwrap();
                    let weights = wave(y.dims(), 0.9, 0.53);
                    (y * weights).sum() + overlap * 0.7
                };
                let sets = waves(&config, shape[1]);
                let error = gradient_error(wave(shape, 0.3, 0.37), |x| loss(&sets, x));
                assert!(error < 1e-7, "{transform:?} {grouping:?} {variant:?} {shape:?}: {error}");
                let error = parameter_gradient_error(sets, |sets| loss(sets, wave(shape, 0.3, 0.37)));
                assert!(error < 1e-6, "{transform:?} {grouping:?} {variant:?} {shape:?}: {error}");
            }
        }
    }
}

#[test]
fn overlap_is_one_for_equal_masks_and_zero_for_disjoint_ones() {
    let masks = |rows: &[[f64; 4]]| {
        let data = TensorData::new(rows.concat(), [1, rows.len(), 2, 2]);
        Tensor::<4>::from_data(data, (&device(), DType::F64))
    };
    let of = |kind: Similarity, rows: &[[f64; 4]]| scalar(kind.of(masks(rows)));
    let (one, other) = ([1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 1.0]);
    assert!((of(Similarity::Dice, &[one, one]) - 1.0).abs() < 1e-11);
    assert_eq!(of(Similarity::Dice, &[one, other]), 0.0);
    assert_eq!(of(Similarity::Dice, &[one]), 0.0);
    // Two of four pairs are a mask with itself.
    assert!((of(Similarity::Jaccard, &[one, other]) - 0.5).abs() < 1e-11);
    // |p n q| = 1, |p u q| = 3.
    let half = [0.0, 1.0, 1.0, 0.0];
    assert!((of(Similarity::Dice, &[one, half]) - 0.5).abs() < 1e-11);
    assert!((of(Similarity::Jaccard, &[one, half]) - (2.0 + 2.0 / 3.0) / 4.0).abs() < 1e-11);
}

#[test]
fn fresh_prompts_follow_the_seed_and_start_small() {
    let make = |seed| PromptConfig::default().init(64, &Parameters::new(Stream::new(seed), &device())).unwrap();
    assert_eq!(make(1).state_dict(), make(1).state_dict());
    assert_ne!(make(1).state_dict(), make(2).state_dict());
    let all: Vec<f64> = make(1).state_dict().values().flat_map(|d| d.iter::<f64>().collect::<Vec<_>>()).collect();
    let deviation = (all.iter().map(|v| v * v).sum::<f64>() / all.len() as f64).sqrt();
    assert_eq!(all.len(), 4 * 6 * 64);
    assert!((deviation - 0.01).abs() < 1e-3, "{deviation}");
}

#[test]
fn keys_that_the_transform_does_not_read_are_refused() {
    let made = |keys: &str| {
        let config: PromptConfig = toml::from_str(keys).unwrap();
        config.init(3, &parameters()).map(|_| ()).map_err(|error| error.to_string())
    };
    for (keys, unread) in [
        ("transform = 'dft'\nwavelet = 'db2'", "wavelet = \"db2\""),
        ("transform = 'dct'\nboundary = 'periodic'", "boundary = \"periodic\""),
        ("transform = 'none'\nlevels = 2", "levels = 2"),
        ("transform = 'none'\ngrouping = 'band'", "grouping = \"band\""),
        ("transform = 'none'\nvariant = 'paper'\nwavelet = 'db2'", "wavelet = \"db2\""),
    ] {
        let error = made(keys).unwrap_err();
        assert!(error.contains(&format!("`{unread}` has no effect here")), "{keys}: {error}");
    }
    for keys in ["transform = 'dct'\nlevels = 2", "transform = 'none'\nvariant = 'paper'", "wavelet = 'db2'"] {
        made(keys).unwrap();
    }
}
