//! Spans that processes export.

use super::*;
use testkit::spans::{FakeSpan, json, protobuf};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n";

fn spans(count: u8) -> Vec<FakeSpan> {
    (1..=count).map(|id| FakeSpan { trace: 1, id, kind: 3, start: 10, end: 20, ..FakeSpan::default() }).collect()
}

fn export(kind: &str, coding: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST /v1/traces HTTP/1.1\r\nHost: collector:4318\r\nContent-Type: {kind}\r\n{coding}Content-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

fn binary(count: u8) -> Vec<u8> {
    export("application/x-protobuf", "", &protobuf(&spans(count)))
}

fn gzip(body: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

/// A process that has called a model on another connection.
fn caller() -> Run {
    let mut script = FakeTlsConn::new(10, 1);
    script.write(chat()).read([HEAD, &delta("x"), DONE, LAST].concat()).close();
    let mut run = run(script.records());
    run.verdicts.clear();
    run
}

/// A connection of the same process.
fn exporter() -> FakeTlsConn {
    let mut script = FakeTlsConn::new(10, 2);
    script.wait_ms(5_000);
    script
}

#[test]
fn a_callers_exports_are_read_however_they_are_written() {
    let json = json(&spans(3)).into_bytes();
    for request in [
        binary(3),
        export("application/json", "", &json),
        export("application/x-protobuf", "Content-Encoding: gzip\r\n", &gzip(&protobuf(&spans(3)))),
        export("application/json", "Content-Encoding: gzip\r\n", &gzip(&json)),
    ] {
        let (mut run, mut script) = (caller(), exporter());
        for _ in 0..3 * limits::NON_LLM_REQUESTS {
            script.write(&request[..100]).write(&request[100..150]).write(&request[150..]).wait_ms(2).read(OK);
        }
        run.play(script.records());
        assert_eq!(run.ear().spans.len(), 9 * limits::NON_LLM_REQUESTS as usize);
        assert!(run.ear().spans.iter().all(|span| (span.start, span.end, span.model) == (10, 20, true)));
        // The connection is followed for good, without being one of model calls.
        assert!(run.verdicts.is_empty() && run.outcomes() == ["complete"], "{:?}", run.verdicts);
        assert!(!run.debug().contains("planted"));
    }
}

#[test]
fn an_export_larger_than_other_requests_may_be_is_read_to_its_end() {
    let (mut run, mut script) = (caller(), exporter());
    let many: Vec<FakeSpan> = (0..3000_u16)
        .map(|n| FakeSpan { trace: 1, id: (n % 250 + 1) as u8, start: 1, end: 2, ..FakeSpan::default() })
        .collect();
    let request = export("application/x-protobuf", "", &protobuf(&many));
    assert!(request.len() as u64 > limits::UNCLAIMED_BYTES);
    for piece in request.chunks(16 * 1024) {
        script.write(piece);
    }
    script.read(OK);
    run.play(script.records());
    assert_eq!((run.ear().spans.len(), run.verdicts.len()), (3000, 0));
}

#[test]
fn the_exports_of_a_process_that_calls_no_model_cost_their_heads_and_never_the_connection() {
    let mut script = exporter();
    for _ in 0..10 * limits::NON_LLM_REQUESTS {
        script.write(binary(2)).wait_ms(2).read(OK).wait_ms(5_000);
    }
    let mut run = run(script.records());
    assert!(run.ear().spans.is_empty() && run.verdicts.iter().all(|verdict| *verdict == Verdict::Heads));
    assert_eq!(run.pipeline.held(), 0);
    // It calls a model: from its next export on, it is heard.
    let known = script.records().len();
    let mut call = FakeTlsConn::new(10, 1);
    call.wait_ms(script.now().0 / 1_000_000).write(chat()).read([HEAD, &delta("x"), DONE, LAST].concat()).close();
    run.play(call.records());
    script.wait_ms(5_000).write(binary(2)).wait_ms(2).read(OK);
    run.play(&script.records()[known..]);
    assert_eq!(run.ear().spans.len(), 2);
    assert_eq!(run.verdicts.last(), Some(&Verdict::Unknown));
}

#[test]
fn what_is_lost_of_an_export_is_told() {
    let (mut run, mut script) = (caller(), exporter());
    let request = binary(3);
    script.write(&request[..request.len() - 40]).lose(Direction::Write, 40).wait_ms(2).read(OK).wait_ms(100);
    script.write(binary(2)).wait_ms(2).read(OK).wait_ms(100).write(export("application/json", "", b"{\"a\":"));
    script.read(OK).wait_ms(100).write(&request[..200]).close();
    run.play(script.records());
    let lost: Vec<_> = run.ear().said.iter().filter(|said| said.starts_with("export_")).collect();
    assert_eq!(lost, ["export_lost", "export_unreadable", "export_lost"]);
    assert_eq!(run.ear().spans.len(), 4, "those that came whole");
}

/// As the Python exporter and a gRPC server wrote it.
#[test]
fn an_export_over_grpc_is_read_and_is_no_call() {
    let (mut run, mut script) = (caller(), exporter());
    for line in include_str!("grpc_export.txt").lines() {
        let hex = line.as_bytes()[2..].chunks(2).map(|two| std::str::from_utf8(two).unwrap());
        let bytes: Vec<u8> = hex.map(|two| u8::from_str_radix(two, 16).unwrap()).collect();
        if line.starts_with('>') { script.write(bytes) } else { script.read(bytes) }.wait_ms(1);
    }
    run.play(script.records());
    let spans: Vec<_> = run.ear().spans.iter().map(|span| (span.kind, span.model, span.response.is_some())).collect();
    assert_eq!(spans, [(3, true, true); 2]);
    assert_eq!((run.outcomes(), run.verdicts.len()), (vec!["complete"], 0), "the call before, and nothing else");
}

/// A connection that is followed whole is given up after so many bytes of other things, but not of exports.
#[test]
fn exports_over_http2_go_on_for_good() {
    use super::http2::{PREFACE, frame};
    let (mut run, mut script) = (caller(), exporter());
    let mut headers = loona_hpack::Encoder::new();
    let fields = [(":method", "POST"), (":path", "/v1/traces"), ("content-type", "application/x-protobuf")];
    let body = protobuf(&spans(80));
    let times = limits::WHOLE_UNCLAIMED / body.len() as u64 + 5;
    script.write([PREFACE.as_bytes(), &frame(4, 0, 0, &[])].concat()).read(frame(4, 0, 0, &[]));
    for id in (1..).step_by(2).take(times as usize) {
        let block = headers.encode(fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())));
        script.write([frame(1, 4, id, &block), frame(0, 1, id, &body)].concat()).wait_ms(1);
        // The answer: 200.
        script.read(frame(1, 5, id, &[0x88])).wait_ms(1);
    }
    run.play(script.records());
    assert_eq!((run.ear().spans.len() as u64, run.verdicts.as_slice()), (80 * times, &[][..]));
}
