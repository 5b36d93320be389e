//! Ends of streams that a full ring had no room for, on connections that are kept: no later record tells of them.

use std::fs;
use std::process::Command;
use std::time::Duration;

use kernel_tests::clients::Clients;
use kernel_tests::daemon::Daemon;
use kernel_tests::helper::Helper;
use kernel_tests::ledger::Ledger;
use kernel_tests::raw::Raw;
use kernel_tests::{places, skipped, wait_for};
use provider::script::{Reply, Scenario, answer, deltas};
use provider::{Options, Provider};
use rustix::process::{Pid, Signal, kill_process};

/// Between the first delta, which shows that a stream is there, and all that is lost: a busy host
/// is given the time to start the other stream's client and to stop the daemon.
const BEFORE_THE_LOSS_US: u64 = 5_000_000;

/// The kernel's tables are looked up within five seconds of a loss, and told of a second later; a
/// busy host is given its time.
const AUDITED: Duration = Duration::from_secs(20);

#[test]
fn an_end_that_was_lost_is_known_while_the_connection_is_kept() {
    if skipped() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let provider = Provider::start(&Options { plain: true, ..Options::in_memory(dir.path().to_owned()) }).unwrap();
    let tls = Provider::start(&Options::in_memory(dir.path().to_owned())).unwrap();
    for provider in [&provider, &tls] {
        let said = vec![deltas(1, 200, 0), deltas(1, 200, BEFORE_THE_LOSS_US), deltas(1_000, 200, 1_000)];
        provider.register("much", Scenario::always(Reply::of(answer(said, "stop"))));
    }
    let config = dir.path().join("config.yml");
    fs::write(&config, "kernel: {ring_bytes: 131072}\n").unwrap();
    let daemon = Daemon::start_with(&["--config", config.to_str().unwrap()], &[]).unwrap();

    let (plain_model, tls_model) = ("scenario:much#plain", "scenario:much#tls");
    let mut plain = Raw::connect(provider.address()).unwrap();
    let mut client = Command::new(Clients::set_up().unwrap().python());
    client.arg(places::programs().join("timelines.py")).args(["sync", tls_model]).env("HOLD", "1");
    client.env("BASE_URL", tls.url()).env("SSL_CERT_FILE", tls.ca().unwrap());
    let held = std::thread::scope(|scope| {
        // It says its line when it has the whole answer.
        let held = scope.spawn(|| Helper::start(&mut client).unwrap().0);
        wait_for("the stream over TLS", AUDITED, || begun(&both(&daemon)[1])).unwrap();
        plain.write(plain_model, 10).unwrap();
        wait_for("the plain stream", AUDITED, || begun(&both(&daemon)[0])).unwrap();
        let pid = Pid::from_raw(i32::try_from(daemon.pid()).unwrap()).unwrap();
        kill_process(pid, Signal::STOP).unwrap();
        plain.read().unwrap();
        let held = held.join();
        kill_process(pid, Signal::CONT).unwrap();
        held.unwrap()
    });

    let told = || both(&daemon).into_iter().collect::<Option<Vec<_>>>().filter(|all| all.iter().all(lost));
    let all = wait_for("the losses", AUDITED, told).unwrap_or_else(|error| panic!("{error}: {:?}", both(&daemon)));
    assert!(all.iter().all(|one| one.outcome.is_none()), "their connections are open: {all:?}");
    drop((held, plain));
    let ended = || both(&daemon).into_iter().collect::<Option<Vec<_>>>().filter(|all| all.iter().all(over));
    let all = wait_for("the ends", AUDITED, ended).unwrap_or_else(|error| panic!("{error}: {:?}", both(&daemon)));
    assert!(all.iter().all(|one| one.outcome.as_deref() == Some("lost")), "{all:?}");
}

fn both(daemon: &Daemon) -> [Option<Ledger>; 2] {
    let streams = daemon.streams().unwrap_or_default();
    ["plain", "tls"].map(|tag| {
        let model = format!("scenario:much#{tag}");
        streams.iter().find(|one| one.request_model.as_deref() == Some(&model)).cloned()
    })
}

fn begun(one: &Option<Ledger>) -> Option<()> {
    one.as_ref().is_some_and(|one| one.chunks > 0).then_some(())
}

fn lost(one: &Ledger) -> bool {
    one.lost.bytes.is_some_and(|bytes| bytes > 0)
}

fn over(one: &Ledger) -> bool {
    one.outcome.is_some()
}
