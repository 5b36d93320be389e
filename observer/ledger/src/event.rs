//! What the ledger reports at the moment it happens, and who is told. Metrics, detectors and exporters are fed by these
//! events, not by polling.
//!
//! ```text
//! CallTable ─┬─ CallEvent (of one call: its entry, the moment, what happened) ─┬─► EventSink
//!            └─ HostEvent (of a connection, a process, the observer itself)  ─┘
//! Pipeline ── Message of a claimed call, payload included ───────────────► MessageTap
//! ```

use std::net::SocketAddr;

use super::{AnswerStall, CallMilestone, ConnectionEvent, Entry, ModelConnection};
use capture::identity::ProcessIdentity;
use capture::proto::{Message, ProtocolNote, Salt};
use capture::units::{LossCause, Moment, Ns};
use dialects::prompt::Prompt;
use dialects::spans::ExportedSpan;

/// Something that happened to one call.
#[derive(Clone, Copy, Debug)]
pub struct CallEvent<'a> {
    /// The call, this event included.
    pub entry: &'a Entry,
    /// The latest moment that is known of the call.
    pub at: Ns,
    /// What happened.
    pub what: CallEventKind<'a>,
}

/// What happened to a call.
#[derive(Clone, Copy, Debug)]
pub enum CallEventKind<'a> {
    /// It was recognised as LLM traffic.
    Opened,
    /// The request is complete: `entry.request` says what it asked for.
    Requested,
    /// What the request says, without its words: right after `Requested`.
    Prompt(&'a Prompt),
    /// The head of the answer came: `entry.answered` says what is in it.
    Responded,
    /// A milestone was reached, `seconds` after the request began.
    First { milestone: CallMilestone, seconds: f64 },
    /// A piece of visible text passes: detectors match it, nobody keeps it.
    Text(UnprintedText<'a>),
    /// A chunk came (an event with a non-empty visible delta). `gap`: seconds since the chunk
    /// before it, on the read clock (of plain text: as they arrived); `None` for the first one and
    /// where bytes were lost in between; 0 within one read. `arrival_gap`: the same on the arrival
    /// clock, where the socket layer could tell. `chars`: Unicode scalar values.
    Chunk { gap: Option<f64>, arrival_gap: Option<f64>, chars: u32 },
    /// A read brought `events` events (at least one; keep-alives not counted). `lag`: seconds from
    /// the arrival of its bytes to its return, where both are known.
    Read { events: u32, lag: Option<f64> },
    /// A silence was judged a stall: after its end, as soon as the stream's median gap is known well enough.
    Stall(AnswerStall),
    /// A TLS record of an answer whose shape alone is seen. `gap`: seconds since the one before it.
    Record { gap: Option<f64> },
    /// The call ended; the entry is final.
    Closed,
}

impl<'a> CallEvent<'a> {
    /// The event of `entry` as it is now.
    #[must_use]
    pub fn new(entry: &'a Entry, what: CallEventKind<'a>) -> Self {
        let at = match what {
            CallEventKind::Opened => entry.started,
            CallEventKind::Closed => entry.ended.unwrap_or(entry.last_activity).max(entry.last_activity),
            _ => entry.last_activity,
        };
        CallEvent { entry, at, what }
    }
}

/// Something that happened on the host and to no single call.
#[derive(Clone, Copy, Debug)]
pub enum HostEvent<'a> {
    /// Bytes were lost on a connection that carries LLM traffic or is not decided yet. `None`: an unknown number.
    Lost { bytes: Option<u64>, cause: LossCause },
    /// Something became known of a connection that carries model calls.
    Connection { connection: &'a ModelConnection, news: ConnectionEvent },
    /// A process did something besides its model calls, which may be what an answer claims was
    /// done: it connected to `peer`, or a program was started in the tree below it. No process:
    /// some of that was not seen.
    Acted { tgid: Option<u32>, peer: Option<SocketAddr>, at: Ns },
    /// A process that calls models told `peer` of a span of its own.
    Exported { identity: &'a ProcessIdentity, span: &'a ExportedSpan, salt: &'a Salt, peer: Option<SocketAddr>, at: Ns },
    /// Such a process told of spans, and not all of them could be read: why.
    Unexported { identity: &'a ProcessIdentity, why: &'static str, at: Ns },
    /// A process that has speech made sent a message on, over a WebSocket of its own: its size, and when it began.
    SentOn { identity: &'a ProcessIdentity, bytes: usize, at: Ns },
    /// A parser met something odd.
    ParserNote(ProtocolNote),
    /// The control groups of a service that had streams used so many CPU seconds in the last so many seconds.
    CpuUsed { service: &'a str, used: f64, seconds: f64 },
}

impl HostEvent<'_> {
    /// When it happened, as far as it says.
    #[must_use]
    pub fn at(&self) -> Option<Ns> {
        match self {
            HostEvent::Acted { at, .. }
            | HostEvent::Exported { at, .. }
            | HostEvent::Unexported { at, .. }
            | HostEvent::SentOn { at, .. } => Some(*at),
            HostEvent::Lost { .. }
            | HostEvent::Connection { .. }
            | HostEvent::ParserNote(_)
            | HostEvent::CpuUsed { .. } => None,
        }
    }
}

/// The kinds of all events, to name those one wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    Opened,
    Requested,
    Prompt,
    Responded,
    First,
    Text,
    Chunk,
    Read,
    Stall,
    Record,
    Closed,
    Lost,
    Connection,
    Acted,
    Exported,
    Unexported,
    SentOn,
    ParserNote,
    CpuUsed,
}

impl CallEventKind<'_> {
    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> EventKind {
        match self {
            CallEventKind::Opened => EventKind::Opened,
            CallEventKind::Requested => EventKind::Requested,
            CallEventKind::Prompt(_) => EventKind::Prompt,
            CallEventKind::Responded => EventKind::Responded,
            CallEventKind::First { .. } => EventKind::First,
            CallEventKind::Text(_) => EventKind::Text,
            CallEventKind::Chunk { .. } => EventKind::Chunk,
            CallEventKind::Read { .. } => EventKind::Read,
            CallEventKind::Stall(_) => EventKind::Stall,
            CallEventKind::Record { .. } => EventKind::Record,
            CallEventKind::Closed => EventKind::Closed,
        }
    }
}

impl HostEvent<'_> {
    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> EventKind {
        match self {
            HostEvent::Lost { .. } => EventKind::Lost,
            HostEvent::Connection { .. } => EventKind::Connection,
            HostEvent::Acted { .. } => EventKind::Acted,
            HostEvent::Exported { .. } => EventKind::Exported,
            HostEvent::Unexported { .. } => EventKind::Unexported,
            HostEvent::SentOn { .. } => EventKind::SentOn,
            HostEvent::ParserNote(_) => EventKind::ParserNote,
            HostEvent::CpuUsed { .. } => EventKind::CpuUsed,
        }
    }
}

/// A set of kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventKinds(u32);

impl EventKinds {
    /// The set of these kinds.
    #[must_use]
    pub const fn of(kinds: &[EventKind]) -> Self {
        let (mut bits, mut rest) = (0, kinds);
        while let [first, others @ ..] = rest {
            bits |= 1 << *first as u32;
            rest = others;
        }
        EventKinds(bits)
    }

    /// Whether `kind` is one of them.
    #[must_use]
    pub const fn has(self, kind: EventKind) -> bool {
        self.0 & (1 << kind as u32) != 0
    }
}

/// Somebody's words: they never print.
#[derive(Clone, Copy)]
pub struct UnprintedText<'a>(pub &'a str);

impl std::fmt::Debug for UnprintedText<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

/// Who is told of events: metrics, detectors, an exporter. A sink is called on the pipeline's thread, so it must return
/// soon: what takes time or may wait belongs to a thread of its own, behind a bounded queue.
pub trait EventSink {
    /// Something happened to a call.
    fn on_call_event(&mut self, event: &CallEvent<'_>);

    /// Something happened on the host.
    fn on_host_event(&mut self, _event: &HostEvent<'_>) {}

    /// Time passed (a few times a second).
    fn on_tick(&mut self, _now: Ns) {}
}

/// Nobody is told.
impl EventSink for () {
    fn on_call_event(&mut self, _: &CallEvent<'_>) {}
}

/// Tells `sink` what happened to the call of `entry`.
pub(super) fn emit(sink: &mut dyn EventSink, entry: &Entry, what: CallEventKind<'_>) {
    sink.on_call_event(&CallEvent::new(entry, what));
}

/// Who is shown each message of a claimed call, payload included, after the ledger took note of it (`End`: before the
/// entry closes). The recorder is; whoever exports must not be.
pub trait MessageTap {
    /// One message.
    fn on_message(&mut self, entry: &Entry, at: Moment, message: &Message<'_>);
}

/// Nobody is shown anything.
impl MessageTap for () {
    fn on_message(&mut self, _: &Entry, _: Moment, _: &Message<'_>) {}
}
