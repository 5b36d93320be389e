//! A lost place is looked for: a frame is told by its looks.

use super::{At, FramingTrust, Http2Framer};
use crate::proto::h2::frame::{FrameExpectation, HEAD, HEADERS, Http2FrameHead};
use crate::units::Moment;

impl Http2Framer {
    /// Looks for a frame: at the beginning of a call, and wherever one whole frame is followed by
    /// the head of another. True if found: `input` begins with it, or with what follows its head.
    pub(super) fn hunt(&mut self, input: &mut &[u8], at: Moment, expects: FrameExpectation<'_>) -> bool {
        let begins = self.have == 0 && input.len() >= HEAD;
        if begins {
            self.have = HEAD;
        } else if self.have < HEAD {
            return self.hunt_in_pieces(input, at, expects);
        }
        let found = memchr::memchr_iter(0, input).find_map(|offset| match chain(input.get(offset..)?, expects) {
            Chain::Proven => Some((offset, FramingTrust::Sure)),
            Chain::Ends if begins && offset == 0 => Some((offset, FramingTrust::Sure)),
            Chain::Open(frame) if begins && offset == 0 => Some((offset, frame.looks())),
            _ => None,
        });
        let Some((offset, trust)) = found else { return false };
        *input = input.get(offset..).unwrap_or_default();
        (self.at, self.have, self.trust) = (At::Head, 0, trust);
        true
    }

    /// The same where the first bytes of a call come one by one.
    fn hunt_in_pieces(&mut self, input: &mut &[u8], at: Moment, expects: FrameExpectation<'_>) -> bool {
        let Some(frame) = self.collect(input, at) else { return false };
        self.have = HEAD;
        if !frame.plausible(expects) {
            return false;
        }
        (self.at, self.trust) = (At::Head, frame.looks());
        true
    }
}

impl Http2FrameHead {
    /// How far it is trusted by its looks alone. A header block shows itself when it is read; data does not.
    fn looks(&self) -> FramingTrust {
        if self.kind == HEADERS { FramingTrust::Sure } else { FramingTrust::Found }
    }
}

/// What lies where a frame may begin.
enum Chain {
    /// A frame, and the head of another behind it.
    Proven,
    /// A frame that ends with the bytes.
    Ends,
    /// A frame that goes on behind the bytes.
    Open(Http2FrameHead),
    No,
}

fn chain(bytes: &[u8], expects: FrameExpectation<'_>) -> Chain {
    let Some(frame) = Http2FrameHead::read(bytes).filter(|frame| frame.plausible(expects)) else { return Chain::No };
    // A stream goes on behind the block that begins it.
    let follows = |next: &Http2FrameHead| next.plausible(&|next| next.stream == frame.stream || expects(next));
    match bytes.get(HEAD + frame.length as usize..) {
        None => Chain::Open(frame),
        Some([]) => Chain::Ends,
        Some(rest) if rest.len() < HEAD => Chain::Open(frame),
        Some(rest) => Http2FrameHead::read(rest).filter(follows).map_or(Chain::No, |_| Chain::Proven),
    }
}
