//! The columns of each table, once: `-o wide` only adds those marked wide.

use std::fmt::Write as _;

use super::connection::ConnectionView;
use super::table::{CellColour, TableCell, TableColumn, TableStyle, TextTable, or_dash, short_seconds};
use super::view::{
    GapsView, MilestonesView, PointView, ProbeView, ProcessView, StreamDetailView, StreamView, TokensView,
};

/// One column and how to fill it.
pub struct ColumnOf<T: 'static> {
    pub column: TableColumn,
    pub wide: bool,
    pub show: fn(&T) -> TableCell,
}

/// A table's columns.
pub type ColumnSet<T> = &'static [ColumnOf<T>];

pub(super) const fn text<T>(head: &'static str, show: fn(&T) -> TableCell) -> ColumnOf<T> {
    ColumnOf { column: TableColumn { head, right: false, least: None, usual: 0 }, wide: false, show }
}

pub(super) const fn name<T>(head: &'static str, least: usize, show: fn(&T) -> TableCell) -> ColumnOf<T> {
    ColumnOf { column: TableColumn { head, right: false, least: Some(least), usual: 0 }, wide: false, show }
}

pub(super) const fn number<T>(head: &'static str, show: fn(&T) -> TableCell) -> ColumnOf<T> {
    ColumnOf { column: TableColumn { head, right: true, least: None, usual: 0 }, wide: false, show }
}

/// With room for rows that are still to come.
pub(super) const fn usual<T>(width: usize, of: &ColumnOf<T>) -> ColumnOf<T> {
    let TableColumn { head, right, least, .. } = of.column;
    ColumnOf { column: TableColumn { head, right, least, usual: width }, wide: of.wide, show: of.show }
}

pub(super) const fn wide<T>(of: &ColumnOf<T>) -> ColumnOf<T> {
    ColumnOf { column: of.column, wide: true, show: of.show }
}

fn seconds(value: Option<f64>) -> TableCell {
    or_dash(value, short_seconds)
}

fn words(value: Option<&String>) -> TableCell {
    or_dash(value, Clone::clone)
}

fn count(value: Option<u64>) -> TableCell {
    or_dash(value, |n| n.to_string())
}

/// `inspect streams`.
pub const STREAMS: ColumnSet<StreamView> = &[
    usual(12, &text("ID", |s| s.id.as_str().into())),
    usual(12, &name("SERVICE", 10, |s| s.service.as_str().into())),
    usual(20, &name("MODEL", 12, |s| words(s.response_model.as_ref().or(s.request_model.as_ref())))),
    usual(13, &text("OUTCOME", outcome)),
    usual(6, &number("TIME", |s| seconds(s.duration_seconds))),
    usual(7, &number("VISIBLE", |s| seconds(s.first_seconds.visible))),
    usual(6, &number("CHUNKS", |s| count(s.chunks))),
    usual(6, &number("CHARS", |s| count(s.visible_chars))),
    usual(6, &number("GAP50", |s| seconds(s.gaps.p50))),
    usual(6, &number("MAXGAP", |s| seconds(s.gaps.max))),
    wide(&text("PROVIDER", |s| s.provider.as_str().into())),
    wide(&text("API", |s| s.api.as_str().into())),
    wide(&text("SERVER", |s| words(s.server_address.as_ref()))),
    wide(&number("PID", |s| s.pid.to_string().into())),
    wide(&number("UID", |s| or_dash(s.uid, |uid| uid.to_string()))),
    wide(&text("COMM", |s| s.comm.as_str().into())),
    wide(&text("NAMESPACE", |s| words(s.k8s.namespace.as_ref()))),
    wide(&text("POD", |s| words(s.k8s.pod.as_ref()))),
    wide(&number("STATUS", |s| or_dash(s.status, |status| status.to_string()))),
    wide(&number("BYTE", |s| seconds(s.first_seconds.byte))),
    wide(&number("EMITTED", |s| seconds(s.first_seconds.emitted))),
    wide(&number("REASONING", |s| count(s.reasoning_chars))),
    wide(&number("STALLS", |s| s.stalls.len().to_string().into())),
    wide(&number("IN", |s| count(s.tokens.input))),
    wide(&number("OUT", |s| count(s.tokens.output))),
    wide(&text("FINISH", |s| words(s.finish_reason.as_ref()))),
    wide(&text("VISIBILITY", |s| s.visibility.as_str().into())),
    wide(&text("LOST", |s| words(s.lost.cause.as_ref()))),
    wide(&text("STARTED", |s| words(s.started.as_ref()))),
];

/// What a stream does now, or how it ended.
fn outcome(stream: &StreamView) -> TableCell {
    let Some(outcome) = &stream.outcome else {
        let begun = stream.first_seconds.event.is_some() || stream.wire.as_ref().is_some_and(|wire| wire.records > 0);
        let state = if begun { "streaming" } else { "waiting" };
        return TableCell { text: state.into(), tint: CellColour::Good };
    };
    let tint = if outcome == "complete" { CellColour::None } else { CellColour::Bad };
    TableCell { text: outcome.clone(), tint }
}

/// `inspect connections`.
pub const CONNECTIONS: ColumnSet<ConnectionView> = &[
    usual(12, &text("ID", |c| c.id.as_str().into())),
    usual(12, &name("SERVICE", 10, |c| c.service.as_str().into())),
    usual(20, &name("SERVER", 12, |c| words(c.sni.as_ref().or(c.server_address.as_ref())))),
    text("REMOTE", |c| or_dash(c.remote.ip.as_ref(), |ip| format!("{ip}:{}", c.remote.port.unwrap_or(0)))),
    number("STREAMS", |c| format!("{}/{}", c.streams_open, c.streams).into()),
    number("AGE", |c| seconds(c.age_seconds)),
    number("IDLE", |c| seconds(c.idle_seconds)),
    number("RTT", |c| seconds(c.rtt_seconds)),
    number("RESENT", |c| count(c.retransmits.local)),
    text("ATTACH", |c| words(c.attach.as_ref())),
    text("JOINED", |c| or_dash(c.joined.as_ref(), |join| format!("{}/{}", join.method, join.confidence))),
    wide(&text("CARRIES", |c| c.carries.as_str().into())),
    wide(&text("VISIBILITY", |c| tinted(&c.visibility, c.visibility == "plaintext"))),
    wide(&text("PROTOCOL", |c| c.protocol.as_str().into())),
    wide(&text("PROVIDER", |c| c.provider.as_str().into())),
    wide(&number("PID", |c| c.pid.to_string().into())),
    wide(&number("UID", |c| or_dash(c.uid, |uid| uid.to_string()))),
    wide(&text("COMM", |c| c.comm.as_str().into())),
    wide(&text("NAMESPACE", |c| words(c.k8s.namespace.as_ref()))),
    wide(&text("POD", |c| words(c.k8s.pod.as_ref()))),
    wide(&number("MOST", |c| c.streams_most.to_string().into())),
    wide(&number("CONNECT", |c| seconds(c.connect_seconds))),
    wide(&number("HANDSHAKE", |c| seconds(c.handshake_seconds))),
    wide(&number("RTT-LEAST", |c| seconds(c.rtt_least_seconds))),
    wide(&number("PEER-RESENT", |c| count(c.retransmits.peer))),
    wide(&number("NO-ROOM", |c| count(c.zero_windows))),
    wide(&text("READS", |c| {
        or_dash(c.joined.as_ref(), |join| format!("{}+{}", join.reads_matched, join.reads_unmatched))
    })),
];

/// `inspect processes`.
pub const PROCESSES: ColumnSet<ProcessView> = &[
    number("PID", |p| p.pid.to_string().into()),
    number("UID", |p| or_dash(p.uid, |uid| uid.to_string())),
    name("COMM", 8, |p| p.comm.as_str().into()),
    name("SERVICE", 10, |p| p.service.as_str().into()),
    text("VISIBILITY", |p| tinted(&p.visibility, p.visibility == "plaintext")),
    text("REASON", |p| p.reason.as_str().into()),
    number("HELLOS", |p| count(p.hellos)),
    number("UNMATCHED", |p| count(p.unmatched)),
    name("LIBRARY", 20, |p| words(p.library.as_ref())),
    wide(&text("NAMESPACE", |p| words(p.k8s.namespace.as_ref()))),
    wide(&text("POD", |p| words(p.k8s.pod.as_ref()))),
];

/// `inspect probes`.
pub const PROBES: ColumnSet<ProbeView> = &[
    text("PROBE", |p| p.probe.as_str().into()),
    text("STACK", |p| words(p.stack.as_ref())),
    text("STATE", |p| tinted(&p.state, p.state == "ok" || p.state == "not_applicable")),
    text("PLACEMENT", |p| p.placement.as_str().into()),
    number("HITS", |p| count(p.hits)),
    name("TARGET", 24, |p| p.target.as_str().into()),
    wide(&number("PLACES", |p| if p.places.is_empty() { "-".into() } else { p.places.len().to_string().into() })),
    wide(&number("PROCESSES", |p| count(p.processes.map(u64::from)))),
    wide(&text("BUILD-ID", |p| words(p.build_id.as_ref()))),
    text("ANCHOR", |p| words(p.anchor.as_ref())),
    name("REASON", 12, |p| p.reason.as_str().into()),
];

fn gaps(gaps: &GapsView) -> TableCell {
    let show = |value: Option<f64>| seconds(value).text;
    format!("p50 {}, p95 {}, max {}", show(gaps.p50), show(gaps.p95), show(gaps.max)).into()
}

/// How many, how long and by whom.
fn stalls(stream: &StreamView) -> TableCell {
    let each: Vec<String> = stream
        .stalls
        .iter()
        .map(|stall| format!("{} {}", short_seconds(stall.seconds), stall.cause.as_deref().unwrap_or("unknown")))
        .collect();
    if each.is_empty() { "0".into() } else { format!("{}: {}", each.len(), each.join(", ")).into() }
}

fn tinted(text: &str, good: bool) -> TableCell {
    TableCell { text: text.to_owned(), tint: if good { CellColour::Good } else { CellColour::Bad } }
}

const TIMELINE: ColumnSet<PointView> = &[
    number("AT", |p| format!("{:.6}", p.seconds).into()),
    number("LAG", |p| seconds(p.lag_seconds)),
    text("KIND", |p| p.kind.as_str().into()),
    number("CHARS", |p| p.chars.to_string().into()),
    number("BYTES", |p| p.bytes.to_string().into()),
    number("WIRE", |p| p.wire_bytes.to_string().into()),
    wide(&text("READ", |p| p.t_read.as_str().into())),
    wide(&text("ARRIVED", |p| words(p.t_arrival.as_ref()))),
];

/// `inspect stream ID`: facts, milestones, and the timeline with the silence before each point.
#[must_use]
pub fn detail(detail: &StreamDetailView, wide: bool, style: TableStyle) -> String {
    let mut text = facts(&detail.stream, style);
    if detail.timeline_dropped > 0 {
        let _ = writeln!(text, "\n{} earlier points are not kept", detail.timeline_dropped);
    }
    if detail.timeline.is_empty() {
        return text;
    }
    let chosen: Vec<_> = TIMELINE.iter().filter(|column| wide || !column.wide).collect();
    let mut heads: Vec<TableColumn> = chosen.iter().map(|column| column.column).collect();
    heads.insert(1, TableColumn { head: "SINCE", right: true, least: None, usual: 0 });
    let mut before = None;
    let rows: Vec<Vec<TableCell>> = detail
        .timeline
        .iter()
        .map(|point| {
            let mut cells: Vec<TableCell> = chosen.iter().map(|column| (column.show)(point)).collect();
            cells.insert(1, seconds(before.map(|before| point.seconds - before)));
            before = Some(point.seconds);
            cells
        })
        .collect();
    text.push('\n');
    text.push_str(&TextTable::new(heads, style).render(&rows));
    text
}

fn firsts(firsts: &MilestonesView) -> TableCell {
    let show = |value: Option<f64>| seconds(value).text;
    format!(
        "byte {}, event {}, emitted {}, reasoning {}, visible {}, tool {}, sentence {}",
        show(firsts.byte),
        show(firsts.event),
        show(firsts.emitted),
        show(firsts.reasoning),
        show(firsts.visible),
        show(firsts.tool),
        show(firsts.sentence)
    )
    .into()
}

fn used(tokens: &TokensView) -> TableCell {
    format!(
        "{} in, {} out, {} cached, {} reasoning",
        count(tokens.input).text,
        count(tokens.output).text,
        count(tokens.cached).text,
        count(tokens.reasoning).text
    )
    .into()
}

fn facts(stream: &StreamView, style: TableStyle) -> String {
    let columns = vec![
        TableColumn { head: "CALL_LABELS", right: false, least: None, usual: 0 },
        TableColumn { head: "", right: false, least: None, usual: 0 },
    ];
    let row = |name: &str, cell: TableCell| vec![name.into(), cell];
    let rows = vec![
        row("id", stream.id.as_str().into()),
        row("service", format!("{} (pid {}, {})", stream.service, stream.pid, stream.comm).into()),
        row(
            "call",
            format!("{} {} at {}", stream.provider, stream.api, words(stream.server_address.as_ref()).text).into(),
        ),
        row(
            "model",
            format!("{} → {}", words(stream.request_model.as_ref()).text, words(stream.response_model.as_ref()).text)
                .into(),
        ),
        row("started", words(stream.started.as_ref())),
        row("outcome", outcome(stream)),
        row("finish", words(stream.finish_reason.as_ref())),
        row("duration", seconds(stream.duration_seconds)),
        row("first", firsts(&stream.first_seconds)),
        row(
            "chunks",
            format!(
                "{} of {} events in {} reads",
                count(stream.chunks).text,
                count(stream.events).text,
                count(stream.reads).text
            )
            .into(),
        ),
        row(
            "characters",
            format!(
                "{} visible, {} reasoning, {} tool",
                count(stream.visible_chars).text,
                count(stream.reasoning_chars).text,
                count(stream.tool_chars).text
            )
            .into(),
        ),
        row("gaps", gaps(&stream.gaps)),
        row("arrived", gaps(&stream.arrival_gaps)),
        row("stalls", stalls(stream)),
        row("tokens", used(&stream.tokens)),
        row(
            "lost",
            or_dash(stream.lost.cause.as_ref(), |cause| format!("{} bytes ({cause})", count(stream.lost.bytes).text)),
        ),
        row(
            "wire",
            or_dash(stream.wire.as_ref(), |wire| {
                format!("{} TLS records, {} bytes (padding makes sizes unreliable)", wire.records, wire.bytes)
            }),
        ),
        row("notes", if stream.notes.is_empty() { "-".into() } else { stream.notes.join(", ").into() }),
    ];
    TextTable::new(columns, style).render(&rows)
}
