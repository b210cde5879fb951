//! Several seeds: one training each, mean and deviation, kill and resume as ever.
use super::*;

const SEEDS: &str = "seeds=[4, 9]";

fn seeded(overrides: &[&str]) -> Recipe {
    let text = RECIPE.replace("seed = 4\n", "");
    let overrides: Vec<String> = overrides.iter().chain(&[SEEDS]).map(|o| o.to_string()).collect();
    Recipe::parse(&text, "tiny", &overrides).unwrap()
}

fn weights_of(out: &Path, slug: &str) -> Vec<u8> {
    fs::read(out.join("arms").join(slug).join("student-last.safetensors")).unwrap()
}

#[test]
fn every_arm_is_trained_once_per_seed_and_stopped_runs_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let whole = folder.path().join("whole");
    let summary = with_threads(1, || go(&seeded(&[]), &whole, false, &mut Silent)).unwrap();
    assert!(summary.finished && summary.arms.len() == 2);
    let names: Vec<(&str, Option<u64>)> = summary.arms.iter().map(|arm| (arm.slug.as_str(), arm.seed)).collect();
    assert_eq!(names, [("hints-seed4", Some(4)), ("hints-seed9", Some(9))]);
    assert!(weights_of(&whole, "hints-seed4") != weights_of(&whole, "hints-seed9"));
    // The first seed is the recipe with that seed alone.
    let single = folder.path().join("single");
    let alone = with_threads(2, || go(&recipe(&[]), &single, false, &mut Silent)).unwrap();
    assert!(weights_of(&whole, "hints-seed4") == weights_of(&single, "hints"));
    assert_eq!(alone.arms[0].best, summary.arms[0].best);
    assert!(alone.over_seeds.is_empty() && alone.arms[0].seed.is_none());
    let result = fs::read_to_string(single.join("results.json")).unwrap();
    assert!(!result.contains("seed"), "{result}");
    // Mean and sample deviation of two values.
    let over = &summary.over_seeds[0];
    let [a, b] = [0, 1].map(|index| summary.arms[index].last.test.get("top1").unwrap());
    assert_eq!((over.name.as_str(), &over.seeds[..]), ("hints", &[4, 9][..]));
    assert!((over.last["top1"].mean - (a + b) / 2.0).abs() < 1e-12);
    assert!((over.last["top1"].std.unwrap() - (a - b).abs() / 2.0_f64.sqrt()).abs() < 1e-12);
    let text = fs::read_to_string(whole.join("results.json")).unwrap();
    // JSON keeps all but the last bit of a number.
    let read = serde_json::from_str::<RunSummary>(&text).unwrap().over_seeds.swap_remove(0);
    assert_eq!((&read.name, &read.seeds), (&over.name, &over.seeds));
    for (read, over) in [(&read.best, &over.best), (&read.last, &over.last)] {
        assert!(read.keys().eq(over.keys()));
        assert!(read.iter().all(|(name, spread)| (spread.mean - over[name].mean).abs() < 1e-12), "{read:?}");
    }
    // Stopped in the second seed, resumed on other threads.
    let parts = folder.path().join("parts");
    let steps = metrics(&whole.join("arms/teacher")).len() - 1 + summary.arms[0].steps;
    with_threads(2, || go(&seeded(&[]), &parts, false, &mut StopAfter(steps + 3))).unwrap_err();
    with_threads(2, || go(&seeded(&[]), &parts, true, &mut Silent)).unwrap();
    for slug in ["hints-seed4", "hints-seed9"] {
        assert!(weights_of(&whole, slug) == weights_of(&parts, slug), "{slug}");
    }
    // The report shows what the first seed's networks make of its images.
    let drawn = |slug: &str| whole.join("arms").join(slug).join("pictures").exists();
    assert!(drawn("hints-seed4") && !drawn("hints-seed9"));
    report_shows(&whole, &over.last["top1"].to_string());
}

fn report_shows(out: &Path, spread: &str) {
    let page = crate::evidence::report::write_report(out).unwrap();
    let html = fs::read_to_string(page).unwrap();
    for part in [
        spread,
        "over 2 seeds",
        "arms/hints-seed9/",
        "with the first seed",
        "Proof that distillation is on",
        "student tensors",
    ] {
        assert!(html.contains(part), "{part}");
    }
    assert!(!html.contains("not finished") && !html.contains("NaN"));
    // One row for the arm in the table of results.
    let table = html.split("class=\"results\"").nth(1).unwrap().split("</table>").next().unwrap();
    assert_eq!(table.matches("<tr class").count(), 2);
    assert!(html.contains("Loss terms of hints\"") && !html.contains("Loss terms of hints, seed"));
}

#[test]
fn seeds_may_be_added_but_not_exchanged() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let short = ["train.epochs=1", "train.warmup_epochs=0.5"];
    let done = go(&seeded(&short), &out, false, &mut Silent).unwrap();
    let with = |seeds: &str| {
        let text = RECIPE.replace("seed = 4\n", &format!("{seeds}\n"));
        Recipe::parse(&text, "tiny", &short.map(String::from)).unwrap()
    };
    let error = go(&with("seed = 4"), &out, true, &mut Silent).unwrap_err().to_string();
    assert!(error.contains("`seed`"), "{error}");
    let error = go(&with("seeds = [9, 4]"), &out, true, &mut Silent).unwrap_err().to_string();
    assert!(error.contains("`seeds`"), "{error}");
    let more = go(&with("seeds = [4, 9, 1]"), &out, true, &mut Silent).unwrap();
    assert_eq!(more.arms.len(), 3);
    assert_eq!(more.arms[1].best, done.arms[1].best);
    assert_eq!(more.over_seeds[0].seeds, [4, 9, 1]);
}

#[test]
fn the_plan_counts_every_training() {
    let options = crate::PlanOptions { time: true };
    let plan = Plan::with(&seeded(&[]), &Device::flex(), options).unwrap();
    let time = plan.time.as_ref().unwrap();
    assert_eq!(time.parts.iter().map(|part| part.runs).collect::<Vec<_>>(), [1, 2]);
    assert!(time.parts[1].seconds > 2.0 * time.parts[1].step_seconds * time.parts[1].steps as f64 * 0.99);
    let text = plan.to_string();
    assert!(text.contains("with the seeds 4, 9") && text.contains("2 x 14"), "{text}");
}
