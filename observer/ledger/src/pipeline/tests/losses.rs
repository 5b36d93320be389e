//! Bytes that the ring had no room for, in streams and before them.

use super::*;
use crate::ByteLoss;

#[test]
fn an_answer_whose_beginning_was_lost_is_and_the_next_is_not() {
    let mut script = FakeTlsConn::new(10, 1);
    script.write(get("/other")).lose(Direction::Read, 5_000).wait_ms(10).write(chat());
    script.wait_ms(1).lose(Direction::Read, 150).read(delta("tail")).read([DONE, LAST].concat()).wait_ms(10);
    script
        .write(chat())
        .wait_ms(40)
        .read(HEAD)
        .read([delta("a"), delta("b"), DONE.into(), LAST.into()].concat())
        .close();
    let run = run(script.records());
    let calls: Vec<_> = run.pipeline.call_table().ended().map(|e| (e.started, e.outcome.unwrap(), e.chunks)).collect();
    assert_eq!(calls.len(), 2);
    let Record::Data(asked) = &script.records()[6].record else { panic!("a write") };
    assert!(calls.contains(&(asked.entered, CallOutcome::Complete, 2)), "{calls:?}");
    assert!(calls.iter().any(|call| call.1 == CallOutcome::Lost && call.2 == 0), "{calls:?}");
}

#[test]
fn lost_bytes_mark_their_stream_alone() {
    let mut hurt = begun();
    let event = delta("four");
    hurt.wait_ms(20).read(delta("more")).lose(Direction::Read, 2 * event.len() as u64).wait_ms(40).read(&event);
    hurt.wait_ms(20).read(&event).wait_ms(20).read([DONE, LAST].concat()).close();
    let mut well = FakeTlsConn::new(11, 1);
    well.write(chat())
        .wait_ms(100)
        .read(HEAD)
        .read_each(20, [&event, &event, &event])
        .read([DONE, LAST].concat())
        .close();
    let run = run(&FakeTlsConn::merge(&[hurt, well]));
    let entry = run.pipeline.call_table().ended().find(|entry| entry.identity.pid == 10).unwrap();
    let neighbour = run.pipeline.call_table().ended().find(|entry| entry.identity.pid == 11).unwrap();
    assert_eq!(run.ear().lost, [(Some(2 * event.len() as u64), LossCause::RingFull)]);
    assert_eq!((neighbour.lost.len(), neighbour.notes.len(), neighbour.chunks), (0, 0, 3));
    assert!(!entry.lost.is_empty() && entry.notes.contains(&"lost_bytes_may_hide_chunks"), "{entry:?}");
    assert!(entry.gap_stats().is_none_or(|gaps| gaps.max < 0.039), "the gap over the hole is left out: {entry:?}");
    assert_eq!(entry.head_burst_ratio, None);
}

#[test]
fn milestones_behind_a_hole_stay_unknown() {
    let mut script = FakeTlsConn::new(10, 1);
    let body = [delta("one"), delta("two."), delta(" x")].concat();
    let sse: String = ["one", "two.", " x"]
        .map(|text| format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{text}\"}}}}]}}\n\n"))
        .concat();
    drop(body);
    let head =
        format!("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: {}\r\n\r\n", sse.len() + 14);
    script
        .write(chat())
        .wait_ms(10)
        .read(head)
        .lose(Direction::Read, 40)
        .wait_ms(10)
        .read(&sse[40..])
        .read("data: [DONE]\n\n");
    let run = run(script.close().records());
    let entry = run.only();
    assert!(entry.firsts.byte.is_some());
    assert_eq!((entry.firsts.visible, entry.firsts.sentence, entry.firsts.event), (None, None, None));
    assert_eq!((entry.outcome, entry.chunks), (Some(CallOutcome::Complete), 2));
    assert_eq!(entry.lost, [ByteLoss { cause: LossCause::RingFull, bytes: Some(40) }]);
}
