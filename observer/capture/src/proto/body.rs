//! A body's way from raw bytes to messages: content coding, then cut into events by content type. The same for every
//! protocol that carries HTTP semantics.

use super::content::{ContentCoding, ContentDecoder};
use super::eventstream::EventStream;
use super::grpc::GrpcScanner;
use super::sse::SseScanner;
use super::values::JsonValuesScanner;
use super::{Message, ProtocolNote, ResponseHead};
use crate::units::LossCause;

/// Cuts a body into events, incrementally: an event is out the moment its last byte is in.
pub trait EventScanner: Send {
    /// The next bytes.
    fn push(&mut self, bytes: &[u8], out: &mut dyn FnMut(Message<'_>));
    /// An unknown number of bytes is missing.
    fn gap(&mut self);
    /// So many bytes are missing.
    fn skip(&mut self, _bytes: u64) {
        self.gap();
    }
    /// The body is complete.
    fn finish(&mut self, out: &mut dyn FnMut(Message<'_>));
    /// Bytes held now.
    fn held(&self) -> usize;
}

/// Makes the cutter of one body.
type MakeCutter = fn() -> Box<dyn EventScanner>;

/// Content types whose bodies are streams of events, and what cuts them. `*` stands for any end.
const FRAMINGS: &[(&str, MakeCutter)] = &[
    ("text/event-stream", make::<SseScanner>),
    ("application/x-ndjson", make::<JsonValuesScanner>),
    ("application/ndjson", make::<JsonValuesScanner>),
    ("application/jsonl", make::<JsonValuesScanner>),
    ("application/x-jsonlines", make::<JsonValuesScanner>),
    ("application/json-seq", make::<JsonValuesScanner>),
    ("application/stream+json", make::<JsonValuesScanner>),
    ("application/vnd.amazon.eventstream", make::<EventStream>),
    ("application/grpc*", make::<GrpcScanner>),
];

fn make<C: EventScanner + Default + 'static>() -> Box<dyn EventScanner> {
    Box::<C>::default()
}

fn framing(content_type: &str) -> Option<fn() -> Box<dyn EventScanner>> {
    let fits = |pattern: &str| match pattern.strip_suffix('*') {
        Some(start) => content_type.starts_with(start),
        None => content_type == pattern,
    };
    FRAMINGS.iter().find(|(pattern, _)| fits(pattern)).map(|(_, make)| *make)
}

/// Whether a content type (lower case, without parameters) names a stream of events.
#[must_use]
pub fn is_stream(content_type: &str) -> bool {
    framing(content_type).is_some()
}

/// Whether a content type names sound, pictures or other bytes that are no text.
#[must_use]
pub fn is_media(content_type: &str) -> bool {
    ["audio/", "video/", "image/"].iter().any(|class| content_type.starts_with(class))
        || matches!(content_type, "application/octet-stream" | "application/ogg")
}

/// The interpreter of one body.
pub struct BodyInterpreter {
    decoder: Option<ContentDecoder>,
    kind: BodyKind,
    /// What comes now cannot be decoded: everything is dropped until the body ends.
    blind: bool,
}

/// How a body is cut into messages.
enum BodyKind {
    Request,
    Whole,
    Events(Box<dyn EventScanner>),
}

impl BodyInterpreter {
    /// A request's body, with the codings in the order they were applied (`None`: not decodable).
    #[must_use]
    pub fn request(codings: Option<&[ContentCoding]>) -> Self {
        Self::new(BodyKind::Request, codings)
    }

    /// A response's body. `json_stream`: JSON is expected to be a stream of texts, whatever its
    /// label; an error never is.
    #[must_use]
    pub fn response(head: &ResponseHead, codings: Option<&[ContentCoding]>, json_stream: bool) -> Self {
        let json = |content_type: &str| content_type.ends_with("/json") || content_type == "text/plain";
        let make = match head.content_type.as_deref() {
            Some(content_type) if json_stream && head.status < 400 && json(content_type) => {
                Some(make::<JsonValuesScanner> as _)
            }
            content_type => content_type.and_then(framing),
        };
        Self::new(make.map_or(BodyKind::Whole, |make: fn() -> Box<dyn EventScanner>| BodyKind::Events(make())), codings)
    }

    fn new(kind: BodyKind, codings: Option<&[ContentCoding]>) -> Self {
        let decoder = codings.filter(|list| !list.is_empty()).map(ContentDecoder::new);
        BodyInterpreter { decoder, kind, blind: codings.is_none() }
    }

    /// The next bytes, transfer coding already undone.
    pub fn push(&mut self, bytes: &[u8], out: &mut dyn FnMut(Message<'_>)) {
        if self.blind {
            return;
        }
        let Some(decoder) = &mut self.decoder else { return self.kind.push(bytes, out) };
        let kind = &mut self.kind;
        if let Err(note) = decoder.push(bytes, &mut |decoded| kind.push(decoded, out)) {
            self.go_blind(note, out);
        }
    }

    /// Bytes are missing. A response's plain text goes on; a compressed stream does not survive it, nor does a request:
    /// behind a hole in its JSON, a word inside a message cannot be told from a field.
    pub fn gap(&mut self, bytes: Option<u64>, cause: LossCause, out: &mut dyn FnMut(Message<'_>)) {
        if matches!(self.kind, BodyKind::Request) {
            self.blind = true;
            return;
        }
        out(Message::Gap { bytes, cause });
        if self.decoder.is_some() && !self.blind {
            return self.go_blind(ProtocolNote { protocol: "content", reason: "lost_bytes" }, out);
        }
        match (&mut self.kind, bytes) {
            (BodyKind::Events(cutter), Some(bytes)) => cutter.skip(bytes),
            (BodyKind::Events(cutter), None) => cutter.gap(),
            _ => {}
        }
    }

    /// The body is complete.
    pub fn finish(&mut self, out: &mut dyn FnMut(Message<'_>)) {
        if self.blind {
            return;
        }
        if let BodyKind::Events(cutter) = &mut self.kind {
            cutter.finish(out);
        }
        if let Some(note) = self.decoder.as_ref().and_then(ContentDecoder::finish) {
            out(Message::Note(note));
        }
    }

    /// Part of the body could not be decoded: how the exchange really ended is unknown.
    #[must_use]
    pub fn blind(&self) -> bool {
        self.blind
    }

    /// Bytes held now.
    #[must_use]
    pub fn held(&self) -> usize {
        let cutter = match &self.kind {
            BodyKind::Events(cutter) => cutter.held(),
            BodyKind::Request | BodyKind::Whole => 0,
        };
        cutter + self.decoder.as_ref().map_or(0, ContentDecoder::held)
    }

    fn go_blind(&mut self, note: ProtocolNote, out: &mut dyn FnMut(Message<'_>)) {
        self.blind = true;
        self.decoder = None;
        if matches!(self.kind, BodyKind::Events(_)) {
            self.kind = BodyKind::Whole; // what it held is of no use any more
        }
        out(Message::Note(note));
    }
}

impl BodyKind {
    fn push(&mut self, bytes: &[u8], out: &mut dyn FnMut(Message<'_>)) {
        match self {
            BodyKind::Request => out(Message::RequestBody(bytes)),
            BodyKind::Whole => out(Message::Body(bytes)),
            BodyKind::Events(cutter) => cutter.push(bytes, out),
        }
    }
}

/// A message in a line: what tests and fuzzers compare.
pub(super) fn line(message: &Message<'_>) -> String {
    match message {
        Message::Event(event) => {
            let name = event.name.map_or(String::new(), |name| format!("{name}: "));
            let cut = if event.truncated { " cut" } else { "" };
            format!("event {} {name}{}{cut}", event.wire_bytes, String::from_utf8_lossy(event.data))
        }
        Message::Note(note) => format!("{}/{}", note.protocol, note.reason),
        other => format!("{other:?}"),
    }
}

/// The messages that a scanner makes of a body in these pieces, a line each.
pub(super) fn lines<'a, C: EventScanner + Default>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<String> {
    let (mut cutter, mut lines) = (C::default(), Vec::new());
    let mut out = |message: Message<'_>| lines.push(line(&message));
    for piece in pieces {
        cutter.push(piece, &mut out);
        assert!(cutter.held() <= super::check::HELD, "{} bytes are held", cutter.held());
    }
    cutter.finish(&mut out);
    lines
}

/// Fuzz target of a cutter: a stream must come out the same whole and cut. The first bytes say
/// where to cut; no input may panic, nor any gap.
pub(super) fn fuzz<C: EventScanner + Default>(data: &[u8]) {
    let Some((cuts, stream)) = data.split_at_checked(4) else { return };
    let whole = lines::<C>([stream]);
    let mut sizes = cuts.iter().cycle();
    let mut rest = stream;
    let cut = lines::<C>(std::iter::from_fn(|| {
        let size = 1 + usize::from(*sizes.next()? & 31);
        let (piece, tail) = rest.split_at_checked(size).unwrap_or((rest, &[]));
        rest = tail;
        (!piece.is_empty()).then_some(piece)
    }));
    assert_eq!(whole, cut);
    with_gaps::<C>(cuts, stream);
}

/// The same stream with holes, told and untold.
fn with_gaps<C: EventScanner + Default>(cuts: &[u8], stream: &[u8]) {
    let mut cutter = C::default();
    for (piece, cut) in stream.chunks(24).zip(cuts.iter().cycle()) {
        match cut >> 5 {
            0 => cutter.gap(),
            1 => cutter.skip(piece.len() as u64),
            2 => cutter.skip(u64::from(*cut)),
            _ => cutter.push(piece, &mut |_| {}),
        }
    }
    cutter.finish(&mut |_| {});
}
