//! TLS that no probe enters: calls by their shape, and only where it is honest.

use super::timelines::{hello, record};
use super::*;
use capture::record::{PairingConfidence, PairingMethod, TlsSocketPairing};
use capture::units::Direction;
use testkit::FakeSocket;

/// A connection to the host of the recorded ClientHello (api.openai.com), its handshake done, two tickets come.
fn connected() -> FakeSocket {
    let mut cable = FakeSocket::new(7, 99, "192.0.2.7:443".parse().unwrap());
    cable.write(hello("c ")).wait_ms(1).read(hello("s ")).wait_ms(1).write(record(52)).wait_ms(1);
    cable.read(record(233)).read(record(233)).wait_ms(20);
    cable
}

/// A request, and an answer of a head and twenty records 50 ms apart; its last chunk by itself, or not.
fn call(cable: &mut FakeSocket, last: bool) {
    cable.write(record(700)).wait_ms(200).read(record(300));
    for _ in 0..20 {
        cable.wait_ms(50).read(record(60));
    }
    if last {
        cable.wait_ms(50).read(record(5));
    }
    cable.wait_ms(500);
}

/// Plays it, with a tick at its end and one long after.
fn shapes(cable: &FakeSocket) -> Run {
    let mut run = run(cable.records());
    run.pipeline.tick(cable.now());
    run
}

#[test]
fn a_call_that_nobody_can_look_into_has_a_shape() {
    let mut cable = connected();
    call(&mut cable, true);
    call(&mut cable, true);
    cable.fin(Direction::Write).fin(Direction::Read).close();
    let run = shapes(&cable);
    let ended: Vec<&Entry> = run.pipeline.call_table().ended().collect();
    assert_eq!(run.outcomes(), ["complete", "complete"]);
    for entry in ended {
        assert!(entry.shape && entry.streaming);
        assert_eq!((entry.provider, entry.api, entry.protocol), ("openai", "unknown", "tls"));
        assert_eq!(entry.server_address.as_deref(), Some("api.openai.com"));
        assert_eq!((entry.wire.records, entry.wire.bytes), (22, 300 + 20 * 60 + 5));
        assert_eq!((entry.events, entry.chunks, entry.visible_chars), (0, 0, 0));
        close_to(entry.firsts.byte, 200.0 * MS);
        assert_eq!(entry.firsts.visible, None);
        close_to(Some(entry.arrival_gaps.stats().unwrap().p50), 50.0 * MS);
        assert!((entry.duration_seconds(cable.now()) - 1.25).abs() < 0.001);
        assert_eq!(entry.notes, ["shape_only_sizes_unreliable"]);
    }
    assert!(run.verdicts.contains(&Verdict::Track));
    let connection = run.ear().news.iter().filter(|news| matches!(news, crate::ConnectionEvent::Ended { .. })).count();
    assert_eq!((connection, run.pipeline.shapes.len(), run.pipeline.connections().iter().count()), (1, 0, 0));
}

#[test]
fn it_is_shown_while_it_lasts_and_its_silence_is_judged() {
    let mut cable = connected();
    cable.write(record(700)).wait_ms(200).read(record(300));
    for n in 0..20 {
        cable.wait_ms(if n == 12 { 900 } else { 50 }).read(record(60));
    }
    let run = shapes(&cable);
    let entry = run.only();
    assert_eq!((entry.outcome, entry.wire.records), (None, 21));
    assert_eq!(run.ear().causes, [Some("provider")]);
    let connection = run.pipeline.connections().iter().next().unwrap();
    assert!(connection.shape && connection.open == 1);
}

#[test]
fn what_is_seen_inside_is_not_seen_twice() {
    // Another connection of the process shows its plaintext.
    let mut cable = connected();
    let mut script = FakeTlsConn::new(7, 1);
    script.write(get("/")).read("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    call(&mut cable, true);
    let mut run = run(script.records());
    run.play(cable.records());
    run.pipeline.tick(cable.now());
    assert_eq!((run.outcomes().len(), run.pipeline.counters().shapes_withheld), (0, 1));
    // Or the socket turns out to be below a TLS object.
    let mut cable = connected();
    cable.write(record(700));
    let join = TlsSocketPairing {
        conn: FakeTlsConn::new(7, 1).key(),
        sock: cable.sock(),
        peer: "192.0.2.7:443".parse().unwrap(),
        method: PairingMethod::Nearest,
        confidence: PairingConfidence::Low,
    };
    cable.and(Record::Paired(join));
    call(&mut cable, true);
    let run = shapes(&cable);
    assert_eq!((run.outcomes().len(), run.pipeline.shapes.len()), (0, 0));
}

#[test]
fn other_hosts_are_none_of_ours() {
    let mut cable = FakeSocket::new(7, 99, "192.0.2.7:443".parse().unwrap());
    let other: Vec<u8> = {
        let mut bytes = hello("c ");
        let at = bytes.windows(3).position(|w| w.eq_ignore_ascii_case(b"api")).unwrap();
        bytes[at] = b'x';
        bytes
    };
    cable.write(other).wait_ms(1).read(hello("s ")).wait_ms(1).write(record(52)).wait_ms(30);
    call(&mut cable, true);
    let run = shapes(&cable);
    assert!(run.pipeline.shapes.is_empty() && run.outcomes().is_empty() && run.verdicts.is_empty());
}

#[test]
fn ends_are_named_as_far_as_they_can_be_told() {
    type End = fn(&mut FakeSocket);
    let cases: [(End, &str); 4] = [
        (|c| _ = c.rst(Direction::Read).close(), "reset"),
        (|c| _ = c.rst(Direction::Write).close(), "client_cancel"),
        (|c| _ = c.fin(Direction::Read).fin(Direction::Write).close(), "lost"),
        (|c| _ = c.and(Record::Exit { tgid: 7, at: c.now() }).rst(Direction::Write).close(), "process_exit"),
    ];
    for (end, outcome) in cases {
        let mut cable = connected();
        call(&mut cable, false);
        end(&mut cable);
        assert_eq!(shapes(&cable).outcomes(), [outcome]);
    }
}

#[test]
fn a_short_connection_is_shown_when_it_is_over() {
    let mut cable = connected();
    cable.write(record(700)).wait_ms(50).read(record(300)).read(record(5));
    cable.fin(Direction::Write).fin(Direction::Read).close();
    assert_eq!(shapes(&cable).outcomes(), ["complete"]);
}
