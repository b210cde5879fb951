//! Randomness as a pure function of where it is used.
//!
//! A [`Stream`] is named by a path: the run's seed, then words and numbers such as `"augment"`, the epoch and the
//! sample's index. The same path always gives the same numbers, whatever ran before and on however many threads, so
//! a resumed run draws exactly what the interrupted one would have drawn. There is no global state.
//!
//! ```
//! use subband_seed::Stream;
//! let mut a = Stream::new(7).with("augment").at(3).at(1200);
//! let mut b = Stream::new(7).with("augment").at(3).at(1200);
//! assert_eq!(a.next_u64(), b.next_u64());
//! ```
//!
//! The generator is SplitMix64 (Steele, Lea, Flood 2014). It is written out here, not taken from a library, because
//! the numbers are part of a run's identity and must never change with a version.

/// A deterministic stream of random numbers; cheap to make and to copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stream {
    state: u64,
}

/// Finaliser of SplitMix64: a bijection on 64 bits in which each input bit changes half of the output bits.
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Stream {
    /// The root stream of a run.
    pub fn new(seed: u64) -> Self {
        Self { state: mix(seed ^ 0x5342_4e44_5345_4544) }
    }

    /// The sub-stream named `word`. Different words give unrelated streams.
    pub fn with(self, word: &str) -> Self {
        // FNV-1a over the bytes: stable across platforms and versions.
        let hash =
            word.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
        self.at(hash)
    }

    /// The sub-stream at an index (epoch, step, sample).
    pub fn at(self, index: u64) -> Self {
        Self { state: mix(self.state.rotate_left(23) ^ mix(index.wrapping_add(0x9e37_79b9_7f4a_7c15))) }
    }

    /// The next 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.state)
    }

    /// Uniform in `[0, 1)` with 53 random bits.
    pub fn uniform(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Uniform in `[low, high)`.
    pub fn range(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.uniform()
    }

    /// Uniform integer in `0..n`; 0 when `n` is 0 or 1. Multiply-shift: the bias is below `n / 2^64`.
    pub fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.next_u64()) * n as u128) >> 64) as usize
    }

    /// True with probability `p`.
    pub fn chance(&mut self, p: f64) -> bool {
        self.uniform() < p
    }

    /// Standard normal (Box-Muller, the cosine branch).
    pub fn normal(&mut self) -> f64 {
        // 1 - u lies in (0, 1], so the logarithm is finite.
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }

    /// Fisher-Yates shuffle in place.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }

    /// A shuffled `0..n`.
    pub fn permutation(&mut self, n: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..n).collect();
        self.shuffle(&mut order);
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splitmix_matches_the_published_sequence() {
        // First outputs of SplitMix64 with state 0 (java.util.SplittableRandom, reference C code).
        let mut s = Stream { state: 0 };
        assert_eq!([s.next_u64(), s.next_u64()], [0xe220_a839_7b1d_cdaf, 0x6e78_9e6a_a1b9_65f4]);
    }

    #[test]
    fn paths_are_independent_of_use_and_differ() {
        let root = Stream::new(1);
        let mut used = root.with("augment").at(2);
        used.next_u64();
        assert_eq!(root.with("augment").at(2), root.with("augment").at(2));
        assert_ne!(root.with("augment").at(2), root.with("augment").at(3));
        assert_ne!(root.with("augment"), root.with("order"));
        assert_ne!(root.at(1).at(2), root.at(2).at(1));
    }

    #[test]
    fn moments_are_right() {
        let mut s = Stream::new(5);
        let n = 100_000;
        let (mut mean, mut square, mut uniform) = (0.0, 0.0, 0.0);
        for _ in 0..n {
            let x = s.normal();
            mean += x;
            square += x * x;
            uniform += s.uniform();
        }
        let n = f64::from(n);
        assert!((mean / n).abs() < 0.02 && (square / n - 1.0).abs() < 0.03 && (uniform / n - 0.5).abs() < 0.01);
    }

    #[test]
    fn permutation_holds_each_index_once_and_small_sizes_work() {
        for n in 0..34 {
            let mut p = Stream::new(9).at(n as u64).permutation(n);
            p.sort_unstable();
            assert_eq!(p, (0..n).collect::<Vec<_>>());
        }
        assert_eq!(Stream::new(3).below(0), 0);
    }
}
