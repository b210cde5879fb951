//! The results as text.
use super::RobustnessOf;
use crate::Table;
use crate::evidence::{Figure, NetworkRobustness, RobustnessCell, RobustnessRecord};
use crate::robustness::network::Corruptions;
use subband_metrics::RobustnessResult;

/// P, mPC and rPC of every network of a run, and the means by corruption.
pub fn tables(record: &RobustnessRecord) -> Vec<Table> {
    let Some(primary) = record.primary() else { return Vec::new() };
    let (looked_at, of) = (record.looked_at(), record.images.of);
    let on = if looked_at == of { format!("{of} test images") } else { format!("{looked_at} of {of} test images") };
    let title = format!("{} in per cent on {on}; {}", primary.label, meaning(&record.corruptions, &record.severities));
    let mut summary = Table::new(title, &["", "network", "P", "mPC", "rPC"]);
    let result = |network: &NetworkRobustness| network.results.get(primary.name).cloned();
    for network in &record.networks {
        let figures = match result(network) {
            Some(result) => [format!("{:.2}", result.clean), format!("{:.2}", result.mpc), share(&result)],
            None => ["-".into(), "-".into(), "-".into()],
        };
        let still = if network.unfinished { " (still in training)" } else { "" };
        summary.row([format!("{}{still}", network.name), network.network.clone()].into_iter().chain(figures));
    }
    let names: Vec<&str> = record.networks.iter().map(|network| network.name.as_str()).collect();
    let header: Vec<&str> = std::iter::once("").chain(names).collect();
    let title = format!("{} by corruption, mean over the severities", primary.label);
    let mut means = Table::new(title, &header);
    let mut row = |name: &str, of: &dyn Fn(&RobustnessResult) -> Option<f64>| {
        let cell = |network: &NetworkRobustness| number(result(network).and_then(|result| of(&result)));
        means.row(std::iter::once(name.to_string()).chain(record.networks.iter().map(cell)));
    };
    row(RobustnessCell::CLEAN, &|result| Some(result.clean));
    for name in &record.corruptions {
        row(name, &|result| result.per_corruption.iter().find(|mean| mean.corruption == *name).map(|mean| mean.mean));
    }
    vec![summary, means]
}

/// One network: a row for each corruption, a column for each severity.
pub fn tables_of(network: &str, found: &RobustnessOf) -> Vec<Table> {
    let Corruptions { images, results, .. } = &found.robustness;
    let Some((figure, _)) = found.clean.scores.primary() else { return Vec::new() };
    let Some(result) = results.get(figure.name) else { return Vec::new() };
    let names: Vec<String> = result.per_corruption.iter().map(|mean| mean.corruption.clone()).collect();
    let title =
        format!("{network}: P, mPC and rPC in per cent on {images} images; {}", meaning(&names, &result.severities));
    let mut summary = Table::new(title, &["", "P", "mPC", "rPC"]);
    for (figure, result) in results.iter().filter_map(|(name, result)| Some((Figure::named(name)?, result))) {
        summary.row([figure.label.into(), format!("{:.2}", result.clean), format!("{:.2}", result.mpc), share(result)]);
    }
    let levels: Vec<String> = result.severities.iter().map(u8::to_string).collect();
    let header: Vec<&str> = [""].into_iter().chain(levels.iter().map(String::as_str)).chain(["mean"]).collect();
    let mut cells = Table::new(format!("{} by corruption and severity", figure.label), &header);
    for mean in &result.per_corruption {
        let values = mean.figures.iter().chain([&mean.mean]).map(|value| format!("{value:.2}"));
        cells.row(std::iter::once(mean.corruption.clone()).chain(values));
    }
    vec![summary, cells]
}

/// What P, mPC and rPC stand for.
fn meaning(corruptions: &[String], severities: &[u8]) -> String {
    let count =
        |count: usize, one: &str, many: &str| if count == 1 { format!("1 {one}") } else { format!("{count} {many}") };
    format!(
        "P: clean, mPC: mean over {} at {}, rPC = mPC / P",
        count(corruptions.len(), "corruption", "corruptions"),
        count(severities.len(), "severity", "severities"),
    )
}

fn share(result: &RobustnessResult) -> String {
    number(result.rpc)
}

fn number(value: Option<f64>) -> String {
    value.map_or("-".into(), |value| format!("{value:.2}"))
}
