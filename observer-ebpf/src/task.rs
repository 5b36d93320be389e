//! Facts of the current task.

use aya_ebpf::helpers::{bpf_get_current_pid_tgid, bpf_get_current_task, bpf_probe_read_kernel};

#[unsafe(no_mangle)]
static TASK_GROUP_LEADER: u32 = 0;
#[unsafe(no_mangle)]
static TASK_START_BOOTTIME: u32 = 0;
#[unsafe(no_mangle)]
static TASK_SIGNAL: u32 = 0;
#[unsafe(no_mangle)]
static SIGNAL_LIVE: u32 = 0;
#[unsafe(no_mangle)]
static SELF_TGID: u32 = 0;

/// (thread group, thread).
#[inline(always)]
pub(crate) fn ids() -> (u32, u32) {
    let both = bpf_get_current_pid_tgid();
    ((both >> 32) as u32, both as u32)
}

/// Is this the observer itself?
#[inline(always)]
pub(crate) fn is_self(tgid: u32) -> bool {
    tgid == global(&SELF_TGID)
}

/// The current task's address.
#[inline(always)]
pub(crate) fn current() -> u64 {
    // SAFETY: the helper has no preconditions.
    unsafe { bpf_get_current_task() }
}

/// A tick of the clock that `/proc/PID/stat` shows a start in: whoever reads it there must come to the same number.
const USER_TICK_NS: u64 = 10_000_000;

/// When the current process started, CLOCK_BOOTTIME ns, cut to a tick: with the pid it names a
/// process for good. 0 if unreadable. assumes: 5.5+ `struct task_struct { struct task_struct
/// *group_leader; u64 start_boottime; }`, offsets from the kernel's BTF.
#[inline(always)]
pub(crate) fn start_ns() -> u64 {
    // SAFETY: both reads go through the fault-tolerant helper.
    unsafe {
        let task = bpf_get_current_task() as *const u8;
        let Ok(leader) = bpf_probe_read_kernel(task.add(global(&TASK_GROUP_LEADER) as usize).cast::<*const u8>())
        else {
            return 0;
        };
        let start = bpf_probe_read_kernel(leader.add(global(&TASK_START_BOOTTIME) as usize).cast::<u64>()).unwrap_or(0);
        start / USER_TICK_NS * USER_TICK_NS
    }
}

/// Is the exiting thread the last of its process? The kernel counts a thread out before it tells of
/// its exit. If it cannot be read, the first thread's exit is taken for the process's end. assumes:
/// 5.8+ `struct task_struct { struct signal_struct *signal; }`, `struct signal_struct { atomic_t
/// live; }`.
#[inline(always)]
pub(crate) fn is_last() -> bool {
    // SAFETY: both reads go through the fault-tolerant helper.
    unsafe {
        let task = bpf_get_current_task() as *const u8;
        let live = bpf_probe_read_kernel(task.add(global(&TASK_SIGNAL) as usize).cast::<*const u8>())
            .and_then(|signal| bpf_probe_read_kernel(signal.add(global(&SIGNAL_LIVE) as usize).cast::<i32>()));
        match live {
            Ok(live) => live == 0,
            Err(_) => {
                let (tgid, tid) = ids();
                tgid == tid
            }
        }
    }
}

/// A global that the loader set: volatile, so that the compiler does not fold the value in the object.
#[inline(always)]
fn global(value: &'static u32) -> u32 {
    // SAFETY: a reference is always readable.
    unsafe { core::ptr::read_volatile(value) }
}
