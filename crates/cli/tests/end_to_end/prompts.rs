//! Frequency prompts: learned in the teacher, used by an arm, shown in the report.
use crate::support::{Place, json, refused, run, stderr, succeeds};

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
