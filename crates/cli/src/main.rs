//! The `subband` command: frequency-domain knowledge distillation from recipes.
//!
//! This crate parses arguments, shows progress and prints results; the work is done by the crates below it.
mod args;
mod commands;
mod console;
mod device;
mod failure;
mod guide;
mod sizes;

use std::process::ExitCode;

use clap::Parser;

use args::{Cli, Command};
use failure::Failure;

fn main() -> ExitCode {
    failure::install_panic_hook();
    subband_kernels::keep_freed_memory();
    let cli = Cli::parse();
    let Some(command) = cli.command else {
        print!("{}", guide::SHORT);
        return ExitCode::SUCCESS;
    };
    match run(command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprint!("{failure}");
            ExitCode::from(failure.code)
        }
    }
}

fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Distill(args) => commands::distill::distill(&args),
        Command::Train(args) => commands::distill::train(&args),
        Command::Plan(args) => commands::plan::plan(&args),
        Command::Spectrum(args) => commands::spectrum::spectrum(&args),
        Command::Eval(args) => commands::eval::eval(&args),
        Command::Robustness(args) => commands::robustness::robustness(&args),
        Command::Predict(args) => commands::predict::predict(&args),
        Command::Cam(args) => commands::cam::cam(&args),
        Command::Taps(args) => commands::taps::taps(&args),
        Command::Data(args) => commands::data::data(&args),
        Command::Bench(args) => commands::bench::bench(&args),
        Command::Methods(args) => commands::lists::methods(&args),
        Command::Networks(args) => commands::lists::networks(&args),
        Command::Report(args) => commands::report::report(&args),
    }
}
