//! How much of the daemon's time strangers' files may take. Pure: time is an argument.

use std::collections::HashMap;

use capture::units::Ns;

/// What one payer may spend at once, and how fast that comes back.
struct PayerAllowance {
    /// Nanoseconds of CPU that may be spent at once.
    most: u64,
    /// Nanoseconds of CPU that come back each second.
    per_second: u64,
}

/// Who pays for the time that a file takes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum BudgetPayer {
    /// The host itself.
    Root,
    /// A user of the host.
    User(u32),
    /// Processes with mounts of their own, by the name of their mount namespace.
    Mounts(Box<str>),
}

/// Files of root: distributions, images. A node that starts has a few thousand new files, at about a millisecond each.
const ROOT: PayerAllowance = PayerAllowance { most: 30_000_000_000, per_second: 250_000_000 };

/// Files of anybody else, containers among them: a thousand files of an image are a second; who has more of them waits.
const OTHERS: PayerAllowance = PayerAllowance { most: 1_500_000_000, per_second: 30_000_000 };

/// What a container's start takes is far below this, nanoseconds of CPU.
const GREEDY_NS: u64 = 200_000_000;

/// Payers remembered; beyond it those that owe least are forgotten. Whoever may make user namespaces can be many.
const MAX_PAYERS: usize = 1024;

/// All payers but root together, so that one with many names is no more than one with a few.
const TOGETHER: PayerAllowance = PayerAllowance { most: 10_000_000_000, per_second: 100_000_000 };

/// Time spent and not yet come back.
#[derive(Clone, Copy, Debug, Default)]
struct TimeDebt {
    spent: u64,
    at: Ns,
}

impl TimeDebt {
    fn now(self, purse: &PayerAllowance, now: Ns) -> u64 {
        self.spent.saturating_sub(scaled(purse.per_second, now - self.at, SECOND))
    }

    fn wait(self, purse: &PayerAllowance, now: Ns) -> u64 {
        let over = self.now(purse, now).saturating_sub(purse.most);
        scaled(over, SECOND, purse.per_second)
    }
}

const SECOND: u64 = 1_000_000_000;

/// `value` × `by` / `over`.
fn scaled(value: u64, by: u64, over: u64) -> u64 {
    u64::try_from(u128::from(value) * u128::from(by) / u128::from(over.max(1))).unwrap_or(u64::MAX)
}

/// What every payer's files have cost.
#[derive(Debug, Default)]
pub(super) struct FileTimeBudget {
    root: TimeDebt,
    others: HashMap<BudgetPayer, TimeDebt>,
    together: TimeDebt,
}

impl FileTimeBudget {
    /// How long a file of this payer has to wait, nanoseconds; `None`: it may be examined now.
    pub(super) fn wait(&self, payer: &BudgetPayer, now: Ns) -> Option<u64> {
        let wait = if *payer == BudgetPayer::Root {
            self.root.wait(&ROOT, now)
        } else {
            let own = self.others.get(payer).map_or(0, |debt| debt.wait(&OTHERS, now));
            own.max(self.together.wait(&TOGETHER, now))
        };
        (wait > 0).then_some(wait)
    }

    /// Has this payer's looking taken so much lately that it should not come before the pipeline's work?
    pub(super) fn is_greedy(&self, payer: &BudgetPayer, now: Ns) -> bool {
        self.others.get(payer).is_some_and(|debt| debt.now(&OTHERS, now) > GREEDY_NS)
    }

    /// A file of this payer took so much CPU.
    pub(super) fn spend(&mut self, payer: BudgetPayer, cpu_ns: u64, now: Ns) {
        let add = |debt: &mut TimeDebt, purse: &PayerAllowance| {
            *debt = TimeDebt { spent: debt.now(purse, now) + cpu_ns, at: now }
        };
        if payer == BudgetPayer::Root {
            return add(&mut self.root, &ROOT);
        }
        if self.others.len() >= MAX_PAYERS {
            self.others.retain(|_, debt| debt.now(&OTHERS, now) > OTHERS.most / 2);
        }
        if self.others.len() < MAX_PAYERS {
            add(self.others.entry(payer).or_default(), &OTHERS);
        }
        add(&mut self.together, &TOGETHER);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    #[test]
    fn a_payer_that_spent_too_much_waits_and_nobody_else_does() {
        let mut budget = FileTimeBudget::default();
        let user = BudgetPayer::User;
        budget.spend(user(1000), OTHERS.most + S, Ns(S));
        let wait = budget.wait(&user(1000), Ns(S)).expect("it is over");
        assert_eq!(wait, S * S / OTHERS.per_second, "one second over");
        assert!(budget.is_greedy(&user(1000), Ns(S)) && !budget.is_greedy(&user(1001), Ns(S)));
        assert_eq!((budget.wait(&user(1001), Ns(S)), budget.wait(&BudgetPayer::Root, Ns(S))), (None, None));
        assert_eq!(budget.wait(&user(1000), Ns(S + wait + S)), None, "it came back");
    }

    #[test]
    fn many_payers_are_no_more_than_a_few() {
        let mut budget = FileTimeBudget::default();
        let space = |number: u64| BudgetPayer::Mounts(format!("mnt:[{number}]").into());
        (1000..1022).for_each(|number| budget.spend(space(number), S, Ns(S)));
        assert!(budget.wait(&space(2000), Ns(S)).is_some());
        assert_eq!(budget.wait(&BudgetPayer::Root, Ns(S)), None);
        (0..100_000).for_each(|number| budget.spend(space(number), S, Ns(S)));
        assert!(budget.others.len() <= MAX_PAYERS);
    }
}
