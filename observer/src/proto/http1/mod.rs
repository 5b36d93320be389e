//! HTTP/1: both directions of one connection. Request N is paired with response N; nothing is assumed about how bytes
//! are cut or about clients waiting for their answer.
//!
//! A half that lost its place (joined in the middle, bytes missing) *skips* until a call of the application begins with
//! a head. Clients write a request in a call of its own, and an answer begins in a call of its own because the server
//! waited for that request; so the place is found again at the next exchange, whatever was lost.

mod body;
mod head;

use std::collections::VecDeque;

use body::{Framing, Step};
use head::Collector;

use super::body::Body;
use super::{Closing, End, ExchangeId, Message, Note, Protocol, Row, Salt, Sink, Sniff};
use crate::conn::Chunk;
use crate::limits::HTTP1_PIPELINE;
use crate::units::{Direction, LossCause, Moment};

/// The row of the protocol table.
pub(super) const ROW: Row = Row { name: "http/1", sniff, make: |salt| Box::new(Http1::new(salt.clone())) };

/// What the first bytes of a direction say.
fn sniff(direction: Direction, bytes: &[u8]) -> Sniff {
    let request = looks_like_request(bytes);
    let response = looks_like(bytes, b"HTTP/1.");
    match (direction, request, response) {
        (Direction::Write, Some(true), _) | (Direction::Read, _, Some(true)) => Sniff::Yes,
        (Direction::Write, _, Some(true)) | (Direction::Read, Some(true), _) => Sniff::ServerSide,
        (_, Some(false), Some(false)) => Sniff::No,
        _ => Sniff::NeedMore,
    }
}

/// Whether bytes begin like `prefix`; `None` while they are only a part of it.
fn looks_like(bytes: &[u8], prefix: &[u8]) -> Option<bool> {
    if bytes.len() >= prefix.len() {
        Some(bytes.starts_with(prefix))
    } else {
        (!prefix.starts_with(bytes)).then_some(false)
    }
}

/// Whether bytes begin like a request line: a method we know, a space, and a target; `None` while too few.
fn looks_like_request(bytes: &[u8]) -> Option<bool> {
    const METHODS: &[&[u8]] =
        &[b"POST ", b"GET ", b"PUT ", b"PATCH ", b"DELETE ", b"HEAD ", b"OPTIONS ", b"CONNECT ", b"TRACE "];
    let mut answer = Some(false);
    for method in METHODS {
        match looks_like(bytes, method) {
            Some(true) => {
                let target = bytes.get(method.len())?;
                return Some(target.is_ascii_alphanumeric() || matches!(target, b'/' | b'*' | b'['));
            }
            Some(false) => {}
            None => answer = None,
        }
    }
    answer
}

/// One connection.
pub struct Http1 {
    salt: Salt,
    requests: Half,
    responses: Half,
    /// Requests whose answer is not complete, oldest first.
    open: VecDeque<Exchange>,
    /// Ordinal of the next request.
    next: u64,
    /// Ordinal of the request being written.
    writing: u64,
    dead: bool,
}

/// One direction.
#[derive(Default)]
struct Half {
    state: State,
    head: Collector,
    /// The call that the last piece came from.
    call: Option<u64>,
    /// The head in progress was found by its looks: if it is none, the half goes on skipping.
    trial: bool,
    /// Bytes of the body in progress are missing.
    damaged: bool,
}

#[derive(Default)]
enum State {
    /// In a head, or between messages.
    #[default]
    Head,
    Body(Framing, Body),
    /// The place is lost.
    Skip,
}

/// A request and what is known about its answer.
struct Exchange {
    id: ExchangeId,
    /// HEAD: the answer has no body, whatever its head says.
    head_only: bool,
    /// CONNECT: a 2xx opens a tunnel.
    tunnel: bool,
    /// Nobody wants the bodies.
    ignored: bool,
    /// The request is not complete.
    writing: bool,
}

impl Protocol for Http1 {
    fn push(&mut self, direction: Direction, chunk: Chunk<'_>, at: Moment, sink: &mut dyn Sink) {
        if self.dead {
            return;
        }
        match (chunk, direction) {
            (Chunk::Gap { cause: LossCause::LateAttach, .. }, _) if self.half(direction).idle() => {
                self.half(direction).skip();
                self.note(ExchangeId::CONNECTION, at, "late_attach", sink);
            }
            (Chunk::Gap { bytes, cause }, Direction::Write) => self.request_gap(bytes, cause, at, sink),
            (Chunk::Gap { bytes, cause }, Direction::Read) => self.response_gap(bytes, cause, at, sink),
            (Chunk::Data(bytes), Direction::Write) => self.requests(bytes, at, sink),
            (Chunk::Data(bytes), Direction::Read) => self.responses(bytes, at, sink),
        }
    }

    fn close(&mut self, how: Closing, at: Moment, sink: &mut dyn Sink) {
        if self.dead {
            return;
        }
        let end = match how {
            Closing::Peer => End::PeerClosed,
            Closing::Reset => End::Reset,
            Closing::Local => End::LocalClosed,
            Closing::ProcessExit => End::ProcessExit,
            Closing::Abandoned => End::Lost,
        };
        if how == Closing::Peer && matches!(self.responses.state, State::Body(Framing::UntilClose, _)) {
            self.end_response(End::Complete, at, sink);
        }
        while !self.open.is_empty() {
            self.end_response(end, at, sink);
        }
        self.die();
    }

    fn ignore(&mut self, exchange: ExchangeId) {
        if let Some(found) = self.open.iter_mut().find(|open| open.id == exchange) {
            found.ignored = true;
        }
    }

    fn held(&self) -> usize {
        let queue = self.open.capacity() * size_of::<Exchange>();
        size_of::<Self>() + queue + self.requests.held() + self.responses.held()
    }

    fn dead(&self) -> bool {
        self.dead
    }
}

// The writing half.
impl Http1 {
    #[must_use]
    pub fn new(salt: Salt) -> Self {
        Http1 {
            salt,
            requests: Half::default(),
            responses: Half::default(),
            open: VecDeque::new(),
            next: 1,
            writing: 0,
            dead: false,
        }
    }

    fn requests(&mut self, mut input: &[u8], at: Moment, sink: &mut dyn Sink) {
        if self.requests.begins_call(at) && looks_like_request(input) != Some(false) && self.requests.try_here() {
            self.end_request(at, sink);
        }
        while !self.dead {
            match &mut self.requests.state {
                State::Skip => return,
                State::Head => match self.requests.head.take(&mut input, at) {
                    Ok(None) => return,
                    Ok(Some(bytes)) => {
                        let parsed = head::request(bytes, &self.salt);
                        self.requests.head.clear();
                        self.begin_request(parsed, at, sink);
                    }
                    Err(reason) => self.bad_request(reason, at, sink),
                },
                State::Body(framing, body) => match framing.next(&mut input) {
                    Ok(Step::More) => return,
                    Ok(Step::Done) => self.end_request(at, sink),
                    Ok(Step::Data(bytes)) => {
                        let id = ExchangeId(self.writing);
                        if self.open.back().is_some_and(|open| open.id == id && !open.ignored) {
                            body.push(bytes, &mut |message| sink.message(id, at, message));
                        }
                    }
                    Err(reason) => self.bad_request(reason, at, sink),
                },
            }
        }
    }

    fn begin_request(&mut self, parsed: Result<head::Request, &'static str>, at: Moment, sink: &mut dyn Sink) {
        let request = match parsed {
            Ok(_) if self.open.len() >= HTTP1_PIPELINE => return self.bad_request("pipeline_too_long", at, sink),
            Ok(request) => request,
            Err(reason) => return self.bad_request(reason, at, sink),
        };
        let id = ExchangeId(self.next);
        self.writing = self.next;
        self.next += 1;
        self.open.push_back(Exchange {
            id,
            head_only: request.head.method == "HEAD",
            tunnel: request.head.method == "CONNECT",
            ignored: false,
            writing: true,
        });
        let body = Body::request(request.codings.as_deref());
        let unknown_coding = request.codings.is_none();
        self.requests.begin_body(request.framing, body);
        sink.message(id, self.requests.head.began, Message::Request(&request.head));
        if unknown_coding {
            sink.message(id, at, Message::Note(Note { protocol: "content", reason: "unknown_coding" }));
        }
    }

    /// The request being written is over, complete or not.
    fn end_request(&mut self, at: Moment, sink: &mut dyn Sink) {
        let id = ExchangeId(self.writing);
        let state = std::mem::take(&mut self.requests.state);
        let lost = std::mem::take(&mut self.requests.damaged);
        if let Some(open) = self.open.back_mut().filter(|open| open.id == id && open.writing) {
            open.writing = false;
            let mut lost = lost;
            if let State::Body(_, mut body) = state {
                body.finish(&mut |message| sink.message(id, at, message));
                lost |= body.blind();
            }
            sink.message(id, at, Message::RequestEnd { lost });
        }
    }

    fn request_gap(&mut self, bytes: Option<u64>, cause: LossCause, at: Moment, sink: &mut dyn Sink) {
        let id = ExchangeId(self.writing);
        match &mut self.requests.state {
            State::Skip => {}
            State::Head => {
                self.note(ExchangeId::CONNECTION, at, "lost_request_head", sink);
                self.requests.skip();
            }
            State::Body(framing, body) => {
                self.requests.damaged = true;
                let in_place = framing.gap(bytes);
                body.gap(bytes, cause, &mut |message| sink.message(id, at, message));
                if !in_place {
                    self.end_request(at, sink);
                    self.requests.skip();
                } else if matches!(framing, Framing::Length(0)) {
                    self.end_request(at, sink);
                }
            }
        }
    }

    fn bad_request(&mut self, reason: &'static str, at: Moment, sink: &mut dyn Sink) {
        if self.requests.trial {
            return self.requests.skip();
        }
        let id = match self.requests.state {
            State::Body(..) => ExchangeId(self.writing),
            State::Head | State::Skip => ExchangeId::CONNECTION,
        };
        self.give_up(id, reason, at, sink);
    }
}

// The reading half.
impl Http1 {
    fn responses(&mut self, mut input: &[u8], at: Moment, sink: &mut dyn Sink) {
        if self.responses.begins_call(at)
            && looks_like(input, b"HTTP/1.") != Some(false)
            && self.answer_may_begin()
            && self.responses.try_here()
        {
            self.end_response(End::Lost, at, sink);
        }
        while !self.dead {
            match &mut self.responses.state {
                State::Skip => return,
                State::Head if self.open.is_empty() => return self.unasked(input, at, sink),
                State::Head => match self.responses.head.take(&mut input, at) {
                    Ok(None) => return,
                    Ok(Some(bytes)) => {
                        let asked = self.open.front();
                        let parsed = head::response(bytes, |status| {
                            asked.is_some_and(|open| open.head_only || (open.tunnel && (200..300).contains(&status)))
                        });
                        self.responses.head.clear();
                        self.begin_response(parsed, at, sink);
                    }
                    Err(reason) => self.bad_response(reason, at, sink),
                },
                State::Body(framing, body) => match framing.next(&mut input) {
                    Ok(Step::More) => return,
                    Ok(Step::Done) => self.end_response(End::Complete, at, sink),
                    Ok(Step::Data(bytes)) => {
                        if let Some(open) = self.open.front().filter(|open| !open.ignored) {
                            body.push(bytes, &mut |message| sink.message(open.id, at, message));
                        }
                    }
                    Err(reason) => self.bad_response(reason, at, sink),
                },
            }
        }
    }

    /// Whether an answer may begin here, given that something like its first bytes came at the beginning of a call: where
    /// the place is lost, if any request waits; in a body with a hole, if a request waits *behind* the one answered.
    fn answer_may_begin(&self) -> bool {
        match self.responses.state {
            State::Skip => !self.open.is_empty(),
            State::Head => false,
            State::Body(..) => self.open.len() > 1,
        }
    }

    /// Bytes that answer nothing: line ends, a server's parting word (408), or the rest of an exchange that is over for us.
    fn unasked(&mut self, input: &[u8], at: Moment, sink: &mut dyn Sink) {
        if input.iter().all(u8::is_ascii_whitespace) {
            return;
        }
        self.note(ExchangeId::CONNECTION, at, "unasked_response", sink);
        self.responses.skip();
    }

    fn begin_response(&mut self, parsed: Result<head::Response, &'static str>, at: Moment, sink: &mut dyn Sink) {
        let response = match parsed {
            Ok(response) => response,
            Err(reason) => return self.bad_response(reason, at, sink),
        };
        let Some(open) = self.open.front() else { return };
        let (id, tunnel) = (open.id, open.tunnel);
        let status = response.head.status;
        if matches!(status, 100..=199) && status != 101 {
            return; // an interim answer: the final one follows
        }
        let body = Body::response(response.head.content_type.as_deref(), response.codings.as_deref());
        self.responses.begin_body(response.framing, body);
        sink.message(id, self.responses.head.began, Message::Response(&response.head));
        if let Some(reason) = response.odd {
            self.note(id, at, reason, sink);
        }
        if response.codings.is_none() {
            sink.message(id, at, Message::Note(Note { protocol: "content", reason: "unknown_coding" }));
        }
        if status == 101 || (tunnel && (200..300).contains(&status)) {
            self.note(id, at, if status == 101 { "upgraded" } else { "tunnel" }, sink);
            self.end_response(End::Complete, at, sink);
            self.die();
        }
    }

    /// The oldest exchange is over.
    fn end_response(&mut self, end: End, at: Moment, sink: &mut dyn Sink) {
        self.responses.head.clear();
        self.responses.damaged = false;
        let state = std::mem::take(&mut self.responses.state);
        if self.open.len() == 1 && self.open.front().is_some_and(|open| open.writing) {
            // The answer is over before the request is: the rest of the request is only framed.
            self.end_request_early(at, sink);
        }
        let Some(open) = self.open.pop_front() else { return };
        let mut end = end;
        if let State::Body(_, mut body) = state {
            if end == End::Complete && !open.ignored {
                body.finish(&mut |message| sink.message(open.id, at, message));
            }
            if body.blind() {
                end = End::Lost;
            }
        }
        sink.message(open.id, at, Message::End(end));
    }

    /// Says that the request being written will not be seen whole; its bytes are still framed.
    fn end_request_early(&mut self, at: Moment, sink: &mut dyn Sink) {
        if let Some(open) = self.open.back_mut().filter(|open| open.writing) {
            open.writing = false;
            sink.message(open.id, at, Message::RequestEnd { lost: true });
        }
    }

    fn response_gap(&mut self, bytes: Option<u64>, cause: LossCause, at: Moment, sink: &mut dyn Sink) {
        let asked = self.open.front().map(|open| open.id);
        match (&mut self.responses.state, asked) {
            (State::Skip, _) => {}
            (State::Head, None) => self.responses.skip(),
            (State::Head, Some(id)) => {
                sink.message(id, at, Message::Gap { bytes, cause });
                self.note(id, at, "lost_response_head", sink);
                self.end_response(End::Lost, at, sink);
                self.responses.skip();
            }
            (State::Body(framing, body), id) => {
                self.responses.damaged = true;
                let in_place = framing.gap(bytes);
                let id = id.unwrap_or(ExchangeId::CONNECTION);
                body.gap(bytes, cause, &mut |message| sink.message(id, at, message));
                if !in_place {
                    self.end_response(End::Lost, at, sink);
                    self.responses.skip();
                } else if matches!(framing, Framing::Length(0)) {
                    self.end_response(End::Complete, at, sink);
                }
            }
        }
    }

    fn bad_response(&mut self, reason: &'static str, at: Moment, sink: &mut dyn Sink) {
        if self.responses.trial {
            return self.responses.skip();
        }
        let id = self.open.front().map_or(ExchangeId::CONNECTION, |open| open.id);
        self.give_up(id, reason, at, sink);
    }
}

// Both halves.
impl Http1 {
    fn half(&mut self, direction: Direction) -> &mut Half {
        match direction {
            Direction::Write => &mut self.requests,
            Direction::Read => &mut self.responses,
        }
    }

    fn note(&self, id: ExchangeId, at: Moment, reason: &'static str, sink: &mut dyn Sink) {
        sink.message(id, at, Message::Note(Note { protocol: "http1", reason }));
    }

    /// What came is no HTTP/1: nothing after it can be trusted.
    fn give_up(&mut self, id: ExchangeId, reason: &'static str, at: Moment, sink: &mut dyn Sink) {
        self.note(id, at, reason, sink);
        while !self.open.is_empty() {
            self.end_response(End::Lost, at, sink);
        }
        self.die();
    }

    fn die(&mut self) {
        self.dead = true;
        self.open = VecDeque::new();
        self.requests = Half::default();
        self.responses = Half::default();
    }
}

impl Half {
    /// Notes the call a piece belongs to; whether the piece is its first.
    fn begins_call(&mut self, at: Moment) -> bool {
        self.call.replace(at.call) != Some(at.call)
    }

    /// At what looks like a head: if the place is lost, or the body in progress has a hole and may be over, reads a head
    /// here. True if a body was cut off by that.
    fn try_here(&mut self) -> bool {
        match self.state {
            State::Skip => {
                self.state = State::Head;
                self.trial = true;
                false
            }
            State::Head => false,
            State::Body(..) => {
                self.trial = self.damaged;
                self.damaged
            }
        }
    }

    /// Between messages.
    fn idle(&self) -> bool {
        matches!(self.state, State::Head) && self.head.is_empty()
    }

    fn begin_body(&mut self, framing: Framing, body: Body) {
        self.state = State::Body(framing, body);
        self.trial = false;
        self.damaged = false;
    }

    fn skip(&mut self) {
        self.head.clear();
        self.state = State::Skip;
        self.trial = false;
    }

    fn held(&self) -> usize {
        let body = if let State::Body(_, body) = &self.state { body.held() } else { 0 };
        self.head.held() + body
    }
}
