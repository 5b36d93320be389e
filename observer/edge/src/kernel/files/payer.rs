//! Who pays for looking at a file.

use super::budget::BudgetPayer;

/// Who pays for looking at a file: whoever mapped it, or owns it if root did. A process with mounts
/// of its own (a container) pays for itself, whoever runs it.
pub(super) fn payer(pid: u32, owner: u32) -> BudgetPayer {
    let space = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/mnt")).ok();
    let own = space(&pid.to_string());
    if let Some(theirs) = own.filter(|theirs| space("self").is_some_and(|ours| ours != *theirs)) {
        return BudgetPayer::Mounts(theirs.to_string_lossy().into());
    }
    match uid(pid).unwrap_or(owner) {
        0 if owner == 0 => BudgetPayer::Root,
        0 => BudgetPayer::User(owner),
        user => BudgetPayer::User(user),
    }
}

/// The effective user: `Uid:` of proc(5), whose folder belongs to root where a process may not be dumped.
fn uid(pid: u32) -> Option<u32> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("Uid:"))?.split_ascii_whitespace().nth(1)?.parse().ok()
}
