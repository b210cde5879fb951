//! A network's tensors by PyTorch's names: out of it and into it.
use burn::module::Param;
use burn::prelude::*;
use burn::tensor::{DType, TensorData};

use crate::align::{Alignment, Mismatch, align, free_axes, guess, mismatches};
use crate::backbone::is_backbone_alone;
use crate::layers::{BatchNorm2d, Layer};
use crate::weights::StateDict;
use crate::{ModelError, Network};

/// What loading did.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct LoadReport {
    /// Tensors loaded.
    pub loaded: usize,
    /// What stood in front of the names in the file and was left out (`state_dict.module.`, ...).
    pub prefix: String,
    /// Tensors of the network that the file lacks; they keep their values.
    pub missing: Vec<String>,
    /// Tensors of the file, below the prefix, that the network lacks.
    pub unused: Vec<String>,
    /// Number of tensors of the file outside of the prefix (optimiser states, other modules).
    pub outside: usize,
    /// Tensors left out because their shape differs (only from [`Network::load_partial`] and, the first convolution
    /// alone, from [`Network::load_backbone`]).
    pub mismatched: Vec<Mismatch>,
}

impl Network {
    /// All tensors by PyTorch's names, as `load_state_dict(strict=True)` wants them: parameters, running statistics
    /// and `num_batches_tracked` (int64 scalars).
    pub fn state_dict(&self) -> StateDict {
        let mut state = StateDict::new();
        for index in 0..self.graph().layers.len() {
            let spec = &self.graph().layers[index];
            let mut put = |suffix: &str, data: TensorData| state.insert(spec.key(suffix), data);
            match self.layer(index) {
                Layer::Conv(l) => {
                    put("weight", data(l.weight.val()));
                    l.bias.iter().for_each(|b| drop(put("bias", data(b.val()))));
                }
                Layer::Linear(l) => {
                    put("weight", data(l.weight.val()));
                    put("bias", data(l.bias.val()));
                    if let Some(lora) = &l.lora {
                        put("lora_A", data(lora.down.val()));
                        put("lora_B", data(lora.up.val()));
                    }
                }
                Layer::LayerNorm(l) => {
                    put("weight", data(l.weight.val()));
                    put("bias", data(l.bias.val()));
                }
                Layer::Embedding(l) => {
                    put("cls_token", data(l.cls_token.val()));
                    l.dist_token.iter().for_each(|t| drop(put("dist_token", data(t.val()))));
                    put("pos_embed", data(l.pos_embed.val()));
                }
                Layer::BatchNorm(l) => {
                    put("weight", data(l.weight.val()));
                    put("bias", data(l.bias.val()));
                    put("running_mean", data(l.running_mean.get()));
                    put("running_var", data(l.running_var.get()));
                    // Counts of training batches stay far below 2^63.
                    put("num_batches_tracked", TensorData::new(vec![l.batches.get() as i64], [0usize; 0]));
                }
            }
        }
        state
    }

    /// Loads all tensors. The prefix of the names is found by itself; nothing changes when an error is returned.
    ///
    /// # Errors
    /// A missing tensor (but for `num_batches_tracked`), another shape, or so many unused tensors that the file is of
    /// another network. The error says what the file fits, when that is a known network.
    pub fn load(&mut self, state: &StateDict) -> Result<LoadReport, ModelError> {
        let entries: Vec<_> = self.graph().entries().collect();
        let found = align(&entries, state);
        // A shallower network of the same family finds all its names in a deeper one's file.
        let foreign = found.unused.len() * 4 > entries.len() || (!found.unused.is_empty() && guess(state).is_some());
        if !found.missing.is_empty() || foreign {
            return Err(self.no_fit(&entries, &found, state));
        }
        let mismatched = mismatches(&entries, &found.prefix, state);
        if !mismatched.is_empty() {
            return Err(self.shape_mismatch(&mismatched, state));
        }
        self.assign(found, state, vec![])
    }

    /// Loads the tensors whose name and shape fit and leaves the others as they are: a backbone under another
    /// classifier, a stem with other input channels.
    ///
    /// # Errors
    /// Nothing fits at all.
    pub fn load_partial(&mut self, state: &StateDict) -> Result<LoadReport, ModelError> {
        let entries: Vec<_> = self.graph().entries().collect();
        let found = align(&entries, state);
        let mismatched = mismatches(&entries, &found.prefix, state);
        if found.matched == 0 || mismatched.len() == found.matched {
            return Err(self.no_fit(&entries, &found, state));
        }
        self.assign(found, state, mismatched)
    }

    fn no_fit(&self, entries: &[(String, Vec<usize>)], found: &Alignment, state: &StateDict) -> ModelError {
        let known = guess(state).filter(|g| !g.names.contains(&self.name()));
        let alone = "; it holds the backbone alone: load it as such (`backbone` in a recipe) and train the heads";
        let alone = if is_backbone_alone(self.graph(), state) { alone } else { "" };
        let remedy = known.map(|guess| format!("; the file fits {guess}")).unwrap_or_default() + alone;
        other_network(format!("`{}`", self.name()), entries, found, state, remedy)
    }

    fn shape_mismatch(&self, mismatched: &[Mismatch], state: &StateDict) -> ModelError {
        let free = free_axes(self.graph());
        let remedy = if mismatched.iter().all(|m| free.iter().any(|(name, _)| *name == m.name)) {
            let stem = mismatched.iter().find(|m| m.name == free[0].0);
            let (what, axis) = stem.map_or(("classes", 0), |_| ("input channels", 1));
            let found = stem.or(mismatched.first()).and_then(|m| m.file.get(axis).copied()).unwrap_or_default();
            format!(
                "; the file has another number of {what}, {found}: build the network with it, or load what fits and train \
                 the rest"
            )
        } else {
            guess(state).map(|guess| format!("; the file fits {guess}")).unwrap_or_default()
        };
        ModelError::ShapeMismatch { target: format!("`{}`", self.name()), details: sample(mismatched), remedy }
    }

    /// Puts the tensors in, all names and shapes having been looked at.
    pub(crate) fn assign(
        &mut self,
        found: Alignment,
        state: &StateDict,
        skip: Vec<Mismatch>,
    ) -> Result<LoadReport, ModelError> {
        let mut layers = self.layers_mut().to_vec();
        let mut loaded = 0;
        for (layer, spec) in layers.iter_mut().zip(&self.graph().layers) {
            let mut take = |suffix: &str| -> Result<Option<TensorData>, ModelError> {
                let name = spec.key(suffix);
                let skipped = skip.iter().any(|mismatch| mismatch.name == name);
                let tensor = state.get(&format!("{}{name}", found.prefix)).filter(|_| !skipped);
                loaded += usize::from(tensor.is_some());
                tensor.map(|t| float(&name, t)).transpose()
            };
            assign_layer(layer, &mut take)?;
        }
        self.layers_mut().clone_from_slice(&layers);
        self.apply_frozen();
        let Alignment { prefix, missing, unused, outside, .. } = found;
        Ok(LoadReport { loaded, prefix, missing, unused, outside, mismatched: skip })
    }
}

type Take<'a> = &'a mut dyn FnMut(&str) -> Result<Option<TensorData>, ModelError>;

fn assign_layer(layer: &mut Layer, take: Take<'_>) -> Result<(), ModelError> {
    match layer {
        Layer::Conv(l) => {
            set(&mut l.weight, take("weight")?);
            if let Some(bias) = &mut l.bias {
                set(bias, take("bias")?);
            }
        }
        Layer::Linear(l) => {
            set(&mut l.weight, take("weight")?);
            set(&mut l.bias, take("bias")?);
            if let Some(lora) = &mut l.lora {
                set(&mut lora.down, take("lora_A")?);
                set(&mut lora.up, take("lora_B")?);
            }
        }
        Layer::LayerNorm(l) => {
            set(&mut l.weight, take("weight")?);
            set(&mut l.bias, take("bias")?);
        }
        Layer::Embedding(l) => {
            set(&mut l.cls_token, take("cls_token")?);
            if let Some(token) = &mut l.dist_token {
                set(token, take("dist_token")?);
            }
            set(&mut l.pos_embed, take("pos_embed")?);
        }
        Layer::BatchNorm(l) => assign_batch_norm(l, take)?,
    }
    Ok(())
}

fn assign_batch_norm(l: &mut BatchNorm2d, take: Take<'_>) -> Result<(), ModelError> {
    set(&mut l.weight, take("weight")?);
    set(&mut l.bias, take("bias")?);
    for (buffer, suffix) in [(&l.running_mean, "running_mean"), (&l.running_var, "running_var")] {
        if let Some(data) = take(suffix)? {
            let old = buffer.get();
            buffer.set(Tensor::from_data(data, (&old.device(), old.dtype())));
        }
    }
    if let Some(count) = take("num_batches_tracked")?.and_then(|data| data.iter::<i64>().next()) {
        l.batches.set(count.max(0) as u64);
    }
    Ok(())
}

fn set<const D: usize>(param: &mut Param<Tensor<D>>, data: Option<TensorData>) {
    if let Some(data) = data {
        let old = param.val();
        let value = Tensor::from_data(data, (&old.device(), old.dtype()));
        *param = Param::initialized(param.id, value).set_require_grad(true);
    }
}

fn data<const D: usize>(tensor: Tensor<D>) -> TensorData {
    tensor.without_autodiff().into_data()
}

/// As f32; counters stay int64.
fn float(name: &str, data: &TensorData) -> Result<TensorData, ModelError> {
    match data.dtype() {
        DType::F32 | DType::I64 => Ok(data.clone()),
        DType::F64 | DType::F16 | DType::BF16 | DType::I32 => Ok(data.clone().convert_dtype(DType::F32)),
        other => Err(ModelError::BadDtype { name: name.to_string(), dtype: format!("{other:?}") }),
    }
}

/// The error of weights whose names are not those of `target`, the network or its backbone.
pub(crate) fn other_network(
    target: String,
    entries: &[(String, Vec<usize>)],
    found: &Alignment,
    state: &StateDict,
    remedy: String,
) -> ModelError {
    ModelError::OtherNetwork {
        target,
        matched: found.matched,
        expected: entries.len(),
        found: state.len(),
        missing: sample(&found.missing),
        unexpected: sample(&found.unused),
        remedy,
    }
}

/// A few names, for a message.
pub(crate) fn sample(names: &[impl std::fmt::Display]) -> String {
    match names {
        [] => "none".to_string(),
        [a, b, c, rest @ ..] if rest.len() > 1 => format!("{a}, {b}, {c} and {} more", rest.len()),
        few => few.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
    }
}
