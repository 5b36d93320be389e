//! One connection's bytes. Which plaintext shares a TLS record, and which records share a write, is the script's
//! decision: so TLS is driven by hand here, and every write system call is stamped just before and just after.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::task::{Context as Tasks, Poll, ready};

use anyhow::{Context, Result, bail};
use rustls::{ServerConfig, ServerConnection};
use tokio::net::TcpStream;

use crate::clock::Stamp;

/// How the peer ended the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gone {
    Fin,
    Reset,
}

impl Gone {
    /// The log's word.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Fin => "peer_fin",
            Self::Reset => "peer_reset",
        }
    }
}

/// What a write did.
pub(crate) struct Written {
    pub bytes: usize,
    pub plain: usize,
    pub before: Stamp,
    pub after: Stamp,
}

/// A connection, with TLS or without.
pub(crate) struct Wire {
    socket: TcpStream,
    tls: Option<ServerConnection>,
    /// Plaintext waiting for its record.
    held: Vec<u8>,
    /// Records (or plain bytes, without TLS) waiting for their write.
    corked: Vec<u8>,
    /// Plaintext bytes in `corked`.
    corked_plain: usize,
    /// How much of `corked` the kernel has taken, and when it was first offered.
    sent: usize,
    offered: Option<Stamp>,
    /// Plaintext read and not consumed yet.
    pub input: Vec<u8>,
    /// When the read returned that brought the first byte of `input`.
    pub input_since: Stamp,
    /// When the last read returned.
    pub last_read: Stamp,
}

impl Wire {
    /// Takes a connection over and makes the TLS handshake.
    ///
    /// # Errors
    /// If the handshake fails.
    pub(crate) async fn accept(socket: TcpStream, config: Option<Arc<ServerConfig>>) -> Result<Self> {
        socket.set_nodelay(true)?;
        let tls = config.map(ServerConnection::new).transpose()?;
        let mut wire = Self {
            socket,
            tls,
            held: Vec::new(),
            corked: Vec::new(),
            corked_plain: 0,
            sent: 0,
            offered: None,
            input: Vec::new(),
            input_since: Stamp::default(),
            last_read: Stamp::default(),
        };
        while wire.tls.as_ref().is_some_and(|tls| tls.is_handshaking()) {
            if wire.read_some().await?.is_some() {
                bail!("the client went away during the handshake");
            }
            wire.flush().await?;
        }
        Ok(wire)
    }

    /// Adds plaintext to the record being built.
    pub(crate) fn hold(&mut self, plain: &[u8]) {
        self.held.extend_from_slice(plain);
    }

    /// Makes one TLS record (more only beyond 16 KiB) of the plaintext held.
    ///
    /// # Errors
    /// If TLS refuses, which it does only after the session's end.
    pub(crate) fn seal(&mut self) -> Result<()> {
        let plain = std::mem::take(&mut self.held);
        self.corked_plain += plain.len();
        let Some(tls) = &mut self.tls else {
            self.corked.extend_from_slice(&plain);
            return Ok(());
        };
        tls.set_buffer_limit(None);
        tls.writer().write_all(&plain)?;
        while tls.wants_write() {
            tls.write_tls(&mut self.corked)?;
        }
        Ok(())
    }

    /// Writes what is sealed, in one system call (more only if the socket's buffer is full: then `before` is that of
    /// the first and `after` that of the last).
    ///
    /// # Errors
    /// If the peer is gone.
    pub(crate) async fn flush(&mut self) -> io::Result<Written> {
        std::future::poll_fn(|tasks| self.poll_flush(tasks)).await
    }

    /// The same, for callers that poll.
    pub(crate) fn poll_flush(&mut self, tasks: &mut Tasks<'_>) -> Poll<io::Result<Written>> {
        let before = *self.offered.get_or_insert_with(Stamp::now);
        while self.sent < self.corked.len() {
            match self.socket.try_write(self.corked.get(self.sent..).unwrap_or_default()) {
                Ok(n) => self.sent += n,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready!(self.socket.poll_write_ready(tasks))?;
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        let written = Written { bytes: self.corked.len(), plain: self.corked_plain, before, after: Stamp::now() };
        self.corked.clear();
        (self.sent, self.corked_plain, self.offered) = (0, 0, None);
        Poll::Ready(Ok(written))
    }

    /// Something waits for its write.
    #[must_use]
    pub(crate) fn corked(&self) -> bool {
        !self.corked.is_empty()
    }

    /// Waits for bytes and takes them in; `Some`: the peer is gone.
    ///
    /// # Errors
    /// If the peer breaks the TLS protocol.
    pub(crate) async fn read_some(&mut self) -> Result<Option<Gone>> {
        std::future::poll_fn(|tasks| self.poll_some(tasks)).await
    }

    /// The same, for callers that poll.
    pub(crate) fn poll_some(&mut self, tasks: &mut Tasks<'_>) -> Poll<Result<Option<Gone>>> {
        let mut buffer = [0_u8; 16 * 1024];
        loop {
            if ready!(self.socket.poll_read_ready(tasks)).is_err() {
                return Poll::Ready(Ok(Some(Gone::Reset)));
            }
            let read = self.socket.try_read(&mut buffer);
            let now = Stamp::now();
            match read {
                Ok(0) => return Poll::Ready(Ok(Some(Gone::Fin))),
                Ok(n) => {
                    self.last_read = now;
                    let fresh = self.input.is_empty();
                    let clean_end = self.take_in(buffer.get(..n).unwrap_or_default(), tasks)?;
                    if fresh && !self.input.is_empty() {
                        self.input_since = now;
                    }
                    return Poll::Ready(Ok(clean_end.then_some(Gone::Fin)));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return Poll::Ready(Ok(Some(Gone::Reset))),
            }
        }
    }

    /// Feeds TLS; true: the peer sent close_notify.
    fn take_in(&mut self, mut bytes: &[u8], tasks: &mut Tasks<'_>) -> Result<bool> {
        let Some(tls) = &mut self.tls else {
            self.input.extend_from_slice(bytes);
            return Ok(false);
        };
        let mut ended = false;
        while !bytes.is_empty() {
            tls.read_tls(&mut bytes)?;
            let state = tls.process_new_packets().context("the client broke the TLS protocol")?;
            ended |= state.peer_has_closed();
            let mut plain = vec![0; state.plaintext_bytes_to_read()];
            tls.reader().read_exact(&mut plain)?;
            self.input.extend_from_slice(&plain);
        }
        // Handshake answers and key updates; what the socket does not take now goes with the next write.
        let quiet = self.corked.is_empty();
        while tls.wants_write() {
            tls.write_tls(&mut self.corked)?;
        }
        if quiet && !self.corked.is_empty() {
            let _ = self.poll_flush(tasks);
        }
        Ok(ended)
    }

    /// Sends close_notify (with TLS); what is sealed goes first. It leaves together with the FIN
    /// that follows when this is dropped: else a client could close on it before the FIN is out,
    /// and on the wire would seem to have ended it all.
    pub(crate) async fn close_notify(&mut self) {
        // Not corked, it is only less certain.
        let _ = rustix::net::sockopt::set_tcp_cork(&self.socket, true);
        // The peer may be gone already; then there is nobody to tell.
        if self.goodbye().is_ok() {
            let _ = self.flush().await;
        }
    }

    /// Seals a close_notify (with TLS).
    ///
    /// # Errors
    /// If TLS refuses.
    pub(crate) fn goodbye(&mut self) -> Result<()> {
        let Some(tls) = &mut self.tls else { return Ok(()) };
        tls.send_close_notify();
        while tls.wants_write() {
            tls.write_tls(&mut self.corked)?;
        }
        Ok(())
    }

    /// Ends the connection with a TCP reset.
    pub(crate) fn reset(self) {
        // An error means that the socket is dead already, which is what was wanted.
        let _ = self.socket.set_zero_linger();
        drop(self.socket);
    }
}
