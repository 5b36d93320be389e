//! A WebSocket's calls: which of its messages belong to which. See `proto::ws` for what a socket
//! says, `dialects::socket` for who knows where a call begins, and which it is.

use std::collections::VecDeque;

use smallvec::SmallVec;

use super::context::SessionContext;
use super::entries::{begin, on_message};
use crate::{CallNo, HostEvent};
use capture::limits::SOCKET_TURNS;
use capture::proto::{BodyEvent, ExchangeEnd, ExchangeId, Message, RequestHead, ResponseHead};
use capture::units::{LossCause, Moment};
use dialects::prompt::PromptScan;
use dialects::{self, Dialect, DialectRow, SocketRow, SocketTurn};

/// Added to a socket's exchange id for each further call on it.
const STEP: u64 = 1 << 48;

/// What calls on a socket show as their protocol.
const PROTOCOL: &str = "websocket";

/// An open socket, or an upgrade that waits for its answer.
pub(super) struct WebSocketCalls {
    pub(super) exchange: ExchangeId,
    pub(super) row: &'static SocketRow,
    pub(super) head: RequestHead,
    /// When the upgrade began, and when it was complete.
    pub(super) at: Moment,
    pub(super) asked: Option<Moment>,
    dialect: Box<dyn dialects::SocketDialect>,
    /// The upgrade's answer.
    answer: Option<ResponseHead>,
    /// Calls that are open, oldest first: the server's messages belong to the first, unless they name another.
    turns: VecDeque<OpenTurn>,
    /// Calls begun so far.
    begun: u64,
}

/// An open call.
struct OpenTurn {
    stream: CallNo,
    dialect: Box<dyn Dialect>,
    /// See `SocketDialect::name`.
    name: u64,
    /// Its answer has begun.
    answered: bool,
    /// It was told of the upgrade's answer, which is its head.
    headed: bool,
    /// The client asked for it.
    asked: bool,
}

impl WebSocketCalls {
    pub(super) fn new(exchange: ExchangeId, row: &'static SocketRow, head: &RequestHead, at: Moment) -> Self {
        let dialect = (row.make)(head);
        let (head, turns) = (head.clone(), VecDeque::new());
        WebSocketCalls { exchange, row, head, at, asked: None, dialect, answer: None, turns, begun: 0 }
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
        size_of::<WebSocketCalls>() + self.dialect.held() + turns
    }

    /// One message on it; not its end.
    pub(super) fn message(&mut self, at: Moment, message: &Message<'_>, base: u64, env: &mut SessionContext<'_>) {
        match message {
            Message::Sent { message, began } => self.sent(message, *began, at, base, env),
            Message::Event(event) => self.received(event, at, base, env),
            Message::Gap { bytes, cause } => self.gap(*bytes, *cause, at, env),
            Message::Note(note) if self.turns.is_empty() => env.events.on_host_event(&HostEvent::ParserNote(*note)),
            Message::Comment | Message::Note(_) => self.route_at(0, at, message, env),
            _ => {}
        }
    }

    /// Everything on it is over.
    pub(super) fn end(&mut self, how: ExchangeEnd, at: Moment, env: &mut SessionContext<'_>) {
        while !self.turns.is_empty() {
            self.end_at(0, how, at, env);
        }
    }

    fn sent(&mut self, message: &BodyEvent<'_>, began: Moment, at: Moment, base: u64, env: &mut SessionContext<'_>) {
        let turn = self.dialect.sent(message);
        let row = self.calls();
        match turn {
            SocketTurn::Begins => {
                // A client that reads in another thread may have the answer before its write
                // returned: then this message is what that call was asked with.
                if let Some(late) = self.turns.iter_mut().find(|turn| !turn.asked) {
                    // What it was taken to be asked with, nothing, was said already: another interpreter reads this.
                    let mut reader = self.dialect.call();
                    std::mem::swap(&mut late.dialect, &mut reader);
                    late.ask(message, began, at, row, env);
                    late.dialect = reader;
                    return;
                }
                self.begin(Some(message), began, at, base, env);
            }
            SocketTurn::Ends => {
                if let Some(place) = self.whose() {
                    self.end_at(place, ExchangeEnd::LocalClosed, at, env);
                }
            }
            SocketTurn::EndsAll => self.end(ExchangeEnd::LocalClosed, at, env),
            SocketTurn::Same | SocketTurn::Apart | SocketTurn::Runs | SocketTurn::Last => {}
        }
    }

    /// The call that the last message is of; it has its name from now on.
    fn whose(&mut self) -> Option<usize> {
        let name = self.dialect.name();
        let open: SmallVec<[u64; SOCKET_TURNS]> = self.turns.iter().map(|turn| turn.name).collect();
        let place = dialects::whose(name, &open)?;
        if let Some(turn) = self.turns.get_mut(place).filter(|turn| turn.name == 0) {
            turn.name = name;
        }
        Some(place)
    }

    /// What the calls that begin now are.
    fn calls(&self) -> &'static DialectRow {
        self.dialect.row().unwrap_or(self.row.call)
    }

    fn received(&mut self, event: &BodyEvent<'_>, at: Moment, base: u64, env: &mut SessionContext<'_>) {
        let turn = self.dialect.received(event);
        if turn == SocketTurn::Apart {
            return;
        }
        if turn == SocketTurn::EndsAll {
            while !self.turns.is_empty() {
                self.answer(0, event, at, env);
                self.end_at(0, ExchangeEnd::Complete, at, env);
            }
            return;
        }
        let mut place = self.whose();
        let begins = match (turn, place.and_then(|place| self.turns.get(place))) {
            (SocketTurn::Begins | SocketTurn::Runs | SocketTurn::Last, None) => true,
            // One that nothing names is the next, where the one before it has its answer.
            (SocketTurn::Begins, Some(open)) => open.answered && self.dialect.name() == 0,
            _ => false,
        };
        if begins {
            self.begin(None, at, at, base, env);
            place = self.whose();
            if turn != SocketTurn::Begins {
                let open = place.and_then(|place| self.turns.get(place));
                if let Some(stream) = open.and_then(|open| env.call_table.open_call(open.stream)) {
                    stream.mark_live_input();
                }
            }
        }
        let Some(place) = place else { return };
        if let Some(open) = self.turns.get_mut(place).filter(|_| turn != SocketTurn::Same) {
            open.answered = true;
        }
        self.answer(place, event, at, env);
        if matches!(turn, SocketTurn::Ends | SocketTurn::Last) {
            self.end_at(place, ExchangeEnd::Complete, at, env);
        }
    }

    /// An event of an open call.
    fn answer(&mut self, place: usize, event: &BodyEvent<'_>, at: Moment, env: &mut SessionContext<'_>) {
        if let (Some(open), Some(head)) = (self.turns.get_mut(place), &self.answer)
            && !std::mem::replace(&mut open.headed, true)
        {
            open.on_message(at, &Message::Response(head), env);
        }
        self.route_at(place, at, &Message::Event(*event), env);
    }

    /// A call begins, with a message of the client or without.
    fn begin(
        &mut self,
        message: Option<&BodyEvent<'_>>,
        began: Moment,
        at: Moment,
        base: u64,
        env: &mut SessionContext<'_>,
    ) {
        if self.turns.len() >= SOCKET_TURNS {
            self.end_at(0, ExchangeEnd::Lost, at, env);
        }
        let row = self.calls();
        let exchange = base.wrapping_add(self.exchange.0).wrapping_add(self.begun.wrapping_mul(STEP));
        self.begun += 1;
        let Some(stream) = begin(exchange, row, &self.head, began, env) else { return };
        let (name, dialect, asked) = (self.dialect.name(), self.dialect.call(), message.is_some());
        let mut turn = OpenTurn { stream, dialect, name, answered: false, headed: false, asked };
        match message {
            Some(message) => turn.ask(message, began, at, row, env),
            None => turn.asked_for(false, at, env),
        }
        self.turns.push_back(turn);
    }

    fn gap(&mut self, bytes: Option<u64>, cause: LossCause, at: Moment, env: &mut SessionContext<'_>) {
        let gap = Message::Gap { bytes, cause };
        for turn in &mut self.turns {
            turn.on_message(at, &gap, env);
        }
    }

    fn route_at(&mut self, place: usize, at: Moment, message: &Message<'_>, env: &mut SessionContext<'_>) {
        if let Some(open) = self.turns.get_mut(place) {
            open.on_message(at, message, env);
        }
    }

    fn end_at(&mut self, place: usize, how: ExchangeEnd, at: Moment, env: &mut SessionContext<'_>) {
        if let Some(mut turn) = self.turns.remove(place) {
            super::entries::end(turn.stream, turn.dialect.as_mut(), how, at, env);
        }
    }
}

impl OpenTurn {
    fn on_message(&mut self, at: Moment, message: &Message<'_>, env: &mut SessionContext<'_>) {
        if let Some(stream) = env.call_table.open_call(self.stream) {
            on_message(self.dialect.as_mut(), stream, message, at, env.path, env.events, env.tap);
        }
    }

    /// Takes the message that asks for the turn.
    fn ask(
        &mut self,
        message: &BodyEvent<'_>,
        began: Moment,
        at: Moment,
        row: &DialectRow,
        env: &mut SessionContext<'_>,
    ) {
        self.asked = true;
        self.dialect.request_body(message.data);
        if let Some(open) = env.call_table.open_call(self.stream) {
            env.tap.on_message(open.entry(), at, &Message::Sent { message: *message, began });
        }
        self.asked_for(message.truncated, at, env);
        let mut scan = PromptScan::new(row.api, &env.settings.salt);
        scan.push(message.data);
        env.call_table.on_prompt(self.stream, &scan.end(message.truncated), env.events);
    }

    /// What it was asked with is complete, unless `lost`.
    fn asked_for(&mut self, lost: bool, at: Moment, env: &mut SessionContext<'_>) {
        self.on_message(at, &Message::RequestEnd { lost }, env);
    }
}
