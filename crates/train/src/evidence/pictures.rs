//! The records of pictures: `pictures/pictures.json` and `arms/<slug>/pictures/pictures.json`.
use serde::{Deserialize, Serialize};

/// `pictures/pictures.json`: the test images that every network of the run is shown, and what they are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PictureSet {
    /// Whether the networks label pixels.
    pub segmentation: bool,
    /// Names of the classes.
    pub classes: Vec<String>,
    /// Red, green and blue of each class.
    pub colours: Vec<[u8; 3]>,
    /// The images.
    pub images: Vec<ShownImage>,
}

/// A test image; its files lie beside the record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ShownImage {
    /// Index among the test images.
    pub index: usize,
    /// Name of its file, or its place in a packed one.
    pub name: String,
    /// The photo, at most [`PictureSet::SIDE`] pixels a side.
    pub photo: String,
    /// Columns of the photo and of label maps.
    pub width: usize,
    /// Rows of the photo and of label maps.
    pub height: usize,
    /// The true label map, a palette PNG; none for classes of whole images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub truth: Option<String>,
    /// The true classes with their shares of the pixels, the largest first.
    pub shares: Vec<(u8, f64)>,
    /// The class whose activation maps are drawn, if any are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explained: Option<usize>,
}

impl PictureSet {
    /// The longest side of a photo and of a label map.
    pub const SIDE: usize = 320;
}

/// `arms/<slug>/pictures/pictures.json`: what a network makes of the images.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NetworkPictures {
    /// What the pictures depend on; others are drawn anew.
    pub key: String,
    /// One for each image.
    pub predictions: Vec<Predicted>,
    /// Class-activation maps.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub maps: Vec<ActivationMap>,
    /// What could not be drawn, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// What a network makes of an image; nothing where it could not be drawn.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Predicted {
    /// The label map, a palette PNG; none for classes of whole images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<String>,
    /// Share of this image's pixels that are right, in percent, at the size of the label file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<f64>,
    /// Mean over the classes that this image has or is given of the intersection over union, in percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub miou: Option<f64>,
    /// The class of the whole image and its probability.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<(usize, f64)>,
}

/// A class-activation map over an image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ActivationMap {
    /// Place of the image in [`PictureSet::images`].
    pub image: usize,
    /// The method.
    pub method: String,
    /// The tap.
    pub tap: String,
    /// The map, a palette PNG.
    pub file: String,
}
