use super::*;
use crate::testing::{difference, tensor, values, wave};

fn map(shape: [usize; 4], s: f64, w: f64) -> Tensor<4> {
    tensor(&wave(shape.iter().product(), s, w), shape, DType::F64, &Device::flex())
}

/// Numbers of `fixtures/analysis.tsv` by name.
fn fixture(name: &str) -> Vec<f64> {
    let mut lines = include_str!("../../fixtures/analysis.tsv").lines().map(|line| line.split('\t'));
    let cells = lines.find_map(|mut cells| (cells.next() == Some(name)).then(|| cells.collect::<Vec<_>>()));
    cells.unwrap().into_iter().map(|v| v.parse().unwrap()).collect()
}

fn near(found: &[f64], name: &str) {
    let expected = fixture(name);
    assert_eq!(found.len(), expected.len(), "{name}");
    for (a, b) in found.iter().zip(&expected) {
        assert!((a - b).abs() < 1e-11 * b.abs().max(1.0), "{name}: {a} for {b}");
    }
}

#[test]
fn figures_match_the_oracle() {
    for (h, w) in [(8, 8), (9, 12), (7, 5)] {
        let (a, b) = (map([3, 4, h, w], 1.3, 0.41), map([3, 4, h, w], 0.2, 0.37));
        let name = |what: &str| format!("{what}.{h}x{w}");
        near(&energy_shares(a.clone()).unwrap(), &name("energy"));
        near(&coherence(a.clone(), b.clone()).unwrap(), &name("coherence"));
        for band in RADIAL_BANDS {
            let parts = [&a, &b].map(|x| band.part(x.clone()).unwrap());
            let [a, b] = parts.clone();
            let Divergence { mse, normalized_mse, cosine } = divergence(a, b).unwrap();
            near(&[mse, normalized_mse, cosine], &name(&format!("divergence.{}", band.name())));
            let [x, y] = parts.map(|x| Samples::of_maps(x, 10));
            near(
                &[linear_cka(&x, &y).unwrap(), rbf_mmd(&x, &y).unwrap()],
                &name(&format!("similarity.{}", band.name())),
            );
        }
    }
}

#[test]
fn parts_add_up_and_are_orthogonal() {
    for shape in [[2, 3, 8, 8], [1, 2, 9, 12], [1, 1, 1, 1], [2, 1, 1, 7], [1, 1, 3, 2]] {
        let x = map(shape, 0.3, 0.41);
        let parts = RADIAL_BANDS.map(|band| band.part(x.clone()).unwrap());
        let sum = parts.iter().cloned().reduce(|a, b| a + b).unwrap();
        assert!(difference(sum, x.clone()) < 1e-12, "{shape:?}");
        let inner = values((parts[0].clone() * parts[2].clone()).sum())[0];
        assert!(inner.abs() < 1e-12);
        let shares = energy_shares(x.clone()).unwrap();
        let total = values(x.square().sum())[0];
        for (part, share) in parts.into_iter().zip(shares) {
            assert!((values(part.square().sum())[0] / total - share).abs() < 1e-12, "{shape:?}");
        }
    }
}

#[test]
fn equal_and_related_features_are_recognised() {
    let (a, b) = (map([4, 6, 8, 8], 1.3, 0.41), map([4, 6, 8, 8], 0.2, 0.73));
    let same = divergence(a.clone(), a.clone()).unwrap();
    assert!(same.mse == 0.0 && same.cosine.abs() < 1e-15);
    // A multiple: coherent and aligned, though not equal.
    for coherence in coherence(a.clone(), a.clone() * -3.0).unwrap() {
        assert!((coherence - 1.0).abs() < 1e-12);
    }
    assert!(coherence(a.clone(), b.clone()).unwrap().iter().any(|c| *c < 0.9));
    let [x, y] = [a.clone(), b].map(|x| Samples::of_maps(x, 10));
    assert!((linear_cka(&x, &Samples::of_maps(a.clone() * 2.0 + 1.0, 10)).unwrap() - 1.0).abs() < 1e-12);
    assert!(linear_cka(&x, &y).unwrap() < 0.99);
    assert!(rbf_mmd(&x, &x).unwrap() < 1e-15 && rbf_mmd(&x, &Samples::of_maps(a + 2.0, 10)).unwrap() > 0.1);
    let flat = Samples::new(Tensor::ones([3, 2], &Device::flex()));
    assert_eq!(rbf_mmd(&flat, &flat).unwrap(), 0.0);
}

#[test]
fn what_cannot_be_compared_is_an_error() {
    let (a, b) = (map([2, 3, 4, 4], 0.1, 0.37), map([2, 4, 4, 4], 0.1, 0.37));
    assert!(matches!(divergence(a.clone(), b.clone()), Err(SpectralError::ShapeMismatch { .. })));
    assert!(matches!(coherence(a.clone(), b.clone()), Err(SpectralError::ShapeMismatch { .. })));
    let [x, y] = [a.clone(), b].map(|x| Samples::of_maps(x, 3));
    assert_eq!((x.len(), x.width(), y.width()), (6, 3, 4));
    assert!(linear_cka(&x, &y).is_ok() && rbf_mmd(&x, &y).is_err());
    assert!(linear_cka(&x, &Samples::of_maps(a, 4)).is_err());
}
