//! Recorded calls: what the mode `sse` keeps of them, and the words it keeps out.
#![expect(clippy::cast_possible_truncation, reason = "lengths of the tests' own making")]

use proptest::prelude::*;

use super::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn damaged_recordings_of_calls_do_no_harm(damage in proptest::collection::vec((20..6000usize, any::<u8>()), 1..30)) {
        let mut script = FakeTlsConn::new(5, 1);
        stream(&mut script);
        stream(&mut script);
        script.close();
        let mut bytes = recorded(&script, PayloadMode::Full).0;
        for (at, with) in damage {
            let at = at % bytes.len();
            bytes[at.max(20)] = with;
        }
        fuzz(&bytes);
    }
}

#[test]
fn large_events_are_cut_into_readable_frames() {
    let mut script = FakeTlsConn::new(5, 1);
    let event = format!(
        "data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{}\"}}}}]}}\n\n",
        "SECRET ".repeat(100_000)
    );
    script.write("POST /v1/chat/completions HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}");
    script.read(format!("{HEAD}{}\r\n\r\n", event.len() + 14)).read(&event).read("data: [DONE]\n\n").close();
    let ((_, want), (bytes, found)) = (recorded(&script, PayloadMode::Full), recorded(&script, PayloadMode::Sse));
    assert!(want.contains("chars 700000"), "{want}");
    assert_eq!(found, want);
    assert!(!holds_secret(&bytes));
}

const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nSet-Cookie: SECRETcookie\r\nContent-Length: ";

fn stream(script: &mut FakeTlsConn) {
    let body = r#"{"model":"gpt-x","stream":true,"messages":[{"role":"user","content":"SECRETprompt"}]}"#;
    let events = [
        "data: {\"id\":\"SECRETid\",\"model\":\"gpt-x-1\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"SECRET answer. \"}}]}\n\n",
        ": SECRETcomment\n\ndata: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"More 你好\"}}]}\n\n",
        "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":5,\"total_tokens\":8}}\n\ndata: [DONE]\n\n",
    ];
    let len: usize = events.iter().map(|event| event.len()).sum();
    script
        .write(format!(
            "POST /v1/chat/completions?key=SECRETquery HTTP/1.1\r\nHost: api.openai.com\r\nAuthorization: Bearer SECRETkey\r\nx-api-key: SECRETkey\r\nCookie: SECRETcookie\r\nx-stainless-retry-count: 2\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ))
        .wait_ms(50)
        .read(format!("{HEAD}{len}\r\n\r\n"))
        .read_each(700, events);
}

/// A recording in one mode, and what a replay finds in it.
fn recorded(script: &FakeTlsConn, payload: PayloadMode) -> (Vec<u8>, String) {
    let mut recorder = Recorder::new(Vec::new(), payload, 5, ledger::pipeline::PipelineSettings::default()).unwrap();
    script.records().iter().for_each(|record| recorder.record(&record.get()).unwrap());
    let bytes = recorder.finish().unwrap();
    let mut pipeline = ledger::pipeline::Pipeline::new(ledger::pipeline::PipelineSettings::default(), ());
    replay(&mut RecordingReader::new(&bytes[..]).unwrap(), &mut pipeline).unwrap();
    let call_table = pipeline.call_table();
    let found: Vec<String> = call_table
        .ended()
        .chain(call_table.open())
        .map(|e| {
            format!(
                "{:?} {} {:?} {:?} {:?} {:?} events {} chunks {} chars {} keepalives {} reads {} {:?} {:?} {:?} {:?} {:?} lost {:?}",
                e.outcome, e.api, e.request.as_ref().and_then(|r| r.model.clone()), e.response_model, e.status, e.attempt,
                e.events, e.chunks, e.visible_chars, e.keepalives, e.reads, e.firsts, e.gap_stats(), e.usage, e.finish_reason,
                e.ended, e.lost.len()
            )
        })
        .collect();
    (bytes, found.join("\n"))
}

fn holds_secret(bytes: &[u8]) -> bool {
    bytes.windows(6).any(|w| w == b"SECRET")
}

#[test]
fn sse_keeps_the_calls_and_no_words() {
    let mut script = FakeTlsConn::new(5, 1);
    stream(&mut script);
    script.wait_ms(10);
    stream(&mut script);
    script.close();
    let (full, want) = recorded(&script, PayloadMode::Full);
    let (sse, found) = recorded(&script, PayloadMode::Sse);
    let (none, nothing) = recorded(&script, PayloadMode::None);
    assert!(want.contains("Some(Complete) openai.chat Some(\"gpt-x\") Some(\"gpt-x-1\")"), "{want}");
    assert_eq!(want.lines().count(), 2);
    assert_eq!(found, want);
    assert_eq!(nothing, "");
    assert!(holds_secret(&full) && !holds_secret(&sse) && !holds_secret(&none));
}

#[test]
fn sse_keeps_every_kind_of_end() {
    type End = fn(&mut FakeTlsConn);
    let ends: [(End, &str); 7] = [
        (
            |s| {
                s.read_end(true).close();
            },
            "Some(Truncated)",
        ),
        (
            |s| {
                s.read_end(false).close();
            },
            "Some(Reset)",
        ),
        (
            |s| {
                s.wait_ms(5).close();
            },
            "Some(ClientCancel)",
        ),
        (
            |s| {
                s.wait_ms(60_000).shutdown().close();
            },
            "Some(IdleTimeout)",
        ),
        (
            |s| {
                s.exit();
            },
            "Some(ProcessExit)",
        ),
        (
            |s| {
                s.lose(Direction::Read, 100).close();
            },
            "Some(Lost)",
        ),
        (|_| {}, "None"),
    ];
    for (end, outcome) in ends {
        let mut script = FakeTlsConn::new(5, 1);
        script
            .write("POST /v1/chat/completions HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}")
            .read("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
            .read("3e\r\ndata: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"SECRET\"}}]}\n\n\r\n");
        end(&mut script);
        let ((_, want), (bytes, found)) = (recorded(&script, PayloadMode::Full), recorded(&script, PayloadMode::Sse));
        assert!(want.starts_with(outcome), "{outcome}: {want}");
        assert_eq!(found.replace("lost 0", "lost _"), want.replace("lost 0", "lost _"), "{outcome}");
        assert!(!holds_secret(&bytes));
    }
}

/// Requests that their bodies tell from those of ordinary applications, less the words that did.
#[test]
fn sse_keeps_whose_request_it_is() {
    for (api, path, body) in [
        ("ollama.chat", "/api/chat", r#"{"model":"m","messages":[{"content":"SECRET"}]}"#),
        ("ollama.generate", "/api/generate", r#"{"prompt":"SECRET","model":"m"}"#),
        ("llama_cpp.completion", "/completion", r#"{"prompt":"SECRET"}"#),
        ("llama_cpp.completion", "/infill", r#"{"input_prefix":"SECRET","input_suffix":""}"#),
        ("tgi.generate", "/generate_stream", r#"{"inputs":"SECRET"}"#),
        ("sglang.generate", "/generate", r#"{"input_ids":[1,2]}"#),
        ("unknown", "/api/chat", r#"{"message":"SECRET"}"#),
    ] {
        let mut script = FakeTlsConn::new(5, 1);
        let length = body.len();
        script.write(format!(
            "POST {path} HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        ));
        let event = "data: {\"text\":\"SECRET\"}\n\n";
        let line = "{\"model\":\"m\",\"created_at\":\"now\",\"response\":\"SECRET\",\"done\":false}\n";
        let lines = HEAD.replace("text/event-stream", "application/x-ndjson");
        let (head, event) = if api.starts_with("ollama") { (lines.as_str(), line) } else { (HEAD, event) };
        script.wait_ms(5).read(format!("{head}{}\r\n\r\n", event.len())).read(event).close();
        let ((_, want), (bytes, found)) = (recorded(&script, PayloadMode::Full), recorded(&script, PayloadMode::Sse));
        assert!(want.contains(&format!(" {api} ")), "{path}: {want}");
        assert_eq!(found, want, "{path}");
        assert!(!holds_secret(&bytes), "{path}");
    }
}

#[test]
fn sse_keeps_gaps() {
    let mut script = FakeTlsConn::new(5, 1);
    let event = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"SECRET\"}}]}\n\n";
    let len = event.len() * 4 + "data: [DONE]\n\n".len();
    script
        .write("POST /v1/chat/completions HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}")
        .read(format!("{HEAD}{len}\r\n\r\n"))
        .read(event)
        .lose(Direction::Read, event.len() as u64)
        .wait_ms(20)
        .read(event)
        .wait_ms(20)
        .read(event)
        .read("data: [DONE]\n\n")
        .close();
    let ((_, want), (bytes, found)) = (recorded(&script, PayloadMode::Full), recorded(&script, PayloadMode::Sse));
    assert!(want.starts_with("Some(Complete)") && want.ends_with("lost 1"), "{want}");
    assert_eq!(found, want);
    assert!(!holds_secret(&bytes));
}

/// The same call in every framing there is.
#[test]
fn every_framing_is_written_as_it_was() {
    let delta = r#"{"choices":[{"index":0,"delta":{"content":"SECRET text"}}]}"#;
    let lines = format!("{delta}\n{delta}\n");
    let message = |kind: &str, name: &str, value: &str, payload: &str| {
        let header = |name: &str, value: &str| {
            [&[name.len() as u8][..], name.as_bytes(), &[7, 0, value.len() as u8], value.as_bytes()].concat()
        };
        let headers = [header(":message-type", kind), header(name, value)].concat();
        let crc = |bytes: &[u8]| {
            let mut crc = flate2::Crc::new();
            crc.update(bytes);
            crc.sum().to_be_bytes()
        };
        let total = (headers.len() + payload.len() + 16) as u32;
        let mut bytes = [total.to_be_bytes(), (headers.len() as u32).to_be_bytes()].concat();
        bytes.extend(crc(&bytes));
        bytes.extend([headers, payload.as_bytes().to_vec()].concat());
        bytes.extend(crc(&bytes));
        bytes
    };
    let messages = [
        message("event", ":event-type", "chunk", delta),
        message("event", ":event-type", "chunk", delta),
        message("exception", ":exception-type", "throttlingException", r#"{"message":"SECRET"}"#),
    ]
    .concat();
    for (content_type, body, expected) in [
        ("application/x-ndjson", lines.into_bytes(), "Some(Truncated) openai.chat"),
        ("application/vnd.amazon.eventstream", messages, "Some(ErrorEvent) openai.chat"),
        ("audio/mpeg", b"SECRET\0sound".to_vec(), "Some(Complete) openai.chat"),
    ] {
        let mut script = FakeTlsConn::new(5, 1);
        script.write("POST /v1/chat/completions HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}").wait_ms(5);
        script
            .read(format!("HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\r\n", body.len()));
        script.read_each(3, body.chunks(body.len() / 2 + 1)).close();
        let ((_, want), (bytes, found)) = (recorded(&script, PayloadMode::Full), recorded(&script, PayloadMode::Sse));
        assert!(want.starts_with(expected), "{content_type}: {want}");
        assert_eq!(found, want, "{content_type}");
        assert!(!holds_secret(&bytes));
    }
}

#[test]
fn turns_of_a_socket_are_written_as_sockets() {
    let mut script = FakeTlsConn::new(5, 1);
    script.write("GET /v1/responses HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nAuthorization: SECRET\r\n\r\n");
    script.wait_ms(3).read("HTTP/1.1 101 -\r\nUpgrade: websocket\r\n\r\n");
    let frame = |text: &str| [&[0x81, 126, (text.len() >> 8) as u8, text.len() as u8][..], text.as_bytes()].concat();
    for _ in 0..2 {
        let create = r#"{"type":"response.create","model":"gpt-x","input":"SECRETSECRETSECRETSECRETSECRETSECRETSECRETSECRETSECRETSECRETSECRETSECRETSECRETSECRET"}"#;
        script.wait_ms(9).write(frame(create)).wait_ms(5);
        let text = "SECRET".repeat(25);
        script.read(frame(&format!(r#"{{"type":"response.output_text.delta","delta":"{text}"}}"#))).wait_ms(5);
        script.read([0x89, 0]).wait_ms(5);
        script.read(frame(&format!(r#"{{"type":"response.completed","response":{{"id":"{text}"}}}}"#)));
    }
    script.close();
    let ((_, want), (bytes, found)) = (recorded(&script, PayloadMode::Full), recorded(&script, PayloadMode::Sse));
    assert!(
        want.contains("Some(Complete) openai.responses Some(\"gpt-x\")") && want.contains("chars 150 keepalives 1"),
        "{want}"
    );
    assert_eq!((want.lines().count(), found), (2, want));
    assert!(!holds_secret(&bytes));
}
