//! The crate's tests once more on each narrower instruction set, as a user would ask for it: in a process of its own.
//!
//! Many tests force the sets themselves, but some kernels choose theirs once per process (`Product::detect`), and only a
//! process of its own proves that nothing else in an operation needs more than the set it was given.
use std::process::Command;

use crate::product::Product;
use crate::simd::{Level, level};

/// What the variable asks for, where the processor has it, and the widest set otherwise.
#[test]
fn chosen_set_is_the_wanted_one() {
    let wanted = std::env::var("SUBBAND_SIMD").unwrap_or_default();
    let all = Product::available();
    let expected = all.iter().find(|p| p.name == wanted).or(all.first()).map(|p| p.name);
    assert_eq!(Some(Product::detect().name), expected);
    let name = match level() {
        Level::Avx512 => "avx512",
        Level::Avx2 => "avx2",
        Level::Base => "portable",
    };
    assert_eq!(Some(name), expected);
}

#[test]
fn all_tests_pass_on_narrower_sets() {
    if std::env::var("SUBBAND_SIMD").is_ok() {
        return eprintln!("skipped: this process was told which set to use");
    }
    let program = std::env::current_exe().expect("the test binary has a path");
    for set in Product::available().iter().skip(1) {
        // Random convolutions run on every set by themselves: a few are enough here.
        let child = Command::new(&program)
            .env("SUBBAND_SIMD", set.name)
            .env("SUBBAND_TEST_SHAPES", "40")
            .args(["--skip", "all_tests_pass_on_narrower_sets"])
            .output()
            .expect("the test binary starts");
        let text = String::from_utf8_lossy(&child.stdout);
        assert!(child.status.success(), "{}:\n{text}{}", set.name, String::from_utf8_lossy(&child.stderr));
        assert!(text.contains("chosen_set_is_the_wanted_one ... ok"), "{}:\n{text}", set.name);
    }
}
