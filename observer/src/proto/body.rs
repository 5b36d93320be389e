//! A body's way from raw bytes to messages: content coding, then by content type. The same for every protocol that
//! carries HTTP semantics.

use super::content::{Coding, Decoder};
use super::sse::Scanner;
use super::{Message, Note};
use crate::units::LossCause;

/// The interpreter of one body.
pub struct Body {
    decoder: Option<Decoder>,
    kind: Kind,
    /// What comes now cannot be decoded: everything is dropped until the body ends.
    blind: bool,
}

/// How a body is cut into messages. NDJSON will be a row here.
enum Kind {
    Request,
    Whole,
    Events(Box<Scanner>),
}

impl Body {
    /// A request's body, with the codings in the order they were applied (`None`: not decodable).
    #[must_use]
    pub fn request(codings: Option<&[Coding]>) -> Self {
        Self::new(Kind::Request, codings)
    }

    /// A response's body.
    #[must_use]
    pub fn response(content_type: Option<&str>, codings: Option<&[Coding]>) -> Self {
        let kind = match content_type {
            Some("text/event-stream") => Kind::Events(Box::default()),
            _ => Kind::Whole,
        };
        Self::new(kind, codings)
    }

    fn new(kind: Kind, codings: Option<&[Coding]>) -> Self {
        let decoder = codings.filter(|list| !list.is_empty()).map(Decoder::new);
        Body { decoder, kind, blind: codings.is_none() }
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
        if matches!(self.kind, Kind::Request) {
            self.blind = true;
            return;
        }
        out(Message::Gap { bytes, cause });
        if let Kind::Events(scanner) = &mut self.kind {
            scanner.gap();
        }
        if self.decoder.is_some() && !self.blind {
            self.go_blind(Note { protocol: "content", reason: "lost_bytes" }, out);
        }
    }

    /// The body is complete.
    pub fn finish(&mut self, out: &mut dyn FnMut(Message<'_>)) {
        if self.blind {
            return;
        }
        if let Kind::Events(scanner) = &mut self.kind {
            scanner.finish(out);
        }
        if let Some(note) = self.decoder.as_ref().and_then(Decoder::finish) {
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
        let scanner = match &self.kind {
            Kind::Events(scanner) => size_of::<Scanner>() + scanner.held(),
            Kind::Request | Kind::Whole => 0,
        };
        scanner + self.decoder.as_ref().map_or(0, Decoder::held)
    }

    fn go_blind(&mut self, note: Note, out: &mut dyn FnMut(Message<'_>)) {
        self.blind = true;
        self.decoder = None;
        if matches!(self.kind, Kind::Events(_)) {
            self.kind = Kind::Events(Box::default());
        }
        out(Message::Note(note));
    }
}

impl Kind {
    fn push(&mut self, bytes: &[u8], out: &mut dyn FnMut(Message<'_>)) {
        match self {
            Kind::Request => out(Message::RequestBody(bytes)),
            Kind::Whole => out(Message::Body(bytes)),
            Kind::Events(scanner) => scanner.push(bytes, out),
        }
    }
}
