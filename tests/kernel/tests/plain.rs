//! Plain HTTP, seen at the socket alone: every ledger against the provider's log. Both ends are on
//! this host: each stream must be there once, as the client's.

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

use std::net::{Ipv6Addr, SocketAddr};

use kernel_tests::clients::Kind;
use kernel_tests::compare::{Quantiles, Report};
use kernel_tests::ledger::Ledger;
use kernel_tests::rig::Rig;
use kernel_tests::skipped;
use provider::Options;

/// A socket sees segments, not reads: its stamps owe nothing to the client. What remains is the
/// time that the provider's thread takes to wake up and to come back from its write on a busy host.
const MEDIAN_MS: f64 = 5.0;
const LATE: f64 = 0.050;
const LATE_SHARE: f64 = 0.05;

const SCENARIOS: [&str; 19] = [
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
    "fin",
    "truncated-chunk",
    "error-event",
    "429-then-ok",
];

const CLIENTS: [&str; 6] = [
    "openai-sync-chat",
    "openai-async-responses",
    "anthropic-sync",
    "anthropic-async",
    "openai-node-chat",
    "curl-chat",
];

#[test]
fn every_stream_over_plain_http_is_as_the_provider_wrote_it() {
    if skipped() {
        return;
    }
    let rig = Rig::plain().unwrap();
    let mut models = Vec::new();
    for name in CLIENTS {
        let kind = Kind::named(name).unwrap();
        let asked: Vec<String> = SCENARIOS.iter().map(|scenario| kind.model(scenario)).collect();
        rig.run(name).unwrap().env("CLIENT_PARALLEL", "3").start(&asked).unwrap().finish().unwrap();
        models.extend(asked);
    }
    judge(&rig, &models);
}

#[test]
fn calls_on_one_connection_are_told_apart_and_whole_answers_count() {
    if skipped() {
        return;
    }
    let rig = Rig::plain().unwrap();
    let mut models = Vec::new();
    for name in ["openai-sync-chat", "anthropic-async", "openai-node-chat"] {
        let turns = (0..4).map(|turn| format!("{}-{turn}", Kind::named(name).unwrap().model("text")));
        let asked: Vec<String> = turns.collect();
        rig.run(name).unwrap().env("CLIENT_STREAM", "0").start(&asked).unwrap().finish().unwrap();
        models.extend(asked);
    }
    let shared = models.iter().flat_map(|model| rig.truth(model)).filter(|truth| truth.request.request > 0).count();
    assert!(shared >= 6, "the clients did not reuse their connections: {shared} requests on used ones");
    judge(&rig, &models);
}

#[test]
fn ipv6_is_seen_like_ipv4() {
    if skipped() {
        return;
    }
    let listen = SocketAddr::from((Ipv6Addr::LOCALHOST, 0));
    let rig = Rig::with(|options| Options { plain: true, listen, ..options }).unwrap();
    let mut models = Vec::new();
    for name in ["curl-chat", "openai-sync-chat"] {
        let asked = vec![Kind::named(name).unwrap().model("text")];
        let url = format!("http://[::1]:{}", rig.provider.address().port());
        let run = rig.clients.run_at(Kind::named(name).unwrap(), &url, None);
        run.start(&asked).unwrap().finish().unwrap();
        models.extend(asked);
    }
    let ledgers = judge(&rig, &models);
    for ledger in &ledgers {
        let remote = ledger.remote.as_ref().unwrap();
        assert_eq!(
            (remote.ip.as_deref(), remote.port),
            (Some("::1"), Some(rig.provider.address().port())),
            "{ledger:?}"
        );
    }
}

/// Exact counts, small errors; the ledgers.
fn judge(rig: &Rig, models: &[String]) -> Vec<Ledger> {
    let ledgers = rig.ended(models).unwrap();
    let mut report = Report::default();
    for model in models {
        report.add(model, &ledgers, &rig.truth(model));
    }
    let others: Vec<_> =
        rig.daemon.streams().unwrap().into_iter().filter(|l| !ledgers.iter().any(|o| o.id == l.id)).collect();
    assert!(others.is_empty(), "streams that nobody asked for: {others:?}");
    let wrong = &report.mismatches;
    assert!(
        wrong.is_empty(),
        "{} facts of {} streams differ:\n{}\n{}",
        wrong.len(),
        report.streams,
        wrong.join("\n"),
        rig.daemon.log()
    );
    let milestones = Quantiles::of_errors(report.errors());
    let gaps = Quantiles::of_errors(report.gaps.iter().copied());
    println!("{} streams; error of milestones: {milestones}; of gaps: {gaps}", report.streams);
    let late = report.late(LATE);
    assert!(late.len() as f64 <= LATE_SHARE * report.milestones.len() as f64, "late: {}", late.join("\n"));
    assert!(milestones.p50 <= MEDIAN_MS && gaps.p50 <= MEDIAN_MS, "milestones {milestones}; gaps {gaps}");
    ledgers
}
