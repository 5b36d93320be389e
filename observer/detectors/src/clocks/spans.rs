//! Spans that applications export, against the calls that were seen on the wire. A span of a call
//! lasts from before its request to after its answer, whatever clock it is stamped with: that
//! bounds how far that clock is off from both sides.

use crate::metrics;
use ledger::CallLabels;
use std::collections::VecDeque;
use std::sync::Arc;

use super::Config;
use super::bounds::{ClockBounds, centre, least};
use super::order::SpanOrder;
use crate::common::quiet_ns;
use crate::{DetectorOutput, FindingReport, FindingSeverity, RecentMap, number};
use capture::identity::ProcessIdentity;
use capture::limits;
use capture::proto::Salt;
use capture::units::Ns;
use dialects::spans::{self, ExportedSpan};
use ledger::{CallOutcome, Entry};

/// Spans of one process that wait for their call to end.
const WAITING: usize = 64;

#[derive(Debug)]
pub(super) struct SpanMatcher {
    processes: RecentMap<u32, Process>,
    order: SpanOrder,
}

/// One process that calls models.
#[derive(Debug, Default)]
struct Process {
    subject: Arc<CallLabels>,
    /// Requests under way that name a span: the stream, and the header that does.
    naming: VecDeque<(String, String)>,
    calls: VecDeque<Call>,
    waiting: VecDeque<Waiting>,
    bounds: ClockBounds,
}

/// A call that has ended.
#[derive(Debug)]
struct Call {
    stream: String,
    /// First byte of the request.
    began: Ns,
    /// What no client can have gone on without: the head of a stream, all of another answer.
    answered: Ns,
    ended: Ns,
    traceparent: Option<String>,
    response: Option<String>,
    server: String,
    /// Bytes of it were lost, so its times are not sure.
    unsure: bool,
    /// A span was found to be its.
    told: bool,
}

#[derive(Debug)]
struct Waiting {
    span: ExportedSpan,
    salt: Salt,
    since: Ns,
}

/// What came of looking for a span's call.
enum SpanMatch {
    /// Its place, and what told.
    Call(usize, &'static str),
    None,
    /// It may be any of several.
    Several,
}

impl Default for SpanMatcher {
    fn default() -> Self {
        SpanMatcher { processes: RecentMap::new(limits::EXPORTING_PROCESSES), order: SpanOrder::default() }
    }
}

impl SpanMatcher {
    /// A call began: its span may be told of before it ends, with the answer's head.
    pub(super) fn opened(&mut self, entry: &Entry) {
        let Some(traceparent) = &entry.asked.traceparent else { return };
        let naming = &mut self.process(&entry.identity).naming;
        naming.push_back((entry.id.clone(), traceparent.clone()));
        if naming.len() > limits::EXPORTING_CALLS {
            naming.pop_front();
        }
    }

    /// A call ended.
    pub(super) fn closed(&mut self, entry: &Entry, config: &Config, out: &mut DetectorOutput<'_>) {
        let process = self.process(&entry.identity);
        process.naming.retain(|(stream, _)| *stream != entry.id);
        process.calls.push_back(Call::of(entry));
        if process.calls.len() > limits::EXPORTING_CALLS {
            process.calls.pop_front();
        }
        for Waiting { span, salt, since } in std::mem::take(&mut process.waiting) {
            process.place(&span, &salt, since, config, out);
        }
    }

    /// A process told of a span.
    pub(super) fn exported(
        &mut self,
        identity: &ProcessIdentity,
        span: &ExportedSpan,
        salt: &Salt,
        config: &Config,
        out: &mut DetectorOutput<'_>,
    ) {
        self.order.look(&identity.service, span, config, out);
        let now = out.now().at;
        self.process(identity).place(span, salt, now, config, out);
    }

    /// Spans whose call did not end in time.
    pub(super) fn tick(&mut self, config: &Config, out: &mut DetectorOutput<'_>) {
        let now = out.now().at;
        for (_, process) in self.processes.iter_mut() {
            while process.waiting.front().is_some_and(|waiting| now - waiting.since > config.wait_ns()) {
                process.waiting.pop_front();
                out.withheld("no_call");
            }
            while process.calls.front().is_some_and(|call| now - call.ended > config.wait_ns()) {
                process.calls.pop_front();
            }
        }
    }

    /// The wall clock was set: what was stamped before and after cannot be compared.
    pub(super) fn stepped(&mut self, out: &mut DetectorOutput<'_>) {
        for (_, process) in self.processes.iter_mut() {
            process.waiting.drain(..).for_each(|_| out.withheld("wall_clock_set"));
            process.calls.clear();
            process.bounds.clear();
        }
    }

    /// Of a service's processes, the one whose clock is surely furthest off.
    pub(super) fn publish(&self, out: &mut DetectorOutput<'_>) {
        let mut worst: Vec<(&str, (f64, f64))> = Vec::new();
        for (_, process) in self.processes.iter() {
            let Some(bound) = process.bounds.within(out.now().at) else { continue };
            match worst.iter_mut().find(|(service, _)| *service == &*process.subject.service) {
                Some((_, other)) if least(*other) < least(bound) => *other = bound,
                Some(_) => {}
                None => worst.push((&process.subject.service, bound)),
            }
        }
        for (service, bound) in worst {
            let (middle, half) = centre(bound);
            out.set(metrics::SPAN_SKEW.with(&[service]), middle);
            out.set(metrics::SPAN_SKEW_UNCERTAINTY.with(&[service]), half);
        }
    }

    pub(super) fn held(&self) -> usize {
        let each = |process: &Process| {
            1 + process.naming.len() + process.calls.len() + process.waiting.len() + process.bounds.len()
        };
        self.processes.iter().map(|(_, process)| each(process)).sum::<usize>() + self.order.held()
    }

    pub(super) fn forgotten(&self) -> u64 {
        self.processes.forgotten() + self.order.forgotten()
    }

    fn process(&mut self, identity: &ProcessIdentity) -> &mut Process {
        let process = self.processes.touch(identity.pid, Process::default);
        if *process.subject.service != *identity.service {
            // A process of another program has the number now.
            *process = Process { subject: Arc::new(CallLabels::of_service(identity)), ..Process::default() };
        }
        process
    }
}

impl Call {
    fn of(entry: &Entry) -> Call {
        let ended = entry.ended.unwrap_or(entry.last_activity);
        let head = entry.firsts.byte.map(|seconds| Ns(entry.started.0.saturating_add(nanoseconds(seconds))));
        let whole = !entry.streaming && entry.outcome == Some(CallOutcome::Complete);
        Call {
            stream: entry.id.clone(),
            began: entry.started,
            answered: if whole { entry.last_read } else { head.unwrap_or(entry.started) },
            ended,
            traceparent: entry.asked.traceparent.clone(),
            response: entry.response_id.clone(),
            server: entry.host().to_owned(),
            unsure: entry.mid_stream || !entry.lost.is_empty(),
            told: false,
        }
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within a call")]
fn nanoseconds(seconds: f64) -> u64 {
    (seconds * 1e9) as u64
}

impl Process {
    /// Finds a span's call and says what it tells; without one, it waits.
    fn place(&mut self, span: &ExportedSpan, salt: &Salt, since: Ns, config: &Config, out: &mut DetectorOutput<'_>) {
        let of_a_call = span.response.is_some() || (span.model && span.kind == ExportedSpan::CLIENT);
        match self.find(span, salt, config, out.now().at) {
            SpanMatch::Call(index, joined_by) => self.compare(index, joined_by, span, config, out),
            _ if !of_a_call && !self.is_named(span, salt) => {}
            SpanMatch::Several => out.withheld("ambiguous"),
            SpanMatch::None => {
                self.waiting.push_back(Waiting { span: *span, salt: salt.clone(), since });
                if self.waiting.len() > WAITING {
                    self.waiting.pop_front();
                    out.withheld("no_call");
                }
            }
        }
    }

    /// A request under way names it.
    fn is_named(&self, span: &ExportedSpan, salt: &Salt) -> bool {
        span.id.is_some() && self.naming.iter().any(|(_, header)| spans::parent(header, salt) == span.id)
    }

    fn find(&self, span: &ExportedSpan, salt: &Salt, config: &Config, now: Ns) -> SpanMatch {
        let calls = || self.calls.iter().enumerate().rev();
        let hash = |text: &Option<String>| text.as_deref().map(|text| salt.hash_text(text.as_bytes()));
        let parent = |call: &Call| call.traceparent.as_deref().and_then(|parent| spans::parent(parent, salt));
        if span.id.is_some()
            && let Some((index, _)) = calls().find(|(_, call)| parent(call) == span.id)
        {
            return SpanMatch::Call(index, "traceparent");
        }
        if span.response.is_some() {
            let same = calls().find(|(_, call)| hash(&call.response) == span.response);
            return same.map_or(SpanMatch::None, |(index, _)| SpanMatch::Call(index, "response_id"));
        }
        if !span.model || span.kind != ExportedSpan::CLIENT {
            return SpanMatch::None;
        }
        // Nothing names the call. What the span's clock says is not trusted, but how long it took is.
        let length = span.end.saturating_sub(span.start);
        let server = |call: &Call| span.server.is_none_or(|server| server == salt.hash_text(call.server.as_bytes()));
        let fits =
            |call: &Call| !call.told && now - call.ended <= config.wait_ns() && call.answered - call.began <= length;
        let mut fitting = calls().filter(|(_, call)| fits(call) && server(call));
        match (fitting.next(), fitting.next()) {
            (Some((index, _)), None) => SpanMatch::Call(index, "time"),
            (Some(_), Some(_)) => SpanMatch::Several,
            (None, _) => SpanMatch::None,
        }
    }

    /// The span began before the request, and ended after the answer.
    fn compare(
        &mut self,
        index: usize,
        joined_by: &'static str,
        span: &ExportedSpan,
        config: &Config,
        out: &mut DetectorOutput<'_>,
    ) {
        let Some(call) = self.calls.get_mut(index) else { return };
        call.told = true;
        let Some(wall) = out.now().wall else { return out.withheld("no_wall_clock") };
        if call.unsure {
            return out.withheld("call_incomplete");
        }
        if span.start == 0 || span.end < span.start {
            return out.withheld("no_times");
        }
        let behind = |span: u64, call: Ns| (i128::from(span) - (i128::from(call.0) + wall)) as f64 / 1e9;
        let (low, high) = (behind(span.start, call.began), behind(span.end, call.answered));
        if low > high {
            return out.withheld("span_shorter");
        }
        out.evaluated();
        for (kind, impossible) in [
            ("request_before_span", low > config.order_seconds),
            ("span_ends_before_response", high < -config.order_seconds),
        ] {
            if impossible {
                out.add(metrics::IMPOSSIBLE_ORDER.with(&[&self.subject.service, kind]), 1.0);
            }
        }
        let stream = call.stream.clone();
        self.bounds.take((out.now().at, low, high), &stream);
        self.judge(joined_by, config, out);
    }

    fn judge(&mut self, joined_by: &'static str, config: &Config, out: &mut DetectorOutput<'_>) {
        let key = format!("skew|{}", self.subject.service);
        let judged = self.bounds.judge(config.spans, config.span_skew_seconds, &key, out);
        let Some((middle, half)) = judged else { return };
        out.report(FindingReport {
            key: &key,
            kind: "span_skew",
            severity: FindingSeverity::Warning,
            since: self.bounds.since().unwrap_or(out.now().at),
            subject: &self.subject,
            verdict: format!(
                "spans that {} exports are stamped {middle:+.3} s (±{half:.3}) from this host's clock: their calls were on the wire at other times",
                self.subject.service
            ),
            inputs: vec![
                ("skew_seconds", number(middle)),
                ("uncertainty_seconds", number(half)),
                ("spans", self.bounds.len().into()),
                ("joined_by", joined_by.into()),
            ],
            baseline: vec![("threshold_seconds", number(config.span_skew_seconds))],
            excluded: vec![
                "time before the request and after the answer (it is in the uncertainty)",
                "a span that ends with the head of its stream",
                "steps of this host's clock (they begin anew)",
            ],
            streams: self.bounds.streams(),
            quiet_ns: Some(quiet_ns(config.quiet_minutes)),
        });
    }
}
