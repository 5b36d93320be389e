//! The only place where the stages meet: records in; the ledger, its audience and verdicts for the kernel out.
//!
//! ```text
//! Record → Conns/Track (conn) → Session: Protocol (proto) → Router: Dialect (dialect) → Book (ledger) → Audience
//!                                  └─ Verdict → kernel
//! ```
//! One thread drives it: `record` for each record, `tick` a few times a second, `verdicts` after either.
#![deny(clippy::disallowed_methods, reason = "pure stage: time is an argument, no files")]

mod calls;
mod counters;
mod early;
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

use crate::conn::{Admission, Conn, Conns, Path, Socket, Sockets, Track};
use crate::dialect::Extra;
use crate::ledger::{self, Audience, Birth, Book, Happening, LinkEnd, Links};
use crate::limits;
use crate::proto::{Closing, Salt};
use crate::record::{Attach, ConnKey, Data, Record, Sock, SockOpen};
use crate::units::{Direction, Ns};

pub use counters::Counters;
pub use observer_common::record::Verdict;
use session::{Env, Session};
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

    /// What the kernel side lost at the end of a connection that stays open, or with its end.
    fn audited(&mut self, key: &ConnKey, at: Ns, moved: Option<[u64; 2]>) {
        self.now = self.now.max(at);
        self.with(key, |conn, env| {
            let (read, written) = (moved.map(|[read, _]| read), moved.map(|[_, written]| written));
            for (direction, pos) in [(Direction::Write, written), (Direction::Read, read)] {
                if conn.state.wants_bytes() {
                    on_track(conn, env, direction, |track, out| track.reach(pos, at, out));
                }
            }
        });
        if moved.is_none()
            && let Some(conn) = self.conns.remove(key)
        {
            self.end(conn, Closing::Local, at, [None; 2]);
        }
    }

    fn data(&mut self, data: &Data<'_>) {
        match data.direction {
            Direction::Read => self.counters.reads += 1,
            Direction::Write => self.counters.writes += 1,
        }
        if !self.admit(data.conn, data.born, data.at) {
            return;
        }
        let arrival = self.arrival(data);
        self.with(&data.conn, |conn, env| {
            settle(conn, env, data.at);
            if conn.state.wants_bytes() {
                on_track(conn, env, data.direction, |track, out| track.push_arrived(data, arrival, out));
            }
        });
    }

    /// Makes room and a place for a connection; false if the record came too late.
    fn admit(&mut self, key: ConnKey, born: bool, at: Ns) -> bool {
        self.now = self.now.max(at);
        match self.conns.admit(key, born, at) {
            Admission::Stale => {
                self.counters.stale += 1;
                false
            }
            Admission::In { gone, evicted } => {
                for conn in gone {
                    self.end(conn, Closing::Abandoned, at, [None; 2]);
                }
                if let Some(conn) = evicted {
                    self.counters.evicted += 1;
                    self.end(*conn, Closing::Abandoned, at, [None; 2]);
                }
                true
            }
        }
    }

    fn closing(&mut self, key: &ConnKey, how: Closing, at: Ns) {
        self.now = self.now.max(at);
        self.with(key, |conn, _| conn.state.closing(how, at));
    }

    /// Lets `act` work on a connection, if it is known, and notes whether it waits for time to pass.
    fn with(&mut self, key: &ConnKey, act: impl FnOnce(&mut Conn<Session>, &mut Env<'_>)) {
        self.with_socket(key, None, act);
    }

    /// The same, over this (lent) socket; without one, over the connection's socket, if it is known.
    fn with_socket(
        &mut self,
        key: &ConnKey,
        below: Option<(&SockOpen, &Path)>,
        act: impl FnOnce(&mut Conn<Session>, &mut Env<'_>),
    ) {
        let identity = self.conns.identity(key);
        let Some(conn) = self.conns.get_mut(key) else { return };
        let birth = birth(conn, below, &self.sockets);
        let own = || conn.state.sock().and_then(|sock| self.sockets.get(sock)).map(|socket| &socket.path);
        let path = below.map(|(_, path)| path).or_else(own);
        let mut env = Env {
            key: *key,
            identity: &identity,
            settings: &self.settings,
            book: &mut self.book,
            audience: &mut self.audience,
            verdicts: &mut self.verdicts,
            counters: &mut self.counters,
            path,
            remote: None,
            birth,
            links: &mut self.links,
        };
        act(conn, &mut env);
        if conn.read.unsettled() || conn.write.unsettled() || conn.state.is_closing() || conn.state.waits() {
            self.waiting.insert(*key);
        }
    }

    /// A connection is over; `ends` are the last positions of the read and write direction, where known.
    fn end(&mut self, mut conn: Conn<Session>, how: Closing, at: Ns, ends: [Option<u64>; 2]) {
        let identity = self.conns.identity(&conn.key);
        let birth = birth(&conn, None, &self.sockets);
        let path = conn.state.sock().and_then(|sock| self.sockets.get(sock)).map(|socket| &socket.path);
        let link_end = link_end(conn.state.first_end().unwrap_or(how));
        // The socket of a TLS object tells more of the end, and may outlive it.
        let over = path.is_none() || how != Closing::Local;
        let mut env = Env {
            key: conn.key,
            identity: &identity,
            settings: &self.settings,
            book: &mut self.book,
            audience: &mut self.audience,
            verdicts: &mut self.verdicts,
            counters: &mut self.counters,
            path,
            remote: None,
            birth,
            links: &mut self.links,
        };
        let born = conn.born;
        for (direction, end) in [Direction::Write, Direction::Read].into_iter().zip([ends[1], ends[0]]) {
            on_track(&mut conn, &mut env, direction, |track, out| track.finish(end, born, at, out));
        }
        conn.state.end(how, at, &mut env);
        if over {
            let Env { links, key, path, audience, .. } = env;
            links.gone(&key, link_end, at, path, audience);
        }
    }
}

/// Where and when a connection began.
fn birth(conn: &Conn<Session>, below: Option<(&SockOpen, &Path)>, sockets: &Sockets) -> Birth {
    let own = || conn.state.sock().and_then(|sock| sockets.get(sock)).map(|socket| &socket.open);
    match below.map(|(open, _)| open).or_else(own) {
        Some(open) => Birth { sock: Some(open.sock), at: open.at, older: open.attach == Attach::Mid },
        None => Birth { sock: conn.state.sock(), at: conn.since, older: !conn.born },
    }
}

fn link_end(how: Closing) -> LinkEnd {
    match how {
        Closing::Peer => LinkEnd::PeerFin,
        Closing::Reset => LinkEnd::PeerRst,
        Closing::Local => LinkEnd::LocalFin,
        Closing::ProcessExit => LinkEnd::Exit,
        Closing::Abandoned => LinkEnd::Lost,
    }
}

/// What waited long enough comes out, of both directions.
fn settle(conn: &mut Conn<Session>, env: &mut Env<'_>, now: Ns) {
    for direction in [Direction::Write, Direction::Read] {
        on_track(conn, env, direction, |track, out| track.settle(now, out));
    }
    conn.state.settle(now, env);
}

/// Lets a track speak to the session.
fn on_track(
    conn: &mut Conn<Session>,
    env: &mut Env<'_>,
    direction: Direction,
    act: impl FnOnce(&mut Track, &mut dyn FnMut(crate::conn::Chunk<'_>, crate::units::Moment)),
) {
    let (track, session) = conn.track(direction);
    act(track, &mut |chunk, at| session.called(direction, chunk, at, env));
    env.counters.repaired(track.take_repairs());
    if session.take_jump() {
        conn.read.lose_place();
    }
}
