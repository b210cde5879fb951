//! Sixteen f32 side by side, on each instruction set: the unit in which the matrix product counts its columns.

/// Sixteen f32.
///
/// # Safety
/// Every method may be called only where the processor has the type's instruction set; pointers must be valid for as
/// many floats as the method says (no alignment is needed).
pub(crate) trait Lanes: Copy {
    /// Zeros.
    unsafe fn zero() -> Self;
    /// One value in all lanes.
    unsafe fn splat(value: f32) -> Self;
    /// Sixteen floats.
    unsafe fn load(from: *const f32) -> Self;
    /// The first `count` floats (1 to 16), zeros behind.
    unsafe fn load_some(from: *const f32, count: usize) -> Self;
    /// The floats at sixteen places after `from`.
    unsafe fn gather(from: *const f32, places: &[i32; 16]) -> Self;
    /// Writes the first `count` lanes (1 to 16).
    unsafe fn store_some(self, to: *mut f32, count: usize);
    /// `self + a * b`; one rounding where the instruction set has it.
    unsafe fn add_product(self, a: Self, b: Self) -> Self;
    /// Sum.
    unsafe fn plus(self, other: Self) -> Self;
    /// Clamped to the bounds; NaN stays NaN.
    unsafe fn clamp(self, low: f32, high: f32) -> Self;
}

/// Plain Rust, for every processor; the compiler uses what the target has.
#[derive(Clone, Copy)]
pub(crate) struct Portable([f32; 16]);

impl Lanes for Portable {
    #[inline(always)]
    unsafe fn zero() -> Self {
        Self([0.0; 16])
    }
    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        Self([value; 16])
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: valid for sixteen floats by the trait's contract.
        Self(unsafe { from.cast::<[f32; 16]>().read_unaligned() })
    }
    #[inline(always)]
    unsafe fn load_some(from: *const f32, count: usize) -> Self {
        let mut lanes = [0.0; 16];
        // SAFETY: valid for `count` <= 16 floats by the trait's contract.
        unsafe { std::ptr::copy_nonoverlapping(from, lanes.as_mut_ptr(), count) };
        Self(lanes)
    }
    #[inline(always)]
    unsafe fn gather(from: *const f32, places: &[i32; 16]) -> Self {
        // SAFETY: valid at these places by the trait's contract.
        Self(places.map(|place| unsafe { *from.offset(place as isize) }))
    }
    #[inline(always)]
    unsafe fn store_some(self, to: *mut f32, count: usize) {
        // SAFETY: as in `load_some`.
        unsafe { std::ptr::copy_nonoverlapping(self.0.as_ptr(), to, count) };
    }
    #[inline(always)]
    unsafe fn add_product(self, a: Self, b: Self) -> Self {
        let mut sum = self.0;
        for (s, (a, b)) in sum.iter_mut().zip(a.0.iter().zip(&b.0)) {
            *s += a * b;
        }
        Self(sum)
    }
    #[inline(always)]
    unsafe fn plus(self, other: Self) -> Self {
        let mut sum = self.0;
        sum.iter_mut().zip(&other.0).for_each(|(s, o)| *s += o);
        Self(sum)
    }
    #[inline(always)]
    unsafe fn clamp(self, low: f32, high: f32) -> Self {
        let mut lanes = self.0;
        // `f32::clamp` keeps NaN.
        lanes.iter_mut().for_each(|v| *v = v.clamp(low, high));
        Self(lanes)
    }
}

/// Defines a function that runs a body generic in [`Lanes`] on the processor's widest instruction set.
macro_rules! with_lanes {
    ($(#[$meta:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) = $body:ident;) => {
        $(#[$meta])*
        #[allow(clippy::too_many_arguments)]
        $vis fn $name($($arg: $ty),*) {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512vl,avx2,fma")]
                #[allow(clippy::too_many_arguments)]
                fn avx512($($arg: $ty),*) { $body::<$crate::product::Avx512>($($arg),*) }
                #[target_feature(enable = "avx2,fma")]
                #[allow(clippy::too_many_arguments)]
                fn avx2($($arg: $ty),*) { $body::<$crate::product::Avx2>($($arg),*) }
                match $crate::simd::level() {
                    // SAFETY: the level says that the processor has these instructions.
                    $crate::simd::Level::Avx512 => return unsafe { avx512($($arg),*) },
                    // SAFETY: as above.
                    $crate::simd::Level::Avx2 => return unsafe { avx2($($arg),*) },
                    $crate::simd::Level::Base => {}
                }
            }
            $body::<$crate::product::Portable>($($arg),*)
        }
    };
}
pub(crate) use with_lanes;

#[cfg(target_arch = "x86_64")]
pub(crate) use x86::{Avx2, Avx512};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::Lanes;
    use std::arch::x86_64::*;

    /// One 512-bit register.
    #[derive(Clone, Copy)]
    pub(crate) struct Avx512(__m512);

    /// A mask of the first `count` lanes.
    #[inline(always)]
    fn first(count: usize) -> u16 {
        (0xffff_u32 >> (16 - count)) as u16
    }

    // The methods of both types repeat the trait's contract: the processor has the instructions, pointers are valid.
    impl Lanes for Avx512 {
        #[inline(always)]
        unsafe fn zero() -> Self {
            // SAFETY: see above.
            Self(unsafe { _mm512_setzero_ps() })
        }
        #[inline(always)]
        unsafe fn splat(value: f32) -> Self {
            // SAFETY: see above.
            Self(unsafe { _mm512_set1_ps(value) })
        }
        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self {
            // SAFETY: see above.
            Self(unsafe { _mm512_loadu_ps(from) })
        }
        #[inline(always)]
        unsafe fn load_some(from: *const f32, count: usize) -> Self {
            // SAFETY: see above; masked lanes are not touched.
            Self(unsafe { _mm512_maskz_loadu_ps(first(count), from) })
        }
        #[inline(always)]
        unsafe fn gather(from: *const f32, places: &[i32; 16]) -> Self {
            // SAFETY: see above.
            unsafe { Self(_mm512_i32gather_ps::<4>(_mm512_loadu_si512(places.as_ptr().cast()), from)) }
        }
        #[inline(always)]
        unsafe fn store_some(self, to: *mut f32, count: usize) {
            // SAFETY: see above; masked lanes are not touched.
            unsafe { _mm512_mask_storeu_ps(to, first(count), self.0) }
        }
        #[inline(always)]
        unsafe fn add_product(self, a: Self, b: Self) -> Self {
            // SAFETY: see above.
            Self(unsafe { _mm512_fmadd_ps(a.0, b.0, self.0) })
        }
        #[inline(always)]
        unsafe fn plus(self, other: Self) -> Self {
            // SAFETY: see above.
            Self(unsafe { _mm512_add_ps(self.0, other.0) })
        }
        #[inline(always)]
        unsafe fn clamp(self, low: f32, high: f32) -> Self {
            // SAFETY: see above. The second operand is returned where one is NaN.
            Self(unsafe { _mm512_min_ps(_mm512_set1_ps(high), _mm512_max_ps(_mm512_set1_ps(low), self.0)) })
        }
    }

    /// Two 256-bit registers.
    #[derive(Clone, Copy)]
    pub(crate) struct Avx2(__m256, __m256);

    /// Masks of the first `count` lanes of both halves.
    #[inline(always)]
    unsafe fn masks(count: usize) -> (__m256i, __m256i) {
        // SAFETY: see above.
        unsafe {
            let lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
            let low = _mm256_cmpgt_epi32(_mm256_set1_epi32(count as i32), lane);
            (low, _mm256_cmpgt_epi32(_mm256_set1_epi32(count as i32 - 8), lane))
        }
    }

    impl Lanes for Avx2 {
        #[inline(always)]
        unsafe fn zero() -> Self {
            // SAFETY: see above.
            unsafe { Self(_mm256_setzero_ps(), _mm256_setzero_ps()) }
        }
        #[inline(always)]
        unsafe fn splat(value: f32) -> Self {
            // SAFETY: see above.
            let lanes = unsafe { _mm256_set1_ps(value) };
            Self(lanes, lanes)
        }
        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self {
            // SAFETY: see above.
            unsafe { Self(_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(8))) }
        }
        #[inline(always)]
        unsafe fn load_some(from: *const f32, count: usize) -> Self {
            // SAFETY: see above; masked lanes are not touched.
            unsafe {
                let (low, high) = masks(count);
                Self(_mm256_maskload_ps(from, low), _mm256_maskload_ps(from.wrapping_add(8), high))
            }
        }
        #[inline(always)]
        unsafe fn gather(from: *const f32, places: &[i32; 16]) -> Self {
            // SAFETY: see above.
            unsafe {
                let half = |i: usize| _mm256_loadu_si256(places[8 * i..].as_ptr().cast());
                Self(_mm256_i32gather_ps::<4>(from, half(0)), _mm256_i32gather_ps::<4>(from, half(1)))
            }
        }
        #[inline(always)]
        unsafe fn store_some(self, to: *mut f32, count: usize) {
            // SAFETY: see above; masked lanes are not touched.
            unsafe {
                let (low, high) = masks(count);
                _mm256_maskstore_ps(to, low, self.0);
                _mm256_maskstore_ps(to.wrapping_add(8), high, self.1);
            }
        }
        #[inline(always)]
        unsafe fn add_product(self, a: Self, b: Self) -> Self {
            // SAFETY: see above.
            unsafe { Self(_mm256_fmadd_ps(a.0, b.0, self.0), _mm256_fmadd_ps(a.1, b.1, self.1)) }
        }
        #[inline(always)]
        unsafe fn plus(self, other: Self) -> Self {
            // SAFETY: see above.
            unsafe { Self(_mm256_add_ps(self.0, other.0), _mm256_add_ps(self.1, other.1)) }
        }
        #[inline(always)]
        unsafe fn clamp(self, low: f32, high: f32) -> Self {
            // SAFETY: see above. The second operand is returned where one is NaN.
            unsafe {
                let (low, high) = (_mm256_set1_ps(low), _mm256_set1_ps(high));
                let one = |v| _mm256_min_ps(high, _mm256_max_ps(low, v));
                Self(one(self.0), one(self.1))
            }
        }
    }
}
