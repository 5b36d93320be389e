//! The serialisable form of entries, processes and probes: a contract with whoever reads `-o json`.
//! Fields may be added, never renamed. What was not seen is `null`, never 0.

use serde::{Deserialize, Serialize};

pub use super::coverage::{ProbeView, ProcessView};
use crate::export::labels::port_named;
use capture::units::Ns;
use edge::clock::WallClock;
use ledger::{AnswerStall, Entry, ProviderStatement, TimelinePoint};

/// One stream.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StreamView {
    pub id: String,
    pub conversation: Option<String>,
    pub service: String,
    pub pid: u32,
    /// Effective user id, as the host counts; `null`: the process was gone before it could be asked.
    pub uid: Option<u32>,
    pub comm: String,
    pub k8s: K8sView,
    pub container_id: Option<String>,
    pub provider: String,
    pub server_address: Option<String>,
    pub server_port: Option<u16>,
    pub remote: RemoteView,
    pub protocol: String,
    pub api: String,
    pub operation: String,
    pub request_model: Option<String>,
    pub response_model: Option<String>,
    /// Whether the answer is a stream of events.
    pub streaming: bool,
    pub status: Option<u16>,
    /// `null` while open.
    pub outcome: Option<String>,
    /// RFC 3339, UTC, nanoseconds; `null` for a call that ran already when it was found.
    pub started: Option<String>,
    pub ended: Option<String>,
    /// So far, while open; `null` when the beginning is not known.
    pub duration_seconds: Option<f64>,
    /// Since the last sign of progress; `null` once ended.
    pub idle_seconds: Option<f64>,
    pub first_seconds: MilestonesView,
    pub events: Option<u64>,
    pub keepalives: Option<u64>,
    pub reads: Option<u64>,
    pub chunks: Option<u64>,
    pub visible_chars: Option<u64>,
    pub reasoning_chars: Option<u64>,
    pub tool_chars: Option<u64>,
    pub refusal_chars: Option<u64>,
    /// Bytes of the response's body, decoded.
    pub body_bytes: u64,
    /// Bytes of sound among them.
    pub media_bytes: u64,
    /// As the application read them; of plain text, as they arrived.
    pub gaps: GapsView,
    /// As they arrived at the host, where the socket layer could tell.
    pub arrival_gaps: GapsView,
    pub stalls: Vec<StallView>,
    pub tokens: TokensView,
    pub finish_reason: Option<String>,
    pub error_kind: Option<String>,
    /// The provider's id of the request (a header), and of the answer (in it).
    pub request_id: Option<String>,
    pub response_id: Option<String>,
    /// What the provider said of itself, in order.
    pub marks: Vec<MarkView>,
    /// The server's account of its own work, milliseconds.
    pub server_ms: ServerMs,
    pub attempt: Option<u32>,
    pub hop_of: Option<String>,
    pub visibility: String,
    /// Of a shape: what came of the answer. Sizes are unreliable: providers pad.
    pub wire: Option<WireView>,
    pub lost: LostBytesView,
    pub notes: Vec<String>,
}

/// One stream with its timeline.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StreamDetailView {
    #[serde(flatten)]
    pub stream: StreamView,
    /// Points before the first one of `timeline`, which are not kept.
    pub timeline_dropped: u64,
    pub timeline: Vec<PointView>,
}

/// All `null` outside Kubernetes.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct K8sView {
    pub namespace: Option<String>,
    /// `null` where the pod's name does not tell it.
    pub workload: Option<String>,
    pub workload_kind: Option<String>,
    pub pod: Option<String>,
    pub pod_uid: Option<String>,
    pub container: Option<String>,
    pub node: Option<String>,
}

/// The peer's address, where the socket hook saw the connection.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct RemoteView {
    pub ip: Option<String>,
    pub port: Option<u16>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MilestonesView {
    pub byte: Option<f64>,
    pub event: Option<f64>,
    pub emitted: Option<f64>,
    pub reasoning: Option<f64>,
    pub visible: Option<f64>,
    pub tool: Option<f64>,
    pub audio: Option<f64>,
    pub sentence: Option<f64>,
}

/// Seconds between visible chunks.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct GapsView {
    pub p50: Option<f64>,
    pub p95: Option<f64>,
    pub max: Option<f64>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StallView {
    pub at: String,
    pub seconds: f64,
    pub cause: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TokensView {
    pub input: Option<u64>,
    pub output: Option<u64>,
    pub cached: Option<u64>,
    pub cache_write: Option<u64>,
    pub reasoning: Option<u64>,
    pub audio_input: Option<u64>,
    pub audio_output: Option<u64>,
}

/// A word of the provider's: `fingerprint`, `tier`, `upstream`, `model` (where it changed), `fallback`, `blocked`,
/// `continuation`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MarkView {
    pub mark: String,
    pub value: String,
    pub at: String,
}

/// Times by the server's own clock.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ServerMs {
    /// Until the response head.
    pub head: Option<f64>,
    pub queue: Option<f64>,
    pub prompt: Option<f64>,
    pub generation: Option<f64>,
    pub first: Option<f64>,
    pub total: Option<f64>,
}

/// An answer on the wire.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct WireView {
    /// TLS records.
    pub records: u64,
    pub bytes: u64,
}

/// Bytes of the response that the observer lost: 0 and `null` when nothing was lost, `bytes` `null` when some of the
/// losses are of unknown size. `cause`: the first one.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LostBytesView {
    pub bytes: Option<u64>,
    pub cause: Option<String>,
}

/// One point of a timeline.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PointView {
    /// Seconds from the first byte of the request to `t_read`.
    pub seconds: f64,
    pub t_arrival: Option<String>,
    pub t_read: String,
    /// From arrival to read; `null` where one of them is not known.
    pub lag_seconds: Option<f64>,
    pub kind: String,
    pub chars: u32,
    pub bytes: u32,
    pub wire_bytes: u32,
}

impl StreamView {
    /// The view of an entry at `now`. `hop_of`: the call that it continues.
    #[must_use]
    pub fn new(entry: &Entry, hop_of: Option<&str>, now: Ns, wall: &WallClock) -> StreamView {
        let owned = |text: &str| text.to_owned();
        let began = !entry.mid_stream;
        // Of a shape nothing inside is known.
        let seen = |count: u64| (!entry.shape).then_some(count);
        StreamView {
            id: entry.id.clone(),
            conversation: entry.conversation.map(|hash| format!("{:012x}", hash & 0xffff_ffff_ffff)),
            service: entry.identity.service.clone(),
            pid: entry.identity.pid,
            uid: entry.identity.uid,
            comm: entry.identity.comm.clone(),
            k8s: K8sView::new(&entry.identity.k8s),
            container_id: entry.identity.container_id.clone(),
            provider: owned(entry.provider),
            server_address: entry.server_address.as_ref().map(|_| owned(entry.host())),
            server_port: port_named(entry),
            remote: RemoteView::new(entry.remote),
            protocol: owned(entry.protocol),
            api: owned(entry.api),
            operation: owned(entry.operation),
            request_model: entry.request.as_ref().and_then(|request| request.model.clone()),
            response_model: entry.response_model.clone(),
            streaming: entry.streaming,
            status: entry.status,
            outcome: entry.outcome.map(|outcome| owned(outcome.name())),
            started: began.then(|| wall.rfc3339(entry.started)),
            ended: entry.ended.map(|at| wall.rfc3339(at)),
            duration_seconds: began.then(|| entry.duration_seconds(now)),
            idle_seconds: entry.idle_seconds(now),
            first_seconds: MilestonesView::new(&entry.firsts),
            events: seen(entry.events),
            keepalives: seen(entry.keepalives),
            reads: seen(entry.reads),
            chunks: seen(entry.chunks),
            visible_chars: seen(entry.visible_chars),
            reasoning_chars: seen(entry.reasoning_chars),
            tool_chars: seen(entry.tool_chars),
            refusal_chars: seen(entry.refusal_chars),
            body_bytes: entry.body_bytes,
            media_bytes: entry.media_bytes,
            gaps: GapsView::new(entry.gap_stats()),
            arrival_gaps: GapsView::new(entry.arrival_gaps.stats()),
            stalls: entry.stalls.iter().map(|stall| StallView::new(stall, wall)).collect(),
            tokens: TokensView::new(entry),
            finish_reason: entry.finish_reason.clone(),
            error_kind: entry.error_kind.clone(),
            request_id: entry.answered.as_ref().and_then(|answered| answered.request_id.clone()),
            response_id: entry.response_id.clone(),
            marks: entry.marks.iter().map(|said| MarkView::new(said, wall)).collect(),
            server_ms: ServerMs::new(entry),
            attempt: entry.attempt,
            hop_of: hop_of.map(owned),
            visibility: owned(if entry.shape { "shape" } else { "plaintext" }),
            wire: entry.shape.then_some(WireView { records: entry.wire.records, bytes: entry.wire.bytes }),
            lost: LostBytesView::new(entry),
            notes: entry.notes.iter().map(|note| owned(note)).collect(),
        }
    }
}

impl StreamDetailView {
    /// The view of an entry with its timeline, of which `before` points are gone.
    #[must_use]
    pub fn new(
        stream: StreamView,
        entry: &Entry,
        points: &[TimelinePoint],
        before: u64,
        wall: &WallClock,
    ) -> StreamDetailView {
        let timeline = points.iter().map(|point| PointView::new(point, entry, wall)).collect();
        StreamDetailView { stream, timeline_dropped: before, timeline }
    }
}

impl RemoteView {
    /// The view of an address.
    #[must_use]
    pub fn new(address: Option<std::net::SocketAddr>) -> RemoteView {
        RemoteView { ip: address.map(|at| at.ip().to_string()), port: address.map(|at| at.port()) }
    }
}

impl K8sView {
    pub(super) fn new(k8s: &edge::identity::K8sIdentity) -> K8sView {
        let edge::identity::K8sIdentity { namespace, workload, workload_kind, pod, pod_uid, container, node } =
            k8s.clone();
        K8sView { namespace, workload, workload_kind, pod, pod_uid, container, node }
    }
}

impl MilestonesView {
    fn new(firsts: &ledger::MilestoneTimes) -> MilestonesView {
        let ledger::MilestoneTimes { byte, event, emitted, reasoning, visible, tool, audio, sentence } = *firsts;
        MilestonesView { byte, event, emitted, reasoning, visible, tool, audio, sentence }
    }
}

impl GapsView {
    fn new(stats: Option<ledger::GapStats>) -> GapsView {
        match stats {
            Some(gaps) => GapsView { p50: Some(gaps.p50), p95: Some(gaps.p95), max: Some(gaps.max) },
            None => GapsView::default(),
        }
    }
}

impl StallView {
    fn new(stall: &AnswerStall, wall: &WallClock) -> StallView {
        StallView { at: wall.rfc3339(stall.at), seconds: stall.seconds, cause: stall.cause.map(str::to_owned) }
    }
}

impl TokensView {
    fn new(entry: &Entry) -> TokensView {
        let usage = entry.usage;
        TokensView {
            input: usage.input,
            output: usage.output,
            cached: usage.cached,
            cache_write: usage.cache_write,
            reasoning: usage.reasoning,
            audio_input: usage.audio_input,
            audio_output: usage.audio_output,
        }
    }
}

impl MarkView {
    fn new(said: &ProviderStatement, wall: &WallClock) -> MarkView {
        MarkView { mark: said.mark.name().to_owned(), value: said.value.clone(), at: wall.rfc3339(said.at) }
    }
}

impl ServerMs {
    fn new(entry: &Entry) -> ServerMs {
        let times = entry.server_times;
        ServerMs {
            head: entry.answered.as_ref().and_then(|answered| answered.processing_ms),
            queue: times.queue_ms,
            prompt: times.prompt_ms,
            generation: times.generation_ms,
            first: times.first_ms,
            total: times.total_ms,
        }
    }
}

impl LostBytesView {
    fn new(entry: &Entry) -> LostBytesView {
        let bytes = entry.lost.iter().try_fold(0_u64, |sum, loss| Some(sum.saturating_add(loss.bytes?)));
        LostBytesView { bytes, cause: entry.lost.first().map(|loss| loss.cause.name().to_owned()) }
    }
}

impl PointView {
    fn new(point: &TimelinePoint, entry: &Entry, wall: &WallClock) -> PointView {
        PointView {
            seconds: point.t_read.seconds_since(entry.started),
            t_arrival: point.t_arrival.map(|at| wall.rfc3339(at)),
            t_read: wall.rfc3339(point.t_read),
            lag_seconds: point.t_arrival.filter(|_| !entry.arrival_only()).map(|at| point.t_read.seconds_since(at)),
            kind: point.kind.to_owned(),
            chars: point.chars,
            bytes: point.bytes,
            wire_bytes: point.wire_bytes,
        }
    }
}
