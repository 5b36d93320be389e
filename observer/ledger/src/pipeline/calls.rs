//! What is open on one connection: calls, requests that may yet be one, and sockets with calls of their own.

use super::exports::SpanExports;
use super::media::MediaSockets;
use super::turns::WebSocketCalls;
use crate::CallNo;
use capture::proto::{ExchangeId, Message, RequestHead, ResponseHead};
use capture::units::Moment;
use dialects::look::{self, AnswerEvidence, BodyProbe};
use dialects::prompt::{Prompt, PromptScan};
use dialects::{Dialect, DialectRow, RequestFacts};

/// What is open on one connection.
#[derive(Default)]
pub(super) struct OpenCalls {
    pub(super) open: Vec<InFlightCall>,
    pub(super) pending: Vec<PendingRequest>,
    pub(super) sockets: Vec<WebSocketCalls>,
    pub(super) exports: SpanExports,
    pub(super) media: MediaSockets,
    /// What is odd about the connection and concerns every call on it: `limits::NOTES` at most.
    marks: Vec<&'static str>,
}

/// An exchange that a dialect claimed.
pub(super) struct InFlightCall {
    pub(super) exchange: ExchangeId,
    pub(super) stream: CallNo,
    pub(super) dialect: Box<dyn Dialect>,
    /// Until the request is complete. Boxed: the answer takes far longer.
    pub(super) prompt: Option<Box<PromptScan>>,
}

impl InFlightCall {
    /// What a message adds to the prompt; the prompt, once it is complete.
    pub(super) fn prompt(&mut self, message: &Message<'_>) -> Option<Prompt> {
        match message {
            Message::RequestBody(bytes) => {
                if let Some(scan) = &mut self.prompt {
                    scan.push(bytes);
                }
                None
            }
            Message::RequestEnd { lost } => self.prompt.take().map(|mut scan| scan.end(*lost)),
            _ => None,
        }
    }
}

/// A request that no dialect claimed, whose answer is awaited: it may be a stream of events.
pub(super) struct PendingRequest {
    pub(super) exchange: ExchangeId,
    pub(super) at: Moment,
    pub(super) head: RequestHead,
    pub(super) dialect: Box<dyn Dialect>,
    /// What the request asked for, once it is complete.
    pub(super) facts: Option<(RequestFacts, Moment)>,
    /// Oddities so far.
    pub(super) notes: Vec<&'static str>,
    /// The request does not even go where model calls go.
    pub(super) stranger: bool,
    /// The dialect that owns the path, until the body shows whether the claim holds.
    pub(super) doubt: Option<Box<TentativeClaim>>,
}

/// The dialect that claims a request by its path, if the body looks like it.
pub(super) struct TentativeClaim {
    pub(super) row: &'static DialectRow,
    pub(super) dialect: Box<dyn Dialect>,
    pub(super) prompt: PromptScan,
    pub(super) look: BodyProbe,
    /// What it asks for, and when it was complete, where the answer must tell.
    pub(super) asks: Option<(RequestFacts, Moment)>,
    /// The answer so far: its head, and its first bytes (`look::ANSWER` at most, and what came with them).
    pub(super) answer: Option<(ResponseHead, Moment)>,
    pub(super) first: Vec<u8>,
    pub(super) since: Moment,
}

impl PendingRequest {
    /// What a message says of a request in doubt. `Some`: whether it is what its path says.
    pub(super) fn settle(&mut self, message: &Message<'_>, at: Moment) -> Option<bool> {
        let doubt = self.doubt.as_mut()?;
        match message {
            Message::RequestBody(bytes) => {
                doubt.look.push(bytes);
                doubt.prompt.push(bytes);
                doubt.dialect.request_body(bytes);
                None
            }
            Message::RequestEnd { lost } if doubt.look.sure() || !doubt.look.fits(*lost) => {
                Some(doubt.look.fits(*lost))
            }
            Message::RequestEnd { lost } => {
                doubt.asks = Some((doubt.dialect.request_end(*lost), at));
                None
            }
            // It was answered before it was complete.
            Message::Response(_) if doubt.asks.is_none() => Some(doubt.look.fits(true)),
            Message::Response(head) => {
                doubt.answer = Some(((*head).clone(), at));
                fits(look::answer_head(head))
            }
            Message::Event(event) => fits(look::answer_begins(event.data, true)),
            Message::Body(bytes) => {
                if doubt.first.is_empty() {
                    doubt.since = at;
                }
                doubt.first.extend_from_slice(bytes);
                fits(look::answer_begins(&doubt.first, false))
            }
            // What is not seen leaves the claim to the path.
            Message::Gap { .. } => Some(true),
            _ => None,
        }
    }

    /// Nothing more comes of it: whether it may be what its path says.
    pub(super) fn may_fit(&self) -> bool {
        let fits = |doubt: &TentativeClaim| {
            doubt.look.fits(true)
                && (doubt.answer.is_none() || look::answer_begins(&doubt.first, true) == AnswerEvidence::Fits)
        };
        self.doubt.as_deref().is_some_and(fits)
    }
}

fn fits(answer: AnswerEvidence) -> Option<bool> {
    match answer {
        AnswerEvidence::Fits => Some(true),
        AnswerEvidence::Foreign => Some(false),
        AnswerEvidence::Open => None,
    }
}

impl TentativeClaim {
    fn held(&self) -> usize {
        size_of::<TentativeClaim>()
            + self.dialect.held()
            + self.prompt.held()
            + self.look.held()
            + self.first.capacity()
    }
}

impl OpenCalls {
    /// No call is open.
    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty() && self.sockets.is_empty()
    }

    /// Sockets on which no call is open: what the server says now belongs to none yet.
    pub(super) fn idle_socket(&self) -> bool {
        self.open.is_empty() && !self.sockets.is_empty() && self.sockets.iter().all(WebSocketCalls::idle)
    }

    /// A request is open whose body is still to tell whether it is a call.
    pub(super) fn doubted(&self) -> bool {
        self.pending.iter().any(|asked| asked.doubt.is_some())
    }

    /// Requests that are no dialect's, for all that is known.
    pub(super) fn unclaimed(&self) -> usize {
        self.pending.iter().filter(|asked| asked.doubt.is_none()).count()
    }

    /// Something odd about the connection, by its name. True if every call on it is to be marked.
    pub(super) fn mark(&mut self, reason: &'static str) -> bool {
        let lasting = matches!(reason, "late_attach" | "desynced");
        if lasting && !self.marks.contains(&reason) {
            self.marks.push(reason);
        }
        lasting
    }

    pub(super) fn marks(&self) -> &[&'static str] {
        &self.marks
    }

    /// The connection is looked at anew.
    pub(super) fn forget(&mut self) {
        self.pending = Vec::new();
        self.marks = Vec::new();
    }

    /// Bytes held.
    pub(super) fn held(&self) -> usize {
        let open =
            self.open.iter().map(|call| call.dialect.held() + call.prompt.as_ref().map_or(0, |scan| scan.held()));
        let doubt = |asked: &PendingRequest| asked.doubt.as_ref().map_or(0, |doubt| doubt.held());
        let asked = self.pending.iter().map(|asked| size_of::<PendingRequest>() + asked.dialect.held() + doubt(asked));
        let sockets = self.sockets.iter().map(WebSocketCalls::held);
        open.chain(asked).chain(sockets).sum::<usize>() + self.exports.held()
    }
}
