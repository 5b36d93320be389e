//! Whose child a process is: a program that an agent runs to check something is its grandchild as often as its child.

use std::collections::HashMap;
use std::fs;

/// Births remembered; beyond it all are forgotten, and /proc is asked.
const MAX_BIRTHS: usize = 16_384;

/// How far up it goes: an agent, a shell, a wrapper, the program.
const GENERATIONS: usize = 6;

/// Parents of processes, as they were when they were born: one that is gone cannot be asked any more.
#[derive(Debug, Default)]
pub(super) struct ProcessTree {
    parents: HashMap<u32, u32>,
}

impl ProcessTree {
    /// A process came into being.
    pub(super) fn born(&mut self, pid: u32, parent: u32) {
        if self.parents.len() >= MAX_BIRTHS {
            self.parents.clear();
        }
        self.parents.insert(pid, parent);
    }

    /// A process is gone; its children keep their own parents, but not what was above it.
    pub(super) fn ended(&mut self, pid: u32) {
        self.parents.remove(&pid);
    }

    /// Its parent, grandparent and so on, without the host's first processes.
    pub(super) fn above(&mut self, pid: u32) -> Vec<u32> {
        let mut above = Vec::with_capacity(GENERATIONS);
        let mut below = pid;
        while above.len() < GENERATIONS {
            let Some(parent) = self.parent(below).filter(|parent| *parent > 1) else { break };
            above.push(parent);
            below = parent;
        }
        above
    }

    /// One that was there before us is asked of /proc, once: a shell starts hundreds of programs.
    fn parent(&mut self, pid: u32) -> Option<u32> {
        if let Some(parent) = self.parents.get(&pid) {
            return Some(*parent);
        }
        let parent = asked(pid)?;
        self.born(pid, parent);
        Some(parent)
    }
}

/// Field 4 of `stat`, after the command name, which may hold anything.
pub(super) fn asked(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GONE: u32 = u32::MAX - 10;

    #[test]
    fn a_line_of_processes_is_followed_up_and_is_bounded() {
        let mut family = ProcessTree::default();
        let own = std::process::id();
        family.born(GONE, own);
        family.born(GONE + 1, GONE);
        let above = family.above(GONE + 1);
        assert_eq!(above.get(..2), Some([GONE, own].as_slice()), "{above:?}");
        assert_eq!(above.get(2).copied(), asked(own).filter(|parent| *parent > 1), "the rest is asked of /proc");
        family.born(GONE, GONE + 1);
        assert_eq!(family.above(GONE).len(), GENERATIONS, "a circle ends");
        family.ended(GONE + 1);
        assert!(family.above(GONE + 1).is_empty());
        (0..100_000).for_each(|pid| family.born(pid, 2));
        assert!(family.parents.len() <= MAX_BIRTHS);
    }
}
