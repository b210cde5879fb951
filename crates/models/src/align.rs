//! Finding a network's tensors in a file: the prefix of its names, and which network the file is of.
use std::collections::BTreeSet;
use std::fmt;

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

/// A tensor whose shape in a file is another than in the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch {
    /// The network's name of the tensor.
    pub name: String,
    /// Its shape in the network.
    pub here: Vec<usize>,
    /// Its shape in the file.
    pub file: Vec<usize>,
}

impl Mismatch {
    /// Whether the shapes differ along one of these axes alone.
    fn along(&self, axes: &[usize]) -> bool {
        let mut pairs = self.here.iter().zip(&self.file).enumerate();
        self.here.len() == self.file.len() && pairs.all(|(axis, (a, b))| a == b || axes.contains(&axis))
    }

    /// Whether only the number of input channels of this tensor, a convolution's, is another.
    pub(crate) fn is_input_of(&self, name: &str) -> bool {
        self.name == name && self.here.len() == 4 && self.along(&[1])
    }
}

/// `name: 16x3x3x3 here, 16x1x3x3 in the file`
impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |shape: &[usize]| shape.iter().map(usize::to_string).collect::<Vec<_>>().join("x");
        write!(f, "{}: {} here, {} in the file", self.name, text(&self.here), text(&self.file))
    }
}

/// As its text.
impl serde::Serialize for Mismatch {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The tensors of a file that have another shape.
pub(crate) fn mismatches(entries: &[(String, Vec<usize>)], prefix: &str, state: &StateDict) -> Vec<Mismatch> {
    let check = |(name, here): &(String, Vec<usize>)| {
        let file = state.get(&format!("{prefix}{name}"))?.shape().to_vec();
        // Some writers store the counter as a vector of one.
        let same = file == *here || (optional(name) && file == [1]);
        (!same).then(|| Mismatch { name: name.clone(), here: here.clone(), file })
    };
    entries.iter().filter_map(check).collect()
}

/// The networks that a file fits, whatever its classes and input channels.
pub(crate) struct Guess {
    /// At least one; more where they have the same tensors.
    pub names: Vec<&'static str>,
    channels: usize,
    classes: usize,
}

impl fmt::Display for Guess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<String> = self.names.iter().map(|name| format!("`{name}`")).collect();
        write!(f, "{} ({} input channels, {} classes", names.join(" or "), self.channels, self.classes)?;
        f.write_str(if names.len() > 1 { "; a file does not tell which)" } else { ")" })
    }
}

/// The registered networks whose names and shapes the file has exactly.
pub(crate) fn guess(state: &StateDict) -> Option<Guess> {
    let mut found: Option<Guess> = None;
    for name in network_names() {
        let Some((channels, classes)) = fits(name, state) else { continue };
        found.get_or_insert(Guess { names: vec![], channels, classes }).names.push(name);
    }
    found
}

/// Input channels and classes of a file of this network.
fn fits(name: &str, state: &StateDict) -> Option<(usize, usize)> {
    let graph = NetworkConfig::new(name, 3, 10).graph().ok()?;
    let entries: Vec<_> = graph.entries().collect();
    let found = align(&entries, state);
    if !found.missing.is_empty() || !found.unused.is_empty() {
        return None;
    }
    let free = free_axes(&graph);
    let axes = |name: &str| free.iter().filter(|f| f.0 == name).map(|f| f.1).collect::<Vec<_>>();
    if !mismatches(&entries, &found.prefix, state).iter().all(|m| m.along(&axes(&m.name))) {
        return None;
    }
    let shape = |name: &str| state.get(&format!("{}{name}", found.prefix)).map(|t| t.shape().to_vec());
    Some((*shape(&free.first()?.0)?.get(1)?, *shape(&free.last()?.0)?.first()?))
}

/// The axes that the number of input channels and of classes set: the second one of the first convolution's weight,
/// which comes first, and the first one of the classifiers' tensors.
pub(crate) fn free_axes(graph: &Graph) -> Vec<(String, usize)> {
    let stem = graph.layers.iter().find(|l| matches!(l.kind, LayerKind::Conv(_)));
    let stem = stem.map(|l| (l.key("weight"), 1));
    let heads = graph.heads().into_iter().flat_map(|l| l.params().into_iter().map(|(suffix, _)| (l.key(suffix), 0)));
    stem.into_iter().chain(heads).collect()
}
