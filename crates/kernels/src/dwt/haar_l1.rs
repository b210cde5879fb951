//! Mean absolute value of every band of a multilevel Haar transform, fused with its gradient.
//!
//! For the bands `B_b` of `x` (or of `x - y`), the operation returns `m_b = mean |B_b|`. Its gradient is
//!
//! ```text
//! dx = sum_b g_b / |b| S_b sign(B_b)
//! ```
//!
//! with the synthesis `S_b` of the band alone. A plane goes through all levels while it is in the cache; of the forward
//! pass only the signs are kept, a byte each, so that the backward pass reads a quarter of a map and writes one.
//!
//! Rows are processed in blocks of [`LANES`] coefficients, zero-padded, so that all sizes run the same loops.
use super::haar::mix;
use super::scalar::Scalar;

/// Coefficients in a block.
pub(super) const LANES: usize = 8;

/// Sizes of one level.
#[derive(Debug, Clone, Copy)]
struct Level {
    /// Height and width of its bands.
    band: [usize; 2],
    /// Blocks in a row of a band.
    blocks: usize,
    /// Row length of the padded low band.
    stride: usize,
    /// Where its signs start.
    signs: usize,
}

/// Sizes of all levels of a map.
#[derive(Debug, Clone)]
pub struct Pyramid {
    map: [usize; 2],
    levels: Vec<Level>,
    signs: usize,
}

impl Pyramid {
    /// The pyramid of maps of this height and width.
    ///
    /// # Panics
    /// When `levels` is zero or the map empty.
    pub fn new(map: [usize; 2], levels: usize) -> Self {
        assert!(levels > 0 && map[0] > 0 && map[1] > 0, "an empty pyramid");
        let mut size = map;
        let mut all: Vec<Level> = Vec::new();
        let mut signs = 0;
        for l in 0..levels {
            size = size.map(|n| n.div_ceil(2));
            let blocks = size[1].div_ceil(LANES);
            let bands = if l + 1 == levels { 4 } else { 3 };
            let stride = if l + 1 == levels { blocks } else { 2 * size[1].div_ceil(2).div_ceil(LANES) } * LANES;
            all.push(Level { band: size, blocks, stride, signs });
            signs += bands * size[0] * blocks * LANES;
        }
        Self { map, levels: all, signs }
    }

    /// Bands: LL of the last level, then LH, HL, HH of each level, finest first.
    pub fn bands(&self) -> usize {
        1 + 3 * self.levels.len()
    }

    /// Coefficients of band `b` in one plane.
    pub fn band_len(&self, b: usize) -> usize {
        let level = if b == 0 { self.levels.len() - 1 } else { (b - 1) / 3 };
        self.levels[level].band.iter().product()
    }

    /// Height and width of the maps.
    pub fn map_size(&self) -> [usize; 2] {
        self.map
    }

    /// Bytes of signs of one plane.
    pub(super) fn signs_len(&self) -> usize {
        self.signs
    }

    fn is_last(&self, level: usize) -> bool {
        level + 1 == self.levels.len()
    }

    /// Two padded rows of the map, then the padded low band of each level.
    pub(super) fn scratch<T: Scalar>(&self) -> Vec<Vec<T>> {
        let zeros = |n| vec![T::default(); n];
        let rows = zeros(4 * self.levels[0].blocks * LANES);
        std::iter::once(rows).chain(self.levels.iter().map(|l| zeros(l.stride * l.band[0]))).collect()
    }
}

/// What the forward pass of a plane works with: scratch, the sums of each band, and its signs (empty: not wanted).
pub(super) struct Work<'a, T> {
    pub maps: &'a mut [Vec<T>],
    pub sums: &'a mut [f64],
    pub signs: &'a mut [i8],
}

/// Sums of one level: LL, LH, HL, HH by lane.
type Sums<T> = [[T; LANES]; 4];

/// `|B|` summed per band of one plane of `x` or `x - y`, and the signs.
#[inline(always)]
pub(super) fn forward_plane<T: Scalar>(p: &Pyramid, x: &[T], y: Option<&[T]>, work: Work<'_, T>) {
    let Work { maps, sums, signs } = work;
    let (rows, maps) = maps.split_first_mut().expect("scratch of at least one level");
    let [height, width] = p.map;
    for l in 0..p.levels.len() {
        let level = p.levels[l];
        let (done, here) = maps.split_at_mut(l);
        let low = &mut here[0][..];
        let mut total = Sums::default();
        let per_row = level.blocks * LANES * if p.is_last(l) { 4 } else { 3 };
        for i in 0..level.band[0] {
            let keep = if signs.is_empty() { &mut [][..] } else { &mut signs[level.signs + i * per_row..][..per_row] };
            let low = &mut low[i * level.stride..][..level.blocks * LANES];
            if l == 0 {
                let (top, bottom) = rows.split_at_mut(2 * p.levels[0].blocks * LANES);
                load_row(x, y, 2 * i, [height, width], top);
                load_row(x, y, 2 * i + 1, [height, width], bottom);
                forward_row(top, bottom, low, keep, &mut total, p.is_last(l));
            } else {
                let (above, source) = (p.levels[l - 1], &done[l - 1]);
                let top = &source[2 * i * above.stride..][..above.stride];
                if 2 * i + 1 < above.band[0] {
                    let bottom = &source[(2 * i + 1) * above.stride..][..above.stride];
                    forward_row(top, bottom, low, keep, &mut total, p.is_last(l));
                } else {
                    rows[..above.stride].fill(T::default());
                    forward_row(top, &rows[..above.stride], low, keep, &mut total, p.is_last(l));
                }
            }
        }
        let sum = |lanes: [T; LANES]| lanes.iter().map(|v| v.wide()).sum::<f64>();
        if p.is_last(l) {
            sums[0] = sum(total[0]);
        }
        for k in 0..3 {
            sums[1 + 3 * l + k] = sum(total[1 + k]);
        }
    }
}

/// Row `i` of the map (zeros beyond it) into a padded row.
#[inline(always)]
fn load_row<T: Scalar>(x: &[T], y: Option<&[T]>, i: usize, [height, width]: [usize; 2], out: &mut [T]) {
    let out = &mut out[..width];
    if i >= height {
        return out.fill(T::default());
    }
    let x = &x[i * width..][..width];
    match y {
        None => out.copy_from_slice(x),
        Some(y) => {
            let y = &y[i * width..][..width];
            for ((o, x), y) in out.iter_mut().zip(x).zip(y) {
                *o = *x - *y;
            }
        }
    }
}

/// One row of bands from two padded rows.
#[inline(always)]
fn forward_row<T: Scalar>(
    top: &[T],
    bottom: &[T],
    low: &mut [T],
    signs: &mut [i8],
    sums: &mut Sums<T>,
    last: bool,
) {
    let (blocks, _) = top.as_chunks::<{ 2 * LANES }>();
    let (below, _) = bottom.as_chunks::<{ 2 * LANES }>();
    let (low, _) = low.as_chunks_mut::<LANES>();
    let (signs, _) = signs.as_chunks_mut::<LANES>();
    let first = if last { 0 } else { 1 };
    for (k, ((t, b), low)) in blocks.iter().zip(below).zip(low).enumerate() {
        let mut bands = [[T::default(); LANES]; 4];
        for j in 0..LANES {
            let block = mix(t[2 * j], t[2 * j + 1], b[2 * j], b[2 * j + 1]);
            for (band, v) in bands.iter_mut().zip(block) {
                band[j] = v;
            }
        }
        *low = bands[0];
        for (sum, band) in sums.iter_mut().zip(&bands) {
            for j in 0..LANES {
                sum[j] += band[j].magnitude();
            }
        }
        if !signs.is_empty() {
            let keep = &mut signs[(4 - first) * k..][..4 - first];
            for (sign, band) in keep.iter_mut().zip(&bands[first..]) {
                for j in 0..LANES {
                    sign[j] = i8::from(band[j] > T::default()) - i8::from(band[j] < T::default());
                }
            }
        }
    }
}

/// The gradient of one plane from the signs and `g`, the gradients of the bands' means over their sizes.
#[inline(always)]
pub(super) fn backward_plane<T: Scalar>(p: &Pyramid, signs: &[i8], g: &[T], maps: &mut [Vec<T>], dx: &mut [T]) {
    let (rows, maps) = maps.split_first_mut().expect("scratch of at least one level");
    let [height, width] = p.map;
    for l in (0..p.levels.len()).rev() {
        let level = p.levels[l];
        let (finer, here) = maps.split_at_mut(l);
        let scale = [g[0], g[1 + 3 * l], g[2 + 3 * l], g[3 + 3 * l]];
        let per_row = level.blocks * LANES * if p.is_last(l) { 4 } else { 3 };
        for i in 0..level.band[0] {
            let signs = &signs[level.signs + i * per_row..][..per_row];
            let low = (!p.is_last(l)).then(|| &here[0][i * level.stride..][..level.blocks * LANES]);
            let (top, bottom) = rows.split_at_mut(2 * p.levels[0].blocks * LANES);
            if l == 0 {
                backward_row(signs, low, scale, top, bottom);
                dx[2 * i * width..][..width].copy_from_slice(&top[..width]);
                if 2 * i + 1 < height {
                    dx[(2 * i + 1) * width..][..width].copy_from_slice(&bottom[..width]);
                }
            } else {
                let above = p.levels[l - 1];
                let target = &mut finer[l - 1][2 * i * above.stride..];
                let (t, rest) = target.split_at_mut(above.stride);
                let b = if 2 * i + 1 < above.band[0] { &mut rest[..above.stride] } else { bottom };
                backward_row(signs, low, scale, t, b);
            }
        }
    }
}

/// Two padded rows of the finer map from one row of signs and, but for the last level, the gradient of the low band.
#[inline(always)]
fn backward_row<T: Scalar>(signs: &[i8], low: Option<&[T]>, g: [T; 4], top: &mut [T], bottom: &mut [T]) {
    let (top, _) = top.as_chunks_mut::<{ 2 * LANES }>();
    let (bottom, _) = bottom.as_chunks_mut::<{ 2 * LANES }>();
    let (signs, _) = signs.as_chunks::<LANES>();
    let (low, _) = low.unwrap_or_default().as_chunks::<LANES>();
    let first = if low.is_empty() { 0 } else { 1 };
    for (k, (signs, (t, b))) in signs.chunks_exact(4 - first).zip(top.iter_mut().zip(bottom)).enumerate() {
        let mut bands = [[T::default(); LANES]; 4];
        for (band, (sign, g)) in bands[first..].iter_mut().zip(signs.iter().zip(&g[first..])) {
            for j in 0..LANES {
                band[j] = T::from_sign(sign[j]) * *g;
            }
        }
        if first == 1 {
            bands[0] = low[k];
        }
        for j in 0..LANES {
            [t[2 * j], b[2 * j], t[2 * j + 1], b[2 * j + 1]] = mix(bands[0][j], bands[2][j], bands[1][j], bands[3][j]);
        }
    }
}
