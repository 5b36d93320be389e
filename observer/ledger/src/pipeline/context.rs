//! What a session is lent while something happens to its connection: made here, and nowhere else.

use std::net::SocketAddr;
use std::sync::Arc;

use super::PipelineCounters;
use crate::{CallLimits, CallTable, ConnectionBirth, EventSink, MessageTap, ModelConnections};
use capture::conn::{NetworkPath, TrackedConn};
use capture::identity::ProcessIdentity;
use capture::limits;
use capture::proto::Salt;
use capture::record::{ConnKey, SockOpen, SocketCookie, SocketOrigin};
use dialects::DeclaredRoute;
use observer_common::record::Verdict;

/// What the operator may set.
#[derive(Clone, Debug)]
pub struct PipelineSettings {
    /// Paths and hosts declared to speak a dialect.
    pub extras: Vec<DeclaredRoute>,
    /// Key of the hashes of credentials.
    pub salt: Salt,
    /// The ledger's.
    pub ledger: CallLimits,
    /// Connections followed at once.
    pub conns: usize,
}

impl Default for PipelineSettings {
    fn default() -> Self {
        PipelineSettings {
            extras: Vec::new(),
            salt: Salt::random(),
            ledger: CallLimits::default(),
            conns: limits::CONNS,
        }
    }
}

/// What a session needs of the pipeline.
pub(super) struct SessionContext<'a> {
    pub(super) key: ConnKey,
    pub(super) identity: &'a Arc<ProcessIdentity>,
    pub(super) settings: &'a PipelineSettings,
    pub(super) call_table: &'a mut CallTable,
    pub(super) events: &'a mut dyn EventSink,
    /// Who is shown the messages of claimed calls.
    pub(super) tap: &'a mut dyn MessageTap,
    pub(super) verdicts: &'a mut Vec<(ConnKey, Verdict)>,
    pub(super) counters: &'a mut PipelineCounters,
    /// What the network did to its bytes, where the socket is known.
    pub(super) path: Option<&'a NetworkPath>,
    /// The peer's address, if known: the session's to set.
    pub(super) remote: Option<SocketAddr>,
    /// Where and when the connection began.
    pub(super) birth: ConnectionBirth,
    pub(super) connections: &'a mut ModelConnections,
}

/// The part of it that is the same for all sessions.
pub(super) struct SharedContext<'a> {
    pub(super) settings: &'a PipelineSettings,
    pub(super) call_table: &'a mut CallTable,
    pub(super) events: &'a mut dyn EventSink,
    /// Who is shown the messages of claimed calls.
    pub(super) tap: &'a mut dyn MessageTap,
    pub(super) verdicts: &'a mut Vec<(ConnKey, Verdict)>,
    pub(super) counters: &'a mut PipelineCounters,
    pub(super) connections: &'a mut ModelConnections,
}

impl<'a> SharedContext<'a> {
    /// The context of the session of one connection. Its socket may be known (`sock`) and followed no longer.
    pub(super) fn context<S>(
        self,
        conn: &TrackedConn<S>,
        identity: &'a Arc<ProcessIdentity>,
        sock: Option<SocketCookie>,
        socket: Option<(&SockOpen, &'a NetworkPath)>,
    ) -> SessionContext<'a> {
        let SharedContext { settings, call_table, events, tap, verdicts, counters, connections } = self;
        let birth = match socket {
            Some((open, _)) => {
                ConnectionBirth { sock: Some(open.sock), at: open.at, older: open.attach == SocketOrigin::Mid }
            }
            None => ConnectionBirth { sock, at: conn.since, older: !conn.born },
        };
        SessionContext {
            key: conn.key,
            identity,
            settings,
            call_table,
            events,
            tap,
            verdicts,
            counters,
            path: socket.map(|(_, path)| path),
            remote: None,
            birth,
            connections,
        }
    }
}
