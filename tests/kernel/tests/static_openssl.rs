//! OpenSSL of three releases, stripped and inside of programs and of an addon that is loaded late:
//! found by the errors that its functions report, and seen to the character.

use kernel_tests::clients::Kind;
use kernel_tests::kinds::INSIDE;
use kernel_tests::rig::Rig;
use kernel_tests::{inside, matrix, skipped};

/// What a streaming client is asked to hear.
const STREAMED: [&str; 11] =
    ["text", "reasoning", "tools", "calls", "error-event", "no-end", "reset", "closed", "coalesced", "split", "large"];

#[test]
fn streams_over_an_openssl_inside_of_a_program_are_as_the_provider_wrote_them() {
    if skipped() {
        return;
    }
    let rig = Rig::new().unwrap();
    let (kinds, absent) = rig.clients.available_of(&INSIDE);
    absent.iter().for_each(|reason| println!("not run here: {reason}"));
    for kind in &kinds {
        let rows = inside::probed(&rig, kind.name, "openssl_inside_write").unwrap();
        let write = rows.iter().find(|row| row.probe == "openssl_inside_write").unwrap();
        let since =
            if kind.name.contains("trixie") || kind.name.contains("addon") { "from 3.2 on" } else { "before 3.2" };
        assert!(write.state == "ok" && write.reason.contains(since), "{}: {write:?}", kind.name);
    }
    let models = matrix::play(&rig, &kinds, "1", 3, |_: Kind| STREAMED.to_vec()).unwrap();
    matrix::judge(&rig, &matrix::report(&rig, &models).unwrap());
}
