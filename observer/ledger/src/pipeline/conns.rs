//! Connections: what they carry goes to their sessions, from the first byte to the end.

use std::collections::HashSet;

use foldhash::fast::RandomState;

use super::Pipeline;
use super::context::{SessionContext, SharedContext};
use super::session::ConnSession;
use crate::{ConnectionEnd, EventSink, MessageTap};
use capture::conn::{
    Chunk, ConnAdmission, ConnTable, NetworkPath, SocketTable, TlsFromWire, TlsReassembler, TrackedConn, TrackedSocket,
};
use capture::proto::ConnClosing;
use capture::record::{ConnKey, SockOpen, TlsData};
use capture::units::{Direction, Moment, Ns};

impl<S: EventSink, T: MessageTap> Pipeline<S, T> {
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
            self.end(conn, ConnClosing::Local, at, [None; 2]);
        }
    }

    pub(super) fn data(&mut self, data: &TlsData<'_>) {
        match data.direction {
            Direction::Read => self.counters.reads += 1,
            Direction::Write => self.counters.writes += 1,
        }
        self.now = self.now.max(data.at);
        if !self.push(data) && self.admit(data.conn, data.born, data.at) {
            self.push(data);
        }
    }

    /// Bytes of a connection; false if it is not known.
    fn push(&mut self, data: &TlsData<'_>) -> bool {
        let Some(mut found) = self.find(&data.conn, None, Some(data.at)) else { return false };
        let arrival = found.arrival(data);
        let ConnRef { conn, context, .. } = &mut found;
        settle(conn, context, data.at);
        if conn.state.wants_bytes() {
            on_track(conn, context, data.direction, |track, out| track.push_arrived(data, arrival, out));
        }
        found.note_waiting();
        true
    }

    /// Makes room and a place for a connection; false if the record came too late.
    pub(super) fn admit(&mut self, key: ConnKey, born: bool, at: Ns) -> bool {
        self.now = self.now.max(at);
        match self.conns.admit(key, born, at) {
            ConnAdmission::Stale => {
                self.counters.stale += 1;
                false
            }
            ConnAdmission::In { gone, evicted } => {
                for conn in gone {
                    self.end(conn, ConnClosing::Abandoned, at, [None; 2]);
                }
                if let Some(conn) = evicted {
                    self.counters.evicted += 1;
                    self.end(*conn, ConnClosing::Abandoned, at, [None; 2]);
                }
                true
            }
        }
    }

    pub(super) fn closing(&mut self, key: &ConnKey, how: ConnClosing, at: Ns) {
        self.now = self.now.max(at);
        self.with(key, |conn, _| conn.state.closing(how, at));
    }

    /// Lets `act` work on a connection, if it is known, and notes whether it waits for time to pass.
    pub(super) fn with(
        &mut self,
        key: &ConnKey,
        act: impl FnOnce(&mut TrackedConn<ConnSession>, &mut SessionContext<'_>),
    ) {
        self.with_socket(key, None, act);
    }

    /// Lets `act` work on a connection over this (lent) socket, or else over its own, if that is known. False if the
    /// connection is not known.
    pub(super) fn with_socket(
        &mut self,
        key: &ConnKey,
        below: Option<(&SockOpen, &NetworkPath)>,
        act: impl FnOnce(&mut TrackedConn<ConnSession>, &mut SessionContext<'_>),
    ) -> bool {
        let Some(mut found) = self.find(key, below, None) else { return false };
        act(found.conn, &mut found.context);
        found.note_waiting();
        true
    }

    /// A connection, if it is known; where a record of `used` is about it, it is no longer idle.
    fn find<'a>(
        &'a mut self,
        key: &ConnKey,
        below: Option<(&'a SockOpen, &'a NetworkPath)>,
        used: Option<Ns>,
    ) -> Option<ConnRef<'a>> {
        let PipelineParts { conns, sockets, waiting, shared } = self.parts();
        let (conn, identity) = match used {
            Some(at) => conns.touch(key, at),
            None => conns.find(key),
        }?;
        let sock = conn.state.sock();
        let (socket, tls) = match below {
            Some(_) => (below, None),
            None => match sock.and_then(|sock| sockets.get_mut(sock)) {
                Some(TrackedSocket { open, path, tls, .. }) => (Some((&*open, &*path)), tls.as_deref_mut()),
                None => (None, None),
            },
        };
        let context = shared.context(conn, identity, sock, socket);
        Some(ConnRef { conn, context, tls, waiting })
    }

    /// The pipeline taken apart: a session works on what is shared while its connection is held.
    fn parts(&mut self) -> PipelineParts<'_> {
        let Pipeline {
            settings, conns, sockets, connections, call_table, sink, tap, verdicts, counters, waiting, ..
        } = self;
        let shared = SharedContext { settings, call_table, events: sink, tap, verdicts, counters, connections };
        PipelineParts { conns, sockets, waiting, shared }
    }

    /// A connection is over; `ends` are the last positions of the read and write direction, where known.
    pub(super) fn end(&mut self, mut conn: TrackedConn<ConnSession>, how: ConnClosing, at: Ns, ends: [Option<u64>; 2]) {
        let PipelineParts { conns, sockets, shared, .. } = self.parts();
        let identity = conns.identity(&conn.key);
        let sock = conn.state.sock();
        let socket = sock.and_then(|sock| sockets.get(sock)).map(|socket| (&socket.open, &socket.path));
        let link_end = link_end(conn.state.first_end().unwrap_or(how));
        // The socket of a TLS object tells more of the end, and may outlive it.
        let over = socket.is_none() || how != ConnClosing::Local;
        let mut env = shared.context(&conn, &identity, sock, socket);
        let born = conn.born;
        for (direction, end) in [Direction::Write, Direction::Read].into_iter().zip([ends[1], ends[0]]) {
            on_track(&mut conn, &mut env, direction, |track, out| track.finish(end, born, at, out));
        }
        conn.state.end(how, at, &mut env);
        if over {
            let SessionContext { connections, key, path, events, .. } = env;
            connections.on_gone(&key, link_end, at, path, events);
        }
    }
}

/// The tables in which a connection is found, and what is shared by all of them.
struct PipelineParts<'a> {
    conns: &'a mut ConnTable<ConnSession>,
    sockets: &'a mut SocketTable,
    waiting: &'a mut HashSet<ConnKey, RandomState>,
    shared: SharedContext<'a>,
}

/// A connection and all that is known of it, found once for whatever happens to it.
struct ConnRef<'a> {
    conn: &'a mut TrackedConn<ConnSession>,
    context: SessionContext<'a>,
    /// Its socket's TLS from outside.
    tls: Option<&'a mut TlsFromWire>,
    waiting: &'a mut HashSet<ConnKey, RandomState>,
}

impl ConnRef<'_> {
    /// When the last byte of a read had arrived, where its socket is known.
    fn arrival(&mut self, data: &TlsData<'_>) -> Option<Ns> {
        if data.direction != Direction::Read {
            return None;
        }
        self.tls.as_mut()?.align.read(data.start(), data.call_len, data.at)
    }

    /// Notes whether the connection waits for time to pass.
    fn note_waiting(self) {
        let conn = self.conn;
        if conn.read.unsettled() || conn.write.unsettled() || conn.state.is_closing() || conn.state.waits() {
            self.waiting.insert(conn.key);
        }
    }
}

fn link_end(how: ConnClosing) -> ConnectionEnd {
    match how {
        ConnClosing::Peer => ConnectionEnd::PeerFin,
        ConnClosing::Reset => ConnectionEnd::PeerRst,
        ConnClosing::Local => ConnectionEnd::LocalFin,
        ConnClosing::ProcessExit => ConnectionEnd::Exit,
        ConnClosing::Abandoned => ConnectionEnd::Lost,
    }
}

/// What waited long enough comes out, of both directions.
pub(super) fn settle(conn: &mut TrackedConn<ConnSession>, env: &mut SessionContext<'_>, now: Ns) {
    for direction in [Direction::Write, Direction::Read] {
        on_track(conn, env, direction, |track, out| track.settle(now, out));
    }
    conn.state.settle(now, env);
}

/// Lets a track speak to the session.
fn on_track(
    conn: &mut TrackedConn<ConnSession>,
    env: &mut SessionContext<'_>,
    direction: Direction,
    act: impl FnOnce(&mut TlsReassembler, &mut dyn FnMut(Chunk<'_>, Moment)),
) {
    let (track, session) = conn.direction_mut(direction);
    act(track, &mut |chunk, at| session.called(direction, chunk, at, env));
    env.counters.repaired(track.take_repairs());
    if session.take_jump() {
        conn.read.lose_place();
    }
}
