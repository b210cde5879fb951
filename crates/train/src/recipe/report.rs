//! `[report]`: the pictures of a run.
use serde::{Deserialize, Serialize};
use subband_models::Cam;

use super::Recipe;
use super::read::Reader;
use crate::TrainError;

/// `[report]`: what of a few test images is kept and shown for each network. Nothing that is trained depends on it, and
/// it may change when a run is resumed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReportRecipe {
    /// Test images that are shown, 0 to 16; the seed chooses them so that together they show many classes. Default 4.
    pub pictures: usize,
    /// How many of them get class-activation maps. Default 2.
    pub cam_images: usize,
    /// The methods of these maps: `grad-cam` at the deepest stage, `ablation-cam` there too, or at a segmenter's
    /// `decoder`, where it costs no more than the other. Default both, of transformers `grad-cam` alone; [] draws none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cams: Option<Vec<Cam>>,
}

/// The most images.
const MOST: usize = 16;

impl Default for ReportRecipe {
    fn default() -> Self {
        Self { pictures: 4, cam_images: 2, cams: None }
    }
}

/// Checks the ranges.
pub(super) fn check(recipe: &Recipe, reader: &Reader<'_>) -> Result<(), TrainError> {
    let Some(report) = &recipe.report else { return Ok(()) };
    if report.pictures > MOST {
        return Err(reader.bad("report.pictures", format!("{} is more than {MOST}", report.pictures)));
    }
    let cams = report.cams.as_deref().unwrap_or_default();
    if cams.iter().enumerate().any(|(place, cam)| cams[..place].contains(cam)) {
        return Err(reader.bad("report.cams", "names a method twice"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECIPE: &str = "[data]\ndataset = \"digits\"\n[student]\nnetwork = \"cifar-resnet8\"\n[train]\nepochs = 1\n";

    fn parse(report: &str) -> Result<Recipe, TrainError> {
        Recipe::parse(&format!("{RECIPE}{report}"), "r", &[])
    }

    #[test]
    fn keys_have_defaults_and_survive_writing() {
        assert_eq!(parse("").unwrap().report, None);
        let recipe = parse("[report]\ncams = [\"ablation-cam\"]").unwrap();
        assert_eq!(recipe.report, Some(ReportRecipe { cams: Some(vec![Cam::Ablation]), ..ReportRecipe::default() }));
        assert_eq!(Recipe::parse(&recipe.to_toml(), "r", &[]).unwrap(), recipe);
        assert_eq!(parse("[report]\npictures = 0\ncams = []").unwrap().report.unwrap().cams, Some(Vec::new()));
    }

    #[test]
    fn values_out_of_range_are_refused() {
        let error = |text: &str| parse(text).unwrap_err().to_string();
        assert!(error("[report]\npictures = 17").contains("report.pictures"));
        assert!(error("[report]\ncams = [\"grad-cam\", \"grad-cam\"]").contains("twice"));
        assert!(error("[report]\ncams = [\"gradcam\"]").contains("grad-cam"));
        assert!(error("[report]\npicture = 2").contains("pictures"));
    }
}
