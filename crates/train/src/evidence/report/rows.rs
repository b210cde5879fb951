//! Arms as rows of the result table: one each, several seeds as mean and standard deviation.
use super::read::Arm;
use crate::evidence::Spread;

/// The arms in their order; those with seeds as one row for all of them.
pub(super) fn rows(arms: &[Arm]) -> Vec<Arm> {
    let mut groups: Vec<Vec<&Arm>> = Vec::new();
    for arm in arms {
        match groups.iter_mut().find(|group| arm.seed.is_some() && group[0].group == arm.group) {
            Some(group) => group.push(arm),
            None => groups.push(vec![arm]),
        }
    }
    groups.iter().map(|group| row(group)).collect()
}

fn row(group: &[&Arm]) -> Arm {
    let first = group[0];
    let spread = |of: fn(&Arm) -> Option<f64>| Spread::of(&group.iter().filter_map(|arm| of(arm)).collect::<Vec<_>>());
    let (best, last) = (spread(|arm| arm.best_top1), spread(|arm| arm.last_top1));
    let seconds: Vec<f64> = group.iter().filter_map(|arm| arm.seconds).collect();
    Arm {
        name: first.group.clone(),
        group: first.group.clone(),
        slug: first.slug.clone(),
        network: first.network.clone(),
        params: first.params,
        macs: first.macs,
        aux_params: first.aux_params,
        skipped: first.skipped,
        seconds: (!seconds.is_empty()).then(|| seconds.iter().sum()),
        best_epoch: if group.len() == 1 { first.best_epoch } else { None },
        best_top1: best.map(|spread| spread.mean),
        best_std: best.and_then(|spread| spread.std),
        best_top5: spread(|arm| arm.best_top5).map(|spread| spread.mean),
        last_top1: last.map(|spread| spread.mean),
        last_std: last.and_then(|spread| spread.std),
        terms: first.terms.clone(),
        planned_epochs: first.planned_epochs,
        ..Arm::default()
    }
}
