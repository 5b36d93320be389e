//! The table of cases in `docs/detectors/README.md`, written with `UPDATE_DOCS=1`.

use std::path::Path;

use super::traffic::Delay;
use super::verdict::{Played, said};

const HEAD: &str = "| detector | scenario | expected | got | told after |\n|---|---|---|---|---|\n";

/// The table on the page is what the cases came to. The row of a case that fails is compared with
/// nothing: the case's own test says what is wrong.
pub(super) fn are_current(all: &[Played]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/detectors/README.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let (head, rest) = page.split_once("<!-- cases -->\n").expect("the page has a place for the table");
    let (table, tail) = rest.split_once("<!-- /cases -->").expect("and its end");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        let failed: Vec<_> = all.iter().filter(|played| fails(played)).map(|played| played.case.name).collect();
        assert!(failed.is_empty(), "the page is not written: {failed:?} fail");
        let rows: String = all.iter().map(row).collect();
        return std::fs::write(&path, format!("{head}<!-- cases -->\n{HEAD}{rows}<!-- /cases -->{tail}")).unwrap();
    }
    let rows = table.strip_prefix(HEAD).expect("the table has this head").split_inclusive('\n');
    let stale = rows.clone().zip(all).find(|(there, played)| !fails(played) && *there != row(played));
    assert!(
        rows.count() == all.len() && stale.is_none(),
        "docs/detectors/README.md is stale (UPDATE_DOCS=1): {:?}",
        stale.map(|(there, played)| (there, row(played)))
    );
}

fn fails(played: &Played) -> bool {
    played.outcome().failure.is_some()
}

fn row(played: &Played) -> String {
    let (case, outcome) = (played.case, played.outcome());
    let delay = outcome.delay.map(spelled).unwrap_or_default();
    format!("| {} | {} | {} | {} | {delay} |\n", case.detector, case.name, said(case.expected), outcome.got)
}

/// `3 streams, 20 s`.
fn spelled(Delay { streams, seconds }: Delay) -> String {
    let streams = format!("{streams} stream{}", if streams == 1 { "" } else { "s" });
    match seconds {
        s if s < 0.95 => format!("{streams}, {s:.1} s"),
        s if s < 120.0 => format!("{streams}, {s:.0} s"),
        s if s < 7200.0 => format!("{streams}, {:.0} min", s / 60.0),
        s => format!("{streams}, {:.0} h", s / 3600.0),
    }
}
