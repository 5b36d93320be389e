//! Stale tool results: how old what the answer rests on is, and what a prompt cache has to do with
//! it (nothing: the application sends the same bytes again). And prompt caches that fall off a
//! cliff.
//!
//! `observer/docs/detectors/stale_results.md` has the rules for operators.

use crate::metrics;
use ledger::CallLabels;
use std::collections::{BTreeMap, VecDeque};

use super::common::{median, place, quiet_ns};
use super::config::{ConfigSection, any, thresholds, within};
use super::output::CallKey;
use super::{Detector, DetectorOutput, FindingReport, FindingSeverity, RecentMap, number};
use crate::subject::Subject;
use capture::hash::mix;
use capture::limits;
use capture::units::Ns;
use dialects::finish::{self, FinishClass};
use dialects::prompt::Prompt;
use ledger::{CallEvent, CallEventKind, CallOutcome, Entry};

thresholds! {
    /// Thresholds of stale results.
    pub struct Config, RawConfig {
        /// Seconds for which a tool's result is fresh, by name; `*` for all others. Without one, a
        /// tool is judged by how often its results are seen to change.
        freshness_seconds: BTreeMap<String, f64> = BTreeMap::new(), any;
        /// Changes of a tool's results before its rhythm is known.
        changes: u32 = 3, within(1..=1000);
        /// Answers that rest on stale results, within an hour, before it is told.
        reuses: u32 = 2, within(1..=1000);
        /// Cached tokens from which on losing them is a cliff; cliffs of one kind within an hour before it is told.
        cached_tokens: u64 = 1024, within(1..=100_000_000);
        cliffs: u32 = 3, within(1..=1000);
        quiet_minutes: f64 = 60.0, within(1.0..=100_000.0);
    }
}

/// A cache of the usual kind forgets after so long without a hit.
const CACHE_LIFE_SECONDS: f64 = 300.0;

const HOUR_NS: u64 = 3_600_000_000_000;

/// Intervals of change that are kept of one tool.
const INTERVALS: usize = 16;

/// A result, when it was first seen.
#[derive(Clone, Copy, Debug)]
struct SeenResult {
    at: Ns,
    content: u64,
}

/// One tool of one service.
#[derive(Debug, Default)]
struct Tool {
    /// Seconds after which the same call gave another result.
    intervals: VecDeque<f64>,
    reuses: VecDeque<(Ns, String)>,
}

/// An open call.
#[derive(Debug)]
struct OpenStaleCheck {
    /// Tools whose results it has from before people spoke last and did not call again, with the age of the newest.
    old: Vec<(Box<str>, f64)>,
    chain: Option<u64>,
    prefix: u64,
    known: Vec<u64>,
}

/// What a conversation's last answer said of its cache.
#[derive(Clone, Copy, Debug)]
struct Cache {
    at: Ns,
    cached: u64,
    chain: Option<u64>,
    prefix: u64,
}

/// When each of the latest cliffs was seen, and the call's id.
type Cliffs = VecDeque<(Ns, String)>;

pub(crate) struct StaleResultDetector {
    config: ConfigSection<Config>,
    results: RecentMap<(Box<str>, u64), SeenResult>,
    /// The last result of the same call: (program, tool, arguments).
    calls: RecentMap<(Box<str>, u64), SeenResult>,
    tools: RecentMap<(Box<str>, Box<str>), Tool>,
    live: RecentMap<CallKey, OpenStaleCheck>,
    caches: RecentMap<u64, Cache>,
    cliffs: RecentMap<(Subject, &'static str), Cliffs>,
}

pub(crate) fn new(config: ConfigSection<Config>) -> StaleResultDetector {
    StaleResultDetector {
        config,
        results: RecentMap::new(limits::RETRY_GROUPS),
        calls: RecentMap::new(limits::RETRY_GROUPS),
        tools: RecentMap::new(limits::TOOLS),
        live: RecentMap::new(limits::OPEN_STREAMS),
        caches: RecentMap::new(limits::FAILOVER_PLACES),
        cliffs: RecentMap::new(limits::CHUNK_KEYS),
    }
}

impl Detector for StaleResultDetector {
    fn on_call_event(&mut self, event: &CallEvent<'_>, out: &mut DetectorOutput<'_>) {
        let entry = event.entry;
        match event.what {
            CallEventKind::Prompt(prompt) => self.asked(entry, prompt, out),
            CallEventKind::Closed => self.closed(entry, out),
            _ => {}
        }
    }

    fn held(&self) -> usize {
        self.results.len()
            + self.calls.len()
            + self.tools.len()
            + self.live.len()
            + self.caches.len()
            + self.cliffs.len()
    }

    fn forgotten(&self) -> u64 {
        self.results.forgotten()
            + self.calls.forgotten()
            + self.tools.forgotten()
            + self.live.forgotten()
            + self.caches.forgotten()
            + self.cliffs.forgotten()
    }
}

impl StaleResultDetector {
    fn asked(&mut self, entry: &Entry, prompt: &Prompt, out: &mut DetectorOutput<'_>) {
        if self.config.on(&entry.identity.service).is_none() {
            return;
        }
        if prompt.truncated {
            return out.withheld("truncated_body");
        }
        if prompt.server_held.is_some() {
            // The stale bytes are not sent again: their age cannot be told.
            return out.withheld("server_held");
        }
        let now = entry.started;
        let who = place(entry);
        let mut newest: BTreeMap<&str, (f64, bool)> = BTreeMap::new();
        for result in &prompt.results {
            let call = prompt.calls.iter().rev().find(|call| call.id.is_some() && call.id == result.id);
            let name = call.map(|call| &*call.name).or(result.name.as_deref()).unwrap_or_default();
            let id = result.id.unwrap_or_else(|| mix(result.content, u64::from(result.message)));
            let fresh = SeenResult { at: now, content: result.content };
            let new = self.results.get(&(who.clone(), id)).is_none();
            let seen = *self.results.touch((who.clone(), id), || fresh);
            if let Some(seconds) = call.filter(|_| new).and_then(|call| self.changed(&who, name, call.arguments, fresh))
            {
                out.observe(metrics::RESULT_VOLATILITY.of(&entry.labels, &[name]), seconds);
            }
            let age = now.seconds_since(seen.at);
            let slot = newest.entry(name).or_insert((age, false));
            *slot = (age.min(slot.0), slot.1 || !result.before_user);
        }
        let old =
            newest.iter().filter(|(_, (_, again))| !again).map(|(name, (age, _))| ((*name).into(), *age)).collect();
        let prefix = mix(prompt.system.unwrap_or(0), prompt.tools_hash.unwrap_or(0));
        let live = OpenStaleCheck { old, chain: prompt.chain.last().copied(), prefix, known: prompt.chain.clone() };
        self.live.insert((entry.conn, entry.exchange), live);
    }

    /// The same call gave a result before: did it change, and after how long?
    fn changed(&mut self, who: &str, name: &str, arguments: u64, fresh: SeenResult) -> Option<f64> {
        let hash = name.bytes().fold(arguments, |hash, byte| mix(hash, u64::from(byte)));
        let last = self.calls.touch((who.into(), hash), || fresh);
        if last.content == fresh.content {
            return None;
        }
        let interval = fresh.at.seconds_since(last.at);
        *last = fresh;
        let tool = self.tools.touch((who.into(), name.into()), Tool::default);
        tool.intervals.push_back(interval);
        if tool.intervals.len() > INTERVALS {
            tool.intervals.pop_front();
        }
        Some(interval)
    }

    fn closed(&mut self, entry: &Entry, out: &mut DetectorOutput<'_>) {
        let Some(live) = self.live.remove(&(entry.conn, entry.exchange)) else { return };
        let Some(config) = self.config.on(&entry.identity.service).cloned() else { return };
        self.cliff(entry, &live, &config, out);
        let done = entry.finish_reason.as_deref().is_some_and(|word| finish::class(word) == FinishClass::Stop);
        if entry.outcome != Some(CallOutcome::Complete) || !done {
            return;
        }
        let (subject, who) = (&entry.labels, place(entry));
        let cache = match entry.usage.cached {
            None => "unknown",
            Some(0) => "miss",
            Some(_) => "hit",
        };
        for (name, age) in &live.old {
            out.observe(metrics::RESULT_AGE.of(subject, &[name, cache]), *age);
            let tool = self.tools.touch((who.clone(), name.clone()), Tool::default);
            let set = config.freshness_seconds.get(&**name).or_else(|| config.freshness_seconds.get("*")).copied();
            let enough = tool.intervals.len() >= config.changes as usize;
            let known = median(tool.intervals.iter().copied().collect()).filter(|_| enough);
            let Some(fresh) = set.or(known) else {
                out.withheld("no_freshness");
                continue;
            };
            out.evaluated();
            if *age > fresh {
                out.add(metrics::RESULT_STALE.of(subject, &[name]), 1.0);
                tool.reused(entry, (name, *age), (fresh, set.is_some()), cache, &config, subject, out);
            }
        }
    }

    /// Cached tokens that were there and are gone, though the conversation goes on.
    fn cliff(&mut self, entry: &Entry, live: &OpenStaleCheck, config: &Config, out: &mut DetectorOutput<'_>) {
        let (Some(talk), Some(cached)) = (entry.conversation, entry.usage.cached) else { return };
        let now = Cache { at: entry.started, cached, chain: live.chain, prefix: live.prefix };
        let Some(before) = self.caches.get(&talk).copied() else {
            self.caches.insert(talk, now);
            return;
        };
        self.caches.insert(talk, now);
        out.evaluated();
        if before.cached < config.cached_tokens || cached * 10 > before.cached {
            return;
        }
        let same = before.prefix == live.prefix && before.chain.is_some_and(|chain| live.known.contains(&chain));
        let why = match (same, now.at.seconds_since(before.at)) {
            (false, _) => "prefix_changed",
            (true, idle) if idle > CACHE_LIFE_SECONDS => "expired",
            (true, _) => "evicted",
        };
        let subject = Subject::of(entry);
        out.add(metrics::CACHE_CLIFF.of(&subject, &[why]), 1.0);
        let cliffs = self.cliffs.touch((subject.clone(), why), VecDeque::new);
        remember(cliffs, entry);
        if why == "expired" || cliffs.len() < config.cliffs as usize {
            return;
        }
        let count = cliffs.len();
        let because = if why == "prefix_changed" {
            "the beginning of the prompt changed (system prompt, tools or their order, or an earlier message)"
        } else {
            "though the beginning of the prompt is the same: the provider evicted it"
        };
        out.report(FindingReport {
            key: &format!("cliff|{why}|{}", subject.key()),
            kind: if why == "prefix_changed" { "cache_broken" } else { "cache_evicted" },
            severity: if why == "prefix_changed" { FindingSeverity::Warning } else { FindingSeverity::Info },
            since: cliffs.front().map_or(now.at, |(at, _)| *at),
            subject: &subject,
            verdict: format!("{count} conversations lost their prompt cache in the last hour, {because}"),
            inputs: vec![("cached_tokens", cached.into()), ("cliffs", count.into())],
            baseline: vec![("cached_tokens", before.cached.into())],
            excluded: vec!["a cache that expired (5 minutes without a hit)", "a new conversation"],
            streams: cliffs.iter().rev().take(4).map(|(_, id)| id.clone()).collect(),
            quiet_ns: Some(quiet_ns(config.quiet_minutes)),
        });
    }
}

impl Tool {
    #[expect(clippy::too_many_arguments, reason = "the parts of one finding")]
    fn reused(
        &mut self,
        entry: &Entry,
        (name, age): (&str, f64),
        (fresh, set): (f64, bool),
        cache: &str,
        config: &Config,
        subject: &CallLabels,
        out: &mut DetectorOutput<'_>,
    ) {
        remember(&mut self.reuses, entry);
        if self.reuses.len() < config.reuses as usize {
            return;
        }
        let how = if set { "fresh for" } else { "seen to change every" };
        out.report(FindingReport {
            key: &format!("stale|{}|{name}", subject.service),
            kind: "stale_reuse",
            severity: if set { FindingSeverity::Warning } else { FindingSeverity::Info },
            since: self.reuses.front().map_or(entry.started, |(at, _)| *at),
            subject,
            verdict: format!("answers rest on a result of {name} that is {age:.0} s old ({how} {fresh:.0} s), and the tool was not called again"),
            inputs: vec![
                ("tool", name.into()),
                ("age_seconds", number(age)),
                ("risk", number(age / fresh.max(1e-3))),
                ("reuses", self.reuses.len().into()),
                ("cache", cache.into()),
            ],
            baseline: vec![("fresh_seconds", number(fresh)), ("changes_seen", self.intervals.len().into())],
            excluded: vec!["a tool that was called again in this turn", "results that the history no longer has"],
            streams: self.reuses.iter().rev().take(4).map(|(_, id)| id.clone()).collect(),
            quiet_ns: Some(quiet_ns(config.quiet_minutes)),
        });
    }
}

/// A case, with those of the last hour.
fn remember(cases: &mut VecDeque<(Ns, String)>, entry: &Entry) {
    cases.push_back((entry.started, entry.id.clone()));
    while cases.len() > limits::PRESSURE_CASES || cases.front().is_some_and(|(at, _)| entry.started - *at > HOUR_NS) {
        cases.pop_front();
    }
}
