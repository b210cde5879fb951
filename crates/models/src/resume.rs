//! Going on from a tap: only the operations behind it run.
use subband_kernels::layout::channels_last;

use crate::execute::Pass;
use crate::fuse::Step;
use crate::graph::{Graph, NodeId};
use crate::hook::Hooks;
use crate::layers::Mode;
use crate::tap::Feature;
use crate::value::{Tokens, Value};
use crate::{ModelError, Network};

impl Network {
    /// Runs the part of the network behind a tap on values for it, in evaluation mode: the logits.
    ///
    /// `value` is such a feature as [`Network::forward`] gives at the tap for images of `height` x `width`, of any
    /// number of images, the tokens off the grid included. The logits have autodiff when the network's parameters do.
    ///
    /// # Errors
    /// An unknown tap; a value of another shape than the tap's; an operation that the logits need and that reads the
    /// images by a way around the tap (a shortcut, a second head).
    pub fn forward_from(
        &self,
        tap: &str,
        value: Feature,
        (height, width): (usize, usize),
    ) -> Result<Feature, ModelError> {
        let node = self.tap_node(tap)?;
        let (expected, found) = (self.graph().shapes(height, width)?[node], value.shape());
        if expected != found {
            let (expected, found) = (expected.to_string(), found.to_string());
            return Err(ModelError::ResumeShape { tap: tap.to_string(), height, width, expected, found });
        }
        let pass = Pass { mode: Mode::Eval, noise: None };
        let value = self.carried(value);
        let hooks = Hooks { taps: &[], replace: &mut |_, x| Ok(x) };
        Ok(self.pass_from(node, value, pass, &[], hooks)?.logits)
    }

    /// A feature as the operations take it, with autodiff when the network has it.
    fn carried(&self, value: Feature) -> Value {
        macro_rules! on_device {
            ($x:expr) => {
                if self.is_autodiff() { $x.autodiff() } else { $x.without_autodiff() }
            };
        }
        match value {
            Feature::Map(x) => Value::Map(channels_last(on_device!(x))),
            Feature::Vector(x) => Value::Vector(on_device!(x)),
            Feature::Tokens { values, prefix, grid } => {
                Value::Tokens(Tokens { values: on_device!(values), prefix, grid })
            }
        }
    }

    /// The error for a node that is needed and does not lie behind the given one.
    pub(crate) fn bypassed(&self, given: NodeId, node: NodeId) -> ModelError {
        let graph = self.graph();
        let tap = graph.taps.iter().find(|t| t.node == given).map_or(String::new(), |t| t.name.clone());
        ModelError::Bypassed { network: graph.network.clone(), tap, node: graph.nodes[node].name.clone() }
    }
}

/// The last node that runs, or is wanted, without lying behind the given one.
pub(crate) fn bypass(graph: &Graph, given: NodeId, steps: &[Step], wanted: &[NodeId]) -> Option<NodeId> {
    let mut behind = vec![false; graph.nodes.len()];
    for (id, node) in graph.nodes.iter().enumerate() {
        behind[id] = id == given || node.inputs.iter().any(|input| behind[*input]);
    }
    let needed = steps.iter().map(|step| step.result).chain(wanted.iter().copied());
    needed.filter(|id| !behind[*id]).max()
}
