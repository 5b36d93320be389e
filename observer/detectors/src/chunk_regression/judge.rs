//! The newest streams against the baseline.

use super::clock::ChunkTimeline;
use super::track::{BaselineSummary, BaselineTrack, StallShare};
use super::{BaselineKey, Config, StreamSample};
use crate::common::median;
use crate::{DetectorOutput, EvidenceFact, FindingReport, FindingSeverity, number};

/// Every kind, as in the label.
pub(super) const KINDS: [&str; 5] = ["smaller", "larger", "head_burst", "stall", "coalescing"];

/// A kind that is on goes off only when the change is this share of what turned it on: verdicts must not flap.
const RELEASE: f64 = 0.7;

/// How much bytes a character may differ for the script to count as the same.
const WIDTH_TOLERANCE: f64 = 0.1;

/// Rates of text that differ by less than this share are told as the same.
const SAME_SPEED: f64 = 0.1;

/// Stalled streams that a verdict needs, and how many deviations the shares must differ by: fewer happen by chance.
const STALLED: f64 = 6.0;
const STALL_DEVIATIONS: f64 = 4.0;

/// Slow drift: what a stream's log size may lie off without being summed, in spreads; where the sum is a verdict.
const SLACK: f64 = 0.5;
const DRIFT: f64 = 20.0;

/// Least spread for drift, so that a very even provider's rounding is none.
const DRIFT_SPREAD: f64 = 0.3;

/// A drift is told when the newest streams lie this far off the reference.
const DRIFT_RATIO: f64 = 0.8;

/// The newest streams in numbers.
#[derive(Clone, Copy, Debug)]
struct NewestStreams {
    streams: usize,
    size: f64,
    speed: f64,
    tokens: Option<f64>,
    width: f64,
    per_read: f64,
    head: f64,
    stalled: f64,
}

pub(super) fn judge(track: &mut BaselineTrack, config: &Config, key: &BaselineKey, out: &mut DetectorOutput<'_>) {
    let now = out.now().at;
    let Some(base) = track.summary(config, now) else { return out.withheld("learning") };
    let Some(newest) = newest(track, config) else { return out.withheld("few_streams") };
    track.ratio = Some(newest.size / base.size);
    drift(track, &base);
    if off(newest.width, base.width) > WIDTH_TOLERANCE {
        return out.withheld("language_changed");
    }
    out.evaluated();
    for kind in KINDS {
        let on = track.active.contains_key(kind);
        let change = change(kind, track, &base, &newest, config);
        let verdict = match change {
            Some(strength) if strength >= 1.0 || (on && strength >= RELEASE) => Some(strength),
            _ => None,
        };
        match verdict {
            Some(_) => report(kind, track, &base, &newest, config, key, out),
            None if on => {
                track.active.remove(kind);
                out.end(&name(kind, key));
            }
            None => {}
        }
    }
}

fn newest(track: &BaselineTrack, config: &Config) -> Option<NewestStreams> {
    let wanted = config.streams as usize;
    if track.window.len() < wanted {
        return None;
    }
    let newest: Vec<&StreamSample> = track.window.iter().rev().take(wanted).collect();
    let of = |field: fn(&StreamSample) -> f64| median(newest.iter().map(|sample| field(sample)).collect());
    let tokens: Vec<f64> = newest.iter().filter_map(|sample| sample.tokens).collect();
    Some(NewestStreams {
        streams: wanted,
        size: of(|s| s.size)?,
        speed: of(|s| s.speed)?,
        tokens: if tokens.len() * 2 > wanted { median(tokens) } else { None },
        width: of(|s| s.width)?,
        per_read: of(|s| s.per_read)?,
        head: of(|s| s.head)?,
        stalled: track.stalls.iter().filter(|stalled| **stalled).count() as f64,
    })
}

/// How strong the change of a kind is: 1 is where it becomes a verdict. `None`: it is not, or is something else.
fn change(
    kind: &str,
    track: &BaselineTrack,
    base: &BaselineSummary,
    newest: &NewestStreams,
    config: &Config,
) -> Option<f64> {
    match kind {
        "smaller" => resized(base.size / newest.size, -1.0, track, base, newest, config),
        "larger" => resized(newest.size / base.size, 1.0, track, base, newest, config),
        // A slower stream has less text in its first 200 ms without any burst.
        "head_burst" => as_fast(base.speed, newest, config)?.then_some(newest.head / base.head / config.head_burst),
        "stall" => {
            let StallShare { share: then, streams: before } = base.stalls?;
            let streams = track.stalls.len() as f64;
            let now = newest.stalled / streams;
            // Both shares rest on a few streams: how far apart they are in deviations of their difference.
            let pooled = (newest.stalled + then * before) / (streams + before);
            let deviation = (pooled * (1.0 - pooled) * (1.0 / streams + 1.0 / before)).sqrt().max(1e-9);
            let apart = (now - then) / deviation / STALL_DEVIATIONS;
            Some(((now - then) / config.stalled_share).min(apart).min(newest.stalled / STALLED))
        }
        "coalescing" => {
            let same_size = off(newest.size, base.size) < 0.25;
            let ratio = (newest.per_read / base.per_read).ln();
            let strength = (ratio / -config.ratio.ln()).min(ratio / base.per_read_spread / config.deviations);
            same_size.then_some(strength)
        }
        _ => None,
    }
}

/// Chunks of another size, beyond what another rate of text explains: a provider that is half as
/// fast and sends as often as before sends half as much at a time. What goes the other way (smaller
/// though faster) explains nothing.
fn resized(
    ratio: f64,
    sign: f64,
    track: &BaselineTrack,
    base: &BaselineSummary,
    newest: &NewestStreams,
    config: &Config,
) -> Option<f64> {
    let (reference, reference_speed) = track.base.reference.unwrap_or((base.size, base.speed));
    let drifted = (newest.size / reference).ln() * sign - explained(reference_speed, newest, sign)?;
    let [below, above] = track.drift;
    let sum = if sign < 0.0 { below } else { above };
    if drifted >= -DRIFT_RATIO.ln() && sum >= DRIFT {
        return Some(1.0);
    }
    // Where tokens are known they decide: another language or another kind of text has other characters a token.
    if let (Some(then), Some(now)) = (base.tokens, newest.tokens)
        && (now / then).ln() * sign < -config.ratio.ln() * RELEASE
    {
        return None;
    }
    let change = ratio.ln() - explained(base.speed, newest, sign)?;
    Some((change / -config.ratio.ln()).min(change / base.spread / config.deviations))
}

/// The part of a change of size that the change of speed explains, as a logarithm. `None`: a speed is not known.
fn explained(then: f64, newest: &NewestStreams, sign: f64) -> Option<f64> {
    (then > 0.0 && newest.speed > 0.0).then(|| ((newest.speed / then).ln() * sign).max(0.0))
}

/// The text is about as fast as it was, or faster.
fn as_fast(then: f64, newest: &NewestStreams, config: &Config) -> Option<bool> {
    (then > 0.0).then_some(newest.speed >= then * (1.0 - config.speed_tolerance))
}

fn drift(track: &mut BaselineTrack, base: &BaselineSummary) {
    let (Some((reference, _)), Some(last)) = (track.base.reference, track.window.back()) else { return };
    let off = ((last.size / reference).ln() / base.spread.max(DRIFT_SPREAD)).clamp(-2.0, 2.0);
    let [below, above] = &mut track.drift;
    *below = (*below - off - SLACK).clamp(0.0, 2.0 * DRIFT);
    *above = (*above + off - SLACK).clamp(0.0, 2.0 * DRIFT);
}

fn report(
    kind: &'static str,
    track: &mut BaselineTrack,
    base: &BaselineSummary,
    newest: &NewestStreams,
    config: &Config,
    key: &BaselineKey,
    out: &mut DetectorOutput<'_>,
) {
    let deviant: Vec<&StreamSample> = track
        .window
        .iter()
        .rev()
        .take(config.streams as usize)
        .filter(|sample| deviates(kind, sample, base, newest))
        .collect();
    let first = deviant.last().map_or(out.now().at, |sample| sample.at);
    let streams = deviant.iter().rev().take(3).chain(deviant.first()).map(|sample| sample.id.clone()).collect();
    let since = *track.active.entry(kind).or_insert(first);
    out.report(FindingReport {
        key: &name(kind, key),
        kind,
        severity: FindingSeverity::Warning,
        since,
        subject: &key.subject,
        verdict: sentence(kind, base, newest, track.stalls.len(), key.clock),
        inputs: facts(newest, track.stalls.len(), key.clock),
        baseline: baseline(base, key.clock),
        excluded: excluded(kind, newest, key.clock),
        streams,
        quiet_ns: None,
    });
}

/// The stream lies nearer to the new median than to the old one.
fn deviates(kind: &str, sample: &StreamSample, base: &BaselineSummary, newest: &NewestStreams) -> bool {
    let nearer = |value: f64, then: f64, now: f64| (value / now).ln().abs() < (value / then).ln().abs();
    match kind {
        "stall" => sample.stalled,
        "head_burst" => nearer(sample.head, base.head, newest.head),
        "coalescing" => nearer(sample.per_read, base.per_read, newest.per_read),
        _ => nearer(sample.size, base.size, newest.size),
    }
}

fn sentence(kind: &str, base: &BaselineSummary, newest: &NewestStreams, judged: usize, clock: ChunkTimeline) -> String {
    match kind {
        "head_burst" => format!(
            "text comes in a burst and then trickles: the first 200 ms are {:.1} times as fast as the stream (before: {:.1}), {}",
            newest.head,
            base.head,
            rate(base, newest)
        ),
        "stall" => format!(
            "{:.0} of the last {judged} streams stalled in the middle (before: {:.1} %)",
            newest.stalled,
            100.0 * base.stalls.map_or(0.0, |stalls| stalls.share)
        ),
        "coalescing" => format!(
            "{:.1} {} (before: {:.1}) though chunks are as large as before: something on the way gathers them",
            newest.per_read,
            match clock {
                ChunkTimeline::Arrival => "chunks arrive together",
                ChunkTimeline::Read => "events come with one read",
            },
            base.per_read
        ),
        _ => format!("chunks became {kind}: {:.1} → {:.1} characters, {}", base.size, newest.size, rate(base, newest)),
    }
}

/// How fast the text is, and was if that is something else.
fn rate(base: &BaselineSummary, newest: &NewestStreams) -> String {
    if off(newest.speed, base.speed) < SAME_SPEED {
        format!("at the same {:.0} characters a second", newest.speed)
    } else {
        format!("at {:.0} characters a second (before: {:.0})", newest.speed, base.speed)
    }
}

fn facts(newest: &NewestStreams, judged: usize, clock: ChunkTimeline) -> Vec<EvidenceFact> {
    vec![
        ("clock", clock.name().into()),
        ("streams", newest.streams.into()),
        ("chars_per_chunk", number(newest.size)),
        ("chars_per_second", number(newest.speed)),
        ("tokens_per_chunk", newest.tokens.map_or(serde_json::Value::Null, number)),
        (together(clock), number(newest.per_read)),
        ("head_rate", number(newest.head)),
        ("stalled_share", number(newest.stalled / judged.max(1) as f64)),
    ]
}

fn baseline(base: &BaselineSummary, clock: ChunkTimeline) -> Vec<EvidenceFact> {
    vec![
        ("clock", clock.name().into()),
        ("streams", base.streams.into()),
        ("chars_per_chunk", number(base.size)),
        ("spread", number(base.spread)),
        ("chars_per_second", number(base.speed)),
        ("tokens_per_chunk", base.tokens.map_or(serde_json::Value::Null, number)),
        (together(clock), number(base.per_read)),
        ("head_rate", number(base.head)),
        ("stalled_share", base.stalls.map_or(serde_json::Value::Null, |stalls| number(stalls.share))),
    ]
}

/// The name of the fact that tells how much comes at once.
fn together(clock: ChunkTimeline) -> &'static str {
    match clock {
        ChunkTimeline::Arrival => "chunks_per_arrival",
        ChunkTimeline::Read => "events_per_read",
    }
}

fn excluded(kind: &str, newest: &NewestStreams, clock: ChunkTimeline) -> Vec<&'static str> {
    let mut causes = vec!["another model answered", "another script or language", "padding of events"];
    if kind != "stall" && kind != "coalescing" {
        causes.push("a slower or faster provider");
    }
    if newest.tokens.is_some() && matches!(kind, "smaller" | "larger") {
        causes.push("another kind of text");
    }
    // By its reads alone, a slow reader cannot be told from a slow sender.
    if clock == ChunkTimeline::Arrival {
        causes.push("a slow reader");
    }
    causes
}

fn name(kind: &str, key: &BaselineKey) -> String {
    format!("{kind}|{}|{}|{}|{}", key.subject.key(), key.api, key.answered, key.clock.name())
}

/// How far `now` lies from `then`, as a share of it.
fn off(now: f64, then: f64) -> f64 {
    (now / then - 1.0).abs()
}
