//! Where an HTTP/1 body ends: Content-Length, chunks, or the connection's close. Framing only; the bytes pass through.

use crate::limits::HTTP1_LINE;

/// The framing of one body, and how far it has come.
#[derive(Debug)]
pub(super) enum Http1Framing {
    /// So many bytes are left.
    Length(u64),
    Chunked(ChunkedState),
    UntilClose,
}

/// What the next bytes are.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Http1BodyStep<'a> {
    /// Bytes of the body.
    Data(&'a [u8]),
    /// The body is complete.
    Done,
    /// The input is used up.
    More,
}

impl Http1Framing {
    pub(super) fn chunked() -> Self {
        Http1Framing::Chunked(ChunkedState::default())
    }

    /// The next step; takes what it used from `input`.
    ///
    /// # Errors
    /// The framing is broken.
    pub(super) fn next<'a>(&mut self, input: &mut &'a [u8]) -> Result<Http1BodyStep<'a>, &'static str> {
        match self {
            Http1Framing::Length(0) => Ok(Http1BodyStep::Done),
            Http1Framing::Length(left) => Ok(take(input, left)),
            Http1Framing::Chunked(chunked) => chunked.next(input),
            Http1Framing::UntilClose if input.is_empty() => Ok(Http1BodyStep::More),
            Http1Framing::UntilClose => Ok(Http1BodyStep::Data(std::mem::take(input))),
        }
    }

    /// Bytes are missing. `false`: the place in the body is lost for good.
    pub(super) fn gap(&mut self, bytes: Option<u64>) -> bool {
        match self {
            Http1Framing::Length(left) => match bytes.and_then(|bytes| left.checked_sub(bytes)) {
                Some(rest) => *left = rest,
                None => return false,
            },
            Http1Framing::Chunked(chunked) => chunked.gap(bytes),
            Http1Framing::UntilClose => {}
        }
        true
    }
}

/// Takes at most `left` bytes.
fn take<'a>(input: &mut &'a [u8], left: &mut u64) -> Http1BodyStep<'a> {
    let size = usize::try_from(*left).map_or(input.len(), |left| left.min(input.len()));
    let Some((data, rest)) = input.split_at_checked(size) else { return Http1BodyStep::More };
    *input = rest;
    *left -= data.len() as u64;
    if data.is_empty() { Http1BodyStep::More } else { Http1BodyStep::Data(data) }
}

/// The state of a chunked body.
#[derive(Debug, Default)]
pub(super) struct ChunkedState {
    at: At,
    /// Length of the line in progress.
    line: usize,
    /// The place was found again by its looks. Until a chunk's end proves it, its data is not
    /// believed, and what does not fit is no error of the peer.
    unsure: bool,
}

#[derive(Clone, Copy, Debug)]
enum At {
    /// In the digits of a chunk's size.
    Size {
        digits: u32,
        value: u64,
    },
    /// After them: extensions.
    Extension(u64),
    /// At the `\n` of the size line.
    SizeLf(u64),
    Data(u64),
    /// At the line end after a chunk's data.
    DataEnd,
    DataLf,
    /// In a trailer line.
    Trailer,
    Done,
    /// The place is lost: looking for a line of hex digits between two `\r\n`.
    Hunt(Hunt),
}

#[derive(Clone, Copy, Debug)]
enum Hunt {
    Any,
    Cr,
    /// After `\r\n` (or at the first byte after the gap), in digits.
    Digits {
        digits: u32,
        value: u64,
    },
    DigitsCr(u64),
}

impl Default for At {
    fn default() -> Self {
        At::Size { digits: 0, value: 0 }
    }
}

impl ChunkedState {
    fn next<'a>(&mut self, input: &mut &'a [u8]) -> Result<Http1BodyStep<'a>, &'static str> {
        loop {
            match &mut self.at {
                At::Done => return Ok(Http1BodyStep::Done),
                At::Data(0) => self.at = At::DataEnd,
                At::Data(left) => match take(input, left) {
                    Http1BodyStep::Data(_) if self.unsure => {}
                    step => return Ok(step),
                },
                At::Hunt(Hunt::Any) => match memchr::memchr(b'\r', input) {
                    Some(at) => {
                        *input = input.get(at + 1..).unwrap_or_default();
                        self.at = At::Hunt(Hunt::Cr);
                    }
                    None => *input = &[],
                },
                _ => {}
            }
            if matches!(self.at, At::Data(_)) {
                continue;
            }
            let Some((&byte, rest)) = input.split_first() else { return Ok(Http1BodyStep::More) };
            *input = rest;
            match self.byte(byte) {
                Ok(At::Data(size)) if self.unsure => {
                    self.unsure = !proven(input, size);
                    self.at = At::Data(size);
                }
                Ok(at) => self.at = at,
                Err(_) if self.unsure => self.at = At::Hunt(Hunt::after(byte)),
                Err(reason) => return Err(reason),
            }
        }
    }

    /// The state after one byte that is not a chunk's data.
    fn byte(&mut self, byte: u8) -> Result<At, &'static str> {
        Ok(match self.at {
            At::Size { digits, value } => match (hex(byte), byte) {
                (Some(digit), _) if digits < 16 => At::Size { digits: digits + 1, value: value << 4 | digit },
                (None, b'\r') if digits > 0 => At::SizeLf(value),
                (None, b'\n') if digits > 0 => self.start(value),
                (None, b';' | b' ' | b'\t') if digits > 0 => At::Extension(value),
                _ => return Err("bad_chunk_size"),
            },
            At::Extension(value) if byte == b'\n' => self.start(value),
            At::Extension(_) => return self.in_line(),
            At::SizeLf(value) if byte == b'\n' => self.start(value),
            At::SizeLf(_) => return Err("bad_chunk_size"),
            At::DataEnd if byte == b'\r' => At::DataLf,
            At::DataEnd | At::DataLf if byte == b'\n' => {
                self.unsure = false;
                At::default()
            }
            At::DataEnd | At::DataLf => return Err("bad_chunk_end"),
            At::Trailer if byte == b'\n' && std::mem::take(&mut self.line) == 0 => At::Done,
            At::Trailer if byte == b'\n' || byte == b'\r' => At::Trailer,
            // A body found by its looks ends only where it cannot be anything else.
            At::Trailer if self.unsure => return Err("bad_trailer"),
            At::Trailer => return self.in_line(),
            At::Hunt(hunt) => hunt.step(byte).map_or_else(|value| self.start(value), At::Hunt),
            At::Data(_) | At::Done => self.at,
        })
    }

    fn start(&mut self, size: u64) -> At {
        self.line = 0;
        if size == 0 { At::Trailer } else { At::Data(size) }
    }

    fn in_line(&mut self) -> Result<At, &'static str> {
        self.line += 1;
        if self.line > HTTP1_LINE { Err("chunk_line_too_long") } else { Ok(self.at) }
    }

    fn gap(&mut self, bytes: Option<u64>) {
        if let (At::Data(left), Some(bytes)) = (self.at, bytes)
            && bytes <= left
        {
            self.at = At::Data(left - bytes);
            return;
        }
        // The next piece may well begin with a chunk: servers write one chunk at a time.
        self.at = At::Hunt(Hunt::Digits { digits: 0, value: 0 });
        self.unsure = true;
    }
}

impl Hunt {
    fn after(byte: u8) -> Hunt {
        if byte == b'\r' { Hunt::Cr } else { Hunt::Any }
    }

    /// The state after one byte, or the size of a chunk whose data comes next.
    fn step(self, byte: u8) -> Result<Hunt, u64> {
        Ok(match (self, byte) {
            (Hunt::Cr, b'\n') => Hunt::Digits { digits: 0, value: 0 },
            (Hunt::Digits { digits, value }, b'\r') if digits > 0 => Hunt::DigitsCr(value),
            (Hunt::DigitsCr(value), b'\n') => return Err(value),
            (Hunt::Digits { digits, value }, _) if digits < 8 => match hex(byte) {
                Some(digit) => Hunt::Digits { digits: digits + 1, value: value << 4 | digit },
                None => Hunt::after(byte),
            },
            _ => Hunt::after(byte),
        })
    }
}

/// Whether a chunk of this size lies whole in the piece, with what must follow it.
fn proven(input: &[u8], size: u64) -> bool {
    let after = usize::try_from(size).ok().and_then(|size| input.get(size..)).unwrap_or_default();
    match after {
        [b'\r', b'\n'] => true,
        [b'\r', b'\n', next, ..] => hex(*next).is_some(),
        _ => false,
    }
}

fn hex(byte: u8) -> Option<u64> {
    char::from(byte).to_digit(16).map(u64::from)
}
