//! Bytes of HTTP/2 on their way between the `h2` crate and the wire: frames are watched as they
//! pass, so that the log can say which parts of which stream each write completed, and when each
//! request arrived.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context as Tasks, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;

use crate::clock::Stamp;
use crate::lock;
use crate::log::Part;
use crate::play::{Teller, part};
use crate::script::Kind;
use crate::wire::{Gone, Wire, Written};

/// The client's connection preface.
const PREFACE: usize = 24;
/// Plaintext of one TLS record.
const RECORD: usize = 16 * 1024;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const END_STREAM: u8 = 1;

/// What is known of each stream.
#[derive(Default)]
pub(crate) struct Book {
    streams: HashMap<u32, Entry>,
    /// Something was written, or all is over.
    pub changed: Arc<Notify>,
    /// The connection is over.
    pub gone: bool,
}

/// One stream.
#[derive(Default)]
pub(crate) struct Entry {
    /// When the read returned that brought the first byte of its head, and the last of its request.
    pub first_byte: Stamp,
    pub end: Stamp,
    teller: Option<Teller>,
    /// Parts not written yet, each with the offset in the body at which it ends.
    parts: VecDeque<(u64, Part)>,
    /// The head is not written yet.
    head: bool,
    /// Its end is a part of its own.
    trailer: bool,
    /// Bytes of the body given to `h2`, and those written.
    given: u64,
    sent: u64,
}

impl Book {
    pub(crate) fn entry(&mut self, stream: u32) -> &mut Entry {
        self.streams.entry(stream).or_default()
    }

    pub(crate) fn forget(&mut self, stream: u32) {
        self.streams.remove(&stream);
    }
}

impl Entry {
    /// The answer begins.
    pub(crate) fn begin(&mut self, teller: &Teller) {
        self.teller = Some(teller.clone());
        self.head = true;
    }

    /// A part that ends after `bytes` more of the body.
    pub(crate) fn give(&mut self, bytes: usize, part: Part) {
        self.given += bytes as u64;
        self.parts.push_back((self.given, part));
    }

    /// `bytes` more of the body that complete nothing.
    pub(crate) fn give_more(&mut self, bytes: usize) {
        self.given += bytes as u64;
    }

    /// The end of the stream counts.
    pub(crate) fn end_counts(&mut self) {
        self.trailer = true;
    }

    /// Everything given is written.
    pub(crate) fn settled(&mut self) -> bool {
        !self.head && self.sent >= self.given && !self.trailer
    }

    fn passed(&mut self, frame: &Passing, done: &mut Vec<Part>) {
        if frame.kind == HEADERS && std::mem::take(&mut self.head) {
            done.push(part(0, Kind::Head, 0));
        }
        if frame.kind == DATA {
            self.sent += frame.bytes;
        }
        while let Some((_, ready)) = self.parts.pop_front_if(|(end, _)| *end <= self.sent) {
            done.push(ready);
        }
        if frame.ends && std::mem::take(&mut self.trailer) {
            done.push(part(u32::MAX, Kind::Trailer, 0));
        }
    }
}

/// Follows frames through a run of bytes.
#[derive(Default)]
struct Walker {
    /// Bytes to pass over (the preface).
    skip: usize,
    head: Vec<u8>,
    left: usize,
    /// The frame was told of already.
    told: bool,
}

/// Bytes of a frame that passed.
struct Passing {
    stream: u32,
    kind: u8,
    bytes: u64,
    /// The frame was not told of before.
    begins: bool,
    /// The frame is complete and ends its stream.
    ends: bool,
}

impl Walker {
    fn walk(&mut self, mut bytes: &[u8], mut passed: impl FnMut(&Passing)) {
        let skipped = self.skip.min(bytes.len());
        self.skip -= skipped;
        bytes = bytes.get(skipped..).unwrap_or_default();
        while !bytes.is_empty() {
            if self.head.len() < 9 {
                let (head, rest) = bytes.split_at(bytes.len().min(9 - self.head.len()));
                self.head.extend_from_slice(head);
                bytes = rest;
                if let [a, b, c, ..] = *self.head.as_slice() {
                    self.left = u32::from_be_bytes([0, a, b, c]) as usize;
                }
            }
            let [_, _, _, kind, flags, s0, s1, s2, s3] = *self.head.as_slice() else { return };
            let (payload, rest) = bytes.split_at(bytes.len().min(self.left));
            bytes = rest;
            self.left -= payload.len();
            let whole = self.left == 0;
            passed(&Passing {
                stream: u32::from_be_bytes([s0, s1, s2, s3]) & 0x7fff_ffff,
                kind,
                bytes: payload.len() as u64,
                begins: !std::mem::replace(&mut self.told, true),
                ends: whole && matches!(kind, DATA | HEADERS) && flags & END_STREAM != 0,
            });
            if whole {
                self.head.clear();
                self.told = false;
            }
        }
    }
}

/// The wire as the `h2` crate wants it.
pub(crate) struct Pipe {
    wire: Arc<Mutex<Wire>>,
    book: Arc<Mutex<Book>>,
    incoming: Walker,
    outgoing: Walker,
    /// Parts of the bytes that wait for their write.
    done: Vec<(Teller, Vec<Part>)>,
}

impl Pipe {
    pub(crate) fn new(wire: Arc<Mutex<Wire>>, book: Arc<Mutex<Book>>) -> Self {
        let incoming = Walker { skip: PREFACE, ..Walker::default() };
        Self { wire, book, incoming, outgoing: Walker::default(), done: Vec::new() }
    }

    fn write(&mut self, tasks: &mut Tasks<'_>) -> Poll<io::Result<()>> {
        let written = {
            let mut wire = lock(&self.wire);
            if !wire.corked() {
                return Poll::Ready(Ok(()));
            }
            ready!(wire.poll_flush(tasks))?
        };
        self.log(&written);
        Poll::Ready(Ok(()))
    }

    fn log(&mut self, written: &Written) {
        for (teller, parts) in self.done.drain(..) {
            teller.wrote(written, parts);
        }
        lock(&self.book).changed.notify_waiters();
    }

    fn outgoing(&mut self, bytes: &[u8]) {
        let mut book = lock(&self.book);
        let done = &mut self.done;
        self.outgoing.walk(bytes, |frame| {
            let Some(entry) = book.streams.get_mut(&frame.stream) else { return };
            let mut parts = Vec::new();
            entry.passed(frame, &mut parts);
            let Some(teller) = entry.teller.as_ref().filter(|_| !parts.is_empty()) else { return };
            match done.iter_mut().find(|(other, _)| other.request == teller.request) {
                Some((_, ready)) => ready.extend(parts),
                None => done.push((teller.clone(), parts)),
            }
        });
    }
}

impl AsyncRead for Pipe {
    fn poll_read(self: Pin<&mut Self>, tasks: &mut Tasks<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let mut wire = lock(&this.wire);
        while wire.input.is_empty() {
            match ready!(wire.poll_some(tasks)).map_err(io::Error::other)? {
                None => {}
                Some(Gone::Fin) if wire.input.is_empty() => return Poll::Ready(Ok(())),
                Some(Gone::Fin) => {}
                Some(Gone::Reset) => return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
            }
        }
        let fits = wire.input.len().min(out.remaining());
        let bytes: Vec<u8> = wire.input.drain(..fits).collect();
        let at = wire.last_read;
        let mut book = lock(&this.book);
        this.incoming.walk(&bytes, |frame| {
            if frame.kind == HEADERS && frame.begins {
                book.entry(frame.stream).first_byte = at;
            }
            if frame.ends {
                book.entry(frame.stream).end = at;
            }
        });
        out.put_slice(&bytes);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(self: Pin<&mut Self>, tasks: &mut Tasks<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(tasks, &[io::IoSlice::new(bytes)])
    }

    /// All that is given becomes one TLS record and one write.
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        tasks: &mut Tasks<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.write(tasks))?;
        let bytes: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).take(RECORD).collect();
        {
            let mut wire = lock(&this.wire);
            wire.hold(&bytes);
            wire.seal().map_err(io::Error::other)?;
        }
        this.outgoing(&bytes);
        match this.write(tasks) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            // Taken over: what the socket did not take goes first the next time.
            _ => Poll::Ready(Ok(bytes.len())),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, tasks: &mut Tasks<'_>) -> Poll<io::Result<()>> {
        self.get_mut().write(tasks)
    }

    fn poll_shutdown(self: Pin<&mut Self>, tasks: &mut Tasks<'_>) -> Poll<io::Result<()>> {
        self.get_mut().write(tasks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_followed_wherever_they_are_cut() {
        let mut bytes = vec![0; PREFACE];
        bytes.extend([0, 0, 3, HEADERS, 4, 0, 0, 0, 1, b'a', b'b', b'c']);
        bytes.extend([0, 0, 0, DATA, 1, 0x80, 0, 0, 1]);
        bytes.extend([0, 0, 2, DATA, 0, 0, 0, 0, 3, b'x', b'y']);
        for size in 1..bytes.len() {
            let mut walker = Walker { skip: PREFACE, ..Walker::default() };
            let (mut begun, mut ended, mut data) = (Vec::new(), Vec::new(), 0);
            for piece in bytes.chunks(size) {
                walker.walk(piece, |frame| {
                    begun.extend(frame.begins.then_some(frame.stream));
                    ended.extend(frame.ends.then_some(frame.stream));
                    data += if frame.kind == DATA { frame.bytes } else { 0 };
                });
            }
            assert_eq!((ended, data), (vec![1], 2), "{size}");
            assert_eq!(begun, [1, 1, 3], "{size}");
        }
    }
}
