use super::*;
use std::fs;

fn write(folder: &Path, name: &str, text: &str) {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

const RECIPE: &str = "name = \"night & day\"\nseed = 3\n[student]\nnetwork = \"cifar-resnet8\"\n[teacher]\nnetwork = \"cifar-resnet14\"\n\
    train = { epochs = 2 }\n[train]\nepochs = 2\n[[arm]]\nname = \"student alone\"\n[[arm]]\nname = \"<KD>\"\n[[arm.term]]\nmethod = \"kd\"\n";

fn metrics(top1: [f64; 2]) -> String {
    let mut text = String::new();
    for (epoch, top1) in (1..).zip(top1) {
        for step in 1..4 {
            let step = 3 * (epoch - 1) + step;
            text += &format!(
                "{{\"kind\":\"step\",\"epoch\":{epoch},\"step\":{step},\"loss\":2.0,\"terms\":{{\"task\":1.5,\"kd\":0.5}}}}\n"
            );
        }
        text += &format!(
            "{{\"kind\":\"epoch\",\"epoch\":{epoch},\"train\":{{\"task\":1.2,\"kd\":null,\"loss\":2.0}},\
             \"val\":{{\"top1\":{top1},\"top5\":99.0,\"loss\":null}},\"seconds\":4.0}}\n"
        );
    }
    text
}

fn finished() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let arm = |name: &str, slug: &str, top1: f64| {
        format!(
            "{{\"name\":\"{name}\",\"slug\":\"{slug}\",\"network\":\"cifar-resnet8\",\"params\":78042,\"macs\":12500000,\"seconds\":75.2,\
             \"aux_params\":0,\"skipped\":3,\"best\":{{\"epoch\":2,\"val_top1\":90.5,\"test_top1\":{top1},\"test_top5\":99.1}},\
             \"last\":{{\"epoch\":2,\"test_top1\":{top1},\"test_top5\":99.1}},\"terms\":[\"task\"]}}"
        )
    };
    let results = format!(
        "{{\"name\":\"night & day\",\"finished\":true,\"test_images\":1000,\"teacher\":{{\"network\":\"cifar-resnet14\",\"params\":175000,\
         \"macs\":26000000,\"test\":{{\"top1\":95.5,\"top5\":99.9}}}},\"arms\":[{},{}]}}",
        arm("student alone", "student-alone", 90.25),
        arm("<KD>", "kd", 91.5)
    );
    write(folder.path(), "recipe.toml", RECIPE);
    write(folder.path(), "results.json", &results);
    write(folder.path(), "run.json", "{\"version\":\"0.1.0\",\"seed\":3,\"memory_mib\":null,\"started\":0}");
    write(folder.path(), "arms/student-alone/metrics.jsonl", &metrics([80.0, 90.0]));
    write(folder.path(), "arms/kd/metrics.jsonl", &metrics([82.0, 91.0]));
    write(folder.path(), "arms/kd/student-best.safetensors", "");
    folder
}

#[test]
fn without_validation_images_nothing_was_chosen() {
    let folder = finished();
    assert!(page(folder.path()).contains("is chosen by top-1 on the validation images"));
    for arm in ["student-alone", "kd"] {
        let path = folder.path().join("arms").join(arm).join("metrics.jsonl");
        let lines = fs::read_to_string(&path).unwrap();
        let lines = lines.lines().map(|line| match line.split_once("\"val\":") {
            Some((before, after)) => format!("{before}\"val\":null{}\n", after.split_once('}').unwrap().1),
            None => format!("{line}\n"),
        });
        fs::write(&path, lines.collect::<String>()).unwrap();
    }
    let html = page(folder.path());
    assert!(html.contains("There are no validation images: the last epoch counts") && !html.contains("is chosen by"));
}

fn page(folder: &Path) -> String {
    fs::read_to_string(write_report(folder).unwrap()).unwrap()
}

#[test]
fn a_finished_run_is_told_in_full_and_stands_alone() {
    let folder = finished();
    let html = page(folder.path());
    for part in [
        "91.50",
        "+1.25",
        "90.25",
        "1 min 15 s",
        "78.0 k",
        "12.5 M",
        "night &amp; day",
        "3 training images could not",
        "arms/kd/student-best.safetensors",
    ] {
        assert!(html.contains(part), "{part}");
    }
    assert!(html.contains("1.25 points above the student alone"));
    assert!(!html.contains("<KD>") && html.contains("&lt;KD&gt;"));
    assert!(!html.contains("not finished"));
    for foreign in ["http", "<script", "url(", "@import", "NaN"] {
        assert!(!html.contains(foreign), "{foreign}");
    }
    // Every element that is opened is closed.
    for tag in ["table", "svg", "figure", "div", "details", "tr", "p", "dl"] {
        let open = html.matches(&format!("<{tag}>")).count() + html.matches(&format!("<{tag} ")).count();
        assert_eq!(open, html.matches(&format!("</{tag}>")).count(), "{tag}");
    }
}

#[test]
fn an_unfinished_run_shows_what_there_is() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "recipe.toml", RECIPE);
    write(folder.path(), "arms/teacher/metrics.jsonl", &metrics([70.0, 95.0]));
    let cut = metrics([80.0, 90.0]);
    write(folder.path(), "arms/student-alone/metrics.jsonl", &cut[..cut.len() - 40]);
    let html = page(folder.path());
    assert!(html.contains("student alone: 1 of 2 epochs") && html.contains("teacher: 2 of 2 epochs"), "{html}");
    assert!(html.contains("&lt;KD&gt;: 0 of 2 epochs"));
}

#[test]
fn a_repeated_epoch_counts_once() {
    let folder = finished();
    let again = metrics([82.0, 91.0]) + &metrics([83.0, 92.0]);
    write(folder.path(), "arms/kd/metrics.jsonl", &again);
    let run = read::run(folder.path()).unwrap();
    let arm = run.arms.iter().find(|arm| arm.slug == "kd").unwrap();
    assert_eq!(arm.epochs.iter().map(|epoch| epoch.val.get("top1").unwrap()).collect::<Vec<_>>(), [83.0, 92.0]);
    assert_eq!(arm.steps.len(), 6);
    assert_eq!((arm.name.as_str(), arm.terms.len()), ("<KD>", 2));
}

#[test]
fn arms_that_the_recipe_no_longer_has_are_left_out() {
    let folder = finished();
    write(folder.path(), "arms/fitnet/metrics.jsonl", &metrics([82.0, 91.0]));
    let run = read::run(folder.path()).unwrap();
    assert_eq!(run.arms.iter().map(|arm| arm.slug.as_str()).collect::<Vec<_>>(), ["student-alone", "kd"]);
    // Without a recipe there is nothing to go by.
    fs::remove_file(folder.path().join("recipe.toml")).unwrap();
    assert_eq!(read::run(folder.path()).unwrap().arms.len(), 3);
}

#[test]
fn seeds_that_are_still_to_come_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "recipe.toml", &RECIPE.replace("seed = 3", "seeds = [3, 4, 5]"));
    let arm = |seed: u64, top1: f64| {
        format!(
            "{{\"name\":\"<KD>\",\"slug\":\"kd-seed{seed}\",\"seed\":{seed},\"best\":{{\"epoch\":2,\"test_top1\":{top1}}}}}"
        )
    };
    let results = format!(
        "{{\"name\":\"x\",\"finished\":false,\"test_images\":1000,\"arms\":[{},{}]}}",
        arm(3, 90.0),
        arm(4, 91.0)
    );
    write(folder.path(), "results.json", &results);
    let html = page(folder.path());
    assert!(html.contains("90.50 ± 0.71") && html.contains(" · 2 of 3 seeds") && html.contains(" · 0 of 3 seeds"));
    assert!(html.contains("over the seeds that are done, of 3") && !html.contains("over 3 seeds;"), "{html}");
}

#[test]
fn results_of_the_first_versions_are_told_as_before() {
    let old = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/results/cifar10-jpeg");
    let folder = tempfile::tempdir().unwrap();
    for name in ["results.json", "recipe.toml", "run.json"] {
        fs::copy(old.join(name), folder.path().join(name)).unwrap();
    }
    let html = page(folder.path());
    for part in [
        "<b>FAM-KD</b> reaches 67.24 % test top-1, 9.62 points above the student alone (57.62 %); the teacher has 86.96 %",
        "<th>Test top-1, best epoch</th><th>Test top-1, last epoch</th><th>Test top-5</th>",
        "<td class=\"best\">67.24</td><td>67.24</td><td>97.64</td><td>+9.62</td>",
        "Top-1 and top-5 in per cent",
        "5\u{202f}000 test images: the standard error of one accuracy is about 0.70 points",
    ] {
        assert!(html.contains(part), "{part}\n{html}");
    }
}

#[test]
fn segmentations_are_told_by_their_own_figures_class_by_class() {
    let folder = tempfile::tempdir().unwrap();
    let arm = |name: &str, slug: &str, miou: f64, car: &str| {
        let test = format!("{{\"accuracy\":80.0,\"loss\":0.9,\"macc\":55.5,\"miou\":{miou}}}");
        let classes = format!(
            "[{{\"name\":\"road\",\"iou\":88.25,\"accuracy\":95.0}},{{\"name\":\"<car>\",\"iou\":{car},\"accuracy\":null}}]"
        );
        format!(
            "{{\"name\":\"{name}\",\"slug\":\"{slug}\",\"best\":{{\"epoch\":1,\"val\":null,\"test\":{test},\
             \"classes\":{classes}}},\"last\":{{\"epoch\":1,\"test\":{test}}},\"terms\":[\"task\"]}}"
        )
    };
    let results = format!(
        "{{\"name\":\"streets\",\"finished\":true,\"test_images\":101,\"protocol\":\"cityscapes\",\"arms\":[{},{}]}}",
        arm("student alone", "student-alone", 40.25, "null"),
        arm("CWD", "cwd", 42.5, "31.75")
    );
    write(
        folder.path(),
        "results.json",
        &results.replacen("\"terms\":[\"task\"]}]", "\"terms\":[\"task\",\"cwd\"]}]", 1),
    );
    let html = page(folder.path());
    for part in [
        "<b>CWD</b> reaches 42.50 % test mIoU, 2.25 points above the student alone (40.25 %)",
        "<th>Test mIoU, last epoch</th><th>Test mean accuracy</th><th>Test pixel accuracy</th>",
        "mIoU, mean accuracy and pixel accuracy in per cent",
        "<th scope=\"row\">&lt;car&gt;</th><td>–</td><td>31.75</td>",
        "Pixel accuracy of the classes",
        "aria-label=\"Test mIoU of every arm\"",
        "how far another seed would move",
        "counted by the protocol <code>cityscapes</code>",
    ] {
        assert!(html.contains(part), "{part}\n{html}");
    }
    assert!(!html.contains("top-1") && !html.contains("standard error") && !html.contains("NaN"), "{html}");
}

#[test]
fn small_numbers_of_the_proof_keep_their_digits() {
    let folder = finished();
    let proof = "{\"images\":8,\"parts\":[{\"name\":\"kd\",\"value\":0.0000213,\"weight\":1.0,\"gradient\":0.1,\"to_task\":0.00000417,\
                 \"taps\":[],\"reached\":{\"tensors\":1,\"of\":1,\"first\":\"a\",\"last\":\"a\"}}]}";
    write(folder.path(), "arms/kd/proof.json", proof);
    let html = page(folder.path());
    assert!(html.contains("<td>2.13e-5</td>") && html.contains("<td>4.17e-6</td>"), "{html}");
}

#[test]
fn other_folders_and_damaged_results_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let error = write_report(folder.path()).unwrap_err().to_string();
    assert!(error.contains("no run folder"), "{error}");
    assert!(fs::read_dir(folder.path()).unwrap().next().is_none());
    write(folder.path(), "results.json", "{\"name\":");
    assert!(write_report(folder.path()).unwrap_err().to_string().contains("results.json"));
}

#[test]
fn a_damaged_robustness_file_is_named_and_the_page_is_there() {
    let folder = finished();
    write(folder.path(), "robustness.json", "{\"run\":");
    let html = page(folder.path());
    assert!(
        html.contains("robustness.json is not valid JSON") && html.contains("subband robustness --force"),
        "{html}"
    );
    assert!(html.contains("91.5"));
}
