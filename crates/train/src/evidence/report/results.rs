//! The table of results with its notes, the dot plot, and the table of classes.
use super::dots::{Dot, dot_plot};
use super::page::{baseline, both, class};
use super::read::{Arm, Run};
use super::text::{capital, count, duration, escape, grouped, percent, points, spread};
use crate::evidence::Figure;
use std::fmt::Write;

/// Everything that was found on the test images.
pub(super) fn results(run: &Run) -> String {
    let primary = run.primary();
    let rows: Vec<(&Arm, bool)> =
        run.teacher.iter().map(|arm| (arm, true)).chain(run.rows.iter().map(|arm| (arm, false))).collect();
    let top = run.rows.iter().filter_map(|arm| run.best(arm)).fold(f64::MIN, f64::max);
    let alone = baseline(run).and_then(|arm| run.best(arm));
    let others: String = run.figures.iter().skip(1).map(|figure| format!("<th>Test {}</th>", figure.label)).collect();
    let mut html = format!(
        "<h2>Results</h2><div class=\"scroll\"><table class=\"results\"><thead><tr><th>Arm</th><th>Parameters</th><th>MACs</th>\
         <th>Test {label}, best epoch</th><th>Test {label}, last epoch</th>{others}<th>To student alone</th>\
         <th>Training time</th><th>Adapter parameters</th></tr></thead><tbody>",
        label = primary.label,
    );
    for (arm, teacher) in rows {
        let class = if teacher { "teacher".to_string() } else { class(run, arm) };
        let best = !teacher && run.best(arm) == Some(top);
        let difference = match (run.best(arm), alone) {
            (Some(value), Some(alone)) if !arm.is_baseline() || teacher => points(value - alone),
            _ => "–".into(),
        };
        let other = |figure: &Figure| format!("<td>{}</td>", percent(arm.tested(figure.name).map(|of| of.mean)));
        let _ = write!(
            html,
            "<tr class=\"{row}\"><th scope=\"row\"><span class=\"swatch {class}\"></span>{name}<small>{network}</small></th>\
             <td>{params}</td><td>{macs}</td><td class=\"{mark}\">{best}</td><td>{last}</td>{others}<td>{difference}</td>\
             <td>{time}</td><td>{aux}</td></tr>",
            row = if teacher { "teacher" } else { "" },
            name = escape(&arm.name),
            network = escape(arm.network.as_deref().unwrap_or("")) + &seeds_done(run, arm),
            params = count(arm.params),
            macs = count(arm.macs),
            mark = if best { "best" } else { "" },
            best = spread(arm.tested(primary.name)),
            last = spread(arm.last.get(primary.name).copied()),
            others = run.figures.iter().skip(1).map(other).collect::<String>(),
            time = duration(arm.seconds),
            aux = if teacher { "–".into() } else { count(arm.aux_params) },
        );
    }
    html.push_str("</tbody></table></div>");
    html.push_str(&note(run));
    html.push_str(&dots(run, alone));
    html + &classes(run)
}

/// How many seeds a row stands for, while some are to come.
fn seeds_done(run: &Run, row: &Arm) -> String {
    match row.seeds_done.filter(|done| *done < run.seeds.len()) {
        Some(done) => format!(" · {done} of {} seeds", run.seeds.len()),
        None => String::new(),
    }
}

fn note(run: &Run) -> String {
    let labels: Vec<&str> = run.figures.iter().map(|figure| figure.label).collect();
    let labels = match labels.split_last() {
        Some((last, others)) if !others.is_empty() => format!("{} and {last}", others.join(", ")),
        _ => labels.concat(),
    };
    let mut note = format!(
        "<p class=\"note\">{} in per cent, differences in percentage points. {} Adapters exist only during \
         training.{}{}",
        capital(&labels),
        chosen(run),
        run.protocol.as_deref().map(counted_by).unwrap_or_default(),
        chance(run)
    );
    let skipped = run.arms.iter().filter_map(|arm| arm.skipped).fold(0.0, f64::max);
    if skipped > 0.0 {
        let _ = write!(note, " {} training images could not be decoded and were left out.", grouped(skipped));
    }
    note + "</p>"
}

/// How the best epoch was found.
fn chosen(run: &Run) -> String {
    let epochs = || run.arms.iter().chain(&run.teacher).flat_map(|arm| &arm.epochs);
    match epochs().next().is_some() && epochs().all(|epoch| epoch.val.is_empty()) {
        true => "There are no validation images: the last epoch counts as the best, nothing was chosen.".into(),
        false => format!(
            "“Best epoch” is chosen by {} on the validation images, never by the test images.",
            run.primary().label
        ),
    }
}

/// Under which protocol pixels were counted.
fn counted_by(protocol: &str) -> String {
    format!(" Pixels are counted by the protocol <code>{}</code>.", escape(protocol))
}

/// How far the figures can be trusted.
fn chance(run: &Run) -> String {
    let known = |arm: &Arm| run.best(arm);
    let value = baseline(run).and_then(known).or_else(|| run.rows.iter().find_map(known));
    let (Some(images), Some(value)) = (run.test_images, value) else { return String::new() };
    let count = grouped(images);
    let share = value / 100.0;
    // Only a share of images has a standard error of its own.
    let error = run.primary().of_images.then(|| 100.0 * (share * (1.0 - share) / images).sqrt());
    let seeds = match run.rows.iter().any(|row| row.seeds_done.is_some_and(|done| done < run.seeds.len())) {
        true => format!("the seeds that are done, of {}", run.seeds.len()),
        false => format!("{} seeds", run.seeds.len()),
    };
    let over = format!(
        " Mean and sample standard deviation over {seeds}; the single values are in <code>results.json</code>. \
         {count} test images"
    );
    match (run.seeds.is_empty(), error) {
        (true, Some(error)) => format!(
            " One seed and {count} test images: the standard error of one accuracy is about {error:.2} points, so \
             differences below {:.1} points may be chance.",
            2.0 * std::f64::consts::SQRT_2 * error
        ),
        (true, None) => format!(
            " One seed and {count} test images: how far another seed would move these figures is not known, so small \
             differences may be chance."
        ),
        (false, Some(error)) => {
            format!("{over}: the standard error of one accuracy is about {error:.2} points.")
        }
        (false, None) => over + ".",
    }
}

fn dots(run: &Run, alone: Option<f64>) -> String {
    let figure = run.primary();
    let row = |arm: &Arm, class: String| Dot {
        label: arm.name.clone(),
        class,
        best: run.best(arm),
        last: arm.last.get(figure.name).map(|last| last.mean),
        spread: arm.tested(figure.name).and_then(|best| best.std),
    };
    let mut rows: Vec<Dot> = run.teacher.iter().map(|arm| row(arm, "teacher".into())).collect();
    rows.extend(run.rows.iter().map(|arm| row(arm, class(run, arm))));
    rows.retain(|row| row.best.is_some());
    if rows.len() < 2 {
        return String::new();
    }
    let images = run.test_images.filter(|_| figure.of_images);
    let (means, bars) = match (run.seeds.is_empty(), images) {
        (true, Some(_)) => ("", ", with one standard error of the test set"),
        (true, None) => ("", ""),
        (false, _) => (", means over the seeds", ", with one standard deviation over the seeds"),
    };
    let title = format!("Test {} of every arm", figure.label);
    both(
        |width| dot_plot(&title, &rows, alone, images, width),
        &format!(
            "Test {} in per cent{means}: best epoch (filled{bars}) and last epoch (ring). The dashed line is the student \
             alone.",
            figure.label
        ),
    )
}

/// The figures of every class, an arm in each column; nothing for a task without them.
fn classes(run: &Run) -> String {
    let arms: Vec<&Arm> = run.teacher.iter().chain(&run.rows).filter(|arm| !arm.classes.is_empty()).collect();
    let Some(first) = arms.first() else { return String::new() };
    let mut html = String::from("<h3>Class by class</h3>");
    for (name, _) in first.classes[0].scores.iter() {
        let label = capital(Figure::named(name).map_or(name, |figure| figure.label));
        let table = class_table(&arms, name);
        let _ = match Figure::named(name) {
            Some(figure) if figure.name == "iou" => write!(
                html,
                "<p class=\"note\">{label} on the test images in per cent, at the best epoch. A dash: the class does not \
                 occur, or does not count.</p>{table}"
            ),
            _ => write!(html, "<details><summary>{label} of the classes</summary>{table}</details>"),
        };
    }
    html
}

/// One figure of every class.
fn class_table(arms: &[&Arm], figure: &str) -> String {
    let names: String = arms.iter().map(|arm| format!("<th>{}</th>", escape(&arm.name))).collect();
    let mut html = format!("<div class=\"scroll\"><table><thead><tr><th>Class</th>{names}</tr></thead><tbody>");
    for (index, class) in arms.first().map(|arm| arm.classes.as_slice()).unwrap_or_default().iter().enumerate() {
        let value = |arm: &&Arm| {
            let value = arm.classes.get(index).and_then(|class| class.scores.get(figure));
            format!("<td>{}</td>", percent(value.filter(|value| value.is_finite())))
        };
        let cells: String = arms.iter().map(value).collect();
        let _ = write!(html, "<tr><th scope=\"row\">{}</th>{cells}</tr>", escape(&class.name));
    }
    html + "</tbody></table></div>"
}
