//! The table of calls: those open, and the last ones that ended.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::callers::CallerTable;
use super::conversation::ConversationIndex;
use super::entry::host_of;
use super::event::emit;
use super::timeline::Timeline;
use super::{
    CallEventKind, CallLabels, Entry, EventSink, MilestoneTimes, OpenCall, StreamGaps, TimelinePoint, WireCounts,
};
use capture::hash::{mix, short_name};
use capture::identity::ProcessIdentity;
use capture::limits;
use capture::proto::{ExchangeEnd, RequestHead, Salt};
use capture::record::ConnKey;
use capture::units::Ns;
use dialects::prompt::Prompt;
use dialects::{DialectRow, RequestMarks, ServerTimes, TokenUsage};

/// After the end marker, the protocol's own end is awaited this long: some clients never read the last chunk and keep
/// the connection.
const MARKER_GRACE: u64 = 1_000_000_000;

/// A call's number in this table; never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallNo(u64);

/// What the operator may set.
#[derive(Clone, Copy, Debug)]
pub struct CallLimits {
    /// Ended calls kept.
    pub ended: usize,
    /// An application that closes after this long without a byte has given up waiting (`idle_timeout`), nanoseconds;
    /// earlier it is `client_cancel`.
    pub idle_ns: u64,
}

impl Default for CallLimits {
    /// 30 s: SDKs' read time-outs are between 30 s and 10 min; people lose patience earlier.
    fn default() -> Self {
        CallLimits { ended: limits::ENDED_STREAMS, idle_ns: 30_000_000_000 }
    }
}

/// What is known when a dialect claims a request.
#[derive(Clone, Copy)]
pub struct CallOpening<'a> {
    /// The connection.
    pub conn: ConnKey,
    /// The request's ordinal on it.
    pub exchange: u64,
    /// Who asks.
    pub identity: &'a Arc<ProcessIdentity>,
    /// The peer's address, if known.
    pub remote: Option<SocketAddr>,
    /// The request head.
    pub head: &'a RequestHead,
    /// The dialect that claims it.
    pub row: &'a DialectRow,
    /// First byte of the request.
    pub at: Ns,
    /// Only its shape is seen.
    pub shape: bool,
    /// Key of the hashes of texts.
    pub salt: &'a Salt,
}

/// All calls. Bounded by `limits::OPEN_STREAMS`, `CallLimits::ended` and `limits::ENDED_POINTS`.
pub struct CallTable {
    limits: CallLimits,
    /// Boxed: a table has room to spare, and an open call is large.
    open: HashMap<CallNo, Box<OpenCall>, RandomState>,
    next: u64,
    /// Shared, so that who shows them need not copy them.
    ended: VecDeque<(Arc<Entry>, Timeline)>,
    /// Bytes of their points.
    ended_points: usize,
    /// Entries of `ended`, from the oldest on, whose timeline was given up.
    cleared: usize,
    overflow: u64,
    conversations: ConversationIndex,
    callers: CallerTable,
    /// Processes that have speech made.
    speakers: CallerTable,
}

impl CallTable {
    /// An empty table.
    #[must_use]
    pub fn new(limits: CallLimits) -> Self {
        CallTable {
            limits,
            open: HashMap::default(),
            next: 0,
            ended: VecDeque::new(),
            ended_points: 0,
            cleared: 0,
            overflow: 0,
            conversations: ConversationIndex::default(),
            callers: CallerTable::default(),
            speakers: CallerTable::default(),
        }
    }

    /// Open calls, in no particular order.
    pub fn open(&self) -> impl Iterator<Item = &Entry> {
        self.open.values().map(|stream| stream.entry())
    }

    /// Ended calls, newest first.
    pub fn ended(&self) -> impl Iterator<Item = &Entry> {
        self.ended_shared().map(AsRef::as_ref)
    }

    /// Ended calls, newest first, to be kept by who asks.
    pub fn ended_shared(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.ended.iter().rev().map(|(entry, _)| entry)
    }

    /// The call with this id, open or ended (the newest, should two share it), its timeline, and
    /// how many points came before those that are kept.
    #[must_use]
    pub fn find(&self, id: &str) -> Option<(&Entry, Vec<TimelinePoint>, u64)> {
        let open = self.open.values().map(|s| (&s.entry, &s.timeline));
        let ended = self.ended.iter().rev().map(|(entry, timeline)| (entry.as_ref(), timeline));
        let (entry, timeline) = open.chain(ended).find(|(entry, _)| entry.id == id)?;
        Some((entry, timeline.points().collect(), timeline.dropped()))
    }

    /// The process has called a model, in plain sight.
    #[must_use]
    pub fn calls_models(&self, tgid: u32) -> bool {
        self.callers.knows(tgid)
    }

    /// The process has had speech made.
    #[must_use]
    pub fn has_speech_made(&self, tgid: u32) -> bool {
        self.speakers.knows(tgid)
    }

    /// Calls not opened because `limits::OPEN_STREAMS` were open.
    #[must_use]
    pub fn overflow(&self) -> u64 {
        self.overflow
    }

    /// A dialect claimed a request. `None` when too many calls are open (counted).
    pub fn begin(&mut self, opening: &CallOpening<'_>, sink: &mut dyn EventSink) -> Option<CallNo> {
        if self.open.len() >= limits::OPEN_STREAMS {
            self.overflow += 1;
            return None;
        }
        if !opening.shape {
            self.callers.called(opening.conn.tgid);
            if opening.row.operation == "speech" {
                self.speakers.called(opening.conn.tgid);
            }
        }
        let stream = OpenCall::new(entry(opening), opening.salt);
        emit(sink, &stream.entry, CallEventKind::Opened);
        let no = CallNo(self.next);
        self.next += 1;
        self.open.insert(no, Box::new(stream));
        Some(no)
    }

    /// An open call; `None` once it has ended.
    pub fn open_call(&mut self, no: CallNo) -> Option<&mut OpenCall> {
        self.open.get_mut(&no).map(Box::as_mut)
    }

    /// What the request of an open call says.
    pub fn on_prompt(&mut self, no: CallNo, prompt: &Prompt, sink: &mut dyn EventSink) {
        if let Some(stream) = self.open.get_mut(&no) {
            stream.entry.conversation = self.conversations.of(prompt, scope(&stream.entry));
            emit(sink, &stream.entry, CallEventKind::Prompt(prompt));
        }
    }

    /// The peer of a connection became known: also for its calls that were over before.
    pub fn set_remote(&mut self, conn: &ConnKey, peer: SocketAddr) {
        self.entries_of(conn).for_each(|entry| _ = entry.remote.get_or_insert(peer));
    }

    /// Something about a connection became known: its calls are marked, also those that were over before.
    pub fn add_note(&mut self, conn: &ConnKey, name: &'static str) {
        self.entries_of(conn).for_each(|entry| entry.note(name));
    }

    /// Calls of a connection, open and ended.
    fn entries_of<'a>(&'a mut self, conn: &'a ConnKey) -> impl Iterator<Item = &'a mut Entry> {
        let open = self.open.values_mut().map(|stream| &mut stream.entry);
        let ended = self.ended.iter_mut().map(|(entry, _)| entry).filter(|entry| entry.conn == *conn);
        open.filter(|entry| entry.conn == *conn).chain(ended.map(Arc::make_mut))
    }

    /// The protocol says that the call is over. A second end is ignored.
    pub fn end(&mut self, no: CallNo, how: ExchangeEnd, at: Ns, sink: &mut dyn EventSink) {
        if let Some(mut stream) = self.open.remove(&no) {
            if let (Some(id), Some(conversation)) = (stream.response_id_hash(), stream.entry.conversation) {
                self.conversations.answered(id, scope(&stream.entry), conversation);
            }
            stream.end(how, at, self.limits.idle_ns, sink);
            self.keep(stream);
        }
    }

    /// Time passed: end the calls whose end marker came but whose protocol never ended, and those whose end was lost.
    pub fn tick(&mut self, now: Ns, sink: &mut dyn EventSink) {
        let due = |stream: &OpenCall| {
            stream.marker.is_some_and(|marker| now - marker >= MARKER_GRACE)
                || stream.silent_behind_loss().is_some_and(|since| now - since >= limits::LOST_END_NS)
        };
        let due: Vec<CallNo> = self.open.iter().filter(|(_, s)| due(s)).map(|(&no, _)| no).collect();
        for no in due {
            self.end(no, ExchangeEnd::Lost, now, sink);
        }
    }

    fn keep(&mut self, stream: Box<OpenCall>) {
        self.ended_points += stream.timeline.len();
        let OpenCall { entry, timeline, .. } = *stream;
        self.ended.push_back((Arc::new(entry), timeline));
        while self.ended.len() > self.limits.ended
            && let Some((_, timeline)) = self.ended.pop_front()
        {
            self.ended_points -= timeline.len();
            self.cleared = self.cleared.saturating_sub(1);
        }
        while self.ended_points > limits::ENDED_POINTS
            && let Some((_, timeline)) = self.ended.get_mut(self.cleared)
        {
            self.ended_points -= timeline.len();
            timeline.clear();
            self.cleared += 1;
        }
    }
}

fn entry(opening: &CallOpening<'_>) -> Entry {
    let CallOpening { conn, exchange, identity, remote, head, row, at, shape, salt: _ } = *opening;
    let asked = Box::new(RequestMarks::read(head));
    let provider = (row.provider)(head);
    let labels = CallLabels::new(provider, host_of(head.host.as_deref()), identity);
    Entry {
        id: id(&conn, exchange),
        conn,
        exchange,
        identity: identity.clone(),
        labels: Arc::new(labels),
        provider,
        api: row.api,
        operation: row.operation,
        protocol: head.protocol,
        shape,
        wire: WireCounts::default(),
        server_address: head.host.clone(),
        remote,
        credential: head.credential_hash,
        conversation: None,
        request: None,
        response_model: None,
        response_id: None,
        status: None,
        started: at,
        mid_stream: false,
        live_input: false,
        request_sent: None,
        ended: None,
        outcome: None,
        streaming: false,
        firsts: MilestoneTimes::default(),
        events: 0,
        keepalives: 0,
        reads: 0,
        chunks: 0,
        visible_chars: 0,
        visible_bytes: 0,
        visible_hash: None,
        reasoning_chars: 0,
        tool_chars: 0,
        refusal_chars: 0,
        body_bytes: 0,
        media_bytes: 0,
        usage: TokenUsage::default(),
        finish_reason: None,
        error_kind: None,
        attempt: asked.attempt,
        asked,
        answered: None,
        marks: Vec::new(),
        server_times: ServerTimes::default(),
        stalls: Vec::new(),
        gaps: StreamGaps::default(),
        arrival_gaps: StreamGaps::default(),
        head_burst_ratio: None,
        last_activity: at,
        last_read: at,
        longest_silence: 0,
        lost: Vec::new(),
        notes: if shape { vec!["shape_only_sizes_unreliable"] } else { Vec::new() },
    }
}

/// Who may share a conversation: one container or process, with one credential.
fn scope(entry: &Entry) -> u64 {
    let who = match entry.identity.container_id.as_deref() {
        Some(container) => container.bytes().fold(0, |hash, byte| mix(hash, u64::from(byte))),
        None => u64::from(entry.identity.pid),
    };
    mix(who, entry.credential.unwrap_or(0))
}

/// What a call is called: of what identifies it on this boot.
pub(super) fn id(conn: &ConnKey, exchange: u64) -> String {
    let words = [conn.handle, conn.start_ns, u64::from(conn.tgid), u64::from(conn.generation), exchange];
    short_name(words.iter().flat_map(|word| word.to_le_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_of_a_call_is_the_same_in_every_build() {
        let conn = ConnKey { handle: 1, start_ns: 2, tgid: 3, generation: 4 };
        assert_eq!(id(&conn, 5), "4fcedb1f7298");
    }
}
