//! Compiling one loop for several instruction sets and choosing at run time.
//!
//! The body is ordinary safe Rust in slices; the compiler vectorises it anew for AVX-512, AVX2 and the base set. All
//! versions add in the same order with the same number of accumulators, and use fused multiply-adds only where the
//! body says `mul_add`.

/// The instruction sets that matter here, widest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    /// 16 lanes of f32.
    Avx512,
    /// 8 lanes of f32 with fused multiply-add.
    Avx2,
    /// Whatever the target has.
    Base,
}

/// The level of the running processor; `SUBBAND_SIMD=portable|avx2|avx512` lowers it (for tests).
pub(crate) fn level() -> Level {
    static LEVEL: std::sync::OnceLock<Level> = std::sync::OnceLock::new();
    *LEVEL.get_or_init(|| {
        let limit = std::env::var("SUBBAND_SIMD").unwrap_or_default();
        #[cfg(target_arch = "x86_64")]
        {
            let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && limit != "portable";
            if avx2 && is_x86_feature_detected!("avx512f") && limit != "avx2" {
                return Level::Avx512;
            }
            if avx2 {
                return Level::Avx2;
            }
        }
        let _ = limit;
        Level::Base
    })
}

/// Defines a function that runs `body` compiled for the processor's level.
macro_rules! multiversion {
    ($(#[$meta:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) = $body:ident;) => {
        $(#[$meta])*
        $vis fn $name($($arg: $ty),*) {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512vl,avx2,fma")]
                #[allow(clippy::too_many_arguments)]
                fn avx512($($arg: $ty),*) { $body($($arg),*) }
                #[target_feature(enable = "avx2,fma")]
                #[allow(clippy::too_many_arguments)]
                fn avx2($($arg: $ty),*) { $body($($arg),*) }
                match $crate::simd::level() {
                    // SAFETY: the level says that the processor has these instructions.
                    $crate::simd::Level::Avx512 => return unsafe { avx512($($arg),*) },
                    // SAFETY: as above.
                    $crate::simd::Level::Avx2 => return unsafe { avx2($($arg),*) },
                    $crate::simd::Level::Base => {}
                }
            }
            $body($($arg),*)
        }
    };
}
pub(crate) use multiversion;
