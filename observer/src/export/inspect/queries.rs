//! What `inspect` and `replay` ask of the pipeline, answered. Runs on the pipeline's thread, so it takes down no more
//! than it must: of streams a share of each entry, which become rows where the answer is written.

use std::sync::Arc;

use crate::export::inspect::connection::ConnectionView;
use crate::export::inspect::view::{StreamDetailView, StreamView};
use crate::export::inspect::{AnswerRow, finding, quota};
use capture::conn::SocketTable;
use capture::units::Ns;
use detectors::{DetectorSet, FindingTable};
use edge::clock::WallClock;
use ledger::{CallTable, Entry, ModelConnections};

/// Streams as they were at one moment.
#[derive(Debug)]
pub struct StreamsSnapshot {
    /// Each with the id of the call that it continues.
    calls: Vec<(Arc<Entry>, Option<Box<str>>)>,
    now: Ns,
    wall: WallClock,
}

impl StreamsSnapshot {
    /// Open streams, those that ended within `since_seconds` and those named in `also`.
    #[must_use]
    pub fn new(
        call_table: &CallTable,
        findings: &FindingTable,
        since_seconds: f64,
        also: &[String],
        now: Ns,
        wall: &WallClock,
    ) -> StreamsSnapshot {
        let recent = |entry: &Entry| {
            entry.ended.is_none_or(|ended| now.seconds_since(ended) <= since_seconds) || also.contains(&entry.id)
        };
        let ended = call_table.ended_shared().filter(|entry| recent(entry)).map(Arc::clone);
        let open = call_table.open().map(|entry| Arc::new(entry.clone()));
        let hop = |entry: Arc<Entry>| {
            let of = hop_of(&entry, findings).map(Box::from);
            (entry, of)
        };
        StreamsSnapshot { calls: ended.chain(open).map(hop).collect(), now, wall: *wall }
    }

    /// A row each, in the order in which they began.
    #[must_use]
    pub fn rows(mut self) -> Vec<AnswerRow> {
        self.calls.sort_by_key(|(entry, _)| entry.started);
        let row = |(entry, hop): &(Arc<Entry>, Option<Box<str>>)| {
            AnswerRow::Stream(Box::new(StreamView::new(entry, hop.as_deref(), self.now, &self.wall)))
        };
        self.calls.iter().map(row).collect()
    }
}

/// The one stream whose id begins with `prefix`, with its timeline.
///
/// # Errors
/// `prefix` names none, or more than one.
pub fn stream(
    call_table: &CallTable,
    findings: &FindingTable,
    prefix: &str,
    now: Ns,
    wall: &WallClock,
) -> Result<AnswerRow, String> {
    let mut ids: Vec<&str> = call_table
        .open()
        .chain(call_table.ended())
        .map(|e| e.id.as_str())
        .filter(|id| id.starts_with(prefix))
        .collect();
    ids.sort_unstable();
    ids.dedup();
    match ids.as_slice() {
        [] => {
            Err(format!("no stream with an id that begins with {prefix:?}: `llm-observer inspect streams` lists them"))
        }
        [id] => {
            let (entry, points, before) = call_table.find(id).ok_or("the stream has just been forgotten")?;
            let stream = StreamView::new(entry, hop_of(entry, findings), now, wall);
            Ok(AnswerRow::Detail(Box::new(StreamDetailView::new(stream, entry, &points, before, wall))))
        }
        [first, second, ..] => {
            Err(format!("more than one stream begins with {prefix:?} ({first}, {second} …): give more of the id"))
        }
    }
}

/// Of which call this one is the continuation.
fn hop_of<'a>(entry: &Entry, findings: &'a FindingTable) -> Option<&'a str> {
    findings.hop_of(&(entry.conn, entry.exchange))
}

/// Findings that last and those that were over within `since_seconds`, or those that `id` names.
///
/// # Errors
/// `id` names none, or more than one.
pub fn findings(
    detectors: &DetectorSet,
    since_seconds: f64,
    id: Option<&str>,
    now: Ns,
    wall: &WallClock,
) -> Result<Vec<AnswerRow>, String> {
    let all = detectors.findings().list();
    let wanted: Vec<_> = match id {
        Some(id) => all.into_iter().filter(|finding| finding.id.starts_with(id)).collect(),
        None => all.into_iter().filter(|f| f.ended.is_none_or(|at| now.seconds_since(at) <= since_seconds)).collect(),
    };
    match (id, wanted.as_slice()) {
        (Some(id), []) => {
            Err(format!("no finding with an id that begins with {id:?}: `llm-observer inspect findings` lists them"))
        }
        (Some(id), [first, second, ..]) => Err(format!(
            "more than one finding begins with {id:?} ({}, {} …): give more of the id",
            first.id, second.id
        )),
        _ => Ok(wanted
            .into_iter()
            .map(|f| AnswerRow::Finding(Box::new(finding::FindingView::new(f, now, wall))))
            .collect()),
    }
}

/// Open connections that have carried a model call, in the order in which they were opened.
#[must_use]
pub fn connections(links: &ModelConnections, sockets: &SocketTable, now: Ns, wall: &WallClock) -> Vec<AnswerRow> {
    let mut links: Vec<_> = links.iter().collect();
    links.sort_by_key(|link| (link.opened, link.conn));
    let view = |link| AnswerRow::Connection(Box::new(ConnectionView::new(link, sockets, now, wall)));
    links.into_iter().map(view).collect()
}

/// Every quota known.
#[must_use]
pub fn quotas(detectors: &DetectorSet, now: Ns, wall: &WallClock) -> Vec<AnswerRow> {
    detectors.quota().iter().map(|row| AnswerRow::Quota(quota::QuotaView::new(row, now, wall))).collect()
}
