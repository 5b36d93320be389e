//! Streams as records: one event a read, as providers flush them, unless the name says otherwise.

use std::io::Write;

use testkit::{FakeTlsConn, OwnedRecord};

use crate::frames::{block, chunk, eventstream, h2, websocket};

/// One connection's records.
pub(crate) struct Case {
    pub name: &'static str,
    /// What the ledger must make of it.
    pub api: &'static str,
    pub records: Vec<OwnedRecord>,
    pub events: usize,
    /// Its events carry visible text.
    pub visible: bool,
}

impl Case {
    pub(crate) fn bytes(&self) -> usize {
        self.records.iter().map(|owned| owned.bytes.len()).sum()
    }
}

const CHAT: &str = r#"{"id":"chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT","object":"chat.completion.chunk","created":1741569952,"model":"gpt-4.1-2025-04-14","service_tier":"default","system_fingerprint":"fp_44709d6fcb","choices":[{"index":0,"delta":{"content":" word"},"logprobs":null,"finish_reason":null}],"usage":null,"obfuscation":"a8Kd0x"}"#;
const RESPONSES: &str = r#"{"type":"response.output_text.delta","item_id":"msg_67c9fdcf37fc8190ba82116e33fb28c507b8b0ad4e5eb654","output_index":0,"content_index":0,"delta":" word","logprobs":[],"sequence_number":4,"obfuscation":"x9Kd02"}"#;
const MESSAGES: &str =
    r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":" word"}            }"#;
const GEMINI: &str = r#"{"candidates":[{"content":{"parts":[{"text":"a few words of text"}],"role":"model"},"index":0}],"usageMetadata":{"promptTokenCount":8,"candidatesTokenCount":12,"totalTokenCount":20},"modelVersion":"gemini-2.5-flash","responseId":"mAitaLmkHPPlz7IPvtfUqQ4"}"#;
const CONVERSE: &str = r#"{"contentBlockIndex":0,"delta":{"text":" word"},"p":"abcdefghijklmnopqrstuv"}"#;
const OLLAMA: &str = r#"{"model":"llama3.2","created_at":"2026-01-01T00:00:00.123456789Z","message":{"role":"assistant","content":" word"},"done":false}"#;

/// All streams, of `count` events each.
pub(crate) fn all(count: usize) -> Vec<Case> {
    let mut cases = vec![
        http1("openai.chat, HTTP/1.1", "openai.chat", "/v1/chat/completions", &sse("", CHAT), count),
        http1(
            "openai.responses, HTTP/1.1",
            "openai.responses",
            "/v1/responses",
            &sse("response.output_text.delta", RESPONSES),
            count,
        ),
        http1(
            "anthropic.messages, HTTP/1.1",
            "anthropic.messages",
            "/v1/messages",
            &sse("content_block_delta", MESSAGES),
            count,
        ),
        http1(
            "gemini, HTTP/1.1",
            "gemini.generate_content",
            "/v1beta/models/m:streamGenerateContent",
            &sse("", GEMINI),
            count,
        ),
        http1("unknown events, HTTP/1.1", "unknown", "/agent/run", &sse("", CHAT), count),
        batched(count),
        gzip(count),
        http2(count),
        socket(count),
    ];
    cases.extend(typed(
        "bedrock.converse, AWS event stream",
        "/model/m/converse-stream",
        "application/vnd.amazon.eventstream",
        &eventstream("contentBlockDelta", CONVERSE.as_bytes()),
        count,
    ));
    cases.extend(typed(
        "ollama.chat, JSON lines",
        "/api/chat",
        "application/x-ndjson",
        format!("{OLLAMA}\n").as_bytes(),
        count,
    ));
    for case in &mut cases {
        case.visible = case.api != "unknown";
    }
    cases
}

/// Answers that nobody reads, on connections that are followed.
pub(crate) fn ignored() -> Vec<Case> {
    let mut one = opened(1, "/v1/chat/completions", "text/event-stream");
    one.read(chunk(b"data: [DONE]\n\n")).read("0\r\n\r\n");
    let size = 64 << 20;
    one.write("GET /v1/files/f/content HTTP/1.1\r\nHost: h\r\n\r\n");
    one.read(format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {size}\r\n\r\n"));
    (0..size / 16_384).for_each(|_| {
        one.read(vec![b'x'; 16_384]);
    });
    let mut two = opened(1, "/v1/chat/completions", "text/event-stream");
    two.read(chunk(b"data: [DONE]\n\n")).read("0\r\n\r\n");
    two.write("GET /v1/files/f/content HTTP/1.1\r\nHost: h\r\n\r\n");
    two.read("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n");
    (0..size / 16_384).for_each(|_| {
        two.read(chunk(&vec![b'\n'; 16_300]));
    });
    let case = |name, script: FakeTlsConn| Case {
        name,
        api: "",
        records: script.records().to_vec(),
        events: 0,
        visible: false,
    };
    vec![case("ignored body, Content-Length", one), case("ignored body, chunked", two)]
}

/// A chat that goes on: `count` events so far.
pub(crate) fn open_chat(tgid: u32, count: usize) -> Vec<OwnedRecord> {
    let mut script = opened(tgid, "/v1/chat/completions", "text/event-stream");
    let event = chunk(sse("", CHAT).as_bytes());
    (0..count).for_each(|_| {
        script.wait_ms(20).read(&event);
    });
    script.records().to_vec()
}

fn sse(name: &str, data: &str) -> String {
    if name.is_empty() { format!("data: {data}\n\n") } else { format!("event: {name}\ndata: {data}\n\n") }
}

/// A request and the head of its answer.
fn opened(tgid: u32, path: &str, content_type: &str) -> FakeTlsConn {
    let mut script = FakeTlsConn::new(tgid, 1);
    let body = r#"{"model":"gpt-4.1","stream":true,"messages":[{"role":"user","content":"Write a story."}]}"#;
    script.write(format!(
        "POST {path} HTTP/1.1\r\nHost: api.openai.com\r\nAuthorization: Bearer k\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    ));
    script
        .wait_ms(400)
        .read(format!("HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nTransfer-Encoding: chunked\r\n\r\n"));
    script
}

fn case(name: &'static str, api: &'static str, script: &FakeTlsConn, events: usize) -> Case {
    Case { name, api, records: script.records().to_vec(), events, visible: true }
}

fn http1(name: &'static str, api: &'static str, path: &str, event: &str, count: usize) -> Case {
    let mut script = opened(1, path, "text/event-stream");
    script.read_each(20, std::iter::repeat_n(chunk(event.as_bytes()), count)).read("0\r\n\r\n");
    case(name, api, &script, count)
}

/// Of a dialect that may not be there yet: then there is no case.
fn typed(name: &'static str, path: &str, content_type: &str, event: &[u8], count: usize) -> Option<Case> {
    let head = capture::proto::RequestHead { method: "POST".into(), path: path.into(), ..Default::default() };
    let row = dialects::find(&head, &[])?;
    let mut script = opened(1, path, content_type);
    script.read_each(20, std::iter::repeat_n(chunk(event), count)).read("0\r\n\r\n");
    Some(case(name, row.api, &script, count))
}

/// Ten events a read, and HTTP chunks that know nothing of them.
fn batched(count: usize) -> Case {
    let mut script = opened(1, "/v1/chat/completions", "text/event-stream");
    let all = sse("", CHAT).repeat(10);
    script.read_each(20, std::iter::repeat_n(chunk(all.as_bytes()), count / 10)).read("0\r\n\r\n");
    case("openai.chat, HTTP/1.1, ten events a read", "openai.chat", &script, count)
}

fn gzip(count: usize) -> Case {
    let mut script = FakeTlsConn::new(1, 1);
    script.write("POST /v1/chat/completions HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}");
    script.read("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n");
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    let event = sse("", CHAT);
    for _ in 0..count {
        let flushed = encoder.write_all(event.as_bytes()).and_then(|()| encoder.flush());
        if flushed.is_ok() {
            script.wait_ms(20).read(chunk(&std::mem::take(encoder.get_mut())));
        }
    }
    case("openai.chat, HTTP/1.1, gzip", "openai.chat", &script, count)
}

fn http2(count: usize) -> Case {
    let mut script = FakeTlsConn::new(1, 1);
    let request = block(&[(":method", "POST"), (":path", "/v1/chat/completions"), (":authority", "api.openai.com")]);
    let answer = block(&[(":status", "200"), ("content-type", "text/event-stream"), ("x-request-id", "r")]);
    script.write([b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &h2(4, 0, 0, &[])[..]].concat()).read(h2(4, 0, 0, &[]));
    script.write(
        [h2(8, 0, 0, &[0x7f, 0, 0, 0]), h2(1, 4, 1, &request), h2(0, 1, 1, b"{}"), h2(8, 0, 1, &[0x7f, 0, 0, 0])]
            .concat(),
    );
    script.wait_ms(400).read(h2(1, 4, 1, &answer));
    script.read_each(20, std::iter::repeat_n(h2(0, 0, 1, sse("", CHAT).as_bytes()), count)).read(h2(0, 1, 1, b""));
    case("openai.chat, HTTP/2", "openai.chat", &script, count)
}

fn socket(count: usize) -> Case {
    let mut script = FakeTlsConn::new(1, 1);
    script.write("GET /v1/responses HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n");
    script.read("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n");
    script.write(websocket(br#"{"type":"response.create","model":"gpt-4.1","input":"hi"}"#, true));
    script.read_each(20, std::iter::repeat_n(websocket(RESPONSES.as_bytes(), false), count));
    script.read(websocket(br#"{"type":"response.completed","response":{"id":"r","status":"completed"}}"#, false));
    case("openai.responses, WebSocket", "openai.responses", &script, count)
}
