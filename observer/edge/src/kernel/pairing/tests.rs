use super::*;

fn peer(tgid: u32, port: u16) -> SocketPeer {
    SocketPeer { tgid, addr: SocketAddr::from(([127, 0, 0, 1], port)) }
}

fn conn(handle: u64) -> ConnKey {
    ConnKey { handle, start_ns: 1, tgid: 7, generation: 1 }
}

fn write(entered: u64, at: u64, len: u32) -> TlsWrite {
    TlsWrite { entered: Ns(entered), at: Ns(at), len }
}

#[test]
fn a_record_that_leaves_inside_the_write_joins_at_once() {
    let mut pairing = SocketPairing::default();
    pairing.wire(1, Ns(10), peer(7, 443), WireEvent::Hello);
    pairing.wire(1, Ns(105), peer(7, 443), WireEvent::Out { record: 317 });
    let paired = pairing.wrote(conn(1), write(100, 110, 300)).unwrap();
    assert_eq!((paired.peer.port(), paired.sock, paired.method), (443, SocketCookie(1), PairingMethod::Inside));
    assert_eq!(pairing.wrote(conn(1), write(120, 130, 300)), None, "a pair stays");
}

/// Go's first records: 1,186 bytes, twice that, and so on.
#[test]
fn a_write_may_leave_as_several_records() {
    let paired = |records: &[(u64, u64, u32)], len| {
        let mut pairing = SocketPairing::default();
        for (cookie, port) in [(1, 441), (2, 442)] {
            pairing.wire(cookie, Ns(10), peer(7, port), WireEvent::Hello);
        }
        for (cookie, at, record) in records {
            pairing.wire(*cookie, Ns(*at), peer(7, 443), WireEvent::Out { record: *record });
        }
        pairing.wrote(conn(1), write(100, 110, len)).map(|paired| (paired.sock.0, paired.method))
    };
    let [first, second, rest] = [(2, 103, 1186 + 17), (2, 104, 2372 + 17), (2, 105, 538 + 17)];
    assert_eq!(paired(&[first, second, rest], 4096), Some((2, PairingMethod::Inside)));
    assert_eq!(paired(&[first, (1, 103, 700), second, rest], 4096), Some((2, PairingMethod::Inside)));
    assert_eq!(paired(&[first, second], 4096), None, "a part of it");
    assert_eq!(paired(&[first, second, (2, 120, 538 + 17)], 4096), None, "not while it ran");
    let others = [first, second, rest].map(|(_, at, record)| (1, at, record));
    assert_eq!(paired(&[&[first, second, rest], &others[..]].concat(), 4096), None, "either of two");
}

#[test]
fn with_a_memory_bio_the_nearest_earlier_write_that_fits_wins() {
    let mut pairing = SocketPairing::default();
    for (cookie, port) in [(1, 441), (2, 442)] {
        pairing.wire(cookie, Ns(10), peer(7, port), WireEvent::Hello);
    }
    pairing.wrote(conn(1), write(100, 110, 300));
    pairing.wire(1, Ns(120), peer(7, 441), WireEvent::Out { record: 317 });
    pairing.wrote(conn(2), write(130, 140, 300));
    pairing.wire(2, Ns(150), peer(7, 442), WireEvent::Out { record: 317 });
    let pairs = pairing.settle(Ns(150 + 2 * SETTLE_NS));
    let ports: Vec<_> = pairs.iter().map(|j| (j.conn.handle, j.peer.port())).collect();
    assert_eq!(ports, [(1, 441), (2, 442)]);
}

#[test]
fn a_tls_object_that_goes_at_once_is_joined_before() {
    let mut pairing = SocketPairing::default();
    pairing.wire(1, Ns(10), peer(7, 443), WireEvent::Hello);
    pairing.wrote(conn(1), write(100, 110, 300));
    pairing.wire(1, Ns(120), peer(7, 443), WireEvent::Out { record: 317 });
    pairing.wire(1, Ns(200), peer(7, 443), WireEvent::End { by_peer: true, reset: true });
    assert_eq!(pairing.settle_for(&conn(2)), None, "not another's");
    assert_eq!(pairing.settle_for(&conn(1)).map(|paired| paired.peer.port()), Some(443));
    assert!(pairing.end_of(&conn(1)).is_some_and(|end| end.reset));
    assert_eq!(pairing.settle_for(&conn(1)), None, "a pair stays");
}

#[test]
fn a_record_that_leaves_late_is_that_of_the_only_write_that_fits() {
    let late = 100 + 2 * WINDOW_NS;
    for (other, paired) in [(900, 1), (300, 0)] {
        let mut pairing = SocketPairing::default();
        pairing.wire(1, Ns(10), peer(7, 443), WireEvent::Hello);
        pairing.wrote(conn(1), write(90, 100, 300));
        pairing.wrote(conn(2), write(90, 100, other));
        pairing.wire(1, Ns(late), peer(7, 443), WireEvent::Out { record: 317 });
        assert_eq!(pairing.settle(Ns(late + 2 * SETTLE_NS)).len(), paired, "{other}");
    }
}

#[test]
fn what_fits_nothing_stays_unknown() {
    let mut pairing = SocketPairing::default();
    pairing.wire(1, Ns(10), peer(7, 443), WireEvent::Hello);
    pairing.wrote(conn(1), write(100, 110, 300));
    pairing.wire(1, Ns(120), peer(7, 443), WireEvent::Out { record: 900 });
    assert!(pairing.settle(Ns(120 + 2 * SETTLE_NS)).is_empty());
    assert_eq!(pairing.end_of(&conn(1)), None);
}

#[test]
fn an_answered_request_that_fits_no_write_is_told_and_a_pair_is_not() {
    for (record, told) in [(900, vec![MatchChange::Unmatched(7)]), (317, vec![])] {
        let mut pairing = SocketPairing::default();
        pairing.wire(1, Ns(10), peer(7, 443), WireEvent::Hello);
        pairing.wrote(conn(1), write(100, 110, 300));
        pairing.wire(1, Ns(120), peer(7, 443), WireEvent::Out { record });
        pairing.wire(1, Ns(200), peer(7, 443), WireEvent::Answered);
        pairing.settle(Ns(120 + 2 * SETTLE_NS));
        assert_eq!(pairing.judge(Ns(10_000_000_000)), told, "{record}");
    }
}

#[test]
fn another_process_is_never_a_candidate() {
    let mut pairing = SocketPairing::default();
    pairing.wire(1, Ns(10), peer(8, 443), WireEvent::Hello);
    pairing.wrote(conn(1), write(100, 110, 300));
    pairing.wire(1, Ns(105), peer(8, 443), WireEvent::Out { record: 317 });
    assert!(pairing.settle(Ns(120 + 2 * SETTLE_NS)).is_empty());
}

#[test]
fn the_first_end_is_the_cause() {
    let mut pairing = SocketPairing::default();
    pairing.wire(1, Ns(10), peer(7, 443), WireEvent::Hello);
    pairing.wire(1, Ns(105), peer(7, 443), WireEvent::Out { record: 317 });
    pairing.wrote(conn(1), write(100, 110, 300));
    pairing.wire(1, Ns(200), peer(7, 443), WireEvent::End { by_peer: true, reset: true });
    pairing.wire(1, Ns(300), peer(7, 443), WireEvent::End { by_peer: false, reset: false });
    assert_eq!(pairing.end_of(&conn(1)), Some(SocketEnd { at: Ns(200), by_peer: true, reset: true }));
    pairing.closed(&conn(1));
    assert_eq!(pairing.end_of(&conn(1)), None);
}

#[test]
fn the_host_cannot_make_it_grow() {
    let mut pairing = SocketPairing::default();
    for i in 0..200_000u64 {
        pairing.wire(i, Ns(i), peer(7, 443), WireEvent::Hello);
        pairing.wire(i, Ns(i), peer(7, 443), WireEvent::Out { record: 5 });
    }
    assert!(pairing.sockets.len() <= MAX_SOCKETS && pairing.waiting.len() <= MAX_WAITING);
}
