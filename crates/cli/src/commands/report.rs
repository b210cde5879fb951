//! `subband report`.
use subband_train::evidence::report::write_report;

use super::print;
use crate::args::ReportArgs;
use crate::failure::Failure;

/// Writes the report and prints its path.
pub fn report(args: &ReportArgs) -> Result<(), Failure> {
    let path = write_report(&args.run)?;
    print(&format!("{}\n", path.display()))
}
