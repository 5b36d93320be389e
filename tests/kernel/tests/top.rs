//! `top` on live traffic: plain text into a pipe, a full screen on a terminal, and a terminal that
//! is as before afterwards.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may panic, its helpers too")]

use std::process::{Command, ExitStatus};
use std::time::Duration;

use kernel_tests::clients::{Client, Kind};
use kernel_tests::pty::Pty;
use kernel_tests::rig::Rig;
use kernel_tests::{skipped, wait_for};
use rustix::process::Signal;

/// How long a picture may take to show what it must, on a busy host.
const SHOWN: Duration = Duration::from_secs(30);

const ENTER: &str = "\x1b[?1049h";
const LEAVE: &str = "\x1b[?1049l";

/// A stream that lasts longer than the test, open and with chunks.
fn streaming(rig: &Rig) -> (Client, String) {
    let kind = Kind::named("openai-sync-chat").unwrap();
    let model = kind.model("long");
    let client = rig.clients.run(kind, &rig.provider).start(std::slice::from_ref(&model)).unwrap();
    rig.stream_when(&model, "an open stream with chunks", |ledger| ledger.chunks >= 2).unwrap();
    (client, model)
}

fn top(rig: &Rig) -> Command {
    let mut command = Command::new(rig.daemon.binary());
    command.arg("top").arg("--inspect.socket").arg(rig.daemon.socket());
    command
}

/// A live `top` on a terminal of its own.
fn on_terminal(rig: &Rig, environment: &[(&str, &str)]) -> Pty {
    let mut command = top(rig);
    command.env_remove("NO_COLOR").env("TERM", "xterm").envs(environment.iter().copied());
    Pty::start(&command, 160, 30).unwrap()
}

fn frame_with(pty: &Pty, what: &str, fits: impl Fn(&str) -> bool) -> String {
    let found = wait_for(what, SHOWN, || pty.frame().filter(|frame| fits(frame)));
    found.unwrap_or_else(|error| panic!("{error}; the screen: {:?}", pty.output()))
}

/// The program has ended well, and the terminal is as it was.
fn restored(pty: &mut Pty, how: &str) {
    let status = wait_for("the end of top", SHOWN, || pty.try_wait().unwrap());
    assert!(status.as_ref().is_ok_and(ExitStatus::success), "{how}: {status:?}; {:?}", pty.output());
    let left = wait_for("the last of the output", SHOWN, || pty.output().contains(LEAVE).then(|| pty.output()));
    let left = left.unwrap_or_else(|error| panic!("{how}: {error}; {:?}", pty.output()));
    let (_, after) = left.rsplit_once(ENTER).unwrap();
    assert!(after.contains("\x1b[?25h") && after.contains("\x1b[?7h"), "{how}: {after:?}");
    assert!(after.ends_with(LEAVE), "{how}: something was written to the user's own screen: {after:?}");
    assert!(!pty.is_changed().unwrap(), "{how}: keys are not treated as before");
}

#[test]
fn into_a_pipe_it_is_one_table() {
    if skipped() {
        return;
    }
    let rig = Rig::new().unwrap();
    let (client, model) = streaming(&rig);
    let output = top(&rig).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    println!("{text}");
    assert!(output.status.success() && !text.contains('\x1b'), "{text}");
    let line = text.lines().find(|line| line.contains(&model)).unwrap();
    // SERVICE PROVIDER MODEL OPEN …
    assert_eq!(line.split_whitespace().nth(3), Some("1"), "{text}");
    let rate = text.split("events/s ").nth(1).unwrap().split_whitespace().next().unwrap();
    // The provider sends twenty a second.
    assert!(rate.parse::<f64>().unwrap() > 0.0, "{text}");
    assert!(text.contains("plaintext"), "the client is covered: {text}");
    client.signal(Signal::KILL);
    rig.stream_when(&model, "its end", |ledger| ledger.outcome.is_some()).unwrap();
    let text = String::from_utf8(top(&rig).output().unwrap().stdout).unwrap();
    let line = text.lines().find(|line| line.contains(&model)).unwrap();
    assert!(line.trim_end().ends_with("process_exit 1"), "{text}");
}

#[test]
fn on_a_terminal_it_is_live_and_leaves_nothing_behind() {
    if skipped() {
        return;
    }
    let rig = Rig::new().unwrap();
    let (_client, model) = streaming(&rig);
    let mut pty = on_terminal(&rig, &[]);
    let first = frame_with(&pty, "the stream", |frame| frame.contains(&model) && frame.contains("q to quit"));
    assert!(first.contains("\x1b[2m"), "colours on a terminal: {first:?}");
    assert!(pty.output().contains(ENTER) && pty.is_changed().unwrap());
    frame_with(&pty, "a rate of events", |frame| {
        let rate = frame.split("events/s ").nth(1).and_then(|rest| rest.split(' ').next()?.parse::<f64>().ok());
        rate.is_some_and(|rate| rate > 0.0)
    });
    pty.resize(60, 8).unwrap();
    let narrow = frame_with(&pty, "the smaller size", |frame| frame.lines().count() <= 8);
    assert!(narrow.contains("open streams 1"), "{narrow:?}");
    pty.keys("q").unwrap();
    restored(&mut pty, "q");

    let mut pty = on_terminal(&rig, &[("NO_COLOR", "1")]);
    let plain = frame_with(&pty, "the stream", |frame| frame.contains(&model));
    assert!(!plain.contains("\x1b[2m") && !plain.contains("\x1b[31m"), "{plain:?}");
    pty.keys("\x03").unwrap();
    restored(&mut pty, "Ctrl-C");
}

#[test]
fn it_outlives_the_daemon_and_yields_to_signals() {
    if skipped() {
        return;
    }
    let mut rig = Rig::new().unwrap();
    let (_client, model) = streaming(&rig);
    let mut pty = on_terminal(&rig, &[]);
    frame_with(&pty, "the stream", |frame| frame.contains(&model));
    rig.daemon.stop(Signal::TERM).unwrap();
    let old = frame_with(&pty, "that the daemon is gone", |frame| frame.contains("no daemon is listening"));
    assert!(old.contains(" ago: ") && old.contains(&model), "{old:?}");
    pty.signal(Signal::TERM);
    restored(&mut pty, "SIGTERM");
}
