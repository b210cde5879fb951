//! The one inner loop of convolutions, fully connected layers and attention: a small block of a matrix product whose
//! left operand is addressed, not packed.
//!
//! ```text
//! C[r, q, j] = sum_s sum_k A[a_s + r * row + q * col + k * depth] * B[b_s + k * b_row + j]
//!              r < R, q < Q: pixels; j < 16 V: channels; s: steps; k < K
//! ```
//! A is read one float at a time and spread over the lanes, B sixteen at a time. With channels innermost this is a
//! convolution without an im2col copy: a step is a kernel row, q a pixel, k runs along the channels under the kernel
//! row. The same loop with the roles of q and k exchanged sums over pixels: the weight gradient.
//!
//! Two forms differ in which of the strides is 1: [`along`] (`depth` = 1) and [`across`] (`col` = 1, R = 1). All
//! accumulators stay in registers; each sum runs over s, then k, in order, so that a result does not depend on how the
//! pixels were cut into tiles.
use super::lanes::Lanes;

/// One run of k: where it starts in A and in B.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Step {
    /// Offset into A, in floats.
    pub a: usize,
    /// Offset into B, in floats.
    pub b: usize,
}

/// What a tile's sum is added to.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Start {
    /// Nothing.
    Zero,
    /// What C holds.
    Sum,
    /// One value for each channel j.
    Bias(*const f32),
}

/// Operands of one tile. All strides are in floats.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tile<'a> {
    /// A, and the distance of two rows r.
    pub a: *const f32,
    /// Distance of two rows r in A.
    pub row: usize,
    /// Distance of two pixels q in A (`along`) or of two k (`across`).
    pub stride: usize,
    /// The runs.
    pub steps: &'a [Step],
    /// Length of every run.
    pub k: usize,
    /// B.
    pub b: *const f32,
    /// Distance of two k in B.
    pub b_row: usize,
    /// C.
    pub c: *mut f32,
    /// Distance of two rows r in C.
    pub c_row: usize,
    /// Distance of two pixels q in C.
    pub c_col: usize,
    /// Channels of the last vector, 1 to 16. `along` reads B in whole vectors all the same, `across` does not.
    pub tail: usize,
    /// What the sum is added to.
    pub start: Start,
    /// Smallest and largest value of the result.
    pub bounds: Option<(f32, f32)>,
}

/// `f!(0); .. f!(n - 1);` for a constant n up to 14. Loops over arrays of registers are only kept in registers when
/// they are unrolled, and the compiler's own unrolling stops too early.
macro_rules! unrolled {
    ($n:expr, $f:ident) => {
        unrolled!(@ $n, $f, 0 1 2 3 4 5 6 7 8 9 10 11 12 13)
    };
    (@ $n:expr, $f:ident, $($q:literal)*) => {
        $(if $q < $n {
            $f!($q);
        })*
    };
}

/// Most pixels of one row of a tile.
pub(crate) const MAX_Q: usize = 14;
/// Runs of k that are unrolled in `along`.
const UNROLL: usize = 4;

type Row<L, const V: usize> = [[L; V]; MAX_Q];

/// A copy of the pointer of which the compiler does not know where it came from: it would otherwise compute each
/// pixel's address from the one before, in a chain that costs more than the products.
#[inline(always)]
fn opaque(pointer: *const f32) -> *const f32 {
    #[cfg(target_arch = "x86_64")]
    {
        let mut pointer = pointer;
        // SAFETY: the assembly is empty.
        unsafe { std::arch::asm!("/* {0} */", inout(reg) pointer, options(pure, readonly, nostack, preserves_flags)) };
        pointer
    }
    #[cfg(not(target_arch = "x86_64"))]
    pointer
}

#[inline(always)]
unsafe fn load<L: Lanes, const V: usize>(b: *const f32) -> [L; V] {
    // SAFETY: the caller's B holds 16 V floats here.
    unsafe {
        let mut vectors = [L::zero(); V];
        macro_rules! one {
            ($v:literal) => {
                vectors[$v] = L::load(b.add(16 * $v))
            };
        }
        unrolled!(@ V, one, 0 1 2);
        vectors
    }
}

#[inline(always)]
unsafe fn load_tail<L: Lanes, const V: usize>(b: *const f32, tail: usize) -> [L; V] {
    // SAFETY: the caller's B holds 16 (V - 1) + tail floats here.
    unsafe {
        let mut vectors = [L::zero(); V];
        macro_rules! one {
            ($v:literal) => {
                vectors[$v] = if $v + 1 == V { L::load_some(b.add(16 * $v), tail) } else { L::load(b.add(16 * $v)) }
            };
        }
        unrolled!(@ V, one, 0 1 2);
        vectors
    }
}

/// Adds `A * vectors` for one k to all pixels of a row; pixel q lies at `bases[q / 3] + (q % 3) * col + k`.
#[inline(always)]
unsafe fn add_row<L: Lanes, const Q: usize, const V: usize>(
    acc: &mut Row<L, V>,
    bases: &[*const f32; 5],
    col: usize,
    k: usize,
    vectors: &[L; V],
) {
    macro_rules! pixel {
        ($q:literal) => {{
            // SAFETY: the caller's A holds pixel q.
            unsafe {
                let a = L::splat(*bases[$q / 3].add(($q % 3) * col + k));
                add_pixel(&mut acc[$q], a, vectors);
            }
        }};
    }
    unrolled!(Q, pixel);
}

#[inline(always)]
unsafe fn add_pixel<L: Lanes, const V: usize>(acc: &mut [L; V], a: L, vectors: &[L; V]) {
    macro_rules! one {
        ($v:literal) => {
            // SAFETY: the instruction set is there.
            acc[$v] = unsafe { acc[$v].add_product(a, vectors[$v]) }
        };
    }
    unrolled!(@ V, one, 0 1 2);
}

/// Adds the start, clamps and writes one pixel.
#[inline(always)]
unsafe fn store<L: Lanes, const V: usize>(t: &Tile<'_>, acc: &[L; V], c: *mut f32) {
    macro_rules! one {
        ($v:literal) => {{
            let count = if $v + 1 == V { t.tail } else { 16 };
            // SAFETY: C and the bias hold 16 (V - 1) + tail floats here.
            unsafe {
                let mut value = acc[$v];
                match t.start {
                    Start::Zero => {}
                    Start::Sum => value = value.plus(L::load_some(c.add(16 * $v), count)),
                    Start::Bias(bias) => value = value.plus(L::load_some(bias.add(16 * $v), count)),
                }
                if let Some((low, high)) = t.bounds {
                    value = value.clamp(low, high);
                }
                value.store_some(c.add(16 * $v), count);
            }
        }};
    }
    unrolled!(@ V, one, 0 1 2);
}

/// The product with k along A (`depth` = 1) and pixels `stride` apart; B in whole vectors.
///
/// # Safety
/// The processor has L's instructions; A, B, C and the bias hold every float that the equation addresses (B rounded up
/// to whole vectors), and C does not overlap them.
#[inline(always)]
pub(crate) unsafe fn along<L: Lanes, const R: usize, const Q: usize, const V: usize>(t: &Tile<'_>) {
    // SAFETY: by the contract above.
    unsafe {
        let mut first: Row<L, V> = [[L::zero(); V]; MAX_Q];
        let mut second: Row<L, V> = [[L::zero(); V]; MAX_Q];
        for step in t.steps {
            let a = t.a.add(step.a);
            let (mut one, mut two) = ([a; 5], [a; 5]);
            macro_rules! base {
                ($i:literal) => {
                    if 3 * $i < Q {
                        one[$i] = opaque(a.add(3 * $i * t.stride));
                        if R > 1 {
                            two[$i] = opaque(a.add(3 * $i * t.stride + t.row));
                        }
                    }
                };
            }
            unrolled!(@ 5, base, 0 1 2 3 4);
            let mut b = t.b.add(step.b);
            let mut left = t.k;
            macro_rules! one_k {
                ($k:literal) => {{
                    let vectors = load::<L, V>(b);
                    add_row::<L, Q, V>(&mut first, &one, t.stride, $k, &vectors);
                    if R > 1 {
                        add_row::<L, Q, V>(&mut second, &two, t.stride, $k, &vectors);
                    }
                    b = b.add(t.b_row);
                }};
            }
            macro_rules! advance {
                ($i:literal) => {{
                    one[$i] = one[$i].add(UNROLL);
                    two[$i] = two[$i].add(UNROLL);
                }};
            }
            while left >= UNROLL {
                unrolled!(@ UNROLL, one_k, 0 1 2 3);
                unrolled!(@ 5, advance, 0 1 2 3 4);
                left -= UNROLL;
            }
            if left > 0 {
                one_k!(0);
            }
            if left > 1 {
                one_k!(1);
            }
            if left > 2 {
                one_k!(2);
            }
        }
        macro_rules! finish {
            ($q:literal) => {{
                store(t, &first[$q], t.c.add($q * t.c_col));
                if R > 1 {
                    store(t, &second[$q], t.c.add(t.c_row + $q * t.c_col));
                }
            }};
        }
        unrolled!(Q, finish);
    }
}

/// The product with q along A (`col` = 1) and k `stride` apart; B up to the tail only.
///
/// # Safety
/// As [`along`], but B needs no more than the tail's floats in its last vector.
#[inline(always)]
pub(crate) unsafe fn across<L: Lanes, const Q: usize, const V: usize>(t: &Tile<'_>) {
    // SAFETY: by the contract above.
    unsafe {
        let mut acc: Row<L, V> = [[L::zero(); V]; MAX_Q];
        for step in t.steps {
            let (mut a, mut b) = (t.a.add(step.a), t.b.add(step.b));
            for _ in 0..t.k {
                let vectors = load_tail::<L, V>(b, t.tail);
                macro_rules! pixel {
                    ($q:literal) => {
                        add_pixel(&mut acc[$q], L::splat(*a.add($q)), &vectors)
                    };
                }
                unrolled!(Q, pixel);
                // Past the last k these are never read.
                a = a.wrapping_add(t.stride);
                b = b.wrapping_add(t.b_row);
            }
        }
        macro_rules! finish {
            ($q:literal) => {
                store(t, &acc[$q], t.c.add($q * t.c_col))
            };
        }
        unrolled!(Q, finish);
    }
}
