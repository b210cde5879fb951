//! Loops over the rows of a `[rows, channels]` matrix, a channels-last map.
//!
//! A loop over one row of 16 channels is one vector long and a loop over 3 channels none at all. So several rows are
//! taken as one *tile*, and what belongs to a channel (scale, mean, partial sums) is repeated over the tile. The matrix
//! is cut into *blocks* of whole tiles, the unit of parallel work; their size depends on the channels alone, so that
//! sums over rows, taken per block and then over the blocks in order, do not depend on the number of threads.

/// Numbers of a block: 64 KiB, which with its companions stays in a core's second-level cache.
const BLOCK: usize = 1 << 14;
/// Shortest tile, so that the loop over it outweighs its start.
const SHORTEST: usize = 256;
/// Up to this many channels a tile also is a whole number of vectors.
const NARROW: usize = 64;
/// f32 in the longest vector.
const LANES: usize = 16;

/// How a matrix with this many channels is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tile {
    /// Numbers of a row.
    pub channels: usize,
    /// Numbers of a tile, a multiple of the channels.
    pub len: usize,
    /// Numbers of a block, a multiple of `len`.
    pub block: usize,
}

impl Tile {
    /// For rows of `channels` numbers, at least one.
    pub fn new(channels: usize) -> Self {
        let mut step = channels;
        while channels <= NARROW && !step.is_multiple_of(LANES) {
            step += channels;
        }
        let len = step * SHORTEST.div_ceil(step);
        Self { channels, len, block: len * (BLOCK / len).max(1) }
    }

    /// Blocks of a matrix of `numbers` numbers.
    pub fn blocks(&self, numbers: usize) -> usize {
        numbers.div_ceil(self.block)
    }

    /// One value per channel, repeated over a tile.
    pub fn spread(&self, values: impl Iterator<Item = f32> + Clone) -> Vec<f32> {
        values.cycle().take(self.len).collect()
    }

    /// Adds the numbers of a tile to one sum per channel.
    pub fn gather(&self, tile: &[f32], sums: &mut [f64]) {
        for row in tile.chunks_exact(self.channels) {
            for (sum, v) in sums.iter_mut().zip(row) {
                *sum += f64::from(*v);
            }
        }
    }
}

/// Sums of rows of equal length, in order.
pub(crate) fn total(parts: &[f64], len: usize) -> Vec<f64> {
    let mut sums = vec![0.0; len];
    for part in parts.chunks_exact(len) {
        for (sum, v) in sums.iter_mut().zip(part) {
            *sum += v;
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_are_whole_rows_and_whole_vectors() {
        for channels in 1..2100 {
            let tile = Tile::new(channels);
            assert!(
                tile.len.is_multiple_of(channels) && tile.block.is_multiple_of(tile.len) && tile.len >= SHORTEST,
                "{tile:?}"
            );
            assert!(channels > NARROW || tile.len.is_multiple_of(LANES) && tile.len <= 1024, "{tile:?}");
            assert!(tile.block <= BLOCK.max(channels), "{tile:?}");
        }
    }

    #[test]
    fn spread_values_come_back_as_their_multiple() {
        let tile = Tile::new(3);
        let spread = tile.spread([1.0, 2.0, 4.0].into_iter());
        let mut sums = vec![0.5; 3];
        tile.gather(&spread, &mut sums);
        let times = (tile.len / 3) as f64;
        assert_eq!(sums, [0.5 + times, 0.5 + 2.0 * times, 0.5 + 4.0 * times]);
        assert_eq!(total(&[1.0, 2.0, 3.0, 4.0], 2), [4.0, 6.0]);
    }
}
