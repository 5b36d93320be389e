//! Pods of a real runtime, as a kubelet makes them: two of one image, one started again, many that come and go.

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

use std::path::Path;
use std::time::Instant;

use kernel_tests::exact::assert_exact;
use kernel_tests::kmsg::Kmsg;
use kernel_tests::pods::Pods;
use kernel_tests::rig::Rig;
use kernel_tests::skipped;
use kernel_tests::watch::Watch;
use provider::script::{Reply, Scenario, answer, deltas};

/// So many pods come and go.
const CHURNED: usize = 25;

fn words(rig: &Rig, model: &str) -> Vec<String> {
    let ca = rig.provider.ca().unwrap().display().to_string();
    let body = format!(
        r#"{{"model": "{model}", "stream": true, "stream_options": {{"include_usage": true}}, "messages": []}}"#
    );
    // The image has no name service.
    let resolve = format!("localhost:{0}:127.0.0.1", rig.provider.address().port());
    let url = format!("{}/v1/chat/completions", rig.provider.url());
    let words = ["/usr/bin/curl", "-sSN", "--http1.1", "--max-time", "60", "--cacert", &ca, "--resolve", &resolve];
    [&words[..], &["-H", "content-type: application/json", "-d", &body, &url]]
        .concat()
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[test]
fn pods_of_one_image_are_exact_started_again_and_churned() {
    if skipped() {
        return;
    }
    let rig = Rig::new().unwrap();
    rig.provider.register("quick", Scenario::always(Reply::of(answer(vec![deltas(5, 12, 20_000)], "stop"))));
    rig.provider.register("steady", Scenario::always(Reply::of(answer(vec![deltas(250, 12, 20_000)], "stop"))));
    let mut pods = match Pods::set_up(&rig.clients) {
        Ok(pods) => pods,
        Err(reason) => {
            println!("SKIPPED: containerd cannot be used here: {reason:#}");
            return;
        }
    };
    let mut kernel = Kmsg::from_now().unwrap();
    let ca = rig.provider.ca().unwrap().clone();
    let mounts: [&Path; 1] = [&ca];
    let [running, quick, churned, host] =
        ["steady#pod", "quick#pods", "quick#churned", "steady#host"].map(|name| format!("scenario:{name}"));
    // The first call through the image's library may come before its probes.
    assert_eq!(pods.churn(&[words(&rig, "scenario:quick#warm")], 1, &mounts).unwrap(), [0]);
    let first = pods.pod("shop-7d9f8c6b5d-x2x4z").unwrap();
    let steady = pods.start(&first, "web", &words(&rig, &running), &mounts).unwrap();
    rig.stream_when(&running, "its first chunks", |ledger| ledger.chunks >= 5).unwrap();
    let mut asked = vec![running.clone()];
    let second = pods.pod("shop-7d9f8c6b5d-abcde").unwrap();
    for turn in 0..3 {
        // Its container ends and is started again in the same pod, as after a crash.
        let container = pods.start(&second, &format!("web-{turn}"), &words(&rig, &quick), &mounts).unwrap();
        assert_eq!(pods.wait(&container).unwrap(), 0);
        asked.push(quick.clone());
    }
    assert_eq!(pods.wait(&steady).unwrap(), 0);
    for pod in [&first, &second] {
        pods.remove(pod).unwrap();
    }
    assert_exact(&rig, &asked);
    let client = rig.run("stdlib").unwrap().start(std::slice::from_ref(&host)).unwrap();
    let watch = Watch::start(&rig.daemon).unwrap();
    let began = Instant::now();
    let exits = pods.churn(&vec![words(&rig, &churned); CHURNED], 5, &mounts).unwrap();
    println!("{CHURNED} pods in {:?}", began.elapsed());
    assert_eq!(exits, vec![0; CHURNED]);
    client.finish().unwrap();
    let seen = watch.end().unwrap();
    println!("{}", seen.summary());
    asked.extend(vec![churned; CHURNED]);
    asked.push(host);
    assert_exact(&rig, &asked);
    assert!(seen.failed.is_empty(), "{:?}", seen.failed);
    drop(pods);
    let said = kernel.about(&["overlayfs", "Busy inodes", "VFS:"]).unwrap();
    assert!(said.is_empty(), "the kernel said {said:#?}");
}
