//! HTTP/2 connections: many calls at once, followed whole.

use super::*;

pub(super) const PREFACE: &str = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const CHAT: &str = r#"{"model":"gpt-x","stream":true,"messages":[{"role":"user","content":"planted prompt"}]}"#;

pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Both ends of a connection, with their tables.
struct Peers {
    script: FakeTlsConn,
    client: loona_hpack::Encoder<'static>,
    server: loona_hpack::Encoder<'static>,
}

impl Peers {
    fn new() -> Peers {
        let mut peers = Peers {
            script: FakeTlsConn::new(10, 1),
            client: loona_hpack::Encoder::new(),
            server: loona_hpack::Encoder::new(),
        };
        peers.script.write([PREFACE.as_bytes(), &frame(4, 0, 0, &[])].concat()).read(frame(4, 0, 0, &[]));
        peers
    }

    fn ask(&mut self, id: u32, method: &str, path: &str, body: &str) -> &mut Self {
        let host = if path == "/logo" { "images.example" } else { "api.openai.com" };
        let fields = [(":method", method), (":path", path), (":authority", host), ("x-app", "a")];
        let block = self.client.encode(fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())));
        let head = frame(1, if body.is_empty() { 5 } else { 4 }, id, &block);
        let body = if body.is_empty() { Vec::new() } else { frame(0, 1, id, body.as_bytes()) };
        self.script.write([head, body].concat());
        self
    }

    fn chat(&mut self, id: u32) -> &mut Self {
        self.ask(id, "POST", "/v1/chat/completions", CHAT)
    }

    fn joined() -> Peers {
        let script = FakeTlsConn::mid_stream(10, 1);
        Peers { script, client: loona_hpack::Encoder::new(), server: loona_hpack::Encoder::new() }
    }

    fn get(&mut self, id: u32) -> &mut Self {
        self.ask(id, "GET", "/logo", "")
    }

    fn answer(&mut self, id: u32) -> &mut Self {
        let fields = [(":status", "200"), ("content-type", "text/event-stream"), ("x-request-id", "r")];
        let block = self.server.encode(fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())));
        self.script.read(frame(1, 4, id, &block));
        self
    }

    fn say(&mut self, id: u32, text: &str) -> &mut Self {
        let event = format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{text}\"}}}}]}}\n\n");
        self.script.wait_ms(10).read(frame(0, 0, id, event.as_bytes()));
        self
    }

    fn done(&mut self, id: u32) -> &mut Self {
        self.script.read([frame(0, 0, id, b"data: [DONE]\n\n"), frame(0, 1, id, b"")].concat());
        self
    }

    fn run(&self) -> Run {
        run(self.script.records())
    }
}

#[test]
fn calls_interleave_on_one_connection() {
    let mut peers = Peers::new();
    for id in [1, 3, 5] {
        peers.chat(id);
    }
    peers.answer(3).answer(1).say(1, "a").say(3, "b").answer(5).say(1, "c").say(5, "d").done(3).say(1, "e");
    peers.script.write(frame(3, 0, 5, &[0, 0, 0, 8]));
    peers.done(1).script.close();
    let run = peers.run();
    assert_eq!(run.outcomes(), ["complete", "client_cancel", "complete"]);
    let mut calls: Vec<_> = run.pipeline.call_table().ended().map(|e| (e.chunks, e.protocol, e.notes.len())).collect();
    calls.sort_unstable();
    assert_eq!(calls, [(1, "h2", 0), (1, "h2", 0), (3, "h2", 0)]);
    assert_eq!((run.verdicts.as_slice(), run.pipeline.held()), (&[Verdict::Track][..], 0));
    let gaps: Vec<_> = run.ear().gaps.iter().flatten().map(|gap| (gap * 1e3).round() as u64).collect();
    assert_eq!(gaps, [20, 20], "gaps are those of each stream");
}

/// Another thread reads: what it read is told of before the write that asked for it, which returned later.
#[test]
fn an_answer_may_be_read_before_its_request_was_written() {
    for (first, beside) in [(true, false), (false, false), (false, true)] {
        let mut peers = Peers::new();
        if !first {
            peers.chat(1).answer(1).say(1, "Hi");
        }
        if !first && !beside {
            peers.done(1);
        }
        let asked = peers.script.wait_ms(50).now();
        peers.script.wait_ms(5);
        // The bytes of the request, which the next lines tell of last.
        let mut later = Peers {
            script: FakeTlsConn::new(10, 1),
            client: std::mem::replace(&mut peers.client, loona_hpack::Encoder::new()),
            server: loona_hpack::Encoder::new(),
        };
        later.chat(3);
        let request = later.script.records().last().unwrap().bytes.clone();
        peers.answer(3).say(3, "Hello");
        peers.script.wait_ms(30).write_since(asked, request);
        peers.say(3, " there").done(3);
        if beside {
            peers.done(1);
        }
        let run = peers.run();
        let entry = run.pipeline.call_table().ended().find(|entry| entry.visible_chars == 11).unwrap();
        assert_eq!((entry.outcome, entry.chunks), (Some(CallOutcome::Complete), 2));
        assert_eq!(entry.request.as_ref().unwrap().model.as_deref(), Some("gpt-x"));
        close_to(entry.firsts.byte, 5.0 * MS);
        assert!(run.outcomes().iter().all(|outcome| *outcome == "complete"));
        assert_eq!(run.outcomes().len(), 2 - usize::from(first));
    }
}

#[test]
fn a_client_that_hangs_up_after_the_marker_has_its_answer() {
    let mut peers = Peers::new();
    peers.chat(1).answer(1).say(1, "a").script.read(frame(0, 0, 1, b"data: [DONE]\n\n"));
    peers.script.write(frame(3, 0, 1, &[0, 0, 0, 8]));
    assert_eq!(peers.run().outcomes(), ["complete"]);
}

#[test]
fn a_server_may_speak_first() {
    let mut peers = Peers::new();
    peers.script = FakeTlsConn::new(10, 1);
    peers.script.read(frame(4, 0, 0, &[0; 12])).write([PREFACE.as_bytes(), &frame(4, 0, 0, &[])].concat());
    peers.chat(1).answer(1).say(1, "a").done(1);
    let run = peers.run();
    assert_eq!((run.outcomes(), run.only().notes.len()), (vec!["complete"], 0));
    assert_eq!(run.ear().said.iter().filter(|said| said.starts_with("odd")).count(), 0);
}

#[test]
fn other_requests_cost_a_connection_nothing_it_needs() {
    let mut peers = Peers::new();
    for id in 0..limits::NON_LLM_REQUESTS - 1 {
        peers.get(1 + 2 * id).answer(1 + 2 * id).done(1 + 2 * id);
    }
    // Heads that build on those before them.
    peers.chat(101).answer(101).say(101, "a").done(101).get(103).chat(105).answer(105).say(105, "b").done(105);
    let run = peers.run();
    assert_eq!((run.outcomes(), run.verdicts), (vec!["complete"; 2], vec![Verdict::Track]));
    assert!(run.pipeline.call_table().ended().all(|entry| entry.notes.is_empty() && entry.chunks == 1));
}

#[test]
fn a_connection_without_model_calls_is_ignored() {
    let mut peers = Peers::new();
    for id in 0..limits::NON_LLM_REQUESTS {
        peers.get(1 + 2 * id);
    }
    let run = peers.run();
    assert_eq!((run.verdicts.as_slice(), run.pipeline.held()), (&[Verdict::Ignore][..], 0));
}

#[test]
fn a_download_is_passed_over_and_the_next_call_seen() {
    let mut peers = Peers::new();
    peers.get(1).answer(1);
    for _ in 0..=limits::WHOLE_UNCLAIMED / (16 * 1024) {
        peers.script.read(frame(0, 0, 1, &[b'x'; 16 * 1024]));
    }
    let passed = peers.script.records().len();
    peers.chat(3).answer(3).say(3, "a").say(3, "b").done(3);
    let mut run = run(&peers.script.records()[..passed]);
    assert_eq!((run.verdicts.as_slice(), run.pipeline.held()), (&[Verdict::Heads][..], 0));
    run.play(&peers.script.records()[passed..]);
    assert_eq!(run.verdicts, [Verdict::Heads, Verdict::Unknown, Verdict::Track]);
    assert_eq!((run.outcomes(), run.only().chunks), (vec!["complete"], 2));
    assert_eq!(run.only().notes, ["late_attach", "desynced", "unknown_headers"]);
}

#[test]
fn a_connection_joined_in_the_middle_is_followed_from_its_next_request() {
    let mut peers = Peers::new();
    peers.get(1).answer(1);
    peers.script = FakeTlsConn::mid_stream(10, 1);
    peers.say(1, "tail of an unknown answer").done(1);
    peers.script.wait_ms(10).write(frame(8, 0, 0, &[0, 0, 9, 9])).wait_ms(10);
    peers.chat(3).answer(3).say(3, "a").done(3).script.close();
    let run = peers.run();
    assert_eq!((run.outcomes(), run.verdicts.as_slice()), (vec!["complete"], &[Verdict::Track][..]));
    assert_eq!((run.only().chunks, run.only().status), (1, Some(200)));
}

#[test]
fn a_server_of_http2_is_none_of_ours() {
    let mut peers = Peers::new();
    peers.chat(1);
    let mut script = FakeTlsConn::new(10, 1);
    script.write(frame(4, 0, 0, &[0; 12])).read(PREFACE);
    assert_eq!(run(script.records()).verdicts, [Verdict::Ignore]);
    let mut script = FakeTlsConn::new(10, 1);
    script.read(PREFACE);
    assert_eq!(run(script.records()).verdicts, [Verdict::Ignore]);
}

#[test]
fn lost_bytes_mark_the_streams_they_may_concern() {
    let mut peers = Peers::new();
    peers.chat(1).chat(3).answer(1).answer(3).say(1, "a").say(3, "b");
    peers.script.lose(Direction::Read, 300);
    peers.say(1, "c").say(3, "d").say(1, "e").done(1).done(3).script.close();
    let run = peers.run();
    assert_eq!(run.outcomes(), ["complete"; 2]);
    // The first event behind a hole is not believed: it might be the end of a longer one.
    let mut calls: Vec<_> = run.pipeline.call_table().ended().map(|entry| (entry.chunks, entry.lost.len())).collect();
    calls.sort_unstable();
    assert_eq!(calls, [(1, 1), (2, 1)]);
}

#[test]
fn an_answer_that_began_before_us_is_timed_beside_a_call_that_is_seen_whole() {
    let mut peers = Peers::joined();
    peers.chat(9).say(7, "old").answer(9).say(9, "new").say(7, "older").done(9).done(7);
    let run = run(peers.script.records());
    let mut entries: Vec<&Entry> = run.pipeline.call_table().ended().collect();
    entries.sort_by_key(|entry| entry.exchange);
    let [old, new] = entries[..] else { panic!("{entries:?}") };
    assert_eq!((old.api, old.status, old.events, old.outcome), ("unknown", None, 3, Some(CallOutcome::Complete)));
    assert_eq!((old.firsts.byte, old.firsts.event, old.server_address.as_deref()), (None, None, None));
    assert_eq!((old.lost[0].cause, old.lost[0].bytes), (LossCause::LateAttach, None));
    assert!(["late_attach", "unknown_path"].iter().all(|note| old.notes.contains(note)), "{:?}", old.notes);
    assert_eq!((new.api, new.chunks, new.outcome), ("openai.chat", 1, Some(CallOutcome::Complete)));
    assert!(new.notes.contains(&"late_attach") && new.firsts.visible.is_some(), "{:?}", new.notes);
}

/// A WebSocket on a stream (RFC 8441) carries calls like any other, beside a call over HTTP/2.
#[test]
fn a_socket_on_a_stream_carries_turns() {
    let mut peers = Peers::new();
    let fields = [
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        (":path", "/v1/realtime?model=gpt-r"),
        (":authority", "api.openai.com"),
    ];
    let head = peers.client.encode(fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())));
    peers.script.write(frame(1, 4, 1, &head)).wait_ms(5);
    let granted = peers.server.encode([(&b":status"[..], &b"200"[..])]);
    peers.script.read(frame(1, 4, 1, &granted));
    let says = |text: &str| {
        let mut message = vec![0x81, u8::try_from(text.len()).unwrap()];
        message.extend(text.as_bytes());
        frame(0, 0, 1, &message)
    };
    let asks = |text: &str| {
        let mut message = vec![0x81, 0x80 | u8::try_from(text.len()).unwrap(), 0, 0, 0, 0];
        message.extend(text.as_bytes());
        frame(0, 0, 1, &message)
    };
    for _ in 0..2 {
        peers.script.wait_ms(50).write(asks(r#"{"type":"response.create"}"#)).wait_ms(20);
        peers.script.read(says(r#"{"type":"response.created","response":{"id":"resp_1"}}"#)).wait_ms(10);
        peers.script.read(says(r#"{"type":"response.output_text.delta","delta":"Hi"}"#)).wait_ms(10);
        peers.script.read(says(r#"{"type":"response.done","response":{"status":"completed"}}"#));
    }
    peers.chat(3).answer(3).say(3, "there").done(3);
    let run = peers.run();
    assert_eq!(run.outcomes(), ["complete", "complete", "complete"]);
    let turns: Vec<&Entry> = run.pipeline.call_table().ended().filter(|entry| entry.protocol == "websocket").collect();
    assert_eq!(turns.len(), 2);
    assert_ne!(turns[0].id, turns[1].id);
    for entry in turns {
        assert_eq!((entry.api, entry.status, entry.visible_chars), ("openai.realtime", Some(200), 2));
        assert_eq!(entry.request.as_ref().unwrap().model.as_deref(), Some("gpt-r"));
        close_to(entry.firsts.visible, 30.0 * MS);
    }
}

/// Refused, it is a call that failed; without a model behind its path, it is nobody's.
#[test]
fn a_socket_that_is_refused_on_a_stream_is_a_failed_call() {
    for (path, status, calls) in [("/v1/realtime?model=m", "401", 1), ("/chat/room", "200", 0)] {
        let mut peers = Peers::new();
        let fields = [(":method", "CONNECT"), (":protocol", "websocket"), (":path", path), (":authority", "h")];
        let head = peers.client.encode(fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())));
        peers.script.write(frame(1, 4, 1, &head)).wait_ms(5);
        let answer = peers.server.encode([(&b":status"[..], status.as_bytes())]);
        peers.script.read(frame(1, 4, 1, &answer)).read(frame(0, 1, 1, b"{}")).close();
        let run = peers.run();
        let seen: Vec<_> = run.pipeline.call_table().ended().map(|entry| entry.status).collect();
        assert_eq!(seen, vec![Some(401); calls], "{path}");
    }
}
