//! Answers that are read, by another thread, before the write that asked for them has returned.

use super::*;

/// A write of `ask` that is entered now; meanwhile `reads` happen; then it returns.
fn overtaken(script: &mut FakeTlsConn, ask: impl AsRef<[u8]>, reads: impl FnOnce(&mut FakeTlsConn)) {
    let entered = script.now();
    script.wait_ms(5);
    reads(script);
    script.wait_ms(30).write_since(entered, ask);
}

#[test]
fn the_head_of_an_answer_over_http1() {
    for asked_before in [false, true] {
        let mut script = FakeTlsConn::new(10, 1);
        if asked_before {
            script.write(chat()).wait_ms(9).read(HEAD).read([&delta("Hi"), DONE, LAST].concat()).wait_ms(50);
        }
        overtaken(&mut script, chat(), |script| {
            script.read(HEAD).wait_ms(5).read(delta("Hello"));
        });
        script.wait_ms(10).read([&delta(" there"), DONE, LAST].concat()).wait_ms(5).close();
        let run = run(script.records());
        let last = run.pipeline.call_table().ended().next().unwrap();
        assert_eq!(run.outcomes().len(), 1 + usize::from(asked_before));
        assert_eq!((last.outcome, last.chunks, last.visible_chars), (Some(CallOutcome::Complete), 2, 11));
        assert_eq!(last.request.as_ref().unwrap().model.as_deref(), Some("gpt-x"));
        close_to(last.firsts.byte, 5.0 * MS);
        close_to(last.firsts.visible, 10.0 * MS);
        assert_eq!((last.lost.len(), last.notes.len()), (0, 0), "{last:?}");
    }
}

/// The whole answer, and the end of the connection.
#[test]
fn all_of_an_answer_over_http1() {
    let mut script = FakeTlsConn::new(10, 1);
    overtaken(&mut script, chat(), |script| {
        script.read([HEAD, &delta("Hello"), DONE, LAST].concat());
    });
    script.close();
    let run = run(script.records());
    assert_eq!((run.only().outcome, run.only().visible_chars), (Some(CallOutcome::Complete), 5));
}

/// The last part of a long request has not returned.
#[test]
fn an_answer_before_the_end_of_its_request() {
    let mut script = FakeTlsConn::new(10, 1);
    let ask = chat();
    let (first, last) = ask.split_at(ask.len() - 20);
    script.write(first);
    overtaken(&mut script, last, |script| {
        script.read([HEAD, &delta("Hello"), DONE, LAST].concat());
    });
    let run = run(script.records());
    assert_eq!((run.only().outcome, run.only().visible_chars), (Some(CallOutcome::Complete), 5));
    assert_eq!(run.only().request.as_ref().unwrap().model.as_deref(), Some("gpt-x"));
}

/// What nobody asks for is let go after a while, and a server's own connections are ignored as before.
#[test]
fn what_nobody_asked_for_waits_no_longer_than_it_must() {
    let mut script = FakeTlsConn::new(10, 1);
    script.write(chat()).wait_ms(9).read([HEAD, &delta("Hi"), DONE, LAST].concat()).wait_ms(50);
    script.read("HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n");
    let mut run = run(script.records());
    assert!(run.pipeline.held() > 0);
    run.pipeline.tick(Ns(script.now().0 + limits::EARLY_NS));
    assert!(run.ear().said.contains(&"odd http1 unasked_response".into()), "{:?}", run.ear().said);
    assert_eq!(run.outcomes(), ["complete"]);
}
