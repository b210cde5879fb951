//! The one inner kernel of the convolutions: a small matrix product whose right operand is addressed row by row.
//!
//! ```text
//! C[i, j] = sum_k A[k * a_stride + i] * B[rows[k] + j]        i < MR, j < NR
//! ```
//!
//! `rows` makes it a convolution without an im2col copy: in a zero-padded plane, the pixel under kernel tap (ky, kx) of
//! output position p lies at `p + ky * pitch + kx`, so each row of the im2col matrix is the plane itself, shifted.
//! Accumulation runs over k in order, so a result never depends on how the work was cut.

/// A micro-kernel for one instruction set.
#[derive(Clone, Copy)]
pub(crate) struct Micro {
    /// Rows of the tile.
    pub mr: usize,
    /// Columns of the tile.
    pub nr: usize,
    /// `(a, a_stride, b, rows, tile)`; see [`Micro::run`] for the checked call.
    kernel: unsafe fn(*const f32, usize, *const f32, &[u32], *mut f32),
    /// For tables and tests.
    #[cfg_attr(not(test), allow(dead_code))]
    pub name: &'static str,
}

/// Largest tile of all kernels, in floats.
pub(crate) const TILE: usize = 8 * 48;

impl Micro {
    /// The best kernel for the running processor; `SUBBAND_SIMD=portable|avx2|avx512` narrows the choice (for tests).
    pub fn detect() -> Self {
        static CHOICE: std::sync::OnceLock<Micro> = std::sync::OnceLock::new();
        *CHOICE.get_or_init(|| {
            let wanted = std::env::var("SUBBAND_SIMD").unwrap_or_default();
            let all = Self::available();
            all.iter().find(|m| m.name == wanted).or(all.first()).copied().unwrap_or(PORTABLE)
        })
    }

    /// Every kernel that the running processor can execute, the fastest first.
    pub fn available() -> Vec<Self> {
        let mut list = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f") {
                list.push(Self { mr: 8, nr: 48, kernel: avx512, name: "avx512" });
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                list.push(Self { mr: 4, nr: 24, kernel: avx2, name: "avx2" });
            }
        }
        list.push(PORTABLE);
        list
    }

    /// Computes one tile into `tile[i * nr + j]`.
    ///
    /// # Panics
    /// When an operand is shorter than the addresses demand.
    #[inline]
    pub fn run(&self, a: &[f32], a_stride: usize, b: &[f32], b_start: usize, rows: &[u32], tile: &mut [f32; TILE]) {
        if rows.is_empty() {
            tile.fill(0.0);
            return;
        }
        assert!(a.len() >= (rows.len() - 1) * a_stride + self.mr);
        debug_assert!(rows.iter().all(|&r| b_start + r as usize + self.nr <= b.len()));
        // SAFETY: `a` was checked just above; callers lay out `b` with `nr` floats of slack behind the last row
        // (asserted in debug builds); the tile holds TILE >= mr * nr floats; the instruction set was detected.
        unsafe { (self.kernel)(a.as_ptr(), a_stride, b.as_ptr().add(b_start), rows, tile.as_mut_ptr()) }
    }
}

const PORTABLE: Micro = Micro { mr: 4, nr: 16, kernel: portable, name: "portable" };

/// Plain Rust: for other processors and for wasm.
///
/// # Safety
/// `a` holds `(rows.len() - 1) * a_stride + 4` floats, `b + rows[k]` 16 floats for each k, `tile` 64.
unsafe fn portable(a: *const f32, a_stride: usize, b: *const f32, rows: &[u32], tile: *mut f32) {
    let mut acc = [[0.0f32; 16]; 4];
    for (k, &row) in rows.iter().enumerate() {
        // SAFETY: by the contract above.
        let (a, b) = unsafe { (&*a.add(k * a_stride).cast::<[f32; 4]>(), &*b.add(row as usize).cast::<[f32; 16]>()) };
        for (acc, &a) in acc.iter_mut().zip(a) {
            for (c, &b) in acc.iter_mut().zip(b) {
                *c += a * b;
            }
        }
    }
    // SAFETY: by the contract above.
    unsafe { tile.cast::<[[f32; 16]; 4]>().write(acc) }
}

/// Writes one x86 kernel: MR x NV vectors of accumulators live in registers.
#[cfg(target_arch = "x86_64")]
macro_rules! x86_kernel {
    ($name:ident, $features:literal, $lanes:literal, $mr:literal, $nv:literal,
     $zero:ident, $load:ident, $splat:ident, $fma:ident, $store:ident) => {
        /// # Safety
        /// The processor has the features; `a` holds `(rows.len() - 1) * a_stride + MR` floats, `b + rows[k]` NR
        /// floats for each k, `tile` MR * NR.
        #[target_feature(enable = $features)]
        unsafe fn $name(a: *const f32, a_stride: usize, b: *const f32, rows: &[u32], tile: *mut f32) {
            use std::arch::x86_64::*;
            // SAFETY: by the contract above.
            unsafe {
                let mut acc = [[$zero(); $nv]; $mr];
                let mut a = a;
                for &row in rows {
                    let b = b.add(row as usize);
                    let mut vectors = [$zero(); $nv];
                    for (j, v) in vectors.iter_mut().enumerate() {
                        *v = $load(b.add(j * $lanes));
                    }
                    for (i, acc) in acc.iter_mut().enumerate() {
                        let s = $splat(*a.add(i));
                        for (c, &v) in acc.iter_mut().zip(&vectors) {
                            *c = $fma(s, v, *c);
                        }
                    }
                    a = a.add(a_stride);
                }
                for (i, acc) in acc.iter().enumerate() {
                    for (j, &c) in acc.iter().enumerate() {
                        $store(tile.add((i * $nv + j) * $lanes), c);
                    }
                }
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
x86_kernel!(
    avx512,
    "avx512f",
    16,
    8,
    3,
    _mm512_setzero_ps,
    _mm512_loadu_ps,
    _mm512_set1_ps,
    _mm512_fmadd_ps,
    _mm512_storeu_ps
);
#[cfg(target_arch = "x86_64")]
x86_kernel!(
    avx2,
    "avx2,fma",
    8,
    4,
    3,
    _mm256_setzero_ps,
    _mm256_loadu_ps,
    _mm256_set1_ps,
    _mm256_fmadd_ps,
    _mm256_storeu_ps
);
