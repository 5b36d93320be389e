//! What is known of one call.

use std::net::SocketAddr;
use std::sync::Arc;

use super::{AnswerStall, CallLabels, CallOutcome, GapStats, MilestoneTimes, StreamGaps};
use capture::identity::ProcessIdentity;
use capture::record::{ConnKey, SocketCookie};
use capture::units::{LossCause, Ns};
use dialects::{ProviderMark, RequestFacts, RequestMarks, ResponseFacts, ServerTimes, TokenUsage};

/// One call, as far as it was seen. Facts not seen are `None`, never 0. Holds names and numbers, no payload.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Short stable id for `inspect`: the same call gets the same id in a replay.
    pub id: String,
    /// The connection.
    pub conn: ConnKey,
    /// Which request of the connection (or HTTP/2 stream).
    pub exchange: u64,
    /// Who made the call.
    pub identity: Arc<ProcessIdentity>,
    /// What metrics are labelled with; the model from the end of the request on.
    pub labels: Arc<CallLabels>,
    /// `gen_ai.provider.name`.
    pub provider: &'static str,
    /// The dialect's `api`.
    pub api: &'static str,
    /// `gen_ai.operation.name`.
    pub operation: &'static str,
    /// `http/1.1`, `h2`, `websocket`, `tls` (a shape) …
    pub protocol: &'static str,
    /// Only its shape was seen: times and sizes on the wire, no plaintext.
    pub shape: bool,
    /// Of one whose shape alone was seen: what came of its answer.
    pub wire: WireCounts,
    /// Host the request named.
    pub server_address: Option<String>,
    /// The peer's address, where the socket of this TLS object could be told.
    pub remote: Option<SocketAddr>,
    /// Salted hash of the credential the request carried.
    pub credential: Option<u64>,
    /// Salted hash that the calls of one conversation share; `None` where the body was not seen whole.
    pub conversation: Option<u64>,
    /// What the request asked for; `None` until the body was seen.
    pub request: Option<RequestFacts>,
    /// The model that answered, in its own word.
    pub response_model: Option<String>,
    /// The provider's response id.
    pub response_id: Option<String>,
    /// HTTP status.
    pub status: Option<u16>,
    /// First byte of the request; of a `mid_stream` call, the first byte seen of its answer.
    pub started: Ns,
    /// The call was running when the observer came to its connection: its beginning is not known.
    pub mid_stream: bool,
    /// What it answers goes up while its words come (speech): it began with the first of them, no
    /// moment is that of a request, and its pace is the speaker's.
    pub live_input: bool,
    /// Last byte of the request.
    pub request_sent: Option<Ns>,
    /// When it ended: the end marker's stamp, else that of what ended it.
    pub ended: Option<Ns>,
    /// How it ended; `None` while open.
    pub outcome: Option<CallOutcome>,
    /// The response is a stream of events.
    pub streaming: bool,
    /// Milestones.
    pub firsts: MilestoneTimes,
    /// Events of any kind, keep-alives excluded.
    pub events: u64,
    /// Keep-alives: pings and SSE comments.
    pub keepalives: u64,
    /// Reads that brought at least one event.
    pub reads: u64,
    /// Events that carried a non-empty visible delta.
    pub chunks: u64,
    /// Visible characters (Unicode scalar values).
    pub visible_chars: u64,
    /// Their bytes in UTF-8: with the characters they tell scripts apart.
    pub visible_bytes: u64,
    /// Salted hash of the visible text so far, at the end of an event: to tell whether another request goes on with it.
    pub visible_hash: Option<u64>,
    /// Reasoning characters.
    pub reasoning_chars: u64,
    /// Characters of tool calls: names and arguments.
    pub tool_chars: u64,
    /// Characters of a marked refusal.
    pub refusal_chars: u64,
    /// Bytes of the response's body, decoded: events with their framing, and everything else.
    pub body_bytes: u64,
    /// Bytes of sound or pictures among them that came as they are (not as text inside events).
    pub media_bytes: u64,
    /// Tokens as reported.
    pub usage: TokenUsage,
    /// The provider's word.
    pub finish_reason: Option<String>,
    /// Type of an in-stream or HTTP error, in the provider's word.
    pub error_kind: Option<String>,
    /// SDK's retry mark: 0 for the first attempt.
    pub attempt: Option<u32>,
    /// What the request's headers say of the call.
    pub asked: Box<RequestMarks>,
    /// What the response's headers say; `None` until they came.
    pub answered: Option<Box<ResponseFacts>>,
    /// What the provider said of itself, in order: the first `limits::MARKS`.
    pub marks: Vec<ProviderStatement>,
    /// The server's account of its own work, from the answer and its headers.
    pub server_times: ServerTimes,
    /// Stalls so far, the first `limits::STALLS`.
    pub stalls: Vec<AnswerStall>,
    /// Gaps between visible chunks, as the application read them (of plain text: as they arrived). Of an unknown API:
    /// between events.
    pub gaps: StreamGaps,
    /// The same as they arrived, where the socket layer could tell.
    pub arrival_gaps: StreamGaps,
    /// Share of the visible characters that came within 200 ms of the first visible one. Set when the call ends;
    /// `None` with fewer than two chunks, or when lost bytes may hide some.
    pub head_burst_ratio: Option<f64>,
    /// Last sign of progress: an event other than a keep-alive, else the response head, else the request.
    pub last_activity: Ns,
    /// Last byte of the response, keep-alives included: what an application's read time-out, and a
    /// proxy's, looks at. Until there was one: the request.
    pub last_read: Ns,
    /// Longest time without a byte from the end of the request on, nanoseconds.
    pub longest_silence: u64,
    /// Bytes of the response that were lost, by cause.
    pub lost: Vec<ByteLoss>,
    /// Oddities, by low-cardinality name; the first `limits::NOTES` different ones.
    pub notes: Vec<&'static str>,
}

/// One thing that a provider said of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderStatement {
    pub mark: ProviderMark,
    pub value: String,
    /// When it came.
    pub at: Ns,
}

/// The answer on the wire, where nothing else of it is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WireCounts {
    /// TLS records.
    pub records: u64,
    /// Bytes in them, what encryption adds left out. Padding is not: providers pad to hide how much they say.
    pub bytes: u64,
}

/// Bytes lost for one cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteLoss {
    /// Why.
    pub cause: LossCause,
    /// How many; `None` when some of the losses are of unknown size.
    pub bytes: Option<u64>,
}

impl Entry {
    /// Quantiles of the gaps between visible chunks; `None` before the second chunk.
    #[must_use]
    pub fn gap_stats(&self) -> Option<GapStats> {
        self.gaps.stats()
    }

    /// The last value of a mark.
    #[must_use]
    pub fn mark(&self, mark: ProviderMark) -> Option<&str> {
        self.marks.iter().rev().find(|said| said.mark == mark).map(|said| said.value.as_str())
    }

    /// Its bytes were seen on a socket: when they arrived is known, when the application read them is not.
    #[must_use]
    pub fn arrival_only(&self) -> bool {
        SocketCookie::of(&self.conn).is_some()
    }

    /// The model asked for, as on the wire.
    #[must_use]
    pub fn request_model(&self) -> Option<&str> {
        self.request.as_ref().and_then(|request| request.model.as_deref())
    }

    /// Host of `server_address`, which may carry a port; empty if not known.
    #[must_use]
    pub fn host(&self) -> &str {
        host_of(self.server_address.as_deref())
    }

    /// The port that was named with the host.
    #[must_use]
    pub fn port(&self) -> Option<&str> {
        split(self.server_address.as_deref().unwrap_or_default()).1
    }

    /// Visible output tokens: only where the provider's report and the answer leave no doubt which tokens were visible.
    #[must_use]
    pub fn visible_tokens(&self) -> Option<u64> {
        if self.outcome != Some(CallOutcome::Complete) || self.tool_chars > 0 || self.chunks == 0 {
            return None;
        }
        let reasoning = match self.usage.reasoning {
            Some(tokens) => tokens,
            // Not reported apart: fine if there was none, unknown if there was.
            None if self.reasoning_chars == 0 => 0,
            None => return None,
        };
        self.usage.output?.checked_sub(reasoning)
    }

    /// Seconds the call took, or has taken at `now`.
    #[must_use]
    pub fn duration_seconds(&self, now: Ns) -> f64 {
        self.ended.unwrap_or(now).seconds_since(self.started)
    }

    /// Seconds since the last sign of progress; `None` once ended.
    #[must_use]
    pub fn idle_seconds(&self, now: Ns) -> Option<f64> {
        self.ended.is_none().then(|| now.seconds_since(self.last_activity))
    }

    pub(super) fn note(&mut self, name: &'static str) {
        if self.notes.len() < capture::limits::NOTES && !self.notes.contains(&name) {
            self.notes.push(name);
        }
    }

    pub(super) fn lose(&mut self, cause: LossCause, bytes: Option<u64>) {
        match self.lost.iter_mut().find(|loss| loss.cause == cause) {
            Some(loss) => loss.bytes = loss.bytes.zip(bytes).map(|(a, b)| a.saturating_add(b)),
            None => self.lost.push(ByteLoss { cause, bytes }),
        }
    }
}

/// The host of an address that may carry a port; empty if not known.
pub(super) fn host_of(address: Option<&str>) -> &str {
    split(address.unwrap_or_default()).0
}

/// `host`, `host:port`, `[v6]`, `[v6]:port`; a bare IPv6 address has no port.
fn split(address: &str) -> (&str, Option<&str>) {
    if let Some((v6, rest)) = address.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return (v6, rest.strip_prefix(':'));
    }
    match address.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') && port.bytes().all(|b| b.is_ascii_digit()) => (host, Some(port)),
        _ => (address, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_ports_part() {
        for (address, host, port) in [
            ("api.openai.com", "api.openai.com", None),
            ("gateway:8443", "gateway", Some("8443")),
            ("127.0.0.1:4433", "127.0.0.1", Some("4433")),
            ("[::1]:4433", "::1", Some("4433")),
            ("[::1]", "::1", None),
            ("::1", "::1", None),
            ("odd:name", "odd:name", None),
            ("", "", None),
        ] {
            assert_eq!(split(address), (host, port), "{address}");
        }
    }
}
