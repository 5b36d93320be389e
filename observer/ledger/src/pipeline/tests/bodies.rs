//! Answers that are neither server-sent events nor a JSON document.

use super::*;
use dialects::DeclaredRoute;

/// A call to `path`, taken for a chat whatever the path.
fn answered(path: &str, pieces: &[Vec<u8>]) -> Run {
    let mut script = FakeTlsConn::new(10, 1);
    script.write(request(path, r#"{"model":"m","input":"planted"}"#));
    script.read_each(10, pieces).close();
    let extra = DeclaredRoute { path_suffix: Some(path.into()), host: None, api: "openai.chat".into() };
    let settings = PipelineSettings { extras: vec![extra], ..PipelineSettings::default() };
    let mut run =
        Run { pipeline: Pipeline::with_tap(settings, Ear::default(), Printed::default()), verdicts: Vec::new() };
    run.play(script.records());
    run
}

fn chunk(bytes: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

fn head(content_type: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nTransfer-Encoding: chunked\r\n\r\n").into_bytes()
}

#[test]
fn sound_is_timed_from_its_first_byte_and_counted() {
    let sound = [0xff, b'{', 0, b'\n'].repeat(100);
    let pieces = [head("audio/mpeg"), chunk(&sound), chunk(&sound), b"0\r\n\r\n".to_vec()];
    let run = answered("/v1/audio/speech", &pieces);
    let entry = run.only();
    assert_eq!((entry.outcome, entry.body_bytes, entry.media_bytes), (Some(CallOutcome::Complete), 800, 800));
    let audio = entry.firsts.audio.unwrap();
    assert!((audio - 20.0 * MS).abs() < MS && entry.firsts.byte.unwrap() < audio, "{:?}", entry.firsts);
    assert_eq!((entry.firsts.visible, entry.events, entry.chunks, entry.notes.len()), (None, 0, 0, 0));
    let (_, points, _) = run.pipeline.call_table().find(&entry.id).unwrap();
    let points: Vec<_> = points.iter().map(|point| (point.kind, point.bytes)).collect();
    assert_eq!(points, [("audio", 400), ("audio", 400)]);
}

#[test]
fn sound_that_breaks_off_is_no_whole_answer() {
    let run = answered("/v1/audio/speech", &[head("audio/pcm"), chunk(&[1; 64])]);
    let entry = run.only();
    assert_eq!((entry.outcome, entry.media_bytes), (Some(CallOutcome::ClientCancel), 64));
}

#[test]
fn lines_and_binary_messages_are_events_as_they_come() {
    let line = br#"{"choices":[{"index":0,"delta":{"content":"ab"}}]}"#.as_slice();
    let run = answered("/lines", &[head("application/x-ndjson"), chunk(line), chunk(line), b"0\r\n\r\n".to_vec()]);
    let entry = run.only();
    assert_eq!((entry.events, entry.chunks, entry.visible_chars), (2, 2, 4));
    assert!((entry.firsts.visible.unwrap() - 20.0 * MS).abs() < MS, "{:?}", entry.firsts);
    assert_eq!(entry.body_bytes, 2 * line.len() as u64);
}
