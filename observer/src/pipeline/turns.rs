//! A WebSocket's calls: which of its messages belong to which. See `proto::ws` for what a socket says, `dialect::socket`
//! for who knows where a call begins.

use std::collections::VecDeque;

use super::router::{begin, tell};
use super::session::Env;
use crate::dialect::prompt::PromptScan;
use crate::dialect::{self, Dialect, SocketRow, Turn};
use crate::ledger::{Happening, StreamNo};
use crate::limits::SOCKET_TURNS;
use crate::proto::{End, Event, ExchangeId, Message, RequestHead, ResponseHead};
use crate::units::{LossCause, Moment};

/// Added to a socket's exchange id for each further call on it.
const STEP: u64 = 1 << 48;

/// What calls on a socket show as their protocol.
const PROTOCOL: &str = "websocket";

/// An open socket, or an upgrade that waits for its answer.
pub(super) struct Socket {
    pub(super) exchange: ExchangeId,
    pub(super) row: &'static SocketRow,
    pub(super) head: RequestHead,
    /// When the upgrade began, and when it was complete.
    pub(super) at: Moment,
    pub(super) asked: Option<Moment>,
    dialect: Box<dyn dialect::Socket>,
    /// The upgrade's answer.
    answer: Option<ResponseHead>,
    /// Calls that are open, oldest first: the server's messages belong to the first.
    turns: VecDeque<Open>,
    /// Calls begun so far.
    begun: u64,
}

/// An open call.
struct Open {
    stream: StreamNo,
    dialect: Box<dyn Dialect>,
    /// Its answer has begun.
    answered: bool,
    /// It was told of the upgrade's answer, which is its head.
    headed: bool,
    /// The client asked for it.
    asked: bool,
}

impl Socket {
    pub(super) fn new(exchange: ExchangeId, row: &'static SocketRow, head: &RequestHead, at: Moment) -> Self {
        let dialect = (row.make)(head);
        let (head, turns) = (head.clone(), VecDeque::new());
        Socket { exchange, row, head, at, asked: None, dialect, answer: None, turns, begun: 0 }
    }

    /// The upgrade was granted: from here on the connection speaks another protocol, and so do the calls on it.
    pub(super) fn opened(&mut self, head: &ResponseHead) {
        self.head.protocol = PROTOCOL;
        self.answer = Some(head.clone());
    }

    pub(super) fn is_open(&self) -> bool {
        self.answer.is_some()
    }

    /// It is open, and no call on it is.
    pub(super) fn idle(&self) -> bool {
        self.is_open() && self.turns.is_empty()
    }

    pub(super) fn held(&self) -> usize {
        let turns: usize = self.turns.iter().map(|turn| turn.dialect.held()).sum();
        size_of::<Socket>() + self.dialect.held() + turns
    }

    /// One message on it; not its end.
    pub(super) fn message(&mut self, at: Moment, message: &Message<'_>, base: u64, env: &mut Env<'_>) {
        match message {
            Message::Sent { message, began } => self.sent(message, *began, at, base, env),
            Message::Event(event) => self.received(event, at, base, env),
            Message::Gap { bytes, cause } => self.gap(*bytes, *cause, at, env),
            Message::Note(note) if self.turns.is_empty() => env.audience.hear(Happening::Odd(*note)),
            Message::Comment | Message::Note(_) => self.tell_first(at, message, env),
            _ => {}
        }
    }

    /// Everything on it is over.
    pub(super) fn end(&mut self, how: End, at: Moment, env: &mut Env<'_>) {
        while !self.turns.is_empty() {
            self.end_first(how, at, env);
        }
    }

    fn sent(&mut self, message: &Event<'_>, began: Moment, at: Moment, base: u64, env: &mut Env<'_>) {
        match self.dialect.sent(message) {
            Turn::Begins => {
                // A client that reads in another thread may have the answer before its write returned: then this message is what
                // that call was asked with.
                if let Some(late) = self.turns.iter_mut().find(|turn| !turn.asked) {
                    // What it was taken to be asked with, nothing, was said already: another interpreter reads this.
                    let mut reader = self.dialect.call();
                    std::mem::swap(&mut late.dialect, &mut reader);
                    late.ask(message, began, at, self.row, env);
                    late.dialect = reader;
                    return;
                }
                self.begin(Some(message), began, at, base, env);
            }
            Turn::Ends => self.end_first(End::LocalClosed, at, env),
            Turn::Same | Turn::Apart => {}
        }
    }

    fn received(&mut self, event: &Event<'_>, at: Moment, base: u64, env: &mut Env<'_>) {
        let turn = self.dialect.received(event);
        if turn == Turn::Apart {
            return;
        }
        if turn == Turn::Begins {
            if self.turns.front().is_none_or(|first| first.answered) {
                self.begin(None, at, at, base, env);
            }
            self.turns.iter_mut().take(1).for_each(|first| first.answered = true);
        }
        if let (Some(first), Some(head)) = (self.turns.front_mut(), &self.answer)
            && !std::mem::replace(&mut first.headed, true)
        {
            let head = Message::Response(head);
            if let Some(stream) = env.book.stream(first.stream) {
                tell(first.dialect.as_mut(), stream, &head, at, env.path, env.audience);
            }
        }
        self.tell_first(at, &Message::Event(*event), env);
        if turn == Turn::Ends {
            self.end_first(End::Complete, at, env);
        }
    }

    /// A call begins, with a message of the client or without.
    fn begin(&mut self, message: Option<&Event<'_>>, began: Moment, at: Moment, base: u64, env: &mut Env<'_>) {
        if self.turns.len() >= SOCKET_TURNS {
            self.end_first(End::Lost, at, env);
        }
        let exchange = base.wrapping_add(self.exchange.0).wrapping_add(self.begun.wrapping_mul(STEP));
        self.begun += 1;
        let Some(stream) = begin(exchange, self.row.call, &self.head, began, env) else { return };
        let mut turn =
            Open { stream, dialect: self.dialect.call(), answered: false, headed: false, asked: message.is_some() };
        match message {
            Some(message) => turn.ask(message, began, at, self.row, env),
            None => turn.asked_for(false, at, env),
        }
        self.turns.push_back(turn);
    }

    fn gap(&mut self, bytes: Option<u64>, cause: LossCause, at: Moment, env: &mut Env<'_>) {
        let gap = Message::Gap { bytes, cause };
        for turn in &mut self.turns {
            if let Some(stream) = env.book.stream(turn.stream) {
                tell(turn.dialect.as_mut(), stream, &gap, at, env.path, env.audience);
            }
        }
    }

    fn tell_first(&mut self, at: Moment, message: &Message<'_>, env: &mut Env<'_>) {
        let Some(first) = self.turns.front_mut() else { return };
        if let Some(stream) = env.book.stream(first.stream) {
            tell(first.dialect.as_mut(), stream, message, at, env.path, env.audience);
        }
    }

    fn end_first(&mut self, how: End, at: Moment, env: &mut Env<'_>) {
        if let Some(mut turn) = self.turns.pop_front() {
            super::router::end(turn.stream, turn.dialect.as_mut(), how, at, env);
        }
    }
}

impl Open {
    /// The message that asks for it.
    fn ask(&mut self, message: &Event<'_>, began: Moment, at: Moment, row: &SocketRow, env: &mut Env<'_>) {
        self.asked = true;
        self.dialect.request_body(message.data);
        if let Some(open) = env.book.stream(self.stream) {
            env.audience.overhear(open.entry(), at, &Message::Sent { message: *message, began });
        }
        self.asked_for(message.truncated, at, env);
        let mut scan = PromptScan::new(row.call.api, &env.settings.salt);
        scan.push(message.data);
        env.book.prompt(self.stream, &scan.end(message.truncated), env.audience);
    }

    /// What it was asked with is complete, unless `lost`.
    fn asked_for(&mut self, lost: bool, at: Moment, env: &mut Env<'_>) {
        if let Some(open) = env.book.stream(self.stream) {
            tell(self.dialect.as_mut(), open, &Message::RequestEnd { lost }, at, env.path, env.audience);
        }
    }
}
