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
    pub(super) fn above(&self, pid: u32) -> impl Iterator<Item = u32> + '_ {
        let parent = |pid: &u32| self.parents.get(pid).copied().or_else(|| asked(*pid)).filter(|parent| *parent > 1);
        std::iter::successors(parent(&pid), move |pid| parent(pid)).take(GENERATIONS)
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
        let above: Vec<u32> = family.above(GONE + 1).collect();
        assert_eq!(above.get(..2), Some([GONE, own].as_slice()), "{above:?}");
        assert_eq!(above.get(2).copied(), asked(own).filter(|parent| *parent > 1), "the rest is asked of /proc");
        family.born(GONE, GONE + 1);
        assert_eq!(family.above(GONE).count(), GENERATIONS, "a circle ends");
        family.ended(GONE + 1);
        assert_eq!(family.above(GONE + 1).count(), 0);
        (0..100_000).for_each(|pid| family.born(pid, 2));
        assert!(family.parents.len() <= MAX_BIRTHS);
    }
}
