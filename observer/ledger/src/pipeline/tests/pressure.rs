//! Connections that carry model calls: how they are used and how they end.

use std::net::SocketAddr;

use super::*;
use crate::{ConnectionEnd, ConnectionEvent};
use capture::units::Direction;
use testkit::FakeSocket;

fn peer() -> SocketAddr {
    "10.1.2.3:11434".parse().unwrap()
}

fn ask(cable: &mut FakeSocket) {
    cable.wait_ms(1).write(chat());
}

fn answer(cable: &mut FakeSocket) {
    cable.wait_ms(100).read(HEAD).read(delta("Hi")).read(DONE).read(LAST);
}

fn ended(run: &Run) -> Vec<ConnectionEnd> {
    let how = |news: &ConnectionEvent| if let ConnectionEvent::Ended { how, .. } = news { Some(*how) } else { None };
    run.ear().news.iter().filter_map(how).collect()
}

fn stale(run: &Run) -> usize {
    run.ear().news.iter().filter(|news| **news == ConnectionEvent::Stale).count()
}

#[test]
fn a_connection_is_opened_used_again_and_ended_once() {
    let mut cable = FakeSocket::new(7, 99, peer());
    ask(&mut cable);
    answer(&mut cable);
    cable.info(1_500, 0).wait_ms(4_000);
    ask(&mut cable);
    let mut run = run(cable.records());
    let connection = run.pipeline.connections().iter().next().unwrap().clone();
    assert_eq!(
        (connection.streams, connection.open, connection.remote, connection.sock),
        (2, 1, Some(peer()), Some(cable.sock()))
    );
    assert_eq!((connection.older, connection.idle_seconds(cable.now())), (false, None));
    let begun = cable.records().len();
    answer(&mut cable);
    cable.fin(Direction::Read).fin(Direction::Write).close();
    run.play(&cable.records()[begun..]);
    assert_eq!(run.pipeline.connections().iter().count(), 0);
    assert_eq!(ended(&run), [ConnectionEnd::PeerFin]);
    let news = &run.ear().news;
    assert_eq!(news[0], ConnectionEvent::Opened);
    assert!(matches!(news[1], ConnectionEvent::Reused { idle } if (idle - 4.0).abs() < 0.01), "{news:?}");
    assert!(matches!(news[2], ConnectionEvent::Rtt { seconds } if (seconds - 0.0015).abs() < 1e-9), "{news:?}");
    assert!(matches!(news[3], ConnectionEvent::Ended { age: Some(age), .. } if (age - 4.2).abs() < 0.05), "{news:?}");
}

#[test]
fn every_end_has_its_name() {
    type End = fn(&mut FakeSocket);
    let cases: [(End, ConnectionEnd); 5] = [
        (|c| _ = c.fin(Direction::Read).fin(Direction::Write).close(), ConnectionEnd::PeerFin),
        (|c| _ = c.rst(Direction::Read).close(), ConnectionEnd::PeerRst),
        (|c| _ = c.fin(Direction::Write).rst(Direction::Read).close(), ConnectionEnd::LocalFin),
        (|c| _ = c.rst(Direction::Write).close(), ConnectionEnd::LocalRst),
        (|c| _ = c.and(Record::Exit { tgid: 7, at: c.now() }).rst(Direction::Write).close(), ConnectionEnd::Exit),
    ];
    for (end, how) in cases {
        let mut cable = FakeSocket::new(7, 99, peer());
        ask(&mut cable);
        answer(&mut cable);
        end(&mut cable);
        assert_eq!(ended(&run(cable.records())), [how]);
    }
}

#[test]
fn a_request_into_the_void_after_a_long_idle_time_is_stale() {
    let mut cable = FakeSocket::new(7, 99, peer());
    ask(&mut cable);
    answer(&mut cable);
    cable.wait_ms(400_000);
    ask(&mut cable);
    for n in 1..4 {
        cable.wait_ms(300 << n).write_again(chat()).info(1_000, n);
    }
    let run = run(cable.records());
    assert_eq!(stale(&run), 1);
}

#[test]
fn a_reset_to_a_request_after_a_long_idle_time_is_stale_too_and_other_trouble_is_not() {
    type Then = fn(&mut FakeSocket);
    let cases: [(u64, Then, usize); 4] = [
        (400_000, |c| _ = c.rst(Direction::Read).close(), 1),
        (400_000, |c| _ = c.read(HEAD).rst(Direction::Read).close(), 0),
        (1_000, |c| _ = c.rst(Direction::Read).close(), 0),
        (1_000, |c| (1..9).for_each(|_| _ = c.wait_ms(300).write_again(chat())), 0),
    ];
    for (idle, then, count) in cases {
        let mut cable = FakeSocket::new(7, 99, peer());
        ask(&mut cable);
        answer(&mut cable);
        cable.wait_ms(idle);
        ask(&mut cable);
        then(&mut cable);
        assert_eq!(stale(&run(cable.records())), count, "{idle}");
    }
}

#[test]
fn trouble_and_closed_windows_are_told_once() {
    let mut cable = FakeSocket::new(7, 99, peer());
    ask(&mut cable);
    cable.wait_ms(300).write_again(chat()).info(1_000, 1);
    cable.wait_ms(100).read(HEAD).again(HEAD, 0).room(false).wait_ms(2_000).room(true);
    cable.read(DONE).read(LAST).close();
    let run = run(cable.records());
    let told: Vec<_> = run.ear().news.iter().filter(|news| matches!(news, ConnectionEvent::Trouble { .. })).collect();
    assert!(
        matches!(told[..], [ConnectionEvent::Trouble { local: 1, peer: 1, no_room }] if (no_room - 2.0).abs() < 0.01),
        "{told:?}"
    );
}

#[test]
fn a_tls_object_without_a_known_socket_is_a_connection_too() {
    let mut script = FakeTlsConn::new(7, 1);
    script.write(chat()).wait_ms(10).read(HEAD).read(DONE).read(LAST).wait_ms(10).close();
    let run = run(script.records());
    assert_eq!(ended(&run), [ConnectionEnd::LocalFin]);
    let mut script = FakeTlsConn::mid_stream(7, 1);
    script.write(chat()).wait_ms(10).read(HEAD).exit();
    let run = super::run(script.records());
    assert!(matches!(
        run.ear().news[..],
        [ConnectionEvent::Opened, ConnectionEvent::Ended { how: ConnectionEnd::Exit, age: None }]
    ));
}
