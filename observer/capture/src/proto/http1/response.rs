//! The reading half: responses.

use super::body::{Http1BodyStep, Http1Framing};
use super::{Half, Http1Parser, State, head, sniff};
use crate::conn::Chunk;
use crate::proto::body::BodyInterpreter;
use crate::proto::ws::{self, WebSocketParser};
use crate::proto::{ExchangeEnd, ExchangeId, Message, MessageSink, ProtocolNote, ResponseHead};
use crate::units::{Direction, LossCause, Moment};

impl Http1Parser {
    pub(super) fn responses(&mut self, mut input: &[u8], at: Moment, sink: &mut dyn MessageSink) {
        if self.responses.begins_call(at)
            && sniff::looks_like(input, b"HTTP/1.") != Some(false)
            && self.answer_may_begin()
            && self.responses.try_here()
        {
            self.end_response(ExchangeEnd::Lost, at, sink);
        }
        while !self.dead {
            if let Some(socket) = &mut self.socket {
                // What follows the answer in the same piece.
                if !input.is_empty() {
                    socket.push(Direction::Read, Chunk::Data(input), at, sink);
                }
                return if socket.over() {
                    self.die();
                };
            }
            match &mut self.responses.state {
                State::Skip => {
                    // Whose they are is not known: any that waits may have its answer here.
                    let missed = !input.is_empty();
                    return self.open.iter_mut().for_each(|open| open.unsure |= missed);
                }
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
                    Ok(Http1BodyStep::More) => return,
                    Ok(Http1BodyStep::Done) => self.end_response(ExchangeEnd::Complete, at, sink),
                    Ok(Http1BodyStep::Data(bytes)) => {
                        if let Some(open) = self.open.front().filter(|open| !open.ignored) {
                            body.push(bytes, &mut |message| sink.message(open.id, at, message));
                        }
                    }
                    Err(reason) => self.bad_response(reason, at, sink),
                },
            }
        }
    }

    /// Whether an answer may begin here, given that something like its first bytes came at the
    /// beginning of a call: where the place is lost, if any request waits; in a body with a hole,
    /// if a request waits *behind* the one answered.
    fn answer_may_begin(&self) -> bool {
        match self.responses.state {
            State::Skip => !self.open.is_empty(),
            State::Head => false,
            State::Body(..) => self.open.len() > 1,
        }
    }

    /// Bytes that answer nothing: line ends, a server's parting word (408), or the rest of an
    /// exchange that is over for us.
    fn unasked(&mut self, input: &[u8], at: Moment, sink: &mut dyn MessageSink) {
        if input.iter().all(u8::is_ascii_whitespace) {
            return;
        }
        self.note(ExchangeId::CONNECTION, at, "unasked_response", sink);
        self.responses.skip();
    }

    fn begin_response(
        &mut self,
        parsed: Result<head::Http1ResponseHead, &'static str>,
        at: Moment,
        sink: &mut dyn MessageSink,
    ) {
        let response = match parsed {
            Ok(response) => response,
            Err(reason) => return self.bad_response(reason, at, sink),
        };
        let Some(open) = self.open.front() else { return };
        let (id, tunnel, json_stream) = (open.id, open.tunnel, open.json_stream);
        let (upgrade, ignored) = (open.upgrade, open.ignored);
        // Behind a hole among the answers to several requests, nothing says whose this is.
        let doubtful = open.unsure && self.open.len() > 1;
        let status = response.head.status;
        if matches!(status, 100..=199) && status != 101 {
            return; // an interim answer: the final one follows
        }
        let body = BodyInterpreter::response(&response.head, response.codings.as_deref(), json_stream);
        self.responses.begin_body(response.framing, body);
        sink.message(id, self.responses.head.began, Message::Response(&response.head));
        if doubtful {
            self.note(id, at, "doubtful_answer", sink);
        } else {
            self.open.iter_mut().for_each(|open| open.unsure = false); // the others' come behind it
        }
        if let Some(reason) = response.odd {
            self.note(id, at, reason, sink);
        }
        if response.codings.is_none() {
            sink.message(id, at, Message::Note(ProtocolNote { protocol: "content", reason: "unknown_coding" }));
        }
        if upgrade && !ignored && ws::is_accepted(&response.head) {
            return self.hand_over(id, &response.head, at, sink);
        }
        if status == 101 || (tunnel && (200..300).contains(&status)) {
            self.note(id, at, if status == 101 { "upgraded" } else { "tunnel" }, sink);
            self.end_response(ExchangeEnd::Complete, at, sink);
            self.end_all(ExchangeEnd::Lost, at, sink); // asked behind it: no answer will come
            self.die();
        }
    }

    /// The connection is a WebSocket from here on, the exchange goes on as its messages. What was
    /// asked behind it (bytes of the client's that only looked like a request, or a client that did
    /// not wait for its upgrade) gets no answer any more.
    fn hand_over(&mut self, id: ExchangeId, head: &ResponseHead, at: Moment, sink: &mut dyn MessageSink) {
        self.end_request_early(at, sink);
        for behind in self.open.drain(..).skip(1) {
            sink.message(behind.id, at, Message::End(ExchangeEnd::Lost));
        }
        self.requests = Half::default();
        self.responses = Half::default();
        self.socket = Some(Box::new(WebSocketParser::new(id, head)));
    }

    /// The oldest exchange is over.
    pub(super) fn end_response(&mut self, end: ExchangeEnd, at: Moment, sink: &mut dyn MessageSink) {
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
            if end == ExchangeEnd::Complete && !open.ignored {
                body.finish(&mut |message| sink.message(open.id, at, message));
            }
            if body.blind() {
                end = ExchangeEnd::Lost;
            }
        }
        sink.message(open.id, at, Message::End(end));
    }

    /// No exchange goes on. One whose answer may have been missed has ended somehow before.
    pub(super) fn end_all(&mut self, end: ExchangeEnd, at: Moment, sink: &mut dyn MessageSink) {
        while let Some(open) = self.open.front() {
            let end = if open.unsure { ExchangeEnd::Lost } else { end };
            self.end_response(end, at, sink);
        }
    }

    /// The place among the answers is lost, and with it whose comes next.
    fn lose_place(&mut self) {
        self.open.iter_mut().for_each(|open| open.unsure = true);
        self.responses.skip();
    }

    /// Emits that the request being written will not be seen whole; its bytes are still framed.
    fn end_request_early(&mut self, at: Moment, sink: &mut dyn MessageSink) {
        if let Some(open) = self.open.back_mut().filter(|open| open.writing) {
            open.writing = false;
            sink.message(open.id, at, Message::RequestEnd { lost: true });
        }
    }

    pub(super) fn response_gap(
        &mut self,
        bytes: Option<u64>,
        cause: LossCause,
        at: Moment,
        sink: &mut dyn MessageSink,
    ) {
        let asked = self.open.front().map(|open| open.id);
        match (&mut self.responses.state, asked) {
            (State::Skip, _) => self.lose_place(),
            (State::Head, None) => self.responses.skip(),
            (State::Head, Some(id)) => {
                sink.message(id, at, Message::Gap { bytes, cause });
                self.note(id, at, "lost_response_head", sink);
                self.end_response(ExchangeEnd::Lost, at, sink);
                self.lose_place();
            }
            (State::Body(framing, body), id) => {
                self.responses.damaged = true;
                let in_place = framing.gap(bytes);
                let id = id.unwrap_or(ExchangeId::CONNECTION);
                body.gap(bytes, cause, &mut |message| sink.message(id, at, message));
                if !in_place {
                    self.end_response(ExchangeEnd::Lost, at, sink);
                    self.lose_place();
                } else if matches!(framing, Http1Framing::Length(0)) {
                    self.end_response(ExchangeEnd::Complete, at, sink);
                } else if !matches!(framing, Http1Framing::Length(_)) {
                    // Its end may be missing, and what comes behind it.
                    self.open.iter_mut().skip(1).for_each(|open| open.unsure = true);
                }
            }
        }
    }

    fn bad_response(&mut self, reason: &'static str, at: Moment, sink: &mut dyn MessageSink) {
        if self.responses.trial {
            return self.lose_place();
        }
        if self.responses.damaged {
            // Our own loss is no error of the peer.
            self.end_response(ExchangeEnd::Lost, at, sink);
            return self.lose_place();
        }
        let id = self.open.front().map_or(ExchangeId::CONNECTION, |open| open.id);
        self.give_up(id, reason, at, sink);
    }
}
