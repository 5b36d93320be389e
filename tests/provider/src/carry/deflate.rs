//! permessage-deflate (RFC 7692), the server's side.

use anyhow::{Result, bail};
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};

const NO_TAKEOVER: [&str; 2] = ["server_no_context_takeover", "client_no_context_takeover"];

/// What every flush ends with, and no message carries.
const MARK: [u8; 4] = [0, 0, 0xff, 0xff];

/// Both directions' windows.
pub(super) struct Deflate {
    compress: Compress,
    decompress: Decompress,
    /// Which side (server, client) forgets its window after every message.
    forget: [bool; 2],
}

impl Deflate {
    /// Takes the first offer of the extension, with the limits that it names and this end can keep;
    /// what the answer says.
    #[must_use]
    pub(super) fn negotiate(offers: &str) -> Option<(Self, String)> {
        let offer = offers.split(',').find(|offer| offer.trim_start().starts_with("permessage-deflate"))?;
        let forget = NO_TAKEOVER.map(|name| offer.contains(name));
        let mut taken = "permessage-deflate".to_owned();
        for (name, _) in NO_TAKEOVER.iter().zip(forget).filter(|(_, forget)| *forget) {
            taken.push_str("; ");
            taken.push_str(name);
        }
        let (compress, decompress) = (Compress::new(Compression::default(), false), Decompress::new(false));
        Some((Self { compress, decompress, forget }, taken))
    }

    /// A client's message.
    ///
    /// # Errors
    /// If it is not compressed as agreed.
    pub(super) fn inflate(&mut self, bytes: &[u8]) -> Result<Vec<u8>> {
        let input = [bytes, &MARK].concat();
        let mut out = Vec::with_capacity(input.len() * 4);
        let begun = self.decompress.total_in();
        loop {
            let at = usize::try_from(self.decompress.total_in() - begun)?;
            let rest = input.get(at..).unwrap_or_default();
            if rest.is_empty() {
                break;
            }
            out.reserve(4096);
            self.decompress.decompress_vec(rest, &mut out, FlushDecompress::Sync)?;
        }
        if self.forget[1] {
            self.decompress.reset(false);
        }
        Ok(out)
    }

    /// A message for the client.
    ///
    /// # Errors
    /// If the compressor fails (it does not, on a `Vec`).
    pub(super) fn squeeze(&mut self, bytes: &[u8]) -> Result<Vec<u8>> {
        let mut out = Vec::with_capacity(bytes.len() + 64);
        let begun = self.compress.total_in();
        loop {
            out.reserve(bytes.len() + 64);
            let at = usize::try_from(self.compress.total_in() - begun)?;
            self.compress.compress_vec(bytes.get(at..).unwrap_or_default(), &mut out, FlushCompress::Sync)?;
            let taken = self.compress.total_in() - begun;
            // Room left: the flush is whole.
            if taken == bytes.len() as u64 && out.len() < out.capacity() {
                break;
            }
        }
        if self.forget[0] {
            self.compress.reset();
        }
        if !out.ends_with(&MARK) {
            bail!("a flush without its mark");
        }
        out.truncate(out.len() - MARK.len());
        Ok(out)
    }
}
