//! A masked event in the framing of its stream, so that what is replayed is what was recorded.

use super::mask;
use capture::proto::{BodyEvent, BodyEventKind, RequestHead, body, ws};

/// How the events of one call are written down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum EventFraming {
    /// Server-sent events.
    #[default]
    Events,
    /// JSON texts, a line each.
    Lines,
    /// Messages of an AWS event stream.
    Messages,
    /// gRPC messages, all zero.
    Grpc,
    /// Frames of a WebSocket.
    Socket,
    /// Bytes of sound, all zero.
    Media,
}

impl EventFraming {
    /// Of an answer with this content type.
    pub(super) fn of(content_type: &str) -> EventFraming {
        match content_type {
            "text/event-stream" => EventFraming::Events,
            "application/vnd.amazon.eventstream" => EventFraming::Messages,
            grpc if grpc.starts_with("application/grpc") => EventFraming::Grpc,
            media if body::is_media(media) => EventFraming::Media,
            _ => EventFraming::Lines,
        }
    }

    /// One event.
    pub(super) fn event(self, event: &BodyEvent<'_>) -> Vec<u8> {
        match self {
            EventFraming::Events => block(event),
            EventFraming::Lines => [mask::text(event.data), b"\n".to_vec()].concat(),
            EventFraming::Messages => message(event),
            EventFraming::Grpc => {
                let flag = u8::from(event.kind == BodyEventKind::Opaque);
                let length = u32::try_from(event.wire_bytes.saturating_sub(5)).unwrap_or(u32::MAX);
                [&[flag][..], &length.to_be_bytes(), &zeros(length as usize)].concat()
            }
            EventFraming::Socket => frame(event, false),
            EventFraming::Media => Vec::new(),
        }
    }
}

/// Whether a call is a turn on a socket.
pub(super) fn is_socket(head: &RequestHead) -> bool {
    ws::is_requested(head)
}

/// A message of a WebSocket, of the client (masked with zeros) or the server.
pub(super) fn frame(event: &BodyEvent<'_>, client: bool) -> Vec<u8> {
    let (opcode, payload) = match event.kind {
        BodyEventKind::Text | BodyEventKind::Exception => (0x81, mask::text(event.data)),
        BodyEventKind::Binary => (0x82, zeros(event.data.len())),
        BodyEventKind::Opaque => (0x82, zeros(event.wire_bytes)),
    };
    let masked = if client { 0x80 } else { 0 };
    let mut bytes = vec![opcode];
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(short @ ..=125), _) => bytes.push(masked | short),
        (_, Ok(middle)) => bytes.extend([&[masked | 126][..], &middle.to_be_bytes()].concat()),
        _ => bytes.extend([&[masked | 127][..], &(payload.len() as u64).to_be_bytes()].concat()),
    }
    if client {
        bytes.extend([0; 4]);
    }
    [bytes, payload].concat()
}

/// So many zeros, at most as many as an event may have.
fn zeros(count: usize) -> Vec<u8> {
    vec![0; count.min(capture::limits::SSE_EVENT)]
}

fn block(event: &BodyEvent<'_>) -> Vec<u8> {
    let mut text = event.name.map(|name| format!("event: {}\n", mask::name(name))).unwrap_or_default().into_bytes();
    for line in mask::text(event.data).split(|&byte| byte == b'\n') {
        text.extend([b"data: ", line, b"\n"].concat());
    }
    text.push(b'\n');
    text
}

fn message(event: &BodyEvent<'_>) -> Vec<u8> {
    let (kind, name) = match event.kind {
        BodyEventKind::Exception => ("exception", ":exception-type"),
        _ => ("event", ":event-type"),
    };
    let name = event.name.map(|value| header(name, &mask::name(value))).unwrap_or_default();
    let headers = [header(":message-type", kind), name].concat();
    let payload = mask::text(event.data);
    let count = |length: usize| u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
    let mut bytes = [count(headers.len() + payload.len() + 16), count(headers.len())].concat();
    bytes.extend(checksum(&bytes));
    bytes.extend(headers);
    bytes.extend(payload);
    bytes.extend(checksum(&bytes));
    bytes
}

fn checksum(bytes: &[u8]) -> [u8; 4] {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum().to_be_bytes()
}

fn header(name: &str, value: &str) -> Vec<u8> {
    let length = |text: &str| u8::try_from(text.len()).unwrap_or(u8::MAX);
    let value = value.get(..value.floor_char_boundary(255)).unwrap_or_default();
    [&[length(name)][..], name.as_bytes(), &[7, 0, length(value)], value.as_bytes()].concat()
}
