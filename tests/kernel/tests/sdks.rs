//! Every SDK in its own default transport: dialects and protocols end to end, each ledger against the provider's log.

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

use kernel_tests::clients::{Kind, SDKS};
use kernel_tests::rig::Rig;
use kernel_tests::{matrix, skipped};
use provider::log::Protocol;
use provider::script::Kind::Visible;

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
/// What can be written down.
const HEARD: [&str; 6] = ["text", "error-event", "coalesced", "split", "large", "reset"];
/// Clients that break off: of every protocol and form of body one at least.
const CANCELLING: [&str; 10] = [
    "genai-sync",
    "mistral-async",
    "cohere",
    "bedrock-converse",
    "ollama-chat",
    "litellm-async-messages",
    "ai-node-responses",
    "realtime",
    "listen",
    "httpx-http2",
];
const WHOLE: [&str; 4] = ["text", "tools", "reasoning", "429-then-ok"];

/// How `gen_ai.provider.name` calls the hosts: who only resells goes by the API he speaks.
const PROVIDERS: [(&str, &str); 9] = [
    ("api.cohere.com", "cohere"),
    ("api.deepgram.com", "deepgram"),
    ("api.deepseek.com", "deepseek"),
    ("api.groq.com", "groq"),
    ("api.mistral.ai", "mistral_ai"),
    ("api.openai.com", "openai"),
    ("bedrock-runtime.us-east-1.amazonaws.com", "aws.bedrock"),
    ("generativelanguage.googleapis.com", "gcp.gemini"),
    ("openrouter.ai", "openai"),
];

/// Clients that also call without TLS, as they do with servers of one's own.
const PLAIN: [&str; 9] = [
    "ollama-chat",
    "ollama-generate",
    "bedrock-converse",
    "genai-async",
    "litellm-async-chat",
    "ai-node-chat",
    "realtime",
    "listen",
    "responses-socket",
];

#[test]
fn every_sdks_streams_are_as_the_provider_wrote_them() {
    if skipped() {
        return;
    }
    run(&Rig::new().unwrap(), &SDKS, "1", streamed);
}

/// The same words at the socket alone.
#[test]
fn sdks_without_tls_are_as_the_provider_wrote_them() {
    if skipped() {
        return;
    }
    let kinds: Vec<Kind> = PLAIN.iter().map(|name| Kind::named(name).unwrap()).collect();
    run(&Rig::plain().unwrap(), &kinds, "1", streamed);
}

#[test]
fn twenty_streams_of_one_httpx_connection_are_told_apart() {
    if skipped() {
        return;
    }
    let rig = Rig::new().unwrap();
    let kind = Kind::named("httpx-http2").unwrap();
    // Of different lengths and ends, each several times.
    let scenarios = ["text", "reasoning", "calls", "pings", "padding"];
    let models: Vec<String> = (0..20).map(|n| format!("{}-{n}", kind.model(scenarios[n % scenarios.len()]))).collect();
    let run = rig.run(kind.name).unwrap().env("CLIENT_PARALLEL", "20").env("CLIENT_WARM", &kind.model("length"));
    let (said, _) = run.start(&models).unwrap().finish().unwrap();
    assert!(said.iter().all(|line| line.error.is_none()), "{said:?}");
    let truths: Vec<_> = models.iter().flat_map(|model| rig.truth(model)).collect();
    let connections: std::collections::BTreeSet<u64> = truths.iter().map(|truth| truth.request.conn).collect();
    assert_eq!((truths.len(), connections.len()), (20, 1), "not one connection's twenty streams");
    let last_begin = truths.iter().map(|truth| truth.request.first_byte).max();
    let first_end = truths.iter().filter_map(|truth| truth.parts.last()).map(|(_, at)| *at).min();
    assert!(last_begin < first_end, "they were not open at the same time");
    // Not their times: one busy event loop reads all twenty.
    let wrong = matrix::report(&rig, &models).unwrap().mismatches;
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A client that gives up in the middle, in every protocol's way: a connection closed, a stream reset, a socket closed.
#[test]
fn who_gives_up_is_known_in_every_protocol() {
    if skipped() {
        return;
    }
    let rig = Rig::new().unwrap();
    let kinds = CANCELLING.map(|name| Kind::named(name).unwrap());
    for some in kinds.chunks(3) {
        let run = |kind: &Kind| rig.run(kind.name).unwrap().env("CLIENT_CANCEL", "60");
        let running: Vec<_> = some.iter().map(|kind| run(kind).start(&[kind.model("long")]).unwrap()).collect();
        for (kind, client) in some.iter().zip(running) {
            let (said, _) = client.finish().unwrap();
            let heard = said.first().and_then(|line| line.chars).unwrap();
            let model = kind.model("long");
            let ledger = rig.stream_when(&model, "its end", |ledger| ledger.outcome.is_some()).unwrap();
            assert_eq!(ledger.outcome.as_deref(), Some("client_cancel"), "{model}: {ledger:?}");
            let written = rig.truth(&model)[0].chars(Visible);
            let seen = ledger.visible_chars;
            assert!((heard..=written).contains(&seen), "{model}: {heard} <= {seen} <= {written}");
        }
    }
}

#[test]
fn every_sdks_whole_answers_count_too() {
    if skipped() {
        return;
    }
    // A turn, and sound, always stream.
    let streams = |kind: Kind| kind.protocol() == Protocol::Websocket || kind.speaks() || kind.name == "gemini-array";
    run(&Rig::new().unwrap(), &SDKS, "0", |kind| if streams(kind) { Vec::new() } else { WHOLE.to_vec() });
}

fn streamed(kind: Kind) -> Vec<&'static str> {
    let without = |left_out: &str| STREAMED.into_iter().filter(|name| *name != left_out).collect();
    match kind.name {
        // The connection's end would end all its streams.
        "httpx-http2" => without("closed"),
        _ if kind.speaks() => SPOKEN.to_vec(),
        _ if kind.hears() => HEARD.to_vec(),
        _ if kind.protocol() == Protocol::Websocket => TURNS.to_vec(),
        _ => STREAMED.to_vec(),
    }
}

/// Plays and judges. `SDKS_ONLY`: parts of clients' names, for a person who looks into one.
fn run(rig: &Rig, kinds: &[Kind], stream: &str, scenarios: impl Fn(Kind) -> Vec<&'static str>) {
    let only = std::env::var("SDKS_ONLY").ok();
    let wanted = |kind: &&Kind| only.as_ref().is_none_or(|only| only.split(',').any(|name| kind.name.contains(name)));
    let (kinds, absent) = rig.clients.available_of(&kinds.iter().filter(wanted).copied().collect::<Vec<_>>());
    for reason in absent {
        println!("not run here: {reason}");
    }
    let models = matrix::play(rig, &kinds, stream, 3, scenarios).unwrap();
    matrix::judge(rig, &matrix::report(rig, &models).unwrap());
    let streams = rig.daemon.streams().unwrap();
    for (host, provider) in PROVIDERS {
        let theirs = |name: &str| kinds.iter().any(|kind| kind.host == Some(host) && name.ends_with(kind.name));
        for ledger in streams.iter().filter(|ledger| ledger.request_model.as_deref().is_some_and(theirs)) {
            let seen = (ledger.server_address.as_deref(), ledger.provider.as_str());
            assert_eq!(seen, (Some(host), provider), "{:?}", ledger.request_model);
        }
    }
}
