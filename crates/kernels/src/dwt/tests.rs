//! The kernels against dense matrix products written out here, and gradients against finite differences.
