//! WebSockets: several calls on one connection, none of them a request of its own.

use super::*;
use crate::MilestoneTimes;

const UP: &str =
    "GET /v1/responses HTTP/1.1\r\nHost: api.openai.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
const OK: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
const CREATE: &str = r#"{"type":"response.create","model":"gpt-x","input":[{"role":"user","content":"planted"}]}"#;
const CREATED: &str = r#"{"type":"response.created","response":{"id":"resp_1","model":"gpt-x-1"}}"#;
const COMPLETED: &str = r#"{"type":"response.completed","response":{"id":"resp_1","status":"completed","usage":{"input_tokens":3,"output_tokens":2}}}"#;

fn sent(text: &str) -> Vec<u8> {
    let frame = received(text);
    let (head, payload) = frame.split_at(frame.len() - text.len());
    let mask = [1, 2, 3, 4];
    let masked = payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key);
    let mut bytes = head.to_vec();
    bytes[1] |= 0x80;
    bytes.extend(mask);
    bytes.extend(masked);
    bytes
}

fn received(text: &str) -> Vec<u8> {
    match text.len() {
        short @ ..=125 => [&[0x81, short as u8][..], text.as_bytes()].concat(),
        long => [&[0x81, 126, (long >> 8) as u8, long as u8][..], text.as_bytes()].concat(),
    }
}

fn delta(text: &str) -> Vec<u8> {
    received(&format!(r#"{{"type":"response.output_text.delta","delta":"{text}"}}"#))
}

fn opened() -> FakeTlsConn {
    let mut script = FakeTlsConn::new(10, 1);
    script.write(UP).wait_ms(5).read(OK);
    script
}

fn turn(script: &mut FakeTlsConn) {
    script.wait_ms(50).write(sent(CREATE)).wait_ms(20).read(received(CREATED));
    script.wait_ms(10).read(delta("Hello")).wait_ms(10).read(delta(" there"));
    script.wait_ms(10).read(received(COMPLETED));
}

#[test]
fn each_turn_is_a_call_that_begins_with_its_message() {
    let mut script = opened();
    turn(&mut script);
    turn(&mut script);
    let run = run(script.records());
    assert_eq!(run.outcomes(), ["complete", "complete"]);
    assert_eq!(run.verdicts, [Verdict::Track]);
    let entries: Vec<&Entry> = run.pipeline.call_table().ended().collect();
    assert_ne!(entries[0].id, entries[1].id);
    for entry in entries {
        assert_eq!((entry.api, entry.protocol, entry.status), ("openai.responses", "websocket", Some(101)));
        assert_eq!((entry.events, entry.chunks, entry.visible_chars, entry.keepalives), (4, 2, 11, 0));
        assert_eq!(entry.request.as_ref().unwrap().model.as_deref(), Some("gpt-x"));
        assert_eq!((entry.response_id.as_deref(), entry.usage.output), (Some("resp_1"), Some(2)));
        let firsts = entry.firsts;
        assert!((firsts.byte.unwrap() - 20.0 * MS).abs() < MS, "{firsts:?}");
        assert!((firsts.visible.unwrap() - 30.0 * MS).abs() < MS, "{firsts:?}");
        assert_eq!(entry.lost.len() + entry.notes.len(), 0);
    }
    assert!(!run.debug().contains("planted"));
}

#[test]
fn a_call_that_only_the_server_began_and_one_that_the_end_of_the_socket_cut() {
    let mut script = opened();
    script.read(received(r#"{"type":"session.created"}"#));
    script.wait_ms(9).read([received(CREATED), delta("Hi"), received(COMPLETED)].concat());
    script.wait_ms(9).read(received(r#"{"type":"error","code":"x"}"#));
    script.write(sent(CREATE)).wait_ms(5).read(received(CREATED)).read(delta("Hi"));
    script.read([0x88, 2, 0x03, 0xf3]).close();
    let run = run(script.records());
    assert_eq!(run.outcomes(), ["complete", "truncated"]);
    let ended: Vec<&Entry> = run.pipeline.call_table().ended().collect();
    assert_eq!((ended[1].events, ended[1].visible_chars), (3, 2));
    assert_eq!(ended[0].notes, ["close_internal_error"]);
}

/// The stamps are those of calls' ends: a thread that reads may be ahead of the one that writes.
#[test]
fn an_answer_that_is_seen_before_what_asked_for_it_is_its_answer() {
    let mut script = opened();
    turn(&mut script);
    script.wait_ms(9).read(received(CREATED)).write(sent(CREATE));
    script.wait_ms(10).read(delta("Hello")).wait_ms(10).read(received(COMPLETED));
    turn(&mut script);
    let run = run(script.records());
    assert_eq!(run.outcomes(), ["complete", "complete", "complete"]);
    let entries: Vec<&Entry> = run.pipeline.call_table().ended().collect();
    let models: Vec<_> = entries.iter().map(|entry| entry.request.as_ref().unwrap().model.as_deref()).collect();
    assert_eq!(models, [Some("gpt-x"); 3]);
    assert_eq!(entries.iter().map(|entry| entry.visible_chars).collect::<Vec<_>>(), [11, 5, 11]);
    assert!(entries.iter().all(|entry| entry.status == Some(101)));
}

/// The same of the upgrade's answer, and of all that a call said before the write that asked for it returned.
#[test]
fn answers_that_are_read_before_what_asked_for_them_was_written() {
    let mut script = FakeTlsConn::new(10, 1);
    let asked = script.now();
    script.wait_ms(5).read(OK).wait_ms(30).write_since(asked, UP);
    script.wait_ms(50);
    let asked = script.now();
    script.wait_ms(20).read(received(CREATED)).wait_ms(10).read(delta("Hello"));
    script.wait_ms(30).write_since(asked, sent(CREATE)).read(received(COMPLETED));
    let run = run(script.records());
    let entry = run.only();
    assert_eq!((entry.outcome, entry.events, entry.visible_chars), (Some(CallOutcome::Complete), 3, 5));
    assert_eq!((entry.status, entry.request.as_ref().unwrap().model.as_deref()), (Some(101), Some("gpt-x")));
    close_to(entry.firsts.byte, 20.0 * MS);
    close_to(entry.firsts.visible, 30.0 * MS);
}

/// A client need not wait for the session's answers before it asks for a response.
#[test]
fn what_concerns_the_session_is_no_part_of_a_response() {
    let mut script = FakeTlsConn::new(10, 1);
    script.write(UP.replace("/v1/responses", "/v1/realtime?model=gpt-r")).wait_ms(5).read(OK);
    script.write(sent(r#"{"type":"session.update","session":{}}"#)).write(sent(r#"{"type":"response.create"}"#));
    script.read(received(r#"{"type":"session.created"}"#)).read(received(r#"{"type":"session.updated"}"#));
    script.wait_ms(5).read(received(CREATED)).wait_ms(5).read(delta("Hi"));
    script.read(received(r#"{"type":"conversation.item.done"}"#));
    script.read(received(r#"{"type":"response.done","response":{"status":"completed"}}"#));
    let run = run(script.records());
    let entry = run.only();
    assert_eq!((entry.api, entry.outcome, entry.events), ("openai.realtime", Some(CallOutcome::Complete), 3));
    assert_eq!(entry.request.as_ref().unwrap().model.as_deref(), Some("gpt-r"));
    assert!((entry.firsts.byte.unwrap() - 5.0 * MS).abs() < MS, "{:?}", entry.firsts);
}

#[test]
fn calls_that_overlap_are_answered_in_their_order() {
    let mut script = opened();
    script.write([sent(CREATE), sent(CREATE)].concat());
    script.wait_ms(9).read([received(CREATED), delta("one"), received(COMPLETED)].concat());
    script.wait_ms(9).read([received(CREATED), delta("three"), received(COMPLETED)].concat());
    let run = run(script.records());
    let chars: Vec<u64> = run.pipeline.call_table().ended().map(|entry| entry.visible_chars).collect();
    assert_eq!((run.outcomes(), chars), (vec!["complete", "complete"], vec![5, 3]));
}

#[test]
fn a_hole_marks_the_open_call() {
    let mut script = opened();
    script.write(sent(CREATE)).wait_ms(5).read(received(CREATED));
    script.lose(Direction::Read, delta("lost").len() as u64);
    script.wait_ms(10).read(delta("kept")).wait_ms(10).read(received(COMPLETED));
    let run = run(script.records());
    let entry = run.only();
    assert_eq!((entry.outcome, entry.visible_chars), (Some(CallOutcome::Complete), 4));
    assert_eq!(entry.lost.len(), 1);
}

#[test]
fn a_refused_upgrade_is_a_failed_call() {
    let mut script = FakeTlsConn::new(10, 1);
    let body = r#"{"error":{"code":"invalid_api_key","message":"planted"}}"#;
    let answer = format!(
        "HTTP/1.1 401 Unauthorized\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    script.write(UP).wait_ms(5).read(answer).close();
    let run = run(script.records());
    let entry = run.only();
    assert_eq!((entry.outcome, entry.status, entry.protocol), (Some(CallOutcome::HttpError), Some(401), "http/1.1"));
    assert_eq!(entry.error_kind.as_deref(), Some("invalid_api_key"));
    assert!((entry.firsts.byte.unwrap() - 5.0 * MS).abs() < MS);
}

#[test]
fn calls_show_the_protocol_they_were_made_in_and_the_connection_that_of_the_latest() {
    let mut script = FakeTlsConn::new(10, 1);
    script.write(chat()).wait_ms(5).read(HEAD).read(DONE).read(LAST);
    let mut one = run(script.records());
    let connection =
        |run: &Run| run.pipeline.connections().iter().map(|connection| connection.protocol).collect::<Vec<_>>();
    assert_eq!(connection(&one), ["http/1.1"]);
    let known = script.records().len();
    script.write(UP).wait_ms(5).read(OK);
    turn(&mut script);
    one.play(&script.records()[known..]);
    let mut calls: Vec<_> = one.pipeline.call_table().ended().map(|entry| (entry.api, entry.protocol)).collect();
    calls.sort_unstable();
    assert_eq!(calls, [("openai.chat", "http/1.1"), ("openai.responses", "websocket")]);
    assert_eq!(connection(&one), ["websocket"]);
}

#[test]
fn a_socket_that_leads_to_no_model_is_none_of_ours() {
    let mut script = FakeTlsConn::new(10, 1);
    script.write(UP.replace("/v1/responses", "/live")).wait_ms(5).read(OK).read(received("{}"));
    let run = run(script.records());
    assert_eq!((run.pipeline.call_table().open().count(), run.verdicts), (0, vec![Verdict::Heads]));
}

#[test]
fn without_a_call_a_socket_holds_little_and_nothing_stays_behind() {
    let mut script = opened();
    for _ in 0..50 {
        turn(&mut script);
    }
    let mut one = run(script.records());
    assert!(one.pipeline.held() < 4096, "{}", one.pipeline.held());
    let mut rest = script.clone();
    rest.close();
    one.play(&rest.records()[script.records().len()..]);
    assert_eq!((one.pipeline.call_table().open().count(), one.pipeline.connection_count()), (0, 0));
}

const LISTEN: &str = "GET /v1/listen?model=nova-x HTTP/1.1\r\nHost: api.deepgram.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";

fn results(words: &str, is_final: bool, speech_final: bool) -> Vec<u8> {
    received(&format!(
        r#"{{"type":"Results","channel_index":[0,1],"is_final":{is_final},"speech_final":{speech_final},"channel":{{"alternatives":[{{"transcript":"{words}"}}]}}}}"#
    ))
}

/// Sound goes up all the time: between what is said, the speaker breathes, and nobody asked at a moment.
#[test]
fn what_is_heard_as_it_is_spoken_has_a_text_and_an_end_but_no_times_of_an_answer() {
    let mut script = FakeTlsConn::new(10, 1);
    script.write(LISTEN).wait_ms(5).read(OK).wait_ms(3_000);
    script.read(results("where", false, false)).wait_ms(900).read(results("planted guess", false, false));
    script.wait_ms(900).read(results("Where is it?", true, false));
    for _ in 0..20 {
        script.wait_ms(20).read(results("Oh.", true, false));
    }
    script.wait_ms(4_000).read(results("Now.", true, true));
    let over = script.now();
    script.wait_ms(1_000).read(received(r#"{"type":"UtteranceEnd","channel":[0,1]}"#)).close();
    let run = run(script.records());
    let entry = run.only();
    assert_eq!((entry.api, entry.operation, entry.protocol), ("deepgram.listen", "transcription", "websocket"));
    assert_eq!((entry.outcome, entry.live_input), (Some(CallOutcome::Complete), true));
    assert!(over - entry.ended.unwrap() < 1_000_000, "its end is that of the words");
    assert_eq!((entry.events, entry.chunks, entry.visible_chars), (24, 22, 12 + 20 * 3 + 4));
    assert_eq!(entry.request.as_ref().unwrap().model.as_deref(), Some("nova-x"));
    assert_eq!(entry.finish_reason.as_deref(), Some("speech_final"));
    assert_eq!(entry.firsts, MilestoneTimes::default(), "nothing is timed from a request");
    assert_eq!((entry.gaps.count(), entry.stalls.len(), entry.head_burst_ratio), (0, 0, None));
    assert!(!run.debug().contains("planted"));
}

/// What was committed was asked for, and is timed; what came before that was not.
#[test]
fn a_commit_is_asked_and_its_transcript_is_timed() {
    let up = UP.replace("/v1/responses", "/v1/realtime?intent=transcription");
    let update = r#"{"type":"session.update","session":{"type":"transcription","audio":{"input":{"transcription":{"model":"gpt-t"}}}}}"#;
    let written = |kind: &str, item: &str, rest: &str| {
        received(&format!(
            r#"{{"type":"conversation.item.input_audio_transcription.{kind}","item_id":"{item}",{rest}}}"#
        ))
    };
    let committed = |item: &str| received(&format!(r#"{{"type":"input_audio_buffer.committed","item_id":"{item}"}}"#));
    let commit = || sent(r#"{"type":"input_audio_buffer.commit"}"#);
    let mut script = FakeTlsConn::new(10, 1);
    script.write(up).wait_ms(5).read(OK).write(sent(update)).wait_ms(700);
    script.write(commit()).wait_ms(20).read(committed("a"));
    script.wait_ms(30).read(written("delta", "a", r#""delta":"Hi""#)).wait_ms(10);
    script.read(written("delta", "b", r#""delta":"early""#)).wait_ms(600).write(commit()).wait_ms(20);
    script.read(committed("b")).read(written("completed", "b", r#""transcript":"early""#));
    script.read(written("completed", "a", r#""transcript":"Hi""#));
    let run = run(script.records());
    assert_eq!(run.outcomes(), ["complete", "complete"]);
    let entry =
        |id: &str| run.pipeline.call_table().ended().find(|entry| entry.response_id.as_deref() == Some(id)).unwrap();
    let (asked, early) = (entry("a"), entry("b"));
    assert_eq!((asked.api, asked.operation), ("openai.transcription", "transcription"));
    assert_eq!(asked.request.as_ref().unwrap().model.as_deref(), Some("gpt-t"));
    assert_eq!((asked.live_input, asked.visible_chars, early.live_input, early.visible_chars), (false, 2, true, 5));
    close_to(asked.firsts.byte, 20.0 * MS);
    close_to(asked.firsts.visible, 50.0 * MS);
    assert_eq!(early.firsts, MilestoneTimes::default());
}

/// More calls at once than are kept, on a socket whose messages name theirs: the oldest goes, and
/// none gets another's words.
#[test]
fn calls_with_names_are_not_mistaken_when_there_are_too_many() {
    let up = UP.replace("/v1/responses", "/v1/realtime?intent=transcription");
    let mut script = FakeTlsConn::new(10, 1);
    script.write(up).wait_ms(5).read(OK);
    let most = capture::limits::SOCKET_TURNS;
    for item in 0..=most {
        script.read(received(&format!(r#"{{"type":"input_audio_buffer.committed","item_id":"i{item}"}}"#)));
    }
    for item in (0..=most).rev() {
        let words = "x".repeat(item + 1);
        script.read(received(&format!(
            r#"{{"type":"conversation.item.input_audio_transcription.completed","item_id":"i{item}","transcript":"{words}"}}"#
        )));
    }
    script.close();
    let run = run(script.records());
    let mut seen: Vec<(Option<&str>, u64)> = run
        .pipeline
        .call_table()
        .ended()
        .map(|entry| (entry.outcome.map(CallOutcome::name), entry.visible_chars))
        .collect();
    seen.sort_unstable();
    // The first was let go; its transcript then is one that nobody is known to have asked for.
    let mut expected: Vec<(Option<&str>, u64)> = (1..=most as u64 + 1).map(|chars| (Some("complete"), chars)).collect();
    expected.push((Some("lost"), 0));
    assert_eq!(seen, expected);
}
