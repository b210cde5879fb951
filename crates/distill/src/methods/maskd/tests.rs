//! Oracle's values, gradients, files and refusals of MasKD.
use burn::tensor::{DType, TensorData};
use subband_models::weights;
use subband_seed::Stream;

use super::tokens::write_tokens;
use super::*;
use crate::StateDict;
use crate::check::{
    book, cast, device, double, features, fill, fixture, gradient_error, labels, parameter_gradient_error, scalar,
    single, values, wave,
};
use crate::parameters::{load, state};
use crate::{FreeKdConfig, FrequencyKind, PromptConfig, Prompts};

fn parameters() -> Parameters {
    Parameters::new(Stream::new(5), &device())
}

fn data<const D: usize>(x: Tensor<D>) -> TensorData {
    let shape = x.dims().to_vec();
    TensorData::new(values(x), shape)
}

/// The oracle's tokens, four of three channels.
fn tokens(weighting: bool) -> ReceptiveTokens {
    let mut named = StateDict::from([("map".to_string(), data(wave([4, 3], 0.7, 0.37) * 2.0))]);
    if weighting {
        named.insert("weighting.first.weight".into(), data(wave([3, 3, 3, 3], 0.1, 0.37) * 0.5));
        named.insert("weighting.first.bias".into(), data(wave([3], 0.2, 0.37) * 0.5));
        named.insert("weighting.second.weight".into(), data(wave([4, 3, 1, 1], 0.3, 0.37) * 2.0));
        named.insert("weighting.second.bias".into(), data(wave([4], 0.4, 0.37)));
    }
    load(double(ReceptiveTokens::new(&parameters(), 4, 3, weighting)), 0, &named).unwrap()
}

fn maps() -> (Tensor<4>, Tensor<4>) {
    (wave([2, 3, 4, 5], 1.3, 0.41), wave([2, 3, 4, 5], 0.2, 0.37))
}

#[test]
fn losses_match_the_literal_sum_over_masked_maps() {
    let (student, teacher) = maps();
    for (name, weighting, form, own) in [
        ("maskd.detection", false, MaskdForm::Detection, false),
        ("maskd.detection.own", false, MaskdForm::Detection, true),
        ("maskd.detection.weighted", true, MaskdForm::Detection, false),
        ("maskd.segmentation", false, MaskdForm::Segmentation, false),
    ] {
        let expected = fixture(name)[0];
        let found = scalar(masked_error(student.clone(), teacher.clone(), &tokens(weighting), form, own));
        assert!((found - expected).abs() < 1e-9, "{name}: {found}");
        let (s, t) = (single(student.clone()), single(teacher.clone()));
        let found = scalar(masked_error(s, t, &cast(tokens(weighting), DType::F32), form, own));
        assert!((found - expected).abs() < 5e-5, "{name}: {found}");
    }
}

#[test]
fn the_prompted_map_and_the_overlap_match_the_oracle() {
    let (map, dice) = tokens(false).prompted(maps().1);
    let y = values(map);
    let found = [y.iter().sum::<f64>(), y.iter().map(|v| v * v).sum(), y[0]];
    for (found, expected) in found.iter().zip(fixture("maskd.prompted")) {
        assert!((found - expected).abs() < 1e-9, "{found} instead of {expected}");
    }
    assert!((scalar(dice) - fixture("maskd.dice")[0]).abs() < 1e-9);
    // Before learning two tokens give two halves: the network goes on as it was.
    let teacher = maps().1;
    let fresh = load(
        double(ReceptiveTokens::new(&parameters(), 2, 3, false)),
        0,
        &StateDict::from([("map".to_string(), TensorData::zeros::<f64, _>([2, 3]))]),
    );
    assert_eq!(values(fresh.unwrap().prompted(teacher.clone()).0), values(teacher.clone()));
    let (_, none) = ReceptiveTokens::new(&parameters(), 1, 3, false).prompted(single(teacher));
    assert_eq!(scalar(none), 0.0);
}

#[test]
fn stage_one_gradients_reach_tokens_and_weighting() {
    for weighting in [false, true] {
        let loss = |tokens: &ReceptiveTokens| {
            let (map, dice) = tokens.prompted(maps().1);
            (map * wave([2, 3, 4, 5], 0.9, 0.51)).sum() + dice
        };
        let error = parameter_gradient_error(tokens(weighting), loss);
        assert!(error < 1e-6, "{weighting}: {error}");
    }
}

#[test]
fn gradients_match_for_the_student_at_odd_sizes() {
    for (shape, form) in [
        ([2, 3, 4, 5], MaskdForm::Detection),
        ([1, 3, 1, 1], MaskdForm::Detection),
        ([1, 3, 7, 3], MaskdForm::Segmentation),
    ] {
        let teacher = wave(shape, 0.2, 0.37);
        let tokens = tokens(form == MaskdForm::Detection).no_grad();
        let loss = |x| masked_error(x, teacher.clone(), &tokens, form, false);
        let error = gradient_error(wave(shape, 1.3, 0.41), loss);
        assert!(error < 1e-7, "{shape:?}: {error}");
    }
}

fn shapes() -> ShapeBook {
    book(&[("stage1", &[2, 4, 5]), ("stage2", &[4, 3, 3])], &[("stage1", &[3, 4, 5]), ("stage2", &[5, 2, 2])])
}

fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("subband-maskd-{}-{name}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

fn write_for(taps: &[(&str, usize)], folder: &std::path::Path) -> PathBuf {
    let path = folder.join("tokens.safetensors");
    let make = |(tap, channels): &(&str, usize)| {
        (tap.to_string(), ReceptiveTokens::new(&parameters().part(tap), 6, *channels, true))
    };
    write_tokens(&path, &taps.iter().map(make).collect::<Vec<_>>()).unwrap();
    path
}

#[test]
fn files_come_back_and_a_step_runs_with_them() {
    let folder = folder("file");
    let path = write_for(&[("stage1", 3), ("stage1.pre", 7), ("stage2", 5)], &folder);
    let back = read_tokens(&path, &["stage2".into(), "stage1".into()], &parameters()).unwrap();
    let first = ReceptiveTokens::new(&parameters().part("stage2"), 6, 5, true);
    assert_eq!(state(&back[0], 0), state(&first, 0));
    assert_eq!((back[0].size(), back[1].size()), ([6, 5], [6, 3]));

    let config = MaskdConfig { tokens: Some(path), student_masks_after: 10, ..Default::default() };
    let method = config.init(&shapes(), &parameters()).unwrap();
    // The adapters alone are trained: 2 to 3 and 4 to 5 channels with bias.
    assert_eq!(method.num_params(), 2 * 3 + 3 + 4 * 5 + 5);
    let f32 = |shape, s| single(wave(shape, s, 0.41));
    let student = features(&[("stage1", f32([2, 2, 4, 5], 1.3)), ("stage2", f32([2, 4, 3, 3], 0.4))]);
    let teacher = features(&[("stage1", f32([2, 3, 4, 5], 0.2)), ("stage2", f32([2, 5, 2, 2], 0.9))]);
    let at = |step| {
        let input = StepInput {
            student: &student,
            teacher: &teacher,
            labels: labels(&[0, 1]).into(),
            samples: &[],
            epoch: 1,
            step,
        };
        let terms = method.forward(&input).unwrap();
        assert_eq!(terms.iter().map(|t| t.name.as_str()).collect::<Vec<_>>(), ["maskd.stage1", "maskd.stage2"]);
        terms.into_iter().map(|t| scalar(t.value)).collect::<Vec<_>>()
    };
    assert_eq!(at(1), at(10));
    // From step 11 on the student's masks count too: about 1/2 each, so errors shrink.
    assert!(at(11).iter().zip(at(1)).all(|(after, before)| *after > 0.0 && *after < 0.9 * before));
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn prompts_without_a_transform_are_receptive_tokens() {
    let folder = folder("prompts");
    let path = folder.join("prompts.safetensors");
    let keys = "transform = 'none'\ntokens = 4";
    let config: PromptConfig = toml::from_str(keys).unwrap();
    let prompts = Prompts::init(&config, &[("stage1".to_string(), 3)], &parameters()).unwrap();
    prompts.write(&path).unwrap();
    let tokens = read_tokens(&path, &["stage1".into()], &parameters()).unwrap().remove(0);
    let map = single(maps().1);
    let (masks, own) = (tokens.masks(map.clone()), prompts.get("stage1").unwrap());
    assert_eq!(own.names(), ["map"]);
    assert_eq!(values(masks), values(own.masks(map.clone()).unwrap().remove(0).1));
    // What the run learned needs no file; prompts for bands do not fit.
    let book = |transform: &str| {
        let config: PromptConfig = toml::from_str(&format!("transform = '{transform}'\ntokens = 4")).unwrap();
        let named = [("stage1".to_string(), 3), ("stage2".to_string(), 5)];
        let learned = Prompts::init(&config, &named, &parameters()).unwrap();
        (crate::ShapeBook { prompts: Some(learned.clone()), ..shapes() }, learned)
    };
    let (tokens_of_run, learned) = book("none");
    let made = MaskdConfig::default().tokens(&tokens_of_run, &parameters()).unwrap();
    for (tokens, tap) in made.iter().zip(["stage1", "stage2"]) {
        assert_eq!(tokens.map.val().into_data(), learned.get(tap).unwrap().state_dict()["map"]);
    }
    let error = MaskdConfig::default().tokens(&book("dwt").0, &parameters()).unwrap_err().to_string();
    assert!(error.contains("transform = \"none\""), "{error}");
    assert!(MaskdConfig::default().taps(&shapes()).unwrap_err().to_string().contains("[prompts]"));
    // The same first stage, up to the order of sums.
    let ((a, dice), (b, overlap)) = (tokens.prompted(map.clone()), own.prompted(map).unwrap());
    assert!(values(a).iter().zip(values(b)).all(|(a, b)| (a - b).abs() < 1e-6));
    assert!((scalar(dice) - scalar(overlap)).abs() < 1e-6);
    // FreeKD's loss is one of bands and says so.
    let bands = FreeKdConfig { transform: FrequencyKind::None, ..FreeKdConfig::default() };
    assert!(bands.taps(&shapes()).unwrap_err().to_string().contains("maskd"));
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn the_adapters_get_their_gradient_from_the_whole_method() {
    let config = MaskdConfig { untrained: Some(3), student_masks: Some(false), ..Default::default() };
    let mut method = config.init(&shapes(), &parameters()).unwrap();
    method = fill(double(method));
    method.tokens = vec![tokens(false), double(ReceptiveTokens::new(&parameters(), 2, 5, false))];
    let student = features(&[("stage1", wave([2, 2, 4, 5], 1.3, 0.41)), ("stage2", wave([2, 4, 3, 3], 0.4, 0.41))]);
    let teacher = features(&[("stage1", wave([2, 3, 4, 5], 0.2, 0.37)), ("stage2", wave([2, 5, 2, 2], 0.9, 0.37))]);
    let loss = |m: &Maskd| {
        let input = StepInput {
            student: &student,
            teacher: &teacher,
            labels: labels(&[0, 1]).into(),
            samples: &[],
            epoch: 1,
            step: 1,
        };
        m.forward(&input).unwrap().into_iter().map(|t| t.value).reduce(|a, b| a + b).unwrap()
    };
    let error = parameter_gradient_error(method, loss);
    assert!(error < 1e-6, "{error}");
}

#[test]
fn checkpoints_of_the_released_code_are_understood() {
    let folder = folder("released");
    let path = folder.join("released.safetensors");
    let fresh = ReceptiveTokens::new(&parameters(), 6, 3, true);
    let names = [
        ("map", "mask_token"),
        ("weighting.first.weight", "prob.0.weight"),
        ("weighting.first.bias", "prob.0.bias"),
        ("weighting.second.weight", "prob.2.weight"),
        ("weighting.second.bias", "prob.2.bias"),
    ];
    let own = state(&fresh, 0);
    let entries = names.map(|(here, there)| (format!("distiller.mask_modules.0.{there}"), own[here].clone()));
    weights::write_safetensors(&path, &entries.into_iter().collect()).unwrap();
    let read = read_tokens(&path, &["stage4".into()], &parameters()).unwrap();
    assert_eq!(state(&read[0], 0), own);
    // That for segmentation: the module alone, without weights of its tokens.
    let alone = folder.join("alone.safetensors");
    let token = [("mask_token".to_string(), own["map"].clone())];
    weights::write_safetensors(&alone, &token.into_iter().collect()).unwrap();
    let read = read_tokens(&alone, &["decoder".into()], &parameters()).unwrap();
    assert_eq!(state(&read[0], 0), [("map".to_string(), own["map"].clone())].into());
    let error = read_tokens(&path, &["a".into(), "b".into()], &parameters()).unwrap_err().to_string();
    assert!(error.contains("1 taps") && error.contains("a, b"), "{error}");
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn mistakes_name_the_remedy() {
    let folder = folder("mistakes");
    let refuse = |config: MaskdConfig| {
        let made = config.taps(&shapes()).and_then(|_| config.init(&shapes(), &parameters()).map(|_| ()));
        made.unwrap_err().to_string()
    };
    let none = refuse(MaskdConfig::default());
    assert!(none.contains("`[prompts]` section") && none.contains("tokens = \"FILE\""), "{none}");
    assert!(refuse(MaskdConfig { untrained: Some(0), ..Default::default() }).contains("at least 1"));
    let file = |path: PathBuf| MaskdConfig { tokens: Some(path), ..Default::default() };
    let weighed = MaskdConfig { weighting: Some(true), ..Default::default() };
    let segmentation = MaskdConfig { form: MaskdForm::Segmentation, tokens: Some("x".into()), ..weighed.clone() };
    assert!(refuse(segmentation).contains("no effect with `form = \"segmentation\"`"));
    assert!(refuse(MaskdConfig { untrained: Some(6), ..weighed }).contains("no effect with `untrained`"));
    assert!(refuse(MaskdConfig { untrained: Some(2), ..file("x".into()) }).contains("not both"));
    assert!(refuse(file(folder.join("absent"))).contains("absent"));
    let missing = refuse(file(write_for(&[("stage1", 3)], &folder)));
    assert!(missing.contains("`stage2`") && missing.contains("stage1"), "{missing}");
    let wide = refuse(file(write_for(&[("stage1", 3), ("stage2", 6)], &folder)));
    assert!(wide.contains("6 channels") && wide.contains("stage2"), "{wide}");
    let path = folder.join("other.safetensors");
    let bytes = b"transform = \"dwt\"\n".to_vec();
    let length = bytes.len();
    let entries = [("config".to_string(), TensorData::new(bytes, [length]))];
    weights::write_safetensors(&path, &entries.into_iter().collect()).unwrap();
    assert!(refuse(file(path)).contains("FreeKD"));
    std::fs::remove_dir_all(folder).unwrap();
}
