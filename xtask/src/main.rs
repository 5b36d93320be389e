//! `cargo xtask`: set-up, demo, tests, kernel matrix and benchmarks. One file per verb.
fn main() {}
