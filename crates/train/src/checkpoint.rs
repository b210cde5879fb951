//! Checkpoints: one safetensors file with everything an arm needs to continue bit for bit.
//!
//! Tensors: `student.<PyTorch name>` (running statistics included), `method.<index>.<name>`,
//! `optimizer.<parameter path>.<slot>`. The header's metadata entry `subband` is JSON ([`Meta`]): where the run stands,
//! what it belongs to, and a SHA-256 over all tensor bytes, so that a damaged file is found before it is used.
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use burn::tensor::{DType, TensorData};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::evidence::Scores;
use crate::run::AutoWeights;
use crate::{TrainError, files};

/// Version of the layout; a file of another version is refused.
const FORMAT: u32 = 2;
/// Key of the metadata entry.
const KEY: &str = "subband";

/// The best epoch so far.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Best {
    /// Epoch, from 1.
    pub epoch: usize,
    /// Its figures on the validation images, as the bits of f64: text would lose some.
    val: BTreeMap<String, u64>,
}

impl Best {
    /// An epoch with its figures on the validation images.
    pub fn new(epoch: usize, val: &Scores) -> Self {
        Self { epoch, val: val.iter().map(|(name, value)| (name.to_string(), value.to_bits())).collect() }
    }

    /// The figures on the validation images.
    pub fn val(&self) -> Scores {
        Scores::new(self.val.iter().map(|(name, bits)| (name.clone(), f64::from_bits(*bits))))
    }
}

/// Where an arm stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Meta {
    /// Version of the layout.
    pub format: u32,
    /// Arm's slug.
    pub arm: String,
    /// Hash of all parts of the recipe that the arm's result depends on.
    pub fingerprint: String,
    /// Epochs completed.
    pub epochs_done: usize,
    /// Optimiser steps done in the running epoch.
    pub step_in_epoch: usize,
    /// Optimiser steps done in all.
    pub step: usize,
    /// Best epoch so far.
    pub best: Option<Best>,
    /// Seconds of training so far.
    pub seconds: f64,
    /// Seconds of training in the running epoch.
    pub epoch_seconds: f64,
    /// Images of the running epoch so far.
    pub epoch_images: usize,
    /// Sums of the terms over those images, as the bits of f64.
    pub epoch_sums: BTreeMap<String, u64>,
    /// Step counters of the optimiser.
    pub counters: BTreeMap<String, u64>,
    /// What was measured for automatic weights.
    #[serde(default)]
    pub auto: AutoWeights,
    /// Images that could not be decoded so far: index and error.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub skipped: BTreeMap<usize, String>,
    /// SHA-256 over the tensor bytes in the order of the names.
    #[serde(default)]
    pub sha256: String,
}

impl Meta {
    /// The start of an arm.
    pub fn start(arm: &str, fingerprint: &str) -> Self {
        Self {
            format: FORMAT,
            arm: arm.into(),
            fingerprint: fingerprint.into(),
            epochs_done: 0,
            step_in_epoch: 0,
            step: 0,
            best: None,
            seconds: 0.0,
            epoch_seconds: 0.0,
            epoch_images: 0,
            epoch_sums: BTreeMap::new(),
            counters: BTreeMap::new(),
            auto: AutoWeights::new(),
            skipped: BTreeMap::new(),
            sha256: String::new(),
        }
    }
}

/// A checkpoint in memory.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Checkpoint {
    pub meta: Meta,
    /// Tensors by full name.
    pub tensors: BTreeMap<String, TensorData>,
}

fn digest<'a>(tensors: impl Iterator<Item = (&'a str, &'a [u8])>) -> String {
    let mut hash = Sha256::new();
    for (name, bytes) in tensors {
        hash.update(name.as_bytes());
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Checkpoint {
    /// Writes the file; it is complete or not there.
    ///
    /// # Errors
    /// [`TrainError::Write`].
    pub fn write(mut self, path: &Path) -> Result<(), TrainError> {
        let fail = |message: String| TrainError::Write { path: path.into(), source: std::io::Error::other(message) };
        self.meta.sha256 = digest(self.tensors.iter().map(|(name, data)| (name.as_str(), data.as_bytes())));
        let mut views = Vec::new();
        for (name, data) in &self.tensors {
            let dtype = dtype(data.dtype()).ok_or_else(|| fail(format!("{name} has type {:?}", data.dtype())))?;
            let view =
                TensorView::new(dtype, data.shape().to_vec(), data.as_bytes()).map_err(|e| fail(e.to_string()))?;
            views.push((name, view));
        }
        let text = serde_json::to_string(&self.meta).map_err(|e| fail(e.to_string()))?;
        let metadata = HashMap::from([(KEY.to_string(), text)]);
        let bytes = safetensors::serialize(views, Some(metadata)).map_err(|e| fail(e.to_string()))?;
        files::write_atomic(path, &bytes)
    }

    /// Reads a file back and checks that it is whole and belongs to this arm of this recipe.
    ///
    /// # Errors
    /// [`TrainError::Read`]; [`TrainError::Checkpoint`] for a damaged or foreign file.
    pub fn read(path: &Path, arm: &str, fingerprint: &str) -> Result<Self, TrainError> {
        let bytes = files::read(path)?;
        let checkpoint = Self::parse(path, &bytes)?;
        let bad = |message: &str| Err(TrainError::Checkpoint { path: path.into(), message: message.into() });
        if checkpoint.meta.arm != arm {
            return bad(&format!("belongs to the arm `{}`, not `{arm}`", checkpoint.meta.arm));
        }
        if checkpoint.meta.fingerprint != fingerprint {
            return bad("was written under another recipe (data, networks, budget, seed or terms differ)");
        }
        Ok(checkpoint)
    }

    fn parse(path: &Path, bytes: &[u8]) -> Result<Self, TrainError> {
        let bad = |message: String| TrainError::Checkpoint { path: path.into(), message };
        let damaged = |e: &dyn std::fmt::Display| bad(format!("is damaged or truncated ({e})"));
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(|e| damaged(&e))?;
        let text = header.metadata().as_ref().and_then(|map| map.get(KEY));
        let text = text.ok_or_else(|| bad("is a weight file, not a checkpoint of this program".into()))?;
        // The version comes first: another version may have other fields.
        let version: serde_json::Value = serde_json::from_str(text).map_err(|e| damaged(&e))?;
        if version.get("format").and_then(serde_json::Value::as_u64) != Some(u64::from(FORMAT)) {
            return Err(bad("has the layout of another version of this program".into()));
        }
        let meta: Meta = serde_json::from_value(version).map_err(|e| damaged(&e))?;
        let file = SafeTensors::deserialize(bytes).map_err(|e| damaged(&e))?;
        let views: BTreeMap<String, TensorView<'_>> = file.tensors().into_iter().collect();
        if digest(views.iter().map(|(name, view)| (name.as_str(), view.data()))) != meta.sha256 {
            return Err(bad("is damaged (its checksum is wrong)".into()));
        }
        let mut tensors = BTreeMap::new();
        for (name, view) in views {
            let data = tensor(&view).ok_or_else(|| bad(format!("holds `{name}` of an unknown type")))?;
            tensors.insert(name, data);
        }
        Ok(Self { meta, tensors })
    }

    /// The tensors whose names start with `prefix`, without it.
    pub fn section(&self, prefix: &str) -> BTreeMap<String, TensorData> {
        let strip = |(name, data): (&String, &TensorData)| Some((name.strip_prefix(prefix)?.to_string(), data.clone()));
        self.tensors.iter().filter_map(strip).collect()
    }
}

fn dtype(dtype: DType) -> Option<Dtype> {
    Some(match dtype {
        DType::F32 => Dtype::F32,
        DType::F64 => Dtype::F64,
        DType::I64 => Dtype::I64,
        _ => return None,
    })
}

fn tensor(view: &TensorView<'_>) -> Option<TensorData> {
    fn values<const N: usize, T>(bytes: &[u8], read: impl Fn([u8; N]) -> T) -> Vec<T> {
        bytes.as_chunks::<N>().0.iter().map(|chunk| read(*chunk)).collect()
    }
    let shape = view.shape().to_vec();
    Some(match view.dtype() {
        Dtype::F32 => TensorData::new(values(view.data(), f32::from_le_bytes), shape),
        Dtype::F64 => TensorData::new(values(view.data(), f64::from_le_bytes), shape),
        Dtype::I64 => TensorData::new(values(view.data(), i64::from_le_bytes), shape),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint() -> Checkpoint {
        let mut meta = Meta::start("kd", "abc");
        (meta.step, meta.epochs_done, meta.seconds) = (7, 1, 1.25);
        meta.epoch_sums.insert("task".into(), 0.1_f64.to_bits());
        meta.best = Some(Best::new(1, &Scores::new([("miou", 100.0 / 3.0), ("loss", f64::INFINITY)])));
        let tensors = BTreeMap::from([
            ("student.w".to_string(), TensorData::new(vec![1.0_f32, f32::MIN_POSITIVE, -0.0], [3])),
            ("student.n".to_string(), TensorData::new(vec![5_i64], [] as [usize; 0])),
            ("optimizer.w.v".to_string(), TensorData::new(vec![0.5_f32; 4], [2, 2])),
        ]);
        Checkpoint { meta, tensors }
    }

    #[test]
    fn what_is_read_is_what_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("checkpoint.safetensors");
        checkpoint().write(&path).unwrap();
        let mut back = Checkpoint::read(&path, "kd", "abc").unwrap();
        back.meta.sha256.clear();
        assert_eq!(back, checkpoint());
        assert_eq!(back.section("student.").len(), 2);
    }

    #[test]
    fn damaged_and_foreign_files_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("checkpoint.safetensors");
        checkpoint().write(&path).unwrap();
        let whole = std::fs::read(&path).unwrap();
        let error = |bytes: &[u8], arm: &str, print: &str| {
            std::fs::write(&path, bytes).unwrap();
            Checkpoint::read(&path, arm, print).unwrap_err().to_string()
        };
        for cut in [0, 5, 40, whole.len() - 1] {
            assert!(error(&whole[..cut], "kd", "abc").contains("damaged"), "cut at {cut}");
        }
        let mut flipped = whole.clone();
        *flipped.last_mut().unwrap() ^= 1;
        assert!(error(&flipped, "kd", "abc").contains("checksum"));
        assert!(error(&whole, "other", "abc").contains("belongs to the arm `kd`"));
        assert!(error(&whole, "kd", "xyz").contains("another recipe"));
        let plain = safetensors::serialize(Vec::<(String, TensorView<'_>)>::new(), None).unwrap();
        assert!(error(&plain, "kd", "abc").contains("weight file"));
    }
}
