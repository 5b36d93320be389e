//! One connection's way from "unknown" to "tracked" or "ignored".
//!
//! ```text
//! Listening ──first bytes are a request──▶ Speaking ──a dialect claims a request──▶ tracked, for good
//!   ▲  │                                      │
//!   │  └─ no protocol of ours, or a server ─▶ Ignored
//!   │                                         │
//!   └────────── nobody claims it ─────────────┘   verdict Heads: the kernel sends only the heads of writes
//! ```
//! A protocol whose connections must be followed whole (HTTP/2: each head builds on those before
//! it, of all streams) does not go back to listening when nobody claims a request: everything goes
//! on coming up, the verdict stays `Unknown`, until the requests in a row, or the bytes, are too
//! many. After `limits::WHOLE_UNCLAIMED` bytes it counts as seen from the middle, which costs it
//! some header fields at worst.
//!
//! A path that anybody may use (`/api/chat`) is not claimed before the request's body is seen to
//! look like that dialect's (`dialects::look`); a body that was not seen whole leaves the claim to
//! the path.
//!
//! A POST that no dialect claims is followed to the head of its answer, `limits::UNCLAIMED_BYTES`
//! at most: an event stream is shown as a call of an unknown API. That does not make the connection
//! a tracked one: everything goes on coming up while it lasts, then the next request is judged
//! anew.
//!
//! Spans that a process exports which calls models are read, and their connection goes on coming up
//! (`exports`); so does a WebSocket on which a process may send the speech on that it has had made
//! (`media`).
//!
//! Where bytes are missing before the first request, what is read may be the answer to one that was
//! not seen: an event stream of a dialect that its own words give away is shown from there on, as
//! seen from the middle.
//!
//! While listening nothing is held but the few bytes that do not tell yet; of a connection that is not tracked, nothing
//! stays. After `limits::NON_LLM_REQUESTS` requests in a row that nobody claims
//! and that do not even go where model calls go, a connection is ignored.

mod request_wait;
mod verdict;

use std::net::SocketAddr;

use super::calls::OpenCalls;
use super::context::SessionContext;
use super::early::{EarlyReads, OwnedChunk};
use super::router::MessageRouter;
use crate::HostEvent;
use capture::conn::Chunk;
use capture::limits;
use capture::proto::{ConnClosing, ProtocolParser, SniffVerdict, recognise};
use capture::record::{ConnKey, SocketCookie, TlsSocketPairing};
use capture::units::{Direction, LossCause, Moment, Ns};
use observer_common::record::Verdict;

use request_wait::RequestWait;

/// A connection above its bytes.
pub(super) struct ConnSession {
    stage: Stage,
    verdict: Verdict,
    /// Calls that have not ended.
    calls: OpenCalls,
    /// Requests in a row that no dialect claimed and that go elsewhere than model calls do.
    strangers: u32,
    /// The protocol spoken needs the connection whole.
    whole: bool,
    /// Bytes since it began to be spoken, or since the last event stream of an unknown API began.
    spoken: u64,
    /// Bytes since requests wait that may yet be calls.
    waited: u64,
    /// Exchanges of parsers that were given up: exchange ordinals go on from here.
    exchanges: u64,
    /// How the connection is about to end. It ends when the TLS object goes or, if that does not happen, after a while:
    /// what the socket already holds may still be read after the peer has closed.
    closing: Option<(ConnClosing, Ns)>,
    /// The peer's address.
    remote: Option<SocketAddr>,
    /// The socket below a TLS object.
    sock: Option<SocketCookie>,
    /// Last bytes in either direction.
    last: Ns,
    /// Reads were left out on purpose: where the next one is, is where it goes on.
    jump: bool,
    /// The parser has not been given any read since reads were left out.
    unsure: bool,
    /// The dialect of the answer in whose middle the observer came, until the router is told.
    mid_stream_row: Option<&'static dialects::DialectRow>,
    /// Reads that came before the write that asked for them.
    early: EarlyReads,
}

enum Stage {
    AwaitingRequest(RequestWait),
    Parsing(Box<dyn ProtocolParser>),
    Ignored,
}

impl Default for ConnSession {
    fn default() -> Self {
        ConnSession {
            stage: Stage::AwaitingRequest(RequestWait::new(true)),
            verdict: Verdict::Unknown,
            calls: OpenCalls::default(),
            strangers: 0,
            whole: false,
            spoken: 0,
            waited: 0,
            exchanges: 0,
            closing: None,
            remote: None,
            sock: None,
            last: Ns(0),
            jump: false,
            unsure: false,
            mid_stream_row: None,
            early: EarlyReads::default(),
        }
    }
}

impl ConnSession {
    /// The next piece of one direction, of calls that are told of when they return: see `early`.
    pub(super) fn called(&mut self, direction: Direction, chunk: Chunk<'_>, at: Moment, env: &mut SessionContext<'_>) {
        self.last = self.last.max(at.at);
        match direction {
            Direction::Write => {
                self.release(env, |_, read| read <= at.at);
                self.chunk(direction, chunk, at, env);
                self.release_asked(env);
            }
            Direction::Read if self.early.is_empty() && !self.is_early(chunk) => self.chunk(direction, chunk, at, env),
            Direction::Read => {
                if !self.early.has_room(chunk) {
                    self.release(env, |_, _| true);
                    return self.chunk(direction, chunk, at, env);
                }
                self.early.push(chunk, at);
            }
        }
    }

    /// Reads that waited long enough for what asked for them.
    pub(super) fn settle(&mut self, now: Ns, env: &mut SessionContext<'_>) {
        if self.early.due().is_some_and(|due| due <= now) {
            self.release(env, |_, _| true);
        }
    }

    /// Reads wait for what asked for them.
    pub(super) fn waits(&self) -> bool {
        !self.early.is_empty()
    }

    /// Lets reads go on, oldest first, as long as `go` says so.
    fn release(&mut self, env: &mut SessionContext<'_>, go: impl Fn(&OwnedChunk, Ns) -> bool) {
        while let Some((piece, at)) = self.early.pop_if(|piece, at| go(piece, at.at)) {
            self.chunk(Direction::Read, piece.chunk(), at, env);
        }
    }

    /// The same for those that have been asked for by now.
    fn release_asked(&mut self, env: &mut SessionContext<'_>) {
        let mut early = std::mem::take(&mut self.early);
        while let Some((piece, at)) = early.pop_if(|piece, _| !self.is_early(piece.chunk())) {
            self.chunk(Direction::Read, piece.chunk(), at, env);
        }
        self.early = early;
    }

    /// Whether what is read next answers nothing that was asked.
    fn is_early(&self, chunk: Chunk<'_>) -> bool {
        let Chunk::Data(bytes) = chunk else { return false };
        match &self.stage {
            Stage::Ignored => false,
            // It is the answer to the request that was passed over.
            Stage::AwaitingRequest(_) if self.verdict == Verdict::Heads => false,
            Stage::AwaitingRequest(wait) => {
                let row = recognise(Direction::Read, bytes);
                !wait.running && matches!(row, (SniffVerdict::Yes, Some(row)) if !row.whole)
            }
            Stage::Parsing(parser) => self.calls.idle_socket() || parser.early(bytes),
        }
    }

    /// The next piece of one direction.
    pub(super) fn chunk(&mut self, direction: Direction, chunk: Chunk<'_>, at: Moment, env: &mut SessionContext<'_>) {
        self.last = self.last.max(at.at);
        if let Chunk::Gap { bytes, cause } = chunk
            && self.undecided_or_llm()
        {
            env.events.on_host_event(&HostEvent::Lost { bytes, cause });
        }
        match &mut self.stage {
            Stage::Ignored => {}
            Stage::Parsing(_) => self.parse(direction, chunk, at, env),
            Stage::AwaitingRequest(wait) => match (chunk, direction) {
                (Chunk::Gap { .. }, _) => wait.gap(),
                (Chunk::Data(bytes), Direction::Write) => self.sniff_written(bytes, at, env),
                (Chunk::Data(bytes), Direction::Read) => self.sniff_read(bytes, at, env),
            },
        }
    }

    /// Bytes are still of interest.
    pub(super) fn wants_bytes(&self) -> bool {
        !matches!(self.stage, Stage::Ignored)
    }

    /// One side said goodbye. The earlier goodbye counts, in whatever order they are heard of: a
    /// socket's end may be told only when its TLS object goes.
    pub(super) fn closing(&mut self, how: ConnClosing, at: Ns) {
        if self.closing.is_none_or(|(_, earlier)| at < earlier) {
            self.closing = Some((how, at));
        }
    }

    /// The peer's address became known.
    pub(super) fn remote(&mut self, peer: SocketAddr, env: &mut SessionContext<'_>) {
        self.remote = Some(peer);
        env.call_table.set_remote(&env.key, peer);
    }

    /// The socket below became known.
    pub(super) fn on_paired(&mut self, paired: &TlsSocketPairing, env: &mut SessionContext<'_>) {
        self.sock = Some(paired.sock);
        if self.verdict == Verdict::Track {
            env.verdicts.push((socket_of(&env.key, paired.sock), Verdict::Track));
        }
        self.remote(paired.peer, env);
    }

    /// How it is about to end.
    pub(super) fn first_end(&self) -> Option<ConnClosing> {
        self.closing.map(|(how, _)| how)
    }

    /// The socket below, for a TLS object.
    pub(super) fn sock(&self) -> Option<SocketCookie> {
        self.sock
    }

    pub(super) fn is_closing(&self) -> bool {
        self.closing.is_some() && !matches!(self.stage, Stage::Ignored)
    }

    /// Time passed: a goodbye that nothing followed is the end.
    pub(super) fn tick(&mut self, now: Ns, env: &mut SessionContext<'_>) {
        let Some((how, at)) = self.closing else { return };
        let grace = if how == ConnClosing::Local { limits::LOCAL_GRACE_NS } else { limits::PEER_GRACE_NS };
        if now - at.max(self.last) >= grace {
            self.end(how, now, env);
        }
    }

    /// The connection is over. Who said goodbye first has ended it, at the last byte at the earliest.
    pub(super) fn end(&mut self, how: ConnClosing, at: Ns, env: &mut SessionContext<'_>) {
        self.release(env, |_, _| true);
        let (how, at) = match self.closing.take() {
            Some((first, when)) => (first, when.max(self.last)),
            None => (how, at),
        };
        let moment = Moment { at, arrival: None, call: u64::MAX };
        let stage = std::mem::replace(&mut self.stage, Stage::AwaitingRequest(RequestWait::new(false)));
        if let Stage::Parsing(mut parser) = stage {
            env.remote = self.remote;
            let mut router = MessageRouter::new(&mut self.calls, self.exchanges, env);
            parser.close(how, moment, &mut router);
            router.abandon(at);
            self.exchanges += limits::EXCHANGE_STEP;
        }
    }

    /// Bytes held.
    pub(super) fn held(&self) -> usize {
        let stage = match &self.stage {
            Stage::AwaitingRequest(wait) => wait.head.len(),
            Stage::Parsing(parser) => parser.held(),
            Stage::Ignored => 0,
        };
        stage + self.calls.held() + self.early.held()
    }

    /// True once after reads were left out on purpose.
    pub(super) fn take_jump(&mut self) -> bool {
        std::mem::take(&mut self.jump)
    }

    fn undecided_or_llm(&self) -> bool {
        matches!(self.verdict, Verdict::Unknown | Verdict::Track)
    }

    fn parse(&mut self, direction: Direction, chunk: Chunk<'_>, at: Moment, env: &mut SessionContext<'_>) {
        let Stage::Parsing(parser) = &mut self.stage else { return };
        env.remote = self.remote;
        let mut router = MessageRouter::new(&mut self.calls, self.exchanges, env);
        router.attached_within(self.mid_stream_row.take());
        let hole = direction == Direction::Read && std::mem::take(&mut self.unsure) && in_the_middle(chunk);
        let hole = hole.then_some(Chunk::Gap { bytes: None, cause: LossCause::LateAttach });
        let outcome = router.push(parser.as_mut(), direction, hole.into_iter().chain([chunk]), at);
        let dead = parser.dead();
        if let Chunk::Data(bytes) = chunk {
            self.spoken = self.spoken.saturating_add(bytes.len() as u64);
            self.waited =
                if self.calls.pending.is_empty() { 0 } else { self.waited.saturating_add(bytes.len() as u64) };
        }
        self.judge(&outcome, env);
        if dead {
            self.bury(env);
        }
    }
}

/// The socket below a TLS object, as the kernel's filter knows it: its ciphertext is wanted too.
fn socket_of(conn: &ConnKey, sock: SocketCookie) -> ConnKey {
    sock.conn(conn.tgid, conn.start_ns)
}

/// What is read does not begin like an answer.
fn in_the_middle(chunk: Chunk<'_>) -> bool {
    matches!(chunk, Chunk::Data(bytes) if matches!(recognise(Direction::Read, bytes).0, SniffVerdict::No))
}
