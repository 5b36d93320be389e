//! Plain text over sockets: the same entries as over TLS, whatever the network does.

use std::net::SocketAddr;

use super::*;
use capture::units::Direction;
use testkit::FakeSocket;

fn peer() -> SocketAddr {
    "10.1.2.3:11434".parse().unwrap()
}

/// Twenty chunks, 50 ms apart, over a network that may do something to the piece of this number.
fn answer(cable: &mut FakeSocket, what: impl Fn(&mut FakeSocket, usize, &str)) {
    cable.wait_ms(1).write(chat()).wait_ms(100).read(HEAD);
    for n in 0..20 {
        cable.wait_ms(50);
        what(
            cable,
            n,
            &framed(&format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"w{n}\"}}}}]}}\n\n")),
        );
    }
    cable.wait_ms(50).read(DONE).read(LAST).wait_ms(5);
    cable.fin(Direction::Write).fin(Direction::Read).close();
}

#[test]
fn plain_text_is_a_call_like_any_other() {
    let mut cable = FakeSocket::new(7, 99, peer());
    answer(&mut cable, |cable, _, piece| {
        cable.read(piece);
    });
    let run = run(cable.records());
    let entry = run.only();
    assert_eq!((entry.chunks, entry.events, entry.outcome), (20, 21, Some(CallOutcome::Complete)));
    assert_eq!(entry.remote, Some(peer()));
    assert_eq!(entry.conn, cable.key());
    assert!(entry.lost.is_empty() && run.ear().lost.is_empty());
    assert!((entry.gap_stats().unwrap().p50 - 50.0 * MS).abs() < MS);
    assert_eq!(run.pipeline.held(), 0);
    assert!(run.pipeline.sockets.is_empty() && run.pipeline.conns.is_empty());
}

#[test]
fn what_the_network_loses_and_repeats_costs_nothing_but_time() {
    let mut cable = FakeSocket::new(7, 99, peer());
    let lost = std::cell::RefCell::new(String::new());
    answer(&mut cable, |cable, n, piece| {
        match n % 5 {
            1 => {
                cable.lose(piece);
                lost.replace(piece.to_owned());
            }
            3 => {
                // Two pieces later the lost one comes again, and the one before this comes twice.
                let lost = lost.borrow();
                let between = framed(&format!(
                    "data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"w{}\"}}}}]}}\n\n",
                    n - 1
                ));
                cable.read(piece).again(lost.as_str(), (between.len() + piece.len()) as u32).again(piece, 0);
            }
            _ => {
                cable.read(piece);
            }
        }
    });
    let run = run(cable.records());
    let entry = run.only();
    assert_eq!((entry.chunks, entry.outcome, entry.lost.len()), (20, Some(CallOutcome::Complete), 0));
    assert!(run.pipeline.counters().reordered >= 8 && run.pipeline.counters().duplicate_bytes > 0);
}

#[test]
fn the_end_is_whose_it_was() {
    type End = fn(&mut FakeSocket);
    let cases: [(End, &str); 4] = [
        (|c| _ = c.fin(Direction::Read).close(), "truncated"),
        (|c| _ = c.rst(Direction::Read).close(), "reset"),
        (|c| _ = c.rst(Direction::Write).close(), "client_cancel"),
        (|c| _ = c.and(Record::Exit { tgid: 7, at: c.now() }).fin(Direction::Write).close(), "process_exit"),
    ];
    for (end, outcome) in cases {
        let mut cable = FakeSocket::new(7, 99, peer());
        cable.write(chat()).read(HEAD).read(framed("data: {}\n\n"));
        end(&mut cable);
        let run = run(cable.records());
        assert_eq!(run.outcomes(), [outcome]);
    }
}

#[test]
fn bytes_left_out_on_purpose_are_not_missing() {
    let mut cable = FakeSocket::new(7, 99, peer());
    // The answer to a request that is no model call does not come up.
    cable.write(get("/other")).wait_ms(5).lose([0; 3_000]).wait_ms(5);
    answer(&mut cable, |cable, _, piece| {
        cable.read(piece);
    });
    let run = run(cable.records());
    assert_eq!(run.verdicts, [Verdict::Heads, Verdict::Track]);
    let entry = run.only();
    assert_eq!((entry.chunks, entry.outcome), (20, Some(CallOutcome::Complete)));
    assert!(entry.lost.is_empty() && run.ear().lost.is_empty(), "{:?}", run.ear().lost);
    close_to(entry.firsts.byte, 100.0 * MS);
}

#[test]
fn what_was_received_and_not_seen_is_lost_at_once() {
    let mut cable = FakeSocket::new(7, 99, peer());
    cable.write(chat()).wait_ms(5).read(HEAD).lose(delta("gone")).read(delta("there")).acknowledge();
    let run = run(cable.records());
    let entry = run.only();
    assert_eq!(entry.lost[0].bytes, Some(delta("gone").len() as u64));
}

#[test]
fn joined_in_the_middle_of_an_answer_the_next_request_is_seen() {
    let mut cable = FakeSocket::mid_stream(7, 99, peer());
    cable.read("data: middle of something\n\n").wait_ms(50).read("more\n\n").wait_ms(50);
    answer(&mut cable, |cable, _, piece| {
        cable.read(piece);
    });
    let run = run(cable.records());
    assert_eq!((run.only().chunks, run.only().outcome), (20, Some(CallOutcome::Complete)));
}

#[test]
fn tls_from_outside_is_no_text() {
    let mut cable = FakeSocket::new(7, 99, peer());
    cable.write([22, 3, 1, 0, 5, 1, 0, 0, 1, 0]).read([22, 3, 3, 0, 2, 2, 0]).write(chat()).close();
    let run = run(cable.records());
    assert!(run.verdicts.is_empty() && run.outcomes().is_empty());
}
