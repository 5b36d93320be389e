//! Whole exchanges through all stages, in virtual time.
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::string_slice,
    reason = "numbers and texts of the tests' own making"
)]

mod bodies;
mod bounds;
mod doubt;
mod early;
mod ends;
mod exports;
mod gaps;
mod http2;
mod losses;
mod lost_ends;
mod media;
mod mid_stream;
mod pressure;
mod random;
mod shape;
mod sockets;
mod timelines;
mod tunnels;
mod unknown;
mod verdicts;
mod websockets;

use super::*;
use crate::{CallEvent, CallEventKind, CallMilestone, CallOutcome, Entry};
use capture::units::{Direction, LossCause};
use testkit::{FakeTlsConn, OwnedRecord};

const MS: f64 = 1e-3;

/// Keeps what is said, by name.
#[derive(Default)]
struct Ear {
    said: Vec<String>,
    gaps: Vec<Option<f64>>,
    reads: Vec<u32>,
    news: Vec<crate::ConnectionEvent>,
    lags: Vec<Option<f64>>,
    stalls: Vec<f64>,
    causes: Vec<Option<&'static str>>,
    lost: Vec<(Option<u64>, LossCause)>,
    spans: Vec<dialects::spans::ExportedSpan>,
    debug: String,
}

impl EventSink for Ear {
    fn on_call_event(&mut self, event: &CallEvent<'_>) {
        self.debug.push_str(&format!("{event:?}"));
        match event.what {
            CallEventKind::Opened => self.said.push("opened".into()),
            CallEventKind::Prompt(_) | CallEventKind::Text(_) | CallEventKind::Responded => {}
            CallEventKind::Requested => self.said.push("requested".into()),
            CallEventKind::First { milestone, .. } => self.said.push(milestone.name().into()),
            CallEventKind::Chunk { gap, .. } => self.gaps.push(gap),
            CallEventKind::Read { events, lag } => {
                self.reads.push(events);
                self.lags.push(lag);
            }
            CallEventKind::Stall(stall) => {
                self.stalls.push(stall.seconds);
                self.causes.push(stall.cause);
            }
            CallEventKind::Record { .. } => self.said.push("record".into()),
            CallEventKind::Closed => self.said.push(event.entry.outcome.unwrap().name().into()),
        }
    }

    fn on_host_event(&mut self, event: &HostEvent<'_>) {
        self.debug.push_str(&format!("{event:?}"));
        match *event {
            HostEvent::Acted { .. } | HostEvent::CpuUsed { .. } => {}
            HostEvent::Exported { span, .. } => self.spans.push(*span),
            HostEvent::SentOn { bytes, at, .. } => self.said.push(format!("sent on {bytes} {}", at.0 / 1_000_000)),
            HostEvent::Unexported { why, .. } => self.said.push(why.into()),
            HostEvent::Lost { bytes, cause } => self.lost.push((bytes, cause)),
            HostEvent::Connection { news, .. } => self.news.push(news),
            HostEvent::ParserNote(note) => self.said.push(format!("odd {} {}", note.protocol, note.reason)),
        }
    }
}

/// Prints the messages it is shown.
#[derive(Default)]
struct Printed(String);

impl MessageTap for Printed {
    fn on_message(&mut self, _: &Entry, _: capture::units::Moment, message: &capture::proto::Message<'_>) {
        self.0.push_str(&format!("{message:?}"));
    }
}

struct Run {
    pipeline: Pipeline<Ear, Printed>,
    verdicts: Vec<Verdict>,
}

fn run(records: &[OwnedRecord]) -> Run {
    let mut run = Run {
        pipeline: Pipeline::with_tap(PipelineSettings::default(), Ear::default(), Printed::default()),
        verdicts: Vec::new(),
    };
    run.play(records);
    run
}

impl Run {
    fn play(&mut self, records: &[OwnedRecord]) {
        for record in records {
            self.pipeline.record(&record.get());
            self.verdicts.extend(self.pipeline.verdicts().map(|(_, verdict)| verdict));
        }
    }

    fn outcomes(&self) -> Vec<&'static str> {
        let ended: Vec<&Entry> = self.pipeline.call_table().ended().collect();
        ended.iter().rev().map(|entry| entry.outcome.unwrap().name()).collect()
    }

    fn only(&self) -> &Entry {
        let all: Vec<&Entry> = self.pipeline.call_table().open().chain(self.pipeline.call_table().ended()).collect();
        assert_eq!(all.len(), 1, "{all:?}");
        all[0]
    }

    fn ear(&self) -> &Ear {
        self.pipeline.sink()
    }

    /// All that was told and shown, as it prints.
    fn debug(&self) -> String {
        format!("{}{}", self.pipeline.sink().debug, self.pipeline.tap().0)
    }
}

fn request(path: &str, body: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: api.openai.com\r\nAuthorization: Bearer sk-secret\r\nContent-Type: application/json\r\nx-stainless-retry-count: 1\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn chat() -> String {
    request(
        "/v1/chat/completions",
        r#"{"model":"gpt-x","stream":true,"messages":[{"role":"user","content":"planted prompt"}]}"#,
    )
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: example.com\r\n\r\n")
}

const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
const DONE: &str = "e\r\ndata: [DONE]\n\n\r\n";
const LAST: &str = "0\r\n\r\n";

fn framed(body: &str) -> String {
    format!("{:x}\r\n{body}\r\n", body.len())
}

fn event(data: &str) -> String {
    framed(&format!("data: {data}\n\n"))
}

fn delta(text: &str) -> String {
    event(&format!(
        r#"{{"id":"chatcmpl-1","model":"gpt-x-2","choices":[{{"index":0,"delta":{{"content":"{text}"}}}}]}}"#
    ))
}

fn finish(reason: &str) -> String {
    event(&format!(
        r#"{{"id":"chatcmpl-1","model":"gpt-x-2","choices":[{{"index":0,"delta":{{}},"finish_reason":"{reason}"}}]}}"#
    ))
}

fn close_to(got: Option<f64>, want: f64) {
    let got = got.expect("known");
    assert!((got - want).abs() < 1e-4, "{got} for {want}");
}

#[test]
fn a_chat_stream_from_first_byte_to_end() {
    let mut script = FakeTlsConn::new(10, 1);
    script.write(chat()).wait_ms(100).read(HEAD);
    script.read_each(20, [delta("Hello"), delta(" world"), delta(". "), delta("Bye")]);
    script.wait_ms(20).read(finish("stop") + DONE + LAST).wait_ms(5).close();
    let run = run(script.records());
    let entry = run.only();
    assert_eq!(entry.outcome, Some(CallOutcome::Complete));
    assert_eq!((entry.events, entry.chunks, entry.reads, entry.visible_chars), (6, 4, 5, 16));
    assert_eq!((entry.api, entry.provider, entry.protocol), ("openai.chat", "openai", "http/1.1"));
    assert_eq!(entry.request.as_ref().unwrap().model.as_deref(), Some("gpt-x"));
    assert_eq!(entry.response_model.as_deref(), Some("gpt-x-2"));
    assert_eq!(entry.finish_reason.as_deref(), Some("stop"));
    assert_eq!((entry.attempt, entry.status, entry.streaming), (Some(1), Some(200), true));
    assert_eq!(entry.identity.service, "app.service");
    close_to(entry.firsts.byte, 100.0 * MS);
    close_to(entry.firsts.visible, 120.0 * MS);
    close_to(entry.firsts.sentence, 160.0 * MS);
    close_to(Some(entry.gap_stats().unwrap().p50), 20.0 * MS);
    close_to(entry.head_burst_ratio, 1.0);
    assert_eq!(run.ear().reads, [1, 1, 1, 1, 2]);
    assert_eq!(run.ear().gaps[0], None);
    assert_eq!(run.ear().said, ["opened", "requested", "byte", "event", "emitted", "visible", "sentence", "complete"]);
    assert_eq!(run.verdicts, [Verdict::Track]);
    assert_eq!(run.pipeline.connection_count(), 0);
    assert!(entry.firsts.get(CallMilestone::Tool).is_none());
}

/// A stream that has begun: request, head, one delta.
fn begun() -> FakeTlsConn {
    let mut script = FakeTlsConn::new(10, 1);
    script.write(chat()).wait_ms(100).read(HEAD).wait_ms(20).read(delta("Hello"));
    script
}

#[test]
fn every_outcome() {
    type Act = fn(&mut FakeTlsConn) -> &mut FakeTlsConn;
    let cases: &[(&str, Act)] = &[
        ("complete", |s| s.read([DONE, LAST].concat()).close()),
        ("complete", |s| s.read(DONE).close()),
        ("complete", |s| s.read(DONE).read_end(false).close()),
        ("complete", |s| s.read(DONE).exit()),
        ("truncated", |s| s.read(LAST).close()),
        ("truncated", |s| s.read_end(true).close()),
        ("truncated", |s| s.read_end(true).wait_ms(1).shutdown().close()),
        ("reset", |s| s.read_end(false).close()),
        ("client_cancel", |s| s.wait_ms(10).close()),
        ("client_cancel", |s| s.shutdown().wait_ms(1).read_end(true).close()),
        ("idle_timeout", |s| s.wait_ms(30_000).close()),
        ("client_cancel", |s| s.wait_ms(29_000).read(framed(": ping\n\n")).wait_ms(29_000).close()),
        ("error_event", |s| {
            s.read(event(r#"{"error":{"type":"server_error","message":"x"}}"#)).read([DONE, LAST].concat()).close()
        }),
        ("error_event", |s| s.read(event(r#"{"error":{"type":"server_error","message":"x"}}"#)).close()),
        ("process_exit", |s| s.exit()),
        ("lost", |s| s.lose(Direction::Read, 30).close()),
        ("lost", |s| s.lose(Direction::Read, 30).wait_ms(10).read_end(true).close()),
    ];
    for (index, (want, act)) in cases.iter().enumerate() {
        let mut script = begun();
        act(&mut script);
        let run = run(script.records());
        assert_eq!(run.outcomes(), [*want], "case {index}");
        assert!(run.only().ended.is_some());
        assert_eq!(run.pipeline.held(), 0);
    }
}

#[test]
fn an_error_keeps_its_kind() {
    let mut script = begun();
    script.read(event(r#"{"error":{"type":"server_error","message":"planted"}}"#)).close();
    assert_eq!(run(script.records()).only().error_kind.as_deref(), Some("server_error"));
}

#[test]
fn answers_that_are_no_stream() {
    let json = r#"{"id":"chatcmpl-1","object":"chat.completion","model":"gpt-x-2","choices":[{"index":0,"message":{"role":"assistant","content":"Hello you"},"finish_reason":"stop"}],"usage":{"prompt_tokens":7,"completion_tokens":2,"total_tokens":9}}"#;
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n", json.len());
    let mut whole = FakeTlsConn::new(10, 1);
    whole.write(chat()).wait_ms(100).read(&head).wait_ms(900).read(json).close();
    let ran = run(whole.records());
    let entry = ran.only();
    assert_eq!(entry.outcome, Some(CallOutcome::Complete));
    assert_eq!((entry.visible_chars, entry.chunks, entry.events, entry.streaming), (9, 0, 0, false));
    assert_eq!((entry.usage.input, entry.usage.output), (Some(7), Some(2)));
    assert_eq!((entry.firsts.visible, entry.gap_stats()), (None, None));
    close_to(entry.firsts.byte, 100.0 * MS);
    close_to(Some(entry.duration_seconds(Ns(0))), 1.0);

    let mut part = FakeTlsConn::new(10, 1);
    part.write(chat()).read(&head).read(&json[..40]).read_end(true).close();
    assert_eq!(run(part.records()).outcomes(), ["truncated"]);

    let mut refused = FakeTlsConn::new(10, 1);
    let error = r#"{"error":{"type":"rate_limit_error","message":"slow down"}}"#;
    refused
        .write(chat())
        .read(format!("HTTP/1.1 429 Too Many\r\nContent-Length: {}\r\n\r\n{error}", error.len()))
        .close();
    let ran = run(refused.records());
    assert_eq!((ran.outcomes(), ran.only().status), (vec!["http_error"], Some(429)));
}

#[test]
fn a_call_without_an_answer_is_open() {
    let mut script = FakeTlsConn::new(10, 1);
    script.write(chat());
    let mut run = run(script.records());
    run.pipeline.tick(Ns(script.now().0 + 5_000_000_000));
    let entry = run.only();
    assert_eq!((entry.outcome, entry.status, entry.firsts.byte), (None, None, None));
    close_to(entry.idle_seconds(run.pipeline.now()), 5.0);
    assert!(entry.request.is_some() && entry.request_sent.is_some());
    script.wait_ms(10).read_end(true).close();
    run.play(&script.records()[3..]);
    assert_eq!(run.outcomes(), ["truncated"]);
}

#[test]
fn the_marker_ends_a_call_whose_framing_never_does() {
    let mut script = begun();
    script.read(DONE);
    let mut run = run(script.records());
    run.pipeline.tick(Ns(script.now().0 + 500_000_000));
    assert_eq!(run.outcomes(), [""; 0]);
    run.pipeline.tick(Ns(script.now().0 + 1_500_000_000));
    assert_eq!(run.outcomes(), ["complete"]);
    assert_eq!(run.only().ended, Some(Ns(script.now().0 - 1_000)));
    // The connection is of use again.
    let mut more = script.clone();
    more.wait_ms(2_000).read(LAST).write(chat()).wait_ms(5).read([HEAD, &delta("x"), DONE, LAST].concat());
    run.play(&more.records()[script.records().len()..]);
    assert_eq!(run.outcomes(), ["complete", "complete"]);
}

#[test]
fn several_calls_on_one_connection() {
    let mut script = FakeTlsConn::new(10, 1);
    for _ in 0..3 {
        script.wait_ms(50).write(chat()).wait_ms(10).read([HEAD, &delta("Hello"), DONE, LAST].concat());
    }
    script.close();
    let run = run(script.records());
    assert_eq!(run.outcomes(), ["complete"; 3]);
    let ids: HashSet<String> = run.pipeline.call_table().ended().map(|entry| entry.id.clone()).collect();
    assert_eq!(ids.len(), 3);
    let points = |entry: &Entry| run.pipeline.call_table().find(&entry.id).unwrap().1.len();
    assert!(run.pipeline.call_table().ended().all(|entry| points(entry) == 2));
}

#[test]
fn secrets_and_words_stay_inside() {
    const PLANTED: [&str; 6] =
        ["sk-secret", "PLANTEDquery", "PLANTEDcookie", "planted prompt", "PLANTEDanswer", "PLANTEDerror"];
    let request = chat()
        .replace("/completions", "/completions?api-key=PLANTEDquery")
        .replace("\r\nContent-Type", "\r\nCookie: PLANTEDcookie\r\nx-api-key: sk-secret\r\nContent-Type");
    let mut script = FakeTlsConn::new(10, 1);
    script.write(&request).wait_ms(9).read(HEAD).read_each(9, [delta("PLANTEDanswer"), delta(" PLANTEDanswer.\\n")]);
    script.read(event(r#"{"error":{"type":"server_error","message":"PLANTEDerror"}}"#)).read(event("{PLANTEDanswer"));
    script.lose(Direction::Read, 10).wait_ms(9).read("PLANTEDanswer").close();
    let mut run = run(&[]);
    let mut seen = String::new();
    for record in script.records() {
        seen += &format!("{:?}", record.get());
        run.play(std::slice::from_ref(record));
        seen += &run
            .pipeline
            .call_table()
            .open()
            .chain(run.pipeline.call_table().ended())
            .map(|e| format!("{e:?}"))
            .collect::<String>();
    }
    let id = run.only().id.clone();
    seen += &format!("{:?}{:?}{:?}", run.pipeline.call_table().find(&id), run.debug(), run.pipeline.counters());
    for planted in PLANTED {
        assert!(!seen.contains(planted), "{planted} got out");
    }
    assert!(seen.contains("gpt-x") && seen.contains("server_error"));
}
