//! Sockets: segments in TCP order; plain text goes the way of any connection, TLS is looked at from outside.

use super::Pipeline;
use super::context::SessionContext;
use super::session::ConnSession;
use crate::{ConnectionEnd, EventSink, HostEvent, MessageTap};
use capture::conn::{Chunk, NetworkPath, SocketContent, TrackedConn, TrackedSocket, tunnel};
use capture::limits;
use capture::proto::{ConnClosing, SniffVerdict, recognise};
use capture::record::{SockInfo, SockOpen, SocketCookie, SocketOrigin, TcpSegment, TlsSocketPairing};
use capture::units::{Direction, Moment, Ns};

/// The note of a call whose provider is behind a proxy: `remote` is the proxy's, and what the
/// network did behind it nobody here sees.
pub(super) const BEHIND_PROXY: &str = "through_a_proxy";

impl<S: EventSink, T: MessageTap> Pipeline<S, T> {
    /// A socket is followed from here on.
    pub(super) fn sock_open(&mut self, open: SockOpen) {
        self.now = self.now.max(open.at);
        if open.attach == SocketOrigin::Born {
            self.sink.on_host_event(&HostEvent::Acted { tgid: Some(open.tgid), peer: Some(open.peer), at: open.at });
        }
        if let Some(evicted) = self.sockets.open(open) {
            self.counters.sockets_evicted += 1;
            self.sock_over(evicted, ConnClosing::Abandoned, open.at);
        }
    }

    /// A segment of a followed socket.
    pub(super) fn segment(&mut self, segment: &TcpSegment<'_>) {
        self.now = self.now.max(segment.at);
        let Some(mut socket) = self.sockets.lend(segment.sock, segment.at) else {
            self.counters.stray_segments += 1;
            return;
        };
        let direction = segment.direction;
        socket.observe_segment(segment);
        let seen = on_way(self, &mut socket, direction, |tcp, out| tcp.push(segment, out));
        if let Some(ack) = segment.ack.filter(|_| !seen.strange) {
            self.acknowledged(&mut socket, direction, ack, segment.at);
        }
        self.counters.duplicate_bytes += u64::from(seen.again);
        self.counters.reordered += u64::from(seen.waits);
        if socket.direction_mut(direction).unsettled() {
            self.unsettled.insert(segment.sock);
        }
        self.connection(&socket, segment);
        if let Some((how, end)) = ending(&socket, segment, seen.reset) {
            self.closing(&socket.open.conn(), how, segment.at);
            self.connections.on_end(&socket.conn(), end, segment.at, &mut self.sink);
            self.shape_closes(segment.sock, end, segment.at);
        }
        self.sockets.return_lent(socket);
    }

    /// A side has received the other's bytes up to here: a hole before it is ours.
    fn acknowledged(&mut self, socket: &mut TrackedSocket, by: Direction, ack: u32, at: Ns) {
        let other = if by == Direction::Read { Direction::Write } else { Direction::Read };
        if socket.direction_mut(other).wants_acknowledgement() {
            on_way(self, socket, other, |tcp, out| tcp.acknowledged(ack, at, out));
        }
    }

    /// Holes that nothing filled for long.
    pub(super) fn settle_sockets(&mut self, now: Ns) {
        for sock in std::mem::take(&mut self.unsettled) {
            let Some(mut socket) = self.sockets.lend(sock, now) else { continue };
            for direction in [Direction::Write, Direction::Read] {
                on_way(self, &mut socket, direction, |tcp, out| tcp.settle(now, out));
                if socket.direction_mut(direction).unsettled() {
                    self.unsettled.insert(sock);
                }
            }
            self.sockets.return_lent(socket);
        }
    }

    /// A socket is gone.
    pub(super) fn sock_close(&mut self, sock: SocketCookie, at: Ns) {
        self.now = self.now.max(at);
        if let Some(socket) = self.sockets.remove(sock) {
            self.sock_over(socket, ConnClosing::Local, at);
        }
    }

    fn sock_over(&mut self, mut socket: Box<TrackedSocket>, how: ConnClosing, at: Ns) {
        for direction in [Direction::Write, Direction::Read] {
            on_way(self, &mut socket, direction, |tcp, out| tcp.finish(at, out));
        }
        if let Some(conn) = self.conns.remove(&socket.open.conn()) {
            self.end(conn, how, at, [None; 2]);
        }
        if let Some(outside) = &socket.tls {
            self.settle_shape(&socket.open, &socket.path, outside.tls.facts(), at, true);
        }
        self.connections.on_gone(&socket.conn(), ConnectionEnd::Lost, at, Some(&socket.path), &mut self.sink);
    }

    /// What TCP knows of a socket.
    pub(super) fn sock_info(&mut self, info: &SockInfo) {
        let Some(socket) = self.sockets.get_mut(info.sock) else { return };
        let before = socket.path.retransmissions();
        socket.update_tcp_info(info);
        if socket.path.retransmissions() > before {
            self.connections.on_retransmit(&socket.conn(), &socket.path, &mut self.sink);
        }
    }

    /// What a segment says of its connection's health.
    fn connection(&mut self, socket: &TrackedSocket, segment: &TcpSegment<'_>) {
        match segment.direction {
            Direction::Read if segment.len > 1 => self.connections.on_answer(&socket.conn()),
            Direction::Write if segment.len > 0 => {
                self.connections.on_retransmit(&socket.conn(), &socket.path, &mut self.sink);
            }
            _ => {}
        }
    }

    /// The socket of a TLS object was found.
    pub(super) fn on_paired(&mut self, paired: &TlsSocketPairing) {
        if let Some(socket) = self.sockets.get_mut(paired.sock) {
            socket.paired = Some(*paired);
        }
        self.shape_forget(paired.sock, self.now);
        self.with(&paired.conn, |conn, env| conn.state.on_paired(paired, env));
        // Only now is its birth that of the socket, and its path known.
        self.with(&paired.conn, |_, env| {
            env.connections.on_paired(&env.key, env.birth, paired.peer);
            if env.path.is_some_and(|path| path.proxied) {
                env.call_table.add_note(&env.key, BEHIND_PROXY);
            }
        });
    }

    /// Plain text is a connection like any other, and its arrival is all that is known of its reading.
    /// True once after reads were left out on purpose.
    fn plain(
        &mut self,
        open: &SockOpen,
        path: &NetworkPath,
        direction: Direction,
        chunk: Chunk<'_>,
        at: Moment,
    ) -> bool {
        let key = open.conn();
        let mut jump = false;
        let mut read = |conn: &mut TrackedConn<ConnSession>, env: &mut SessionContext<'_>| {
            if conn.state.wants_bytes() {
                conn.state.chunk(direction, chunk, at, env);
                jump = conn.state.take_jump();
            }
        };
        let below = Some((open, path));
        if !self.with_socket(&key, below, &mut read) && self.admit(key, open.attach == SocketOrigin::Born, at.at) {
            self.with_socket(&key, below, |conn, env| {
                conn.state.remote(open.peer, env);
                read(conn, env);
            });
        }
        jump
    }
}

/// Lets one direction of a lent socket speak to what lies above it.
fn on_way<S: EventSink, T: MessageTap, R>(
    pipeline: &mut Pipeline<S, T>,
    socket: &mut TrackedSocket,
    direction: Direction,
    act: impl FnOnce(&mut capture::conn::tcp::TcpReassembler, &mut dyn FnMut(Chunk<'_>, Moment)) -> R,
) -> R {
    let TrackedSocket { open, carries, read, write, sniffed, path, tls, paired, .. } = socket;
    let mut jump = false;
    let tcp = match direction {
        Direction::Read => &mut *read,
        Direction::Write => write,
    };
    let done = act(tcp, &mut |chunk, at| {
        match *carries {
            SocketContent::Unknown => *carries = guess(open, direction, chunk, sniffed),
            SocketContent::Tunnel => *carries = through(direction, chunk, sniffed),
            SocketContent::Tls | SocketContent::Plain => {}
        }
        path.proxied |= *carries == SocketContent::Tunnel;
        match carries {
            SocketContent::Plain => jump |= pipeline.plain(open, path, direction, chunk, at),
            SocketContent::Tls => {
                let outside = tls.get_or_insert_default();
                let seen = outside.push(direction, chunk, at);
                if paired.is_none() {
                    seen.into_iter().for_each(|seen| pipeline.shape(open, path, outside.tls.facts(), seen));
                }
            }
            // Of a tunnel, nothing is the provider's before the client has spoken through it.
            SocketContent::Unknown | SocketContent::Tunnel => {}
        }
    });
    if jump {
        read.lose_place();
    }
    done
}

/// What a socket carries, by its first bytes: no text begins with the type of a TLS record. In the
/// middle, a piece may begin anywhere: only a request tells that it is plain text, or many pieces
/// that tell nothing.
fn guess(open: &SockOpen, direction: Direction, chunk: Chunk<'_>, sniffed: &mut u32) -> SocketContent {
    let Chunk::Data(bytes) = chunk else { return SocketContent::Unknown };
    *sniffed += 1;
    if tls_head(bytes) {
        SocketContent::Tls
    } else if direction == Direction::Write && tunnel::begins(bytes) {
        *sniffed = 0;
        SocketContent::Tunnel
    } else if open.attach == SocketOrigin::Born
        || *sniffed > limits::SOCKET_SNIFFS
        || direction == Direction::Write
            && matches!(recognise(direction, bytes).0, SniffVerdict::Yes | SniffVerdict::NeedMore)
    {
        SocketContent::Plain
    } else {
        SocketContent::Unknown
    }
}

/// What the tunnel carries, once the client speaks through it: until then it speaks to the proxy.
fn through(direction: Direction, chunk: Chunk<'_>, sniffed: &mut u32) -> SocketContent {
    let (Chunk::Data(bytes), Direction::Write) = (chunk, direction) else { return SocketContent::Tunnel };
    *sniffed += 1;
    if tls_head(bytes) {
        SocketContent::Tls
    } else if tunnel::begins(bytes) {
        // Once more, with a password.
        SocketContent::Tunnel
    } else if recognise(direction, bytes).0 == SniffVerdict::Yes || *sniffed > limits::TUNNEL_PIECES {
        SocketContent::Plain
    } else {
        SocketContent::Tunnel
    }
}

/// Content type and version of a TLS record.
fn tls_head(bytes: &[u8]) -> bool {
    matches!(bytes, [20..=23] | [20..=23, 3, ..])
}

/// Who ends the connection by this segment.
fn ending(socket: &TrackedSocket, segment: &TcpSegment<'_>, reset: bool) -> Option<(ConnClosing, ConnectionEnd)> {
    match segment.direction {
        Direction::Read if segment.rst => reset.then_some((ConnClosing::Reset, ConnectionEnd::PeerRst)),
        Direction::Write if segment.rst => Some((ConnClosing::Local, ConnectionEnd::LocalRst)),
        // An end may come before the bytes that it follows.
        Direction::Read => {
            let ended = socket.read.ended().filter(|_| segment.fin || segment.len > 0);
            ended.map(|_| (ConnClosing::Peer, ConnectionEnd::PeerFin))
        }
        Direction::Write => segment.fin.then_some((ConnClosing::Local, ConnectionEnd::LocalFin)),
    }
}
