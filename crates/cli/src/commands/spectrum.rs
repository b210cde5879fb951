//! `subband spectrum`.
use subband_train::{Recipe, Spectrum};

use super::{print, print_json};
use crate::args::SpectrumArgs;
use crate::device;
use crate::failure::Failure;

/// Runs both networks of a recipe over some images and prints how their features differ by frequency.
pub fn spectrum(args: &SpectrumArgs) -> Result<(), Failure> {
    if args.images == 0 {
        return Err(Failure::usage("--images 0: there is nothing to compare", "use 1 or more"));
    }
    let recipe = Recipe::load(&args.recipe.recipe, &args.recipe.set)?;
    let device = device::open(&args.compute)?;
    let spectrum = Spectrum::of(&recipe, args.images, &device)?;
    if args.json { print_json(&spectrum) } else { print(&spectrum.to_string()) }
}
