//! Containers of a real engine: two of one image, one started again, many churned.

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

use std::process::{Child, Command, Stdio};
use std::time::Instant;

use kernel_tests::exact::assert_exact;
use kernel_tests::kmsg::Kmsg;
use kernel_tests::podman::{IMAGE, Podman, done};
use kernel_tests::rig::Rig;
use kernel_tests::skipped;
use kernel_tests::watch::Watch;
use provider::script::{Reply, Scenario, answer, deltas};

fn engine() -> Option<(Rig, Podman)> {
    of(Podman::set_up)
}

fn of(set_up: fn() -> anyhow::Result<Podman>) -> Option<(Rig, Podman)> {
    if skipped() {
        return None;
    }
    match set_up() {
        Ok(podman) => {
            let rig = Rig::new().unwrap();
            rig.provider.register("quick", Scenario::always(Reply::of(answer(vec![deltas(5, 12, 20_000)], "stop"))));
            rig.provider.register("steady", Scenario::always(Reply::of(answer(vec![deltas(250, 12, 20_000)], "stop"))));
            Some((rig, podman))
        }
        Err(reason) => {
            println!("SKIPPED: podman cannot be used here: {reason:#}");
            None
        }
    }
}

/// The command of a container that makes one call.
fn caller(rig: &Rig, podman: &Podman, verb: &str, name: &str, model: &str) -> Command {
    let ca = podman.readable(rig.provider.ca().unwrap()).unwrap();
    let body = format!(
        r#"{{"model": "{model}", "stream": true, "stream_options": {{"include_usage": true}}, "messages": []}}"#
    );
    let mut command = podman.create(verb, &[&ca]);
    command.args(["--name", name, IMAGE, "/usr/bin/curl", "-sSN", "--http1.1", "--cacert"]).arg(ca);
    // The image has no name service.
    let resolve = format!("localhost:{0}:127.0.0.1", rig.provider.address().port());
    command.args(["--resolve", &resolve, "-H", "content-type: application/json", "-d", &body]);
    command.arg(format!("{}/v1/chat/completions", rig.provider.url()));
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn ended(child: Child) {
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn two_containers_of_one_image_and_one_started_again_are_exact() {
    let Some((rig, podman)) = engine() else { return };
    let mut kernel = Kmsg::from_now().unwrap();
    let model = |name: &str| format!("scenario:quick#podman-{name}");
    done(&mut caller(&rig, &podman, "run", "warm", &model("warm"))).unwrap();
    let running = "scenario:steady#podman-running".to_owned();
    let first = caller(&rig, &podman, "run", "first", &running).spawn().unwrap();
    rig.stream_when(&running, "its first chunks", |ledger| ledger.chunks >= 5).unwrap();
    let mut asked = vec![running];
    for name in ["second", "third"] {
        done(&mut caller(&rig, &podman, "run", name, &model(name))).unwrap();
        asked.push(model(name));
    }
    ended(first);
    assert_exact(&rig, &asked);
    // Started again, it makes the same call again: the same container, its upper layer mounted anew.
    for turn in 2..5 {
        podman.run(&["start", "--attach", "second"]).unwrap();
        let again = model("second");
        let ledgers = rig.ended(std::slice::from_ref(&again)).unwrap();
        let truths = rig.truth(&again);
        assert_eq!((ledgers.len(), truths.len()), (turn, turn), "{ledgers:?}");
        let mut report = kernel_tests::compare::Report::default();
        report.add(&again, &ledgers, &truths);
        assert!(report.mismatches.is_empty(), "{:?}", report.mismatches);
    }
    let said = kernel.about(&["overlayfs", "Busy inodes", "VFS:"]).unwrap();
    assert!(said.is_empty(), "the kernel said {said:#?}");
    // While the daemon runs, all of it can be removed.
    podman.run(&["rm", "--all"]).unwrap();
    podman.run(&["rmi", IMAGE]).unwrap();
}

/// Its layers lie in the user's own folder, and are mounted where only his processes see them.
#[test]
fn containers_of_a_user_without_rights_are_exact() {
    let Some((rig, podman)) = of(Podman::rootless) else { return };
    let model = |name: &str| format!("scenario:quick#rootless-{name}");
    done(&mut caller(&rig, &podman, "run", "warm", &model("warm"))).unwrap();
    let running = "scenario:steady#rootless-running".to_owned();
    let first = caller(&rig, &podman, "run", "first", &running).spawn().unwrap();
    rig.stream_when(&running, "its first chunks", |ledger| ledger.chunks >= 5).unwrap();
    let mut asked = vec![running];
    for name in ["second", "third"] {
        done(&mut caller(&rig, &podman, "run", name, &model(name))).unwrap();
        asked.push(model(name));
    }
    ended(first);
    podman.run(&["start", "--attach", "second"]).unwrap();
    asked.push(model("second"));
    assert_exact(&rig, &asked);
}

#[test]
fn fifty_containers_that_come_and_go_are_all_seen() {
    let Some((rig, podman)) = engine() else { return };
    let model = |name: &str| format!("scenario:quick#churn-{name}");
    done(&mut caller(&rig, &podman, "run", "warm", &model("warm"))).unwrap();
    let mut asked = vec!["scenario:steady#host".to_owned()];
    let host = rig.run("stdlib").unwrap().start(&asked).unwrap();
    let watch = Watch::start(&rig.daemon).unwrap();
    let began = Instant::now();
    for turn in 0..10 {
        let children: Vec<Child> = (0..5)
            .map(|place| {
                let name = format!("{turn}.{place}");
                // One name: what the metrics of many models cost is not asked here.
                asked.push(model("all"));
                caller(&rig, &podman, "run", &format!("churn-{name}"), &model("all"))
                    .arg("--max-time")
                    .arg("60")
                    .spawn()
            })
            .map(Result::unwrap)
            .collect();
        children.into_iter().for_each(ended);
    }
    println!("50 containers in {:?}", began.elapsed());
    host.finish().unwrap();
    let seen = watch.end().unwrap();
    println!("{}", seen.summary());
    assert_exact(&rig, &asked);
    assert!(seen.failed.is_empty(), "{:?}", seen.failed);
}
