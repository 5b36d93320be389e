//! Scenarios times clients: every ledger against the provider's log. Counts must be exact, times within a bound.

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

use kernel_tests::clients::Kind;
use kernel_tests::rig::Rig;
use kernel_tests::{matrix, skipped};

/// What a streaming client is asked to hear.
const STREAMED: [&str; 23] = [
    "text",
    "tools",
    "reasoning",
    "refusal",
    "pings",
    "gzip",
    "deflate",
    "padding",
    "split",
    "coalesced",
    "corked",
    "until-close",
    "large",
    "reset",
    "closed",
    "goodbye",
    "fin",
    "fin-at-once",
    "truncated-chunk",
    "no-end",
    "error-event",
    "429-then-ok",
    "529",
];
/// Encodings that only some clients ask for; curl takes the bytes as they are.
const CURL_ONLY: [&str; 2] = ["br", "zstd"];
const WHOLE: [&str; 4] = ["text", "tools", "gzip", "429-then-ok"];
#[test]
fn every_stream_of_every_client_is_as_the_provider_wrote_it() {
    if skipped() {
        return;
    }
    matrix("1", |kind| if kind.is_sdk() { STREAMED.to_vec() } else { [&STREAMED[..], &CURL_ONLY].concat() });
}

/// What a compatible server leaves out is nothing that a user misses; SDKs end without an error too.
#[test]
fn an_answer_that_said_why_it_ended_needs_no_end_marker() {
    if skipped() {
        return;
    }
    let rig = Rig::new().unwrap();
    for client in ["openai-sync-chat", "openai-node-chat", "curl-chat", "anthropic-sync", "curl-messages"] {
        let models = ["no-marker", "no-end"].map(|name| format!("scenario:{name}#{client}"));
        rig.run(client).unwrap().start(&models).unwrap().finish().unwrap();
        let ledgers = rig.ended(&models).unwrap();
        for (model, outcome) in models.iter().zip(["complete", "truncated"]) {
            let of: Vec<_> = ledgers.iter().filter(|ledger| ledger.request_model.as_ref() == Some(model)).collect();
            assert!(!of.is_empty(), "{client}: {ledgers:?}");
            assert!(of.iter().all(|ledger| ledger.outcome.as_deref() == Some(outcome)), "{client}, {model}: {of:?}");
        }
    }
}

#[test]
fn whole_answers_count_too() {
    if skipped() {
        return;
    }
    matrix("0", |kind| if kind.name == "stdlib" { Vec::new() } else { WHOLE.to_vec() });
}

#[test]
fn requests_on_one_connection_are_told_apart() {
    if skipped() {
        return;
    }
    let rig = Rig::new().unwrap();
    let mut models = Vec::new();
    for name in ["openai-sync-chat", "anthropic-async", "openai-node-chat"] {
        // One call after the other; not streamed, so that every SDK keeps its connection.
        let turns = (0..4).map(|turn| format!("{}-{turn}", Kind::named(name).unwrap().model("text")));
        let asked: Vec<String> = turns.collect();
        rig.run(name).unwrap().env("CLIENT_STREAM", "0").start(&asked).unwrap().finish().unwrap();
        models.extend(asked);
    }
    let shared = models.iter().flat_map(|model| rig.truth(model)).filter(|truth| truth.request.request > 0).count();
    assert!(shared >= 6, "the clients did not reuse their connections: {shared} requests on used ones");
    matrix::judge(&rig, &matrix::report(&rig, &models).unwrap());
}

/// Runs every client, some at a time, and compares all their streams.
fn matrix(stream: &str, scenarios: impl Fn(Kind) -> Vec<&'static str>) {
    let rig = Rig::new().unwrap();
    let (kinds, absent) = rig.clients.available();
    for reason in absent {
        println!("not run here: {reason}");
    }
    let models = matrix::play(&rig, &kinds, stream, 2, scenarios).unwrap();
    matrix::judge(&rig, &matrix::report(&rig, &models).unwrap());
}
