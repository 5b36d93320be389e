//! Programs whose TLS is GnuTLS: their ledgers are the provider's log.

use std::path::Path;
use std::process::Command;

use kernel_tests::exact::{assert_exact, rows};
use kernel_tests::kinds::GNUTLS;
use kernel_tests::rig::Rig;
use kernel_tests::skipped;

/// What is played: text in one chunk a record, cut anywhere, compressed, with tools, long, an error, an answer cut off.
const SCENARIOS: [&str; 7] = ["text", "split", "gzip", "tools", "large", "529", "closed"];

#[test]
fn every_client_of_gnutls_is_seen_to_the_character() {
    if skipped() || lacks_gnutls() {
        return;
    }
    let rig = Rig::new().unwrap();
    let mut asked = Vec::new();
    for kind in GNUTLS {
        let models = SCENARIOS.map(|scenario| kind.model(scenario));
        rig.clients.run(kind, &rig.provider).start(&models).unwrap().finish().unwrap();
        asked.extend(models);
    }
    assert_exact(&rig, &asked);
    // A call passes one probe: that of the function which the other hands on to.
    let told = |probe, part| rows(&rig, probe, part).unwrap();
    assert!(!told("gnutls_record_send2", "entry").is_empty(), "{:?}", told("gnutls_record_send2", ""));
    assert!(!told("gnutls_record_send", "shared").is_empty(), "{:?}", told("gnutls_record_send", ""));
    assert!(!told("gnutls_record_recv", "").is_empty());
}

/// `libgnutls-openssl` has OpenSSL's names for GnuTLS: a call passes both, and counts once.
#[test]
fn openssls_names_for_gnutls_are_not_probed() {
    if skipped() || lacks_gnutls() {
        return;
    }
    let rig = Rig::new().unwrap();
    let model = GNUTLS[2].model("text");
    // Mapped, so that it is looked at.
    let run = rig.run(GNUTLS[2].name).unwrap().env("LD_PRELOAD", "libgnutls-openssl.so.27");
    run.start(std::slice::from_ref(&model)).unwrap().finish().unwrap();
    assert_exact(&rig, &[model]);
    let probed = rows(&rig, "ssl_read", "libgnutls").unwrap();
    assert!(probed.is_empty(), "{probed:?}");
}

fn lacks_gnutls() -> bool {
    let wget = Command::new("wget").arg("--version").output();
    let has = wget.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains("+ssl/gnutls"));
    let libcurl = Path::new("/usr/lib/x86_64-linux-gnu/libcurl-gnutls.so.4").exists();
    if !(has && libcurl) {
        println!("SKIPPED: no wget with GnuTLS, or no libcurl-gnutls here");
    }
    !(has && libcurl)
}
