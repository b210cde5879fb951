//! Mean absolute value of every band of a multilevel Haar transform, fused with its gradient.
//!
//! For the bands `B_b` of `x` (or of `x - y`), the operation returns `m_b = mean |B_b|`. Its gradient is
//!
//! ```text
//! dx = sum_b g_b / |b| S_b sign(B_b)
//! ```
//!
//! with the synthesis `S_b` of the band alone. Planes go through all levels while they are in the cache; of the forward
//! pass only the signs are kept, a byte each, so that the backward pass reads a quarter of a map and writes one.
//!
//! The details of a level may also be summed over their orientations before they are measured. With `a` the top left
//! number of a 2x2 block, LH + HL + HH = 2a - LL: one band a level instead of three, and no difference is formed.
use super::haar;
use super::scalar::{Bands, Scalar};

/// Sums run side by side in this many lanes, whatever the processor, so that they do not depend on it.
pub(super) const LANES: usize = 16;

/// Small planes are worked on together, up to this many numbers, so that short loops do not dominate.
const GROUP: usize = 4096;

/// Sizes of all levels of a map.
#[derive(Debug, Clone)]
pub struct Pyramid {
    map: [usize; 2],
    /// Planes that are worked on together.
    group: usize,
    /// Detail bands of a level: LH, HL, HH, or their sum.
    details: usize,
    /// Height and width of the bands of each level.
    bands: Vec<[usize; 2]>,
}

impl Pyramid {
    /// The pyramid of `planes` maps of this height and width.
    ///
    /// # Panics
    /// When `levels` is zero or the map empty.
    pub fn new(planes: usize, map: [usize; 2], levels: usize) -> Self {
        assert!(levels > 0 && map[0] > 0 && map[1] > 0, "an empty pyramid");
        let next = |size: &[usize; 2]| Some(size.map(|n| n.div_ceil(2)));
        let most = (GROUP / (map[0] * map[1])).clamp(1, planes.max(1));
        let group = (1..=most).rev().find(|g| planes.is_multiple_of(*g)).unwrap_or(1);
        let bands = std::iter::successors(Some(map), next).skip(1).take(levels).collect();
        Self { map, group, details: 3, bands }
    }

    /// The same with LH + HL + HH in the place of the three bands of each level.
    pub fn summed(self) -> Self {
        Self { details: 1, ..self }
    }

    /// Planes that are worked on together; a divisor of their number.
    pub(super) fn group(&self) -> usize {
        self.group
    }

    pub(super) fn levels(&self) -> usize {
        self.bands.len()
    }

    /// Bands: LL of the last level, then LH, HL, HH of each level (or their sum), finest first.
    pub fn bands(&self) -> usize {
        1 + self.details * self.bands.len()
    }

    /// Coefficients of band `b` in one plane.
    pub fn band_len(&self, b: usize) -> usize {
        let level = if b == 0 { self.bands.len() - 1 } else { (b - 1) / self.details };
        self.bands[level].iter().product()
    }

    /// Coefficients of a band of a level in a group.
    pub(super) fn area(&self, level: usize) -> usize {
        self.group * self.band_len(1 + self.details * level)
    }

    /// The planes that a level splits.
    pub(super) fn source(&self, level: usize) -> haar::Planes {
        let [h, w] = if level == 0 { self.map } else { self.bands[level - 1] };
        [self.group, h, w]
    }

    /// Bytes of signs of a group: those of LL, then of the details of each level.
    pub(super) fn signs_len(&self) -> usize {
        (0..self.bands()).map(|b| self.group * self.band_len(b)).sum()
    }

    /// Scratch of one thread.
    pub(super) fn scratch<T: Scalar>(&self) -> Scratch<T> {
        let zeros = |n| vec![T::default(); n];
        Scratch {
            map: zeros(self.group * self.map[0] * self.map[1]),
            rows: zeros(haar::scratch_len(self.source(0))),
            detail: zeros(self.details * self.area(0)),
            lows: (0..self.bands.len()).map(|l| zeros(self.area(l))).collect(),
        }
    }
}

/// What one thread works in.
pub(super) struct Scratch<T> {
    pub map: Vec<T>,
    pub rows: Vec<T>,
    pub detail: Vec<T>,
    pub lows: Vec<Vec<T>>,
}

/// What the forward pass of a group yields: the sum of each band, and its signs (empty: not wanted).
pub(super) struct Results<'a> {
    pub sums: &'a mut [f64],
    pub signs: &'a mut [i8],
}

/// `|B|` summed per band of one group of planes of `x` or `x - y`, and the signs.
#[inline(always)]
pub(super) fn forward_group<T: Scalar>(
    p: &Pyramid,
    x: &[T],
    y: Option<&[T]>,
    scratch: &mut Scratch<T>,
    results: Results<'_>,
) {
    let Scratch { map, rows, detail, lows } = scratch;
    let mut source = x;
    if let Some(y) = y {
        for ((d, x), y) in map.iter_mut().zip(x).zip(y) {
            *d = *x - *y;
        }
        source = &map[..];
    }
    let levels = p.bands.len();
    let (mut ll_signs, mut signs) = (results.signs, &mut [][..]);
    if !ll_signs.is_empty() {
        (ll_signs, signs) = ll_signs.split_at_mut(p.area(levels - 1));
    }
    let mut lows = lows.iter_mut();
    for l in 0..levels {
        let low = lows.next().expect("one low band per level");
        let area = p.area(l);
        let details = &mut detail[..p.details * area];
        if p.details == 1 {
            haar::split_summed(p.source(l), source, rows, low, details);
        } else {
            haar::split_planes(p.source(l), source, rows, low, details);
        }
        let (here, finer) = if signs.is_empty() { (signs, &mut [][..]) } else { signs.split_at_mut(details.len()) };
        for k in 0..p.details {
            let keep = if here.is_empty() { &mut [][..] } else { &mut here[k * area..][..area] };
            results.sums[1 + p.details * l + k] = measure(&detail[k * area..][..area], keep);
        }
        signs = finer;
        source = low;
    }
    results.sums[0] = measure(source, ll_signs);
}

/// The sum of absolute values, and the signs if there is room for them.
#[inline(always)]
fn measure<T: Scalar>(band: &[T], signs: &mut [i8]) -> f64 {
    let mut lanes = [T::default(); LANES];
    let (blocks, rest) = band.as_chunks::<LANES>();
    for block in blocks {
        for (sum, v) in lanes.iter_mut().zip(block) {
            *sum += v.magnitude();
        }
    }
    for (sum, v) in lanes.iter_mut().zip(rest) {
        *sum += v.magnitude();
    }
    for (sign, v) in signs.iter_mut().zip(band) {
        *sign = i8::from(*v > T::default()) - i8::from(*v < T::default());
    }
    let quarter = |k: usize| (lanes[k] + lanes[k + 4]) + (lanes[k + 8] + lanes[k + 12]);
    (0..4).map(|k| quarter(k).wide()).sum()
}

/// The gradient of one group of planes from the signs and `g`, the gradients of the bands' means over their sizes.
#[inline(always)]
pub(super) fn backward_group<T: Scalar>(p: &Pyramid, signs: &[i8], g: &[T], scratch: &mut Scratch<T>, dx: &mut [T]) {
    let Scratch { rows, detail, lows, .. } = scratch;
    let levels = p.bands.len();
    let (ll, mut signs) = signs.split_at(p.area(levels - 1));
    scale_signs(ll, g[0], &mut lows[levels - 1]);
    for l in (0..levels).rev() {
        let area = p.area(l);
        let (finer_signs, here) = signs.split_at(signs.len() - p.details * area);
        for k in 0..p.details {
            scale_signs(&here[k * area..][..area], g[1 + p.details * l + k], &mut detail[k * area..][..area]);
        }
        let (finer, low) = lows.split_at_mut(l);
        let out = if l == 0 { &mut dx[..] } else { &mut finer[l - 1][..] };
        let bands = Bands { low: Some(&low[0][..]), detail: Some(&detail[..p.details * area]) };
        if p.details == 1 {
            haar::merge_summed(p.source(l), bands, out);
        } else {
            haar::merge_planes(p.source(l), bands, rows, out);
        }
        signs = finer_signs;
    }
}

#[inline(always)]
fn scale_signs<T: Scalar>(signs: &[i8], g: T, out: &mut [T]) {
    for (o, s) in out.iter_mut().zip(signs) {
        *o = T::from_sign(*s) * g;
    }
}
