//! What becomes of a connection by what was asked on it: the verdict that the kernel is told.

use super::request_wait::RequestWait;
use super::{ConnSession, Stage, socket_of};
use crate::pipeline::context::SessionContext;
use crate::pipeline::router::{MessageRouter, PushOutcome};
use capture::limits;
use observer_common::record::Verdict;

impl ConnSession {
    pub(super) fn judge(&mut self, outcome: &PushOutcome, env: &mut SessionContext<'_>) {
        let tracked = self.verdict == Verdict::Track;
        if outcome.claimed {
            self.strangers = 0;
            return self.decide(Verdict::Track, env);
        }
        let kept = outcome.kept || !self.calls.exports.is_empty() || !self.calls.media.is_empty();
        if outcome.unknown || kept {
            (self.strangers, self.spoken) = (0, 0);
        }
        let wanted = kept || !self.calls.is_empty() || !self.calls.pending.is_empty();
        if wanted && self.verdict == Verdict::Heads {
            self.decide(Verdict::Unknown, env);
        }
        if tracked || !self.calls.is_empty() {
            return;
        }
        self.strangers = self.strangers.saturating_add(outcome.strangers);
        // A request that may yet be a call is followed however long it is.
        if self.calls.doubted() {
            return;
        }
        if self.strangers >= limits::NON_LLM_REQUESTS {
            return self.ignore(env);
        }
        let passed = outcome.unclaimed && self.calls.pending.is_empty();
        let too_long = self.waited > limits::UNCLAIMED_BYTES;
        let of_no_interest = if self.whole { self.spoken > limits::WHOLE_UNCLAIMED } else { passed || too_long };
        if of_no_interest {
            self.pass_over(env);
        }
    }

    /// What is spoken now is of no interest; what follows may be.
    fn pass_over(&mut self, env: &mut SessionContext<'_>) {
        let strangers = self.calls.pending.iter().filter(|asked| asked.stranger).count();
        self.strangers = self.strangers.saturating_add(u32::try_from(strangers).unwrap_or(u32::MAX));
        self.listen();
        self.decide(Verdict::Heads, env);
    }

    /// The parser cannot go on. A tracked connection may come back to us with its next request.
    pub(super) fn bury(&mut self, env: &mut SessionContext<'_>) {
        env.remote = self.remote;
        MessageRouter::new(&mut self.calls, self.exchanges, env).abandon(self.last);
        if self.verdict == Verdict::Track {
            self.listen();
        } else if matches!(self.stage, Stage::Parsing(_)) {
            self.ignore(env);
        }
    }

    fn listen(&mut self) {
        self.stage = Stage::AwaitingRequest(RequestWait::new(false));
        self.exchanges += limits::EXCHANGE_STEP;
        self.calls.forget();
        self.waited = 0;
    }

    pub(super) fn ignore(&mut self, env: &mut SessionContext<'_>) {
        self.stage = Stage::Ignored;
        self.closing = None;
        self.decide(Verdict::Ignore, env);
    }

    pub(super) fn decide(&mut self, verdict: Verdict, env: &mut SessionContext<'_>) {
        // `Heads` holds only until the application writes again, so it is said each time.
        if self.verdict == verdict && verdict != Verdict::Heads {
            return;
        }
        self.verdict = verdict;
        env.verdicts.push((env.key, verdict));
        if let Some(sock) = self.sock.filter(|_| verdict == Verdict::Track) {
            env.verdicts.push((socket_of(&env.key, sock), verdict));
        }
        match verdict {
            Verdict::Track => env.counters.tracked += 1,
            Verdict::Ignore => env.counters.ignored += 1,
            Verdict::Unknown | Verdict::Heads | Verdict::Ends => {}
        }
    }
}
