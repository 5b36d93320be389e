//! Programs whose TLS is a shared library with functions like OpenSSL's: their ledgers are the provider's log.

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

use std::process::Command;

use kernel_tests::exact::{assert_exact, rows};
use kernel_tests::kinds::{EXPORTED, Kind};
use kernel_tests::rig::Rig;
use kernel_tests::skipped;

/// As of GnuTLS: text in one chunk a record, cut anywhere, compressed, with tools, long, an error, an answer cut off.
const SCENARIOS: [&str; 7] = ["text", "split", "gzip", "tools", "large", "529", "closed"];

#[test]
fn every_client_of_wolfssl_is_seen_to_the_character() {
    seen("wolfssl", "wolfSSL_write");
}

#[test]
fn every_client_of_mbed_tls_is_seen_to_the_character() {
    seen("mbedtls", "mbedtls_ssl_write");
}

fn seen(tls: &str, write: &str) {
    if skipped() || lacks(tls) {
        return;
    }
    let rig = Rig::new().unwrap();
    let mut asked = Vec::new();
    for kind in EXPORTED.into_iter().filter(|kind| kind.name.starts_with(tls)) {
        let models = SCENARIOS.map(|scenario| kind.model(scenario));
        let run = |kind: Kind| rig.clients.run(kind, &rig.provider);
        let (said, status) = run(kind).start(&models).unwrap().finish().unwrap();
        assert!(status.success(), "{status}: {said:?}");
        asked.extend(models);
    }
    assert_exact(&rig, &asked);
    assert_eq!(rows(&rig, write, &format!("lib{tls}")).unwrap().len(), 1, "{:?}", rows(&rig, write, ""));
}

fn lacks(tls: &str) -> bool {
    let loads = format!("import ctypes; ctypes.CDLL('lib{tls}.so')");
    let has = Command::new("python3").args(["-c", &loads]).output().is_ok_and(|output| output.status.success());
    if !has {
        println!("SKIPPED: no lib{tls} here: `cargo xtask setup` installs it where apt has it");
    }
    !has
}
