//! State that forward passes update and optimisers leave alone.
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use burn::module::{
    Content, Devices, Module, ModuleDisplay, ModuleDisplayDefault, ModuleMapper, ModuleVisitor, Param, ParamId,
};
use burn::prelude::*;

/// A running statistic: a vector without gradient that a forward pass updates through `&self`.
///
/// Unlike Burn's `RunningState`, a clone is independent of the original (a snapshot of the best epoch must not move
/// on with the training), an update is visible at once, and the value never lies on an autodiff device.
#[derive(Debug)]
pub(crate) struct Buffer {
    id: ParamId,
    value: Mutex<Tensor<1>>,
}

impl Buffer {
    /// A buffer with the id of its name.
    pub fn new(id: ParamId, value: Tensor<1>) -> Self {
        Self { id, value: Mutex::new(value.without_autodiff()) }
    }

    fn lock(&self) -> MutexGuard<'_, Tensor<1>> {
        // A panic elsewhere cannot leave a tensor half-written: the value is replaced as a whole.
        self.value.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The value, on the device without autodiff.
    pub fn get(&self) -> Tensor<1> {
        self.lock().clone()
    }

    /// Replaces the value.
    pub fn set(&self, value: Tensor<1>) {
        *self.lock() = value.without_autodiff();
    }
}

impl Clone for Buffer {
    fn clone(&self) -> Self {
        Self::new(self.id, self.get())
    }
}

impl Module for Buffer {
    fn visit<V: ModuleVisitor>(&self, visitor: &mut V) {
        visitor.visit_float(&Param::initialized(self.id, self.get()));
    }

    fn map<M: ModuleMapper>(self, mapper: &mut M) -> Self {
        let (_, value, _) = mapper.map_float(Param::initialized(self.id, self.get())).consume();
        self.set(value.set_require_grad(false));
        self
    }

    fn to_device(self, device: &Device) -> Self {
        let moved = self.get().to_device(&device.clone().without_autodiff());
        self.set(moved);
        self
    }

    fn fork(self, device: &Device) -> Self {
        self.to_device(device)
    }

    fn collect_devices(&self, mut devices: Devices) -> Devices {
        let device = self.get().device();
        if !devices.contains(&device) {
            devices.push(device);
        }
        devices
    }

    fn materialize(self) -> Self {
        self
    }

    fn valid(&self) -> Self {
        self.clone()
    }

    fn train(self) -> Self {
        self
    }
}

impl ModuleDisplayDefault for Buffer {
    fn content(&self, content: Content) -> Option<Content> {
        content.add_formatted(&"Buffer".to_string()).optional()
    }
}

impl ModuleDisplay for Buffer {}

/// PyTorch's `num_batches_tracked`; a clone is independent.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    /// One more batch.
    pub fn increment(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Batches so far.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Sets the count.
    pub fn set(&self, count: u64) {
        self.0.store(count, Ordering::Relaxed);
    }
}

impl Clone for Counter {
    fn clone(&self) -> Self {
        Self(AtomicU64::new(self.get()))
    }
}
