//! Processes that come, go, break off and hide: each is seen, or its absence explained.

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use kernel_tests::clients::Kind;
use kernel_tests::compare::Report;
use kernel_tests::ledger::Ledger;
use kernel_tests::rig::Rig;
use kernel_tests::{library, places, skipped, wait_for};
use provider::script::{Reply, Scenario, answer, deltas};
use rustix::process::Signal;

/// 100 ms from request to end: with its start and TLS a process of some 300 ms.
fn quick() -> Scenario {
    Scenario::always(Reply::of(answer(vec![deltas(5, 12, 20_000)], "stop")))
}

#[test]
fn a_process_that_lives_for_one_call_is_seen_whole() {
    if skipped() {
        return;
    }
    let rig = Rig::new().unwrap();
    rig.provider.register("quick", quick());
    let models: Vec<String> = (0..10).map(|turn| format!("scenario:quick#{turn}")).collect();
    rig.run("curl-chat").unwrap().start(&models).unwrap().finish().unwrap();
    assert_same(&rig, &models);
}

#[test]
fn a_library_never_seen_before_is_covered_within_100_ms() {
    if skipped() {
        return;
    }
    let rig = Rig::new().unwrap();
    rig.provider.register("quick", quick());
    let mut models = Vec::new();
    for turn in 0..5 {
        // Another inode each time, loaded by a process that lives for one call.
        let libraries = copy_of_libssl(&rig.dir.path().join(format!("lib{turn}")));
        let asked = [format!("scenario:quick#copy{turn}")];
        let run = rig.run("stdlib").unwrap().env("LD_LIBRARY_PATH", libraries.to_str().unwrap());
        run.env("CLIENT_PAUSE", "0.1").start(&asked).unwrap().finish().unwrap();
        models.extend(asked);
    }
    assert_same(&rig, &models);
}

#[test]
fn a_process_older_than_the_daemon_that_loads_tls_later_is_covered() {
    if skipped() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let libraries = copy_of_libssl(&dir.path().join("lib"));
    let models = ["scenario:text#late".to_owned()];
    let provider = provider::Provider::start(&provider::Options::in_memory(dir.path().to_owned())).unwrap();
    let clients = kernel_tests::clients::Clients::set_up().unwrap();
    // A library that nobody used before: what is promised is that 100 ms after it was mapped it is covered.
    let run = clients.run(Kind::named("stdlib").unwrap(), &provider).env("CLIENT_GO", "1").env("CLIENT_PAUSE", "0.1");
    let mut client = run.env("LD_LIBRARY_PATH", libraries.to_str().unwrap()).start(&models).unwrap();
    client.until(|said| said.ready).unwrap();
    assert!(mapped_libssl(client.pid()).is_none(), "TLS is loaded already: this would test nothing");
    let rig = Rig::of(provider, clients, kernel_tests::daemon::Daemon::start().unwrap(), dir);
    client.go().unwrap();
    client.finish().unwrap();
    assert_same(&rig, &models);
}

#[test]
fn other_builds_of_libssl_in_roots_of_their_own_are_covered() {
    if skipped() {
        return;
    }
    let rig = Rig::new().unwrap();
    let roots = places::roots();
    if roots.is_empty() {
        println!("SKIPPED: no roots of other suites in the cache: `cargo xtask setup` unpacks them");
    }
    let mut models = Vec::new();
    for root in roots {
        let suite = root.file_name().unwrap().to_string_lossy().into_owned();
        let asked = [format!("scenario:text#{suite}"), format!("scenario:split#{suite}")];
        let url = rig.provider.url().replace("localhost", "127.0.0.1");
        let run = rig.clients.run_at(Kind::named("curl-chat").unwrap(), &url, rig.provider.ca().map(PathBuf::as_path));
        // The root has no certificates and no name service.
        let run = run.env("CLIENT_CURL", &format!("chroot {} /usr/bin/curl -k", root.display()));
        // The first call comes sooner after the library's mapping than the 100 ms that are promised: it is not judged.
        let calls = [&["scenario:length#first".to_owned()][..], &asked].concat();
        let (said, _) = run.start(&calls).unwrap().finish().unwrap();
        assert!(said.iter().all(|line| line.error.is_none()), "{suite}: {said:?}");
        models.extend(asked);
    }
    assert_same(&rig, &models);
}

#[test]
fn a_client_that_breaks_off_is_told_from_a_provider_that_does() {
    if skipped() {
        return;
    }
    let rig = Rig::new().unwrap();
    for name in ["openai-sync-chat", "openai-async-responses", "anthropic-async", "openai-node-chat"] {
        let model = Kind::named(name).unwrap().model("long");
        let run = rig.run(name).unwrap().env("CLIENT_CANCEL", "60");
        let (said, _) = run.start(std::slice::from_ref(&model)).unwrap().finish().unwrap();
        let heard = said[0].chars.unwrap();
        let ledger = rig.stream_when(&model, "its end", |ledger| ledger.outcome.is_some()).unwrap();
        assert_eq!(ledger.outcome.as_deref(), Some("client_cancel"), "{name}: {ledger:?}");
        let written = rig.truth(&model)[0].chars(provider::script::Kind::Visible);
        assert!(
            (heard..=written).contains(&ledger.visible_chars),
            "{name}: {heard} <= {} <= {written}",
            ledger.visible_chars
        );
    }
}

#[test]
fn a_killed_client_ends_its_streams_as_process_exit() {
    if skipped() {
        return;
    }
    let rig = Rig::new().unwrap();
    for name in ["openai-sync-chat", "anthropic-node"] {
        let model = Kind::named(name).unwrap().model("long");
        let client = rig.run(name).unwrap().start(std::slice::from_ref(&model)).unwrap();
        rig.stream_when(&model, "an open stream with chunks", |ledger| ledger.chunks >= 3 && ledger.outcome.is_none())
            .unwrap();
        client.signal(Signal::KILL);
        let ledger = rig.stream_when(&model, "its end", |ledger| ledger.outcome.is_some()).unwrap();
        assert_eq!(ledger.outcome.as_deref(), Some("process_exit"), "{name}: {ledger:?}");
    }
}

#[test]
fn a_stalled_stream_shows_as_open_while_it_stalls() {
    if skipped() {
        return;
    }
    let rig = Rig::new().unwrap();
    let model = Kind::named("anthropic-sync").unwrap().model("stall");
    let client = rig.run("anthropic-sync").unwrap().start(std::slice::from_ref(&model)).unwrap();
    let open = rig.stream_when(&model, "all chunks of the stalled stream", |ledger| ledger.chunks == 6).unwrap();
    assert_eq!((open.outcome, open.visible_chars), (None, 60));
    client.signal(Signal::KILL);
    rig.stream_when(&model, "its end", |ledger| ledger.outcome.as_deref() == Some("process_exit")).unwrap();
}

#[test]
fn tls_that_is_not_llm_traffic_makes_no_stream() {
    if skipped() {
        return;
    }
    let rig = Rig::new().unwrap();
    let url = format!("{}/bytes/200000", rig.provider.url());
    let mut curl = Command::new("curl");
    curl.arg("-sS").arg("--cacert").arg(rig.provider.ca().unwrap()).args(["-o", "/dev/null", &url]);
    let mut child = curl.spawn().unwrap();
    let pid = child.id();
    assert!(child.wait().unwrap().success());
    // A call made after it has been seen to its end, so anything of the first would show by now.
    let models = ["scenario:text#after".to_owned()];
    rig.run("curl-chat").unwrap().start(&models).unwrap().finish().unwrap();
    assert_same(&rig, &models);
    let streams = rig.daemon.streams().unwrap();
    assert!(streams.iter().all(|ledger| ledger.pid != pid), "{streams:?}");
}

#[test]
fn tls_that_no_probe_can_enter_is_shown_with_its_reason() {
    if skipped() {
        return;
    }
    let rig = Rig::new().unwrap();
    // This very process is such a one: rustls, linked in.
    let connection = rustls_call(&rig);
    let own = std::process::id();
    let row = wait_for("a row of inspect processes", Duration::from_secs(10), || {
        rig.daemon.processes().unwrap().into_iter().find(|row| row.pid == own)
    });
    drop(connection);
    let row = row.unwrap();
    assert_ne!(row.visibility, "plaintext", "{row:?}");
    assert!(!row.reason.is_empty() && row.reason != "probed", "{row:?}");
    let coverage = format!("reason=\"{}\"", row.reason);
    let metrics = rig.daemon.metrics().unwrap();
    let counted =
        metrics.lines().any(|line| line.starts_with("llm_observer_coverage_processes{") && line.contains(&coverage));
    assert!(counted, "{coverage} is in no llm_observer_coverage_processes line");
}

/// Opens a TLS connection with rustls and keeps it.
fn rustls_call(rig: &Rig) -> rustls::StreamOwned<rustls::ClientConnection, TcpStream> {
    use std::io::Write;
    use std::sync::Arc;

    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, ServerName};

    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(rig.provider.ca().unwrap()).unwrap()).unwrap();
    let config = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let tls = rustls::ClientConnection::new(Arc::new(config), ServerName::try_from("localhost").unwrap()).unwrap();
    let socket = TcpStream::connect(rig.provider.address()).unwrap();
    let mut stream = rustls::StreamOwned::new(tls, socket);
    stream.write_all(b"GET /bytes/10 HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
    stream.flush().unwrap();
    stream
}

fn assert_same(rig: &Rig, models: &[String]) {
    let ledgers: Vec<Ledger> = rig.ended(models).unwrap();
    let mut report = Report::default();
    for model in models {
        let truths = rig.truth(model);
        assert!(!truths.is_empty(), "{model} never reached the provider");
        report.add(model, &ledgers, &truths);
    }
    assert!(report.mismatches.is_empty(), "{}", report.mismatches.join("\n"));
}

/// A copy of the libssl that the venv's interpreter uses (and its libcrypto), in a folder of its own.
fn copy_of_libssl(folder: &Path) -> PathBuf {
    library::copy_into(folder).unwrap();
    folder.to_owned()
}

fn mapped_libssl(pid: u32) -> Option<String> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    maps.lines().find(|line| line.contains("libssl")).map(str::to_owned)
}
