//! Frames (RFC 9113, 4): where each begins and ends. Payloads pass through; padding does not.

use crate::limits::HTTP2_HUNT_FRAME;
use crate::units::Moment;

/// What a client sends first.
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PUSH_PROMISE: u8 = 5;
const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;

pub(super) const END_STREAM: u8 = 0x01;
pub(super) const END_HEADERS: u8 = 0x04;
const PADDED: u8 = 0x08;
pub(super) const HAS_PRIORITY: u8 = 0x20;

/// Size of a frame's head.
const HEAD: usize = 9;

/// The head of a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) length: u32,
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
    /// When its first byte came.
    pub(super) began: Moment,
}

impl Frame {
    pub(super) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// The head of a frame at the beginning of some bytes.
    pub(super) fn read(bytes: &[u8]) -> Option<Frame> {
        let &[l2, l1, l0, kind, flags, s3, s2, s1, s0, ..] = bytes else { return None };
        Some(Frame {
            length: u32::from_be_bytes([0, l2, l1, l0]),
            kind,
            flags,
            stream: u32::from_be_bytes([s3 & 0x7f, s2, s1, s0]),
            began: Moment::default(),
        })
    }

    /// Whether a frame may look so: what every peer must refuse is none.
    fn valid(&self) -> bool {
        let (length, on_stream) = (self.length, self.stream != 0);
        match self.kind {
            DATA | HEADERS | PUSH_PROMISE | CONTINUATION => on_stream && !(self.padded() && length == 0),
            PRIORITY => on_stream && length == 5,
            RST_STREAM => on_stream && length == 4,
            SETTINGS => !on_stream && length % 6 == 0,
            PING => !on_stream && length == 8,
            GOAWAY => !on_stream && length >= 8,
            WINDOW_UPDATE => length == 4,
            _ => length <= HTTP2_HUNT_FRAME, // extensions are to be ignored, but none is large
        }
    }

    /// Whether bytes of unknown origin are the head of a frame: nothing unusual is believed.
    pub(super) fn plausible(&self, expects: Expects<'_>) -> bool {
        let flags = match self.kind {
            DATA => END_STREAM | PADDED,
            HEADERS => END_STREAM | END_HEADERS | PADDED | HAS_PRIORITY,
            SETTINGS | PING => 1,
            PRIORITY | RST_STREAM | GOAWAY | WINDOW_UPDATE => 0,
            _ => return false,
        };
        let small = self.length <= if self.kind == SETTINGS { 120 } else { HTTP2_HUNT_FRAME };
        self.valid() && small && self.flags & !flags == 0 && (self.stream == 0 || expects(self))
    }

    /// What a peer says first.
    pub(super) fn is_settings(&self) -> bool {
        self.kind == SETTINGS && self.flags == 0 && self.plausible(&|_| false)
    }

    /// The payload of a frame at the beginning of some bytes, as far as it is there, and what follows it.
    pub(super) fn payload<'a>(&self, bytes: &'a [u8]) -> (&'a [u8], &'a [u8]) {
        let bytes = bytes.get(HEAD..).unwrap_or_default();
        bytes.split_at_checked(self.length as usize).unwrap_or((bytes, &[]))
    }

    /// Bytes before the payload proper that tell the padding behind it.
    pub(super) fn pad_bytes(&self) -> usize {
        usize::from(self.padded())
    }

    /// How far it is trusted by its looks alone. A header block shows itself when it is read; data does not.
    fn looks(&self) -> Trust {
        if self.kind == HEADERS { Trust::Sure } else { Trust::Found }
    }

    fn padded(&self) -> bool {
        matches!(self.kind, DATA | HEADERS | PUSH_PROMISE) && self.has(PADDED)
    }
}

/// Whether a frame on this stream is to be expected now.
pub(super) type Expects<'a> = &'a dyn Fn(&Frame) -> bool;

/// What the next bytes are.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step<'a> {
    /// A piece of a frame's payload.
    Payload(Frame, &'a [u8]),
    /// The frame is complete.
    End(Frame),
    /// The input is used up.
    More,
}

/// What a hole in the bytes did.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Hole {
    /// So many bytes of this frame's payload are missing, and the place is known.
    In(Frame, u64),
    /// Before or between frames, and the place is known.
    Nothing,
    /// The place is lost: anything may be missing.
    Lost,
}

/// Cuts one direction into frames.
#[derive(Debug, Default)]
pub(super) struct Framer {
    at: At,
    /// A frame's head in progress, and how much of it has come. While hunting: the first bytes of a call, or `HEAD` where
    /// those are past.
    head: [u8; HEAD],
    have: usize,
    began: Moment,
    trust: Trust,
    /// The place was lost once: what does not fit is no error of the peer.
    hurt: bool,
    /// The last call seen.
    call: Option<u64>,
}

/// Whether the place is known, or was found again by its looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Trust {
    #[default]
    Sure,
    /// At the head of the frame that was found.
    Found,
    /// In it: its payload is not believed, for only the next head proves it.
    Unproven,
}

#[derive(Clone, Copy, Debug, Default)]
enum At {
    /// So many bytes of the preface have come.
    Preface(usize),
    #[default]
    Head,
    PadLength(Frame),
    Payload {
        frame: Frame,
        left: u32,
        pad: u32,
    },
    /// The place is lost. A frame is looked for at the beginning of each call, and wherever two frames follow each other.
    Hunt,
}

impl Framer {
    /// The client's direction: begins with the preface.
    pub(super) fn client() -> Framer {
        Framer { at: At::Preface(0), ..Framer::default() }
    }

    /// The place is lost.
    pub(super) fn lose(&mut self) {
        self.at = At::Hunt;
        self.have = HEAD;
        self.hurt = true;
        self.trust = Trust::Sure;
    }

    /// The bytes begin with a frame, not the preface.
    pub(super) fn skip_preface(&mut self) {
        self.at = At::Head;
        self.have = 0;
        self.hurt = true;
    }

    /// Whether nothing has come yet.
    pub(super) fn untouched(&self) -> bool {
        self.call.is_none()
    }

    /// Whether the place is being looked for.
    pub(super) fn hunting(&self) -> bool {
        matches!(self.at, At::Hunt)
    }

    /// Whether the place was lost once.
    pub(super) fn hurt(&self) -> bool {
        self.hurt
    }

    /// Whether payload that comes now is to be believed.
    pub(super) fn sure(&self) -> bool {
        self.trust == Trust::Sure
    }

    /// Tells the call that the next bytes belong to.
    pub(super) fn enter(&mut self, call: u64) {
        let new = self.call.replace(call) != Some(call);
        if new && matches!(self.at, At::Hunt) {
            self.have = 0;
        }
    }

    /// The next step; takes what it used from `input`.
    ///
    /// # Errors
    /// What comes is no frame. Call `lose` before going on.
    pub(super) fn next<'a>(
        &mut self,
        input: &mut &'a [u8],
        at: Moment,
        expects: Expects<'_>,
    ) -> Result<Step<'a>, &'static str> {
        loop {
            match &mut self.at {
                At::Preface(seen) => {
                    let wanted = PREFACE.get(*seen..).unwrap_or_default();
                    let size = wanted.len().min(input.len());
                    if input.get(..size) != wanted.get(..size) {
                        return Err("bad_preface");
                    }
                    *seen += size;
                    *input = input.get(size..).unwrap_or_default();
                    if *seen < PREFACE.len() {
                        return Ok(Step::More);
                    }
                    self.at = At::Head;
                }
                At::Head => match self.take_head(input, at) {
                    None => return Ok(Step::More),
                    Some(frame) => self.begin(frame, expects)?,
                },
                At::PadLength(frame) => {
                    let Some((&pad, rest)) = input.split_first() else { return Ok(Step::More) };
                    *input = rest;
                    let (frame, pad) = (*frame, u32::from(pad));
                    let left = frame.length.saturating_sub(1).checked_sub(pad).ok_or("bad_padding")?;
                    self.at = At::Payload { frame, left, pad };
                }
                At::Payload { frame, left: 0, pad: 0 } => {
                    let frame = *frame;
                    self.at = At::Head;
                    return Ok(Step::End(frame));
                }
                At::Payload { left: 0, pad, .. } => {
                    if take(input, pad).is_empty() {
                        return Ok(Step::More);
                    }
                }
                At::Payload { frame, left, .. } => {
                    let (frame, bytes) = (*frame, take(input, left));
                    return Ok(if bytes.is_empty() { Step::More } else { Step::Payload(frame, bytes) });
                }
                At::Hunt => {
                    if !self.hunt(input, at, expects) {
                        *input = &[];
                        return Ok(Step::More);
                    }
                }
            }
        }
    }

    /// Bytes are missing.
    pub(super) fn gap(&mut self, bytes: Option<u64>) -> Hole {
        let bytes = bytes.and_then(|bytes| u32::try_from(bytes).ok());
        match (&mut self.at, bytes) {
            (At::Preface(seen), Some(bytes)) if *seen + bytes as usize <= PREFACE.len() => {
                *seen += bytes as usize;
                return Hole::Nothing;
            }
            (At::PadLength(frame), Some(bytes)) if bytes <= frame.length => {
                // How much of it is padding is lost.
                let frame = *frame;
                self.at = At::Payload { frame, left: 0, pad: frame.length - bytes };
                return Hole::In(frame, u64::from(frame.length));
            }
            (At::Payload { frame, left, pad }, Some(bytes)) if bytes <= left.saturating_add(*pad) => {
                let lost = bytes.min(*left);
                *left -= lost;
                *pad -= bytes - lost;
                return Hole::In(*frame, u64::from(lost));
            }
            _ => {}
        }
        self.lose();
        Hole::Lost
    }

    /// The frames whose heads end in these bytes, if they come next; none where the place is not known.
    pub(super) fn ahead<'a>(&self, bytes: &'a [u8]) -> impl Iterator<Item = Frame> + use<'a> {
        let (mut head, have) = (self.head, self.have);
        let mut skip = match self.at {
            At::Head => Some(0),
            At::Payload { left, pad, .. } => Some(left as usize + pad as usize),
            At::Preface(_) | At::PadLength(_) | At::Hunt => None,
        };
        let mut have = if skip == Some(0) { have.min(HEAD) } else { 0 };
        let mut rest = bytes;
        std::iter::from_fn(move || {
            rest = rest.get(skip?..)?;
            let (more, after) = rest.split_at_checked(HEAD - have)?;
            head.get_mut(have..)?.copy_from_slice(more);
            (have, rest) = (0, after);
            let frame = Frame::read(&head)?;
            skip = Some(frame.length as usize);
            Some(frame)
        })
    }

    fn take_head(&mut self, input: &mut &[u8], at: Moment) -> Option<Frame> {
        let frame = self.collect(input, at)?;
        self.have = 0;
        Some(frame)
    }

    /// Adds to the head in progress.
    fn collect(&mut self, input: &mut &[u8], at: Moment) -> Option<Frame> {
        if self.have == 0 && !input.is_empty() {
            self.began = at;
        }
        let size = HEAD.saturating_sub(self.have).min(input.len());
        let (bytes, rest) = input.split_at_checked(size)?;
        self.head.get_mut(self.have..self.have + size)?.copy_from_slice(bytes);
        self.have += size;
        *input = rest;
        Frame::read(self.head.get(..self.have)?).map(|frame| Frame { began: self.began, ..frame })
    }

    fn begin(&mut self, frame: Frame, expects: Expects<'_>) -> Result<(), &'static str> {
        if !frame.valid() || (self.trust != Trust::Sure && !frame.plausible(expects)) {
            return Err("bad_frame");
        }
        self.trust = if self.trust == Trust::Found { Trust::Unproven } else { Trust::Sure };
        self.at = if frame.padded() { At::PadLength(frame) } else { At::Payload { frame, left: frame.length, pad: 0 } };
        Ok(())
    }

    /// Looks for a frame: at the beginning of a call, and wherever one whole frame is followed by the head of another. True
    /// if found: `input` begins with it, or with what follows its head.
    fn hunt(&mut self, input: &mut &[u8], at: Moment, expects: Expects<'_>) -> bool {
        let begins = self.have == 0 && input.len() >= HEAD;
        if begins {
            self.have = HEAD;
        } else if self.have < HEAD {
            return self.hunt_in_pieces(input, at, expects);
        }
        let found = memchr::memchr_iter(0, input).find_map(|offset| match chain(input.get(offset..)?, expects) {
            Chain::Proven => Some((offset, Trust::Sure)),
            Chain::Ends if begins && offset == 0 => Some((offset, Trust::Sure)),
            Chain::Open(frame) if begins && offset == 0 => Some((offset, frame.looks())),
            _ => None,
        });
        let Some((offset, trust)) = found else { return false };
        *input = input.get(offset..).unwrap_or_default();
        (self.at, self.have, self.trust) = (At::Head, 0, trust);
        true
    }

    /// The same where the first bytes of a call come one by one.
    fn hunt_in_pieces(&mut self, input: &mut &[u8], at: Moment, expects: Expects<'_>) -> bool {
        let Some(frame) = self.collect(input, at) else { return false };
        self.have = HEAD;
        if !frame.plausible(expects) {
            return false;
        }
        (self.at, self.trust) = (At::Head, frame.looks());
        true
    }
}

/// What lies where a frame may begin.
enum Chain {
    /// A frame, and the head of another behind it.
    Proven,
    /// A frame that ends with the bytes.
    Ends,
    /// A frame that goes on behind the bytes.
    Open(Frame),
    No,
}

fn chain(bytes: &[u8], expects: Expects<'_>) -> Chain {
    let Some(frame) = Frame::read(bytes).filter(|frame| frame.plausible(expects)) else { return Chain::No };
    // A stream goes on behind the block that begins it.
    let follows = |next: &Frame| next.plausible(&|next| next.stream == frame.stream || expects(next));
    match bytes.get(HEAD + frame.length as usize..) {
        None => Chain::Open(frame),
        Some([]) => Chain::Ends,
        Some(rest) if rest.len() < HEAD => Chain::Open(frame),
        Some(rest) => Frame::read(rest).filter(follows).map_or(Chain::No, |_| Chain::Proven),
    }
}

/// Takes at most `left` bytes.
fn take<'a>(input: &mut &'a [u8], left: &mut u32) -> &'a [u8] {
    let size = (*left as usize).min(input.len());
    let (bytes, rest) = input.split_at_checked(size).unwrap_or((input, &[]));
    *input = rest;
    *left -= u32::try_from(bytes.len()).unwrap_or(*left);
    bytes
}
