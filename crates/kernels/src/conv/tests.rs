//! The kernels against the defining sums in f64, over many shapes, on every instruction set of this machine; against
//! Burn's own operation through autodiff; and against themselves with other numbers of threads.
use super::*;
use burn::tensor::TensorData;
use subband_seed::Stream;

use crate::simd::testing::in_pool;

pub(super) mod oracle;
mod paths;
mod shapes;

use oracle::{Operands, check, terms, tolerance, uniform};
use paths::Counts;

/// Random shapes, `SUBBAND_TEST_SHAPES` or this many: a slow machine (or valgrind) takes fewer.
const SHAPES: usize = 2000;

fn number_of_shapes() -> usize {
    std::env::var("SUBBAND_TEST_SHAPES").ok().and_then(|n| n.parse().ok()).unwrap_or(SHAPES)
}

fn random_shape(index: usize) -> (ConvGeometry, Stream) {
    let mut stream = Stream::new(2).with("shapes").at(index as u64);
    (shapes::random(index, &mut stream), stream)
}

#[test]
fn shapes_of_real_networks() {
    if number_of_shapes() < SHAPES {
        return eprintln!("skipped: SUBBAND_TEST_SHAPES asks for small shapes only");
    }
    let list = shapes::of_networks();
    assert_eq!(list.len(), 31);
    list.par_iter().enumerate().for_each(|(i, g)| {
        check(g, &mut Stream::new(1).with("networks").at(i as u64), i % 3);
    });
    let counts = list.iter().map(|g| paths::taken(Product::detect(), g)).fold(Counts::default(), Counts::merge);
    paths::LARGE_WAYS.iter().for_each(|(way, least)| counts.expect(way, *least));
}

#[test]
fn random_shapes() {
    let one = |i: usize| {
        let (g, mut stream) = random_shape(i);
        let share = check(&g, &mut stream, i / 10 % 3);
        let count = |counts: Counts, product: &Product| counts.merge(paths::taken(product, &g));
        (share, Product::available().iter().fold(Counts::default(), count))
    };
    let total = number_of_shapes();
    let all = (0..total).into_par_iter().map(one);
    let (share, counts) = all.reduce(Default::default, |a, b| (a.0.max(b.0), a.1.merge(b.1)));
    eprintln!("{total} shapes, largest error: {share:.2} of the tolerance");
    if total >= SHAPES {
        paths::expect_all(&counts);
    }
}

#[test]
fn rejects_shapes_that_do_not_fit() {
    let new = |x, w, groups| ConvGeometry::new(x, w, [1, 1], [0, 0], [1, 1], groups);
    assert!(new([1, 3, 4, 4], [2, 4, 3, 3], 1).is_none());
    assert!(new([1, 3, 2, 2], [2, 3, 3, 3], 1).is_none());
    assert!(new([1, 4, 4, 4], [3, 2, 3, 3], 2).is_none());
    assert!(new([0, 3, 4, 4], [2, 3, 3, 3], 1).is_none());
}

/// y, dX, dW and db of `sum(y * weight)` through autodiff, with our operation or Burn's.
fn through_autodiff(g: &ConvGeometry, data: &Operands, ours: bool) -> [Vec<f32>; 4] {
    let device = Device::flex().autodiff();
    let tensor = |values: &[f32], shape: [usize; 4]| {
        Tensor::<4>::from_data(TensorData::new(values.to_vec(), shape), &device).require_grad()
    };
    let x = tensor(&data.x, [g.batch, g.input[0], g.input[1], g.channels_in]);
    let w = tensor(&data.w, [g.channels_out, g.group_in(), g.kernel[0], g.kernel[1]]);
    let weight = tensor(&data.dy, [g.batch, g.output[0], g.output[1], g.channels_out]);
    let bias = Tensor::<1>::from_data(TensorData::new(data.bias.clone(), [g.channels_out]), &device).require_grad();
    let options = ConvOptions { stride: g.stride, padding: g.padding, dilation: g.dilation, groups: g.groups };
    let f = if ours { conv2d } else { portable };
    let y = f(x.clone(), w.clone(), Some(bias.clone()), options);
    let grads = (y.clone() * weight).sum().backward();
    let take = |t: Tensor<4>| t.into_data().try_to_vec::<f32>().unwrap();
    let db = bias.grad(&grads).unwrap().into_data().try_to_vec().unwrap();
    [take(y.inner()), take(x.grad(&grads).unwrap()), take(w.grad(&grads).unwrap()), db]
}

/// Both sides round, so they may be twice as far apart as one from the exact sum.
#[test]
fn agrees_with_burn_through_autodiff() {
    let total = number_of_shapes().min(120);
    for i in 0..total {
        let (g, mut stream) = random_shape(SHAPES + i);
        let data = Operands::draw(&g, &mut stream);
        let (ours, burns) = (through_autodiff(&g, &data, true), through_autodiff(&g, &data, false));
        let [y, dx, dw] = terms(&g);
        for ((a, b), k) in ours.iter().zip(&burns).zip([y, dx, dw, dw]) {
            assert_eq!(a.len(), b.len(), "{g:?}");
            for (a, b) in a.iter().zip(b) {
                assert!(f64::from((a - b).abs()) <= 2.0 * tolerance(k, f64::from(*b)), "{a} for {b}, {g:?}");
            }
        }
    }
}

#[test]
fn inference_equals_the_steps_apart() {
    let device = Device::flex();
    let mut stream = Stream::new(3);
    for i in 0..20 {
        let (g, _) = random_shape(i);
        let data = Operands::draw(&g, &mut stream);
        let tensor = |values: &[f32], shape: [usize; 4]| {
            Tensor::<4>::from_data(TensorData::new(values.to_vec(), shape), &device)
        };
        let x = tensor(&data.x, [g.batch, g.input[0], g.input[1], g.channels_in]);
        let w = tensor(&data.w, [g.channels_out, g.group_in(), g.kernel[0], g.kernel[1]]);
        let b = Tensor::<1>::from_data(TensorData::new(data.bias, [g.channels_out]), &device);
        let o = ConvOptions { stride: g.stride, padding: g.padding, dilation: g.dilation, groups: g.groups };
        let relu = conv2d_inference(x.clone(), w.clone(), b.clone(), o, Activation::Relu);
        let want = burn::tensor::activation::relu(conv2d(x, w, Some(b), o));
        let values = |t: Tensor<4>| t.into_data().try_to_vec::<f32>().unwrap();
        for (a, b) in values(relu).iter().zip(values(want)) {
            assert!(f64::from((a - b).abs()) <= 2.0 * tolerance(terms(&g)[0], f64::from(b)), "{a} for {b}, {g:?}");
        }
    }
}

/// y, dX and dW on every instruction set, with 1, 2 and 3 threads.
#[test]
fn threads_do_not_change_a_bit() {
    let few = number_of_shapes() < SHAPES;
    let networks = if few { Vec::new() } else { shapes::of_networks() };
    let random = (0..if few { 10 } else { 60 }).map(|i| random_shape(2 * SHAPES + i).0);
    for g in networks.into_iter().chain(random) {
        let data = Operands::draw(&g, &mut Stream::new(5).with("threads"));
        for product in Product::available() {
            let run = || {
                let y = forward(&product, &g, &data.x, &data.w, Epilogue::default());
                let dx = input_gradient(&product, &g, &data.dy, &data.w);
                let dw = weight_gradient(&product, &g, &data.x, &data.dy);
                [y, dx, dw].map(|v| v.iter().map(|v| v.to_bits()).collect::<Vec<_>>())
            };
            let one = in_pool(1, run);
            for threads in [2, 3] {
                assert!(one == in_pool(threads, run), "{threads} threads, {}, {g:?}", product.name);
            }
        }
    }
}

/// A value that is not a number reaches exactly the results whose sums hold it, and none is turned into a number.
#[test]
fn nan_stays_visible() {
    for i in 0..30 {
        let (g, mut stream) = random_shape(3 * SHAPES + i);
        let mut data = Operands::draw(&g, &mut stream);
        data.w = uniform(&mut stream, data.w.len()).iter().map(|v| v + 2.0).collect();
        let at = stream.below(data.x.len());
        let clean = data.x.clone();
        data.x[at] = f32::NAN;
        // A one in place of the NaN shows which results hold it.
        let (mut zero, mut one) = (clean.clone(), clean);
        (zero[at], one[at]) = (0.0, 1.0);
        for product in Product::available() {
            let bounds = Some((0.0, 6.0));
            let run = |x: &[f32], bounds| forward(&product, &g, x, &data.w, Epilogue { bias: None, bounds });
            let (zero, one) = (run(&zero, None), run(&one, None));
            for ((v, a), b) in run(&data.x, bounds).iter().zip(zero).zip(one) {
                // Padding is multiplied as a zero, not left out: only pixels that no tap reads are clean.
                assert_eq!(v.is_nan(), a != b, "{} {g:?}", product.name);
            }
        }
    }
}
