use std::fs;
use std::path::Path;

use burn::prelude::*;
use subband_distill::Prompts;
use subband_models::{Mode, Network};

use super::*;
use crate::evidence::{MaskPictures, report::write_report};
use crate::prompts::{fresh, run as prompted};
use crate::run::{RunOptions, Silent, run};
use crate::{Plan, PlanOptions, Recipe, RunSummary};

const RECIPE: &str = r#"
name = "prompted"
seed = 4
[data]
dataset = "digits"
train_limit = 60
test_limit = 40
validation = 0.2
[teacher]
network = "cifar-resnet14"
train = { epochs = 2 }
[student]
network = "cifar-resnet8"
[train]
epochs = 1
batch_size = 8
[prompts]
steps = 24
batch_size = 10
tokens = 2
levels = 2
checkpoint_every = 5
[[arm]]
name = "student alone"
"#;

/// Steps of the teacher: 48 images, 8 at a time, twice.
const TEACHER: usize = 14;

fn recipe(overrides: &[&str]) -> Recipe {
    let overrides: Vec<String> = overrides.iter().map(|o| o.to_string()).collect();
    Recipe::parse(RECIPE, "prompted", &overrides).unwrap()
}

fn go(recipe: &Recipe, out: &Path, resume: bool, progress: &mut dyn Progress) -> Result<RunSummary, TrainError> {
    run(recipe, RunOptions { out_dir: out.into(), resume, device: Device::flex(), progress })
}

/// Stops the run after a number of steps, those of the teacher included.
struct StopAfter(usize);

impl Progress for StopAfter {
    fn event(&mut self, event: Event<'_>) -> std::ops::ControlFlow<()> {
        if let Event::Step { .. } = event {
            self.0 = self.0.saturating_sub(1);
            if self.0 == 0 {
                return std::ops::ControlFlow::Break(());
            }
        }
        std::ops::ControlFlow::Continue(())
    }
}

fn values<const D: usize>(x: Tensor<D>) -> Vec<f64> {
    x.into_data().iter::<f64>().collect()
}

fn top1(scores: &Scores) -> f64 {
    scores.get("top1").unwrap()
}

#[test]
fn masks_part_the_teacher_stays_and_the_evidence_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let summary = go(&recipe(&[]), &out, false, &mut Silent).unwrap();
    let result = summary.prompts.as_ref().unwrap();
    let names: Vec<&str> = result.taps.iter().map(|tap| tap.tap.as_str()).collect();
    assert_eq!((names, result.steps, result.tokens), (vec!["stage1", "stage2", "stage3"], 24, 2));
    // Three sets of two prompts per tap.
    assert_eq!(result.params, 3 * 2 * (16 + 32 + 64));
    // T = 2: with prompts of 0 the network is the teacher; fresh ones are 0 up to 0.01 per channel.
    assert!(result.zero_difference < 1e-5, "{result:?}");
    assert!(result.start_difference > result.zero_difference && result.start_difference < 0.5, "{result:?}");
    assert!((top1(&result.start) - top1(&result.teacher)).abs() <= 10.0, "{result:?}");
    for tap in &result.taps {
        let (start, end) = (tap.dissimilarity_start, tap.dissimilarity_end);
        assert!(start > 2.5 && start < 3.0 && end < 0.99 * start, "{tap:?}");
    }
    let prompts = Prompts::read(&out.join("prompts.safetensors"), &Device::flex()).unwrap();
    assert_eq!((prompts.taps().len(), prompts.get("stage2").unwrap().channels()), (3, 32));
    let lines = fs::read_to_string(out.join("prompts/metrics.jsonl")).unwrap();
    assert_eq!(lines.lines().count(), 24);
    assert!(lines.lines().all(|line| line.contains("\"dissimilarity.stage3\"") && line.contains("\"task\"")));
    let bytes = fs::read(out.join("prompts/masks.json")).unwrap();
    let pictures: MaskPictures = serde_json::from_slice(&bytes).unwrap();
    assert_eq!((pictures.images.len(), pictures.taps.len()), (2, 3));
    let sets: Vec<(&str, usize, usize)> =
        pictures.taps[1].sets.iter().map(|s| (s.set.as_str(), s.sizes[1][0], s.values[1].len())).collect();
    assert_eq!(sets, [("ll2", 4, 2), ("level1", 7, 2), ("level2", 4, 2)]);
    let masks = pictures.taps.iter().flat_map(|tap| &tap.sets).flat_map(|set| set.values.iter().flatten().flatten());
    assert!(masks.clone().all(|m| *m > 0.0 && *m < 1.0) && masks.count() > 1000);
    let html = fs::read_to_string(write_report(&out).unwrap()).unwrap();
    for part in [
        "Frequency prompts",
        "details in all directions within 2×2 blocks",
        "stage3, image",
        "Dissimilarity, learned",
        "Level 2",
    ] {
        assert!(html.contains(part), "{part}");
    }
    // A finished phase is not run again.
    let again = go(&recipe(&[]), &out, true, &mut StopAfter(1)).unwrap();
    let again = again.prompts.unwrap();
    assert_eq!((&again.start, &again.end, again.steps), (&result.start, &result.end, result.steps));
}

#[test]
fn two_prompts_start_as_the_teacher_and_six_as_three_times_its_bands() {
    let images = |network: &Network| {
        let shape = [3, network.in_channels(), 28, 28];
        let values: Vec<f32> = (0..shape.iter().product()).map(|k: usize| (0.3 * k as f64).sin() as f32).collect();
        Tensor::<4>::from_data(TensorData::new(values, shape), &Device::flex())
    };
    for (tokens, factor) in [(2, 1.0), (6, 3.0)] {
        let setup = Setup::open(&recipe(&[&format!("prompts.tokens={tokens}")])).unwrap();
        let given = setup.recipe.prompts.as_ref().unwrap();
        let prompts = fresh(&setup, given, &Device::flex()).unwrap();
        let network = setup.teacher(&Device::flex()).unwrap().fold_batch_norm(prompts.taps());
        let x = images(&network);
        let zero = evidence::zeros(&prompts).unwrap();
        let scale = |_: &str, map: Tensor<4>| Ok(map * factor);
        let plain = network.forward_hooked(x.clone(), Mode::Eval, &[], prompts.taps(), &mut { scale }).unwrap();
        let [wanted, exact, fresh] = [
            values(plain.scores()),
            values(prompted(&network, &zero, x.clone()).unwrap().0.scores()),
            values(prompted(&network, &prompts, x).unwrap().0.scores()),
        ];
        let largest = wanted.iter().fold(0.0_f64, |m, v| m.max(v.abs()));
        let difference = |a: &[f64]| a.iter().zip(&wanted).fold(0.0_f64, |m, (a, b)| m.max((a - b).abs())) / largest;
        // Equal up to rounding with P = 0; with fresh prompts up to their deviation of 0.01 over the channels.
        assert!(difference(&exact) < 1e-5, "{tokens}: {}", difference(&exact));
        assert!((1e-5..0.5).contains(&difference(&fresh)), "{tokens}: {}", difference(&fresh));
    }
}

#[test]
fn an_interrupted_phase_ends_with_the_same_bits_on_any_number_of_threads() {
    let folder = tempfile::tempdir().unwrap();
    let with = |threads: usize, work: &(dyn Fn() -> Result<RunSummary, TrainError> + Sync)| {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(work)
    };
    let recipe = recipe(&["prompts.clip_norm=0.5", "prompts.grouping=\"band\"", "prompts.similarity=\"jaccard\""]);
    let whole = folder.path().join("whole");
    with(1, &|| go(&recipe, &whole, false, &mut Silent)).unwrap();
    let steps = |out: &Path| fs::read_to_string(out.join("prompts/metrics.jsonl")).unwrap();
    // Right after a checkpoint, between two, and in the last step.
    for stop in [5, 8, 24] {
        let parts = folder.path().join(format!("parts{stop}"));
        let error = with(2, &|| go(&recipe, &parts, false, &mut StopAfter(TEACHER + stop))).unwrap_err();
        let TrainError::Stopped { arm, step } = &error else { panic!("{error}") };
        assert_eq!((arm.as_str(), *step), (NAME, stop));
        with(2, &|| go(&recipe, &parts, true, &mut Silent)).unwrap();
        assert_eq!(steps(&whole), steps(&parts));
        let file = |out: &Path| fs::read(out.join("prompts.safetensors")).unwrap();
        assert!(file(&whole) == file(&parts), "stopped after {stop}");
    }
    // A damaged file is written again from the checkpoint once it is gone.
    let file = whole.join("prompts.safetensors");
    let learned = fs::read(&file).unwrap();
    fs::write(&file, &learned[..learned.len() / 2]).unwrap();
    let error = go(&recipe, &whole, true, &mut Silent).unwrap_err().to_string();
    assert!(error.contains("prompts.safetensors") && error.contains("delete the file"), "{error}");
    fs::remove_file(&file).unwrap();
    go(&recipe, &whole, true, &mut Silent).unwrap();
    assert!(fs::read(&file).unwrap() == learned);
}

#[test]
fn prompts_and_their_arm_may_be_added_to_a_run() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let (start, rest) = RECIPE.split_once("[prompts]").unwrap();
    let alone = format!("{start}{}", &rest[rest.find("[[arm]]").unwrap()..]);
    let done = go(&Recipe::parse(&alone, "prompted", &[]).unwrap(), &out, false, &mut Silent).unwrap();
    let arm = "[[arm]]\nname = \"freekd\"\n[[arm.term]]\nmethod = \"freekd\"\nlevels = 2\n";
    let with = |steps: &str| Recipe::parse(&format!("{RECIPE}{arm}"), "prompted", &[steps.into()]).unwrap();
    let both = go(&with("prompts.steps=6"), &out, true, &mut Silent).unwrap();
    assert!(both.finished && both.prompts.is_some() && both.arms.len() == 2);
    assert_eq!(both.arms[0].best, done.arms[0].best);
    // What was learned stays as it is.
    let error = go(&with("prompts.steps=7"), &out, true, &mut Silent).unwrap_err().to_string();
    assert!(error.contains("prompts") && error.contains("another recipe"), "{error}");
}

#[test]
fn nan_stops_with_its_step_and_a_state_to_replay() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = recipe(&["prompts.optimizer={kind=\"sgd\",lr=1e38,momentum=0.0}"]);
    let error = go(&recipe, &folder.path().join("run"), false, &mut Silent).unwrap_err();
    let TrainError::NonFinite { step, saved, arm, .. } = &error else { panic!("{error}") };
    assert!(*step > 1 && arm == NAME, "{error}");
    let replay: serde_json::Value = serde_json::from_slice(&fs::read(saved.join("replay.json")).unwrap()).unwrap();
    assert_eq!(replay["indices"][0].as_array().unwrap().len(), 10);
    assert!(saved.join(replay["recipe"].as_str().unwrap()).exists());
    assert!(saved.join(replay["checkpoint"].as_str().unwrap()).exists());
}

#[test]
fn mistakes_are_found_before_anything_is_trained() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let fails = |overrides: &[&str]| {
        let error = go(&recipe(overrides), &out, false, &mut Silent).unwrap_err().to_string();
        assert!(!out.exists(), "{error}");
        error
    };
    let tap = fails(&["prompts.taps=[\"stage1\",\"stgae2\"]"]);
    assert!(tap.contains("stgae2") && tap.contains("stage2") && tap.contains("[prompts]"), "{tap}");
    assert!(fails(&["prompts.tokens=0"]).contains("tokens"));
    assert!(fails(&["prompts.wavelet=\"haarr\""]).contains("haar"));
    let parse = |overrides: &[&str]| {
        let overrides: Vec<String> = overrides.iter().map(|o| o.to_string()).collect();
        Recipe::parse(RECIPE, "prompted", &overrides).unwrap_err().to_string()
    };
    let key = parse(&["prompts.token=3"]);
    assert!(key.contains("`prompts.token`") && key.contains("did you mean `tokens`"), "{key}");
    assert!(parse(&["prompts.steps=0"]).contains("`prompts.steps`"));
    assert!(parse(&["prompts.dissimilarity_weight=-1.0"]).contains("dissimilarity_weight"));
    assert!(parse(&["prompts.taps=[\"stage1\",\"stage1\"]"]).contains("twice"));
    assert!(parse(&["prompts.optimizer={kind=\"adam\",lr=0.1,beta=1}"]).contains("prompts.optimizer.beta"));
    let text = RECIPE.replace("[teacher]\nnetwork = \"cifar-resnet14\"\ntrain = { epochs = 2 }\n", "");
    let error = Recipe::parse(&text, "prompted", &[]).unwrap_err().to_string();
    assert!(error.contains("no [teacher]"), "{error}");
}

#[test]
fn the_resolved_recipe_and_the_plan_hold_the_phase() {
    let recipe = recipe(&["prompts.variant=\"paper\""]);
    let text = recipe.to_toml();
    assert!(text.contains("[prompts]") && text.contains("similarity = \"jaccard\""), "{text}");
    assert_eq!(Recipe::parse(&text, "prompted", &[]).unwrap(), recipe);
    let plan = Plan::with(&recipe, &Device::flex(), PlanOptions { time: true }).unwrap();
    let prompts = plan.prompts.as_ref().unwrap();
    // 1 + 3 * 2 bands of two prompts.
    assert_eq!((prompts.params, prompts.steps), (7 * 2 * (16 + 32 + 64), 24));
    assert!(plan.time.as_ref().unwrap().parts.iter().any(|part| part.name == NAME && part.step_seconds > 0.0));
    let text = plan.to_string();
    assert!(text.contains("Frequency prompts") && text.contains("stage1 stage2 stage3"), "{text}");
    assert!(prompts.used_by.is_empty() && text.contains("no arm uses them"), "{text}");
}
