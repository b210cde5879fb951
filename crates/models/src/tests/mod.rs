//! Tests of the whole crate.
mod fixtures;
