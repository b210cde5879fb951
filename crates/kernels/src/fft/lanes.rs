//! Vectors of lanes: the unit the Fourier kernels compute with.
//!
//! Lane `l` of every vector belongs to plane `l` of a group of planes, so that a transform reads like scalar code and
//! fills the vector registers whatever the size of the map. One generic body is compiled for AVX-512, AVX2 and the base
//! instruction set; [`Real::with_lanes`] picks at run time.
use std::ops::{Add, Div, Mul, Neg, Sub};

use burn::backend::flex::{FlexTensor, Layout};
use burn::tensor::{Bytes, DType, Element, Shape};

use crate::simd::{Level, level};

#[cfg(target_arch = "x86_64")]
pub(crate) mod x86;

/// A vector of `LANES` real numbers.
///
/// Methods of the vector types use instructions of their set: they may only be called inside [`Lanes::vectorize`].
pub(crate) trait Lanes: Copy + Send + Sync + 'static {
    /// Scalar type.
    type Real: Real;
    /// Number of lanes.
    const LANES: usize;
    /// All lanes equal.
    fn splat(x: Self::Real) -> Self;
    /// Unaligned load of `LANES` numbers.
    ///
    /// # Safety
    /// `p` is valid for reading `LANES` numbers.
    unsafe fn load(p: *const Self::Real) -> Self;
    /// Unaligned store of `LANES` numbers.
    ///
    /// # Safety
    /// `p` is valid for writing `LANES` numbers.
    unsafe fn store(self, p: *mut Self::Real);
    /// `self + b`.
    fn add(self, b: Self) -> Self;
    /// `self - b`.
    fn sub(self, b: Self) -> Self;
    /// `self * b`.
    fn mul(self, b: Self) -> Self;
    /// `self * b + c`.
    fn mul_add(self, b: Self, c: Self) -> Self;
    /// `c - self * b`.
    fn neg_mul_add(self, b: Self, c: Self) -> Self;
    /// `self / b`.
    fn div(self, b: Self) -> Self;
    /// The larger; `self` or `b` not a number: `b`.
    fn max(self, b: Self) -> Self;
    /// 2^n for `self` = n + [`Real::ROUND`], n within the exponents of normal numbers.
    fn power_of_two(self) -> Self;
    /// e^x for x below 88, to a few units in the last place; x below [`Real::LOWEST`] counts as that.
    ///
    /// x = n ln 2 + r with |r| <= ln 2 / 2; e^r by its Taylor polynomial, 2^n in the exponent bits.
    #[inline(always)]
    fn exp(self) -> Self {
        let c = |x| Self::splat(Self::Real::from_f64(x));
        let x = c(Self::Real::LOWEST).max(self);
        let shifted = x.mul_add(c(std::f64::consts::LOG2_E), c(Self::Real::ROUND));
        let n = shifted.sub(c(Self::Real::ROUND));
        let [high, low] = Self::Real::LN_2;
        let r = n.neg_mul_add(c(low), n.neg_mul_add(c(high), x));
        let mut sum = c(FACTORIALS[Self::Real::TAYLOR]);
        for k in (0..Self::Real::TAYLOR).rev() {
            sum = sum.mul_add(r, c(FACTORIALS[k]));
        }
        sum.mul(shifted.power_of_two())
    }
    /// Transposes `LANES` vectors in place.
    ///
    /// # Safety
    /// `tile` points to `LANES` vectors.
    #[inline(always)]
    unsafe fn transpose(tile: *mut Self) {
        let p = tile.cast::<Self::Real>();
        for i in 0..Self::LANES {
            for j in 0..i {
                // SAFETY: both indices lie below LANES * LANES.
                unsafe { std::ptr::swap(p.add(i * Self::LANES + j), p.add(j * Self::LANES + i)) };
            }
        }
    }
    /// Runs `op` in a function compiled for the instruction set of this vector.
    fn vectorize<O: Vectorized<Self>>(op: O);
    /// Zero.
    #[inline(always)]
    fn zero() -> Self {
        Self::splat(Self::Real::from_f64(0.0))
    }
    /// `0 - self`.
    #[inline(always)]
    fn neg(self) -> Self {
        Self::zero().sub(self)
    }
}

/// 1 / k!.
const FACTORIALS: [f64; 14] = {
    let mut f = [1.0; 14];
    let mut k = 1;
    while k < 14 {
        f[k] = f[k - 1] / k as f64;
        k += 1;
    }
    f
};

/// A body to be compiled for the instruction set of `V`; `call` must be `#[inline(always)]`.
pub(crate) trait Vectorized<V> {
    /// Does the work.
    fn call(self);
}

/// An operation that is generic over the vector type.
pub(crate) trait WithLanes<T: Real> {
    /// Runs with the vector type chosen for this processor.
    fn run<V: Lanes<Real = T>>(self);
}

/// f32 or f64.
pub(crate) trait Real:
    Element
    + Send
    + Sync
    + PartialOrd
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
{
    /// Rounds to this type.
    fn from_f64(x: f64) -> Self;
    /// Runs `op` with the best vector type for `planes` planes.
    fn with_lanes<O: WithLanes<Self>>(planes: usize, op: O);
    /// The numbers of a contiguous tensor.
    fn numbers(x: &FlexTensor) -> &[Self];
    /// The numbers of a tensor that [`Real::tensor`] made, to overwrite.
    fn numbers_mut(x: &mut FlexTensor) -> &mut [Self];
    /// A contiguous tensor.
    fn tensor(x: Vec<Self>, shape: &[usize]) -> FlexTensor;
    /// 1.5 * 2^(bits of the mantissa): adding it rounds to an integer, which stands in the low bits.
    const ROUND: f64;
    /// ln 2 in two parts, the first short enough that its products with exponents are exact.
    const LN_2: [f64; 2];
    /// Below this, e^x is no normal number.
    const LOWEST: f64;
    /// Degree of the Taylor polynomial of e^r.
    const TAYLOR: usize;
    /// 2^n for `self` = n + ROUND.
    fn power_of_two(self) -> Self;
    /// Square root.
    fn sqrt(self) -> Self;
    /// The cached plans of this type.
    fn plans() -> &'static super::plan::Plans<Self>;
}

macro_rules! real {
    ($t:ty, $dtype:expr, [$mantissa:literal, $bias:literal, $ln2:expr, $lowest:literal, $taylor:literal], $wide:ty, $half:ty, $base:ty) => {
        impl Real for $t {
            #[inline(always)]
            fn from_f64(x: f64) -> Self {
                x as $t
            }
            fn with_lanes<O: WithLanes<Self>>(planes: usize, op: O) {
                // Few planes leave most lanes empty; a single lane then needs less memory and time.
                if planes <= 2 {
                    return op.run::<Array<$t, 1>>();
                }
                match level() {
                    #[cfg(target_arch = "x86_64")]
                    Level::Avx512 => op.run::<$wide>(),
                    #[cfg(target_arch = "x86_64")]
                    Level::Avx2 => op.run::<$half>(),
                    _ => op.run::<$base>(),
                }
            }
            fn numbers(x: &FlexTensor) -> &[Self] {
                let start = x.layout().start_offset();
                &x.storage::<$t>()[start..start + x.layout().num_elements()]
            }
            fn numbers_mut(x: &mut FlexTensor) -> &mut [Self] {
                x.storage_mut::<$t>()
            }
            fn tensor(x: Vec<Self>, shape: &[usize]) -> FlexTensor {
                FlexTensor::new(Bytes::from_elems(x), Layout::contiguous(Shape::from(shape.to_vec())), $dtype)
            }
            const ROUND: f64 = 1.5 * (1u64 << $mantissa) as f64;
            const LN_2: [f64; 2] = $ln2;
            const LOWEST: f64 = $lowest;
            const TAYLOR: usize = $taylor;
            #[inline(always)]
            fn power_of_two(self) -> Self {
                <$t>::from_bits((self.to_bits() << $mantissa).wrapping_add($bias << $mantissa))
            }
            #[inline(always)]
            fn sqrt(self) -> Self {
                <$t>::sqrt(self)
            }
            fn plans() -> &'static super::plan::Plans<Self> {
                static PLANS: std::sync::OnceLock<super::plan::Plans<$t>> = std::sync::OnceLock::new();
                PLANS.get_or_init(Default::default)
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
real!(f32, DType::F32, [23, 127, [0.693_359_375, -2.121_944_400_546_905_8e-4], -87.0, 7], x86::F32x16, x86::F32x8, Array<f32, 8>);
#[cfg(target_arch = "x86_64")]
real!(f64, DType::F64, [52, 1023, [0.693_147_180_369_123_8, 1.908_214_929_270_587_7e-10], -708.0, 13], x86::F64x8, x86::F64x4, Array<f64, 4>);
#[cfg(not(target_arch = "x86_64"))]
real!(f32, DType::F32, [23, 127, [0.693_359_375, -2.121_944_400_546_905_8e-4], -87.0, 7], Array<f32, 8>, Array<f32, 8>, Array<f32, 8>);
#[cfg(not(target_arch = "x86_64"))]
real!(f64, DType::F64, [52, 1023, [0.693_147_180_369_123_8, 1.908_214_929_270_587_7e-10], -708.0, 13], Array<f64, 4>, Array<f64, 4>, Array<f64, 4>);

/// Lanes as an array, which the compiler vectorises for the base instruction set.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct Array<T, const N: usize>([T; N]);

impl<T: Real, const N: usize> Lanes for Array<T, N> {
    type Real = T;
    const LANES: usize = N;
    #[inline(always)]
    fn splat(x: T) -> Self {
        Self([x; N])
    }
    #[inline(always)]
    unsafe fn load(p: *const T) -> Self {
        // SAFETY: the caller vouches for N numbers; arrays of T have T's alignment.
        unsafe { Self(*p.cast::<[T; N]>()) }
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut T) {
        // SAFETY: as in `load`.
        unsafe { *p.cast::<[T; N]>() = self.0 }
    }
    #[inline(always)]
    fn add(self, b: Self) -> Self {
        Self(std::array::from_fn(|l| self.0[l] + b.0[l]))
    }
    #[inline(always)]
    fn sub(self, b: Self) -> Self {
        Self(std::array::from_fn(|l| self.0[l] - b.0[l]))
    }
    #[inline(always)]
    fn mul(self, b: Self) -> Self {
        Self(std::array::from_fn(|l| self.0[l] * b.0[l]))
    }
    #[inline(always)]
    fn mul_add(self, b: Self, c: Self) -> Self {
        Self(std::array::from_fn(|l| self.0[l] * b.0[l] + c.0[l]))
    }
    #[inline(always)]
    fn neg_mul_add(self, b: Self, c: Self) -> Self {
        Self(std::array::from_fn(|l| c.0[l] - self.0[l] * b.0[l]))
    }
    #[inline(always)]
    fn div(self, b: Self) -> Self {
        Self(std::array::from_fn(|l| self.0[l] / b.0[l]))
    }
    #[inline(always)]
    fn max(self, b: Self) -> Self {
        Self(std::array::from_fn(|l| if self.0[l] > b.0[l] { self.0[l] } else { b.0[l] }))
    }
    #[inline(always)]
    fn power_of_two(self) -> Self {
        Self(self.0.map(T::power_of_two))
    }
    fn vectorize<O: Vectorized<Self>>(op: O) {
        op.call();
    }
}
