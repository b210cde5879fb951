//! `proof.json` of an arm: what step 1 showed about every part of its loss.
use serde::{Deserialize, Serialize};

use crate::table::significant;

/// Every part of an arm's loss at step 1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Proof {
    /// Images of the first batch that were used.
    pub images: usize,
    /// The parts, the task's first.
    pub parts: Vec<PartProof>,
}

/// One part of the loss at step 1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PartProof {
    /// `task`, `kd`, `rkd.angle`, ...
    pub name: String,
    /// Value before its weight, finite and not zero.
    pub value: f64,
    /// Its weight in the first epoch; for an automatic weight the one that these images give.
    pub weight: f64,
    /// L2 norm of its weighted gradient over the student's parameters, above 0.
    pub gradient: f64,
    /// The same divided by that of the task; `None` where the arm has no task or the part is the task.
    pub to_task: Option<f64>,
    /// The student taps at which its gradient arrives, those that it must reach first.
    pub taps: Vec<TapProof>,
    /// The student's tensors that its gradient reaches.
    pub reached: Reached,
}

/// A student tap under a part of the loss.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TapProof {
    /// Name of the tap.
    pub tap: String,
    /// L2 norm of the unweighted gradient that arrives there, above 0.
    pub gradient: f64,
}

/// Parameter tensors with a gradient that is not zero.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reached {
    /// How many.
    pub tensors: usize,
    /// Of how many of the network.
    pub of: usize,
    /// The first in the order of the layers.
    pub first: String,
    /// The last.
    pub last: String,
}

impl std::fmt::Display for Reached {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {} student tensors", self.tensors, self.of)?;
        if self.first == self.last {
            write!(f, " ({})", self.first)
        } else {
            write!(f, ", from {} to {}", self.first, self.last)
        }
    }
}

impl std::fmt::Display for PartProof {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let taps: Vec<&str> = self.taps.iter().map(|tap| tap.tap.as_str()).collect();
        write!(f, "{}: ", self.name)?;
        match self.to_task {
            Some(ratio) => write!(f, "gradient {} of the task's", significant(ratio))?,
            None => write!(f, "gradient norm {}", significant(self.gradient))?,
        }
        write!(f, ", through {} to {}", taps.join(", "), self.reached)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_reads_as_a_sentence() {
        let reached = Reached { tensors: 61, of: 65, first: "conv1.weight".into(), last: "layer3.2.bn2.bias".into() };
        let tap = TapProof { tap: "stage3".into(), gradient: 0.1 };
        let part = PartProof {
            name: "fitnet".into(),
            value: 1.5,
            weight: 2.0,
            gradient: 0.25,
            to_task: Some(0.8333),
            taps: vec![tap],
            reached,
        };
        let want = "fitnet: gradient 0.833 of the task's, through stage3 to 61 of 65 student tensors, from \
                    conv1.weight to layer3.2.bn2.bias";
        assert_eq!(part.to_string(), want);
        let alone = PartProof { to_task: None, ..part };
        assert!(alone.to_string().starts_with("fitnet: gradient norm 0.250, through"));
    }
}
