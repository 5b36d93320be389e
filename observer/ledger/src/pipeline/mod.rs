//! The only place where the stages meet: records in; the ledger, its sinks and verdicts for the kernel out.
//!
//! ```text
//! Record → ConnTable, TlsReassembler (conn) → ConnSession: ProtocolParser (proto)
//!        → MessageRouter: Dialect (dialect) → CallTable (ledger) → EventSink
//! `conns`, `wire`: up to the session, with a Verdict for the kernel; `router`, `turns`, `entries`: from there
//! ```
//! One thread drives it: `record` for each record, `tick` a few times a second, `verdicts` after either.
#![deny(clippy::disallowed_methods, reason = "pure stage: time is an argument, no files")]

mod calls;
mod conns;
mod context;
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

use crate::{CallTable, EventSink, HostEvent, MessageTap, ModelConnections};
use capture::conn::{ConnTable, SocketTable, TrackedSocket};
use capture::limits;
use capture::proto::ConnClosing;
use capture::record::{ConnKey, Record, SocketCookie};
use capture::units::Ns;

use conns::settle;
pub use context::PipelineSettings;
pub use counters::PipelineCounters;
pub use observer_common::record::Verdict;
use session::ConnSession;
use shape::ShapedCalls;

/// The pipeline. Bounded by `limits`: a reached cap is counted, never an error.
/// `S` is told what happens; `T` is shown the messages of model calls, payload included: nobody, unless said otherwise.
pub struct Pipeline<S, T = ()> {
    settings: PipelineSettings,
    conns: ConnTable<ConnSession>,
    sockets: SocketTable,
    /// Calls of which only the shape is seen.
    shapes: HashMap<SocketCookie, ShapedCalls, RandomState>,
    /// Sockets on which segments wait for their predecessors.
    unsettled: HashSet<SocketCookie, RandomState>,
    /// Connections that carry model calls.
    connections: ModelConnections,
    call_table: CallTable,
    sink: S,
    tap: T,
    verdicts: Vec<(ConnKey, Verdict)>,
    counters: PipelineCounters,
    /// Connections for which something happens by the mere passing of time.
    waiting: HashSet<ConnKey, RandomState>,
    /// The latest stamp seen.
    now: Ns,
}

impl<S: EventSink> Pipeline<S> {
    /// An empty pipeline.
    #[must_use]
    pub fn new(settings: PipelineSettings, sink: S) -> Self {
        Pipeline::with_tap(settings, sink, ())
    }
}

impl<S: EventSink, T: MessageTap> Pipeline<S, T> {
    /// An empty pipeline that shows the messages of model calls to `tap`.
    #[must_use]
    pub fn with_tap(settings: PipelineSettings, sink: S, tap: T) -> Self {
        Pipeline {
            conns: ConnTable::new(settings.conns),
            sockets: SocketTable::new(limits::SOCKETS),
            shapes: HashMap::default(),
            unsettled: HashSet::default(),
            connections: ModelConnections::default(),
            call_table: CallTable::new(settings.ledger),
            settings,
            sink,
            tap,
            verdicts: Vec::new(),
            counters: PipelineCounters::default(),
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
                    self.end(conn, ConnClosing::ProcessExit, self.now, [None; 2]);
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
            Record::Paired(paired) => {
                self.counters.joins += 1;
                self.on_paired(paired);
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
                self.sink.on_host_event(&HostEvent::Acted { tgid: *tgid, peer: None, at: *at });
            }
            Record::Shutdown { conn, at } => {
                self.counters.shutdowns += 1;
                self.closing(conn, ConnClosing::Local, *at);
            }
            Record::ReadEnd { conn, at, clean } => {
                self.counters.read_ends += 1;
                self.closing(conn, if *clean { ConnClosing::Peer } else { ConnClosing::Reset }, *at);
            }
            Record::Close { conn, at, read_pos, write_pos } => {
                self.counters.closes += 1;
                self.now = self.now.max(*at);
                if let Some(conn) = self.conns.remove(conn) {
                    self.end(conn, ConnClosing::Local, *at, [Some(*read_pos), Some(*write_pos)]);
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
                    self.end(conn, ConnClosing::ProcessExit, *at, [None; 2]);
                }
                self.shapes_exit(*tgid, *at);
                self.connections.on_exit(*tgid, *at, &mut self.sink);
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
        self.call_table.tick(now, &mut self.sink);
        self.sink.on_tick(now);
    }

    /// The verdicts since the last call, for the kernel's filter. For one connection the last one counts.
    pub fn verdicts(&mut self) -> impl Iterator<Item = (ConnKey, Verdict)> {
        self.verdicts.drain(..)
    }

    /// Connections that carry model calls.
    #[must_use]
    pub fn connections(&self) -> &ModelConnections {
        &self.connections
    }

    /// Followed sockets.
    #[must_use]
    pub fn sockets(&self) -> &SocketTable {
        &self.sockets
    }

    /// The ledger.
    #[must_use]
    pub fn call_table(&self) -> &CallTable {
        &self.call_table
    }

    /// Who is told what happens.
    #[must_use]
    pub fn sink(&self) -> &S {
        &self.sink
    }

    /// Who is told what happens, to change it.
    pub fn sink_mut(&mut self) -> &mut S {
        &mut self.sink
    }

    /// Who is shown messages.
    #[must_use]
    pub fn tap(&self) -> &T {
        &self.tap
    }

    /// Who is shown messages, to change it.
    pub fn tap_mut(&mut self) -> &mut T {
        &mut self.tap
    }

    /// Sink and tap, when all is over.
    #[must_use]
    pub fn into_parts(self) -> (S, T) {
        (self.sink, self.tap)
    }

    /// Lets the sink look at all there is.
    pub fn show<R>(&mut self, look: impl FnOnce(&CallTable, &ModelConnections, &SocketTable, &mut S) -> R) -> R {
        look(&self.call_table, &self.connections, &self.sockets, &mut self.sink)
    }

    /// What went through.
    #[must_use]
    pub fn counters(&self) -> PipelineCounters {
        self.counters
    }

    /// The latest stamp seen: "now" of a replay.
    #[must_use]
    pub fn now(&self) -> Ns {
        self.now
    }

    /// Connections in the table, those not tracked included.
    #[must_use]
    pub fn connection_count(&self) -> usize {
        self.conns.len()
    }

    /// Bytes held in buffers of all connections now; 0 for one that carries no LLM traffic.
    #[must_use]
    pub fn held(&self) -> usize {
        let conns: usize = self.conns.iter().map(|conn| conn.read.held() + conn.write.held() + conn.state.held()).sum();
        conns + self.sockets.iter().map(TrackedSocket::held).sum::<usize>()
    }
}
