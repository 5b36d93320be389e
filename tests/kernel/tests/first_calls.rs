//! The first call counts: programs that map a library nobody used before, and make their only call at once.

use kernel_tests::rig::Rig;
use kernel_tests::{first, skipped};

const TRIES: usize = 20;

/// On a host that runs tests beside; `llmo-bench first` holds it to 19.
const SEEN: usize = 17;

#[test]
fn the_first_call_of_a_program_with_a_library_of_its_own_is_seen_from_its_first_byte() {
    if skipped() {
        return;
    }
    let rig = Rig::new().unwrap();
    let late = first::late(&rig, TRIES).unwrap();
    println!("{} of {TRIES} first calls seen from their first byte", TRIES - late.len());
    assert!(TRIES - late.len() >= SEEN, "late: {late:?}\n{}", rig.daemon.log());
    // What was joined late has no model, and so no place among those that have one.
    let metrics = rig.daemon.metrics().unwrap();
    let nameless = |line: &&str| line.contains("_bucket{") && line.contains("gen_ai_request_model=\"\"");
    let nameless: Vec<&str> = metrics.lines().filter(nameless).collect();
    assert!(nameless.is_empty(), "{nameless:#?}");
    if !late.is_empty() {
        let told = metrics.lines().any(|line| line.contains("late") && !line.starts_with('#') && !line.ends_with(" 0"));
        assert!(told, "no metric tells of calls that were joined late");
    }
}
