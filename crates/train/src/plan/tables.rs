//! A plan as tables for people.
use subband_data::Task;

use super::{ArmPlan, NetworkPlan, Plan, PromptPlan};
use crate::table::{Table, duration, mebibytes, short};

impl Plan {
    /// Data, networks, taps, arms, terms and time, in this order.
    pub fn tables(&self) -> Vec<Table> {
        let mut tables = vec![self.data_table(), self.network_table()];
        tables.extend(self.networks().map(tap_table));
        tables.extend(self.prompts.as_ref().map(prompt_table));
        tables.push(self.arm_table());
        if self.arms.iter().any(|arm| !arm.terms.is_empty()) {
            tables.push(self.term_table());
        }
        if let Some(time) = &self.time {
            let mut table = Table::new(
                "Estimated time (from a few measured steps on random images)",
                &["part", "step", "steps", "time"],
            );
            for part in &time.parts {
                let (step, steps) = match (part.steps, part.runs) {
                    (0, _) => ("-".into(), "-".into()),
                    (steps, 1) => (format!("{:.0} ms", part.step_seconds * 1e3), steps.to_string()),
                    (steps, runs) => (format!("{:.0} ms", part.step_seconds * 1e3), format!("{runs} x {steps}")),
                };
                table.row([part.name.clone(), step, steps, duration(part.seconds)]);
            }
            table.row(["total".to_string(), String::new(), String::new(), duration(time.seconds)]);
            tables.push(table);
        }
        tables
    }

    fn networks(&self) -> impl Iterator<Item = &NetworkPlan> {
        self.teacher.iter().chain(std::iter::once(&self.student))
    }

    fn data_table(&self) -> Table {
        let mut table = Table::new("Data", &["data set", "task", "train", "validation", "test", "classes", "input"]);
        let d = &self.data;
        let input = format!("{}x{}x{}", d.channels, d.size[0], d.size[1]);
        let counts = [d.train, d.validation, d.test, d.classes].map(|n| n.to_string());
        let task = match d.task {
            Task::Classification => "classification",
            Task::Segmentation => "segmentation",
        };
        table.row([d.dataset.clone(), task.to_string()].into_iter().chain(counts).chain([input]));
        table
    }

    fn network_table(&self) -> Table {
        let header = ["", "network", "weights", "batch norm", "parameters", "trained", "multiply-adds"];
        let mut table = Table::new("Networks", &header);
        for n in self.networks() {
            let figures = [n.params as f64, n.trainable as f64, n.macs as f64].map(short);
            let texts = [&n.role, &n.network, &n.weights, &n.batch_norm];
            table.row(texts.into_iter().cloned().chain(figures));
        }
        table
    }

    fn arm_table(&self) -> Table {
        let header = ["arm", "task weight", "terms", "adapter parameters", "weights + optimiser", "steps"];
        let title = match self.seeds.len() {
            0 => "Arms".to_string(),
            n => format!("Arms, each trained {n} times, with the seeds {}", join(&self.seeds)),
        };
        let mut table = Table::new(title, &header);
        for arm in &self.arms {
            let names: Vec<&str> = arm.terms.iter().map(|term| term.name.as_str()).collect();
            let terms = if names.is_empty() { "-".into() } else { names.join(", ") };
            let aux = short(arm.aux_params as f64);
            let weight = arm.task_weight.to_string();
            table.row([arm.name.clone(), weight, terms, aux, mebibytes(arm.state_bytes), arm.steps.to_string()]);
        }
        table
    }

    fn term_table(&self) -> Table {
        let header = [
            "arm",
            "term",
            "method",
            "weight",
            "warm-up",
            "student taps",
            "teacher taps",
            "adapters",
            "largest temporary",
        ];
        let mut table = Table::new("Terms", &header);
        for arm in &self.arms {
            term_rows(arm, &mut table);
        }
        table
    }
}

fn prompt_table(prompts: &PromptPlan) -> Table {
    let header = ["teacher taps", "sets", "prompts per set", "parameters", "steps", "batch"];
    let title = match prompts.used_by[..] {
        [] => "Frequency prompts, learned before the arms; no arm uses them (terms of freekd or maskd would)".into(),
        _ => format!("Frequency prompts, learned before the arms, for {}", prompts.used_by.join(", ")),
    };
    let mut table = Table::new(title, &header);
    let counts = [prompts.tokens, prompts.params, prompts.steps, prompts.batch_size].map(|n| n.to_string());
    table.row([prompts.taps.join(" "), prompts.sets.join(" ")].into_iter().chain(counts));
    table
}

/// `1, 2, 3`.
fn join(seeds: &[u64]) -> String {
    let seeds: Vec<String> = seeds.iter().map(u64::to_string).collect();
    seeds.join(", ")
}

fn term_rows(arm: &ArmPlan, table: &mut Table) {
    let taps = |names: &[String]| if names.is_empty() { "logits".to_string() } else { names.join(" ") };
    for term in &arm.terms {
        table.row([
            arm.name.clone(),
            term.name.clone(),
            term.method.clone(),
            term.weight.to_string(),
            format!("{} epochs", term.warmup_epochs),
            taps(&term.student_taps),
            taps(&term.teacher_taps),
            short(term.aux_params as f64),
            mebibytes(term.largest_temporary),
        ]);
    }
}

fn tap_table(network: &NetworkPlan) -> Table {
    let mut table =
        Table::new(format!("Taps of the {} {}", network.role, network.network), &["tap", "shape", "stride"]);
    for tap in &network.taps {
        table.row([tap.name.clone(), tap.shape.to_string(), tap.stride.to_string()]);
    }
    table
}

impl std::fmt::Display for Plan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "Plan of \"{}\" on {}", self.name, self.device)?;
        for table in self.tables() {
            write!(f, "\n{table}")?;
        }
        if !self.warnings.is_empty() {
            writeln!(f)?;
        }
        self.warnings.iter().try_for_each(|warning| writeln!(f, "warning: {warning}"))
    }
}
