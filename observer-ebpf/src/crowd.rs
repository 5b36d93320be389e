//! Who gets no more room in a table, since he has most of it.

use aya_ebpf::helpers::generated::{bpf_get_current_cgroup_id, bpf_get_current_uid_gid};
use observer_common::crowd;
use observer_common::record::counter;

use crate::maps::CROWDED;
use crate::task;

/// Why the current process finds no room where an entry could not be added, or may not be: an offset
/// of the lost counters.
#[inline(always)]
pub(crate) fn cause() -> u32 {
    if is_refused() { counter::OVER_SHARE } else { counter::TABLE_FULL }
}

/// Is the current process, its user or its cgroup marked? One look at an array where nobody is.
#[inline(always)]
pub(crate) fn is_refused() -> bool {
    let Some(marks) = CROWDED.get(0) else { return false };
    // SAFETY: a map value; the helpers have no preconditions.
    unsafe {
        if (marks as *const u64).read_volatile() == 0 {
            return false;
        }
        is_marked(crowd::process(task::ids().0))
            || is_marked(crowd::user(bpf_get_current_uid_gid() as u32))
            || is_marked(crowd::group(bpf_get_current_cgroup_id()))
    }
}

#[inline(always)]
fn is_marked(word: u64) -> bool {
    CROWDED.get(crowd::slot(word)).is_some_and(|mark| *mark == word)
}
