//! Cases that stand in tables and folders, each a named test: `cargo test … --test cases NAME` runs
//! those whose names contain NAME. Which there are says `-- --list`; how to add one,
//! `tests/README.md`.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may panic, its helpers too"
)]

mod corpus;
mod detectors;
mod recordings;

fn main() {
    let args = libtest_mimic::Arguments::from_args();
    // The long ones begin first, so that none of them is alone at the end.
    let trials = [detectors::trials(), recordings::trials(), corpus::trials()].into_iter();
    let trials: Vec<_> = trials.flatten().collect();
    testkit::named::assert_distinct(&trials);
    libtest_mimic::run(&args, trials).exit();
}
