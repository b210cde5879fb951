//! The tiles of each instruction set, compiled for every size, and the choice among them.
//!
//! | instruction set | registers | vectors V: pixels Q of one row (`along`; two rows; `across`) |
//! |---|---|---|
//! | AVX-512 | 32 of 16 lanes | 1: 14; 6; 14 — 2: 12; 6; 14 — 3: 9; 4; 9 |
//! | AVX2 | 16 of 8 lanes | 1: 6; 3; 6 |
//! | portable | as the target has | 1: 4; 2; 4 |
//!
//! A product wants many pixels (each vector of B is used Q times) and several vectors (each float of A is used V
//! times), and Q V accumulators have to fit into the registers beside V vectors of B and one float of A.
use super::lanes::Portable;
use super::tile::{Tile, across, along};
use crate::simd::{Level, level};

type Kernel = unsafe fn(&Tile<'_>);
/// `[V - 1][Q - 1]`
type Kernels = &'static [&'static [Kernel]];

/// The product's kernels for one instruction set.
#[derive(Clone, Copy)]
pub(crate) struct Product {
    one_row: Kernels,
    two_rows: Kernels,
    across: Kernels,
    /// `avx512`, `avx2` or `portable`, for the messages of tests.
    #[cfg_attr(not(test), allow(dead_code))]
    pub name: &'static str,
}

impl Product {
    /// The kernels of the running processor's [`level`].
    pub fn detect() -> &'static Self {
        match level() {
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => &x86::AVX512,
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => &x86::AVX2,
            _ => &PORTABLE,
        }
    }

    /// Every set of kernels that the running processor can execute, the fastest first.
    #[cfg(test)]
    pub fn available() -> Vec<Self> {
        let mut list = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vl") {
                list.push(x86::AVX512);
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                list.push(x86::AVX2);
            }
        }
        list.push(PORTABLE);
        list
    }

    /// Most vectors V of a tile.
    pub fn vectors(&self) -> usize {
        self.one_row.len()
    }

    /// Most pixels Q of a tile of `rows` (1 or 2) rows and V vectors, in the form [`Product::along`].
    pub fn pixels(&self, rows: usize, vectors: usize) -> usize {
        if rows == 1 { self.one_row[vectors - 1].len() } else { self.two_rows[vectors - 1].len() }
    }

    /// Most pixels Q of a tile of V vectors in the form [`Product::across`].
    pub fn pixels_across(&self, vectors: usize) -> usize {
        self.across[vectors - 1].len()
    }

    /// One tile with k along A; see [`along`].
    ///
    /// # Safety
    /// As [`along`].
    #[inline]
    pub unsafe fn along(&self, rows: usize, pixels: usize, vectors: usize, tile: &Tile<'_>) {
        let table = if rows == 1 { self.one_row } else { self.two_rows };
        // SAFETY: by the contract above; the processor's instructions were detected.
        unsafe { table[vectors - 1][pixels - 1](tile) }
    }

    /// One tile with q along A; see [`across`].
    ///
    /// # Safety
    /// As [`across`].
    #[inline]
    pub unsafe fn across(&self, pixels: usize, vectors: usize, tile: &Tile<'_>) {
        // SAFETY: by the contract above; the processor's instructions were detected.
        unsafe { self.across[vectors - 1][pixels - 1](tile) }
    }
}

/// Lists the kernels of one instruction set for the given numbers of pixels.
macro_rules! kernels {
    ($one:ident, $two:ident, $across:ident, $name:literal,
     one_row: $([$v1:literal: $($q1:literal)*])*; two_rows: $([$v2:literal: $($q2:literal)*])*;
     across: $([$v3:literal: $($q3:literal)*])*) => {
        Product {
            one_row: &[$(&[$($one::<1, $q1, $v1>),*]),*],
            two_rows: &[$(&[$($two::<2, $q2, $v2>),*]),*],
            across: &[$(&[$($across::<$q3, $v3>),*]),*],
            name: $name,
        }
    };
}

/// Entry points of one instruction set: the generic bodies are inlined into functions that may use it.
macro_rules! entries {
    ($lanes:ty, $along:ident, $across:ident, $(#[$feature:meta])?) => {
        /// # Safety
        /// As [`along`].
        $(#[$feature])?
        unsafe fn $along<const R: usize, const Q: usize, const V: usize>(t: &Tile<'_>) {
            // SAFETY: by the contract above.
            unsafe { along::<$lanes, R, Q, V>(t) }
        }
        /// # Safety
        /// As [`across`].
        $(#[$feature])?
        unsafe fn $across<const Q: usize, const V: usize>(t: &Tile<'_>) {
            // SAFETY: by the contract above.
            unsafe { across::<$lanes, Q, V>(t) }
        }
    };
}

entries!(Portable, along_portable, across_portable,);

static PORTABLE: Product = kernels!(along_portable, along_portable, across_portable, "portable",
    one_row: [1: 1 2 3 4]; two_rows: [1: 1 2]; across: [1: 1 2 3 4]);

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::super::lanes::{Avx2, Avx512};
    use super::*;

    entries!(Avx512, along_512, across_512, #[target_feature(enable = "avx512f")]);
    entries!(Avx2, along_2, across_2, #[target_feature(enable = "avx2,fma")]);

    pub(super) static AVX512: Product = kernels!(along_512, along_512, across_512, "avx512",
        one_row: [1: 1 2 3 4 5 6 7 8 9 10 11 12 13 14] [2: 1 2 3 4 5 6 7 8 9 10 11 12] [3: 1 2 3 4 5 6 7 8 9];
        two_rows: [1: 1 2 3 4 5 6] [2: 1 2 3 4 5 6] [3: 1 2 3 4];
        across: [1: 1 2 3 4 5 6 7 8 9 10 11 12 13 14] [2: 1 2 3 4 5 6 7 8 9 10 11 12 13 14] [3: 1 2 3 4 5 6 7 8 9]);
    pub(super) static AVX2: Product = kernels!(along_2, along_2, across_2, "avx2",
        one_row: [1: 1 2 3 4 5 6]; two_rows: [1: 1 2 3]; across: [1: 1 2 3 4 5 6]);
}
