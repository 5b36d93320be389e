//! New executable mappings and exits on the whole host, as they happen: the kernel's own perf records, one small ring a CPU.
//!
//! Why perf records and not a system-call tracepoint: the latter slows every system call of every process; these cost only
//! the mappings of code, need no tracefs, and name the file and the address.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{Ordering, fence};

use crate::units::Ns;

/// A new executable mapping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    pub pid: u32,
    pub start: u64,
    pub end: u64,
    /// Path as the process sees it.
    pub path: String,
}

/// What the watch saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    Mapped(Mapping),
    /// A process replaced its program.
    Exec {
        pid: u32,
        /// Its new name (the kernel's `comm`).
        comm: String,
        at: Ns,
    },
    /// A process (not a thread of one) came into being.
    Forked {
        pid: u32,
        parent: u32,
    },
    /// A process (not a thread of one) ended.
    Ended {
        pid: u32,
    },
    /// The kernel dropped this many records: /proc has to be read again.
    Lost(u64),
}

/// The rings of all CPUs.
#[derive(Debug)]
pub struct Watch {
    rings: Vec<PerCpu>,
}

/// Data pages of one CPU's ring: 64 × 4 KiB hold about 2,500 records, more than a CPU maps in the 100 ms we promise.
const DATA_PAGES: usize = 64;
const PAGE: usize = 4096;

impl Watch {
    /// Opens a ring on every online CPU.
    ///
    /// # Errors
    /// `perf_event_open` is refused (needs CAP_PERFMON or CAP_SYS_ADMIN), or the memory cannot be mapped.
    pub fn open() -> io::Result<Self> {
        let cpus = aya::util::online_cpus().map_err(|(_, error)| error)?;
        let rings = cpus.into_iter().map(PerCpu::open).collect::<io::Result<_>>()?;
        Ok(Self { rings })
    }

    /// Descriptors that become readable when something was seen.
    pub fn fds(&self) -> impl Iterator<Item = RawFd> {
        self.rings.iter().map(|ring| ring.fd.as_raw_fd())
    }

    /// Takes all that waits. Births come first and replaced programs next: a process that went to another CPU may have its new
    /// mappings in a ring that is read before the one of its exec, or its exec in one before that of its parent.
    pub fn drain(&mut self, seen: &mut Vec<Seen>) {
        for ring in &mut self.rings {
            ring.drain(seen);
        }
        seen.sort_by_key(|seen| match seen {
            Seen::Forked { .. } => 0,
            Seen::Exec { .. } => 1,
            _ => 2,
        });
    }
}

#[derive(Debug)]
struct PerCpu {
    fd: OwnedFd,
    memory: *mut libc::c_void,
}

// SAFETY: the mapping belongs to this value alone; it is only moved, never shared.
unsafe impl Send for PerCpu {}

/// `struct perf_event_attr` as far as it is set (PERF_ATTR_SIZE_VER5); the kernel takes the rest as zero.
#[repr(C)]
#[derive(Default)]
struct Attributes {
    kind: u32,
    size: u32,
    config: u64,
    sample_period: u64,
    sample_type: u64,
    read_format: u64,
    flags: u64,
    wakeup_events: u32,
    bp_type: u32,
    config1: u64,
    config2: u64,
    branch_sample_type: u64,
    sample_regs_user: u64,
    sample_stack_user: u32,
    clockid: i32,
    sample_regs_intr: u64,
    aux_watermark: u32,
    sample_max_stack: u16,
    reserved: u16,
}

const PERF_TYPE_SOFTWARE: u32 = 1;
const PERF_COUNT_SW_DUMMY: u64 = 9;
const FLAG_MMAP: u64 = 1 << 8;
const FLAG_COMM: u64 = 1 << 9;
const FLAG_TASK: u64 = 1 << 13;
/// Every record ends with its time …
const FLAG_SAMPLE_ID_ALL: u64 = 1 << 18;
const SAMPLE_TIME: u64 = 1 << 2;
/// … on our clock.
const FLAG_USE_CLOCKID: u64 = 1 << 25;
const FLAG_WATERMARK: u64 = 1 << 14;
const FLAG_MMAP2: u64 = 1 << 23;
const FLAG_COMM_EXEC: u64 = 1 << 24;
const FLAG_FD_CLOEXEC: libc::c_ulong = 8;

const RECORD_MMAP: u32 = 1;
const RECORD_LOST: u32 = 2;
const RECORD_COMM: u32 = 3;
const RECORD_EXIT: u32 = 4;
const RECORD_FORK: u32 = 7;
/// `misc` of a COMM record that an exec caused.
const MISC_COMM_EXEC: u32 = 1 << 13;
const RECORD_MMAP2: u32 = 10;

/// Offsets of `data_head` and `data_tail` in `struct perf_event_mmap_page`.
const DATA_HEAD: usize = 1024;
const DATA_TAIL: usize = 1032;

impl PerCpu {
    fn open(cpu: u32) -> io::Result<Self> {
        let attributes = Attributes {
            kind: PERF_TYPE_SOFTWARE,
            size: u32::try_from(size_of::<Attributes>()).unwrap_or(0),
            config: PERF_COUNT_SW_DUMMY,
            sample_type: SAMPLE_TIME,
            flags: FLAG_MMAP
                | FLAG_MMAP2
                | FLAG_COMM
                | FLAG_COMM_EXEC
                | FLAG_TASK
                | FLAG_WATERMARK
                | FLAG_SAMPLE_ID_ALL
                | FLAG_USE_CLOCKID,
            clockid: libc::CLOCK_BOOTTIME,
            // Watermark in bytes: every record wakes us.
            wakeup_events: 1,
            ..Attributes::default()
        };
        // SAFETY: the attribute block is complete and its size stated.
        let fd =
            unsafe { libc::syscall(libc::SYS_perf_event_open, &raw const attributes, -1, cpu, -1, FLAG_FD_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        let fd = i32::try_from(fd).map_err(io::Error::other)?;
        // SAFETY: the kernel just gave us this descriptor.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let len = (DATA_PAGES + 1) * PAGE;
        // SAFETY: a fresh shared mapping of the descriptor.
        let memory = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                fd.as_raw_fd(),
                0,
            )
        };
        if memory == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { fd, memory })
    }

    fn drain(&mut self, seen: &mut Vec<Seen>) {
        let base = self.memory.cast::<u8>();
        // SAFETY: the control page and the data pages are mapped; head and tail follow the perf ring protocol (the kernel
        // writes up to head, and not past tail).
        let (head, mut tail) = unsafe {
            let head = base.add(DATA_HEAD).cast::<u64>().read_volatile();
            fence(Ordering::Acquire);
            (head, base.add(DATA_TAIL).cast::<u64>().read_volatile())
        };
        let mut record = Vec::new();
        while tail < head {
            self.copy(tail, 8, &mut record);
            let size = u64::from(u16::from_ne_bytes([byte(&record, 6), byte(&record, 7)]));
            if size < 8 {
                break;
            }
            self.copy(tail, size, &mut record);
            seen.extend(parse(&record));
            tail += size;
        }
        fence(Ordering::Release);
        // SAFETY: as above.
        unsafe { base.add(DATA_TAIL).cast::<u64>().write_volatile(head) };
    }

    /// Copies `len` bytes from ring position `at`, across its end if need be.
    fn copy(&self, at: u64, len: u64, to: &mut Vec<u8>) {
        to.clear();
        let ring = (DATA_PAGES * PAGE) as u64;
        // SAFETY: every offset is below the size of the data pages.
        to.extend((at..at + len).map(|i| unsafe {
            self.memory.cast::<u8>().add(PAGE + usize::try_from(i % ring).unwrap_or(0)).read_volatile()
        }));
    }
}

impl Drop for PerCpu {
    fn drop(&mut self) {
        // SAFETY: our own mapping, unmapped once.
        unsafe { libc::munmap(self.memory, (DATA_PAGES + 1) * PAGE) };
    }
}

/// One perf record. Layouts: include/uapi/linux/perf_event.h, `enum perf_event_type`.
fn parse(record: &[u8]) -> Option<Seen> {
    match u32_at(record, 0)? {
        RECORD_MMAP2 => mapping(record, 72),
        RECORD_MMAP => mapping(record, 40),
        RECORD_COMM if u32_at(record, 4)? & MISC_COMM_EXEC != 0 => {
            let at = Ns(u64_at(record, record.len().checked_sub(8)?)?);
            Some(Seen::Exec { pid: u32_at(record, 8)?, comm: text_at(record, 16)?, at })
        }
        RECORD_LOST => Some(Seen::Lost(u64_at(record, 16)?)),
        RECORD_EXIT => {
            let (pid, tid) = (u32_at(record, 8)?, u32_at(record, 16)?);
            (pid == tid).then_some(Seen::Ended { pid })
        }
        RECORD_FORK => {
            let (pid, parent) = (u32_at(record, 8)?, u32_at(record, 12)?);
            (pid != parent).then_some(Seen::Forked { pid, parent })
        }
        _ => None,
    }
}

fn mapping(record: &[u8], name_at: usize) -> Option<Seen> {
    let path = text_at(record, name_at)?;
    let (start, len) = (u64_at(record, 16)?, u64_at(record, 24)?);
    let end = start.checked_add(len)?;
    path.starts_with('/').then(|| Seen::Mapped(Mapping { pid: u32_at(record, 8).unwrap_or(0), start, end, path }))
}

/// The text up to the next zero byte.
fn text_at(record: &[u8], at: usize) -> Option<String> {
    let text = record.get(at..)?;
    Some(String::from_utf8_lossy(text.get(..text.iter().position(|b| *b == 0)?)?).into_owned())
}

fn byte(bytes: &[u8], at: usize) -> u8 {
    bytes.get(at).copied().unwrap_or(0)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}
