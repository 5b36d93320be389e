//! Frames (RFC 6455, 5): where each begins and ends, and what its mask is.

/// Opcodes.
pub(super) const CONTINUATION: u8 = 0;
pub(super) const TEXT: u8 = 1;
pub(super) const BINARY: u8 = 2;
pub(super) const CLOSE: u8 = 8;
pub(super) const PING: u8 = 9;
pub(super) const PONG: u8 = 10;

/// Longest head: two bytes, eight of length, four of mask.
const HEAD: usize = 14;

/// The head of a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct WsFrameHead {
    pub(super) opcode: u8,
    /// The last one of its message.
    pub(super) fin: bool,
    /// RSV1: its message is compressed.
    pub(super) compressed: bool,
    pub(super) mask: Option<[u8; 4]>,
    pub(super) length: u64,
    /// Bytes that the head took.
    pub(super) head: usize,
}

/// What the first bytes of a frame are.
pub(super) enum WsHeadStep {
    Whole(WsFrameHead),
    More,
    Bad,
}

impl WsFrameHead {
    /// A frame's head at the beginning of some bytes.
    pub(super) fn read(bytes: &[u8]) -> WsHeadStep {
        let &[first, second, ref rest @ ..] = bytes else { return WsHeadStep::More };
        let (length, used) = match (second & 0x7f, rest) {
            (126, &[a, b, ..]) => (u64::from(u16::from_be_bytes([a, b])), 4),
            (127, &[a, b, c, d, e, f, g, h, ..]) => (u64::from_be_bytes([a, b, c, d, e, f, g, h]), 10),
            (126 | 127, _) => return WsHeadStep::More,
            (short, _) => (u64::from(short), 2),
        };
        let masked = second & 0x80 != 0;
        let mask = match bytes.get(used..).and_then(|rest| rest.first_chunk::<4>()) {
            Some(mask) if masked => Some(*mask),
            None if masked => return WsHeadStep::More,
            _ => None,
        };
        let frame = WsFrameHead {
            opcode: first & 0x0f,
            fin: first & 0x80 != 0,
            compressed: first & 0x40 != 0,
            mask,
            length,
            head: used + if masked { 4 } else { 0 },
        };
        if first & 0x30 == 0 && frame.valid() { WsHeadStep::Whole(frame) } else { WsHeadStep::Bad }
    }

    /// Whether a frame may look so: what every peer must refuse is none.
    fn valid(&self) -> bool {
        let shortest = match self.head - if self.mask.is_some() { 4 } else { 0 } {
            4 => self.length > 125,
            10 => self.length > 0xffff && self.length >> 63 == 0,
            _ => true,
        };
        shortest
            && match self.opcode {
                CONTINUATION => !self.compressed,
                TEXT | BINARY => true,
                CLOSE | PING | PONG => self.fin && !self.compressed && self.length <= 125,
                _ => false,
            }
    }

    pub(super) fn is_control(&self) -> bool {
        self.opcode >= CLOSE
    }
}

/// Undoes a mask; `at` is the offset of `bytes` in the frame's payload.
pub(super) fn unmask(bytes: &mut [u8], mask: [u8; 4], at: u64) {
    for (byte, key) in bytes.iter_mut().zip(mask.iter().cycle().skip((at & 3) as usize)) {
        *byte ^= key;
    }
}

/// Where one direction is.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum WsFramerState {
    /// In the head of a frame.
    #[default]
    Head,
    /// In its payload: so many bytes are left.
    Payload(WsFrameHead, u64),
    /// The place is lost: a frame is looked for at the beginning of each call.
    Hunt,
}

/// Cuts one direction into frames.
#[derive(Debug, Default)]
pub(super) struct WsFramer {
    pub(super) at: WsFramerState,
    head: [u8; HEAD],
    have: usize,
    /// The place was lost once: what does not fit is no error of the peer.
    hurt: bool,
    call: Option<u64>,
}

/// What the next bytes are.
pub(super) enum WsFrameStep<'a> {
    /// A frame begins.
    Begin(WsFrameHead),
    /// A piece of its payload, at this offset.
    Payload(WsFrameHead, u64, &'a [u8]),
    /// It is complete.
    End(WsFrameHead),
    More,
    /// It is none.
    Bad,
}

/// What a hole did.
pub(super) enum WsHoleOutcome {
    /// So many bytes of the frame in progress are missing.
    Payload,
    /// The place is lost.
    Lost,
}

impl WsFramer {
    /// Bytes of this call follow; true if it is another than before.
    pub(super) fn enter(&mut self, call: u64) -> bool {
        self.call.replace(call) != Some(call)
    }

    pub(super) fn lose(&mut self) {
        (self.at, self.have, self.hurt) = (WsFramerState::Hunt, 0, true);
    }

    /// The place was lost once.
    pub(super) fn hurt(&self) -> bool {
        self.hurt
    }

    /// The next step; takes what it used from `input`.
    pub(super) fn next<'a>(&mut self, input: &mut &'a [u8]) -> WsFrameStep<'a> {
        match self.at {
            WsFramerState::Hunt => WsFrameStep::More,
            WsFramerState::Head => self.take_head(input),
            WsFramerState::Payload(frame, 0) => {
                self.at = WsFramerState::Head;
                WsFrameStep::End(frame)
            }
            WsFramerState::Payload(..) if input.is_empty() => WsFrameStep::More,
            WsFramerState::Payload(frame, left) => {
                let size = usize::try_from(left).map_or(input.len(), |left| left.min(input.len()));
                let (piece, rest) = input.split_at_checked(size).unwrap_or((input, &[]));
                *input = rest;
                self.at = WsFramerState::Payload(frame, left - piece.len() as u64);
                WsFrameStep::Payload(frame, frame.length - left, piece)
            }
        }
    }

    fn take_head<'a>(&mut self, input: &mut &'a [u8]) -> WsFrameStep<'a> {
        while let Some((byte, rest)) = input.split_first() {
            let Some(slot) = self.head.get_mut(self.have) else { return WsFrameStep::Bad };
            *slot = *byte;
            self.have += 1;
            *input = rest;
            match WsFrameHead::read(self.head.get(..self.have).unwrap_or_default()) {
                WsHeadStep::More => {}
                WsHeadStep::Bad => return WsFrameStep::Bad,
                WsHeadStep::Whole(frame) => {
                    self.have = 0;
                    self.at = WsFramerState::Payload(frame, frame.length);
                    return WsFrameStep::Begin(frame);
                }
            }
        }
        WsFrameStep::More
    }

    /// Bytes are missing.
    pub(super) fn gap(&mut self, bytes: Option<u64>) -> WsHoleOutcome {
        match (self.at, bytes) {
            (WsFramerState::Payload(frame, left), Some(bytes)) if bytes <= left => {
                self.at = WsFramerState::Payload(frame, left - bytes);
                WsHoleOutcome::Payload
            }
            _ => {
                self.lose();
                WsHoleOutcome::Lost
            }
        }
    }

    /// At the beginning of a call with the place lost: whether a frame begins here, by its looks.
    /// `masked` and `deflate`: what frames of this direction are like.
    pub(super) fn try_here(&mut self, input: &[u8], masked: bool, deflate: bool) -> bool {
        let looks = plausible(input, masked, deflate, 0);
        if looks {
            (self.at, self.have) = (WsFramerState::Head, 0);
        }
        looks
    }
}

/// Whether frames follow each other from here to the end of the bytes, or the first one goes on
/// behind them and begins as a message does.
fn plausible(input: &[u8], masked: bool, deflate: bool, before: usize) -> bool {
    let WsHeadStep::Whole(frame) = WsFrameHead::read(input) else { return false };
    if frame.mask.is_some() != masked || (frame.compressed && !deflate) {
        return false;
    }
    let end = usize::try_from(frame.length).ok().and_then(|length| frame.head.checked_add(length));
    match end.and_then(|end| input.get(end..)) {
        Some([]) => true,
        Some(rest) if rest.len() < HEAD => !matches!(WsFrameHead::read(rest), WsHeadStep::Bad),
        // Two that fit are no accident.
        Some(rest) => before > 0 || plausible(rest, masked, deflate, before + 1),
        None => before > 0 || matches!(input.get(frame.head), Some(b'{' | b'[')) && frame.opcode == TEXT,
    }
}
