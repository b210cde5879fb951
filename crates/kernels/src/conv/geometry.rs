//! Shapes of a convolution and the correlations that its directions consist of.
use std::ops::Range;

/// Everything that describes one 2-D convolution (cross-correlation, as in every deep-learning library).
///
/// ```text
/// y[n, o, i, j] = sum_{c, u, v} w[o, c, u, v] * x[n, g*C/G + c, i*s - p + u*d, j*s - p + v*d]      o in group g
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConvGeometry {
    /// Batch N.
    pub batch: usize,
    /// Input channels C.
    pub channels_in: usize,
    /// Output channels O.
    pub channels_out: usize,
    /// Input height and width.
    pub input: [usize; 2],
    /// Output height and width.
    pub output: [usize; 2],
    /// Kernel height and width.
    pub kernel: [usize; 2],
    /// Stride along height and width.
    pub stride: [usize; 2],
    /// Zero padding on both sides along height and width.
    pub padding: [usize; 2],
    /// Dilation along height and width.
    pub dilation: [usize; 2],
    /// Groups G; divides C and O.
    pub groups: usize,
}

impl ConvGeometry {
    /// From the operands' shapes, `x` being `[N, C, H, W]`; `None` when they do not fit together or the output would be
    /// empty.
    pub fn new(
        x: [usize; 4],
        w: [usize; 4],
        stride: [usize; 2],
        padding: [usize; 2],
        dilation: [usize; 2],
        groups: usize,
    ) -> Option<Self> {
        let fits = groups > 0
            && x[1] == w[1] * groups
            && w[0].is_multiple_of(groups)
            && x.iter().chain(&w).chain(&stride).chain(&dilation).all(|&v| v > 0);
        if !fits {
            return None;
        }
        let mut output = [0; 2];
        for axis in 0..2 {
            let reach = (w[2 + axis] - 1) * dilation[axis] + 1;
            output[axis] = (x[2 + axis] + 2 * padding[axis]).checked_sub(reach)? / stride[axis] + 1;
        }
        Some(Self {
            batch: x[0],
            channels_in: x[1],
            channels_out: w[0],
            input: [x[2], x[3]],
            output,
            kernel: [w[2], w[3]],
            stride,
            padding,
            dilation,
            groups,
        })
    }

    /// Input channels of one group.
    pub fn group_in(&self) -> usize {
        self.channels_in / self.groups
    }

    /// Output channels of one group.
    pub fn group_out(&self) -> usize {
        self.channels_out / self.groups
    }

    /// Output pixels of all images.
    pub fn pixels_out(&self) -> usize {
        self.batch * self.output[0] * self.output[1]
    }

    /// Kernel taps (ky, kx) in the order of the weights.
    pub(crate) fn taps(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let [kh, kw] = self.kernel;
        (0..kh).flat_map(move |y| (0..kw).map(move |x| (y, x)))
    }

    /// Multiply-adds of one direction.
    pub fn macs(&self) -> u64 {
        let [h, w] = self.output;
        (self.batch * self.channels_out * h * w * self.group_in() * self.kernel[0] * self.kernel[1]) as u64
    }
}

/// A correlation of a zero-padded map with some taps of the kernel, step by step:
///
/// ```text
/// out[target(y, x), m] = sum_{(dy, dx, t), c} weight[t][c, m] * source[origin + step * (y, x) + (dy, dx), c]
/// ```
/// The forward pass is one of these. The input gradient of stride s is s x s of them over the output's gradient, one
/// for each phase of the input, because the taps that reach a pixel depend on its place modulo the stride.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Correlation {
    /// Source row and column that tap (0, 0) of result (0, 0) reads; negative in the padding.
    pub origin: [isize; 2],
    /// Source rows and columns from one result to the next.
    pub step: [usize; 2],
    /// Taps in reading order: down, right, index in the kernel.
    pub taps: Vec<(usize, usize, usize)>,
    /// Result rows and columns.
    pub size: [usize; 2],
    /// Where result (y, x) lands: `start + step * index` for each axis.
    pub target: [(usize, usize); 2],
}

impl Correlation {
    /// The forward pass.
    pub fn forward(g: &ConvGeometry) -> Self {
        let taps = g.taps().enumerate().map(|(i, (ky, kx))| (ky * g.dilation[0], kx * g.dilation[1], i)).collect();
        let origin = g.padding.map(|p| -(p as isize));
        Self { origin, step: g.stride, taps, size: g.output, target: [(0, 1); 2] }
    }

    /// The input gradient: one product for each phase of the input. A phase which no tap reaches has no taps: the
    /// gradient is zero there.
    pub fn input_gradient(g: &ConvGeometry) -> Vec<Self> {
        let mut list = Vec::new();
        for a in 0..g.stride[0] {
            for b in 0..g.stride[1] {
                let (y, ny) = phase_range(a, g.stride[0], g.padding[0], g.input[0]);
                let (x, nx) = phase_range(b, g.stride[1], g.padding[1], g.input[1]);
                if ny > 0 && nx > 0 {
                    list.push(Self::phase(g, [a, b], [y, x], [ny, nx]));
                }
            }
        }
        list
    }

    /// `dX[y*s + a - p] = sum over taps with (k*d) % s == a of w[k] * dY[y - (k*d) / s]` for y from `first` on.
    fn phase(g: &ConvGeometry, phase: [usize; 2], first: [usize; 2], size: [usize; 2]) -> Self {
        let hits: Vec<[usize; 3]> = g
            .taps()
            .enumerate()
            .map(|(i, (ky, kx))| [ky * g.dilation[0], kx * g.dilation[1], i])
            .filter(|hit| (0..2).all(|axis| hit[axis] % g.stride[axis] == phase[axis]))
            .map(|[y, x, i]| [y / g.stride[0], x / g.stride[1], i])
            .collect();
        let most = [0, 1].map(|axis| hits.iter().map(|h| h[axis]).max().unwrap_or(0));
        let mut taps: Vec<_> = hits.iter().map(|&[y, x, i]| (most[0] - y, most[1] - x, i)).collect();
        taps.sort_unstable();
        let start = |axis: usize| first[axis] * g.stride[axis] + phase[axis] - g.padding[axis];
        Self {
            origin: [0, 1].map(|axis| first[axis] as isize - most[axis] as isize),
            step: [1, 1],
            taps,
            size,
            target: [(start(0), g.stride[0]), (start(1), g.stride[1])],
        }
    }

    /// Results along an axis all of whose taps, `first` to `last` rows or columns from tap 0, lie on a source axis of
    /// `length`.
    pub fn inside(&self, axis: usize, (first, last): (usize, usize), length: usize) -> Range<usize> {
        // Results whose tap at `offset` lies before `place`.
        let before = |offset: usize, place: usize| {
            let room = place as isize - self.origin[axis] - offset as isize;
            (room.max(0) as usize).div_ceil(self.step[axis]).min(self.size[axis])
        };
        let end = before(last, length);
        before(first, 0).min(end)..end
    }

    /// Source rows and columns that `size` results read.
    pub fn reach(&self, size: [usize; 2]) -> [usize; 2] {
        let most = |f: fn(&(usize, usize, usize)) -> usize| self.taps.iter().map(f).max().unwrap_or(0);
        [(size[0] - 1) * self.step[0] + most(|t| t.0) + 1, (size[1] - 1) * self.step[1] + most(|t| t.1) + 1]
    }
}

/// First index y and count of those with `0 <= y*s + a - p < size`.
fn phase_range(a: usize, s: usize, p: usize, size: usize) -> (usize, usize) {
    let first = if a >= p { 0 } else { (p - a).div_ceil(s) };
    let end = if size + p > a { (size + p - a).div_ceil(s) } else { 0 };
    (first, end.saturating_sub(first))
}
