//! Content encodings, flushed after every event so that each can be decoded as soon as it arrives.

use std::io::Write;

use anyhow::Result;
use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};

use crate::script::Encoding;

/// Turns body bytes into encoded bytes.
pub(crate) enum Encoder {
    Identity,
    Gzip(GzEncoder<Vec<u8>>),
    Deflate(ZlibEncoder<Vec<u8>>),
    Br { begun: bool },
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
}

impl Encoder {
    /// An encoder at the start of a body.
    ///
    /// # Errors
    /// If zstd cannot be set up.
    pub(crate) fn new(encoding: Encoding) -> Result<Self> {
        Ok(match encoding {
            Encoding::Identity => Self::Identity,
            Encoding::Gzip => Self::Gzip(GzEncoder::new(Vec::new(), Compression::default())),
            Encoding::Deflate => Self::Deflate(ZlibEncoder::new(Vec::new(), Compression::default())),
            Encoding::Br => Self::Br { begun: false },
            Encoding::Zstd => Self::Zstd(zstd::stream::write::Encoder::new(Vec::new(), 3)?),
        })
    }

    /// Encodes `bytes` and flushes: the result decodes to all that was given so far.
    ///
    /// # Errors
    /// If a compressor fails (it does not, on a `Vec`).
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<Vec<u8>> {
        match self {
            Self::Identity => Ok(bytes.to_vec()),
            Self::Gzip(encoder) => {
                encoder.write_all(bytes)?;
                encoder.flush()?;
                Ok(std::mem::take(encoder.get_mut()))
            }
            Self::Deflate(encoder) => {
                encoder.write_all(bytes)?;
                encoder.flush()?;
                Ok(std::mem::take(encoder.get_mut()))
            }
            Self::Br { begun } => Ok(brotli_stored(bytes, !std::mem::replace(begun, true))),
            Self::Zstd(encoder) => {
                encoder.write_all(bytes)?;
                encoder.flush()?;
                Ok(std::mem::take(encoder.get_mut()))
            }
        }
    }

    /// What ends the encoded body.
    ///
    /// # Errors
    /// If a compressor fails (it does not, on a `Vec`).
    pub(crate) fn finish(self) -> Result<Vec<u8>> {
        Ok(match self {
            Self::Identity => Vec::new(),
            Self::Gzip(encoder) => encoder.finish()?,
            Self::Deflate(encoder) => encoder.finish()?,
            // ISLAST and ISLASTEMPTY, byte-aligned; a stream never begun needs its WBITS bit before them.
            Self::Br { begun: true } => vec![0b11],
            Self::Br { begun: false } => vec![0b110],
            Self::Zstd(encoder) => encoder.finish()?,
        })
    }

    /// The value of the content-encoding header.
    #[must_use]
    pub(crate) fn name(&self) -> Option<&'static str> {
        match self {
            Self::Identity => None,
            Self::Gzip(_) => Some("gzip"),
            Self::Deflate(_) => Some("deflate"),
            Self::Br { .. } => Some("br"),
            Self::Zstd(_) => Some("zstd"),
        }
    }
}

/// RFC 7932 uncompressed meta-blocks of up to 64 KiB: ISLAST 0, MNIBBLES 0 (four nibbles), MLEN-1, ISUNCOMPRESSED 1,
/// padding to a byte, the bytes. The stream begins with one bit for a 64 KiB window.
fn brotli_stored(bytes: &[u8], first: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + 4);
    for (at, block) in bytes.chunks(1 << 16).enumerate() {
        let shift = u32::from(first && at == 0);
        let length = u32::try_from(block.len() - 1).unwrap_or(0);
        let header = (length << 3 | 1 << 19) << shift;
        out.extend_from_slice(header.to_le_bytes().get(..3).unwrap_or_default());
        out.extend_from_slice(block);
    }
    out
}
