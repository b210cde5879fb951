//! The two number types of the wavelet kernels.
use std::ops::{Add, AddAssign, Mul, Neg, Sub};

use burn::backend::flex::{FlexTensor, Layout};
use burn::prelude::*;
use burn::tensor::{Bytes, Element};

use super::frame::{AxisMatrix, AxisSplit};
use super::haar::Planes;
use super::haar_l1::{Pyramid, Results, Scratch};
use super::haar_weighted::Sums;

/// f32 or f64.
pub(super) trait Scalar:
    Element
    + Default
    + PartialOrd
    + Send
    + Sync
    + Add<Output = Self>
    + AddAssign
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Neg<Output = Self>
{
    /// One half.
    const HALF: Self;
    /// Rounds to this type.
    fn of(x: f64) -> Self;
    /// Widens.
    fn wide(self) -> f64;
    /// Absolute value.
    fn magnitude(self) -> Self;
    /// -1, 0 or 1 as it stands in a byte.
    fn from_sign(sign: i8) -> Self;
    /// The values of a contiguous tensor.
    fn values(x: &FlexTensor) -> &[Self];
    /// Splits every plane; see [`super::separable::split_plane`].
    fn split_plane(m: &Matrices<Self>, x: &[Self], scratch: &mut [Self], low: &mut [Self], detail: &mut [Self]);
    /// Merges every plane; see [`super::separable::merge_plane`].
    fn merge_plane(m: &Matrices<Self>, bands: Bands<'_, Self>, scratch: &mut [Self], y: &mut [Self]);
    /// See [`super::haar::split_planes`].
    fn haar_split(planes: Planes, x: &[Self], scratch: &mut [Self], low: &mut [Self], detail: &mut [Self]);
    /// See [`super::haar::merge_planes`].
    fn haar_merge(planes: Planes, bands: Bands<'_, Self>, scratch: &mut [Self], y: &mut [Self]);
    /// See [`super::haar_l1::forward_group`].
    fn l1_forward(p: &Pyramid, x: &[Self], y: Option<&[Self]>, scratch: &mut Scratch<Self>, results: Results<'_>);
    /// See [`super::haar_l1::backward_group`].
    fn l1_backward(p: &Pyramid, signs: &[i8], g: &[Self], scratch: &mut Scratch<Self>, dx: &mut [Self]);
    /// See [`super::haar_weighted::forward_group`].
    fn weighted_forward(
        p: &Pyramid,
        maps: [&[Self]; 2],
        weights: &[Self],
        scratch: &mut Scratch<Self>,
        results: Sums<'_, Self>,
    );
    /// See [`super::haar_weighted::backward_group`].
    fn weighted_backward(
        p: &Pyramid,
        signs: &[i8],
        weights: &[Self],
        g: &[Self],
        scratch: &mut Scratch<Self>,
        dx: &mut [Self],
    );
}

/// The bands of one plane that take part in a merge; the absent ones are zero.
#[derive(Clone, Copy)]
pub(super) struct Bands<'a, T> {
    /// LL, `[h, w]`.
    pub low: Option<&'a [T]>,
    /// LH, HL, HH, `[3, h, w]`.
    pub detail: Option<&'a [T]>,
}

/// A [`AxisMatrix`] with weights of the number type.
pub(super) struct Matrix<T> {
    pub rows: usize,
    pub columns: usize,
    start: Vec<usize>,
    taps: Vec<(usize, T)>,
}

impl<T: Scalar> Matrix<T> {
    fn new(m: &AxisMatrix) -> Self {
        let mut start = vec![0];
        let mut taps = Vec::new();
        for i in 0..m.rows() {
            taps.extend(m.row(i).iter().map(|&(c, w)| (c, T::of(w))));
            start.push(taps.len());
        }
        Self { rows: m.rows(), columns: m.columns(), start, taps }
    }

    #[inline(always)]
    pub fn row(&self, i: usize) -> &[(usize, T)] {
        &self.taps[self.start[i]..self.start[i + 1]]
    }
}

/// Low-pass and high-pass matrices along height, then width.
pub(super) struct Matrices<T> {
    pub height: [Matrix<T>; 2],
    pub width: [Matrix<T>; 2],
}

impl<T: Scalar> Matrices<T> {
    pub fn new(axes: &[AxisSplit; 2]) -> Self {
        let pair = |a: &AxisSplit| [Matrix::new(&a.low), Matrix::new(&a.high)];
        Self { height: pair(&axes[0]), width: pair(&axes[1]) }
    }
}

/// A contiguous tensor around `values`.
pub(super) fn tensor<E: Element>(values: Vec<E>, shape: &[usize]) -> FlexTensor {
    debug_assert_eq!(values.len(), shape.iter().product::<usize>());
    FlexTensor::new(Bytes::from_elems(values), Layout::contiguous(Shape::from(shape.to_vec())), E::dtype())
}

macro_rules! scalar {
    ($t:ident, $versions:ident) => {
        /// The kernels of one number type, compiled for several instruction sets.
        mod $versions {
            use super::super::haar::{merge_planes as haar_merge_body, split_planes as haar_split_body};
            use super::super::haar_l1::{
                Pyramid, Results, Scratch, backward_group as l1_backward_body, forward_group as l1_forward_body,
            };
            use super::super::haar_weighted::{
                Sums, backward_group as weighted_backward_body, forward_group as weighted_forward_body,
            };
            use super::super::separable::{merge_plane as merge_body, split_plane as split_body};
            use super::{Bands, Matrices, Planes};
            use crate::simd::multiversion;

            type Slice = [$t];
            multiversion! {
                pub(super) fn split(
                    m: &Matrices<$t>, x: &Slice, s: &mut Slice, low: &mut Slice, detail: &mut Slice
                ) = split_body;
            }
            multiversion! {
                pub(super) fn merge(m: &Matrices<$t>, b: Bands<'_, $t>, s: &mut Slice, y: &mut Slice) = merge_body;
            }
            multiversion! {
                pub(super) fn haar_split(
                    planes: Planes, x: &Slice, s: &mut Slice, low: &mut Slice, detail: &mut Slice
                ) = haar_split_body;
            }
            multiversion! {
                pub(super) fn haar_merge(
                    planes: Planes, b: Bands<'_, $t>, s: &mut Slice, y: &mut Slice
                ) = haar_merge_body;
            }
            multiversion! {
                pub(super) fn l1_forward(
                    p: &Pyramid, x: &Slice, y: Option<&Slice>, s: &mut Scratch<$t>, r: Results<'_>
                ) = l1_forward_body;
            }
            multiversion! {
                pub(super) fn l1_backward(
                    p: &Pyramid, signs: &[i8], g: &Slice, s: &mut Scratch<$t>, dx: &mut Slice
                ) = l1_backward_body;
            }
            multiversion! {
                pub(super) fn weighted_forward(
                    p: &Pyramid, x: &Slice, y: &Slice, w: &Slice, s: &mut Scratch<$t>, r: Sums<'_, $t>
                ) = weighted_forward_body;
            }
            multiversion! {
                pub(super) fn weighted_backward(
                    p: &Pyramid, signs: &[i8], w: &Slice, g: &Slice, s: &mut Scratch<$t>, dx: &mut Slice
                ) = weighted_backward_body;
            }
        }

        impl Scalar for $t {
            const HALF: Self = 0.5;

            #[inline(always)]
            fn of(x: f64) -> Self {
                x as Self
            }

            #[inline(always)]
            fn wide(self) -> f64 {
                f64::from(self)
            }

            #[inline(always)]
            fn magnitude(self) -> Self {
                self.abs()
            }

            #[inline(always)]
            fn from_sign(sign: i8) -> Self {
                Self::from(sign)
            }

            fn values(x: &FlexTensor) -> &[Self] {
                &x.storage::<Self>()[x.layout().start_offset()..][..x.layout().num_elements()]
            }

            fn split_plane(m: &Matrices<Self>, x: &[Self], s: &mut [Self], low: &mut [Self], detail: &mut [Self]) {
                $versions::split(m, x, s, low, detail);
            }

            fn merge_plane(m: &Matrices<Self>, bands: Bands<'_, Self>, s: &mut [Self], y: &mut [Self]) {
                $versions::merge(m, bands, s, y);
            }

            fn haar_split(planes: Planes, x: &[Self], s: &mut [Self], low: &mut [Self], detail: &mut [Self]) {
                $versions::haar_split(planes, x, s, low, detail);
            }

            fn haar_merge(planes: Planes, bands: Bands<'_, Self>, s: &mut [Self], y: &mut [Self]) {
                $versions::haar_merge(planes, bands, s, y);
            }

            fn l1_forward(p: &Pyramid, x: &[Self], y: Option<&[Self]>, s: &mut Scratch<Self>, r: Results<'_>) {
                $versions::l1_forward(p, x, y, s, r);
            }

            fn l1_backward(p: &Pyramid, signs: &[i8], g: &[Self], s: &mut Scratch<Self>, dx: &mut [Self]) {
                $versions::l1_backward(p, signs, g, s, dx);
            }

            fn weighted_forward(
                p: &Pyramid,
                [x, y]: [&[Self]; 2],
                w: &[Self],
                s: &mut Scratch<Self>,
                r: Sums<'_, Self>,
            ) {
                $versions::weighted_forward(p, x, y, w, s, r);
            }

            fn weighted_backward(
                p: &Pyramid,
                signs: &[i8],
                w: &[Self],
                g: &[Self],
                s: &mut Scratch<Self>,
                dx: &mut [Self],
            ) {
                $versions::weighted_backward(p, signs, w, g, s, dx);
            }
        }
    };
}
scalar!(f32, single);
scalar!(f64, double);
