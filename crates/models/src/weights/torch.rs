//! PyTorch's own formats: zip archives (1.6 and later), the legacy pickle and plain pickles.
use std::path::Path;

use burn::store::pytorch_reader::{DType as TorchType, PytorchReader, Tensor};
use burn::tensor::{DType, TensorData};

use super::StateDict;
use crate::ModelError;

/// Whether the first bytes are those of a zip archive, a tar archive or a pickle.
pub(super) fn recognises(head: &[u8]) -> bool {
    let zip = head.starts_with(b"PK\x03\x04");
    let tar = head.len() >= 262 && &head[257..262] == b"ustar";
    // Protocols 2 to 5 open with the PROTO instruction.
    let pickle = head[0] == 0x80 && head.get(1).is_some_and(|version| (2..=5).contains(version));
    zip || tar || pickle
}

/// All tensors by their path through the dictionaries.
pub(super) fn read(path: &Path) -> Result<StateDict, ModelError> {
    let corrupt = |reason: String| ModelError::Corrupt { path: path.to_path_buf(), reason };
    let reader = PytorchReader::new(path).map_err(|e| corrupt(format!("truncated or corrupt PyTorch file: {e}")))?;
    let tensors = reader.into_tensors();
    // One thread: the time goes into reading the file.
    tensors.into_iter().map(|(name, tensor)| Ok((name, data(&tensor).map_err(corrupt)?))).collect()
}

fn data(tensor: &Tensor) -> Result<TensorData, String> {
    let bytes = tensor.read().map_err(|e| format!("truncated or corrupt PyTorch file: {e}"))?;
    let dtype = match tensor.dtype() {
        TorchType::F64 => DType::F64,
        TorchType::F32 => DType::F32,
        TorchType::F16 => DType::F16,
        TorchType::BF16 => DType::BF16,
        TorchType::I64 => DType::I64,
        TorchType::I32 => DType::I32,
        TorchType::I16 => DType::I16,
        TorchType::I8 => DType::I8,
        TorchType::U64 => DType::U64,
        TorchType::U32 => DType::U32,
        TorchType::U16 => DType::U16,
        TorchType::U8 | TorchType::Bool => DType::U8,
    };
    let data = TensorData::from_bytes_vec(bytes, tensor.shape().to_vec(), dtype);
    Ok(if dtype.is_float() { data.convert_dtype(DType::F32) } else { data })
}
