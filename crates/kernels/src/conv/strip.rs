//! The part of a source map that one task reads, zero-padded where it needs to be.
use super::geometry::Correlation;

/// Images `first..first + count` and result rows `row..row + rows` of a correlation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Task {
    pub first: usize,
    pub count: usize,
    pub row: usize,
    pub rows: usize,
}

/// A channels-last source, `[images, height, width, channels]`, of which one group's channels are read.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a> {
    pub data: &'a [f32],
    pub images: usize,
    pub size: [usize; 2],
    pub channels: usize,
    /// First channel of the group and their number.
    pub group: (usize, usize),
}

/// Floats of padded rows that a task may hold: they stay in the second-level cache.
const ROOM: usize = 96 * 1024;
/// Pixels that a task should have at least, so that packed weights are used often while they are in cache.
const PIXELS: usize = 192;
/// Tasks that a map is cut into at least.
const TASKS: usize = 8;

/// How a correlation is cut into tasks: groups of whole images when maps are small, strips of rows when they are large.
/// The cut depends on the shapes only.
pub(crate) struct Cut {
    images: usize,
    rows: usize,
    group: usize,
    strip: usize,
}

impl Cut {
    /// For a correlation over `source`.
    pub fn new(c: &Correlation, source: &Source<'_>) -> Self {
        let [rows, columns] = c.size;
        let [height, width] = c.reach(c.size);
        let floats = width * source.group.1;
        if rows * columns < PIXELS && height * floats < ROOM / 2 {
            // Not all images into one task: the other core would have to share its channels.
            let group =
                PIXELS.div_ceil(rows * columns).min(2 * ROOM / (height * floats)).min(source.images.div_ceil(2));
            return Self { images: source.images, rows, group: group.max(1), strip: rows };
        }
        let overlap = height - (rows - 1) * c.step[0];
        let fitting = (ROOM / floats).saturating_sub(overlap) / c.step[0] + 1;
        // A single image keeps several cores busy, too.
        let wanted = rows.div_ceil(TASKS.div_ceil(source.images));
        Self { images: source.images, rows, group: 1, strip: fitting.min(wanted).max(1) }
    }

    fn strips(&self) -> usize {
        self.rows.div_ceil(self.strip)
    }

    /// Number of tasks.
    pub fn tasks(&self) -> usize {
        self.images.div_ceil(self.group) * self.strips()
    }

    /// One of them.
    pub fn task(&self, index: usize) -> Task {
        let (block, strip) = (index / self.strips(), index % self.strips());
        let (first, row) = (block * self.group, strip * self.strip);
        Task { first, count: self.group.min(self.images - first), row, rows: self.strip.min(self.rows - row) }
    }
}

/// A task's source rows: somewhere in the source itself, or a padded copy.
#[derive(Clone, Copy)]
pub(crate) struct Strip<'a> {
    /// The floats; pixel (image i, row y, column x) of the reach lies at
    /// `start + i * image + y * pitch + x * pixel`.
    pub data: &'a [f32],
    pub start: usize,
    pub image: usize,
    pub pitch: usize,
    pub pixel: usize,
}

impl<'a> Strip<'a> {
    /// The strip of `task`, copied into `room` unless the correlation never leaves the source.
    pub fn new(c: &Correlation, source: Source<'a>, task: Task, room: &'a mut Vec<f32>) -> Self {
        Self::in_place(c, &source, task).unwrap_or_else(|| Self::padded(c, &source, task, room))
    }

    /// The source itself, where no padding is read and its own rows can serve as they are.
    fn in_place(c: &Correlation, source: &Source<'a>, task: Task) -> Option<Self> {
        let reach = c.reach(c.size);
        let inside = (0..2).all(|i| c.origin[i] >= 0 && c.origin[i] as usize + reach[i] <= source.size[i]);
        // Channels of a group are only side by side with those of the next pixel in a copy.
        let plain = c.taps.len() == 1 || source.group.1 == source.channels;
        if !(inside && plain) {
            return None;
        }
        let [height, width] = source.size;
        let row = c.origin[0] as usize + task.row * c.step[0];
        let start = ((task.first * height + row) * width + c.origin[1] as usize) * source.channels + source.group.0;
        let pitch = width * source.channels;
        Some(Self { data: source.data, start, image: height * pitch, pitch, pixel: source.channels })
    }

    fn padded(c: &Correlation, source: &Source<'_>, task: Task, room: &'a mut Vec<f32>) -> Self {
        let size = c.reach([task.rows, c.size[1]]);
        let channels = source.group.1;
        let (image, pitch) = (size[0] * size[1] * channels, size[1] * channels);
        let floats = task.count * image;
        if room.len() < floats {
            room.resize(floats, 0.0);
        }
        Self::copy(c, source, task, size, &mut room[..floats]);
        Self { data: &room[..floats], start: 0, image, pitch, pixel: channels }
    }

    /// The task's padded rows, `[image][row][column][channel of the group]`, of `size` each.
    pub fn copy(c: &Correlation, source: &Source<'_>, task: Task, [height, width]: [usize; 2], to: &mut [f32]) {
        let mut rows = to.chunks_exact_mut(width * source.group.1);
        for image in task.first..task.first + task.count {
            for i in 0..height {
                let y = c.origin[0] + (task.row * c.step[0] + i) as isize;
                if let Some(row) = rows.next() {
                    copy_row(c.origin[1], source, image, y, row);
                }
            }
        }
    }
}

/// `row[x][c] = source[image][y][origin + x][c]`, zero outside.
fn copy_row(origin: isize, source: &Source<'_>, image: usize, y: isize, row: &mut [f32]) {
    let [height, width] = source.size;
    let (first, channels) = source.group;
    if y < 0 || y as usize >= height {
        return row.fill(0.0);
    }
    let columns = row.len() / channels;
    let left = ((-origin).max(0) as usize).min(columns);
    let from = (origin.max(0) as usize).min(width);
    let inside = width.saturating_sub(from).min(columns - left);
    row[..left * channels].fill(0.0);
    row[(left + inside) * channels..].fill(0.0);
    let to = &mut row[left * channels..(left + inside) * channels];
    let line = &source.data[(image * height + y as usize) * width * source.channels..][..width * source.channels];
    if channels == source.channels {
        to.copy_from_slice(&line[from * channels..][..inside * channels]);
    } else {
        let pixels = line[from * source.channels..].chunks_exact(source.channels);
        if channels == 8 {
            // A length known at compile time: two moves instead of a call.
            let to = to.as_chunks_mut::<8>().0;
            return to.iter_mut().zip(pixels).for_each(|(to, p)| to.copy_from_slice(&p[first..first + 8]));
        }
        to.chunks_exact_mut(channels).zip(pixels).for_each(|(to, p)| to.copy_from_slice(&p[first..first + channels]));
    }
}
