//! One attempt at a turn, and whether it failed.

use super::names::family;
use super::{Config, after};
use crate::output::CallKey;
use capture::units::Ns;
use dialects::finish::{self, FinishClass};
use dialects::prompt::Prompt;
use ledger::CallLabels;
use ledger::{CallOutcome, Entry};
use std::sync::Arc;

/// Places in the answer that are kept, to tell whether another request goes on with it.
const CHECKPOINTS: usize = 32;

#[derive(Clone, Debug)]
pub(super) struct FailoverAttempt {
    pub call: CallKey,
    pub id: String,
    pub subject: Arc<CallLabels>,
    /// The host as it was named, with its port where that is none of the usual ones: it tells
    /// gateways on one host apart.
    pub address: Box<str>,
    pub conversation: Option<u64>,
    pub started: Ns,
    pub ended: Option<Ns>,
    /// Why it failed; `None` while it has not.
    pub failure: Option<&'static str>,
    pub status: Option<u16>,
    pub visible_chars: u64,
    pub last_visible: Option<Ns>,
    /// Hashes of the visible text at some of its chunks.
    checkpoints: Vec<u64>,
    pub system: Option<u64>,
    pub tools: usize,
    pub temperature: Option<Box<str>>,
    pub max_tokens: Option<u64>,
    pub prefill: Option<u64>,
    /// The attempt that it follows.
    pub hop: Option<Box<FailoverAttempt>>,
}

impl FailoverAttempt {
    pub(super) fn new(entry: &Entry, prompt: &Prompt) -> FailoverAttempt {
        FailoverAttempt {
            call: (entry.conn, entry.exchange),
            id: entry.id.clone(),
            subject: Arc::clone(&entry.labels),
            address: address(entry).into(),
            conversation: entry.conversation,
            started: entry.started,
            ended: None,
            failure: None,
            status: None,
            visible_chars: 0,
            last_visible: None,
            checkpoints: Vec::new(),
            system: prompt.system,
            tools: prompt.tools.len(),
            temperature: prompt.temperature.clone(),
            max_tokens: entry.request.as_ref().and_then(|request| request.max_tokens),
            prefill: prompt.prefill,
            hop: None,
        }
    }

    pub(super) fn chunk(&mut self, entry: &Entry) {
        self.last_visible = Some(entry.last_activity);
        if self.checkpoints.len() >= CHECKPOINTS {
            let mut index = 0;
            self.checkpoints.retain(|_| {
                index += 1;
                index % 2 == 0
            });
        }
        self.checkpoints.extend(entry.visible_hash);
    }

    pub(super) fn close(&mut self, entry: &Entry, config: &Config) {
        self.ended = entry.ended;
        self.status = entry.status;
        self.visible_chars = entry.visible_chars;
        self.failure = failure(entry, config);
        self.checkpoints.extend(entry.visible_hash);
        // What it followed has been told; the chain of a loop must not grow.
        if let Some(hop) = &mut self.hop {
            hop.hop = None;
        }
    }

    /// Another host, another port of it, or another kind of model.
    pub(super) fn elsewhere(&self, to: &FailoverAttempt) -> bool {
        self.address != to.address || family(&self.subject.model) != family(&to.subject.model)
    }

    /// `to` takes over from this attempt, which has failed.
    pub(super) fn failed_into(&self, to: &FailoverAttempt, config: &Config) -> bool {
        let (Some(reason), Some(ended)) = (self.failure, self.ended) else { return false };
        let window = if reason == "timeout" { config.cancel_window_seconds } else { config.window_seconds };
        self.elsewhere(to) && after(to.started, ended) && to.started.seconds_since(ended) <= window
    }

    /// `to` began while this one was silent, and then this one was closed.
    pub(super) fn abandoned_for(&self, to: &FailoverAttempt, last_activity: Ns, config: &Config) -> bool {
        let Some(ended) = self.ended.filter(|_| self.failure == Some("timeout")) else { return false };
        self.elsewhere(to)
            && to.started < ended
            && to.started.seconds_since(last_activity) >= config.stall_seconds
            && ended.seconds_since(to.started) <= config.cancel_window_seconds
    }

    /// `pre_headers`, `pre_visible` or `mid_stream`.
    pub(super) fn phase(&self) -> &'static str {
        match (self.visible_chars, self.status) {
            (1.., _) => "mid_stream",
            (0, Some(..400)) => "pre_visible",
            _ => "pre_headers",
        }
    }

    /// The text that `prefill` is the hash of is what this attempt said, or its beginning.
    pub(super) fn said(&self, prefill: u64) -> bool {
        self.checkpoints.contains(&prefill)
    }
}

/// The host, with its port where that is another than the scheme's own.
fn address(entry: &Entry) -> &str {
    match entry.port() {
        Some("443" | "80") | None => entry.host(),
        Some(_) => entry.server_address.as_deref().unwrap_or_default(),
    }
}

/// Why a call counts as failed.
pub(super) fn failure(entry: &Entry, config: &Config) -> Option<&'static str> {
    let silent = entry.ended.unwrap_or(entry.last_activity).seconds_since(entry.last_activity);
    Some(match entry.outcome? {
        CallOutcome::HttpError => match entry.status {
            Some(429) => "rate_limit",
            Some(500..) => "5xx",
            _ => "4xx",
        },
        CallOutcome::ErrorEvent => "in_stream_error",
        CallOutcome::Reset | CallOutcome::Truncated if entry.status.is_none() => "connect",
        CallOutcome::Reset | CallOutcome::Truncated => "truncated",
        CallOutcome::IdleTimeout => "timeout",
        CallOutcome::ClientCancel if silent >= config.stall_seconds => "timeout",
        CallOutcome::Complete if refused(entry) => "refusal",
        _ => return None,
    })
}

/// The answer is a refusal that the API marks as such.
pub(super) fn refused(entry: &Entry) -> bool {
    entry.refusal_chars > 0
        || entry.finish_reason.as_deref().is_some_and(|word| finish::class(word) == FinishClass::Refusal)
}
