use super::*;
use testkit::spans::{FakeSpan, json, protobuf};

fn head(path: &str, kind: &str) -> RequestHead {
    let headers = vec![("content-type".to_owned(), kind.to_owned())];
    RequestHead { method: "POST".into(), path: path.into(), headers, ..RequestHead::default() }
}

/// A message of gRPC, perhaps compressed.
fn grpc(message: &[u8], gzip: bool) -> Vec<u8> {
    use std::io::Write as _;
    let mut bytes = message.to_vec();
    if gzip {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(message).unwrap();
        bytes = encoder.finish().unwrap();
    }
    let len = u32::try_from(bytes.len()).unwrap().to_be_bytes();
    [&[u8::from(gzip)][..], &len, &bytes].concat()
}

/// Times and kind of a span, to compare.
fn facts(span: &ExportedSpan) -> (u64, u64, u8, bool) {
    (span.start, span.end, span.kind, span.model)
}

fn told() -> Vec<FakeSpan> {
    let response = vec![("gen_ai.response.id", "chatcmpl-1".to_owned()), ("server.address", "api.openai.com".into())];
    vec![
        FakeSpan {
            trace: 7,
            id: 2,
            parent: 1,
            kind: ExportedSpan::CLIENT,
            start: 1_772_323_200_123_456_789,
            end: 1_772_323_201_000_000_001,
            attributes: response,
            bare: false,
        },
        FakeSpan { trace: 7, id: 1, kind: 1, start: 5, end: 4, ..FakeSpan::default() },
    ]
}

/// What is read of a body in pieces, and why not all of it was.
fn read(head: &RequestHead, salt: &Salt, body: &[u8], size: usize) -> (Vec<ExportedSpan>, Option<&'static str>) {
    let (mut reader, mut spans) = (ExportReader::new(head, salt).unwrap(), Vec::new());
    body.chunks(size).for_each(|piece| reader.push(piece, &mut |span| spans.push(*span)));
    assert!(reader.held() < 96 * 1024, "{}", reader.held());
    (spans, reader.end(false))
}

#[test]
fn the_same_spans_come_of_every_form_and_every_cut() {
    let salt = Salt::random();
    let message = protobuf(&told());
    for (path, kind, body) in [
        ("/v1/traces", "application/x-protobuf", message.clone()),
        ("/api/public/otel/v1/traces", "application/json; charset=utf-8", json(&told()).into_bytes()),
        (METHOD, "application/grpc", grpc(&message, false)),
        (METHOD, "application/grpc+proto", grpc(&message, true)),
        (
            METHOD,
            "application/grpc",
            [grpc(&protobuf(&told()[..1]), true), grpc(&protobuf(&told()[1..]), false)].concat(),
        ),
    ] {
        let head = head(path, kind);
        for size in [1, 7, 100_000] {
            let (spans, why) = read(&head, &salt, &body, size);
            assert_eq!(why, None, "{kind}");
            let [one, two] = spans.as_slice() else { panic!("{kind}: {spans:?}") };
            assert_eq!(facts(one), (1_772_323_200_123_456_789, 1_772_323_201_000_000_001, 3, true));
            assert_eq!(facts(two), (5, 4, 1, true));
            assert_eq!((one.parent, two.parent), (two.id, None));
            assert!(one.id.is_some() && one.id != two.id);
            assert_eq!(one.response, Some(salt.hash_text(b"chatcmpl-1")));
            assert_eq!((one.server, two.server), (Some(salt.hash_text(b"api.openai.com")), None));
            let header = format!("00-{}-{}-01", "07".repeat(16), "02".repeat(8));
            assert_eq!(parent(&header, &salt), one.id);
        }
        // What is missing at the end is told, and what came before it is there.
        let (spans, why) = read(&head, &salt, &body[..body.len() - 3], 64);
        assert_eq!(why, Some("export_unreadable"), "{kind}");
        assert!(kind != "application/x-protobuf" || spans.len() == 1, "{spans:?}");
    }
}

#[test]
fn other_requests_are_no_exports() {
    let get = RequestHead { method: "GET".into(), ..head("/v1/traces", "application/json") };
    for (head, is) in [
        (head("/v1/traces", "application/x-protobuf"), true),
        (head("/v1/metrics", "application/x-protobuf"), false),
        (head("/v1/traces", "text/plain"), false),
        (head("/v1/traces/7", "application/json"), false),
        (head("/opentelemetry.proto.collector.logs.v1.LogsService/Export", "application/grpc"), false),
        (head(METHOD, "application/json"), false),
        (get, false),
        (RequestHead { headers: Vec::new(), ..head("/v1/traces", "") }, false),
    ] {
        assert_eq!(is_export(&head), is, "{head:?}");
    }
    for wrong in ["", "00", "00-1-2-01", "00-00000000000000000000000000000000-0202020202020202-01", "00-zz-zz"] {
        assert_eq!(parent(wrong, &Salt::random()), None, "{wrong}");
    }
}

#[test]
fn a_body_without_end_and_a_bomb_of_empty_spans_take_no_memory() {
    let salt = Salt::random();
    let export = head("/v1/traces", "application/x-protobuf");
    let mut reader = ExportReader::new(&export, &salt).unwrap();
    let mut count = 0_u64;
    // Resource and scope of a gigabyte, of nothing but empty spans.
    reader.push(b"\x0a\x80\x80\x80\x80\x04\x12\x80\x80\x80\x80\x03", &mut |_| count += 1);
    let empty = b"\x12\x00".repeat(512 * 1024);
    for _ in 0..40 {
        reader.push(&empty, &mut |_| count += 1);
        assert!(reader.held() < 4096);
    }
    assert_eq!(reader.end(false), Some("export_too_large"));
    assert!(count < limits::EXPORT_BYTES / 2 && count > limits::EXPORT_BYTES / 4, "{count}");
}

#[test]
fn nothing_of_names_and_texts_is_kept() {
    let salt = Salt::random();
    let mut reader = ExportReader::new(&head("/v1/traces", "application/x-protobuf"), &salt).unwrap();
    let mut spans = Vec::new();
    reader.push(&protobuf(&told()), &mut |span| spans.push(*span));
    let shown = format!("{spans:?}{:?}", reader.draft);
    assert!(!shown.contains("planted") && !shown.contains("chatcmpl"), "{shown}");
}
