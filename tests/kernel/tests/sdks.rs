//! Every SDK in its own default transport: dialects and protocols end to end, each ledger against the provider's log.

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

use kernel_tests::clients::{Kind, SDKS};
use kernel_tests::rig::Rig;
use kernel_tests::{matrix, skipped};
use provider::log::Protocol;

/// What a streaming client is asked to hear.
const STREAMED: [&str; 12] = [
    "text",
    "reasoning",
    "tools",
    "calls",
    "error-event",
    "no-end",
    "reset",
    "closed",
    "429-then-ok",
    "coalesced",
    "split",
    "large",
];
/// What a turn on a WebSocket can be; what breaks the socket comes last.
const TURNS: [&str; 9] = ["text", "reasoning", "tools", "calls", "error-event", "coalesced", "split", "large", "reset"];
/// What can be spoken: no event of the `large` one would fit the observer's cap.
const SPOKEN: [&str; 6] = ["speech", "text", "reset", "closed", "429-then-ok", "split"];
const WHOLE: [&str; 4] = ["text", "tools", "reasoning", "429-then-ok"];

/// Clients whose dialect or protocol the observer does not read yet, each with what is missing: they are not run.
const NOT_YET: [(&str, &str); 3] = [
    ("realtime", "OpenAI Realtime"),
    ("realtime-no-takeover", "OpenAI Realtime"),
    ("realtime-plain", "OpenAI Realtime"),
];

#[test]
fn every_sdks_streams_are_as_the_provider_wrote_them() {
    if skipped() {
        return;
    }
    run("1", streamed);
}

#[test]
fn every_sdks_whole_answers_count_too() {
    if skipped() {
        return;
    }
    // A turn, and sound, always stream.
    let streams = |kind: Kind| kind.protocol() == Protocol::Websocket || kind.speaks() || kind.name == "gemini-array";
    run("0", |kind| if streams(kind) { Vec::new() } else { WHOLE.to_vec() });
}

fn streamed(kind: Kind) -> Vec<&'static str> {
    let without = |left_out: &str| STREAMED.into_iter().filter(|name| *name != left_out).collect();
    match kind.name {
        // Once the reason is there, nothing tells Bedrock's other vendors' ends from a missing `message_stop`.
        "bedrock-invoke" => without("no-end"),
        // The connection's end would end all its streams.
        "httpx-http2" => without("closed"),
        _ if kind.speaks() => SPOKEN.to_vec(),
        _ if kind.protocol() == Protocol::Websocket => TURNS.to_vec(),
        _ => STREAMED.to_vec(),
    }
}

fn run(stream: &str, scenarios: impl Fn(Kind) -> Vec<&'static str>) {
    let rig = Rig::new().unwrap();
    let only = std::env::var("SDKS_ONLY").ok();
    let wanted = |kind: &Kind| {
        NOT_YET.iter().all(|(name, _)| *name != kind.name)
            && only.as_ref().is_none_or(|only| only.split(',').any(|name| kind.name.contains(name)))
    };
    let (kinds, absent) = rig.clients.available_of(&SDKS.into_iter().filter(wanted).collect::<Vec<_>>());
    for reason in absent.into_iter().chain(NOT_YET.iter().map(|(name, why)| format!("{name}: {why}"))) {
        println!("not run here: {reason}");
    }
    let models = matrix::play(&rig, &kinds, stream, 4, scenarios).unwrap();
    matrix::judge(&rig, &matrix::report(&rig, &models).unwrap());
}
