//! Waiting for a request, or for the answer to one that was not seen.

use super::{ConnSession, Stage};
use crate::pipeline::context::SessionContext;
use capture::conn::Chunk;
use capture::limits;
use capture::proto::{self, ProtocolParser, ProtocolRow, SniffVerdict, recognise};
use capture::units::{Direction, Moment};
use observer_common::record::Verdict;

/// Waiting for a request to begin.
pub(super) struct RequestWait {
    /// The next byte written is the connection's first. Otherwise a request is looked for at the
    /// beginning of each call.
    from_start: bool,
    /// Written bytes that do not tell yet.
    pub(super) head: Vec<u8>,
    /// The call the last written bytes came from.
    call: u64,
    /// Calls that began with something else.
    misses: u32,
    /// Bytes read meanwhile.
    read: u64,
    /// Bytes are missing before the first request that was seen: what is read may be the answer to one that was not.
    pub(super) running: bool,
}

impl RequestWait {
    pub(super) fn new(from_start: bool) -> Self {
        RequestWait { from_start, head: Vec::new(), call: 0, misses: 0, read: 0, running: false }
    }

    /// A request may begin at bytes of this call.
    fn may_begin(&mut self, call: u64) -> bool {
        let new_call = std::mem::replace(&mut self.call, call) != call;
        new_call || !self.head.is_empty()
    }

    /// Bytes are missing: we are in the middle.
    pub(super) fn gap(&mut self) {
        self.running |= self.from_start;
        self.from_start = false;
        self.head = Vec::new();
    }
}

impl ConnSession {
    pub(super) fn sniff_written(&mut self, bytes: &[u8], at: Moment, env: &mut SessionContext<'_>) {
        let Stage::AwaitingRequest(wait) = &mut self.stage else { return };
        if !wait.may_begin(at.call) {
            return;
        }
        let mut head = std::mem::take(&mut wait.head);
        let bytes = if head.is_empty() {
            bytes
        } else {
            head.extend_from_slice(bytes);
            &head
        };
        match recognise(Direction::Write, bytes) {
            (SniffVerdict::Yes, Some(row)) => self.start(row, Direction::Write, bytes, at, env),
            (SniffVerdict::NeedMore, _) if bytes.len() <= limits::SNIFF => wait.head = bytes.to_vec(),
            (SniffVerdict::ServerSide, _) => self.ignore(env),
            _ => self.miss(env),
        }
    }

    /// On a connection seen from its start, the client speaks first, unless the protocol says
    /// otherwise: a server that does is none of ours, and a request read means that the application
    /// is the server.
    pub(super) fn sniff_read(&mut self, bytes: &[u8], at: Moment, env: &mut SessionContext<'_>) {
        let Stage::AwaitingRequest(wait) = &mut self.stage else { return };
        wait.read = wait.read.saturating_add(bytes.len() as u64);
        let from_start = wait.from_start && wait.head.is_empty();
        if wait.running
            && let Some(row) = dialects::find_mid_stream(bytes)
            && let Some(parser) = proto::parse_mid_stream(&env.settings.salt, bytes)
        {
            return self.begin_mid_stream(row, parser, bytes, at, env);
        }
        let Stage::AwaitingRequest(wait) = &mut self.stage else { return };
        let enough = wait.read > limits::MID_STREAM_READ;
        match recognise(Direction::Read, bytes) {
            (SniffVerdict::ServerSide, _) => self.ignore(env),
            (SniffVerdict::Yes, Some(row)) if from_start && row.whole => {
                self.start(row, Direction::Read, bytes, at, env);
            }
            (SniffVerdict::No, _) if from_start => self.ignore(env),
            _ if enough && self.verdict != Verdict::Track => {
                wait.read = 0;
                self.decide(Verdict::Heads, env);
            }
            _ => {}
        }
    }

    /// An answer was running when the observer came to the connection: it is shown from here on.
    fn begin_mid_stream(
        &mut self,
        row: &'static dialects::DialectRow,
        parser: Box<dyn ProtocolParser>,
        bytes: &[u8],
        at: Moment,
        env: &mut SessionContext<'_>,
    ) {
        self.whole = false;
        self.spoken = 0;
        self.mid_stream_row = Some(row);
        self.stage = Stage::Parsing(parser);
        self.parse(Direction::Read, Chunk::Data(bytes), at, env);
    }

    /// Something else than a request began.
    fn miss(&mut self, env: &mut SessionContext<'_>) {
        let Stage::AwaitingRequest(wait) = &mut self.stage else { return };
        wait.misses += 1;
        let never = wait.from_start || wait.misses >= limits::MID_STREAM_WRITES;
        if never && self.verdict != Verdict::Track {
            self.ignore(env);
        } else if self.verdict == Verdict::Heads {
            self.decide(Verdict::Heads, env);
        }
    }

    fn start(
        &mut self,
        row: &ProtocolRow,
        direction: Direction,
        bytes: &[u8],
        at: Moment,
        env: &mut SessionContext<'_>,
    ) {
        let from_start = matches!(&self.stage, Stage::AwaitingRequest(wait) if wait.from_start);
        self.jump = self.verdict == Verdict::Heads;
        self.unsure = !from_start;
        self.whole = row.whole;
        self.spoken = 0;
        if row.whole && self.verdict == Verdict::Heads {
            self.decide(Verdict::Unknown, env);
        }
        self.stage = Stage::Parsing((row.make)(&env.settings.salt));
        self.parse(direction, Chunk::Data(bytes), at, env);
    }
}
