//! Gradients of a module: global norm, clipping, averaging over micro-batches.
use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::{GradientsAccumulator, GradientsParams};
use burn::prelude::*;
use subband_kernels::optimizer::sum_of_squares;

use crate::optimizer::Path;

/// Global norm of a gradient.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Norm {
    /// `sqrt(sum over all parameters of |g|^2)`, computed in f64 in a fixed order.
    pub value: f64,
    /// The first parameter whose gradient is not finite.
    pub not_finite: Option<String>,
}

struct NormVisitor<'a> {
    grads: &'a GradientsParams,
    path: Path,
    squares: f64,
    not_finite: Option<String>,
}

impl ModuleVisitor for NormVisitor<'_> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let Some(grad) = self.grads.get::<D>(param.id) else { return };
        let squares = sum_of_squares(grad);
        if !squares.is_finite() && self.not_finite.is_none() {
            self.not_finite = Some(self.path.text());
        }
        self.squares += squares;
    }
}

/// The global norm of the gradients of `module`.
pub(crate) fn norm<M: Module>(module: &M, grads: &GradientsParams) -> Norm {
    let mut visitor = NormVisitor { grads, path: Path::default(), squares: 0.0, not_finite: None };
    module.visit(&mut visitor);
    Norm { value: visitor.squares.sqrt(), not_finite: visitor.not_finite }
}

struct Scale<'a> {
    grads: &'a mut GradientsParams,
    factor: f64,
}

impl ModuleVisitor for Scale<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(grad) = self.grads.remove::<D>(param.id) {
            self.grads.register(param.id, grad.mul_scalar(self.factor));
        }
    }
}

/// Multiplies all gradients of `module` by `factor`.
pub(crate) fn scale<M: Module>(module: &M, grads: &mut GradientsParams, factor: f64) {
    module.visit(&mut Scale { grads, factor });
}

/// Scales the gradients down so that their global norm, given as `norm`, is at most `limit`
/// (torch.nn.utils.clip_grad_norm_: factor `limit / (norm + 1e-6)`).
pub(crate) fn clip<M: Module>(module: &M, grads: &mut GradientsParams, norm: f64, limit: f64) {
    if norm > limit {
        scale(module, grads, limit / (norm + 1e-6));
    }
}

/// Averages gradients of equal weight.
pub(crate) struct Mean<M> {
    sum: GradientsAccumulator<M>,
    count: usize,
}

impl<M: Module> Mean<M> {
    /// Nothing yet.
    pub fn new() -> Self {
        Self { sum: GradientsAccumulator::new(), count: 0 }
    }

    /// Adds the gradients of one micro-batch.
    pub fn add(&mut self, module: &M, grads: GradientsParams) {
        self.sum.accumulate(module, grads);
        self.count += 1;
    }

    /// The mean of what was added.
    pub fn take(mut self, module: &M) -> GradientsParams {
        let mut grads = self.sum.grads();
        if self.count > 1 {
            scale(module, &mut grads, 1.0 / self.count as f64);
        }
        grads
    }
}
