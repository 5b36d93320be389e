//! `uprobe_multi` links by the kernel's own interface (include/uapi/linux/bpf.h): the aya that our
//! compiler can build has none (decision 0007).

use std::collections::HashMap;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use aya::Ebpf;
use aya::maps::Map;
use aya_obj::generated::{bpf_insn, bpf_prog_info};
use aya_obj::{Object, ProgramSection};

use super::caps::Capability;
use super::load::OBJECT;
use super::uprobes::failed;

/// Uprobe programs loaded for such links.
#[derive(Debug)]
pub(super) struct UprobeMulti {
    programs: HashMap<&'static str, Loaded>,
}

#[derive(Debug)]
struct Loaded {
    fd: OwnedFd,
    /// It runs when the function returns.
    at_return: bool,
}

const BPF_MAP_CREATE: libc::c_int = 0;
const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_OBJ_GET_INFO_BY_FD: libc::c_int = 15;
const BPF_LINK_CREATE: libc::c_int = 28;
const BPF_PROG_TYPE_KPROBE: u32 = 2;
const BPF_TRACE_UPROBE_MULTI: u32 = 48;
const BPF_F_UPROBE_MULTI_RETURN: u32 = 1;

/// `union bpf_attr` of BPF_PROG_LOAD, as far as it is set.
#[repr(C)]
#[derive(Default)]
struct ProgLoad {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; 16],
    prog_ifindex: u32,
    expected_attach_type: u32,
}

/// `union bpf_attr` of BPF_LINK_CREATE for a `uprobe_multi` link.
#[repr(C)]
#[derive(Default)]
struct LinkCreate {
    prog_fd: u32,
    target_fd: u32,
    attach_type: u32,
    flags: u32,
    path: u64,
    offsets: u64,
    ref_ctr_offsets: u64,
    cookies: u64,
    cnt: u32,
    multi_flags: u32,
    pid: u32,
    reserved: u32,
}

/// `union bpf_attr` of BPF_OBJ_GET_INFO_BY_FD.
#[repr(C)]
#[derive(Default)]
struct GetInfo {
    fd: u32,
    len: u32,
    info: u64,
}

const _: () = assert!(size_of::<ProgLoad>() == 72 && size_of::<LinkCreate>() == 64 && size_of::<GetInfo>() == 16);

/// `union bpf_attr` of BPF_MAP_CREATE, as far as it is set.
#[repr(C)]
#[derive(Default)]
struct MapCreate {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
}

/// What was tried, what the kernel asks for it, what it said.
pub(super) type AttachFailure = (&'static str, &'static [Capability], io::Error);

/// Whether this process may use BPF at all: a map of one entry, a program that does nothing.
///
/// # Errors
/// The first that the kernel refuses.
pub(super) fn trial() -> Result<(), AttachFailure> {
    const BPF_MAP_TYPE_ARRAY: u32 = 2;
    let map =
        MapCreate { map_type: BPF_MAP_TYPE_ARRAY, key_size: 4, value_size: 8, max_entries: 1, ..MapCreate::default() };
    const BOTH: &[Capability] = &[Capability::Bpf, Capability::Perfmon];
    descriptor(BPF_MAP_CREATE, &map).map_err(|error| ("bpf(), which makes maps,", BOTH, error))?;
    // r0 = 0; exit.
    let nothing: [u64; 2] = [0xb7, 0x95];
    let program = ProgLoad {
        prog_type: BPF_PROG_TYPE_KPROBE,
        insn_cnt: 2,
        insns: nothing.as_ptr() as u64,
        license: c"GPL".as_ptr() as u64,
        ..ProgLoad::default()
    };
    descriptor(BPF_PROG_LOAD, &program).map(drop).map_err(|error| ("bpf(), which loads programs,", BOTH, error))
}

/// Names of the object's maps that have more than `entries`.
#[must_use]
pub(super) fn large_maps(entries: u32) -> Vec<String> {
    let object = Object::parse(OBJECT).ok();
    let maps = object.iter().flat_map(|object| &object.maps);
    maps.filter(|(_, map)| map.max_entries() > entries).map(|(name, _)| name.clone()).collect()
}

impl UprobeMulti {
    /// Loads the named programs over the maps that `ebpf` made; `globals` as they were set there.
    ///
    /// # Errors
    /// The kernel knows no such links (before 6.6), or refuses a program.
    pub(super) fn load(ebpf: &Ebpf, globals: &[(&str, u32)], names: &[&'static str]) -> Result<Self, String> {
        let object = object(ebpf, globals)?;
        let programs = names.iter().map(|name| Ok((*name, loaded(&object, name)?))).collect::<Result<_, String>>()?;
        let multi = Self { programs };
        multi.try_out()?;
        Ok(multi)
    }

    /// Older kernels load the programs and refuse the link (EINVAL); one that knows such links gets
    /// as far as to find that a folder is no file to probe (EBADF). libbpf asks the same way.
    fn try_out(&self) -> Result<(), String> {
        let Some(name) = self.programs.keys().next() else { return Ok(()) };
        match self.attach(name, Path::new("/"), &[0]) {
            Err(error) if error.raw_os_error() == Some(libc::EBADF) => Ok(()),
            Err(error) => Err(error.to_string()),
            Ok(_) => Err("a folder could be probed".into()),
        }
    }

    /// Puts a program at offsets of a file, for every process: at all of them or none. Closing the
    /// link takes it away.
    ///
    /// # Errors
    /// What the kernel says.
    pub(super) fn attach(&self, name: &str, file: &Path, offsets: &[u64]) -> io::Result<OwnedFd> {
        let program = self.programs.get(name).ok_or_else(|| io::Error::other(format!("{name} is not loaded")))?;
        let path = CString::new(file.as_os_str().as_bytes())?;
        let attr = LinkCreate {
            prog_fd: raw(&program.fd)?,
            attach_type: BPF_TRACE_UPROBE_MULTI,
            path: path.as_ptr() as u64,
            offsets: offsets.as_ptr() as u64,
            cnt: u32::try_from(offsets.len()).map_err(io::Error::other)?,
            multi_flags: if program.at_return { BPF_F_UPROBE_MULTI_RETURN } else { 0 },
            ..LinkCreate::default()
        };
        descriptor(BPF_LINK_CREATE, &attr)
    }

    /// Nanoseconds spent in each program.
    pub(super) fn run_times(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        self.programs.iter().filter_map(|(name, program)| Some((*name, run_time(&program.fd)?)))
    }
}

/// The kernel object, tied to the maps that are there.
fn object(ebpf: &Ebpf, globals: &[(&str, u32)]) -> Result<Object, String> {
    let text = |error: &dyn std::error::Error| super::targets::chain(error);
    let mut object = Object::parse(OBJECT).map_err(|error| text(&error))?;
    let globals: HashMap<_, _> = globals.iter().map(|(name, value)| (*name, value.to_ne_bytes())).collect();
    let globals = globals.iter().map(|(name, bytes)| (*name, (&bytes[..], true))).collect();
    object.patch_map_data(globals).map_err(|error| text(&error))?;
    let maps = object.maps.clone();
    let made: HashMap<&str, RawFd> = ebpf.maps().filter_map(|(name, map)| Some((name, descriptor_of(map)?))).collect();
    let tied = maps.iter().filter_map(|(name, map)| Some((name.as_str(), *made.get(name.as_str())?, map)));
    let sections = object.functions.keys().map(|(section, _)| *section).collect();
    object.relocate_maps(tied, &sections).map_err(|error| text(&error))?;
    object.relocate_calls(&sections).map_err(|error| text(&error))?;
    Ok(object)
}

fn descriptor_of(map: &Map) -> Option<RawFd> {
    match map {
        Map::Array(data) | Map::HashMap(data) | Map::LruHashMap(data) | Map::RingBuf(data) | Map::PerCpuArray(data) => {
            Some(data.fd().as_fd().as_raw_fd())
        }
        _ => None,
    }
}

fn loaded(object: &Object, name: &'static str) -> Result<Loaded, String> {
    let program = object.programs.get(name).ok_or_else(|| format!("the object has no program {name}"))?;
    let function = object.functions.get(&program.function_key()).ok_or_else(|| format!("{name} has no code"))?;
    let mut prog_name = [0; 16];
    // The last byte stays zero.
    prog_name.iter_mut().take(15).zip(name.bytes()).for_each(|(to, from)| *to = from);
    let attr = ProgLoad {
        prog_type: BPF_PROG_TYPE_KPROBE,
        insn_cnt: u32::try_from(function.instructions.len()).map_err(|error| error.to_string())?,
        insns: function.instructions.as_ptr().cast::<bpf_insn>() as u64,
        license: program.license.as_ptr() as u64,
        prog_name,
        expected_attach_type: BPF_TRACE_UPROBE_MULTI,
        ..ProgLoad::default()
    };
    let fd = descriptor(BPF_PROG_LOAD, &attr).map_err(|error| format!("{name}: {error}"))?;
    Ok(Loaded { fd, at_return: matches!(program.section, ProgramSection::URetProbe { .. }) })
}

fn run_time(fd: &OwnedFd) -> Option<u64> {
    // SAFETY: plain numbers, for which zero is a value.
    let mut info: bpf_prog_info = unsafe { std::mem::zeroed() };
    let len = u32::try_from(size_of::<bpf_prog_info>()).ok()?;
    let attr = GetInfo { fd: raw(fd).ok()?, len, info: (&raw mut info) as u64 };
    // SAFETY: the attribute block is complete, and `info` has room for `len` bytes.
    (unsafe { bpf(BPF_OBJ_GET_INFO_BY_FD, &attr) } == 0).then_some(info.run_time_ns)
}

/// A command whose answer is a new descriptor.
fn descriptor<T>(command: libc::c_int, attr: &T) -> io::Result<OwnedFd> {
    // SAFETY: the attribute block is complete, what it points to outlives the call, and its size is
    // stated.
    let answer = unsafe { bpf(command, attr) };
    if answer < 0 {
        return Err(failed());
    }
    let fd = RawFd::try_from(answer).map_err(io::Error::other)?;
    // SAFETY: the kernel just gave us this descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// # Safety
/// `attr` must be the block of this command, and its pointers valid.
unsafe fn bpf<T>(command: libc::c_int, attr: &T) -> libc::c_long {
    // SAFETY: by the contract.
    unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attr), size_of::<T>()) }
}

fn raw(fd: &OwnedFd) -> io::Result<u32> {
    u32::try_from(fd.as_raw_fd()).map_err(io::Error::other)
}
