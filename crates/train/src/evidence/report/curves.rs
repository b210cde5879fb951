//! The curves of the report: validation figures and loss terms over the training.
use super::chart::{LineChart, Series, axis_number};
use super::page::{both, class, palette};
use super::read::{Arm, Run, is_task};
use super::text::{capital, escape, loss, percent};
use std::collections::BTreeSet;
use std::fmt::Write;

/// The primary figure on the validation images, epoch by epoch.
pub(super) fn validation(run: &Run) -> String {
    let figure = run.primary();
    let series = |arm: &Arm, class: String| {
        let points: Vec<(f64, f64)> =
            arm.epochs.iter().filter_map(|epoch| Some((epoch.epoch, epoch.val.get(figure.name)?))).collect();
        let best = arm.best_epoch.and_then(|best| points.iter().find(|point| point.0 == best as f64).copied());
        let mark = best.map(|point| (point, format!("{}: epoch {:.0}, {:.2} %", arm.name, point.0, point.1)));
        Series { label: arm.name.clone(), class, points, mark }
    };
    let mut all: Vec<Series> = run.teacher.iter().map(|arm| series(arm, "teacher".into())).collect();
    all.extend(run.rows.iter().map(|arm| series(arm, class(run, arm))));
    all.retain(|series| !series.points.is_empty());
    let title = format!("Validation {} per epoch", figure.label);
    let title = title.as_str();
    let over = match run.seeds.is_empty() {
        true => "Rings mark the epoch that is tested as “best”.",
        false => "Means over the seeds.",
    };
    let drawing = both(
        |width| {
            let height = if width > 500.0 { 380.0 } else { 300.0 };
            LineChart { width, height, title, x_label: "epoch", series: &all, from_zero: false, format: axis_number }
                .svg()
        },
        &format!("{} on the validation images in per cent after each epoch. {over}", capital(figure.label)),
    );
    if drawing.is_empty() {
        return String::new();
    }
    format!("<h2>{} while training</h2>{drawing}{}", capital(figure.label), epoch_table(&all))
}

fn epoch_table(series: &[Series]) -> String {
    let epochs: BTreeSet<u64> =
        series.iter().flat_map(|series| series.points.iter().map(|point| point.0 as u64)).collect();
    let mut html = String::from(
        "<details><summary>The numbers behind this chart</summary><div class=\"scroll\"><table><thead><tr><th>Epoch</th>",
    );
    for series in series {
        let _ = write!(html, "<th>{}</th>", escape(&series.label));
    }
    html.push_str("</tr></thead><tbody>");
    for epoch in epochs {
        let _ = write!(html, "<tr><th scope=\"row\">{epoch}</th>");
        for series in series {
            let value = series.points.iter().find(|point| point.0 as u64 == epoch).map(|point| point.1);
            let _ = write!(html, "<td>{}</td>", percent(value));
        }
        html.push_str("</tr>");
    }
    html + "</tbody></table></div></details>"
}

/// The loss terms of every arm.
pub(super) fn losses(run: &Run) -> String {
    let arms: Vec<&Arm> = run.teacher.iter().chain(&run.rows).collect();
    let figures: String = arms.iter().map(|arm| loss_figure(run, arm)).collect();
    if figures.is_empty() {
        return String::new();
    }
    let over = if run.seeds.is_empty() { "" } else { " and the seeds" };
    format!(
        "<h2>Loss terms</h2><p class=\"note\">Each term before its weight, as a mean over the epoch{over}. Every panel has its own \
         scale from zero, because the terms of different methods are not in the same unit.</p><div class=\"multiples\">{figures}</div>"
    )
}

/// The loss terms of one arm, or nothing where there are none.
pub(super) fn loss_figure(run: &Run, arm: &Arm) -> String {
    let names: BTreeSet<&String> = match arm.epochs.len() {
        0 | 1 => arm.steps.iter().flat_map(|step| step.terms.keys()).collect(),
        _ => arm.epochs.iter().flat_map(|epoch| epoch.terms.keys()).collect(),
    };
    // The arm's own colour first, so that a curve looks the same in all figures.
    let own = run.rows.iter().filter(|other| !other.is_baseline()).position(|other| other.group == arm.group);
    let mut methods = own.unwrap_or(0);
    // The parts of a single term need not repeat its name: there is room for a dozen letters.
    let terms: BTreeSet<&str> = names.iter().filter(|name| !is_task(name)).map(|name| term(name)).collect();
    let label = |name: &String| match name.split_once('.') {
        Some((_, part)) if terms.len() == 1 => part.to_string(),
        _ => name.clone(),
    };
    let series: Vec<Series> = names
        .into_iter()
        .map(|name| {
            let class = if is_task(name) { "base".to_string() } else { palette(methods) };
            methods += usize::from(!is_task(name));
            Series { label: label(name), class, points: term_points(arm, name), mark: None }
        })
        .collect();
    let title = format!("Loss terms of {}", arm.name);
    let steps = arm.epochs.len() < 2;
    let x_label = if steps { "step" } else { "epoch" };
    let chart = LineChart {
        width: 320.0,
        height: 220.0,
        title: &title,
        x_label,
        series: &series,
        from_zero: true,
        format: loss,
    };
    let svg = chart.svg();
    if svg.is_empty() {
        return svg;
    }
    format!("<figure><h3>{}</h3>{svg}</figure>", escape(&arm.name))
}

/// The term of a part: `freekd` of `freekd.stage1`.
fn term(name: &str) -> &str {
    name.split_once('.').map_or(name, |(term, _)| term)
}

/// Epoch means; before the second epoch ends, means over groups of steps.
fn term_points(arm: &Arm, name: &str) -> Vec<(f64, f64)> {
    if arm.epochs.len() > 1 {
        return arm.epochs.iter().filter_map(|epoch| Some((epoch.epoch, *epoch.terms.get(name)?))).collect();
    }
    let group = arm.steps.len().div_ceil(60).max(1);
    arm.steps
        .chunks(group)
        .filter_map(|steps| {
            let values: Vec<f64> = steps.iter().filter_map(|step| step.terms.get(name).copied()).collect();
            let step = steps.last()?.step;
            (!values.is_empty()).then(|| (step, values.iter().sum::<f64>() / values.len() as f64))
        })
        .collect()
}
