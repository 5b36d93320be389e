//! What an unprivileged user (or a fault) can do through files, mounts and programs of his own: the
//! daemon answers, takes no more memory, and everybody else's streams and new libraries stay exact.

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

use std::fs;
use std::process::Command;
use std::time::Duration;

use kernel_tests::exact::rows;
use kernel_tests::rig::Rig;
use kernel_tests::siege::Siege;
use kernel_tests::watch::Seen;
use kernel_tests::{library, skipped, wait_for};
use rustix::fs::inotify;

/// Plays one trick of `strangers.py`; what was measured.
fn play(siege: &mut Siege, trick: &str, arguments: &[&str]) -> Seen {
    let mut command = siege.trick(trick, arguments).unwrap();
    let name = [&[trick], arguments].concat().join("-").replace(['/', '.'], "");
    let seen = siege.under(&name, &mut command);
    assert!(seen.is_ok(), "{:#}", seen.unwrap_err());
    seen.unwrap()
}

fn libssl() -> String {
    library::libssl().unwrap().display().to_string()
}

/// The share of a core that the daemon took may not be a stranger's to choose: not a whole one, in
/// a build without optimisation.
fn assert_modest(seen: &Seen) {
    let share = seen.cpu.as_secs_f64() / seen.over.as_secs_f64();
    println!("{share:.2} of a core");
    assert!(share < 0.9, "{share:.2} of a core");
}

#[test]
fn an_overlay_in_a_user_namespace_blinds_nobody() {
    if skipped() {
        return;
    }
    let mut siege = Siege::new().unwrap();
    let before = rows(&siege.rig, "ssl_read", "libssl").unwrap().len();
    let mut command = siege.trick("overlay", &[&libssl()]).unwrap();
    if let Some(reason) = refused(&mut command) {
        println!("SKIPPED: nobody may not mount here: {reason}");
        return;
    }
    play(&mut siege, "overlay", &[&libssl()]);
    let after = rows(&siege.rig, "ssl_read", "libssl").unwrap();
    let own = after.iter().filter(|row| !row.to_string().contains("-fresh")).count();
    assert!(own <= before, "{before} rows before, {own} now: {after:#?}");
}

/// Why a trick cannot be played on this machine at all.
fn refused(trick: &mut Command) -> Option<String> {
    let output = trick.stdin(std::process::Stdio::null()).output().unwrap();
    (!output.status.success()).then(|| String::from_utf8_lossy(&output.stderr).lines().last().unwrap_or("?").to_owned())
}

#[test]
fn a_write_lease_delays_nobody() {
    if skipped() {
        return;
    }
    play(&mut Siege::new().unwrap(), "lease", &[&libssl()]);
}

#[test]
fn a_file_that_turns_into_a_fifo_delays_nobody() {
    if skipped() {
        return;
    }
    assert_modest(&play(&mut Siege::new().unwrap(), "fifo", &[&libssl()]));
}

#[test]
fn a_file_that_shrinks_while_it_is_read_harms_nobody() {
    if skipped() {
        return;
    }
    play(&mut Siege::new().unwrap(), "shrink", &[&libssl()]);
}

/// Each is refused for what it costs, with its reason, and not again each time it is touched.
#[test]
fn hostile_elf_files_take_neither_memory_nor_time() {
    if skipped() {
        return;
    }
    let (mut siege, mut failures) = (Siege::new().unwrap(), Vec::new());
    for kind in
        ["sections", "symbols", "strings", "relocations", "program-headers", "segments", "lies", "endless", "many"]
    {
        let mut command = siege.trick("elf", &[kind]).unwrap();
        match siege.under(&format!("elf-{kind}"), &mut command) {
            Ok(seen) => assert_modest(&seen),
            Err(error) => failures.push(format!("{error:#}")),
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

/// Who has spent what his files may cost waits, and he alone.
#[test]
fn costly_files_without_end_stop_nobody_else() {
    if skipped() {
        return;
    }
    let mut siege = Siege::new().unwrap();
    // A program with all its symbols: tens of milliseconds each.
    let program = fs::read_link(format!("/proc/{}/exe", siege.rig.daemon.pid())).unwrap().display().to_string();
    // Until he is over his budget.
    let mut command = siege.trick("spend", &[&program]).unwrap();
    let (trick, _) = kernel_tests::helper::Helper::start(&mut command).unwrap();
    let spent = wait_for("files that wait for their owner's budget", Duration::from_secs(60), || {
        let (_, metrics) = siege.rig.daemon.get("/metrics").ok()?;
        let waiting = "llm_observer_discovery_files{state=\"postponed\"} ";
        metrics.lines().any(|line| line.strip_prefix(waiting).is_some_and(|number| number != "0")).then_some(())
    });
    assert!(spent.is_ok(), "{spent:?}\n{}", siege.rig.daemon.log());
    play(&mut siege, "spend", &[&program]);
    drop(trick);
}

/// What is put into root's library is where root's library says, not where a stranger's does that passes for it.
#[test]
fn a_library_in_the_disguise_of_roots_moves_no_probe() {
    if skipped() {
        return;
    }
    let mut siege = Siege::new().unwrap();
    let folder = siege.folder().unwrap();
    let library = library::copy_into(&folder.join("roots")).unwrap().display().to_string();
    let place = std::path::Path::new(&library).parent();
    // Before, and while and after somebody's own passes for it.
    let mut asked = siege.calls("stdlib", "scenario:quick#disguise-before", place).unwrap();
    let mut command = siege.trick("disguise", &[&library]).unwrap();
    if let Some(reason) = refused(&mut command) {
        println!("SKIPPED: nobody may not mount here: {reason}");
        return;
    }
    let mut command = siege.trick("disguise", &[&library]).unwrap();
    let (trick, _) = kernel_tests::helper::Helper::start(&mut command).unwrap();
    let placed = |rows: Vec<serde_json::Value>| rows.iter().map(|row| row["placement"].to_string()).collect::<Vec<_>>();
    std::thread::sleep(Duration::from_secs(1));
    asked.extend(siege.calls("stdlib", "scenario:quick#disguise-under", place).unwrap());
    drop(trick);
    asked.extend(siege.calls("stdlib", "scenario:quick#disguise-after", place).unwrap());
    kernel_tests::exact::assert_exact(&siege.rig, &asked);
    let rows = ["ssl_read", "ssl_write"].map(|probe| placed(rows(&siege.rig, probe, "roots/libssl").unwrap()));
    assert!(rows.iter().all(|rows| !rows.is_empty()), "{rows:?}");
}

/// A process may map what it likes and something else over it at once: nobody else's library is taken for that.
#[test]
fn what_is_mapped_over_a_library_is_not_taken_for_it() {
    if skipped() {
        return;
    }
    play(&mut Siege::new().unwrap(), "swap", &[]);
}

#[test]
fn a_hundred_and_fifty_libraries_used_once_leave_room_for_the_next() {
    if skipped() {
        return;
    }
    // The usual limit, and not to be raised.
    let rig = Rig::through(&["prlimit", "--nofile=1024:1024"]).unwrap();
    play(&mut Siege::of(rig).unwrap(), "copies", &[&libssl(), "150"]);
}

#[test]
fn programs_with_a_huge_string_table_do_not_slow_the_scrapes() {
    if skipped() {
        return;
    }
    play(&mut Siege::new().unwrap(), "hello", &["20"]);
}

#[test]
fn a_file_system_that_hangs_holds_nobody_up() {
    if skipped() {
        return;
    }
    if let Err(error) = fs::metadata("/dev/fuse") {
        println!("SKIPPED: /dev/fuse: {error}");
        return;
    }
    play(&mut Siege::new().unwrap(), "fuse", &[&libssl()]);
}

/// What a program calls `/x/y` in a root of its own is not the host's `/x/y`.
#[test]
fn a_path_of_another_root_is_not_opened_in_the_hosts() {
    if skipped() {
        return;
    }
    let mut siege = Siege::new().unwrap();
    let folder = siege.folder().unwrap();
    let hosts = folder.join("secret.so");
    fs::write(&hosts, "nobody's business").unwrap();
    let watched = inotify::init(inotify::CreateFlags::NONBLOCK).unwrap();
    inotify::add_watch(&watched, &hosts, inotify::WatchFlags::OPEN).unwrap();
    play(&mut siege, "chroot", &[hosts.to_str().unwrap()]);
    let mut room = [std::mem::MaybeUninit::uninit(); 4_096];
    let mut reader = inotify::Reader::new(&watched, &mut room);
    assert!(reader.next().is_err(), "the host's file was opened");
    // Opened by this test, it is noticed: the watch works.
    fs::read(&hosts).unwrap();
    assert!(reader.next().is_ok());
}

/// A renamed executable has the name it chose, but its owner too.
#[test]
fn a_renamed_executable_is_shown_with_whose_it_is() {
    if skipped() {
        return;
    }
    let mut siege = Siege::new().unwrap();
    let folder = siege.folder().unwrap();
    let (program, ca) = (folder.join("payments-api"), folder.join("ca.pem"));
    fs::copy(which("curl"), &program).unwrap();
    fs::copy(siege.rig.provider.ca().unwrap(), &ca).unwrap();
    let run = siege.rig.run("curl-chat").unwrap().env(
        "CLIENT_CURL",
        &format!("setpriv --reuid 65534 --regid 65534 --clear-groups {} --cacert {}", program.display(), ca.display()),
    );
    let models = ["scenario:steady#forged".to_owned()];
    let client = run.start(&models).unwrap();
    siege.rig.stream_when(&models[0], "its chunks", |ledger| ledger.chunks > 2).unwrap();
    let streams: Vec<serde_json::Value> = siege.rig.daemon.inspect_json(&["streams"]).unwrap();
    let row = streams.iter().find(|row| row["request_model"] == models[0].as_str()).unwrap();
    assert_eq!(row["uid"], 65_534, "{row}");
    let shown = wait_for("its row of processes", Duration::from_secs(5), || {
        let rows: Vec<serde_json::Value> = siege.rig.daemon.inspect_json(&["processes"]).ok()?;
        rows.into_iter().find(|row| row["comm"] == "payments-api")
    });
    assert_eq!(shown.unwrap()["uid"], 65_534);
    client.finish().unwrap();
    kernel_tests::exact::assert_exact(&siege.rig, &models);
}

fn which(program: &str) -> std::path::PathBuf {
    kernel_tests::places::tool(program).unwrap()
}
