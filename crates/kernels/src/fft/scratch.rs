//! Working memory of the Fourier kernels: one growing block per thread.
use std::cell::RefCell;

/// The unit of allocation: a cache line, and the alignment of the widest vector.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; 64]);

thread_local! {
    static BLOCK: RefCell<Vec<Line>> = const { RefCell::new(Vec::new()) };
}

/// Largest block that a thread keeps between calls, in lines (16 MiB).
const KEEP: usize = 1 << 18;

/// Calls `f` with room for `count` values of `V`, of unspecified content.
///
/// `V` must be a plain vector or number whose bit patterns are all valid; `f` must not use this function again.
pub(crate) fn with_scratch<V: Copy, R>(count: usize, f: impl FnOnce(&mut [V]) -> R) -> R {
    const { assert!(align_of::<V>() <= 64) };
    let lines = (count * size_of::<V>()).div_ceil(64);
    BLOCK.with_borrow_mut(|block| {
        if block.len() < lines {
            block.resize(lines, Line([0; 64]));
        }
        // SAFETY: the block is initialised, aligned to 64 bytes and long enough; V holds numbers only.
        let result = f(unsafe { std::slice::from_raw_parts_mut(block.as_mut_ptr().cast::<V>(), count) });
        if block.len() > KEEP {
            *block = Vec::new();
        }
        result
    })
}

/// A raw pointer that threads may share; every user writes to places of its own.
#[derive(Clone, Copy)]
pub(crate) struct Shared<T>(*mut T);

// SAFETY: only a pointer is shared; the users' disjointness is argued where they write.
unsafe impl<T: Send> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Shared<T> {}

impl<T> Shared<T> {
    /// The start of `slice`.
    pub(crate) fn new(slice: &mut [T]) -> Self {
        Self(slice.as_mut_ptr())
    }
    /// The pointer `offset` numbers further.
    ///
    /// # Safety
    /// `offset` lies within the slice, or at its end.
    #[inline(always)]
    pub(crate) unsafe fn at(self, offset: usize) -> *mut T {
        // SAFETY: the caller's promise.
        unsafe { self.0.add(offset) }
    }
}

/// `N` buffers of `len` numbers that `write` fills, without clearing them first.
///
/// # Safety
/// `write` writes every number of every buffer.
pub(crate) unsafe fn written<T: Copy, const N: usize>(len: usize, write: impl FnOnce([Shared<T>; N])) -> [Vec<T>; N] {
    let mut buffers: [Vec<T>; N] = std::array::from_fn(|_| Vec::with_capacity(len));
    write(std::array::from_fn(|i| Shared(buffers[i].as_mut_ptr())));
    for buffer in &mut buffers {
        // SAFETY: the capacity is `len`, and the caller vouches for the content.
        unsafe { buffer.set_len(len) };
    }
    buffers
}
