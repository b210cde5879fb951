//! The figures of an evaluation, by name: `{"top1": 91.2, "top5": 99.6, "loss": 0.31}`.
//!
//! What a task is judged by is a list of named figures, and the first of them is the primary one: it chooses the best
//! epoch and heads tables and charts. [`FIGURES`] says how a figure is written for people; it also gives the order, so
//! that the primary figure of a file is known without the task.
use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A figure that a task may be judged by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Figure {
    /// Key in JSON files.
    pub name: &'static str,
    /// Name for people.
    pub label: &'static str,
    /// Whether it is in percent and higher is better; only such a figure can be primary.
    pub percent: bool,
    /// Whether it is a share of images, each of which is right or wrong, so that its standard error is known.
    pub of_images: bool,
}

const fn share(name: &'static str, label: &'static str, of_images: bool) -> Figure {
    Figure { name, label, percent: true, of_images }
}

/// The known figures; of those that an evaluation has, the first is its primary one.
const FIGURES: [Figure; 10] = [
    share("top1", "top-1", true),
    share("top5", "top-5", true),
    share("miou", "mIoU", false),
    share("miou_categories", "mIoU of categories", false),
    share("miou_plain", "mIoU where no class is absent", false),
    share("iou", "IoU", false),
    share("macc", "mean accuracy", false),
    share("accuracy", "pixel accuracy", false),
    share("precision", "precision", false),
    Figure { name: "loss", label: "cross-entropy", percent: false, of_images: false },
];

impl Figure {
    /// The figure of this name.
    pub fn named(name: &str) -> Option<Self> {
        FIGURES.into_iter().find(|figure| figure.name == name)
    }

    /// A value with its unit: `91.20 %`, `0.3124`.
    pub fn text(&self, value: f64) -> String {
        if self.percent { format!("{value:.2} %") } else { format!("{value:.4}") }
    }
}

/// Place of a name in an evaluation's list; unknown figures come last.
fn rank(name: &str) -> usize {
    FIGURES.iter().position(|figure| figure.name == name).unwrap_or(FIGURES.len())
}

/// The figures of one evaluation, the primary one first. JSON: an object; a figure that is not finite is `null` and is
/// read as NaN.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Scores(Vec<(String, f64)>);

impl Scores {
    /// Figures in any order.
    pub fn new<N: Into<String>>(figures: impl IntoIterator<Item = (N, f64)>) -> Self {
        let mut figures: Vec<(String, f64)> = figures.into_iter().map(|(name, value)| (name.into(), value)).collect();
        figures.sort_by_key(|(name, _)| rank(name));
        Self(figures)
    }

    /// Whether there is no figure: nothing was evaluated.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The figure of this name.
    pub fn get(&self, name: &str) -> Option<f64> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| *value)
    }

    /// Names and values, the primary figure first.
    pub fn iter(&self) -> impl Iterator<Item = (&str, f64)> {
        self.0.iter().map(|(name, value)| (name.as_str(), *value))
    }

    /// The figure that decides, with its value.
    pub fn primary(&self) -> Option<(Figure, f64)> {
        let known = self.iter().filter_map(|(name, value)| Some((Figure::named(name)?, value)));
        known.into_iter().find(|(figure, _)| figure.percent)
    }

    /// Whether the primary figure is above that of `other`; not a number is below everything.
    pub fn better_than(&self, other: &Self) -> bool {
        let value = |scores: &Self| scores.primary().map(|(_, value)| value).filter(|value| !value.is_nan());
        match (value(self), value(other)) {
            (Some(own), Some(other)) => own > other,
            (own, _) => own.is_some(),
        }
    }

    /// The primary figure in words: `top-1 91.20 %`, or a dash for none.
    pub fn headline(&self) -> String {
        self.primary().map_or("-".into(), |(figure, value)| format!("{} {}", figure.label, figure.text(value)))
    }
}

/// All figures in words: `top-1 91.20 %, top-5 99.60 %, cross-entropy 0.3124`.
impl fmt::Display for Scores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |(name, value): (&str, f64)| match Figure::named(name) {
            Some(figure) => format!("{} {}", figure.label, figure.text(value)),
            None => format!("{name} {value:.4}"),
        };
        f.write_str(&self.iter().map(text).collect::<Vec<_>>().join(", "))
    }
}

impl Serialize for Scores {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Scores {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Figures;
        impl<'de> Visitor<'de> for Figures {
            type Value = Scores;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of figures by name")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Scores, A::Error> {
                let mut figures = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, Option<f64>>()? {
                    figures.push((name, value.unwrap_or(f64::NAN)));
                }
                Ok(Scores::new(figures))
            }
        }
        deserializer.deserialize_map(Figures)
    }
}

/// The figures of one class.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClassScores {
    /// Name of the class.
    pub name: String,
    /// Its figures; not a number where it does not occur.
    #[serde(flatten)]
    pub scores: Scores,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_an_order_of_their_own_and_survive_json() {
        let scores = Scores::new([("loss", f64::INFINITY), ("speed", 3.0), ("top5", 99.0), ("top1", 91.2)]);
        let names: Vec<&str> = scores.iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["top1", "top5", "loss", "speed"]);
        let text = serde_json::to_string(&scores).unwrap();
        assert_eq!(text, "{\"top1\":91.2,\"top5\":99.0,\"loss\":null,\"speed\":3.0}");
        // A general reader sorts by name.
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        let back: Scores = serde_json::from_value(value).unwrap();
        assert!(back.get("loss").unwrap().is_nan() && back.get("map").is_none());
        assert_eq!(back.primary().map(|(figure, value)| (figure.label, value)), Some(("top-1", 91.2)));
        assert_eq!(back.headline(), "top-1 91.20 %");
    }

    #[test]
    fn the_primary_figure_decides_and_not_a_number_never_wins() {
        let miou = |value: f64| Scores::new([("accuracy", 90.0 - value), ("miou", value)]);
        assert!(miou(30.1).better_than(&miou(30.0)) && !miou(30.0).better_than(&miou(30.0)));
        assert!(miou(0.0).better_than(&miou(f64::NAN)) && !miou(f64::NAN).better_than(&miou(f64::NAN)));
        assert!(miou(0.0).better_than(&Scores::default()) && !Scores::default().better_than(&miou(0.0)));
        assert_eq!(Scores::new([("loss", 0.5)]).primary(), None);
        assert_eq!(miou(31.5).to_string(), "mIoU 31.50 %, pixel accuracy 58.50 %");
    }

    #[test]
    fn a_class_is_one_flat_object() {
        let class = ClassScores { name: "car".into(), scores: Scores::new([("accuracy", 50.0), ("iou", 25.0)]) };
        let text = serde_json::to_string(&class).unwrap();
        assert_eq!(text, "{\"name\":\"car\",\"iou\":25.0,\"accuracy\":50.0}");
        assert_eq!(serde_json::from_str::<ClassScores>(&text).unwrap(), class);
    }
}
