//! BoringSSL that exports nothing, in a library of a Python package: found by what its functions
//! do, and seen to the character.

use kernel_tests::clients::Kind;
use kernel_tests::kinds::BORINGSSL;
use kernel_tests::rig::Rig;
use kernel_tests::{inside, matrix, skipped};

/// What a streaming client is asked to hear.
const STREAMED: [&str; 11] =
    ["text", "reasoning", "tools", "calls", "error-event", "no-end", "reset", "closed", "coalesced", "split", "large"];

#[test]
fn streams_over_a_boringssl_that_exports_nothing_are_as_the_provider_wrote_them() {
    if skipped() {
        return;
    }
    let rig = Rig::new().unwrap();
    let rows = inside::probed(&rig, "chrome-curl-chat", "boringssl_write").unwrap();
    let of = |name: &str| rows.iter().find(|row| row.probe == name).unwrap_or_else(|| panic!("no {name}: {rows:?}"));
    for name in ["boringssl_new", "boringssl_write", "boringssl_read", "boringssl_shutdown"] {
        assert_eq!(of(name).state, "ok", "{rows:?}");
    }
    assert!(of("boringssl_write").reason.contains("raises 226, 215 and 111 with ssl_lib.cc"), "{rows:?}");
    let models = matrix::play(&rig, &BORINGSSL, "1", 2, streamed).unwrap();
    matrix::judge(&rig, &matrix::report(&rig, &models).unwrap());
}

/// The connection's end would end all its streams.
fn streamed(kind: Kind) -> Vec<&'static str> {
    STREAMED.into_iter().filter(|name| *name != "closed" || !kind.name.contains("http2")).collect()
}
