//! The pieces that feature losses are made of. A recipe puts them together with `method = "compose"`; the methods of the
//! papers use the same ones.
//!
//! A student map S and a teacher map T, `[N, C, H, W]` each, become a number in this order:
//!
//! | piece | does | choices |
//! |---|---|---|
//! | [`align`] | brings S and T to the same channels and size | adapter, grid, resize |
//! | [`filter`] | lets S pass a learned global filter in the Fourier domain (FAM-KD) | none, dense, depthwise; high-pass |
//! | [`normalization`] | removes what should not be compared | none, mean-l2, l2, batch, standardize |
//! | [`bands`] | transform and split: S and T into named bands | DWT, FFT, DCT, over space or channels, by level, orientation, rectangle, radius, Gaussian, DC |
//! | [`mask`] | weighs the coefficients of each band | none, focal, learned prompts |
//! | [`distance`] | compares the bands element by element | L1, MSE, log-MSE (with and without sign), cosine, Gaussian spectrum, focal frequency |
//! | [`distance::Reduction`] | one number for each band | mean, sum, batch-mean |
//!
//! All are differentiable in both maps and work on any size from 1x1 and any batch from 1.
pub mod align;
pub mod bands;
pub mod distance;
pub mod filter;
pub mod focal;
pub mod mask;
pub mod normalization;
