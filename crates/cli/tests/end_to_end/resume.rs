//! `kill -9` at any moment, then `--resume`: the same bits as without.
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::support::{Place, subband};

const ARMS: [&str; 4] = ["teacher", "student-alone", "kd", "fam-kd"];

/// Steps logged by an arm so far.
fn steps(out: &str, arm: &str) -> usize {
    let text = std::fs::read_to_string(format!("{out}/arms/{arm}/metrics.jsonl")).unwrap_or_default();
    text.matches("\"kind\":\"step\"").count()
}

/// Runs with a number of threads; kills the process once `arm` has logged `after` steps, if that is asked for.
/// Returns whether it was killed at work.
fn go(place: &Place, out: &str, threads: &str, kill: Option<(&str, usize)>) -> bool {
    let recipe = place.recipe();
    let mut command = subband(&place.distill(out, &recipe, &["--resume", "--quiet"]));
    command.env("RAYON_NUM_THREADS", threads).stdout(Stdio::null()).stderr(Stdio::inherit());
    let mut child = command.spawn().unwrap();
    let Some((arm, after)) = kill else {
        assert!(child.wait().unwrap().success());
        return false;
    };
    let start = Instant::now();
    while steps(out, arm) < after {
        assert!(start.elapsed() < Duration::from_secs(300), "{arm} does not reach step {after}");
        assert!(child.try_wait().unwrap().is_none(), "the run ended before step {after} of {arm}");
        std::thread::sleep(Duration::from_millis(1));
    }
    // SIGKILL on Unix: nothing can be tidied up.
    child.kill().unwrap();
    !child.wait().unwrap().success()
}

fn same(a: &str, b: &str) {
    for arm in ARMS {
        for name in ["student-last.safetensors", "student-best.safetensors"] {
            let read = |out: &str| std::fs::read(Path::new(out).join("arms").join(arm).join(name)).unwrap();
            assert!(read(a) == read(b), "{arm}/{name} differs");
        }
        let losses = |out: &str| -> Vec<String> {
            let text = std::fs::read_to_string(format!("{out}/arms/{arm}/metrics.jsonl")).unwrap();
            text.lines().filter(|line| line.contains("\"step\",")).map(String::from).collect()
        };
        assert_eq!(losses(a), losses(b), "{arm}");
        assert!(!losses(a).is_empty());
    }
}

#[test]
fn killed_and_resumed_runs_end_with_the_same_bits_on_any_number_of_threads() {
    let place = Place::new();
    let whole = place.path("whole");
    go(&place, &whole, "1", None);
    for (threads, kills) in [("1", [("teacher", 2), ("kd", 5)]), ("2", [("student-alone", 4), ("fam-kd", 7)])] {
        let parts = place.path(&format!("parts{threads}"));
        for kill in kills {
            assert!(go(&place, &parts, threads, Some(kill)), "the run was over before it was killed");
            assert!(!Path::new(&parts).join("arms").join(kill.0).join("result.json").exists());
        }
        // The last part on the other number of threads.
        go(&place, &parts, if threads == "1" { "2" } else { "1" }, None);
        same(&whole, &parts);
    }
}
