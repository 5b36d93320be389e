//! The kernel side's tables are shared: who fills one loses what is too much, is named, and nobody else loses more
//! than the calls of a moment.

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

use std::process::Command;
use std::time::Duration;

use kernel_tests::exact::assert_exact;
use kernel_tests::helper::Helper;
use kernel_tests::kinds::GO;
use kernel_tests::siege::Siege;
use kernel_tests::{golang, skipped, wait_for};

/// More than each table has places.
const MANY: &str = "70000";

/// The user that `strangers.py` becomes.
const NOBODY: &str = "user 65534";

/// `doctor`'s line about the tables: its severity and what was found.
fn tables(siege: &Siege) -> (String, String) {
    let (_, told) = siege.rig.daemon.doctor().unwrap();
    let checks = told.as_array().unwrap();
    let line = checks.iter().find(|check| check["name"] == "tables").unwrap();
    (line["status"].as_str().unwrap().to_owned(), line["found"].as_str().unwrap().to_owned())
}

/// Plays the trick until the one who plays it is named; the trick, and what `doctor` said.
fn named(siege: &Siege, trick: &mut Command) -> (Helper, String) {
    let (helper, ready) = Helper::start(trick).unwrap();
    println!("{ready}");
    let found = wait_for("the one to blame to be named", Duration::from_secs(60), || {
        let (severity, found) = tables(siege);
        (severity == "degraded" && found.contains(NOBODY)).then_some(found)
    });
    assert!(found.is_ok(), "{found:?}: {:?}\n{}", tables(siege), siege.rig.daemon.log());
    println!("{found:?}");
    (helper, found.unwrap())
}

/// What is counted under a cause.
fn lost(siege: &Siege, cause: &str) -> f64 {
    let page = siege.rig.daemon.metrics().unwrap();
    let name = format!("llm_observer_events_lost_total{{cause=\"{cause}\"}} ");
    page.lines().find_map(|line| line.strip_prefix(&name)).map_or(0.0, |number| number.parse().unwrap())
}

#[test]
fn one_users_tls_objects_leave_room_for_all_others() {
    if skipped() {
        return;
    }
    let mut siege = Siege::new().unwrap();
    assert_eq!(tables(&siege).0, "ok");
    let mut command = siege.trick("crowd", &[MANY]).unwrap();
    let (trick, found) = named(&siege, &mut command);
    assert!(found.contains("connections"), "{found}");
    let before = lost(&siege, "table_full");
    let mut asked = siege.calls("curl-chat", "scenario:quick#crowd-host", None).unwrap();
    asked.extend(siege.calls("stdlib", "scenario:quick#crowd-new", None).unwrap());
    assert_exact(&siege.rig, &asked);
    assert!((lost(&siege, "table_full") - before).abs() < 0.5, "others find no room");
    drop(trick);
}

#[test]
fn one_users_goroutines_leave_room_for_all_others() {
    if skipped() || golang::absent() {
        return;
    }
    let mut siege = Siege::new().unwrap();
    let program = siege.folder().unwrap().join("program");
    std::fs::copy(golang::place("stripped"), &program).unwrap();
    let program = program.display().to_string();
    // A first call may come before a new file's probes.
    let go = GO.into_iter().find(|kind| kind.name.starts_with("go-stripped")).unwrap().name;
    siege.calls(go, "scenario:quick#crowd-warm", None).unwrap();
    let mut command = siege.trick("go", &[&program, MANY]).unwrap();
    let (trick, found) = named(&siege, &mut command);
    assert!(found.contains("calls in progress"), "{found}");
    let before = lost(&siege, "table_full");
    let asked = siege.calls(go, "scenario:quick#crowd-go", None).unwrap();
    assert_exact(&siege.rig, &asked);
    assert!((lost(&siege, "table_full") - before).abs() < 0.5, "others find no room");
    drop(trick);
}
