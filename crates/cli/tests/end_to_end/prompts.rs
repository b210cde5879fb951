//! Frequency prompts: learned in the teacher, used by an arm, shown in the report.
use std::path::Path;

use burn::prelude::Device;
use image::{GrayImage, Luma, Rgb, RgbImage};
use subband_models::{NetworkConfig, weights};
use subband_seed::Stream;

use crate::support::{Place, json, refused, run, stderr, succeeds};

/// The part of a recipe for networks that label pixels that stands on a method's page.
fn snippet(method: &str) -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../docs/methods/{method}.md"));
    let page = std::fs::read_to_string(page).unwrap();
    let snippets = page.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    snippets.filter(|snippet| snippet.contains("\"logits\"")).collect()
}

#[test]
fn what_the_pages_say_of_segmentation_runs() {
    let place = Place::new();
    for (split, count) in [("train", 3_u32), ("val", 2)] {
        for kind in ["images", "labels"] {
            std::fs::create_dir_all(place.path(&format!("data/{split}/{kind}"))).unwrap();
        }
        for k in 0..count {
            let path = |kind: &str| place.path(&format!("data/{split}/{kind}/{k}.png"));
            let pixel = |x: u32, y: u32| Rgb([(x * 5) as u8, (y * 7) as u8, ((x / 9 + y / 7 + k) % 2 * 200) as u8]);
            RgbImage::from_fn(41, 33, pixel).save(path("images")).unwrap();
            GrayImage::from_fn(41, 33, |x, y| Luma([((x / 9 + y / 7 + k) % 3) as u8])).save(path("labels")).unwrap();
        }
    }
    let file = place.path("teacher.safetensors");
    let network = NetworkConfig::new("pspnet-resnet18-d8", 3, 3).init(Stream::new(8), &Device::flex()).unwrap();
    weights::write_safetensors(file.as_ref(), &network.state_dict()).unwrap();
    for method in ["freekd", "maskd"] {
        let (recipe, out) = (place.path(&format!("{method}.toml")), place.path(method));
        let text = format!(
            "[data]\ndataset = \"masks\"\npath = {:?}\nclasses = [\"a\", \"b\", \"c\"]\n\
             [teacher]\nnetwork = \"pspnet-resnet18-d8\"\nweights = {file:?}\n\
             [student]\nnetwork = \"pspnet-mobilenetv2-d8\"\n[train]\nepochs = 1\nbatch_size = 2\n\
             [report]\npictures = 0\n{}",
            place.path("data"),
            snippet(method)
        );
        std::fs::write(&recipe, text).unwrap();
        let few = ["--quiet", "--set", "prompts.steps=2", "--set", "prompts.batch_size=2"];
        succeeds(&place.distill(&out, &recipe, &few));
        let arm = json(format!("{out}/results.json"))["arms"][0].clone();
        assert!(arm["best"]["test"]["miou"].is_number(), "{arm}");
        let steps = std::fs::read_to_string(format!("{out}/arms/{}/metrics.jsonl", arm["slug"].as_str().unwrap()));
        assert!(steps.unwrap().contains(&format!("\"{method}.logits\"")));
    }
}

const PROMPTS: &str = r#"
[prompts]
steps = 12
batch_size = 16
variant = "paper"
levels = 2
checkpoint_every = 5
[[arm]]
name = "FreeKD"
[[arm.term]]
method = "freekd"
variant = "paper"
levels = 2
"#;

fn recipe(place: &Place, more: &str) -> String {
    let text = std::fs::read_to_string(place.recipe()).unwrap();
    // One arm is enough.
    let start = text.find("[[arm]]").unwrap();
    let path = place.path("prompts.toml");
    std::fs::write(&path, format!("{}{more}", &text[..start])).unwrap();
    path
}

#[test]
fn prompts_are_learned_once_and_used_by_the_arm() {
    let place = Place::new();
    let (recipe, out) = (recipe(&place, PROMPTS), place.path("out"));
    let plan = succeeds(&["plan", &recipe]);
    assert!(plan.contains("Frequency prompts") && plan.contains("ll2 lh1 hl1 hh1 lh2 hl2 hh2"), "{plan}");
    let output = run(&place.distill(&out, &recipe, &[]));
    let (text, log) = (String::from_utf8(output.stdout.clone()).unwrap(), stderr(&output));
    assert!(output.status.success(), "{log}");
    assert!(log.contains("prompts  12 steps") && text.contains("Frequency prompts: teacher top-1"), "{log}{text}");
    let results = json(format!("{out}/results.json"));
    let prompts = &results["prompts"];
    // T = 2: with prompts of 0 the network is the teacher; masks part as they learn.
    let number = |key: &str| prompts[key].as_f64().unwrap();
    assert!(number("zero_difference") < 1e-5 && number("start_difference") < 0.5, "{prompts}");
    assert_eq!(prompts["tokens"], 2);
    for tap in prompts["taps"].as_array().unwrap() {
        let [start, end] = ["dissimilarity_start", "dissimilarity_end"].map(|key| tap[key].as_f64().unwrap());
        assert!(end < start, "{tap}");
    }
    assert!(prompts["teacher"]["top1"].is_number() && prompts["end"]["top1"].is_number());
    let steps = std::fs::read_to_string(format!("{out}/arms/freekd/metrics.jsonl")).unwrap();
    assert!(steps.contains("\"freekd.stage3\""), "{steps}");
    let page = std::fs::read_to_string(format!("{out}/report.html")).unwrap();
    // Two images, three taps, seven sets of two prompts each.
    assert_eq!(page.matches("class=\"heat\"").count(), 2 * 3 * 7 * 2);
    assert!(page.contains("horizontal edges within 4×4") && page.contains("means of 4×4 blocks"));
    // The file serves another run, which learns no prompts.
    let file = format!("{out}/prompts.safetensors");
    let other = recipe_without(&place, &file);
    succeeds(&["distill", &other, "--out", &place.path("other"), "--quiet", "--set", "train.epochs=1"]);
    assert!(!std::path::Path::new(&place.path("other/prompts.safetensors")).exists());
}

fn recipe_without(place: &Place, file: &str) -> String {
    let start = PROMPTS.find("[[arm]]").unwrap();
    recipe(place, &format!("{}prompts = {file:?}\n", &PROMPTS[start..]))
}

#[test]
fn masks_without_prompts_and_prompts_that_do_not_fit_are_refused() {
    let place = Place::new();
    let start = PROMPTS.find("[[arm]]").unwrap();
    let none = recipe(&place, &PROMPTS[start..]);
    let text = refused(2, &["distill", &none, "--out", &place.path("a")]);
    assert!(text.contains("[prompts]") && text.contains("masks = \"none\"") && text.contains("FreeKD"), "{text}");
    let other = recipe(&place, &PROMPTS.replace("[[arm]]", "taps = [\"stage2\"]\n[[arm]]"));
    let text = refused(2, &["distill", &other, "--out", &place.path("a")]);
    assert!(text.contains("`stage1`") && text.contains("only for stage2"), "{text}");
    let text =
        refused(2, &["distill", &recipe(&place, PROMPTS), "--set", "prompts.levels=3", "--out", &place.path("a")]);
    assert!(text.contains("levels = 3") && text.contains("levels = 2"), "{text}");
    assert!(!std::path::Path::new(&place.path("a")).exists());
}
