//! Line charts as inline SVG; `dots` has the dot plots.
//!
//! Curves carry their names at their ends instead of a legend; colours are classes of the page's style sheet, so that
//! they follow light and dark. The palette is Okabe and Ito's, which is told apart with any colour vision, and from
//! the seventh curve on dashes are added.

use super::text::escape;
use std::fmt::Write;

/// One curve.
pub(super) struct Series {
    pub label: String,
    /// Class of the colour: `base`, `teacher`, or `c0` to `c5`.
    pub class: String,
    pub points: Vec<(f64, f64)>,
    /// Point to mark with a ring, and its description.
    pub mark: Option<((f64, f64), String)>,
}

/// A chart of one or more curves.
pub(super) struct LineChart<'a> {
    pub width: f64,
    pub height: f64,
    pub title: &'a str,
    pub x_label: &'a str,
    pub series: &'a [Series],
    /// Whether the vertical axis starts at zero.
    pub from_zero: bool,
    /// Writes a value of the vertical axis.
    pub format: fn(f64) -> String,
}

/// Width of a character and height of a line of the charts' text, in units of the drawing.
pub(super) const TEXT: f64 = 7.0;
const LINE: f64 = 15.0;

impl LineChart<'_> {
    /// The SVG element, or an empty text where no curve has a finite point.
    pub fn svg(&self) -> String {
        let points = || self.series.iter().flat_map(|series| &series.points).filter(|(x, y)| finite(*x, *y));
        if points().next().is_none() {
            return String::new();
        }
        let (x_low, x_high) = range(points().map(|point| point.0));
        let (mut y_low, mut y_high) = range(points().map(|point| point.1));
        if self.from_zero {
            (y_low, y_high) = (y_low.min(0.0), y_high.max(0.0));
        }
        let y_ticks = ticks(y_low, y_high, ((self.height - 60.0) / 42.0).clamp(2.0, 8.0) as usize);
        (y_low, y_high) = (y_low.min(y_ticks[0]), y_high.max(y_ticks[y_ticks.len() - 1]));
        let tick_texts: Vec<String> = y_ticks.iter().map(|tick| (self.format)(*tick)).collect();
        let label_limit = ((self.width * 0.3) / TEXT) as usize;
        let labels: Vec<String> = self.series.iter().map(|series| shorten(&series.label, label_limit)).collect();
        let frame = Frame {
            left: 10.0 + TEXT * longest(&tick_texts),
            right: self.width - 16.0 - TEXT * longest(&labels),
            top: 12.0,
            bottom: self.height - 34.0,
            x: (x_low, x_high),
            y: (y_low, y_high),
        };
        let mut svg = String::new();
        let _ = write!(
            svg,
            "<svg viewBox=\"0 0 {:.0} {:.0}\" role=\"img\" aria-label=\"{}\">",
            self.width,
            self.height,
            escape(self.title)
        );
        self.axes(&mut svg, &frame, &y_ticks, &tick_texts);
        for series in self.series {
            curve(&mut svg, &frame, series);
        }
        self.labels(&mut svg, &frame, &labels);
        svg.push_str("</svg>");
        svg
    }

    fn axes(&self, svg: &mut String, frame: &Frame, y_ticks: &[f64], texts: &[String]) {
        for (tick, text) in y_ticks.iter().zip(texts) {
            let y = frame.py(*tick);
            let _ = write!(
                svg,
                "<line class=\"grid\" x1=\"{:.1}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
                 <text class=\"tick\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                frame.left,
                frame.right,
                frame.left - 6.0,
                y + 4.0,
                escape(text)
            );
        }
        let room = ((frame.right - frame.left) / 48.0).clamp(1.0, 12.0) as usize;
        let x_ticks = ticks(frame.x.0, frame.x.1, room);
        for tick in x_ticks.iter().filter(|tick| **tick >= frame.x.0 - 1e-9 && **tick <= frame.x.1 + 1e-9) {
            // Epochs and steps are whole.
            if tick.fract().abs() > 1e-9 {
                continue;
            }
            let _ = write!(
                svg,
                "<text class=\"tick\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{tick:.0}</text>",
                frame.px(*tick),
                frame.bottom + 16.0
            );
        }
        let _ = write!(
            svg,
            "<text class=\"axis\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            frame.right,
            frame.bottom + 31.0,
            escape(self.x_label)
        );
    }

    /// Names at the ends of the curves, pushed apart where they would overlap. Where they are too many for the height the
    /// upper ones are named and the others counted.
    fn labels(&self, svg: &mut String, frame: &Frame, labels: &[String]) {
        let mut places: Vec<(usize, f64, f64)> = Vec::new();
        for (index, series) in self.series.iter().enumerate() {
            if let Some((x, y)) = series.points.iter().rev().find(|(x, y)| finite(*x, *y)) {
                places.push((index, frame.px(*x), frame.py(*y)));
            }
        }
        places.sort_by(|a, b| a.2.total_cmp(&b.2));
        let room = ((frame.bottom - frame.top) / LINE) as usize;
        if places.len() > room + 1 {
            let unnamed = places.len() - room;
            places.truncate(room);
            let _ = write!(
                svg,
                "<text class=\"label base\" x=\"{:.1}\" y=\"{:.1}\">and {unnamed} more</text>",
                frame.right + 10.0,
                frame.bottom + LINE
            );
        }
        let spread = spread(&places.iter().map(|place| place.2).collect::<Vec<_>>(), frame.top, frame.bottom);
        for ((index, x, y), at) in places.into_iter().zip(spread) {
            let class = &self.series[index].class;
            if (at - y).abs() > 3.0 || frame.right - x > 3.0 {
                let _ = write!(
                    svg,
                    "<path class=\"leader {class}\" d=\"M{:.1} {y:.1}L{:.1} {at:.1}\"/>",
                    x + 3.0,
                    frame.right + 7.0
                );
            }
            let _ = write!(
                svg,
                "<text class=\"label {class}\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                frame.right + 10.0,
                at + 4.0,
                escape(&labels[index])
            );
        }
    }
}

/// Where the data lie on the drawing.
pub(super) struct Frame {
    pub left: f64,
    pub right: f64,
    pub top: f64,
    pub bottom: f64,
    pub x: (f64, f64),
    pub y: (f64, f64),
}

impl Frame {
    pub fn px(&self, x: f64) -> f64 {
        self.left + (self.right - self.left) * share(x, self.x)
    }

    fn py(&self, y: f64) -> f64 {
        self.bottom - (self.bottom - self.top) * share(y, self.y)
    }
}

fn share(value: f64, (low, high): (f64, f64)) -> f64 {
    if high > low { (value - low) / (high - low) } else { 0.5 }
}

fn curve(svg: &mut String, frame: &Frame, series: &Series) {
    let mut path = String::new();
    let mut pen_down = false;
    for (x, y) in &series.points {
        // A value that is not finite leaves a gap.
        if finite(*x, *y) {
            let _ = write!(path, "{}{:.1} {:.1}", if pen_down { "L" } else { "M" }, frame.px(*x), frame.py(*y));
        }
        pen_down = finite(*x, *y);
    }
    let class = &series.class;
    let _ = write!(svg, "<path class=\"curve {class}\" d=\"{path}\"/>");
    if let Some((x, y)) = series.points.iter().rev().find(|(x, y)| finite(*x, *y)) {
        let _ = write!(
            svg,
            "<circle class=\"end {class}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\"/>",
            frame.px(*x),
            frame.py(*y)
        );
    }
    if let Some(((x, y), text)) = series.mark.as_ref().filter(|((x, y), _)| finite(*x, *y)) {
        let _ = write!(
            svg,
            "<circle class=\"ring {class}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"5\"><title>{}</title></circle>",
            frame.px(*x),
            frame.py(*y),
            escape(text)
        );
    }
}

/// A value of an axis without needless zeros.
pub(super) fn axis_number(value: f64) -> String {
    let text = format!("{value:.4}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".into() } else { text.replace('-', "−") }
}

fn finite(x: f64, y: f64) -> bool {
    x.is_finite() && y.is_finite()
}

fn range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values.fold((f64::MAX, f64::MIN), |(low, high), value| (low.min(value), high.max(value)))
}

/// Round numbers (1, 2 or 5 times a power of ten apart) from at or below `low` to at or above `high`.
pub(super) fn ticks(low: f64, high: f64, wanted: usize) -> Vec<f64> {
    let span = if high > low { high - low } else { low.abs().max(1.0) * 0.1 };
    let raw = span / wanted.max(1) as f64;
    let power = 10f64.powf(raw.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|factor| factor * power).find(|step| *step >= raw * 0.999);
    let step = step.unwrap_or(10.0 * power);
    let first = (low / step + 1e-9).floor();
    let count = (high / step - 1e-9).ceil() - first;
    (0..=count.clamp(1.0, 20.0) as usize).map(|index| (first + index as f64) * step).collect()
}

/// Places at least a text line apart, as near to the wanted ones as their order allows, inside the frame if they fit.
fn spread(wanted: &[f64], top: f64, bottom: f64) -> Vec<f64> {
    let mut places = wanted.to_vec();
    for _ in 0..200 {
        let mut moved = false;
        for index in 1..places.len() {
            let overlap = places[index - 1] + LINE - places[index];
            if overlap > 0.01 {
                places[index - 1] -= overlap / 2.0;
                places[index] += overlap / 2.0;
                moved = true;
            }
        }
        if let Some(first) = places.first_mut() {
            *first = first.max(top);
        }
        if let Some(last) = places.last_mut() {
            *last = last.min(bottom);
        }
        if !moved {
            break;
        }
    }
    places
}

pub(super) fn shorten(label: &str, limit: usize) -> String {
    if label.chars().count() <= limit.max(4) {
        return label.to_string();
    }
    let mut short: String = label.chars().take(limit.max(4) - 1).collect();
    short.push('…');
    short
}

pub(super) fn longest(texts: &[String]) -> f64 {
    texts.iter().map(|text| text.chars().count()).max().unwrap_or(0) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn panel(series: &[Series]) -> LineChart<'_> {
        let (title, x_label) = ("t", "epoch");
        LineChart { width: 320.0, height: 220.0, title, x_label, series, from_zero: true, format: axis_number }
    }

    #[test]
    fn ticks_are_round_and_cover_the_range() {
        assert_eq!(ticks(0.0, 10.0, 5), vec![0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        assert_eq!(ticks(88.2, 93.1, 5), vec![88.0, 89.0, 90.0, 91.0, 92.0, 93.0, 94.0]);
        for (low, high) in [(1.0, 1.0), (0.0, 0.0), (-3.0, 1e-3), (1e6, 1e9)] {
            let ticks = ticks(low, high, 4);
            assert!(ticks.len() >= 2 && ticks[0] <= low && ticks[ticks.len() - 1] >= high, "{ticks:?}");
        }
    }

    #[test]
    fn labels_keep_their_order_and_distance() {
        let places = spread(&[50.0, 51.0, 51.5, 120.0], 0.0, 200.0);
        assert!(places.windows(2).all(|pair| pair[1] - pair[0] > LINE - 0.1), "{places:?}");
        assert!((places[3] - 120.0).abs() < 1e-9);
    }

    #[test]
    fn curves_that_have_no_room_for_a_name_are_counted() {
        let series: Vec<Series> = (0..21)
            .map(|i| Series { label: format!("n{i}"), class: "c0".into(), points: vec![(1.0, i as f64)], mark: None })
            .collect();
        let chart = panel(&series);
        // 174 units of height for lines of 15: eleven names, from the top.
        let svg = chart.svg();
        assert!(
            svg.contains(">and 10 more<") && svg.contains(">n20<") && svg.contains(">n10<") && !svg.contains(">n9<")
        );
        let few = LineChart { series: &series[..12], ..chart };
        assert!(!few.svg().contains("more") && few.svg().contains(">n0<"));
    }

    #[test]
    fn a_gap_stays_a_gap_and_no_number_is_not_a_number() {
        let points = vec![(1.0, 2.0), (2.0, f64::NAN), (3.0, 1.0), (4.0, f64::INFINITY)];
        let series = [Series { label: "<a>".into(), class: "c0".into(), points, mark: None }];
        let chart = panel(&series);
        let svg = chart.svg();
        assert!(!svg.contains("NaN") && !svg.contains("inf") && svg.contains("&lt;a&gt;"));
        let path = svg.split("class=\"curve c0\" d=\"").nth(1).unwrap().split('"').next().unwrap();
        assert_eq!(path.matches('M').count(), 2, "{path}");
        let empty = LineChart { series: &[], ..chart };
        assert_eq!(empty.svg(), "");
    }
}
