//! Stage 6: one entry per call. `Utterance` in, `Entry` out.
//!
//! ```text
//! CallTable ┬─ open streams ── OpenCall (what a live call needs) ── Entry (the facts)
//!           └─ ended ring ──── Entry + its timeline
//! ```
//! Every fact is put down at the moment it becomes true, and is told to the `EventSink` at that moment.
//!
//! ```
//! use ledger::StreamGaps;
//!
//! let mut gaps = StreamGaps::default();
//! for milliseconds in [20, 21, 19, 900] {
//!     gaps.add(milliseconds * 1_000_000);
//! }
//! let stats = gaps.stats().expect("there are gaps");
//! assert!(stats.max == 0.9 && stats.stalled());
//! ```
#![deny(clippy::disallowed_methods, reason = "pure stage: time is an argument, no files")]
#![forbid(unsafe_code)]

mod callers;
mod calls;
mod connections;
mod conversation;
mod entry;
mod event;
mod gaps;
pub mod labels;
pub mod metric;
mod open_call;
pub mod pipeline;
mod sentence;
mod stalls;
mod timeline;
mod varint;

pub use calls::{CallLimits, CallNo, CallOpening, CallTable};
pub use connections::{ConnectionBirth, ConnectionEnd, ConnectionEvent, ModelConnection, ModelConnections};
pub use entry::{ByteLoss, Entry, ProviderStatement, WireCounts};
pub use event::{CallEvent, CallEventKind, EventKind, EventKinds, EventSink, HostEvent, MessageTap, UnprintedText};
pub use gaps::{GapStats, StreamGaps};
pub use labels::CallLabels;
pub use open_call::OpenCall;
pub use timeline::TimelinePoint;

use capture::units::Ns;

/// How a call ended. The wire names are the values of the `outcome` label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CallOutcome {
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

impl CallOutcome {
    /// Every outcome, in the order of the docs and labels.
    pub const ALL: [CallOutcome; 9] = [
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
pub enum CallMilestone {
    Byte,
    Event,
    Emitted,
    Reasoning,
    Visible,
    Tool,
    Audio,
    Sentence,
}

impl CallMilestone {
    /// Every milestone, in the order of the docs and labels.
    pub const ALL: [CallMilestone; 8] = [
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
pub struct MilestoneTimes {
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

impl MilestoneTimes {
    /// Seconds to one milestone.
    #[must_use]
    pub fn get(&self, milestone: CallMilestone) -> Option<f64> {
        match milestone {
            CallMilestone::Byte => self.byte,
            CallMilestone::Event => self.event,
            CallMilestone::Emitted => self.emitted,
            CallMilestone::Reasoning => self.reasoning,
            CallMilestone::Visible => self.visible,
            CallMilestone::Tool => self.tool,
            CallMilestone::Audio => self.audio,
            CallMilestone::Sentence => self.sentence,
        }
    }

    fn slot(&mut self, milestone: CallMilestone) -> &mut Option<f64> {
        match milestone {
            CallMilestone::Byte => &mut self.byte,
            CallMilestone::Event => &mut self.event,
            CallMilestone::Emitted => &mut self.emitted,
            CallMilestone::Reasoning => &mut self.reasoning,
            CallMilestone::Visible => &mut self.visible,
            CallMilestone::Tool => &mut self.tool,
            CallMilestone::Audio => &mut self.audio,
            CallMilestone::Sentence => &mut self.sentence,
        }
    }
}

/// A silence inside the answer: a gap between chunks longer than 500 ms and than 8 times the stream's median gap.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AnswerStall {
    /// When the silence began (the chunk before it).
    pub at: Ns,
    /// How long the silence was.
    pub seconds: f64,
    /// Who caused it: `provider`, `network`, `local`; `None` where the layers cannot tell.
    pub cause: Option<&'static str>,
}
