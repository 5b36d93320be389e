//! Connections: what they carry goes to their sessions, from the first byte to the end.

use super::Pipeline;
use super::session::{Env, Session};
use crate::conn::{Admission, Chunk, Conn, Path, Sockets, Track};
use crate::ledger::{Audience, Birth, LinkEnd};
use crate::proto::Closing;
use crate::record::{Attach, ConnKey, Data, SockOpen};
use crate::units::{Direction, Moment, Ns};

impl<A: Audience> Pipeline<A> {
    /// What the kernel side lost at the end of a connection that stays open, or with its end.
    pub(super) fn audited(&mut self, key: &ConnKey, at: Ns, moved: Option<[u64; 2]>) {
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

    pub(super) fn data(&mut self, data: &Data<'_>) {
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
    pub(super) fn admit(&mut self, key: ConnKey, born: bool, at: Ns) -> bool {
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

    pub(super) fn closing(&mut self, key: &ConnKey, how: Closing, at: Ns) {
        self.now = self.now.max(at);
        self.with(key, |conn, _| conn.state.closing(how, at));
    }

    /// Lets `act` work on a connection, if it is known, and notes whether it waits for time to pass.
    pub(super) fn with(&mut self, key: &ConnKey, act: impl FnOnce(&mut Conn<Session>, &mut Env<'_>)) {
        self.with_socket(key, None, act);
    }

    /// The same, over this (lent) socket; without one, over the connection's socket, if it is known.
    pub(super) fn with_socket(
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
    pub(super) fn end(&mut self, mut conn: Conn<Session>, how: Closing, at: Ns, ends: [Option<u64>; 2]) {
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
pub(super) fn settle(conn: &mut Conn<Session>, env: &mut Env<'_>, now: Ns) {
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
    act: impl FnOnce(&mut Track, &mut dyn FnMut(Chunk<'_>, Moment)),
) {
    let (track, session) = conn.track(direction);
    act(track, &mut |chunk, at| session.called(direction, chunk, at, env));
    env.counters.repaired(track.take_repairs());
    if session.take_jump() {
        conn.read.lose_place();
    }
}
