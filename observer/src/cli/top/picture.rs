//! What `top` shows: the daemon's answers, merged and kept small. Pure: time is an argument
//! (seconds since 1970, as streams' ends are told).

use std::collections::{BTreeMap, HashMap};

use crate::export::inspect::finding::FindingView;
use crate::export::inspect::view::{ProcessView, StreamView};

/// How far back the streams of a further round are asked for: ends that became known late are among them.
const BACK_SECONDS: f64 = 15.0;

/// Ended streams kept: as many as the daemon keeps by default.
const KEPT: usize = 4096;

/// One round of answers.
#[derive(Default)]
pub(super) struct AnswerRound {
    pub at: f64,
    pub streams: Vec<StreamView>,
    pub connections: usize,
    pub processes: Vec<ProcessView>,
    pub findings: Vec<FindingView>,
}

/// All that is shown.
pub(super) struct TopPicture {
    /// How far back ended streams count.
    pub window: f64,
    /// When the daemon last answered.
    pub at: f64,
    pub connections: usize,
    /// Processes that use TLS, by how far they are seen into.
    pub coverage: BTreeMap<String, usize>,
    /// Open ones, most severe first.
    pub findings: Vec<FindingView>,
    /// Since the round before; `None` without one.
    pub events_per_second: Option<f64>,
    /// Why there is no newer answer.
    pub error: Option<String>,
    streams: HashMap<String, TopStream>,
    /// The next round must bring the whole window: the first one, after a failure, or when an open
    /// stream is out of sight.
    whole: bool,
    /// What the next round counts events against.
    counted: Option<f64>,
}

/// One stream, as far as it matters here.
struct TopStream {
    group: StreamGroup,
    /// `None` while open.
    ended: Option<f64>,
    outcome: Option<String>,
    age: Option<f64>,
    idle: Option<f64>,
    visible: Option<f64>,
    gap95: Option<f64>,
    longest_gap: Option<f64>,
    stalls: BTreeMap<String, u64>,
    events: Option<u64>,
    lost: Option<u64>,
}

/// What a line stands for.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct StreamGroup {
    pub service: String,
    pub provider: String,
    /// As it was asked for.
    pub model: String,
}

/// The streams of one group. What is not known is `None`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct GroupLine {
    pub group: StreamGroup,
    pub open: usize,
    pub oldest: Option<f64>,
    /// Longest silence of an open stream.
    pub idle: Option<f64>,
    pub ended: usize,
    /// Median time to the first visible character, of ended streams.
    pub visible: Option<f64>,
    /// Median over streams of each one's 95th percentile.
    pub gap95: Option<f64>,
    pub longest_gap: Option<f64>,
    pub stalls: BTreeMap<String, u64>,
    /// Outcomes other than complete.
    pub failed: BTreeMap<String, u64>,
}

/// Bytes that the observer lost of the streams shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct LostBytes {
    pub bytes: u64,
    /// Streams with losses of unknown size.
    pub unknown: usize,
}

impl TopPicture {
    #[must_use]
    pub(super) fn new(window: f64) -> Self {
        TopPicture {
            window,
            at: 0.0,
            connections: 0,
            coverage: BTreeMap::new(),
            findings: Vec::new(),
            events_per_second: None,
            error: None,
            streams: HashMap::new(),
            whole: true,
            counted: None,
        }
    }

    /// How far back the next round must ask for ended streams.
    #[must_use]
    pub(super) fn since(&self, now: f64) -> f64 {
        if self.whole { self.window } else { (now - self.at + BACK_SECONDS).clamp(0.0, self.window) }
    }

    /// There was no answer.
    pub(super) fn failed(&mut self, error: String) {
        self.error = Some(error);
        self.whole = true;
        self.counted = None;
        self.events_per_second = None;
    }

    /// An answer to what `since` said.
    pub(super) fn merge(&mut self, round: AnswerRound) {
        let seconds = self.counted.map(|before| round.at - before).filter(|seconds| *seconds > 0.0);
        let before = if self.whole { std::mem::take(&mut self.streams) } else { HashMap::new() };
        let mut seen = HashMap::with_capacity(round.streams.len());
        for stream in round.streams {
            seen.insert(stream.id.clone(), TopStream::new(stream));
        }
        let known = |id: &String| before.get(id).or_else(|| self.streams.get(id));
        let news = seen.iter().map(|(id, kept)| kept.events_since(known(id), self.counted)).sum::<u64>();
        self.events_per_second = seconds.map(|seconds| news as f64 / seconds);
        // One that is open here and was not told of has ended longer ago than was asked for.
        self.whole = self.streams.iter().any(|(id, kept)| kept.ended.is_none() && !seen.contains_key(id));
        self.streams.extend(seen);
        self.forget(round.at);
        self.connections = round.connections;
        self.coverage = BTreeMap::new();
        round.processes.into_iter().for_each(|process| *self.coverage.entry(process.visibility).or_default() += 1);
        self.findings = round.findings;
        self.findings.retain(|finding| finding.ended.is_none());
        self.findings.sort_by(|a, b| weight(a).cmp(&weight(b)).then_with(|| b.since.cmp(&a.since)));
        (self.at, self.counted, self.error) = (round.at, Some(round.at), None);
    }

    /// Leaves out what ended before the window, and the oldest of too many.
    fn forget(&mut self, at: f64) {
        let mut from = at - self.window;
        let mut ends: Vec<f64> = self.streams.values().filter_map(|kept| kept.ended).collect();
        if let Some(extra) = ends.len().checked_sub(KEPT).filter(|extra| *extra > 0) {
            ends.sort_by(f64::total_cmp);
            from = ends.get(extra).copied().unwrap_or(from).max(from);
        }
        self.streams.retain(|_, kept| kept.ended.is_none_or(|ended| ended >= from));
    }

    /// Open streams.
    #[must_use]
    pub(super) fn open(&self) -> usize {
        self.streams.values().filter(|kept| kept.ended.is_none()).count()
    }

    /// What was lost of the streams shown.
    #[must_use]
    pub(super) fn lost(&self) -> LostBytes {
        let mut lost = LostBytes::default();
        for kept in self.streams.values() {
            match kept.lost {
                Some(bytes) => lost.bytes = lost.bytes.saturating_add(bytes),
                None => lost.unknown += 1,
            }
        }
        lost
    }

    /// The lines at `now`: those with most open streams first.
    #[must_use]
    pub(super) fn lines(&self, now: f64) -> Vec<GroupLine> {
        let mut groups: BTreeMap<&StreamGroup, Vec<&TopStream>> = BTreeMap::new();
        self.streams.values().for_each(|kept| groups.entry(&kept.group).or_default().push(kept));
        let later = (now - self.at).max(0.0);
        let mut lines: Vec<GroupLine> =
            groups.into_iter().map(|(group, kept)| GroupLine::new(group, &kept, later)).collect();
        // Stable: equal ones stay in the order of their names.
        lines.sort_by_key(|line| std::cmp::Reverse((line.open, line.ended)));
        lines
    }
}

impl TopStream {
    fn new(stream: StreamView) -> Self {
        let mut stalls = BTreeMap::new();
        for stall in stream.stalls {
            *stalls.entry(stall.cause.unwrap_or_else(|| "unknown".to_owned())).or_default() += 1;
        }
        let model = stream.request_model.or(stream.response_model).unwrap_or_default();
        TopStream {
            group: StreamGroup { service: stream.service, provider: stream.provider, model },
            // An end without a time would be an open stream for ever.
            ended: stream.outcome.is_some().then(|| stream.ended.as_deref().and_then(seconds).unwrap_or_default()),
            outcome: stream.outcome,
            age: stream.duration_seconds,
            idle: stream.idle_seconds,
            visible: stream.first_seconds.visible,
            gap95: stream.gaps.p95,
            longest_gap: stream.gaps.max,
            stalls,
            events: stream.events,
            lost: stream.lost.bytes,
        }
    }

    /// Events that came since it was `known` as that, or since the round at `counted` for one that was not.
    fn events_since(&self, known: Option<&TopStream>, counted: Option<f64>) -> u64 {
        let events = self.events.unwrap_or(0);
        match (known, counted, self.ended) {
            (Some(known), _, _) => events.saturating_sub(known.events.unwrap_or(0)),
            (None, Some(counted), Some(ended)) if ended < counted => 0,
            (None, _, _) => events,
        }
    }
}

impl GroupLine {
    fn new(group: &StreamGroup, kept: &[&TopStream], later: f64) -> GroupLine {
        let (open, ended): (Vec<&TopStream>, Vec<&TopStream>) = kept.iter().partition(|kept| kept.ended.is_none());
        let most = |values: &mut dyn Iterator<Item = f64>| values.max_by(f64::total_cmp);
        let mut line = GroupLine {
            group: group.clone(),
            open: open.len(),
            oldest: most(&mut open.iter().filter_map(|kept| kept.age)).map(|age| age + later),
            idle: most(&mut open.iter().filter_map(|kept| kept.idle)).map(|idle| idle + later),
            ended: ended.len(),
            visible: median(ended.iter().filter_map(|kept| kept.visible).collect()),
            gap95: median(kept.iter().filter_map(|kept| kept.gap95).collect()),
            longest_gap: most(&mut kept.iter().filter_map(|kept| kept.longest_gap)),
            ..GroupLine::default()
        };
        for (cause, count) in kept.iter().flat_map(|kept| &kept.stalls) {
            *line.stalls.entry(cause.clone()).or_default() += count;
        }
        let failed = ended.iter().filter_map(|kept| kept.outcome.as_ref()).filter(|outcome| *outcome != "complete");
        failed.for_each(|outcome| *line.failed.entry(outcome.clone()).or_default() += 1);
        line
    }
}

/// Most severe first; what this version does not know comes last.
fn weight(finding: &FindingView) -> usize {
    let order = ["critical", "warning", "info"];
    order.iter().position(|severity| *severity == finding.severity).unwrap_or(order.len())
}

/// The lower one of two middle values: one that was measured.
fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len().saturating_sub(1) / 2).copied()
}

/// RFC 3339 as seconds since 1970.
fn seconds(text: &str) -> Option<f64> {
    let at: jiff::Timestamp = text.parse().ok()?;
    Some(at.as_nanosecond() as f64 / 1e9)
}

#[cfg(test)]
pub(super) mod tests;
