//! Answers that were running before the daemon was.

use std::time::Duration;

use kernel_tests::clients::{Clients, Kind};
use kernel_tests::daemon::Daemon;
use kernel_tests::ledger::Ledger;
use kernel_tests::{skipped, truth, wait_for};
use provider::script::{Reply, Scenario, answer, deltas};
use provider::{Options, Provider};

/// Of every way to hold a TLS object: sync and async Python, Node, curl; and of every dialect that streams.
const CLIENTS: [&str; 5] =
    ["openai-sync-chat", "openai-async-responses", "anthropic-sync", "openai-node-chat", "curl-messages"];

/// Long enough for the daemon to start in the first half, on a busy host too.
const CHUNKS: u32 = 300;
const APART_US: u64 = 60_000;

#[test]
fn an_answer_that_ran_before_the_daemon_is_shown_to_its_end() {
    if skipped() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let provider = Provider::start(&Options::in_memory(dir.path().to_owned())).unwrap();
    provider.register("early", Scenario::always(Reply::of(answer(vec![deltas(CHUNKS, 12, APART_US)], "stop"))));
    let clients = Clients::set_up().unwrap();
    let mut running = Vec::new();
    for name in CLIENTS {
        let kind = Kind::named(name).unwrap();
        let model = kind.model("early");
        let client = clients.run(kind, &provider).start(std::slice::from_ref(&model)).unwrap();
        running.push((name, model, client));
    }
    for (name, model, _) in &running {
        wait_for(&format!("{name} to stream"), Duration::from_secs(30), || {
            truth::exchanges(&provider.lines(), model).first().filter(|one| one.chunks() >= 5).map(|_| ())
        })
        .unwrap();
    }
    let daemon = Daemon::start().unwrap();
    let seen_from: Vec<u64> =
        running.iter().map(|(_, model, _)| truth::exchanges(&provider.lines(), model)[0].chunks()).collect();
    for ((name, model, client), before) in running.into_iter().zip(seen_from) {
        let pid = client.pid();
        client.finish().unwrap();
        let truth = truth::exchanges(&provider.lines(), &model).remove(0);
        let id = wait_for(name, Duration::from_secs(30), || {
            // curl is started by a script: the script's pid is not its own.
            let ours = |ledger: &Ledger| ledger.pid == pid || (name.starts_with("curl") && ledger.comm == "curl");
            let ended = |ledger: &Ledger| ours(ledger) && ledger.started.is_none() && ledger.outcome.is_some();
            daemon.streams().ok()?.into_iter().find(ended).map(|ledger| ledger.id)
        })
        .unwrap();
        let ledger = daemon.stream(&id).unwrap();
        assert_eq!(ledger.outcome.as_deref(), Some("complete"), "{name}: {ledger:?}");
        // Nothing that lies before the join is made up.
        assert_eq!((&ledger.started, ledger.duration_seconds, &ledger.request_model), (&None, None, &None), "{name}");
        assert!(ledger.first_seconds.named().iter().all(|(_, at)| at.is_none()), "{name}: {:?}", ledger.first_seconds);
        assert_eq!(ledger.lost.cause.as_deref(), Some("late_attach"), "{name}");
        assert!(ledger.notes.iter().any(|note| note == "joined_in_the_middle"), "{name}: {:?}", ledger.notes);
        // What is shown is the end of what the provider wrote, to the character, and all of it
        // since the daemon was ready.
        let points = ledger.timeline.iter().filter(|point| point.kind == "visible");
        let shown: Vec<u64> = points.map(|point| u64::from(point.chars)).collect();
        let visible = truth.parts.iter().filter(|(part, _)| part.kind == provider::script::Kind::Visible);
        let written: Vec<u64> = visible.map(|(part, _)| u64::from(part.chars)).collect();
        assert!(written.ends_with(&shown), "{name}: {shown:?} of {written:?}");
        assert_eq!(shown.len() as u64, ledger.chunks, "{name}");
        let (possible, expected) = (truth.chunks(), truth.chunks() - before);
        // The event in whose middle it was joined, and one in flight while the provider's log was read.
        assert!(ledger.chunks + 2 >= expected && ledger.chunks < possible, "{name}: {} of {expected}", ledger.chunks);
    }
}
