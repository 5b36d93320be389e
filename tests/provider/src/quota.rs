//! Accounts with limits: what each scenario's requests used up in the present window.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::headers::Left;
use crate::script::{Quota, Tokens};

/// The window of each scenario's account.
#[derive(Default)]
pub(crate) struct Windows {
    open: HashMap<String, Window>,
}

struct Window {
    since: Instant,
    requests: u64,
    tokens: u64,
}

impl Windows {
    /// A request arrives now, and will use `usage` if there is enough.
    pub(crate) fn take(&mut self, account: &str, quota: Quota, usage: Tokens) -> Left {
        self.take_at(account, quota, usage, Instant::now())
    }

    fn take_at(&mut self, account: &str, quota: Quota, usage: Tokens, now: Instant) -> Left {
        let length = Duration::from_micros(quota.window_us);
        let fresh = || Window { since: now, requests: 0, tokens: 0 };
        let window = self.open.entry(account.to_owned()).or_insert_with(fresh);
        if now.duration_since(window.since) >= length {
            *window = fresh();
        }
        let tokens = usage.input + usage.output;
        let exceeded = window.requests >= quota.requests || window.tokens + tokens > quota.tokens;
        if !exceeded {
            window.requests += 1;
            window.tokens += tokens;
        }
        Left {
            requests: (quota.requests - window.requests, quota.requests),
            tokens: (quota.tokens - window.tokens, quota.tokens),
            reset: length.saturating_sub(now.duration_since(window.since)),
            exceeded,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_used_up_and_comes_back() {
        let quota = Quota { requests: 2, tokens: 100, window_us: 1_000_000 };
        let usage = Tokens { input: 30, output: 10, ..Tokens::default() };
        let (mut windows, begin) = (Windows::default(), Instant::now());
        let mut take = |ms| {
            let left = windows.take_at("a", quota, usage, begin + Duration::from_millis(ms));
            (left.requests.0, left.tokens.0, left.reset.as_millis(), left.exceeded)
        };
        assert_eq!(take(0), (1, 60, 1000, false));
        assert_eq!(take(100), (0, 20, 900, false));
        assert_eq!(take(200), (0, 20, 800, true));
        assert_eq!(take(1000), (1, 60, 1000, false));
    }
}
