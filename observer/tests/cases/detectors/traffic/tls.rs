//! Calls over TLS on sockets that are followed: what arrives and what is read are two things.

use capture::record::{PairingConfidence, PairingMethod, Record, TlsData, TlsSocketPairing};
use capture::units::{Direction, Ns};
use testkit::{FakeSocket, OwnedRecord};

use super::{Call, Host};

fn data_of(owned: &OwnedRecord) -> Option<&TlsData<'static>> {
    match &owned.record {
        Record::Data(data) => Some(data),
        _ => None,
    }
}

/// The handshake's messages, as recorded.
fn tls_hello(which: &str) -> Vec<u8> {
    let text = include_str!("../../../../../tests/vectors/tls/tls13.txt");
    let hex = text.lines().find_map(|line| line.strip_prefix(which)).unwrap();
    hex.as_bytes().chunks(2).map(|two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap()).collect()
}

/// A record of application data that carries `plain` bytes.
fn tls_record(plain: usize) -> Vec<u8> {
    let len = u16::try_from(plain + 17).unwrap();
    let mut bytes = vec![23, 3, 3];
    bytes.extend(len.to_be_bytes());
    bytes.resize(5 + usize::from(len), 0xaa);
    bytes
}

/// All that came within a period is read at its end, a TLS record a call, as OpenSSL gives them.
fn read_later(mut records: Vec<OwnedRecord>, period: u64) -> Vec<OwnedRecord> {
    if period == 0 {
        return records;
    }
    let mut last = 0;
    for owned in &mut records {
        let due = (owned.at().0 / period + 1) * period;
        match &mut owned.record {
            Record::Data(data) if data.direction == Direction::Read => {
                last = due.max(last + 1000);
                (data.at, data.entered) = (Ns(last), Ns(last - 500));
            }
            Record::Close { at, .. } => *at = Ns(due + 1_000_000),
            _ => {}
        }
    }
    records
}

impl Host {
    /// The same over TLS on a socket that is followed: bytes arrive at the call's times, and the application reads what
    /// came each time that many milliseconds have passed (0: at once).
    pub(crate) fn call_arriving(&mut self, at_ms: u64, call: &Call, reads_every_ms: u64) -> u64 {
        self.next += 16;
        self.calls.push(Ns(at_ms.max(1000) * 1_000_000));
        let (records, end) = call.records(at_ms.max(1000), self.next);
        let (first, conn) = records.iter().find_map(|owned| data_of(owned).map(|data| (data.at, data.conn))).unwrap();
        let mut cable = FakeSocket::new(call.pid, self.next, "192.0.2.7:443".parse().unwrap());
        cable.at(Ns(first.0 - 9_000_000)).write(tls_hello("c ")).wait_ms(1).read(tls_hello("s ")).wait_ms(1);
        cable.write(tls_record(52)).wait_ms(1).read(tls_record(233)).read(tls_record(233));
        let peer = "192.0.2.7:443".parse().unwrap();
        let (method, confidence) = (PairingMethod::Inside, PairingConfidence::High);
        let join = TlsSocketPairing { conn, sock: cable.sock(), peer, method, confidence };
        // It is stamped with the end of the handshake: `Joined` has no stamp of its own.
        self.joins.push((cable.now(), OwnedRecord { record: Record::Paired(join), bytes: Vec::new() }));
        for owned in &records {
            let Some(data) = data_of(owned) else { continue };
            cable.at(data.at);
            match data.direction {
                Direction::Write => cable.write(tls_record(owned.bytes.len())),
                Direction::Read => cable.read(tls_record(owned.bytes.len())),
            };
        }
        let records = read_later(records, reads_every_ms * 1_000_000);
        // The socket goes after the TLS object.
        cable.at(Ns(records.iter().map(|owned| owned.at().0).max().unwrap() + 1_000_000)).close();
        self.records.extend(call.named(cable.records()));
        self.records.extend(records);
        end + reads_every_ms
    }

    /// A call of program 100 to `host` (14 letters, as in the recorded hello) that no probe enters:
    /// only its shape is seen. `reset`: after ten records of its answer the provider breaks it.
    /// When it ends.
    pub(crate) fn call_outside(&mut self, at_ms: u64, host: &str, reset: bool) -> u64 {
        const RECORDED: &str = "API.OpenAI.com";
        assert_eq!(host.len(), RECORDED.len(), "the lengths in the hello are the recorded ones");
        let mut hello = tls_hello("c ");
        let at = hello.windows(RECORDED.len()).position(|part| part == RECORDED.as_bytes()).unwrap();
        hello[at..at + host.len()].copy_from_slice(host.as_bytes());
        self.next += 16;
        self.calls.push(Ns(at_ms * 1_000_000));
        let mut cable = FakeSocket::new(100, self.next, "192.0.2.7:443".parse().unwrap());
        cable.at(Ns(at_ms * 1_000_000)).write(hello).wait_ms(1).read(tls_hello("s ")).wait_ms(1);
        cable.write(tls_record(52)).wait_ms(1).read(tls_record(233)).read(tls_record(233)).wait_ms(20);
        cable.write(tls_record(700)).wait_ms(200).read(tls_record(300));
        for _ in 0..10 {
            cable.wait_ms(50).read(tls_record(60));
        }
        if reset {
            cable.rst(Direction::Read).close();
        } else {
            cable.wait_ms(50).read(tls_record(5)).wait_ms(50).fin(Direction::Write).fin(Direction::Read).close();
        }
        self.records.extend(Call::chat("unseen").named(cable.records()));
        cable.now().0 / 1_000_000
    }
}
