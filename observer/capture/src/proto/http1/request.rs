//! The writing half: requests.

use super::body::{Http1BodyStep, Http1Framing};
use super::{Http1Parser, PendingExchange, State, head, sniff};
use crate::limits::HTTP1_PIPELINE;
use crate::proto::body::BodyInterpreter;
use crate::proto::{ExchangeEnd, ExchangeId, Message, MessageSink, ProtocolNote};
use crate::units::{LossCause, Moment};

impl Http1Parser {
    pub(super) fn requests(&mut self, mut input: &[u8], at: Moment, sink: &mut dyn MessageSink) {
        if self.requests.begins_call(at) && sniff::looks_like_request(input) != Some(false) && self.requests.try_here()
        {
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
                    Ok(Http1BodyStep::More) => return,
                    Ok(Http1BodyStep::Done) => self.end_request(at, sink),
                    Ok(Http1BodyStep::Data(bytes)) => {
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

    /// With the answers' place lost, what is still open when a client asks again was answered unseen: the next answer
    /// found is not theirs.
    fn forget_unseen(&mut self, at: Moment, sink: &mut dyn MessageSink) {
        if matches!(self.responses.state, State::Skip) && !self.open.is_empty() {
            while !self.open.is_empty() {
                self.end_response(ExchangeEnd::Lost, at, sink);
            }
            self.responses.skip();
        }
    }

    fn begin_request(
        &mut self,
        parsed: Result<head::Http1RequestHead, &'static str>,
        at: Moment,
        sink: &mut dyn MessageSink,
    ) {
        let request = match parsed {
            Ok(_) if self.open.len() >= HTTP1_PIPELINE => return self.bad_request("pipeline_too_long", at, sink),
            Ok(request) => request,
            Err(reason) => return self.bad_request(reason, at, sink),
        };
        self.forget_unseen(at, sink);
        let id = ExchangeId(self.next);
        self.writing = self.next;
        self.next += 1;
        self.open.push_back(PendingExchange {
            id,
            head_only: request.head.method == "HEAD",
            tunnel: request.head.method == "CONNECT",
            upgrade: request.head.header("upgrade").is_some_and(|to| to.trim().eq_ignore_ascii_case("websocket")),
            ignored: false,
            json_stream: false,
            writing: true,
            unsure: false,
        });
        let body = BodyInterpreter::request(request.codings.as_deref());
        let unknown_coding = request.codings.is_none();
        self.requests.begin_body(request.framing, body);
        sink.message(id, self.requests.head.began, Message::Request(&request.head));
        if unknown_coding {
            sink.message(id, at, Message::Note(ProtocolNote { protocol: "content", reason: "unknown_coding" }));
        }
    }

    /// The request being written is over, complete or not.
    pub(super) fn end_request(&mut self, at: Moment, sink: &mut dyn MessageSink) {
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

    pub(super) fn request_gap(&mut self, bytes: Option<u64>, cause: LossCause, at: Moment, sink: &mut dyn MessageSink) {
        let id = self.writing_id();
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
                } else if matches!(framing, Http1Framing::Length(0)) {
                    self.end_request(at, sink);
                }
            }
        }
    }

    /// The exchange whose request is being written; the connection itself if it was answered, and is over, already.
    fn writing_id(&self) -> ExchangeId {
        let id = ExchangeId(self.writing);
        if self.open.back().is_some_and(|open| open.id == id) { id } else { ExchangeId::CONNECTION }
    }

    fn bad_request(&mut self, reason: &'static str, at: Moment, sink: &mut dyn MessageSink) {
        if self.requests.trial || self.requests.damaged {
            // Our own loss is no error of the peer.
            self.end_request(at, sink);
            return self.requests.skip();
        }
        let id = match self.requests.state {
            State::Body(..) => self.writing_id(),
            State::Head | State::Skip => ExchangeId::CONNECTION,
        };
        self.give_up(id, reason, at, sink);
    }
}
