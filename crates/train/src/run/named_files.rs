//! The files that a recipe names: weights, prompts, tokens. A path in a recipe says nothing of what is in the file, and
//! a run that goes on with other contents would put two teachers into one table.
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use toml::{Table, Value};

use crate::{TrainError, files};

/// Keys of a recipe whose values are paths of such files, wherever they stand.
const KEYS: [&str; 4] = ["weights", "backbone", "prompts", "tokens"];

/// SHA-256 of each file that a recipe names, by its path as the recipe has it.
///
/// # Errors
/// A file that cannot be read.
pub(super) fn hashes(recipe: &Table) -> Result<BTreeMap<String, String>, TrainError> {
    // Arms may share a file, which is read once.
    let mut paths = BTreeSet::new();
    recipe.values().for_each(|value| collect(value, &mut paths));
    paths.into_iter().map(|path| Ok((path.clone(), files::hash(Path::new(&path))?))).collect()
}

fn collect(value: &Value, paths: &mut BTreeSet<String>) {
    match value {
        Value::Array(values) => values.iter().for_each(|value| collect(value, paths)),
        Value::Table(table) => {
            for (key, value) in table {
                match value {
                    Value::String(path) if KEYS.contains(&key.as_str()) => drop(paths.insert(path.clone())),
                    _ => collect(value, paths),
                }
            }
        }
        _ => {}
    }
}

/// What a run has used so far and what it uses now; a file that it used before must be the same.
///
/// # Errors
/// [`TrainError::Resume`] for a file with other contents.
pub(super) fn same(
    folder: &Path,
    before: BTreeMap<String, String>,
    now: BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>, TrainError> {
    match now.iter().find(|(path, hash)| before.get(*path).is_some_and(|old| old != *hash)) {
        None => Ok(before.into_iter().chain(now).collect()),
        Some((path, _)) => Err(TrainError::Resume {
            path: folder.into(),
            message: format!(
                "the file `{path}` that its recipe names was changed since: put the old one back or choose another \
                 folder with --out"
            ),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_found_wherever_a_recipe_names_them() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path.display().to_string()
        };
        let (teacher, tokens) = (file("teacher.pth", "abc"), file("tokens.pth", ""));
        let recipe = format!(
            "name = 'weights'\n[teacher]\nnetwork = 'x'\nweights = {teacher:?}\n[prompts]\nsteps = 3\n[[arm]]\n\
             [[arm.term]]\nmethod = 'maskd'\ntokens = {tokens:?}\nweight = 'auto:0.5'\n"
        );
        let found = hashes(&recipe.parse().unwrap()).unwrap();
        let of_abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let of_nothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let expected = [(teacher.clone(), of_abc.to_string()), (tokens, of_nothing.to_string())];
        assert_eq!(found, expected.into());
        std::fs::write(&teacher, "abd").unwrap();
        let now = hashes(&recipe.parse().unwrap()).unwrap();
        let error = same(folder.path(), found.clone(), now.clone()).unwrap_err().to_string();
        assert!(error.contains("teacher.pth") && error.contains("--out"), "{error}");
        // What an older run did not note is taken as it is; what is no longer named stays noted.
        assert_eq!(same(folder.path(), BTreeMap::new(), now.clone()).unwrap(), now);
        assert_eq!(same(folder.path(), found.clone(), BTreeMap::new()).unwrap(), found);
    }

    #[test]
    fn a_file_that_is_missing_is_named() {
        let recipe: Table = "[student]\nbackbone = 'nowhere/resnet18.pth'".parse().unwrap();
        assert!(hashes(&recipe).unwrap_err().to_string().contains("nowhere/resnet18.pth"));
    }
}
