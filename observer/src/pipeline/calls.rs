//! What is open on one connection: calls, requests that may yet be one, and sockets with calls of their own.

use super::turns::Socket;
use crate::dialect::prompt::{Prompt, PromptScan};
use crate::dialect::{Dialect, RequestFacts};
use crate::ledger::StreamNo;
use crate::proto::{ExchangeId, Message, RequestHead};
use crate::units::Moment;

/// What is open on one connection.
#[derive(Default)]
pub(super) struct Calls {
    pub(super) open: Vec<Call>,
    pub(super) asked: Vec<Asked>,
    pub(super) sockets: Vec<Socket>,
    /// What is odd about the connection and concerns every call on it: `limits::NOTES` at most.
    marks: Vec<&'static str>,
}

/// An exchange that a dialect claimed.
pub(super) struct Call {
    pub(super) exchange: ExchangeId,
    pub(super) stream: StreamNo,
    pub(super) dialect: Box<dyn Dialect>,
    /// Until the request is complete.
    pub(super) prompt: Option<PromptScan>,
}

impl Call {
    /// What a message adds to the prompt; the prompt, once it is complete.
    pub(super) fn prompt(&mut self, message: &Message<'_>) -> Option<Prompt> {
        match message {
            Message::RequestBody(bytes) => {
                self.prompt.iter_mut().for_each(|scan| scan.push(bytes));
                None
            }
            Message::RequestEnd { lost } => self.prompt.take().map(|mut scan| scan.end(*lost)),
            _ => None,
        }
    }
}

/// A request that no dialect claimed, whose answer is awaited: it may be a stream of events.
pub(super) struct Asked {
    pub(super) exchange: ExchangeId,
    pub(super) at: Moment,
    pub(super) head: RequestHead,
    pub(super) dialect: Box<dyn Dialect>,
    /// What it asked for, once it is complete.
    pub(super) facts: Option<(RequestFacts, Moment)>,
    /// Oddities so far.
    pub(super) notes: Vec<&'static str>,
    /// It does not even go where model calls go.
    pub(super) stranger: bool,
}

impl Calls {
    /// No call is open.
    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty() && self.sockets.is_empty()
    }

    /// A socket on which no call is open: what the server says now belongs to none yet.
    pub(super) fn idle_socket(&self) -> bool {
        self.open.is_empty() && self.sockets.iter().any(Socket::idle)
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
        self.asked = Vec::new();
        self.marks = Vec::new();
    }

    /// Bytes held.
    pub(super) fn held(&self) -> usize {
        let open = self.open.iter().map(|call| call.dialect.held() + call.prompt.as_ref().map_or(0, PromptScan::held));
        let asked = self.asked.iter().map(|asked| size_of::<Asked>() + asked.dialect.held());
        let sockets = self.sockets.iter().map(Socket::held);
        open.chain(asked).chain(sockets).sum()
    }
}
