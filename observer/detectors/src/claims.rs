//! Claims without evidence: an answer says that something was verified, and nothing that could have
//! been a verification was seen since the user spoke. Always "no evidence observed", never "made
//! up".
//!
//! `observer/docs/detectors/claims.md` has the rules for operators.

use crate::metrics;
use std::collections::VecDeque;

use super::activity::ProcessActivity;
use super::common::quiet_ns;
use super::config::{ConfigSection, any, thresholds, within};
use super::output::CallKey;
use super::{Detector, DetectorOutput, FindingReport, FindingSeverity, RecentMap, number};
use crate::subject::Subject;
use capture::limits;
use capture::units::Ns;
use dialects::prompt::Prompt;
use ledger::{CallEvent, CallEventKind, CallOutcome, Entry, HostEvent};

thresholds! {
    /// Thresholds of claims.
    pub struct Config, RawConfig {
        /// What counts as a claim: words of an answer, in any case. Languages other than English need their own.
        patterns: Vec<String> = defaults(), any;
        /// Claims of one pattern that a verdict rests on, and the share of them without evidence.
        claims: u32 = 50, within(5..=100_000);
        unevidenced_share: f64 = 0.95, within(0.1..=1.0);
        quiet_minutes: f64 = 1440.0, within(1.0..=100_000.0);
    }
}

fn defaults() -> Vec<String> {
    [
        "i verified",
        "i have verified",
        "i've verified",
        "i double-checked",
        "i have checked",
        "i've checked",
        "i confirmed",
        "i have confirmed",
        "all tests pass",
    ]
    .map(str::to_owned)
    .to_vec()
}

/// Patterns looked for, and longest one: a claim that goes over the end of a delta is found.
const PATTERNS: usize = 32;
const LENGTH: usize = 64;

/// Newest claims of one pattern.
const WINDOW: usize = 200;

/// An open call: the end of its text, and which patterns it has said.
#[derive(Debug, Default)]
struct OpenCallClaims {
    tail: String,
    said: u32,
    /// Results since people spoke, and whether the last one was an error. `None`: the body was not seen whole.
    evidence: Option<(usize, bool)>,
    /// When the user's last message was first seen.
    asked: Option<Ns>,
}

/// What people said to a process, and the messages there were when it was said last.
#[derive(Debug)]
struct Turn {
    first: Ns,
    messages: u32,
}

/// For each of the latest calls, whether there was evidence and what its id is.
type Evidence = VecDeque<(bool, String)>;

pub(crate) struct ClaimsDetector {
    config: ConfigSection<Config>,
    live: RecentMap<CallKey, OpenCallClaims>,
    /// By subject and pattern: whether there was evidence, and the call's id.
    seen: RecentMap<(Subject, usize), Evidence>,
    turns: RecentMap<(u32, u64), Turn>,
    activity: ProcessActivity,
}

pub(crate) fn new(config: ConfigSection<Config>) -> ClaimsDetector {
    ClaimsDetector {
        config,
        live: RecentMap::new(limits::OPEN_STREAMS),
        seen: RecentMap::new(limits::CHUNK_KEYS),
        turns: RecentMap::new(limits::RETRY_GROUPS),
        activity: ProcessActivity::default(),
    }
}

impl Detector for ClaimsDetector {
    fn on_call_event(&mut self, event: &CallEvent<'_>, out: &mut DetectorOutput<'_>) {
        let entry = event.entry;
        match event.what {
            CallEventKind::Prompt(prompt) => self.asked(entry, prompt),
            CallEventKind::Text(text) => self.on_text(entry, text.0),
            CallEventKind::Closed => {
                self.activity.talked(entry.remote);
                self.closed(entry, out);
            }
            _ => {}
        }
    }

    fn on_host_event(&mut self, event: &HostEvent<'_>, _out: &mut DetectorOutput<'_>) {
        match *event {
            HostEvent::Acted { tgid, peer, at } => self.activity.acted(tgid, peer, at),
            HostEvent::Exported { peer, .. } => self.activity.talked(peer),
            _ => {}
        }
    }

    fn held(&self) -> usize {
        let claims = self.seen.iter().map(|(_, claims)| claims.len()).sum::<usize>();
        self.live.len() + claims + self.turns.len() + self.activity.held()
    }

    fn forgotten(&self) -> u64 {
        self.live.forgotten() + self.seen.forgotten() + self.turns.forgotten() + self.activity.forgotten()
    }
}

impl ClaimsDetector {
    fn asked(&mut self, entry: &Entry, prompt: &Prompt) {
        if self.config.on(&entry.identity.service).is_none() {
            return;
        }
        let fresh: Vec<_> = prompt.results.iter().filter(|result| !result.before_user).collect();
        let failed = fresh.last().is_some_and(|result| result.failed());
        // A history that the provider holds hides the results in it.
        let whole = !prompt.truncated && prompt.server_held.is_none();
        // Where bytes of the request were lost, its end may be known only after the answer.
        let asked = self.first_asked(entry, prompt);
        let live = self.live.touch((entry.conn, entry.exchange), OpenCallClaims::default);
        live.evidence = whole.then_some((fresh.len(), failed));
        live.asked = Some(asked);
    }

    /// When this turn of people was first sent. The same words with no more history than before are said anew.
    fn first_asked(&mut self, entry: &Entry, prompt: &Prompt) -> Ns {
        let Some(turn) = prompt.turn else { return entry.started };
        let fresh = || Turn { first: entry.started, messages: 0 };
        let turn = self.turns.touch((entry.identity.pid, turn), fresh);
        if prompt.messages <= turn.messages {
            turn.first = entry.started;
        }
        turn.messages = prompt.messages;
        turn.first
    }

    /// Matches the text as it passes; only the last few words are held, and only until the next piece.
    fn on_text(&mut self, entry: &Entry, text: &str) {
        let Some(config) = self.config.on(&entry.identity.service) else { return };
        let live = self.live.touch((entry.conn, entry.exchange), OpenCallClaims::default);
        live.tail.extend(text.chars().flat_map(char::to_lowercase).map(|c| if c == '\u{2019}' { '\'' } else { c }));
        for (index, pattern) in config.patterns.iter().take(PATTERNS).enumerate() {
            if !pattern.is_empty() && live.tail.contains(&pattern.to_lowercase()) {
                live.said |= 1 << index;
            }
        }
        let from = live.tail.len().saturating_sub(LENGTH);
        live.tail = live.tail.get(live.tail.ceil_char_boundary(from)..).unwrap_or_default().to_owned();
    }

    fn closed(&mut self, entry: &Entry, out: &mut DetectorOutput<'_>) {
        let Some(live) = self.live.remove(&(entry.conn, entry.exchange)) else { return };
        let Some(config) = self.config.on(&entry.identity.service).cloned() else { return };
        if live.said == 0 {
            return;
        }
        let Some((results, failed)) = live.evidence else { return out.withheld("truncated_body") };
        if entry.outcome != Some(CallOutcome::Complete) || !entry.lost.is_empty() {
            return out.withheld("incomplete");
        }
        let subject = Subject::of(entry);
        let acted = || self.activity.since(entry.identity.pid, live.asked.unwrap_or(entry.started));
        let evidence = if results > 0 {
            "tool_call"
        } else if entry.tool_chars > 0 {
            "server_tool"
        } else {
            match acted() {
                Some(true) => "host_activity",
                Some(false) => "none",
                None => return out.withheld("activity_lost"),
            }
        };
        for (index, pattern) in
            config.patterns.iter().take(PATTERNS).enumerate().filter(|(i, _)| live.said >> i & 1 == 1)
        {
            out.evaluated();
            let rule = rule(pattern);
            out.add(metrics::CLAIMS.of(&subject, &[&rule, evidence]), 1.0);
            if failed {
                out.add(metrics::CLAIMS_AFTER_ERROR.of(&subject, &[&rule]), 1.0);
            }
            let claims = self.seen.touch((subject.clone(), index), VecDeque::new);
            claims.push_back((evidence == "none", entry.id.clone()));
            if claims.len() > WINDOW {
                claims.pop_front();
            }
            judge(claims, &rule, &config, &subject, out);
        }
    }
}

fn judge(
    claims: &VecDeque<(bool, String)>,
    rule: &str,
    config: &Config,
    subject: &Subject,
    out: &mut DetectorOutput<'_>,
) {
    let (count, without) = (claims.len(), claims.iter().filter(|(without, _)| *without).count());
    let share = without as f64 / count as f64;
    if count < config.claims as usize {
        return out.withheld("few_claims");
    }
    let key = format!("claims|{rule}|{}", subject.key());
    if share <= config.unevidenced_share {
        if out.is_open(&key) {
            out.end(&key);
        }
        return;
    }
    out.report(FindingReport {
        key: &key,
        kind: "no_evidence",
        severity: FindingSeverity::Info,
        since: out.now().at,
        subject,
        verdict: format!("{without} of {count} answers that say \"{rule}\" were given without any evidence observed since the user spoke"),
        inputs: vec![("claims", count.into()), ("without_evidence", without.into()), ("share", number(share))],
        baseline: vec![("threshold", number(config.unevidenced_share))],
        excluded: vec!["calls of tools, and of the provider's own tools", "programs that the process started, and connections to other hosts", "words of the user", "bodies that were not seen whole"],
        streams: claims.iter().rev().filter(|(without, _)| *without).take(4).map(|(_, id)| id.clone()).collect(),
        quiet_ns: Some(quiet_ns(config.quiet_minutes)),
    });
}

/// The pattern as a label: the operator's own words, cut.
fn rule(pattern: &str) -> String {
    pattern.chars().take(LENGTH).collect()
}
