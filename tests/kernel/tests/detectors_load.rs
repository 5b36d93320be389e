//! Open streams against the CPU of their control group on live traffic: what an autoscaler on CPU does not see.

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use kernel_tests::cases::Expected;
use kernel_tests::far::Stopped;
use kernel_tests::rig::Rig;
use kernel_tests::steady::on_a_steady_host;
use kernel_tests::{places, skipped, wait_for};
use provider::script::{Fault, Reply, Say, Scenario, Step, deltas};
use serde_json::json;

const DETECTOR: &str = "pressure";

/// Windows of 6 s, and few streams. A busy host bends what a program can use of a core, so half as
/// much more is no more.
const CONFIG: &str =
    "detect: {pressure: {window_minutes: 0.1, least_streams: 4, cpu_growth: 1.5, idle_limits_seconds: []}}\n";

/// Far more than the windows that a baseline needs take.
const LEARNED: Duration = Duration::from_secs(120);

/// A control group of one's own, as long as something is in it.
struct Group(PathBuf);

impl Group {
    fn new() -> Self {
        let path = places::root_cgroup().unwrap().join(format!("llmo-load-{}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // A process that was killed leaves it when it is gone.
        let _ = wait_for("an empty group", Duration::from_secs(5), || std::fs::remove_dir(&self.0).ok());
    }
}

/// A program that does as it is told.
struct Load {
    child: Stopped,
    said: BufReader<std::process::ChildStdout>,
}

impl Load {
    fn start(rig: &Rig, group: &Path) -> Self {
        let mut python = Command::new(rig.clients.python());
        python.arg(places::programs().join("load.py")).arg(rig.provider.plain_address().to_string());
        python.arg("scenario:held").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = Stopped(python.spawn().unwrap());
        std::fs::write(group.join("cgroup.procs"), child.0.id().to_string()).unwrap();
        let said = BufReader::new(child.0.stdout.take().unwrap());
        Self { child, said }
    }

    fn tell(&mut self, what: &str) {
        writeln!(self.child.0.stdin.as_mut().unwrap(), "{what}").unwrap();
        let mut line = String::new();
        self.said.read_line(&mut line).unwrap();
        assert_eq!(line.trim_end(), what);
    }
}

/// So many more windows were judged.
fn windows(rig: &Rig, more: f64) {
    let before = rig.judged(DETECTOR).unwrap().evaluated;
    let judged = || (rig.judged(DETECTOR).ok()?.evaluated >= before + more).then_some(());
    wait_for("windows", LEARNED, judged).unwrap();
}

#[test]
fn streams_that_double_on_the_cpu_of_before_are_told_on_more_cpu_they_are_not() {
    if skipped() {
        return;
    }
    on_a_steady_host(|| {
        let rig = Rig::tuned(CONFIG).unwrap();
        let held = vec![Step::new(0, Say::Start), deltas(3, 8, 1_000), Step::new(0, Say::Fault(Fault::Stall))];
        rig.provider.register("held", Scenario::always(Reply::of(held)));
        // The root group is everybody's.
        let mut load = Load::start(&rig, &places::root_cgroup().unwrap());
        load.tell("open 2");
        rig.case(DETECTOR, "streams of a process in the root control group", Expected::Withheld("no_cpu")).unwrap();
        drop(load);
        let group = Group::new();
        let mut load = Load::start(&rig, &group.0);
        load.tell("busy 0.1");
        load.tell("open 6");
        rig.case(DETECTOR, "fewer windows of load than a baseline needs", Expected::Withheld("learning")).unwrap();
        windows(&rig, 1.0);
        load.tell("busy 0.5");
        windows(&rig, 1.0);
        load.tell("open 12");
        windows(&rig, 3.0);
        rig.case(DETECTOR, "twice the streams on five times the CPU", Expected::Quiet).unwrap();
        rig.number_is("llm_autoscale_divergence_active", &[], 0.0).unwrap();
        load.tell("busy 0.1");
        windows(&rig, 2.0);
        rig.case(DETECTOR, "twice the streams on the CPU of before", Expected::Findings(&["divergence"])).unwrap();
        let finding = rig.finding_when(DETECTOR, |finding| finding["kind"] == "divergence").unwrap();
        assert_eq!((&finding["severity"], &finding["ended"]), (&json!("warning"), &json!(null)), "{finding}");
        let of = |facts: &str, name: &str| finding[facts][name].as_f64().unwrap();
        assert_eq!((of("inputs", "concurrency"), of("baseline", "concurrency")), (12.0, 6.0), "{finding}");
        let (now, then) = (of("inputs", "cores"), of("baseline", "cores"));
        assert!(then > 0.05 && now <= 1.5 * then, "{finding}");
        rig.number_is("llm_autoscale_divergence_active", &[], 1.0).unwrap();
        load.tell("open 6");
        rig.finding_when(DETECTOR, |finding| !finding["ended"].is_null()).unwrap();
        rig.number_is("llm_autoscale_divergence_active", &[], 0.0).unwrap();
        drop(load);
        drop(group);
    });
}
