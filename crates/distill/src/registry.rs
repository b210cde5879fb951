//! All methods: one line each.
use burn::module::Module;
use burn::prelude::*;
use subband_seed::Stream;

use subband_models::nearest;

use crate::keys::field_names;
use crate::parameters::{Parameters, StateDict, load, name_ids, state};
use crate::term::TERM_KEYS;
// Every method and its configuration by name, so that a new one needs no import here.
use crate::*;

macro_rules! registry {
    ($($(#[$doc:meta])* $method:ident($config:ident);)+) => {
        /// The configuration of any method, chosen by the key `method` of a table.
        #[derive(Debug, Clone, PartialEq)]
        pub enum AnyMethodConfig {
            $($(#[$doc])* $method($config),)+
        }

        /// Any method, with its trainable adapters.
        #[derive(Module, Debug)]
        #[allow(clippy::large_enum_variant, reason = "a handful exist per run")]
        pub enum AnyMethod {
            $($(#[$doc])* $method($method),)+
        }

        /// Facts about every method, in the order of the registry.
        pub fn method_docs() -> Vec<About> {
            vec![$($config::ABOUT),+]
        }

        impl AnyMethodConfig {
            /// Reads a table with `method = "..."` and that method's own keys.
            ///
            /// Unknown methods and keys are errors that offer the nearest name.
            pub fn from_table(table: &toml::Table) -> Result<Self, DistillError> {
                let mut own = table.clone();
                let name = match own.remove("method") {
                    Some(toml::Value::String(name)) => name,
                    _ => return Err(DistillError::NoMethod { known: method_names().join(", ") }),
                };
                $(if name == $config::ABOUT.name {
                    return read::<$config>(own).map(Self::$method);
                })+
                Err(DistillError::UnknownMethod {
                    nearest: nearest(&name, method_names()),
                    known: method_names().join(", "),
                    name,
                })
            }

            /// The table with every key written out (absent optional keys stay absent).
            pub fn to_table(&self) -> toml::Table {
                match self { $(Self::$method(config) => write(config),)+ }
            }

            /// Facts about the method.
            pub fn about(&self) -> About {
                match self { $(Self::$method(_) => $config::ABOUT,)+ }
            }

            /// Which taps are read, given both networks.
            pub fn taps(&self, book: &ShapeBook) -> Result<Wanted, DistillError> {
                match self { $(Self::$method(config) => config.taps(book),)+ }
            }

            /// Builds the method with adapters for these shapes.
            ///
            /// `path` names the term in the run (arm and term) and makes the parameter ids; initial values come from
            /// `seed`; `device` is the student's autodiff device.
            pub fn init(
                &self,
                book: &ShapeBook,
                path: &str,
                seed: Stream,
                device: &Device,
            ) -> Result<AnyMethod, DistillError> {
                self.taps(book)?;
                let parameters = Parameters::new(seed, device);
                let method = match self {
                    $(Self::$method(config) => AnyMethod::$method(config.init(book, &parameters)?),)+
                };
                Ok(name_ids(method, path))
            }

            /// The same method without files that only exist once a run is on its way; its parameters are equal.
            fn without_files(&self) -> Self {
                match self { $(Self::$method(config) => Self::$method(config.without_files()),)+ }
            }

            fn largest_temporary(&self, book: &ShapeBook, batch: usize) -> Result<usize, DistillError> {
                match self { $(Self::$method(config) => config.largest_temporary(book, batch),)+ }
            }
        }

        impl AnyMethod {
            /// Name of the method in recipes.
            pub fn name(&self) -> &'static str {
                match self { $(Self::$method(_) => $config::ABOUT.name,)+ }
            }

            /// The parts of the loss for one step, before weight and warm-up.
            pub fn forward(&self, input: &StepInput) -> Result<Vec<Term>, DistillError> {
                let terms = match self { $(Self::$method(method) => method.forward(input),)+ };
                terms.map(Term::distinct)
            }
        }
    };
}

registry! {
    /// Soft logits (Hinton et al. 2014).
    Kd(KdConfig);
    /// Decoupled soft logits (Zhao et al. 2022).
    Dkd(DkdConfig);
    /// One hint layer (Romero et al. 2015).
    FitNet(FitNetConfig);
    /// Attention maps (Zagoruyko and Komodakis 2017).
    AttentionTransfer(AttentionTransferConfig);
    /// Relations between samples (Park et al. 2019).
    Rkd(RkdConfig);
    /// Review of shallow teacher features by fused deep ones (Chen et al. 2021).
    ReviewKd(ReviewKdConfig);
    /// Frequency attention module (Pham et al. 2024).
    FamKd(FamKdConfig);
    /// Bands of a wavelet transform where learned prompts look (Zhang et al. 2024).
    FreeKd(FreeKdConfig);
    /// One-for-all logits (Hao et al. 2023).
    Ofa(OfaConfig);
    /// Two bands over space (Thaker et al. 2026).
    FreqKd(FreqKdConfig);
    /// Two bands over the channels, with shared classifiers (Liu et al. 2026).
    FdCmkd(FdCmkdConfig);
    /// Channels as distributions over places (Shu et al. 2021).
    Cwd(CwdConfig);
    /// Generation from a masked map (Yang et al. 2022).
    Mgd(MgdConfig);
    /// Correlation of channels (Cao et al. 2022).
    Pkd(PkdConfig);
    /// Correlation of predictions (Huang et al. 2022).
    Dist(DistConfig);
    /// Error under learned masks (Huang et al. 2023).
    Maskd(MaskdConfig);
    /// A loss put together in the recipe.
    Compose(ComposeConfig);
    /// Crossed attention and wavelet bands (MonoAFKD).
    MonoAfkd(MonoAfkdConfig);
    /// Affinity between places (Chong et al. 2022).
    Affinity(AffinityConfig);
    /// Contrast within the batch (van den Oord et al. 2018).
    InfoNce(InfoNceConfig);
    /// Plain mean squared error.
    Mse(MseConfig);
    /// Wavelet bands refined in two streams (after Wang and Wang 2026, a reconstruction).
    Sfkd(SfkdConfig);
    /// Means and residuals over space and channels (UFD-KD's code).
    UfdKd(UfdKdConfig);
    /// Real Fourier spectra (Tian et al. 2024).
    SpectralKd(SpectralKdConfig);
    /// Depthwise spectral filter with a smooth high-pass (SFAKD's code).
    Sfakd(SfakdConfig);
    /// Wavelet detail bands (Zhang et al. 2022).
    WaveletKd(WaveletKdConfig);
    /// Focal frequency loss (Jiang et al. 2021).
    Ffl(FflConfig);
}

impl AnyMethodConfig {
    /// What the method adds to a training step of `batch` samples. Builds the adapters once on `device` to count them.
    pub fn cost(&self, book: &ShapeBook, batch: usize, device: &Device) -> Result<Cost, DistillError> {
        let method = self.without_files().init(book, "plan", Stream::new(0), device)?;
        let elements = self.largest_temporary(book, batch)?;
        Ok(Cost { parameters: method.num_params(), largest_temporary: elements * std::mem::size_of::<f32>() })
    }
}

impl AnyMethod {
    /// Trainable numbers of the adapters.
    pub fn param_count(&self) -> usize {
        self.num_params()
    }

    /// The adapters' parameters by name.
    pub fn state_dict(&self) -> StateDict {
        // The first part of each path is the enum's variant.
        state(self, 1)
    }

    /// Puts saved parameters back. Missing, unknown or misshapen ones are errors and leave nothing half-loaded.
    pub fn load(self, saved: &StateDict) -> Result<Self, DistillError> {
        let method = self.name().to_string();
        load(self, 1, saved).map_err(|reason| DistillError::State { method, reason })
    }
}

/// Names of all methods, in the order of the registry.
pub fn method_names() -> Vec<&'static str> {
    method_docs().iter().map(|about| about.name).collect()
}

fn read<C: MethodConfig>(table: toml::Table) -> Result<C, DistillError> {
    let known = field_names::<C>();
    if let Some(key) = table.keys().find(|key| !known.contains(&key.as_str())) {
        let all: Vec<&str> = known.iter().chain(&TERM_KEYS).copied().collect();
        return Err(DistillError::UnknownKey {
            method: C::ABOUT.name.to_string(),
            key: key.clone(),
            nearest: nearest(key, all.iter().copied()),
            known: all.join(", "),
        });
    }
    toml::Value::Table(over_defaults::<C>(table)).try_into().map_err(|e: toml::de::Error| DistillError::BadConfig {
        method: C::ABOUT.name.to_string(),
        reason: e.message().to_string(),
    })
}

/// The table, with the keys that a table inside it leaves out taken from the method's default: `align = { grid = "student" }`
/// keeps the method's own adapter.
fn over_defaults<C: MethodConfig>(mut table: toml::Table) -> toml::Table {
    let defaults = toml::Table::try_from(C::default()).unwrap_or_default();
    for (key, value) in &mut table {
        if let (toml::Value::Table(given), Some(toml::Value::Table(default))) = (value, defaults.get(key)) {
            for (key, value) in default {
                given.entry(key).or_insert_with(|| value.clone());
            }
        }
    }
    table
}

fn write<C: MethodConfig>(config: &C) -> toml::Table {
    // A configuration is a struct of numbers, words and lists: TOML can always hold it.
    let mut table = toml::Table::try_from(config).unwrap_or_default();
    table.insert("method".to_string(), C::ABOUT.name.into());
    table
}

#[cfg(test)]
mod temporaries;
#[cfg(test)]
mod tests;
