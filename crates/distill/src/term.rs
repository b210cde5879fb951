//! A term of the total loss: its method, weight and warm-up, as a recipe writes them.
use serde::{Serialize, Serializer};

use crate::{AnyMethodConfig, DistillError};

/// Full weight of a term: `0.9` or `"auto:0.5"` in a recipe.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Weight {
    /// This factor, finite.
    Fixed(f64),
    /// The factor that makes the norm of the term's gradient on the student's parameters this share of the norm of the
    /// task's; whoever trains measures it.
    Auto(f64),
}

impl Weight {
    /// What stands before the share of an automatic weight.
    const AUTO: &'static str = "auto:";

    /// Reads `0.9` or `"auto:0.5"`; `None` for anything else.
    fn read(value: &toml::Value) -> Option<Self> {
        let finite = |number: &f64| number.is_finite();
        match value {
            toml::Value::Integer(weight) => Some(Self::Fixed(*weight as f64)),
            toml::Value::Float(weight) => Some(*weight).filter(finite).map(Self::Fixed),
            toml::Value::String(text) => {
                let share = text.trim().strip_prefix(Self::AUTO)?.trim().parse().ok();
                share.filter(finite).map(Self::Auto)
            }
            _ => None,
        }
    }

    /// The factor, or the share of an automatic weight.
    pub fn number(self) -> f64 {
        match self {
            Self::Fixed(number) | Self::Auto(number) => number,
        }
    }

    /// The share of an automatic weight.
    pub fn share(self) -> Option<f64> {
        match self {
            Self::Fixed(_) => None,
            Self::Auto(share) => Some(share),
        }
    }
}

impl std::fmt::Display for Weight {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Fixed(weight) => write!(f, "{weight}"),
            Self::Auto(share) => write!(f, "{}{share}", Self::AUTO),
        }
    }
}

/// A number, or the text `auto:<share>`.
impl Serialize for Weight {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Fixed(weight) => serializer.serialize_f64(*weight),
            Self::Auto(_) => serializer.collect_str(self),
        }
    }
}

impl From<Weight> for toml::Value {
    fn from(weight: Weight) -> Self {
        match weight {
            Weight::Fixed(weight) => weight.into(),
            Weight::Auto(_) => weight.to_string().into(),
        }
    }
}

/// Weight of a term with a linear warm-up.
///
/// `w(epoch) = weight * min(epoch / warmup_epochs, 1)`, epoch counted from 1 (as mdistiller and FAM-KD's code do).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TermWeight {
    /// Full weight.
    pub weight: Weight,
    /// Epochs until the full weight is reached; 0 and 1 mean from the first epoch.
    pub warmup_epochs: usize,
}

impl TermWeight {
    /// The weight in an epoch (from 1) when the full weight is `full`: the factor of a fixed weight, or what was
    /// measured for an automatic one.
    pub fn at(&self, epoch: usize, full: f64) -> f64 {
        if epoch >= self.warmup_epochs { full } else { full * epoch as f64 / self.warmup_epochs as f64 }
    }
}

/// One `[[arm.term]]` of a recipe: `method`, optional `name`, `weight` and `warmup_epochs`, then the method's own keys.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "toml::Table", into = "toml::Table")]
pub struct TermConfig {
    /// Name in metrics and reports; the method's name if the recipe gives none.
    pub name: String,
    /// Weight and warm-up; the method's defaults if the recipe gives none.
    pub weight: TermWeight,
    /// The method with its own keys.
    pub method: AnyMethodConfig,
}

/// The keys that every term has beside those of its method.
pub(crate) const TERM_KEYS: [&str; 4] = ["method", "name", "weight", "warmup_epochs"];

impl TermConfig {
    /// Reads a term's table. Unknown keys are errors that offer the nearest name.
    pub fn from_table(table: &toml::Table) -> Result<Self, DistillError> {
        let mut own = table.clone();
        let name = own.remove("name");
        let weight = own.remove("weight");
        let warmup = own.remove("warmup_epochs");
        let method = AnyMethodConfig::from_table(&own)?;
        let about = method.about();
        let bad = |key: &str, need: &str, found: &toml::Value| DistillError::BadConfig {
            method: about.name.to_string(),
            reason: format!("`{key} = {found}` must be {need}"),
        };
        let name = match name {
            None => about.name.to_string(),
            Some(toml::Value::String(name)) if !name.is_empty() => name,
            Some(other) => return Err(bad("name", "a word", &other)),
        };
        let weight = match weight {
            None => Weight::Fixed(about.weight),
            Some(value) => {
                let need = "a finite number, or a share of the task gradient's norm such as \"auto:0.5\"";
                Weight::read(&value).ok_or_else(|| bad("weight", need, &value))?
            }
        };
        let warmup_epochs = match warmup {
            None => about.warmup_epochs,
            Some(toml::Value::Integer(n)) if n >= 0 => n as usize,
            Some(other) => return Err(bad("warmup_epochs", "a whole number, 0 or more", &other)),
        };
        Ok(Self { name, weight: TermWeight { weight, warmup_epochs }, method })
    }

    /// The table with every key written out.
    pub fn to_table(&self) -> toml::Table {
        let mut table = self.method.to_table();
        table.insert("name".to_string(), self.name.clone().into());
        table.insert("weight".to_string(), self.weight.weight.into());
        table.insert("warmup_epochs".to_string(), (self.weight.warmup_epochs as i64).into());
        table
    }
}

impl TryFrom<toml::Table> for TermConfig {
    type Error = DistillError;

    fn try_from(table: toml::Table) -> Result<Self, DistillError> {
        Self::from_table(&table)
    }
}

impl From<TermConfig> for toml::Table {
    fn from(config: TermConfig) -> Self {
        config.to_table()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weight(text: &str) -> Result<Weight, String> {
        let table = format!("method = 'kd'\nweight = {text}").parse().unwrap();
        TermConfig::from_table(&table).map(|term| term.weight.weight).map_err(|error| error.to_string())
    }

    #[test]
    fn weights_are_numbers_or_shares() {
        assert_eq!(weight("2"), Ok(Weight::Fixed(2.0)));
        assert_eq!(weight("'auto:0.5'"), Ok(Weight::Auto(0.5)));
        assert_eq!(weight("' auto: 2 '"), Ok(Weight::Auto(2.0)));
        for bad in ["'auto'", "'auto:'", "'auto:half'", "'auto:inf'", "'0.5'", "true", "nan"] {
            let error = weight(bad).unwrap_err();
            assert!(error.contains("auto:0.5") && error.contains("weight"), "{bad}: {error}");
        }
        for text in ["'auto:0.3'", "0.1"] {
            let table = format!("method = 'kd'\nweight = {text}").parse().unwrap();
            let term = TermConfig::from_table(&table).unwrap();
            assert_eq!(TermConfig::from_table(&term.to_table()).unwrap(), term);
        }
        assert_eq!(Weight::Auto(0.5).to_string(), "auto:0.5");
        assert_eq!((Weight::Auto(0.5).share(), Weight::Fixed(0.5).share()), (Some(0.5), None));
    }
}
