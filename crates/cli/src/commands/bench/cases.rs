//! What is measured: training steps of single networks, and a distillation step.
use subband_models::{NetworkConfig, nearest, network_names};

use super::request::{Convolution, Repetition, Sgd, StepRequest};
use crate::failure::Failure;

/// A training step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Case {
    /// What `--only` calls it.
    pub name: &'static str,
    student: &'static str,
    teacher: Option<&'static str>,
    /// Images of a batch.
    pub batch: usize,
    size: [usize; 2],
    classes: usize,
}

const fn network(name: &'static str, batch: usize, side: usize, classes: usize) -> Case {
    Case { name, student: name, teacher: None, batch, size: [side; 2], classes }
}

const CASES: [Case; 7] = [
    network("cifar-resnet20", 64, 32, 10),
    network("cifar-wrn-16-2", 64, 32, 10),
    network("cifar-mobilenetv2", 64, 32, 10),
    network("resnet18", 8, 224, 1000),
    network("deit_tiny_patch16_224", 8, 224, 1000),
    Case { size: [360, 480], ..network("pspnet-resnet18-d8", 4, 0, 12) },
    Case { name: "fam-kd", teacher: Some("cifar-resnet56"), ..network("cifar-resnet20", 64, 32, 10) },
];

/// Weight of FAM-KD for ResNet-56 to ResNet-20, from its authors.
pub const WEIGHT: f64 = 0.8;

/// All cases whose networks this program has.
fn all() -> Vec<Case> {
    let known = network_names();
    CASES.into_iter().filter(|case| known.contains(&case.student)).collect()
}

/// What `--only` takes, a line each.
pub fn listed() -> String {
    all().iter().map(|case| format!("\n  {:<24} {:>14}  {}", case.name, case.input(), case.what())).collect()
}

/// The cases of these names in the order of the tables; without names all of them.
///
/// # Errors
/// A name that is no case, with the nearest one.
pub fn choose(names: &[String]) -> Result<Vec<Case>, Failure> {
    let all = all();
    for name in names {
        if !all.iter().any(|case| case.name == name) {
            let known: Vec<&str> = all.iter().map(|case| case.name).collect();
            let near = nearest(name, known.iter().copied());
            let near = near.map(|near| format!(" (did you mean `{near}`?)")).unwrap_or_default();
            return Err(Failure::usage(
                format!("--only {name}: there is no such measurement{near}"),
                format!("there are {}", known.join(", ")),
            ));
        }
    }
    Ok(all.into_iter().filter(|case| names.is_empty() || names.iter().any(|name| case.name == name)).collect())
}

impl Case {
    /// `64x3x32x32`.
    pub fn input(&self) -> String {
        let [height, width] = self.size;
        format!("{}x3x{height}x{width}", self.batch)
    }

    /// What it measures.
    fn what(&self) -> String {
        match self.teacher {
            Some(teacher) => format!("a whole distillation step, {teacher} to {}", self.student),
            None => "a training step".to_string(),
        }
    }

    /// Name for a table.
    pub fn title(&self) -> String {
        match self.teacher {
            Some(teacher) => format!("{}: {teacher} to {}", self.name, self.student),
            None => self.name.to_string(),
        }
    }

    /// The request for its training step.
    pub fn request(&self, repetition: Repetition) -> StepRequest {
        StepRequest {
            student: self.student.into(),
            teacher: self.teacher.map(Into::into),
            weight: WEIGHT,
            batch: self.batch,
            size: self.size,
            classes: self.classes,
            sgd: Sgd { lr: 0.01, momentum: 0.9, weight_decay: 5e-4 },
            repetition,
        }
    }

    /// The distinct convolutions of its networks that are not yet in `known`.
    ///
    /// # Errors
    /// None for registered networks.
    pub fn convolutions(&self, known: &[Convolution]) -> Result<Vec<Convolution>, Failure> {
        let mut new = Vec::new();
        let [height, width] = self.size;
        for name in std::iter::once(self.student).chain(self.teacher) {
            for shape in NetworkConfig::new(name, 3, self.classes).convolutions(height, width)? {
                let convolution = Convolution::new(&shape, self.batch);
                if !known.contains(&convolution) && !new.contains(&convolution) {
                    new.push(convolution);
                }
            }
        }
        Ok(new)
    }
}
