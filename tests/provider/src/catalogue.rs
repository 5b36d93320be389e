//! The scenarios that every provider knows by name.

use crate::script::{Encoding, Fault, Framing, Quota, Reply, Say, Scenario, Shape, Step, Tokens, answer, deltas};

/// Tokens that the catalogue's answers report.
pub const USAGE: Tokens = Tokens { input: 120, output: 64, cached: 32, reasoning: 8 };

/// Every name with its scenario.
#[must_use]
pub fn all() -> Vec<(&'static str, Scenario)> {
    let mut all = plain();
    all.extend(encoded());
    all.extend(shaped());
    all.extend(broken());
    all
}

/// Answers that end well.
fn plain() -> Vec<(&'static str, Scenario)> {
    vec![
        ("text", text()),
        ("tools", tools()),
        ("calls", calls()),
        ("reasoning", reasoning()),
        ("refusal", always(vec![Step::new(20_000, Say::Refusal(10)).times(5)], "filter")),
        ("length", always(vec![deltas(5, 8, 10_000)], "length")),
        ("pings", pings()),
        ("slow", always(vec![deltas(10, 12, 500_000)], "stop")),
        // Long enough to be cancelled or killed in the middle; ends by itself after a minute.
        ("long", always(vec![deltas(1_200, 12, 50_000)], "stop")),
        ("demo", demo()),
        ("speech", always(vec![Step::new(15_000, Say::Audio(2_400)).times(10)], "stop")),
        ("spoken", spoken()),
        ("quota", quota()),
    ]
}

/// Sound with its words.
fn spoken() -> Scenario {
    let word = |_| [Step::new(15_000, Say::Audio(1_200)), Step::new(5_000, Say::Text(9))];
    always((0..8).flat_map(word).collect(), "stop")
}

/// An account that six requests use up, for ten seconds.
fn quota() -> Scenario {
    let reply = Reply::of(answer(vec![deltas(3, 8, 5_000)], "stop")).usage(USAGE);
    Scenario::always(reply.quota(Quota { requests: 6, tokens: 100_000, window_us: 10_000_000 }))
}

fn always(middle: Vec<Step>, finish: &str) -> Scenario {
    Scenario::always(Reply::of(answer(middle, finish)).usage(USAGE))
}

fn text() -> Scenario {
    let mut reply = Reply::of(answer(vec![deltas(20, 12, 20_000)], "stop")).usage(USAGE);
    reply.head_delay_us = 100_000;
    Scenario::always(reply)
}

fn tools() -> Scenario {
    let call = vec![
        deltas(3, 10, 15_000),
        Step::new(30_000, Say::Tool { name: "lookup".to_owned() }),
        Step::new(15_000, Say::ToolArgs(8)).times(6),
    ];
    always(call, "tool")
}

/// Two calls, one after the other.
fn calls() -> Scenario {
    let call = |name: &str| {
        [Step::new(20_000, Say::Tool { name: name.to_owned() }), Step::new(10_000, Say::ToolArgs(7)).times(3)]
    };
    always([call("lookup"), call("weather_report")].concat(), "tool")
}

fn reasoning() -> Scenario {
    always(vec![Step::new(20_000, Say::Reasoning(15)).times(8), deltas(10, 12, 20_000)], "stop")
}

fn pings() -> Scenario {
    let ping = || Step::new(30_000, Say::Ping);
    always(vec![ping(), deltas(4, 10, 20_000), ping(), ping(), deltas(4, 10, 20_000)], "stop")
}

/// What the demo shows: thinking, a burst, a steady flow, a pause, a steady flow.
fn demo() -> Scenario {
    let burst = deltas(4, 6, 0);
    let pause = Step::new(1_200_000, Say::Text(9));
    let middle = vec![
        Step::new(120_000, Say::Reasoning(14)).times(5),
        burst,
        deltas(45, 11, 70_000),
        pause,
        deltas(45, 11, 70_000),
    ];
    let mut reply =
        Reply::of(answer(middle, "stop")).usage(Tokens { input: 512, output: 256, cached: 128, reasoning: 32 });
    reply.head_delay_us = 250_000;
    Scenario::always(reply)
}

/// The text scenario in every encoding, and padded.
fn encoded() -> Vec<(&'static str, Scenario)> {
    let with = |encoding| {
        let steps = answer(vec![deltas(12, 12, 15_000)], "stop");
        Scenario::always(Reply::of(steps).usage(USAGE).encoding(encoding))
    };
    let mut padded = Reply::of(answer(vec![deltas(12, 7, 15_000)], "stop")).usage(USAGE);
    padded.padding = true;
    vec![
        ("gzip", with(Encoding::Gzip)),
        ("deflate", with(Encoding::Deflate)),
        ("br", with(Encoding::Br)),
        ("zstd", with(Encoding::Zstd)),
        ("padding", Scenario::always(padded)),
    ]
}

/// The same words in other records, writes and chunks.
fn shaped() -> Vec<(&'static str, Scenario)> {
    let shape = Shape::default();
    let split = Shape { chunks: 2, records: 3, between_us: 2_000, ..shape };
    let groups = |quiet: Shape| {
        let group = |_| [deltas(3, 9, 0).shape(quiet), deltas(1, 9, 30_000)];
        always((0..5).flat_map(group).collect(), "stop")
    };
    let mut close = Reply::of(answer(vec![deltas(8, 10, 15_000)], "stop")).usage(USAGE);
    close.framing = Framing::Close;
    vec![
        ("split", always(vec![deltas(8, 12, 20_000).shape(split)], "stop")),
        // Four events in one TLS record.
        ("coalesced", groups(Shape { hold: true, ..shape })),
        // Four TLS records in one TCP write.
        ("corked", groups(Shape { cork: true, ..shape })),
        ("until-close", Scenario::always(close)),
        // One delta larger than a TLS record.
        ("large", always(vec![deltas(2, 20_000, 20_000)], "stop")),
    ]
}

/// Answers that end badly.
fn broken() -> Vec<(&'static str, Scenario)> {
    let begun = |last: Say| {
        let steps = vec![Step::new(0, Say::Start), deltas(6, 10, 20_000), Step::new(20_000, last)];
        Reply::of(steps).usage(USAGE)
    };
    let fault = |fault| Scenario::always(begun(Say::Fault(fault)));
    let at_once = |fault| {
        let steps = vec![Step::new(0, Say::Start), deltas(6, 10, 0), Step::new(0, Say::Fault(fault))];
        Scenario::always(Reply::of(steps).usage(USAGE))
    };
    let overloaded = Say::Error { kind: "overloaded_error".to_owned(), message: "scripted failure".to_owned() };
    let fine = || Reply::of(answer(vec![deltas(6, 10, 10_000)], "stop")).usage(USAGE);
    let limited = || Reply::status(429).header("retry-after-ms", "50").header("retry-after", "1");
    vec![
        ("reset", fault(Fault::Reset)),
        ("closed", fault(Fault::Close)),
        ("goodbye", fault(Fault::Goodbye)),
        ("fin", fault(Fault::Fin)),
        // All at once: the client has hardly sent its request when the connection is gone.
        ("fin-at-once", at_once(Fault::Fin)),
        ("stall", fault(Fault::Stall)),
        ("truncated-chunk", fault(Fault::TruncatedChunk)),
        // The body ends in order, but the answer did not say that it is over.
        ("no-end", Scenario::always(Reply::of(vec![Step::new(0, Say::Start), deltas(6, 10, 20_000)]).usage(USAGE))),
        // It said why it ended, and the dialect's end marker is missing, as of many compatible servers.
        ("no-marker", Scenario::always(begun(Say::Finish("stop".to_owned())))),
        ("error-event", Scenario::always(begun(overloaded))),
        ("429-then-ok", Scenario::first_then(limited(), fine())),
        ("429", Scenario::always(limited())),
        ("500", Scenario::always(Reply::status(500))),
        ("529", Scenario::always(Reply::status(529).header("x-should-retry", "false"))),
    ]
}
