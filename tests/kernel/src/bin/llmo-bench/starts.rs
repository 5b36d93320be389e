//! What a container's start costs: of an image that is new, of one that was seen before, and of fifty at once.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use kernel_tests::compare::Quantiles;
use kernel_tests::exact;
use kernel_tests::layer::{Layer, finish};
use kernel_tests::overlay::{Overlay, Way};
use kernel_tests::rig::Rig;
use kernel_tests::watch::Watch;
use provider::script::{Reply, Scenario, answer, deltas};

use crate::table::Table;

/// Images with a library of their own, each started once before it is started again.
const IMAGES: usize = 40;
/// Starts of images that were seen before.
const STARTS: usize = 100;
/// Containers at once, and so many times.
const TOGETHER: usize = 5;
const TURNS: usize = 10;
/// The daemon has done by then what a start makes it do.
const SETTLED: Duration = Duration::from_millis(300);

pub(crate) fn run(table: &mut Table) -> Result<()> {
    let rig = Rig::new()?;
    rig.provider.register("quick", Scenario::always(Reply::of(answer(vec![deltas(5, 12, 5_000)], "stop"))));
    let images: Vec<Layer> = (0..IMAGES).map(|_| Layer::new()).collect::<Result<_>>()?;
    let fresh = images.iter().map(|image| start(&rig, image, "fresh")).collect::<Result<Vec<f64>>>()?;
    let attached = |field: &str| times(&rig.daemon.log(), field);
    show(table, "from a new library's mapping to its probes", &attached("after_us"), "ms");
    show(table, "... of it putting in the probes themselves", &attached("took_us"), "ms");
    show(table, "daemon CPU for a container's start and one short call, image new", &fresh, "ms");
    let known = (0..STARTS).zip(images.iter().cycle()).map(|(_, image)| start(&rig, image, "known"));
    show(table, "... image seen before", &known.collect::<Result<Vec<f64>>>()?, "ms");
    many(&rig, &images, table)
}

/// One container, one call; the daemon's processor time for it, in seconds.
fn start(rig: &Rig, image: &Layer, name: &str) -> Result<f64> {
    let before = cpu(rig.daemon.pid())?;
    let mut container = Overlay::over(&[image.path()], "")?;
    let run = image.run(rig, "curl-chat", &container, Way::Namespaces)?;
    finish(vec![run.start(&[format!("scenario:quick#{name}")])?])?;
    container.unmount()?;
    std::thread::sleep(SETTLED);
    Ok(cpu(rig.daemon.pid())?.saturating_sub(before).as_secs_f64())
}

/// Fifty containers, five at a time, while somebody scrapes.
fn many(rig: &Rig, images: &[Layer], table: &mut Table) -> Result<()> {
    let watch = Watch::start(&rig.daemon)?;
    let (began, mut images, mut asked) = (Instant::now(), images.iter().cycle(), Vec::new());
    for _ in 0..TURNS {
        let mut running = Vec::new();
        for image in images.by_ref().take(TOGETHER) {
            let container = Overlay::over(&[image.path()], "")?;
            // One name: what the series of many models cost a scrape is not asked here.
            let model = "scenario:quick#many".to_owned();
            let run = image.run(rig, "curl-chat", &container, Way::Namespaces)?;
            running.push((run.start(std::slice::from_ref(&model))?, container));
            asked.push(model);
        }
        for (client, mut container) in running {
            finish(vec![client])?;
            container.unmount()?;
        }
    }
    let took = began.elapsed();
    let seen = watch.end()?;
    table.show("fifty containers, five at a time, each with a call: all within", took.as_secs_f64(), "s");
    table.at_most(
        "... streams that are not as the provider made them",
        exact::wrong(rig, &asked)?.len() as f64,
        "",
        0.0,
    );
    table.show("... daemon CPU", seen.cpu.as_secs_f64() / took.as_secs_f64() * 100.0, "% of a core");
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    table.show("... slowest scrape", ms(seen.slowest()), "ms");
    table.show("... latest wake of a thread that only sleeps", ms(seen.latest_wake), "ms");
    Ok(())
}

fn show(table: &mut Table, what: &str, seconds: &[f64], unit: &'static str) {
    let quantiles = Quantiles::of_errors(seconds.iter().copied());
    table.show(&format!("{what}, p50 of {}", seconds.len()), quantiles.p50, unit);
    table.show("... p99", quantiles.p99, unit);
}

/// The values of a field of the daemon's log that counts microseconds, in seconds, for libraries of these images.
fn times(log: &str, field: &str) -> Vec<f64> {
    let lines = log.lines().filter(|line| line.contains("probed") && line.contains("llmo-layer-"));
    let value = |line: &str| {
        let digits = line.split(field).nth(1)?.trim_start_matches(|c: char| !c.is_ascii_digit());
        digits.split(|c: char| !c.is_ascii_digit()).next()?.parse::<f64>().ok()
    };
    lines.filter_map(value).map(|us| us / 1e6).collect()
}

/// Processor time of all threads, to the nanosecond: the kernel's usual figure counts in hundredths of a second, which
/// is more than one start takes. The daemon's threads stay.
fn cpu(pid: u32) -> Result<Duration> {
    let mut sum = Duration::ZERO;
    for thread in fs::read_dir(format!("/proc/{pid}/task")).context("the daemon is gone")? {
        let stat = fs::read_to_string(thread?.path().join("schedstat")).unwrap_or_default();
        sum += Duration::from_nanos(stat.split_whitespace().next().and_then(|ns| ns.parse().ok()).unwrap_or(0));
    }
    Ok(sum)
}
