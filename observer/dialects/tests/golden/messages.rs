//! The transcript of stage 4: messages as they are.

use capture::proto::{BodyEvent, BodyEventKind, ExchangeId, Message, MessageSink};
use capture::units::Moment;
use serde_json::{Map, Value, json};

use super::transcript::{Lines, Transcript};

#[derive(Default)]
pub(super) struct Messages(Lines);

impl MessageSink for Messages {
    fn message(&mut self, exchange: ExchangeId, _: Moment, message: Message<'_>) {
        let x = exchange.0;
        let line = match message {
            Message::RequestBody(bytes) => return self.0.join(x, "request_body", bytes),
            Message::Body(bytes) => return self.0.join(x, "body", bytes),
            Message::Request(head) => json!({"x": x, "request": {
                "method": head.method, "path": head.path, "query": head.query, "host": head.host,
                "protocol": head.protocol, "credential": head.credential_hash.is_some(), "headers": map(&head.headers),
            }}),
            Message::RequestEnd { lost } => json!({"x": x, "request_end": {"lost": lost}}),
            Message::Response(head) => json!({"x": x, "response": {
                "status": head.status, "content_type": head.content_type, "headers": map(&head.headers),
            }}),
            Message::Event(event) => said(x, "event", &event),
            Message::Sent { message, began: _ } => said(x, "sent", &message),
            Message::Trailers(list) => json!({"x": x, "trailers": map(list)}),
            Message::Comment => json!({"x": x, "comment": true}),
            Message::Gap { bytes, cause } => json!({"x": x, "gap": {"bytes": bytes, "cause": cause.name()}}),
            Message::Note(note) => json!({"x": x, "note": format!("{}/{}", note.protocol, note.reason)}),
            Message::End(end) => json!({"x": x, "end": format!("{end:?}")}),
        };
        self.0.push(line);
    }
}

impl Transcript for Messages {
    fn lines(self: Box<Self>) -> Vec<Value> {
        self.0.finish()
    }

    fn survives_only_whole(&self, line: &Value) -> bool {
        line.get("event").is_some() || line.get("sent").is_some()
    }
}

fn said(x: u64, key: &str, event: &BodyEvent<'_>) -> Value {
    let data = match std::str::from_utf8(event.data) {
        Err(_) if event.kind != BodyEventKind::Text => event.data.iter().map(|byte| format!("{byte:02x}")).collect(),
        _ => String::from_utf8_lossy(event.data).into_owned(),
    };
    let mut line = json!({
        "name": event.name, "data": data, "wire_bytes": event.wire_bytes, "truncated": event.truncated,
    });
    if event.kind != BodyEventKind::Text {
        line["kind"] = json!(format!("{:?}", event.kind));
    }
    json!({"x": x, key: line})
}

fn map(headers: &[(String, String)]) -> Map<String, Value> {
    headers.iter().map(|(name, value)| (name.clone(), json!(value))).collect()
}
