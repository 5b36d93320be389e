//! What every case is held to: to what is expected of it, and to the same however its bytes are cut or lost.

use serde_json::Value;

use super::case::Case;
use super::drive::{Cut, Random, Run, drive};
use super::loss;
use super::transcript::Make;

/// Fed a turn at a time, it says what its `expect.jsonl` says; also when another exchange follows,
/// where its connection goes on.
pub(super) fn whole(case: &Case, make: Make) {
    let (got, alive, _) = drive(case, &Run::whole(), make);
    bless_or_compare(case, &got);
    if alive && case.ends_between_exchanges(make) {
        followed(case, &got, make);
    }
}

fn followed(case: &Case, expected: &[Value], make: Make) {
    let run = Run { name: "trailing exchange".into(), trailing: true, ..Run::whole() };
    let (got, ..) = drive(case, &run, make);
    let kept = &got[..expected.len().min(got.len())];
    compare(case, &run.name, expected, kept);
    assert!(got.len() > expected.len(), "{}: the exchange after it was not seen", case.name());
}

/// Byte by byte and at random cuts, each piece in a call of its own or not, it says what it says whole.
pub(super) fn random_cuts(case: &Case, make: Make) {
    let (expected, ..) = drive(case, &Run::whole(), make);
    for run in cuts(case) {
        let (got, _, losses) = drive(case, &run, make);
        compare(case, &run.name, &expected, &got);
        assert!(case.late || losses.gaps.is_empty(), "{}: {}: a gap where nothing is missing", case.name(), run.name);
    }
}

fn cuts(case: &Case) -> Vec<Run> {
    let whole = Run::whole();
    let mut runs = vec![Run { name: "bytes".into(), cut: Cut::Bytes, ..whole.clone() }];
    // Where a place has to be found again, a call must begin with a head.
    for calls in [false, true].into_iter().filter(|calls| !(*calls && case.late)) {
        for seed in 1..=6 {
            runs.push(Run {
                name: format!("cuts {seed} calls {calls}"),
                cut: Cut::Random(seed),
                calls,
                ..whole.clone()
            });
        }
        runs.push(Run { name: format!("bytes calls {calls}"), cut: Cut::Bytes, calls, ..whole.clone() });
    }
    runs
}

/// Loses a part of the case: no event may come out changed. In a case whose lines depend on those
/// before them, a line may be put together otherwise, but says nothing that was not said. What is
/// missing is told by its cause, and an exchange of which nothing is told is as it would have been.
pub(super) fn gaps(case: &Case, make: Make) {
    let (expected, ..) = drive(case, &Run::whole(), make);
    let expected = &expected[..];
    let total: usize = case.turns.iter().map(|(_, bytes)| bytes.len()).sum();
    // A lost request shifts the ordinals of those after it.
    let anonymous = |line: &Value| {
        line.as_object().map(|line| {
            line.iter().filter(|(key, _)| *key != "x").map(|(k, v)| (k.clone(), v.clone())).collect::<Value>()
        })
    };
    let known: Vec<_> = expected.iter().map(anonymous).collect();
    let mut random = Random(7);
    for index in 0..60 {
        let at = random.below(total);
        let length = 1 + random.below((total - at).min(if index % 2 == 0 { 40 } else { 4000 }));
        let run = Run {
            name: format!("gap {at}+{length}"),
            cut: Cut::Random(index),
            calls: true,
            gap: Some((at, length, index % 5 != 0)),
            trailing: false,
        };
        let (listener, (heard, _, losses)) = (make(), drive(case, &run, make));
        losses.check(case, &run, &heard, expected);
        for line in heard.iter().filter(|line| listener.survives_only_whole(line)) {
            let in_parts = || case.context && said_in_parts(line, &heard, expected, case);
            let true_still = known.contains(&anonymous(line)) || in_parts();
            assert!(true_still, "{}: {}: made up {line}", case.name(), run.name);
        }
    }
    loss::check_payloads(case, expected, make);
}

/// Whether all that a line says was said: names at all, a text in pieces of its kind, a number of
/// characters up to theirs. Where no reasoning is told, the tag that began it may be what was lost:
/// text then is any text of the answer.
fn said_in_parts(line: &Value, heard: &[Value], expected: &[Value], case: &Case) -> bool {
    let pieces = |kind: &Value| -> Vec<&str> {
        expected.iter().filter(|line| line["delta"] == *kind).filter_map(|line| line["text"].as_str()).collect()
    };
    if let Some(names) = line["start"].as_object() {
        let known = |key: &str, name: &Value| expected.iter().any(|line| line["start"][key] == *name);
        return names.iter().all(|(key, name)| known(key, name) || name.is_null() || case.answers(&name.to_string()));
    }
    match (line["text"].as_str(), line["chars"].as_u64()) {
        (Some(text), _) => {
            let untold = line["delta"] == "Visible" && heard.iter().all(|line| line["delta"] != "Reasoning");
            let pieces = pieces(&line["delta"]);
            let in_order = pieces.iter().fold(text, |left, piece| left.strip_prefix(piece).unwrap_or(left)).is_empty();
            let escaped = Value::from(text).to_string();
            in_order || pieces.concat().contains(text) || (untold && case.answers(escaped.trim_matches('"')))
        }
        (_, Some(chars)) => chars <= pieces(&line["whole"]).concat().chars().count() as u64,
        _ => false,
    }
}

/// Compares with `expect.jsonl`; with `BLESS=1` writes it instead (then read the difference before you commit it).
fn bless_or_compare(case: &Case, got: &[Value]) {
    let path = case.folder.join("expect.jsonl");
    if std::env::var_os("BLESS").is_some() {
        let text: String = got.iter().map(|line| format!("{line}\n")).collect();
        return std::fs::write(&path, text).unwrap();
    }
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let expected: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    compare(case, "whole", &expected, got);
}

fn compare(case: &Case, run: &str, expected: &[Value], got: &[Value]) {
    for (index, (expected, got)) in expected.iter().zip(got).enumerate() {
        assert_eq!(expected, got, "{}: {run}: line {}", case.name(), index + 1);
    }
    let (more, less) = (got.get(expected.len()), expected.get(got.len()));
    assert!(more.is_none() && less.is_none(), "{}: {run}: too much {more:?}, missing {less:?}", case.name());
}
