//! Who is blamed for a silence, a hundred times each: an application that blocks, and a provider that pauses.

use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use kernel_tests::rig::Rig;
use kernel_tests::{places, wait_for};
use provider::script::{Reply, Say, Scenario, Step, answer, deltas};
use serde_json::Value;

use crate::table::Table;

/// Programs at once, and calls of each.
const PROGRAMS: usize = 10;
const CALLS: usize = 10;

/// Both causes, by programs that hold their sockets in two ways.
pub fn run(table: &mut Table) -> Result<()> {
    let rig = Rig::new()?;
    rig.provider.register("steady", scenario(vec![deltas(70, 12, 20_000)]));
    let pause = Step::new(800_000, Say::Text(12));
    rig.provider.register("paused", scenario(vec![deltas(30, 12, 20_000), pause, deltas(30, 12, 20_000)]));
    for (cause, name, block) in [("local", "steady", "25"), ("provider", "paused", "-1")] {
        let (streams, gap) = blamed(&rig, name, block)?;
        let right = streams.iter().filter(|causes| **causes == [cause]).count();
        let what = format!("silences of 800 ms blamed on {cause}, of {}", streams.len());
        table.show(&what, right as f64, "streams");
        table.at_most(&format!("... not on {cause}, or on more"), (streams.len() - right) as f64, "streams", 0.0);
        if cause == "local" {
            table.at_most("... largest gap on the arrival clock meanwhile", gap * 1e3, "ms", 400.0);
        }
    }
    Ok(())
}

fn scenario(steps: Vec<Step>) -> Scenario {
    Scenario::always(Reply::of(answer(steps, "stop")))
}

/// The causes of each stream's stalls, and the largest gap between arrivals.
fn blamed(rig: &Rig, scenario: &str, block: &str) -> Result<(Vec<Vec<String>>, f64)> {
    let models = |program: usize| -> Vec<String> {
        (0..CALLS).map(|call| format!("{}{scenario}#{program}-{call}", provider::PREFIX)).collect()
    };
    let mut children = Vec::new();
    for program in 0..PROGRAMS {
        let mut command = Command::new(rig.clients.python());
        command.arg(places::programs().join("timelines.py")).arg(if program % 2 == 0 { "sync" } else { "async" });
        command.args(models(program)).env("BASE_URL", rig.provider.url());
        command.env("SSL_CERT_FILE", rig.provider.ca().context("no authority")?);
        command.env("BLOCK_AFTER", block).env("BLOCK_MS", "800").stdout(Stdio::null());
        children.push(command.spawn()?);
    }
    for mut child in children {
        ensure!(child.wait()?.success(), "a client failed");
    }
    let wanted: Vec<String> = (0..PROGRAMS).flat_map(models).collect();
    let ours = |stream: &&Value| {
        wanted.iter().any(|model| stream.get("request_model").and_then(Value::as_str) == Some(model.as_str()))
    };
    let streams = wait_for("the streams' ends", Duration::from_secs(30), || {
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
