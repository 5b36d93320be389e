//! gRPC messages in a body: `u8 compressed | u32 length | message`. What a message means only its
//! schema tells; its moment and size are ours.
//!
//! After bytes lost inside a message, the next one is found by its length; where that is lost too, nothing else marks a
//! beginning, and the rest of the body is dropped.

use super::body::EventScanner;
use super::{BodyEvent, BodyEventKind, Message, ProtocolNote};
use crate::limits::{SSE_EVENT, SSE_EVENT_HEAD, SSE_IDLE};

/// Size of what stands before each message.
const PREFIX: usize = 5;

/// The scanner of one body.
#[derive(Debug, Default)]
pub struct GrpcScanner {
    at: At,
    /// The prefix or message in progress, as far as it is kept.
    kept: Vec<u8>,
}

#[derive(Clone, Copy, Debug, Default)]
enum At {
    #[default]
    Prefix,
    Message(GrpcFrame),
    Lost,
}

/// The message in progress.
#[derive(Clone, Copy, Debug)]
struct GrpcFrame {
    length: usize,
    left: usize,
    compressed: bool,
    /// Bytes of it are missing.
    spoilt: bool,
}

impl EventScanner for GrpcScanner {
    fn push(&mut self, mut input: &[u8], out: &mut dyn FnMut(Message<'_>)) {
        while !input.is_empty() {
            let used = match self.at {
                At::Prefix => self.prefix(input, out),
                At::Message(frame) => self.message(frame, input, out),
                At::Lost => return,
            };
            input = input.get(used..).unwrap_or_default();
        }
    }

    fn gap(&mut self) {
        *self = GrpcScanner { at: At::Lost, ..GrpcScanner::default() };
    }

    fn skip(&mut self, bytes: u64) {
        match (self.at, usize::try_from(bytes)) {
            (At::Message(frame), Ok(lost)) if lost < frame.left => {
                self.at = At::Message(GrpcFrame { left: frame.left - lost, spoilt: true, ..frame });
                self.kept = Vec::new();
            }
            (At::Message(frame), Ok(lost)) if lost == frame.left => *self = GrpcScanner::default(),
            _ => self.gap(),
        }
    }

    fn finish(&mut self, out: &mut dyn FnMut(Message<'_>)) {
        if matches!(self.at, At::Message(_)) || !self.kept.is_empty() {
            out(note("truncated"));
        }
        *self = GrpcScanner::default();
    }

    fn held(&self) -> usize {
        size_of::<Self>() + self.kept.capacity()
    }
}

impl GrpcScanner {
    fn prefix(&mut self, input: &[u8], out: &mut dyn FnMut(Message<'_>)) -> usize {
        let size = PREFIX.saturating_sub(self.kept.len()).min(input.len());
        self.kept.extend_from_slice(input.get(..size).unwrap_or_default());
        let &[flag, l3, l2, l1, l0] = self.kept.as_slice() else { return size };
        self.kept.clear();
        if flag > 1 {
            out(note("bad_prefix"));
            self.gap();
            return size;
        }
        let length = u32::from_be_bytes([l3, l2, l1, l0]) as usize;
        let frame = GrpcFrame { length, left: length, compressed: flag == 1, spoilt: false };
        self.at = At::Message(frame);
        if length == 0 {
            self.emit(frame, &[], out);
        }
        size
    }

    fn message(&mut self, frame: GrpcFrame, input: &[u8], out: &mut dyn FnMut(Message<'_>)) -> usize {
        let piece = input.get(..frame.left).unwrap_or(input);
        let whole = piece.len() == frame.length;
        if !whole && !frame.spoilt {
            let cap = if frame.length <= SSE_EVENT { SSE_EVENT } else { SSE_EVENT_HEAD };
            let room = cap.saturating_sub(self.kept.len());
            self.kept.extend_from_slice(piece.get(..room).unwrap_or(piece));
        }
        let left = frame.left - piece.len();
        if left > 0 {
            self.at = At::Message(GrpcFrame { left, ..frame });
        } else if frame.spoilt {
            out(note("lost_bytes"));
            *self = GrpcScanner::default();
        } else if whole {
            self.emit(frame, piece, out);
        } else {
            let kept = std::mem::take(&mut self.kept);
            self.emit(frame, &kept, out);
            self.kept = kept;
            self.kept.clear();
            self.kept.shrink_to(SSE_IDLE);
        }
        piece.len()
    }

    fn emit(&mut self, frame: GrpcFrame, data: &[u8], out: &mut dyn FnMut(Message<'_>)) {
        let truncated = frame.length > SSE_EVENT;
        if truncated {
            out(note("event_too_large"));
        }
        let data = if truncated { data.get(..SSE_EVENT_HEAD).unwrap_or(data) } else { data };
        let kind = if frame.compressed { BodyEventKind::Opaque } else { BodyEventKind::Binary };
        out(Message::Event(BodyEvent { kind, name: None, data, wire_bytes: PREFIX + frame.length, truncated }));
        self.at = At::Prefix;
    }
}

fn note(reason: &'static str) -> Message<'static> {
    Message::Note(ProtocolNote { protocol: "grpc", reason })
}

/// Fuzz target: a stream must come out the same whole and cut. See `body::fuzz`.
pub fn fuzz(data: &[u8]) {
    super::body::fuzz::<GrpcScanner>(data);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::body::lines;

    fn frame(flag: u8, message: &[u8]) -> Vec<u8> {
        let length = u32::try_from(message.len()).unwrap().to_be_bytes();
        [&[flag][..], &length, message].concat()
    }

    #[test]
    fn messages_are_cut_by_their_length_wherever_the_pieces_are() {
        // An answer of xAI: id, one delta "Hi", the model.
        let chunk = b"\x0a\x02r1\x12\x08\x0a\x06\x0a\x02Hi\x10\x02\x22\x01g";
        let stream = [frame(0, chunk), frame(0, b""), frame(1, b"zip"), frame(2, b"")].concat();
        let whole = lines::<GrpcScanner>([stream.as_slice()]);
        assert_eq!(whole.len(), 4, "{whole:?}");
        assert!(whole[0].starts_with("event 22 ") && whole[1] == "event 5 " && whole[3] == "grpc/bad_prefix");
        assert_eq!(lines::<GrpcScanner>(stream.chunks(1)), whole);
        assert_eq!(lines::<GrpcScanner>([&stream[..10]]), ["grpc/truncated"]);
    }

    #[test]
    fn a_hole_in_a_message_costs_that_message_and_a_hole_elsewhere_the_rest() {
        let stream = [frame(0, b"first"), frame(0, b"second"), frame(0, b"third")].concat();
        for (from, to, expected) in [
            (17, 20, &["event 10 first", "grpc/lost_bytes", "event 10 third"][..]),
            (15, 21, &["event 10 first", "event 10 third"]),
            (8, 12, &[]),
            (10, 21, &["event 10 first"]),
        ] {
            let (mut grpc, mut got) = (GrpcScanner::default(), Vec::new());
            let mut out = |message: Message<'_>| got.push(crate::proto::body::line(&message));
            grpc.push(&stream[..from], &mut out);
            grpc.skip(u64::try_from(to - from).unwrap());
            grpc.push(&stream[to..], &mut out);
            grpc.finish(&mut out);
            assert_eq!(got, expected, "{from}..{to}");
        }
    }

    #[test]
    fn a_message_over_the_cap_leaves_its_head() {
        let stream = [frame(0, &vec![7; 2 * SSE_EVENT]), frame(0, b"x")].concat();
        for size in [1000, 4 << 20] {
            let (mut grpc, mut got, mut most) = (GrpcScanner::default(), Vec::new(), 0);
            for piece in stream.chunks(size) {
                grpc.push(piece, &mut |message| {
                    if let Message::Event(event) = message {
                        got.push((event.truncated, event.data.len(), event.wire_bytes));
                    }
                });
                most = most.max(grpc.held());
            }
            assert_eq!(got, [(true, SSE_EVENT_HEAD, 2 * SSE_EVENT + 5), (false, 1, 6)]);
            assert!(most < 64 * 1024, "{most}");
        }
    }
}
