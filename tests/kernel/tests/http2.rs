//! HTTP/2 between unmodified programs: Node's own at both ends, and curl.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic, its helpers too")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use kernel_tests::daemon::Daemon;
use kernel_tests::ledger::Ledger;
use kernel_tests::{places, skipped, wait_for};
use serde_json::Value;

/// A program and its lines.
struct Program {
    child: Child,
    stdin: ChildStdin,
    lines: BufReader<ChildStdout>,
}

impl Program {
    fn start(arguments: &[&str], go: bool) -> Program {
        let mut command = Command::new("node");
        command.arg(places::programs().join("http2.mjs")).args(arguments);
        command.env("CLIENT_GO", if go { "1" } else { "0" }).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Program { child, stdin, lines: BufReader::new(stdout) }
    }

    fn line(&mut self) -> Value {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A server on a port of its own; stopped when dropped.
fn server(dir: &Path) -> (Program, String) {
    provider::make_authority(dir).unwrap();
    let mut server = Program::start(&["serve", dir.to_str().unwrap()], false);
    let port = server.line()["port"].to_string();
    (server, port)
}

/// Twenty models of one client, each with its own number of words.
fn models(client: &str) -> Vec<String> {
    let mut models: Vec<String> = (5..24).map(|count| format!("{client}-{count}:{count}")).collect();
    models.push("cancel:50".to_owned());
    models
}

/// The ledgers of one process by model, once as many have ended.
fn ledgers(daemon: &Daemon, pid: u32, count: usize) -> BTreeMap<String, Ledger> {
    let mut found = BTreeMap::new();
    let _ = wait_for("the streams' ends", Duration::from_secs(30), || {
        let streams = daemon.streams().ok()?;
        let ours = streams.into_iter().filter(|ledger| ledger.pid == pid && ledger.outcome.is_some());
        found = ours.map(|ledger| (ledger.request_model.clone().unwrap_or_default(), ledger)).collect();
        (found.len() >= count).then_some(())
    });
    found
}

/// Each stream has just its own words.
fn check(client: &mut Program, found: &BTreeMap<String, Ledger>, models: &[String]) {
    let wanted: BTreeSet<&String> = models.iter().collect();
    assert_eq!(found.keys().collect::<BTreeSet<_>>(), wanted);
    for _ in models {
        let line = client.line();
        let model = line["end"].as_str().unwrap();
        let ledger = found.get(model).unwrap();
        assert_eq!(
            (ledger.protocol.as_str(), ledger.lost.bytes, ledger.status),
            ("h2", Some(0), Some(200)),
            "{ledger:?}"
        );
        assert_eq!(ledger.response_model.as_deref(), Some(model));
        if model.starts_with("cancel") {
            // What had arrived when the client gave up may still have been read.
            assert!(ledger.outcome.as_deref() == Some("client_cancel") && ledger.chunks >= 3, "{ledger:?}");
        } else {
            assert_eq!(
                (ledger.outcome.as_deref(), Some(ledger.chunks)),
                (Some("complete"), line["words"].as_u64()),
                "{model}"
            );
            assert_eq!(ledger.visible_chars, 5 * ledger.chunks, "{model}");
            assert_eq!(ledger.finish_reason.as_deref(), Some("stop"), "{model}");
        }
    }
}

#[test]
fn twenty_streams_of_one_connection_are_told_apart() {
    if skipped() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (_server, port) = server(dir.path());
    let ca = dir.path().join("ca.pem");
    let ask = |models: &[String], go| {
        let mut arguments = vec!["ask", port.as_str(), ca.to_str().unwrap()];
        arguments.extend(models.iter().map(String::as_str));
        Program::start(&arguments, go)
    };
    // One connection is open, and has header fields in its tables, before the daemon comes.
    let early = models("early");
    let mut joined = ask(&early, true);
    assert_eq!(joined.line()["ready"], true);

    let daemon = Daemon::start().unwrap();
    let fresh = models("fresh");
    let mut client = ask(&fresh, false);
    let found = ledgers(&daemon, client.child.id(), fresh.len());
    check(&mut client, &found, &fresh);
    assert!(found.values().all(|ledger| ledger.notes.is_empty()), "{found:?}");
    assert!(found.values().all(|ledger| ledger.server_address.as_deref() == Some("localhost")));

    joined.stdin.write_all(b"go\n").unwrap();
    let found = ledgers(&daemon, joined.child.id(), early.len());
    check(&mut joined, &found, &early);
}

#[test]
fn curl_speaks_http2() {
    if skipped() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (_server, port) = server(dir.path());
    let daemon = Daemon::start().unwrap();
    let child = Command::new("curl")
        .args(["-sSN", "--http2", "--cacert", dir.path().join("ca.pem").to_str().unwrap()])
        .args(["-H", "content-type: application/json", "-d", r#"{"model":"curl:7","stream":true,"messages":[]}"#])
        .arg(format!("https://localhost:{port}/v1/chat/completions"))
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let pid = child.id();
    assert!(child.wait_with_output().unwrap().status.success());
    let found = ledgers(&daemon, pid, 1);
    let ledger = found.get("curl:7").unwrap();
    assert_eq!((ledger.protocol.as_str(), ledger.outcome.as_deref(), ledger.chunks), ("h2", Some("complete"), 7));
}

/// Five sockets of one connection (RFC 8441), each with two turns: hyper-h2 and `websockets` on
/// Python's TLS, Node's server.
#[test]
fn websockets_over_http2_are_told_apart() {
    if skipped() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (_server, port) = server(dir.path());
    let python = places::sdks().unwrap().join("venv/bin/python");
    let daemon = Daemon::start().unwrap();
    let models = ["a:5", "b:9", "c:14", "d:20", "cancel:50"];
    let client = Command::new(python)
        .arg(places::programs().join("http2_socket.py"))
        .args([port.as_str(), dir.path().join("ca.pem").to_str().unwrap()])
        .args(models)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = client.id();
    let said = client.wait_with_output().unwrap();
    assert!(said.status.success());
    let heard: Vec<Value> =
        String::from_utf8(said.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(heard.len(), models.len());
    let mut found = Vec::new();
    let _ = wait_for("the turns' ends", Duration::from_secs(30), || {
        let streams = daemon.streams().ok()?;
        found = streams.into_iter().filter(|ledger| ledger.pid == pid && ledger.outcome.is_some()).collect::<Vec<_>>();
        (found.len() >= 2 * models.len() - 1).then_some(())
    });
    for line in heard {
        let model = line["end"].as_str().unwrap();
        let mut turns: Vec<&Ledger> = found.iter().filter(|l| l.request_model.as_deref() == Some(model)).collect();
        turns.sort_by(|a, b| a.started.cmp(&b.started));
        let words = line["words"].as_array().unwrap();
        assert_eq!(turns.len(), words.len(), "{model}");
        for (ledger, words) in turns.into_iter().zip(words) {
            let kind = (ledger.protocol.as_str(), ledger.api.as_str(), ledger.status, ledger.lost.bytes);
            assert_eq!(kind, ("websocket", "openai.realtime", Some(200), Some(0)), "{ledger:?}");
            assert!(ledger.notes.is_empty() && ledger.first_seconds.visible.is_some(), "{ledger:?}");
            if model.starts_with("cancel") {
                assert!(ledger.outcome.as_deref() == Some("client_cancel") && ledger.chunks >= 3, "{ledger:?}");
            } else {
                assert_eq!((ledger.outcome.as_deref(), Some(ledger.chunks)), (Some("complete"), words.as_u64()));
                assert_eq!(ledger.visible_chars, 5 * ledger.chunks, "{model}");
            }
        }
    }
}
