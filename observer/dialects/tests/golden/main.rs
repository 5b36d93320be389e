//! Every vector of `tests/vectors`, driven every way bytes can be cut. A case is a folder, and
//! three tests here: `golden::GROUP::CASE::{whole, random_cuts, gaps}`; its format is in
//! `tests/vectors/README.md`. `cargo test -p dialects --test golden NAME` runs those whose names
//! contain NAME.
#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may panic, its helpers too")]

mod case;
mod checks;
mod drive;
mod loss;
mod messages;
mod transcript;
mod turns;
mod utterances;

use std::path::{Path, PathBuf};

use libtest_mimic::Trial;

use case::Case;
use messages::Messages;
use testkit::named::{assert_distinct, folders, trial};
use transcript::Make;
use utterances::Utterances;

/// Groups that are about a protocol's messages; all others are dialects', and about what is said in them.
const PROTOCOLS: &[&str] =
    &["http1", "http2", "websocket", "sse", "json_stream", "eventstream", "grpc", "media", "content"];

/// Folders whose format is another, and which unit tests read.
const OTHERS: &[&str] = &["anchors", "placement", "placement_gnutls", "rustls", "tls"];

type Check = fn(&Case, Make);

/// What every case is held to.
const CHECKS: [(&str, Check); 3] =
    [("whole", checks::whole), ("random_cuts", checks::random_cuts), ("gaps", checks::gaps)];

fn main() {
    let args = libtest_mimic::Arguments::from_args();
    let trials = trials();
    assert_distinct(&trials);
    libtest_mimic::run(&args, trials).exit();
}

fn trials() -> Vec<Trial> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors");
    for named in PROTOCOLS.iter().chain(OTHERS) {
        assert!(root.join(named).is_dir(), "the vectors of {named} are gone, or have another name than here");
    }
    // The template of a dialect is no part of a release.
    let kept = |(name, _): &(String, PathBuf)| {
        !OTHERS.contains(&name.as_str()) && (cfg!(debug_assertions) || name != "template")
    };
    folders(&root).unwrap().into_iter().filter(kept).flat_map(|(group, folder)| of_group(&group, &folder)).collect()
}

fn of_group(group: &str, folder: &Path) -> Vec<Trial> {
    let cases = folders(folder).unwrap();
    assert!(!cases.is_empty(), "no case in {}", folder.display());
    let make: Make =
        if PROTOCOLS.contains(&group) { || Box::<Messages>::default() } else { || Box::<Utterances>::default() };
    let of_case = |(case, folder): (String, PathBuf)| {
        CHECKS.map(|(name, check)| {
            let folder = folder.clone();
            trial(format!("golden::{group}::{case}::{name}"), move || check(&Case::read(&folder), make))
        })
    };
    cases.into_iter().flat_map(of_case).collect()
}
