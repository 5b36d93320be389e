//! The same for a socket: segments of chosen size and stamp, and a network that loses, swaps and repeats them.

use std::net::SocketAddr;
use std::sync::Arc;

use super::OwnedRecord;
use capture::identity::ProcessIdentity;
use capture::record::{ConnKey, Record, SockInfo, SockOpen, SocketCookie, SocketOrigin, TcpSegment};
use capture::units::{Direction, Ns};

/// One socket of process `tgid`. Time stands still until `wait_ms` moves it; each segment moves it by one microsecond.
#[derive(Clone)]
pub struct FakeSocket {
    open: SockOpen,
    now: Ns,
    /// Sequence number of the next byte, by direction (read, write).
    next: [u32; 2],
    records: Vec<OwnedRecord>,
}

impl FakeSocket {
    /// A socket whose birth is seen at second 1.
    #[must_use]
    pub fn new(tgid: u32, cookie: u64, peer: SocketAddr) -> Self {
        let mut cable = Self::mid_stream(tgid, cookie, peer);
        cable.open.attach = SocketOrigin::Born;
        cable.open.connect_at = Some(Ns(cable.now.0 - 1_000_000));
        cable.records.truncate(1);
        cable.push(Record::SockOpen(cable.open), &[]);
        for direction in [Direction::Write, Direction::Read] {
            cable.segment(direction, &[], |segment| segment.syn = true);
            *cable.seq(direction) += 1;
        }
        cable
    }

    /// A socket that was already open.
    #[must_use]
    pub fn mid_stream(tgid: u32, cookie: u64, peer: SocketAddr) -> Self {
        let start_ns = u64::from(tgid) * 1000;
        let now = Ns(1_000_000_000);
        let open = SockOpen {
            sock: SocketCookie(cookie),
            tgid,
            start_ns,
            local: None,
            peer,
            at: now,
            connect_at: None,
            attach: SocketOrigin::Mid,
        };
        let identity = ProcessIdentity {
            pid: tgid,
            comm: "app".into(),
            service: "app.service".into(),
            ..ProcessIdentity::default()
        };
        let mut cable = FakeSocket { open, now, next: [u32::MAX - 10, 77], records: Vec::new() };
        cable.push(Record::Process { tgid, start_ns, identity: Arc::new(identity) }, &[]);
        cable.push(Record::SockOpen(open), &[]);
        cable
    }

    /// The connection, for plain text.
    #[must_use]
    pub fn key(&self) -> ConnKey {
        self.open.conn()
    }

    /// The socket.
    #[must_use]
    pub fn sock(&self) -> SocketCookie {
        self.open.sock
    }

    /// The stamp of the next segment.
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

    /// Bytes to the peer, in segments of 1,400.
    pub fn write(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.send(Direction::Write, bytes.as_ref())
    }

    /// Bytes from the peer, in segments of 1,400.
    pub fn read(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.send(Direction::Read, bytes.as_ref())
    }

    /// The network loses these bytes from the peer; `again` brings them.
    pub fn lose(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        *self.seq(Direction::Read) = self.next[0].wrapping_add(u32::try_from(bytes.as_ref().len()).unwrap_or(0));
        self
    }

    /// Bytes from the peer that end `back` bytes before the latest come (again).
    pub fn again(&mut self, bytes: impl AsRef<[u8]>, back: u32) -> &mut Self {
        let bytes = bytes.as_ref();
        let seq = self.next[0].wrapping_sub(back).wrapping_sub(u32::try_from(bytes.len()).unwrap_or(0));
        self.segment(Direction::Read, bytes, |segment| segment.seq = seq)
    }

    /// Bytes from the peer, of which `missed` packets before were lost without a trace: they come again with these.
    pub fn read_after(&mut self, missed: u32, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.read_as(bytes.as_ref(), |segment| segment.missed = missed)
    }

    /// Bytes from the peer, whose timer may have run out before.
    pub fn read_late(&mut self, timed_out: bool, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.read_as(bytes.as_ref(), |segment| segment.timed_out = timed_out)
    }

    /// The next bytes from the peer, in one segment of this shape.
    fn read_as(&mut self, bytes: &[u8], shape: impl FnOnce(&mut TcpSegment<'_>)) -> &mut Self {
        self.segment(Direction::Read, bytes, shape).lose(bytes)
    }

    /// A segment to the peer that acknowledges all that came, what we have not seen included.
    pub fn acknowledge(&mut self) -> &mut Self {
        let ack = self.next[0];
        self.segment(Direction::Write, &[], |segment| segment.ack = Some(ack))
    }

    /// The latest bytes to the peer are sent again.
    pub fn write_again(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        let bytes = bytes.as_ref();
        let seq = self.next[1].wrapping_sub(u32::try_from(bytes.len()).unwrap_or(0));
        self.segment(Direction::Write, bytes, |segment| segment.seq = seq)
    }

    /// This side closes its window, or opens it.
    pub fn room(&mut self, room: bool) -> &mut Self {
        self.segment(Direction::Write, &[], |segment| segment.zero_window = !room)
    }

    /// A side ends in order.
    pub fn fin(&mut self, direction: Direction) -> &mut Self {
        self.segment(direction, &[], |segment| segment.fin = true)
    }

    /// A side breaks the connection.
    pub fn rst(&mut self, direction: Direction) -> &mut Self {
        self.segment(direction, &[], |segment| segment.rst = true)
    }

    /// What TCP knows.
    pub fn info(&mut self, srtt_us: u32, retransmits: u32) -> &mut Self {
        let info =
            SockInfo { sock: self.open.sock, at: self.now, srtt_us: Some(srtt_us), retransmits: Some(retransmits) };
        self.push(Record::SockInfo(info), &[])
    }

    /// The socket goes.
    pub fn close(&mut self) -> &mut Self {
        self.push(Record::SockClose { sock: self.open.sock, at: self.now }, &[])
    }

    /// Anything else that happens.
    pub fn and(&mut self, record: Record<'static>) -> &mut Self {
        self.push(record, &[])
    }

    /// What happened, in order.
    #[must_use]
    pub fn records(&self) -> &[OwnedRecord] {
        &self.records
    }

    fn send(&mut self, direction: Direction, bytes: &[u8]) -> &mut Self {
        for piece in bytes.chunks(1_400) {
            self.segment(direction, piece, |_| {});
            *self.seq(direction) = self.seq(direction).wrapping_add(u32::try_from(piece.len()).unwrap_or(0));
        }
        self
    }

    fn segment(&mut self, direction: Direction, bytes: &[u8], change: impl FnOnce(&mut TcpSegment<'_>)) -> &mut Self {
        let mut segment = TcpSegment {
            sock: self.open.sock,
            direction,
            at: self.now,
            seq: *self.seq(direction),
            len: u32::try_from(bytes.len()).unwrap_or(0),
            syn: false,
            fin: false,
            rst: false,
            zero_window: false,
            ack: None,
            missed: 0,
            timed_out: false,
            bytes: &[],
            lost: None,
        };
        change(&mut segment);
        self.push(Record::Segment(segment), bytes)
    }

    fn seq(&mut self, direction: Direction) -> &mut u32 {
        let [read, write] = &mut self.next;
        match direction {
            Direction::Read => read,
            Direction::Write => write,
        }
    }

    fn push(&mut self, record: Record<'static>, bytes: &[u8]) -> &mut Self {
        self.records.push(OwnedRecord { record, bytes: bytes.to_vec() });
        self.now = Ns(self.now.0 + 1_000);
        self
    }
}
