//! Seeing what a network does: predictions laid over images, class-activation maps, and what a run keeps of both.
//!
//! | file | is about |
//! |---|---|
//! | `palette` | colours of classes and of values |
//! | `overlay`, `legend` | a prediction drawn over its image, and the strip that explains the colours |
//! | `predictor` | a trained network with everything it takes to show it an image |
//! | `open` | a network out of a run folder, also to evaluate it |
//! | `choose`, `keep` | the test images that a run shows to each of its networks, and the files it keeps |
mod choose;
mod keep;
mod legend;
mod open;
mod overlay;
mod palette;
mod predictor;

pub(crate) use choose::{images, short_name};
pub(crate) use keep::Gallery;
pub use legend::{class_strip, heat_strip, share_text};
pub use open::RunNetwork;
pub(crate) use open::{TEACHER, recipe_of, weight_file, write_inputs};
pub use overlay::Picture;
pub use palette::{Palette, viridis};
pub use predictor::{Predictor, shares};
