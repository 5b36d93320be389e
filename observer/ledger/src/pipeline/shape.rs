//! TLS that nobody looks into: what its records tell becomes a call of `visibility="shape"`.
//!
//! Which sockets: those whose ClientHello names a host where model calls go (the provider table, or
//! a `match` rule's host), of a process of which no plaintext is seen. All others count as nothing:
//! from outside, a call to a model looks like any other. A call is shown only after `GRACE_NS`: by
//! then its plaintext would have come.

use std::collections::VecDeque;

use super::Pipeline;
use super::wire::BEHIND_PROXY;
use crate::{CallNo, CallOpening, ConnectionBirth, ConnectionEnd, EventSink, MessageTap};
use capture::conn::tls::{ShapeEnd, ShapeSeen, TlsHandshakeFacts};
use capture::conn::{NetworkPath, TrackedSocket};
use capture::limits;
use capture::proto::{ExchangeEnd, RequestHead};
use capture::record::{SockOpen, SocketCookie, SocketOrigin};
use capture::units::{Moment, Ns};
use dialects::{self, unknown};
use observer_common::record::Verdict;

/// How long plaintext of the same call may take to show, before it is taken for unseen.
const GRACE_NS: u64 = 300_000_000;

/// Calls of one socket that are not over and told yet.
pub(super) type ShapedCalls = VecDeque<ShapedCall>;

/// One call, as far as its shape is known.
pub(super) struct ShapedCall {
    began: Ns,
    /// Its entry, once it is shown.
    stream: Option<CallNo>,
    /// What came before it was: bytes, moment, and whether it may be the first byte.
    answer: Vec<(u32, Ns, bool)>,
    ended: Option<(ExchangeEnd, Ns)>,
    /// Its time to be shown has come.
    shown: bool,
    several: bool,
}

impl<S: EventSink, T: MessageTap> Pipeline<S, T> {
    /// A record of a TLS socket told something.
    pub(super) fn shape(&mut self, open: &SockOpen, path: &NetworkPath, facts: &TlsHandshakeFacts, seen: ShapeSeen) {
        let sock = open.sock;
        match seen {
            ShapeSeen::Begin { at } => {
                if !facts.sni().is_some_and(|host| self.goes_to_a_model(host)) {
                    return;
                }
                let shapes = self.shapes.entry(sock).or_default();
                if shapes.len() < limits::SHAPES {
                    shapes.push_back(ShapedCall::new(at));
                    self.verdicts.push((open.conn(), Verdict::Track));
                }
            }
            ShapeSeen::Answer { bytes, at, first } => self.shape_answer(open, path, (bytes, at, first)),
            ShapeSeen::Several => {
                if let Some(exchange) = self.shapes.get_mut(&sock).and_then(ShapedCalls::back_mut) {
                    exchange.several = true;
                }
            }
            ShapeSeen::End { at, how } => {
                let how = match how {
                    ShapeEnd::Last | ShapeEnd::Next => ExchangeEnd::Complete,
                    ShapeEnd::Silence => ExchangeEnd::Lost,
                };
                self.shape_ends(sock, how, at);
            }
        }
    }

    /// The socket ends, or its process does.
    pub(super) fn shape_closes(&mut self, sock: SocketCookie, how: ConnectionEnd, at: Ns) {
        let how = match how {
            ConnectionEnd::PeerRst => ExchangeEnd::Reset,
            ConnectionEnd::LocalRst => ExchangeEnd::LocalClosed,
            ConnectionEnd::Exit => ExchangeEnd::ProcessExit,
            // Whether the answer was whole, nobody can tell.
            ConnectionEnd::PeerFin | ConnectionEnd::LocalFin | ConnectionEnd::Lost => ExchangeEnd::Lost,
        };
        self.shape_ends(sock, how, at);
    }

    /// The process ends, and its calls with it.
    pub(super) fn shapes_exit(&mut self, tgid: u32, at: Ns) {
        let of = |sock: &&SocketCookie| self.sockets.get(**sock).is_some_and(|socket| socket.open.tgid == tgid);
        let socks: Vec<SocketCookie> = self.shapes.keys().filter(of).copied().collect();
        socks.into_iter().for_each(|sock| self.shape_closes(sock, ConnectionEnd::Exit, at));
    }

    /// The plaintext of this socket is seen after all.
    pub(super) fn shape_forget(&mut self, sock: SocketCookie, at: Ns) {
        for exchange in self.shapes.remove(&sock).unwrap_or_default() {
            if let Some(stream) = exchange.stream {
                self.call_table.end(stream, ExchangeEnd::Lost, at, &mut self.sink);
            }
        }
    }

    /// Time passed: calls whose plaintext did not show are shown, those that are over are told.
    pub(super) fn settle_shapes(&mut self, now: Ns) {
        let socks: Vec<SocketCookie> = self.shapes.keys().copied().collect();
        for sock in socks {
            let Some(mut socket) = self.sockets.lend(sock, now) else {
                self.shape_forget(sock, now);
                continue;
            };
            let TrackedSocket { open, path, tls, .. } = &mut *socket;
            if let Some(outside) = tls {
                for seen in outside.tick(now) {
                    self.shape(open, path, outside.tls.facts(), seen);
                }
                self.settle_shape(open, path, outside.tls.facts(), now, false);
            }
            self.sockets.return_lent(socket);
        }
    }

    /// `last`: the socket goes, and with it the time to wait.
    pub(super) fn settle_shape(
        &mut self,
        open: &SockOpen,
        path: &NetworkPath,
        facts: &TlsHandshakeFacts,
        now: Ns,
        last: bool,
    ) {
        let Some(mut shapes) = self.shapes.remove(&open.sock) else { return };
        for exchange in &mut shapes {
            if exchange.stream.is_none() && (last || now - exchange.began >= GRACE_NS) {
                self.show_shape(exchange, open, path, facts);
                exchange.shown = true;
            }
            let ended = exchange.ended.or(last.then_some((ExchangeEnd::Lost, now)));
            if let (Some(stream), Some((how, at))) = (exchange.stream, ended) {
                self.call_table.end(stream, how, at, &mut self.sink);
                self.connections.on_call_ended(&open.conn(), at, Some(path), &mut self.sink);
            }
        }
        // What was to be shown and was not, never will be.
        shapes.retain(|exchange| !exchange.shown || exchange.stream.is_some() && exchange.ended.is_none());
        if !shapes.is_empty() && !last {
            self.shapes.insert(open.sock, shapes);
        }
    }

    fn show_shape(
        &mut self,
        exchange: &mut ShapedCall,
        open: &SockOpen,
        path: &NetworkPath,
        facts: &TlsHandshakeFacts,
    ) {
        if self.conns.has_plaintext(open.tgid, open.start_ns) {
            self.counters.shapes_withheld += 1;
            return;
        }
        let conn = open.conn();
        let head = to(facts.sni());
        let identity = self.conns.identity(&conn);
        let opening = CallOpening {
            conn,
            exchange: exchange.began.0,
            identity: &identity,
            remote: Some(open.peer),
            head: &head,
            row: &unknown::ROW,
            at: exchange.began,
            salt: &self.settings.salt,
            shape: true,
        };
        let Some(no) = self.call_table.begin(&opening, &mut self.sink) else { return };
        exchange.stream = Some(no);
        let Some(stream) = self.call_table.open_call(no) else { return };
        let birth = ConnectionBirth { sock: Some(open.sock), at: open.at, older: open.attach == SocketOrigin::Mid };
        self.connections.on_call_begun(stream.entry(), birth, Some(path), &mut self.sink);
        if path.proxied {
            stream.add_note(BEHIND_PROXY);
        }
        for (bytes, at, first) in std::mem::take(&mut exchange.answer) {
            stream.record(bytes, wire(at), first, Some(path), &mut self.sink);
        }
        if exchange.several {
            stream.mark_several_answers();
        }
    }

    fn shape_answer(&mut self, open: &SockOpen, path: &NetworkPath, (bytes, at, first): (u32, Ns, bool)) {
        let Some(exchange) = self.shapes.get_mut(&open.sock).and_then(ShapedCalls::back_mut) else { return };
        if exchange.ended.is_some() {
            return;
        }
        match exchange.stream.and_then(|no| self.call_table.open_call(no)) {
            Some(stream) => {
                stream.record(bytes, wire(at), first, Some(path), &mut self.sink);
                if exchange.several {
                    stream.mark_several_answers();
                }
            }
            None if exchange.answer.len() < limits::SHAPE_PENDING => exchange.answer.push((bytes, at, first)),
            None => {}
        }
    }

    /// The latest call of the socket is over; it is told when it is shown.
    fn shape_ends(&mut self, sock: SocketCookie, how: ExchangeEnd, at: Ns) {
        if let Some(exchange) = self.shapes.get_mut(&sock).and_then(ShapedCalls::back_mut) {
            exchange.ended.get_or_insert((how, at));
        }
    }

    fn goes_to_a_model(&self, host: &str) -> bool {
        dialects::related(&to(Some(host)), &self.settings.extras)
    }
}

/// The head that the request would have, as far as the ClientHello tells.
fn to(host: Option<&str>) -> RequestHead {
    RequestHead { host: host.map(str::to_owned), protocol: "tls", ..RequestHead::default() }
}

impl ShapedCall {
    fn new(began: Ns) -> Self {
        ShapedCall { began, stream: None, answer: Vec::new(), ended: None, shown: false, several: false }
    }
}

fn wire(at: Ns) -> Moment {
    Moment { at, arrival: Some(at), call: at.0 }
}
