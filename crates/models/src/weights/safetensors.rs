//! The safetensors format: a length, a JSON header, the bytes.
use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use burn::tensor::{DType, TensorData};
use safetensors::tensor::{TensorView, serialize};
use safetensors::{Dtype, SafeTensors};

use super::StateDict;
use crate::ModelError;

/// Whether the first bytes are a header length and the opening of a JSON object.
pub(super) fn recognises(head: &[u8]) -> bool {
    head.len() > 8 && head[8] == b'{'
}

/// All tensors.
pub(super) fn read(path: &Path) -> Result<StateDict, ModelError> {
    let bytes =
        std::fs::read(path).map_err(|source| ModelError::Io { action: "read", path: path.to_path_buf(), source })?;
    let corrupt = |reason: String| ModelError::Corrupt { path: path.to_path_buf(), reason };
    let file = SafeTensors::deserialize(&bytes)
        .map_err(|e| corrupt(format!("truncated or corrupt safetensors file ({} bytes): {e}", bytes.len())))?;
    file.tensors().into_iter().map(|(name, view)| Ok((name.clone(), data(&name, &view)?))).collect()
}

fn data(name: &str, view: &TensorView<'_>) -> Result<TensorData, ModelError> {
    let dtype = match view.dtype() {
        Dtype::F64 => DType::F64,
        Dtype::F32 => DType::F32,
        Dtype::F16 => DType::F16,
        Dtype::BF16 => DType::BF16,
        Dtype::I64 => DType::I64,
        Dtype::I32 => DType::I32,
        Dtype::I16 => DType::I16,
        Dtype::I8 => DType::I8,
        Dtype::U8 | Dtype::BOOL => DType::U8,
        other => return Err(ModelError::BadDtype { name: name.to_string(), dtype: format!("{other:?}") }),
    };
    let data = TensorData::from_bytes_vec(view.data().to_vec(), view.shape().to_vec(), dtype);
    Ok(if dtype.is_float() { data.convert_dtype(DType::F32) } else { data })
}

/// Writes beside the place, then renames.
pub(super) fn write(path: &Path, state: &StateDict) -> Result<(), ModelError> {
    let views = state.iter().map(|(name, data)| Ok((name.as_str(), view(name, data)?)));
    let views = views.collect::<Result<Vec<_>, ModelError>>()?;
    let io = |source| ModelError::Io { action: "write", path: path.to_path_buf(), source };
    // What PyTorch's and Hugging Face's writers put there.
    let metadata = HashMap::from([("format".to_string(), "pt".to_string())]);
    let bytes = serialize(views, Some(metadata)).map_err(|e| io(std::io::Error::other(e)))?;
    let unfinished = beside(path);
    let written = (|| {
        let mut file = File::create(&unfinished)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        std::fs::rename(&unfinished, path)
    })();
    written.map_err(|source| {
        // The error of the write matters, not that of tidying up after it.
        let _ = std::fs::remove_file(&unfinished);
        io(source)
    })
}

fn view<'a>(name: &str, data: &'a TensorData) -> Result<TensorView<'a>, ModelError> {
    let bad = |dtype: String| ModelError::BadDtype { name: name.to_string(), dtype };
    let dtype = match data.dtype() {
        DType::F64 => Dtype::F64,
        DType::F32 => Dtype::F32,
        DType::F16 => Dtype::F16,
        DType::BF16 => Dtype::BF16,
        DType::I64 => Dtype::I64,
        DType::I32 => Dtype::I32,
        DType::U8 => Dtype::U8,
        other => return Err(bad(format!("{other:?}"))),
    };
    TensorView::new(dtype, data.shape().to_vec(), data.as_bytes()).map_err(|e| bad(e.to_string()))
}

/// A hidden name in the same folder, so that the rename stays on one file system; the process id keeps two writers
/// apart.
fn beside(path: &Path) -> PathBuf {
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    path.with_file_name(format!(".{name}.{}.tmp", std::process::id()))
}
