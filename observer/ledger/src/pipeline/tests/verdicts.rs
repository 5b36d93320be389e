//! What the kernel is told of connections that carry no call, or none yet.

use super::*;

#[test]
fn what_is_no_http_is_ignored_at_once() {
    let not_ours: [fn(&mut FakeTlsConn) -> &mut FakeTlsConn; 4] = [
        |s| s.write("\x16\x03\x01 binary protocol"),
        |s| s.read("220 mail.example.com ESMTP\r\n"),
        |s| s.read(chat()),
        |s| s.write("HTTP/1.1 200 OK\r\n\r\n"),
    ];
    for (index, act) in not_ours.into_iter().enumerate() {
        let mut script = FakeTlsConn::new(10, 1);
        act(&mut script);
        script.write(chat()).read([HEAD, &delta("x")].concat());
        let run = run(script.records());
        assert_eq!(run.verdicts, [Verdict::Ignore], "case {index}");
        assert_eq!(run.pipeline.held(), 0);
        assert_eq!(run.pipeline.call_table().open().count(), 0);
    }
}

#[test]
fn a_method_may_come_in_pieces() {
    let mut script = FakeTlsConn::new(10, 1);
    script.write("P").write("OS").write(&chat()[3..]).read([HEAD, &delta("x"), DONE, LAST].concat());
    assert_eq!(run(script.records()).outcomes(), ["complete"]);
}

#[test]
fn requests_of_another_kind_cost_heads_and_then_nothing() {
    let mut script = FakeTlsConn::new(10, 1);
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc";
    for n in 1..=limits::NON_LLM_REQUESTS {
        let mut more = script.clone();
        more.wait_ms(10).write(get("/other")).read(answer);
        let run = run(more.records());
        assert_eq!(run.pipeline.held(), 0, "nothing stays");
        let mut want = vec![Verdict::Heads; n as usize];
        if n == limits::NON_LLM_REQUESTS {
            want[n as usize - 1] = Verdict::Ignore;
        }
        assert_eq!(run.verdicts, want, "said anew each time: `Heads` holds until the next write");
        assert_eq!(run.ear().lost, []);
        script = more;
    }
}

#[test]
fn a_connection_to_a_models_api_is_never_ignored() {
    let mut script = FakeTlsConn::new(10, 1);
    for _ in 0..10 * limits::NON_LLM_REQUESTS {
        script.write(get("/v1/batches/b")).lose(Direction::Read, 5_000).wait_ms(10);
    }
    script.write(chat()).wait_ms(10).read([HEAD, &delta("Hello"), DONE, LAST].concat()).close();
    assert_eq!(run(script.records()).outcomes(), ["complete"]);
}

#[test]
fn a_model_call_after_others_is_found_by_its_head() {
    for body_kept in [true, false] {
        let mut script = FakeTlsConn::new(10, 1);
        script.write(get("/other"));
        // Under `Heads` reads do not come, and of a write only the head does.
        script.lose(Direction::Read, 5_000).wait_ms(10);
        script.write(get("/other2")).lose(Direction::Read, 70_000).wait_ms(10);
        let request = chat();
        let kept = if body_kept { request.len() } else { request.find("\r\n\r\n").unwrap() + 10 };
        script.cut(Direction::Write, &request, kept, LossCause::Truncated).wait_ms(300);
        script.read([HEAD, &delta("Hello")].concat()).wait_ms(20).read([DONE, LAST].concat());
        script.wait_ms(20).write(get("/other3")).read("HTTP/1.1 204 No Content\r\n\r\n");
        script.wait_ms(20).write(chat()).read([HEAD, &delta("x"), DONE, LAST].concat()).close();
        let run = run(script.records());
        assert_eq!(run.outcomes(), ["complete", "complete"]);
        assert_eq!(run.verdicts, [Verdict::Heads, Verdict::Heads, Verdict::Track]);
        let first = run.pipeline.call_table().ended().last().unwrap();
        let facts = first.request.as_ref().unwrap();
        assert_eq!((facts.truncated, facts.model.is_some()), (!body_kept, body_kept));
        close_to(first.firsts.byte, 300.0 * MS);
        assert_eq!(first.chunks, 1);
        let lost: Vec<_> = run.ear().lost.iter().filter(|(_, cause)| *cause != LossCause::Truncated).collect();
        assert!(lost.is_empty(), "what is left out on purpose is not lost: {lost:?}");
    }
}
