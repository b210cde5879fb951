//! Dot plots as inline SVG: one figure of every arm, one below the other.

use super::chart::{Frame, TEXT, axis_number, longest, shorten, ticks};
use super::text::escape;
use std::fmt::Write;

/// A row of a dot plot: best-epoch value (filled), last-epoch value (ring), both in percent.
pub(super) struct Dot {
    pub label: String,
    pub class: String,
    pub best: Option<f64>,
    pub last: Option<f64>,
    /// Half the length of its bar; `None`: one standard error of the test set, where it is known.
    pub spread: Option<f64>,
}

/// Test figures one below the other, with a line at the baseline and bars of the rows' own spread, or of one standard
/// error of `test_images` where the figure is a share of them. `title` is read out in the place of the drawing.
pub(super) fn dot_plot(
    title: &str,
    rows: &[Dot],
    baseline: Option<f64>,
    test_images: Option<f64>,
    width: f64,
) -> String {
    let sampling = |value: f64| test_images.map_or(0.0, |n| 100.0 * (value / 100.0 * (1.0 - value / 100.0) / n).sqrt());
    let error = |row: &Dot, value: f64| row.spread.unwrap_or_else(|| sampling(value));
    let values =
        rows.iter().flat_map(|row| [row.best, row.last].map(|value| value.map(|value| (value, error(row, value)))));
    let (low, high) = values
        .flatten()
        .fold((f64::MAX, f64::MIN), |(low, high), (value, error)| (low.min(value - error), high.max(value + error)));
    if low > high {
        return String::new();
    }
    let x_ticks = ticks(low, high, if width > 500.0 { 7 } else { 3 });
    let labels: Vec<String> = rows.iter().map(|row| shorten(&row.label, (width * 0.32 / TEXT) as usize)).collect();
    let step = 28.0;
    let frame = Frame {
        left: 14.0 + TEXT * longest(&labels),
        right: width - 22.0,
        top: 6.0,
        bottom: 6.0 + step * rows.len() as f64,
        x: (low.min(x_ticks[0]), high.max(x_ticks[x_ticks.len() - 1])),
        y: (0.0, 1.0),
    };
    let mut svg = format!(
        "<svg viewBox=\"0 0 {width:.0} {:.0}\" role=\"img\" aria-label=\"{}\">",
        frame.bottom + 22.0,
        escape(title)
    );
    for tick in &x_ticks {
        let x = frame.px(*tick);
        let _ = write!(
            svg,
            "<line class=\"grid\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{:.1}\" y2=\"{:.1}\"/>\
             <text class=\"tick\" x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            frame.top,
            frame.bottom,
            frame.bottom + 16.0,
            axis_number(*tick)
        );
    }
    if let Some(value) = baseline {
        let x = frame.px(value);
        let _ = write!(
            svg,
            "<line class=\"rule base\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{:.1}\" y2=\"{:.1}\"/>",
            frame.top, frame.bottom
        );
    }
    for (index, (row, label)) in rows.iter().zip(&labels).enumerate() {
        let y = frame.top + step * (index as f64 + 0.5);
        let class = &row.class;
        let _ = write!(svg, "<text class=\"label {class}\" x=\"0\" y=\"{:.1}\">{}</text>", y + 4.0, escape(label));
        if let Some(last) = row.last {
            let _ = write!(svg, "<circle class=\"ring {class}\" cx=\"{:.1}\" cy=\"{y:.1}\" r=\"5\"/>", frame.px(last));
        }
        if let Some(best) = row.best {
            let (from, to) = (frame.px(best - error(row, best)), frame.px(best + error(row, best)));
            let _ = write!(
                svg,
                "<line class=\"bar {class}\" x1=\"{from:.1}\" x2=\"{to:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
                 <circle class=\"end {class}\" cx=\"{:.1}\" cy=\"{y:.1}\" r=\"4.5\"><title>{best:.2} %</title></circle>",
                frame.px(best)
            );
        }
    }
    svg.push_str("</svg>");
    svg
}
