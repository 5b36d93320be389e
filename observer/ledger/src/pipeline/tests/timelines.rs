//! A TLS object and its socket: when bytes came, when they were read, and who is to blame for a silence.

use std::net::SocketAddr;

use super::*;
use capture::record::{PairingConfidence, PairingMethod, TlsSocketPairing};
use capture::units::Ns;
use testkit::FakeSocket;

/// An application with a TLS object over a socket. Both clocks are set by hand.
pub(super) struct Pair {
    cable: FakeSocket,
    script: FakeTlsConn,
    /// Where in the list a record of neither belongs.
    joined_at: Ns,
    join: Option<TlsSocketPairing>,
}

const MS_NS: u64 = 1_000_000;

pub(super) fn hello(which: &str) -> Vec<u8> {
    let text = include_str!("../../../../../tests/vectors/tls/tls13.txt");
    let hex = text.lines().find_map(|line| line.strip_prefix(which)).unwrap();
    (0..hex.len()).step_by(2).map(|n| u8::from_str_radix(&hex[n..n + 2], 16).unwrap()).collect()
}

/// A record of application data that carries `plain` bytes.
pub(super) fn record(plain: usize) -> Vec<u8> {
    let len = u16::try_from(plain + 17).unwrap();
    let mut bytes = vec![23, 3, 3];
    bytes.extend(len.to_be_bytes());
    bytes.resize(5 + usize::from(len), 0xaa);
    bytes
}

impl Pair {
    fn new() -> Pair {
        let peer = "192.0.2.7:443".parse().unwrap();
        Pair::over(FakeSocket::new(7, 99, peer), peer)
    }

    /// Over this connection, the handshake is done and the request written, at 20 ms past second 1.
    pub(super) fn over(mut cable: FakeSocket, peer: SocketAddr) -> Pair {
        let mut script = FakeTlsConn::new(7, 1);
        cable.write(hello("c ")).wait_ms(1).read(hello("s ")).wait_ms(1).write(record(52)).wait_ms(1);
        // Two tickets.
        cable.read(record(233)).read(record(233));
        cable.at(Ns(1_020 * MS_NS)).write(record(chat().len()));
        script.at(Ns(1_020 * MS_NS)).write(chat());
        let (conn, sock, method) = (script.key(), cable.sock(), PairingMethod::Inside);
        let join = TlsSocketPairing { conn, sock, peer, method, confidence: PairingConfidence::High };
        Pair { cable, script, joined_at: Ns(1_021 * MS_NS), join: Some(join) }
    }

    /// A piece of the answer that arrives and is read at these milliseconds past second 1.
    pub(super) fn piece(&mut self, arrives: u64, read: u64, text: &str) {
        self.cable.at(Ns((1_000 + arrives) * MS_NS)).read(record(text.len()));
        self.script.at(Ns((1_000 + read) * MS_NS)).read(text);
    }

    pub(super) fn records(&self) -> Vec<OwnedRecord> {
        let joined =
            self.join.map(|join| (self.joined_at, OwnedRecord { record: Record::Paired(join), bytes: Vec::new() }));
        let own = self.cable.records().iter().chain(self.script.records()).map(|owned| (owned.at(), owned.clone()));
        let mut all: Vec<_> = own.chain(joined).collect();
        all.sort_by_key(|(at, _)| *at);
        all.into_iter().map(|(_, owned)| owned).collect()
    }
}

/// Thirty chunks 20 ms apart; `arrives` and `read` say when the nth comes and is read.
fn stream(arrives: impl Fn(u64) -> u64, read: impl Fn(u64) -> u64) -> Pair {
    let mut pair = Pair::new();
    pair.piece(100, 100, HEAD);
    for n in 0..30 {
        pair.piece(arrives(n), read(n), &delta(&format!("word {n}")));
    }
    pair.piece(arrives(30), read(30), DONE);
    pair.piece(arrives(31), read(31), LAST);
    pair.script.wait_ms(5).close();
    pair.cable.at(Ns(pair.script.now().0)).close();
    pair
}

fn steady(n: u64) -> u64 {
    120 + 20 * n
}

#[test]
fn each_chunk_has_two_times() {
    let run = run(&stream(steady, |n| steady(n) + 3).records());
    let births: Vec<_> = run.ear().news.iter().collect();
    assert!(matches!(births[..], [crate::ConnectionEvent::Opened, crate::ConnectionEvent::Ended { .. }]), "{births:?}");
    let entry = run.only();
    assert_eq!((entry.chunks, entry.outcome, entry.stalls.len()), (30, Some(CallOutcome::Complete), 0));
    let (_, points, _) = run.pipeline.call_table().find(&entry.id).unwrap();
    let lags: Vec<u64> = points.iter().map(|point| point.t_read - point.t_arrival.expect("arrival")).collect();
    assert!(lags.len() >= 31 && lags.iter().all(|&lag| lag == 3 * MS_NS), "{lags:?}");
    close_to(Some(entry.arrival_gaps.stats().unwrap().max), 20.0 * MS);
    assert!(run.ear().lags.iter().all(|lag| lag.is_some_and(|lag| (lag - 3.0 * MS).abs() < 1e-9)));
}

#[test]
fn an_application_that_does_not_read_is_local() {
    // From chunk 10 on it sleeps for 800 ms; then all that waited is read at once.
    let read = |n: u64| if n >= 10 { steady(n).max(steady(10) + 800) } else { steady(n) };
    let run = run(&stream(steady, read).records());
    assert_eq!(run.ear().causes, [Some("local")]);
    let entry = run.only();
    close_to(Some(entry.arrival_gaps.stats().unwrap().max), 20.0 * MS);
    close_to(Some(entry.gap_stats().unwrap().max), 820.0 * MS);
}

#[test]
fn a_provider_that_pauses_is_the_provider() {
    let paused = |n: u64| if n >= 10 { steady(n) + 800 } else { steady(n) };
    let run = run(&stream(paused, |n| paused(n) + 1).records());
    assert_eq!(run.ear().causes, [Some("provider")]);
}

/// A head and twelve steady pieces; the next would be that of `steady(12)`.
fn flowing() -> Pair {
    let mut pair = Pair::new();
    pair.piece(100, 100, HEAD);
    for n in 0..12 {
        pair.piece(steady(n), steady(n), &delta("word"));
    }
    pair
}

#[test]
fn a_loss_that_was_repaired_late_is_the_network() {
    let mut pair = flowing();
    // The next piece is lost, three more come, and the retransmission comes 800 ms later.
    let piece = delta("word");
    let lost = record(piece.len());
    pair.cable.at(Ns((1_000 + steady(12)) * MS_NS)).lose(&lost);
    for n in 13..16 {
        pair.cable.at(Ns((1_000 + steady(n)) * MS_NS)).read(record(piece.len()));
    }
    pair.cable.at(Ns((1_000 + steady(12) + 800) * MS_NS)).again(&lost, 3 * lost.len() as u32);
    pair.script.at(Ns((1_001 + steady(12) + 800) * MS_NS));
    for _ in 0..4 {
        pair.script.read(&piece);
    }
    pair.piece(2_000, 2_000, DONE);
    pair.piece(2_010, 2_010, LAST);
    pair.script.wait_ms(5).close();
    let run = run(&pair.records());
    assert_eq!(run.ear().causes, [Some("network")]);
    assert_eq!(run.only().chunks, 16);
}

#[test]
fn a_path_that_was_dead_is_the_network_although_all_came_in_order() {
    let mut pair = flowing();
    // Nothing comes for 900 ms; the retransmission is the next in order, and its number tells that others were lost.
    pair.cable.at(Ns((1_000 + steady(12) + 900) * MS_NS)).read_after(3, record(delta("word").len()));
    pair.script.at(Ns((1_001 + steady(12) + 900) * MS_NS)).read(delta("word"));
    pair.piece(2_000, 2_000, DONE);
    assert_eq!(run(&pair.records()).ear().causes, [Some("network")]);
}

/// The near miss: one packet takes a fifth of a second to come again, not a whole one.
#[test]
fn a_pause_whose_first_packet_was_lost_is_the_providers() {
    for (missed, cause) in [(1, "provider"), (2, "network")] {
        let mut pair = flowing();
        pair.cable.at(Ns((1_000 + steady(12) + 1_000) * MS_NS)).read_after(missed, record(delta("word").len()));
        pair.script.at(Ns((1_001 + steady(12) + 1_000) * MS_NS)).read(delta("word"));
        pair.piece(2_100, 2_100, DONE);
        assert_eq!(run(&pair.records()).ear().causes, [Some(cause)], "{missed} lost");
    }
}

/// IPv6 has no numbers: what tells is that the peer's timer ran out, and how much had piled up
/// behind what it sent again. Of the pause behind which a packet was lost, a fifth of a second's
/// worth; of a stream's end, nothing.
#[test]
fn a_dead_path_in_ipv6_is_told_by_what_piles_up() {
    for (timed_out, piled_up, last, cause) in [
        (true, 45, false, Some("network")),
        (true, 12, false, Some("provider")),
        (false, 45, false, Some("provider")),
        (true, 2, true, None),
    ] {
        let mut pair = flowing();
        let (back, piece) = (1_000 + steady(12) + 900, delta("word"));
        pair.cable.at(Ns(back * MS_NS)).read_late(timed_out, record(piece.len()));
        pair.script.at(Ns((back + 1) * MS_NS)).read(&piece);
        for n in 1..piled_up {
            pair.piece(back - 1_000 + n, back - 999 + n, &piece);
        }
        if !last {
            pair.piece(3_000, 3_000, &piece);
        }
        pair.piece(3_010, 3_010, DONE);
        pair.piece(3_020, 3_020, LAST);
        let run = run(&pair.records());
        assert_eq!(run.ear().causes.first(), Some(&cause), "{piled_up} at once, timer ran out: {timed_out}");
    }
}

/// A sender that has doubled its patience often is still waited for: what came behind the hole had not arrived before.
#[test]
fn a_loss_that_was_repaired_after_a_minute_is_the_network() {
    let mut pair = flowing();
    let piece = delta("word");
    let lost = record(piece.len());
    pair.cable.at(Ns((1_000 + steady(12)) * MS_NS)).lose(&lost);
    pair.cable.at(Ns((1_000 + steady(13)) * MS_NS)).read(record(piece.len()));
    pair.cable.at(Ns((1_000 + steady(12) + 60_000) * MS_NS)).again(&lost, lost.len() as u32);
    pair.script.at(Ns((1_001 + steady(12) + 60_000) * MS_NS)).read(&piece).read(&piece);
    pair.piece(62_000, 62_000, DONE);
    assert_eq!(run(&pair.records()).ear().causes, [Some("network")]);
}

#[test]
fn an_application_that_leaves_no_room_is_local_too() {
    let paused = |n: u64| if n >= 10 { steady(n) + 800 } else { steady(n) };
    let mut pair = stream(paused, paused);
    pair.cable.at(Ns((1_000 + steady(10)) * MS_NS)).room(false);
    pair.cable.at(Ns((1_790 + steady(10)) * MS_NS)).room(true);
    assert_eq!(run(&pair.records()).ear().causes, [Some("local")]);
}

#[test]
fn without_the_socket_nobody_is_blamed() {
    let paused = |n: u64| if n >= 10 { steady(n) + 800 } else { steady(n) };
    let mut pair = stream(paused, paused);
    pair.join = None;
    let run = run(&pair.records());
    assert_eq!(run.ear().causes, [None]);
    assert_eq!(run.only().arrival_gaps.stats(), None);
    assert!(run.ear().lags.iter().all(Option::is_none));
}

#[test]
fn joined_late_the_two_times_are_known_from_then_on() {
    let mut pair = stream(steady, |n| steady(n) + 3);
    pair.joined_at = Ns(1_410 * MS_NS);
    let run = run(&pair.records());
    let (_, points, _) = run.pipeline.call_table().find(&run.only().id).unwrap();
    let known = points.iter().filter(|point| point.t_arrival.is_some()).count();
    assert!((10..=16).contains(&known), "{known}");
    for point in points {
        assert!(point.t_arrival.is_none_or(|arrived| point.t_read - arrived == 3 * MS_NS), "{point:?}");
    }
}
