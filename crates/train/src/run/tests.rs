use super::*;
use crate::checkpoint::Checkpoint;
use crate::evidence::MetricLine;
use std::fs;
use std::path::Path;

mod auto;
mod corrupt;
mod proof;
mod seeds;
mod segmentation;
mod teacher;

const RECIPE: &str = r#"
name = "tiny"
seed = 4
[data]
dataset = "digits"
train_limit = 60
test_limit = 40
validation = 0.2
crop_padding = 2
flip = true
[teacher]
network = "cifar-resnet14"
train = { epochs = 1 }
[student]
network = "cifar-resnet8"
[train]
epochs = 2
batch_size = 8
checkpoint_every = 2
optimizer = { kind = "sgd", lr = 0.05 }
schedule = { kind = "cosine" }
clip_norm = 5.0
eval_batch_size = 40
[[arm]]
name = "hints"
task_weight = 0.5
[[arm.term]]
method = "fitnet"
weight = 0.5
[[arm.term]]
method = "kd"
weight = 0.5
warmup_epochs = 2
"#;

fn recipe(overrides: &[&str]) -> Recipe {
    let overrides: Vec<String> = overrides.iter().map(|o| o.to_string()).collect();
    Recipe::parse(RECIPE, "tiny", &overrides).unwrap()
}

/// Stops the run after a number of steps, counted over all arms.
struct StopAfter(usize);

impl Progress for StopAfter {
    fn event(&mut self, event: Event<'_>) -> ControlFlow<()> {
        if let Event::Step { .. } = event {
            self.0 = self.0.saturating_sub(1);
            if self.0 == 0 {
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    }
}

fn go(recipe: &Recipe, out: &Path, resume: bool, progress: &mut dyn Progress) -> Result<RunSummary, TrainError> {
    run(recipe, RunOptions { out_dir: out.into(), resume, device: Device::flex(), progress })
}

fn with_threads<T: Send>(threads: usize, work: impl FnOnce() -> T + Send) -> T {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(work)
}

/// The metrics without the times.
fn metrics(folder: &Path) -> Vec<MetricLine> {
    let text = fs::read_to_string(folder.join("metrics.jsonl")).unwrap();
    let lines = text.lines().map(|line| match serde_json::from_str(line).unwrap() {
        MetricLine::Epoch(mut record) => {
            (record.seconds, record.images_per_second) = (0.0, 0.0);
            MetricLine::Epoch(record)
        }
        step => step,
    });
    lines.collect()
}

fn same_run(a: &Path, b: &Path) {
    for arm in ["teacher", "hints"] {
        let (a, b) = (a.join("arms").join(arm), b.join("arms").join(arm));
        assert_eq!(metrics(&a), metrics(&b), "{arm}");
        for file in ["student-last.safetensors", "student-best.safetensors"] {
            assert!(fs::read(a.join(file)).unwrap() == fs::read(b.join(file)).unwrap(), "{arm}/{file} differs");
        }
    }
}

#[test]
fn an_interrupted_run_ends_with_the_same_bits_on_any_number_of_threads() {
    let folder = tempfile::tempdir().unwrap();
    let optimizers = [
        vec!["train.accumulate=1"],
        vec!["train.optimizer={kind=\"adamw\",lr=0.002}", "train.accumulate=2", "teacher.train.accumulate=2"],
    ];
    for (index, overrides) in optimizers.iter().enumerate() {
        let recipe = recipe(overrides);
        let whole = folder.path().join(format!("whole{index}"));
        let summary = with_threads(1, || go(&recipe, &whole, false, &mut Silent)).unwrap();
        assert!(summary.finished && summary.arms[0].steps > 0 && summary.arms[0].aux_params > 0);
        let total = summary.arms[0].steps + metrics(&whole.join("arms/teacher")).len() - 1;
        // In the teacher, right after a checkpoint, between two, and in the last step.
        for stop in [2, total / 2, total / 2 + 1, total] {
            let parts = folder.path().join(format!("parts{index}-{stop}"));
            let error = with_threads(2, || go(&recipe, &parts, false, &mut StopAfter(stop))).unwrap_err();
            assert!(matches!(error, TrainError::Stopped { .. }), "{error}");
            with_threads(2, || go(&recipe, &parts, true, &mut Silent)).unwrap();
            same_run(&whole, &parts);
            let results = |folder: &Path| fs::read_to_string(folder.join("results.json")).unwrap().lines().count();
            assert_eq!(results(&whole), results(&parts));
        }
    }
}

#[test]
fn finished_arms_are_not_run_again_and_other_recipes_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let short = ["train.epochs=1", "train.warmup_epochs=0.5"];
    let done = go(&recipe(&short), &out, false, &mut Silent).unwrap();
    let again = go(&recipe(&short), &out, true, &mut StopAfter(1)).unwrap();
    // JSON keeps all but the last bit of a time.
    let timeless =
        |summary: &RunSummary| summary.arms.iter().map(|a| ArmResult { seconds: 0.0, ..a.clone() }).collect::<Vec<_>>();
    assert_eq!(timeless(&done), timeless(&again));
    assert_eq!(done.teacher.as_ref().map(|t| &t.test), again.teacher.as_ref().map(|t| &t.test));
    let error = go(&recipe(&short), &out, false, &mut Silent).unwrap_err();
    assert!(matches!(error, TrainError::FolderInUse { .. }), "{error}");
    let other =
        go(&recipe(&["train.epochs=1", "train.batch_size=4"]), &out, true, &mut Silent).unwrap_err().to_string();
    assert!(other.contains("`train.batch_size`") && other.contains("`train.warmup_epochs`"), "{other}");
    let arm = go(&recipe(&[&short[..], &["arm.hints.task_weight=1.0"]].concat()), &out, true, &mut Silent);
    assert!(arm.unwrap_err().to_string().contains("under another recipe"));
    // Only what no result depends on may change.
    let free = recipe(&[&short[..], &["train.checkpoint_every=5", "data.workers=2"]].concat());
    assert_eq!(timeless(&go(&free, &out, true, &mut StopAfter(1)).unwrap()), timeless(&done));
}

/// What the root of a run folder holds.
fn root_files(out: &Path) -> Vec<Vec<u8>> {
    ["recipe.toml", "run.json", "results.json"].map(|name| fs::read(out.join(name)).unwrap()).into()
}

#[test]
fn a_refused_resume_writes_nothing_and_finished_arms_stay_listed() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let short = ["train.epochs=1", "train.warmup_epochs=0.5"];
    let done = go(&recipe(&short), &out, false, &mut Silent).unwrap();
    let before = root_files(&out);
    let other = recipe(&[&short[..], &["arm.hints.task_weight=0.7"]].concat());
    let error = go(&other, &out, true, &mut Silent).unwrap_err();
    assert!(matches!(error, TrainError::Resume { .. }) && error.to_string().contains("another recipe"), "{error}");
    assert!(root_files(&out) == before);
    // A new arm in front of the finished one, stopped in its first step, then begun again differently.
    let with = |weight: &str| {
        let first = format!("[[arm]]\nname = \"first\"\ntask_weight = {weight}\n[[arm]]");
        Recipe::parse(&RECIPE.replacen("[[arm]]", &first, 1), "tiny", &short.map(String::from)).unwrap()
    };
    go(&with("1.0"), &out, true, &mut StopAfter(3)).unwrap_err();
    let results: RunSummary = serde_json::from_slice(&root_files(&out)[2]).unwrap();
    assert!(!results.finished && results.arms.len() == 1 && results.arms[0].best == done.arms[0].best);
    let before = root_files(&out);
    let error = go(&with("0.5"), &out, true, &mut Silent).unwrap_err();
    assert!(matches!(error, TrainError::Checkpoint { .. }), "{error}");
    assert!(root_files(&out) == before);
    let more = go(&with("1.0"), &out, true, &mut Silent).unwrap();
    assert!(more.finished && more.arms.iter().map(|arm| arm.name.as_str()).eq(["first", "hints"]));
}

#[test]
fn pictures_that_cannot_be_drawn_are_noted_and_results_are_there() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let recipe = recipe(&["train.epochs=1", "train.warmup_epochs=0.5"]);
    go(&recipe, &out, false, &mut Silent).unwrap();
    let (arm, pictures) = (out.join("arms/hints"), out.join("arms/hints/pictures/pictures.json"));
    let drawn = fs::read_to_string(&pictures).unwrap();
    // Pictures that are there need no weights.
    let weights = fs::read(arm.join("student-best.safetensors")).unwrap();
    fs::write(arm.join("student-best.safetensors"), b"damaged").unwrap();
    fs::remove_file(out.join("results.json")).unwrap();
    assert!(go(&recipe, &out, true, &mut Silent).unwrap().finished);
    assert_eq!(fs::read_to_string(&pictures).unwrap(), drawn);
    fs::remove_file(&pictures).unwrap();
    assert!(go(&recipe, &out, true, &mut Silent).unwrap().finished && out.join("results.json").exists());
    let found: crate::evidence::NetworkPictures = serde_json::from_slice(&fs::read(&pictures).unwrap()).unwrap();
    assert!(found.notes[0].contains("student-best.safetensors") || found.notes[0].contains("hints"), "{found:?}");
    fs::write(arm.join("student-best.safetensors"), weights).unwrap();
    go(&recipe, &out, true, &mut Silent).unwrap();
    assert_eq!(fs::read_to_string(&pictures).unwrap(), drawn);
}

#[test]
fn the_plan_warns_of_warm_ups_that_never_end() {
    let plan = |epochs: &str| {
        let recipe = recipe(&[epochs, "arm.hints.term.kd.warmup_epochs=20"]);
        Plan::with(&recipe, &Device::flex(), crate::PlanOptions { time: false }).unwrap()
    };
    let warned = plan("train.epochs=5");
    assert_eq!(warned.warnings.len(), 1);
    let text = warned.to_string();
    assert!(
        text.contains("warning: term \"kd\" of arm \"hints\" warms up over 20 epochs") && text.contains("25 %"),
        "{text}"
    );
    assert!(plan("train.epochs=20").warnings.is_empty());
}

#[test]
fn a_damaged_checkpoint_stops_with_its_name_and_nothing_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let recipe = recipe(&["train.epochs=1"]);
    go(&recipe, &out, false, &mut StopAfter(3)).unwrap_err();
    let path = out.join("arms/teacher/checkpoint.safetensors");
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    let before = fs::read_to_string(out.join("arms/teacher/metrics.jsonl")).unwrap();
    let error = go(&recipe, &out, true, &mut Silent).unwrap_err();
    assert!(matches!(error, TrainError::Checkpoint { .. }), "{error}");
    assert!(error.to_string().contains("checkpoint.safetensors"), "{error}");
    assert_eq!(fs::read_to_string(out.join("arms/teacher/metrics.jsonl")).unwrap(), before);
    fs::write(&path, whole).unwrap();
    go(&recipe, &out, true, &mut Silent).unwrap();
}

#[test]
fn nan_stops_with_term_step_and_a_state_to_replay() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let recipe = recipe(&["train.optimizer.lr=1e25", "train.clip_norm=1e30"]);
    let error = go(&recipe, &out, false, &mut Silent).unwrap_err();
    let TrainError::NonFinite { step, saved, arm, .. } = &error else { panic!("{error}") };
    assert!(*step > 1 && arm == "teacher", "{error}");
    let replay: serde_json::Value = serde_json::from_slice(&fs::read(saved.join("replay.json")).unwrap()).unwrap();
    assert_eq!(replay["indices"][0].as_array().unwrap().len(), 8);
    assert!(saved.join(replay["recipe"].as_str().unwrap()).exists());
    let folder = super::folder::Folder::open(&out, &recipe, &Device::flex(), true).unwrap();
    let path = saved.join(replay["checkpoint"].as_str().unwrap());
    let checkpoint = Checkpoint::read(&path, "teacher", &folder.fingerprint(None, None)).unwrap();
    assert_eq!(checkpoint.meta.step + 1, *step);
    let finite =
        |data: &burn::tensor::TensorData| data.as_slice::<f32>().is_ok_and(|v| v.iter().all(|v| v.is_finite()));
    let student = checkpoint.section("student.");
    assert!(student.iter().filter(|(name, _)| name.ends_with("weight")).all(|(_, data)| finite(data)));
}

#[test]
fn wiring_errors_come_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let fails = |overrides: &[&str]| {
        let error = go(&recipe(overrides), &out, false, &mut Silent).unwrap_err().to_string();
        assert!(!out.exists(), "{error}");
        error
    };
    let tap = fails(&["arm.hints.term.fitnet.student_tap=\"stagee2\""]);
    assert!(tap.contains("stagee2") && tap.contains("stage2") && tap.contains("hints"), "{tap}");
    assert!(fails(&["student.frozen=[\"\"]"]).contains("no trainable parameter"));
    assert!(fails(&["student.frozen=[\"layr1\"]"]).contains("layr1"));
    assert!(fails(&["student.network=cifar-resnet9"]).contains("cifar-resnet8"));
    let weights = folder.path().join("other.safetensors");
    let other = subband_models::NetworkConfig::new("cifar-vgg8", 1, 10);
    let other = other.init(subband_seed::Stream::new(1), &Device::flex()).unwrap();
    weights::write_safetensors(&weights, &other.state_dict()).unwrap();
    let foreign = fails(&[&format!("student.weights={:?}", weights.display().to_string())]);
    assert!(foreign.contains("other.safetensors") && foreign.contains("cifar-resnet8"), "{foreign}");
    assert!(fails(&["student.weights=missing.pth"]).contains("missing.pth"));
}

#[test]
fn a_weight_file_that_changed_is_named_before_a_run_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let file = folder.path().join("weights.safetensors");
    fs::write(&file, "one").unwrap();
    let recipe = recipe(&[&format!("student.weights={:?}", file.display().to_string())]);
    let open = |resume| super::folder::Folder::open(&out, &recipe, &Device::flex(), resume).map(|_| ());
    open(false).unwrap();
    open(true).unwrap();
    let before = fs::read(out.join("run.json")).unwrap();
    fs::write(&file, "two").unwrap();
    let error = open(true).unwrap_err().to_string();
    assert!(error.contains("weights.safetensors") && error.contains("--out"), "{error}");
    assert_eq!(fs::read(out.join("run.json")).unwrap(), before);
    fs::write(&file, "one").unwrap();
    open(true).unwrap();
}

#[test]
fn a_folder_that_cannot_be_written_is_one_clear_error() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "x").unwrap();
    let error = go(&recipe(&[]), &file.join("run"), false, &mut Silent).unwrap_err();
    assert!(matches!(error, TrainError::Write { .. }) && error.to_string().contains("file"), "{error}");
}

#[test]
fn the_plan_shows_taps_adapters_and_steps() {
    let recipe = recipe(&[]);
    let plan = Plan::with(&recipe, &Device::flex(), crate::PlanOptions { time: true }).unwrap();
    let arm = &plan.arms[0];
    assert_eq!((plan.data.train, plan.data.validation, plan.data.test), (50, 10, 40));
    assert_eq!(arm.steps, 14);
    assert!(arm.aux_params > 0 && arm.terms[0].aux_params == arm.aux_params && arm.terms[0].largest_temporary > 0);
    let params = plan.student.params as u64 + arm.aux_params as u64;
    assert_eq!(arm.state_bytes, 4 * 3 * params);
    let time = plan.time.as_ref().unwrap();
    assert!(time.seconds > 0.0 && time.parts.len() == 2);
    let text = plan.to_string();
    for word in ["cifar-resnet14", "stage2", "fitnet", "Estimated time", "multiply-adds"] {
        assert!(text.contains(word), "{word}:\n{text}");
    }
}

const LORA: &str = r#"
[data]
dataset = "digits"
train_limit = 10
test_limit = 10
resize = { size = 224 }
[student]
network = "deit_tiny_patch16_224"
merge = 0.5
lora = { rank = 2, alpha = 4.0, dropout = 0.1, targets = ["qkv", "blocks.3"] }
[train]
epochs = 1
batch_size = 5
checkpoint_every = 1
eval_batch_size = 5
optimizer = { kind = "adamw", lr = 0.01 }
"#;

#[test]
fn low_rank_factors_are_trained_alone_and_merged_into_what_is_written() {
    let recipe = Recipe::parse(LORA, "lora", &[]).unwrap();
    assert_eq!(Recipe::parse(&recipe.to_toml(), "again", &[]).unwrap(), recipe);
    let folder = tempfile::tempdir().unwrap();
    let (whole, parts) = (folder.path().join("whole"), folder.path().join("parts"));
    with_threads(1, || go(&recipe, &whole, false, &mut Silent)).unwrap();
    // Interrupted after the first of two steps: dropout goes on where it was.
    with_threads(2, || go(&recipe, &parts, false, &mut StopAfter(1))).unwrap_err();
    with_threads(2, || go(&recipe, &parts, true, &mut Silent)).unwrap();
    let arm = "arms/student-alone";
    let file = |run: &Path| fs::read(run.join(arm).join("student-last.safetensors")).unwrap();
    assert!(file(&whole) == file(&parts));

    let read = |name: &str| subband_models::weights::read(&whole.join(arm).join(name)).unwrap();
    let (written, checkpoint) = (read("student-last.safetensors"), read("checkpoint.safetensors"));
    let start = Setup::open(&recipe).unwrap().student(&Device::flex()).unwrap();
    let plain = start.merged(1.0).state_dict();
    assert_eq!(written.keys().collect::<Vec<_>>(), plain.keys().collect::<Vec<_>>());
    let numbers = |data: &burn::tensor::TensorData| data.iter::<f64>().collect::<Vec<_>>();
    for (key, value) in &written {
        let adapted =
            key.ends_with("weight") && (key.contains("qkv") || key.contains("blocks.3.") && !key.contains("norm"));
        assert_eq!(numbers(value) != numbers(&plain[key]), adapted, "{key}");
    }
    // 1/2 (4 / 2) B A, for the first weights of one layer.
    let name = "blocks.3.mlp.fc1";
    let [a, b] = ["lora_A", "lora_B"].map(|part| numbers(&checkpoint[&format!("student.{name}.{part}")]));
    let key = format!("{name}.weight");
    let (new, old, width) = (numbers(&written[&key]), numbers(&plain[&key]), a.len() / 2);
    for place in 0..3 * width {
        let (row, column) = (place / width, place % width);
        let change = b[2 * row] * a[column] + b[2 * row + 1] * a[width + column];
        assert!((new[place] - old[place] - change).abs() < 1e-6, "{place}");
    }
    let error = Recipe::parse(&LORA.replace("lora = {", "# lora = {"), "lora", &[]).unwrap_err().to_string();
    assert!(error.contains("student.merge") && error.contains("student.lora"), "{error}");
    let typing = Recipe::parse(&LORA.replace("\"qkv\"", "\"qvk\""), "lora", &[]).unwrap();
    let error = go(&typing, &folder.path().join("typing"), false, &mut Silent).unwrap_err().to_string();
    assert!(error.contains("did you mean `qkv`"), "{error}");
}
