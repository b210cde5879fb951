//! Weight files: safetensors, zip `.pt`/`.pth` and the legacy torch pickle in; safetensors out.
use std::collections::BTreeMap;
use std::path::Path;

use burn::tensor::TensorData;

use crate::ModelError;

/// Tensors by PyTorch's names, `num_batches_tracked` (int64 scalars) included.
pub type StateDict = BTreeMap<String, TensorData>;

/// Reads a weight file of any of the formats.
pub fn read(_path: &Path) -> Result<StateDict, ModelError> {
    todo!()
}

/// Writes safetensors atomically.
pub fn write_safetensors(_path: &Path, _state: &StateDict) -> Result<(), ModelError> {
    todo!()
}
