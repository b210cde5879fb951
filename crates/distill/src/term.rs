//! A term of the total loss: its method, weight and warm-up, as a recipe writes them.
use serde::{Deserialize, Serialize};

use crate::{AnyMethodConfig, DistillError};

/// Weight of a term with a linear warm-up.
///
/// `w(epoch) = weight * min(epoch / warmup_epochs, 1)`, epoch counted from 1 (as mdistiller and FAM-KD's code do).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct TermWeight {
    /// Full weight, finite.
    pub weight: f64,
    /// Epochs until the full weight is reached; 0 and 1 mean from the first epoch.
    pub warmup_epochs: usize,
}

impl TermWeight {
    /// The weight in an epoch (from 1).
    pub fn at(&self, epoch: usize) -> f64 {
        if epoch >= self.warmup_epochs { self.weight } else { self.weight * epoch as f64 / self.warmup_epochs as f64 }
    }
}

/// One `[[arm.term]]` of a recipe: `method`, optional `name`, `weight` and `warmup_epochs`, then the method's own keys.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
            None => about.weight,
            Some(toml::Value::Integer(w)) => w as f64,
            Some(toml::Value::Float(w)) if w.is_finite() => w,
            Some(other) => return Err(bad("weight", "a finite number", &other)),
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
