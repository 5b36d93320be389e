//! The transcript of stages 4 and 5 together: what the provider said, through the dialect that the table finds.

use std::collections::BTreeMap;

use capture::proto::{ExchangeId, Message, MessageSink, RequestHead};
use capture::units::Moment;
use dialects::{Dialect, RequestFacts, ServerTimes, TokenUsage, Utterance, find};
use serde_json::{Value, json};

use super::transcript::{Lines, Transcript};
use super::turns::Sockets;

#[derive(Default)]
pub(super) struct Utterances {
    lines: Lines,
    exchanges: BTreeMap<u64, Box<dyn Dialect>>,
    json_streams: Vec<ExchangeId>,
    sockets: Sockets,
    /// Media in progress: exchange and bytes, whose pieces depend on how the bytes were cut.
    media: Option<(u64, u64)>,
}

impl MessageSink for Utterances {
    fn message(&mut self, exchange: ExchangeId, _: Moment, message: Message<'_>) {
        let x = exchange.0;
        if let Message::Request(head) = &message {
            return self.begin(x, head);
        }
        if self.sockets.message(exchange, &message, &mut self.lines) {
            return;
        }
        let Some(dialect) = self.exchanges.get_mut(&x) else { return };
        let (lines, media) = (&mut self.lines, &mut self.media);
        if !matches!(message, Message::Body(_)) {
            heard(lines, media);
        }
        let mut say = |utterance: Utterance<'_>| match utterance {
            Utterance::Media { bytes } => media.get_or_insert((x, 0)).1 += bytes,
            utterance => {
                heard(lines, media);
                lines.push(said(x, &utterance));
            }
        };
        match message {
            Message::RequestBody(bytes) => dialect.request_body(bytes),
            Message::RequestEnd { lost } => {
                lines.push(asked(x, &dialect.request_end(lost)));
                self.json_streams.extend(dialect.streams_json().then_some(exchange));
            }
            Message::Response(head) => dialect.response(head),
            Message::Event(event) => dialect.event(&event, &mut say),
            Message::Body(bytes) => dialect.body(bytes, &mut say),
            Message::Gap { .. } => dialect.gap(),
            Message::Comment => lines.push(json!({"x": x, "comment": true})),
            Message::End(end) => {
                dialect.end(end, &mut say);
                heard(lines, media);
                lines.push(json!({"x": x, "end": format!("{end:?}")}));
                self.exchanges.remove(&x);
            }
            Message::Trailers(list) => dialect.trailers(list, &mut say),
            Message::Request(_) | Message::Sent { .. } | Message::Note(_) => {}
        }
    }
}

impl Utterances {
    fn begin(&mut self, x: u64, head: &RequestHead) {
        if self.sockets.begin(x, head) {
            return;
        }
        let Some(row) = find(head, &[]) else { return self.lines.push(json!({"x": x, "none": head.path})) };
        self.lines.push(json!({"x": x, "api": row.api, "provider": (row.provider)(head)}));
        self.exchanges.insert(x, (row.make)(head));
    }
}

/// Writes down media that came in pieces.
fn heard(lines: &mut Lines, media: &mut Option<(u64, u64)>) {
    if let Some((x, bytes)) = media.take() {
        lines.push(json!({"x": x, "media": bytes}));
    }
}

impl Transcript for Utterances {
    fn json_streams(&mut self) -> Vec<ExchangeId> {
        std::mem::take(&mut self.json_streams)
    }

    fn lines(self: Box<Self>) -> Vec<Value> {
        let lines = self.lines.finish();
        let text = lines.iter().filter(|line| line.get("delta").is_none()).map(Value::to_string).collect::<String>();
        assert!(!text.contains("planted"), "a planted text came out: {text}");
        lines
    }

    /// Output, names and reasons come out whole or not at all. Token counts may be partial, and an error may lose its
    /// word.
    fn survives_only_whole(&self, line: &Value) -> bool {
        ["delta", "whole", "start", "finish"].iter().any(|key| line.get(key).is_some())
    }
}

pub(super) fn asked(x: u64, facts: &RequestFacts) -> Value {
    let RequestFacts { model, stream, messages, tools, max_tokens, truncated } = facts;
    json!({"x": x, "asked": {
        "model": model, "stream": stream, "messages": messages, "tools": tools, "max_tokens": max_tokens,
        "truncated": truncated,
    }})
}

pub(super) fn said(x: u64, utterance: &Utterance<'_>) -> Value {
    match utterance {
        Utterance::Start { response_id, model } => json!({"x": x, "start": {"id": response_id, "model": model}}),
        Utterance::Delta { kind, text } => json!({"x": x, "delta": format!("{kind:?}"), "text": text}),
        Utterance::Whole { kind, chars } => json!({"x": x, "whole": format!("{kind:?}"), "chars": chars}),
        Utterance::Media { bytes } => json!({"x": x, "media": bytes}),
        Utterance::Usage(usage) => json!({"x": x, "usage": counts(usage)}),
        Utterance::Mark { what, value } => json!({"x": x, "mark": format!("{what:?}"), "value": value}),
        Utterance::Limit { name, value } => json!({"x": x, "limit": name, "value": value}),
        Utterance::Took(times) => json!({"x": x, "took": took(times)}),
        Utterance::Finish { reason } => json!({"x": x, "finish": reason}),
        Utterance::Error { kind } => json!({"x": x, "error": kind}),
        Utterance::End => json!({"x": x, "marker": true}),
        Utterance::KeepAlive => json!({"x": x, "keepalive": true}),
        Utterance::Other => json!({"x": x, "other": true}),
        Utterance::Malformed(reason) => json!({"x": x, "malformed": reason}),
    }
}

/// Audio tokens are written only where there are some.
fn counts(usage: &TokenUsage) -> Value {
    let TokenUsage { input, output, cached, cache_write, reasoning, audio_input, audio_output } = *usage;
    let mut counts = json!({
        "input": input, "output": output, "cached": cached, "cache_write": cache_write, "reasoning": reasoning,
    });
    for (name, count) in [("audio_input", audio_input), ("audio_output", audio_output)] {
        if let (Some(map), Some(count)) = (counts.as_object_mut(), count) {
            map.insert(name.into(), json!(count));
        }
    }
    counts
}

/// Milliseconds; only what is there. In thousandths, since what was divided does not come out even.
fn took(times: &ServerTimes) -> Value {
    let ServerTimes { queue_ms, prompt_ms, generation_ms, first_ms, total_ms } = *times;
    let all = [
        ("queue", queue_ms),
        ("prompt", prompt_ms),
        ("generation", generation_ms),
        ("first", first_ms),
        ("total", total_ms),
    ];
    let there = all.into_iter().filter_map(|(name, ms)| Some((name.to_owned(), json!((ms? * 1e3).round() / 1e3))));
    Value::Object(there.collect())
}
