//! `--set key=value`.
use toml::{Table, Value};

use crate::TrainError;

fn bad(text: &str, message: impl Into<String>) -> TrainError {
    TrainError::BadOverride { text: text.to_string(), message: message.into() }
}

/// Applies one override to the recipe's tables, before they are read.
pub(super) fn apply(root: &mut Table, text: &str) -> Result<(), TrainError> {
    let (path, value) = text.split_once('=').ok_or_else(|| bad(text, "write key=value, for example train.epochs=2"))?;
    let parts: Vec<&str> = path.trim().split('.').map(str::trim).collect();
    if parts.iter().any(|p| p.is_empty()) {
        return Err(bad(text, "the key has an empty part"));
    }
    let (last, way) = parts.split_last().ok_or_else(|| bad(text, "there is no key"))?;
    let mut place = Place::Table(root);
    for part in way {
        place = place.enter(part, text)?;
    }
    match place {
        Place::Table(table) => {
            // Each stands in the place of the other.
            match parts[..] {
                ["seed"] => drop(table.remove("seeds")),
                ["seeds"] => drop(table.remove("seed")),
                _ => {}
            }
            table.insert(last.to_string(), parse(value.trim(), text)?);
            Ok(())
        }
        Place::Array(_) => Err(bad(text, "a list element cannot be replaced whole; name one of its keys")),
    }
}

enum Place<'a> {
    Table(&'a mut Table),
    Array(&'a mut Vec<Value>),
}

impl<'a> Place<'a> {
    fn enter(self, part: &str, text: &str) -> Result<Place<'a>, TrainError> {
        let value = match self {
            Self::Table(table) => table.entry(part).or_insert_with(|| Value::Table(Table::new())),
            Self::Array(items) => {
                let index = index_of(items, part).ok_or_else(|| bad(text, not_found(items, part)))?;
                &mut items[index]
            }
        };
        match value {
            Value::Table(table) => Ok(Place::Table(table)),
            Value::Array(items) => Ok(Place::Array(items)),
            other => Err(bad(text, format!("`{part}` is a {} and has no keys", other.type_str()))),
        }
    }
}

/// An element by index, or by its `name` (arms) or `method` (terms).
fn index_of(items: &[Value], part: &str) -> Option<usize> {
    let named = items.iter().position(|item| label(item).is_some_and(|name| name == part));
    named.or_else(|| part.parse().ok().filter(|index: &usize| *index < items.len()))
}

fn label(item: &Value) -> Option<&str> {
    item.get("name").or_else(|| item.get("method")).and_then(Value::as_str)
}

fn not_found(items: &[Value], part: &str) -> String {
    let names: Vec<&str> = items.iter().filter_map(label).collect();
    format!("there is no `{part}`; there are {} ({})", items.len(), names.join(", "))
}

/// A TOML value; a word that is none is taken as text, so that quotes are not needed on the command line.
fn parse(value: &str, text: &str) -> Result<Value, TrainError> {
    if value.is_empty() {
        return Err(bad(text, "the value is empty; write \"\" for an empty text"));
    }
    if let Ok(mut table) = toml::from_str::<Table>(&format!("value = {value}"))
        && let (Some(parsed), true) = (table.remove("value"), table.is_empty())
    {
        return Ok(parsed);
    }
    if value.starts_with(['[', '{', '"', '\'']) {
        return Err(bad(text, "the value is not valid TOML"));
    }
    Ok(Value::String(value.to_string()))
}
