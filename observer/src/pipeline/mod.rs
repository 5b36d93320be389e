//! The only place where the stages meet: records in; the ledger, its audience and verdicts for the kernel out.
//!
//! ```text
//! Record → Conns/Track (conn) → Session: Protocol (proto) → Router: Dialect (dialect) → Book (ledger) → Audience
//!        `conns`, `wire`         └─ Verdict → kernel         `router`, `turns`             `entries`
//! ```
//! One thread drives it: `record` for each record, `tick` a few times a second, `verdicts` after either.
#![deny(clippy::disallowed_methods, reason = "pure stage: time is an argument, no files")]

mod calls;
mod conns;
mod counters;
mod early;
mod entries;
mod exports;
mod media;
mod router;
mod session;
mod shape;
#[cfg(test)]
mod tests;
mod turns;
mod wire;

use std::collections::{HashMap, HashSet};

use foldhash::fast::RandomState;

use crate::conn::{Conns, Socket, Sockets};
use crate::dialect::Extra;
use crate::ledger::{self, Audience, Book, Happening, Links};
use crate::limits;
use crate::proto::{Closing, Salt};
use crate::record::{ConnKey, Record, Sock};
use crate::units::Ns;

use conns::settle;
pub use counters::Counters;
pub use observer_common::record::Verdict;
use session::Session;
use shape::Shapes;

/// What the operator may set.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Paths and hosts declared to speak a dialect.
    pub extras: Vec<Extra>,
    /// Key of the hashes of credentials.
    pub salt: Salt,
    /// The ledger's.
    pub ledger: ledger::Limits,
    /// Connections followed at once.
    pub conns: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Settings { extras: Vec::new(), salt: Salt::random(), ledger: ledger::Limits::default(), conns: limits::CONNS }
    }
}

/// The pipeline. Bounded by `limits`: a reached cap is counted, never an error.
pub struct Pipeline<A> {
    settings: Settings,
    conns: Conns<Session>,
    sockets: Sockets,
    /// Calls of which only the shape is seen.
    shapes: HashMap<Sock, Shapes, RandomState>,
    /// Sockets on which segments wait for their predecessors.
    unsettled: HashSet<Sock, RandomState>,
    /// Connections that carry model calls.
    links: Links,
    book: Book,
    audience: A,
    verdicts: Vec<(ConnKey, Verdict)>,
    counters: Counters,
    /// Connections for which something happens by the mere passing of time.
    waiting: HashSet<ConnKey, RandomState>,
    /// The latest stamp seen.
    now: Ns,
}

impl<A: Audience> Pipeline<A> {
    /// An empty pipeline.
    #[must_use]
    pub fn new(settings: Settings, audience: A) -> Self {
        Pipeline {
            conns: Conns::new(settings.conns),
            sockets: Sockets::new(limits::SOCKETS),
            shapes: HashMap::default(),
            unsettled: HashSet::default(),
            links: Links::default(),
            book: Book::new(settings.ledger),
            settings,
            audience,
            verdicts: Vec::new(),
            counters: Counters::default(),
            waiting: HashSet::default(),
            now: Ns(0),
        }
    }

    /// One thing that happened on the host.
    pub fn record(&mut self, record: &Record<'_>) {
        match record {
            Record::Process { tgid, start_ns, identity } => {
                self.counters.processes += 1;
                for conn in self.conns.introduce(*tgid, *start_ns, identity.clone()) {
                    self.end(conn, Closing::ProcessExit, self.now, [None; 2]);
                }
            }
            Record::Open { conn, at } => {
                self.counters.opens += 1;
                self.admit(*conn, true, *at);
            }
            Record::Data(data) => self.data(data),
            Record::Remote { conn, peer } => {
                self.counters.remotes += 1;
                self.with(conn, |conn, env| conn.state.remote(*peer, env));
            }
            Record::Joined(joined) => {
                self.counters.joins += 1;
                self.joined(joined);
            }
            Record::SockOpen(open) => {
                self.counters.sock_opens += 1;
                self.sock_open(*open);
            }
            Record::Segment(segment) => {
                self.counters.segments += 1;
                self.segment(segment);
            }
            Record::SockInfo(info) => {
                self.counters.sock_infos += 1;
                self.now = self.now.max(info.at);
                self.sock_info(info);
            }
            Record::SockClose { sock, at } => {
                self.counters.sock_closes += 1;
                self.sock_close(*sock, *at);
            }
            Record::Started { tgid, at } => {
                self.counters.programs += 1;
                self.now = self.now.max(*at);
                self.audience.hear(Happening::Acted { tgid: *tgid, peer: None, at: *at });
            }
            Record::Shutdown { conn, at } => {
                self.counters.shutdowns += 1;
                self.closing(conn, Closing::Local, *at);
            }
            Record::ReadEnd { conn, at, clean } => {
                self.counters.read_ends += 1;
                self.closing(conn, if *clean { Closing::Peer } else { Closing::Reset }, *at);
            }
            Record::Close { conn, at, read_pos, write_pos } => {
                self.counters.closes += 1;
                self.now = self.now.max(*at);
                if let Some(conn) = self.conns.remove(conn) {
                    self.end(conn, Closing::Local, *at, [Some(*read_pos), Some(*write_pos)]);
                }
            }
            Record::Audited { conn, at, moved } => {
                self.counters.audits += 1;
                self.audited(conn, *at, *moved);
            }
            Record::Exit { tgid, at } => {
                self.counters.exits += 1;
                self.now = self.now.max(*at);
                for conn in self.conns.exit(*tgid) {
                    self.end(conn, Closing::ProcessExit, *at, [None; 2]);
                }
                self.shapes_exit(*tgid, *at);
                self.links.exit(*tgid, *at, &mut self.audience);
            }
        }
    }

    /// Time passed. `now` must not run ahead of records still to come: take it before the ring is drained.
    pub fn tick(&mut self, now: Ns) {
        self.now = self.now.max(now);
        for key in std::mem::take(&mut self.waiting) {
            self.with(&key, |conn, env| {
                settle(conn, env, now);
                conn.state.tick(now, env);
                if conn.state.take_jump() {
                    conn.read.lose_place();
                }
            });
        }
        self.settle_sockets(now);
        self.settle_shapes(now);
        self.book.tick(now, &mut self.audience);
        self.audience.tick(now);
    }

    /// The verdicts since the last call, for the kernel's filter. For one connection the last one counts.
    pub fn verdicts(&mut self) -> impl Iterator<Item = (ConnKey, Verdict)> {
        self.verdicts.drain(..)
    }

    /// Connections that carry model calls.
    #[must_use]
    pub fn links(&self) -> &Links {
        &self.links
    }

    /// Followed sockets.
    #[must_use]
    pub fn sockets(&self) -> &Sockets {
        &self.sockets
    }

    /// The ledger.
    #[must_use]
    pub fn book(&self) -> &Book {
        &self.book
    }

    /// The listener.
    #[must_use]
    pub fn audience(&self) -> &A {
        &self.audience
    }

    /// The listener.
    pub fn audience_mut(&mut self) -> &mut A {
        &mut self.audience
    }

    /// The listener, when all is over.
    #[must_use]
    pub fn into_audience(self) -> A {
        self.audience
    }

    /// Lets the listener look at all there is.
    pub fn show<R>(&mut self, look: impl FnOnce(&Book, &Links, &Sockets, &mut A) -> R) -> R {
        look(&self.book, &self.links, &self.sockets, &mut self.audience)
    }

    /// What went through.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// The latest stamp seen: "now" of a replay.
    #[must_use]
    pub fn now(&self) -> Ns {
        self.now
    }

    /// Connections in the table, those not tracked included.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.conns.len()
    }

    /// Bytes held in buffers of all connections now; 0 for one that carries no LLM traffic.
    #[must_use]
    pub fn held(&self) -> usize {
        let conns: usize = self.conns.iter().map(|conn| conn.read.held() + conn.write.held() + conn.state.held()).sum();
        conns + self.sockets.iter().map(Socket::held).sum::<usize>()
    }
}
