use serde_json::{Value, json};

use super::*;

/// 2026-01-01T00:00:00Z.
pub(crate) const T: f64 = SECOND as f64;
const SECOND: i64 = 1_767_225_600;

/// A stream as the socket tells of it. `ended`: seconds after `T`, and its outcome.
pub(crate) fn stream(id: &str, model: &str, events: u64, ended: Option<(i64, &str)>) -> StreamView {
    let null = |names: &[&str]| names.iter().map(|name| ((*name).to_owned(), Value::Null)).collect::<Value>();
    let time = |second: i64| jiff::Timestamp::from_second(SECOND + second).unwrap().to_string();
    let mut stream = null(&[
        "conversation",
        "container_id",
        "server_address",
        "server_port",
        "response_model",
        "status",
        "keepalives",
        "reads",
        "chunks",
        "visible_chars",
        "reasoning_chars",
        "tool_chars",
        "refusal_chars",
        "finish_reason",
        "error_kind",
        "request_id",
        "response_id",
        "attempt",
        "hop_of",
        "wire",
        "started",
    ]);
    let more = json!({
        "id": id, "service": "shop", "pid": 1, "comm": "python", "provider": "openai", "protocol": "h2",
        "k8s": {"namespace": null, "workload": null, "pod": null, "container": null},
        "remote": {"ip": null, "port": null}, "api": "openai.chat", "operation": "chat", "request_model": model,
        "streaming": true, "outcome": ended.map(|(_, outcome)| outcome), "ended": ended.map(|(at, _)| time(at)),
        "duration_seconds": 10.0, "idle_seconds": if ended.is_none() { Some(2.0) } else { None },
        "first_seconds": {"byte": 0.1, "event": 0.1, "emitted": 0.2, "reasoning": null, "visible": 0.3,
            "tool": null, "audio": null, "sentence": null},
        "events": events, "body_bytes": 0, "media_bytes": 0,
        "gaps": {"p50": 0.02, "p95": 0.05, "max": 1.5}, "arrival_gaps": {"p50": null, "p95": null, "max": null},
        "stalls": [{"at": time(0), "seconds": 1.5, "cause": "provider"}, {"at": time(0), "seconds": 1.5, "cause": null}],
        "tokens": {"input": null, "output": null, "cached": null, "cache_write": null, "reasoning": null,
            "audio_input": null, "audio_output": null},
        "marks": [], "server_ms": {"head": null, "queue": null, "prompt": null, "generation": null, "first": null,
            "total": null},
        "visibility": "plaintext", "lost": {"bytes": 0, "cause": null}, "notes": [],
    });
    stream.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    serde_json::from_value(stream).unwrap()
}

pub(crate) fn finding(id: &str, severity: &str, ended: bool) -> FindingView {
    serde_json::from_value(json!({
        "id": id, "detector": "retry", "kind": "storm", "severity": severity, "since": "2026-01-01T00:00:00Z",
        "last_seen": "2026-01-01T00:00:00Z", "ended": ended.then_some("2026-01-01T00:00:00Z"),
        "duration_seconds": 61.0, "count": 3, "service": "shop", "provider": "openai", "model": "gpt-x",
        "server_address": "api.openai.com", "verdict": "too many attempts", "inputs": {}, "baseline": {},
        "excluded_causes": [], "streams": [],
    }))
    .unwrap()
}

fn round(at: f64, streams: Vec<StreamView>) -> AnswerRound {
    AnswerRound { at: T + at, streams, ..AnswerRound::default() }
}

#[test]
fn lines_sum_up_what_is_open_and_what_ended() {
    let mut picture = TopPicture::new(900.0);
    let mut slow = stream("c", "gpt-x", 5, Some((-30, "truncated")));
    (slow.first_seconds.visible, slow.gaps.max, slow.gaps.p95) = (Some(4.0), Some(9.0), Some(0.5));
    let complete = stream("b", "gpt-x", 7, Some((-5, "complete")));
    let mut joined = stream("d", "gpt-x", 1, None);
    (joined.duration_seconds, joined.idle_seconds, joined.stalls) = (None, Some(3.0), Vec::new());
    picture.merge(round(0.0, vec![stream("a", "gpt-x", 9, None), complete, slow, joined]));
    let lines = picture.lines(T + 1.0);
    let stalls = [("provider".to_owned(), 3), ("unknown".to_owned(), 3)].into();
    let expected = GroupLine {
        group: StreamGroup { service: "shop".into(), provider: "openai".into(), model: "gpt-x".into() },
        open: 2,
        oldest: Some(11.0),
        idle: Some(4.0),
        ended: 2,
        visible: Some(0.3),
        gap95: Some(0.05),
        longest_gap: Some(9.0),
        stalls,
        failed: [("truncated".to_owned(), 1)].into(),
    };
    assert_eq!(lines, [expected]);
    assert_eq!((picture.open(), picture.events_per_second), (2, None));
}

#[test]
fn busy_lines_come_first_and_what_is_not_known_is_none() {
    let mut picture = TopPicture::new(900.0);
    let mut shape = stream("s", "", 0, None);
    (shape.request_model, shape.events, shape.duration_seconds, shape.idle_seconds) = (None, None, None, None);
    (shape.gaps.p95, shape.gaps.max, shape.lost.bytes) = (None, None, None);
    let busy = ["a", "b"].map(|id| stream(id, "z", 1, None));
    picture.merge(round(0.0, [vec![shape], busy.into(), vec![stream("e", "a", 1, Some((-1, "complete")))]].concat()));
    let lines = picture.lines(T);
    let models: Vec<&str> = lines.iter().map(|line| line.group.model.as_str()).collect();
    assert_eq!(models, ["z", "", "a"]);
    let unseen = &lines[1];
    assert_eq!((unseen.oldest, unseen.idle, unseen.visible), (None, None, None));
    assert_eq!((unseen.gap95, unseen.longest_gap), (None, None));
    assert_eq!(picture.lost(), LostBytes { bytes: 0, unknown: 1 });
}

#[test]
fn events_are_counted_from_round_to_round() {
    let mut picture = TopPicture::new(900.0);
    picture.merge(round(0.0, vec![stream("a", "m", 100, None), stream("old", "m", 50, Some((-20, "complete")))]));
    // One went on, one came and went, one that ended before was not seen then: its events came before too.
    let came = stream("b", "m", 6, Some((1, "complete")));
    picture.merge(round(2.0, vec![stream("a", "m", 110, None), came, stream("late", "m", 70, Some((-9, "reset")))]));
    assert_eq!(picture.events_per_second, Some(8.0));
    picture.failed("gone".into());
    assert_eq!((picture.events_per_second, picture.error.as_deref()), (None, Some("gone")));
    picture.merge(round(4.0, vec![stream("new daemon's", "m", 4000, None)]));
    assert_eq!((picture.events_per_second, picture.error.as_deref()), (None, None));
}

#[test]
fn rounds_ask_for_little_unless_a_stream_is_out_of_sight() {
    let mut picture = TopPicture::new(900.0);
    assert_eq!(picture.since(T), 900.0);
    picture.merge(round(0.0, vec![stream("a", "m", 1, None), stream("b", "m", 1, Some((-100, "complete")))]));
    assert_eq!(picture.since(T + 1.0), 16.0);
    // `a` ended, but long ago: its end was only just understood.
    picture.merge(round(1.0, vec![]));
    assert_eq!((picture.since(T + 2.0), picture.open()), (900.0, 1));
    let ended = stream("a", "m", 1, Some((-300, "idle_timeout")));
    picture.merge(round(2.0, vec![ended, stream("b", "m", 1, Some((-100, "complete")))]));
    assert_eq!((picture.since(T + 3.0), picture.open()), (16.0, 0));
    assert_eq!(picture.lines(T + 2.0)[0].failed, [("idle_timeout".to_owned(), 1)].into());
}

#[test]
fn what_is_old_or_too_much_is_forgotten() {
    let mut picture = TopPicture::new(60.0);
    picture.merge(round(0.0, vec![stream("a", "m", 1, Some((-50, "complete"))), stream("b", "m", 1, None)]));
    assert_eq!(picture.lines(T)[0].ended, 1);
    picture.merge(round(20.0, vec![stream("b", "m", 1, None)]));
    assert_eq!((picture.lines(T)[0].ended, picture.open()), (0, 1));
    let many = (0..KEPT + 10).map(|n| stream(&n.to_string(), "m", 1, Some((n as i64 / 100, "complete")))).collect();
    picture.merge(round(30.0, many));
    assert!(picture.lines(T)[0].ended <= KEPT + 100, "{}", picture.lines(T)[0].ended);
}

#[test]
fn open_findings_stand_by_their_severity() {
    let mut picture = TopPicture::new(60.0);
    let findings = [("1", "info", false), ("2", "critical", true), ("3", "critical", false), ("4", "warning", false)]
        .map(|(id, severity, ended)| finding(id, severity, ended));
    picture.merge(AnswerRound { findings: findings.into(), ..round(0.0, vec![]) });
    assert_eq!(picture.findings.iter().map(|finding| finding.id.as_str()).collect::<Vec<_>>(), ["3", "4", "1"]);
}
