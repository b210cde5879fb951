//! CPU kernels and custom differentiable operations: the only crate with unsafe code and the only one that touches Burn's internals.
