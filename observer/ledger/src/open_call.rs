//! A live call: turns utterances into the facts of its `Entry`.

mod end;
mod timing;

use std::hash::{DefaultHasher, Hasher};
use std::sync::Arc;

use super::event::emit;
use super::sentence::SentenceState;
use super::stalls::StallJudge;
use super::timeline::{PointKind, Timeline};
use super::{CallEventKind, CallMilestone, Entry, EventSink, HostEvent, ProviderStatement, UnprintedText};
use capture::conn::NetworkPath;
use capture::limits;
use capture::proto::{ProtocolNote, ResponseHead, Salt, body};
use capture::units::{LossCause, Moment, Ns};
use dialects::{DeltaKind, ProviderMark, RequestFacts, ResponseFacts, Utterance, unknown};

use timing::ReadBatch;

/// The head burst: characters within this time of the first visible one.
const BURST_NS: u64 = 200_000_000;

/// An open call. Constant memory: however long the stream, only counters, capped lists and flags.
#[derive(Debug)]
pub struct OpenCall {
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
    event: Option<CurrentEvent>,
    read: Option<ReadBatch>,
    sentence: SentenceState<Ns>,
    /// Moment of the last chunk; `None` before the first and where bytes are missing since.
    last_chunk: Option<Moment>,
    first_visible: Option<Ns>,
    burst_chars: u64,
    stalls: StallJudge,
    salt: Salt,
    /// Over the visible text so far.
    said: DefaultHasher,
}

/// The event being interpreted.
#[derive(Debug)]
struct CurrentEvent {
    at: Moment,
    data_bytes: u64,
    wire_bytes: u64,
    /// Characters by `DeltaKind`.
    chars: [u64; 5],
    /// The dialect said something other than "keep-alive".
    meaningful: bool,
    keepalive: bool,
}

/// The order in which an event's delta kinds name its timeline point.
const KINDS: [DeltaKind; 5] =
    [DeltaKind::Visible, DeltaKind::Reasoning, DeltaKind::Tool, DeltaKind::Refusal, DeltaKind::Audio];

impl OpenCall {
    pub(super) fn new(entry: Entry, salt: &Salt) -> Self {
        OpenCall {
            timeline: Timeline::default(),
            marker: None,
            error_seen: false,
            media_body: false,
            whole: true,
            tail_lost: None,
            event: None,
            read: None,
            sentence: SentenceState::default(),
            last_chunk: None,
            first_visible: None,
            burst_chars: 0,
            stalls: StallJudge::default(),
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

    /// Marks the call as found in the middle of its answer: when it began, and what it asked for, was not seen.
    pub fn mark_mid_stream(&mut self) {
        self.entry.mid_stream = true;
        self.entry.note("joined_in_the_middle");
    }

    /// Marks the call's input as live: what it answers goes up all the time. Times from a request,
    /// and between its words, would tell of the speaker.
    pub fn mark_live_input(&mut self) {
        self.entry.live_input = true;
        self.entry.note("live_input");
    }

    /// The request's last byte was written.
    pub fn on_request_sent(&mut self, facts: RequestFacts, at: Moment, sink: &mut dyn EventSink) {
        let model = facts.model.as_deref().unwrap_or_default();
        if *self.entry.labels.model != *model {
            Arc::make_mut(&mut self.entry.labels).model = model.into();
        }
        self.entry.request = Some(facts);
        self.entry.request_sent = Some(at.at);
        if self.entry.status.is_none() {
            self.active(at.at);
        }
        emit(sink, &self.entry, CallEventKind::Requested);
    }

    /// The response head came; `at` is the moment of its first byte.
    pub fn on_response_head(&mut self, head: &ResponseHead, at: Moment, sink: &mut dyn EventSink) {
        self.entry.status = (head.status > 0).then_some(head.status);
        // Its head was not seen: nothing of it that we see is the first.
        self.whole &= head.status > 0;
        self.entry.streaming = head.content_type.as_deref().is_some_and(body::is_stream);
        let facts = ResponseFacts::read(head);
        self.entry.server_times = facts.times;
        self.entry.answered = Some(Box::new(facts));
        self.active(at.at);
        self.reach(CallMilestone::Byte, at.at, sink);
        emit(sink, &self.entry, CallEventKind::Responded);
    }

    /// An event begins: the utterances up to `event_end` are its meaning.
    pub fn event_begin(&mut self, at: Moment, data_bytes: usize, wire_bytes: usize) {
        self.entry.streaming = true;
        self.record_read(at.at);
        self.entry.body_bytes += wire_bytes as u64;
        self.event = Some(CurrentEvent {
            at,
            data_bytes: data_bytes as u64,
            wire_bytes: wire_bytes as u64,
            chars: [0; 5],
            meaningful: false,
            keepalive: false,
        });
    }

    /// One thing the provider said. `at`: the moment of the event or of the body's end.
    pub fn on_utterance(&mut self, utterance: &Utterance<'_>, at: Moment, sink: &mut dyn EventSink) {
        self.mark_event(matches!(utterance, Utterance::KeepAlive), sink);
        match utterance {
            Utterance::Start { response_id, model } => {
                name_once(&mut self.entry.response_id, response_id.as_deref());
                name_once(&mut self.entry.response_model, model.as_deref());
            }
            Utterance::Delta { kind, text } => self.delta(*kind, text, at, sink),
            Utterance::Whole { kind, chars } => self.add_chars(*kind, *chars),
            Utterance::Media { bytes } => self.media(*bytes, at, sink),
            Utterance::Usage(usage) => self.entry.usage.merge(usage),
            Utterance::Mark { what, value } => self.record_mark(*what, value, at.at),
            Utterance::Limit { name, value } => self.entry.answered.get_or_insert_default().limit(name, value),
            Utterance::Took(times) => self.entry.server_times.merge(times),
            Utterance::Finish { reason } => self.entry.finish_reason = Some(capped(reason)),
            Utterance::Error { kind } => {
                self.error_seen = true;
                name_once(&mut self.entry.error_kind, kind.as_deref());
            }
            Utterance::End => self.marker = self.marker.or(Some(at.at)),
            Utterance::KeepAlive | Utterance::Other => {}
            Utterance::Malformed(reason) => self.report_odd(ProtocolNote { protocol: self.entry.api, reason }, sink),
        }
    }

    /// The event is over: count it.
    /// `path`: what the network did to its bytes, where the socket is known.
    pub fn event_end(&mut self, path: Option<&NetworkPath>, sink: &mut dyn EventSink) {
        let Some(event) = self.event.take() else { return };
        let kind = KINDS.into_iter().zip(event.chars).find(|(_, chars)| *chars > 0);
        if event.keepalive && !event.meaningful {
            return self.keepalive_point(event.at, event.data_bytes, event.wire_bytes);
        }
        let (point, chars) = kind.map_or((PointKind::Event, 0), |(kind, chars)| (PointKind::Delta(kind), chars));
        self.timeline.push(event.at, point, chars, event.data_bytes, event.wire_bytes);
        self.entry.events += 1;
        self.tail_lost = None;
        self.active(event.at.at);
        self.batch(event.at, sink);
        if self.entry.api == unknown::API {
            self.event_gap(event.at);
        }
        if let Some((DeltaKind::Visible, chars)) = kind {
            self.entry.visible_hash = Some(self.said.finish());
            self.chunk(event.at, chars, path, sink);
        }
    }

    /// An SSE comment.
    pub fn on_comment(&mut self, at: Moment) {
        self.record_read(at.at);
        self.keepalive_point(at, 0, 0);
    }

    /// Marks that several answers came at once and cannot be told apart.
    pub fn mark_several_answers(&mut self) {
        self.entry.note("several_answers_at_once");
    }

    /// Some bytes of a body that is no stream came.
    pub fn on_body(&mut self, at: Moment, bytes: usize) {
        self.record_read(at.at);
        self.entry.body_bytes += bytes as u64;
        self.active(at.at);
    }

    /// Bytes of the response are missing here.
    pub fn on_gap(&mut self, bytes: Option<u64>, cause: LossCause, at: Moment) {
        self.entry.lose(cause, bytes);
        self.timeline.push(at, PointKind::Gap, 0, bytes.unwrap_or(0), 0);
        self.whole = false;
        self.tail_lost = Some(at.at);
        self.last_chunk = None;
        self.sentence.gap();
        if self.marker.is_none() {
            self.entry.note("lost_bytes_may_hide_chunks");
        }
    }

    /// Something odd that did not stop the stream.
    pub fn report_odd(&mut self, note: ProtocolNote, sink: &mut dyn EventSink) {
        self.entry.note(note.reason);
        sink.on_host_event(&HostEvent::ParserNote(note));
    }

    /// Adds a note about something odd that was reported elsewhere.
    pub fn add_note(&mut self, name: &'static str) {
        self.entry.note(name);
    }

    fn record_mark(&mut self, mark: ProviderMark, value: &str, at: Ns) {
        if self.entry.marks.len() < limits::MARKS {
            self.entry.marks.push(ProviderStatement { mark, value: capped(value), at });
        } else {
            self.entry.note("more_marks");
        }
    }

    fn mark_event(&mut self, keepalive: bool, sink: &mut dyn EventSink) {
        let Some(event) = &mut self.event else { return };
        event.keepalive |= keepalive;
        event.meaningful |= !keepalive;
        if event.meaningful {
            let at = event.at.at;
            self.reach(CallMilestone::Event, at, sink);
        }
    }

    fn delta(&mut self, kind: DeltaKind, text: &str, at: Moment, sink: &mut dyn EventSink) {
        let chars = text.chars().count() as u64;
        if chars == 0 {
            return;
        }
        self.add_chars(kind, chars);
        let Some(event) = &mut self.event else { return };
        if let Some((_, sum)) = KINDS.iter().zip(&mut event.chars).find(|(k, _)| **k == kind) {
            *sum += chars;
        }
        self.reach(CallMilestone::Emitted, at.at, sink);
        match kind {
            DeltaKind::Visible => self.visible(text, chars, at.at, sink),
            DeltaKind::Reasoning => self.reach(CallMilestone::Reasoning, at.at, sink),
            DeltaKind::Tool => self.reach(CallMilestone::Tool, at.at, sink),
            DeltaKind::Audio => self.reach(CallMilestone::Audio, at.at, sink),
            DeltaKind::Refusal => {}
        }
    }

    /// Sound, usable as it comes.
    fn media(&mut self, bytes: u64, at: Moment, sink: &mut dyn EventSink) {
        if bytes == 0 {
            return;
        }
        self.entry.media_bytes += bytes;
        self.entry.streaming = true;
        if self.event.is_none() {
            self.media_body = true;
            self.timeline.media(at, bytes);
        }
        self.reach(CallMilestone::Emitted, at.at, sink);
        self.reach(CallMilestone::Audio, at.at, sink);
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

    fn visible(&mut self, text: &str, chars: u64, at: Ns, sink: &mut dyn EventSink) {
        self.entry.visible_bytes += text.len() as u64;
        self.said.write(text.as_bytes());
        emit(sink, &self.entry, CallEventKind::Text(UnprintedText(text)));
        if !text.trim().is_empty() {
            self.reach(CallMilestone::Visible, at, sink);
        }
        if at - *self.first_visible.get_or_insert(at) <= BURST_NS {
            self.burst_chars += chars;
        }
        if self.entry.firsts.sentence.is_none()
            && let Some(end) = self.sentence.push(text, at)
        {
            self.reach(CallMilestone::Sentence, end, sink);
        }
    }

    fn keepalive_point(&mut self, at: Moment, data_bytes: u64, wire_bytes: u64) {
        self.entry.keepalives += 1;
        self.timeline.push(at, PointKind::KeepAlive, 0, data_bytes, wire_bytes);
    }

    /// Bytes came, keep-alives included.
    fn record_read(&mut self, at: Ns) {
        let entry = &mut self.entry;
        // Of a shape, the request is where it begins.
        if entry.request_sent.is_some() || entry.shape {
            entry.longest_silence = entry.longest_silence.max(at - entry.last_read);
        }
        entry.last_read = entry.last_read.max(at);
    }

    fn active(&mut self, at: Ns) {
        self.record_read(at);
        self.entry.last_activity = self.entry.last_activity.max(at);
    }

    fn reach(&mut self, milestone: CallMilestone, at: Ns, sink: &mut dyn EventSink) {
        if !self.whole || self.entry.live_input || self.entry.firsts.get(milestone).is_some() {
            return;
        }
        let seconds = at.seconds_since(self.entry.started);
        *self.entry.firsts.slot(milestone) = Some(seconds);
        emit(sink, &self.entry, CallEventKind::First { milestone, seconds });
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
