//! Connections seen from the middle, and answers that were running then.

use super::*;

const ANTHROPIC: &str = "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"five5\"}}\n\n";
const STOP: &str = "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";

#[test]
fn a_connection_joined_in_the_middle_counts_from_its_next_request() {
    let mut script = FakeTlsConn::mid_stream(10, 1);
    script.read(framed("tail of an unknown answer")).wait_ms(5).read(LAST);
    script.wait_ms(10).write("half a body}").wait_ms(10).write(chat());
    script.wait_ms(100).read([HEAD, &delta("Hello"), DONE, LAST].concat()).close();
    let run = run(script.records());
    assert_eq!(run.outcomes(), ["complete"]);
    assert_eq!((run.only().chunks, run.only().lost.len()), (1, 0));
    assert_eq!(run.ear().lost, [(None, LossCause::LateAttach), (None, LossCause::LateAttach)]);
    assert_eq!(run.verdicts, [Verdict::Track]);
}

#[test]
fn a_joined_connection_that_only_reads_is_not_paid_for_long() {
    let mut script = FakeTlsConn::mid_stream(10, 1);
    let piece = vec![b'x'; 16 * 1024];
    script.read_each(1, std::iter::repeat_n(&piece, 80));
    let run = run(script.records());
    assert_eq!((run.verdicts.as_slice(), run.pipeline.held()), (&[Verdict::Heads][..], 0));
}

#[test]
fn a_running_answer_is_shown_from_where_it_was_joined() {
    let mut script = FakeTlsConn::mid_stream(10, 1);
    script.read_each(10, [delta("one"), delta("four"), delta("fives"), finish("stop")]);
    script.wait_ms(10).read([DONE, LAST].concat());
    let run = run(script.records());
    let entry = run.only();
    assert_eq!((entry.api, entry.outcome, entry.mid_stream), ("openai.chat", Some(CallOutcome::Complete), true));
    // The first chunk may have begun before the join: it is not believed.
    assert_eq!((entry.events, entry.chunks, entry.visible_chars), (4, 2, 9));
    assert_eq!(entry.firsts, crate::MilestoneTimes::default(), "nothing is known to be the first");
    assert_eq!((entry.response_model.as_deref(), entry.finish_reason.as_deref()), (Some("gpt-x-2"), Some("stop")));
    assert_eq!(entry.lost.iter().map(|loss| loss.cause).collect::<Vec<_>>(), [LossCause::LateAttach]);
    assert!(entry.notes.contains(&"joined_in_the_middle"));
    assert_eq!(run.verdicts, [Verdict::Track]);
}

#[test]
fn an_answer_joined_inside_an_event_or_a_chunk_goes_on_with_the_next() {
    let (whole, tail) = (delta("never seen whole"), delta("tail"));
    for cut in [1, 3, 9, 40, whole.len() - 3] {
        let mut script = FakeTlsConn::mid_stream(10, 1);
        script.read(format!("{}{}", &whole[cut..], delta("next"))).wait_ms(10).read(&tail).wait_ms(10);
        script.read([DONE, LAST].concat());
        let run = run(script.records());
        assert_eq!(run.outcomes(), ["complete"], "cut at {cut}");
        assert!(matches!(run.only().chunks, 1 | 2), "cut at {cut}: {} chunks", run.only().chunks);
        assert_eq!(run.only().visible_chars, 4 * run.only().chunks, "cut at {cut}");
    }
}

#[test]
fn one_without_chunks_ends_with_the_connection() {
    let mut script = FakeTlsConn::mid_stream(10, 1);
    script.read_each(10, [ANTHROPIC, ANTHROPIC, ANTHROPIC, STOP]).wait_ms(5).read_end(true).close();
    let run = run(script.records());
    let entry = run.only();
    assert_eq!((entry.api, entry.outcome, entry.chunks), ("anthropic.messages", Some(CallOutcome::Complete), 2));
}

#[test]
fn the_next_request_is_a_call_of_its_own() {
    let mut script = FakeTlsConn::mid_stream(10, 1);
    script.read_each(10, [delta("one"), delta("two"), [DONE, LAST].concat()]);
    script.wait_ms(10).write(chat()).wait_ms(50).read([HEAD, &delta("Hello"), DONE, LAST].concat()).close();
    let run = run(script.records());
    assert_eq!(run.outcomes(), ["complete", "complete"]);
    let asked = run.pipeline.call_table().ended().find(|entry| !entry.mid_stream).unwrap();
    assert_eq!((asked.chunks, asked.lost.len()), (1, 0));
    assert!((asked.firsts.visible.unwrap() - 50.0 * MS).abs() < MS);
}

#[test]
fn what_breaks_off_is_not_complete() {
    let mut script = FakeTlsConn::mid_stream(10, 1);
    script.read_each(10, [delta("one"), delta("two")]).read_end(false).close();
    assert_eq!(run(script.records()).outcomes(), ["reset"]);
}

#[test]
fn other_streams_and_other_protocols_are_left_alone() {
    let prices = framed("data: {\"price\": 7}\n\n");
    let frame = format!("\0\0\u{40}\0\0\0\0\0\u{1}{ANTHROPIC}");
    for bytes in [prices, frame, "plain text".into()] {
        let mut script = FakeTlsConn::mid_stream(10, 1);
        script.read_each(10, [&bytes, &bytes]);
        let run = run(script.records());
        assert_eq!(run.pipeline.call_table().open().chain(run.pipeline.call_table().ended()).count(), 0);
        assert!(run.ear().lost.contains(&(None, LossCause::LateAttach)));
    }
    // From its start: an application that reads first is no client of ours, whatever it reads.
    let mut script = FakeTlsConn::new(10, 1);
    script.read_each(10, [delta("one"), delta("two")]);
    assert_eq!(run(script.records()).verdicts, [Verdict::Ignore]);
}

/// Its pieces came before we did: what repeats them whole is no text that anybody waited for.
#[test]
fn a_text_whose_pieces_were_not_seen_is_not_told_at_its_end() {
    let event = |data: &str| format!("data: {data}\n\n");
    let mut script = FakeTlsConn::mid_stream(10, 1);
    script.read_each(
        10,
        [
            event(r#"{"type":"response.output_text.done","output_index":0,"text":"one of before"}"#),
            event(r#"{"type":"response.output_text.done","output_index":1,"text":"said long before"}"#),
            event(
                r#"{"type":"response.output_item.done","output_index":1,"item":{"type":"message","content":[{"type":"output_text","text":"said long before"}]}}"#,
            ),
            event(r#"{"type":"response.completed","response":{"id":"r","model":"m","status":"completed"}}"#),
        ],
    );
    script.read_end(true).close();
    let run = run(script.records());
    let entry = run.only();
    assert_eq!((entry.api, entry.outcome), ("openai.responses", Some(CallOutcome::Complete)));
    assert_eq!((entry.chunks, entry.visible_chars), (0, 0));
}
