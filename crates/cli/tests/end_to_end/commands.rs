//! Whole commands and what they leave behind.
use crate::support::{Place, TINY, json, run, stderr, succeeds};

#[test]
fn a_run_leaves_its_evidence_and_its_student_evaluates_the_same() {
    let place = Place::new();
    let (recipe, out) = (place.recipe(), place.path("out"));
    let output = run(&place.distill(&out, &recipe, &[]));
    let (text, log) = (String::from_utf8(output.stdout.clone()).unwrap(), stderr(&output));
    assert!(output.status.success(), "{log}");
    for part in ["teacher", "student alone", "KD", "FAM-KD", "cifar-resnet8", "report.html"] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    // Not a terminal: a line per epoch, no control sequences.
    assert!(log.contains("KD  epoch 2/2") && log.contains("images/s") && !log.contains('\u{1b}'), "{log}");
    // Every arm starts with the proof that its terms are alive.
    let proof = log.lines().find(|line| line.starts_with("  KD  kd: gradient ")).unwrap_or_else(|| panic!("{log}"));
    assert!(
        proof.contains("of the task's, through logits to ") && proof.contains("from conv1.weight to fc.bias"),
        "{proof}"
    );
    assert!(log.contains("  FAM-KD  fam-kd.") && log.contains("  student alone  task: gradient norm "), "{log}");
    let proof = json(format!("{out}/arms/fam-kd/proof.json"));
    let parts = &proof["parts"].as_array().unwrap()[1..];
    assert!(parts.iter().all(|part| part["to_task"].as_f64().unwrap() > 0.0 && part["reached"]["tensors"] != 0));
    let results = json(format!("{out}/results.json"));
    assert!(results["arms"][2]["auto_weights"]["fam-kd"].as_f64().unwrap() > 0.0);
    assert_eq!(results["finished"], true);
    let arms = results["arms"].as_array().unwrap();
    assert_eq!(
        arms.iter().map(|arm| arm["slug"].as_str().unwrap()).collect::<Vec<_>>(),
        ["student-alone", "kd", "fam-kd"]
    );
    assert!(arms[2]["aux_params"].as_u64().unwrap() > 0 && arms[1]["aux_params"] == 0);
    let page = std::fs::read_to_string(format!("{out}/report.html")).unwrap();
    assert!(page.contains("<svg") && page.contains("FAM-KD") && !page.contains("not finished"));
    for slug in ["teacher", "student-alone", "kd", "fam-kd"] {
        let lines = std::fs::read_to_string(format!("{out}/arms/{slug}/metrics.jsonl")).unwrap();
        let epochs = if slug == "teacher" { 1 } else { 2 };
        assert_eq!(lines.matches("\"kind\":\"epoch\"").count(), epochs, "{slug}");
        assert_eq!(lines.matches("\"kind\":\"step\"").count(), 4 * epochs, "{slug}");
    }
    let weights = format!("{out}/arms/kd/student-last.safetensors");
    let args = ["eval", "--network", "cifar-resnet8", "--weights", &weights, "--data", "digits", "--split", "test"];
    let eval: serde_json::Value =
        serde_json::from_str(&succeeds(&[&args[..], &["--limit", "60", "--json"]].concat())).unwrap();
    assert_eq!(eval["total"], 60);
    assert_eq!(eval["top1"], arms[1]["last"]["test"]["top1"]);
    assert_eq!(eval["loss"], arms[1]["last"]["test"]["loss"]);
    let of_run = ["eval", "--run", &out, "--arm", "KD", "--last", "--json"];
    assert_eq!(serde_json::from_str::<serde_json::Value>(&succeeds(&of_run)).unwrap(), eval);

    // The finished folder is not touched by accident, and is complete when resumed.
    let before = std::fs::read(&weights).unwrap();
    let again = run(&place.distill(&out, &recipe, &[]));
    assert_eq!(again.status.code(), Some(2));
    assert!(stderr(&again).contains("--resume") && stderr(&again).contains("--out"));
    assert!(std::fs::read(&weights).unwrap() == before);
    assert_eq!(succeeds(&place.distill(&out, &recipe, &["--resume", "--quiet"])), text);
    assert!(std::fs::read(&weights).unwrap() == before);

    let page = std::fs::read_to_string(format!("{out}/report.html")).unwrap();
    std::fs::remove_file(format!("{out}/report.html")).unwrap();
    assert!(succeeds(&["report", &out]).trim().ends_with("report.html"));
    assert!(std::fs::read_to_string(format!("{out}/report.html")).unwrap() == page);
}

#[test]
fn several_seeds_are_shown_as_mean_and_deviation() {
    let place = Place::new();
    let (recipe, out) = (place.path("seeds.toml"), place.path("seeds"));
    std::fs::write(&recipe, TINY.replace("seed = 0", "seeds = [1, 2]")).unwrap();
    let text = succeeds(&place.distill(&out, &recipe, &["--quiet", "--set", "train.epochs=1"]));
    assert!(text.contains("over the seeds 1, 2") && text.matches("KD").count() == 2, "{text}");
    let results = json(format!("{out}/results.json"));
    let (arms, over) = (results["arms"].as_array().unwrap(), results["over_seeds"].as_array().unwrap());
    assert_eq!((arms.len(), over.len()), (6, 3));
    let top1 = |index: usize| arms[index]["last"]["test"]["top1"].as_f64().unwrap();
    for (index, summary) in over.iter().enumerate() {
        let (a, b) = (top1(2 * index), top1(2 * index + 1));
        let (mean, std) = ((a + b) / 2.0, (a - b).abs() / 2.0_f64.sqrt());
        assert!((summary["last"]["top1"]["mean"].as_f64().unwrap() - mean).abs() < 1e-9);
        assert!((summary["last"]["top1"]["std"].as_f64().unwrap() - std).abs() < 1e-9);
        assert!(text.contains(&format!("{mean:.2} ± {std:.2}")), "{text}");
    }
    for slug in ["teacher", "student-alone-seed1", "kd-seed2", "fam-kd-seed2"] {
        assert!(std::path::Path::new(&out).join("arms").join(slug).join("student-best.safetensors").exists(), "{slug}");
    }
}

#[test]
fn train_trains_the_student_alone() {
    let place = Place::new();
    let (recipe, out) = (place.recipe(), place.path("alone"));
    let text = succeeds(&["train", &recipe, "--out", &out, "--quiet", "--set", "train.epochs=1"]);
    assert!(text.contains("student alone") && !text.contains("teacher"), "{text}");
    assert!(std::path::Path::new(&out).join("arms/student-alone/student-best.safetensors").exists());
    assert!(!std::path::Path::new(&out).join("arms/teacher").exists());
}

#[test]
fn plan_shows_shapes_adapters_and_time_and_trains_nothing() {
    let place = Place::new();
    let text = succeeds(&["plan", &place.recipe()]);
    for part in ["stage3.pre", "16x28x28", "fam-kd", "multiply-adds", "Estimated time"] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    let plan: serde_json::Value =
        serde_json::from_str(&succeeds(&["plan", &place.recipe(), "--no-time", "--json"])).unwrap();
    assert!(plan["arms"][2]["aux_params"].as_u64().unwrap() > 1000 && plan["time"].is_null());
    assert!(!std::path::Path::new("runs/tiny").exists());
}

#[test]
fn taps_and_lists_speak_json_too() {
    let text = succeeds(&["taps", "cifar-resnet20", "--json"]);
    let taps: serde_json::Value = serde_json::from_str(&text).unwrap();
    // Parameters and multiply-adds of the reference listing, with 10 instead of 100 classes.
    assert_eq!(taps["params"], 278_324 - 90 * 65);
    assert_eq!(taps["macs"], 40_818_944 - 90 * 64);
    let names: Vec<String> = serde_json::from_str(&succeeds(&["networks", "--json"])).unwrap();
    assert!(names.iter().any(|name| name == "mobilenet_v2") && names.len() > 30);
}

#[test]
fn every_method_is_documented() {
    let methods: serde_json::Value = serde_json::from_str(&succeeds(&["methods", "--json"])).unwrap();
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for (page, form) in [("README.md", "`NAME`"), ("docs/methods/README.md", "| [`NAME`](NAME.md) |")] {
        let page = std::fs::read_to_string(root.join(page)).unwrap();
        for method in methods.as_array().unwrap() {
            let name = method["name"].as_str().unwrap();
            assert!(page.contains(&form.replace("NAME", name)), "{name}");
            assert!(root.join(format!("docs/methods/{name}.md")).exists(), "{name} has no page");
        }
    }
}

#[test]
fn help_teaches_and_no_arguments_show_the_guide() {
    assert!(succeeds(&[]).contains("recipes/quickstart.toml"));
    for command in ["distill", "train", "plan", "eval", "predict", "cam", "taps", "data", "report", "bench"] {
        assert!(succeeds(&[command, "--help"]).contains("Examples:"), "{command}");
    }
    let bench = succeeds(&["bench", "--help"]);
    assert!(bench.contains("pspnet-resnet18-d8 ") && bench.contains("cifar-resnet56 to cifar-resnet20"), "{bench}");
    assert!(succeeds(&["data", "inspect", "digits"]).contains("1000 images"));
}

#[test]
fn the_recipes_of_the_repository_are_valid() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for entry in std::fs::read_dir(root.join("recipes")).unwrap() {
        let path = entry.unwrap().path();
        let output = run(&["plan", path.to_str().unwrap(), "--no-time"]);
        // The data and weights of a recipe may not be here; everything else must be right.
        let log = stderr(&output);
        let missing = log.contains("there is no folder") || log.contains("No such file");
        assert!(output.status.success() || missing, "{}: {log}", path.display());
    }
}

#[test]
fn spectrum_compares_stages_as_table_and_json() {
    let place = Place::new();
    let recipe = place.recipe();
    let text = succeeds(&["spectrum", &recipe, "--images", "8"]);
    assert!(text.contains("stage1") && text.contains("coherence") && text.contains("on 8 images"), "{text}");
    let found: serde_json::Value =
        serde_json::from_str(&succeeds(&["spectrum", &recipe, "--images", "8", "--json"])).unwrap();
    assert_eq!(found["layers"][0]["rows"][0]["band"], "all");
    assert!(found["layers"][0]["rows"][1]["cka"].as_f64().is_some_and(|cka| cka > 0.0));
    let none = run(&["spectrum", &recipe, "--images", "0"]);
    assert!(none.status.code() == Some(2) && stderr(&none).contains("1 or more"));
}
