//! Whole exchanges through all stages, in virtual time.
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::string_slice,
    reason = "numbers and texts of the tests' own making"
)]

mod bodies;
mod doubt;
mod early;
mod exports;
mod http2;
mod joined;
mod lost_ends;
mod media;
mod pressure;
mod shape;
mod sockets;
mod timelines;
mod tunnels;
mod unknown;
mod websockets;

use proptest::prelude::*;

use super::*;
use crate::conn::testing::{Owned, Script};
use crate::ledger::{Entry, Happening, Milestone, Outcome};
use crate::units::LossCause;

const MS: f64 = 1e-3;

/// Keeps what is said, by name.
#[derive(Default)]
struct Ear {
    said: Vec<String>,
    gaps: Vec<Option<f64>>,
    reads: Vec<u32>,
    news: Vec<crate::ledger::News>,
    lags: Vec<Option<f64>>,
    stalls: Vec<f64>,
    causes: Vec<Option<&'static str>>,
    lost: Vec<(Option<u64>, LossCause)>,
    spans: Vec<crate::spans::Span>,
    debug: String,
}

impl Audience for Ear {
    fn overhear(&mut self, _: &Entry, _: crate::units::Moment, message: &crate::proto::Message<'_>) {
        self.debug.push_str(&format!("{message:?}"));
    }

    fn hear(&mut self, happening: Happening<'_>) {
        self.debug.push_str(&format!("{happening:?}"));
        match happening {
            Happening::Opened(_) => self.said.push("opened".into()),
            Happening::Prompt { .. } | Happening::Said { .. } | Happening::Responded(_) | Happening::Acted { .. } => {}
            Happening::Exported { span, .. } => self.spans.push(*span),
            Happening::SentOn { bytes, at, .. } => self.said.push(format!("sent on {bytes} {}", at.0 / 1_000_000)),
            Happening::Unexported { why, .. } => self.said.push(why.into()),
            Happening::Requested(_) => self.said.push("requested".into()),
            Happening::First { milestone, .. } => self.said.push(milestone.name().into()),
            Happening::Chunk { gap, .. } => self.gaps.push(gap),
            Happening::Read { events, lag, .. } => {
                self.reads.push(events);
                self.lags.push(lag);
            }
            Happening::Stall { stall, .. } => {
                self.stalls.push(stall.seconds);
                self.causes.push(stall.cause);
            }
            Happening::Closed(entry) => self.said.push(entry.outcome.unwrap().name().into()),
            Happening::Lost { bytes, cause } => self.lost.push((bytes, cause)),
            Happening::Record { .. } => self.said.push("record".into()),
            Happening::Link { news, .. } => self.news.push(news),
            Happening::Odd(note) => self.said.push(format!("odd {} {}", note.protocol, note.reason)),
        }
    }
}

struct Run {
    pipeline: Pipeline<Ear>,
    verdicts: Vec<Verdict>,
}

fn run(records: &[Owned]) -> Run {
    let mut run = Run { pipeline: Pipeline::new(Settings::default(), Ear::default()), verdicts: Vec::new() };
    run.play(records);
    run
}

impl Run {
    fn play(&mut self, records: &[Owned]) {
        for record in records {
            self.pipeline.record(&record.get());
            self.verdicts.extend(self.pipeline.verdicts().map(|(_, verdict)| verdict));
        }
    }

    fn outcomes(&self) -> Vec<&'static str> {
        let mut ended: Vec<&Entry> = self.pipeline.book().ended().collect();
        ended.reverse();
        ended.iter().map(|entry| entry.outcome.unwrap().name()).collect()
    }

    fn only(&self) -> &Entry {
        let all: Vec<&Entry> = self.pipeline.book().open().chain(self.pipeline.book().ended()).collect();
        assert_eq!(all.len(), 1, "{all:?}");
        all[0]
    }

    fn ear(&self) -> &Ear {
        self.pipeline.audience()
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
    let mut script = Script::new(10, 1);
    script.write(chat()).wait_ms(100).read(HEAD);
    script.read_each(20, [delta("Hello"), delta(" world"), delta(". "), delta("Bye")]);
    script.wait_ms(20).read(finish("stop") + DONE + LAST).wait_ms(5).close();
    let run = run(script.records());
    let entry = run.only();
    assert_eq!(entry.outcome, Some(Outcome::Complete));
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
    assert_eq!(run.pipeline.connections(), 0);
    assert!(entry.firsts.get(Milestone::Tool).is_none());
}

/// A stream that has begun: request, head, one delta.
fn begun() -> Script {
    let mut script = Script::new(10, 1);
    script.write(chat()).wait_ms(100).read(HEAD).wait_ms(20).read(delta("Hello"));
    script
}

#[test]
fn every_outcome() {
    type Act = fn(&mut Script) -> &mut Script;
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
    let mut whole = Script::new(10, 1);
    whole.write(chat()).wait_ms(100).read(&head).wait_ms(900).read(json).close();
    let ran = run(whole.records());
    let entry = ran.only();
    assert_eq!(entry.outcome, Some(Outcome::Complete));
    assert_eq!((entry.visible_chars, entry.chunks, entry.events, entry.streaming), (9, 0, 0, false));
    assert_eq!((entry.usage.input, entry.usage.output), (Some(7), Some(2)));
    assert_eq!((entry.firsts.visible, entry.gap_stats()), (None, None));
    close_to(entry.firsts.byte, 100.0 * MS);
    close_to(Some(entry.duration_seconds(Ns(0))), 1.0);

    let mut part = Script::new(10, 1);
    part.write(chat()).read(&head).read(&json[..40]).read_end(true).close();
    assert_eq!(run(part.records()).outcomes(), ["truncated"]);

    let mut refused = Script::new(10, 1);
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
    let mut script = Script::new(10, 1);
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
    let mut script = Script::new(10, 1);
    for _ in 0..3 {
        script.wait_ms(50).write(chat()).wait_ms(10).read([HEAD, &delta("Hello"), DONE, LAST].concat());
    }
    script.close();
    let run = run(script.records());
    assert_eq!(run.outcomes(), ["complete"; 3]);
    let ids: HashSet<String> = run.pipeline.book().ended().map(|entry| entry.id.clone()).collect();
    assert_eq!(ids.len(), 3);
    assert!(run.pipeline.book().ended().all(|entry| run.pipeline.book().find(&entry.id).unwrap().1.len() == 2));
}

#[test]
fn events_of_one_read_have_no_gap_between_them() {
    let mut script = Script::new(10, 1);
    script.write(chat()).read(HEAD);
    for _ in 0..5 {
        script.wait_ms(100).read([delta("a"), delta("b"), delta("")].concat());
    }
    script.read([DONE, LAST].concat()).close();
    let run = run(script.records());
    let gaps: Vec<i64> = run.ear().gaps.iter().map(|gap| gap.map_or(-1, |s| (s * 1e3).round() as i64)).collect();
    assert_eq!(gaps, [-1, 0, 100, 0, 100, 0, 100, 0, 100, 0]);
    // Read 6 brings [DONE] alone.
    assert_eq!(run.ear().reads, [3, 3, 3, 3, 3, 1]);
    assert_eq!((run.only().events, run.only().chunks, run.only().reads), (16, 10, 6));
    let burst = run.only().head_burst_ratio.unwrap();
    assert!((burst - 0.4).abs() < 1e-9, "{burst}");
}

#[test]
fn stalls_are_judged_against_the_median() {
    let stalls = |gaps: &[u64]| {
        let mut script = Script::new(10, 1);
        script.write(chat()).read(HEAD).read(delta("x"));
        for &ms in gaps {
            script.wait_ms(ms).read(delta("x"));
        }
        script.read([DONE, LAST].concat()).close();
        let run = run(script.records());
        assert_eq!(run.only().stalls.len(), run.ear().stalls.len());
        run.ear().stalls.iter().map(|s| (s * 10.0).round() as u64).collect::<Vec<_>>()
    };
    assert_eq!(stalls(&[20, 2500, 20]), [25]);
    assert_eq!(stalls(&[600, 600, 600]), [0; 0]);
    assert_eq!(stalls(&[20; 30]), [0; 0]);
    assert_eq!(stalls(&[20, 20, 20, 20, 20, 20, 20, 20, 20, 700, 20, 900]), [7, 9]);
    assert_eq!(stalls(&[100, 100, 100, 100, 100, 100, 100, 100, 100, 700, 900]), [9]);
}

#[test]
fn what_is_no_http_is_ignored_at_once() {
    let not_ours: [fn(&mut Script) -> &mut Script; 4] = [
        |s| s.write("\x16\x03\x01 binary protocol"),
        |s| s.read("220 mail.example.com ESMTP\r\n"),
        |s| s.read(chat()),
        |s| s.write("HTTP/1.1 200 OK\r\n\r\n"),
    ];
    for (index, act) in not_ours.into_iter().enumerate() {
        let mut script = Script::new(10, 1);
        act(&mut script);
        script.write(chat()).read([HEAD, &delta("x")].concat());
        let run = run(script.records());
        assert_eq!(run.verdicts, [Verdict::Ignore], "case {index}");
        assert_eq!(run.pipeline.held(), 0);
        assert_eq!(run.pipeline.book().open().count(), 0);
    }
}

#[test]
fn a_method_may_come_in_pieces() {
    let mut script = Script::new(10, 1);
    script.write("P").write("OS").write(&chat()[3..]).read([HEAD, &delta("x"), DONE, LAST].concat());
    assert_eq!(run(script.records()).outcomes(), ["complete"]);
}

#[test]
fn requests_of_another_kind_cost_heads_and_then_nothing() {
    let mut script = Script::new(10, 1);
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc";
    for n in 1..=limits::NON_LLM_REQUESTS {
        let mut more = script.clone();
        more.wait_ms(10).write(get("/other")).read(answer);
        let run = run(more.records());
        assert_eq!(run.pipeline.held(), 0, "nothing stays");
        let mut want = vec![Verdict::Heads; n as usize];
        if n == limits::NON_LLM_REQUESTS {
            want[n as usize - 1] = Verdict::Ignore;
        }
        assert_eq!(run.verdicts, want, "said anew each time: `Heads` holds until the next write");
        assert_eq!(run.ear().lost, []);
        script = more;
    }
}

#[test]
fn a_connection_to_a_models_api_is_never_ignored() {
    let mut script = Script::new(10, 1);
    for _ in 0..10 * limits::NON_LLM_REQUESTS {
        script.write(get("/v1/batches/b")).lose(Direction::Read, 5_000).wait_ms(10);
    }
    script.write(chat()).wait_ms(10).read([HEAD, &delta("Hello"), DONE, LAST].concat()).close();
    assert_eq!(run(script.records()).outcomes(), ["complete"]);
}

#[test]
fn a_model_call_after_others_is_found_by_its_head() {
    for body_kept in [true, false] {
        let mut script = Script::new(10, 1);
        script.write(get("/other"));
        // Under `Heads` reads do not come, and of a write only the head does.
        script.lose(Direction::Read, 5_000).wait_ms(10);
        script.write(get("/other2")).lose(Direction::Read, 70_000).wait_ms(10);
        let request = chat();
        let kept = if body_kept { request.len() } else { request.find("\r\n\r\n").unwrap() + 10 };
        script.cut(Direction::Write, &request, kept, LossCause::Truncated).wait_ms(300);
        script.read([HEAD, &delta("Hello")].concat()).wait_ms(20).read([DONE, LAST].concat());
        script.wait_ms(20).write(get("/other3")).read("HTTP/1.1 204 No Content\r\n\r\n");
        script.wait_ms(20).write(chat()).read([HEAD, &delta("x"), DONE, LAST].concat()).close();
        let run = run(script.records());
        assert_eq!(run.outcomes(), ["complete", "complete"]);
        assert_eq!(run.verdicts, [Verdict::Heads, Verdict::Heads, Verdict::Track]);
        let first = run.pipeline.book().ended().last().unwrap();
        let facts = first.request.as_ref().unwrap();
        assert_eq!((facts.truncated, facts.model.is_some()), (!body_kept, body_kept));
        close_to(first.firsts.byte, 300.0 * MS);
        assert_eq!(first.chunks, 1);
        let lost: Vec<_> = run.ear().lost.iter().filter(|(_, cause)| *cause != LossCause::Truncated).collect();
        assert!(lost.is_empty(), "what is left out on purpose is not lost: {lost:?}");
    }
}

#[test]
fn an_answer_whose_beginning_was_lost_is_and_the_next_is_not() {
    let mut script = Script::new(10, 1);
    script.write(get("/other")).lose(Direction::Read, 5_000).wait_ms(10).write(chat());
    script.wait_ms(1).lose(Direction::Read, 150).read(delta("tail")).read([DONE, LAST].concat()).wait_ms(10);
    script
        .write(chat())
        .wait_ms(40)
        .read(HEAD)
        .read([delta("a"), delta("b"), DONE.into(), LAST.into()].concat())
        .close();
    let run = run(script.records());
    let calls: Vec<_> = run.pipeline.book().ended().map(|e| (e.started, e.outcome.unwrap(), e.chunks)).collect();
    assert_eq!(calls.len(), 2);
    let Record::Data(asked) = &script.records()[6].record else { panic!("a write") };
    assert!(calls.contains(&(asked.entered, Outcome::Complete, 2)), "{calls:?}");
    assert!(calls.iter().any(|call| call.1 == Outcome::Lost && call.2 == 0), "{calls:?}");
}

#[test]
fn a_connection_joined_in_the_middle_counts_from_its_next_request() {
    let mut script = Script::joined(10, 1);
    script.read(framed("tail of an unknown answer")).wait_ms(5).read(LAST);
    script.wait_ms(10).write("half a body}").wait_ms(10).write(chat());
    script.wait_ms(100).read([HEAD, &delta("Hello"), DONE, LAST].concat()).close();
    let run = run(script.records());
    assert_eq!(run.outcomes(), ["complete"]);
    assert_eq!((run.only().chunks, run.only().lost.len()), (1, 0));
    assert_eq!(run.ear().lost, [(None, LossCause::LateAttach), (None, LossCause::LateAttach)]);
    assert_eq!(run.verdicts, [Verdict::Track]);
}

#[test]
fn a_joined_connection_that_only_reads_is_not_paid_for_long() {
    let mut script = Script::joined(10, 1);
    let piece = vec![b'x'; 16 * 1024];
    script.read_each(1, std::iter::repeat_n(&piece, 80));
    let run = run(script.records());
    assert_eq!((run.verdicts.as_slice(), run.pipeline.held()), (&[Verdict::Heads][..], 0));
}

#[test]
fn lost_bytes_mark_their_stream_alone() {
    let mut hurt = begun();
    let event = delta("four");
    hurt.wait_ms(20).read(delta("more")).lose(Direction::Read, 2 * event.len() as u64).wait_ms(40).read(&event);
    hurt.wait_ms(20).read(&event).wait_ms(20).read([DONE, LAST].concat()).close();
    let mut well = Script::new(11, 1);
    well.write(chat())
        .wait_ms(100)
        .read(HEAD)
        .read_each(20, [&event, &event, &event])
        .read([DONE, LAST].concat())
        .close();
    let run = run(&Script::merge(&[hurt, well]));
    let entry = run.pipeline.book().ended().find(|entry| entry.identity.pid == 10).unwrap();
    let neighbour = run.pipeline.book().ended().find(|entry| entry.identity.pid == 11).unwrap();
    assert_eq!(run.ear().lost, [(Some(2 * event.len() as u64), LossCause::RingFull)]);
    assert_eq!((neighbour.lost.len(), neighbour.notes.len(), neighbour.chunks), (0, 0, 3));
    assert!(!entry.lost.is_empty() && entry.notes.contains(&"lost_bytes_may_hide_chunks"), "{entry:?}");
    assert!(entry.gap_stats().is_none_or(|gaps| gaps.max < 0.039), "the gap over the hole is left out: {entry:?}");
    assert_eq!(entry.head_burst_ratio, None);
}

#[test]
fn milestones_behind_a_hole_stay_unknown() {
    let mut script = Script::new(10, 1);
    let body = [delta("one"), delta("two."), delta(" x")].concat();
    let sse: String = ["one", "two.", " x"]
        .map(|text| format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{text}\"}}}}]}}\n\n"))
        .concat();
    drop(body);
    let head =
        format!("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: {}\r\n\r\n", sse.len() + 14);
    script
        .write(chat())
        .wait_ms(10)
        .read(head)
        .lose(Direction::Read, 40)
        .wait_ms(10)
        .read(&sse[40..])
        .read("data: [DONE]\n\n");
    let run = run(script.close().records());
    let entry = run.only();
    assert!(entry.firsts.byte.is_some());
    assert_eq!((entry.firsts.visible, entry.firsts.sentence, entry.firsts.event), (None, None, None));
    assert_eq!((entry.outcome, entry.chunks), (Some(Outcome::Complete), 2));
    assert_eq!(entry.lost, [ledger::Loss { cause: LossCause::RingFull, bytes: Some(40) }]);
}

#[test]
fn what_had_arrived_is_read_after_the_peers_end() {
    let mut script = begun();
    script.read_end(true).wait_ms(3_000).read(delta("late")).read([DONE, LAST].concat()).close();
    let run = run(script.records());
    assert_eq!((run.outcomes(), run.only().chunks), (vec!["complete"], 2));
}

#[test]
fn the_earlier_goodbye_counts() {
    let mut script = begun();
    let peer = script.now();
    script.wait_ms(5).shutdown().wait_ms(5).close();
    let mut records = script.records().to_vec();
    let end = Owned { record: Record::ReadEnd { conn: script.key(), at: peer, clean: true }, bytes: Vec::new() };
    records.insert(records.len() - 1, end);
    let run = run(&records);
    assert_eq!((run.outcomes(), run.only().ended), (vec!["truncated"], Some(peer)));
}

#[test]
fn a_goodbye_ends_the_call_even_if_the_object_stays() {
    for (local, grace) in [(true, limits::LOCAL_GRACE_NS), (false, limits::PEER_GRACE_NS)] {
        let mut script = begun();
        if local {
            script.shutdown()
        } else {
            script.read_end(true)
        };
        let mut run = run(script.records());
        run.pipeline.tick(Ns(script.now().0 + grace / 2));
        assert_eq!(run.outcomes(), [""; 0]);
        run.pipeline.tick(Ns(script.now().0 + grace + 1));
        assert_eq!(run.outcomes(), [if local { "client_cancel" } else { "truncated" }]);
        assert!(run.only().ended <= Some(script.now()), "ended at the goodbye, not when it was noticed");
    }
}

#[test]
fn a_connection_whose_end_was_lost_ends_with_its_successor() {
    let old = begun();
    let mut new = Script::new(10, 1).generation(8);
    new.wait_ms(5_000).write(chat());
    let mut run = run(old.records());
    run.play(&new.records()[1..]);
    // The open record of the successor carries its own birth, later than anything of the old one.
    assert_eq!(run.pipeline.book().open().count(), 1);
    assert_eq!(run.outcomes(), ["lost"]);
}

#[test]
fn the_longest_idle_connection_goes_when_the_table_is_full() {
    let mut pipeline = Pipeline::new(Settings { conns: 2, ..Settings::default() }, Ear::default());
    for tgid in 1..=3 {
        let mut script = Script::new(tgid, 1);
        script.wait_ms(u64::from(tgid) * 5_000).write(chat());
        script.records().iter().for_each(|record| pipeline.record(&record.get()));
    }
    assert_eq!((pipeline.counters().evicted, pipeline.connections()), (1, 2));
    let gone: Vec<_> = pipeline.book().ended().map(|e| (e.identity.pid, e.outcome)).collect();
    assert_eq!(gone, [(1, Some(Outcome::Lost))]);
}

#[test]
fn a_long_stream_does_not_grow() {
    let mut pipeline = Pipeline::new(Settings::default(), ());
    let mut script = begun();
    script.records().iter().for_each(|record| pipeline.record(&record.get()));
    let mut held = Vec::new();
    for _ in 0..30 {
        let from = script.records().len();
        script.read_each(20, std::iter::repeat_n(delta("word "), 200));
        script.records()[from..].iter().for_each(|record| pipeline.record(&record.get()));
        held.push(pipeline.held());
    }
    assert_eq!(pipeline.book().open().next().unwrap().chunks, 6001);
    assert!(held.windows(2).all(|w| w[0] == w[1]), "{held:?}");
    let id = pipeline.book().open().next().unwrap().id.clone();
    let (entry, points, before) = pipeline.book().find(&id).unwrap();
    assert_eq!((points.len(), before), (limits::TIMELINE, entry.events - limits::TIMELINE as u64));
}

#[test]
fn the_ended_ring_is_bounded() {
    let ledger = ledger::Limits { ended: 5, ..ledger::Limits::default() };
    let mut pipeline = Pipeline::new(Settings { ledger, ..Settings::default() }, ());
    let mut script = Script::new(10, 1);
    for _ in 0..12 {
        script.wait_ms(50).write(chat()).read([HEAD, &delta("Hello"), DONE, LAST].concat());
    }
    script.records().iter().for_each(|record| pipeline.record(&record.get()));
    let started: Vec<Ns> = pipeline.book().ended().map(|entry| entry.started).collect();
    assert_eq!(started.len(), 5);
    assert!(started.windows(2).all(|w| w[0] > w[1]), "newest first");
}

#[test]
fn secrets_and_words_stay_inside() {
    const PLANTED: [&str; 6] =
        ["sk-secret", "PLANTEDquery", "PLANTEDcookie", "planted prompt", "PLANTEDanswer", "PLANTEDerror"];
    let request = chat()
        .replace("/completions", "/completions?api-key=PLANTEDquery")
        .replace("\r\nContent-Type", "\r\nCookie: PLANTEDcookie\r\nx-api-key: sk-secret\r\nContent-Type");
    let mut script = Script::new(10, 1);
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
            .book()
            .open()
            .chain(run.pipeline.book().ended())
            .map(|e| format!("{e:?}"))
            .collect::<String>();
    }
    let id = run.only().id.clone();
    seen += &format!("{:?}{:?}{:?}", run.pipeline.book().find(&id), run.ear().debug, run.pipeline.counters());
    for planted in PLANTED {
        assert!(!seen.contains(planted), "{planted} got out");
    }
    assert!(seen.contains("gpt-x") && seen.contains("server_error"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// However the bytes are cut into calls, the same calls come out; only what belongs to reads differs.
    #[test]
    fn cuts_change_nothing(cuts in proptest::collection::vec(1..200usize, 0..60), wait in 0..5u64) {
        let answer = [HEAD, &delta("Hello"), &delta(" 你好"), &delta(". "), &finish("stop"), DONE, LAST].concat();
        let mut script = Script::new(10, 1);
        for _ in 0..2 {
            let mut rest = chat().into_bytes();
            for cut in &cuts {
                script.write(rest.drain(..(*cut).min(rest.len())).collect::<Vec<u8>>());
            }
            script.write(rest);
            let mut rest = answer.clone().into_bytes();
            for cut in &cuts {
                script.wait_ms(wait).read(rest.drain(..(*cut).min(rest.len())).collect::<Vec<u8>>());
            }
            script.read(rest);
        }
        let run = run(script.close().records());
        prop_assert_eq!(run.outcomes(), ["complete"; 2]);
        for entry in run.pipeline.book().ended() {
            prop_assert_eq!((entry.events, entry.chunks, entry.visible_chars), (5, 3, 10));
            prop_assert_eq!(entry.request.as_ref().unwrap().model.as_deref(), Some("gpt-x"));
            prop_assert!(entry.firsts.byte <= entry.firsts.visible && entry.firsts.visible <= entry.firsts.sentence);
        }
    }

    /// Whatever is lost, nothing panics, nothing is counted that did not come, and other connections are untouched.
    #[test]
    fn losses_never_add(keep in proptest::collection::vec(any::<bool>(), 30), tail in 0..200u64) {
        let mut hurt = Script::new(10, 1);
        hurt.write(chat()).read(HEAD);
        for &keep in &keep {
            let event = delta("word");
            if keep { hurt.wait_ms(20).read(event) } else { hurt.wait_ms(20).lose(Direction::Read, event.len() as u64) };
        }
        hurt.read([DONE, LAST].concat()).lose(Direction::Read, tail).close();
        let mut well = Script::new(11, 1);
        well.write(chat()).read(HEAD).read_each(20, vec![delta("word"); 30]).read([DONE, LAST].concat()).close();
        let run = run(&Script::merge(&[hurt, well]));
        let by = |pid| run.pipeline.book().ended().find(|entry| entry.identity.pid == pid).unwrap();
        prop_assert_eq!((by(11).chunks, by(11).outcome, by(11).notes.len()), (30, Some(Outcome::Complete), 0));
        prop_assert!(by(10).chunks <= keep.iter().filter(|&&k| k).count() as u64);
        prop_assert!(by(10).outcome.is_some());
        if keep.iter().all(|&k| k) && tail == 0 {
            prop_assert_eq!(by(10).chunks, 30);
        }
        prop_assert_eq!(run.pipeline.held(), 0);
    }

    /// Records of any kind in any order, as a damaged recording may hold.
    #[test]
    fn any_records_do_no_harm(ops in proptest::collection::vec((0..10u8, 0..3u64, any::<u32>(), any::<bool>(), 0..5usize), 0..80)) {
        let texts = [chat(), HEAD.into(), delta("x"), [DONE, LAST].concat(), get("/x")];
        let mut pipeline = Pipeline::new(Settings { conns: 2, ..Settings::default() }, Ear::default());
        for (kind, handle, number, flag, text) in ops {
            let conn = ConnKey { handle, start_ns: u64::from(number % 2), tgid: number % 3, generation: number % 2 };
            let at = Ns(u64::from(number) << (number % 30));
            let data = Data {
                conn, direction: if flag { Direction::Read } else { Direction::Write }, at, entered: at,
                pos: u64::from(number % 3) * 40, call_len: number, offset: number % 5, born: flag,
                lost: (number % 5 == 0).then_some(LossCause::Truncated), bytes: texts[text].as_bytes(),
            };
            pipeline.record(&match kind {
                0 => Record::Process { tgid: conn.tgid, start_ns: conn.start_ns, identity: Default::default() },
                1 => Record::Open { conn, at },
                2 => Record::Shutdown { conn, at },
                3 => Record::ReadEnd { conn, at, clean: flag },
                4 => Record::Close { conn, at, read_pos: u64::from(number), write_pos: 0 },
                5 => Record::Exit { tgid: conn.tgid, at },
                6 => Record::Audited { conn, at, moved: flag.then_some([u64::from(number), u64::from(number % 100)]) },
                _ => Record::Data(data),
            });
            pipeline.tick(at);
            prop_assert!(pipeline.connections() <= 2);
        }
    }
}
