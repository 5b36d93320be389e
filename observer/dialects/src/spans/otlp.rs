//! Spans as OpenTelemetry's protocol carries them, in Protocol Buffers or JSON. Of a span its
//! times, ids (hashed), kind and whether it is of a model call are read; its name, attributes and
//! everything else is passed over.

use super::ExportedSpan;
use super::protobuf::{FieldHandling as Want, ProtobufVisitor};
use crate::json::want::{self, JsonExtract, JsonMatch};
use capture::limits;
use capture::proto::Salt;

/// The attribute that names a provider's response.
const RESPONSE: &[u8] = b"gen_ai.response.id";

/// The host that was called.
const SERVER: &[u8] = b"server.address";

/// What all attributes of model calls begin with.
const MODEL: &[u8] = b"gen_ai.";

/// Which text is being read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Text {
    #[default]
    Trace,
    Id,
    Parent,
    Key,
    Value,
}

/// An attribute whose value is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Attribute {
    Response,
    Server,
}

/// The span that is being read.
#[derive(Debug)]
pub(super) struct SpanDraft {
    salt: Salt,
    span: ExportedSpan,
    trace: [u8; 16],
    id: [u8; 8],
    parent: [u8; 8],
    attribute: Option<Attribute>,
    text: Text,
    /// At most `limits::NAME` bytes of it.
    kept: Vec<u8>,
    /// The text is longer.
    cut: bool,
}

/// The span that is being read, and where those that are complete go.
pub(super) struct SpanReading<'a> {
    pub(super) draft: &'a mut SpanDraft,
    pub(super) out: &'a mut dyn FnMut(&ExportedSpan),
}

impl SpanDraft {
    pub(super) fn new(salt: &Salt) -> Self {
        let (salt, span, kept) = (salt.clone(), ExportedSpan::default(), Vec::new());
        let (trace, id, parent) = ([0; 16], [0; 8], [0; 8]);
        SpanDraft { salt, span, trace, id, parent, attribute: None, text: Text::Trace, kept, cut: false }
    }

    pub(super) fn held(&self) -> usize {
        self.kept.capacity()
    }

    fn begin(&mut self) {
        self.span = ExportedSpan::default();
        (self.trace, self.id, self.parent) = ([0; 16], [0; 8], [0; 8]);
        self.attribute = None;
    }

    fn finish(&mut self, out: &mut dyn FnMut(&ExportedSpan)) {
        self.span.id = mark(&self.salt, &self.trace, &self.id);
        self.span.parent = mark(&self.salt, &self.trace, &self.parent);
        out(&self.span);
        self.begin();
    }

    fn open(&mut self, text: Text) {
        self.text = text;
        self.kept.clear();
        self.cut = false;
    }

    fn key(&mut self, key: &[u8]) {
        self.span.model |= key.starts_with(MODEL);
        self.attribute = match key {
            RESPONSE => Some(Attribute::Response),
            SERVER => Some(Attribute::Server),
            _ => None,
        };
    }

    fn value(&mut self, value: &[u8]) {
        let slot = match self.attribute.take() {
            Some(Attribute::Response) => &mut self.span.response,
            Some(Attribute::Server) => &mut self.span.server,
            None => return,
        };
        *slot = Some(self.salt.hash_text(value));
    }

    fn complete(&mut self) {
        let kept = std::mem::take(&mut self.kept);
        match self.text {
            _ if self.cut => {}
            Text::Trace => self.trace = kept.as_slice().try_into().unwrap_or_default(),
            Text::Id => self.id = kept.as_slice().try_into().unwrap_or_default(),
            Text::Parent => self.parent = kept.as_slice().try_into().unwrap_or_default(),
            Text::Key => self.key(&kept),
            Text::Value => self.value(&kept),
        }
        self.kept = kept;
    }
}

/// The hash of a span's ids; `None`: all zero, which is none.
pub(super) fn mark(salt: &Salt, trace: &[u8; 16], id: &[u8; 8]) -> Option<u64> {
    let none = trace.iter().all(|byte| *byte == 0) || id.iter().all(|byte| *byte == 0);
    (!none).then(|| salt.hash_text(&[&trace[..], &id[..]].concat()))
}

/// The numbers of the fields that lead to spans: resource spans, scope spans, spans.
const SPAN: [u32; 3] = [1, 2, 2];
const ATTRIBUTE: [u32; 4] = [1, 2, 2, 9];
const VALUE: [u32; 5] = [1, 2, 2, 9, 2];

/// `opentelemetry/proto/trace/v1/trace.proto`.
impl ProtobufVisitor for SpanReading<'_> {
    fn begin(&mut self, at: &[u32], field: u32) -> Want {
        let text = match (at, field) {
            ([], 1) | ([1], 2) => return Want::Enter,
            ([1, 2], 2) => {
                self.draft.begin();
                return Want::Enter;
            }
            (at, 9) if at == SPAN => {
                self.draft.attribute = None;
                return Want::Enter;
            }
            (at, 2) if at == ATTRIBUTE && self.draft.attribute.is_some() => return Want::Enter,
            (at, 1) if at == SPAN => Text::Trace,
            (at, 2) if at == SPAN => Text::Id,
            (at, 4) if at == SPAN => Text::Parent,
            (at, 1) if at == ATTRIBUTE => Text::Key,
            (at, 1) if at == VALUE => Text::Value,
            _ => return Want::Skip,
        };
        self.draft.open(text);
        Want::Bytes
    }

    fn number(&mut self, at: &[u32], field: u32, value: u64) {
        let span = &mut self.draft.span;
        match field {
            _ if at != SPAN => {}
            6 => span.kind = u8::try_from(value).unwrap_or_default(),
            7 => span.start = value,
            8 => span.end = value,
            _ => {}
        }
    }

    fn bytes(&mut self, piece: &[u8]) {
        let SpanDraft { kept, cut, .. } = &mut *self.draft;
        let room = limits::NAME.saturating_sub(kept.len());
        *cut |= piece.len() > room;
        kept.extend_from_slice(piece.get(..room).unwrap_or(piece));
    }

    fn end(&mut self, at: &[u32], field: u32) {
        match (at, field) {
            ([1, 2], 2) => self.draft.finish(self.out),
            ([] | [1], _) => {}
            // Entered, not kept.
            (at, 9) if at == SPAN => {}
            (at, 2) if at == ATTRIBUTE => {}
            _ => self.draft.complete(),
        }
    }
}

/// What is taken of the JSON form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OtlpField {
    Trace,
    Id,
    Parent,
    Kind,
    Start,
    End,
    Key,
    Value,
    Attribute,
    Span,
}

macro_rules! wants {
    ($($what:ident: $take:ident [$($more:literal),*];)*) => {
        &[$(want::JsonQuery {
            path: &["resourceSpans", "[]", "scopeSpans", "[]", "spans", "[]" $(, $more)*],
            take: JsonExtract::$take,
            what: OtlpField::$what,
        },)*]
    };
}

pub(super) static JSON: &[want::JsonQuery<OtlpField>] = wants! {
    Trace: Value ["traceId"];
    Id: Value ["spanId"];
    Parent: Value ["parentSpanId"];
    Kind: Value ["kind"];
    Start: Value ["startTimeUnixNano"];
    End: Value ["endTimeUnixNano"];
    Key: Value ["attributes", "[]", "key"];
    Value: Value ["attributes", "[]", "value", "stringValue"];
    Attribute: Close ["attributes", "[]"];
    Span: Close [];
};

impl SpanDraft {
    pub(super) fn found(&mut self, field: OtlpField, found: JsonMatch<'_>, out: &mut dyn FnMut(&ExportedSpan)) {
        match (field, found) {
            (OtlpField::Trace, JsonMatch::Text(hex)) => self.trace = unhex(hex).unwrap_or_default(),
            (OtlpField::Id, JsonMatch::Text(hex)) => self.id = unhex(hex).unwrap_or_default(),
            (OtlpField::Parent, JsonMatch::Text(hex)) => self.parent = unhex(hex).unwrap_or_default(),
            (OtlpField::Kind, JsonMatch::Text("SPAN_KIND_CLIENT")) => self.span.kind = ExportedSpan::CLIENT,
            (OtlpField::Kind, JsonMatch::Number(kind)) => {
                self.span.kind = kind.count().and_then(|kind| u8::try_from(kind).ok()).unwrap_or_default();
            }
            (OtlpField::Start, found) => self.span.start = nanoseconds(found),
            (OtlpField::End, found) => self.span.end = nanoseconds(found),
            (OtlpField::Key, JsonMatch::Text(key)) => self.key(key.as_bytes()),
            (OtlpField::Value, JsonMatch::Text(value)) => self.value(value.as_bytes()),
            (OtlpField::Attribute, JsonMatch::Close) => self.attribute = None,
            (OtlpField::Span, JsonMatch::Close) => self.finish(out),
            _ => {}
        }
    }
}

/// Nanoseconds are written as text, since they are more than a double holds; some write numbers. 0: not said.
fn nanoseconds(found: JsonMatch<'_>) -> u64 {
    match found {
        JsonMatch::Text(text) => text.parse().unwrap_or_default(),
        JsonMatch::Number(number) => number.0.parse().unwrap_or_default(),
        _ => 0,
    }
}

/// The bytes of as many hexadecimal digits.
pub(super) fn unhex<const N: usize>(hex: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    if hex.len() != 2 * N || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(hex.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some(bytes)
}
