//! The kernels against a direct sum in f64, over many shapes, on every instruction set of this machine.
use super::*;
use subband_seed::Stream;

/// The defining sum, in f64: y, dX and dW for a given dY.
fn reference(g: &ConvGeometry, x: &[f32], w: &[f32], dy: &[f32]) -> [Vec<f64>; 3] {
    let (ih, iw) = (g.input[0] as isize, g.input[1] as isize);
    let mut y = vec![0.0; g.batch * g.channels_out * g.output[0] * g.output[1]];
    let mut dx = vec![0.0; x.len()];
    let mut dw = vec![0.0; w.len()];
    for n in 0..g.batch {
        for o in 0..g.channels_out {
            let group = o / g.group_out();
            for i in 0..g.output[0] {
                for j in 0..g.output[1] {
                    let at = ((n * g.channels_out + o) * g.output[0] + i) * g.output[1] + j;
                    for c in 0..g.group_in() {
                        for (t, (u, v)) in g.taps().enumerate() {
                            let r = (i * g.stride[0] + u * g.dilation[0]) as isize - g.padding[0] as isize;
                            let s = (j * g.stride[1] + v * g.dilation[1]) as isize - g.padding[1] as isize;
                            if r < 0 || s < 0 || r >= ih || s >= iw {
                                continue;
                            }
                            let channel = n * g.channels_in + group * g.group_in() + c;
                            let from = (channel * g.input[0] + r as usize) * g.input[1] + s as usize;
                            let k = (o * g.group_in() + c) * g.kernel[0] * g.kernel[1] + t;
                            y[at] += f64::from(x[from]) * f64::from(w[k]);
                            dx[from] += f64::from(dy[at]) * f64::from(w[k]);
                            dw[k] += f64::from(dy[at]) * f64::from(x[from]);
                        }
                    }
                }
            }
        }
    }
    [y, dx, dw]
}

fn random(stream: &mut Stream, n: usize) -> Vec<f32> {
    (0..n).map(|_| stream.range(-1.0, 1.0) as f32).collect()
}

/// Largest error against the root of the number of terms; f32 sums of k unit-sized terms stay within a few ulp of it.
fn assert_close(got: &[f32], want: &[f64], terms: usize, what: &str, g: &ConvGeometry) {
    assert_eq!(got.len(), want.len(), "{what} {g:?}");
    let tolerance = 4e-7 * (terms as f64).sqrt().max(1.0) * (1.0 + (terms as f64).ln());
    for (i, (&a, &b)) in got.iter().zip(want).enumerate() {
        assert!((f64::from(a) - b).abs() <= tolerance, "{what}[{i}]: {a} for {b}, {g:?}");
    }
}

/// `[N, C, area]` to `[N, area, C]`.
fn last(x: &[f32], channels: usize, area: usize) -> Vec<f32> {
    (0..x.len())
        .map(|i| {
            let (n, rest) = (i / (channels * area), i % (channels * area));
            x[(n * channels + rest % channels) * area + rest / channels]
        })
        .collect()
}

/// `[N, area, C]` to `[N, C, area]`.
fn first(x: &[f32], channels: usize, area: usize) -> Vec<f32> {
    last(x, area, channels)
}

/// Runs y and dX on random operands: the largest error of each over the root mean square of the values.
pub(super) fn against_the_sum(
    g: &ConvGeometry,
    stream: &mut Stream,
    run: impl Fn(&[f32], &[f32], &[f32]) -> [Vec<f32>; 2],
) -> [f64; 2] {
    let x = random(stream, g.batch * g.channels_in * g.input[0] * g.input[1]);
    let w = random(stream, g.channels_out * g.group_in() * g.kernel[0] * g.kernel[1]);
    let dy = random(stream, g.batch * g.channels_out * g.output[0] * g.output[1]);
    let [y, dx, _] = reference(g, &x, &w, &dy);
    let (input, output) = (g.input[0] * g.input[1], g.output[0] * g.output[1]);
    let [got_y, got_dx] = run(&last(&x, g.channels_in, input), &w, &last(&dy, g.channels_out, output));
    let error = |got: &[f32], want: &[f64]| {
        let scale = (want.iter().map(|v| v * v).sum::<f64>() / want.len() as f64).sqrt();
        got.iter().zip(want).map(|(&a, b)| (f64::from(a) - b).abs()).fold(0.0, f64::max) / scale
    };
    [error(&first(&got_y, g.channels_out, output), &y), error(&first(&got_dx, g.channels_in, input), &dx)]
}

fn check(g: &ConvGeometry, stream: &mut Stream) {
    let x = random(stream, g.batch * g.channels_in * g.input[0] * g.input[1]);
    let w = random(stream, g.channels_out * g.group_in() * g.kernel[0] * g.kernel[1]);
    let dy = random(stream, g.batch * g.channels_out * g.output[0] * g.output[1]);
    let [y, dx, dw] = reference(g, &x, &w, &dy);
    let (area, input, output) = (g.kernel[0] * g.kernel[1], g.input[0] * g.input[1], g.output[0] * g.output[1]);
    let (x, dy) = (last(&x, g.channels_in, input), last(&dy, g.channels_out, output));
    for product in Product::available() {
        let got = forward(&product, g, &x, &w, Epilogue::default());
        assert_close(&first(&got, g.channels_out, output), &y, g.group_in() * area, &format!("y {}", product.name), g);
        let got = input_gradient(&product, g, &dy, &w);
        assert_close(&first(&got, g.channels_in, input), &dx, g.group_out() * area, &format!("dX {}", product.name), g);
        let got = weight_gradient(&product, g, &x, &dy);
        assert_close(&got, &dw, g.batch * output, &format!("dW {}", product.name), g);
    }
}

fn geometry(
    x: [usize; 4],
    w: [usize; 4],
    stride: usize,
    padding: usize,
    dilation: usize,
    groups: usize,
) -> ConvGeometry {
    ConvGeometry::new(x, w, [stride; 2], [padding; 2], [dilation; 2], groups).unwrap()
}

#[test]
fn shapes_of_real_networks() {
    let mut stream = Stream::new(1).with("networks");
    for g in [
        geometry([5, 3, 32, 32], [16, 3, 3, 3], 1, 1, 1, 1),
        geometry([4, 16, 32, 32], [16, 16, 3, 3], 1, 1, 1, 1),
        geometry([3, 16, 32, 32], [32, 16, 3, 3], 2, 1, 1, 1),
        geometry([9, 64, 8, 8], [64, 64, 3, 3], 1, 1, 1, 1),
        geometry([2, 3, 45, 37], [8, 3, 7, 7], 2, 3, 1, 1),
        geometry([3, 64, 14, 14], [32, 64, 1, 1], 1, 0, 1, 1),
        geometry([3, 24, 15, 15], [48, 24, 1, 1], 2, 0, 1, 1),
        geometry([2, 96, 16, 16], [96, 1, 3, 3], 1, 1, 1, 96),
        geometry([2, 30, 16, 16], [30, 1, 3, 3], 2, 1, 1, 30),
        geometry([2, 48, 9, 9], [60, 16, 1, 1], 1, 0, 1, 3),
        geometry([1, 32, 20, 20], [16, 32, 3, 3], 1, 4, 4, 1),
        geometry([2, 300, 7, 7], [264, 300, 3, 3], 1, 1, 1, 1),
        geometry([1, 4, 90, 130], [7, 4, 5, 5], 1, 2, 1, 1),
    ] {
        check(&g, &mut stream);
    }
}

#[test]
fn random_shapes() {
    let mut stream = Stream::new(2).with("random");
    let mut done = 0;
    while done < 600 {
        let groups = [1, 1, 1, 2, 3][stream.below(5)];
        let depthwise = stream.chance(0.15);
        let (channels, outputs) = (1 + stream.below(9), 1 + stream.below(12));
        let (channels, outputs, groups) =
            if depthwise { (channels, channels, channels) } else { (channels * groups, outputs * groups, groups) };
        let x = [1 + stream.below(5), channels, 1 + stream.below(20), 1 + stream.below(20)];
        let w = [outputs, channels / groups, 1 + stream.below(5), 1 + stream.below(5)];
        let mut pair = |n: usize| [stream.below(n), stream.below(n)];
        let (stride, padding, dilation) = (pair(3).map(|v| v + 1), pair(5), pair(3).map(|v| v + 1));
        if let Some(g) = ConvGeometry::new(x, w, stride, padding, dilation, groups) {
            check(&g, &mut stream);
            done += 1;
        }
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

#[test]
fn agrees_with_burn_through_autodiff() {
    let device = Device::flex().autodiff();
    let mut stream = Stream::new(3);
    let mut tensor = |shape: [usize; 4]| {
        let data = burn::tensor::TensorData::new(random(&mut stream, shape.iter().product()), shape);
        Tensor::<4>::from_data(data, &device).require_grad()
    };
    let (x, w) = (tensor([2, 9, 7, 3]), tensor([4, 3, 3, 3]));
    let b = Tensor::<1>::from_data([0.1f32, -0.2, 0.3, 0.4], &device).require_grad();
    let options = ConvOptions { stride: [2, 1], padding: [1, 1], ..Default::default() };
    let run = |f: &dyn Fn() -> Tensor<4>| {
        let y = f();
        let grads = (y.clone() * y.clone()).sum().backward();
        let take = |t: Tensor<4>| t.into_data().try_to_vec::<f32>().unwrap();
        let db: Vec<f32> = b.grad(&grads).unwrap().into_data().try_to_vec().unwrap();
        [take(y.inner()), take(x.grad(&grads).unwrap()), take(w.grad(&grads).unwrap()), db]
    };
    let ours = run(&|| conv2d(x.clone(), w.clone(), Some(b.clone()), options));
    let burns = run(&|| portable(x.clone(), w.clone(), Some(b.clone()), options));
    for (a, b) in ours.iter().flatten().zip(burns.iter().flatten()) {
        assert!((a - b).abs() < 2e-4, "{a} for {b}");
    }
    let relu = conv2d_inference(x.clone().inner(), w.clone().inner(), b.clone().inner(), options, Activation::Relu);
    let want = burn::tensor::activation::relu(conv2d(x.inner(), w.inner(), Some(b.inner()), options));
    assert!((relu - want).abs().max().into_scalar::<f32>() < 1e-6);
}
