//! Paths that ordinary applications use too: claimed by what the body says.

use super::*;

const LINES: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n";
const OLLAMA: &str = r#"{"model":"llama3.2","messages":[{"role":"user","content":"planted"}]}"#;
/// As the Vercel AI SDK's user interfaces ask their own server.
const UI: &str =
    r#"{"id":"c1","messages":[{"role":"user","parts":[{"type":"text","text":"planted"}]}],"model":"gpt-x"}"#;

fn ask(path: &str, body: &str) -> String {
    head(path, body.len()) + body
}

fn head(path: &str, length: usize) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: app.example\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    )
}

fn line(text: &str, done: bool) -> String {
    framed(&format!(
        "{{\"model\":\"llama3.2\",\"created_at\":\"now\",\"message\":{{\"content\":\"{text}\"}},\"done\":{done}}}\n"
    ))
}

/// An application's own chat: a model and plain messages, too.
const OWN: &str = r#"{"model":"gpt-x","messages":[{"role":"user","content":"planted"}]}"#;

/// As applications answer: text as it comes, or a document.
const TEXT: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n";

fn answered(script: &mut FakeTlsConn) {
    script.wait_ms(20).read(LINES).wait_ms(10).read(line("Hello", false)).wait_ms(10).read(line("", true)).read(LAST);
}

#[test]
fn a_body_of_the_api_is_claimed_and_timed_from_its_first_byte() {
    let mut script = FakeTlsConn::new(10, 1);
    // Head and body in writes of their own.
    script.write(head("/api/chat", OLLAMA.len())).wait_ms(10).write(OLLAMA);
    answered(&mut script);
    let run = run(script.records());
    let entry = run.only();
    assert_eq!((entry.api, entry.provider, entry.outcome), ("ollama.chat", "ollama", Some(CallOutcome::Complete)));
    let request = entry.request.as_ref().unwrap();
    assert_eq!((request.model.as_deref(), request.stream, request.messages), (Some("llama3.2"), Some(true), Some(1)));
    assert_eq!((entry.chunks, entry.visible_chars, entry.conversation.is_some()), (1, 5, true));
    assert!((entry.firsts.visible.unwrap() - 40.0 * MS).abs() < MS, "{:?}", entry.firsts);
    assert_eq!(run.verdicts, [Verdict::Track]);
    assert!(!run.debug().contains("planted"));
}

#[test]
fn an_application_with_the_same_path_is_none_of_ours() {
    for (path, body) in [
        ("/api/chat", UI),
        ("/api/chat", OWN),
        ("/api/chat", r#"{"message":"planted"}"#),
        ("/api/generate", r#"{"prompt":"planted"}"#),
        ("/completion", r#"{"course":7}"#),
        ("/generate", r#"{"template":"planted"}"#),
        ("/generate_stream", r#"{"input":"planted"}"#),
        ("/api/chat", ""),
    ] {
        let mut script = FakeTlsConn::new(10, 1);
        for _ in 0..10 {
            script.write(ask(path, body)).wait_ms(5).read(TEXT).read(line("a", true)).read(LAST);
        }
        let run = run(script.records());
        assert_eq!(
            run.pipeline.call_table().open().chain(run.pipeline.call_table().ended()).count(),
            0,
            "{path} {body}"
        );
        assert_eq!(run.verdicts.last(), Some(&Verdict::Ignore), "{path} {body}: {:?}", run.verdicts);
        assert!(!run.verdicts.contains(&Verdict::Track) && run.pipeline.held() == 0, "{path} {body}");
    }
}

#[test]
fn its_streams_are_timed_like_those_of_any_other_path() {
    for (answer, piece) in [(HEAD, event("{}")), (LINES, line("planted", false))] {
        let mut script = FakeTlsConn::new(10, 1);
        script.write(ask("/api/chat", UI)).wait_ms(20).read(answer).wait_ms(10).read(&piece).read(LAST);
        let one = run(script.records());
        let entry = one.only();
        assert_eq!((entry.api, entry.provider, entry.outcome), ("unknown", "unknown", Some(CallOutcome::Complete)));
        assert_eq!((entry.events, entry.chunks, entry.status), (1, 0, Some(200)));
        let request = entry.request.as_ref().unwrap();
        assert_eq!((request.model.as_deref(), request.stream), (Some("gpt-x"), None), "Ollama's default is not its");
        assert!(one.verdicts.is_empty(), "{:?}", one.verdicts);
        let mut script = FakeTlsConn::new(10, 1);
        script.write(ask("/agent/run", UI)).wait_ms(20).read(answer).wait_ms(10).read(&piece).read(LAST);
        let other = run(script.records());
        assert_eq!((other.only().api, other.only().events, &other.verdicts), ("unknown", 1, &one.verdicts));
    }
}

#[test]
fn what_is_not_seen_leaves_the_claim_to_the_path() {
    let lost = |script: &mut FakeTlsConn| {
        let body = format!(r#"{{"messages":[{{"content":"{}"}}],"model":"m"}}"#, "x".repeat(4096));
        let whole = head("/api/chat", body.len()) + &body;
        let kept = whole.len() - body.len() + 64;
        script.cut(Direction::Write, whole, kept, LossCause::Truncated);
    };
    let mut script = FakeTlsConn::new(10, 1);
    lost(&mut script);
    answered(&mut script);
    let one = run(script.records());
    let entry = one.only();
    assert_eq!((entry.api, entry.visible_chars), ("ollama.chat", 5));
    assert!(entry.request.as_ref().unwrap().truncated);

    // The answer comes first: the server did not want the rest.
    let mut script = FakeTlsConn::new(10, 1);
    script.write(head("/api/chat", 4096) + "{\"messages\":[").wait_ms(5);
    script.read("HTTP/1.1 413 Payload Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").close();
    assert_eq!(run(script.records()).only().api, "ollama.chat");

    // The client gave up.
    let mut script = FakeTlsConn::new(10, 1);
    script.write(head("/api/chat", 4096) + "{\"messages\":[").wait_ms(5).close();
    let cut = run(script.records());
    assert_eq!((cut.only().api, cut.only().outcome.is_some()), ("ollama.chat", true));
}

#[test]
fn a_long_body_is_read_to_its_end() {
    let pictures = "A".repeat(3 << 20);
    let body = format!(r#"{{"messages":[{{"role":"user","content":"x","images":["{pictures}"]}}],"model":"llava"}}"#);
    let mut script = FakeTlsConn::new(10, 1);
    script.write(head("/api/chat", body.len()));
    body.as_bytes().chunks(16_384).for_each(|piece| {
        script.write(piece);
    });
    answered(&mut script);
    let run = run(script.records());
    assert_eq!((run.only().api, run.verdicts), ("ollama.chat", vec![Verdict::Track]));
}

#[test]
fn beside_real_calls_on_one_connection_it_is_left_alone() {
    let mut script = FakeTlsConn::new(10, 1);
    script.write(ask("/api/chat", OLLAMA));
    answered(&mut script);
    script.write(ask("/api/chat", UI)).wait_ms(5).read(TEXT).read(line("a", true)).read(LAST);
    script.write(ask("/api/chat", OLLAMA));
    answered(&mut script);
    let run = run(script.records());
    assert_eq!((run.outcomes(), run.verdicts), (vec!["complete", "complete"], vec![Verdict::Track]));
}

#[test]
fn the_operators_word_needs_no_proof() {
    let mut script = FakeTlsConn::new(10, 1);
    script.write(ask("/api/chat", r#"{"question":"x"}"#));
    answered(&mut script);
    let extra = dialects::DeclaredRoute {
        path_suffix: Some("/api/chat".into()),
        api: "ollama.chat".into(),
        ..dialects::DeclaredRoute::default()
    };
    let settings = PipelineSettings { extras: vec![extra], ..PipelineSettings::default() };
    let mut run =
        Run { pipeline: Pipeline::with_tap(settings, Ear::default(), Printed::default()), verdicts: Vec::new() };
    run.play(script.records());
    assert_eq!(run.only().api, "ollama.chat");
}

/// Nothing in the request tells an application's chat from Ollama's: the answer does.
#[test]
fn an_application_with_a_model_and_plain_messages_is_told_by_its_answer() {
    let document = |body: &str| {
        format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len())
    };
    let calls = |answer: &[u8]| {
        let mut script = FakeTlsConn::new(10, 1);
        script.write(ask("/api/chat", OWN)).wait_ms(20);
        for piece in answer.chunks(7) {
            script.read(piece);
        }
        script.close();
        let run = run(script.records());
        let call_table = run.pipeline.call_table();
        assert!(!run.debug().contains("planted"));
        call_table.ended().map(|entry| (entry.api, entry.outcome.unwrap(), entry.visible_chars)).collect::<Vec<_>>()
    };
    // Its streams are timed like those of any other path, and its documents are nobody's.
    let sse = HEAD.to_owned() + &event("{}") + LAST;
    assert_eq!(calls(sse.as_bytes()), [("unknown", CallOutcome::Complete, 0)]);
    let lines = LINES.to_owned() + &framed("{\"type\":\"text\",\"text\":\"planted\"}\n") + LAST;
    assert_eq!(calls(lines.as_bytes()), [("unknown", CallOutcome::Complete, 0)]);
    for nobodys in [
        r#"{"reply":"planted","model":"gpt-x"}"#,
        r#"{"error":{"message":"planted"}}"#,
        r#"{"model":"gpt-x","message":{"content":"planted"}}"#,
    ] {
        assert_eq!(calls(document(nobodys).as_bytes()), [], "{nobodys}");
    }
    // And Ollama's, whole and as it comes, are its.
    let whole = r#"{"model":"m","created_at":"2026","message":{"content":"Hello"},"done":true,"done_reason":"stop"}"#;
    assert_eq!(calls(document(whole).as_bytes()), [("ollama.chat", CallOutcome::Complete, 5)]);
    let lines = LINES.to_owned() + &line("Hi", false) + &line("", true) + LAST;
    assert_eq!(calls(lines.as_bytes()), [("ollama.chat", CallOutcome::Complete, 2)]);
    let refused = document(r#"{"error":"model not found"}"#).replace("200 OK", "404 Not Found");
    assert_eq!(calls(refused.as_bytes()), [("ollama.chat", CallOutcome::HttpError, 0)]);
}

/// Who asks at Ollama's own port, or with its SDK, is seen while the answer is awaited.
#[test]
fn what_is_asked_of_ollama_beyond_doubt_is_open_before_the_answer() {
    for (request, open) in [
        (ask("/api/chat", OWN), 0),
        (ask("/api/chat", OWN).replace("Host: app.example", "Host: app.example:11434"), 1),
        (ask("/api/chat", OWN).replace("Host:", "User-Agent: ollama-python/0.6.3 (x)\r\nHost:"), 1),
    ] {
        let mut script = FakeTlsConn::new(10, 1);
        script.write(request).wait_ms(500);
        let run = run(script.records());
        assert_eq!(run.pipeline.call_table().open().count(), open);
    }
}
