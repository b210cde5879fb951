//! `subband bench`: its arguments, what it reports, its table in a page; never how fast anything is.
use serde_json::Value;

use crate::support::{Place, refused, stderr, subband, succeeds};

/// The smallest measurement.
const SMALL: [&str; 7] = ["bench", "--only", "cifar-resnet20", "--rounds", "1", "--steps", "1"];

fn small<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&SMALL, more].concat()
}

#[test]
fn arguments_that_cannot_be_right() {
    let place = Place::new();
    let only = refused(2, &["bench", "--only", "cifar-resnt20"]);
    assert!(only.contains("did you mean `cifar-resnet20`?") && only.contains("fam-kd"), "{only}");
    assert!(refused(2, &["bench", "--steps", "0"]).contains("--steps 0"));
    assert!(refused(2, &["bench", "--rounds", "0"]).contains("--rounds 0"));
    let nowhere = place.path("nowhere/python");
    let python = refused(2, &small(&["--python", &nowhere]));
    assert!(python.contains("nowhere/python") && python.contains("pip install torch"), "{python}");
    assert!(refused(2, &["bench", "--worker", "{}"]).contains("not understood"));
    let page = place.path("page.md");
    std::fs::write(&page, "<!-- begin measured steps -->\n").unwrap();
    let marks = refused(2, &small(&["--no-torch", "--markdown", &page]));
    assert!(marks.contains("page.md") && marks.contains("`<!-- end measured steps -->` is missing"), "{marks}");
    assert_eq!(std::fs::read_to_string(&page).unwrap(), "<!-- begin measured steps -->\n");
}

#[test]
fn without_pytorch_the_page_has_our_side() {
    let place = Place::new();
    let page = place.path("page.md");
    let [before, after] = ["# Speed\n\n<!-- begin measured steps -->", "<!-- end measured steps -->\n\nThe end.\n"];
    std::fs::write(&page, format!("{before}\nold table\n{after}")).unwrap();
    // A machine without any Python.
    let output = subband(&small(&["--markdown", &page])).env("PATH", "").env_remove("SUBBAND_PYTHON").output().unwrap();
    let (log, text) = (stderr(&output), String::from_utf8(output.stdout).unwrap());
    assert!(output.status.success(), "{log}");
    assert_eq!(log.lines().filter(|line| line.contains("PyTorch was not found")).count(), 1, "{log}");
    assert!(log.contains("cifar-resnet20 round 1/1: Subband"), "{log}");
    assert!(text.contains("64x3x32x32") && text.contains("272474") && !text.contains("PyTorch"), "{text}");
    let page = std::fs::read_to_string(&page).unwrap();
    assert!(page.starts_with(before) && page.ends_with(after) && !page.contains("old table"), "{page}");
    assert!(page.contains("| cifar-resnet20 | 64x3x32x32 | 272474 | Subband |"), "{page}");
}

/// A program that says it has PyTorch and answers every request with the same numbers.
#[cfg(unix)]
fn pretended_python(place: &Place, params: usize) -> String {
    use std::os::unix::fs::PermissionsExt;
    let path = place.path("python");
    let answer = format!(
        r#"{{"params":{params},"aux_params":0,"forward":[1.0,3.0,2.0],"backward":[4.0,6.0,5.0],"optimizer":[1.0,1.0,1.0],"start_kib":1024,"peak_kib":3072}}"#
    );
    let script = format!("#!/bin/sh\n[ \"$1\" = -c ] && echo 9.9.9 && exit\n/bin/cat >/dev/null\necho '{answer}'\n");
    std::fs::write(&path, script).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[cfg(unix)]
#[test]
fn both_sides_are_reported_with_medians() {
    let place = Place::new();
    let python = pretended_python(&place, 272_474);
    let text = succeeds(&small(&["--python", &python, "--json", "--threads", "1"]));
    let report: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&report["environment"]["pytorch"], &report["environment"]["threads"]), (&"9.9.9".into(), &1.into()));
    let [ours, theirs] = report["steps"].as_array().unwrap().as_slice() else { panic!("{text}") };
    assert_eq!((&ours["side"], &ours["params"], &ours["aux_params"]), (&"Subband".into(), &272_474.into(), &0.into()));
    let number = |row: &Value, key: &str| row[key].as_f64().unwrap();
    let parts: f64 = ["forward_ms", "backward_ms", "optimizer_ms"].map(|key| number(ours, key)).iter().sum();
    assert!(number(ours, "forward_ms") > 0.0 && (number(ours, "step_ms") - parts).abs() < 1e-9, "{text}");
    if cfg!(target_os = "linux") {
        let others = number(&report["environment"], "other_work_percent");
        assert!((0.0..=100.0).contains(&others), "{others}");
        // 64 images with their maps cannot take less than 20 MiB.
        assert!(number(ours, "peak_mib") > number(ours, "step_mib") && number(ours, "step_mib") > 20.0, "{text}");
    }
    let expected = [("forward_ms", 2.0), ("step_ms", 8.0), ("images_per_second", 8000.0), ("step_mib", 2.0)];
    assert!(expected.iter().all(|(key, value)| number(theirs, key) == *value), "{text}");
}

#[cfg(unix)]
#[test]
fn unequal_networks_are_not_compared() {
    let place = Place::new();
    let python = pretended_python(&place, 272_473);
    let text = refused_after_measuring(&small(&["--python", &python]));
    assert!(text.contains("272474 + 0 parameters here and 272473 + 0 in PyTorch"), "{text}");
}

/// Progress lines come first, then the error.
#[cfg(unix)]
fn refused_after_measuring(args: &[&str]) -> String {
    let output = subband(args).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    stderr(&output)
}

#[test]
fn convolutions_are_set_against_the_peak() {
    let text = succeeds(&small(&["--kernels", "--no-torch", "--json"]));
    let report: Value = serde_json::from_str(&text).unwrap();
    let kernels = &report["kernels"];
    let peak = kernels["peak_gflops"].as_f64().unwrap();
    let products = kernels["products"].as_array().unwrap();
    assert!(
        products.len() == 4 && products.iter().all(|product| product["gflops"].as_f64().unwrap() <= peak),
        "{text}"
    );
    // Stem; 3x3 convolutions within each stage; into the second and third with their projections.
    let rows = kernels["convolutions"].as_array().unwrap();
    assert_eq!(rows.len(), 8, "{text}");
    assert!(rows[0]["shape"]["reads_image"] == true && rows[0]["pytorch"].is_null());
    assert!(rows.iter().all(|row| row["subband"]["both"].as_f64().unwrap() > 0.0));
    assert!(rows.iter().any(|row| row["shape"]["kernel"] == 1 && row["shape"]["output"][0] == 8));
}

#[test]
fn the_networks_of_pytorch_are_ours() {
    if std::env::var_os("SUBBAND_PYTHON").is_none() {
        println!("skipped: SUBBAND_PYTHON names no Python with PyTorch");
        return;
    }
    // Equal parameter counts are a condition of success; FAM-KD's include the adapters.
    let text = succeeds(&["bench", "--rounds", "1", "--steps", "1", "--json"]);
    let report: Value = serde_json::from_str(&text).unwrap();
    let steps = report["steps"].as_array().unwrap();
    assert!(steps.len() >= 10 && steps.iter().filter(|row| row["side"] == "PyTorch").count() * 2 == steps.len());
    let last = steps.last().unwrap();
    assert!(last["case"] == "fam-kd" && last["aux_params"].as_u64().unwrap() > 1_000_000, "{text}");
}
