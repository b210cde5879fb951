//! Automatic weights: measured over the first steps, frozen, the same after a resume and on any number of threads.
use super::*;
use crate::evidence::{Proof, StepRecord};
use crate::run::auto::STEPS;

const AUTO: [&str; 3] =
    ["arm.hints.term.fitnet.weight=auto:0.5", "arm.hints.term.kd.weight=auto:2.0", "train.epochs=3"];

fn steps(out: &Path) -> Vec<StepRecord> {
    let steps = metrics(&out.join("arms/hints")).into_iter().filter_map(|line| match line {
        MetricLine::Step(record) => Some(record),
        MetricLine::Epoch(_) => None,
    });
    steps.collect()
}

#[test]
fn the_weight_is_measured_then_frozen_and_the_warm_up_multiplies_it() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let summary = go(&recipe(&AUTO), &out, false, &mut Silent).unwrap();
    let steps = steps(&out);
    let weights = |term: &str| -> Vec<f64> { steps.iter().map(|step| step.weights[term]).collect() };
    let fitnet = weights("fitnet");
    assert!(fitnet.len() > STEPS + 5);
    assert!(fitnet[..STEPS].windows(2).all(|pair| pair[0] != pair[1]), "{fitnet:?}");
    assert!(fitnet[STEPS - 1..].windows(2).all(|pair| pair[0] == pair[1]), "{fitnet:?}");
    // Of kd's two epochs of warm-up the first has half the weight.
    let kd = weights("kd");
    let per_epoch = steps.iter().filter(|step| step.epoch == 1).count();
    let last = kd[kd.len() - 1];
    assert!(per_epoch < STEPS && kd[per_epoch] > 1.2 * kd[per_epoch - 1], "{kd:?}");
    let measured = &summary.arms[0].auto_weights;
    assert_eq!((measured["fitnet"], measured["kd"]), (fitnet[fitnet.len() - 1], last));
    // On the images of the proof the gradients stand in the ratio asked for, times the warm-up.
    let proof: Proof = serde_json::from_slice(&fs::read(out.join("arms/hints/proof.json")).unwrap()).unwrap();
    for (part, share) in proof.parts[1..].iter().zip([0.5, 2.0 * 0.5]) {
        assert!((part.to_task.unwrap() - share).abs() < 1e-9, "{part}");
    }
    // The batch of step 1 is that of the proof, so its weight is that of step 1.
    assert!((proof.parts[1].weight - fitnet[0]).abs() < 1e-9 * fitnet[0]);
}

#[test]
fn an_interrupted_measurement_goes_on_with_the_same_bits_on_any_number_of_threads() {
    let folder = tempfile::tempdir().unwrap();
    for accumulate in [1, 2] {
        let (set, teacher) =
            (format!("train.accumulate={accumulate}"), format!("teacher.train.accumulate={accumulate}"));
        let recipe = recipe(&[&AUTO[..], &[set.as_str(), teacher.as_str()]].concat());
        let whole = folder.path().join(format!("whole{accumulate}"));
        with_threads(1, || go(&recipe, &whole, false, &mut Silent)).unwrap();
        let teacher = metrics(&whole.join("arms/teacher")).len() - 1;
        // Within the measurement, and after it.
        for stop in [teacher + 5, teacher + STEPS + 1] {
            let parts = folder.path().join(format!("parts{accumulate}-{stop}"));
            let error = with_threads(2, || go(&recipe, &parts, false, &mut StopAfter(stop))).unwrap_err();
            assert!(matches!(error, TrainError::Stopped { .. }), "{error}");
            with_threads(2, || go(&recipe, &parts, true, &mut Silent)).unwrap();
            same_run(&whole, &parts);
        }
    }
}

#[test]
fn a_share_needs_a_task() {
    let overrides = ["arm.hints.term.kd.weight=auto:0.5".to_string(), "arm.hints.task_weight=0".to_string()];
    let error = Recipe::parse(RECIPE, "tiny", &overrides).unwrap_err().to_string();
    for part in ["`arm.0.term.1.weight`", "auto:0.5", "`task_weight`", "hints", "raise it"] {
        assert!(error.contains(part), "{part}: {error}");
    }
    let error = Recipe::parse(RECIPE, "tiny", &["arm.hints.term.kd.weight=auto:0".into()]).unwrap_err().to_string();
    assert!(error.contains("auto:0 is not") && error.contains("above 0"), "{error}");
    let plan = Plan::with(&recipe(&AUTO), &Device::flex(), crate::PlanOptions { time: false }).unwrap();
    assert!(plan.to_string().contains("auto:0.5"));
    assert_eq!(serde_json::to_value(&plan).unwrap()["arms"][0]["terms"][0]["weight"], "auto:0.5");
}
