//! New executable mappings and exits on the whole host, as they happen: the kernel's own perf
//! records, one small ring a CPU.
//!
//! Why perf records and not a system-call tracepoint: the latter slows every system call of every
//! process; these cost only the mappings of code, need no tracefs, and name the file and the
//! address.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{Ordering, fence};

use aya_obj::generated::{
    PERF_FLAG_FD_CLOEXEC, perf_event_attr, perf_event_sample_format, perf_event_type, perf_sw_ids, perf_type_id,
};

use capture::units::Ns;

/// A new executable mapping.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct NewMapping {
    pub pid: u32,
    pub start: u64,
    pub end: u64,
    /// Path as the process sees it.
    pub path: String,
    /// Device (major, minor), inode and its generation as the kernel calls the file here; `stat`
    /// may say other ones.
    pub device: Option<(u32, u32)>,
    pub inode: Option<u64>,
    pub generation: u64,
    /// When it was mapped, or seen to be.
    pub at: Ns,
}

impl NewMapping {
    /// Device and inode as the kernel calls the file here.
    pub(super) fn file(&self) -> Option<((u32, u32), u64)> {
        self.device.zip(self.inode)
    }

    /// What the kernel calls the file, generation and all.
    pub(super) fn hint(&self) -> Option<((u32, u32), u64, u64)> {
        Some((self.device?, self.inode?, self.generation))
    }

    /// A file that we chose ourselves, since programs that come will likely map it.
    pub(super) fn is_our_guess(&self) -> bool {
        self.end == 0 && self.pid == std::process::id()
    }
}

/// What the watch saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum WatchEvent {
    Mapped(NewMapping),
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
pub(super) struct MappingWatch {
    rings: Vec<PerCpu>,
}

/// Data pages of one CPU's ring: 64 × 4 KiB hold about 2,500 records, more than a CPU maps in the
/// 100 ms we promise.
const DATA_PAGES: usize = 64;
const PAGE: usize = 4096;

impl MappingWatch {
    /// Opens a ring on every online CPU.
    ///
    /// # Errors
    /// `perf_event_open` is refused (needs CAP_PERFMON or CAP_SYS_ADMIN), or the memory cannot be mapped.
    pub(super) fn open() -> io::Result<Self> {
        let cpus = aya::util::online_cpus().map_err(|(_, error)| error)?;
        let rings = cpus.into_iter().map(PerCpu::open).collect::<io::Result<_>>()?;
        Ok(Self { rings })
    }

    /// Descriptors that become readable when something was seen, for a thread that only waits.
    pub(super) fn descriptors(&self) -> Vec<OwnedFd> {
        self.rings.iter().filter_map(|ring| ring.fd.try_clone().ok()).collect()
    }

    /// Takes all that waits. Births come first and replaced programs next: a process that went to
    /// another CPU may have its new mappings in a ring that is read before the one of its exec, or
    /// its exec in one before that of its parent.
    pub(super) fn drain(&mut self, seen: &mut Vec<WatchEvent>) {
        for ring in &mut self.rings {
            ring.drain(seen);
        }
        seen.sort_by_key(|seen| match seen {
            WatchEvent::Forked { .. } => 0,
            WatchEvent::Exec { .. } => 1,
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

/// Size that the kernel is told of its attributes: it takes a block that is longer than its own
/// only if the rest is zero.
const ATTRIBUTES: usize = size_of::<perf_event_attr>();

/// `misc` of a COMM record that an exec caused (PERF_RECORD_MISC_COMM_EXEC).
const MISC_COMM_EXEC: u32 = 1 << 13;

const MMAP: u32 = perf_event_type::PERF_RECORD_MMAP as u32;
const LOST: u32 = perf_event_type::PERF_RECORD_LOST as u32;
const COMM: u32 = perf_event_type::PERF_RECORD_COMM as u32;
const EXIT: u32 = perf_event_type::PERF_RECORD_EXIT as u32;
const FORK: u32 = perf_event_type::PERF_RECORD_FORK as u32;
const MMAP2: u32 = perf_event_type::PERF_RECORD_MMAP2 as u32;

/// What is asked of the kernel: the mappings of code, births, names and ends of all processes, each
/// with its time on our clock.
fn attributes() -> perf_event_attr {
    // SAFETY: plain numbers, for which zero is a value.
    let mut attributes: perf_event_attr = unsafe { std::mem::zeroed() };
    attributes.type_ = perf_type_id::PERF_TYPE_SOFTWARE as u32;
    attributes.size = u32::try_from(ATTRIBUTES).unwrap_or(0);
    attributes.config = perf_sw_ids::PERF_COUNT_SW_DUMMY as u64;
    attributes.sample_type = perf_event_sample_format::PERF_SAMPLE_TIME as u64;
    attributes.set_mmap(1);
    attributes.set_mmap2(1);
    attributes.set_comm(1);
    attributes.set_comm_exec(1);
    attributes.set_task(1);
    attributes.set_sample_id_all(1);
    attributes.set_use_clockid(1);
    attributes.clockid = libc::CLOCK_BOOTTIME;
    // Watermark in bytes: every record wakes us.
    attributes.set_watermark(1);
    attributes.__bindgen_anon_2.wakeup_watermark = 1;
    attributes
}

/// Offsets of `data_head` and `data_tail` in `struct perf_event_mmap_page`.
const DATA_HEAD: usize = 1024;
const DATA_TAIL: usize = 1032;

impl PerCpu {
    fn open(cpu: u32) -> io::Result<Self> {
        let attributes = attributes();
        let flags = libc::c_ulong::from(PERF_FLAG_FD_CLOEXEC);
        // SAFETY: the attribute block is complete and its size stated.
        let fd = unsafe { libc::syscall(libc::SYS_perf_event_open, &raw const attributes, -1, cpu, -1, flags) };
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

    fn drain(&mut self, seen: &mut Vec<WatchEvent>) {
        let base = self.memory.cast::<u8>();
        // SAFETY: the control page and the data pages are mapped; head and tail follow the perf
        // ring protocol (the kernel writes up to head, and not past tail).
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
fn parse(record: &[u8]) -> Option<WatchEvent> {
    match u32_at(record, 0)? {
        MMAP2 => mapping(record, MMAP2_NAME),
        MMAP => mapping(record, MMAP_NAME),
        COMM if u32_at(record, 4)? & MISC_COMM_EXEC != 0 => {
            let at = Ns(u64_at(record, record.len().checked_sub(8)?)?);
            Some(WatchEvent::Exec { pid: u32_at(record, 8)?, comm: text_at(record, 16)?, at })
        }
        LOST => Some(WatchEvent::Lost(u64_at(record, 16)?)),
        EXIT => {
            let (pid, tid) = (u32_at(record, 8)?, u32_at(record, 16)?);
            (pid == tid).then_some(WatchEvent::Ended { pid })
        }
        FORK => {
            let (pid, parent) = (u32_at(record, 8)?, u32_at(record, 12)?);
            (pid != parent).then_some(WatchEvent::Forked { pid, parent })
        }
        _ => None,
    }
}

fn mapping(record: &[u8], name_at: usize) -> Option<WatchEvent> {
    let path = text_at(record, name_at)?;
    let (start, len) = (u64_at(record, 16)?, u64_at(record, 24)?);
    let end = start.checked_add(len)?;
    let told = name_at == MMAP2_NAME;
    let mapping = NewMapping {
        pid: u32_at(record, 8).unwrap_or(0),
        start,
        end,
        path,
        device: u32_at(record, 40).zip(u32_at(record, 44)).filter(|_| told),
        inode: u64_at(record, 48).filter(|_| told),
        generation: u64_at(record, 56).filter(|_| told).unwrap_or(0),
        at: Ns(u64_at(record, record.len().checked_sub(8)?)?),
    };
    mapping.path.starts_with('/').then_some(WatchEvent::Mapped(mapping))
}

/// Where the names stand in the two records of a mapping.
const MMAP_NAME: usize = 40;
const MMAP2_NAME: usize = 72;

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
