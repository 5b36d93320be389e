//! Findings for people and programs.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::columns::{ColumnSet, name, number, text, usual, wide};
use super::table::{CellColour, TableCell, TableColumn, TableStyle, TextTable};
use capture::units::Ns;
use edge::clock::WallClock;

/// One finding: a contract, as for streams.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FindingView {
    pub id: String,
    pub detector: String,
    /// The verdict as a word.
    pub kind: String,
    pub severity: String,
    /// RFC 3339.
    pub since: String,
    pub last_seen: String,
    /// `null` while it lasts.
    pub ended: Option<String>,
    /// How long it has lasted, or lasted.
    pub duration_seconds: f64,
    /// Times it was seen.
    pub count: u64,
    pub service: String,
    pub provider: String,
    pub model: String,
    pub server_address: String,
    /// The verdict as a sentence.
    pub verdict: String,
    pub inputs: Map<String, Value>,
    pub baseline: Map<String, Value>,
    pub excluded_causes: Vec<String>,
    pub streams: Vec<String>,
}

impl FindingView {
    /// The view of a finding at `now`.
    #[must_use]
    pub fn new(finding: &detectors::Finding, now: Ns, wall: &WallClock) -> FindingView {
        let facts = |facts: &[detectors::EvidenceFact]| {
            facts.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
        };
        let subject = &finding.subject;
        FindingView {
            id: finding.id.clone(),
            detector: finding.detector.to_owned(),
            kind: finding.kind.to_owned(),
            severity: finding.severity.name().to_owned(),
            since: wall.rfc3339(finding.since),
            last_seen: wall.rfc3339(finding.seen),
            ended: finding.ended.map(|at| wall.rfc3339(at)),
            duration_seconds: finding.ended.unwrap_or(now).seconds_since(finding.since),
            count: finding.count,
            service: subject.service.to_string(),
            provider: subject.provider.to_string(),
            model: subject.model.to_string(),
            server_address: subject.server.to_string(),
            verdict: finding.verdict.clone(),
            inputs: facts(&finding.inputs),
            baseline: facts(&finding.baseline),
            excluded_causes: finding.excluded.iter().map(|cause| (*cause).to_owned()).collect(),
            streams: finding.streams.clone(),
        }
    }
}

/// `inspect findings`.
pub const FINDINGS: ColumnSet<FindingView> = &[
    text("ID", |f| f.id.as_str().into()),
    text("SEVERITY", severity),
    text("DETECTOR", |f| f.detector.as_str().into()),
    text("KIND", |f| f.kind.as_str().into()),
    usual(12, &name("SERVICE", 10, |f| f.service.as_str().into())),
    name("MODEL", 12, |f| f.model.as_str().into()),
    number("LASTS", |f| lasts(f.duration_seconds).into()),
    text("STATE", |f| {
        if f.ended.is_some() { "over".into() } else { TableCell { text: "open".into(), tint: CellColour::Bad } }
    }),
    number("SEEN", |f| f.count.to_string().into()),
    name("VERDICT", 30, |f| f.verdict.as_str().into()),
    wide(&text("PROVIDER", |f| f.provider.as_str().into())),
    wide(&text("SERVER", |f| f.server_address.as_str().into())),
    wide(&text("SINCE", |f| f.since.as_str().into())),
    wide(&text("LAST-SEEN", |f| f.last_seen.as_str().into())),
    wide(&text("STREAMS", |f| f.streams.join(",").into())),
];

fn severity(finding: &FindingView) -> TableCell {
    let tint = if finding.severity == "info" { CellColour::None } else { CellColour::Bad };
    TableCell { text: finding.severity.clone(), tint }
}

/// `12s`, `3m`, `5h`, `2d`.
fn lasts(seconds: f64) -> String {
    match seconds {
        s if s < 60.0 => format!("{s:.0}s"),
        s if s < 3600.0 => format!("{:.0}m", s / 60.0),
        s if s < 172_800.0 => format!("{:.0}h", s / 3600.0),
        s => format!("{:.0}d", s / 86_400.0),
    }
}

/// `inspect findings ID`: what, since when, who, before and after, what it is not, where to look.
#[must_use]
pub fn detail(finding: &FindingView, style: TableStyle) -> String {
    let column = |head| TableColumn { head, right: false, least: None, usual: 0 };
    let row = |name: &str, cell: String| vec![TableCell::from(name), TableCell::from(cell)];
    let end = finding.ended.as_deref().map_or("still so".to_owned(), |end| format!("over at {end}"));
    let dash = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
    let rows = vec![
        row("id", finding.id.clone()),
        row("verdict", finding.verdict.clone()),
        row("detector", format!("{} ({}), {}", finding.detector, finding.kind, finding.severity)),
        row("since", format!("{}, {end}", finding.since)),
        row("seen", format!("{} times, last {}", finding.count, finding.last_seen)),
        row("service", dash(&finding.service)),
        row("provider", format!("{} at {}", dash(&finding.provider), dash(&finding.server_address))),
        row("model", dash(&finding.model)),
        row("excluded", dash(&finding.excluded_causes.join(", "))),
        row("look at", finding.streams.iter().map(|id| format!("inspect stream {id}")).collect::<Vec<_>>().join(", ")),
        row("what to do", format!("observer/docs/detectors/{}.md", finding.detector)),
    ];
    let mut text = TextTable::new(vec![column("FINDING"), column("")], style).render(&rows);
    text.push('\n');
    text.push_str(&facts(finding, style));
    text
}

/// Numbers before and after, side by side.
fn facts(finding: &FindingView, style: TableStyle) -> String {
    let column = |head, right| TableColumn { head, right, least: None, usual: 0 };
    let mut names: Vec<&String> = finding.inputs.keys().collect();
    names.extend(finding.baseline.keys().filter(|name| !finding.inputs.contains_key(*name)));
    let cell = |facts: &Map<String, Value>, name: &str| match facts.get(name) {
        None | Some(Value::Null) => TableCell::from("-"),
        Some(Value::String(text)) => text.as_str().into(),
        Some(other) => other.to_string().into(),
    };
    let rows: Vec<Vec<TableCell>> = names
        .into_iter()
        .map(|name| vec![name.as_str().into(), cell(&finding.baseline, name), cell(&finding.inputs, name)])
        .collect();
    TextTable::new(vec![column("FACT", false), column("BEFORE", true), column("NOW", true)], style).render(&rows)
}
