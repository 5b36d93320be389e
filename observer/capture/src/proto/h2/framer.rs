//! Where each frame begins and ends. Payloads pass through; padding does not.

mod hunt;

use super::frame::{FrameExpectation, HEAD, Http2FrameHead, PREFACE};
use crate::units::Moment;

/// What the next bytes are.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Http2FrameStep<'a> {
    /// A piece of a frame's payload.
    Payload(Http2FrameHead, &'a [u8]),
    /// The frame is complete.
    End(Http2FrameHead),
    /// The input is used up.
    More,
}

/// What a hole in the bytes did.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Http2HoleOutcome {
    /// So many bytes of this frame's payload are missing, and the place is known.
    In(Http2FrameHead, u64),
    /// Before or between frames, and the place is known.
    Nothing,
    /// The place is lost: anything may be missing.
    Lost,
}

/// Cuts one direction into frames.
#[derive(Debug, Default)]
pub(super) struct Http2Framer {
    at: At,
    /// A frame's head in progress, and how much of it has come. While hunting: the first bytes of a
    /// call, or `HEAD` where those are past.
    head: [u8; HEAD],
    have: usize,
    began: Moment,
    trust: FramingTrust,
    /// The place was lost once: what does not fit is no error of the peer.
    hurt: bool,
    /// The last call seen.
    call: Option<u64>,
}

/// Whether the place is known, or was found again by its looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum FramingTrust {
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
    PadLength(Http2FrameHead),
    Payload {
        frame: Http2FrameHead,
        left: u32,
        pad: u32,
    },
    /// The place is lost. A frame is looked for at the beginning of each call, and wherever two
    /// frames follow each other.
    Hunt,
}

impl Http2Framer {
    /// The client's direction: begins with the preface.
    pub(super) fn client() -> Http2Framer {
        Http2Framer { at: At::Preface(0), ..Http2Framer::default() }
    }

    /// The place is lost.
    pub(super) fn lose(&mut self) {
        self.at = At::Hunt;
        self.have = HEAD;
        self.hurt = true;
        self.trust = FramingTrust::Sure;
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
        self.trust == FramingTrust::Sure
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
        expects: FrameExpectation<'_>,
    ) -> Result<Http2FrameStep<'a>, &'static str> {
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
                        return Ok(Http2FrameStep::More);
                    }
                    self.at = At::Head;
                }
                At::Head => match self.take_head(input, at) {
                    None => return Ok(Http2FrameStep::More),
                    Some(frame) => self.begin(frame, expects)?,
                },
                At::PadLength(frame) => {
                    let Some((&pad, rest)) = input.split_first() else { return Ok(Http2FrameStep::More) };
                    *input = rest;
                    let (frame, pad) = (*frame, u32::from(pad));
                    let left = frame.length.saturating_sub(1).checked_sub(pad).ok_or("bad_padding")?;
                    self.at = At::Payload { frame, left, pad };
                }
                At::Payload { frame, left: 0, pad: 0 } => {
                    let frame = *frame;
                    self.at = At::Head;
                    return Ok(Http2FrameStep::End(frame));
                }
                At::Payload { left: 0, pad, .. } => {
                    if take(input, pad).is_empty() {
                        return Ok(Http2FrameStep::More);
                    }
                }
                At::Payload { frame, left, .. } => {
                    let (frame, bytes) = (*frame, take(input, left));
                    return Ok(if bytes.is_empty() {
                        Http2FrameStep::More
                    } else {
                        Http2FrameStep::Payload(frame, bytes)
                    });
                }
                At::Hunt => {
                    if !self.hunt(input, at, expects) {
                        *input = &[];
                        return Ok(Http2FrameStep::More);
                    }
                }
            }
        }
    }

    /// Bytes are missing.
    pub(super) fn gap(&mut self, bytes: Option<u64>) -> Http2HoleOutcome {
        let bytes = bytes.and_then(|bytes| u32::try_from(bytes).ok());
        match (&mut self.at, bytes) {
            (At::Preface(seen), Some(bytes)) if *seen + bytes as usize <= PREFACE.len() => {
                *seen += bytes as usize;
                return Http2HoleOutcome::Nothing;
            }
            (At::PadLength(frame), Some(bytes)) if bytes <= frame.length => {
                // How much of it is padding is lost.
                let frame = *frame;
                self.at = At::Payload { frame, left: 0, pad: frame.length - bytes };
                return Http2HoleOutcome::In(frame, u64::from(frame.length));
            }
            (At::Payload { frame, left, pad }, Some(bytes)) if bytes <= left.saturating_add(*pad) => {
                let lost = bytes.min(*left);
                *left -= lost;
                *pad -= bytes - lost;
                return Http2HoleOutcome::In(*frame, u64::from(lost));
            }
            _ => {}
        }
        self.lose();
        Http2HoleOutcome::Lost
    }

    /// The frames whose heads end in these bytes, if they come next; none where the place is not known.
    pub(super) fn ahead<'a>(&self, bytes: &'a [u8]) -> impl Iterator<Item = Http2FrameHead> + use<'a> {
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
            let frame = Http2FrameHead::read(&head)?;
            skip = Some(frame.length as usize);
            Some(frame)
        })
    }

    fn take_head(&mut self, input: &mut &[u8], at: Moment) -> Option<Http2FrameHead> {
        let frame = self.collect(input, at)?;
        self.have = 0;
        Some(frame)
    }

    /// Adds to the head in progress.
    fn collect(&mut self, input: &mut &[u8], at: Moment) -> Option<Http2FrameHead> {
        if self.have == 0 && !input.is_empty() {
            self.began = at;
        }
        let size = HEAD.saturating_sub(self.have).min(input.len());
        let (bytes, rest) = input.split_at_checked(size)?;
        self.head.get_mut(self.have..self.have + size)?.copy_from_slice(bytes);
        self.have += size;
        *input = rest;
        Http2FrameHead::read(self.head.get(..self.have)?).map(|frame| Http2FrameHead { began: self.began, ..frame })
    }

    fn begin(&mut self, frame: Http2FrameHead, expects: FrameExpectation<'_>) -> Result<(), &'static str> {
        if !frame.valid() || (self.trust != FramingTrust::Sure && !frame.plausible(expects)) {
            return Err("bad_frame");
        }
        self.trust = if self.trust == FramingTrust::Found { FramingTrust::Unproven } else { FramingTrust::Sure };
        self.at = if frame.padded() { At::PadLength(frame) } else { At::Payload { frame, left: frame.length, pad: 0 } };
        Ok(())
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
