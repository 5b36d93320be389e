use super::super::unmatched::MatchChange;
use super::*;

const SOCK: SocketCookie = SocketCookie(9);

fn opened(attach: SocketOrigin) -> (FollowedSockets, Vec<String>) {
    let (mut socks, mut said) = (FollowedSockets::default(), Vec::new());
    let open = SockOpen {
        sock: SOCK,
        tgid: 7,
        start_ns: 1,
        local: None,
        peer: "127.0.0.1:443".parse().unwrap(),
        at: Ns(20),
        connect_at: Some(Ns(10)),
        attach,
    };
    socks.open(&open, [Some(100), Some(200)], &mut |record| said.push(kind(record)));
    (socks, said)
}

fn kind(record: &Record<'_>) -> String {
    match record {
        Record::SockOpen(_) => "open".into(),
        Record::Segment(s) if s.syn => format!("syn {:?} {} at {}", s.direction, s.seq, s.at.0),
        Record::Segment(s) => format!("{:?} {}", s.direction, s.len),
        Record::SockInfo(i) => format!("info {:?} {:?}", i.srtt_us, i.retransmits),
        Record::SockClose { .. } => "close".into(),
        other => format!("{other:?}"),
    }
}

fn segment(direction: Direction, seq: u32, bytes: &[u8]) -> TcpSegment<'_> {
    TcpSegment {
        len: u32::try_from(bytes.len()).unwrap(),
        bytes,
        syn: false,
        ..syn(SOCK, direction, Ns(1_000_000_000), seq)
    }
}

fn pass(socks: &mut FollowedSockets, segment: &TcpSegment<'_>, known: KnownTcpState) -> (bool, Vec<String>) {
    let mut said = Vec::new();
    let hello = socks.segment(segment, known, &mut SocketPairing::default(), &mut |record| said.push(kind(record)));
    (hello, said)
}

fn knows(srtt: u32, again: u32) -> KnownTcpState {
    KnownTcpState { srtt_us: Some(srtt), retransmits: Some(again) }
}

#[test]
fn a_birth_comes_with_its_numbers() {
    let (_, said) = opened(SocketOrigin::Born);
    assert_eq!(said, ["open", "syn Write 200 at 10", "syn Read 100 at 20"]);
}

#[test]
fn news_of_tcp_are_told_once() {
    let (mut socks, _) = opened(SocketOrigin::Born);
    let read = segment(Direction::Read, 101, b"x");
    assert_eq!(pass(&mut socks, &read, knows(80, 0)).1, ["info Some(80) Some(0)", "Read 1"]);
    assert_eq!(pass(&mut socks, &read, knows(200, 0)).1, ["Read 1"], "a moved round trip waits its time");
    let later = TcpSegment { at: Ns(1_000_000_000 + INFO_EVERY_NS), ..read };
    assert_eq!(pass(&mut socks, &later, knows(84, 0)).1, ["Read 1"], "hardly moved");
    assert_eq!(pass(&mut socks, &later, knows(84, 1)).1, ["info Some(84) Some(1)", "Read 1"], "sent again");
    assert_eq!(pass(&mut socks, &later, KnownTcpState::default()).1, ["Read 1"]);
}

#[test]
fn records_are_found_and_the_handshakes_end_is_none() {
    let hello = [22, 3, 1, 0, 9, 1, 0, 0, 5];
    let mut both = vec![20, 3, 3, 0, 1, 1, 23, 3, 3, 0, 2, 9, 9, 23, 3, 3, 0, 3, 9, 9, 9];
    assert_eq!(application_data(&both).collect::<Vec<_>>(), [3]);
    both.extend([23, 3, 3, 1, 0, 9]);
    assert_eq!(application_data(&both).collect::<Vec<_>>(), [3, 256], "one that goes on in the next segment");
    let (mut socks, _) = opened(SocketOrigin::Born);
    assert!(pass(&mut socks, &segment(Direction::Write, 201, &hello), KnownTcpState::default()).0);
    assert!(
        !pass(&mut socks, &segment(Direction::Write, 201, &hello), KnownTcpState::default()).0,
        "the same once more"
    );
    for bytes in [&b"POST / HTTP/1.1"[..], b"", b"\x16", b"\x17\x03\x03\xff"] {
        assert_eq!(application_data(bytes).count(), 0);
    }
}

#[test]
fn a_verdict_holds_for_what_was_sent() {
    let (mut socks, _) = opened(SocketOrigin::Born);
    pass(&mut socks, &segment(Direction::Write, u32::MAX - 1, b"GET"), KnownTcpState::default());
    let word = socks.decide(SOCK, Verdict::Heads);
    assert_eq!(observer_common::sock::verdict_of(word, SOCK.0, 1), Verdict::Heads as u32);
    assert_eq!(observer_common::sock::verdict_of(word, SOCK.0, 2), Verdict::Unknown as u32, "more was sent");
    assert_eq!(observer_common::sock::verdict_of(word, 10, 1), Verdict::Unknown as u32, "another socket");
}

#[test]
fn a_tls_socket_that_nobody_asks_for_falls_silent_once() {
    let (mut socks, _) = opened(SocketOrigin::Mid);
    let data = [23, 3, 3, 0, 1, 7];
    for n in 0..WIRE_RECORDS {
        assert!(!socks.silence(SOCK));
        pass(&mut socks, &segment(Direction::Write, 300 + n * 6, &data), KnownTcpState::default());
    }
    assert!(socks.silence(SOCK) && !socks.silence(SOCK));
    let (mut socks, _) = opened(SocketOrigin::Born);
    pass(&mut socks, &segment(Direction::Write, 201, b"GET /"), KnownTcpState::default());
    let body = vec![0; usize::try_from(TLS_UNCLAIMED).unwrap() + 1];
    pass(&mut socks, &segment(Direction::Read, 101, &body), KnownTcpState::default());
    assert!(!socks.silence(SOCK), "plain text is the pipeline's to judge");
}

/// A record of application data of so many bytes, as far as a segment needs it.
fn sent(len: u16) -> Vec<u8> {
    let [high, low] = len.to_be_bytes();
    [&[23, 3, 3, high, low][..], &vec![7; len.into()]].concat()
}

#[test]
fn a_request_that_is_answered_and_fits_no_write_is_unmatched_and_nothing_less_is() {
    const LATER: Ns = Ns(1_000_000_000_000);
    let hello = [22, 3, 1, 0, 9, 1, 0, 0, 5];
    let finished = [&[20, 3, 3, 0, 1, 1][..], &sent(300)].concat();
    let judged = |writes: &[&[u8]], answered: bool| {
        let (mut socks, _) = opened(SocketOrigin::Born);
        let mut pairing = SocketPairing::default();
        let mut pass = |direction, seq, bytes: &[u8]| {
            socks.segment(&segment(direction, seq, bytes), KnownTcpState::default(), &mut pairing, &mut |_| {});
        };
        let mut seq = 201;
        for bytes in writes {
            pass(Direction::Write, seq, bytes);
            seq += u32::try_from(bytes.len()).unwrap();
        }
        if answered {
            pass(Direction::Read, 101, &sent(20));
            pass(Direction::Read, 126, &sent(20));
        }
        pairing.judge(LATER)
    };
    assert_eq!(judged(&[&hello, &sent(300)], true), [MatchChange::Unmatched(7)]);
    assert_eq!(judged(&[&hello, &finished], true), [], "the handshake's end, however long");
    assert_eq!(judged(&[&hello, &sent(69), &sent(110), &sent(19)], true), [], "control frames and alerts");
    assert_eq!(judged(&[&hello, &sent(300)], false), [], "nobody has answered yet");
    assert_eq!(judged(&[&hello], true), [], "a handshake under way");
    assert_eq!(judged(&[b"GET / HTTP/1.1\r\n\r\n"], true), [], "no TLS");
}
