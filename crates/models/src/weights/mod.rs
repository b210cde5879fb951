//! Weight files: safetensors, zip `.pt`/`.pth` and the legacy torch pickle in; safetensors out.
//!
//! Nothing in a pickle is executed: the reader knows tensors, containers and numbers, and nothing else.
mod safetensors;
mod torch;

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use burn::tensor::TensorData;

use crate::ModelError;

/// Tensors by PyTorch's names, `num_batches_tracked` (int64 scalars) included.
pub type StateDict = BTreeMap<String, TensorData>;

/// Names of the dictionaries that training programs wrap a state dict in, outermost first in a name.
const CONTAINERS: [&str; 12] = [
    "state_dict",
    "model_state_dict",
    "state_dict_ema",
    "ema_state_dict",
    "model_state",
    "model",
    "net",
    "network",
    "module",
    "params",
    "ema",
    "weights",
];

/// Reads a weight file; its first bytes tell the format, not its name.
///
/// f16, bf16 and f64 tensors become f32, integers keep their type. Dictionaries and `DataParallel` prefixes that are
/// in front of all names are taken off; [`crate::Network::load`] finds any other prefix.
///
/// # Errors
/// No such file, or a file that is truncated, corrupt, or something else: one error that names it.
pub fn read(path: &Path) -> Result<StateDict, ModelError> {
    let mut head = vec![];
    let io = |source| ModelError::Io { action: "read", path: path.to_path_buf(), source };
    std::fs::File::open(path).map_err(io)?.take(512).read_to_end(&mut head).map_err(io)?;
    let corrupt = |reason: &str| ModelError::Corrupt { path: path.to_path_buf(), reason: reason.to_string() };
    if head.is_empty() {
        return Err(corrupt("the file is empty"));
    }
    let state = if safetensors::recognises(&head) {
        safetensors::read(path)?
    } else if torch::recognises(&head) {
        torch::read(path)?
    } else {
        return Err(corrupt("it is neither safetensors nor a PyTorch file (.pt, .pth, .th)"));
    };
    if state.is_empty() {
        return Err(corrupt("it holds no tensors"));
    }
    Ok(strip_containers(state))
}

/// Writes safetensors with PyTorch's names. The file appears whole or not at all: it is written beside its place,
/// flushed to the disk and renamed.
///
/// # Errors
/// Whatever the file system says (a full disk, no such folder); the unfinished file is removed.
pub fn write_safetensors(path: &Path, state: &StateDict) -> Result<(), ModelError> {
    safetensors::write(path, state)
}

/// Takes off what stands in front of every name.
fn strip_containers(mut state: StateDict) -> StateDict {
    loop {
        let Some(first) = state.keys().next().and_then(|k| k.split('.').next()).map(str::to_string) else {
            return state;
        };
        let prefix = format!("{first}.");
        if !CONTAINERS.contains(&first.as_str()) || !state.keys().all(|k| k.starts_with(&prefix)) {
            return state;
        }
        state = state.into_iter().map(|(k, v)| (k[prefix.len()..].to_string(), v)).collect();
    }
}
