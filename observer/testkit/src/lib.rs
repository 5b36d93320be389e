//! Makes records for tests and recordings: one connection's calls with chosen boundaries, losses
//! and stamps, in virtual time; sockets (`FakeSocket`); exports of spans (`spans`); and tests named
//! by tables and folders (`named`). In no product binary.
#![forbid(unsafe_code)]

mod cable;
pub mod named;
pub mod spans;

use std::sync::Arc;

pub use cable::FakeSocket;

use capture::identity::ProcessIdentity;
use capture::record::{ConnKey, Record, TcpSegment, TlsData};
use capture::units::{Direction, LossCause, Ns};

/// A record that owns its payload.
#[derive(Clone)]
pub struct OwnedRecord {
    /// The record; `Data` and `Segment` have no bytes here.
    pub record: Record<'static>,
    /// The payload of `Data` and `Segment`.
    pub bytes: Vec<u8>,
}

impl OwnedRecord {
    /// The record with its payload.
    #[must_use]
    pub fn get(&self) -> Record<'_> {
        match &self.record {
            Record::Data(data) => Record::Data(TlsData { bytes: &self.bytes, ..*data }),
            Record::Segment(segment) => Record::Segment(TcpSegment { bytes: &self.bytes, ..*segment }),
            other => other.clone(),
        }
    }

    /// The record's stamp; that of a process's introduction is 0.
    #[must_use]
    pub fn at(&self) -> Ns {
        self.record.at()
    }
}

/// The application's side of one connection. Time stands still until `wait` or `at_ms` moves it; each call moves it by
/// one microsecond, so that no two calls share a stamp.
#[derive(Clone)]
pub struct FakeTlsConn {
    conn: ConnKey,
    now: Ns,
    born: bool,
    read_pos: u64,
    write_pos: u64,
    records: Vec<OwnedRecord>,
}

impl FakeTlsConn {
    /// A connection of process `tgid` whose birth is seen at second 1.
    #[must_use]
    pub fn new(tgid: u32, handle: u64) -> Self {
        let mut script = Self::mid_stream(tgid, handle);
        script.born = true;
        script.push(Record::Open { conn: script.conn, at: script.now });
        script
    }

    /// A connection that was already open.
    #[must_use]
    pub fn mid_stream(tgid: u32, handle: u64) -> Self {
        let conn = ConnKey { handle, start_ns: u64::from(tgid) * 1000, tgid, generation: 7 };
        let identity = ProcessIdentity {
            pid: tgid,
            comm: "app".into(),
            service: "app.service".into(),
            ..ProcessIdentity::default()
        };
        let mut script =
            FakeTlsConn { conn, now: Ns(1_000_000_000), born: false, read_pos: 0, write_pos: 0, records: Vec::new() };
        script.push(Record::Process { tgid, start_ns: conn.start_ns, identity: Arc::new(identity) });
        script
    }

    /// The connection, of another life of the TLS object.
    #[must_use]
    pub fn generation(mut self, generation: u32) -> Self {
        self.conn.generation = generation;
        for owned in &mut self.records {
            if let Record::Open { conn, .. } = &mut owned.record {
                conn.generation = generation;
            }
        }
        self
    }

    /// Which connection.
    #[must_use]
    pub fn key(&self) -> ConnKey {
        self.conn
    }

    /// The stamp of the next call.
    #[must_use]
    pub fn now(&self) -> Ns {
        self.now
    }

    /// Time goes on from here.
    pub fn at(&mut self, now: Ns) -> &mut Self {
        self.now = now;
        self
    }

    /// Time passes.
    pub fn wait_ms(&mut self, ms: u64) -> &mut Self {
        self.now = Ns(self.now.0 + ms * 1_000_000);
        self
    }

    /// The application wrote `bytes` in one call.
    pub fn write(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.call(Direction::Write, bytes.as_ref(), bytes.as_ref().len(), None)
    }

    /// The application wrote `bytes` in a call that it entered at `entered` and that returns only
    /// now: what another thread read meanwhile is told of before.
    pub fn write_since(&mut self, entered: Ns, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.write(bytes);
        if let Some(OwnedRecord { record: Record::Data(data), .. }) = self.records.last_mut() {
            data.entered = entered;
        }
        self
    }

    /// The application read `bytes` in one call.
    pub fn read(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.call(Direction::Read, bytes.as_ref(), bytes.as_ref().len(), None)
    }

    /// A call of which only the first `kept` bytes were sent up.
    pub fn cut(&mut self, direction: Direction, bytes: impl AsRef<[u8]>, kept: usize, cause: LossCause) -> &mut Self {
        self.call(direction, bytes.as_ref(), kept, Some(cause))
    }

    /// A call of `bytes` bytes whose record found no room on the ring.
    pub fn lose(&mut self, direction: Direction, bytes: u64) -> &mut Self {
        *self.position(direction) += bytes;
        self.step()
    }

    /// The kernel's table was looked up: what was moved, or (`gone`) that the TLS object is no more.
    pub fn audited(&mut self, gone: bool) -> &mut Self {
        let moved = (!gone).then_some([self.read_pos, self.write_pos]);
        self.push(Record::Audited { conn: self.conn, at: self.now, moved });
        self.step()
    }

    /// One call for each piece, `ms` apart.
    pub fn read_each<B: AsRef<[u8]>>(&mut self, ms: u64, pieces: impl IntoIterator<Item = B>) -> &mut Self {
        for piece in pieces {
            self.wait_ms(ms).read(piece);
        }
        self
    }

    /// The application says goodbye.
    pub fn shutdown(&mut self) -> &mut Self {
        self.push(Record::Shutdown { conn: self.conn, at: self.now });
        self.step()
    }

    /// The peer's end: a goodbye (`clean`) or a reset.
    pub fn read_end(&mut self, clean: bool) -> &mut Self {
        self.push(Record::ReadEnd { conn: self.conn, at: self.now, clean });
        self.step()
    }

    /// The TLS object goes.
    pub fn close(&mut self) -> &mut Self {
        self.push(Record::Close { conn: self.conn, at: self.now, read_pos: self.read_pos, write_pos: self.write_pos });
        self.step()
    }

    /// The process ends.
    pub fn exit(&mut self) -> &mut Self {
        self.push(Record::Exit { tgid: self.conn.tgid, at: self.now });
        self.step()
    }

    /// What happened, in order.
    #[must_use]
    pub fn records(&self) -> &[OwnedRecord] {
        &self.records
    }

    /// The records of several connections in the order of their stamps.
    #[must_use]
    pub fn merge(scripts: &[FakeTlsConn]) -> Vec<OwnedRecord> {
        let mut all: Vec<OwnedRecord> = scripts.iter().flat_map(|script| script.records.iter().cloned()).collect();
        all.sort_by_key(OwnedRecord::at);
        all
    }

    fn call(&mut self, direction: Direction, bytes: &[u8], kept: usize, lost: Option<LossCause>) -> &mut Self {
        let pos = *self.position(direction);
        let data = TlsData {
            conn: self.conn,
            direction,
            at: self.now,
            entered: Ns(self.now.0.saturating_sub(500)),
            pos,
            call_len: u32::try_from(bytes.len()).unwrap_or(u32::MAX),
            offset: 0,
            born: self.born,
            lost,
            bytes: &[],
        };
        let bytes_up = bytes.get(..kept).unwrap_or(bytes).to_vec();
        self.records.push(OwnedRecord { record: Record::Data(data), bytes: bytes_up });
        *self.position(direction) += bytes.len() as u64;
        self.step()
    }

    fn position(&mut self, direction: Direction) -> &mut u64 {
        match direction {
            Direction::Read => &mut self.read_pos,
            Direction::Write => &mut self.write_pos,
        }
    }

    fn push(&mut self, record: Record<'static>) {
        self.records.push(OwnedRecord { record, bytes: Vec::new() });
    }

    fn step(&mut self) -> &mut Self {
        self.now = Ns(self.now.0 + 1_000);
        self
    }
}
