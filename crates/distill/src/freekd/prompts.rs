//! Frequency prompts (section 3.2): what stage 1 learns and stage 2 looks through.
//!
//! With R a set's band of the teacher, `[C, h w]`, and P its prompts, `[T, C]`:
//!
//! `M = sigmoid(P R)` (equation 4), `R' = (sum_t M_t) R` (equation 5), `F' = inverse transform of all R'` (equation 6).
//!
//! With T = 2 and P = 0 every M is 1/2 and F' is the map itself; with T prompts it starts as T/2 times the map.
use burn::module::Param;
use burn::prelude::*;
use burn::tensor::activation::sigmoid;
use serde::{Deserialize, Serialize};

use super::frequency::{BandKeys, Bands};
use super::{FrequencyKind, Grouping, NAME, Similarity, bad};
use crate::keys::unread;
use crate::{DistillError, Init, Parameters, StateDict, Variant};

/// Keys of stage 1's prompts.
///
/// `variant` sets `tokens`, `grouping`, `similarity` and `crop` where they are not written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(from = "PromptKeys")]
pub struct PromptConfig {
    /// `reference` (default) or `paper`.
    pub variant: Variant,
    /// T, prompts per set, at least 1 (6 in the released configuration, 2 in the paper).
    pub tokens: usize,
    /// Which bands share prompts (reference: `level`, paper: `band`).
    pub grouping: Grouping,
    /// `dwt`, `dft` or `dct`.
    pub transform: FrequencyKind,
    /// Wavelet of `dwt` (`haar`).
    pub wavelet: String,
    /// How maps continue beyond their edges in `dwt` (`zero`).
    pub boundary: String,
    /// Levels, at least 1 (3).
    pub levels: usize,
    /// The dissimilarity loss (reference: `dice`, paper: `jaccard`).
    pub similarity: Similarity,
    /// Whether a prompted map is cropped to its input's size (reference: false, the inverse has an even size).
    pub crop: bool,
}

/// The keys as written.
#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
struct PromptKeys {
    variant: Option<Variant>,
    tokens: Option<usize>,
    grouping: Option<Grouping>,
    transform: Option<FrequencyKind>,
    wavelet: Option<String>,
    boundary: Option<String>,
    levels: Option<usize>,
    similarity: Option<Similarity>,
    crop: Option<bool>,
}

impl From<PromptKeys> for PromptConfig {
    fn from(keys: PromptKeys) -> Self {
        let usual = Self::of(keys.variant.unwrap_or(Variant::Reference));
        Self {
            variant: usual.variant,
            tokens: keys.tokens.unwrap_or(usual.tokens),
            grouping: keys.grouping.unwrap_or(usual.grouping),
            transform: keys.transform.unwrap_or(usual.transform),
            wavelet: keys.wavelet.unwrap_or(usual.wavelet),
            boundary: keys.boundary.unwrap_or(usual.boundary),
            levels: keys.levels.unwrap_or(usual.levels),
            similarity: keys.similarity.unwrap_or(usual.similarity),
            crop: keys.crop.unwrap_or(usual.crop),
        }
    }
}

impl Default for PromptConfig {
    fn default() -> Self {
        Self::of(Variant::Reference)
    }
}

impl PromptConfig {
    /// The defaults of a variant.
    pub fn of(variant: Variant) -> Self {
        let paper = variant == Variant::Paper;
        Self {
            variant,
            tokens: if paper { 2 } else { 6 },
            grouping: if paper { Grouping::Band } else { Grouping::Level },
            transform: FrequencyKind::Dwt,
            wavelet: "haar".to_string(),
            boundary: "zero".to_string(),
            levels: 3,
            similarity: if paper { Similarity::Jaccard } else { Similarity::Dice },
            crop: paper,
        }
    }

    /// The prompts of one tap with this many channels, drawn from N(0, 0.01^2).
    ///
    /// # Errors
    /// [`DistillError::BadConfig`] that names the key, also one that the transform does not read.
    pub fn init(&self, channels: usize, parameters: &Parameters) -> Result<PromptSets, DistillError> {
        if self.tokens == 0 || channels == 0 {
            return Err(bad(format!("`tokens = {}` over {channels} channels: both must be at least 1", self.tokens)));
        }
        let bands = self.keys().init()?;
        self.check_unread()?;
        let set = |name: &String| parameters.tensor(name, [self.tokens, channels], Init::Normal(0.01));
        let sets = bands.set_names().iter().map(set).collect();
        Ok(PromptSets { sets, config: self.clone(), bands })
    }

    /// Refuses keys of other transforms.
    fn check_unread(&self) -> Result<(), DistillError> {
        let usual = Self::of(self.variant);
        let wavelets = ["wavelet", "boundary"].as_slice();
        let found = match self.transform {
            FrequencyKind::Dwt => None,
            FrequencyKind::Dft | FrequencyKind::Dct => unread(self, &usual, wavelets, "`transform = \"dwt\"`"),
            FrequencyKind::None => unread(self, &usual, wavelets, "`transform = \"dwt\"`")
                .or_else(|| unread(self, &usual, &["levels", "grouping"], "the transforms into bands")),
        };
        found.map_or(Ok(()), |reason| Err(bad(reason)))
    }

    /// The keys that both stages share.
    pub(super) fn keys(&self) -> BandKeys {
        BandKeys {
            transform: self.transform,
            wavelet: self.wavelet.clone(),
            boundary: self.boundary.clone(),
            levels: self.levels,
            grouping: self.grouping,
        }
    }
}

/// The prompts of one tap: `[T, C]` per set. Made by [`PromptConfig::init`].
#[derive(Module, Debug)]
pub struct PromptSets {
    /// In the order of [`PromptSets::names`].
    sets: Vec<Param<Tensor<2>>>,
    #[module(skip)]
    config: PromptConfig,
    #[module(skip)]
    bands: Bands,
}

impl PromptSets {
    /// The configuration.
    pub fn config(&self) -> &PromptConfig {
        &self.config
    }

    /// Channels C of the tap.
    pub fn channels(&self) -> usize {
        self.sets[0].val().dims()[1]
    }

    /// Names of the sets: `ll3`, then the finest level first: `level1`, `level2`, .. or `lh1`, `hl1`, `hh1`, `lh2`, ..
    pub fn names(&self) -> Vec<String> {
        self.bands.set_names()
    }

    /// The masked bands through the inverse transform, and the dissimilarity loss.
    ///
    /// # Shapes
    /// `[N, C, H, W]` to the same and `[1]`; without `crop` wavelets return H and W rounded up to even numbers.
    ///
    /// # Errors
    /// [`DistillError::Shapes`] for another number of channels, [`DistillError::Spectral`] for an empty map.
    pub fn prompted(&self, map: Tensor<4>) -> Result<(Tensor<4>, Tensor<1>), DistillError> {
        self.fits(&map)?;
        let mut bands = self.bands.forward(map)?;
        let masks = self.of_bands(self.bands.set_maps(&bands));
        let overlap = masks.iter().map(|m| self.config.similarity.of(m.clone())).reduce(|a, b| a + b);
        let sums = masks.into_iter().map(|m| m.sum_dim(1)).collect();
        let (low, details) = self.bands.spread(sums);
        bands.ll = bands.ll * low;
        for (detail, factor) in bands.details.iter_mut().zip(details) {
            detail.bands = detail.bands.clone() * factor;
        }
        let map = self.bands.inverse(bands, self.config.crop)?;
        // There is always the low set.
        Ok((map, overlap.expect("at least one set")))
    }

    /// The masks of every set, by its name.
    ///
    /// # Shapes
    /// `[N, C, H, W]` to `[N, T, h, w]` per set, values in (0, 1).
    ///
    /// # Errors
    /// As [`PromptSets::prompted`].
    pub fn masks(&self, map: Tensor<4>) -> Result<Vec<(String, Tensor<4>)>, DistillError> {
        self.fits(&map)?;
        let bands = self.bands.forward(map)?;
        Ok(self.names().into_iter().zip(self.of_bands(self.bands.set_maps(&bands))).collect())
    }

    /// The prompts by the names of their sets.
    pub fn state_dict(&self) -> StateDict {
        self.names().into_iter().zip(self.sets.iter().map(|set| set.val().into_data())).collect()
    }

    /// Puts saved prompts back.
    ///
    /// # Errors
    /// [`DistillError::State`] for a missing, unknown or misshapen set; nothing is then loaded.
    pub fn load(mut self, saved: &StateDict) -> Result<Self, DistillError> {
        let fails = |reason: String| DistillError::State { method: NAME.to_string(), reason };
        let names = self.names();
        if let Some(unknown) = saved.keys().find(|k| !names.contains(k)) {
            return Err(fails(format!("`{unknown}` is saved but no set of it; the sets are {}", names.join(", "))));
        }
        let expected = self.sets[0].val().dims();
        for name in &names {
            let data = saved.get(name).ok_or_else(|| fails(format!("the set `{name}` is missing")))?;
            if data.shape().to_vec() != expected {
                return Err(fails(format!("`{name}` has shape {:?} instead of {expected:?}", data.shape().to_vec())));
            }
        }
        let filled = names.iter().zip(self.sets).map(|(name, set)| {
            set.map(|old| {
                let new: Tensor<2> = Tensor::from_data(saved[name].clone(), (&old.device(), old.dtype()));
                if old.is_require_grad() { new.require_grad() } else { new }
            })
        });
        self.sets = filled.collect();
        Ok(self)
    }

    /// sigmoid(P R) of every set.
    fn of_bands(&self, maps: Vec<Tensor<4>>) -> Vec<Tensor<4>> {
        let masks = self.sets.iter().zip(maps).map(|(prompts, map)| sigmoid(product(prompts.val(), map)));
        masks.collect()
    }

    /// The mean over the prompts of the masks of some sets, for a loss: `sum_t |M_t a - M_t b| / T` is
    /// `|a - b| sum_t M_t / T`, since masks are positive.
    ///
    /// The transform is linear and treats channels alike, so `P R(x)` is `R(P x)`: T maps per set are transformed
    /// instead of C.
    ///
    /// # Shapes
    /// `[N, C, H, W]` to `[N, 1, h, w]` for each set with `wanted`; the others are `None`. No gradient.
    pub(super) fn mean_masks(
        &self,
        map: Tensor<4>,
        wanted: impl Fn(usize) -> bool,
    ) -> Result<Vec<Option<Tensor<4>>>, DistillError> {
        self.fits(&map)?;
        let chosen: Vec<usize> = (0..self.sets.len()).filter(|&k| wanted(k)).collect();
        let prompts = chosen.iter().map(|&k| self.sets[k].val().cast(map.dtype())).collect();
        let seen = product(Tensor::cat(prompts, 0).detach(), map.detach());
        let bands = self.bands.forward(seen)?;
        let tokens = self.config.tokens;
        let maps = self.bands.set_maps(&bands);
        let mean = |k: usize, map: Tensor<4>| {
            let at = chosen.iter().position(|&c| c == k)?;
            Some(sigmoid(map.narrow(1, at * tokens, tokens)).mean_dim(1))
        };
        Ok(maps.into_iter().enumerate().map(|(k, map)| mean(k, map)).collect())
    }

    fn fits(&self, map: &Tensor<4>) -> Result<(), DistillError> {
        let (found, channels) = (map.dims()[1], self.channels());
        if found == channels {
            return Ok(());
        }
        Err(DistillError::Shapes {
            method: NAME.to_string(),
            reason: format!("a map of {found} channels and prompts for {channels}; take the prompts of the same tap"),
        })
    }
}

/// `P R`: `[T, C]` times `[N, C, h, w]` to `[N, T, h, w]`.
fn product(prompts: Tensor<2>, map: Tensor<4>) -> Tensor<4> {
    let [n, _, h, w] = map.dims();
    let tokens = prompts.dims()[0];
    prompts.unsqueeze::<3>().matmul(map.flatten::<3>(2, 3)).reshape([n, tokens, h, w])
}
