//! Receptive tokens: the masks of MasKD, how they are learned (stage 1) and the file they are kept in.
//!
//! With a map F of C channels and T tokens e_t: `M_t = sigmoid(<e_t, F>)` at each place. Stage 1 learns the tokens inside
//! the frozen teacher: `F' = sum_t p_t M_t F` takes the place of F under the task loss, plus the Dice coefficient of the
//! masks, `d = mean over t != u of 2 <M_t, M_u> / (|M_t|^2 + |M_u|^2 + 2e-12)`, so that they look at different places.
//! p = softmax(1x1 conv(mean over places(3x3 conv(F)))) is the optional weighting of the masks; without it p_t = 1.
//!
//! The file is safetensors, as that of FreeKD's prompts with the one set `map`: `TAP.map` holds the tokens `[T, C]`,
//! `TAP.weighting.first.weight` and so on the weighting, and `config` the line `transform = "none"` as bytes. Checkpoints
//! of the released code (`mask_modules.K.mask_token`, `mask_modules.K.prob.0.weight`, ..; that for segmentation has one
//! module, `mask_token`) are understood too.
use std::path::Path;

use burn::module::Param;
use burn::prelude::*;
use burn::tensor::activation::{sigmoid, softmax};
use burn::tensor::{DType, TensorData};
use subband_models::weights;

use crate::parameters::{load, state};
use crate::{Conv, DistillError, FrequencyKind, Init, Parameters, Prompts, Similarity, StateDict};

/// The entry that names the transform, and what it says: tokens look at maps, not at bands.
const CONFIG: &str = "config";
const TRANSFORM: &str = "transform = \"none\"";

/// The tokens of one tap.
#[derive(Module, Debug)]
pub struct ReceptiveTokens {
    /// `[T, C]`.
    pub(super) map: Param<Tensor<2>>,
    weighting: Option<Weighting>,
}

/// The module that weighs the masks of each sample.
#[derive(Module, Debug)]
struct Weighting {
    first: Conv,
    second: Conv,
}

impl ReceptiveTokens {
    /// Fresh tokens, drawn from N(0, 0.01^2): every mask is close to 1/2. The weighting's convolutions start Kaiming
    /// normal by fan-out, its biases uniform as PyTorch's.
    pub fn new(parameters: &Parameters, tokens: usize, channels: usize, weighting: bool) -> Self {
        let conv = |name: &str, output: usize, side: usize| {
            let part = parameters.part(name);
            Conv::new(&part, [channels, output], side, Init::kaiming_normal_fan_out(output * side * side))
                .with_bias(&part)
        };
        Self {
            map: parameters.tensor("map", [tokens, channels], Init::Normal(0.01)),
            weighting: weighting
                .then(|| Weighting { first: conv("first", channels, 3), second: conv("second", tokens, 1) }),
        }
    }

    /// Tokens T and channels C.
    pub fn size(&self) -> [usize; 2] {
        self.map.val().dims()
    }

    /// M.
    ///
    /// # Shapes
    /// `[N, C, H, W]` to `[N, T, H, W]`, values in (0, 1).
    pub fn masks(&self, map: Tensor<4>) -> Tensor<4> {
        let [n, _, h, w] = map.dims();
        let tokens = self.map.val().cast(map.dtype()).unsqueeze::<3>();
        let count = tokens.dims()[1];
        sigmoid(tokens.matmul(map.flatten::<3>(2, 3))).reshape([n, count, h, w])
    }

    /// p, if there is a weighting.
    ///
    /// # Shapes
    /// `[N, C, H, W]` to `[N, T, 1, 1]`, adding up to 1 over T.
    pub fn weights(&self, map: Tensor<4>) -> Option<Tensor<4>> {
        let weighting = self.weighting.as_ref()?;
        let pooled = weighting.first.forward(map).mean_dim(3).mean_dim(2);
        Some(softmax(weighting.second.forward(pooled), 1))
    }

    /// Stage 1: the map F' that takes the place of F, and the Dice coefficient of the masks (0 for one token).
    ///
    /// # Shapes
    /// `[N, C, H, W]` to the same and `[1]`.
    pub fn prompted(&self, map: Tensor<4>) -> (Tensor<4>, Tensor<1>) {
        let masks = self.masks(map.clone());
        let shares = match self.weights(map.clone()) {
            Some(weights) => masks.clone() * weights,
            None => masks.clone(),
        };
        (map * shares.sum_dim(1), Similarity::Dice.of(masks))
    }

    /// The tokens with no weighting.
    pub fn without_weighting(mut self) -> Self {
        self.weighting = None;
        self
    }
}

/// Writes the tokens of taps, the file whole or not at all.
///
/// # Errors
/// [`DistillError::State`] with what the file system says.
pub fn write_tokens(path: &Path, taps: &[(String, ReceptiveTokens)]) -> Result<(), DistillError> {
    let text = TRANSFORM.as_bytes().to_vec();
    let length = text.len();
    let mut entries = StateDict::from([(CONFIG.to_string(), TensorData::new(text, [length]))]);
    for (tap, tokens) in taps {
        let named = state(tokens, 0).into_iter();
        entries.extend(named.map(|(name, data)| (format!("{tap}.{name}"), data.convert_dtype(DType::F32))));
    }
    weights::write_safetensors(path, &entries).map_err(|e| failed(e.to_string()))
}

/// Reads the tokens of these teacher taps; the modules of a released checkpoint belong to the taps in their order. No
/// gradient reaches them.
///
/// # Errors
/// [`DistillError::State`]: no file, a file of something else, a tap that it lacks.
pub fn read_tokens(
    path: &Path,
    taps: &[String],
    parameters: &Parameters,
) -> Result<Vec<ReceptiveTokens>, DistillError> {
    let fails = |reason: String| failed(format!("`{}`: {reason}", path.display()));
    let mut entries = weights::read(path).map_err(|e| fails(e.to_string()))?;
    if let Some(released) = released(&entries, taps) {
        entries = released.map_err(fails)?;
    } else {
        let config: Vec<u8> = entries.remove(CONFIG).map(|data| data.iter::<u8>().collect()).unwrap_or_default();
        let config = String::from_utf8_lossy(&config);
        if !config.lines().any(|line| line.trim() == TRANSFORM) {
            return Err(fails(format!(
                "it has no entry `{CONFIG}` that says {TRANSFORM}; FreeKD's prompts are for bands and do not fit"
            )));
        }
    }
    let made = taps.iter().map(|tap| tokens_of(tap, &entries, parameters).map_err(fails));
    made.collect()
}

/// The tokens of these taps from prompts that the run's `[prompts]` learned with `transform = "none"`.
///
/// # Errors
/// [`DistillError::Prompts`] for prompts of another transform and for taps without prompts.
pub fn learned_tokens(
    learned: &Prompts,
    taps: &[String],
    parameters: &Parameters,
) -> Result<Vec<ReceptiveTokens>, DistillError> {
    let fails = |reason: String| DistillError::Prompts { path: "[prompts]".into(), reason };
    let mut entries = StateDict::new();
    for (tap, sets) in learned.for_taps(taps, parameters.device())?.iter() {
        if sets.config().transform != FrequencyKind::None {
            return Err(fails(
                "they are learned for bands, `maskd` takes those of whole maps: set `transform = \"none\"` there"
                    .into(),
            ));
        }
        entries.extend(sets.state_dict().into_iter().map(|(name, data)| (format!("{tap}.{name}"), data)));
    }
    taps.iter().map(|tap| tokens_of(tap, &entries, parameters).map_err(fails)).collect()
}

/// The tokens of one tap from entries `TAP.NAME`.
fn tokens_of(tap: &str, entries: &StateDict, parameters: &Parameters) -> Result<ReceptiveTokens, String> {
    let own = entries.iter().filter_map(|(name, data)| {
        let name = name.strip_prefix(tap)?.strip_prefix('.')?;
        (name == "map" || name.starts_with("weighting.")).then(|| (name.to_string(), data.clone()))
    });
    let own: StateDict = own.collect();
    let shape = own.get("map").map(|data| data.shape().to_vec());
    let Some([tokens, channels]) = shape.as_deref() else {
        let held: Vec<&str> = entries.keys().filter_map(|name| name.strip_suffix(".map")).collect();
        return Err(format!("it has no tokens [T, C] for the tap `{tap}`, only for {}", held.join(", ")));
    };
    let fresh = ReceptiveTokens::new(parameters, *tokens, *channels, own.len() > 1);
    load(fresh, 0, &own).map(Module::no_grad).map_err(|reason| format!("tap `{tap}`: {reason}"))
}

/// The entries of a checkpoint of the released code under the names of this one; `None` if it is not one.
fn released(entries: &StateDict, taps: &[String]) -> Option<Result<StateDict, String>> {
    let part = |name: &str| {
        // The code for segmentation saves one module alone.
        let (number, rest) = match name.rsplit_once("mask_modules.") {
            Some((_, behind)) => behind.split_once('.')?,
            None => ("0", name),
        };
        let rest = match rest {
            "mask_token" => "map",
            "prob.0.weight" => "weighting.first.weight",
            "prob.0.bias" => "weighting.first.bias",
            "prob.2.weight" => "weighting.second.weight",
            "prob.2.bias" => "weighting.second.bias",
            _ => return None,
        };
        Some((number.parse::<usize>().ok()?, rest))
    };
    let found: Vec<(usize, &str, &TensorData)> =
        entries.iter().filter_map(|(name, data)| part(name).map(|(k, rest)| (k, rest, data))).collect();
    let modules = found.iter().map(|(k, _, _)| k + 1).max()?;
    if modules != taps.len() {
        return Some(Err(format!(
            "it holds tokens for {modules} taps, the method reads {}: {}",
            taps.len(),
            taps.join(", ")
        )));
    }
    Some(Ok(found.into_iter().map(|(k, rest, data)| (format!("{}.{rest}", taps[k]), data.clone())).collect()))
}

fn failed(reason: String) -> DistillError {
    DistillError::State { method: super::NAME.to_string(), reason: format!("receptive tokens: {reason}") }
}
