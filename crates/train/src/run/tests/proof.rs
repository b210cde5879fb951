//! The proof that distillation is on, tried with faults: each stops the run, names its place and leaves nothing behind.
use super::*;
use crate::evidence::Proof;
use crate::learner::mutation::{self, Place};
use subband_models::NetworkConfig;

/// The run must be refused before its folder is made.
fn refused(out: &Path, overrides: &[&str]) -> TrainError {
    let error = go(&recipe(overrides), out, false, &mut Silent).unwrap_err();
    assert!(!out.exists(), "{error}");
    error
}

/// Term and message of a refusal by the proof itself.
fn dead(out: &Path, overrides: &[&str]) -> (String, String) {
    let error = refused(out, overrides);
    let TrainError::DeadTerm { term, arm, message } = &error else { panic!("{error}") };
    assert_eq!(arm, "hints");
    (term.clone(), message.clone())
}

#[test]
fn a_detached_tap_stops_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let tap = "arm.hints.term.fitnet.student_tap=\"stage2\"";
    let (term, message) = mutation::with(Place::Network, "stage2", || dead(&out, &[tap]));
    assert_eq!(term, "fitnet");
    assert!(message.contains("`stage2`") && message.contains("detached from the student"), "{message}");
    let (term, message) = mutation::with(Place::Method, "stage2", || dead(&out, &[tap]));
    assert_eq!(term, "fitnet");
    assert!(message.contains("`stage2`") && message.contains("detached inside the term"), "{message}");
    let (term, message) = mutation::with(Place::Network, "logits", || dead(&out, &[tap]));
    assert!(term == "task" && message.contains("`logits`"), "{term}: {message}");
    // A tap that nothing reads may be detached.
    let learns = mutation::with(Place::Network, "stage1", || go(&recipe(&[tap]), &out, false, &mut StopAfter(1)));
    assert!(matches!(learns.unwrap_err(), TrainError::Stopped { .. }));
}

#[test]
fn a_fault_after_the_teachers_training_leaves_the_arm_unwritten() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let recipe = recipe(&[]);
    /// Detaches the tap once the teacher is done.
    struct Later;
    impl Progress for Later {
        fn event(&mut self, event: Event<'_>) -> ControlFlow<()> {
            if let Event::ArmEnded { result } = event {
                assert_eq!(result.name, "teacher");
                mutation::set(Place::Network, "stage2");
            }
            ControlFlow::Continue(())
        }
    }
    let error = mutation::cleared(|| go(&recipe, &out, false, &mut Later)).unwrap_err();
    assert!(matches!(&error, TrainError::DeadTerm { term, .. } if term == "fitnet"), "{error}");
    let arms: Vec<_> = fs::read_dir(out.join("arms")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(arms, ["teacher"]);
    // The fault mended, the run goes on.
    assert!(go(&recipe, &out, true, &mut Silent).unwrap().finished);
}

#[test]
fn a_renamed_layer_stops_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let misspelt = refused(&out, &["arm.hints.term.fitnet.student_tap=\"stagee2\""]).to_string();
    assert!(misspelt.contains("`stagee2`") && misspelt.contains("did you mean `stage2`"), "{misspelt}");
    let prefix = refused(&out, &["student.frozen=[\"layr1\"]"]).to_string();
    assert!(prefix.contains("layr1") && prefix.contains("layer1"), "{prefix}");
    let network = NetworkConfig::new("cifar-resnet8", 1, 10);
    let mut state = network.init(subband_seed::Stream::new(1), &Device::flex()).unwrap().state_dict();
    let layer = state.remove("layer2.0.conv1.weight").unwrap();
    state.insert("layer2.0.convolution1.weight".into(), layer);
    let file = folder.path().join("renamed.safetensors");
    weights::write_safetensors(&file, &state).unwrap();
    let renamed = refused(&out, &[&format!("student.weights={:?}", file.display().to_string())]).to_string();
    assert!(renamed.contains("renamed.safetensors") && renamed.contains("layer2.0.conv1.weight"), "{renamed}");
}

#[test]
fn a_frozen_student_stops_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let whole = refused(&out, &["student.frozen=[\"\"]"]).to_string();
    assert!(whole.contains("no trainable parameter") && whole.contains("stage2"), "{whole}");
    // Free layers after the tap are of no use to its term.
    let (term, message) = dead(&out, &["student.frozen=[\"conv1\", \"bn1\", \"layer1\", \"layer2\"]"]);
    assert_eq!(term, "fitnet");
    for part in ["`stage2`", "student.frozen", "from conv1.weight to layer2."] {
        assert!(message.contains(part), "{part}: {message}");
    }
    // One free layer before it is enough.
    let some = recipe(&["student.frozen=[\"conv1\", \"bn1\", \"layer1\"]", "teacher.train.epochs=1"]);
    go(&some, &out, false, &mut StopAfter(8)).unwrap_err();
    let proof = proof(&out, "hints");
    assert!(proof.parts[1].reached.first.starts_with("layer2."), "{:?}", proof.parts[1].reached);
    assert!(proof.parts[1].reached.last.starts_with("layer2."));
}

#[test]
fn a_zero_weight_stops_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    // A term's weight: the recipe is refused when it is read.
    let error = Recipe::parse(RECIPE, "tiny", &["arm.hints.term.fitnet.weight=0.0".into()]).unwrap_err().to_string();
    for part in ["`arm.0.term.0.weight`", "\"fitnet\"", "remove its [[arm.term]]"] {
        assert!(error.contains(part), "{part}: {error}");
    }
    // A factor inside the term that is 0 in f32 (0 itself leaves the part out): the proof sees the part that does nothing.
    let rkd =
        RECIPE.replace("method = \"fitnet\"", "method = \"rkd\"\nangle = 1e-60").replace("train = { epochs = 1 }", "");
    let weights_file = folder.path().join("teacher.safetensors");
    let teacher = NetworkConfig::new("cifar-resnet14", 1, 10);
    let teacher = teacher.init(subband_seed::Stream::new(2), &Device::flex()).unwrap();
    weights::write_safetensors(&weights_file, &teacher.state_dict()).unwrap();
    let given = [format!("teacher.weights={:?}", weights_file.display().to_string())];
    let recipe = Recipe::parse(&rkd, "tiny", &given).unwrap();
    let error = go(&recipe, &out, false, &mut Silent).unwrap_err();
    assert!(!out.exists(), "{error}");
    let TrainError::DeadTerm { term, message, .. } = &error else { panic!("{error}") };
    assert_eq!(term, "rkd.angle");
    assert!(message.contains("exactly 0") && message.contains("pooled") && message.contains("own keys"), "{message}");
}

/// The proof that an arm left.
fn proof(out: &Path, arm: &str) -> Proof {
    serde_json::from_slice(&fs::read(out.join("arms").join(arm).join("proof.json")).unwrap()).unwrap()
}

/// Collects what is told about the proof.
#[derive(Default)]
struct Told(Vec<String>, usize);

impl Progress for Told {
    fn event(&mut self, event: Event<'_>) -> ControlFlow<()> {
        match event {
            Event::Proved { name, proof } => self.0.extend(proof.parts.iter().map(|part| format!("{name} {part}"))),
            Event::Step { .. } => self.1 += 1,
            _ => {}
        }
        if self.1 == 8 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

#[test]
fn a_living_arm_shows_where_its_gradients_go() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let mut told = Told::default();
    go(&recipe(&[]), &out, false, &mut told).unwrap_err();
    let [task, hint, kd] = &proof(&out, "hints").parts[..] else { panic!("{told:?}", told = told.0) };
    let student =
        NetworkConfig::new("cifar-resnet8", 1, 10).init(subband_seed::Stream::new(1), &Device::flex()).unwrap();
    let names: Vec<String> = student.params().map(|param| param.name).collect();
    // The logits depend on every tensor, stage2 on none of layer3 and fc.
    for part in [task, kd] {
        assert_eq!((part.reached.tensors, part.reached.of), (names.len(), names.len()), "{part}");
        assert_eq!((part.reached.first.as_str(), part.reached.last.as_str()), ("conv1.weight", "fc.bias"));
    }
    let before = names.iter().filter(|name| !name.starts_with("layer3") && !name.starts_with("fc"));
    let before: Vec<&String> = before.collect();
    assert_eq!((hint.reached.tensors, hint.reached.last.as_str()), (before.len(), before[before.len() - 1].as_str()));
    assert_eq!((hint.taps[0].tap.as_str(), kd.taps[0].tap.as_str()), ("stage2", "logits"));
    // task_weight 0.5; the warm-up of two epochs halves the weight of kd.
    assert_eq!((task.weight, hint.weight, kd.weight), (0.5, 0.5, 0.25));
    assert!(task.to_task.is_none() && task.gradient > 0.0);
    for part in [hint, kd] {
        let ratio = part.to_task.unwrap();
        assert!(ratio > 0.0 && (ratio - part.gradient / task.gradient).abs() <= 1e-12 * ratio, "{part}");
    }
    assert!(told.0.iter().any(|line| line.starts_with("hints fitnet: gradient ") && line.contains("through stage2")));
    assert!(told.0.iter().any(|line| line.starts_with("teacher task: gradient norm ")));
}

#[test]
fn every_method_is_shown_alive_with_its_defaults() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("teacher.safetensors");
    let teacher = NetworkConfig::new("cifar-resnet14", 1, 10);
    let teacher = teacher.init(subband_seed::Stream::new(2), &Device::flex()).unwrap();
    weights::write_safetensors(&file, &teacher.state_dict()).unwrap();
    let arms = RECIPE.find("[[arm]]").unwrap();
    let start =
        RECIPE[..arms].replace("train = { epochs = 1 }", &format!("weights = {:?}", file.display().to_string()));
    for name in subband_distill::method_names() {
        // What has no default: masks, which are learned in a phase of their own.
        let head = match name {
            "freekd" => "[prompts]\nsteps = 1\n",
            "maskd" => "[prompts]\nsteps = 1\ntransform = \"none\"\n",
            _ => "",
        };
        let text = format!("{start}{head}[[arm]]\nname = \"{name}\"\n[[arm.term]]\nmethod = \"{name}\"\n");
        let recipe = Recipe::parse(&text, "tiny", &[]).unwrap();
        let plan = Plan::with(&recipe, &Device::flex(), crate::PlanOptions { time: false });
        assert!(plan.is_ok(), "{name}: {}", plan.unwrap_err());
    }
}

#[test]
fn a_single_image_is_given_as_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    for method in ["reviewkd", "rkd", "dist"] {
        let text = RECIPE.replace("method = \"fitnet\"", &format!("method = {method:?}"));
        let recipe = Recipe::parse(&text, "one", &["train.batch_size=1".into()]).unwrap();
        let error = go(&recipe, &out, false, &mut Silent).unwrap_err().to_string();
        assert!(error.contains("a single image") && error.contains("train.batch_size"), "{method}: {error}");
        assert!(!error.contains("detached"), "{method}: {error}");
    }
}

const TWINS: &str = r#"
[data]
dataset = "digits"
train_limit = 10
test_limit = 10
resize = { size = 224 }
[teacher]
network = "deit_tiny_patch16_224"
[student]
network = "deit_tiny_patch16_224"
[train]
epochs = 1
batch_size = 2
[[arm]]
name = "KD"
[[arm.term]]
method = "kd"
"#;

#[test]
fn a_teacher_that_starts_as_the_student_may_wait_and_low_rank_factors_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("twin.safetensors");
    let network = NetworkConfig::new("deit_tiny_patch16_224", 1, 10);
    let network = network.init(subband_seed::Stream::new(2), &Device::flex()).unwrap();
    weights::write_safetensors(&file, &network.state_dict()).unwrap();
    let file = file.display().to_string();
    let plan = |overrides: &[&str]| {
        let weights = ["teacher", "student"].map(|side| format!("{side}.weights={file:?}"));
        let overrides: Vec<String> = overrides.iter().map(|o| o.to_string()).chain(weights).collect();
        let recipe = Recipe::parse(TWINS, "twins", &overrides).unwrap();
        Plan::with(&recipe, &Device::flex(), crate::PlanOptions { time: false })
    };
    // It is still to be trained and will differ then.
    plan(&["teacher.train.epochs=1"]).unwrap();
    // Low-rank factors after the tap: the key that was written is named.
    let hint = "method = \"fitnet\"\nstudent_tap = \"stage1\"\nteacher_tap = \"stage2\"";
    let lora = "student.lora={rank=1,targets=[\"blocks.11\"]}".into();
    let text = TWINS.replace("method = \"kd\"", hint);
    let recipe = Recipe::parse(&text, "lora", &[format!("teacher.weights={file:?}"), lora]).unwrap();
    let error = Plan::with(&recipe, &Device::flex(), crate::PlanOptions { time: false }).unwrap_err().to_string();
    assert!(
        error.contains("student.lora trains") && error.contains("targets") && error.contains("`stage1`"),
        "{error}"
    );
    assert!(!error.contains("student.frozen"), "{error}");
}

#[test]
fn values_wait_only_for_a_teacher_that_is_trained() {
    let of = |overrides: &[&str]| crate::run::proof::Networks::of(&recipe(overrides));
    let (zero, bad) = (0.0, f64::NAN);
    let untrained = of(&[]);
    assert!(!untrained.waits(zero) && untrained.waits(bad) && !untrained.waits(1.0));
    let same = ["teacher.network=cifar-resnet8", "teacher.weights=a.pth", "student.weights=a.pth"];
    let twins = of(&same);
    assert!(twins.waits(zero) && twins.waits(bad) && !twins.waits(1.0));
    // From one seed each side draws its own weights.
    assert!(!of(&same[..1]).waits(zero) && !of(&same[..2]).waits(zero));
}
