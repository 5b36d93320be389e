//! Round trips, damage, and what the modes keep out.

mod sse;

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use capture::record::{
    ConnKey, PairingConfidence, PairingMethod, Record, SockInfo, SockOpen, SocketCookie, SocketOrigin, TcpSegment,
    TlsData, TlsSocketPairing,
};
use capture::units::{Direction, LossCause, Ns};
use edge::identity::{K8sIdentity, ProcessIdentity};
use testkit::FakeTlsConn;

fn sample_identity() -> ProcessIdentity {
    ProcessIdentity {
        pid: 42,
        uid: Some(1000),
        comm: "python".into(),
        exe: Some("/usr/bin/python3".into()),
        service: "é.service".into(),
        k8s: K8sIdentity {
            pod: Some("p".into()),
            pod_uid: Some("u".into()),
            node: Some("n".into()),
            ..K8sIdentity::default()
        },
        container_id: None,
    }
}

fn samples() -> Vec<Record<'static>> {
    let conn = ConnKey { handle: 0x7f00_1234, start_ns: 99, tgid: 42, generation: 0xdead_beef };
    let identity = sample_identity();
    let data = TlsData {
        conn,
        direction: Direction::Write,
        at: Ns(5),
        entered: Ns(4),
        pos: 1 << 40,
        call_len: 70,
        offset: 60,
        born: true,
        lost: Some(LossCause::Cap),
        bytes: b"secret",
    };
    let open = SockOpen {
        sock: SocketCookie(77),
        tgid: 42,
        start_ns: 99,
        local: Some("[::1]:1".parse().unwrap()),
        peer: "127.0.0.1:11434".parse().unwrap(),
        at: Ns(3),
        connect_at: Some(Ns(2)),
        attach: SocketOrigin::Born,
    };
    let segment = TcpSegment {
        sock: SocketCookie(77),
        direction: Direction::Read,
        at: Ns(4),
        seq: u32::MAX,
        len: 70_000,
        syn: true,
        fin: true,
        rst: true,
        zero_window: true,
        ack: Some(77),
        missed: 2,
        timed_out: true,
        bytes: b"secret",
        lost: Some(LossCause::Truncated),
    };
    vec![
        Record::Process { tgid: 42, start_ns: 99, identity: Arc::new(identity) },
        Record::Open { conn, at: Ns(1) },
        Record::Data(data),
        Record::Data(TlsData { direction: Direction::Read, born: false, lost: None, bytes: b"", ..data }),
        Record::Shutdown { conn, at: Ns(6) },
        Record::ReadEnd { conn, at: Ns(7), clean: true },
        Record::ReadEnd { conn, at: Ns(7), clean: false },
        Record::Remote { conn, peer: "10.1.2.3:443".parse().unwrap() },
        Record::Remote { conn, peer: "[2001:db8::1]:65535".parse().unwrap() },
        Record::Paired(TlsSocketPairing {
            conn,
            sock: SocketCookie(77),
            peer: "10.1.2.3:443".parse().unwrap(),
            method: PairingMethod::Nearest,
            confidence: PairingConfidence::Low,
        }),
        Record::SockOpen(open),
        Record::SockOpen(SockOpen { local: None, connect_at: None, attach: SocketOrigin::Mid, ..open }),
        Record::Segment(segment),
        Record::Segment(TcpSegment { direction: Direction::Write, len: 6, syn: false, lost: None, ..segment }),
        Record::SockInfo(SockInfo { sock: SocketCookie(77), at: Ns(9), srtt_us: Some(120), retransmits: None }),
        Record::SockInfo(SockInfo { sock: SocketCookie(77), at: Ns(9), srtt_us: None, retransmits: Some(3) }),
        Record::SockClose { sock: SocketCookie(77), at: Ns(9) },
        Record::Started { tgid: Some(42), at: Ns(10) },
        Record::Started { tgid: None, at: Ns(11) },
        Record::Close { conn, at: Ns(8), read_pos: 9, write_pos: u64::MAX },
        Record::Audited { conn, at: Ns(8), moved: Some([u64::MAX, 9]) },
        Record::Audited { conn, at: Ns(9), moved: None },
        Record::Exit { tgid: 42, at: Ns(10) },
    ]
}

fn payload_of<'a>(record: &Record<'a>) -> &'a [u8] {
    match record {
        Record::Data(data) => data.bytes,
        Record::Segment(segment) => segment.bytes,
        _ => b"",
    }
}

fn written(payload: PayloadMode) -> Vec<u8> {
    let mut writer = RecordingWriter::new(Vec::new(), payload, -17).unwrap();
    samples().iter().for_each(|record| writer.record(record).unwrap());
    writer.finish().unwrap()
}

/// Everything a reader says, payload included.
fn read_all(bytes: &[u8]) -> Result<(Vec<String>, bool), RecordingError> {
    let mut reader = RecordingReader::new(bytes)?;
    let mut all = Vec::new();
    while let Some(record) = reader.next_record()? {
        all.push(format!("{record:?} {:?}", payload_of(&record)));
    }
    Ok((all, reader.cut()))
}

#[test]
fn what_is_written_is_read() {
    let bytes = written(PayloadMode::Full);
    let want: Vec<String> = samples().iter().map(|record| format!("{record:?} {:?}", payload_of(record))).collect();
    assert_eq!(read_all(&bytes).unwrap(), (want, false));
    let reader = RecordingReader::new(&bytes[..]).unwrap();
    assert_eq!((reader.payload(), reader.wall()), (PayloadMode::Full, -17));
}

#[test]
fn without_payload_sizes_stay() {
    let bytes = written(PayloadMode::None);
    assert!(!bytes.windows(6).any(|w| w == b"secret"));
    let mut reader = RecordingReader::new(&bytes[..]).unwrap();
    let mut data = Vec::new();
    while let Some(record) = reader.next_record().unwrap() {
        match record {
            Record::Data(d) => data.push((d.call_len, d.bytes.len(), d.lost)),
            Record::Segment(s) => data.push((s.len, s.bytes.len(), s.lost)),
            _ => {}
        }
    }
    let lost = Some(LossCause::Truncated);
    assert_eq!(data, [(70, 0, lost), (70, 0, None), (70_000, 0, lost), (6, 0, lost)]);
}

#[test]
fn a_file_may_end_anywhere() {
    let bytes = written(PayloadMode::Full);
    let whole = read_all(&bytes).unwrap().0;
    for end in 0..bytes.len() {
        match read_all(&bytes[..end]) {
            Ok((some, cut)) => {
                assert!(whole.starts_with(&some));
                assert!(cut || some.len() < whole.len());
            }
            Err(RecordingError::NotARecording | RecordingError::Damaged { .. }) => assert!(end < 20),
            Err(other) => panic!("{other}"),
        }
    }
}

#[test]
fn strangers_files_are_refused_in_a_sentence() {
    let mut later = written(PayloadMode::None);
    later[8] = 2;
    assert!(read_all(&later).unwrap_err().to_string().contains("format 2"));
    assert!(read_all(b"\x7fELF and so on, and on and on").unwrap_err().to_string().starts_with("not a recording"));
    let mut long = written(PayloadMode::None);
    long.truncate(20);
    long.extend([DATA, 0xff, 0xff, 0xff, 0xff]);
    assert!(read_all(&long).unwrap_err().to_string().contains("byte 20"));
}

#[test]
fn unknown_frames_are_skipped_and_longer_bodies_are_read() {
    let mut bytes = written(PayloadMode::None);
    bytes.truncate(20);
    bytes.extend([99, 3, 0, 0, 0, 1, 2, 3]);
    bytes.extend([EXIT, 14, 0, 0, 0, 7, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0xaa, 0xbb]);
    let mut reader = RecordingReader::new(&bytes[..]).unwrap();
    assert!(matches!(reader.next_record().unwrap(), Some(Record::Exit { tgid: 7, at: Ns(9) })));
    assert!(reader.next_record().unwrap().is_none());
    assert_eq!((reader.skipped(), reader.cut()), (1, false));
}

proptest! {
    #[test]
    fn hostile_files_end_in_a_result(mut noise in proptest::collection::vec(any::<u8>(), 0..400), at in 20..400usize, with in any::<u8>()) {
        let mut bytes = written(PayloadMode::Full);
        if let Some(byte) = bytes.get_mut(at) {
            *byte = with;
        }
        bytes.append(&mut noise);
        fuzz(&bytes);
    }
}
