//! Stage 6: one entry per call. `Utterance` in, `Entry` out.

use std::sync::Arc;

use crate::dialect::{RequestFacts, Usage};
use crate::identity::Identity;
use crate::record::ConnKey;
use crate::units::{LossCause, Ns};

/// How a call ended. The wire names are the values of the `outcome` label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Outcome {
    /// The dialect's end marker came (or a whole non-stream answer with status 2xx).
    Complete,
    /// The framing or the connection ended in order, without the dialect's end marker.
    Truncated,
    /// The connection broke.
    Reset,
    /// The application closed before the end marker.
    ClientCancel,
    /// An error event inside a stream that began with 2xx.
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

/// Seconds from the request's first byte to each milestone; `None`: not seen (yet).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Firsts {
    /// First byte of the response head.
    pub byte: Option<f64>,
    /// First event of any kind.
    pub event: Option<f64>,
    /// First delta of any kind, reasoning and tools included.
    pub emitted: Option<f64>,
    /// First reasoning delta.
    pub reasoning: Option<f64>,
    /// First visible, non-whitespace text.
    pub visible: Option<f64>,
    /// First tool-call delta.
    pub tool: Option<f64>,
    /// First audio delta.
    pub audio: Option<f64>,
    /// End of the first visible sentence.
    pub sentence: Option<f64>,
}

/// A silence inside the answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stall {
    /// When the silence began (the chunk before it).
    pub at: Ns,
    /// Its length.
    pub seconds: f64,
    /// Who caused it: `provider`, `network`, `local`; `None` where the layers cannot tell.
    pub cause: Option<&'static str>,
}

/// One point of a stream's timeline.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// On the arrival clock, where known.
    pub t_arrival: Option<Ns>,
    /// On the read clock.
    pub t_read: Ns,
    /// `visible`, `reasoning`, `tool`, `refusal`, `audio`, `keepalive`, `event`, `gap`.
    pub kind: &'static str,
    /// Characters of the delta.
    pub chars: u32,
    /// Bytes of the event's data.
    pub bytes: u32,
    /// Bytes of the event on the wire (in the body).
    pub wire_bytes: u32,
}

/// One call, as far as it was seen. Facts not seen are `None`, never 0.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Short stable id for `inspect`.
    pub id: String,
    /// The connection.
    pub conn: ConnKey,
    /// Who made the call.
    pub identity: Arc<Identity>,
    /// `gen_ai.provider.name`.
    pub provider: &'static str,
    /// The dialect's `api`.
    pub api: &'static str,
    /// `gen_ai.operation.name`.
    pub operation: &'static str,
    /// `http/1.1` …
    pub protocol: &'static str,
    /// Host the request named.
    pub server_address: Option<String>,
    /// What the request asked for; `None` until the body was seen.
    pub request: Option<RequestFacts>,
    /// The model that answered, in its own word.
    pub response_model: Option<String>,
    /// The provider's response id.
    pub response_id: Option<String>,
    /// HTTP status.
    pub status: Option<u16>,
    /// First byte of the request.
    pub started: Ns,
    /// Last byte of the request.
    pub request_sent: Option<Ns>,
    /// When it ended.
    pub ended: Option<Ns>,
    /// How it ended; `None` while open.
    pub outcome: Option<Outcome>,
    /// The response is a stream of events.
    pub streaming: bool,
    /// Milestones.
    pub firsts: Firsts,
    /// Events of any kind, keep-alives excluded.
    pub events: u64,
    /// Events that carried a non-empty visible delta.
    pub chunks: u64,
    /// Visible characters (Unicode scalar values).
    pub visible_chars: u64,
    /// Reasoning characters.
    pub reasoning_chars: u64,
    /// Characters of tool calls: names and arguments.
    pub tool_chars: u64,
    /// Tokens as reported.
    pub usage: Usage,
    /// The provider's word.
    pub finish_reason: Option<String>,
    /// Type of an in-stream or HTTP error, in the provider's word.
    pub error_kind: Option<String>,
    /// SDK's retry mark: 0 for the first attempt.
    pub attempt: Option<u32>,
    /// Stalls so far.
    pub stalls: Vec<Stall>,
    /// Gap quantiles between visible chunks, seconds.
    pub gaps: Option<GapStats>,
    /// Last chunk of any kind.
    pub last_activity: Ns,
    /// Bytes lost, by cause.
    pub lost: Vec<(LossCause, u64)>,
    /// Oddities, by name.
    pub notes: Vec<String>,
}

/// Quantiles of the gaps between chunks, seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GapStats {
    /// Median.
    pub p50: f64,
    /// 95th percentile.
    pub p95: f64,
    /// Largest.
    pub max: f64,
}

/// A milestone of `Firsts`; the names are values of the `milestone` label.
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

/// What the ledger reports at the moment it happens: metrics and detectors are fed by these, not by polling.
#[derive(Debug)]
pub enum Happening<'a> {
    /// A call was recognised as LLM traffic.
    Opened(&'a Entry),
    /// A milestone was reached.
    First { entry: &'a Entry, milestone: Milestone, seconds: f64 },
    /// A chunk came (an event with a non-empty visible delta). `gap`: seconds since the chunk before it, `None` for the
    /// first one and where bytes were lost in between.
    Chunk { entry: &'a Entry, gap: Option<f64>, chars: u32 },
    /// A read brought `events` events.
    Read { entry: &'a Entry, events: u32 },
    /// A silence ended.
    Stall { entry: &'a Entry, stall: Stall },
    /// The call ended; the entry is final.
    Closed(&'a Entry),
    /// Bytes were lost on a connection that carries LLM traffic or is not decided yet.
    Lost { bytes: u64, cause: LossCause },
    /// A parser met something odd.
    Odd(crate::proto::Note),
}

/// Who listens to the ledger.
pub trait Audience {
    /// One thing that happened.
    fn hear(&mut self, happening: Happening<'_>);
}
