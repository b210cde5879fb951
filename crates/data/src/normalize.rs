//! Normalisation `(x - mean) / std` per channel, for `x` in `[0, 1]`, by name or by value.

use crate::DataError;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// The `normalize` key of a recipe: a name, or `{ mean = [..], std = [..] }`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Normalize {
    /// One of [`Normalize::NAMES`].
    Named(String),
    /// Given values, one per channel (or one for all), in `[0, 1]` units.
    Values {
        /// The mean of each channel.
        mean: Vec<f64>,
        /// The standard deviation of each channel, positive.
        std: Vec<f64>,
    },
}

/// Mean and standard deviation, one value per channel.
#[derive(Debug, Clone, PartialEq)]
pub struct Normalization {
    /// Mean of each channel.
    pub mean: Vec<f32>,
    /// Standard deviation of each channel.
    pub std: Vec<f32>,
}

impl Normalize {
    /// The names and what they stand for:
    /// `imagenet` and `cifar10`, `cifar100` (the statistics of those training sets), `digits` (of the embedded
    /// training digits), `half` (mean and deviation 0.5, as ViT and Mixer weights have it), `none` (values stay in
    /// `[0, 1]`).
    pub const NAMES: [&'static str; 6] = ["imagenet", "cifar10", "cifar100", "digits", "half", "none"];

    /// Normalisation by name.
    pub fn named(name: &str) -> Self {
        Self::Named(name.to_string())
    }

    /// The values for `channels` channels; an error for an unknown name, a wrong number of values, a deviation that
    /// is not positive, or a three-channel name on other channel counts.
    pub fn resolve(&self, channels: usize) -> Result<Normalization, DataError> {
        let (mean, std): (Vec<f64>, Vec<f64>) = match self {
            Self::Values { mean, std } => (mean.clone(), std.clone()),
            Self::Named(name) => named_values(name)?,
        };
        let fits = |v: &[f64]| v.len() == 1 || v.len() == channels;
        if !fits(&mean) || !fits(&std) {
            let what = match self {
                Self::Named(name) => format!("\"{name}\" is for {} channels", mean.len()),
                Self::Values { .. } => format!("{} means and {} deviations", mean.len(), std.len()),
            };
            let reason = format!(
                "{what}, the images have {channels}: give {{ mean = [..], std = [..] }} with {channels} values each, \
                 or \"half\""
            );
            return Err(DataError::config("normalize", reason));
        }
        if !mean.iter().all(|m| m.is_finite()) || !std.iter().all(|s| s.is_finite() && *s > 0.0) {
            return Err(DataError::config("normalize", "mean must be finite and std positive"));
        }
        let spread =
            |v: Vec<f64>| -> Vec<f32> { (0..channels).map(|c| v[if v.len() == 1 { 0 } else { c }] as f32).collect() };
        Ok(Normalization { mean: spread(mean), std: spread(std) })
    }
}

/// Published statistics. CIFAR-10's deviation is that of all training pixels (not the mean of per-image deviations).
fn named_values(name: &str) -> Result<(Vec<f64>, Vec<f64>), DataError> {
    Ok(match name {
        "imagenet" => (vec![0.485, 0.456, 0.406], vec![0.229, 0.224, 0.225]),
        "cifar10" => (vec![0.4914, 0.4822, 0.4465], vec![0.2470, 0.2435, 0.2616]),
        "cifar100" => (vec![0.5071, 0.4867, 0.4408], vec![0.2675, 0.2565, 0.2761]),
        "digits" => (vec![0.1313], vec![0.3086]),
        "half" => (vec![0.5], vec![0.5]),
        "none" => (vec![0.0], vec![1.0]),
        _ => {
            let reason = format!(
                "\"{name}\" is not known; use one of {} or {{ mean = [..], std = [..] }}",
                Normalize::NAMES.join(", ")
            );
            return Err(DataError::config("normalize", reason));
        }
    })
}

impl Normalization {
    /// Normalises `C x H x W` planes in place.
    pub fn apply(&self, planes: &mut [f32]) {
        let area = planes.len() / self.mean.len();
        for ((plane, &mean), &std) in planes.chunks_exact_mut(area).zip(&self.mean).zip(&self.std) {
            let scale = 1.0 / std;
            for value in plane {
                *value = (*value - mean) * scale;
            }
        }
    }
}

impl<'de> Deserialize<'de> for Normalize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NormalizeVisitor)
    }
}

/// Reads a string or a table; by hand, because an untagged enum loses the name of a wrong key.
struct NormalizeVisitor;

impl<'de> Visitor<'de> for NormalizeVisitor {
    type Value = Normalize;

    fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "one of {} or {{ mean = [..], std = [..] }}", Normalize::NAMES.join(", "))
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<Normalize, E> {
        if Normalize::NAMES.contains(&name) {
            Ok(Normalize::named(name))
        } else {
            Err(E::invalid_value(de::Unexpected::Str(name), &self))
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Normalize, A::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Table {
            mean: Vec<f64>,
            std: Vec<f64>,
        }
        let Table { mean, std } = Table::deserialize(de::value::MapAccessDeserializer::new(map))?;
        Ok(Normalize::Values { mean, std })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_values_resolve() {
        let imagenet = Normalize::named("imagenet").resolve(3).unwrap();
        let mut planes = vec![1.0, 0.485, 0.456, 0.0, 0.406, 0.631];
        imagenet.apply(&mut planes);
        let expected = [0.515 / 0.229, 0.0, 0.0, -0.456 / 0.224, 0.0, 1.0];
        assert!(planes.iter().zip(expected).all(|(a, b): (&f32, f32)| (a - b).abs() < 1e-5), "{planes:?}");
        assert_eq!(Normalize::named("digits").resolve(3).unwrap().mean.len(), 3);
        for name in Normalize::NAMES {
            Normalize::named(name).resolve(3).unwrap();
        }
        let error = Normalize::named("imagenet").resolve(4).unwrap_err().to_string();
        assert!(error.contains("imagenet") && error.contains('4'), "{error}");
        assert!(Normalize::named("imagnet").resolve(3).is_err());
        assert!(Normalize::Values { mean: vec![0.5], std: vec![0.0] }.resolve(1).is_err());
    }
}
