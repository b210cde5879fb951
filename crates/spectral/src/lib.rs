//! Differentiable frequency transforms on Burn tensors: DWT, FFT, DCT, filters and band splits.
//!
//! Maps are `[N, C, H, W]`, of any size from 1, in f32 or f64. Every transform has a fast implementation on Flex, Burn's
//! pure-Rust CPU backend, and a portable one made of tensor operations that runs on every other backend.
#![deny(missing_docs)]

pub mod analysis;
pub mod band_distance;
pub mod boundary;
pub mod dct;
pub mod dwt;
mod error;
pub mod fam;
pub mod fft;
pub mod filter;
#[cfg(test)]
mod testing;
pub mod wavelet;

pub use band_distance::BandDistance;
pub use boundary::Boundary;
pub use error::SpectralError;
pub use fft::{Norm, Spectrum};
pub use filter::Mask;
pub use wavelet::Wavelet;
