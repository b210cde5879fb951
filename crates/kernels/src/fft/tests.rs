//! The oracle is the transform's definition in f64; its own check is a table of known pairs.
use super::lanes::{Array, Lanes};
use super::run::{Complex, HalfToReal, RealToHalf, each_group};
use super::scratch::Shared;
use super::*;
use crate::fft::group::Grid;

const FACTORS: Factors = Factors { interior: 1.0, scale: 1.0 };

/// Numbers without structure, in (-1, 1).
fn noise(len: usize, seed: usize) -> Vec<f64> {
    (0..len).map(|k| (k as f64 * 12.9898 + seed as f64 * 78.233 + 0.5).sin() * 43758.5453 % 1.0).collect()
}

/// sum over h, w of z e^{-+ 2 pi i (u h / H + v w / W)}, straight from the definition, one axis after the other.
fn dft2(z: &[[f64; 2]], [h, w]: [usize; 2], inverse: bool) -> Vec<[f64; 2]> {
    let sign = if inverse { 1.0 } else { -1.0 };
    // The n-th roots of one.
    let roots = |n: usize| -> Vec<(f64, f64)> {
        (0..n).map(|a| (sign * std::f64::consts::TAU * a as f64 / n as f64).sin_cos()).collect()
    };
    let (along, down) = (roots(w), roots(h));
    let turn = |z: [f64; 2], (s, c): (f64, f64)| [z[0] * c - z[1] * s, z[0] * s + z[1] * c];
    let sum = |terms: &mut dyn Iterator<Item = [f64; 2]>| terms.fold([0.0; 2], |a, b| [a[0] + b[0], a[1] + b[1]]);
    let rows: Vec<[f64; 2]> =
        (0..h * w).map(|i| sum(&mut (0..w).map(|x| turn(z[i / w * w + x], along[x * (i % w) % w])))).collect();
    (0..h * w).map(|i| sum(&mut (0..h).map(|y| turn(rows[y * w + i % w], down[y * (i / w) % h])))).collect()
}

/// [`run::real_to_half`] with the parts one after the other.
fn real_to_half_joined<T: Real>(size: [usize; 2], x: &[T], factors: [f64; 2]) -> Vec<T> {
    run::real_to_half(size, x, factors).concat()
}

fn halves<T>(x: &[T]) -> [&[T]; 2] {
    x.split_at(x.len() / 2).into()
}

/// Half spectra of real planes, real parts before imaginary parts, by [`dft2`].
fn reference(planes: &[f64], [h, w]: [usize; 2]) -> Vec<f64> {
    let m = w / 2 + 1;
    let spectra: Vec<[f64; 2]> = planes
        .chunks(h * w)
        .flat_map(|p| dft2(&p.iter().map(|&x| [x, 0.0]).collect::<Vec<_>>(), [h, w], false))
        .enumerate()
        .filter(|(i, _)| i % w < m)
        .map(|(_, z)| z)
        .collect();
    spectra.iter().map(|z| z[0]).chain(spectra.iter().map(|z| z[1])).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[track_caller]
fn close(a: &[f64], b: &[f64], tolerance: f64) {
    assert_eq!(a.len(), b.len());
    let scale = b.iter().fold(1.0f64, |m, x| m.max(x.abs()));
    let worst = a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(worst <= tolerance * scale, "off by {worst} at scale {scale}");
}

fn narrow(x: &[f64]) -> Vec<f32> {
    x.iter().map(|&x| x as f32).collect()
}

fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&x| f64::from(x)).collect()
}

#[test]
fn the_oracle_knows_these_pairs() {
    // A unit pulse at (1, 2) of a 3 x 5 map, and a plane wave.
    let mut pulse = vec![[0.0; 2]; 15];
    pulse[7] = [1.0, 0.0];
    for (i, z) in dft2(&pulse, [3, 5], false).iter().enumerate() {
        let angle = -std::f64::consts::TAU * ((i / 5) as f64 / 3.0 + 2.0 * (i % 5) as f64 / 5.0);
        close(z, &[angle.cos(), angle.sin()], 1e-14);
    }
    let wave: Vec<[f64; 2]> = (0..15)
        .map(|i| std::f64::consts::TAU * ((i / 5) as f64 / 3.0 + 2.0 * (i % 5) as f64 / 5.0))
        .map(|a| [a.cos(), a.sin()])
        .collect();
    for (i, z) in dft2(&wave, [3, 5], false).iter().enumerate() {
        close(z, &[if i == 7 { 15.0 } else { 0.0 }, 0.0], 1e-13);
    }
    assert_eq!(
        dft2(&[[1.0, 0.0], [2.0, 0.0], [3.0, 0.0], [4.0, 0.0]], [2, 2], false).map_re(),
        [10.0, -2.0, -4.0, 0.0]
    );
}

trait RealParts {
    fn map_re(&self) -> Vec<f64>;
}

impl RealParts for Vec<[f64; 2]> {
    fn map_re(&self) -> Vec<f64> {
        self.iter().map(|z| z[0].round()).collect()
    }
}

#[test]
fn real_transform_of_every_size_to_33() {
    for h in 1..=33 {
        for w in [1, 2, 3, 5, 8, 13, 16, 17, 22, 30, 31, 33, h, 34 - h] {
            let x = noise(18 * h * w, h + 40 * w);
            let expected = reference(&x, [h, w]);
            close(&real_to_half_joined([h, w], &x, [1.0, 1.0]), &expected, 1e-13);
            close(&wide(&real_to_half_joined([h, w], &narrow(&x), [1.0, 1.0])), &expected, 2e-6);
        }
    }
}

#[test]
fn long_composite_and_prime_lengths() {
    for [h, w] in [[2, 37], [41, 4], [1, 256], [64, 80], [56, 28], [97, 101], [3, 257], [1, 1009], [128, 6], [1, 961]] {
        let x = noise(3 * h * w, h + w);
        let expected = reference(&x, [h, w]);
        close(&real_to_half_joined([h, w], &x, [1.0, 1.0]), &expected, 1e-12);
        close(&wide(&real_to_half_joined([h, w], &narrow(&x), [1.0, 1.0])), &expected, 3e-6);
        close(&run::half_to_real([h, w], halves(&expected), [2.0, 1.0 / (h * w) as f64]), &x, 1e-12);
    }
}

#[test]
fn any_number_of_planes() {
    for count in [1, 2, 3, 7, 8, 9, 15, 16, 17, 33, 40] {
        let (x, size) = (noise(count * 42, count), [6, 7]);
        let half = reference(&x, size);
        close(&real_to_half_joined(size, &x, [1.0, 1.0]), &half, 1e-13);
        close(&wide(&real_to_half_joined(size, &narrow(&x), [1.0, 1.0])), &half, 1e-6);
        close(&run::half_to_real(size, halves(&half), [2.0, 1.0 / 42.0]), &x, 1e-13);
    }
    assert!(real_to_half_joined::<f32>([6, 7], &[], [1.0, 1.0]).is_empty());
}

#[test]
fn complex_transform_both_ways() {
    for [h, w] in [[1, 1], [1, 6], [5, 1], [4, 4], [7, 9], [12, 10], [33, 31], [2, 37]] {
        let z = noise(2 * 5 * h * w, h * w);
        let area = h * w;
        for inverse in [false, true] {
            let mut expected = vec![0.0; z.len()];
            for p in 0..5 {
                let plane: Vec<[f64; 2]> = (0..area).map(|i| [z[p * area + i], z[(5 + p) * area + i]]).collect();
                for (i, value) in dft2(&plane, [h, w], inverse).into_iter().enumerate() {
                    expected[p * area + i] = 0.5 * value[0];
                    expected[(5 + p) * area + i] = 0.5 * value[1];
                }
            }
            close(&run::complex([h, w], halves(&z), inverse, 0.5).concat(), &expected, 1e-13);
            close(&wide(&run::complex([h, w], halves(&narrow(&z)), inverse, 0.5).concat()), &expected, 2e-6);
        }
    }
}

#[test]
fn adjoints_and_energy() {
    for size @ [h, w] in [[1, 1], [1, 2], [2, 1], [5, 6], [6, 5], [8, 8], [9, 7], [28, 14], [3, 74]] {
        let (n, f) = (4 * h * w, 4 * h * (w / 2 + 1));
        let (x, y) = (noise(n, 1), noise(2 * f, 2));
        for factors in [[1.0, 1.0], [2.0, 0.3]] {
            let (ax, aty) = (real_to_half_joined(size, &x, factors), run::half_to_real(size, halves(&y), factors));
            assert!((dot(&ax, &y) - dot(&x, &aty)).abs() < 1e-11 * n as f64);
        }
        let z = noise(2 * n, 3);
        let t = noise(2 * n, 4);
        let unitary = 1.0 / ((h * w) as f64).sqrt();
        let forward = run::complex(size, halves(&z), false, unitary).concat();
        assert!(
            (dot(&forward, &t) - dot(&z, &run::complex(size, halves(&t), true, unitary).concat())).abs()
                < 1e-11 * n as f64
        );
        assert!((dot(&forward, &forward) - dot(&z, &z)).abs() < 1e-11 * n as f64);
    }
}

/// All vector types of this processor against the definition, whatever the level chosen.
#[test]
fn every_vector_type() {
    fn check<V: Lanes>(tolerance: f64) {
        let to_real = |x: &[f64]| x.iter().map(|&x| V::Real::from_f64(x)).collect::<Vec<_>>();
        let from_real = |x: &[V::Real]| x.iter().map(|x| num(*x)).collect::<Vec<f64>>();
        for size in [[6, 20], [9, 33], [2, 37]] {
            let grid = &Grid::<V::Real>::real(size);
            let planes = 2 * V::LANES + 1;
            let x = noise(planes * grid.area(), 7);
            let expected = reference(&x, size);
            let mut half = vec![V::Real::from_f64(0.0); expected.len()];
            let (re, im) = half.split_at_mut(expected.len() / 2);
            let half_ptr = [re, im].map(Shared::new);
            let values = to_real(&x);
            let work = RealToHalf { grid, order: grid.order(), planes: &values, half: half_ptr, factors: [1.0, 1.0] };
            each_group::<V>(grid, planes, &work);
            close(&from_real(&half), &expected, tolerance);

            let mut back = vec![V::Real::from_f64(0.0); x.len()];
            let parts: [&[V::Real]; 2] = half.split_at(half.len() / 2).into();
            let factors = [2.0, 1.0 / grid.area() as f64];
            let work = HalfToReal { grid, order: grid.order(), half: parts, planes: Shared::new(&mut back), factors };
            each_group::<V>(grid, planes, &work);
            close(&from_real(&back), &x, tolerance);

            let grid = &Grid::<V::Real>::complex(size);
            let zero = vec![V::Real::from_f64(0.0); x.len()];
            let mut to = vec![V::Real::from_f64(0.0); 2 * x.len()];
            let (re, im) = to.split_at_mut(x.len());
            let to_ptr = [re, im].map(Shared::new);
            let from = [&values[..], &zero[..]];
            let work = Complex { grid, order: grid.order(), from, to: to_ptr, inverse: false, scale: 1.0 };
            each_group::<V>(grid, planes, &work);
            let corner = from_real(&to)[0];
            assert!((corner - x[..grid.area()].iter().sum::<f64>()).abs() < tolerance * grid.area() as f64);
        }
    }
    fn num<T: Real>(x: T) -> f64 {
        burn::tensor::ElementConversion::elem(x)
    }
    check::<Array<f32, 1>>(1e-6);
    check::<Array<f32, 8>>(1e-6);
    check::<Array<f64, 1>>(1e-13);
    check::<Array<f64, 4>>(1e-13);
    #[cfg(target_arch = "x86_64")]
    {
        use super::lanes::x86::*;
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            check::<F32x8>(1e-6);
            check::<F64x4>(1e-13);
        }
        if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vl") {
            check::<F32x16>(1e-6);
            check::<F64x8>(1e-13);
        }
    }
}

#[test]
fn threads_do_not_change_results() {
    let x = narrow(&noise(100 * 28 * 28, 5));
    let with = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| real_to_half_joined([28, 28], &x, [1.0, 1.0]))
    };
    let one = with(1);
    assert!(one == with(2) && one == with(5));
}

#[test]
fn views_are_read_in_their_order() {
    let x = Tensor::<4>::from_data(
        burn::tensor::TensorData::new(noise(240, 1), [2, 3, 5, 8]),
        (&Device::flex(), DType::F64),
    );
    let transposed = x.clone().swap_dims(2, 3);
    let copy = Tensor::<4>::from_data(transposed.to_data(), (&Device::flex(), DType::F64));
    real_to_half(transposed, FACTORS).1.into_data().assert_eq(&real_to_half(copy, FACTORS).1.into_data(), true);
    let part = x.clone().slice([1..2, 1..3]);
    let copy = Tensor::<4>::from_data(part.to_data(), (&Device::flex(), DType::F64));
    real_to_half(part, FACTORS).1.into_data().assert_eq(&real_to_half(copy, FACTORS).1.into_data(), true);
}

/// d loss / d x of a map [2, 3, 5, 6] against differences, for a loss of the half spectrum's parts.
fn check_gradient(loss: impl Fn(Tensor<4>, Tensor<4>) -> Tensor<1>, value: impl Fn(&[f64], &[f64]) -> f64) {
    let device = Device::flex().autodiff();
    let x = noise(2 * 3 * 5 * 6, 9);
    let input = Tensor::<4>::from_data(burn::tensor::TensorData::new(x.clone(), [2, 3, 5, 6]), (&device, DType::F64));
    let input = input.require_grad();
    let (re, im) = real_to_half(input.clone(), FACTORS);
    let gradient: Vec<f64> = input.grad(&loss(re, im).backward()).unwrap().into_data().try_to_vec().unwrap();
    let at = |k: usize, step: f64| {
        let mut x = x.clone();
        x[k] += step;
        let half = reference(&x, [5, 6]);
        let [re, im] = halves(&half);
        value(re, im)
    };
    for k in (0..x.len()).step_by(7) {
        let slope = (at(k, 1e-6) - at(k, -1e-6)) / 2e-6;
        assert!((slope - gradient[k]).abs() < 1e-6 * slope.abs().max(1.0), "{slope} {}", gradient[k]);
    }
}

#[test]
fn gradients_reach_x_through_both_parts_or_one() {
    let sum = |x: &[f64], f: fn(f64) -> f64| x.iter().map(|&x| f(x)).sum::<f64>();
    let size = |re: &[f64], im: &[f64]| re.iter().zip(im).map(|(a, b)| a.hypot(*b)).sum::<f64>();
    check_gradient(|re, im| amplitude(re, im).sum(), size);
    check_gradient(|re, _| re.powi_scalar(3).sum(), |re, _| sum(re, |x| x.powi(3)));
    check_gradient(|_, im| im.powi_scalar(3).sum(), |_, im| sum(im, |x| x.powi(3)));
    check_gradient(
        |re, im| amplitude(re.clone(), im.clone()).sum() + re.powi_scalar(3).sum() + im.sin().sum(),
        |re, im| size(re, im) + sum(re, |x| x.powi(3)) + sum(im, f64::sin),
    );
}

#[test]
fn gradients_of_the_other_transforms_are_their_adjoints() {
    let device = Device::flex().autodiff();
    let tensor = |seed| {
        let data = burn::tensor::TensorData::new(noise(2 * 3 * 5 * 4, seed), [2, 3, 5, 4]);
        Tensor::<4>::from_data(data, (&device, DType::F64))
    };
    let flat = |x: Tensor<4>| x.into_data().try_to_vec::<f64>().unwrap();
    let (re, im) = (tensor(1).require_grad(), tensor(2).require_grad());
    let (a, b) = complex(re.clone(), im.clone(), false, 0.7);
    let grads = (a * tensor(3) + b * tensor(4)).sum().backward();
    let expected = run::complex([5, 4], [&noise(120, 3), &noise(120, 4)], true, 0.7);
    close(&flat(re.grad(&grads).unwrap()), &expected[0], 1e-14);
    close(&flat(im.grad(&grads).unwrap()), &expected[1], 1e-14);

    let factors = Factors { interior: 2.0, scale: 0.3 };
    let weights = noise(2 * 3 * 5 * 6, 5);
    let w = Tensor::<4>::from_data(burn::tensor::TensorData::new(weights.clone(), [2, 3, 5, 6]), (&device, DType::F64));
    let grads = (half_to_real(re.clone(), im.clone(), 6, factors) * w).sum().backward();
    let expected = run::real_to_half([5, 6], &weights, [2.0, 0.3]);
    close(&flat(re.grad(&grads).unwrap()), &expected[0], 1e-14);
    close(&flat(im.grad(&grads).unwrap()), &expected[1], 1e-14);
}

#[test]
fn amplitude_of_zero_has_gradient_zero() {
    let device = Device::flex().autodiff();
    let re = Tensor::<1>::from_floats([3.0, 0.0, -1.0], &device).require_grad();
    let im = Tensor::<1>::from_floats([4.0, 0.0, 0.0], &device).require_grad();
    let y = amplitude(re.clone(), im.clone());
    assert_eq!(y.to_data().try_to_vec::<f32>().unwrap(), [5.0, 0.0, 1.0]);
    let grads = y.sum().backward();
    assert_eq!(re.grad(&grads).unwrap().into_data().try_to_vec::<f32>().unwrap(), [0.6, 0.0, -1.0]);
    assert_eq!(im.grad(&grads).unwrap().into_data().try_to_vec::<f32>().unwrap(), [0.8, 0.0, 0.0]);
}
