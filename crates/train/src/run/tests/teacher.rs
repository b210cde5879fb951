//! Teachers that are unlike the student: classes of their own, batch normalisations that use the batch.
use super::*;
use subband_models::NetworkConfig;
use subband_seed::Stream;

/// The tiny recipe with a teacher of `classes` classes from a file.
fn taught(folder: &Path, classes: usize, overrides: &[&str]) -> Recipe {
    let file = folder.join(format!("teacher{classes}.safetensors"));
    let teacher = NetworkConfig::new("cifar-resnet14", 1, classes).init(Stream::new(3), &Device::flex()).unwrap();
    weights::write_safetensors(&file, &teacher.state_dict()).unwrap();
    let text = RECIPE.replace("train = { epochs = 1 }", &format!("weights = {:?}", file.display().to_string()));
    let overrides: Vec<String> = overrides.iter().map(|o| o.to_string()).collect();
    Recipe::parse(&text, "tiny", &overrides).unwrap()
}

#[test]
fn a_teacher_of_other_classes_teaches_features_and_no_logits() {
    let folder = tempfile::tempdir().unwrap();
    let plan = |recipe: &Recipe| Plan::with(recipe, &Device::flex(), crate::PlanOptions { time: false });
    let both = taught(folder.path(), 7, &["teacher.classes=7"]);
    let error = plan(&both).unwrap_err().to_string();
    assert!(error.contains("\"kd\"") && error.contains('7') && error.contains("10"), "{error}");
    let mut features = taught(folder.path(), 7, &["teacher.classes=7", "train.epochs=1"]);
    features.arms[0].terms.retain(|term| term.name == "fitnet");
    let summary = go(&features, &folder.path().join("run"), false, &mut Silent).unwrap();
    assert!(summary.finished && summary.teacher.unwrap().test.is_empty());
}

#[test]
fn a_file_of_other_classes_is_refused_with_the_key_that_takes_it() {
    let folder = tempfile::tempdir().unwrap();
    let plan = |recipe: &Recipe| {
        Plan::with(recipe, &Device::flex(), crate::PlanOptions { time: false }).unwrap_err().to_string()
    };
    let error = plan(&taught(folder.path(), 7, &[]));
    assert!(error.contains("teacher.classes = 7") && error.contains("7 classes and the teacher has 10"), "{error}");
    let error = plan(&taught(folder.path(), 7, &["teacher.train={ epochs = 1 }"]));
    assert!(error.contains("leave teacher.weights out"), "{error}");
    // Another network is another mistake.
    let error = plan(&taught(folder.path(), 7, &["teacher.network=cifar-resnet20"]));
    assert!(!error.contains("teacher.classes"), "{error}");
}

#[test]
fn the_test_of_a_loaded_teacher_takes_time() {
    let folder = tempfile::tempdir().unwrap();
    let time = |overrides: &[&str]| {
        let plan = Plan::with(&taught(folder.path(), 10, overrides), &Device::flex(), crate::PlanOptions::default());
        let plan = plan.unwrap();
        (plan.time.as_ref().unwrap().parts.clone(), plan.to_string())
    };
    let (parts, text) = time(&["teacher.batch_norm=batch"]);
    assert!(parts[0].name == "test of the teacher" && parts[0].steps == 0 && parts[0].seconds > 0.0, "{parts:?}");
    let row = text.lines().find(|line| line.contains("cifar-resnet14") && line.contains("teacher")).unwrap();
    assert!(row.contains("batch") && text.contains("batch norm"), "{text}");
}

#[test]
fn a_teacher_in_training_mode_uses_the_batch_and_stays_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let features = |norm: &str| {
        let recipe = taught(folder.path(), 10, &[norm]);
        let setup = Setup::open(&recipe).unwrap();
        let learner = setup.learner(&recipe.arms()[0], &Device::flex()).unwrap();
        let teacher = learner.prepared(&setup.teacher(&Device::flex()).unwrap());
        let before = teacher.state_dict();
        let inputs = setup.random(6, &Device::flex());
        let found = learner.teacher(&inputs, Some(&teacher)).unwrap().unwrap().scores().into_data();
        assert_eq!(teacher.state_dict(), before, "{norm}");
        (found, teacher.batch_norm_count(), teacher, inputs)
    };
    let (frozen, folded, ..) = features("teacher.batch_norm=frozen");
    let (batch, kept, teacher, inputs) = features("teacher.batch_norm=batch");
    assert!(folded == 0 && kept > 0);
    assert_ne!(frozen, batch);
    // What the network itself does in training mode.
    let want = teacher.clone().forward(inputs.teacher, subband_models::Mode::Train, &[]).unwrap().scores();
    assert_eq!(batch.try_to_vec::<f32>().unwrap(), want.into_data().try_to_vec::<f32>().unwrap());
}
