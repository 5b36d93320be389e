//! What the pipeline counts of itself.

use capture::conn::OrderRepairs;

/// What went through, since start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PipelineCounters {
    /// Records of each kind.
    pub processes: u64,
    pub opens: u64,
    pub reads: u64,
    pub writes: u64,
    pub remotes: u64,
    pub shutdowns: u64,
    pub read_ends: u64,
    pub closes: u64,
    pub exits: u64,
    pub joins: u64,
    pub sock_opens: u64,
    pub segments: u64,
    pub sock_infos: u64,
    pub sock_closes: u64,
    pub audits: u64,
    pub programs: u64,
    /// Records of a connection that was already succeeded by another at its address.
    pub stale: u64,
    /// Bytes that came twice.
    pub duplicate_bytes: u64,
    /// Records that waited for their predecessor.
    pub reordered: u64,
    /// Connections dropped because the table was full.
    pub evicted: u64,
    /// Sockets dropped because the table was full.
    pub sockets_evicted: u64,
    /// Calls whose shape alone was seen, of processes whose plaintext is: not shown, since they may be shown already.
    pub shapes_withheld: u64,
    /// Segments of a socket that is not followed (any more).
    pub stray_segments: u64,
    /// Connections found to carry LLM traffic.
    pub tracked: u64,
    /// Connections found to carry none.
    pub ignored: u64,
}

impl PipelineCounters {
    /// Records by kind: the label values of `llm_observer_events_total`.
    #[must_use]
    pub fn kinds(&self) -> [(&'static str, u64); 16] {
        [
            ("process", self.processes),
            ("open", self.opens),
            ("read", self.reads),
            ("write", self.writes),
            ("remote", self.remotes),
            ("shutdown", self.shutdowns),
            ("read_end", self.read_ends),
            ("close", self.closes),
            ("exit", self.exits),
            ("joined", self.joins),
            ("socket_open", self.sock_opens),
            ("segment", self.segments),
            ("socket_info", self.sock_infos),
            ("socket_close", self.sock_closes),
            ("audit", self.audits),
            ("program", self.programs),
        ]
    }

    pub(super) fn repaired(&mut self, repairs: OrderRepairs) {
        self.duplicate_bytes += repairs.duplicate_bytes;
        self.reordered += repairs.reordered;
    }
}
