//! What was found in a file outlives the daemon: after a restart a program that no symbol describes is probed without
//! looking through its file again.

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use kernel_tests::clients::{Kind, Run};
use kernel_tests::daemon::Daemon;
use kernel_tests::exact::assert_exact;
use kernel_tests::kinds::Program;
use kernel_tests::rig::Rig;
use kernel_tests::{inside, places, skipped};

const CLIENT: &str = "inside-trixie";

/// Copies of the program: each is a file of its own, and is looked through for itself.
const COPIES: usize = 4;

#[test]
fn what_was_found_in_a_file_is_known_after_a_restart() {
    if skipped() {
        return;
    }
    let Program::Inside(how) = Kind::named(CLIENT).unwrap().program else { return };
    let place = tempfile::tempdir().unwrap();
    let state = place.path().join("state/baselines.json");
    let mut rig = Rig::new().unwrap();
    if let Some(reason) = rig.clients.obstacle(Kind::named(CLIENT).unwrap()) {
        println!("SKIPPED: {reason}");
        return;
    }
    let copies: Vec<PathBuf> = (0..COPIES).map(|number| place.path().join(format!("program{number}"))).collect();
    for copy in &copies {
        fs::copy(places::inside().join(how), copy).unwrap();
    }

    rig = with_daemon(rig, &state);
    for copy in &copies {
        inside::start_probed(&rig.daemon, run(&rig, copy), &[]).unwrap().finish().unwrap();
    }
    assert!(files(&rig, "looked_through") >= COPIES as f64, "{}", rig.daemon.log());
    rig = with_daemon(rig, &state);
    let asked: Vec<String> = (0..COPIES).map(|copy| format!("scenario:text#known-{copy}")).collect();
    for (copy, model) in copies.iter().zip(&asked) {
        let client = inside::start_probed(&rig.daemon, run(&rig, copy), std::slice::from_ref(model)).unwrap();
        client.finish().unwrap();
    }
    assert_exact(&rig, &asked);
    assert!(files(&rig, "known_before") >= COPIES as f64, "{}", rig.daemon.log());

    // Another file under the same name is another file, whatever its content and its times.
    let copy = copies.first().unwrap();
    let times = fs::metadata(copy).unwrap().modified().unwrap();
    fs::copy(places::inside().join(how), place.path().join("other")).unwrap();
    fs::rename(place.path().join("other"), copy).unwrap();
    fs::File::options().write(true).open(copy).unwrap().set_modified(times).unwrap();
    let before = files(&rig, "looked_through");
    inside::start_probed(&rig.daemon, run(&rig, copy), &[]).unwrap().finish().unwrap();
    assert!(files(&rig, "looked_through") > before, "what was found in the old file was believed of the new one");

    // What is there and cannot be read costs another look, and no more.
    rig = without_daemon(rig, || fs::write(state.with_file_name("layouts.json"), "{").unwrap(), &state);
    let client = inside::start_probed(&rig.daemon, run(&rig, &copies[0]), &[]).unwrap();
    client.finish().unwrap();
    assert!(rig.daemon.log().contains("cannot be read"), "{}", rig.daemon.log());
}

fn run(rig: &Rig, copy: &Path) -> Run {
    rig.run(CLIENT).unwrap().as_program(Command::new(copy))
}

/// How many files this became of.
fn files(rig: &Rig, event: &str) -> f64 {
    let page = rig.daemon.metrics().unwrap();
    let name = format!("llm_observer_discovery_events_total{{event=\"{event}\"}} ");
    page.lines().find_map(|line| line.strip_prefix(&name)).map_or(0.0, |number| number.parse().unwrap())
}

/// The same rig with another daemon, which keeps its state there.
fn with_daemon(rig: Rig, state: &Path) -> Rig {
    without_daemon(rig, || {}, state)
}

fn without_daemon(rig: Rig, meanwhile: impl FnOnce(), state: &Path) -> Rig {
    let Rig { provider, clients, daemon, dir, .. } = rig;
    drop(daemon);
    meanwhile();
    let daemon = Daemon::start_with(&["--state.file", &state.to_string_lossy()], &[]).unwrap();
    Rig::of(provider, clients, daemon, dir)
}
