//! A thousand slow streams over plain HTTP, held for a minute: is the gauge right at every scrape, and every end?

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use kernel_tests::places;
use kernel_tests::rig::Rig;
use provider::script::{Fault, Reply, Say, Scenario, Step, answer, deltas};

use crate::load::resident_kib;
use crate::table::Table;

const STREAMS: usize = 1_000;
const HELD: Duration = Duration::from_secs(60);
/// A delta a second, from the first stream's beginning to the last one's end.
const DELTAS: u32 = 75;
/// How the streams end, in turn: name, fault, outcome.
const ENDS: [(&str, Option<Fault>, &str); 3] = [
    ("held-well", None, "complete"),
    ("held-reset", Some(Fault::Reset), "reset"),
    ("held-cut", Some(Fault::Fin), "truncated"),
];

/// Opens, holds, watches them end.
pub(crate) fn run(table: &mut Table) -> Result<()> {
    let rig = Rig::plain()?;
    for (name, fault, _) in &ENDS {
        rig.provider.register(name, scenario(*fault));
    }
    let before = resident_kib(rig.daemon.pid())?;
    let models = ENDS.map(|(name, ..)| format!("scenario:{name}")).join(",");
    let mut clients = Command::new(rig.clients.python())
        .arg(places::programs().join("bench/many.py"))
        .args([&models, &STREAMS.to_string()])
        .env("BASE_URL", rig.provider.url())
        .env_remove("SSL_CERT_FILE")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start many.py")?;
    let mut line = String::new();
    BufReader::new(clients.stdout.take().context("no pipe")?).read_line(&mut line)?;
    if !line.contains("ready") {
        bail!("many.py could not open {STREAMS} streams");
    }
    let (mut worst, mut scrapes, end) = (0.0_f64, 0, Instant::now() + HELD);
    while Instant::now() < end {
        worst = worst.max((active(&rig)? - STREAMS as f64).abs());
        scrapes += 1;
        std::thread::sleep(Duration::from_secs(1));
    }
    let grown = resident_kib(rig.daemon.pid())? - before;
    // `wait` would close its input first, which ends it at once: the streams are to end by themselves.
    let input = clients.stdin.take();
    clients.wait()?;
    drop(input);
    table.show("slow streams over plain HTTP held for 60 s", STREAMS as f64, "streams");
    table.show("... scrapes meanwhile", f64::from(scrapes), "scrapes");
    table.at_most("... llm_streams_active off by, at worst", worst, "streams", 1.0);
    table.show("... daemon memory grown by, for each connection", grown / STREAMS as f64, "KiB");
    table.at_most("... ends that are not as the provider made them", wrong_ends(&rig)?, "streams", 0.0);
    Ok(())
}

fn scenario(fault: Option<Fault>) -> Scenario {
    let flow = deltas(DELTAS, 12, 1_000_000);
    Scenario::always(Reply::of(match fault {
        None => answer(vec![flow], "stop"),
        Some(fault) => vec![Step::new(0, Say::Start), flow, Step::new(0, Say::Fault(fault))],
    }))
}

fn active(rig: &Rig) -> Result<f64> {
    let metrics = rig.daemon.metrics()?;
    let lines = metrics.lines().filter(|line| line.starts_with("llm_streams_active{"));
    Ok(lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum())
}

/// Streams that have not ended as they should, once none is open.
fn wrong_ends(rig: &Rig) -> Result<f64> {
    kernel_tests::wait_for("the end of every stream", Duration::from_secs(30), || {
        active(rig).is_ok_and(|open| open < 0.5).then_some(())
    })?;
    let mut ends: BTreeMap<(&str, String), i64> = BTreeMap::new();
    for stream in rig.daemon.streams()? {
        let model = stream.request_model.unwrap_or_default();
        let name = ENDS.iter().map(|(name, ..)| *name).find(|name| model.starts_with(&format!("scenario:{name}#")));
        *ends.entry((name.unwrap_or("another"), stream.outcome.unwrap_or_default())).or_default() += 1;
    }
    let mut wrong = 0;
    for (index, (name, _, outcome)) in ENDS.iter().enumerate() {
        let asked = (0..STREAMS).filter(|number| number % ENDS.len() == index).count() as i64;
        wrong += (asked - ends.remove(&(*name, (*outcome).to_owned())).unwrap_or(0)).abs();
    }
    if !ends.is_empty() {
        eprintln!("other ends: {ends:?}");
    }
    Ok((wrong + ends.values().sum::<i64>()) as f64)
}
