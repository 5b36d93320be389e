//! Spans that a process exports.

use capture::record::{Record, SockOpen};
use capture::units::Ns;
use testkit::spans::{FakeSpan, json, protobuf};
use testkit::{FakeSocket, FakeTlsConn, OwnedRecord};

use super::{BOOT, Call, Host};

/// Nanoseconds since the epoch of a millisecond after the boot.
pub(crate) fn unix(at_ms: i64) -> u64 {
    u64::try_from(BOOT + i128::from(at_ms) * 1_000_000).unwrap()
}

impl Host {
    /// The process of such calls exports spans, in Protocol Buffers.
    pub(crate) fn export(&mut self, at_ms: u64, like: &Call, spans: &[FakeSpan]) {
        self.post(at_ms, like, "application/x-protobuf", &protobuf(spans), 0);
    }

    /// The same in JSON.
    pub(crate) fn export_json(&mut self, at_ms: u64, like: &Call, spans: &[FakeSpan]) {
        self.post(at_ms, like, "application/json", json(spans).as_bytes(), 0);
    }

    /// The same, and so many bytes in the middle are lost.
    pub(crate) fn export_losing(&mut self, at_ms: u64, like: &Call, spans: &[FakeSpan], lost: usize) {
        self.post(at_ms, like, "application/x-protobuf", &protobuf(spans), lost);
    }

    /// The same, in plain text over a new socket to such an address, whose place is seen.
    pub(crate) fn export_to(&mut self, peer: &str, at_ms: u64, like: &Call, spans: &[FakeSpan]) {
        self.next += 16;
        let body = protobuf(spans);
        let mut cable = FakeSocket::new(like.pid, self.next, peer.parse().unwrap());
        cable.at(Ns(at_ms * 1_000_000)).write(format!(
            "POST /v1/traces HTTP/1.1\r\nHost: collector:4318\r\nContent-Type: application/x-protobuf\r\nContent-Length: {}\r\n\r\n",
            body.len()
        ));
        cable.write(&body).wait_ms(3).read("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").close();
        self.records.extend(cable.records().iter().map(|owned| match owned.record {
            // A cable is plugged in at the beginning of time.
            Record::SockOpen(open) => OwnedRecord {
                record: Record::SockOpen(SockOpen { at: Ns(at_ms * 1_000_000), ..open }),
                bytes: Vec::new(),
            },
            _ => owned.clone(),
        }));
    }

    fn post(&mut self, at_ms: u64, like: &Call, kind: &str, body: &[u8], lost: usize) {
        self.next += 16;
        let mut script = FakeTlsConn::new(like.pid, self.next);
        script.wait_ms(at_ms.saturating_sub(1000));
        script.write(format!(
            "POST /v1/traces HTTP/1.1\r\nHost: collector:4318\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        ));
        let (before, after) = body.split_at(body.len() / 2);
        script.write(before).lose(capture::units::Direction::Write, lost as u64).write(&after[lost..]).wait_ms(3);
        script.read("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").close();
        self.records.extend(like.of(&script));
    }
}
