//! A classifier's weights in the backbone of a segmentation network.
//!
//! The backbone's tensors are looked for by their own names behind `backbone.` and, of a MobileNetV2, by two other
//! libraries' names. In front of them in the file may stand anything.
//!
//! | file | name there | name here |
//! |---|---|---|
//! | mmsegmentation, mmpretrain; torchvision's and timm's ResNets | `layer1.0.conv1.weight` | `backbone.layer1.0.conv1.weight` |
//! | torchvision's MobileNetV2 | `features.2.conv.1.0.weight` | `backbone.layer2.0.conv.1.conv.weight` |
//! | timm's MobileNetV2 | `blocks.1.0.conv_dw.weight` | `backbone.layer2.0.conv.1.conv.weight` |
use std::collections::BTreeSet;

use crate::align::{Alignment, align, mismatches, optional};
use crate::graph::Graph;
use crate::state::{LoadReport, other_network, sample};
use crate::weights::StateDict;
use crate::zoo::mobilenet_v2::GROUPS;
use crate::zoo::segmenter::{BACKBONE, DECODER};
use crate::{ModelError, Network, NetworkConfig, network_names};

/// Gives the file's name of a tensor from its name behind `backbone.`; `None` for names of another kind.
type Convention = fn(&str) -> Option<String>;

const CONVENTIONS: [Convention; 3] = [|name| Some(name.to_string()), torchvision_mobilenet_v2, timm_mobilenet_v2];

/// A classifier's last convolution, whose name starts as the backbone's do.
const CLASSIFIER: &str = "features.18.";

impl Network {
    /// Loads the backbone of a segmentation network from a file of a classifier or of another segmentation network; the
    /// heads keep their fresh weights and stand in the report as `missing`. What else the file holds is `unused` where
    /// its names begin as the backbone's do (a classifier) and counted in `outside` where they do not (the heads of a
    /// segmentation network).
    ///
    /// A file for images of another number of channels is taken but for the first convolution, which keeps its fresh
    /// weights and stands in the report as `mismatched`. Nothing changes when an error is returned.
    ///
    /// # Errors
    /// A classifier instead of a segmentation network, a missing tensor (but for `num_batches_tracked`), a file of a
    /// deeper backbone, another shape.
    pub fn load_backbone(&mut self, state: &StateDict) -> Result<LoadReport, ModelError> {
        let entries = backbone(self.graph());
        if entries.is_empty() {
            let reason = "it has no backbone apart from its classifier; load its whole weights".to_string();
            return Err(ModelError::BadConfig { network: self.name().into(), reason });
        }
        let Match { names, found } = best(&entries, state);
        if !found.missing.is_empty() || deeper(&names, &found) {
            return Err(other_network(self.backbone_target(), &entries, &found, state, self.nearest_backbone(state)));
        }
        let tensor = |(name, file): (&String, &String)| {
            state.get(&format!("{}{file}", found.prefix)).map(|data| (name.clone(), data.clone()))
        };
        let renamed: StateDict =
            entries.iter().map(|(name, _)| name).zip(names.iter().map(|(file, _)| file)).filter_map(tensor).collect();
        let (stem, bad): (Vec<_>, Vec<_>) =
            mismatches(&entries, "", &renamed).into_iter().partition(|m| m.is_input_of(&entries[0].0));
        if !bad.is_empty() {
            let (target, remedy) = (self.backbone_target(), self.nearest_backbone(state));
            return Err(ModelError::ShapeMismatch { target, details: sample(&bad), remedy });
        }
        let head = |(name, _): (String, Vec<usize>)| (!in_backbone(&name) && !optional(&name)).then_some(name);
        let missing = self.graph().entries().filter_map(head).collect();
        let Alignment { prefix, matched, unused, outside, .. } = found;
        let report =
            self.assign(Alignment { missing, unused, outside, matched, prefix: String::new() }, &renamed, stem)?;
        Ok(LoadReport { prefix, ..report })
    }

    fn backbone_target(&self) -> String {
        format!("the backbone of `{}`", self.name())
    }

    /// For a message: the network of the same head and stride whose backbone the file holds.
    fn nearest_backbone(&self, state: &StateDict) -> String {
        let ends = |name: &str| {
            let (head, rest) = name.split_once('-')?;
            Some((head.to_string(), rest.rsplit_once('-')?.1.to_string()))
        };
        let own = ends(self.name());
        let fits = |name: &&str| {
            let Ok(graph) = NetworkConfig::new(name, self.in_channels(), self.classes()).graph() else { return false };
            graph.is_segmenter() && ends(name) == own && fits_backbone(&graph, state)
        };
        let name = network_names().into_iter().find(fits);
        name.map(|name| format!("; the file fits the backbone of `{name}`")).unwrap_or_default()
    }
}

/// Whether a file holds the backbone of a segmentation network and nothing of its head.
pub(crate) fn is_backbone_alone(graph: &Graph, state: &StateDict) -> bool {
    let head = |key: &String| key.contains(&format!("{DECODER}."));
    fits_backbone(graph, state) && !state.keys().any(head)
}

/// Whether a file holds the whole backbone of a network; shapes count but for the input channels.
fn fits_backbone(graph: &Graph, state: &StateDict) -> bool {
    let entries = backbone(graph);
    let Match { names, found } = best(&entries, state);
    let same = || mismatches(&names, &found.prefix, state).iter().all(|m| m.is_input_of(&names[0].0));
    !entries.is_empty() && found.missing.is_empty() && !deeper(&names, &found) && same()
}

/// Names and shapes of a backbone's tensors.
fn backbone(graph: &Graph) -> Vec<(String, Vec<usize>)> {
    graph.entries().filter(|(name, _)| in_backbone(name)).collect()
}

fn in_backbone(name: &str) -> bool {
    name.strip_prefix(BACKBONE).is_some_and(|rest| rest.starts_with('.'))
}

/// The backbone's tensors by a file's names, in the order of the backbone's, and how many of them the file has.
struct Match {
    names: Vec<(String, Vec<usize>)>,
    found: Alignment,
}

/// The convention under which a file has the most names; of equals the first.
fn best(entries: &[(String, Vec<usize>)], state: &StateDict) -> Match {
    let under = |convention: &Convention| {
        let name = |(name, shape): &(String, Vec<usize>)| {
            Some((convention(name.strip_prefix(BACKBONE)?.strip_prefix('.')?)?, shape.clone()))
        };
        let names = entries.iter().map(name).collect::<Option<Vec<_>>>()?;
        let found = align(&names, state);
        Some(Match { names, found })
    };
    let matches = CONVENTIONS.iter().rev().filter_map(under);
    matches.max_by_key(|m| m.found.matched).unwrap_or_else(|| Match { names: vec![], found: Alignment::default() })
}

/// Whether the file's own backbone has more blocks: a shallower one finds all its names in it.
fn deeper(names: &[(String, Vec<usize>)], found: &Alignment) -> bool {
    let first = |name: &str| name.split('.').next().unwrap_or_default().to_string();
    let known: BTreeSet<String> = names.iter().map(|(name, _)| first(name)).collect();
    found.unused.iter().any(|name| !name.starts_with(CLASSIFIER) && known.contains(&first(name)))
}

/// The parts of `layerS.B.conv.I.conv.weight`: layer S and block B counted from 0, convolution I, whether it is a
/// convolution's tensor and not its normalisation's, the tensor.
fn parts(name: &str) -> Option<(usize, usize, usize, bool, &str)> {
    let mut words = name.split('.');
    let layer: usize = words.next()?.strip_prefix("layer")?.parse().ok()?;
    let block = words.next()?.parse().ok()?;
    let index = words.nth(1)?.parse().ok()?;
    Some((layer.checked_sub(1)?, block, index, words.next()? == "conv", words.next()?))
}

fn torchvision_mobilenet_v2(name: &str) -> Option<String> {
    for (own, file) in [("conv1.conv", "features.0.0"), ("conv1.bn", "features.0.1")] {
        if let Some(tensor) = name.strip_prefix(own) {
            return Some(format!("{file}{tensor}"));
        }
    }
    let (layer, block, index, conv, tensor) = parts(name)?;
    let feature = 1 + GROUPS.get(..layer)?.iter().map(|group| group.2).sum::<usize>() + block;
    let last = if layer == 0 { 1 } else { 2 };
    // The last convolution and its normalisation stand beside each other, the others in pairs.
    let place = match (index == last, conv) {
        (true, conv) => format!("{}", index + usize::from(!conv)),
        (false, conv) => format!("{index}.{}", usize::from(!conv)),
    };
    Some(format!("features.{feature}.conv.{place}.{tensor}"))
}

fn timm_mobilenet_v2(name: &str) -> Option<String> {
    for (own, file) in [("conv1.conv", "conv_stem"), ("conv1.bn", "bn1")] {
        if let Some(tensor) = name.strip_prefix(own) {
            return Some(format!("{file}{tensor}"));
        }
    }
    let (layer, block, index, conv, tensor) = parts(name)?;
    let convolutions = if layer == 0 { ["conv_dw", "conv_pw", ""] } else { ["conv_pw", "conv_dw", "conv_pwl"] };
    let part = if conv { convolutions.get(index)?.to_string() } else { format!("bn{}", index + 1) };
    Some(format!("blocks.{layer}.{block}.{part}.{tensor}"))
}
