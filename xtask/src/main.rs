//! `cargo xtask`: set-up, demo, tests, kernel matrix and benchmarks. One file per verb.

#[expect(dead_code, reason = "`setup` and `test` come next and use it")]
mod bpf_build;

fn main() {}
