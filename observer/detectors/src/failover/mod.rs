//! Failover: the same turn goes on at another host or model after an attempt failed, and what that
//! did to the answer: a refusal that was none before, settings that were lost, a user who saw half
//! an answer.
//!
//! An attempt is told by its turn (what people said so far, hashed) and by the program that makes
//! it. Hops inside one stream are told by what the gateway says of itself.
//! `observer/docs/detectors/failover.md` has the rules for operators.

mod attempt;
mod hop;
mod names;
mod outside;

use crate::metrics;
use std::collections::VecDeque;

use self::attempt::{FailoverAttempt, refused};
use self::hop::FailoverHop;
use self::outside::UnobservedCalls;
use super::common::program;
use super::config::{ConfigSection, thresholds, within};
use super::{Detector, DetectorOutput, RecentMap};
use capture::limits;
use capture::units::Ns;
use dialects::ProviderMark;
use dialects::prompt::Prompt;
use ledger::{CallEvent, CallEventKind, CallMilestone, CallOutcome, Entry};

use super::output::CallKey;

thresholds! {
    /// Thresholds of failover.
    pub struct Config, RawConfig {
        /// Longest time from a failure to the attempt that follows it.
        window_seconds: f64 = 30.0, within(0.1..=600.0);
        /// Longest time from giving up on a silent answer to the attempt that follows it.
        cancel_window_seconds: f64 = 2.0, within(0.1..=600.0);
        /// An answer that the application closed has failed if it was silent for so long.
        stall_seconds: f64 = 5.0, within(0.5..=600.0);
        /// Turns of the conversation that were not refused before a refusal is a flip.
        turns: u32 = 2, within(1..=8);
        /// A finding without another hop for so long is over.
        quiet_minutes: f64 = 60.0, within(1.0..=100_000.0);
    }
}

/// Turns of a conversation that are remembered.
const TURNS: usize = 8;

pub(crate) struct FailoverDetector {
    config: ConfigSection<Config>,
    /// Attempts at one turn, oldest first.
    places: RecentMap<Place, Vec<FailoverAttempt>>,
    /// Where an open call stands.
    open: RecentMap<CallKey, Place>,
    /// How the last turns of a conversation ended: provider, and whether it refused.
    talks: RecentMap<u64, VecDeque<(Box<str>, bool)>>,
    /// Calls of which only the shape is seen.
    outside: UnobservedCalls,
}

/// A turn of one program.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Place {
    who: Box<str>,
    turn: u64,
}

pub(crate) fn new(config: ConfigSection<Config>) -> FailoverDetector {
    FailoverDetector {
        config,
        places: RecentMap::new(limits::FAILOVER_PLACES),
        open: RecentMap::new(limits::OPEN_STREAMS),
        talks: RecentMap::new(limits::FAILOVER_PLACES),
        outside: UnobservedCalls::new(),
    }
}

impl Detector for FailoverDetector {
    fn on_call_event(&mut self, event: &CallEvent<'_>, out: &mut DetectorOutput<'_>) {
        let entry = event.entry;
        match event.what {
            CallEventKind::Opened if entry.shape => {
                if let Some(config) = self.config.on(&entry.identity.service).cloned() {
                    self.outside.opened(entry, &config, out);
                }
            }
            CallEventKind::Prompt(prompt) => self.asked(entry, prompt, out),
            CallEventKind::Chunk { .. } => {
                if let Some(attempt) = self.attempt(entry) {
                    attempt.chunk(entry);
                }
            }
            CallEventKind::First { milestone: CallMilestone::Visible, seconds } => self.visible(entry, seconds, out),
            CallEventKind::Closed => self.closed(entry, out),
            _ => {}
        }
    }

    fn judges_shapes(&self) -> bool {
        true
    }

    fn held(&self) -> usize {
        self.places.iter().map(|(_, attempts)| attempts.len()).sum::<usize>()
            + self.open.len()
            + self.talks.len()
            + self.outside.held()
    }

    fn forgotten(&self) -> u64 {
        self.places.forgotten() + self.open.forgotten() + self.talks.forgotten() + self.outside.forgotten()
    }
}

impl FailoverDetector {
    fn asked(&mut self, entry: &Entry, prompt: &Prompt, out: &mut DetectorOutput<'_>) {
        let Some(config) = self.config.on(&entry.identity.service).cloned() else { return };
        if prompt.truncated {
            return out.withheld("truncated_body");
        }
        let Some(turn) = prompt.turn else { return out.withheld("no_turn") };
        out.evaluated();
        let place = Place { who: program(entry), turn };
        // Nearly all turns are asked once, and thousands are remembered.
        let attempts = self.places.touch(place.clone(), || Vec::with_capacity(1));
        let attempt = FailoverAttempt::new(entry, prompt);
        let from = attempts.iter().rev().find(|from| from.failed_into(&attempt, &config)).cloned();
        attempts.push(attempt);
        if attempts.len() > limits::FAILOVER_ATTEMPTS {
            attempts.remove(0);
        }
        self.open.insert((entry.conn, entry.exchange), place);
        if let Some(from) = from {
            self.hop(entry, &from, &config, out);
        }
    }

    /// A hop to the newest attempt at the place of `entry`, or to that of `entry` itself.
    fn hop(&mut self, entry: &Entry, from: &FailoverAttempt, config: &Config, out: &mut DetectorOutput<'_>) {
        let Some(place) = self.open.get(&(entry.conn, entry.exchange)) else { return };
        let Some(attempts) = self.places.get_mut(place) else { return };
        let Some(to) = attempts.iter().find(|attempt| attempt.id == entry.id).cloned() else { return };
        let hop = FailoverHop::new(from, &to);
        if let Some(to) = attempts.iter_mut().find(|attempt| attempt.id == entry.id) {
            to.hop = Some(Box::new(from.clone()));
        }
        out.hop(entry, &from.id);
        hop.record(attempts, config, out);
    }

    fn attempt(&mut self, entry: &Entry) -> Option<&mut FailoverAttempt> {
        let place = self.open.get(&(entry.conn, entry.exchange))?;
        self.places.get_mut(place)?.iter_mut().find(|attempt| attempt.id == entry.id)
    }

    /// The user sees text again.
    fn visible(&mut self, entry: &Entry, seconds: f64, out: &mut DetectorOutput<'_>) {
        let Some(attempt) = self.attempt(entry) else { return };
        let Some(from) = &attempt.hop else { return };
        let since = from.last_visible.or(from.ended).unwrap_or(attempt.started);
        let gap = seconds + attempt.started.seconds_since(since);
        let subject = attempt.subject.clone();
        out.observe(metrics::FAILOVER_GAP.of(&subject, &[]), gap);
    }

    fn closed(&mut self, entry: &Entry, out: &mut DetectorOutput<'_>) {
        let Some(config) = self.config.on(&entry.identity.service).cloned() else { return };
        if entry.shape {
            return self.outside.closed(entry, &config, out);
        }
        self.inside(entry, &config, out);
        let Some(attempt) = self.attempt(entry) else { return };
        attempt.close(entry, &config);
        let attempt = attempt.clone();
        self.late(entry, &attempt, &config, out);
        if let Some(from) = &attempt.hop {
            self.landed(entry, &attempt, from, &config, out);
        }
        self.remember(entry, &attempt);
        self.open.remove(&(entry.conn, entry.exchange));
    }

    /// The application began elsewhere before the end of this attempt was heard of: it closed a
    /// silent attempt only then, or the end is told late (a broken connection, when its TLS object
    /// goes).
    fn late(&mut self, entry: &Entry, from: &FailoverAttempt, config: &Config, out: &mut DetectorOutput<'_>) {
        if from.failure.is_none() {
            return;
        }
        let Some(place) = self.open.get(&(entry.conn, entry.exchange)).cloned() else { return };
        let next = self.places.get(&place).and_then(|attempts| {
            attempts.iter().find(|to| {
                let took_over = from.failed_into(to, config) || from.abandoned_for(to, entry.last_activity, config);
                to.hop.is_none() && to.started > from.started && took_over
            })
        });
        let Some(to) = next.cloned() else { return };
        let hop = FailoverHop::new(from, &to);
        let Some(attempts) = self.places.get_mut(&place) else { return };
        if let Some(to) = attempts.iter_mut().find(|attempt| attempt.id == to.id) {
            to.hop = Some(Box::new(from.clone()));
        }
        out.hop_call(to.call, &from.id);
        hop.record(attempts, config, out);
    }

    /// What became of an attempt that was a hop.
    fn landed(
        &mut self,
        entry: &Entry,
        to: &FailoverAttempt,
        from: &FailoverAttempt,
        config: &Config,
        out: &mut DetectorOutput<'_>,
    ) {
        let hop = FailoverHop::new(from, to);
        if refused(entry) {
            let turns = from.conversation.and_then(|talk| self.talks.get(&talk));
            let before = turns.map_or(0, |turns| {
                turns
                    .iter()
                    .rev()
                    .take_while(|(provider, refused)| *provider == from.subject.provider && !refused)
                    .count()
            });
            if before >= config.turns as usize {
                hop.flipped(before, config, out);
            }
        }
        if entry.outcome == Some(CallOutcome::Complete) && hop.continued() && from.tools > 0 && entry.tool_chars == 0 {
            hop.tools_lost(config, out);
        }
    }

    fn remember(&mut self, entry: &Entry, attempt: &FailoverAttempt) {
        if entry.outcome != Some(CallOutcome::Complete) {
            return;
        }
        let Some(talk) = entry.conversation else { return };
        let turns = self.talks.touch(talk, VecDeque::new);
        turns.push_back((attempt.subject.provider.clone(), refused(entry)));
        while turns.len() > TURNS {
            turns.pop_front();
        }
    }

    /// Hops that a gateway made behind one stream.
    fn inside(&mut self, entry: &Entry, config: &Config, out: &mut DetectorOutput<'_>) {
        let first = entry.response_model.as_deref();
        let last_visible = self.attempt(entry).and_then(|attempt| attempt.last_visible);
        let mut upstream: Option<&str> = None;
        for said in &entry.marks {
            let (from, to) = match said.mark {
                ProviderMark::Model | ProviderMark::Fallback => (first.or(entry.request_model()), said.value.as_str()),
                ProviderMark::Upstream => (upstream.replace(&said.value), said.value.as_str()),
                _ => continue,
            };
            let same = |from: &str| names::family(from) == names::family(to);
            if said.mark == ProviderMark::Model && names::is_renaming(entry, said, last_visible) {
                continue;
            }
            if let Some(from) = from.filter(|from| !same(from)) {
                let subject = &entry.labels;
                let mid = entry.firsts.visible.is_some_and(|at| said.at.seconds_since(entry.started) > at);
                hop::inside(entry, subject, (from, to), mid, config, out);
            }
        }
    }
}

/// Milliseconds that two stamps of one moment may differ by.
const SLACK_NS: u64 = 500_000_000;

/// `to` began after `at`, or so little before that it may be after.
fn after(to: Ns, at: Ns) -> bool {
    to.0 + SLACK_NS >= at.0
}
