//! Methods between token sequences and maps of other sizes: class tokens are left out, patches go back to their grid.
use burn::prelude::*;
use burn::tensor::TensorData;
use subband_models::{Feature, Features, TapInfo, TapKind, TapShape};
use subband_seed::Stream;

use crate::check::{device, double, labels, least_keys, scalar, values, wave};
use crate::{AnyMethodConfig, ShapeBook, StepInput};

/// Methods that read maps, with what they need where a side has no taps before an activation.
const METHODS: [&str; 17] = [
    "kd",
    "dist",
    "at",
    "fitnet",
    "reviewkd",
    "cwd",
    "pkd",
    "mgd",
    "maskd",
    "freekd",
    "freqkd",
    "sfkd",
    "spectralkd",
    "wavelet-kd",
    "compose",
    "monoafkd",
    "fd-cmkd",
];

/// A feature: batch of 2, channels, grid; tokens with a prefix (class, distillation) or a map.
#[derive(Clone, Copy)]
struct Shape {
    channels: usize,
    grid: (usize, usize),
    prefix: Option<usize>,
}

const fn tokens(channels: usize, rows: usize, columns: usize, prefix: usize) -> Shape {
    Shape { channels, grid: (rows, columns), prefix: Some(prefix) }
}

const fn map(channels: usize, rows: usize, columns: usize) -> Shape {
    Shape { channels, grid: (rows, columns), prefix: None }
}

/// Student and teacher at two stages. A transformer keeps its grid; odd sides and a grid that is no square tell rows from
/// columns.
const PAIRS: [([Shape; 2], [Shape; 2]); 4] = [
    ([tokens(6, 3, 5, 1), tokens(6, 3, 5, 1)], [map(4, 7, 9), map(5, 4, 3)]),
    ([map(4, 8, 6), map(5, 3, 3)], [tokens(7, 5, 4, 1), tokens(7, 5, 4, 1)]),
    ([tokens(6, 4, 4, 2), tokens(6, 4, 4, 2)], [tokens(8, 3, 5, 1), tokens(8, 3, 5, 1)]),
    ([tokens(4, 2, 2, 0), tokens(4, 2, 2, 0)], [map(4, 2, 1), map(4, 1, 2)]),
];

impl Shape {
    /// As a tap; `flat` gives the map that tokens stand for.
    fn tap(self, name: &str, flat: bool) -> TapInfo {
        let (channels, (height, width)) = (self.channels, self.grid);
        let shape = match self.prefix {
            Some(prefix) if !flat => {
                TapShape::Tokens { length: prefix + height * width, channels, prefix, grid: self.grid }
            }
            _ => TapShape::Map { channels, height, width },
        };
        TapInfo { name: name.to_string(), shape, stride: 1, kind: TapKind::Post }
    }

    /// The raw values: `[2, L, C]` of tokens, else `[2, C, H, W]`.
    fn values(self, s: f64) -> Vec<f64> {
        let length = self.prefix.unwrap_or(0) + self.grid.0 * self.grid.1;
        values(wave([2 * length * self.channels], s, 0.41))
    }

    fn feature(self, raw: Vec<f64>) -> (Feature, Tensor<1>) {
        let leaf = {
            let length = raw.len();
            let data = TensorData::new(raw, [length]);
            Tensor::<1>::from_data(data, (&device(), burn::tensor::DType::F64)).require_grad()
        };
        let (c, (h, w)) = (self.channels, self.grid);
        let feature = match self.prefix {
            Some(prefix) => {
                Feature::Tokens { values: leaf.clone().reshape([2, prefix + h * w, c]), prefix, grid: (h, w) }
            }
            None => Feature::Map(leaf.clone().reshape([2, c, h, w])),
        };
        (feature, leaf)
    }

    /// The map of the patches, index by index.
    fn flat(self, raw: &[f64]) -> Feature {
        let (c, (h, w)) = (self.channels, self.grid);
        let Some(prefix) = self.prefix else { return self.feature(raw.to_vec()).0 };
        let at = |n: usize, k: usize, y: usize, x: usize| raw[(n * (prefix + h * w) + prefix + y * w + x) * c + k];
        let mut laid = Vec::new();
        for (n, k) in (0..2).flat_map(|n| (0..c).map(move |k| (n, k))) {
            laid.extend((0..h * w).map(|p| at(n, k, p / w, p % w)));
        }
        map(c, h, w).feature(laid).0
    }
}

fn config(method: &str) -> AnyMethodConfig {
    let text = match method {
        "reviewkd" => "method = 'reviewkd'\nteacher_preactivation = false".to_string(),
        // Attention between images is defined place by place as it is; between places tokens must find their grid.
        "monoafkd" => "method = 'monoafkd'\nattention = 'coarsest'".to_string(),
        // There is no pooled vector here.
        "fd-cmkd" => "method = 'fd-cmkd'\nstudent_taps = ['stage2']\nteacher_taps = ['stage2']".to_string(),
        _ => least_keys(method),
    };
    AnyMethodConfig::from_table(&text.parse().unwrap()).unwrap()
}

fn book(pair: ([Shape; 2], [Shape; 2]), flat: bool) -> ShapeBook {
    let side = |shapes: [Shape; 2]| {
        let logits = TapInfo {
            name: "logits".to_string(),
            shape: TapShape::Vector { channels: 5 },
            stride: 1,
            kind: TapKind::Post,
        };
        vec![shapes[0].tap("stage1", flat), shapes[1].tap("stage2", flat), logits]
    };
    ShapeBook { student: side(pair.0), teacher: side(pair.1), classes: 5, prompts: None }
}

fn features(taps: [Feature; 2], s: f64) -> Features {
    let names = ["stage1".to_string(), "stage2".to_string()];
    Features {
        logits: subband_models::Feature::Vector(wave([2, 5], s, 0.37)),
        taps: names.into_iter().zip(taps).collect(),
    }
}

fn loss(method: &str, book: &ShapeBook, student: &Features, teacher: &Features) -> Tensor<1> {
    let method = double(config(method).init(book, "pair", Stream::new(1), &device()).unwrap());
    let input = StepInput { student, teacher, labels: labels(&[1, 3]).into(), samples: &[], epoch: 1, step: 1 };
    method.forward(&input).unwrap().into_iter().map(|term| term.value).reduce(|a, b| a + b).unwrap()
}

#[test]
fn tokens_count_as_the_map_of_their_patches() {
    for (number, pair) in PAIRS.into_iter().enumerate() {
        let raw = |shapes: [Shape; 2], s: f64| [shapes[0].values(s), shapes[1].values(s + 0.5)];
        let (own, other) = (raw(pair.0, 1.3), raw(pair.1, 0.2));
        let both = |shapes: [Shape; 2], raw: &[Vec<f64>; 2]| {
            let taken = [0, 1].map(|k| shapes[k].feature(raw[k].clone()).0);
            (taken, [0, 1].map(|k| shapes[k].flat(&raw[k])))
        };
        let ((own, own_flat), (other, other_flat)) = (both(pair.0, &own), both(pair.1, &other));
        let (student, teacher) = (features(own, 0.9), features(other, 0.3));
        let (student_flat, teacher_flat) = (features(own_flat, 0.9), features(other_flat, 0.3));
        for method in METHODS {
            let as_tokens = scalar(loss(method, &book(pair, false), &student, &teacher));
            let as_maps = scalar(loss(method, &book(pair, true), &student_flat, &teacher_flat));
            assert!(as_tokens.is_finite() && as_tokens > 0.0, "pair {number}, {method}: {as_tokens}");
            let error = (as_tokens / as_maps - 1.0).abs();
            assert!(error < 1e-11, "pair {number}, {method}: {as_tokens} and {as_maps}");
        }
    }
}

/// Whether FitNet's resize to the nearest neighbour passes a patch over: where one side grows and the other shrinks, some
/// of the shrinking side's rows or columns are nearest to nothing.
fn left_out(from: (usize, usize), to: (usize, usize), patch: usize) -> bool {
    let mixed = from.0 < to.0 && from.1 > to.1 || from.0 > to.0 && from.1 < to.1;
    let passed = |n: usize, m: usize, k: usize| !(0..m).any(|i| i * n / m == k);
    mixed && (passed(from.0, to.0, patch / from.1) || passed(from.1, to.1, patch % from.1))
}

#[test]
fn gradients_reach_every_patch_and_no_class_token() {
    for (number, pair) in PAIRS.into_iter().enumerate() {
        for method in METHODS.into_iter().filter(|name| !["kd", "dist"].contains(name)) {
            let (own, leaves): (Vec<_>, Vec<_>) =
                [0, 1].map(|k| pair.0[k].feature(pair.0[k].values(1.3 + 0.5 * k as f64))).into_iter().unzip();
            let other = [0, 1].map(|k| pair.1[k].feature(pair.1[k].values(0.2 + 0.5 * k as f64)).0.detach());
            let student = features(own.try_into().unwrap(), 0.9);
            let value = loss(method, &book(pair, false), &student, &features(other, 0.3));
            let gradients = value.backward();
            // Every method reads the second stage, some the first too.
            let (shape, leaf) = (pair.0[1], &leaves[1]);
            let gradient: Vec<f64> = leaf.grad(&gradients).unwrap().into_data().iter::<f64>().collect();
            assert!(gradient.iter().all(|g| g.is_finite()));
            let Some(prefix) = shape.prefix else { continue };
            let length = prefix + shape.grid.0 * shape.grid.1;
            for (token, gradient) in gradient.chunks(shape.channels).enumerate() {
                let largest = gradient.iter().fold(0.0_f64, |m, g| m.max(g.abs()));
                let class = token % length < prefix;
                let patch = (token % length).saturating_sub(prefix);
                let left_out = method == "fitnet" && left_out(shape.grid, pair.1[1].grid, patch);
                assert_eq!(largest == 0.0, class || left_out, "{number}, {method}, {token}");
            }
        }
    }
}
