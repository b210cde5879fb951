use super::*;
use crate::check::{fixture, gradient_error, values, wave};

fn config(transform: Transform, split: Split, domain: Domain) -> BandsConfig {
    BandsConfig { transform, split, domain, cutoff: 0.5, wavelet: "haar".into(), levels: 2, boundary: "zero".into() }
}

const SPECTRAL: [Transform; 4] = [Transform::Fft, Transform::Dct, Transform::ChannelFft, Transform::ChannelDct];
const SPLITS: [Split; 4] = [Split::Rectangle, Split::Radial, Split::Gaussian, Split::Dc];

fn difference(a: Tensor<4>, b: Tensor<4>) -> f64 {
    assert_eq!(a.dims(), b.dims());
    values(a).iter().zip(values(b)).fold(0.0, |m, (a, b)| (a - b).abs().max(m))
}

#[test]
fn low_and_high_add_up_in_both_domains() {
    for transform in SPECTRAL {
        for split in SPLITS {
            for shape in [[2, 4, 5, 6], [1, 1, 1, 1], [1, 3, 7, 1], [2, 8, 4, 4]] {
                let x = wave(shape, 0.2, 0.37);
                let bands = |split, domain| config(transform, split, domain).init().unwrap().of(x.clone()).unwrap();
                let parts = bands(split, Domain::Space);
                assert_eq!(parts.iter().map(|b| b.name.as_str()).collect::<Vec<_>>(), ["low", "high"]);
                let sum = parts[0].values.clone() + parts[1].values.clone();
                assert!(difference(sum, x.clone()) < 1e-12, "{transform:?} {split:?} {shape:?}");
                let parts = bands(split, Domain::Coefficients);
                let whole = bands(Split::None, Domain::Coefficients).remove(0).values;
                assert!(difference(parts[0].values.clone() + parts[1].values.clone(), whole) < 1e-12);
            }
        }
    }
}

#[test]
fn low_parts_match_the_oracle() {
    for (transform, kind) in SPECTRAL.into_iter().zip(["fft", "dct", "channel-fft", "channel-dct"]) {
        for (split, name) in SPLITS.into_iter().zip(["rectangle", "radial", "gaussian", "dc"]) {
            let bands = config(transform, split, Domain::Space).init().unwrap();
            let low = values(bands.of(wave([1, 6, 7, 8], 0.2, 0.37)).unwrap().remove(0).values);
            let expected = fixture(&format!("bands.{kind}.{name}"));
            assert_eq!(expected.len(), low.len().div_ceil(29));
            let error = low.iter().step_by(29).zip(&expected).fold(0.0_f64, |m, (a, b)| m.max((a - b).abs()));
            assert!(error < 1e-11, "{kind} {name}: {error}");
        }
    }
}

#[test]
fn coefficients_have_the_shapes_that_are_promised() {
    let dims = |transform, shape: [usize; 4]| {
        let bands = config(transform, Split::None, Domain::Coefficients).init().unwrap();
        bands.of(wave(shape, 0.2, 0.37)).unwrap().remove(0).values.dims()
    };
    assert_eq!(dims(Transform::Fft, [2, 3, 5, 6]), [2, 6, 5, 4]);
    assert_eq!(dims(Transform::Dct, [2, 3, 5, 6]), [2, 3, 5, 6]);
    assert_eq!(dims(Transform::ChannelFft, [2, 6, 5, 3]), [2, 8, 5, 3]);
    assert_eq!(dims(Transform::ChannelDct, [2, 6, 5, 3]), [2, 6, 5, 3]);
    // The energy of an orthonormal transform is the map's (each inner column of a half spectrum stands for two).
    let x = wave([1, 4, 5, 6], 0.2, 0.37);
    let bands = config(Transform::ChannelDct, Split::None, Domain::Coefficients).init().unwrap();
    let z = bands.of(x.clone()).unwrap().remove(0).values;
    let energy = |x: Tensor<4>| values(x.square().sum().reshape([1, 1, 1, 1]))[0];
    assert!((energy(z) - energy(x)).abs() < 1e-11);
}

#[test]
fn wavelet_splits_hold_the_same_numbers() {
    let x = wave([2, 3, 5, 7], 0.2, 0.37);
    let bands = |split| config(Transform::Dwt, split, Domain::Space).init().unwrap().of(x.clone()).unwrap();
    let (level, orientation, sum) = (bands(Split::Level), bands(Split::Orientation), bands(Split::OrientationSum));
    let names = |bands: &[Band]| bands.iter().map(|b| b.name.clone()).collect::<Vec<_>>().join(" ");
    assert_eq!(names(&level), "ll2 level1 level2");
    assert_eq!(names(&orientation), "ll2 lh1 hl1 hh1 lh2 hl2 hh2");
    assert_eq!(names(&sum), "ll2 level1 level2");
    assert!(level[0].low && !level[1].low);
    assert_eq!(level[1].values.dims(), [2, 9, 3, 4]);
    let hl = level[1].values.clone().reshape([2, 3, 3, 3, 4]).narrow(2, 1, 1).squeeze_dim(2);
    assert_eq!(difference(hl, orientation[2].values.clone()), 0.0);
    let three = orientation[4].values.clone() + orientation[5].values.clone() + orientation[6].values.clone();
    assert!(difference(three, sum[2].values.clone()) < 1e-14);
}

#[test]
fn gradients_match_at_odd_sizes() {
    for transform in SPECTRAL {
        for domain in [Domain::Space, Domain::Coefficients] {
            for [n, c, h, w] in [[1, 3, 5, 4], [2, 2, 1, 1]] {
                let bands = config(transform, Split::Rectangle, domain).init().unwrap();
                let loss = |x: Tensor<4>| {
                    let parts = bands.of(x).unwrap().into_iter();
                    // Different powers, so that the parts do not add up to the map.
                    parts.map(|b| b.values.powi_scalar(if b.low { 2 } else { 3 }).sum()).reduce(|a, b| a + b).unwrap()
                };
                let error = gradient_error(wave([n, c, h, w], 0.3, 0.91), loss);
                assert!(error < 1e-6, "{transform:?} {domain:?}: {error}");
            }
        }
    }
}
