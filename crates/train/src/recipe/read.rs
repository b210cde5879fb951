//! From text to [`Recipe`]: sections, unknown keys with the nearest name, line numbers.
use std::path::Path;

use serde::de::DeserializeOwned;
use toml::de::{DeTable, DeValue};
use toml::{Table, Value};

use subband_data::DataConfig;
use subband_distill::{DistillError, TermConfig};

use super::{ArmRecipe, OptimizerRecipe, Recipe, StudentRecipe, TeacherRecipe, TrainRecipe, check, overrides};
use crate::TrainError;
use crate::schedule::Schedule;

impl Recipe {
    /// Reads a recipe file, applies `overrides` (`key=value`, see [`Recipe::parse`]) and checks it.
    ///
    /// # Errors
    /// Unreadable file, TOML syntax, unknown or missing keys, values out of range: each names the key and the line.
    pub fn load(path: &Path, overrides: &[String]) -> Result<Self, TrainError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| TrainError::RecipeRead { path: path.to_path_buf(), source })?;
        let name = path.file_stem().map_or("run".into(), |stem| stem.to_string_lossy().into_owned());
        Self::parse(&text, &name, overrides).map_err(|error| match error {
            TrainError::RecipeSyntax { message, .. } => TrainError::RecipeSyntax { path: path.to_path_buf(), message },
            other => other,
        })
    }

    /// Reads a recipe from text; `default_name` is used when it has no `name`.
    ///
    /// An override is a dotted path, `=` and a TOML value: `train.epochs=2`, `data.dataset=digits` (a bare word is
    /// text), `arm.KD.task_weight=0.5` or `arm.1.task_weight=0.5` (arms by name or by index from 0, terms by method
    /// or index). Tables on the way are made; an arm must exist.
    ///
    /// # Errors
    /// As [`Recipe::load`].
    pub fn parse(text: &str, default_name: &str, overrides: &[String]) -> Result<Self, TrainError> {
        let mut root: Table = toml::from_str(text).map_err(|error| TrainError::RecipeSyntax {
            path: default_name.into(),
            message: error.to_string().trim_end().to_string(),
        })?;
        for text in overrides {
            overrides::apply(&mut root, text)?;
        }
        let overridden = overrides.iter().filter_map(|text| Some(text.split_once('=')?.0.trim())).collect();
        let reader = Reader { text, overridden };
        let recipe = reader.recipe(root, default_name)?;
        check::check(&recipe, &reader)?;
        Ok(recipe)
    }
}

/// Turns tables into structs, with errors that know where they are in the file.
pub(super) struct Reader<'a> {
    text: &'a str,
    /// Keys that `--set` gives: the file's lines say nothing of them.
    overridden: Vec<&'a str>,
}

const ROOT_KEYS: [&str; 11] =
    ["name", "seed", "seeds", "data", "teacher", "student", "train", "evaluate", "prompts", "report", "arm"];

impl Reader<'_> {
    fn recipe(&self, mut root: Table, default_name: &str) -> Result<Recipe, TrainError> {
        for key in root.keys() {
            self.known(key, "", &ROOT_KEYS)?;
        }
        let train = self.train(self.table(&mut root, "train")?, "train")?;
        let teacher = match root.contains_key("teacher") {
            true => Some(self.teacher(self.table(&mut root, "teacher")?, &train)?),
            false => None,
        };
        let prompts = match root.contains_key("prompts") {
            true => Some(self.prompts(self.table(&mut root, "prompts")?)?),
            false => None,
        };
        let evaluate = match root.contains_key("evaluate") {
            true => Some(self.section(self.table(&mut root, "evaluate")?, "evaluate")?),
            false => None,
        };
        let report = match root.contains_key("report") {
            true => Some(self.section(self.table(&mut root, "report")?, "report")?),
            false => None,
        };
        let arms = match root.remove("arm") {
            None => Vec::new(),
            Some(Value::Array(arms)) => arms
                .into_iter()
                .enumerate()
                .map(|(index, arm)| self.arm(self.as_table(arm, &format!("arm.{index}"))?, index))
                .collect::<Result<_, _>>()?,
            Some(_) => return Err(self.bad("arm", "must be a list of tables, each written as [[arm]]")),
        };
        let name = root.remove("name").unwrap_or_else(|| Value::String(default_name.into()));
        let (seed, seeds) = self.seeds(root.remove("seed"), root.remove("seeds"))?;
        let data = self.table(&mut root, "data")?;
        if let Some(Value::Table(given)) = data.get("normalize") {
            for key in given.keys() {
                self.known(key, "data.normalize", &["mean", "std"])?;
            }
        }
        Ok(Recipe {
            name: self.value(name, "name")?,
            seed,
            seeds,
            data: self.section::<DataConfig>(data, "data")?,
            teacher,
            student: self.section::<StudentRecipe>(self.table(&mut root, "student")?, "student")?,
            train,
            evaluate,
            prompts,
            report,
            arms,
        })
    }

    /// `seed`, or the first of `seeds` and all of them; a list of one is that seed.
    fn seeds(&self, seed: Option<Value>, seeds: Option<Value>) -> Result<(u64, Vec<u64>), TrainError> {
        let Some(seeds) = seeds else {
            return Ok((self.value(seed.unwrap_or(Value::Integer(1)), "seed")?, Vec::new()));
        };
        if seed.is_some() {
            return Err(self.bad("seed", "the recipe has `seeds` too; give one of the two"));
        }
        let seeds: Vec<u64> = self.value(seeds, "seeds")?;
        match seeds[..] {
            [] => Err(self.bad("seeds", "is empty; write for example seeds = [1, 2, 3]")),
            [only] => Ok((only, Vec::new())),
            [first, ..] => Ok((first, seeds)),
        }
    }

    fn train(&self, table: Table, path: &str) -> Result<TrainRecipe, TrainError> {
        for (key, value) in &table {
            let inner = format!("{path}.{key}");
            match key.as_str() {
                "optimizer" => self.check::<OptimizerRecipe>(value, &inner)?,
                "schedule" => self.check::<Schedule>(value, &inner)?,
                _ => {}
            }
        }
        self.section(table, path)
    }

    /// `[teacher]`, whose `train` table is laid over `[train]`.
    fn teacher(&self, mut table: Table, train: &TrainRecipe) -> Result<TeacherRecipe, TrainError> {
        let given = table.remove("train");
        let mut teacher: TeacherRecipe = self.section(table, "teacher")?;
        if let Some(given) = given {
            let given = self.as_table(given, "teacher.train")?;
            let mut merged = Table::try_from(train).map_err(|e| self.bad("teacher.train", e.to_string().trim()))?;
            for (key, mut value) in given {
                if key == "lr" {
                    // The shorthand of the usual case: the same optimiser with another rate.
                    if let Some(Value::Table(optimizer)) = merged.get_mut("optimizer") {
                        optimizer.insert("lr".into(), value);
                    }
                    continue;
                }
                // An optimiser of the same kind keeps the keys that are not named again.
                if let (Some(Value::Table(old)), Value::Table(new)) = (merged.get(&key), &mut value)
                    && (!new.contains_key("kind") || new.get("kind") == old.get("kind"))
                {
                    let mut whole = old.clone();
                    whole.extend(std::mem::take(new));
                    *new = whole;
                }
                merged.insert(key, value);
            }
            teacher.train = Some(self.train(merged, "teacher.train")?);
        }
        Ok(teacher)
    }

    fn arm(&self, mut table: Table, index: usize) -> Result<ArmRecipe, TrainError> {
        let path = format!("arm.{index}");
        let terms = table.remove("term");
        let mut arm: ArmRecipe = self.section(table, &path)?;
        match terms {
            None => {}
            Some(Value::Array(terms)) => {
                for (index, term) in terms.into_iter().enumerate() {
                    let path = format!("{path}.term.{index}");
                    let table = self.as_table(term, &path)?;
                    arm.terms.push(TermConfig::from_table(&table).map_err(|error| self.term(error, &path, &arm.name))?);
                }
            }
            Some(_) => {
                return Err(self.bad(&format!("{path}.term"), "must be a list of tables, each written as [[arm.term]]"));
            }
        }
        Ok(arm)
    }

    /// The methods' own error, with the place in the file.
    fn term(&self, error: DistillError, path: &str, arm: &str) -> TrainError {
        match error {
            DistillError::UnknownKey { key, known, nearest, .. } => {
                let full = format!("{path}.{key}");
                let known = known.split(", ").map(str::to_string).collect();
                TrainError::UnknownKey { line: self.line(&full), key: full, nearest, known }
            }
            source => {
                let line = self.line(path).map(|line| format!(" (line {line})")).unwrap_or_default();
                TrainError::distill(format!("arm \"{arm}\", `{path}`{line}"), source)
            }
        }
    }

    fn table(&self, root: &mut Table, key: &str) -> Result<Table, TrainError> {
        match root.remove(key) {
            Some(value) => self.as_table(value, key),
            None => Err(TrainError::MissingKey {
                key: format!("[{key}]"),
                line: None,
                hint: match key {
                    "data" => "write [data] with dataset = \"digits\", \"folder\", \"cifar10\", \"camvid\", ...",
                    "student" => "write [student] with network = \"...\"; `subband networks` lists them",
                    _ => "write [train] with epochs = ...",
                }
                .into(),
            }),
        }
    }

    fn as_table(&self, value: Value, path: &str) -> Result<Table, TrainError> {
        match value {
            Value::Table(table) => Ok(table),
            other => Err(self.bad(path, format!("must be a table, not a {}", other.type_str()))),
        }
    }

    fn value<T: DeserializeOwned>(&self, value: Value, path: &str) -> Result<T, TrainError> {
        value.try_into().map_err(|error: toml::de::Error| self.bad(path, plain(error.message())))
    }

    pub(super) fn section<T: DeserializeOwned>(&self, table: Table, path: &str) -> Result<T, TrainError> {
        table.try_into().map_err(|error: toml::de::Error| self.locate(&error, path))
    }

    /// Reads a table inside a section only for its errors, which then name the inner path.
    pub(super) fn check<T: DeserializeOwned>(&self, value: &Value, path: &str) -> Result<(), TrainError> {
        self.section::<T>(self.as_table(value.clone(), path)?, path).map(|_| ())
    }

    /// Serde's message about a section as an error with key, line and the nearest name.
    pub(super) fn locate(&self, error: &toml::de::Error, path: &str) -> TrainError {
        let message = error.message();
        // toml writes where it stopped as a last line "in `key`": the table of an unknown key, the key of a wrong type.
        let text = error.to_string();
        let inner = text.lines().last().and_then(|l| l.strip_prefix("in `")).and_then(|l| l.strip_suffix('`'));
        let path = &inner.map_or(path.to_string(), |inner| format!("{path}.{inner}"));
        let quoted: Vec<String> = message.split('`').skip(1).step_by(2).map(str::to_string).collect();
        if message.starts_with("unknown field") && !quoted.is_empty() {
            let known: Vec<&str> = quoted[1..].iter().map(String::as_str).collect();
            return self.unknown(&quoted[0], path, &known);
        }
        if let Some(key) = message.strip_prefix("missing field").and(quoted.first()) {
            return TrainError::MissingKey {
                key: format!("{path}.{key}"),
                line: self.line(path),
                hint: format!("add it to [{path}]"),
            };
        }
        self.bad(path, plain(message))
    }

    pub(super) fn known(&self, key: &str, path: &str, known: &[&str]) -> Result<(), TrainError> {
        if known.contains(&key) { Ok(()) } else { Err(self.unknown(key, path, known)) }
    }

    /// The error for a key that a section does not have.
    pub(super) fn unknown(&self, key: &str, path: &str, known: &[&str]) -> TrainError {
        let full = if path.is_empty() { key.to_string() } else { format!("{path}.{key}") };
        TrainError::UnknownKey {
            line: self.line(&full),
            key: full,
            nearest: match key {
                // A rate is the optimiser's.
                "lr" if known.contains(&"optimizer") => Some("optimizer.lr".into()),
                _ => subband_models::nearest(key, known.iter().copied()),
            },
            known: known.iter().map(|k| k.to_string()).collect(),
        }
    }

    pub(super) fn bad(&self, path: &str, message: impl Into<String>) -> TrainError {
        TrainError::BadValue { key: path.to_string(), line: self.line(path), message: message.into() }
    }

    /// Line (from 1) of a dotted path in the file; `None` where the file does not have it (a default or an override).
    fn line(&self, path: &str) -> Option<usize> {
        let below = |key: &&str| path.strip_prefix(*key).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        if self.overridden.iter().any(below) {
            return None;
        }
        let root = DeTable::parse(self.text).ok()?;
        let mut span = None;
        let mut table = Some(root.get_ref());
        let mut array = None;
        for part in path.split('.') {
            let value = if let Some(current) = table {
                let (key, value) = current.iter().find(|(key, _)| key.get_ref().as_ref() == part)?;
                span = Some(key.span());
                value
            } else {
                let items: &toml::de::DeArray<'_> = array?;
                let value = items.get(part.parse::<usize>().ok()?)?;
                span = Some(value.span());
                value
            };
            (table, array) = match value.get_ref() {
                DeValue::Table(inner) => (Some(inner), None),
                DeValue::Array(inner) => (None, Some(inner)),
                _ => (None, None),
            };
        }
        let start = span?.start;
        Some(self.text.get(..start)?.matches('\n').count() + 1)
    }
}

/// Serde's message without Rust's names of types.
pub(super) fn plain(message: &str) -> String {
    let types = [("usize", "a whole number, 0 or more"), ("u64", "a whole number, 0 or more"), ("f64", "a number")];
    types.iter().fold(message.to_string(), |text, (name, plain)| {
        text.replace(&format!("expected {name}"), &format!("expected {plain}"))
    })
}
