//! Event streams that no dialect claims.

use super::*;

fn ask(path: &str) -> String {
    format!("{}\r\n\r\n{}", head_of(path), r#"{"model":"m","stream":true}"#)
}

fn head_of(path: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: tools.example\r\nContent-Type: application/json\r\nContent-Length: 27")
}

fn event(text: &str) -> String {
    framed(&format!("data: {{\"planted\":\"{text}\"}}\n\n"))
}

#[test]
fn an_unclaimed_stream_is_timed_and_sized() {
    let mut script = FakeTlsConn::new(10, 1);
    script.write(ask("/agent/run")).wait_ms(20).read(HEAD);
    script.read_each(10, [event("a"), event("bb"), event("ccc")]).wait_ms(10).read(LAST);
    let run = run(script.records());
    let entry = run.only();
    assert_eq!((entry.api, entry.provider, entry.outcome), ("unknown", "unknown", Some(CallOutcome::Complete)));
    assert_eq!((entry.events, entry.chunks, entry.visible_chars, entry.reads), (3, 0, 0, 3));
    assert_eq!(entry.body_bytes, (event("a").len() + event("bb").len() + event("ccc").len() - 3 * 6) as u64);
    assert_eq!(entry.request.as_ref().unwrap().model.as_deref(), Some("m"));
    assert_eq!(entry.server_address.as_deref(), Some("tools.example"));
    assert!((entry.firsts.event.unwrap() - 30.0 * MS).abs() < MS, "{:?}", entry.firsts);
    assert!((entry.gap_stats().unwrap().p50 - 10.0 * MS).abs() < MS);
    assert_eq!(entry.firsts.visible, None);
    assert!(run.verdicts.is_empty(), "{:?}", run.verdicts);
    assert!(!run.debug().contains("planted"));
}

#[test]
fn one_that_breaks_off_is_not_complete() {
    let mut script = FakeTlsConn::new(10, 1);
    script.write(ask("/agent/run")).read(HEAD).read(event("a")).read_end(false).close();
    assert_eq!(run(script.records()).outcomes(), ["reset"]);
}

#[test]
fn other_answers_are_left_alone_once_their_head_is_seen() {
    let mut script = FakeTlsConn::new(10, 1);
    script.write(ask("/v1/embeddings")).wait_ms(5);
    script.read("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}");
    let mut one = run(script.records());
    assert_eq!((one.verdicts.clone(), one.pipeline.held()), (vec![Verdict::Heads], 0));
    // The connection may still carry a call, of either kind.
    let known = script.records().len();
    script.write(ask("/agent/run")).wait_ms(5).read(HEAD).read(event("a")).read(LAST);
    script.write(chat()).wait_ms(5).read(HEAD).read(DONE).read(LAST);
    one.play(&script.records()[known..]);
    let mut apis: Vec<_> = one.pipeline.call_table().ended().map(|entry| entry.api).collect();
    apis.sort_unstable();
    assert_eq!(apis, ["openai.chat", "unknown"]);
    assert_eq!(one.verdicts, [Verdict::Heads, Verdict::Unknown, Verdict::Track]);
}

#[test]
fn what_takes_too_long_to_answer_is_passed_over() {
    let mut script = FakeTlsConn::new(10, 1);
    let size = 4 << 20;
    script.write(format!("POST /upload HTTP/1.1\r\nHost: h\r\nContent-Length: {size}\r\n\r\n"));
    for _ in 0..64 {
        script.write(vec![b'x'; size / 64]);
    }
    let run = run(script.records());
    assert_eq!(run.verdicts[0], Verdict::Heads);
    assert_eq!((run.pipeline.held(), run.pipeline.call_table().open().count()), (0, 0));
}

#[test]
fn a_connection_of_another_kind_is_ignored_as_before() {
    let mut script = FakeTlsConn::new(10, 1);
    for _ in 0..10 {
        script.write(ask("/rpc")).read("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}");
    }
    let run = run(script.records());
    assert_eq!(run.verdicts.last(), Some(&Verdict::Ignore), "{:?}", run.verdicts);
}

#[test]
fn beside_model_calls_on_one_connection_too() {
    let mut script = FakeTlsConn::new(10, 1);
    script.write(chat()).read(HEAD).read(DONE).read(LAST);
    script.write(ask("/agent/run")).wait_ms(5).read(HEAD).read(event("a")).read(LAST);
    let run = run(script.records());
    assert_eq!((run.outcomes(), run.verdicts.len()), (vec!["complete", "complete"], 1));
}
