//! Differentiable frequency transforms on Burn tensors: DWT, FFT, DCT, filters and band splits.
