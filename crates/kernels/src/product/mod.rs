//! Matrix products in blocks that stay in registers and caches: what convolutions, fully connected layers and
//! attention are made of.
//!
//! - `lanes.rs`: sixteen floats on each instruction set
//! - `tile.rs`: the inner loop; `table.rs`: its sizes, compiled per instruction set
//! - `panels.rs`: the right operand, packed so that the inner loop reads it in a row
//! - `rows.rs`: the product of plain matrices, cut into tasks
mod lanes;
mod panels;
mod rows;
mod table;
mod tile;

#[cfg(target_arch = "x86_64")]
pub(crate) use lanes::{Avx2, Avx512};
pub(crate) use lanes::{Lanes, Portable, with_lanes};
pub(crate) use panels::{Panel, Panels, Weights};
#[cfg(test)]
pub(crate) use rows::in_parts;
pub(crate) use rows::{Matrix, multiply, multiply_across, multiply_across_alone, multiply_alone, rows_of_panel};
pub(crate) use table::Product;
pub(crate) use tile::{Start, Step, Tile};

/// What happens to a sum before it is written for the last time.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Epilogue<'a> {
    /// Added, one value per output channel.
    pub bias: Option<&'a [f32]>,
    /// Smallest and largest value.
    pub bounds: Option<(f32, f32)>,
}

impl<'a> Epilogue<'a> {
    /// Start and bounds of the tile that adds chunk `chunk` of `chunks` for the channels from `channel` on.
    pub fn of(&self, chunk: usize, chunks: usize, channel: usize) -> (Start, Option<(f32, f32)>) {
        self.piece(chunk == 0, chunk + 1 == chunks, channel)
    }

    /// The same for a piece of a sum that may be its first and its last.
    #[inline]
    pub fn piece(&self, first: bool, last: bool, channel: usize) -> (Start, Option<(f32, f32)>) {
        let start = match self.bias {
            _ if !first => Start::Sum,
            Some(bias) => Start::Bias(bias[channel..].as_ptr()),
            None => Start::Zero,
        };
        (start, if last { self.bounds } else { None })
    }
}

/// A result buffer that tasks write in disjoint places, without it being cleared first.
#[derive(Clone, Copy)]
pub(crate) struct Destination {
    pointer: *mut f32,
    length: usize,
}

// SAFETY: tasks write disjoint places (each caller says why), and nothing else touches the buffer meanwhile.
unsafe impl Send for Destination {}
// SAFETY: as above.
unsafe impl Sync for Destination {}

impl Destination {
    /// The buffer.
    pub fn new(buffer: &mut [f32]) -> Self {
        Self { pointer: buffer.as_mut_ptr(), length: buffer.len() }
    }

    /// Room for `length` floats which `fill` writes, all of them.
    ///
    /// # Safety
    /// `fill` writes every float before it returns.
    pub unsafe fn filled(length: usize, fill: impl FnOnce(Self)) -> Vec<f32> {
        let mut buffer: Vec<f32> = Vec::with_capacity(length);
        fill(Self { pointer: buffer.as_mut_ptr(), length });
        // SAFETY: the capacity is there and, by the contract above, every float was written.
        unsafe { buffer.set_len(length) };
        buffer
    }

    /// The places from `index` on.
    pub fn from(self, index: usize) -> Self {
        debug_assert!(index <= self.length);
        Self { pointer: self.pointer.wrapping_add(index), length: self.length - index }
    }

    /// The address of place `index`, of which `span` floats are going to be written.
    #[inline(always)]
    pub fn at(self, index: usize, span: usize) -> *mut f32 {
        debug_assert!(index + span <= self.length, "{index} + {span} in {}", self.length);
        self.pointer.wrapping_add(index)
    }

    /// Writes `value` to `count` places from `index` on.
    pub fn fill(self, index: usize, count: usize, value: f32) {
        assert!(index + count <= self.length);
        for i in index..index + count {
            // SAFETY: inside the buffer, checked just above; no other task writes here.
            unsafe { self.pointer.add(i).write(value) };
        }
    }
}

/// Cuts `0..n` into pieces of nearly equal length, none above `most`: (start, length). Nothing gives one empty piece.
pub(crate) fn even(n: usize, most: usize) -> impl Iterator<Item = (usize, usize)> {
    let pieces = n.div_ceil(most).max(1);
    let (short, longer) = (n / pieces, n % pieces);
    (0..pieces).map(move |i| (i * short + i.min(longer), short + usize::from(i < longer)))
}

#[cfg(test)]
mod tests;
