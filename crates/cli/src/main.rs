//! The `subband` command.
fn main() {}
