//! A ledger against the truth: counts exactly, times as errors to be judged together.

use std::fmt::{Debug, Display};

use provider::dialect::Api;
use provider::log::{Protocol, Reported};
use provider::script::Kind;

use crate::ledger::{Ledger, Tokens};
use crate::truth::Exchange;

/// What a comparison gathers.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Facts that differ; each line names the stream.
    pub mismatches: Vec<String>,
    pub milestones: Vec<Milestone>,
    /// Errors of gaps between chunks, seconds.
    pub gaps: Vec<f64>,
    /// Streams compared.
    pub streams: usize,
}

/// A milestone that both know.
#[derive(Clone, Debug)]
pub struct Milestone {
    /// The model and the milestone's name.
    pub what: String,
    /// Seconds, ledger minus provider.
    pub error: f64,
    /// How much of it the client left the bytes in its socket, by the ledger's own timeline: the
    /// ledger rightly counts it.
    pub lag: f64,
}

impl Report {
    /// Compares the ledgers of one model name with the exchanges of that name, in order.
    pub fn add(&mut self, model: &str, ledgers: &[Ledger], truths: &[Exchange]) {
        let mut ledgers: Vec<&Ledger> = ledgers.iter().filter(|l| l.request_model.as_deref() == Some(model)).collect();
        ledgers.sort_by(|a, b| a.started.cmp(&b.started));
        self.same(model, "number of exchanges", ledgers.len(), truths.len());
        for (ledger, truth) in ledgers.into_iter().zip(truths) {
            self.one(model, ledger, truth);
        }
    }

    /// Compares one ledger; with a timeline, the gaps too.
    pub fn one(&mut self, model: &str, ledger: &Ledger, truth: &Exchange) {
        self.streams += 1;
        self.counts(model, ledger, truth);
        if let Some(outcome) = truth.outcome() {
            self.same(model, "outcome", ledger.outcome.as_deref(), Some(outcome));
        }
        // A turn on a WebSocket has no status but its upgrade's.
        let socket = truth.request.protocol == Protocol::Websocket;
        let status = if socket { Some(101) } else { truth.request.status };
        self.same(model, "status", ledger.status, status);
        self.same(model, "attempt", ledger.attempt.unwrap_or(0), truth.request.attempt.unwrap_or(0));
        self.same(model, "api", ledger.api.as_str(), truth.request.api.map_or("", api));
        self.same(model, "protocol", ledger.protocol.as_str(), protocol(truth.request.protocol));
        self.tokens(model, ledger, truth);
        self.same(model, "lost bytes", ledger.lost.bytes, Some(0));
        self.firsts(model, ledger, truth);
        self.timeline(model, ledger, truth);
    }

    /// Compares the tokens that the answer reported, if it came to its end.
    pub fn tokens(&mut self, model: &str, ledger: &Ledger, truth: &Exchange) {
        let Reported { input, output, cached, reasoning } = truth.request.tokens;
        if truth.outcome() == Some("complete") {
            self.same(model, "tokens", ledger.tokens, Tokens { input, output, cached, reasoning });
        }
    }

    fn counts(&mut self, model: &str, ledger: &Ledger, truth: &Exchange) {
        self.same(model, "chunks", ledger.chunks, truth.chunks());
        self.same(model, "visible characters", ledger.visible_chars, truth.chars(Kind::Visible));
        if !truth.streamed() {
            return;
        }
        self.same(model, "reasoning characters", ledger.reasoning_chars, truth.chars(Kind::Reasoning));
        self.same(model, "tool characters", ledger.tool_chars, truth.chars(Kind::Tool));
        self.same(model, "refusal characters", ledger.refusal_chars, truth.chars(Kind::Refusal));
        self.same(model, "events", ledger.events, truth.events());
        self.same(model, "keep-alives", ledger.keepalives, truth.keepalives());
    }

    fn firsts(&mut self, model: &str, ledger: &Ledger, truth: &Exchange) {
        for ((name, seen), (_, real)) in ledger.first_seconds.named().into_iter().zip(truth.firsts().named()) {
            match (seen, real) {
                (Some(seen), Some(real)) => {
                    let what = format!("{model} {name}");
                    self.milestones.push(Milestone { what, error: seen - real, lag: ledger.lag_at(seen) });
                }
                (None, None) => {}
                other => self.mismatches.push(format!("{model}: milestone {name}: {other:?} (ledger, provider)")),
            }
        }
    }

    fn timeline(&mut self, model: &str, ledger: &Ledger, truth: &Exchange) {
        let seen: Vec<f64> = ledger.timeline.iter().filter(|p| p.kind == "visible").map(|p| p.seconds).collect();
        if ledger.timeline.is_empty() {
            return;
        }
        self.same(model, "visible points of the timeline", seen.len() as u64, truth.chunks());
        let gaps = seen.windows(2).filter_map(|pair| Some(pair.last()? - pair.first()?));
        self.gaps.extend(gaps.zip(truth.gaps()).map(|(seen, real)| seen - real));
    }

    #[expect(clippy::needless_pass_by_value, reason = "callers hand over numbers and references")]
    fn same<T: PartialEq + Debug>(&mut self, model: &str, what: &str, seen: T, real: T) {
        if seen != real {
            self.mismatches.push(format!("{model}: {what}: ledger {seen:?}, provider {real:?}"));
        }
    }

    /// Milestones further off than `bound` seconds, and not because the client read late.
    #[must_use]
    pub fn late(&self, bound: f64) -> Vec<String> {
        let late = self.milestones.iter().filter(|one| (one.error - one.lag).abs() > bound);
        late.map(|Milestone { what, error, lag }| {
            format!("{what}: off by {:.2} ms, of it {:.2} by the client", error * 1e3, lag * 1e3)
        })
        .collect()
    }

    /// Errors of milestones, seconds.
    pub fn errors(&self) -> impl Iterator<Item = f64> + '_ {
        self.milestones.iter().map(|one| one.error)
    }
}

/// The ledger's word.
fn api(api: Api) -> &'static str {
    match api {
        Api::Chat => "openai.chat",
        Api::Completions => "openai.completions",
        Api::Responses => "openai.responses",
        Api::Messages => "anthropic.messages",
        Api::Gemini => "gemini.generate_content",
        Api::Converse => "bedrock.converse",
        Api::Invoke => "bedrock.invoke_model",
        Api::Cohere => "cohere.chat",
        Api::OllamaChat => "ollama.chat",
        Api::OllamaGenerate => "ollama.generate",
        Api::Speech => "openai.speech",
        Api::Realtime => "openai.realtime",
        Api::Listen => "deepgram.listen",
        Api::Transcription => "openai.transcription",
    }
}

/// The ledger's word.
fn protocol(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Http1 => "http/1.1",
        Protocol::Websocket => "websocket",
        Protocol::Http2 => "h2",
    }
}

/// Quantiles of the absolute values, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Quantiles {
    pub p50: f64,
    pub p99: f64,
    pub max: f64,
}

impl Quantiles {
    /// Of errors in seconds.
    #[must_use]
    pub fn of_errors(seconds: impl Iterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = seconds.map(|error| error.abs() * 1e3).collect();
        sorted.sort_by(f64::total_cmp);
        let at =
            |q: usize| sorted.get((sorted.len() * q / 100).min(sorted.len().saturating_sub(1))).copied().unwrap_or(0.0);
        Self { p50: at(50), p99: at(99), max: at(100) }
    }
}

impl Display for Quantiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "p50 {:.3} ms, p99 {:.3} ms, max {:.3} ms", self.p50, self.p99, self.max)
    }
}
