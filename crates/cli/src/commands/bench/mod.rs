//! `subband bench`: training steps and convolutions, side by side with PyTorch.
//!
//! Each measurement runs in a process of its own, so that peak memory is that of one network: this program starts
//! itself with a request, or Python with a script that is part of the program. The sides take turns.
mod cases;
mod disturbance;
mod kernels;
mod page;
mod request;
mod runner;
mod steps;
mod torch;
mod worker;

use serde_json::json;
use subband_train::Table;

use super::{print, print_json};
use crate::args::BenchArgs;
use crate::failure::Failure;
pub use cases::listed;
use disturbance::Moment;
use page::{Environment, Section, cores};
use request::{Repetition, WARM_UP};
use runner::Runner;
use torch::{HOW, Torch};

/// Share of the cores' time that others may take before a warning is given.
const TOLERABLE: f64 = 0.05;

/// What came out.
struct Measured {
    tables: Vec<Table>,
    /// Its name in JSON.
    key: &'static str,
    value: serde_json::Value,
}

/// Measures, prints, and puts the tables into a page.
pub fn bench(args: &BenchArgs) -> Result<(), Failure> {
    if let Some(request) = &args.worker {
        return worker::run(request);
    }
    for (name, value) in [("--rounds", args.rounds), ("--steps", args.steps)] {
        if value == 0 {
            return Err(Failure::usage(format!("{name} 0: nothing would be measured"), "use 1 or more"));
        }
    }
    let cases = cases::choose(&args.only)?;
    let section = if args.kernels { Section::Kernels } else { Section::Steps };
    if let Some(path) = &args.markdown {
        page::check(path, section)?;
    }
    let runner = runner(args)?;
    let repetition = Repetition { threads: runner.threads, warm_up: WARM_UP, steps: args.steps };
    let mut environment = Environment::new(&runner, args.rounds, args.steps);
    eprintln!("{environment}");
    let before = Moment::now();
    let mut progress = |line: String| eprintln!("{line}");
    let measured = if args.kernels {
        let kernels = kernels::measure(&runner, &cases, args.rounds, repetition, &mut progress)?;
        Measured { tables: kernels::tables(&kernels), key: "kernels", value: json!(kernels) }
    } else {
        let rows = steps::measure(&runner, &cases, args.rounds, repetition, &mut progress)?;
        Measured { tables: vec![steps::table(&rows)], key: "steps", value: json!(rows) }
    };
    let others = before.zip(Moment::now()).and_then(|(before, now)| now.others_since(before));
    environment.other_work_percent = others.map(|share| 100.0 * share);
    if let Some(share) = others.filter(|share| *share > TOLERABLE) {
        let percent = 100.0 * share;
        eprintln!("warning: other programs used {percent:.0} % of the cores' time, the numbers are not to be trusted");
    }
    let Measured { tables, key, value } = measured;
    if let Some(path) = &args.markdown {
        page::write(path, section, &page::markdown(&environment, &tables))?;
    }
    if args.json {
        return print_json(&json!({ "environment": environment, key: value }));
    }
    let text: Vec<String> = tables.iter().map(Table::to_string).collect();
    print(&text.join("\n"))
}

/// The sides and their threads.
fn runner(args: &BenchArgs) -> Result<Runner, Failure> {
    let torch = if args.no_torch { None } else { Torch::find(args.python.as_deref())? };
    if torch.is_none() && !args.no_torch {
        eprintln!("PyTorch was not found, so its numbers are left out. To have them: {HOW}");
    }
    let threads = match args.threads {
        None => cores().min(2),
        Some(0) => cores(),
        Some(threads) => threads,
    };
    Ok(Runner { torch, threads })
}
