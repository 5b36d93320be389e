//! The provider does what its scripts say, and its log says what it did: what clients receive is compared with it.

#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may panic, its helpers too")]

mod support;

use std::io::Write;

use provider::log::{Line, Protocol};
use provider::script::{Encoding, Kind, Reply, Scenario, answer, deltas};
use provider::{Options, Provider};
use support::*;

const PATHS: [&str; 3] = ["/v1/chat/completions", "/v1/responses", "/prefix/v1/messages"];
/// Paths of the other APIs with text; `{}` is the model.
const MORE: [&str; 10] = [
    "/v1/completions",
    "/mistral/v1/chat/completions",
    "/groq/openai/v1/chat/completions",
    "/v2/chat",
    "/api/chat",
    "/api/generate",
    "/v1beta/models/{}:streamGenerateContent?alt=sse",
    "/v1beta/models/{}:streamGenerateContent",
    "/model/{}/converse-stream",
    "/model/{}/invoke-with-response-stream",
];

#[test]
fn every_dialect_says_the_same_characters() {
    let (provider, _dir) = start(true);
    for path in PATHS {
        let model = format!("scenario:text#{path}");
        let body = dechunk(&body(&ask(&provider, path, &model, true)));
        let text = String::from_utf8(body).unwrap();
        assert_eq!(deltas_in(&text).chars().count(), 240, "{path}");
        let (chunks, chars) = visible(&writes(&provider, &model));
        assert_eq!((chunks, chars), (20, 240), "{path}");
    }
}

#[test]
fn every_other_api_logs_the_same_characters() {
    let (provider, _dir) = start(true);
    for (at, path) in MORE.iter().enumerate() {
        let model = format!("scenario:text~{at}");
        let answer = ask(&provider, &path.replace("{}", &model), &model, true);
        assert!(answer.ends_with(b"0\r\n\r\n"), "{path}");
        assert_eq!(visible(&writes(&provider, &model)), (20, 240), "{path}");
    }
}

#[test]
fn frames_of_the_event_stream_are_whole_and_checked() {
    let (provider, _dir) = start(true);
    let model = "scenario:text~frames";
    let body = dechunk(&body(&ask(&provider, &format!("/model/{model}/converse-stream"), model, true)));
    let (mut rest, mut names) = (body.as_slice(), Vec::new());
    while !rest.is_empty() {
        let number = |at: usize| u32::from_be_bytes(rest[at..at + 4].try_into().unwrap());
        let (total, headers) = (number(0) as usize, number(4) as usize);
        assert_eq!((number(8), number(total - 4)), (crc32fast::hash(&rest[..8]), crc32fast::hash(&rest[..total - 4])));
        assert_eq!(&rest[13..24], b":event-type");
        names.push(String::from_utf8_lossy(&rest[27..27 + usize::from(rest[26])]).into_owned());
        let _: serde_json::Value = serde_json::from_slice(&rest[12 + headers..total - 4]).unwrap();
        rest = &rest[total..];
    }
    assert_eq!((names.len(), names[0].as_str()), (24, "messageStart"));
    assert_eq!(names[1], "contentBlockDelta");
    assert_eq!(names[21..], ["contentBlockStop", "messageStop", "metadata"]);
}

/// Twenty streams of one connection, by the `h2` crate's own client: each log line belongs to its
/// stream, and every part was written before the client had it.
#[test]
fn streams_of_one_http2_connection_are_told_apart() {
    let (provider, _dir) = start(false);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let plain = provider.plain_url().replace("http://", "");
    let received = runtime.block_on(async {
        let socket = tokio::net::TcpStream::connect(plain).await.unwrap();
        let (client, connection) = h2::client::handshake(socket).await.unwrap();
        let connection = tokio::spawn(connection);
        let streams = (0..20).map(|stream| h2_stream(client.clone(), format!("scenario:text#h2-{stream}")));
        let mut running: Vec<_> = streams.map(tokio::spawn).collect();
        let cancelled = tokio::spawn(h2_cancelled(client.clone(), "scenario:long#h2".to_owned()));
        let mut received = Vec::new();
        for stream in &mut running {
            received.push(stream.await.unwrap());
        }
        cancelled.await.unwrap();
        drop(client);
        connection.abort();
        received
    });
    for (stream, text) in received.iter().enumerate() {
        let model = format!("scenario:text#h2-{stream}");
        assert_eq!(deltas_in(text).chars().count(), 240);
        let kinds = || -> Vec<Kind> {
            writes(&provider, &model).iter().flat_map(|write| &write.parts).map(|part| part.kind).collect()
        };
        // A write is logged when it is over: by then the client may have read it, and its next breath may be ours.
        wait_for(|| kinds().last() == Some(&Kind::Trailer));
        assert_eq!(kinds().first(), Some(&Kind::Head));
        assert_eq!(visible(&writes(&provider, &model)), (20, 240), "{stream}");
    }
    let lines = provider.lines();
    let requests = lines.iter().filter_map(|line| if let Line::Request(request) = line { Some(request) } else { None });
    assert!(requests.clone().all(|request| request.protocol == Protocol::Http2 && request.first_byte.boot > 0));
    assert_eq!(requests.clone().map(|request| request.conn).collect::<std::collections::BTreeSet<_>>().len(), 1);
    wait_for(|| provider.lines().iter().any(|line| matches!(line, Line::Cancel { .. })));
}

async fn h2_request(client: h2::client::SendRequest<bytes::Bytes>, model: &str) -> h2::RecvStream {
    let body = serde_json::json!({"model": model, "stream": true}).to_string();
    let request = http::Request::post("http://localhost/v1/chat/completions").body(()).unwrap();
    let (answer, mut stream) = client.ready().await.unwrap().send_request(request, false).unwrap();
    stream.send_data(body.into(), true).unwrap();
    let answer = answer.await.unwrap();
    assert_eq!(answer.status(), 200);
    answer.into_body()
}

async fn h2_stream(client: h2::client::SendRequest<bytes::Bytes>, model: String) -> String {
    let mut body = h2_request(client, &model).await;
    let mut text = Vec::new();
    while let Some(piece) = body.data().await {
        let piece = piece.unwrap();
        text.extend_from_slice(&piece);
        body.flow_control().release_capacity(piece.len()).unwrap();
    }
    String::from_utf8(text).unwrap()
}

/// Dropping the body resets the stream.
async fn h2_cancelled(client: h2::client::SendRequest<bytes::Bytes>, model: String) {
    let mut body = h2_request(client, &model).await;
    assert!(!body.data().await.unwrap().unwrap().is_empty());
}

#[test]
fn an_account_is_used_up_in_its_vendors_words() {
    let (provider, _dir) = start(true);
    let head = |path: &str| {
        let answer = ask(&provider, path, "scenario:quota", true);
        String::from_utf8_lossy(&answer[..answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap()]).into_owned()
    };
    let first = head(PATHS[0]);
    assert!(first.contains("x-ratelimit-remaining-requests: 5\r\n"), "{first}");
    assert!(first.contains("x-ratelimit-reset-tokens: 10s"), "{first}");
    let second = head(PATHS[2]);
    assert!(second.contains("anthropic-ratelimit-requests-remaining: 4\r\n"), "{second}");
    assert!(second.contains("anthropic-ratelimit-tokens-limit: 100000\r\n"), "{second}");
    (0..4).for_each(|_| drop(head(PATHS[0])));
    let last = head(PATHS[0]);
    assert!(last.starts_with("HTTP/1.1 429 ") && last.contains("retry-after: "), "{last}");
}

#[test]
fn a_whole_answer_says_what_the_stream_would() {
    let (provider, _dir) = start(true);
    for path in PATHS {
        let model = format!("scenario:text#whole{path}");
        let answer: serde_json::Value = serde_json::from_slice(&body(&ask(&provider, path, &model, false))).unwrap();
        let text = ["/choices/0/message/content", "/output/0/content/0/text", "/content/0/text"]
            .iter()
            .find_map(|at| answer.pointer(at))
            .unwrap();
        assert_eq!(text.as_str().unwrap().chars().count(), 240);
        let parts = &writes(&provider, &model)[0].parts;
        assert_eq!(parts.last().map(|part| (part.kind, part.chars)), Some((Kind::Body, 240)));
    }
}

#[test]
fn every_encoding_decodes_to_the_same_events() {
    let (provider, _dir) = start(true);
    let plain = dechunk(&body(&ask_until(&provider, &Reply::default())));
    for encoding in [Encoding::Gzip, Encoding::Deflate, Encoding::Br, Encoding::Zstd] {
        let encoded = dechunk(&body(&ask_until(&provider, &Reply::default().encoding(encoding))));
        assert_eq!(decode(encoding, &encoded), plain, "{encoding:?}");
    }
}

#[test]
fn shapes_decide_records_and_writes() {
    let (provider, _dir) = start(false);
    for (name, writes_of_text, records) in [("coalesced", 5, 1), ("corked", 5, 4), ("split", 24, 1)] {
        let model = format!("scenario:{name}");
        ask(&provider, PATHS[0], &model, true);
        let writes = writes(&provider, &model);
        let text: Vec<_> = writes.iter().filter(|write| is_text(write)).collect();
        assert_eq!(text.len(), writes_of_text, "{name}");
        // TLS 1.3 adds 22 bytes a record.
        assert!(text.iter().all(|write| write.bytes - write.plain == 22 * records), "{name}: {text:?}");
    }
}

#[test]
fn faults_end_the_connection_as_scripted() {
    let (provider, _dir) = start(false);
    for (name, how) in [("reset", "reset"), ("closed", "fin"), ("fin", "fin"), ("truncated-chunk", "fin")] {
        let model = format!("scenario:{name}");
        let received = ask(&provider, PATHS[0], &model, true);
        assert!(!received.ends_with(b"0\r\n\r\n"), "{name}");
        assert_eq!(visible(&writes(&provider, &model)), (6, 60), "{name}");
        let conn = writes(&provider, &model)[0].conn;
        let closed = |line: &Line| matches!(line, Line::Close { conn: c, how: h, .. } if *c == conn && h == how);
        wait_for(|| provider.lines().iter().any(closed));
    }
}

#[test]
fn replies_change_with_the_attempt_of_one_model_name() {
    let (provider, _dir) = start(true);
    let status = |model: &str| String::from_utf8_lossy(&ask(&provider, PATHS[2], model, true)[9..12]).into_owned();
    let seen: Vec<String> = ["a", "a", "b", "a"].map(|tag| status(&format!("scenario:429-then-ok#{tag}"))).into();
    assert_eq!(seen, ["429", "200", "429", "200"]);
}

#[test]
fn one_connection_serves_several_requests() {
    let (provider, _dir) = start(true);
    let mut stream = connect(&provider);
    for _ in 0..3 {
        stream.write_all(&request(PATHS[0], "scenario:text#again", true, "keep-alive")).unwrap();
        read_to(&mut stream, b"\r\n0\r\n\r\n");
    }
    drop(stream);
    let ordinals: Vec<u64> = provider
        .lines()
        .iter()
        .filter_map(|line| match line {
            Line::Request(request) => Some(request.request),
            _ => None,
        })
        .collect();
    assert_eq!(ordinals, [0, 1, 2]);
}

#[test]
fn two_hundred_streams_of_a_hundred_chunks_at_once() {
    let (provider, _dir) = start(false);
    provider.register("flow", Scenario::always(Reply::of(answer(vec![deltas(100, 12, 20_000)], "stop"))));
    std::thread::scope(|scope| {
        for stream in 0..200 {
            let provider = &provider;
            scope.spawn(move || ask(provider, PATHS[0], &format!("scenario:flow#{stream}"), true));
        }
    });
    for stream in 0..200 {
        assert_eq!(visible(&writes(&provider, &format!("scenario:flow#{stream}"))), (100, 1200));
    }
}

#[test]
fn stamps_enclose_the_moment_of_arrival() {
    let (provider, _dir) = start(true);
    let mut stream = connect(&provider);
    let begun = provider::clock::Stamp::now();
    stream.write_all(&request(PATHS[0], "scenario:text#stamps", true, "close")).unwrap();
    read_to(&mut stream, b"\r\n0\r\n\r\n");
    let ended = provider::clock::Stamp::now();
    let writes = writes(&provider, "scenario:text#stamps");
    assert!(writes.iter().all(|write| begun < write.before && write.before < write.after));
    assert!(writes.windows(2).all(|pair| pair[0].after <= pair[1].before));
    assert!(writes.last().unwrap().before < ended);
}

#[test]
fn logs_and_scenarios_survive_json() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log.ndjson");
    let options = Options { log: Some(log.clone()), plain: true, ..Options::in_memory(dir.path().to_owned()) };
    let provider = Provider::start(&options).unwrap();
    ask(&provider, PATHS[1], "scenario:tools", true);
    wait_for(|| provider.lines().iter().any(|line| matches!(line, Line::Close { .. })));
    provider.flush();
    assert_eq!(provider::log::read(&log).unwrap(), provider.lines());
    for (name, scenario) in provider::catalogue::all() {
        let json = serde_json::to_string(&scenario).unwrap();
        assert_eq!(serde_json::from_str::<Scenario>(&json).unwrap(), scenario, "{name}");
    }
}
