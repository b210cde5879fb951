//! The section about corrupted images: P, mPC and rPC, the loss of accuracy with severity, the corruptions one by one.
use super::chart::{LineChart, Series, axis_number};
use super::page::{both, class};
use super::read::{Arm, Run};
use super::text::{capital, escape, grouped, percent, spread};
use crate::evidence::{Figure, NetworkRobustness, RobustnessRecord, Spread};
use std::fmt::Write;
use std::path::Path;
use subband_metrics::RobustnessResult;

/// A row: the teacher, or an arm over its seeds.
struct Row<'a> {
    arm: &'a Arm,
    class: String,
    networks: Vec<&'a NetworkRobustness>,
    /// What keeps it from being compared with the others.
    faults: Vec<String>,
}

impl Row<'_> {
    /// Mean and deviation over the seeds of something of a figure's result; `None` while it is incomplete.
    fn over(&self, figure: &str, of: impl Fn(&RobustnessResult) -> Option<f64>) -> Option<Spread> {
        let results = self.networks.iter().map(|network| of(network.results.get(figure)?));
        let values: Option<Vec<f64>> = results.collect();
        Spread::of(&values?)
    }

    fn mean(&self, figure: &str, of: impl Fn(&RobustnessResult) -> Option<f64>) -> Option<f64> {
        self.over(figure, of).map(|spread| spread.mean)
    }
}

/// The section; empty where nothing was measured.
pub(super) fn section(run: &Run) -> String {
    let Some(record) = &run.robustness else {
        let damage = run.robustness_damage.as_ref();
        return damage.map_or_else(String::new, |damage| {
            format!("<h2>Corrupted images</h2><p class=\"state\">{}</p>", escape(damage))
        });
    };
    let rows = rows(run, record);
    if rows.is_empty() {
        return String::new();
    }
    let figures = figures(&rows);
    let Some(primary) = figures.first() else {
        return format!("<h2>Corrupted images</h2>{}", state(run, record, &rows));
    };
    let mut html = format!("<h2>Corrupted images</h2>{}{}", state(run, record, &rows), table(&rows, &figures));
    html.push_str(&note(run, record));
    html.push_str(&curve(&rows, *primary, record));
    html + &by_corruption(&rows, *primary, record)
}

/// Folders of networks that have other weights now than when they were measured; those that keep their weights elsewhere
/// are not looked at.
pub(super) fn outdated(dir: &Path, record: &RobustnessRecord) -> Vec<String> {
    let changed = |network: &&NetworkRobustness| {
        let file = dir.join("arms").join(&network.slug).join("student-best.safetensors");
        file.is_file() && crate::robustness::weight_hash(&file).is_ok_and(|now| now != network.weights)
    };
    record.networks.iter().filter(changed).map(|network| network.slug.clone()).collect()
}

/// The networks that were measured, in the order of the results.
fn rows<'a>(run: &'a Run, record: &'a RobustnessRecord) -> Vec<Row<'a>> {
    let teacher = run.teacher.iter().map(|arm| (arm, "teacher".to_string(), vec!["teacher"]));
    let arms = run.rows.iter().map(|row| {
        let slugs = run.arms.iter().filter(|arm| arm.group == row.group).map(|arm| arm.slug.as_str()).collect();
        (row, class(run, row), slugs)
    });
    let row = |(arm, class, slugs): (&'a Arm, String, Vec<&str>)| {
        let measured = record.networks.iter().filter(|network| slugs.contains(&network.slug.as_str()));
        let networks: Vec<_> = measured.filter(|network| record.done(network) > 0).collect();
        let faults = faults(run, &networks, slugs.len());
        (!networks.is_empty()).then_some(Row { arm, class, networks, faults })
    };
    teacher.chain(arms).filter_map(row).collect()
}

/// What is not as it should be about the measured networks of a row, which has this many.
fn faults(run: &Run, networks: &[&NetworkRobustness], of: usize) -> Vec<String> {
    let any = |wrong: &dyn Fn(&NetworkRobustness) -> bool| networks.iter().any(|network| wrong(network));
    let outdated = |network: &NetworkRobustness| run.outdated.contains(&network.slug);
    let in_training =
        |network: &NetworkRobustness| run.arms.iter().any(|arm| arm.slug == network.slug && arm.best.is_empty());
    let mut faults = Vec::new();
    if any(&|network| network.results.is_empty()) {
        faults.push("not complete".to_string());
    }
    if networks.len() < of {
        faults.push(format!("{} of {of} seeds", networks.len()));
    }
    if any(&outdated) {
        faults.push("measured on earlier weights".into());
    } else if any(&in_training) {
        faults.push("still in training".into());
    }
    faults
}

/// The figures of complete rows, the primary one first.
fn figures(rows: &[Row<'_>]) -> Vec<Figure> {
    let complete = rows.iter().flat_map(|row| &row.networks).find(|network| !network.results.is_empty());
    let Some((primary, _)) = complete.and_then(|network| network.primary()) else { return Vec::new() };
    let names = complete.iter().flat_map(|network| network.results.keys());
    let others = names.filter_map(|name| Figure::named(name)).filter(|figure| *figure != primary);
    std::iter::once(primary).chain(others).collect()
}

/// What is still missing, and what is no longer true.
fn state(run: &Run, record: &RobustnessRecord, rows: &[Row<'_>]) -> String {
    let measured = || rows.iter().flat_map(|row| &row.networks);
    let names: Vec<String> = measured()
        .filter(|network| run.outdated.contains(&network.slug))
        .map(|network| escape(&network.name))
        .collect();
    let outdated = match names.is_empty() {
        true => String::new(),
        false => format!(
            "<p class=\"state\"><b>Measured on earlier weights:</b> {}. Run <code>subband robustness</code> again.</p>",
            names.join(", ")
        ),
    };
    outdated + &missing(record, rows)
}

fn missing(record: &RobustnessRecord, rows: &[Row<'_>]) -> String {
    let missing = rows.iter().flat_map(|row| &row.networks).filter(|network| network.results.is_empty());
    let parts: Vec<String> = missing
        .map(|network| format!("{}: {} of {}", escape(&network.name), record.done(network), record.cells()))
        .collect();
    if parts.is_empty() {
        return String::new();
    }
    format!(
        "<p class=\"state\"><b>Not all cells are measured.</b> {}. Continue with <code>subband robustness</code> and the same \
         <code>--limit</code>.</p>",
        parts.join(" · ")
    )
}

/// P, mPC and rPC of every row, for every figure.
fn table(rows: &[Row<'_>], figures: &[Figure]) -> String {
    let head = |figure: &Figure| {
        let label = capital(figure.label);
        format!("<th>{label}: P</th><th>mPC</th><th>rPC</th>")
    };
    let mut html = format!(
        "<div class=\"scroll\"><table><thead><tr><th>Arm</th>{}</tr></thead><tbody>",
        figures.iter().map(head).collect::<String>()
    );
    for row in rows {
        let best = |of: fn(&RobustnessResult) -> Option<f64>, figure: &Figure| {
            let counts = |row: &&Row<'_>| row.class != "teacher" && row.faults.is_empty();
            let students = rows.iter().filter(counts);
            let top = students.filter_map(|other| other.mean(figure.name, of)).fold(f64::MIN, f64::max);
            if counts(&row) && row.mean(figure.name, of) == Some(top) { " class=\"best\"" } else { "" }
        };
        let cells = |figure: &Figure| {
            let parts: [fn(&RobustnessResult) -> Option<f64>; 3] =
                [|result| Some(result.clean), |result| Some(result.mpc), |result| result.rpc];
            let cell = |of| format!("<td{}>{}</td>", best(of, figure), spread(row.over(figure.name, of)));
            parts.map(cell).concat()
        };
        let _ = write!(
            html,
            "<tr class=\"{teacher}\"><th scope=\"row\"><span class=\"swatch {class}\"></span>{name}{faults}</th>{cells}</tr>",
            teacher = if row.class == "teacher" { "teacher" } else { "" },
            class = row.class,
            name = escape(&row.arm.name),
            faults = match row.faults.is_empty() {
                true => String::new(),
                false => format!("<small>{}</small>", row.faults.join(" · ")),
            },
            cells = figures.iter().map(cells).collect::<String>(),
        );
    }
    html + "</tbody></table></div>"
}

fn note(run: &Run, record: &RobustnessRecord) -> String {
    let (images, looked_at) = (&record.images, record.looked_at());
    let on = match looked_at == images.of {
        true => format!("all {} test images", grouped(images.of as f64)),
        false => format!(
            "{} of {} test images, the same for every arm",
            grouped(looked_at as f64),
            grouped(images.of as f64)
        ),
    };
    let broken = match images.chosen.saturating_sub(looked_at) {
        0 => String::new(),
        count => format!(" {} more cannot be decoded and are left out.", grouped(count as f64)),
    };
    let seeds = if run.seeds.is_empty() { "" } else { " Mean and sample standard deviation over the seeds of an arm." };
    let frost = match record.has_generated_frost() {
        true => {
            " The pictures of <code>frost</code> are generated textures in the place of the benchmark's photographs, so \
             figures with it are not those of published tables."
        }
        false => "",
    };
    format!(
        "<p class=\"note\">In per cent, weights of the best epoch, on {on}. P: clean images. mPC: mean over {} corruptions at \
         the severities {} (Michaelis et al. 2019). rPC = mPC / P: the share that is left. Every network sees the very same \
         corrupted images.{broken}{seeds}{frost}</p>",
        record.corruptions.len(),
        record.severities.iter().map(u8::to_string).collect::<Vec<_>>().join(", "),
    )
}

/// The primary figure over the severities, clean images at 0.
fn curve(rows: &[Row<'_>], figure: Figure, record: &RobustnessRecord) -> String {
    let series = |row: &Row<'_>| {
        let clean = (0.0, row.mean(figure.name, |result| Some(result.clean))?);
        let at = |(place, severity): (usize, &u8)| {
            Some((f64::from(*severity), row.mean(figure.name, |result| result.per_severity.get(place).copied())?))
        };
        let points = std::iter::once(clean).chain(record.severities.iter().enumerate().filter_map(at)).collect();
        Some(Series { label: row.arm.name.clone(), class: row.class.clone(), points, mark: None })
    };
    let all: Vec<Series> = rows.iter().filter_map(series).collect();
    let title = format!("Test {} by severity", figure.label);
    both(
        |width| {
            let height = if width > 500.0 { 320.0 } else { 280.0 };
            let (title, x_label) = (title.as_str(), "severity");
            LineChart { width, height, title, x_label, series: &all, from_zero: false, format: axis_number }.svg()
        },
        &format!("Test {} in per cent by severity, mean over the corruptions; 0 is clean.", figure.label),
    )
}

/// The mean over the severities of every corruption, an arm in each column; the darker, the less is left of the clean
/// figure.
fn by_corruption(rows: &[Row<'_>], figure: Figure, record: &RobustnessRecord) -> String {
    let names: String = rows.iter().map(|row| format!("<th>{}</th>", escape(&row.arm.name))).collect();
    let mut html = format!(
        "<h3>{} by corruption</h3><div class=\"scroll\"><table class=\"heat-table\"><thead><tr><th>Corruption</th>{names}</tr></thead>\
         <tbody>",
        capital(figure.label)
    );
    let clean = |row: &Row<'_>| row.mean(figure.name, |result| Some(result.clean));
    let mut line = |name: &str, of: &dyn Fn(&RobustnessResult) -> Option<f64>| {
        let cell = |row: &Row<'_>| {
            let value = row.mean(figure.name, of);
            let lost = match (value, clean(row)) {
                (Some(value), Some(clean)) if clean > 0.0 => (1.0 - value / clean).clamp(0.0, 1.0),
                _ => 0.0,
            };
            format!("<td style=\"--lost:{:.0}%\">{}</td>", 55.0 * lost, percent(value))
        };
        let cells: String = rows.iter().map(cell).collect();
        let _ = write!(html, "<tr><th scope=\"row\">{}</th>{cells}</tr>", escape(name));
    };
    line("clean", &|result| Some(result.clean));
    for name in &record.corruptions {
        line(&name.replace('_', " "), &|result| {
            result.per_corruption.iter().find(|mean| mean.corruption == *name).map(|mean| mean.mean)
        });
    }
    html + "</tbody></table></div><p class=\"note\">Mean over the severities. The darker a cell, the more of the clean figure is \
            lost.</p>"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::{RobustnessCell, RobustnessImages, Scores};
    use std::collections::BTreeMap;

    fn network(name: &str, slug: &str, miou: f64, severities: &[u8]) -> NetworkRobustness {
        let cell = |corruption: &str, severity: u8, miou: f64| RobustnessCell {
            corruption: corruption.into(),
            severity,
            images: 4,
            figures: Scores::new([("miou", miou), ("accuracy", 90.0), ("loss", 1.0)]),
        };
        let mut cells = vec![cell("clean", 0, miou)];
        for corruption in ["fog", "frost"] {
            cells.extend(severities.iter().map(|s| cell(corruption, *s, miou / 2.0 - f64::from(*s))));
        }
        let (name, slug, network) = (name.into(), slug.into(), "x".into());
        NetworkRobustness {
            name,
            slug,
            network,
            weights: "w".into(),
            unfinished: false,
            cells,
            results: BTreeMap::new(),
        }
    }

    fn run(networks: Vec<NetworkRobustness>, seeds: &[u64]) -> Run {
        let mut record = RobustnessRecord {
            run: "r".into(),
            version: "0".into(),
            images: RobustnessImages { chosen: 4, of: 1200, seed: 1, fingerprint: String::new() },
            frost: RobustnessRecord::GENERATED.into(),
            corruptions: vec!["fog".into(), "frost".into()],
            severities: vec![1, 5],
            networks,
        };
        let (corruptions, severities) = (record.corruptions.clone(), record.severities.clone());
        record.networks.iter_mut().for_each(|network| network.summarise(&corruptions, &severities));
        let arm = |name: &str, slug: &str, seed| Arm {
            name: name.into(),
            group: "<KD>".into(),
            slug: slug.into(),
            seed,
            terms: vec!["task".into(), "kd".into()],
            best: BTreeMap::from([("miou".into(), Spread::of(&[60.0]).unwrap())]),
            ..Arm::default()
        };
        let arms: Vec<Arm> = match seeds {
            [] => vec![arm("<KD>", "kd", None)],
            seeds => seeds.iter().map(|seed| arm("<KD>", &format!("kd-seed{seed}"), Some(*seed))).collect(),
        };
        let teacher = Some(Arm { name: "teacher".into(), slug: "teacher".into(), ..Arm::default() });
        let rows = super::super::rows::rows(&arms);
        Run { arms, rows, teacher, seeds: seeds.to_vec(), robustness: Some(record), ..Run::default() }
    }

    #[test]
    fn every_measured_arm_has_p_mpc_and_rpc() {
        let html = section(&run(
            vec![network("teacher", "teacher", 80.0, &[1, 5]), network("<KD>", "kd", 60.0, &[1, 5])],
            &[],
        ));
        // Half of P, less 1 and 5 points at the two severities: 37 of 80 and 27 of 60.
        for part in ["80.00", "37.00", "46.25", "60.00", "27.00", "45.00", "4 of 1 200 test images"] {
            assert!(html.replace(['\u{202f}', '\u{a0}', ','], " ").contains(part), "{part}: {html}");
        }
        assert!(html.contains("mIoU: P") && html.contains("Pixel accuracy: P") && html.contains("generated textures"));
        assert!(html.contains("class=\"curve teacher\"") && html.contains("class=\"curve c0\""));
        assert!(!html.contains("<KD>") && !html.contains("NaN") && !html.contains("Not all cells"));
        // 53.75 % of the teacher's figure are lost under each corruption, of at most 55 % colour.
        assert_eq!(html.matches("--lost:30%").count(), 4);
        for tag in ["table", "tr", "td", "th", "p", "div", "figure", "svg"] {
            let open = html.matches(&format!("<{tag}>")).count() + html.matches(&format!("<{tag} ")).count();
            assert_eq!(open, html.matches(&format!("</{tag}>")).count(), "{tag}");
        }
    }

    #[test]
    fn seeds_are_one_row_and_missing_cells_are_counted() {
        let all = |second: &[u8]| {
            let networks = vec![
                network("<KD>, seed 1", "kd-seed1", 60.0, &[1, 5]),
                network("<KD>, seed 2", "kd-seed2", 64.0, second),
            ];
            section(&run(networks, &[1, 2]))
        };
        let html = all(&[1, 5]);
        assert!(html.contains("62.00 ± 2.83") && html.contains("over the seeds"), "{html}");
        let html = all(&[5]);
        assert!(html.contains("&lt;KD&gt;, seed 2: 3 of 5") && html.contains("not complete"), "{html}");
        assert!(!html.contains("±"));
    }

    #[test]
    fn fewer_seeds_and_earlier_weights_are_told_and_never_the_best() {
        let of = |slug: &str, miou: f64| network(slug, slug, miou, &[1, 5]);
        let html = section(&run(vec![of("kd-seed1", 60.0)], &[1, 2, 3]));
        assert!(html.contains("1 of 3 seeds") && !html.contains("class=\"best\""), "{html}");
        let both = vec![of("kd-seed1", 60.0), of("kd-seed2", 62.0)];
        let complete = run(both.clone(), &[1, 2]);
        assert!(section(&complete).contains("class=\"best\"") && !section(&complete).contains("seeds</small>"));
        let html = section(&Run { outdated: ["kd-seed2".to_string()].into(), ..run(both, &[1, 2]) });
        assert!(html.contains("<small>measured on earlier weights") && !html.contains("class=\"best\""), "{html}");
        assert!(html.contains("Measured on earlier weights:</b> kd-seed2") && html.contains("subband robustness"));
        // An arm without a result is in training.
        let mut early = run(vec![of("kd", 60.0)], &[]);
        early.arms.iter_mut().for_each(|arm| arm.best.clear());
        assert!(section(&early).contains("still in training"));
    }

    #[test]
    fn images_that_were_passed_over_are_not_counted() {
        let mut run = run(vec![network("<KD>", "kd", 60.0, &[1, 5])], &[]);
        run.robustness.as_mut().unwrap().images.chosen = 6;
        let html = section(&run);
        assert!(html.contains("4 of 1") && html.contains("2 more cannot be decoded"), "{html}");
    }

    #[test]
    fn runs_without_a_measurement_have_no_section() {
        assert_eq!(section(&Run { robustness: None, ..run(Vec::new(), &[]) }), "");
        assert_eq!(section(&run(vec![network("gone", "gone", 1.0, &[1, 5])], &[])), "");
    }
}
