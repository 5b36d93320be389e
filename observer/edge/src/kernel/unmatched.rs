//! TLS sockets that carried a request which no probed write fits: traffic that passes another stack
//! than the one that is probed, if any is. Pure: what the pairing of both layers knows goes in, how many
//! there are of each process comes out.
//!
//! A socket is judged once its request was answered and some time has passed: one that is young, or
//! whose handshake is under way, is not.

use std::collections::{HashMap, VecDeque};

use capture::units::Ns;

/// A socket is judged so long after its answer began: the write that it carried has returned and
/// come up by then, the write's thread being off its CPU for some time slices included.
const JUDGED_AFTER_NS: u64 = 2_000_000_000;

/// Sockets kept, of either kind: as many as the pairing knows. Of one more that is answered at the same time
/// nothing is said; one more that was judged cannot be taken back.
const MAX_SOCKETS: usize = 65_536;

/// The sockets of the host that no write fits, or may not.
#[derive(Debug, Default)]
pub(super) struct UnmatchedSockets {
    /// Answered requests, the oldest first.
    answered: VecDeque<AnsweredRequest>,
    /// Those that were judged, with their process.
    unmatched: HashMap<u64, u32>,
    /// Those that a write turned out to fit after they were judged.
    cleared: Vec<u32>,
}

#[derive(Clone, Copy, Debug)]
struct AnsweredRequest {
    cookie: u64,
    tgid: u32,
    at: Ns,
}

/// One socket more or less of a process that no write fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MatchChange {
    Unmatched(u32),
    Matched(u32),
}

impl UnmatchedSockets {
    /// The peer answers a request on a TLS socket.
    pub(super) fn answered(&mut self, cookie: u64, tgid: u32, at: Ns) {
        if self.answered.len() < MAX_SOCKETS {
            self.answered.push_back(AnsweredRequest { cookie, tgid, at });
        }
    }

    /// A write fits this socket.
    pub(super) fn matched(&mut self, cookie: u64) {
        self.cleared.extend(self.unmatched.remove(&cookie));
    }

    /// What is new by `now`. `is_matched`: a write fits the socket.
    pub(super) fn judge(&mut self, now: Ns, is_matched: impl Fn(u64) -> bool) -> Vec<MatchChange> {
        let mut changes: Vec<_> = self.cleared.drain(..).map(MatchChange::Matched).collect();
        while let Some(request) = self.answered.front().copied().filter(|one| now - one.at >= JUDGED_AFTER_NS) {
            self.answered.pop_front();
            if is_matched(request.cookie) || self.unmatched.contains_key(&request.cookie) {
                continue;
            }
            // One that finds no place is told as well, or one process could take the places of all others.
            if self.unmatched.len() < MAX_SOCKETS {
                self.unmatched.insert(request.cookie, request.tgid);
            }
            changes.push(MatchChange::Unmatched(request.tgid));
        }
        changes
    }

    /// The process is gone.
    pub(super) fn exited(&mut self, tgid: u32) {
        self.answered.retain(|one| one.tgid != tgid);
        self.unmatched.retain(|_, owner| *owner != tgid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn only_what_was_answered_a_while_ago_and_fits_no_write_is_told() {
        let mut sockets = UnmatchedSockets::default();
        sockets.answered(1, 7, Ns(0));
        sockets.answered(2, 8, Ns(0));
        sockets.answered(3, 7, Ns(1_500 * MS));
        assert_eq!(sockets.judge(Ns(1_999 * MS), |_| false), [], "young");
        assert_eq!(sockets.judge(Ns(2_000 * MS), |cookie| cookie == 2), [MatchChange::Unmatched(7)]);
        assert_eq!(sockets.judge(Ns(4_000 * MS), |_| false), [MatchChange::Unmatched(7)], "the later one");
        assert_eq!(sockets.judge(Ns(9_000 * MS), |_| false), [], "each once");
    }

    #[test]
    fn a_socket_that_a_later_write_fits_is_taken_back() {
        let mut sockets = UnmatchedSockets::default();
        sockets.answered(1, 7, Ns(0));
        sockets.matched(1);
        assert_eq!(sockets.judge(Ns(3_000 * MS), |_| false), [MatchChange::Unmatched(7)]);
        sockets.matched(1);
        sockets.matched(1);
        assert_eq!(sockets.judge(Ns(3_000 * MS), |_| false), [MatchChange::Matched(7)]);
    }

    #[test]
    fn one_process_does_not_take_the_places_of_all_others() {
        let mut sockets = UnmatchedSockets::default();
        for cookie in 0..MAX_SOCKETS as u64 {
            sockets.answered(cookie, 7, Ns(0));
        }
        assert_eq!(sockets.judge(Ns(3_000 * MS), |_| false).len(), MAX_SOCKETS);
        sockets.answered(u64::MAX, 8, Ns(3_000 * MS));
        assert_eq!(sockets.judge(Ns(6_000 * MS), |_| false), [MatchChange::Unmatched(8)]);
        assert!(sockets.unmatched.len() <= MAX_SOCKETS);
    }

    #[test]
    fn the_host_cannot_make_it_grow_and_ended_processes_leave_nothing() {
        let mut sockets = UnmatchedSockets::default();
        for cookie in 0..200_000u32 {
            sockets.answered(cookie.into(), cookie % 9, Ns(0));
        }
        assert_eq!(sockets.judge(Ns(3_000 * MS), |_| false).len(), MAX_SOCKETS);
        (0..9).for_each(|tgid| sockets.exited(tgid));
        assert!(sockets.answered.is_empty() && sockets.unmatched.is_empty());
    }
}
