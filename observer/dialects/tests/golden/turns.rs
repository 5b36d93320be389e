//! Calls on WebSockets, as the pipeline tells them apart: each gets the socket's exchange and its own number.

use std::collections::{BTreeMap, VecDeque};

use capture::proto::{BodyEvent, ExchangeEnd, ExchangeId, Message, RequestHead, ResponseHead};
use dialects::{self, Dialect, SocketRow, SocketTurn, find_socket, whose};
use serde_json::json;

use super::transcript::Lines;
use super::utterances::{asked, said};

#[derive(Default)]
pub(super) struct Sockets(BTreeMap<u64, Socket>);

struct Socket {
    row: &'static SocketRow,
    head: RequestHead,
    socket: Box<dyn dialects::SocketDialect>,
    open: Option<ResponseHead>,
    calls: VecDeque<Call>,
    begun: u64,
}

struct Call {
    number: u64,
    name: u64,
    dialect: Box<dyn Dialect>,
    answered: bool,
    headed: bool,
}

impl Sockets {
    /// An upgrade, if it is one.
    pub(super) fn begin(&mut self, x: u64, head: &RequestHead) -> bool {
        let Some(row) = find_socket(head) else { return false };
        let (socket, calls) = ((row.make)(head), VecDeque::new());
        self.0.insert(x, Socket { row, head: head.clone(), socket, open: None, calls, begun: 0 });
        true
    }

    /// A message of a socket; false: it is none's.
    pub(super) fn message(&mut self, exchange: ExchangeId, message: &Message<'_>, lines: &mut Lines) -> bool {
        let Some(socket) = self.0.get_mut(&exchange.0) else { return false };
        match message {
            Message::Response(head) => socket.open = Some((*head).clone()),
            Message::Sent { message, .. } => match socket.socket.sent(message) {
                SocketTurn::Begins => socket.call(Some(message), lines),
                SocketTurn::Ends => {
                    socket.whose().into_iter().for_each(|place| socket.end(place, ExchangeEnd::LocalClosed, lines));
                }
                SocketTurn::Same | SocketTurn::Apart | SocketTurn::Runs | SocketTurn::Last | SocketTurn::EndsAll => {}
            },
            Message::Event(event) => socket.received(event, lines),
            Message::Comment => lines.push(json!({"x": exchange.0, "comment": true})),
            Message::Gap { .. } => socket.calls.iter_mut().for_each(|call| call.dialect.gap()),
            Message::End(end) => {
                while !socket.calls.is_empty() {
                    socket.end(0, *end, lines);
                }
                lines.push(json!({"x": exchange.0, "end": format!("{end:?}")}));
                self.0.remove(&exchange.0);
            }
            _ => {}
        }
        true
    }
}

impl Socket {
    fn call(&mut self, message: Option<&BodyEvent<'_>>, lines: &mut Lines) {
        self.begun += 1;
        let (number, mut dialect) = (self.begun, self.socket.call());
        let row = self.socket.row().unwrap_or(self.row.call);
        lines.push(json!({"x": 1, "call": number, "api": row.api, "provider": (row.provider)(&self.head)}));
        if let Some(message) = message {
            dialect.request_body(message.data);
        }
        lines.push(asked(1, &dialect.request_end(message.is_some_and(|message| message.truncated))));
        self.calls.push_back(Call { number, name: self.socket.name(), dialect, answered: false, headed: false });
    }

    fn whose(&mut self) -> Option<usize> {
        let name = self.socket.name();
        let place = whose(name, &self.calls.iter().map(|call| call.name).collect::<Vec<_>>())?;
        self.calls.get_mut(place).filter(|call| call.name == 0).into_iter().for_each(|call| call.name = name);
        Some(place)
    }

    fn received(&mut self, event: &BodyEvent<'_>, lines: &mut Lines) {
        let turn = self.socket.received(event);
        if turn == SocketTurn::Apart {
            return;
        }
        if turn == SocketTurn::EndsAll {
            while !self.calls.is_empty() {
                self.answer(0, event, lines);
                self.end(0, ExchangeEnd::Complete, lines);
            }
            return;
        }
        let mut place = self.whose();
        let begins = match (turn, place.map(|place| &self.calls[place])) {
            (SocketTurn::Begins | SocketTurn::Runs | SocketTurn::Last, None) => true,
            (SocketTurn::Begins, Some(call)) => call.answered && self.socket.name() == 0,
            _ => false,
        };
        if begins {
            self.call(None, lines);
            place = self.whose();
        }
        let Some(place) = place else { return };
        self.calls[place].answered |= turn != SocketTurn::Same;
        self.answer(place, event, lines);
        if matches!(turn, SocketTurn::Ends | SocketTurn::Last) {
            self.end(place, ExchangeEnd::Complete, lines);
        }
    }

    fn answer(&mut self, place: usize, event: &BodyEvent<'_>, lines: &mut Lines) {
        if let (Some(call), Some(head)) = (self.calls.get_mut(place), &self.open) {
            if !std::mem::replace(&mut call.headed, true) {
                call.dialect.response(head);
            }
            call.dialect.event(event, &mut |utterance| lines.push(said(1, &utterance)));
        }
    }

    fn end(&mut self, place: usize, how: ExchangeEnd, lines: &mut Lines) {
        let Some(mut call) = self.calls.remove(place) else { return };
        call.dialect.end(how, &mut |utterance| lines.push(said(1, &utterance)));
        lines.push(json!({"x": 1, "call": call.number, "over": format!("{how:?}")}));
    }
}
