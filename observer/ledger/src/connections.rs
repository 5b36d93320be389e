//! The connections that carry model calls: how many, how old, how used, and how they end.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::{CallLabels, Entry, EventSink, HostEvent};
use capture::conn::NetworkPath;
use capture::identity::ProcessIdentity;
use capture::record::{ConnKey, SocketCookie};
use capture::units::Ns;

/// A request on a connection that was idle for so long may meet a peer, or a box on the way, that
/// has forgotten it. Idle time-outs of gateways begin at a minute, those of address translators at
/// 350 s.
const STALE_IDLE_NS: u64 = 55_000_000_000;
/// So many retransmissions of it without a byte of answer say that it has.
const STALE_RETRANSMITS: u32 = 3;

/// How a connection ended. The wire names are the values of the `how` label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ConnectionEnd {
    /// The peer ended it in order first.
    PeerFin,
    /// The peer broke it.
    PeerRst,
    /// This side ended it in order first.
    LocalFin,
    /// This side broke it.
    LocalRst,
    /// The process ended with it open.
    Exit,
    /// No end was seen.
    Lost,
}

impl ConnectionEnd {
    /// Every end, in the order of the wire names.
    pub const ALL: [ConnectionEnd; 6] =
        [Self::PeerFin, Self::PeerRst, Self::LocalFin, Self::LocalRst, Self::Exit, Self::Lost];

    /// The value of the `how` label.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::PeerFin => "peer_fin",
            Self::PeerRst => "peer_rst",
            Self::LocalFin => "local_fin",
            Self::LocalRst => "local_rst",
            Self::Exit => "exit",
            Self::Lost => "lost",
        }
    }
}

/// What happened to a connection, emitted at that moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ConnectionEvent {
    /// The connection carries its first model call.
    Opened,
    /// A call begins on it after `idle` seconds without one.
    Reused { idle: f64 },
    /// The round-trip time when a call ended.
    Rtt { seconds: f64 },
    /// A request on it, after a long idle time, is not answered: the peer, or a box on the way, has forgotten it.
    Stale,
    /// Segments sent again by this side and by the peer (lost ones that came later among them), and
    /// seconds in which this side left no room to send, since the last such event.
    Trouble { local: u64, peer: u64, no_room: f64 },
    /// The connection is over. `age`: its seconds, where its birth was seen.
    Ended { how: ConnectionEnd, age: Option<f64> },
}

fn emit(connection: &ModelConnection, news: ConnectionEvent, sink: &mut dyn EventSink) {
    sink.on_host_event(&HostEvent::Connection { connection, news });
}

/// One connection that has carried at least one model call.
#[derive(Clone, Debug)]
pub struct ModelConnection {
    /// The connection.
    pub conn: ConnKey,
    /// The socket that carries the connection, where it is known.
    pub sock: Option<SocketCookie>,
    /// The process that opened it.
    pub identity: Arc<ProcessIdentity>,
    /// What metrics are labelled with: those of its first call.
    pub labels: Arc<CallLabels>,
    /// Of its first call.
    pub provider: &'static str,
    /// The host of its first call, without a port.
    pub server_address: Option<String>,
    /// Of its latest call, since an upgrade changes it: `http/1.1`, `h2`, `websocket` …
    pub protocol: &'static str,
    /// The other end.
    pub remote: Option<SocketAddr>,
    /// When it was established, or first heard of.
    pub opened: Ns,
    /// The connection was open before the observer came: it is older than it looks.
    pub older: bool,
    /// Only its shape is seen.
    pub shape: bool,
    /// Calls that it has carried, carries now, and carried at once at most.
    pub streams: u64,
    pub open: u32,
    pub most: u32,
    /// When a call last began or ended.
    pub used: Ns,
    /// The request that may hang because the connection has gone stale.
    suspect: Option<SuspectedLoss>,
    /// How it ended, once known.
    ended: Option<(ConnectionEnd, Ns)>,
    /// What was emitted of its path so far.
    emitted: ReportedState,
}

#[derive(Clone, Copy, Debug)]
struct SuspectedLoss {
    retransmits: u32,
}

#[derive(Clone, Copy, Debug, Default)]
struct ReportedState {
    local: u32,
    peer: u64,
    closed_ns: u64,
}

impl ModelConnection {
    /// Seconds since it was established; `None` where that was not seen.
    #[must_use]
    pub fn age_seconds(&self, now: Ns) -> Option<f64> {
        (!self.older).then(|| now.seconds_since(self.opened))
    }

    /// Short stable id for `inspect`.
    #[must_use]
    pub fn id(&self) -> String {
        super::calls::id(&self.conn, u64::MAX)
    }

    /// Seconds since a call last used it; `None` while one does.
    #[must_use]
    pub fn idle_seconds(&self, now: Ns) -> Option<f64> {
        (self.open == 0).then(|| now.seconds_since(self.used))
    }
}

/// All of them.
#[derive(Debug, Default)]
pub struct ModelConnections {
    open: HashMap<ConnKey, ModelConnection, RandomState>,
}

/// What a connection's birth is known to be.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionBirth {
    /// The socket that carries the connection, where it is known.
    pub sock: Option<SocketCookie>,
    /// When it was established, or first heard of.
    pub at: Ns,
    /// The connection was open before the observer came.
    pub older: bool,
}

impl ModelConnections {
    /// Open connections.
    pub fn iter(&self) -> impl Iterator<Item = &ModelConnection> {
        self.open.values()
    }

    /// A call began on its connection. `path`: what the network did so far, where the socket is known.
    pub fn on_call_begun(
        &mut self,
        entry: &Entry,
        birth: ConnectionBirth,
        path: Option<&NetworkPath>,
        sink: &mut dyn EventSink,
    ) {
        let mut new = false;
        let connection = self.open.entry(entry.conn).or_insert_with(|| {
            new = true;
            new_connection(entry, birth)
        });
        if new {
            emit(connection, ConnectionEvent::Opened, sink);
        } else if connection.open == 0 {
            let idle = entry.started - connection.used;
            emit(connection, ConnectionEvent::Reused { idle: idle as f64 / 1e9 }, sink);
            connection.suspect = (idle >= STALE_IDLE_NS)
                .then(|| SuspectedLoss { retransmits: path.map_or(0, NetworkPath::retransmissions) });
        }
        connection.protocol = entry.protocol;
        connection.streams += 1;
        connection.open += 1;
        connection.most = connection.most.max(connection.open);
        connection.used = connection.used.max(entry.started);
    }

    /// A call on this connection is over.
    pub fn on_call_ended(&mut self, conn: &ConnKey, at: Ns, path: Option<&NetworkPath>, sink: &mut dyn EventSink) {
        let Some(connection) = self.open.get_mut(conn) else { return };
        connection.open = connection.open.saturating_sub(1);
        connection.used = connection.used.max(at);
        if let Some(path) = path {
            emit_trouble(connection, path, at, sink);
            if let Some(srtt) = path.srtt_us {
                emit(connection, ConnectionEvent::Rtt { seconds: f64::from(srtt) / 1e6 }, sink);
            }
        }
    }

    /// The socket below became known.
    pub fn on_paired(&mut self, conn: &ConnKey, birth: ConnectionBirth, remote: SocketAddr) {
        if let Some(connection) = self.open.get_mut(conn) {
            (connection.sock, connection.opened, connection.older) = (birth.sock, birth.at, birth.older);
            connection.remote.get_or_insert(remote);
        }
    }

    /// The peer sent bytes: it has not forgotten the connection.
    pub fn on_answer(&mut self, conn: &ConnKey) {
        if let Some(connection) = self.open.get_mut(conn) {
            connection.suspect = None;
        }
    }

    /// Something was sent again.
    pub fn on_retransmit(&mut self, conn: &ConnKey, path: &NetworkPath, sink: &mut dyn EventSink) {
        let Some(connection) = self.open.get_mut(conn) else { return };
        let since = |suspect: SuspectedLoss| path.retransmissions().saturating_sub(suspect.retransmits);
        if connection.suspect.is_some_and(|suspect| since(suspect) >= STALE_RETRANSMITS) {
            connection.suspect = None;
            emit(connection, ConnectionEvent::Stale, sink);
        }
    }

    /// One side ended the connection. The first end counts; the end of a process ends its connections.
    pub fn on_end(&mut self, conn: &ConnKey, how: ConnectionEnd, at: Ns, sink: &mut dyn EventSink) {
        let Some(connection) = self.open.get_mut(conn) else { return };
        connection.ended.get_or_insert((how, at));
        // A request on a connection that was idle for long is answered by a reset: the peer had closed it.
        if how == ConnectionEnd::PeerRst && connection.suspect.take().is_some() {
            emit(connection, ConnectionEvent::Stale, sink);
        }
    }

    /// The process is gone, and its connections with it.
    pub fn on_exit(&mut self, tgid: u32, at: Ns, sink: &mut dyn EventSink) {
        let conns: Vec<ConnKey> = self.open.keys().filter(|conn| conn.tgid == tgid).copied().collect();
        for conn in conns {
            self.on_gone(&conn, ConnectionEnd::Exit, at, None, sink);
        }
    }

    /// Nothing more comes of the connection. `how` it ended counts only if no end was seen before.
    pub fn on_gone(
        &mut self,
        conn: &ConnKey,
        how: ConnectionEnd,
        at: Ns,
        path: Option<&NetworkPath>,
        sink: &mut dyn EventSink,
    ) {
        let Some(mut connection) = self.open.remove(conn) else { return };
        let (how, at) = connection.ended.unwrap_or((how, at));
        if let Some(path) = path {
            emit_trouble(&mut connection, path, at, sink);
        }
        emit(&connection, ConnectionEvent::Ended { how, age: connection.age_seconds(at) }, sink);
    }
}

fn new_connection(entry: &Entry, birth: ConnectionBirth) -> ModelConnection {
    ModelConnection {
        conn: entry.conn,
        sock: birth.sock,
        identity: entry.identity.clone(),
        labels: Arc::clone(&entry.labels),
        provider: entry.provider,
        server_address: Some(entry.host()).filter(|host| !host.is_empty()).map(str::to_owned),
        protocol: entry.protocol,
        remote: entry.remote,
        opened: birth.at.min(entry.started),
        older: birth.older,
        shape: entry.shape,
        streams: 0,
        open: 0,
        most: 0,
        used: entry.started,
        suspect: None,
        ended: None,
        emitted: ReportedState::default(),
    }
}

/// Emits what the path did since the last such event.
fn emit_trouble(connection: &mut ModelConnection, path: &NetworkPath, at: Ns, sink: &mut dyn EventSink) {
    let now = ReportedState {
        local: path.retransmissions(),
        peer: path.again + path.holes,
        closed_ns: path.zero_window_ns(at),
    };
    let local = u64::from(now.local.saturating_sub(connection.emitted.local));
    let peer = now.peer.saturating_sub(connection.emitted.peer);
    let closed = now.closed_ns.saturating_sub(connection.emitted.closed_ns);
    connection.emitted = now;
    if local + peer + closed > 0 {
        emit(connection, ConnectionEvent::Trouble { local, peer, no_room: closed as f64 / 1e9 }, sink);
    }
}
