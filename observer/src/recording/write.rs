//! Records to bytes.

use std::io::{self, Write};

use super::{
    AUDITED, CLOSE, DATA, EXIT, FLAG_BORN, FLAG_LOST, FLAG_PAYLOAD, JOINED, MAGIC, OPEN, PROCESS, PayloadMode,
    READ_END, REMOTE, SEGMENT, SHUTDOWN, SOCK_CLOSE, SOCK_INFO, SOCK_OPEN, STARTED, UNKNOWN, VERSION, sock,
};
use capture::record::{ConnKey, Record, TlsData};
use capture::units::{Direction, LossCause};
use edge::identity::ProcessIdentity;

/// Writes a recording. Give it a buffered sink; `finish` flushes.
pub struct RecordingWriter<W> {
    to: W,
    with_payload: bool,
    body: Vec<u8>,
}

impl<W: Write> RecordingWriter<W> {
    /// Begins a recording. `wall`: wall clock minus CLOCK_BOOTTIME, nanoseconds.
    ///
    /// # Errors
    /// Those of the sink.
    pub fn new(mut to: W, payload: PayloadMode, wall: i64) -> io::Result<Self> {
        let code = match payload {
            PayloadMode::None => 0,
            PayloadMode::Sse => 1,
            PayloadMode::Full => 2,
        };
        to.write_all(MAGIC)?;
        to.write_all(&VERSION.to_le_bytes())?;
        to.write_all(&[code, 0])?;
        to.write_all(&wall.to_le_bytes())?;
        Ok(RecordingWriter { to, with_payload: payload != PayloadMode::None, body: Vec::new() })
    }

    /// Writes one record.
    ///
    /// # Errors
    /// Those of the sink.
    pub fn record(&mut self, record: &Record<'_>) -> io::Result<()> {
        let mut body = std::mem::take(&mut self.body);
        body.clear();
        let kind = encode(record, self.with_payload, &mut body);
        self.to.write_all(&[kind])?;
        self.to.write_all(&u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes())?;
        self.to.write_all(&body)?;
        self.body = body;
        Ok(())
    }

    /// Hands on what the sink has buffered.
    ///
    /// # Errors
    /// Those of the sink.
    pub fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }

    /// Flushes, and gives the sink back.
    ///
    /// # Errors
    /// Those of the sink.
    pub fn finish(mut self) -> io::Result<W> {
        self.to.flush()?;
        Ok(self.to)
    }
}

/// Puts the body of a record's frame down; its kind.
fn encode(record: &Record<'_>, with_payload: bool, body: &mut Vec<u8>) -> u8 {
    match record {
        Record::Process { tgid, start_ns, identity } => {
            body.extend_from_slice(&tgid.to_le_bytes());
            body.extend_from_slice(&start_ns.to_le_bytes());
            who(identity, body);
            PROCESS
        }
        Record::Open { conn, at } => plain(conn, &[at.0], body, OPEN),
        Record::Data(data) => moved(data, with_payload, body),
        Record::Shutdown { conn, at } => plain(conn, &[at.0], body, SHUTDOWN),
        Record::ReadEnd { conn, at, clean } => {
            plain(conn, &[at.0], body, READ_END);
            body.push(u8::from(*clean));
            READ_END
        }
        Record::Remote { conn, peer } => {
            key(conn, body);
            sock::put_addr(peer, body);
            REMOTE
        }
        Record::Close { conn, at, read_pos, write_pos } => plain(conn, &[at.0, *read_pos, *write_pos], body, CLOSE),
        Record::Audited { conn, at, moved } => {
            let [read, written] = moved.unwrap_or_default();
            plain(conn, &[at.0, read, written], body, AUDITED);
            body.push(u8::from(moved.is_some()));
            AUDITED
        }
        Record::Exit { tgid, at } => {
            body.extend_from_slice(&tgid.to_le_bytes());
            body.extend_from_slice(&at.0.to_le_bytes());
            EXIT
        }
        Record::Paired(paired) => {
            sock::put_joined(paired, body);
            JOINED
        }
        Record::SockOpen(open) => {
            sock::put_open(open, body);
            SOCK_OPEN
        }
        Record::Segment(segment) => {
            sock::put_segment(segment, with_payload, body);
            SEGMENT
        }
        Record::SockInfo(info) => {
            sock::put_info(info, body);
            SOCK_INFO
        }
        Record::SockClose { sock, at } => {
            sock::put_close(*sock, *at, body);
            SOCK_CLOSE
        }
        Record::Started { tgid, at } => {
            body.push(u8::from(tgid.is_some()));
            body.extend_from_slice(&tgid.unwrap_or(0).to_le_bytes());
            body.extend_from_slice(&at.0.to_le_bytes());
            STARTED
        }
    }
}

pub(super) fn cause_index(cause: Option<LossCause>) -> u8 {
    let index = cause.and_then(|cause| LossCause::ALL.iter().position(|&known| known == cause));
    index.and_then(|index| u8::try_from(index).ok()).unwrap_or(0)
}

fn plain(conn: &ConnKey, numbers: &[u64], body: &mut Vec<u8>, kind: u8) -> u8 {
    key(conn, body);
    numbers.iter().for_each(|n| body.extend_from_slice(&n.to_le_bytes()));
    kind
}

fn moved(data: &TlsData<'_>, with_payload: bool, body: &mut Vec<u8>) -> u8 {
    key(&data.conn, body);
    let flag = |on: bool, flag: u8| if on { flag } else { 0 };
    body.push(flag(data.direction == Direction::Write, 1));
    body.push(flag(data.born, FLAG_BORN) | flag(data.lost.is_some(), FLAG_LOST) | flag(with_payload, FLAG_PAYLOAD));
    body.push(cause_index(data.lost));
    for n in [data.at.0, data.entered.0, data.pos] {
        body.extend_from_slice(&n.to_le_bytes());
    }
    for n in [data.call_len, data.offset, u32::try_from(data.bytes.len()).unwrap_or(u32::MAX)] {
        body.extend_from_slice(&n.to_le_bytes());
    }
    if with_payload {
        body.extend_from_slice(data.bytes);
    }
    DATA
}

pub(super) fn key(conn: &ConnKey, body: &mut Vec<u8>) {
    body.extend_from_slice(&conn.handle.to_le_bytes());
    body.extend_from_slice(&conn.start_ns.to_le_bytes());
    body.extend_from_slice(&conn.tgid.to_le_bytes());
    body.extend_from_slice(&conn.generation.to_le_bytes());
}

fn who(identity: &ProcessIdentity, body: &mut Vec<u8>) {
    let ProcessIdentity { pid: _, uid, comm, exe, service, k8s, container_id } = identity;
    text(Some(comm), body);
    text(exe.as_ref(), body);
    text(Some(service), body);
    for part in [&k8s.namespace, &k8s.workload, &k8s.pod, &k8s.container, container_id] {
        text(part.as_ref(), body);
    }
    // Since uid and pod_uid are known, too; an older file ends before.
    body.push(u8::from(uid.is_some()));
    body.extend_from_slice(&uid.unwrap_or(0).to_le_bytes());
    for part in [&k8s.pod_uid, &k8s.workload_kind, &k8s.node] {
        text(part.as_ref(), body);
    }
}

/// A text longer than a path may be (4 KiB) is not known.
fn text(text: Option<&String>, body: &mut Vec<u8>) {
    let known = text.filter(|text| text.len() <= 4096);
    let len = known.and_then(|text| u16::try_from(text.len()).ok()).unwrap_or(UNKNOWN);
    body.extend_from_slice(&len.to_le_bytes());
    body.extend_from_slice(known.map_or(&[], |text| text.as_bytes()));
}
