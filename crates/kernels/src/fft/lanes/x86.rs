//! Vectors of x86-64 registers.
use super::{Lanes, Vectorized};
use std::arch::x86_64::*;

macro_rules! vector {
    ($(#[$meta:meta])* $name:ident, $real:ty, $reg:ty, $n:expr, $features:literal, $splat:ident, $load:ident, $store:ident,
     $add:ident, $sub:ident, $mul:ident, $fmadd:ident, $fnmadd:ident, $div:ident, $max:ident, $power:ident,
     $transpose:ident) => {
        $(#[$meta])*
        #[derive(Clone, Copy)]
        #[repr(transparent)]
        pub(crate) struct $name($reg);

        // SAFETY (all of this block): the type is only used inside `vectorize`, after `simd::level` has found the
        // instruction set; pointers are the caller's promise.
        impl Lanes for $name {
            type Real = $real;
            const LANES: usize = $n;
            #[inline(always)]
            fn splat(x: $real) -> Self {
                unsafe { Self($splat(x)) }
            }
            #[inline(always)]
            unsafe fn load(p: *const $real) -> Self {
                unsafe { Self($load(p)) }
            }
            #[inline(always)]
            unsafe fn store(self, p: *mut $real) {
                unsafe { $store(p, self.0) }
            }
            #[inline(always)]
            fn add(self, b: Self) -> Self {
                unsafe { Self($add(self.0, b.0)) }
            }
            #[inline(always)]
            fn sub(self, b: Self) -> Self {
                unsafe { Self($sub(self.0, b.0)) }
            }
            #[inline(always)]
            fn mul(self, b: Self) -> Self {
                unsafe { Self($mul(self.0, b.0)) }
            }
            #[inline(always)]
            fn mul_add(self, b: Self, c: Self) -> Self {
                unsafe { Self($fmadd(self.0, b.0, c.0)) }
            }
            #[inline(always)]
            fn neg_mul_add(self, b: Self, c: Self) -> Self {
                unsafe { Self($fnmadd(self.0, b.0, c.0)) }
            }
            #[inline(always)]
            fn div(self, b: Self) -> Self {
                unsafe { Self($div(self.0, b.0)) }
            }
            #[inline(always)]
            fn max(self, b: Self) -> Self {
                unsafe { Self($max(self.0, b.0)) }
            }
            #[inline(always)]
            fn power_of_two(self) -> Self {
                unsafe { Self($power(self.0)) }
            }
            #[inline(always)]
            unsafe fn transpose(tile: *mut Self) {
                unsafe { $transpose(tile.cast()) }
            }
            fn vectorize<O: Vectorized<Self>>(op: O) {
                #[target_feature(enable = $features)]
                fn compiled<O: Vectorized<$name>>(op: O) {
                    op.call();
                }
                unsafe { compiled(op) }
            }
        }
    };
}

vector!(
    /// 16 lanes of f32 (AVX-512).
    F32x16, f32, __m512, 16, "avx512f,avx512vl,avx2,fma", _mm512_set1_ps, _mm512_loadu_ps, _mm512_storeu_ps,
    _mm512_add_ps, _mm512_sub_ps, _mm512_mul_ps, _mm512_fmadd_ps, _mm512_fnmadd_ps, _mm512_div_ps, _mm512_max_ps, power_f32x16, transpose_f32x16
);
vector!(
    /// 8 lanes of f64 (AVX-512).
    F64x8, f64, __m512d, 8, "avx512f,avx512vl,avx2,fma", _mm512_set1_pd, _mm512_loadu_pd, _mm512_storeu_pd,
    _mm512_add_pd, _mm512_sub_pd, _mm512_mul_pd, _mm512_fmadd_pd, _mm512_fnmadd_pd, _mm512_div_pd, _mm512_max_pd, power_f64x8, transpose_f64x8
);
vector!(
    /// 8 lanes of f32 (AVX2).
    F32x8, f32, __m256, 8, "avx2,fma", _mm256_set1_ps, _mm256_loadu_ps, _mm256_storeu_ps,
    _mm256_add_ps, _mm256_sub_ps, _mm256_mul_ps, _mm256_fmadd_ps, _mm256_fnmadd_ps, _mm256_div_ps, _mm256_max_ps, power_f32x8, transpose_f32x8
);
vector!(
    /// 4 lanes of f64 (AVX2).
    F64x4, f64, __m256d, 4, "avx2,fma", _mm256_set1_pd, _mm256_loadu_pd, _mm256_storeu_pd,
    _mm256_add_pd, _mm256_sub_pd, _mm256_mul_pd, _mm256_fmadd_pd, _mm256_fnmadd_pd, _mm256_div_pd, _mm256_max_pd, power_f64x4, transpose_f64x4
);

macro_rules! power {
    ($name:ident, $reg:ty, $as_int:ident, $shift:ident, $bits:literal, $add:ident, $set:ident, $bias:expr, $as_float:ident) => {
        /// 2^n from n in the low bits of a mantissa.
        #[inline(always)]
        unsafe fn $name(x: $reg) -> $reg {
            unsafe { $as_float($add($shift::<$bits>($as_int(x)), $set($bias << $bits))) }
        }
    };
}
power!(
    power_f32x16,
    __m512,
    _mm512_castps_si512,
    _mm512_slli_epi32,
    23,
    _mm512_add_epi32,
    _mm512_set1_epi32,
    127i32,
    _mm512_castsi512_ps
);
power!(
    power_f64x8,
    __m512d,
    _mm512_castpd_si512,
    _mm512_slli_epi64,
    52,
    _mm512_add_epi64,
    _mm512_set1_epi64,
    1023i64,
    _mm512_castsi512_pd
);
power!(
    power_f32x8,
    __m256,
    _mm256_castps_si256,
    _mm256_slli_epi32,
    23,
    _mm256_add_epi32,
    _mm256_set1_epi32,
    127i32,
    _mm256_castsi256_ps
);
power!(
    power_f64x4,
    __m256d,
    _mm256_castpd_si256,
    _mm256_slli_epi64,
    52,
    _mm256_add_epi64,
    _mm256_set1_epi64x,
    1023i64,
    _mm256_castsi256_pd
);

/// Exchanges off-diagonal squares of growing side: side 1, 2, 4, 8 transposes 16 rows.
#[inline(always)]
unsafe fn transpose_f32x16(tile: *mut __m512) {
    macro_rules! side {
        ($t:ident, $d:literal) => {{
            let lane = |low: bool| {
                let index: [i32; 16] = std::array::from_fn(|l| {
                    let second = if low { l & $d != 0 } else { l & $d == 0 };
                    match (low, second) {
                        (true, false) => l as i32,
                        (true, true) => 16 + (l - $d) as i32,
                        (false, true) => (l + $d) as i32,
                        (false, false) => 16 + l as i32,
                    }
                });
                unsafe { _mm512_loadu_si512(index.as_ptr().cast()) }
            };
            let (low, high) = (lane(true), lane(false));
            for i in 0..16 {
                if i & $d == 0 {
                    let (a, b) = ($t[i], $t[i + $d]);
                    unsafe {
                        $t[i] = _mm512_permutex2var_ps(a, low, b);
                        $t[i + $d] = _mm512_permutex2var_ps(a, high, b);
                    }
                }
            }
        }};
    }
    // SAFETY: the caller passes 16 vectors.
    let t = unsafe { &mut *tile.cast::<[__m512; 16]>() };
    side!(t, 1);
    side!(t, 2);
    side!(t, 4);
    side!(t, 8);
}

#[inline(always)]
unsafe fn transpose_f64x8(tile: *mut __m512d) {
    macro_rules! side {
        ($t:ident, $d:literal) => {{
            let low: [i64; 8] = std::array::from_fn(|l| if l & $d == 0 { l as i64 } else { 8 + (l - $d) as i64 });
            let high: [i64; 8] = std::array::from_fn(|l| if l & $d == 0 { (l + $d) as i64 } else { 8 + l as i64 });
            unsafe {
                let (low, high) = (_mm512_loadu_si512(low.as_ptr().cast()), _mm512_loadu_si512(high.as_ptr().cast()));
                for i in 0..8 {
                    if i & $d == 0 {
                        let (a, b) = ($t[i], $t[i + $d]);
                        $t[i] = _mm512_permutex2var_pd(a, low, b);
                        $t[i + $d] = _mm512_permutex2var_pd(a, high, b);
                    }
                }
            }
        }};
    }
    // SAFETY: the caller passes 8 vectors.
    let t = unsafe { &mut *tile.cast::<[__m512d; 8]>() };
    side!(t, 1);
    side!(t, 2);
    side!(t, 4);
}

#[inline(always)]
unsafe fn transpose_f32x8(tile: *mut __m256) {
    // SAFETY: the caller passes 8 vectors.
    let t = unsafe { &mut *tile.cast::<[__m256; 8]>() };
    unsafe {
        for i in [0, 2, 4, 6] {
            let (a, b) = (t[i], t[i + 1]);
            // Exchange of side 1: even lanes of both, odd lanes of both.
            t[i] = _mm256_blend_ps::<0b1010_1010>(a, _mm256_shuffle_ps::<0b10_10_00_00>(b, b));
            t[i + 1] = _mm256_blend_ps::<0b1010_1010>(_mm256_shuffle_ps::<0b11_11_01_01>(a, a), b);
        }
        for i in [0, 1, 4, 5] {
            let (a, b) = (t[i], t[i + 2]);
            t[i] = _mm256_shuffle_ps::<0b01_00_01_00>(a, b);
            t[i + 2] = _mm256_shuffle_ps::<0b11_10_11_10>(a, b);
        }
        for i in 0..4 {
            let (a, b) = (t[i], t[i + 4]);
            t[i] = _mm256_permute2f128_ps::<0x20>(a, b);
            t[i + 4] = _mm256_permute2f128_ps::<0x31>(a, b);
        }
    }
}

#[inline(always)]
unsafe fn transpose_f64x4(tile: *mut __m256d) {
    // SAFETY: the caller passes 4 vectors.
    let t = unsafe { &mut *tile.cast::<[__m256d; 4]>() };
    unsafe {
        for i in [0, 2] {
            let (a, b) = (t[i], t[i + 1]);
            t[i] = _mm256_unpacklo_pd(a, b);
            t[i + 1] = _mm256_unpackhi_pd(a, b);
        }
        for i in [0, 1] {
            let (a, b) = (t[i], t[i + 2]);
            t[i] = _mm256_permute2f128_pd::<0x20>(a, b);
            t[i + 2] = _mm256_permute2f128_pd::<0x31>(a, b);
        }
    }
}
