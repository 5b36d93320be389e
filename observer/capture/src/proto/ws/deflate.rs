//! permessage-deflate (RFC 7692): messages compressed one by one, as a rule with the window of those before.

use flate2::{Decompress, FlushDecompress};

use crate::limits::{DECODED_FREE, DECODED_PER_PIECE, DECODED_RATIO};

/// What both sides agreed on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct DeflateParameters {
    /// The client forgets its window after each message.
    pub(super) client_forgets: bool,
    /// The server does.
    pub(super) server_forgets: bool,
}

impl DeflateParameters {
    /// Reads the `sec-websocket-extensions` of the answer. Window sizes do not matter to a reader:
    /// one of 32 KiB reads all. `Err`: there is an extension that we do not know.
    pub(super) fn read(value: &str) -> Result<Option<DeflateParameters>, ()> {
        let mut agreed = None;
        for extension in value.split(',').map(str::trim).filter(|extension| !extension.is_empty()) {
            let mut parts = extension.split(';').map(str::trim);
            if !parts.next().is_some_and(|name| name.eq_ignore_ascii_case("permessage-deflate")) || agreed.is_some() {
                return Err(());
            }
            let mut this = DeflateParameters::default();
            for part in parts {
                let name = part.split('=').next().unwrap_or_default().trim();
                this.client_forgets |= name.eq_ignore_ascii_case("client_no_context_takeover");
                this.server_forgets |= name.eq_ignore_ascii_case("server_no_context_takeover");
            }
            agreed = Some(this);
        }
        Ok(agreed)
    }
}

/// Decompresses the messages of one direction.
#[derive(Debug)]
pub(super) struct MessageInflater {
    forgets: bool,
    /// Made when the first compressed message comes.
    state: Option<Box<Decompress>>,
    /// Bytes are missing from the window: what comes cannot be read.
    lost: bool,
    read: u64,
    made: u64,
}

impl MessageInflater {
    pub(super) fn new(forgets: bool) -> Self {
        MessageInflater { forgets, state: None, lost: false, read: 0, made: 0 }
    }

    /// A piece of a message.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub(super) fn push(&mut self, input: &[u8], out: &mut dyn FnMut(&[u8])) -> Result<(), &'static str> {
        if self.lost {
            return Err("lost_window");
        }
        let done = self.inflate(input, out);
        self.lost |= done.is_err();
        done
    }

    /// The message is complete: what its sender left out is put behind it.
    pub(super) fn end(&mut self, out: &mut dyn FnMut(&[u8])) -> Result<(), &'static str> {
        let done = self.push(&[0, 0, 0xff, 0xff], out);
        self.over();
        done
    }

    /// The message is over, read or not.
    pub(super) fn over(&mut self) {
        if self.forgets {
            self.lost = false;
            if let Some(state) = &mut self.state {
                state.reset(false);
            }
        }
    }

    /// Bytes of a message are missing.
    pub(super) fn gap(&mut self) {
        self.lost = true;
    }

    pub(super) fn held(&self) -> usize {
        // The window and the state around it.
        if self.state.is_some() { 48 * 1024 } else { 0 }
    }

    fn inflate(&mut self, mut input: &[u8], out: &mut dyn FnMut(&[u8])) -> Result<(), &'static str> {
        let state = self.state.get_or_insert_with(|| Box::new(Decompress::new(false)));
        let mut budget = DECODED_PER_PIECE;
        let mut scratch = [0; 8 * 1024];
        self.read += input.len() as u64;
        loop {
            let (read, made) = (state.total_in(), state.total_out());
            state.decompress(input, &mut scratch, FlushDecompress::Sync).map_err(|_| "corrupt")?;
            let used = usize::try_from(state.total_in() - read).unwrap_or(0);
            let new = usize::try_from(state.total_out() - made).unwrap_or(0);
            input = input.get(used..).unwrap_or_default();
            self.made += new as u64;
            budget = budget.checked_sub(new).ok_or("bomb")?;
            if self.made > DECODED_FREE && self.made / DECODED_RATIO > self.read {
                return Err("bomb");
            }
            out(scratch.get(..new).unwrap_or_default());
            let idle = used == 0 && new == 0;
            if idle || (input.is_empty() && new < scratch.len()) {
                return Ok(());
            }
        }
    }
}
