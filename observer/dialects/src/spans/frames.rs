//! The messages of a gRPC request, as they come: `u8 compressed | u32 length | message`. Unlike
//! those of answers (`proto::grpc`) they are not held until they are whole.

use super::otlp::SpanReading;
use super::protobuf::ProtobufScanner;
use capture::proto::content::{ContentCoding, ContentDecoder};

/// Size of what stands before each message.
const PREFIX: usize = 5;

#[derive(Default)]
pub(super) struct SpanFrames {
    prefix: Vec<u8>,
    /// Of the message at hand that are still to come.
    left: usize,
    scanner: ProtobufScanner,
    /// Messages are compressed as the client and the server agreed; clients of this protocol know gzip alone.
    decoder: Option<ContentDecoder>,
    /// It cannot be read.
    bad: bool,
}

impl SpanFrames {
    pub(super) fn push(&mut self, mut bytes: &[u8], spans: &mut SpanReading<'_>) {
        while !bytes.is_empty() && !self.bad {
            if self.left == 0 {
                let (piece, rest) = bytes.split_at_checked(PREFIX - self.prefix.len()).unwrap_or((bytes, &[]));
                self.prefix.extend_from_slice(piece);
                bytes = rest;
                self.begin();
                continue;
            }
            let (piece, rest) = bytes.split_at_checked(self.left).unwrap_or((bytes, &[]));
            (self.left, bytes) = (self.left - piece.len(), rest);
            self.message(piece, spans);
            if self.left == 0 {
                self.bad |= !self.scanner.complete();
            }
        }
    }

    fn begin(&mut self) {
        let &[flag, l3, l2, l1, l0] = self.prefix.as_slice() else { return };
        self.prefix.clear();
        self.bad = flag > 1;
        self.left = u32::from_be_bytes([l3, l2, l1, l0]) as usize;
        self.decoder = (flag == 1).then(|| ContentDecoder::new(&[ContentCoding::Gzip]));
        self.scanner = ProtobufScanner::default();
    }

    fn message(&mut self, piece: &[u8], spans: &mut SpanReading<'_>) {
        let SpanFrames { scanner, decoder, bad, .. } = self;
        match decoder {
            None => scanner.push(piece, spans),
            Some(decoder) => *bad |= decoder.push(piece, &mut |bytes| scanner.push(bytes, spans)).is_err(),
        }
    }

    pub(super) fn complete(&self) -> bool {
        !self.bad && self.left == 0 && self.prefix.is_empty()
    }

    pub(super) fn held(&self) -> usize {
        self.prefix.capacity() + self.decoder.as_ref().map_or(0, ContentDecoder::held)
    }
}
