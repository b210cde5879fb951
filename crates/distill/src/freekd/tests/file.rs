//! Files of prompts: written, read, refused.
use std::path::PathBuf;

use super::*;
use crate::check::book;
use crate::{MethodConfig, ShapeBook};

/// A file of this test process in the system's folder for such, removed at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        Self(std::env::temp_dir().join(format!("subband-freekd-{}-{name}.safetensors", std::process::id())))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn shapes() -> ShapeBook {
    book(&[("stage1", &[3, 8, 8]), ("stage2", &[5, 4, 4])], &[("stage1", &[4, 8, 8]), ("stage2", &[6, 4, 4])])
}

fn written(name: &str, config: &PromptConfig) -> (Scratch, Prompts) {
    let file = Scratch::new(name);
    let taps = [("stage1".to_string(), 4), ("stage2".to_string(), 6)];
    let prompts = Prompts::init(config, &taps, &parameters()).unwrap();
    prompts.write(&file.0).unwrap();
    (file, prompts)
}

#[test]
fn prompts_come_back_from_their_file() {
    for (variant, name) in [(Variant::Reference, "code"), (Variant::Paper, "paper")] {
        let config = PromptConfig { levels: 2, ..PromptConfig::of(variant) };
        let (file, prompts) = written(name, &config);
        let found = Prompts::read(&file.0, &device()).unwrap();
        assert_eq!(found.taps(), ["stage1", "stage2"]);
        for (tap, sets) in prompts.iter() {
            let other = found.get(tap).unwrap();
            assert_eq!((other.state_dict(), other.config()), (sets.state_dict(), &config));
        }
        let ids = burn::module::list_param_ids(&prompts);
        assert_eq!(burn::module::list_param_ids(&found), ids);
        // Stage 2 takes them if its keys agree.
        let stage = FreeKdConfig { variant, levels: 2, prompts: Some(file.0.clone()), ..Default::default() };
        let method = stage.init(&shapes(), &parameters()).unwrap();
        let held = method.taps[1].prompts.as_ref().unwrap();
        assert_eq!(held.state_dict(), prompts.get("stage2").unwrap().state_dict());
        // Frozen: not among the parameters.
        assert_eq!(method.num_params(), stage.without_files().init(&shapes(), &parameters()).unwrap().num_params());
        let wrong = |config: FreeKdConfig, book: &ShapeBook| config.init(book, &parameters()).unwrap_err().to_string();
        let levels = wrong(FreeKdConfig { levels: 3, ..stage.clone() }, &shapes());
        assert!(levels.contains("levels = 2") && levels.contains("levels = 3"), "{levels}");
        let reversed = FreeKdConfig {
            student_taps: Some(vec!["stage1".into()]),
            teacher_taps: Some(vec!["stage3".into()]),
            ..stage.clone()
        };
        let other = book(&[("stage1", &[3, 8, 8])], &[("stage3", &[4, 8, 8])]);
        let text = wrong(reversed, &other);
        assert!(text.contains("`stage3`") && text.contains("stage1, stage2"), "{text}");
        let wide = book(&[("stage1", &[3, 8, 8])], &[("stage1", &[7, 8, 8])]);
        assert!(wrong(stage, &wide).contains("4 channels, the teacher has 7"));
    }
}

#[test]
fn broken_files_are_refused_by_name() {
    let (file, prompts) = written("broken", &PromptConfig::default());
    let whole = subband_models::weights::read(&file.0).unwrap();
    let refused = |change: &dyn Fn(&mut StateDict)| {
        let mut state = whole.clone();
        change(&mut state);
        subband_models::weights::write_safetensors(&file.0, &state).unwrap();
        Prompts::read(&file.0, &device()).unwrap_err().to_string()
    };
    let key = "stage1.level2";
    assert!(refused(&|s| drop(s.remove(key))).contains("`level2` is missing"));
    assert!(refused(&|s| drop(s.insert("stage1.level9".into(), s[key].clone()))).contains("`level9`"));
    let short = TensorData::zeros::<f32, _>([6, 3]);
    assert!(refused(&|s| drop(s.insert(key.into(), short.clone()))).contains("[6, 3]"));
    assert!(refused(&|s| drop(s.remove("config"))).contains("not a file of prompts"));
    let text = b"tokens = 6\nlevls = 3".to_vec();
    let length = text.len();
    let unknown = TensorData::new(text, [length]);
    assert!(refused(&|s| drop(s.insert("config".into(), unknown.clone()))).contains("levls"));
    let text = b"tokens = 2".to_vec();
    let length = text.len();
    let two = TensorData::new(text, [length]);
    assert!(refused(&|s| drop(s.insert("config".into(), two.clone()))).contains("6 prompts per set"));
    let nowhere = Prompts::read(std::path::Path::new("nowhere.safetensors"), &device()).unwrap_err().to_string();
    assert!(nowhere.contains("nowhere.safetensors"), "{nowhere}");
    let sets = prompts.get("stage1").unwrap().clone();
    let narrow = prompts.get("stage2").unwrap().state_dict();
    assert!(sets.load(&narrow).unwrap_err().to_string().contains("[6, 6]"));
}

#[test]
fn checkpoints_of_the_released_code_are_read() {
    let file = Scratch::new("released");
    let name = |k: usize| format!("distiller.losses.loss_neck.mask_modules.{k}.mask_token");
    let tokens = |k: usize, channels: usize| {
        let count = 4 * 3 * channels;
        TensorData::new((0..count).map(|i| (i + 1000 * k) as f32).collect::<Vec<_>>(), [4, 3, channels])
    };
    let other = TensorData::zeros::<f32, _>([3]);
    let state = StateDict::from([(name(0), tokens(0, 4)), (name(1), tokens(1, 6)), ("backbone.bias".into(), other)]);
    subband_models::weights::write_safetensors(&file.0, &state).unwrap();
    let taps = ["stage1".to_string(), "stage2".to_string()];
    let prompts = Prompts::read_for(&file.0, &taps, &device()).unwrap();
    let second = prompts.get("stage2").unwrap();
    assert_eq!((second.channels(), second.config().tokens), (6, 3));
    let state = second.state_dict();
    assert_eq!(state["ll3"].iter::<f32>().next(), Some(1000.0));
    assert_eq!(state["level3"].iter::<f32>().last(), Some(1071.0));
    let one = Prompts::read_for(&file.0, &taps[..1], &device()).unwrap_err().to_string();
    assert!(one.contains("2 taps") && one.contains("stage1"), "{one}");
    let stage = FreeKdConfig { prompts: Some(file.0.clone()), ..Default::default() };
    assert!(stage.init(&shapes(), &parameters()).is_ok());
}
