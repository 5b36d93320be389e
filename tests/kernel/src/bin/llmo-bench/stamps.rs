//! When segments arrive, by a recording of their stamps, against the provider's log of its own
//! writes: one clock, one host.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use kernel_tests::compare::Quantiles;
use kernel_tests::raw::Raw;
use kernel_tests::{places, wait_for};
use provider::log::Line;
use provider::script::{Reply, Scenario, answer, deltas};
use provider::{Options, Provider};
use rustix::process::{Pid, Signal, kill_process};

use crate::table::Table;

const STREAMS: usize = 20;
const CHUNKS: u32 = 100;

/// Streams side by side, each event a write and a segment of its own.
pub(crate) fn run(table: &mut Table) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let provider = Provider::start(&Options { plain: true, ..Options::in_memory(dir.path().to_owned()) })?;
    provider.register("flow", Scenario::always(Reply::of(answer(vec![deltas(CHUNKS, 12, 20_000)], "stop"))));
    let file = dir.path().join("recording");
    let mut record = Command::new(places::daemon()?);
    let mut record = record.arg("record").arg(&file).stderr(Stdio::null()).spawn().context("cannot record")?;
    let streamed = wait_for("the socket programs", Duration::from_secs(60), || (links(&record) >= 6).then_some(()))
        .and_then(|()| stream(&provider));
    kill_process(Pid::from_child(&record), Signal::TERM)?;
    record.wait()?;
    streamed?;
    let arrived = arrivals(&fs::read(&file)?, provider.address().port())?;
    let errors = errors(&provider.lines(), &arrived)?;
    let quantiles = Quantiles::of_errors(errors.iter().copied());
    table.show("arrival stamps compared with the provider's write log", errors.len() as f64, "segments");
    table.show("from the provider's write to the arrival stamp, p50", quantiles.p50, "ms");
    table.at_most("from the provider's write to the arrival stamp, p99", quantiles.p99, "ms", 1.0);
    Ok(())
}

fn stream(provider: &Provider) -> Result<()> {
    let to = provider.address();
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..STREAMS)
            .map(|number| scope.spawn(move || Raw::connect(to)?.ask(&format!("scenario:flow#{number}")).map(drop)))
            .collect();
        readers.into_iter().try_for_each(|reader| reader.join().unwrap_or_else(|_| bail!("a reader died")))
    })
}

fn links(record: &Child) -> usize {
    let fds = fs::read_dir(format!("/proc/{}/fd", record.id())).into_iter().flatten().flatten();
    fds.filter(|fd| fs::read_link(fd.path()).is_ok_and(|to| to.to_string_lossy().contains("bpf_link"))).count()
}

/// For each client socket of that server, by its own port: stamp of every segment with payload that
/// it received, in order. The format is that of `observer::recording`.
fn arrivals(recording: &[u8], server: u16) -> Result<Vec<(u16, Vec<u64>)>> {
    let mut rest = recording.get(20..).context("no recording")?;
    let mut found: Vec<(u64, u16, Vec<u64>)> = Vec::new();
    while let Some((head, tail)) = rest.split_at_checked(5) {
        let size = number::<4>(head, 1).map_or(0, u32::from_le_bytes) as usize;
        let Some((body, next)) = tail.split_at_checked(size) else { break };
        let sock = number::<8>(body, 0).map(u64::from_le_bytes).unwrap_or_default();
        match head.first() {
            Some(10) if number::<2>(body, 53).map(u16::from_le_bytes) == Some(server) => {
                let own = number::<2>(body, 71).map(u16::from_le_bytes).context("no local address")?;
                found.push((sock, own, Vec::new()));
            }
            Some(11) => {
                let at = number::<8>(body, 11).map(u64::from_le_bytes).unwrap_or_default();
                let payload = number::<4>(body, 23).map_or(0, u32::from_le_bytes);
                let ours =
                    found.iter_mut().find(|(known, ..)| *known == sock && body.get(8) == Some(&0) && payload > 0);
                if let Some((.., stamps)) = ours {
                    stamps.push(at);
                }
            }
            _ => {}
        }
        rest = next;
    }
    Ok(found.into_iter().map(|(_, own, stamps)| (own, stamps)).collect())
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

/// From the beginning of each write to the stamp of its segment, seconds; a stamp after the write's
/// end counts from there on too.
fn errors(lines: &[Line], arrived: &[(u16, Vec<u64>)]) -> Result<Vec<f64>> {
    let mut errors = Vec::new();
    ensure!(arrived.len() == STREAMS, "{} of {STREAMS} sockets in the recording", arrived.len());
    for (port, stamps) in arrived {
        let conn = lines.iter().find_map(|line| match line {
            Line::Accept { conn, peer_port, .. } if peer_port == port => Some(*conn),
            _ => None,
        });
        let conn = conn.with_context(|| format!("the provider saw nobody from port {port}"))?;
        let writes = lines.iter().filter_map(|line| if let Line::Write(write) = line { Some(write) } else { None });
        let writes: Vec<_> = writes.filter(|write| write.conn == conn).collect();
        ensure!(writes.len() == stamps.len(), "{} writes, {} segments on port {port}", writes.len(), stamps.len());
        let late = |(write, at): (&&provider::log::WriteLine, &u64)| (*at as f64 - write.before.boot as f64) / 1e9;
        errors.extend(writes.iter().zip(stamps).map(late));
    }
    Ok(errors)
}
