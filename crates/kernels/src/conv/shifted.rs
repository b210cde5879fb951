//! Executes [`Shifted`] products: the forward pass and the input gradient.
use std::cell::RefCell;

use rayon::prelude::*;

use super::geometry::{AxisPhase, ConvGeometry, Shifted};
use super::micro::{Micro, TILE};

/// Source planes: `[images, channels, height, width]`, contiguous.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a> {
    pub data: &'a [f32],
    pub images: usize,
    pub channels: usize,
    pub size: [usize; 2],
}

/// What happens to a finished sum before it is stored.
#[derive(Clone, Copy, Default)]
pub(crate) struct Epilogue<'a> {
    /// Added per destination channel.
    pub bias: Option<&'a [f32]>,
    /// Clamp at zero.
    pub relu: bool,
}

/// Weights of one group, packed for the micro-kernel: `[block][k][mr]` with k = (source channel, tap).
struct Packed {
    data: Vec<f32>,
    depth: usize,
    blocks: usize,
}

/// Which index of the weights `[O, C/G, kh, kw]` plays the destination channel.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    Forward,
    InputGradient,
}

/// A destination that tasks write to in disjoint places.
#[derive(Clone, Copy)]
struct Destination {
    pointer: *mut f32,
    length: usize,
}

// SAFETY: every task writes only the (image, row) pairs that it owns, in all channels of its group; tasks own disjoint
// pairs, and phases of one product write disjoint columns or rows one after the other.
unsafe impl Send for Destination {}
// SAFETY: as above; nothing is read through the pointer.
unsafe impl Sync for Destination {}

impl Destination {
    #[inline]
    fn write(self, index: usize, value: f32) {
        debug_assert!(index < self.length);
        // SAFETY: indices are computed from the destination's shape, checked in debug builds.
        unsafe { self.pointer.add(index).write(value) }
    }

    #[inline]
    fn write_row(self, index: usize, values: &[f32]) {
        debug_assert!(index + values.len() <= self.length);
        // SAFETY: as in `write`; source and destination are different allocations.
        unsafe { std::ptr::copy_nonoverlapping(values.as_ptr(), self.pointer.add(index), values.len()) }
    }
}

thread_local! {
    static SCRATCH: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// Floats of scratch a task may use: about 1 MB, so that the planes stay in the second-level cache.
const SCRATCH_LIMIT: usize = 256 * 1024;
/// Positions a task should hold at least, so that few columns of the last tile are idle.
const POSITIONS: usize = 240;
/// Floats of packed weights that are kept in cache while the positions pass.
const WEIGHT_CHUNK: usize = 64 * 1024;

/// `out[n, m, y, x]` for all groups. `out_size` is the destination's height and width; places which no phase targets
/// keep what they held.
#[allow(clippy::too_many_arguments, reason = "one call describes the whole product")]
pub(crate) fn run(
    micro: &Micro,
    g: &ConvGeometry,
    direction: Direction,
    source: Source<'_>,
    weights: &[f32],
    product: &Shifted,
    epilogue: Epilogue<'_>,
    (out, out_size): (&mut [f32], [usize; 2]),
) {
    let (from, to) = match direction {
        Direction::Forward => (g.group_in(), g.group_out()),
        Direction::InputGradient => (g.group_out(), g.group_in()),
    };
    let destination = Destination { pointer: out.as_mut_ptr(), length: out.len() };
    let cut = Cut::new(product, from, source.images);
    for group in 0..g.groups {
        let packed = pack(micro, g, direction, weights, product, group);
        let job = Job {
            micro,
            product,
            source,
            packed: &packed,
            epilogue,
            destination,
            out_size,
            from: (group * from, from),
            to: (group * to, to),
            channels_out: to * g.groups,
        };
        (0..cut.tasks()).into_par_iter().for_each(|task| job.run(cut.task(task)));
    }
}

fn pack(
    micro: &Micro,
    g: &ConvGeometry,
    direction: Direction,
    weights: &[f32],
    product: &Shifted,
    group: usize,
) -> Packed {
    let (per_in, per_out, area) = (g.group_in(), g.group_out(), g.kernel[0] * g.kernel[1]);
    let (from, to) = match direction {
        Direction::Forward => (per_in, per_out),
        Direction::InputGradient => (per_out, per_in),
    };
    let (depth, blocks) = (from * product.taps.len(), to.div_ceil(micro.mr));
    let mut data = vec![0.0; blocks * depth * micro.mr];
    for m in 0..to {
        let (block, lane) = (m / micro.mr, m % micro.mr);
        let panel = &mut data[block * depth * micro.mr..][..depth * micro.mr];
        for c in 0..from {
            let (o, i) = if direction == Direction::Forward { (m, c) } else { (c, m) };
            let kernel = &weights[((group * per_out + o) * per_in + i) * area..][..area];
            for (t, tap) in product.taps.iter().enumerate() {
                panel[(c * product.taps.len() + t) * micro.mr + lane] = kernel[tap.3];
            }
        }
    }
    Packed { data, depth, blocks }
}

/// How the work is cut into tasks: groups of whole images when planes are small, strips of rows when they are large.
/// The cut never changes a value: each output is one sum in a fixed order.
struct Cut {
    images: usize,
    rows: usize,
    group: usize,
    strip: usize,
}

/// Images `first..first + count` and result rows `row..row + rows`.
#[derive(Clone, Copy)]
struct Task {
    first: usize,
    count: usize,
    row: usize,
    rows: usize,
}

impl Cut {
    fn new(product: &Shifted, channels: usize, images: usize) -> Self {
        let (height, pitch) = (product.phases[0].0.length, product.pitch());
        let plane = height * pitch;
        if plane < POSITIONS {
            let group = POSITIONS.div_ceil(plane).min(images.div_ceil(4)).max(1);
            return Self { images, rows: product.rows, group, strip: product.rows };
        }
        let per_row = channels * product.phases.len() * pitch;
        let reach = height - product.rows;
        let fitting = (SCRATCH_LIMIT / per_row.max(1)).saturating_sub(reach).max(1);
        // A single image still keeps several cores busy.
        let wanted = if images < 4 { product.rows.div_ceil(4).max(1) } else { product.rows };
        Self { images, rows: product.rows, group: 1, strip: fitting.min(wanted).max(1) }
    }

    fn strips(&self) -> usize {
        self.rows.div_ceil(self.strip)
    }

    fn tasks(&self) -> usize {
        self.images.div_ceil(self.group) * self.strips()
    }

    fn task(&self, index: usize) -> Task {
        let (block, strip) = (index / self.strips(), index % self.strips());
        let (first, row) = (block * self.group, strip * self.strip);
        Task { first, count: self.group.min(self.images - first), row, rows: self.strip.min(self.rows - row) }
    }
}

/// One group's product; every task of it reads the same fields.
struct Job<'a> {
    micro: &'a Micro,
    product: &'a Shifted,
    source: Source<'a>,
    packed: &'a Packed,
    epilogue: Epilogue<'a>,
    destination: Destination,
    out_size: [usize; 2],
    /// First source channel and count.
    from: (usize, usize),
    /// First destination channel and count.
    to: (usize, usize),
    channels_out: usize,
}

/// Contiguous destination pixels inside one tile: tile column, result (image, row, column), count.
#[derive(Clone, Copy)]
struct Segment {
    column: usize,
    image: usize,
    y: usize,
    x: usize,
    count: usize,
}

impl Job<'_> {
    fn run(&self, task: Task) {
        if self.product.taps.is_empty() {
            return self.fill_empty(task);
        }
        if let Some((start, plane)) = self.in_place(task) {
            let rows = self.row_table(plane, 0, 1);
            let length = task.rows * self.product.pitch();
            return self.multiply(task, self.source.data, start, &rows, length, length);
        }
        SCRATCH.with(|scratch| {
            let mut scratch = scratch.borrow_mut();
            let (pitch, phases) = (self.product.pitch(), self.product.phases.len());
            let height = task.rows + self.product.phases[0].0.length - self.product.rows;
            let plane = height * pitch;
            let size = self.from.1 * phases * task.count * plane + self.micro.nr;
            scratch.clear();
            scratch.resize(size, 0.0);
            self.gather(task, height, &mut scratch);
            let rows = self.row_table(task.count * plane, task.count * plane, phases);
            let length = (task.count - 1) * plane + (task.rows - 1) * pitch + self.product.columns;
            self.multiply(task, &scratch, 0, &rows, length, plane);
        });
    }

    /// A phase of the input gradient which no tap reaches: the gradient there is zero.
    fn fill_empty(&self, task: Task) {
        for image in task.first..task.first + task.count {
            for m in 0..self.to.1 {
                for y in task.row..task.row + task.rows {
                    for x in 0..self.product.columns {
                        self.destination.write(self.index(image, m, y, x), 0.0);
                    }
                }
            }
        }
    }

    /// 1x1, stride 1, no padding: the source itself is the plane. Returns its start and the stride between channels.
    fn in_place(&self, task: Task) -> Option<(usize, usize)> {
        let [height, width] = self.source.size;
        let whole = |p: &AxisPhase, size: usize| p.origin == 0 && p.step == 1 && p.length == size;
        let phase = &self.product.phases[0];
        let direct = self.product.phases.len() == 1
            && task.count == 1
            && whole(&phase.0, height)
            && whole(&phase.1, width)
            && self.product.rows == height
            && task.rows * width >= self.micro.nr;
        let first = (task.first * self.source.channels + self.from.0) * height * width + task.row * width;
        direct.then_some((first, height * width))
    }

    /// Start of each im2col row: source channel c, tap t.
    fn row_table(&self, plane: usize, phase_stride: usize, phases: usize) -> Vec<u32> {
        let pitch = self.product.pitch();
        let channel = if phase_stride == 0 { plane } else { phases * phase_stride };
        let mut rows = Vec::with_capacity(self.packed.depth);
        for c in 0..self.from.1 {
            for &(phase, dy, dx, _) in &self.product.taps {
                rows.push((c * channel + phase * phase_stride + dy * pitch + dx) as u32);
            }
        }
        rows
    }

    /// Copies the task's rows of every channel and phase into zeroed planes `[channel][phase][image][height][pitch]`.
    fn gather(&self, task: Task, height: usize, scratch: &mut [f32]) {
        let [source_h, source_w] = self.source.size;
        let pitch = self.product.pitch();
        let mut planes = scratch.chunks_exact_mut(height * pitch);
        for c in self.from.0..self.from.0 + self.from.1 {
            for (rows, columns) in &self.product.phases {
                for image in task.first..task.first + task.count {
                    let Some(plane) = planes.next() else { return };
                    let source = &self.source.data[(image * self.source.channels + c) * source_h * source_w..]
                        [..source_h * source_w];
                    for (i, row) in plane.chunks_exact_mut(pitch).enumerate() {
                        let y = rows.origin + (rows.step * (task.row + i)) as isize;
                        if y >= 0 && (y as usize) < source_h {
                            copy_strided(&source[y as usize * source_w..][..source_w], columns, row);
                        }
                    }
                }
            }
        }
    }

    /// All tiles of the task: `length` positions from `start`, planes of `plane` positions per image.
    fn multiply(&self, task: Task, b: &[f32], start: usize, rows: &[u32], length: usize, plane: usize) {
        let (mr, nr, depth) = (self.micro.mr, self.micro.nr, self.packed.depth);
        let chunk = (WEIGHT_CHUNK / (depth * mr)).max(1);
        let mut tile = [0.0; TILE];
        let mut segments = Vec::with_capacity(nr);
        for first in (0..self.packed.blocks).step_by(chunk) {
            let blocks = first..(first + chunk).min(self.packed.blocks);
            let mut position = 0;
            while position < length {
                // The last tile overlaps the one before rather than reading past the end.
                let at = if length >= nr { position.min(length - nr) } else { 0 };
                self.segments(task, at, (at + nr).min(length), plane, &mut segments);
                for block in blocks.clone() {
                    let a = &self.packed.data[block * depth * mr..][..depth * mr];
                    self.micro.run(a, mr, b, start + at, rows, &mut tile);
                    self.store(block, &mut tile, &segments);
                }
                position += nr;
            }
        }
    }

    /// The result pixels among positions `from..to`.
    fn segments(&self, task: Task, from: usize, to: usize, plane: usize, list: &mut Vec<Segment>) {
        let (pitch, columns) = (self.product.pitch(), self.product.columns);
        list.clear();
        let mut p = from;
        while p < to {
            let (image, inside) = (p / plane, p % plane);
            let (y, x) = (inside / pitch, inside % pitch);
            if y < task.rows && x < columns {
                let count = (columns - x).min(to - p);
                list.push(Segment { column: p - from, image: task.first + image, y: task.row + y, x, count });
            }
            p += pitch - x;
        }
    }

    fn index(&self, image: usize, m: usize, y: usize, x: usize) -> usize {
        let [(y0, sy), (x0, sx)] = self.product.target;
        let channel = image * self.channels_out + self.to.0 + m;
        (channel * self.out_size[0] + y0 + y * sy) * self.out_size[1] + x0 + x * sx
    }

    fn store(&self, block: usize, tile: &mut [f32; TILE], segments: &[Segment]) {
        let (mr, nr) = (self.micro.mr, self.micro.nr);
        for i in 0..mr.min(self.to.1 - block * mr) {
            let m = block * mr + i;
            let row = &mut tile[i * nr..][..nr];
            if let Some(bias) = self.epilogue.bias {
                let b = bias[self.to.0 + m];
                row.iter_mut().for_each(|v| *v += b);
            }
            if self.epilogue.relu {
                row.iter_mut().for_each(|v| *v = v.max(0.0));
            }
            for s in segments {
                let (at, values) = (self.index(s.image, m, s.y, s.x), &row[s.column..][..s.count]);
                let step = self.product.target[1].1;
                if step == 1 {
                    self.destination.write_row(at, values);
                } else {
                    values.iter().enumerate().for_each(|(j, &v)| self.destination.write(at + j * step, v));
                }
            }
        }
    }
}

/// `row[i] = source[origin + step * i]` where that exists; other places keep their zero.
fn copy_strided(source: &[f32], phase: &AxisPhase, row: &mut [f32]) {
    let first = if phase.origin >= 0 { 0 } else { (-phase.origin) as usize };
    let first = first.div_ceil(phase.step);
    let start = phase.origin + (first * phase.step) as isize;
    if start < 0 || start as usize >= source.len() || first >= row.len() {
        return;
    }
    let source = &source[start as usize..];
    if phase.step == 1 {
        let count = source.len().min(row.len() - first);
        row[first..first + count].copy_from_slice(&source[..count]);
    } else {
        row[first..].iter_mut().zip(source.iter().step_by(phase.step)).for_each(|(r, &s)| *r = s);
    }
}
