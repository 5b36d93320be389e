//! Spans that applications export: requests that are no model calls, but tell of them.
//! `RequestBody` in, `ExportedSpan` out.
//!
//! OpenTelemetry's protocol, OTLP: over HTTP as a POST of Protocol Buffers or JSON to
//! `…/v1/traces`, or as a gRPC call. A span is out as soon as its last byte is in, and nothing is
//! held but the one that is being read. Only times, hashed ids, the kind and whether it is of a
//! model call are read: no name, no attribute's text, no resource.
//!
//! Source: opentelemetry-proto 1.9 (`trace.proto`, `trace_service.proto`), OTLP specification 1.9. Checked 2026-11.
#![deny(clippy::disallowed_methods, reason = "pure stage: time is an argument, no files")]

mod frames;
mod otlp;
mod protobuf;

use crate::json::scan;
use capture::limits;
use capture::proto::{RequestHead, Salt};

/// One span, as its application tells it. Hashes are salted; 0 is a time that was not told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExportedSpan {
    /// Of its trace and itself.
    pub id: Option<u64>,
    /// Of its trace and the span it is a part of.
    pub parent: Option<u64>,
    /// What it is, by the protocol's number.
    pub kind: u8,
    /// Nanoseconds since the epoch, on the application's clock.
    pub start: u64,
    pub end: u64,
    /// The span has an attribute of model calls (`gen_ai.…`).
    pub model: bool,
    /// Of `gen_ai.response.id`.
    pub response: Option<u64>,
    /// Of `server.address`.
    pub server: Option<u64>,
}

impl ExportedSpan {
    /// The kind of a span that is a request to another program.
    pub const CLIENT: u8 = 3;
}

/// The method of gRPC.
const METHOD: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

/// Where OTLP over HTTP goes, whatever stands before it.
const PATH: &str = "/v1/traces";

/// A request that exports spans.
#[must_use]
pub fn is_export(head: &RequestHead) -> bool {
    form(head).is_some()
}

/// The hash of the span that a request says it is part of (`traceparent`): that of a span's ids.
#[must_use]
pub fn parent(traceparent: &str, salt: &Salt) -> Option<u64> {
    let mut parts = traceparent.split('-').skip(1);
    let (trace, id) = (otlp::unhex(parts.next()?)?, otlp::unhex(parts.next()?)?);
    otlp::mark(salt, &trace, &id)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Protobuf,
    Json,
    Grpc,
}

fn form(head: &RequestHead) -> Option<Form> {
    if head.method != "POST" {
        return None;
    }
    let kind = head.header("content-type")?;
    let kind = kind.split(';').next().unwrap_or(kind).trim();
    match kind {
        _ if kind.starts_with("application/grpc") && head.path == METHOD => Some(Form::Grpc),
        _ if !head.path.ends_with(PATH) => None,
        "application/x-protobuf" | "application/protobuf" => Some(Form::Protobuf),
        "application/json" => Some(Form::Json),
        _ => None,
    }
}

/// Reads one export.
pub struct ExportReader {
    draft: otlp::SpanDraft,
    body: Body,
    /// Bytes that may still come.
    left: u64,
}

enum Body {
    Protobuf(protobuf::ProtobufScanner),
    Json(Box<scan::JsonScanner<otlp::OtlpField>>),
    Grpc(frames::SpanFrames),
}

impl ExportReader {
    /// `None`: the request is none.
    #[must_use]
    pub fn new(head: &RequestHead, salt: &Salt) -> Option<ExportReader> {
        let body = match form(head)? {
            Form::Protobuf => Body::Protobuf(protobuf::ProtobufScanner::default()),
            Form::Json => Body::Json(Box::new(scan::JsonScanner::new(otlp::JSON))),
            Form::Grpc => Body::Grpc(frames::SpanFrames::default()),
        };
        Some(ExportReader { draft: otlp::SpanDraft::new(salt), body, left: limits::EXPORT_BYTES })
    }

    /// The next bytes of the body, its content coding undone.
    pub fn push(&mut self, bytes: &[u8], out: &mut dyn FnMut(&ExportedSpan)) {
        self.left = self.left.saturating_sub(bytes.len() as u64);
        if self.left == 0 {
            return;
        }
        let draft = &mut self.draft;
        match &mut self.body {
            Body::Protobuf(scanner) => scanner.push(bytes, &mut otlp::SpanReading { draft, out }),
            Body::Json(scanner) => scanner.push(bytes, &mut |field, found| draft.found(field, found, out)),
            Body::Grpc(frames) => frames.push(bytes, &mut otlp::SpanReading { draft, out }),
        }
    }

    /// The body ended. `Some`: why not all of it was read.
    #[must_use]
    pub fn end(&self, lost: bool) -> Option<&'static str> {
        let complete = match &self.body {
            Body::Protobuf(scanner) => scanner.complete(),
            Body::Json(scanner) => scanner.complete(),
            Body::Grpc(frames) => frames.complete(),
        };
        match complete {
            _ if lost => Some("export_lost"),
            _ if self.left == 0 => Some("export_too_large"),
            true => None,
            false => Some("export_unreadable"),
        }
    }

    /// Bytes held.
    #[must_use]
    pub fn held(&self) -> usize {
        let body = match &self.body {
            Body::Protobuf(_) => 0,
            Body::Json(scanner) => size_of_val(&**scanner) + scanner.held(),
            Body::Grpc(frames) => frames.held(),
        };
        size_of::<ExportReader>() + self.draft.held() + body
    }
}

/// Fuzz target: an export must come out the same whole and cut, in each form. The first byte says
/// which and how it is cut.
pub fn fuzz(data: &[u8]) {
    let Some((first, body)) = data.split_first() else { return };
    let (path, kind) = match first % 3 {
        0 => (PATH, "application/x-protobuf"),
        1 => (PATH, "application/json"),
        _ => (METHOD, "application/grpc"),
    };
    let headers = vec![("content-type".to_owned(), kind.to_owned())];
    let head = RequestHead { method: "POST".into(), path: path.into(), headers, ..RequestHead::default() };
    let salt = Salt::random();
    let read = |pieces: &mut dyn Iterator<Item = &[u8]>| {
        let (mut reader, mut spans) = (ExportReader::new(&head, &salt), Vec::new());
        for piece in pieces {
            if let Some(reader) = &mut reader {
                reader.push(piece, &mut |span| spans.push(*span));
            }
            let held = reader.as_ref().map_or(0, ExportReader::held);
            assert!(held <= 128 * 1024, "{held} bytes are held");
        }
        (spans, reader.and_then(|reader| reader.end(false)))
    };
    let whole = read(&mut std::iter::once(body));
    let cut = read(&mut body.chunks(1 + usize::from(first / 3)));
    // Of a compressed message that breaks off, how much comes out before the break depends on the cut.
    let broken = first % 3 == 2 && whole.1.is_some();
    let common = if broken { whole.0.len().min(cut.0.len()) } else { usize::MAX };
    let found = |spans: &[ExportedSpan]| spans.iter().take(common).copied().collect::<Vec<_>>();
    assert_eq!((found(&whole.0), whole.1), (found(&cut.0), cut.1), "the cut changed what was found");
}

#[cfg(test)]
mod tests;
