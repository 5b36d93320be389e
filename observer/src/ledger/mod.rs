//! Stage 6: one entry per call. `Utterance` in, `Entry` out.
//!
//! ```text
//! Book ── open streams ── Stream (what a live call needs) ── Entry (the facts)
//!      └─ ended ring ──── Entry + its timeline
//! ```
//! Every fact is put down at the moment it becomes true, and is told to the `Audience` at that moment.
#![deny(clippy::disallowed_methods, reason = "pure stage: time is an argument, no files")]

mod book;
mod callers;
mod conversation;
mod entry;
mod gaps;
mod links;
mod sentence;
mod stalls;
mod stream;
mod timeline;
mod varint;

pub use book::{Book, Limits, Opening, StreamNo};
pub use entry::{Entry, Loss, Said, WireCounts};
pub use gaps::{GapStats, Gaps};
pub use links::{Birth, Link, LinkEnd, Links, News};
pub use stream::Stream;
pub use timeline::Point;

use std::net::SocketAddr;

use crate::dialect::prompt::Prompt;
use crate::identity::Identity;
use crate::proto::{Message, Note, Salt};
use crate::spans::Span;
use crate::units::{LossCause, Moment, Ns};

/// How a call ended. The wire names are the values of the `outcome` label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Outcome {
    /// The dialect's end marker came (or a whole non-stream answer with status below 400).
    Complete,
    /// The framing or the connection ended in order, without the dialect's end marker.
    Truncated,
    /// The connection broke.
    Reset,
    /// The application closed before the end marker.
    ClientCancel,
    /// An error event inside a stream that began with 2xx, even if the stream went on to its end marker (vLLM does).
    ErrorEvent,
    /// A status of 4xx or 5xx.
    HttpError,
    /// Nothing came for longer than the idle limit, and then the application gave up.
    IdleTimeout,
    /// The process ended with the stream open.
    ProcessExit,
    /// The observer lost the stream: its end is unknown.
    Lost,
}

impl Outcome {
    /// Every outcome, in the order of interface.md.
    pub const ALL: [Outcome; 9] = [
        Self::Complete,
        Self::Truncated,
        Self::Reset,
        Self::ClientCancel,
        Self::ErrorEvent,
        Self::HttpError,
        Self::IdleTimeout,
        Self::ProcessExit,
        Self::Lost,
    ];

    /// The value of the `outcome` label.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Truncated => "truncated",
            Self::Reset => "reset",
            Self::ClientCancel => "client_cancel",
            Self::ErrorEvent => "error_event",
            Self::HttpError => "http_error",
            Self::IdleTimeout => "idle_timeout",
            Self::ProcessExit => "process_exit",
            Self::Lost => "lost",
        }
    }
}

/// A milestone of a call; the names are values of the `milestone` label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Milestone {
    Byte,
    Event,
    Emitted,
    Reasoning,
    Visible,
    Tool,
    Audio,
    Sentence,
}

impl Milestone {
    /// Every milestone, in the order of interface.md.
    pub const ALL: [Milestone; 8] = [
        Self::Byte,
        Self::Event,
        Self::Emitted,
        Self::Reasoning,
        Self::Visible,
        Self::Tool,
        Self::Audio,
        Self::Sentence,
    ];

    /// The value of the `milestone` label.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Byte => "byte",
            Self::Event => "event",
            Self::Emitted => "emitted",
            Self::Reasoning => "reasoning",
            Self::Visible => "visible",
            Self::Tool => "tool",
            Self::Audio => "audio",
            Self::Sentence => "sentence",
        }
    }
}

/// Seconds from the request's first byte to each milestone. `None`: not reached, or bytes were lost before it, so that
/// the first one seen need not be the first. All but `byte` are milestones of a stream of events: an answer that comes
/// as one JSON body has none of them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Firsts {
    /// First byte of the response head.
    pub byte: Option<f64>,
    /// First event of any kind but a keep-alive.
    pub event: Option<f64>,
    /// First non-empty delta of any kind, reasoning and tools included.
    pub emitted: Option<f64>,
    /// First reasoning delta.
    pub reasoning: Option<f64>,
    /// First visible, non-whitespace text.
    pub visible: Option<f64>,
    /// First tool-call delta.
    pub tool: Option<f64>,
    /// First audio delta.
    pub audio: Option<f64>,
    /// End of the first visible sentence (see `sentence`).
    pub sentence: Option<f64>,
}

impl Firsts {
    /// Seconds to one milestone.
    #[must_use]
    pub fn get(&self, milestone: Milestone) -> Option<f64> {
        match milestone {
            Milestone::Byte => self.byte,
            Milestone::Event => self.event,
            Milestone::Emitted => self.emitted,
            Milestone::Reasoning => self.reasoning,
            Milestone::Visible => self.visible,
            Milestone::Tool => self.tool,
            Milestone::Audio => self.audio,
            Milestone::Sentence => self.sentence,
        }
    }

    fn slot(&mut self, milestone: Milestone) -> &mut Option<f64> {
        match milestone {
            Milestone::Byte => &mut self.byte,
            Milestone::Event => &mut self.event,
            Milestone::Emitted => &mut self.emitted,
            Milestone::Reasoning => &mut self.reasoning,
            Milestone::Visible => &mut self.visible,
            Milestone::Tool => &mut self.tool,
            Milestone::Audio => &mut self.audio,
            Milestone::Sentence => &mut self.sentence,
        }
    }
}

/// A silence inside the answer: a gap between chunks longer than 500 ms and than 8 times the stream's median gap.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stall {
    /// When the silence began (the chunk before it).
    pub at: Ns,
    /// Its length.
    pub seconds: f64,
    /// Who caused it: `provider`, `network`, `local`; `None` where the layers cannot tell.
    pub cause: Option<&'static str>,
}

/// What the ledger reports at the moment it happens: metrics and detectors are fed by these, not by polling.
#[derive(Debug)]
pub enum Happening<'a> {
    /// A call was recognised as LLM traffic.
    Opened(&'a Entry),
    /// The request is complete: `entry.request` says what it asked for.
    Requested(&'a Entry),
    /// What the request says, without its words: right after `Requested`.
    Prompt { entry: &'a Entry, prompt: &'a Prompt },
    /// The head of the answer came: `entry.answered` says what is in it.
    Responded(&'a Entry),
    /// A milestone was reached.
    First { entry: &'a Entry, milestone: Milestone, seconds: f64 },
    /// A piece of visible text passes: detectors match it, nobody keeps it.
    Said { entry: &'a Entry, text: Unprinted<'a> },
    /// A chunk came (an event with a non-empty visible delta). `gap`: seconds since the chunk before it, on the read
    /// clock (of plain text: as they arrived); `None` for the first one and where bytes were lost in between; 0 within one
    /// read. `arrival_gap`: the same on the arrival clock, where the socket layer could tell. `chars`: Unicode scalar values.
    Chunk { entry: &'a Entry, gap: Option<f64>, arrival_gap: Option<f64>, chars: u32 },
    /// A read brought `events` events (at least one; keep-alives not counted). `lag`: seconds from the arrival of its bytes to
    /// its return, where both are known.
    Read { entry: &'a Entry, events: u32, lag: Option<f64> },
    /// A silence was judged a stall: after its end, as soon as the stream's median gap is known well enough.
    Stall { entry: &'a Entry, stall: Stall },
    /// The call ended; the entry is final.
    Closed(&'a Entry),
    /// Bytes were lost on a connection that carries LLM traffic or is not decided yet. `None`: an unknown number.
    Lost { bytes: Option<u64>, cause: LossCause },
    /// A TLS record of an answer whose shape alone is seen. `gap`: seconds since the one before it.
    Record { entry: &'a Entry, gap: Option<f64> },
    /// Something became known of a connection that carries model calls.
    Link { link: &'a Link, news: News },
    /// A process did something besides its model calls, which may be what an answer claims was done: it connected to `peer`, or a
    /// program was started in the tree below it. No process: some of that was not seen.
    Acted { tgid: Option<u32>, peer: Option<SocketAddr>, at: Ns },
    /// A process that calls models told `peer` of a span of its own.
    Exported { identity: &'a Identity, span: &'a Span, salt: &'a Salt, peer: Option<SocketAddr>, at: Ns },
    /// It told of spans, and not all of them could be read: why.
    Unexported { identity: &'a Identity, why: &'static str, at: Ns },
    /// A process that has speech made sent a message on, over a WebSocket of its own: its size, and when it began.
    SentOn { identity: &'a Identity, bytes: usize, at: Ns },
    /// A parser met something odd.
    Odd(Note),
}

/// Somebody's words: they never print.
#[derive(Clone, Copy)]
pub struct Unprinted<'a>(pub &'a str);

impl std::fmt::Debug for Unprinted<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

/// Who listens to the ledger.
pub trait Audience {
    /// One thing that happened.
    fn hear(&mut self, happening: Happening<'_>);

    /// Time passed.
    fn tick(&mut self, _now: Ns) {}

    /// A message of a claimed call, payload included, after the ledger took note of it (`End`: before the entry closes).
    /// For `recording` alone; whoever exports must not listen.
    fn overhear(&mut self, _entry: &Entry, _at: Moment, _message: &Message<'_>) {}
}

/// Nobody listens.
impl Audience for () {
    fn hear(&mut self, _: Happening<'_>) {}
}
