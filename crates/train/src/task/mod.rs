//! What a network is trained and judged for: one file per task.
//!
//! A task has a loss with the labels ([`Objective`]) and figures on images that were not trained on ([`Judge`], whose
//! [`Tally`] counts). Everything else of a run, teacher and terms, adapters, best epoch, resume and report, works from
//! these two and knows no task.
mod classification;
pub(crate) mod inference;
mod segmentation;

pub(crate) use segmentation::best;

use std::sync::Arc;

use burn::prelude::*;
use subband_data::{Mask, Targets, Task};
use subband_distill::Labels;
use subband_metrics::Protocol;
use subband_models::{Features, Mode, Network, NetworkConfig, network_names};
use subband_seed::Stream;

use crate::TrainError;
use crate::evaluate::Evaluation;
use crate::recipe::EvaluateRecipe;

/// Factor of the auxiliary head's loss where the recipe gives none.
pub(crate) const AUX_WEIGHT: f64 = 0.4;
/// Tap of a segmenter's auxiliary head.
const AUX: &str = "aux";

/// What a data set has labels of.
fn labelled(task: Task) -> &'static str {
    match task {
        Task::Classification => "images",
        Task::Segmentation => "pixels",
    }
}

/// The task of these labels.
fn of_targets(targets: &Targets) -> Task {
    match targets {
        Targets::Classes(_) => Task::Classification,
        Targets::Masks(_) => Task::Segmentation,
    }
}

/// The task that a network is built for.
pub(crate) fn of_network(network: &Network) -> Task {
    if network.is_segmenter() { Task::Segmentation } else { Task::Classification }
}

/// The task of a registered network; `None` for another name.
fn of_name(name: &str) -> Option<Task> {
    let segmenter = NetworkConfig::new(name, 3, 2).is_segmenter().ok()?;
    Some(if segmenter { Task::Segmentation } else { Task::Classification })
}

/// Refuses a network that is built for another task than the data set's; an unknown name is somebody else's error.
///
/// # Errors
/// [`TrainError::Wiring`] with the networks that fit.
pub(crate) fn check(task: Task, role: &str, name: &str) -> Result<(), TrainError> {
    if of_name(name).is_none_or(|built| built == task) {
        return Ok(());
    }
    let fitting: Vec<&str> = network_names().into_iter().filter(|name| of_name(name) == Some(task)).collect();
    let (does, wants) = match task {
        Task::Classification => ("labels pixels", "has one class for each image"),
        Task::Segmentation => ("gives one class for each image", "has one class for each pixel"),
    };
    Err(TrainError::Wiring(format!(
        "the {role} `{name}` {does}, but the data set {wants}; networks that fit: {}",
        fitting.join(", ")
    )))
}

/// Random labels for `count` images; `size` is the student's height and width.
pub(crate) fn random(task: Task, count: usize, size: [usize; 2], classes: usize, stream: &mut Stream) -> Targets {
    match task {
        Task::Classification => Targets::Classes((0..count).map(|_| stream.below(classes)).collect()),
        Task::Segmentation => {
            let [height, width] = size;
            let labels = |stream: &mut Stream| {
                (0..height * width).map(|_| u8::try_from(stream.below(classes)).unwrap_or(Mask::IGNORED)).collect()
            };
            // As many labels as pixels: this cannot fail.
            let mask = |_| Mask::new("random labels", width, height, labels(stream)).ok();
            Targets::Masks((0..count).filter_map(mask).map(Arc::new).collect())
        }
    }
}

/// Whether one of the first `images` images has a label that counts.
pub(crate) fn has_labels(targets: &Targets, images: usize) -> bool {
    match targets {
        Targets::Classes(classes) => !classes.is_empty(),
        Targets::Masks(masks) => {
            masks.iter().take(images).any(|mask| mask.labels().iter().any(|label| *label != Mask::IGNORED))
        }
    }
}

/// Why nothing can be learned where no batch has a label that counts; `seen`: there were batches.
pub(crate) fn nothing_to_learn(seen: bool) -> String {
    match seen {
        true => {
            "no training pixel has a class: every one is ignored; look at data.ignore_label and data.label_map".into()
        }
        false => {
            "no training image can be decoded, so data.skip_corrupt passes over all of them; look at data.path".into()
        }
    }
}

/// The loss of a network with the labels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Objective {
    task: Task,
    /// Factor of the auxiliary head's loss; 0 without such a head.
    aux_weight: f64,
}

impl Objective {
    /// Of a network that is trained under `aux_weight`, or its default.
    pub fn new(task: Task, network: &Network, aux_weight: Option<f64>) -> Self {
        let has_aux = task == Task::Segmentation && network.tap_names().contains(&AUX);
        Self { task, aux_weight: if has_aux { aux_weight.unwrap_or(AUX_WEIGHT) } else { 0.0 } }
    }

    /// Of a network that is not trained itself: its logits alone count.
    pub fn plain(task: Task) -> Self {
        Self { task, aux_weight: 0.0 }
    }

    /// The same without the auxiliary head.
    pub fn without_aux(self) -> Self {
        Self { aux_weight: 0.0, ..self }
    }

    /// The taps that it reads beside the logits.
    pub fn taps(&self) -> Vec<String> {
        if self.aux_weight > 0.0 { vec![AUX.into()] } else { Vec::new() }
    }

    /// The taps that its gradient must reach.
    pub fn reaches(&self) -> Vec<String> {
        std::iter::once("logits".to_string()).chain(self.taps()).collect()
    }

    /// The loss `[1]` of a batch.
    ///
    /// # Errors
    /// Labels of another task.
    pub fn loss(&self, features: &Features, labels: &Labels) -> Result<Tensor<1>, TrainError> {
        match self.task {
            Task::Classification => classification::loss(features, labels),
            Task::Segmentation => segmentation::loss(features, labels, (AUX, self.aux_weight)),
        }
    }
}

/// Judges networks on images with labels.
#[derive(Debug, Clone)]
pub(crate) struct Judge {
    pub task: Task,
    /// Names of the data set's classes.
    pub classes: Vec<String>,
    /// How predictions of segmenters are made and counted.
    pub options: EvaluateRecipe,
}

impl Judge {
    /// The same with the cheapest predictions: whole images at their own size, once.
    pub fn quick(&self) -> Self {
        let protocol = self.options.protocol;
        Self { options: EvaluateRecipe { protocol, ..EvaluateRecipe::default() }, ..self.clone() }
    }

    /// What counts, of a segmentation.
    pub fn protocol(&self) -> Option<Protocol> {
        (self.task == Task::Segmentation).then(|| self.options.protocol.unwrap_or_default())
    }

    /// Nothing counted yet.
    ///
    /// # Errors
    /// A number of classes that the protocol does not take.
    pub fn tally(&self) -> Result<Tally, TrainError> {
        Ok(match self.task {
            Task::Classification => Tally::Classification(Default::default()),
            Task::Segmentation => {
                let protocol = self.protocol().unwrap_or_default();
                Tally::Segmentation(segmentation::Tally::new(&self.classes, protocol)?)
            }
        })
    }

    /// Runs a network on images `[N, C, H, W]` and counts what it makes of them.
    ///
    /// # Errors
    /// Images that do not fit the network, labels that do not fit its classes.
    pub fn add(
        &self,
        network: &Network,
        images: Tensor<4>,
        targets: &Targets,
        tally: &mut Tally,
    ) -> Result<(), TrainError> {
        let fail = |source| TrainError::model(network.name().to_string(), source);
        if let (Tally::Segmentation(tally), Targets::Masks(masks), false) =
            (&mut *tally, targets, self.options.is_quick())
        {
            for (place, mask) in masks.iter().enumerate() {
                let image = images.clone().narrow(0, place, 1);
                let size = [mask.height(), mask.width()];
                tally.add(inference::predict(network, image, size, &self.options)?, mask)?;
            }
            return Ok(());
        }
        let features = network.forward(images, Mode::Eval, &[]).map_err(fail)?;
        tally.add(&features, targets)
    }
}

/// Counts over batches.
pub(crate) enum Tally {
    Classification(classification::Tally),
    Segmentation(segmentation::Tally),
}

impl Tally {
    /// Adds the logits of a batch with its labels.
    ///
    /// # Errors
    /// Labels of another task, or outside the network's classes.
    pub fn add(&mut self, features: &Features, targets: &Targets) -> Result<(), TrainError> {
        match (self, targets) {
            (Self::Classification(tally), Targets::Classes(labels)) => tally.add(features.scores(), labels),
            (Self::Segmentation(tally), Targets::Masks(masks)) => {
                let maps = features.logits.clone().into_map();
                for (place, mask) in masks.iter().enumerate() {
                    let map = maps.clone().narrow(0, place, 1);
                    tally.add(inference::Prediction::of_logits(map, [mask.height(), mask.width()]), mask)?;
                }
                Ok(())
            }
            (_, targets) => Err(TrainError::Wiring(format!(
                "the network is judged on labels of {}, which are not what it was built for",
                labelled(of_targets(targets))
            ))),
        }
    }

    /// Images so far.
    pub fn images(&self) -> usize {
        match self {
            Self::Classification(tally) => tally.images(),
            Self::Segmentation(tally) => tally.images(),
        }
    }

    /// The figures.
    ///
    /// # Errors
    /// No images, no pixel that counts.
    pub fn result(self) -> Result<Evaluation, TrainError> {
        if self.images() == 0 {
            return Err(TrainError::Wiring("there are no images to evaluate".into()));
        }
        match self {
            Self::Classification(tally) => Ok(tally.result()),
            Self::Segmentation(tally) => tally.result(),
        }
    }
}

#[cfg(test)]
mod tests;
