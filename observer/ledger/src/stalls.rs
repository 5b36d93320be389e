//! Which silences are stalls.

use super::{AnswerStall, StreamGaps};
use capture::conn::{NetworkEvent, NetworkPath};
use capture::limits;
use capture::units::{Moment, Ns};

/// A gap is a stall when longer than this …
const LEAST_SECONDS: f64 = 0.5;
/// … and than this many median gaps …
const MEDIANS: f64 = 8.0;
/// … judged once the median rests on this many gaps, or when the call ends.
const SAMPLES: u64 = 8;

/// Long gaps that wait for their judgement.
#[derive(Debug, Default)]
pub(super) struct StallJudge {
    waiting: Vec<WaitingGap>,
}

#[derive(Debug)]
struct WaitingGap {
    stall: AnswerStall,
    rush: Option<ReadBurst>,
}

/// What comes right after a silence of a peer whose timer had run out. A path that was dead for all
/// of it leaves as much to come at once as the peer says in that time; a peer that paused, and
/// whose first packet then was lost, much less.
#[derive(Debug)]
struct ReadBurst {
    from: Ns,
    until: Ns,
    silence_ns: u64,
    median_ns: u64,
    /// Events so far, the first included, and when the last of them arrived.
    events: u64,
    last: Ns,
    over: bool,
}

impl StallJudge {
    /// A gap ended; it is in `gaps` already. What is judged a stall now.
    pub(super) fn gap(
        &mut self,
        from: Moment,
        to: Moment,
        path: Option<&NetworkPath>,
        gaps: &StreamGaps,
    ) -> Vec<AnswerStall> {
        self.rushes(to);
        let seconds = to.at.seconds_since(from.at);
        if seconds > LEAST_SECONDS && self.waiting.len() < limits::STALL_CANDIDATES {
            let stall = AnswerStall { at: from.at, seconds, cause: cause(from, to, path) };
            let rush = path
                .filter(|_| stall.cause == Some("provider"))
                .and_then(|path| ReadBurst::after(from, to, path, gaps));
            self.waiting.push(WaitingGap { stall, rush });
        }
        if gaps.count() < SAMPLES {
            return Vec::new();
        }
        let ready = |waiting: &mut WaitingGap| waiting.rush.as_ref().is_none_or(|rush| rush.over);
        let ready: Vec<WaitingGap> = self.waiting.extract_if(.., ready).collect();
        judged(ready, gaps)
    }

    /// The call ended: what waits is judged by the gaps there were.
    pub(super) fn judge(&mut self, gaps: &StreamGaps) -> Vec<AnswerStall> {
        judged(std::mem::take(&mut self.waiting), gaps)
    }

    /// An event arrived: it may be of what piled up.
    fn rushes(&mut self, to: Moment) {
        let Some(arrived) = to.arrival else { return };
        for rush in self.waiting.iter_mut().filter_map(|waiting| waiting.rush.as_mut()) {
            rush.event(arrived);
        }
    }
}

/// Those that are stalls by the median gap, with the cause that stands now.
fn judged(waiting: Vec<WaitingGap>, gaps: &StreamGaps) -> Vec<AnswerStall> {
    if waiting.is_empty() {
        return Vec::new();
    }
    let median = gaps.median().unwrap_or(0) as f64 / 1e9;
    let settled = waiting.into_iter().map(|WaitingGap { stall, rush }| match rush {
        Some(rush) => AnswerStall { cause: rush.cause(), ..stall },
        None => stall,
    });
    settled.filter(|stall| is_stall(stall.seconds, median)).collect()
}

/// A gap of so many seconds, among gaps of this median.
pub(super) fn is_stall(seconds: f64, median: f64) -> bool {
    seconds > LEAST_SECONDS && seconds > MEDIANS * median
}

impl ReadBurst {
    /// `None`: the peer's timer did not run out, and nothing is in doubt.
    fn after(from: Moment, to: Moment, path: &NetworkPath, gaps: &StreamGaps) -> Option<ReadBurst> {
        let (since, arrived) = (from.arrival.unwrap_or(from.at), to.arrival?);
        if !path.timed_out(since, arrived) {
            return None;
        }
        let known = gaps.count() > SAMPLES;
        Some(ReadBurst {
            from: arrived,
            until: Ns(arrived.0.saturating_add(path.rush_ns())),
            silence_ns: arrived - since,
            median_ns: gaps.median().filter(|_| known).unwrap_or(0),
            events: 1,
            last: arrived,
            over: false,
        })
    }

    fn event(&mut self, arrived: Ns) {
        self.over |= arrived > self.until;
        if !self.over {
            self.events += 1;
            self.last = self.last.max(arrived);
        }
    }

    /// `None` where nothing tells: the stream's own pace is not known (too young, or it comes in
    /// bursts anyway), or it was over before much could pile up.
    fn cause(&self) -> Option<&'static str> {
        if self.median_ns == 0 {
            return None;
        }
        let lasted = if self.over { self.until } else { self.last } - self.from;
        let piled_up = self.events.saturating_mul(self.median_ns).saturating_sub(lasted);
        if piled_up >= self.silence_ns / 2 { Some("network") } else { self.over.then_some("provider") }
    }
}

/// Who caused a silence, where the arrival of the bytes that ended it is known. The application, if
/// for most of the silence they were there and nobody read them, or if it had left no room for
/// them; the network, if what it did explains that they came late; else the provider.
pub(super) fn cause(from: Moment, to: Moment, path: Option<&NetworkPath>) -> Option<&'static str> {
    let (arrived, path) = (to.arrival?, path?);
    let unread = to.at - arrived.max(from.at);
    if unread * 2 > to.at - from.at {
        return Some("local");
    }
    // The silence of the wire began when the bytes before it came, not when they were read.
    Some(match path.explains(from.arrival.unwrap_or(from.at), arrived) {
        Some(NetworkEvent::NoRoom) => "local",
        Some(_) => "network",
        None => "provider",
    })
}
