//! `inspect streams` and `top` from the outside: what they show of calls, and in which form.
#![expect(clippy::panic, clippy::string_slice, reason = "a test")]

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use crate::support::{Live, answering, asked, call, chunks, command, completed, eventually, stderr, stdout};
use serde_json::Value;

pub(crate) fn json(output: &std::process::Output) -> Value {
    serde_json::from_str(&stdout(output))
        .unwrap_or_else(|error| panic!("{error}: {} {}", stdout(output), stderr(output)))
}

/// A daemon that has seen one whole call (process 7) and one that is open (process 8).
pub(crate) fn two_calls() -> Live {
    let live = Live::start();
    let mut open = asked(8, "gpt-open");
    answering(&mut open);
    chunks(&mut open, 3);
    live.happen(&[call(7, "gpt-x", 20), open]);
    eventually("both streams", || {
        (json(&live.inspect(&["streams", "-o", "json"])).as_array()?.len() == 2).then_some(())
    });
    live
}

#[test]
fn streams_as_json_keep_the_contract() {
    let live = two_calls();
    let streams = json(&live.inspect(&["streams", "-o", "json"]));
    let done = streams.as_array().unwrap().iter().find(|s| s["pid"] == 7).unwrap();
    for key in [
        "id",
        "conversation",
        "service",
        "pid",
        "comm",
        "k8s",
        "provider",
        "server_address",
        "remote",
        "protocol",
        "api",
        "request_model",
        "response_model",
        "status",
        "outcome",
        "started",
        "duration_seconds",
        "first_seconds",
        "events",
        "chunks",
        "visible_chars",
        "reasoning_chars",
        "gaps",
        "stalls",
        "tokens",
        "finish_reason",
        "attempt",
        "hop_of",
        "visibility",
        "lost",
        "notes",
    ] {
        assert!(done.get(key).is_some(), "{key} is missing");
    }
    let nested = [
        ("k8s", &["namespace", "workload", "pod", "container"][..]),
        ("remote", &["ip", "port"]),
        ("first_seconds", &["byte", "event", "emitted", "reasoning", "visible", "tool", "audio", "sentence"]),
        ("gaps", &["p50", "p95", "max"]),
        ("tokens", &["input", "output", "cached", "reasoning"]),
        ("lost", &["bytes", "cause"]),
    ];
    for (outer, inner) in nested {
        inner.iter().for_each(|key| assert!(done[outer].get(key).is_some(), "{outer}.{key} is missing"));
    }
    assert_eq!(
        (&done["chunks"], &done["visible_chars"], &done["outcome"]),
        (&20.into(), &300.into(), &"complete".into())
    );
    assert_eq!((&done["request_model"], &done["response_model"]), (&"gpt-x".into(), &"gpt-x-2026".into()));
    assert_eq!((&done["tokens"]["input"], &done["tokens"]["output"]), (&100.into(), &60.into()));
    assert!((done["first_seconds"]["visible"].as_f64().unwrap() - 0.15).abs() < 1e-3);
    assert!((done["gaps"]["p50"].as_f64().unwrap() - 0.05).abs() < 1e-4);
    for unseen in [
        &done["tokens"]["cached"],
        &done["first_seconds"]["reasoning"],
        &done["hop_of"],
        &done["remote"]["ip"],
        &done["attempt"],
    ] {
        assert!(unseen.is_null(), "what was not seen is null: {unseen}");
    }
    assert_eq!(done["conversation"].as_str().map(str::len), Some(12));
    let started = done["started"].as_str().unwrap();
    assert!(started.ends_with('Z') && started.len() == "2026-11-23T16:49:17.000000001Z".len(), "{started}");
    let open = streams.as_array().unwrap().iter().find(|s| s["pid"] == 8).unwrap();
    assert!(open["outcome"].is_null() && open["ended"].is_null() && open["idle_seconds"].as_f64().unwrap() > 0.0);
}

#[test]
fn one_stream_has_a_timeline_and_a_prefix_is_enough() {
    let live = two_calls();
    let streams = json(&live.inspect(&["streams", "-o", "json"]));
    let done = streams.as_array().unwrap().iter().find(|s| s["pid"] == 7).unwrap();
    let id = done["id"].as_str().unwrap();
    let detail = json(&live.inspect(&["stream", &id[..6], "-o", "json"]));
    assert_eq!(detail[0]["id"], id);
    let timeline = detail[0]["timeline"].as_array().unwrap();
    assert_eq!(timeline.iter().filter(|p| p["kind"] == "visible").count(), 20);
    for key in ["t_arrival", "t_read", "kind", "chars", "bytes", "wire_bytes"] {
        assert!(timeline[0].get(key).is_some(), "{key}");
    }
    let table = stdout(&live.inspect(&["stream", id]));
    assert!(table.contains("visible 150ms") && table.lines().count() > 35, "{table}");
    let none = live.inspect(&["stream", "zz"]);
    assert_eq!(none.status.code(), Some(2));
    assert!(stderr(&none).contains("no stream with an id that begins with \"zz\""), "{}", stderr(&none));
    let many = live.inspect(&["stream", ""]);
    assert!(stderr(&many).contains("give more of the id"), "{}", stderr(&many));
}

#[test]
fn tables_fit_and_wide_only_adds() {
    let live = two_calls();
    let table = stdout(&live.inspect(&["streams"]));
    let heads: Vec<&str> = table.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(heads, ["ID", "SERVICE", "MODEL", "OUTCOME", "TIME", "VISIBLE", "CHUNKS", "CHARS", "GAP50", "MAXGAP"]);
    assert!(table.lines().all(|line| line.chars().count() <= 100), "{table}");
    assert!(table.contains("complete") && table.contains("streaming"), "{table}");
    let wide = stdout(&live.inspect(&["streams", "-o", "wide"]));
    let wide_heads: Vec<&str> = wide.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(wide_heads[..heads.len()], heads);
    let processes = stdout(&live.inspect(&["processes"]));
    assert!(processes.contains("go_crypto_tls") && processes.contains("probed"), "{processes}");
    let probes = json(&live.inspect(&["probes", "-o", "json"]));
    assert_eq!(
        (&probes[0]["probe"], &probes[0]["hits"], &probes[0]["placement"]),
        (&"ssl_read".into(), &42.into(), &"callee+0".into())
    );
    assert!(!table.contains('\x1b'), "no colour into a pipe");
}

#[test]
fn top_is_one_plain_table_where_there_is_no_terminal() {
    let live = two_calls();
    let output = live.ask(&["top"]);
    let text = stdout(&output);
    assert!(output.status.success() && stderr(&output).is_empty(), "{}", stderr(&output));
    assert!(text.starts_with("open streams 1  connections ") && !text.contains('\x1b'), "{text}");
    // Nothing came between its two rounds.
    assert!(text.contains("  events/s 0.0  lost bytes 0  ") && text.contains("\nno open findings\n"), "{text}");
    let cells = |model: &str| -> Vec<String> {
        let line = text.lines().find(|line| line.contains(model)).unwrap_or_else(|| panic!("no {model}: {text}"));
        line.split_whitespace().map(str::to_owned).collect()
    };
    // SERVICE PROVIDER MODEL OPEN OLDEST IDLE ENDED VISIBLE50 GAP95 MAXGAP STALLS NOT-COMPLETE
    let open = cells("gpt-open");
    assert_eq!((open[3].as_str(), open[6].as_str(), open[7].as_str()), ("1", "0", "-"), "{text}");
    let whole = cells("gpt-x");
    assert_eq!(
        (whole[3..6].join(" "), whole[6..].join(" ")),
        ("0 - -".into(), "1 150ms 50ms 50ms 0 0".into()),
        "{text}"
    );
    let rows = text.lines().skip(3).take(2).map(|line| line.contains("gpt-open")).collect::<Vec<_>>();
    assert_eq!(rows, [true, false], "open ones first: {text}");
}

#[test]
fn since_leaves_out_what_ended_before() {
    let live = two_calls();
    let recent = json(&live.inspect(&["streams", "-o", "json", "--since", "1s"]));
    let pids: Vec<_> = recent.as_array().unwrap().iter().map(|s| s["pid"].as_u64().unwrap()).collect();
    assert_eq!(pids, [8], "the open one only");
    assert_eq!(live.inspect(&["streams", "--since", "tomorrow"]).status.code(), Some(2));
}

/// A live stream is shown while it is open, again when it grows, and once more when it ends.
#[test]
fn follow_shows_each_change_on_a_line() {
    let live = Live::start();
    let mut script = asked(8, "gpt-x");
    answering(&mut script);
    chunks(&mut script, 3);
    live.happen(std::slice::from_ref(&script));
    let mut child =
        command(&["inspect", "streams", "-f", "-o", "json", "--inspect.socket", live.socket.to_str().unwrap()])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap());
    let first = lines.next().unwrap();
    assert_eq!((&first["chunks"], &first["outcome"]), (&3.into(), &Value::Null));
    let before = script.records().len();
    chunks(&mut script, 2);
    completed(&mut script, 5);
    live.happen_from(&script, before);
    let last = lines.find(|line| !line["outcome"].is_null()).unwrap();
    assert_eq!((&last["id"], &last["chunks"], &last["outcome"]), (&first["id"], &5.into(), &"complete".into()));
    child.kill().unwrap();
    child.wait().unwrap();
}
