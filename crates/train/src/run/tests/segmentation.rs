//! Segmentation: a run on made-up images from teacher to report, kill and resume, networks that do not fit.
use super::*;
use crate::evidence::report::png::png;

/// Writes `count` images with two classes, dark on the left and bright on the right of a slanted edge, ignored at the
/// border, with their label files.
fn split(root: &Path, name: &str, count: usize, [height, width]: [usize; 2]) {
    let folder = |kind: &str| root.join(name).join(kind);
    fs::create_dir_all(folder("images")).unwrap();
    fs::create_dir_all(folder("labels")).unwrap();
    for index in 0..count {
        let bright = |y: usize, x: usize| 4 * x + y + 7 * index > 2 * width;
        let places = || (0..height).flat_map(|y| (0..width).map(move |x| (y, x)));
        let pixel = |(y, x): (usize, usize)| {
            let base = if bright(y, x) { 170 } else { 60 };
            [0, 1, 2].map(|c| (base + (31 * y + 17 * x + 13 * c + 5 * index) % 40) as u8)
        };
        let label = |(y, x): (usize, usize)| if y == 0 { 255 } else { u8::from(bright(y, x)) };
        let image: Vec<u8> = places().flat_map(pixel).collect();
        let labels: Vec<u8> = places().map(label).collect();
        fs::write(folder("images").join(format!("{index}.png")), png(width, height, 3, &image)).unwrap();
        fs::write(folder("labels").join(format!("{index}.png")), png(width, height, 1, &labels)).unwrap();
    }
}

const RECIPE: &str = r#"
name = "edges"
seed = 4
[data]
dataset = "masks"
path = "ROOT"
classes = ["dark", "bright"]
crop = [33, 41]
scale = [0.8, 1.2]
flip = true
[teacher]
network = "pspnet-resnet18b-d8"
train = { epochs = 1, checkpoint_every = 100 }
[student]
network = "pspnet-resnet18-d8"
[train]
epochs = 1
batch_size = 3
checkpoint_every = 1
aux_weight = 0.3
optimizer = { kind = "sgd", lr = 0.01 }
[evaluate]
mode = "slide"
window = [30, 40]
scales = [0.8, 1.0]
flip = true
[prompts]
taps = ["stage3"]
steps = 1
batch_size = 2
levels = 1
tokens = 2
[[arm]]
name = "CWD"
[[arm.term]]
method = "cwd"
[[arm.term]]
method = "kd"
weight = "auto:0.5"
"#;

/// Six images to learn from, two to choose the best epoch, two to test, the last ones of another size.
fn made_up() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    split(folder.path(), "train", 6, [36, 48]);
    split(folder.path(), "val", 2, [36, 48]);
    split(folder.path(), "test", 2, [35, 53]);
    folder
}

fn edges(root: &Path, overrides: &[&str]) -> Recipe {
    let text = RECIPE.replace("ROOT", &root.display().to_string());
    let overrides: Vec<String> = overrides.iter().map(|o| o.to_string()).collect();
    Recipe::parse(&text, "edges", &overrides).unwrap()
}

#[test]
fn a_segmenter_is_distilled_resumed_and_reported() {
    let root = made_up();
    let recipe = edges(root.path(), &[]);
    assert_eq!(Recipe::parse(&recipe.to_toml(), "again", &[]).unwrap(), recipe);
    let folder = tempfile::tempdir().unwrap();
    let (whole, parts) = (folder.path().join("whole"), folder.path().join("parts"));
    let summary = with_threads(1, || go(&recipe, &whole, false, &mut Silent)).unwrap();
    // Two steps of the teacher, one of the prompts, then the second of the arm, after the checkpoint of its first.
    with_threads(2, || go(&recipe, &parts, false, &mut StopAfter(5))).unwrap_err();
    assert!(parts.join("arms/cwd/checkpoint.safetensors").exists());
    with_threads(2, || go(&recipe, &parts, true, &mut Silent)).unwrap();
    for arm in ["arms/teacher", "arms/cwd"] {
        let (a, b) = (whole.join(arm), parts.join(arm));
        assert_eq!(metrics(&a), metrics(&b), "{arm}");
        let weights = |folder: &Path| fs::read(folder.join("student-last.safetensors")).unwrap();
        assert!(weights(&a) == weights(&b), "{arm}");
    }
    let teacher = summary.teacher.as_ref().unwrap();
    let arm = &summary.arms[0];
    for scores in [&teacher.test, &arm.best.test, arm.best.val.as_ref().unwrap(), &arm.last.test] {
        let names: Vec<&str> = scores.iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["miou", "macc", "accuracy", "loss"]);
        assert!(scores.iter().all(|(name, value)| value > 0.0 && (name == "loss" || value <= 100.0)), "{scores}");
    }
    let classes: Vec<&str> = arm.best.classes.iter().map(|class| class.name.as_str()).collect();
    assert_eq!(classes, ["dark", "bright"]);
    let mean = arm.best.classes.iter().map(|class| class.scores.get("iou").unwrap()).sum::<f64>() / 2.0;
    assert!((mean - arm.best.test.get("miou").unwrap()).abs() < 1e-9);
    let prompts = summary.prompts.as_ref().unwrap();
    assert!(prompts.zero_difference < 1e-4 && prompts.end.get("miou").is_some(), "{prompts:?}");
    // The masks lie over the images that the report shows.
    let masks: crate::evidence::MaskPictures =
        serde_json::from_str(&fs::read_to_string(whole.join("prompts/masks.json")).unwrap()).unwrap();
    assert!(!masks.images.is_empty() && masks.images.iter().all(|image| !image.label.is_empty()));
    assert!(masks.taps.iter().all(|tap| tap.sets.iter().all(|set| set.values.len() == masks.images.len())));
    // The auxiliary head learns, and the proof says so.
    let proof = fs::read_to_string(whole.join("arms/cwd/proof.json")).unwrap();
    assert!(proof.contains("\"aux\"") && proof.contains("\"logits\""), "{proof}");
    let html = fs::read_to_string(crate::evidence::report::write_report(&whole).unwrap()).unwrap();
    for part in ["Test mIoU, best epoch", "Test pixel accuracy", "Class by class", "<th scope=\"row\">bright</th>"] {
        assert!(html.contains(part), "{part}");
    }
    assert!(!html.contains("top-1") && !html.contains("NaN") && !html.contains("standard error"), "{html}");
}

#[test]
fn networks_must_be_built_for_the_labels() {
    let root = made_up();
    let folder = tempfile::tempdir().unwrap();
    let fails = |recipe: &Recipe| go(recipe, &folder.path().join("run"), false, &mut Silent).unwrap_err().to_string();
    let error = fails(&edges(root.path(), &["student.network=cifar-resnet8"]));
    assert!(error.contains("student `cifar-resnet8`") && error.contains("pspnet-resnet18-d8"), "{error}");
    assert!(!error.contains("cifar-resnet14"), "{error}");
    let error = fails(&recipe(&["student.network=pspnet-resnet18-d8"]));
    assert!(error.contains("one class for each image") && error.contains("cifar-resnet8"), "{error}");
    let error = fails(&recipe(&["train.aux_weight=0.4"]));
    assert!(error.contains("train.aux_weight"), "{error}");
    let error = fails(&recipe(&["teacher.train.aux_weight=0.4"]));
    assert!(error.contains("teacher.train.aux_weight"), "{error}");
    let error = fails(&edges(root.path(), &["data.label_map={\"*\"=255}"]));
    assert!(error.contains("no training pixel has a class") && error.contains("label_map"), "{error}");
    fs::remove_dir_all(folder.path().join("run")).unwrap();
    let error = fails(&edges(root.path(), &["evaluate.protocol=mfnet-rtfnet"]));
    assert!(error.contains("9 classes"), "{error}");
}

#[test]
fn values_of_the_evaluation_are_checked() {
    let root = made_up();
    let error = |overrides: &[&str]| {
        let text = RECIPE.replace("ROOT", &root.path().display().to_string());
        let overrides: Vec<String> = overrides.iter().map(|o| o.to_string()).collect();
        Recipe::parse(&text, "edges", &overrides).unwrap_err().to_string()
    };
    assert!(error(&["evaluate.stride=[31, 40]"]).contains("evaluate.stride"));
    assert!(error(&["evaluate.mode=whole"]).contains("evaluate.window"));
    assert!(error(&["evaluate.scales=[]"]).contains("evaluate.scales"));
    assert!(error(&["evaluate.scale=[1.0]"]).contains("did you mean `scales`"));
    assert!(error(&["evaluate.protocol=coco"]).contains("no segmentation protocol"));
    assert!(error(&["teacher.classes=3"]).contains("teacher.classes"));
    assert!(error(&["student.backbone=a", "student.weights=b"]).contains("student.backbone"));
}

#[test]
fn logits_of_another_stride_are_compared_at_the_students() {
    let root = made_up();
    // The wiring and the estimate of the time take steps with the losses of the recipe, kd on logits among them.
    let recipe = edges(root.path(), &["teacher.network=pspnet-resnet18-d16", "teacher.batch_norm=batch"]);
    let plan = Plan::with(&recipe, &Device::flex(), crate::PlanOptions { time: true }).unwrap();
    let extent = |network: &crate::plan::NetworkPlan| {
        network.taps.iter().find(|tap| tap.name == "logits").map(|tap| tap.shape.extent()).unwrap()
    };
    assert_eq!((extent(plan.teacher.as_ref().unwrap()), extent(&plan.student)), ((3, 3), (5, 6)));
    assert_eq!((plan.teacher.unwrap().batch_norm, plan.student.batch_norm), ("batch".into(), "batch".into()));
    let parts = plan.time.unwrap().parts;
    assert!(parts.iter().all(|part| part.seconds > part.step_seconds * part.steps as f64), "{parts:?}");
}

#[test]
fn networks_that_share_a_backbone_may_agree_until_the_teacher_is_trained() {
    let root = made_up();
    let file = root.path().join("classifier.safetensors");
    let classifier = subband_models::NetworkConfig::new("resnet18", 3, 5);
    let classifier = classifier.init(subband_seed::Stream::new(1), &Device::flex()).unwrap();
    weights::write_safetensors(&file, &classifier.state_dict()).unwrap();
    let file = format!("backbone={:?}", file.display().to_string());
    let overrides = [
        "student.network=pspnet-resnet18b-d8",
        "teacher.network=deeplabv3-resnet18b-d8",
        "teacher.batch_norm=batch",
        &format!("teacher.{file}"),
        &format!("student.{file}"),
    ];
    let text = RECIPE.replace("ROOT", &root.path().display().to_string()).replace("\"cwd\"", "\"mse\"");
    let mut recipe = Recipe::parse(&text, "edges", &overrides.map(String::from)).unwrap();
    recipe.arms[0].terms.retain(|term| term.name != "kd");
    Plan::with(&recipe, &Device::flex(), crate::PlanOptions { time: false }).unwrap();
}
