//! Requests that are no call yet: the body, or the answer, is still to tell.

use super::MessageRouter;
use crate::HostEvent;
use crate::pipeline::calls::{PendingRequest, TentativeClaim};
use capture::limits;
use capture::proto::{ExchangeId, Message, RequestHead, ResponseHead, body};
use capture::units::Moment;
use dialects::look::BodyProbe;
use dialects::prompt::PromptScan;
use dialects::{self, DialectRow, RequestFacts, unknown};

impl MessageRouter<'_, '_> {
    /// A dialect claims it by its address, for which some need to see the body too.
    pub(super) fn found(&mut self, exchange: ExchangeId, row: &'static DialectRow, head: &RequestHead, at: Moment) {
        let dialect = (row.make)(head);
        let Some(look) = BodyProbe::new(row, head, &self.env.settings.extras) else {
            self.outcome.claimed = true;
            return self.begin(exchange, row, head, dialect, at);
        };
        let prompt = PromptScan::new(row.api, &self.env.settings.salt);
        let (asks, answer, first, since) = (None, None, Vec::new(), at);
        let doubt = Some(Box::new(TentativeClaim { row, dialect, prompt, look, asks, answer, first, since }));
        self.calls.pending.push(PendingRequest { doubt, ..self.asked(exchange, at, head) });
    }

    fn asked(&self, exchange: ExchangeId, at: Moment, head: &RequestHead) -> PendingRequest {
        let stranger = !dialects::related(head, &self.env.settings.extras);
        let (head, dialect) = (head.clone(), (unknown::ROW.make)(head));
        PendingRequest { exchange, at, head, dialect, facts: None, notes: Vec::new(), stranger, doubt: None }
    }

    /// What was in doubt is a dialect's.
    pub(super) fn claim(&mut self, asked: PendingRequest) {
        let Some(doubt) = asked.doubt else { return };
        let TentativeClaim { row, dialect, mut prompt, asks, answer, first, since, .. } = *doubt;
        let exchange = asked.exchange;
        self.outcome.claimed = true;
        self.begin(exchange, row, &asked.head, dialect, asked.at);
        let Some(call) = self.calls.open.iter_mut().find(|call| call.exchange == exchange) else { return };
        let Some((facts, at)) = asks else {
            call.prompt = Some(Box::new(prompt));
            if let Some(stream) = self.env.call_table.open_call(call.stream) {
                asked.notes.iter().for_each(|note| stream.add_note(note));
            }
            return;
        };
        call.prompt = None;
        let (stream, prompt) = (call.stream, prompt.end(facts.truncated));
        self.requested(exchange, Some((facts, at)), &asked.notes);
        self.env.call_table.on_prompt(stream, &prompt, self.env.events);
        if let Some((head, at)) = &answer {
            self.route(exchange, *at, &Message::Response(head));
        }
        if !first.is_empty() {
            self.route(exchange, since, &Message::Body(&first));
        }
    }

    /// No dialect claims it: its answer may be worth a look.
    pub(super) fn ask(&mut self, exchange: ExchangeId, at: Moment, head: &RequestHead) {
        // Where the request was not seen (HTTP/2, seen from the middle), its answer is all there is.
        let may_stream = head.method == "POST" || head.method.is_empty();
        let asked = self.asked(exchange, at, head);
        if !may_stream || self.calls.unclaimed() >= limits::PENDING_REQUESTS {
            return self.pass(exchange, asked.stranger);
        }
        self.calls.pending.push(asked);
    }

    pub(super) fn route_to_pending(&mut self, index: usize, exchange: ExchangeId, at: Moment, message: &Message<'_>) {
        let Some(asked) = self.calls.pending.get_mut(index) else { return };
        match asked.settle(message, at) {
            None => {
                let asks = matches!(message, Message::RequestEnd { .. });
                let lines = asks && asked.doubt.as_ref().is_some_and(|doubt| doubt.dialect.streams_json());
                self.json_streams.extend(lines.then_some(exchange));
            }
            Some(true) => {
                let asked = self.calls.pending.swap_remove(index);
                let waited = asked.doubt.as_ref().is_some_and(|doubt| doubt.asks.is_some());
                self.claim(asked);
                // What was held is told by now.
                if !waited || !matches!(message, Message::Response(_) | Message::Body(_)) {
                    self.route(exchange, at, message);
                }
                return;
            }
            Some(false) => {
                let answer = asked.doubt.take().and_then(|doubt| doubt.answer);
                if let Some((head, at)) = answer.filter(|_| !matches!(message, Message::Response(_))) {
                    // It is nobody's: what it is answered with may still be a stream of events.
                    self.route_to_pending(index, exchange, at, &Message::Response(&head));
                    return self.route(exchange, at, message);
                }
            }
        }
        let doubted = self.calls.pending.get(index).is_some_and(|asked| asked.doubt.is_some());
        if doubted && matches!(message, Message::Response(_)) {
            return; // it is held
        }
        if self.calls.unclaimed() > limits::PENDING_REQUESTS {
            let asked = self.calls.pending.swap_remove(index);
            return self.pass(exchange, asked.stranger);
        }
        let Some(asked) = self.calls.pending.get_mut(index) else { return };
        match message {
            Message::RequestBody(bytes) => asked.dialect.request_body(bytes),
            Message::RequestEnd { lost } => asked.facts = Some((asked.dialect.request_end(*lost), at)),
            Message::Response(head) => {
                let asked = self.calls.pending.swap_remove(index);
                if !is_stream(head) {
                    return self.pass(exchange, asked.stranger);
                }
                self.outcome.unknown = true;
                self.begin(exchange, &unknown::ROW, &asked.head, asked.dialect, asked.at);
                self.requested(exchange, asked.facts, &asked.notes);
                self.route(exchange, at, message);
            }
            Message::Note(note) => {
                if asked.notes.len() < limits::NOTES {
                    asked.notes.push(note.reason);
                }
                self.env.events.on_host_event(&HostEvent::ParserNote(*note));
            }
            _ => {}
        }
    }

    /// What was asked for before it was known to be a call.
    fn requested(&mut self, exchange: ExchangeId, facts: Option<(RequestFacts, Moment)>, notes: &[&'static str]) {
        let call = self.calls.open.iter().find(|call| call.exchange == exchange);
        let Some(stream) = call.and_then(|call| self.env.call_table.open_call(call.stream)) else { return };
        notes.iter().for_each(|note| stream.add_note(note));
        if let Some((facts, at)) = facts {
            stream.on_request_sent(facts, at, self.env.events);
            let lost = stream.entry().request.as_ref().is_some_and(|request| request.truncated);
            self.env.tap.on_message(stream.entry(), at, &Message::RequestEnd { lost });
        }
    }
}

/// A stream of events by its label, and no error.
fn is_stream(head: &ResponseHead) -> bool {
    head.status < 400 && head.content_type.as_deref().is_some_and(body::is_stream)
}
