//! After a loss: what no later record will tell.
//!
//! Lost bytes show by the next record of their direction. Where they were the last of a connection
//! that is kept open, or its end itself was lost, none comes. So after each loss the kernel's own
//! tables are looked up, and what they say is told once the ring has been emptied of all that was
//! in it or on its way then.

use capture::record::Record;
use capture::units::Ns;

/// Between two look-ups: a look-up is two system calls for each live connection.
const EVERY_NS: u64 = 5_000_000_000;

/// When to look, and what was found.
#[derive(Debug, Default)]
pub(super) struct MappingAudit {
    /// Calls lost by then.
    losses: u64,
    next: Ns,
    found: Vec<Record<'static>>,
    /// A tick has passed since: what a call had moved, but not told yet, is in the ring.
    ripe: bool,
}

impl MappingAudit {
    /// Time passed, with so many calls lost so far. True: look now, and say what was `found`.
    pub(super) fn due(&mut self, losses: u64, now: Ns) -> bool {
        self.ripe = !self.found.is_empty();
        let due = losses != self.losses && now >= self.next && self.found.is_empty();
        if due {
            self.losses = losses;
            self.next = Ns(now.0.saturating_add(EVERY_NS));
        }
        due
    }

    /// What the tables said.
    pub(super) fn found(&mut self, found: Vec<Record<'static>>) {
        (self.found, self.ripe) = (found, false);
    }

    /// The ring is empty: what can be told now.
    pub(super) fn emit(&mut self) -> Vec<Record<'static>> {
        if std::mem::take(&mut self.ripe) { std::mem::take(&mut self.found) } else { Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use capture::record::SocketCookie;

    #[test]
    fn a_loss_is_looked_into_once_and_told_when_the_ring_has_run_empty() {
        let mut audit = MappingAudit::default();
        assert!(!audit.due(0, Ns(1)), "nothing was lost");
        assert!(audit.due(3, Ns(2)));
        audit.found(vec![Record::SockClose { sock: SocketCookie(1), at: Ns(2) }]);
        assert!(audit.emit().is_empty(), "what was on its way is not in the ring yet");
        assert!(!audit.due(4, Ns(3)));
        assert_eq!(audit.emit().len(), 1);
        assert!(!audit.due(4, Ns(4)), "not so soon");
        assert!(audit.due(4, Ns(2 + EVERY_NS)));
        assert!(!audit.due(4, Ns(u64::MAX)), "that loss was looked into");
    }
}
