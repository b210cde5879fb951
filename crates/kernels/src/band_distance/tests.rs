//! The fused distance against its composition.
use burn::tensor::TensorData;

use super::*;
use crate::simd::testing::{at_each_level, in_pool};
use crate::spectral_filter::real_filter;
use subband_seed::Stream;

fn noise(shape: [usize; 4], name: &str, dtype: DType) -> Tensor<4> {
    let mut stream = Stream::new(5).with(name).at(shape.iter().fold(0, |h, n| 100 * h + *n as u64));
    let values: Vec<f64> = (0..shape.iter().product::<usize>()).map(|_| stream.normal()).collect();
    Tensor::from_data(TensorData::new(values, shape), (&Device::flex().autodiff(), dtype))
}

/// The FreqKD rectangle of half the width, real part: Hermitian, over the half spectrum.
fn mask([h, w]: [usize; 2]) -> Response {
    let inside = |f: i64, n: usize| {
        let (f, r) = (if 2 * f >= n as i64 { f - n as i64 } else { f }, ((n / 4).max(1)) as i64);
        -r <= f && f < r
    };
    let at = |u: usize, v: usize| f64::from(u8::from(inside(u as i64, h) && inside(v as i64, w)));
    let half = |i: usize| {
        let (u, v) = (i / (w / 2 + 1), i % (w / 2 + 1));
        (at(u, v) + at((h - u) % h, (w - v) % w)) / 2.0
    };
    (0..h * (w / 2 + 1)).map(half).collect()
}

fn measured(z: Tensor<4>, measure: Measure) -> Tensor<4> {
    match measure {
        Measure::Plain => z,
        Measure::Log => z.abs().log1p(),
        Measure::SignedLog => {
            let sign = z.ones_like().mask_fill(z.clone().lower_elem(0.0), -1.0);
            (z * sign.clone()).log1p() * sign
        }
    }
}

fn composed(s: Tensor<4>, t: Tensor<4>, bands: &Bands) -> Tensor<1> {
    let normal = |x: Tensor<4>| {
        let u = x.clone() - x.mean_dim(2).mean_dim(3);
        let norm = u.clone().square().sum_dim(1);
        let dead = norm.clone().lower_elem(1e-24);
        u * norm.mask_fill(dead.clone(), 1.0).sqrt().recip().mask_fill(dead, 0.0)
    };
    let [s, t] = [s, t].map(|x| if bands.normalise { normal(x) } else { x });
    let [ls, lt] = [&s, &t].map(|x| real_filter(x.clone(), bands.half.clone()));
    let part = |a: Tensor<4>, b: Tensor<4>, band: Band| {
        (measured(a, band.measure) - measured(b, band.measure)).square().mean() * band.weight
    };
    part(ls.clone(), lt.clone(), bands.low) + part(s - ls, t - lt, bands.high)
}

fn cases(size: [usize; 2]) -> Vec<Bands> {
    use Measure::{Log, Plain, SignedLog};
    let parts = [
        ((1.0, Plain), (0.1, Log)),
        ((0.5, Log), (2.0, SignedLog)),
        ((1.5, SignedLog), (0.7, Plain)),
        ((1.0, Plain), (0.0, Log)),
        ((1.0, Log), (0.0, Log)),
        ((0.0, Plain), (1.0, Log)),
    ];
    let band = |(weight, measure)| Band { weight, measure };
    let bands = |(low, high), normalise| Bands { half: mask(size), normalise, low: band(low), high: band(high) };
    parts.into_iter().flat_map(|p| [true, false].map(|normalise| bands(p, normalise))).collect()
}

/// Value and gradient of three times it.
fn run(shape: [usize; 4], dtype: DType, f: impl Fn(Tensor<4>, Tensor<4>) -> Tensor<1>) -> [Vec<f64>; 2] {
    let s = noise(shape, "student", dtype).require_grad();
    let value = f(s.clone(), noise(shape, "teacher", dtype));
    let gradient = s.grad(&(value.clone() * 3.0).backward()).unwrap();
    [value.into_data().iter::<f64>().collect(), gradient.into_data().iter::<f64>().collect()]
}

#[test]
fn the_fused_pass_equals_the_composition() {
    for shape in [[1, 1, 1, 1], [2, 3, 1, 5], [1, 2, 4, 3], [3, 7, 8, 8], [2, 17, 9, 12], [1, 130, 5, 6], [2, 64, 7, 4]]
    {
        for bands in cases([shape[2], shape[3]]) {
            for (dtype, near) in [(DType::F64, 1e-12), (DType::F32, 3e-5)] {
                let one = Arc::new(bands.clone());
                let fused = run(shape, dtype, |s, t| band_distance(s, t, one.clone()));
                let plain = run(shape, dtype, |s, t| composed(s, t, &bands));
                for (a, b) in fused.iter().zip(&plain) {
                    let largest = b.iter().fold(1e-3f64, |m, v| m.max(v.abs()));
                    for (a, b) in a.iter().zip(b) {
                        assert!((a - b).abs() <= near * largest, "{shape:?} {bands:?} {dtype:?}: {a} for {b}");
                    }
                }
            }
        }
    }
}

#[test]
fn a_value_without_gradient_is_the_same() {
    let bands = Arc::new(cases([6, 7])[0].clone());
    let [s, t] = ["student", "teacher"].map(|name| noise([2, 20, 6, 7], name, DType::F32));
    let tracked = band_distance(s.clone().require_grad(), t.clone(), bands.clone()).into_data();
    assert_eq!(band_distance(s.inner(), t.inner(), bands).into_data(), tracked);
}

#[test]
fn threads_do_not_matter_and_levels_hardly() {
    let bands = Arc::new(cases([9, 10])[0].clone());
    let f = || run([3, 150, 9, 10], DType::F32, |s, t| band_distance(s, t, bands.clone()));
    let one = in_pool(1, f);
    assert_eq!(one, in_pool(2, f));
    assert_eq!(one, in_pool(3, f));
    for (level, result) in at_each_level(f) {
        assert!((result[0][0] / one[0][0] - 1.0).abs() < 1e-5, "{level:?}: {} for {}", result[0][0], one[0][0]);
    }
}

#[test]
fn positions_without_signal_pass_no_gradient() {
    // Equal channels over the whole map: every deviation from the mean is exactly zero.
    let bands = Arc::new(cases([4, 4])[0].clone());
    let s = (noise([1, 3, 4, 4], "student", DType::F32) * 0.0 + 2.0).detach().require_grad();
    let value = band_distance(s.clone(), noise([1, 3, 4, 4], "teacher", DType::F32), bands);
    let gradient = s.grad(&value.backward()).unwrap();
    assert!(gradient.into_data().iter::<f64>().all(|v| v == 0.0));
}
