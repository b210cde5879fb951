//! Large buffers without the cost of fresh pages.
use std::mem::MaybeUninit;

use rayon::prelude::*;

/// Tells the process's allocator to keep the memory that tensors give back, instead of returning it to the system.
///
/// A training step frees and takes again the same few hundred megabytes. By default the C library maps every large
/// buffer anew, and the page faults of the first touch cost as much as a cheap operation itself. Call this once at the
/// start of a program that trains; resident memory then stays at its peak. It does something only with glibc on Linux.
pub fn keep_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        unsafe extern "C" {
            fn mallopt(parameter: i32, value: i32) -> i32;
        }
        const TRIM_THRESHOLD: i32 = -1;
        const TOP_PAD: i32 = -2;
        const MMAP_MAX: i32 = -4;
        // SAFETY: mallopt takes its own lock; these parameters exist in every glibc, and unknown ones are ignored.
        unsafe {
            mallopt(TRIM_THRESHOLD, -1);
            mallopt(TOP_PAD, 64 << 20);
            mallopt(MMAP_MAX, 0);
        }
    }
}

/// Two results made of `count` pieces each, of lengths `[a, b]` (0: no such result), written in parallel.
///
/// `work(scratch, k, a_k, b_k)` gets the pieces `k` zeroed by the thread that works on them, while they are in its
/// cache; nothing else touches the buffers.
pub(crate) fn in_pieces<A, B, S>(
    count: usize,
    [a_len, b_len]: [usize; 2],
    scratch: impl Fn() -> S + Send + Sync,
    work: impl Fn(&mut S, usize, &mut [A], &mut [B]) + Send + Sync,
) -> (Vec<A>, Vec<B>)
where
    A: Copy + Default + Send,
    B: Copy + Default + Send,
{
    let (mut a, mut b) = (room(count * a_len), room(count * b_len));
    let pieces = pieces(&mut a, a_len, count).into_par_iter().zip(pieces(&mut b, b_len, count)).enumerate();
    pieces.for_each_init(scratch, |scratch, (k, (a, b))| work(scratch, k, zeroed(a), zeroed(b)));
    // SAFETY: `count` pieces of these lengths are the whole buffers, and each was zeroed.
    unsafe { (initialized(a), initialized(b)) }
}

/// One result made of `count` pieces of length `len`; as [`in_pieces`].
pub(crate) fn in_equal_pieces<A: Copy + Default + Send, S>(
    count: usize,
    len: usize,
    scratch: impl Fn() -> S + Send + Sync,
    work: impl Fn(&mut S, usize, &mut [A]) + Send + Sync,
) -> Vec<A> {
    in_pieces(count, [len, 0], scratch, |scratch, k, a, _: &mut [u8]| work(scratch, k, a)).0
}

/// A buffer for `len` numbers that its user writes completely before [`initialized`]: neither cleared nor touched here,
/// so that its pages are first touched by the thread that works on them. In tests it is full of the byte 0xff, which
/// makes a forgotten f32 a NaN.
pub(crate) fn room<T>(len: usize) -> Vec<MaybeUninit<T>> {
    let mut room = Vec::with_capacity(len);
    // SAFETY: `MaybeUninit` needs no initialisation, and the capacity is at least `len`.
    unsafe { room.set_len(len) };
    #[cfg(test)]
    room.fill_with(|| {
        let mut bytes = MaybeUninit::<T>::uninit();
        // SAFETY: the pointer is to `size_of::<T>()` bytes of our own.
        unsafe { std::ptr::write_bytes(bytes.as_mut_ptr().cast::<u8>(), 0xff, size_of::<T>()) };
        bytes
    });
    room
}

fn pieces<T>(room: &mut [MaybeUninit<T>], len: usize, count: usize) -> Vec<&mut [MaybeUninit<T>]> {
    if len == 0 { (0..count).map(|_| Default::default()).collect() } else { room.chunks_exact_mut(len).collect() }
}

/// The room as numbers, all zero.
fn zeroed<T: Copy + Default>(room: &mut [MaybeUninit<T>]) -> &mut [T] {
    room.iter_mut().for_each(|v| {
        v.write(T::default());
    });
    // SAFETY: every number has just been written, and `MaybeUninit<T>` has the layout of `T`.
    unsafe { &mut *(std::ptr::from_mut(room) as *mut [T]) }
}

/// The buffer as numbers.
///
/// # Safety
/// Every number has been written.
pub(crate) unsafe fn initialized<T>(room: Vec<MaybeUninit<T>>) -> Vec<T> {
    let mut room = std::mem::ManuallyDrop::new(room);
    // SAFETY: same allocation, length and capacity; `MaybeUninit<T>` has the layout of `T`.
    unsafe { Vec::from_raw_parts(room.as_mut_ptr().cast(), room.len(), room.capacity()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_arrive_zeroed_and_in_order() {
        let (a, b) = in_pieces(
            3,
            [2, 1],
            || (),
            |(), k, a: &mut [f32], b: &mut [i8]| {
                assert_eq!(a, [0.0, 0.0]);
                a[1] = k as f32;
                b[0] = -(k as i8);
            },
        );
        assert_eq!(a, [0.0, 0.0, 0.0, 1.0, 0.0, 2.0]);
        assert_eq!(b, [0, -1, -2]);
        assert!(in_equal_pieces(0, 4, || (), |(), _, _: &mut [f64]| unreachable!("there is no piece")).is_empty());
    }

    #[test]
    fn room_that_was_written_becomes_the_numbers() {
        let mut free = room::<f32>(5);
        for (k, v) in free.iter_mut().enumerate() {
            v.write(k as f32);
        }
        // SAFETY: all five were written.
        assert_eq!(unsafe { initialized(free) }, [0.0, 1.0, 2.0, 3.0, 4.0]);
        // SAFETY: in tests every byte is 0xff, which is a NaN.
        assert!(unsafe { initialized(room::<f32>(3)) }.iter().all(|v| v.is_nan()));
    }

    #[test]
    fn tensors_survive_the_allocator_setting() {
        keep_freed_memory();
        let big: Vec<Vec<u8>> = (1..5).map(|k| vec![k; 40 << 20]).collect();
        assert!(big.iter().zip(1..).all(|(v, k)| v.iter().all(|b| *b == k)));
    }
}
