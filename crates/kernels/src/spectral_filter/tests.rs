//! Values and gradients are checked against tensor operations in `subband-spectral`; here what only this crate can see:
//! the definition for counts of channels and images that fill no tile, and equal results on any number of threads.
use super::fam::{Filter, Sizes, backward, forward};

fn noise(len: usize, seed: usize) -> Vec<f64> {
    (0..len).map(|k| (k as f64 * 12.9898 + seed as f64 * 78.233 + 0.5).sin() * 43758.5453 % 1.0).collect()
}

/// y from the definition: four sums over frequencies and positions.
fn definition(s: Sizes, x: &[f64], re: &[f64], im: &[f64], mask: &[f64]) -> Vec<f64> {
    let ([cin, cout], [h, w]) = (s.channels, s.map);
    let area = h * w;
    let angle = |f: usize, p: usize| {
        std::f64::consts::TAU * ((f / w * (p / w)) as f64 / h as f64 + (f % w * (p % w)) as f64 / w as f64)
    };
    let mut y = vec![0.0; s.batch * cout * area];
    for b in 0..s.batch {
        for o in 0..cout {
            for (f, mask) in mask.iter().enumerate() {
                let mut z = [0.0; 2];
                for i in (0..cin).filter(|&i| !s.depthwise || i == o) {
                    let filter = if s.depthwise { o } else { i * cout + o } * area + f;
                    for p in 0..area {
                        let (sin, cos) = (-angle(f, p)).sin_cos();
                        let v = x[(b * cin + i) * area + p] * mask;
                        z[0] += v * (cos * re[filter] - sin * im[filter]);
                        z[1] += v * (cos * im[filter] + sin * re[filter]);
                    }
                }
                for p in 0..area {
                    let (sin, cos) = angle(f, p).sin_cos();
                    y[(b * cout + o) * area + p] += (z[0] * cos - z[1] * sin) / area as f64;
                }
            }
        }
    }
    y
}

#[test]
fn follows_the_definition_for_ragged_tiles() {
    for (batch, channels, map, depthwise) in [
        (1, [1, 1], [1, 1], false),
        (5, [3, 7], [4, 5], false),
        (33, [2, 3], [3, 4], false),
        (2, [9, 2], [5, 2], false),
        (6, [5, 5], [4, 6], true),
        (1, [3, 3], [1, 7], true),
    ] {
        let s = Sizes { batch, channels, map, depthwise };
        let area = map[0] * map[1];
        let filters = channels[0] * if depthwise { 1 } else { channels[1] };
        let x = noise(batch * channels[0] * area, 1);
        let (re, im, mask) = (noise(filters * area, 2), noise(filters * area, 3), noise(area, 4));
        let expected = definition(s, &x, &re, &im, &mask);
        let found = forward(s, &x, Filter { re: &re, im: &im, mask: &mask });
        for (a, b) in found.iter().zip(&expected) {
            assert!((a - b).abs() < 1e-12 * area as f64 * channels[0] as f64, "{s:?}: {a} for {b}");
        }
    }
}

#[test]
fn threads_do_not_change_results() {
    let narrow = |x: Vec<f64>| x.into_iter().map(|x| x as f32).collect::<Vec<_>>();
    for depthwise in [false, true] {
        let s = Sizes { batch: 37, channels: [12, 12], map: [9, 10], depthwise };
        let filters = if depthwise { 12 } else { 144 };
        let x = narrow(noise(37 * 12 * 90, 1));
        let (re, im, mask) = (narrow(noise(filters * 90, 2)), narrow(noise(filters * 90, 3)), noise(90, 4));
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let filter = Filter { re: &re, im: &im, mask: &mask };
                let y = forward(s, &x, filter);
                let gradients = backward(s, &x, filter, &y, [true, true]);
                (y, gradients.x.unwrap(), gradients.filter.unwrap())
            })
        };
        let one = run(1);
        assert!(one == run(2) && one == run(5), "depthwise {depthwise}");
    }
}
