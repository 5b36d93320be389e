//! Bytes to records. The bytes may be anybody's: nothing here trusts a length or an index.

use std::io::{self, Read};
use std::sync::Arc;

use super::{
    AUDITED, CLOSE, DATA, EXIT, FLAG_BORN, FLAG_LOST, FLAG_PAYLOAD, JOINED, LAST_KIND, MAGIC, MAX_FRAME, OPEN, PROCESS,
    PayloadMode, READ_END, REMOTE, RecordingError, SEGMENT, SHUTDOWN, SOCK_CLOSE, SOCK_INFO, SOCK_OPEN, STARTED,
    UNKNOWN, VERSION, sock,
};
use capture::record::{ConnKey, Record, TlsData};
use capture::units::{Direction, LossCause, Ns};
use edge::identity::{K8sIdentity, ProcessIdentity};

const HEAD: usize = 20;

/// Reads a recording, one record at a time, in constant memory.
pub struct RecordingReader<R> {
    from: R,
    payload: PayloadMode,
    wall: i64,
    frame: Vec<u8>,
    offset: u64,
    cut: bool,
    skipped: u64,
}

impl<R: Read> RecordingReader<R> {
    /// Reads the head of a recording. Give it a buffered source.
    ///
    /// # Errors
    /// It is not a recording, or of a later format, or cannot be read.
    pub fn new(mut from: R) -> Result<Self, RecordingError> {
        let mut head = Vec::with_capacity(HEAD);
        from.by_ref().take(HEAD as u64).read_to_end(&mut head)?;
        let mut fields = FrameFields(&head);
        if fields.take(MAGIC.len()) != Some(MAGIC) {
            return Err(RecordingError::NotARecording);
        }
        let version = fields.u16().ok_or(RecordingError::NotARecording)?;
        if version != VERSION {
            return Err(RecordingError::Version(version));
        }
        let damaged = |what| RecordingError::Damaged { what, offset: 0 };
        let payload = match fields.u8() {
            Some(0) => PayloadMode::None,
            Some(1) => PayloadMode::Sse,
            Some(2) => PayloadMode::Full,
            _ => return Err(damaged("unknown payload mode")),
        };
        let _reserved = fields.u8();
        let wall = fields.u64().ok_or(damaged("no clock offset"))?.cast_signed();
        Ok(RecordingReader { from, payload, wall, frame: Vec::new(), offset: HEAD as u64, cut: false, skipped: 0 })
    }

    /// What it holds of the plaintext.
    #[must_use]
    pub fn payload(&self) -> PayloadMode {
        self.payload
    }

    /// Wall clock minus CLOCK_BOOTTIME of the recorded host, nanoseconds.
    #[must_use]
    pub fn wall(&self) -> i64 {
        self.wall
    }

    /// The file ended inside a frame: the recorder was killed, or the disk was full.
    #[must_use]
    pub fn cut(&self) -> bool {
        self.cut
    }

    /// Frames of kinds this program does not know.
    #[must_use]
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// The next record; `None` at the end.
    ///
    /// # Errors
    /// A frame is damaged, or the source cannot be read. Reading on makes no sense after either.
    pub fn next_record(&mut self) -> Result<Option<Record<'_>>, RecordingError> {
        loop {
            let offset = self.offset;
            let Some(kind) = self.next_frame()? else { return Ok(None) };
            if !(PROCESS..=LAST_KIND).contains(&kind) {
                self.skipped += 1;
                continue;
            }
            let damaged = RecordingError::Damaged { what: "a frame shorter than its kind", offset };
            return decode(kind, &self.frame).map(Some).ok_or(damaged);
        }
    }

    /// Reads a whole frame; its kind.
    fn next_frame(&mut self) -> Result<Option<u8>, RecordingError> {
        let offset = self.offset;
        if !self.fill(5)? {
            self.cut |= !self.frame.is_empty();
            return Ok(None);
        }
        let mut head = FrameFields(&self.frame);
        let (Some(kind), Some(len)) = (head.u8(), head.u32()) else { return Ok(None) };
        let len = usize::try_from(len).ok().filter(|&len| len <= MAX_FRAME);
        let len = len.ok_or(RecordingError::Damaged { what: "a frame longer than any", offset })?;
        if !self.fill(len)? {
            self.cut = true;
            return Ok(None);
        }
        Ok(Some(kind))
    }

    /// Reads `len` bytes into `frame`; false if the source ends before.
    fn fill(&mut self, len: usize) -> io::Result<bool> {
        self.frame.clear();
        let got = self.from.by_ref().take(len as u64).read_to_end(&mut self.frame)?;
        self.offset += got as u64;
        Ok(got == len)
    }
}

fn decode(kind: u8, frame: &[u8]) -> Option<Record<'_>> {
    let mut fields = FrameFields(frame);
    Some(match kind {
        PROCESS => {
            let (tgid, start_ns) = (fields.u32()?, fields.u64()?);
            Record::Process { tgid, start_ns, identity: Arc::new(who(tgid, &mut fields)?) }
        }
        OPEN => Record::Open { conn: fields.conn()?, at: fields.ns()? },
        DATA => Record::Data(moved(&mut fields)?),
        SHUTDOWN => Record::Shutdown { conn: fields.conn()?, at: fields.ns()? },
        READ_END => Record::ReadEnd { conn: fields.conn()?, at: fields.ns()?, clean: fields.u8()? != 0 },
        CLOSE => {
            Record::Close { conn: fields.conn()?, at: fields.ns()?, read_pos: fields.u64()?, write_pos: fields.u64()? }
        }
        AUDITED => {
            let (conn, at, moved) = (fields.conn()?, fields.ns()?, [fields.u64()?, fields.u64()?]);
            Record::Audited { conn, at, moved: (fields.u8()? != 0).then_some(moved) }
        }
        REMOTE => Record::Remote { conn: fields.conn()?, peer: sock::addr(&mut fields)? },
        JOINED => Record::Paired(sock::joined(&mut fields)?),
        SOCK_OPEN => Record::SockOpen(sock::open(&mut fields)?),
        SEGMENT => Record::Segment(sock::segment(&mut fields)?),
        SOCK_INFO => Record::SockInfo(sock::info(&mut fields)?),
        SOCK_CLOSE => {
            let (sock, at) = sock::close(&mut fields)?;
            Record::SockClose { sock, at }
        }
        STARTED => {
            let (known, tgid) = (fields.u8()? != 0, fields.u32()?);
            Record::Started { tgid: known.then_some(tgid), at: fields.ns()? }
        }
        EXIT => Record::Exit { tgid: fields.u32()?, at: fields.ns()? },
        _ => return None,
    })
}

fn moved<'a>(fields: &mut FrameFields<'a>) -> Option<TlsData<'a>> {
    let conn = fields.conn()?;
    let direction = if fields.u8()? == 0 { Direction::Read } else { Direction::Write };
    let (flags, cause) = (fields.u8()?, fields.u8()?);
    let (at, entered, pos) = (fields.ns()?, fields.ns()?, fields.u64()?);
    let (call_len, offset, size) = (fields.u32()?, fields.u32()?, fields.u32()?);
    let (bytes, lost) = left_out(fields, flags, cause, size)?;
    Some(TlsData { conn, direction, at, entered, pos, call_len, offset, born: flags & FLAG_BORN != 0, lost, bytes })
}

/// The payload of a frame, and why bytes are missing behind it: those left out of the recording are
/// a gap of the same size.
pub(super) fn left_out<'a>(
    fields: &mut FrameFields<'a>,
    flags: u8,
    cause: u8,
    size: u32,
) -> Option<(&'a [u8], Option<LossCause>)> {
    let with_payload = flags & FLAG_PAYLOAD != 0;
    let bytes = if with_payload { fields.take(usize::try_from(size).ok()?)? } else { &[] };
    let named = (flags & FLAG_LOST != 0).then(|| LossCause::ALL.get(usize::from(cause)).copied());
    let left_out = (!with_payload && size > 0).then_some(LossCause::Truncated);
    Some((bytes, left_out.or(named.flatten())))
}

fn who(pid: u32, fields: &mut FrameFields<'_>) -> Option<ProcessIdentity> {
    let mut identity = ProcessIdentity {
        pid,
        uid: None,
        comm: fields.text()?.unwrap_or_default(),
        exe: fields.text()?,
        service: fields.text()?.unwrap_or_default(),
        k8s: K8sIdentity {
            namespace: fields.text()?,
            workload: fields.text()?,
            pod: fields.text()?,
            container: fields.text()?,
            ..K8sIdentity::default()
        },
        container_id: fields.text()?,
    };
    // A file of an earlier version ends here.
    if let (Some(known), Some(uid)) = (fields.u8(), fields.u32()) {
        identity.uid = (known != 0).then_some(uid);
        identity.k8s.pod_uid = fields.text().flatten();
        identity.k8s.workload_kind = fields.text().flatten();
        identity.k8s.node = fields.text().flatten();
    }
    Some(identity)
}

/// What is left of a frame.
pub(super) struct FrameFields<'a>(&'a [u8]);

impl<'a> FrameFields<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub(super) fn ns(&mut self) -> Option<Ns> {
        self.u64().map(Ns)
    }

    pub(super) fn conn(&mut self) -> Option<ConnKey> {
        Some(ConnKey { handle: self.u64()?, start_ns: self.u64()?, tgid: self.u32()?, generation: self.u32()? })
    }

    /// `Some(None)`: a text that is not known. Bytes that are no UTF-8 are replaced.
    fn text(&mut self) -> Option<Option<String>> {
        let len = self.u16()?;
        if len == UNKNOWN {
            return Some(None);
        }
        Some(Some(String::from_utf8_lossy(self.take(usize::from(len))?).into_owned()))
    }
}
