//! Learning-rate schedules as pure functions of the step, so that a resumed run needs no schedule state.
//!
//! With `s` the optimiser step counted from 0, `S` the steps of an epoch, `E` the epochs and `W` the warm-up in epochs:
//!
//! ```text
//! lr(s) = lr * warm(s) * decay(s)
//! warm(s)  = min(1, (s + 1) / (W * S))                                    linear; 1 when W = 0
//! decay(s) = 1                                                            constant
//!          = gamma ^ #{milestone m : m <= s / S}                          step (epochs, torch MultiStepLR)
//!          = f + (1 - f) * (1 + cos(pi * p)) / 2                          cosine (Loshchilov, Hutter 2017)
//!          = f + (1 - f) * (1 - p) ^ power                                polynomial
//! p        = (s - W * S) / (E * S - W * S), limited to 0..1, and f = final_factor
//! ```
use serde::{Deserialize, Serialize};

/// How the learning rate changes over a run. In the recipe: `schedule = { kind = "step", milestones = [6, 8] }`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Schedule {
    /// The same rate all the time.
    Constant {},
    /// The rate is multiplied by `gamma` at the start of each milestone epoch.
    Step {
        /// Epochs done before each drop, rising; fractions are allowed.
        milestones: Vec<f64>,
        /// Factor of each drop, above 0 and at most 1. Default 0.1.
        #[serde(default = "tenth")]
        gamma: f64,
    },
    /// Half a cosine from the full rate to `final_factor`.
    Cosine {
        /// Rate at the end as a share of the full rate, 0 to 1. Default 0.
        #[serde(default)]
        final_factor: f64,
    },
    /// `(1 - p)^power` from the full rate to `final_factor`.
    Polynomial {
        /// Exponent, above 0. Default 0.9.
        #[serde(default = "nine_tenths")]
        power: f64,
        /// Rate at the end as a share of the full rate, 0 to 1. Default 0.
        #[serde(default)]
        final_factor: f64,
    },
}

fn tenth() -> f64 {
    0.1
}

fn nine_tenths() -> f64 {
    0.9
}

/// A schedule with the numbers of a run filled in.
#[derive(Debug, Clone, PartialEq)]
pub struct LearningRate {
    /// Full rate.
    pub base: f64,
    /// Shape over the run.
    pub schedule: Schedule,
    /// Linear warm-up in epochs.
    pub warmup_epochs: f64,
    /// Epochs of the run.
    pub epochs: usize,
    /// Optimiser steps of one epoch.
    pub steps_per_epoch: usize,
}

impl LearningRate {
    /// The rate of optimiser step `step` (from 0); see the equations of the module.
    pub fn at(&self, step: usize) -> f64 {
        let (s, per_epoch) = (step as f64, self.steps_per_epoch.max(1) as f64);
        let warm_steps = self.warmup_epochs * per_epoch;
        let warm = if warm_steps > 0.0 { ((s + 1.0) / warm_steps).min(1.0) } else { 1.0 };
        let rest = self.epochs as f64 * per_epoch - warm_steps;
        let p = if rest > 0.0 { ((s - warm_steps) / rest).clamp(0.0, 1.0) } else { 0.0 };
        let decay = match &self.schedule {
            Schedule::Constant {} => 1.0,
            Schedule::Step { milestones, gamma } => {
                // Compared in steps with a margin, so that 0.1-like milestones do not miss their step by rounding.
                let passed = milestones.iter().filter(|&&m| m * per_epoch <= s + 1e-6).count();
                gamma.powi(passed as i32)
            }
            Schedule::Cosine { final_factor } => {
                final_factor + (1.0 - final_factor) * (1.0 + (std::f64::consts::PI * p).cos()) / 2.0
            }
            Schedule::Polynomial { power, final_factor } => {
                final_factor + (1.0 - final_factor) * (1.0 - p).powf(*power)
            }
        };
        self.base * warm * decay
    }
}

impl Schedule {
    /// What is wrong with the values, as (key, message).
    pub(crate) fn problem(&self) -> Option<(&'static str, String)> {
        let share = |name: &'static str, v: f64| {
            (!(0.0..=1.0).contains(&v)).then(|| (name, format!("{v} is not between 0 and 1")))
        };
        match self {
            Self::Constant {} => None,
            Self::Step { milestones, gamma } => {
                if milestones.iter().any(|m| !m.is_finite() || *m <= 0.0) || milestones.windows(2).any(|w| w[0] >= w[1])
                {
                    return Some(("milestones", "must be epochs above 0 in rising order".into()));
                }
                (!(*gamma > 0.0 && *gamma <= 1.0)).then(|| ("gamma", format!("{gamma} is not above 0 and at most 1")))
            }
            Self::Cosine { final_factor } => share("final_factor", *final_factor),
            Self::Polynomial { power, final_factor } => {
                if !(*power > 0.0 && power.is_finite()) {
                    return Some(("power", format!("{power} is not above 0")));
                }
                share("final_factor", *final_factor)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(schedule: Schedule, warmup_epochs: f64) -> LearningRate {
        LearningRate { base: 0.1, schedule, warmup_epochs, epochs: 10, steps_per_epoch: 4 }
    }

    fn close(a: f64, b: f64) {
        assert!((a - b).abs() < 1e-12, "{a} != {b}");
    }

    #[test]
    fn step_drops_at_the_first_step_of_each_milestone() {
        let r = rate(Schedule::Step { milestones: vec![3.0, 5.5], gamma: 0.1 }, 0.0);
        for (step, want) in [(0, 0.1), (11, 0.1), (12, 0.01), (21, 0.01), (22, 0.001), (39, 0.001)] {
            close(r.at(step), want);
        }
    }

    #[test]
    fn cosine_meets_the_table_of_torch() {
        // torch CosineAnnealingLR(T_max=40, eta_min=0), base 0.1: values after 0, 10, 20, 30, 39 steps.
        let r = rate(Schedule::Cosine { final_factor: 0.0 }, 0.0);
        for (step, want) in [(0, 0.1), (10, 0.085_355_339_059_327_38), (20, 0.05), (30, 0.014_644_660_940_672_63)] {
            close(r.at(step), want);
        }
        close(r.at(39), 0.1 * (1.0 + (std::f64::consts::PI * 39.0 / 40.0).cos()) / 2.0);
    }

    #[test]
    fn polynomial_and_final_factor() {
        let r = rate(Schedule::Polynomial { power: 0.9, final_factor: 0.0 }, 0.0);
        close(r.at(0), 0.1);
        close(r.at(20), 0.1 * 0.535_886_731_268_146_6);
        let r = rate(Schedule::Polynomial { power: 2.0, final_factor: 0.5 }, 0.0);
        close(r.at(20), 0.1 * (0.5 + 0.5 * 0.25));
        close(r.at(400), 0.05);
    }

    #[test]
    fn warm_up_is_linear_and_then_gone() {
        let r = rate(Schedule::Constant {}, 2.0);
        for (step, want) in [(0, 0.0125), (3, 0.05), (7, 0.1), (8, 0.1), (39, 0.1)] {
            close(r.at(step), want);
        }
        // The decay starts where the warm-up ends.
        let r = rate(Schedule::Cosine { final_factor: 0.0 }, 2.0);
        close(r.at(8), 0.1);
        close(r.at(24), 0.05);
    }

    #[test]
    fn bad_values_are_named() {
        let bad = |s: Schedule| s.problem().map(|(key, _)| key);
        assert_eq!(bad(Schedule::Step { milestones: vec![3.0, 2.0], gamma: 0.1 }), Some("milestones"));
        assert_eq!(bad(Schedule::Step { milestones: vec![3.0], gamma: 0.0 }), Some("gamma"));
        assert_eq!(bad(Schedule::Cosine { final_factor: 1.5 }), Some("final_factor"));
        assert_eq!(bad(Schedule::Polynomial { power: f64::NAN, final_factor: 0.0 }), Some("power"));
        assert_eq!(bad(Schedule::Constant {}), None);
    }
}
