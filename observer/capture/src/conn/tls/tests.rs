//! Real handshakes of OpenSSL (`tests/vectors/tls`), cut in every way; and anything at all.
#![expect(
    clippy::cast_possible_truncation,
    clippy::string_slice,
    clippy::disallowed_methods,
    reason = "numbers, texts and files of the tests' own making"
)]

use proptest::prelude::*;

use super::records::{RecordLayerEvent, RecordLayerScanner};
use super::{ClientHello, ReadAligner, RecordOverhead, ServerHello, TlsRecord, TlsRecordFollower};
use crate::conn::Chunk;
use crate::limits;
use crate::units::{Direction, LossCause, Moment, Ns};

/// A line of a transcript.
enum Line {
    Sent(Direction, Vec<u8>),
    Wrote,
    Read(u32),
}

fn lines(name: &str) -> Vec<Line> {
    let path = format!("{}/../../tests/vectors/tls/{name}.txt", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).unwrap();
    text.lines()
        .map(|line| match line.split_once(' ').unwrap() {
            ("c", hex) => Line::Sent(Direction::Write, unhex(hex)),
            ("s", hex) => Line::Sent(Direction::Read, unhex(hex)),
            ("w", _) => Line::Wrote,
            (_, n) => Line::Read(n.parse().unwrap()),
        })
        .collect()
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|n| u8::from_str_radix(&text[n..n + 2], 16).unwrap()).collect()
}

fn moment(at: u64) -> Moment {
    Moment { at: Ns(at), arrival: Some(Ns(at)), call: at }
}

/// Plays a transcript, each write cut into segments of `cut` bytes; from its line `from` on.
/// Returns, for each read, the line in which the server had sent it and the line that the alignment
/// says.
fn play(name: &str, cut: usize, from: usize) -> (TlsRecordFollower, ReadAligner, Vec<(u64, Option<u64>)>) {
    let (mut tls, mut align) = (TlsRecordFollower::default(), ReadAligner::new());
    let (mut pos, mut sent_at, mut reads) = (0, 0, Vec::new());
    for (at, line) in (1u64..).zip(lines(name)).skip(from) {
        match line {
            Line::Wrote => {}
            Line::Sent(direction, bytes) => {
                for piece in bytes.chunks(cut) {
                    tls.push(direction, Chunk::Data(piece), moment(at), &mut |record| {
                        if direction == Direction::Read {
                            align.record(record);
                        }
                    });
                }
                align.costs(tls.facts().overhead());
                if direction == Direction::Read {
                    sent_at = at;
                }
            }
            Line::Read(n) => {
                reads.push((sent_at, align.read(pos, n, Ns(at)).map(|at| at.0)));
                pos += u64::from(n);
            }
        }
    }
    (tls, align, reads)
}

#[test]
fn every_read_is_of_the_record_that_carried_it() {
    for (name, is_13, overhead) in [("tls13", true, 17), ("tls12-gcm", false, 24), ("tls12-chacha", false, 16)] {
        for cut in [1, 3, 5, 6, 100, 1_400, 100_000] {
            let (tls, align, reads) = play(name, cut, 0);
            let facts = tls.facts();
            assert_eq!(facts.sni(), Some("api.openai.com"), "{name}");
            assert!(facts.hello.as_ref().unwrap().h2);
            assert_eq!((facts.is_13(), facts.overhead()), (Some(is_13), RecordOverhead::Bytes(overhead)), "{name}");
            assert!(facts.handshake_seconds().unwrap() > 0.0 && facts.losses == 0);
            assert_eq!(reads.len(), 8);
            assert!(reads.iter().all(|(sent, told)| Some(*sent) == *told), "{name}/{cut}: {reads:?}");
            assert_eq!((align.account().hits, align.account().misses), (8, 0), "{name}");
            assert!(align.sure() && align.unread_since().is_none());
            assert_eq!(tls.held(), 0);
        }
    }
}

#[test]
fn a_small_buffer_reads_a_record_in_pieces() {
    let (_, align, reads) = play("tls13-small-buffer", 1_400, 0);
    // Until the first record is read to its end, nothing is sure.
    let unknown = reads.iter().take_while(|(_, told)| told.is_none()).count();
    assert!(unknown <= 5, "{reads:?}");
    assert!(reads.iter().skip(unknown).all(|(sent, told)| Some(*sent) == *told), "{reads:?}");
    assert!(align.account().misses <= 3, "{:?}", align.account());
}

#[test]
fn padding_suites_are_not_guessed_at() {
    let (tls, _, reads) = play("tls12-cbc", 1_400, 0);
    assert_eq!(tls.facts().overhead(), RecordOverhead::Varies);
    assert!(reads.iter().all(|(_, told)| told.is_none()));
}

#[test]
fn joined_in_the_middle_the_overhead_is_learned() {
    for name in ["tls13", "tls12-gcm", "tls12-chacha"] {
        let begin = lines(name).iter().position(|line| matches!(line, Line::Wrote)).unwrap();
        let (tls, align, reads) = play(name, 1_400, begin);
        assert_eq!(tls.facts().sni(), None);
        assert!(reads.iter().all(|(sent, told)| told.is_none_or(|told| told == *sent)), "{name}: {reads:?}");
        assert!(reads.iter().filter(|(_, told)| told.is_some()).count() >= 3, "{name}: {reads:?} {align:?}");
    }
}

fn record(len: u16, at: u64) -> TlsRecord {
    TlsRecord { kind: 23, len, first: Ns(at), at: Ns(at) }
}

#[test]
fn a_ticket_in_the_middle_is_found_out_and_missed_reads_too() {
    let mut align = ReadAligner::new();
    align.costs(RecordOverhead::Bytes(17));
    (1..=4).for_each(|n| align.record(record(100 + 17, n)));
    assert_eq!(align.read(0, 100, Ns(9)), Some(Ns(1)));
    // A record too short for the read is not the application's.
    align.record(record(22, 5));
    align.record(record(67, 6));
    for (pos, at) in [(100, 2), (200, 3), (300, 4)] {
        assert_eq!(align.read(pos, 100, Ns(9)), Some(Ns(at)));
    }
    assert_eq!(align.read(400, 50, Ns(9)), Some(Ns(6)));
    assert_eq!(align.account().skipped, 1);
    // The reads of 450 to 550 were not seen: the next that fits exactly tells the place.
    (7..=9).for_each(|n| align.record(record(40 + 10 * n as u16 + 17, n)));
    assert_eq!(align.read(550, 130, Ns(9)), Some(Ns(9)));
}

#[test]
fn what_has_not_arrived_was_not_read() {
    let mut align = ReadAligner::new();
    align.costs(RecordOverhead::Bytes(17));
    align.record(record(67, 20));
    assert_eq!(align.read(0, 50, Ns(10)), None);
    assert_eq!(align.read(50, 50, Ns(30)), Some(Ns(20)));
}

fn found(pieces: &[Chunk<'_>]) -> Vec<String> {
    let (mut records, mut heard) = (RecordLayerScanner::default(), Vec::new());
    for (at, piece) in (0..).zip(pieces) {
        records.push(*piece, Ns(at), &mut |found| {
            heard.push(match found {
                RecordLayerEvent::Record(r) => format!("{} {} {}-{}", r.kind, r.len, r.first.0, r.at.0),
                RecordLayerEvent::Hello(bytes) => format!("hello {}", bytes.len()),
                RecordLayerEvent::Lost => "lost".into(),
            });
        });
    }
    heard
}

#[test]
fn a_gap_inside_a_record_hides_nothing_and_one_over_a_head_is_found_out_of() {
    let gap = |bytes| Chunk::Gap { bytes, cause: LossCause::Truncated };
    let (head, whole) = ([23, 3, 3, 0, 9], [23, 3, 3, 0, 2, 7, 7]);
    assert_eq!(
        found(&[Chunk::Data(&head), gap(Some(4)), Chunk::Data(b"12345"), Chunk::Data(&whole)]),
        ["23 9 0-2", "23 2 3-3"]
    );
    assert_eq!(found(&[Chunk::Data(&head), gap(Some(9)), Chunk::Data(&whole)]), ["23 9 0-1", "23 2 2-2"]);
    for missing in [Some(10), None] {
        assert_eq!(
            found(&[Chunk::Data(&head), gap(missing), Chunk::Data(b"rest"), Chunk::Data(&whole)]),
            ["lost", "23 2 3-3"]
        );
    }
    assert_eq!(found(&[Chunk::Data(b"GET / HTTP/1.1"), Chunk::Data(&whole)]), ["lost", "23 2 1-1"]);
}

#[test]
fn hellos_are_read_and_anything_else_refused() {
    assert_eq!(ClientHello::parse(&[]), None);
    assert_eq!(ServerHello::parse(&[2, 0, 0, 0, 3]), None);
    let transcript = lines("tls13");
    let Line::Sent(_, hello) = &transcript[0] else { panic!() };
    let message = &hello[5..];
    assert_eq!(ClientHello::parse(message).unwrap().sni.as_deref(), Some("api.openai.com"));
    for end in 0..message.len() {
        let _ = ClientHello::parse(&message[..end]);
    }
    // A name that is none is no label.
    let mut bad = message.to_vec();
    let at = bad.windows(3).position(|w| w.eq_ignore_ascii_case(b"api")).unwrap();
    bad[at] = b'"';
    assert_eq!(ClientHello::parse(&bad).unwrap().sni, None);
}

/// For fuzzing and below: pieces and gaps both ways, reads in between. Nothing panics or grows.
fn anything(data: &[u8]) {
    super::fuzz(data);
}

proptest! {
    #[test]
    fn anything_at_all_is_survived(data in proptest::collection::vec(any::<u8>(), 0..2000)) {
        anything(&data);
    }

    #[test]
    fn real_bytes_damaged_anywhere_are_survived(at in 0..3000usize, byte: u8, cut in 1..2000usize) {
        let (mut tls, mut records) = (TlsRecordFollower::default(), 0);
        let mut seen = 0;
        for line in lines("tls13") {
            let Line::Sent(direction, mut bytes) = line else { continue };
            if let Some(hit) = at.checked_sub(seen).and_then(|at| bytes.get_mut(at)) {
                *hit = byte;
            }
            seen += bytes.len();
            for piece in bytes.chunks(cut) {
                tls.push(direction, Chunk::Data(piece), moment(1), &mut |_| records += 1);
            }
        }
        prop_assert!(tls.held() <= 2 * limits::TLS_HELLO);
    }
}
