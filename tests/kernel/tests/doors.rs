//! Strangers and mistakes at the daemon's doors: the real daemon, attackers who are nobody (uid 65534).

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use kernel_tests::daemon::Daemon;
use kernel_tests::{places, skipped, wait_for};
use rustix::process::{Pid, Signal, kill_process};

/// What a kubelet and this project promise.
const SECOND: Duration = Duration::from_secs(1);

/// As a user without any right.
fn nobody(program: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", program]);
    command
}

/// A process that is ended with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// An attacker in Python: `script` holds what it opens until it is killed, and says `ready`.
fn attacker(script: &str, port: u16) -> Running {
    let text = format!(
        "import socket, sys, time, threading\nport = {port}\n\
         def dial(n):\n s = socket.socket(); s.bind(('127.%d.%d.%d' % (2 + n // 62500, n // 250 % 250, n % 250 + 1), 0))\n s.settimeout(5); \
         s.connect(('127.0.0.1', port)); return s\n{script}\nprint('ready', flush=True)\ntime.sleep(600)\n"
    );
    let mut child = nobody("/usr/bin/python3").args(["-c", &text]).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n", "the attacker failed");
    Running(child)
}

/// The health pages, as a kubelet sees them; and one scrape.
fn assert_answers(daemon: &Daemon, trick: &str) {
    for path in ["/healthz", "/-/healthy", "/readyz", "/-/ready", "/metrics"] {
        let begun = Instant::now();
        let output = Command::new("curl")
            .args([
                "-sS",
                "-o",
                "/dev/null",
                "-w",
                "%{http_code}",
                "-m",
                "5",
                &format!("http://{}{path}", daemon.web()),
            ])
            .output()
            .unwrap();
        let status = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(status, "200", "{trick}: {path}: {}", String::from_utf8_lossy(&output.stderr));
        assert!(begun.elapsed() < SECOND, "{trick}: {path} took {:?}", begun.elapsed());
    }
}

#[test]
fn the_health_pages_answer_whatever_strangers_do() {
    if skipped() {
        return;
    }
    let daemon = Daemon::start().unwrap();
    let port = daemon.web().port();
    let rss = resident(daemon.pid());
    let tricks = [
        ("128 idle connections", "held = [dial(0) for n in range(128)]"),
        ("idle connections of many addresses", "held = [dial(n) for n in range(700)]"),
        (
            "slow heads, renewed",
            "def slow(k):\n while True:\n  held = []\n  for n in range(64):\n   try: s = dial(k * 64 + n); s.send(b'GET / HTTP/1.1\\r\\nx: '); held.append(s)\n   \
             except OSError: pass\n  for s in held:\n   try: s.send(b'a')\n   except OSError: pass\n\
             for k in range(4): threading.Thread(target=slow, args=(k,), daemon=True).start()\ntime.sleep(0.5)",
        ),
        (
            "pipelined scrapes that nobody reads",
            "held = [dial(n) for n in range(128)]\nfor s in held:\n try: s.send(b'GET /metrics HTTP/1.1\\r\\nhost: x\\r\\n\\r\\n' * 200)\n except OSError: pass",
        ),
        (
            "connections made and dropped",
            "def flood(k):\n while True:\n  try: dial(k).close()\n  except OSError: pass\n\
             for k in range(2): threading.Thread(target=flood, args=(k,), daemon=True).start()\ntime.sleep(0.5)",
        ),
    ];
    for (trick, script) in tricks {
        let attacker = attacker(script, port);
        for _ in 0..4 {
            assert_answers(&daemon, trick);
        }
        drop(attacker);
    }
    let metrics = daemon.metrics().unwrap();
    let refused = |reason: &str| {
        let series = format!("llm_observer_refused_clients_total{{door=\"web\",reason=\"{reason}\"}} ");
        metrics.lines().find_map(|line| line.strip_prefix(&series)?.parse::<f64>().ok()).unwrap()
    };
    assert!(refused("connections") > 100.0 && refused("peer_connections") > 50.0, "{metrics}");
    let after = resident(daemon.pid());
    assert!(after < rss * 2, "{rss} -> {after}");
}

#[test]
fn silent_inspect_clients_delay_nobody() {
    if skipped() {
        return;
    }
    let daemon = Daemon::start().unwrap();
    let silent: Vec<_> = (0..200).map(|_| UnixStream::connect(daemon.socket()).unwrap()).collect();
    // And some that ask and never take their answer.
    let deaf: Vec<_> = (0..50)
        .map(|_| {
            let mut client = UnixStream::connect(daemon.socket()).unwrap();
            client.write_all(b"\"probes\"\n").unwrap();
            client
        })
        .collect();
    for what in ["streams", "processes", "probes"] {
        let begun = Instant::now();
        let output = daemon.inspect(&[what]).unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(begun.elapsed() < SECOND, "{what} took {:?}", begun.elapsed());
    }
    assert!(
        daemon
            .metrics()
            .unwrap()
            .contains("llm_observer_refused_clients_total{door=\"inspect\",reason=\"connections\"}")
    );
    drop((silent, deaf));
}

/// `record FILE` for a moment; what it said.
fn record(file: &Path) -> Output {
    let mut command = Command::new(places::daemon().unwrap());
    command.args(["record", "--payload", "full", "--duration", "1s"]).arg(file).output().unwrap()
}

#[test]
fn a_recording_is_never_written_where_somebody_else_can_read_it() {
    if skipped() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    // The worst folder: anybody may put, remove and rename files in it.
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let at = |name: &str| dir.path().join(name);
    let by_nobody = |script: &str| {
        let done = nobody("sh").args(["-ec", script]).current_dir(dir.path()).status().unwrap();
        assert!(done.success(), "{script}");
    };
    by_nobody("echo mine > theirs; chmod 666 theirs");
    let output = record(&at("theirs"));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("belongs to another user (uid 65534)") && said.contains("another name"), "{said}");
    assert_eq!(fs::read_to_string(at("theirs")).unwrap(), "mine\n");

    // Root's own, but open to all and held open by nobody.
    fs::write(at("open"), "old").unwrap();
    fs::set_permissions(at("open"), fs::Permissions::from_mode(0o666)).unwrap();
    let mut held = nobody("sh")
        .args(["-c", "exec cat - open"])
        .current_dir(dir.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut holder = nobody("sh");
    holder
        .args(["-c", "exec 3<open; read line; cat <&3"])
        .current_dir(dir.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut holder = holder.spawn().unwrap();
    std::thread::sleep(Duration::from_millis(200));
    let output = record(&at("open"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    holder.stdin.take().unwrap().write_all(b"\n").unwrap();
    let mut got = String::new();
    holder.stdout.take().unwrap().read_to_string(&mut got).unwrap();
    assert_eq!(got, "old", "who held the old file has the old file");
    holder.wait().unwrap();
    // One that opens it by name now may not.
    drop(held.stdin.take());
    let mut got = String::new();
    held.stdout.take().unwrap().read_to_string(&mut got).unwrap();
    held.wait().unwrap();
    assert_eq!(got, "");
    let meta = fs::metadata(at("open")).unwrap();
    assert_eq!((meta.uid(), meta.mode() & 0o7777), (0, 0o600));
    assert!(fs::read(at("open")).unwrap().starts_with(b"LLMOREC\n"));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("anybody may remove or replace"), "{said}");

    // A link is not followed, a device not replaced.
    symlink("/etc/hostname-of-nobody", at("link")).unwrap();
    for (path, what) in [(at("link"), "symbolic link"), ("/dev/null".into(), "device"), (dir.path().into(), "folder")] {
        let output = record(&path);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(2) && said.contains(what), "{}: {said}", path.display());
    }
    assert!(
        !Path::new("/etc/hostname-of-nobody").exists()
            && fs::metadata("/dev/null").unwrap().mode() & 0o170_000 == 0o020_000
    );
    let left: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 3, "{left:?}");
}

/// Cut off in the middle, a recording is there and readable, and nothing lies beside it; a hang-up ends it in order.
#[test]
fn a_recording_that_is_cut_off_is_kept() {
    if skipped() {
        return;
    }
    for (signal, ends) in [(Signal::KILL, false), (Signal::HUP, true)] {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("r");
        let mut command = Command::new(places::daemon().unwrap());
        let mut child = command.arg("record").arg(&file).stderr(Stdio::null()).spawn().unwrap();
        let begun = || fs::metadata(&file).is_ok_and(|meta| meta.len() > 100).then_some(());
        let begun = wait_for("a recording", Duration::from_secs(20), begun);
        kill_process(Pid::from_child(&child), signal).unwrap();
        assert_eq!(child.wait().unwrap().success(), ends);
        begun.unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        let replay = Command::new(places::daemon().unwrap()).arg("replay").arg(&file).output().unwrap();
        assert!(replay.status.success(), "{}", String::from_utf8_lossy(&replay.stderr));
    }
}

/// A downgrade: what the later version learned is there afterwards.
#[test]
fn a_later_versions_state_is_kept() {
    if skipped() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("learned.json");
    let later = r#"{"version": 99, "detectors": {"chunk_regression": "of a later form"}}"#;
    fs::write(&file, later).unwrap();
    let mut daemon = Daemon::start_with(&["--state.file", file.to_str().unwrap()], &[]).unwrap();
    let said = || daemon.log().contains("a later version of llm-observer wrote").then_some(());
    wait_for("the warning", Duration::from_secs(5), said).unwrap();
    assert!(daemon.metrics().unwrap().contains("llm_observer_state_unread{reason=\"later_version\"} 1"));
    daemon.stop(Signal::TERM).unwrap();
    assert_eq!(fs::read_to_string(dir.path().join("learned.json.v99.kept")).unwrap(), later);
    assert!(fs::read_to_string(&file).unwrap().contains("\"version\":1"), "a new one is begun");
}

/// A daemon that starts right after another was killed waits for the lock.
#[test]
fn a_killed_daemon_may_be_started_again_at_once() {
    if skipped() {
        return;
    }
    let mut daemon = Daemon::start().unwrap();
    let lock = daemon.lock();
    assert_eq!(fs::metadata(&lock).unwrap().mode() & 0o777, 0o600, "nobody else can hold it");
    kill_process(Pid::from_raw(daemon.pid().cast_signed()).unwrap(), Signal::KILL).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new(daemon.binary());
    command.args(["run", "--web.listen-address", "127.0.0.1:0", "--state.file", "", "--lock.file"]).arg(&lock);
    command.arg("--inspect.socket").arg(dir.path().join("s")).stderr(fs::File::create(dir.path().join("log")).unwrap());
    let child = Running(command.spawn().unwrap());
    let log = || fs::read_to_string(dir.path().join("log")).unwrap();
    let observing =
        wait_for("the second daemon", Duration::from_secs(30), || log().contains("observing").then_some(()));
    let _ = daemon.stop(Signal::KILL);
    observing.unwrap_or_else(|error| panic!("{error}: {}", log()));
    // A hang-up is said and does nothing.
    kill_process(Pid::from_child(&child.0), Signal::HUP).unwrap();
    wait_for("the log's line", Duration::from_secs(5), || log().contains("SIGHUP").then_some(())).unwrap();
    kill_process(Pid::from_child(&child.0), Signal::TERM).unwrap();
    let mut child = child;
    assert!(child.0.wait().unwrap().success(), "{}", log());
}

fn resident(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
