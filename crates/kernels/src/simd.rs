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
    #[cfg(test)]
    if let Some(level) = testing::LOWERED.get() {
        return level;
    }
    detected()
}

fn detected() -> Level {
    static LEVEL: std::sync::OnceLock<Level> = std::sync::OnceLock::new();
    *LEVEL.get_or_init(|| {
        let limit = std::env::var("SUBBAND_SIMD").unwrap_or_default();
        #[cfg(target_arch = "x86_64")]
        {
            let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && limit != "portable";
            let avx512 = is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vl");
            if avx2 && avx512 && limit != "avx2" {
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

/// Running a piece of a test at every level that the processor has.
#[cfg(test)]
pub(crate) mod testing {
    use super::{Level, detected};

    thread_local! {
        pub(super) static LOWERED: std::cell::Cell<Option<Level>> = const { std::cell::Cell::new(None) };
    }

    /// What `f` returns at each level, the base first; each runs in a pool of one thread, where the level is lowered.
    pub(crate) fn at_each_level<T: Send>(f: impl Fn() -> T + Send + Sync) -> Vec<(Level, T)> {
        let most = match detected() {
            Level::Base => 1,
            Level::Avx2 => 2,
            Level::Avx512 => 3,
        };
        let one = |level| {
            in_pool(1, || {
                LOWERED.set(Some(level));
                f()
            })
        };
        [Level::Base, Level::Avx2, Level::Avx512].into_iter().take(most).map(|level| (level, one(level))).collect()
    }

    /// `f` in a pool of its own with this many threads.
    pub(crate) fn in_pool<T: Send>(threads: usize, f: impl FnOnce() -> T + Send) -> T {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads can be started").install(f)
    }
}
