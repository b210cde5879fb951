//! Optimisers with PyTorch's semantics, and their state by parameter name.
//!
//! SGD (torch.optim.SGD without dampening), for a parameter `w` with gradient `g`:
//! ```text
//! g <- g + weight_decay * w;   v <- momentum * v + g  (v = g at the first step);   w <- w - lr * v
//! nesterov: w <- w - lr * (g + momentum * v)
//! ```
//! AdamW (torch.optim.AdamW), `t` counted from 1:
//! ```text
//! w <- w * (1 - lr * weight_decay);   m <- b1 m + (1 - b1) g;   v <- b2 v + (1 - b2) g^2
//! w <- w - lr * (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps)
//! ```
//! Adam (torch.optim.Adam) is the same with `g <- g + weight_decay * w` first, and without the decay of `w` itself.
//!
//! Burn's own [`burn::optim::ModuleOptimizer`] keys its state by numeric ids inside an opaque record. Here each
//! parameter's state is kept by the parameter's path in the module, so that a checkpoint is readable and does not
//! depend on ids; [`crate::rules`] holds the update rules.
use std::any::Any;
use std::collections::BTreeMap;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::optim::{GradientsParams, Optimizer as Rule, RecordState, StateSink, StateSource};
use burn::prelude::*;
use subband_kernels::optimizer::{AdamW, Sgd};

use crate::recipe::OptimizerRecipe;
use crate::rules::{AdamRule, SgdRule};

/// An optimiser with the state of every parameter it has updated.
pub(crate) struct Optimizer {
    kind: Kind,
    /// `Rule::State<D>` by parameter path.
    states: BTreeMap<String, Box<dyn Any + Send>>,
}

enum Kind {
    Sgd(SgdRule),
    Adam(AdamRule),
}

/// State of an optimiser in a form that can be stored.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct OptimizerState {
    /// State tensors by `<parameter path>.<slot>`.
    pub tensors: BTreeMap<String, TensorData>,
    /// Step counters by `<parameter path>.<slot>`.
    pub counters: BTreeMap<String, u64>,
}

impl Optimizer {
    /// The optimiser of a recipe, without state.
    pub fn new(recipe: &OptimizerRecipe) -> Self {
        let adam = |betas: [f64; 2], epsilon: f64, weight_decay: f64, coupled: f64| {
            let rule = AdamW { lr: recipe.lr(), betas, epsilon, weight_decay, time: 0 };
            Kind::Adam(AdamRule { rule, coupled })
        };
        let kind = match recipe {
            OptimizerRecipe::Sgd { lr, momentum, weight_decay, nesterov } => Kind::Sgd(SgdRule(Sgd {
                lr: *lr,
                momentum: *momentum,
                weight_decay: *weight_decay,
                nesterov: *nesterov,
            })),
            OptimizerRecipe::Adamw { betas, eps, weight_decay, .. } => adam(*betas, *eps, *weight_decay, 0.0),
            OptimizerRecipe::Adam { betas, eps, weight_decay, .. } => adam(*betas, *eps, 0.0, *weight_decay),
        };
        Self { kind, states: BTreeMap::new() }
    }

    /// Updates every parameter of `module` that has a gradient, with learning rate `lr`.
    pub fn step<M: Module>(&mut self, lr: f64, module: M, grads: &mut GradientsParams) -> M {
        let states = &mut self.states;
        match &self.kind {
            Kind::Sgd(rule) => module.map(&mut Update { rule, states, grads, lr, path: Path::default() }),
            Kind::Adam(rule) => module.map(&mut Update { rule, states, grads, lr, path: Path::default() }),
        }
    }

    /// The state of all parameters of `module`.
    pub fn state<M: Module>(&self, module: &M) -> OptimizerState {
        match &self.kind {
            Kind::Sgd(rule) => flatten(rule, &self.states, module),
            Kind::Adam(rule) => flatten(rule, &self.states, module),
        }
    }

    /// Puts a stored state back for the parameters of `module`. Parameters without a stored state start without one,
    /// as at the first step.
    pub fn load<M: Module>(&mut self, module: &M, state: OptimizerState, device: &Device) {
        let scalars = state.counters.into_iter().map(|(name, value)| (name, value.into())).collect();
        let mut source = StateSource::new(scalars);
        for (name, data) in state.tensors {
            source.insert_tensor(name, data);
        }
        self.states = match &self.kind {
            Kind::Sgd(rule) => unflatten(rule, source, module, device),
            Kind::Adam(rule) => unflatten(rule, source, module, device),
        };
    }
}

/// The path of the parameter being visited.
#[derive(Default)]
pub(crate) struct Path(Vec<String>);

impl Path {
    pub fn enter(&mut self, name: &str) {
        self.0.push(name.to_string());
    }

    pub fn exit(&mut self) {
        self.0.pop();
    }

    pub fn text(&self) -> String {
        self.0.join(".")
    }
}

struct Update<'a, R> {
    rule: &'a R,
    states: &'a mut BTreeMap<String, Box<dyn Any + Send>>,
    grads: &'a mut GradientsParams,
    lr: f64,
    path: Path,
}

impl<R: Rule> ModuleMapper for Update<'_, R> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let (id, tensor, mapper) = param.consume();
        let Some(grad) = self.grads.remove::<D>(id) else {
            return Param::from_mapped_value(id, tensor, mapper);
        };
        let path = self.path.text();
        let state = self.states.remove(&path).and_then(|state| state.downcast::<R::State<D>>().ok()).map(|s| *s);
        let (updated, state) = self.rule.step(self.lr, tensor.inner(), grad, state);
        if let Some(state) = state {
            self.states.insert(path, Box::new(state));
        }
        Param::from_mapped_value(id, Tensor::from_inner(updated).require_grad(), mapper)
    }
}

struct Flatten<'a, R> {
    _rule: &'a R,
    states: &'a BTreeMap<String, Box<dyn Any + Send>>,
    sink: StateSink,
    path: Path,
}

impl<R: Rule> ModuleVisitor for Flatten<'_, R> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, _param: &Param<Tensor<D>>) {
        let path = self.path.text();
        if let Some(state) = self.states.get(&path).and_then(|state| state.downcast_ref::<R::State<D>>()) {
            state.state_flatten(&path, &mut self.sink);
        }
    }
}

fn flatten<R: Rule, M: Module>(rule: &R, states: &BTreeMap<String, Box<dyn Any + Send>>, module: &M) -> OptimizerState {
    let mut visitor = Flatten { _rule: rule, states, sink: StateSink::default(), path: Path::default() };
    module.visit(&mut visitor);
    let counters = visitor.sink.scalars.into_iter().filter_map(|(name, value)| Some((name, value.try_into().ok()?)));
    OptimizerState { counters: counters.collect(), tensors: visitor.sink.tensors.into_iter().collect() }
}

struct Unflatten<'a, R> {
    _rule: &'a R,
    source: StateSource,
    device: &'a Device,
    states: BTreeMap<String, Box<dyn Any + Send>>,
    path: Path,
}

impl<R: Rule> ModuleVisitor for Unflatten<'_, R> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, _param: &Param<Tensor<D>>) {
        let path = self.path.text();
        // An absent state would otherwise be read as an empty one.
        if !self.source.has_under(&path) {
            return;
        }
        if let Some(state) = R::State::<D>::state_unflatten(&path, &mut self.source, self.device) {
            self.states.insert(path, Box::new(state));
        }
    }
}

fn unflatten<R: Rule, M: Module>(
    rule: &R,
    source: StateSource,
    module: &M,
    device: &Device,
) -> BTreeMap<String, Box<dyn Any + Send>> {
    let mut visitor = Unflatten { _rule: rule, source, device, states: BTreeMap::new(), path: Path::default() };
    module.visit(&mut visitor);
    visitor.states
}

#[cfg(test)]
mod tests;
