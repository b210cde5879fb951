//! Training steps of both sides in turns, and their table.
use serde::Serialize;
use subband_train::Table;

use super::cases::Case;
use super::request::{Repetition, Request, StepReading, median};
use super::runner::{Runner, Side};
use crate::failure::Failure;

/// One side's step: medians over the rounds of each process' median, in milliseconds.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// Name of the case.
    pub case: &'static str,
    /// Networks of the case.
    title: String,
    /// Shape of the batch.
    input: String,
    /// Who.
    pub side: Side,
    /// Parameters of the student.
    params: usize,
    /// Parameters of the adapters.
    aux_params: usize,
    forward_ms: f64,
    backward_ms: f64,
    optimizer_ms: f64,
    /// The whole step.
    step_ms: f64,
    images_per_second: f64,
    /// Largest resident memory of the process.
    peak_mib: Option<f64>,
    /// How much of it came after the process had its network and its batch.
    step_mib: Option<f64>,
}

/// Measures the cases, told to `progress` line by line.
///
/// # Errors
/// A process fails, or the two sides do not have the same number of parameters.
pub fn measure(
    runner: &Runner,
    cases: &[Case],
    rounds: usize,
    repetition: Repetition,
    progress: &mut dyn FnMut(String),
) -> Result<Vec<Row>, Failure> {
    let mut rows = Vec::new();
    for case in cases {
        let request = Request::Step(case.request(repetition));
        let mut readings: Vec<(Side, Vec<StepReading>)> = runner.sides().into_iter().map(|s| (s, Vec::new())).collect();
        for round in 1..=rounds {
            for (side, all) in &mut readings {
                let reading: StepReading = runner.measure(*side, case.name, &request)?;
                let milliseconds = median(whole(&reading));
                progress(format!("{} round {round}/{rounds}: {} {milliseconds:.1} ms", case.name, side.name()));
                all.push(reading);
            }
        }
        let own: Vec<Row> = readings.into_iter().map(|(side, all)| Row::new(case, side, &all)).collect();
        same_network(&own)?;
        rows.extend(own);
    }
    Ok(rows)
}

/// The comparison is fair only between equal networks.
fn same_network(rows: &[Row]) -> Result<(), Failure> {
    let [ours, theirs] = rows else { return Ok(()) };
    if (ours.params, ours.aux_params) == (theirs.params, theirs.aux_params) {
        return Ok(());
    }
    let counts = |row: &Row| format!("{} + {}", row.params, row.aux_params);
    Err(Failure::failed(
        format!("{} has {} parameters here and {} in PyTorch", ours.case, counts(ours), counts(theirs)),
        "the networks of the two sides must be equal; please report this",
    ))
}

/// Milliseconds of each whole step.
fn whole(reading: &StepReading) -> Vec<f64> {
    let parts = reading.forward.iter().zip(&reading.backward).zip(&reading.optimizer);
    parts.map(|((forward, backward), optimizer)| forward + backward + optimizer).collect()
}

impl Row {
    fn new(case: &Case, side: Side, readings: &[StepReading]) -> Self {
        let middle = |value: &dyn Fn(&StepReading) -> Vec<f64>| {
            median(readings.iter().map(|reading| median(value(reading))).collect())
        };
        let mebibytes = |value: &dyn Fn(&StepReading) -> Option<u64>| {
            let all: Option<Vec<f64>> = readings.iter().map(|reading| Some(value(reading)? as f64 / 1024.0)).collect();
            all.map(median)
        };
        let step_ms = middle(&whole);
        Self {
            case: case.name,
            title: case.title(),
            input: case.input(),
            side,
            params: readings.first().map_or(0, |reading| reading.params),
            aux_params: readings.first().map_or(0, |reading| reading.aux_params),
            forward_ms: middle(&|reading| reading.forward.clone()),
            backward_ms: middle(&|reading| reading.backward.clone()),
            optimizer_ms: middle(&|reading| reading.optimizer.clone()),
            step_ms,
            images_per_second: case.batch as f64 / step_ms * 1e3,
            peak_mib: mebibytes(&|reading| reading.peak_kib),
            step_mib: mebibytes(&|reading| Some(reading.peak_kib?.saturating_sub(reading.start_kib?))),
        }
    }

    /// What the table shows in columns.
    fn values(&self) -> [Option<f64>; 7] {
        let [forward, backward, optimizer, step, images] =
            [self.forward_ms, self.backward_ms, self.optimizer_ms, self.step_ms, self.images_per_second].map(Some);
        [step, forward, backward, optimizer, images, self.peak_mib, self.step_mib]
    }
}

/// Steps side by side; with PyTorch a third line gives our value divided by its.
pub fn table(rows: &[Row]) -> Table {
    let title = "Training steps: milliseconds of a step and its parts, and resident memory in MiB";
    let header = [
        "network",
        "batch",
        "parameters",
        "",
        "step",
        "forward",
        "backward",
        "optimiser",
        "images/s",
        "peak",
        "for steps",
    ];
    let mut table = Table::new(title, &header);
    for pair in rows.chunk_by(|a, b| a.case == b.case) {
        for (index, row) in pair.iter().enumerate() {
            let adapters = if row.aux_params > 0 { format!(" + {}", row.aux_params) } else { String::new() };
            let names = [row.title.clone(), row.input.clone(), format!("{}{adapters}", row.params)];
            let names = if index == 0 { names } else { Default::default() };
            let slow = usize::from(row.images_per_second < 10.0);
            let digits = [1, 1, 1, 1, slow, 0, 0];
            let cells = row.values().into_iter().zip(digits).map(|(value, digits)| number(value, digits));
            table.row(names.into_iter().chain([row.side.name().to_string()]).chain(cells));
        }
        if let [ours, theirs] = pair {
            let ratios = ours.values().into_iter().zip(theirs.values());
            let ratios = ratios.map(|(ours, theirs)| number(ours.zip(theirs).map(|(a, b)| a / b), 2));
            let names = [String::new(), String::new(), String::new(), "ratio".to_string()];
            table.row(names.into_iter().chain(ratios));
        }
    }
    table
}

fn number(value: Option<f64>, digits: usize) -> String {
    value.map_or("-".into(), |value| format!("{value:.digits$}"))
}
