//! Shapes of a convolution and the shifted-plane layout that its kernels read.

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
    /// From the operands' shapes; `None` when they do not fit together or the output would be empty.
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

/// One axis of a *phase plane*: source index `origin + step * i` for i in `0..length`, zero outside the source.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AxisPhase {
    pub origin: isize,
    pub step: usize,
    pub length: usize,
}

/// A product over shifted planes:
/// `out[m, (y, x)] = sum_{c, t} weight[m, c, t] * plane[c, phase_t][(y + dy_t) * pitch + x + dx_t]`.
///
/// The forward pass with stride s splits the padded input into s x s phases, so that every tap reads one phase with a
/// plain shift. The input gradient of stride s is s x s such products over the output's gradient.
#[derive(Debug, Clone)]
pub(crate) struct Shifted {
    /// Source phases: (rows, columns).
    pub phases: Vec<(AxisPhase, AxisPhase)>,
    /// Taps: (phase, shift down, shift right, index of the kernel tap).
    pub taps: Vec<(usize, usize, usize, usize)>,
    /// Result rows and columns.
    pub rows: usize,
    /// Result columns.
    pub columns: usize,
    /// Where result (y, x) lands in the destination: `start + step * index` for each axis.
    pub target: [(usize, usize); 2],
}

impl Shifted {
    /// The forward pass.
    pub fn forward(g: &ConvGeometry) -> Self {
        let [sh, sw] = g.stride;
        let mut keys: Vec<(usize, usize)> = Vec::new();
        let mut taps = Vec::new();
        for (index, (ky, kx)) in g.taps().enumerate() {
            let (ry, rx) = (ky * g.dilation[0], kx * g.dilation[1]);
            let key = (ry % sh, rx % sw);
            let phase = keys.iter().position(|k| *k == key).unwrap_or_else(|| {
                keys.push(key);
                keys.len() - 1
            });
            taps.push((phase, ry / sh, rx / sw, index));
        }
        let reach = |f: fn(&(usize, usize, usize, usize)) -> usize| taps.iter().map(f).max().unwrap_or(0);
        let (height, width) = (g.output[0] + reach(|t| t.1), g.output[1] + reach(|t| t.2));
        let phases = keys
            .iter()
            .map(|&(a, b)| {
                (
                    AxisPhase { origin: a as isize - g.padding[0] as isize, step: sh, length: height },
                    AxisPhase { origin: b as isize - g.padding[1] as isize, step: sw, length: width },
                )
            })
            .collect();
        Self { phases, taps, rows: g.output[0], columns: g.output[1], target: [(0, 1), (0, 1)] }
    }

    /// The input gradient: one product for each phase (a, b) of the padded input; phases which no tap reaches have an
    /// empty tap list (their gradient is zero).
    pub fn input_gradient(g: &ConvGeometry) -> Vec<Self> {
        let mut list = Vec::new();
        for a in 0..g.stride[0] {
            for b in 0..g.stride[1] {
                let (y0, ny) = phase_range(a, g.stride[0], g.padding[0], g.input[0]);
                let (x0, nx) = phase_range(b, g.stride[1], g.padding[1], g.input[1]);
                if ny == 0 || nx == 0 {
                    continue;
                }
                list.push(Self::gradient_phase(g, (a, b), (y0, ny), (x0, nx)));
            }
        }
        list
    }

    /// dX[y*s + a - p] = sum over taps with (k*d) % s == a of w[k] * dY[y - (k*d) / s].
    fn gradient_phase(g: &ConvGeometry, phase: (usize, usize), y: (usize, usize), x: (usize, usize)) -> Self {
        let hits: Vec<(usize, usize, usize)> = g
            .taps()
            .enumerate()
            .map(|(i, (ky, kx))| (i, ky * g.dilation[0], kx * g.dilation[1]))
            .filter(|(_, ry, rx)| ry % g.stride[0] == phase.0 && rx % g.stride[1] == phase.1)
            .map(|(i, ry, rx)| (i, ry / g.stride[0], rx / g.stride[1]))
            .collect();
        let max_y = hits.iter().map(|h| h.1).max().unwrap_or(0);
        let max_x = hits.iter().map(|h| h.2).max().unwrap_or(0);
        // Row i of the plane is dY row y0 - max_y + i; the shift of a tap is therefore max_y - its own.
        let taps: Vec<_> = hits.iter().map(|&(i, ry, rx)| (0, max_y - ry, max_x - rx, i)).collect();
        let rows = AxisPhase { origin: y.0 as isize - max_y as isize, step: 1, length: y.1 + max_y };
        let columns = AxisPhase { origin: x.0 as isize - max_x as isize, step: 1, length: x.1 + max_x };
        let start = |first: usize, phase: usize, axis: usize| first * g.stride[axis] + phase - g.padding[axis];
        Self {
            phases: vec![(rows, columns)],
            taps,
            rows: y.1,
            columns: x.1,
            target: [(start(y.0, phase.0, 0), g.stride[0]), (start(x.0, phase.1, 1), g.stride[1])],
        }
    }

    /// Columns of a phase plane.
    pub fn pitch(&self) -> usize {
        self.phases[0].1.length
    }
}

/// First index y and count of those with `0 <= y*s + a - p < size`.
fn phase_range(a: usize, s: usize, p: usize, size: usize) -> (usize, usize) {
    let first = if a >= p { 0 } else { (p - a).div_ceil(s) };
    let end = if size + p > a { (size + p - a).div_ceil(s) } else { 0 };
    (first, end.saturating_sub(first))
}
