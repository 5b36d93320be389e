//! Content coding: compressed bytes in, decoded bytes out, live.
//!
//! What a flush of the sender made decodable comes out at once, because an event's moment is that of the piece that
//! completed it. Every reader is capped: a bomb is stopped, not survived.

use brotli_decompressor::{BrotliDecompressStream, BrotliResult, BrotliState, StandardAlloc};
use flate2::{Decompress, FlushDecompress, Status};
use zstd::stream::raw::{DParameter, Decoder as Zstd, Operation};

use super::ProtocolNote;
use crate::limits::{CONTENT_CODINGS, DECODED_FREE, DECODED_PER_PIECE, DECODED_RATIO, ZSTD_WINDOW_LOG};

/// Output is handed on in pieces of this size; it lies on the stack, once per stacked coding.
const SCRATCH: usize = 8 * 1024;

/// A content coding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContentCoding {
    Gzip,
    /// zlib, as the RFC says, or raw deflate, as some servers send.
    Deflate,
    Brotli,
    Zstd,
}

impl ContentCoding {
    /// The name in `content-encoding`, and the protocol of notes.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
            Self::Brotli => "br",
            Self::Zstd => "zstd",
        }
    }
}

/// The codings of a `content-encoding` (or `transfer-encoding`) value, in the order they were applied. `identity` and
/// `chunked` are no codings here. `None`: one that we cannot decode, or too many.
#[must_use]
pub fn codings(value: &str) -> Option<Vec<ContentCoding>> {
    let mut list = Vec::new();
    for name in value.split(',').map(|name| name.trim().to_ascii_lowercase()) {
        list.push(match name.as_str() {
            "" | "identity" | "chunked" => continue,
            "gzip" | "x-gzip" => ContentCoding::Gzip,
            "deflate" => ContentCoding::Deflate,
            "br" => ContentCoding::Brotli,
            "zstd" => ContentCoding::Zstd,
            _ => return None,
        });
    }
    (list.len() <= CONTENT_CODINGS).then_some(list)
}

/// The decoder of one body.
pub struct ContentDecoder {
    /// In the order of decoding: the coding applied last comes first.
    stages: Vec<CodingStage>,
}

impl ContentDecoder {
    /// A decoder for codings given in the order they were applied.
    #[must_use]
    pub fn new(codings: &[ContentCoding]) -> Self {
        ContentDecoder { stages: codings.iter().rev().map(|&coding| CodingStage::new(coding)).collect() }
    }

    /// Decodes the next bytes. After an error the body is undecodable; the note says why.
    ///
    /// # Errors
    /// Corrupt input, or more output than the caps allow.
    pub fn push(&mut self, input: &[u8], out: &mut dyn FnMut(&[u8])) -> Result<(), ProtocolNote> {
        let mut budget = DECODED_PER_PIECE;
        run(&mut self.stages, input, &mut budget, out)
    }

    /// The body is over: a note if its compressed stream was not.
    #[must_use]
    pub fn finish(&self) -> Option<ProtocolNote> {
        let stage = self.stages.iter().find(|stage| !stage.at_end && stage.read > 0)?;
        Some(stage.note("truncated"))
    }

    /// Bytes held now (an estimate: the libraries do not tell).
    #[must_use]
    pub fn held(&self) -> usize {
        self.stages.iter().map(CodingStage::held).sum()
    }
}

fn run(
    stages: &mut [CodingStage],
    mut input: &[u8],
    budget: &mut usize,
    out: &mut dyn FnMut(&[u8]),
) -> Result<(), ProtocolNote> {
    let Some((stage, rest)) = stages.split_first_mut() else {
        out(input);
        return Ok(());
    };
    stage.read += input.len() as u64;
    let mut scratch = [0; SCRATCH];
    loop {
        let step = stage.step(input, &mut scratch)?;
        input = input.get(step.used..).unwrap_or_default();
        let made = scratch.get(..step.made).unwrap_or_default();
        if !made.is_empty() {
            stage.account(made.len(), budget)?;
            run(rest, made, budget, out)?;
        }
        let idle = step.used == 0 && made.is_empty();
        if idle || (input.is_empty() && made.len() < SCRATCH) {
            return Ok(());
        }
    }
}

/// One coding of a body.
struct CodingStage {
    coding: ContentCoding,
    engine: Engine,
    read: u64,
    made: u64,
    /// The compressed stream is at an end (another member may follow).
    at_end: bool,
}

enum Engine {
    /// `deflate` before its first two bytes tell zlib from raw.
    Probe {
        first: Option<u8>,
    },
    Inflate(Decompress),
    Brotli(Box<BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>>),
    Zstd(Zstd<'static>),
    /// What follows the end of the stream is thrown away (padding, mostly).
    Ended,
    /// The library refused to start.
    Broken,
}

#[derive(Default)]
struct Step {
    used: usize,
    made: usize,
}

impl CodingStage {
    fn new(coding: ContentCoding) -> Self {
        let engine = match coding {
            ContentCoding::Gzip => gunzip(),
            ContentCoding::Deflate => Engine::Probe { first: None },
            ContentCoding::Brotli => Engine::Brotli(Box::new(BrotliState::new_strict(
                StandardAlloc::default(),
                StandardAlloc::default(),
                StandardAlloc::default(),
            ))),
            ContentCoding::Zstd => unzstd().unwrap_or(Engine::Broken),
        };
        CodingStage { coding, engine, read: 0, made: 0, at_end: false }
    }

    fn note(&self, reason: &'static str) -> ProtocolNote {
        ProtocolNote { protocol: self.coding.name(), reason }
    }

    fn account(&mut self, made: usize, budget: &mut usize) -> Result<(), ProtocolNote> {
        self.made += made as u64;
        *budget = budget.checked_sub(made).ok_or_else(|| self.note("bomb"))?;
        if self.made > DECODED_FREE && self.made / DECODED_RATIO > self.read {
            return Err(self.note("bomb"));
        }
        Ok(())
    }

    fn step(&mut self, input: &[u8], out: &mut [u8]) -> Result<Step, ProtocolNote> {
        if self.at_end {
            if input.is_empty() {
                // Asked with nothing, zstd would answer that it waits for another frame.
                return Ok(Step::default());
            }
            self.next_member(input);
        }
        let step = match &mut self.engine {
            Engine::Probe { first } => {
                let (engine, step) = probe(*first, input, out);
                self.engine = engine;
                step
            }
            Engine::Inflate(inflate) => step_inflate(inflate, input, out, &mut self.at_end),
            Engine::Brotli(state) => step_brotli(state, input, out, &mut self.at_end),
            Engine::Zstd(decoder) => step_zstd(decoder, input, out, &mut self.at_end),
            Engine::Ended => Some(Step { used: input.len(), made: 0 }),
            Engine::Broken => None,
        };
        step.ok_or_else(|| self.note("corrupt"))
    }

    /// The stream was at its end: gzip may go on with another member, zstd with another frame.
    /// Behind padding nothing goes on, however the padding is cut.
    fn next_member(&mut self, input: &[u8]) {
        let Some(first) = input.first() else { return };
        match self.coding {
            ContentCoding::Gzip if *first == 0x1f && !matches!(self.engine, Engine::Ended) => {
                self.engine = gunzip();
                self.at_end = false;
            }
            ContentCoding::Zstd => {}
            ContentCoding::Gzip | ContentCoding::Deflate | ContentCoding::Brotli => self.engine = Engine::Ended,
        }
    }

    fn held(&self) -> usize {
        match &self.engine {
            Engine::Probe { .. } | Engine::Ended | Engine::Broken => 0,
            // The window and the state around it.
            Engine::Inflate(_) => 48 * 1024,
            Engine::Brotli(state) => {
                size_of::<BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>>()
                    + usize::try_from(state.ringbuffer_size).unwrap_or(0)
            }
            // The window grows to what the frame asks for; before output none is used.
            Engine::Zstd(_) => 160 * 1024 + usize::try_from(self.made).unwrap_or(0).min(1 << ZSTD_WINDOW_LOG),
        }
    }
}

fn gunzip() -> Engine {
    Engine::Inflate(Decompress::new_gzip(15))
}

fn unzstd() -> Option<Engine> {
    let mut decoder = Zstd::new().ok()?;
    decoder.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG)).ok()?;
    Some(Engine::Zstd(decoder))
}

/// Decides between zlib and raw deflate once two bytes are there, and gives them to the engine.
fn probe(first: Option<u8>, input: &[u8], out: &mut [u8]) -> (Engine, Option<Step>) {
    let (first, used) = match (first, input) {
        (Some(first), _) => (first, 0),
        (None, [first, ..]) => (*first, 1),
        (None, []) => return (Engine::Probe { first }, Some(Step::default())),
    };
    let Some(second) = input.get(used) else {
        return (Engine::Probe { first: Some(first) }, Some(Step { used, made: 0 }));
    };
    let zlib = first & 0x0f == 8 && first >> 4 <= 7 && u16::from_be_bytes([first, *second]) % 31 == 0;
    let mut inflate = Decompress::new(zlib);
    let step = step_inflate(&mut inflate, &[first, *second], out, &mut false);
    // Two bytes cannot end a stream of either kind, and an empty `at_end` here would only be found out one step later.
    (Engine::Inflate(inflate), step.map(|step| Step { used: used + 1, made: step.made }))
}

fn step_inflate(inflate: &mut Decompress, input: &[u8], out: &mut [u8], at_end: &mut bool) -> Option<Step> {
    let (read, made) = (inflate.total_in(), inflate.total_out());
    let status = inflate.decompress(input, out, FlushDecompress::Sync).ok()?;
    *at_end = matches!(status, Status::StreamEnd);
    Some(Step {
        used: usize::try_from(inflate.total_in() - read).ok()?,
        made: usize::try_from(inflate.total_out() - made).ok()?,
    })
}

fn step_brotli(
    state: &mut BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>,
    input: &[u8],
    out: &mut [u8],
    at_end: &mut bool,
) -> Option<Step> {
    let (mut in_left, mut used, mut out_left, mut made, mut total) = (input.len(), 0, out.len(), 0, 0);
    let result =
        BrotliDecompressStream(&mut in_left, &mut used, input, &mut out_left, &mut made, out, &mut total, state);
    *at_end = matches!(result, BrotliResult::ResultSuccess);
    (!matches!(result, BrotliResult::ResultFailure)).then_some(Step { used, made })
}

fn step_zstd(decoder: &mut Zstd<'static>, input: &[u8], out: &mut [u8], at_end: &mut bool) -> Option<Step> {
    let status = decoder.run_on_buffers(input, out).ok()?;
    *at_end = status.remaining == 0;
    Some(Step { used: status.bytes_read, made: status.bytes_written })
}

/// Fuzz target: whatever the bytes, no panic, and no more output than the caps allow. The first
/// byte picks two codings, the second the size of the pieces.
pub fn fuzz(data: &[u8]) {
    const ALL: [ContentCoding; 4] =
        [ContentCoding::Gzip, ContentCoding::Deflate, ContentCoding::Brotli, ContentCoding::Zstd];
    let [pick, size, stream @ ..] = data else { return };
    let coding = |number: u8| ALL.get(usize::from(number % 4)).copied();
    let second = (pick & 0x80 != 0).then(|| coding(pick >> 2)).flatten();
    let codings: Vec<_> = coding(*pick).into_iter().chain(second).collect();
    let mut decoder = ContentDecoder::new(&codings);
    for piece in stream.chunks(1 + usize::from(*size)) {
        let mut made = 0;
        let result = decoder.push(piece, &mut |bytes| made += bytes.len());
        assert!(made <= DECODED_PER_PIECE, "{made} bytes of {}", piece.len());
        assert!(decoder.held() <= super::check::HELD);
        if result.is_err() {
            return;
        }
    }
    let _ = decoder.finish();
}

#[cfg(test)]
mod tests;
