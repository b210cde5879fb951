//! Finding a network's tensors in a file: the prefix of its names, and which network the file is of.
use std::collections::BTreeSet;

use crate::graph::{Graph, LayerKind};
use crate::weights::StateDict;
use crate::{NetworkConfig, network_names};

/// A tensor that a file may lack: PyTorch before 0.4.1 did not write it.
pub(crate) fn optional(name: &str) -> bool {
    name.ends_with(".num_batches_tracked")
}

/// How a file's names relate to a network's.
#[derive(Debug, Default)]
pub(crate) struct Alignment {
    /// What stands in front of the network's names in the file.
    pub prefix: String,
    /// Names of the network found, optional ones included.
    pub matched: usize,
    /// Required names of the network not found.
    pub missing: Vec<String>,
    /// Names of the file below the prefix that the network lacks.
    pub unused: Vec<String>,
    /// Names of the file outside of the prefix (optimiser states, other modules).
    pub outside: usize,
}

/// Tries every prefix under which any of a few probe names occurs and keeps the one with the most names; of equals
/// the shortest, so that a plain `model` goes before `model_ema`.
pub(crate) fn align(entries: &[(String, Vec<usize>)], state: &StateDict) -> Alignment {
    let probes = entries.iter().filter(|(name, _)| !optional(name));
    let step = (entries.len() / 6).max(1);
    let mut prefixes = BTreeSet::new();
    for (probe, _) in probes.step_by(step) {
        for key in state.keys() {
            if let Some(prefix) = key.strip_suffix(probe.as_str())
                && (prefix.is_empty() || prefix.ends_with('.'))
            {
                prefixes.insert(prefix.to_string());
            }
        }
    }
    let count =
        |prefix: &str| entries.iter().filter(|(name, _)| state.contains_key(&format!("{prefix}{name}"))).count();
    let best = prefixes.into_iter().max_by_key(|prefix| (count(prefix), std::cmp::Reverse(prefix.len())));
    against(entries, state, best.unwrap_or_default())
}

fn against(entries: &[(String, Vec<usize>)], state: &StateDict, prefix: String) -> Alignment {
    let mut found = Alignment { prefix, ..Alignment::default() };
    let mut known = BTreeSet::new();
    for (name, _) in entries {
        let key = format!("{}{name}", found.prefix);
        if state.contains_key(&key) {
            found.matched += 1;
            known.insert(key);
        } else if !optional(name) {
            found.missing.push(name.clone());
        }
    }
    for key in state.keys().filter(|key| !known.contains(*key)) {
        match key.strip_prefix(&found.prefix) {
            Some(name) => found.unused.push(name.to_string()),
            None => found.outside += 1,
        }
    }
    found
}

/// The registered network whose names and shapes the file has exactly, whatever its classes and input channels.
pub(crate) fn guess(state: &StateDict) -> Option<String> {
    network_names().into_iter().find_map(|name| {
        let graph = NetworkConfig::new(name, 3, 10).graph().ok()?;
        let entries: Vec<_> = graph.entries().collect();
        let found = align(&entries, state);
        if !found.missing.is_empty() || !found.unused.is_empty() {
            return None;
        }
        let shape = |name: &str| state.get(&format!("{}{name}", found.prefix)).map(|t| t.shape().to_vec());
        let free = free_axes(&graph);
        let fits = entries.iter().filter(|(n, _)| !optional(n)).all(|(n, wanted)| {
            shape(n).is_some_and(|s| {
                let same =
                    |(axis, (a, b)): (usize, (&usize, &usize))| a == b || free.iter().any(|f| f.0 == *n && f.1 == axis);
                s.len() == wanted.len() && s.iter().zip(wanted).enumerate().all(same)
            })
        });
        let classes = shape(&free.last()?.0)?.first().copied()?;
        let channels = shape(&free.first()?.0)?.get(1).copied()?;
        fits.then(|| format!("{name} ({channels} input channels, {classes} classes)"))
    })
}

/// The axes that the number of input channels and of classes set: the second one of the first convolution's weight,
/// which comes first, and the first one of the classifiers' tensors.
pub(crate) fn free_axes(graph: &Graph) -> Vec<(String, usize)> {
    let stem = graph.layers.iter().find(|l| matches!(l.kind, LayerKind::Conv(_)));
    let stem = stem.map(|l| (l.key("weight"), 1));
    let heads = graph.heads().into_iter().flat_map(|l| l.params().into_iter().map(|(suffix, _)| (l.key(suffix), 0)));
    stem.into_iter().chain(heads).collect()
}
