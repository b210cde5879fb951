//! The page: its sections in reading order.

use super::chart::{Dot, LineChart, Series, axis_number, dot_plot};
use super::environment::environment;
use super::masks;
use super::proof::proof;
use super::read::{Arm, Run, is_task};
use super::text::{count, duration, escape, grouped, loss, percent, points, spread};
use std::collections::BTreeSet;
use std::fmt::Write;

/// The whole document.
pub(super) fn html(run: &Run) -> String {
    let body = [
        head(run),
        state(run),
        results(run),
        accuracy(run),
        losses(run),
        prompts(run),
        proof(run),
        recipe(run),
        environment(run),
        reproduce(run),
    ];
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>{name} – Subband report</title><style>{style}</style></head>\n<body>\n{body}\
         <footer class=\"note\">Written by Subband {version}. This page is self-contained; the figures are in \
         <code>results.json</code> and <code>arms/*/metrics.jsonl</code> beside it.</footer>\n</body></html>\n",
        name = escape(&run.name),
        style = include_str!("style.css"),
        body = body.concat(),
        version = env!("CARGO_PKG_VERSION"),
    )
}

/// The arm the others are compared with: the student trained on labels only.
fn baseline(run: &Run) -> Option<&Arm> {
    run.rows.iter().find(|arm| arm.is_baseline())
}

/// Colour class of an arm: grey for the baseline, then the palette, dashed when it is used up.
fn class(run: &Run, arm: &Arm) -> String {
    if arm.is_baseline() {
        return "base".into();
    }
    let others = run.rows.iter().filter(|other| !other.is_baseline());
    palette(others.take_while(|other| other.group != arm.group).count())
}

fn palette(index: usize) -> String {
    match index / 6 {
        0 => format!("c{index}"),
        round => format!("c{} dash{}", index % 6, 1 + (round - 1) % 2),
    }
}

fn head(run: &Run) -> String {
    let mut html = format!("<p class=\"kicker\">Distillation report</p><h1>{}</h1>", escape(&run.name));
    let best = run
        .rows
        .iter()
        .filter(|arm| !arm.is_baseline())
        .filter_map(|arm| Some((arm, arm.best_top1?)))
        .max_by(|a, b| a.1.total_cmp(&b.1));
    if let Some((arm, top1)) = best {
        let _ = write!(html, "<p class=\"lead\"><b>{}</b> reaches {top1:.2} % test top-1", escape(&arm.name));
        if let Some(alone) = baseline(run).and_then(|arm| arm.best_top1) {
            let difference = top1 - alone;
            let _ = match difference {
                d if d.abs() < 0.005 => write!(html, ", the same as the student alone"),
                d => write!(
                    html,
                    ", {:.2} points {} the student alone ({alone:.2} %)",
                    d.abs(),
                    if d > 0.0 { "above" } else { "below" }
                ),
            };
        }
        if let Some(teacher) = run.teacher.as_ref().and_then(|teacher| teacher.best_top1) {
            let _ = write!(html, "; the teacher has {teacher:.2} %");
        }
        html.push_str(".</p>");
    }
    html
}

fn state(run: &Run) -> String {
    if run.finished {
        return String::new();
    }
    let progress = |arm: &Arm| {
        let done = arm.epochs.len();
        let total = arm.planned_epochs.map_or(String::new(), |epochs| format!(" of {epochs:.0}"));
        format!("{}: {done}{total} epochs", escape(&arm.name))
    };
    let parts: Vec<String> =
        run.teacher.iter().filter(|teacher| teacher.planned_epochs.is_some()).chain(&run.arms).map(progress).collect();
    format!(
        "<p class=\"state\"><b>This run is not finished.</b> {}. Continue it with <code>--resume</code>.</p>",
        parts.join(" · ")
    )
}

fn results(run: &Run) -> String {
    let rows: Vec<(&Arm, bool)> =
        run.teacher.iter().map(|arm| (arm, true)).chain(run.rows.iter().map(|arm| (arm, false))).collect();
    let top = run.rows.iter().filter_map(|arm| arm.best_top1).fold(f64::MIN, f64::max);
    let alone = baseline(run).and_then(|arm| arm.best_top1);
    let mut html = String::from(
        "<h2>Results</h2><div class=\"scroll\"><table class=\"results\"><thead><tr><th>Arm</th><th>Parameters</th><th>MACs</th>\
         <th>Test top-1, best epoch</th><th>Test top-1, last epoch</th><th>Test top-5</th><th>To student alone</th>\
         <th>Training time</th><th>Adapter parameters</th></tr></thead><tbody>",
    );
    for (arm, teacher) in rows {
        let class = if teacher { "teacher".to_string() } else { class(run, arm) };
        let best = !teacher && arm.best_top1 == Some(top);
        let difference = match (arm.best_top1, alone) {
            (Some(value), Some(alone)) if !arm.is_baseline() || teacher => points(value - alone),
            _ => "–".into(),
        };
        let _ = write!(
            html,
            "<tr class=\"{row}\"><th scope=\"row\"><span class=\"swatch {class}\"></span>{name}<small>{network}</small></th>\
             <td>{params}</td><td>{macs}</td><td class=\"{mark}\">{best}</td><td>{last}</td><td>{top5}</td><td>{difference}</td>\
             <td>{time}</td><td>{aux}</td></tr>",
            row = if teacher { "teacher" } else { "" },
            name = escape(&arm.name),
            network = escape(arm.network.as_deref().unwrap_or("")) + &seeds_done(run, arm),
            params = count(arm.params),
            macs = count(arm.macs),
            mark = if best { "best" } else { "" },
            best = spread(arm.best_top1, arm.best_std),
            last = spread(arm.last_top1, arm.last_std),
            top5 = percent(arm.best_top5),
            time = duration(arm.seconds),
            aux = if teacher { "–".into() } else { count(arm.aux_params) },
        );
    }
    html.push_str("</tbody></table></div>");
    html.push_str(&results_note(run));
    html.push_str(&dots(run, alone));
    html
}

/// How many seeds a row stands for, while some are to come.
fn seeds_done(run: &Run, row: &Arm) -> String {
    match row.seeds_done.filter(|done| *done < run.seeds.len()) {
        Some(done) => format!(" · {done} of {} seeds", run.seeds.len()),
        None => String::new(),
    }
}

fn results_note(run: &Run) -> String {
    let mut note = String::from(
        "<p class=\"note\">Top-1 and top-5 in per cent, differences in percentage points. “Best epoch” is chosen by \
         validation accuracy, never by the test images. Adapters exist only during training.",
    );
    let known = |arm: &Arm| arm.best_top1;
    let top1 = baseline(run).and_then(known).or_else(|| run.rows.iter().find_map(known));
    if let (Some(images), Some(top1)) = (run.test_images, top1) {
        let share = top1 / 100.0;
        let error = 100.0 * (share * (1.0 - share) / images).sqrt();
        let _ = match run.seeds.len() {
            0 => write!(
                note,
                " One seed and {} test images: the standard error of one accuracy is about {error:.2} points, so \
             differences below {:.1} points may be chance.",
                grouped(images),
                2.0 * std::f64::consts::SQRT_2 * error
            ),
            n => write!(
                note,
                " Mean and sample standard deviation over {}; the single values are in <code>results.json</code>. \
                 {} test images: the standard error of one accuracy is about {error:.2} points.",
                match run.rows.iter().any(|row| row.seeds_done.is_some_and(|done| done < n)) {
                    true => format!("the seeds that are done, of {n}"),
                    false => format!("{n} seeds"),
                },
                grouped(images)
            ),
        };
    }
    let skipped = run.arms.iter().filter_map(|arm| arm.skipped).fold(0.0, f64::max);
    if skipped > 0.0 {
        let _ = write!(note, " {} training images could not be decoded and were left out.", grouped(skipped));
    }
    note + "</p>"
}

fn dots(run: &Run, alone: Option<f64>) -> String {
    let row = |arm: &Arm, class: String| Dot {
        label: arm.name.clone(),
        class,
        best: arm.best_top1,
        last: arm.last_top1,
        spread: arm.best_std,
    };
    let mut rows: Vec<Dot> = run.teacher.iter().map(|arm| row(arm, "teacher".into())).collect();
    rows.extend(run.rows.iter().map(|arm| row(arm, class(run, arm))));
    rows.retain(|row| row.best.is_some());
    if rows.len() < 2 {
        return String::new();
    }
    both(
        |width| dot_plot(&rows, alone, run.test_images, width),
        match run.seeds.is_empty() {
            true => {
                "Test top-1 in per cent: best epoch (filled, with one standard error of the test set) and last epoch \
                 (ring). The dashed line is the student alone."
            }
            false => {
                "Test top-1 in per cent, means over the seeds: best epoch (filled, with one standard deviation over the \
                 seeds) and last epoch (ring). The dashed line is the student alone."
            }
        },
    )
}

/// A figure drawn for a wide and for a narrow screen.
fn both(draw: impl Fn(f64) -> String, caption: &str) -> String {
    let wide = draw(860.0);
    if wide.is_empty() {
        return String::new();
    }
    format!(
        "<figure><div class=\"wide\">{wide}</div><div class=\"narrow\">{}</div><figcaption>{}</figcaption></figure>",
        draw(350.0),
        escape(caption)
    )
}

fn accuracy(run: &Run) -> String {
    let series = |arm: &Arm, class: String| {
        let points: Vec<(f64, f64)> =
            arm.epochs.iter().filter_map(|epoch| Some((epoch.epoch, epoch.val_top1?))).collect();
        let best = arm.best_epoch.and_then(|best| points.iter().find(|point| point.0 == best).copied());
        let mark = best.map(|point| (point, format!("{}: epoch {:.0}, {:.2} %", arm.name, point.0, point.1)));
        Series { label: arm.name.clone(), class, points, mark }
    };
    let mut all: Vec<Series> = run.teacher.iter().map(|arm| series(arm, "teacher".into())).collect();
    all.extend(run.rows.iter().map(|arm| series(arm, class(run, arm))));
    all.retain(|series| !series.points.is_empty());
    let figure = both(
        |width| {
            let height = if width > 500.0 { 380.0 } else { 300.0 };
            let title = "Validation top-1 per epoch";
            LineChart { width, height, title, x_label: "epoch", series: &all, from_zero: false, format: axis_number }
                .svg()
        },
        match run.seeds.is_empty() {
            true => {
                "Top-1 on the validation images in per cent after each epoch. Rings mark the epoch that is tested as “best”."
            }
            false => "Top-1 on the validation images in per cent after each epoch, means over the seeds.",
        },
    );
    if figure.is_empty() {
        return String::new();
    }
    format!("<h2>Accuracy while training</h2>{figure}{}", epoch_table(&all))
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

fn losses(run: &Run) -> String {
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

fn loss_figure(run: &Run, arm: &Arm) -> String {
    let names: BTreeSet<&String> = match arm.epochs.len() {
        0 | 1 => arm.steps.iter().flat_map(|step| step.terms.keys()).collect(),
        _ => arm.epochs.iter().flat_map(|epoch| epoch.terms.keys()).collect(),
    };
    // The arm's own colour first, so that a curve looks the same in all figures.
    let own = run.rows.iter().filter(|other| !other.is_baseline()).position(|other| other.group == arm.group);
    let mut methods = own.unwrap_or(0);
    let series: Vec<Series> = names
        .into_iter()
        .map(|name| {
            let class = if is_task(name) { "base".to_string() } else { palette(methods) };
            methods += usize::from(!is_task(name));
            Series { label: name.clone(), class, points: term_points(arm, name), mark: None }
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

fn prompts(run: &Run) -> String {
    let arm = |name: &str, keep: fn(&str) -> bool| {
        let mut arm = Arm { name: name.into(), steps: run.prompt_steps.clone(), ..Arm::default() };
        for step in &mut arm.steps {
            let kept = std::mem::take(&mut step.terms).into_iter().filter(|(term, _)| keep(term));
            let short = |term: String| term.strip_prefix("dissimilarity.").map_or(term.clone(), String::from);
            step.terms = kept.map(|(term, value)| (short(term), value)).collect();
        }
        arm
    };
    // The task's loss and the dissimilarities are not in one unit.
    let task = loss_figure(run, &arm("Task loss with prompts", is_task));
    let masks = loss_figure(run, &arm("Dissimilarity of the masks", |term| !is_task(term)));
    masks::section(run.prompts.as_ref(), run.pictures.as_ref(), &format!("{task}{masks}"))
}

fn recipe(run: &Run) -> String {
    run.recipe.as_deref().map_or(String::new(), |recipe| {
        format!(
            "<h2>Recipe</h2><p class=\"note\">Everything the run depends on, defaults filled in.</p><pre>{}</pre>",
            escape(recipe.trim_end())
        )
    })
}

fn reproduce(run: &Run) -> String {
    let files: String = run
        .arms
        .iter()
        .filter(|arm| !arm.weights.is_empty())
        .map(|arm| {
            let names = arm.weights.iter().filter_map(|path| path.file_name());
            let links: Vec<String> = names
                .map(|name| {
                    let name = escape(&name.to_string_lossy());
                    format!("<a href=\"arms/{}/{name}\">{name}</a>", escape(&arm.slug))
                })
                .collect();
            format!("<dt>{}</dt><dd>{}</dd>", escape(&arm.name), links.join(", "))
        })
        .collect();
    let weights = if files.is_empty() {
        String::new()
    } else {
        format!(
            "<p>The students, without teacher and adapters, under PyTorch's parameter names:</p><dl class=\"facts\">{files}</dl>"
        )
    };
    format!(
        "<h2>How to reproduce</h2><p>With the same version and data on the same kind of processor, the recipe above gives \
         the same weights bit for bit, whatever the number of threads:</p>\
         <pre>subband distill recipe.toml --out runs/again</pre>{weights}"
    )
}
