//! Whether a process is seen into is judged by its sockets, not by the libraries that it has mapped.

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

use std::path::Path;
use std::time::Duration;

use kernel_tests::ledger::Process;
use kernel_tests::rig::Rig;
use kernel_tests::{skipped, wait_for};

/// libcurl on NSS, which no probe enters.
const LIBCURL_NSS: &str = "libcurl-nss.so.4";

/// Two seconds after the answer began, and the second between two looks.
const JUDGED: Duration = Duration::from_secs(10);

fn row(rig: &Rig, pid: u32) -> Option<Process> {
    rig.daemon.processes().unwrap().into_iter().find(|process| process.pid == pid)
}

/// As Copilot: OpenSSL is there and probed, and the calls pass another stack.
#[test]
fn a_process_that_has_a_probed_library_and_uses_another_is_not_seen() {
    if skipped() {
        return;
    }
    if !Path::new("/usr/lib/x86_64-linux-gnu").join(LIBCURL_NSS).exists() {
        println!("SKIPPED: no {LIBCURL_NSS} here");
        return;
    }
    let rig = Rig::new().unwrap();
    let models = ["scenario:text#one".to_owned(), "scenario:text#two".to_owned()];
    let run = rig.run("curl-gnutls-chat").unwrap().env("CLIENT_OTHER_TLS", "1").env("CLIENT_STAY", "1");
    let mut client = run.env("CLIENT_LIBCURL", LIBCURL_NSS).start(&models).unwrap();
    let begun = client.until(|said| said.begin.is_some()).unwrap();
    let said = client.until(|said| said.end.as_ref() == models.last()).unwrap();
    assert_eq!(said.error, None);
    let pid = begun.pid.unwrap();
    let mut last = None;
    let told = wait_for("the verdict on its sockets", JUDGED, || {
        last = row(&rig, pid);
        last.clone().filter(|row| row.reason == "sockets_unmatched")
    });
    let told = told.unwrap_or_else(|error| panic!("{error}: {last:?}"));
    // Both calls went over one socket.
    assert_eq!((told.visibility.as_str(), told.unmatched), ("none", Some(1)), "{told:?}");
    assert!(told.library.is_some(), "one is probed: {told:?}");
}

/// What the probes see is not doubted: not while an answer is under way, and not later.
#[test]
fn a_process_whose_calls_are_seen_is_not_doubted() {
    if skipped() {
        return;
    }
    let rig = Rig::new().unwrap();
    for (client, settings) in [
        ("curl-gnutls-chat", ("CLIENT_STAY", "1")),
        ("curl-gnutls-http2", ("CLIENT_STAY", "1")),
        ("openai-sync-chat", ("CLIENT_PARALLEL", "4")),
        ("openai-async-chat", ("CLIENT_PARALLEL", "4")),
        ("openai-node-chat", ("CLIENT_PARALLEL", "4")),
    ] {
        let models: Vec<String> =
            ["text", "slow", "text", "slow"].iter().map(|name| format!("scenario:{name}#{client}")).collect();
        let run = rig.run(client).unwrap().env(settings.0, settings.1);
        let mut running = run.start(&models).unwrap();
        let pid = running.until(|said| said.begin.is_some()).unwrap().pid.unwrap();
        let until = std::time::Instant::now() + Duration::from_secs(6);
        while std::time::Instant::now() < until {
            let Some(row) = row(&rig, pid) else { continue };
            assert_eq!((row.visibility.as_str(), row.unmatched), ("plaintext", Some(0)), "{client}: {row:?}");
            std::thread::sleep(Duration::from_millis(200));
        }
        running.finish().unwrap();
    }
}

/// Rows of `inspect probes` say of which stack they are, and how that is known.
#[test]
fn probes_tell_their_stack_and_how_certain_it_is() {
    if skipped() {
        return;
    }
    let rig = Rig::new().unwrap();
    let of = |probe: &str| rig.daemon.probes().unwrap().into_iter().find(|row| row.probe == probe).unwrap();
    let (read, hook) = (of("ssl_read"), of("cgroup_egress"));
    assert_eq!((read.stack.as_deref(), read.anchor.as_deref()), (Some("openssl"), Some("named")));
    assert_eq!((hook.stack, hook.anchor), (None, None));
}
