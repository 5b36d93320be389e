//! A live call: turns utterances into the facts of its `Entry`.

use std::hash::{DefaultHasher, Hasher};

use super::sentence::Sentence;
use super::stalls::Stalls;
use super::timeline::{PointKind, Timeline};
use super::{Audience, Entry, Happening, Milestone, Outcome, Said, Stall, Unprinted};
use crate::conn::Path;
use crate::dialect::{DeltaKind, Mark, RequestFacts, ResponseFacts, Usage, Utterance, unknown};
use crate::limits;
use crate::proto::{End, Note, ResponseHead, Salt, body};
use crate::units::{LossCause, Moment, Ns};

/// The head burst: characters within this time of the first visible one.
const BURST_NS: u64 = 200_000_000;

/// An open call. Constant memory: however long the stream, only counters, capped lists and flags.
#[derive(Debug)]
pub struct Stream {
    pub(super) entry: Entry,
    pub(super) timeline: Timeline,
    /// When the dialect's end marker came.
    pub(super) marker: Option<Ns>,
    error_seen: bool,
    /// The body is sound, not a stream of events: it is complete when its framing is.
    media_body: bool,
    /// No byte of the response is missing so far: the first of a kind seen is the first there was.
    whole: bool,
    /// When bytes went missing since the last event: the end marker may have been among them.
    tail_lost: Option<Ns>,
    event: Option<Current>,
    read: Option<Batch>,
    sentence: Sentence<Ns>,
    /// Moment of the last chunk; `None` before the first and where bytes are missing since.
    last_chunk: Option<Moment>,
    first_visible: Option<Ns>,
    burst_chars: u64,
    stalls: Stalls,
    salt: Salt,
    /// Over the visible text so far.
    said: DefaultHasher,
}

/// The event being interpreted.
#[derive(Debug)]
struct Current {
    at: Moment,
    data_bytes: u64,
    wire_bytes: u64,
    /// Characters by `DeltaKind`.
    chars: [u64; 5],
    /// The dialect said something other than "keep-alive".
    meaningful: bool,
    keepalive: bool,
}

/// The events of one read so far.
#[derive(Clone, Copy, Debug)]
struct Batch {
    at: Moment,
    events: u32,
}

/// The order in which an event's delta kinds name its timeline point.
const KINDS: [DeltaKind; 5] =
    [DeltaKind::Visible, DeltaKind::Reasoning, DeltaKind::Tool, DeltaKind::Refusal, DeltaKind::Audio];

impl Stream {
    pub(super) fn new(entry: Entry, salt: &Salt) -> Self {
        Stream {
            timeline: Timeline::default(),
            marker: None,
            error_seen: false,
            media_body: false,
            whole: true,
            tail_lost: None,
            event: None,
            read: None,
            sentence: Sentence::default(),
            last_chunk: None,
            first_visible: None,
            burst_chars: 0,
            stalls: Stalls::default(),
            said: salt.hasher(),
            salt: salt.clone(),
            entry,
        }
    }

    /// Since when it has been silent behind bytes that are missing: its end may have been among them.
    pub(super) fn silent_behind_loss(&self) -> Option<Ns> {
        self.tail_lost.map(|lost| lost.max(self.entry.last_activity))
    }

    /// The salted hash of the response's id, as a prompt that refers to it would have it.
    pub(super) fn response_id_hash(&self) -> Option<u64> {
        self.entry.response_id.as_ref().map(|id| self.salt.hash_text(id.as_bytes()))
    }

    /// The facts so far.
    #[must_use]
    pub fn entry(&self) -> &Entry {
        &self.entry
    }

    /// The call was found in the middle of its answer: when it began, and what it asked for, was not seen.
    pub fn joined(&mut self) {
        self.entry.joined = true;
        self.entry.note("joined_in_the_middle");
    }

    /// The request's last byte was written.
    pub fn requested(&mut self, facts: RequestFacts, at: Moment, audience: &mut dyn Audience) {
        self.entry.request = Some(facts);
        self.entry.request_sent = Some(at.read);
        if self.entry.status.is_none() {
            self.active(at.read);
        }
        audience.hear(Happening::Requested(&self.entry));
    }

    /// The response head came; `at` is the moment of its first byte.
    pub fn response(&mut self, head: &ResponseHead, at: Moment, audience: &mut dyn Audience) {
        self.entry.status = (head.status > 0).then_some(head.status);
        // Its head was not seen: nothing of it that we see is the first.
        self.whole &= head.status > 0;
        self.entry.streaming = head.content_type.as_deref().is_some_and(body::is_stream);
        let facts = ResponseFacts::read(head);
        self.entry.server_times = facts.times;
        self.entry.answered = Some(Box::new(facts));
        self.active(at.read);
        self.reach(Milestone::Byte, at.read, audience);
        audience.hear(Happening::Responded(&self.entry));
    }

    /// An event begins: the utterances up to `event_end` are its meaning.
    pub fn event_begin(&mut self, at: Moment, data_bytes: usize, wire_bytes: usize) {
        self.entry.streaming = true;
        self.heard(at.read);
        self.entry.body_bytes += wire_bytes as u64;
        self.event = Some(Current {
            at,
            data_bytes: data_bytes as u64,
            wire_bytes: wire_bytes as u64,
            chars: [0; 5],
            meaningful: false,
            keepalive: false,
        });
    }

    /// One thing the provider said. `at`: the moment of the event or of the body's end.
    pub fn utter(&mut self, utterance: &Utterance<'_>, at: Moment, audience: &mut dyn Audience) {
        self.mark_event(matches!(utterance, Utterance::KeepAlive), audience);
        match utterance {
            Utterance::Start { response_id, model } => {
                name_once(&mut self.entry.response_id, response_id.as_deref());
                name_once(&mut self.entry.response_model, model.as_deref());
            }
            Utterance::Delta { kind, text } => self.delta(*kind, text, at, audience),
            Utterance::Whole { kind, chars } => self.add_chars(*kind, *chars),
            Utterance::Media { bytes } => self.media(*bytes, at, audience),
            Utterance::Usage(usage) => merge(&mut self.entry.usage, usage),
            Utterance::Mark { what, value } => self.said(*what, value, at.read),
            Utterance::Limit { name, value } => self.entry.answered.get_or_insert_default().limit(name, value),
            Utterance::Took(times) => self.entry.server_times.merge(times),
            Utterance::Finish { reason } => self.entry.finish_reason = Some(capped(reason)),
            Utterance::Error { kind } => {
                self.error_seen = true;
                name_once(&mut self.entry.error_kind, kind.as_deref());
            }
            Utterance::End => self.marker = self.marker.or(Some(at.read)),
            Utterance::KeepAlive | Utterance::Other => {}
            Utterance::Malformed(reason) => self.odd(Note { protocol: self.entry.api, reason }, audience),
        }
    }

    /// The event is over: count it.
    /// `path`: what the network did to its bytes, where the socket is known.
    pub fn event_end(&mut self, path: Option<&Path>, audience: &mut dyn Audience) {
        let Some(event) = self.event.take() else { return };
        let kind = KINDS.into_iter().zip(event.chars).find(|(_, chars)| *chars > 0);
        if event.keepalive && !event.meaningful {
            return self.keepalive_point(event.at, event.data_bytes, event.wire_bytes);
        }
        let (point, chars) = kind.map_or((PointKind::Event, 0), |(kind, chars)| (PointKind::Delta(kind), chars));
        self.timeline.push(event.at, point, chars, event.data_bytes, event.wire_bytes);
        self.entry.events += 1;
        self.tail_lost = None;
        self.active(event.at.read);
        self.batch(event.at, audience);
        if self.entry.api == unknown::API {
            self.event_gap(event.at);
        }
        if let Some((DeltaKind::Visible, chars)) = kind {
            self.entry.visible_hash = Some(self.said.finish());
            self.chunk(event.at, chars, path, audience);
        }
    }

    /// An SSE comment.
    pub fn comment(&mut self, at: Moment) {
        self.heard(at.read);
        self.keepalive_point(at, 0, 0);
    }

    /// A TLS record of an answer that nobody can look into. `first`: it may be taken for the first there was.
    pub fn record(&mut self, bytes: u32, at: Moment, first: bool, path: Option<&Path>, audience: &mut dyn Audience) {
        self.entry.streaming = true;
        if first {
            self.reach(Milestone::Byte, at.read, audience);
        }
        self.entry.wire.records += 1;
        self.entry.wire.bytes += u64::from(bytes);
        self.timeline.push(at, PointKind::Record, 0, 0, u64::from(bytes));
        self.active(at.read);
        let last = self.last_chunk.replace(at);
        let gap = last.map(|last| at.read - last.read);
        let mut stalls = Vec::new();
        if let (Some(gap), Some(last)) = (gap, last) {
            self.entry.arrival_gaps.add(gap);
            stalls = self.stalls.gap(last, at, path, &self.entry.arrival_gaps);
        }
        audience.hear(Happening::Record { entry: &self.entry, gap: gap.map(|ns| ns as f64 / 1e9) });
        self.tell_stalls(stalls, audience);
    }

    /// Several answers came at once and cannot be told apart.
    pub fn several(&mut self) {
        self.entry.note("several_answers_at_once");
    }

    /// Some bytes of a body that is no stream came.
    pub fn body(&mut self, at: Moment, bytes: usize) {
        self.heard(at.read);
        self.entry.body_bytes += bytes as u64;
        self.active(at.read);
    }

    /// Bytes of the response are missing here.
    pub fn gap(&mut self, bytes: Option<u64>, cause: LossCause, at: Moment) {
        self.entry.lose(cause, bytes);
        self.timeline.push(at, PointKind::Gap, 0, bytes.unwrap_or(0), 0);
        self.whole = false;
        self.tail_lost = Some(at.read);
        self.last_chunk = None;
        self.sentence.gap();
        if self.marker.is_none() {
            self.entry.note("lost_bytes_may_hide_chunks");
        }
    }

    /// Something odd that did not stop the stream.
    pub fn odd(&mut self, note: Note, audience: &mut dyn Audience) {
        self.entry.note(note.reason);
        audience.hear(Happening::Odd(note));
    }

    /// Something odd that was told elsewhere.
    pub fn mark(&mut self, name: &'static str) {
        self.entry.note(name);
    }

    /// The call is over.
    pub(super) fn end(&mut self, how: End, at: Ns, idle_limit: u64, audience: &mut dyn Audience) {
        let outcome = self.outcome(how, at, idle_limit);
        if let Some(at) = self.sentence.finish().filter(|_| outcome == Outcome::Complete) {
            self.reach(Milestone::Sentence, at, audience);
        }
        self.flush_read(audience);
        let gaps = if self.entry.shape { &self.entry.arrival_gaps } else { &self.entry.gaps };
        let stalls = self.stalls.judge(gaps);
        self.tell_stalls(stalls, audience);
        self.entry.outcome = Some(outcome);
        self.entry.ended = Some(self.marker.filter(|_| outcome == Outcome::Complete).unwrap_or(at));
        if self.entry.chunks >= 2 && self.whole {
            self.entry.head_burst_ratio = Some(self.burst_chars as f64 / self.entry.visible_chars as f64);
        }
        self.entry.gaps.freeze();
        self.entry.arrival_gaps.freeze();
        self.timeline.shrink();
        audience.hear(Happening::Closed(&self.entry));
    }

    /// The taxonomy of interface.md. What the provider said goes before how the connection ended: SDKs close the
    /// socket right after the end marker.
    fn outcome(&self, how: End, at: Ns, idle_limit: u64) -> Outcome {
        if self.entry.shape {
            return shape_outcome(how);
        }
        let whole_body = how == End::Complete && (self.media_body || !self.entry.streaming);
        match self.entry.status {
            Some(400..) => return Outcome::HttpError,
            _ if self.error_seen => return Outcome::ErrorEvent,
            Some(_) if self.marker.is_some() || whole_body => return Outcome::Complete,
            _ if self.marker.is_some() => return Outcome::Complete,
            _ if self.tail_lost.is_some() => return Outcome::Lost,
            _ => {}
        }
        match how {
            End::Complete | End::PeerClosed => Outcome::Truncated,
            End::Reset => Outcome::Reset,
            End::LocalClosed if at - self.entry.last_read >= idle_limit => Outcome::IdleTimeout,
            End::LocalClosed => Outcome::ClientCancel,
            End::ProcessExit => Outcome::ProcessExit,
            End::Lost => Outcome::Lost,
        }
    }

    fn said(&mut self, mark: Mark, value: &str, at: Ns) {
        if self.entry.marks.len() < limits::MARKS {
            self.entry.marks.push(Said { mark, value: capped(value), at });
        } else {
            self.entry.note("more_marks");
        }
    }

    fn mark_event(&mut self, keepalive: bool, audience: &mut dyn Audience) {
        let Some(event) = &mut self.event else { return };
        event.keepalive |= keepalive;
        event.meaningful |= !keepalive;
        if event.meaningful {
            let at = event.at.read;
            self.reach(Milestone::Event, at, audience);
        }
    }

    fn delta(&mut self, kind: DeltaKind, text: &str, at: Moment, audience: &mut dyn Audience) {
        let chars = text.chars().count() as u64;
        if chars == 0 {
            return;
        }
        self.add_chars(kind, chars);
        let Some(event) = &mut self.event else { return };
        if let Some((_, sum)) = KINDS.iter().zip(&mut event.chars).find(|(k, _)| **k == kind) {
            *sum += chars;
        }
        self.reach(Milestone::Emitted, at.read, audience);
        match kind {
            DeltaKind::Visible => self.visible(text, chars, at.read, audience),
            DeltaKind::Reasoning => self.reach(Milestone::Reasoning, at.read, audience),
            DeltaKind::Tool => self.reach(Milestone::Tool, at.read, audience),
            DeltaKind::Audio => self.reach(Milestone::Audio, at.read, audience),
            DeltaKind::Refusal => {}
        }
    }

    /// Sound, usable as it comes.
    fn media(&mut self, bytes: u64, at: Moment, audience: &mut dyn Audience) {
        if bytes == 0 {
            return;
        }
        self.entry.media_bytes += bytes;
        self.entry.streaming = true;
        if self.event.is_none() {
            self.media_body = true;
            self.timeline.media(at, bytes);
        }
        self.reach(Milestone::Emitted, at.read, audience);
        self.reach(Milestone::Audio, at.read, audience);
    }

    fn add_chars(&mut self, kind: DeltaKind, chars: u64) {
        match kind {
            DeltaKind::Visible => self.entry.visible_chars += chars,
            DeltaKind::Reasoning => self.entry.reasoning_chars += chars,
            DeltaKind::Tool => self.entry.tool_chars += chars,
            DeltaKind::Refusal => self.entry.refusal_chars += chars,
            // Base64, or a transcript: neither measures what was heard.
            DeltaKind::Audio => {}
        }
    }

    fn visible(&mut self, text: &str, chars: u64, at: Ns, audience: &mut dyn Audience) {
        self.entry.visible_bytes += text.len() as u64;
        self.said.write(text.as_bytes());
        audience.hear(Happening::Said { entry: &self.entry, text: Unprinted(text) });
        if !text.trim().is_empty() {
            self.reach(Milestone::Visible, at, audience);
        }
        if at - *self.first_visible.get_or_insert(at) <= BURST_NS {
            self.burst_chars += chars;
        }
        if self.entry.firsts.sentence.is_none()
            && let Some(end) = self.sentence.push(text, at)
        {
            self.reach(Milestone::Sentence, end, audience);
        }
    }

    fn chunk(&mut self, at: Moment, chars: u64, path: Option<&Path>, audience: &mut dyn Audience) {
        let last = self.last_chunk.replace(at);
        let gap = last.map(|last| at.read - last.read);
        let arrived = last.and_then(|last| Some(at.arrival? - last.arrival?));
        self.entry.chunks += 1;
        let mut stalls = Vec::new();
        if let (Some(gap), Some(last)) = (gap, last) {
            self.entry.gaps.add(gap);
            stalls = self.stalls.gap(last, at, path, &self.entry.gaps);
        }
        if let Some(arrived) = arrived {
            self.entry.arrival_gaps.add(arrived);
        }
        audience.hear(Happening::Chunk {
            entry: &self.entry,
            gap: gap.map(|ns| ns as f64 / 1e9),
            arrival_gap: arrived.map(|ns| ns as f64 / 1e9),
            chars: u32::try_from(chars).unwrap_or(u32::MAX),
        });
        self.tell_stalls(stalls, audience);
    }

    /// The gap before an event of an API whose chunks are not known.
    fn event_gap(&mut self, at: Moment) {
        let Some(last) = self.last_chunk.replace(at) else { return };
        self.entry.gaps.add(at.read - last.read);
        if let (Some(arrival), Some(before)) = (at.arrival, last.arrival) {
            self.entry.arrival_gaps.add(arrival - before);
        }
    }

    fn tell_stalls(&mut self, stalls: Vec<Stall>, audience: &mut dyn Audience) {
        for stall in stalls {
            if self.entry.stalls.len() < limits::STALLS {
                self.entry.stalls.push(stall);
            } else {
                self.entry.note("more_stalls");
            }
            audience.hear(Happening::Stall { entry: &self.entry, stall });
        }
    }

    fn batch(&mut self, at: Moment, audience: &mut dyn Audience) {
        if let Some(batch) = self.read.as_mut().filter(|batch| batch.at.call == at.call) {
            batch.events = batch.events.saturating_add(1);
            return;
        }
        self.flush_read(audience);
        self.entry.reads += 1;
        self.read = Some(Batch { at, events: 1 });
    }

    fn flush_read(&mut self, audience: &mut dyn Audience) {
        if let Some(batch) = self.read.take() {
            // Of plain text only the arrival is known.
            let arrival = batch.at.arrival.filter(|_| !self.entry.arrival_only());
            let lag = arrival.map(|arrival| batch.at.read.seconds_since(arrival));
            audience.hear(Happening::Read { entry: &self.entry, events: batch.events, lag });
        }
    }

    fn keepalive_point(&mut self, at: Moment, data_bytes: u64, wire_bytes: u64) {
        self.entry.keepalives += 1;
        self.timeline.push(at, PointKind::KeepAlive, 0, data_bytes, wire_bytes);
    }

    /// Bytes came, keep-alives included.
    fn heard(&mut self, at: Ns) {
        let entry = &mut self.entry;
        // Of a shape, the request is where it begins.
        if entry.request_sent.is_some() || entry.shape {
            entry.longest_silence = entry.longest_silence.max(at - entry.last_read);
        }
        entry.last_read = entry.last_read.max(at);
    }

    fn active(&mut self, at: Ns) {
        self.heard(at);
        self.entry.last_activity = self.entry.last_activity.max(at);
    }

    fn reach(&mut self, milestone: Milestone, at: Ns, audience: &mut dyn Audience) {
        if !self.whole || self.entry.firsts.get(milestone).is_some() {
            return;
        }
        let seconds = at.seconds_since(self.entry.started);
        *self.entry.firsts.slot(milestone) = Some(seconds);
        audience.hear(Happening::First { entry: &self.entry, milestone, seconds });
    }
}

/// Of a shape nothing is known but how its connection went on.
fn shape_outcome(how: End) -> Outcome {
    match how {
        End::Complete => Outcome::Complete,
        End::Reset => Outcome::Reset,
        End::LocalClosed => Outcome::ClientCancel,
        End::ProcessExit => Outcome::ProcessExit,
        End::PeerClosed | End::Lost => Outcome::Lost,
    }
}

fn name_once(slot: &mut Option<String>, name: Option<&str>) {
    if let (None, Some(name)) = (&slot, name) {
        *slot = Some(capped(name));
    }
}

/// The name, cut to `limits::NAME` bytes at a character.
fn capped(name: &str) -> String {
    name.chars()
        .scan(0, |bytes, c| {
            *bytes += c.len_utf8();
            (*bytes <= limits::NAME).then_some(c)
        })
        .collect()
}

/// Counts are cumulative: the last one wins, field by field.
fn merge(total: &mut Usage, new: &Usage) {
    let Usage { input, output, cached, cache_write, reasoning, audio_input, audio_output } = *new;
    total.input = input.or(total.input);
    total.output = output.or(total.output);
    total.cached = cached.or(total.cached);
    total.cache_write = cache_write.or(total.cache_write);
    total.reasoning = reasoning.or(total.reasoning);
    total.audio_input = audio_input.or(total.audio_input);
    total.audio_output = audio_output.or(total.audio_output);
}
