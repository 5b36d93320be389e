//! The serialisable form of a connection: what `inspect connections -o json` shows. What is not known is `null`.

use serde::{Deserialize, Serialize};

use super::view::{K8sView, RemoteView};
use capture::conn::tls::{ReadAligner, TlsHandshakeFacts};
use capture::conn::{SocketContent, SocketTable, TrackedSocket};
use capture::record::{PairingConfidence, PairingMethod, SocketCookie, SocketOrigin};
use capture::units::Ns;
use edge::clock::WallClock;
use ledger::ModelConnection;

/// One open connection that has carried a model call.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ConnectionView {
    pub id: String,
    pub service: String,
    pub pid: u32,
    pub uid: Option<u32>,
    pub comm: String,
    pub k8s: K8sView,
    pub provider: String,
    pub server_address: Option<String>,
    /// The name in the ClientHello.
    pub sni: Option<String>,
    pub remote: RemoteView,
    pub local: RemoteView,
    pub protocol: String,
    /// `tls` or `plain`.
    pub carries: String,
    pub visibility: String,
    /// `born`: followed from its first byte; `mid`: it was open before; `null`: its socket is not known.
    pub attach: Option<String>,
    pub opened: Option<String>,
    pub age_seconds: Option<f64>,
    /// Since a call last used it; `null` while one does.
    pub idle_seconds: Option<f64>,
    pub streams_open: u32,
    /// At once, at most.
    pub streams_most: u32,
    pub streams: u64,
    /// From connect() to the peer's consent.
    pub connect_seconds: Option<f64>,
    /// From the ClientHello to the end of the client's handshake.
    pub handshake_seconds: Option<f64>,
    pub rtt_seconds: Option<f64>,
    pub rtt_least_seconds: Option<f64>,
    pub retransmits: RetransmitsView,
    /// How often, and for how many seconds in all, this side left its peer no room to send.
    pub zero_windows: Option<u64>,
    pub zero_window_seconds: Option<f64>,
    /// How the socket below the TLS object was found; `null` without one, and for plain text, which is its socket.
    pub joined: Option<PairingView>,
}

/// Segments sent again.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct RetransmitsView {
    pub local: Option<u64>,
    /// As far as it shows here: segments that came twice, and holes filled later.
    pub peer: Option<u64>,
    /// Packets of the peer that never came, where it numbers them (IPv4).
    pub missed: Option<u64>,
}

/// How socket and TLS object were joined, and how well reads match records since.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PairingView {
    /// `inside`: a record of the right length left during the write; `nearest`: after it.
    pub method: String,
    /// `high`: nothing else fitted; `low`.
    pub confidence: String,
    /// Reads that ended exactly with a TLS record.
    pub reads_matched: u64,
    /// Reads that fitted none, or contradicted what was believed.
    pub reads_unmatched: u64,
    /// Since when (seconds) a record has been waiting for the application to read it.
    pub unread_seconds: Option<f64>,
}

impl ConnectionView {
    /// The view of a connection at `now`.
    #[must_use]
    pub fn new(link: &ModelConnection, sockets: &SocketTable, now: Ns, wall: &WallClock) -> ConnectionView {
        let socket = link.sock.and_then(|sock| sockets.get(sock));
        let tls = socket.and_then(|socket| socket.tls.as_deref()).map(|outside| outside.tls.facts());
        let path = socket.map(|socket| &socket.path);
        let plain = SocketCookie::of(&link.conn).is_some() && !link.shape;
        let micros = |us: Option<u32>| us.map(|us| f64::from(us) / 1e6);
        ConnectionView {
            id: link.id(),
            service: link.identity.service.clone(),
            pid: link.identity.pid,
            uid: link.identity.uid,
            comm: link.identity.comm.clone(),
            k8s: K8sView::new(&link.identity.k8s),
            provider: link.provider.to_owned(),
            server_address: link.server_address.clone(),
            sni: tls.and_then(TlsHandshakeFacts::sni).map(str::to_owned),
            remote: RemoteView::new(socket.map(|socket| socket.open.peer).or(link.remote)),
            local: RemoteView::new(socket.and_then(|socket| socket.open.local)),
            protocol: link.protocol.to_owned(),
            carries: if plain { "plain" } else { "tls" }.to_owned(),
            visibility: if link.shape { "shape" } else { "plaintext" }.to_owned(),
            attach: socket.map(|socket| attach(socket).to_owned()),
            opened: (!link.older).then(|| wall.rfc3339(link.opened)),
            age_seconds: link.age_seconds(now),
            idle_seconds: link.idle_seconds(now),
            streams_open: link.open,
            streams_most: link.most,
            streams: link.streams,
            connect_seconds: socket.and_then(connect_seconds),
            handshake_seconds: tls.and_then(TlsHandshakeFacts::handshake_seconds),
            rtt_seconds: path.and_then(|path| micros(path.srtt_us)),
            rtt_least_seconds: path.and_then(|path| micros(path.least_us)),
            retransmits: RetransmitsView {
                local: path.map(|path| path.retransmissions().into()),
                peer: path.map(|path| path.again + path.holes),
                missed: path.map(|path| path.missed),
            },
            zero_windows: path.map(|path| path.closed_window),
            zero_window_seconds: path.map(|path| path.zero_window_ns(now) as f64 / 1e9),
            joined: socket
                .filter(|socket| socket.carries == SocketContent::Tls)
                .and_then(|socket| PairingView::new(socket, now)),
        }
    }
}

impl PairingView {
    fn new(socket: &TrackedSocket, now: Ns) -> Option<PairingView> {
        let joined = socket.paired?;
        let align = socket.tls.as_ref().map(|outside| &outside.align);
        let account = align.map(ReadAligner::account).unwrap_or_default();
        Some(PairingView {
            method: match joined.method {
                PairingMethod::Inside => "inside",
                PairingMethod::Nearest => "nearest",
            }
            .to_owned(),
            confidence: match joined.confidence {
                PairingConfidence::High => "high",
                PairingConfidence::Low => "low",
            }
            .to_owned(),
            reads_matched: account.hits,
            reads_unmatched: account.misses,
            unread_seconds: align.and_then(ReadAligner::unread_since).map(|since| now.seconds_since(since)),
        })
    }
}

fn attach(socket: &TrackedSocket) -> &'static str {
    match socket.open.attach {
        SocketOrigin::Born => "born",
        SocketOrigin::Mid => "mid",
    }
}

fn connect_seconds(socket: &TrackedSocket) -> Option<f64> {
    (socket.open.attach == SocketOrigin::Born).then_some(())?;
    Some(socket.open.at.seconds_since(socket.open.connect_at?))
}
