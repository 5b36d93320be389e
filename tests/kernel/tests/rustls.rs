//! Programs in Rust as they are shipped: stripped, in one piece, with their TLS inside.
//!
//! The client is `tests/programs/rustls`, built once into the cache outside of the tree: about three
//! minutes on two cores.

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use kernel_tests::exact::{assert_exact, rows};
use kernel_tests::rig::Rig;
use kernel_tests::{places, skipped, wait_for};
use serde_json::Value;

/// Naming the target keeps build scripts and procedural macros dynamic.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Builds the client, or finds it built.
fn client() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let target = places::cache().join("rustls-client");
        let source = places::programs().join("rustls");
        let status = Command::new("cargo")
            .args(["build", "--quiet", "--release", "--locked", "--target", TARGET])
            .current_dir(&source)
            .env("CARGO_TARGET_DIR", &target)
            .env("RUSTFLAGS", "-C target-feature=+crt-static")
            .status()
            .unwrap();
        assert!(status.success(), "{} does not build", source.display());
        target.join(TARGET).join("release/rustls-client")
    })
}

/// How a client is asked to speak.
#[derive(Clone, Copy)]
struct Speech {
    crypto: &'static str,
    tls: &'static str,
    suite: &'static str,
    http: &'static str,
}

/// Each provider of cryptography, release of TLS, family of suites and release of HTTP.
fn speeches() -> Vec<Speech> {
    let mut all = Vec::new();
    for crypto in ["ring", "aws-lc"] {
        for (tls, suite) in [("1.3", "AES_128"), ("1.3", "CHACHA20"), ("1.2", "AES_256"), ("1.2", "CHACHA20")] {
            all.extend(["1", "2"].map(|http| Speech { crypto, tls, suite, http }));
        }
    }
    all
}

/// The client, asking for these models, so many at once.
fn command(rig: &Rig, speech: Speech, models: &[String], parallel: usize, prompt: usize) -> Command {
    let mut command = Command::new(client());
    let settings = [
        ("BASE_URL", rig.provider.url()),
        ("CRYPTO", speech.crypto.into()),
        ("TLS", speech.tls.into()),
        ("SUITE", speech.suite.into()),
        ("HTTP", speech.http.into()),
        ("PARALLEL", parallel.to_string()),
        ("PROMPT", prompt.to_string()),
    ];
    command.args(models).envs(settings).env("SSL_CERT_FILE", rig.provider.ca().unwrap());
    command.stdin(Stdio::null());
    command
}

/// A test bed whose daemon knows the client: calls of a program's first moments on a host may be joined
/// in the middle, which is not what is asked here.
fn bed() -> Rig {
    client();
    let rig = Rig::new().unwrap();
    let speech = Speech { crypto: "ring", tls: "1.3", suite: "", http: "1" };
    let mut waiting = command(&rig, speech, &[], 1, 0)
        .env("CLIENT_GO", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let probed = wait_for("the client's probes", Duration::from_secs(60), || {
        rows(&rig, "rustls_decrypt", "rustls-client").ok().filter(|rows| !rows.is_empty())
    });
    waiting.kill().unwrap();
    waiting.wait().unwrap();
    probed.unwrap();
    rig
}

/// What it was told went wrong; a stream that ends badly is told of by the provider's log.
fn ended(output: &Output) -> usize {
    let lines = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    lines.lines().filter(|line| line.contains("\"end\"")).count()
}

#[test]
fn every_suite_is_read_to_the_character() {
    if skipped() {
        return;
    }
    let rig = bed();
    let mut all = Vec::new();
    for (number, speech) in speeches().into_iter().enumerate() {
        let scenarios = ["text", "reasoning", "calls", "large", "split", "coalesced"];
        let models: Vec<String> = scenarios.iter().map(|name| format!("scenario:{name}#rustls-{number}")).collect();
        // Every other one keeps its connection for the next call.
        let output = command(&rig, speech, &models, 1 + number % 3, 100).output().unwrap();
        assert_eq!(ended(&output), models.len());
        all.extend(models);
    }
    assert_exact(&rig, &all);
    for (probe, word) in [("rustls_encrypt", "ring, TLS 1.2"), ("rustls_decrypt", "aws-lc, TLS 1.3")] {
        assert_eq!(rows(&rig, probe, word).unwrap().len(), 1, "{probe}");
    }
    unpaired_none(&rig);
}

/// A head and a body are two slices of one record; a long body takes many records.
#[test]
fn forty_streams_at_once_and_long_prompts_are_told_apart() {
    if skipped() {
        return;
    }
    let rig = bed();
    let mut all = Vec::new();
    for (number, http) in ["1", "2"].into_iter().enumerate() {
        let speech = Speech { crypto: ["aws-lc", "ring"][number], tls: "1.3", suite: "", http };
        let names = ["text", "reasoning", "calls", "pings", "length"];
        let models: Vec<String> =
            (0..40).map(|n| format!("scenario:{}#forty-{http}-{n}", names[n % names.len()])).collect();
        let output = command(&rig, speech, &models, 40, 120_000).output().unwrap();
        assert_eq!(ended(&output), 40);
        let connections: BTreeSet<u64> =
            models.iter().flat_map(|model| rig.truth(model)).map(|truth| truth.request.conn).collect();
        assert!(if http == "2" { connections.len() < 10 } else { connections.len() > 20 }, "{connections:?}");
        all.extend(models);
    }
    assert_exact(&rig, &all);
    unpaired_none(&rig);
}

/// Each process makes many connections one after another: boxes of keys come at the same addresses.
#[test]
fn addresses_that_come_again_are_other_connections() {
    if skipped() {
        return;
    }
    let rig = bed();
    let speech = Speech { crypto: "ring", tls: "1.3", suite: "", http: "1" };
    // The connection is closed in the middle of an answer, or after it: each call has one of its own.
    let names = ["closed", "reset", "no-end", "closed", "text"];
    let models: Vec<String> = (0..30).map(|n| format!("scenario:{}#again-{n}", names[n % names.len()])).collect();
    let output = command(&rig, speech, &models, 1, 100).output().unwrap();
    assert_eq!(ended(&output), models.len());
    assert_exact(&rig, &models);
    unpaired_none(&rig);
}

/// No byte was lost for want of its connection's other direction.
fn unpaired_none(rig: &Rig) {
    let (_, page) = rig.daemon.get("/metrics").unwrap();
    let lost = page.lines().filter(|line| line.contains("cause=\"unpaired\""));
    assert!(lost.clone().count() >= 2 && lost.clone().all(|line| line.ends_with(" 0")), "{page}");
    let rows: Vec<Value> = rig.daemon.inspect_json(&["probes"]).unwrap();
    let broken =
        rows.iter().any(|row| row["probe"].as_str().unwrap().starts_with("rustls") && row["state"] == "broken");
    assert!(!broken, "{rows:?}");
}
