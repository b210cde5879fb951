//! `subband plan`.
use subband_train::{Plan, PlanOptions, Recipe};

use super::{print, print_json};
use crate::args::PlanArgs;
use crate::device;
use crate::failure::Failure;

/// Works the recipe out and prints it.
pub fn plan(args: &PlanArgs) -> Result<(), Failure> {
    let recipe = Recipe::load(&args.recipe.recipe, &args.recipe.set)?;
    let device = device::open(&args.compute)?;
    let plan = Plan::with(&recipe, &device, PlanOptions { time: !args.no_time })?;
    if args.json { print_json(&plan) } else { print(&plan.to_string()) }
}
