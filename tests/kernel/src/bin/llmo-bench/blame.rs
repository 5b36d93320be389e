//! Who is blamed for a silence, a hundred times each: an application that blocks, a provider that
//! pauses, and a path that is dead for a while, and one that loses packets.

use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use kernel_tests::far::{Far, Stopped};
use kernel_tests::rig::Rig;
use kernel_tests::{places, wait_for};
use provider::script::{Reply, Say, Scenario, Step, answer, deltas};
use serde_json::Value;

use crate::table::Table;

/// Programs at once, and calls of each.
const PROGRAMS: usize = 10;
const CALLS: usize = 10;

/// Two measurements of one scenario must not share names.
static ROUND: AtomicU32 = AtomicU32::new(0);

/// Every two and a half seconds nothing comes from the provider for 800 ms: each of these streams
/// of three seconds meets it. What the sender tries then and afterwards does not fall into the next
/// such time.
const DEAD: [&str; 2] = ["--dead", "2500,800"];

/// A quarter of all packets is lost, those that are sent again too: about one silence of half a second in each stream.
const LOSSY: [&str; 2] = ["--loss", "0.25"];

/// What a path does to a stream may last; what comes last of them is waited for.
const SETTLE: Duration = Duration::from_secs(90);

/// All causes, by programs that hold their sockets in two ways.
pub(crate) fn run(table: &mut Table) -> Result<()> {
    let rig = Rig::new()?;
    rig.provider.register("steady", scenario(vec![deltas(70, 12, 20_000)]));
    let pause = Step::new(800_000, Say::Text(12));
    rig.provider.register("paused", scenario(vec![deltas(30, 12, 20_000), pause, deltas(30, 12, 20_000)]));
    for (cause, name, block) in [("local", "steady", "25"), ("provider", "paused", "-1")] {
        let (streams, gap) = blamed(&rig, name, |how, models| local(&rig, how, models, block))?;
        let right = streams.iter().filter(|causes| **causes == [cause]).count();
        let what = format!("silences of 800 ms blamed on {cause}, of {}", streams.len());
        table.show(&what, right as f64, "streams");
        table.at_most(&format!("... not on {cause}, or on more"), (streams.len() - right) as f64, "streams", 0.0);
        if cause == "local" {
            table.at_most("... largest gap on the arrival clock meanwhile", gap * 1e3, "ms", 400.0);
        }
    }
    for (name, how) in [("dead", DEAD), ("lossy", LOSSY)] {
        let far = Far::new(&rig, name, &how, &[("long", scenario(vec![deltas(150, 12, 20_000)]))], false)?;
        let (streams, _) = blamed(&rig, "long", |how, models| far.client(how, models))?;
        let silences: Vec<&String> = streams.iter().flatten().collect();
        let right = silences.iter().filter(|cause| **cause == "network").count();
        let what = format!("silences of a {name} path blamed on network, of {}", silences.len());
        table.show(&what, right as f64, "silences");
        table.at_most("... blamed on another", (silences.len() - right) as f64, "silences", 0.0);
        ensure!(silences.len() >= PROGRAMS * CALLS / 2, "the path was too good: {} silences", silences.len());
    }
    Ok(())
}

/// A program against the provider on this host.
fn local(rig: &Rig, how: &str, models: &[String], block: &str) -> Result<Stopped> {
    let mut command = Command::new(rig.clients.python());
    command.arg(places::programs().join("timelines.py")).arg(how).args(models);
    command.env("BASE_URL", rig.provider.url()).env("SSL_CERT_FILE", rig.provider.ca().context("no authority")?);
    command.env("BLOCK_AFTER", block).env("BLOCK_MS", "800").stdout(Stdio::null());
    Ok(Stopped(command.spawn()?))
}

fn scenario(steps: Vec<Step>) -> Scenario {
    Scenario::always(Reply::of(answer(steps, "stop")))
}

/// The causes of each stream's stalls, and the largest gap between arrivals.
fn blamed(
    rig: &Rig,
    scenario: &str,
    start: impl Fn(&str, &[String]) -> Result<Stopped>,
) -> Result<(Vec<Vec<String>>, f64)> {
    let round = ROUND.fetch_add(1, Ordering::Relaxed);
    let models = |program: usize| -> Vec<String> {
        (0..CALLS).map(|call| format!("{}{scenario}#{round}-{program}-{call}", provider::PREFIX)).collect()
    };
    let how = |program: usize| if program.is_multiple_of(2) { "sync" } else { "async" };
    let children: Result<Vec<Stopped>> = (0..PROGRAMS).map(|program| start(how(program), &models(program))).collect();
    for mut child in children? {
        ensure!(child.0.wait()?.success(), "a client failed");
    }
    let wanted: Vec<String> = (0..PROGRAMS).flat_map(models).collect();
    let ours = |stream: &&Value| {
        wanted.iter().any(|model| stream.get("request_model").and_then(Value::as_str) == Some(model.as_str()))
    };
    let streams = wait_for("the streams' ends", SETTLE, || {
        let streams: Vec<Value> = rig.daemon.inspect_json(&["streams"]).ok()?;
        let ended: Vec<Value> =
            streams.iter().filter(ours).filter(|s| !s.get("outcome").is_none_or(Value::is_null)).cloned().collect();
        (ended.len() == wanted.len()).then_some(ended)
    })?;
    let cause = |stall: &Value| stall.get("cause").and_then(Value::as_str).unwrap_or("unknown").to_owned();
    let causes =
        |stream: &Value| stream.get("stalls").and_then(Value::as_array).into_iter().flatten().map(cause).collect();
    let gap = streams
        .iter()
        .filter_map(|stream| stream.pointer("/arrival_gaps/max").and_then(Value::as_f64))
        .fold(0.0, f64::max);
    Ok((streams.iter().map(causes).collect(), gap))
}
