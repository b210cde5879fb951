//! Prompts of several taps, and the file they are kept in.
//!
//! The file is safetensors: `TAP.SET` holds the prompts `[T, C]` of a set, and `config` the keys of [`PromptConfig`] as
//! TOML text in bytes, so that another configuration is noticed. The checkpoints of the released code are understood too:
//! per tap one tensor `mask_modules.K.mask_token` of shape `[4, T, C]` (LL3, then levels 1, 2, 3).
use std::collections::BTreeMap;
use std::path::Path;

use burn::prelude::*;
use burn::tensor::{DType, TensorData};
use subband_models::weights;
use subband_seed::Stream;

use super::prompts::{PromptConfig, PromptSets};
use super::{Grouping, NAME};
use crate::parameters::name_ids;
use crate::{DistillError, Parameters, StateDict, Variant};

/// The entry that holds the configuration.
const CONFIG: &str = "config";

/// The prompts of one or more teacher taps, all of one configuration.
#[derive(Module, Debug)]
pub struct Prompts {
    sets: Vec<PromptSets>,
    #[module(skip)]
    taps: Vec<String>,
}

impl Prompts {
    /// The prompts of these taps. Parameter ids follow from the order of the taps.
    pub fn new(taps: Vec<(String, PromptSets)>) -> Self {
        let (taps, sets) = taps.into_iter().unzip();
        name_ids(Self { sets, taps }, NAME)
    }

    /// Fresh prompts for taps with these numbers of channels.
    ///
    /// # Errors
    /// As [`PromptConfig::init`].
    pub fn init(
        config: &PromptConfig,
        taps: &[(String, usize)],
        parameters: &Parameters,
    ) -> Result<Self, DistillError> {
        let made = taps.iter().map(|(tap, channels)| Ok((tap.clone(), config.init(*channels, &parameters.part(tap))?)));
        Ok(Self::new(made.collect::<Result<_, DistillError>>()?))
    }

    /// The taps, in their order.
    pub fn taps(&self) -> &[String] {
        &self.taps
    }

    /// The prompts of a tap.
    pub fn get(&self, tap: &str) -> Option<&PromptSets> {
        self.iter().find(|(name, _)| *name == tap).map(|(_, sets)| sets)
    }

    /// Taps and their prompts.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &PromptSets)> {
        self.taps.iter().map(String::as_str).zip(&self.sets)
    }

    /// The prompts of these taps alone, on `device`.
    ///
    /// # Errors
    /// [`DistillError::Prompts`] that names a tap without prompts.
    pub fn for_taps(&self, taps: &[String], device: &Device) -> Result<Self, DistillError> {
        let pick = |tap: &String| {
            let sets = self.get(tap).ok_or_else(|| DistillError::Prompts {
                path: "[prompts]".into(),
                reason: format!(
                    "there are none for the tap `{tap}`, only for {}; add it to its `taps`",
                    self.taps.join(", ")
                ),
            })?;
            let sets = sets.valid().to_device(&device.clone().without_autodiff());
            Ok((tap.clone(), if device.is_autodiff() { sets.train() } else { sets }))
        };
        Ok(Self::new(taps.iter().map(pick).collect::<Result<_, DistillError>>()?))
    }

    /// Writes the file whole or not at all.
    ///
    /// # Errors
    /// [`DistillError::Prompts`] with what the file system says.
    pub fn write(&self, path: &Path) -> Result<(), DistillError> {
        let fails = |reason: String| refused(path, reason);
        let Some(first) = self.sets.first() else { return Err(fails("there are no prompts to write".to_string())) };
        let text = toml::to_string(first.config()).map_err(|e| fails(e.to_string()))?.into_bytes();
        let length = text.len();
        let mut state = StateDict::from([(CONFIG.to_string(), TensorData::new(text, [length]))]);
        for (tap, sets) in self.iter() {
            let named = sets.state_dict().into_iter();
            state.extend(named.map(|(set, data)| (format!("{tap}.{set}"), data.convert_dtype(DType::F32))));
        }
        weights::write_safetensors(path, &state).map_err(|e| fails(e.to_string()))
    }

    /// Reads a file that [`Prompts::write`] wrote; taps come in alphabetical order.
    ///
    /// # Errors
    /// [`DistillError::Prompts`]: no file, not a file of prompts, an unknown, missing or misshapen entry.
    pub fn read(path: &Path, device: &Device) -> Result<Self, DistillError> {
        let (config, state) = entries(path, open(path)?)?;
        Self::from_state(&config, state, device).map_err(|e| refused(path, e.to_string()))
    }

    /// Reads a file for these taps: one of [`Prompts::write`], which may hold more taps, or a checkpoint of the released
    /// code, whose modules belong to the taps in this order.
    ///
    /// # Errors
    /// As [`Prompts::read`], and a tap that the file lacks.
    pub fn read_for(path: &Path, taps: &[String], device: &Device) -> Result<Self, DistillError> {
        let state = open(path)?;
        let (config, state) = match released(&state, taps) {
            Some(found) => found.map_err(|reason| refused(path, reason))?,
            None => entries(path, state)?,
        };
        let prompts = Self::from_state(&config, state, device).map_err(|e| refused(path, e.to_string()))?;
        let held = prompts.taps.join(", ");
        let pick = |tap: &String| {
            let sets = prompts.get(tap).cloned().ok_or_else(|| {
                let text =
                    format!("it has no prompts for the tap `{tap}`, only for {held}; train them for the same taps");
                refused(path, text)
            })?;
            Ok((tap.clone(), sets))
        };
        Ok(Self::new(taps.iter().map(pick).collect::<Result<_, DistillError>>()?))
    }

    /// From entries `TAP.SET`.
    fn from_state(config: &PromptConfig, state: StateDict, device: &Device) -> Result<Self, DistillError> {
        let fails = |reason: String| DistillError::State { method: NAME.to_string(), reason };
        let mut taps = BTreeMap::<String, StateDict>::new();
        for (name, data) in state {
            let (tap, set) = name.rsplit_once('.').ok_or_else(|| fails(format!("`{name}` is not `TAP.SET`")))?;
            taps.entry(tap.to_string()).or_default().insert(set.to_string(), data);
        }
        if taps.is_empty() {
            return Err(fails("it holds no prompts".to_string()));
        }
        let fresh = Parameters::new(Stream::new(0), device);
        let made = taps.into_iter().map(|(tap, sets)| {
            let shape = sets.values().next().map(|d| d.shape().to_vec()).unwrap_or_default();
            let [tokens, channels] = shape[..] else {
                return Err(fails(format!("the prompts of `{tap}` have shape {shape:?} instead of [T, C]")));
            };
            if tokens != config.tokens {
                return Err(fails(format!(
                    "`{tap}` has {tokens} prompts per set; its configuration says {}",
                    config.tokens
                )));
            }
            Ok((tap, config.init(channels, &fresh)?.load(&sets)?))
        });
        Ok(Self::new(made.collect::<Result<_, DistillError>>()?))
    }
}

fn refused(path: &Path, reason: String) -> DistillError {
    DistillError::Prompts { path: path.to_path_buf(), reason }
}

/// All tensors of a file.
fn open(path: &Path) -> Result<StateDict, DistillError> {
    weights::read(path).map_err(|e| refused(path, e.to_string()))
}

/// The configuration and the entries `TAP.SET`.
fn entries(path: &Path, mut state: StateDict) -> Result<(PromptConfig, StateDict), DistillError> {
    let fails = |reason: String| refused(path, reason);
    let config = state.remove(CONFIG).ok_or_else(|| {
        fails(format!("it has no entry `{CONFIG}`, so it is not a file of prompts; stage 1 (`[prompts]`) writes one"))
    })?;
    let text = String::from_utf8(config.iter::<u8>().collect());
    let text = text.map_err(|_| fails(format!("its entry `{CONFIG}` is not text")))?;
    let config = toml::from_str(&text).map_err(|e| fails(format!("its entry `{CONFIG}`: {}", e.message())))?;
    Ok((config, state))
}

/// The prompts of a checkpoint of the released code as entries `TAP.SET`; `None` if it is not one.
fn released(state: &StateDict, taps: &[String]) -> Option<Result<(PromptConfig, StateDict), String>> {
    let number = |name: &str| name.strip_suffix(".mask_token")?.rsplit_once("mask_modules.")?.1.parse::<usize>().ok();
    let mut modules: Vec<(usize, &TensorData)> = state.iter().filter_map(|(k, v)| Some((number(k)?, v))).collect();
    modules.sort_by_key(|(k, _)| *k);
    if modules.is_empty() {
        return None;
    }
    Some(slices(&modules, taps))
}

fn slices(modules: &[(usize, &TensorData)], taps: &[String]) -> Result<(PromptConfig, StateDict), String> {
    if modules.len() != taps.len() {
        return Err(format!(
            "it has prompts for {} taps, the method reads {}: {}",
            modules.len(),
            taps.len(),
            taps.join(", ")
        ));
    }
    let mut config = PromptConfig { grouping: Grouping::Level, ..PromptConfig::of(Variant::Reference) };
    let mut state = StateDict::new();
    for ((k, data), tap) in modules.iter().zip(taps) {
        let shape = data.shape().to_vec();
        let [4, tokens, channels] = shape[..] else {
            return Err(format!("`mask_modules.{k}.mask_token` has shape {shape:?} instead of [4, T, C]"));
        };
        config.tokens = tokens;
        let values: Vec<f32> = data.iter::<f32>().collect();
        for (set, part) in ["ll3", "level1", "level2", "level3"].iter().zip(values.chunks_exact(tokens * channels)) {
            state.insert(format!("{tap}.{set}"), TensorData::new(part.to_vec(), [tokens, channels]));
        }
    }
    Ok((config, state))
}
