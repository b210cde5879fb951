//! The pages under `docs/methods`: their keys are the methods' keys and their snippets are read as recipes are.
use std::path::Path;

use crate::{AnyMethodConfig, TermConfig, method_names};

/// Names of the pages with their text.
fn pages() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/methods");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let markdown = files.filter(|path| path.extension().is_some_and(|end| end == "md"));
    let page = |path: std::path::PathBuf| {
        (path.file_stem().unwrap().to_str().unwrap().to_string(), std::fs::read_to_string(path).unwrap())
    };
    markdown.map(page).filter(|(name, _)| method_names().contains(&name.as_str())).collect()
}

/// The method's own keys, from the message about a key that nothing has.
fn keys(method: &str) -> Vec<String> {
    let table = format!("method = '{method}'\nno_such_key = 1").parse().unwrap();
    let message = AnyMethodConfig::from_table(&table).unwrap_err().to_string();
    let known = message.rsplit_once("it takes ").unwrap().1;
    let own = known.split(", ").filter(|key| !crate::term::TERM_KEYS.contains(key));
    own.map(str::to_string).collect()
}

#[test]
fn every_key_stands_on_its_page() {
    assert_eq!(pages().len(), method_names().len(), "each method has a page");
    for (method, text) in pages() {
        for key in keys(&method) {
            assert!(text.contains(&format!("`{key}`")), "docs/methods/{method}.md does not name the key `{key}`");
        }
    }
}

#[test]
fn every_snippet_is_a_recipe_that_reads() {
    for (method, text) in pages() {
        let snippets = text.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap());
        let mut used = 0;
        for snippet in snippets {
            let recipe: toml::Table = snippet.parse().unwrap_or_else(|e| panic!("{method}: {e}"));
            // `[[arm.term]]` alone makes `arm` a table, after `[[arm]]` it is a list.
            let arms = match recipe.get("arm") {
                Some(toml::Value::Array(arms)) => arms.clone(),
                arm => arm.cloned().into_iter().collect(),
            };
            for term in arms.iter().filter_map(|arm| arm.get("term")?.as_array()).flatten() {
                let read = TermConfig::from_table(term.as_table().unwrap()).unwrap_or_else(|e| panic!("{method}: {e}"));
                used += usize::from(read.method.about().name == method);
            }
        }
        assert!(used > 0, "docs/methods/{method}.md has no snippet that uses it");
    }
}
