//! Names of programs, maps and globals: the loader and the object must agree, and a test compares them.

/// The ring to user space.
pub const MAP_RING: &str = "RING";
/// `ConnId` → `ConnState`.
pub const MAP_CONNS: &str = "CONNS";
/// Verdict slots: see `record::verdict_slot`.
pub const MAP_VERDICTS: &str = "VERDICTS";
/// Calls in progress.
pub const MAP_CALLS: &str = "CALLS";
/// `ConnId` of a box → `RecordKeys`.
pub const MAP_KEYS: &str = "KEYS";
/// Calls of goroutines in progress.
pub const MAP_GO_CALLS: &str = "GO_CALLS";
/// Socket cookie → `SockState`.
pub const MAP_SOCKS: &str = "SOCKS";
/// Marks of followed sockets, kept by the programs.
pub const MAP_MARKS: &str = "MARKS";
/// Marks of sockets that were open before, kept by the daemon.
pub const MAP_MID_MARKS: &str = "MID_MARKS";
/// Verdict slots of sockets: see `sock::verdict_slot`.
pub const MAP_SOCK_VERDICTS: &str = "SOCK_VERDICTS";
/// Processes that own TLS objects: whose exit is worth a record.
pub const MAP_OWNERS: &str = "OWNERS";
/// Marks of those who have most of a table: see `crowd`.
pub const MAP_CROWDED: &str = "CROWDED";
/// `counter::*` → u64.
pub const MAP_COUNTERS: &str = "COUNTERS";

/// Offset of `group_leader` in `task_struct`, from the kernel's BTF.
pub const GLOBAL_GROUP_LEADER: &str = "TASK_GROUP_LEADER";
/// Offset of `start_boottime` in `task_struct`, from the kernel's BTF.
pub const GLOBAL_START_BOOTTIME: &str = "TASK_START_BOOTTIME";
/// Offset of `signal` in `task_struct`, from the kernel's BTF.
pub const GLOBAL_SIGNAL: &str = "TASK_SIGNAL";
/// Offset of `live` in `signal_struct`, from the kernel's BTF.
pub const GLOBAL_SIGNAL_LIVE: &str = "SIGNAL_LIVE";
/// Thread group of the observer itself, whose own TLS is not its business.
pub const GLOBAL_SELF: &str = "SELF_TGID";
