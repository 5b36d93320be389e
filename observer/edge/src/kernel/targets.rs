//! A file that carries TLS: where its probes are, and how they fare. Which stacks there are is not
//! known here.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::files::TlsFile;
use super::uprobes::{ProbeLink, UprobePrograms};
use crate::clock;
use crate::coverage::{ProbeRow, ProbeState};
use capture::stacks::{
    CallCoverage, CallExit, CallKind, FunctionProbe, FunctionRow, LayoutCertainty, PlacementStrategy, ProbePlan,
    ProbePoint, StackLayout, TlsStack,
};
use capture::units::{Direction, Ns};

/// A probed file.
#[derive(Debug)]
pub(super) struct ProbeTarget {
    /// Path as the first process that mapped it sees it.
    pub path: String,
    pub build_id: Option<String>,
    /// One for each stack that it carries.
    placed: Vec<PlacedProbe>,
    links: Vec<ProbeLink>,
    /// The code at each probe, to know whether a changed file still has it there.
    code: Vec<(u64, [u8; CODE])>,
}

/// A stack's plan, carried out.
#[derive(Debug)]
struct PlacedProbe {
    stack: &'static str,
    certainty: LayoutCertainty,
    plan: ProbePlan,
    /// For each of its probes, why it could not be put in.
    errors: Vec<Option<String>>,
}

/// Bytes of code compared at each probe: more than the longest instruction.
const CODE: usize = 16;

/// Calls seen, by direction and by how they return their length.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct CallCounts {
    reads: [u64; 2],
    writes: [u64; 2],
}

impl CallCounts {
    /// One more call; `ex`: its length came through a pointer.
    pub(super) fn count(&mut self, direction: Direction, ex: bool) {
        let [plain, through_pointer] = match direction {
            Direction::Read => &mut self.reads,
            Direction::Write => &mut self.writes,
        };
        *(if ex { through_pointer } else { plain }) += 1;
    }

    /// As many calls more.
    pub(super) fn add(&mut self, more: CallCounts) {
        for (sum, more) in self.reads.iter_mut().zip(more.reads).chain(self.writes.iter_mut().zip(more.writes)) {
            *sum += more;
        }
    }

    /// Calls of one kind.
    fn of(&self, kind: CallKind) -> u64 {
        let [plain, through_pointer] = match kind.direction {
            Direction::Read => self.reads,
            Direction::Write => self.writes,
        };
        if kind.through_pointer { through_pointer } else { plain }
    }
}

impl ProbeTarget {
    /// Probes a file that carries TLS. `via`: a path to it that holds nobody's mount; `path`: as
    /// the process sees it; `mapped`: when it was mapped, to tell how much later the probes were there.
    pub(super) fn probe(
        found: &TlsFile,
        via: &Path,
        (path, mapped): (String, Ns),
        strategy: PlacementStrategy,
        uprobes: &UprobePrograms,
    ) -> ProbeTarget {
        let began = clock::now();
        let place = |(stack, layout): &(&'static dyn TlsStack, StackLayout)| {
            let plan = stack.plan(&found.image, layout, strategy);
            let errors = vec![None; plan.probes.len()];
            PlacedProbe { stack: stack.name(), certainty: layout.certainty, plan, errors }
        };
        let placed = found.recognised.iter().map(place).collect();
        let (build_id, links, code) = (found.image.build_id.clone(), Vec::new(), Vec::new());
        let mut target = ProbeTarget { path, build_id, placed, links, code };
        for index in 0..target.placed.len() {
            target.put_in(index, via, uprobes);
        }
        let now = clock::now();
        let (took_us, after_us) = ((now - began) / 1_000, (now - mapped) / 1_000);
        tracing::info!(library = target.path, took_us, after_us, "probed");
        target.code = target.read_code(&found.file).unwrap_or_default();
        target
    }

    /// Puts in the probes of one plan: each program at all its places at once, which costs one link
    /// however many they are.
    fn put_in(&mut self, index: usize, via: &Path, uprobes: &UprobePrograms) {
        let Some(PlacedProbe { plan, errors, .. }) = self.placed.get_mut(index) else { return };
        for (probe, error) in plan.probes.iter().zip(errors.iter_mut()) {
            if points(probe).any(|point| point.offsets.is_empty()) {
                *error = Some("the function lies outside the file's code".into());
            }
        }
        for ProgramPoints { program, offsets, probes } in together(&plan.probes) {
            match uprobes.attach(program, via, &offsets) {
                Ok(link) => self.links.push(link),
                // One of them is at fault: the others must not go without.
                Err(_) if probes.len() > 1 => {
                    for (probe, offsets) in probes {
                        match uprobes.attach(program, via, offsets) {
                            Ok(link) => self.links.push(link),
                            Err(error) => record_error(errors, probe, error),
                        }
                    }
                }
                Err(error) => probes.iter().for_each(|(probe, _)| record_error(errors, *probe, error.clone())),
            }
        }
    }

    /// The code at each probe as it was when it was put in, with its offset in the file.
    #[must_use]
    pub(super) fn code(&self) -> &[(u64, [u8; CODE])] {
        &self.code
    }

    /// Has the file, as it is now, this code at these offsets?
    #[must_use]
    pub(super) fn has(file: &File, code: &[(u64, [u8; CODE])]) -> bool {
        let there = |(offset, expected): &(u64, [u8; CODE])| {
            let mut found = [0; CODE];
            file.read_exact_at(&mut found, *offset).is_ok() && found == *expected
        };
        !code.is_empty() && code.iter().all(there)
    }

    fn read_code(&self, file: &File) -> Option<Vec<(u64, [u8; CODE])>> {
        let mut offsets: Vec<u64> = self.probes().flat_map(points).flat_map(|point| point.offsets.clone()).collect();
        offsets.sort_unstable();
        offsets.dedup();
        let read = |offset| {
            let mut code = [0; CODE];
            file.read_exact_at(&mut code, offset).ok()?;
            Some((offset, code))
        };
        offsets.into_iter().map(read).collect()
    }

    fn probes(&self) -> impl Iterator<Item = &FunctionProbe> {
        self.placed.iter().flat_map(|placed| &placed.plan.probes)
    }

    /// What these probes captured cannot be right; why they are at the public symbols now.
    pub(super) fn explain_fall_back(&mut self) {
        for probe in self.placed.iter_mut().flat_map(|placed| &mut placed.plan.probes) {
            probe.why = "the cheaper place captured what cannot be right; back at the public symbol".into();
        }
    }

    /// Takes the probes out; dropping them detaches them, which takes a grace period of the kernel
    /// (tens of milliseconds).
    pub(super) fn take_links(&mut self) -> Vec<ProbeLink> {
        self.placed.clear();
        std::mem::take(&mut self.links)
    }

    /// Reads and writes are both probed.
    #[must_use]
    pub(super) fn works(&self) -> bool {
        let works = |placed: &PlacedProbe, direction| {
            let probes = placed.plan.probes.iter().zip(&placed.errors);
            let of = |probe: &FunctionProbe| probe.calls.is_some_and(|calls| calls.direction == direction);
            probes.into_iter().any(|(probe, error)| of(probe) && error.is_none())
        };
        self.placed.iter().any(|placed| works(placed, Direction::Read) && works(placed, Direction::Write))
    }

    /// Are there other places than the certain ones?
    #[must_use]
    pub(super) fn can_fall_back(&self) -> bool {
        self.probes().any(|probe| !probe.placement.is_certain())
    }

    /// Rows for `inspect probes`; `calls`: those that passed here.
    #[must_use]
    pub(super) fn rows(&self, calls: CallCounts) -> Vec<ProbeRow> {
        let rows = self.placed.iter().flat_map(|placed| placed.plan.rows.iter().map(|row| placed.row(row, calls)));
        rows.map(|row| ProbeRow { target: self.path.clone(), build_id: self.build_id.clone(), ..row }).collect()
    }
}

impl PlacedProbe {
    fn row(&self, row: &FunctionRow, calls: CallCounts) -> ProbeRow {
        let (placement, reason, state, hits) = match &row.served {
            CallCoverage::Own(index) => self.own(*index, calls),
            CallCoverage::Shared { probe, reason } => {
                let broken = probe.is_some_and(|index| self.error(index).is_some());
                let state = if broken { ProbeState::Broken } else { ProbeState::Ok };
                ("shared".into(), reason.clone(), state, None)
            }
            CallCoverage::Absent => {
                ("-".into(), "this build has no such function".into(), ProbeState::NotApplicable, None)
            }
        };
        let (stack, certainty) = (Some(self.stack), Some(self.certainty));
        ProbeRow { probe: row.probe, stack, certainty, placement, reason, state, hits, ..ProbeRow::default() }
    }

    /// Placement, reason, state and hits of a probe.
    fn own(&self, index: usize, calls: CallCounts) -> (String, String, ProbeState, Option<u64>) {
        let Some(probe) = self.plan.probes.get(index) else { return Default::default() };
        let at = points(probe).filter_map(|point| point.offsets.first()).last().copied().unwrap_or(0);
        let placement = format!("{} 0x{at:x}", probe.placement);
        match self.error(index) {
            None => (placement, probe.why.clone(), ProbeState::Ok, probe.calls.map(|kind| calls.of(kind))),
            Some(error) => (placement, error.clone(), ProbeState::Broken, None),
        }
    }

    fn error(&self, index: usize) -> Option<&String> {
        self.errors.get(index)?.as_ref()
    }
}

/// Where a probe's programs go, the entry last.
fn points(probe: &FunctionProbe) -> impl Iterator<Item = &ProbePoint> {
    probe.exit.as_ref().map(CallExit::point).into_iter().chain(&probe.entry)
}

/// A program's places in one file, over all probes that need it.
#[derive(Debug)]
struct ProgramPoints<'a> {
    program: &'static str,
    offsets: Vec<u64>,
    /// Which probe needs which of them.
    probes: Vec<(usize, &'a [u64])>,
}

/// The programs of a plan with their places. All exits come first: a call seen at entry alone would
/// leave its entry behind.
fn together(probes: &[FunctionProbe]) -> Vec<ProgramPoints<'_>> {
    let exits = probes.iter().enumerate().filter_map(|(index, probe)| Some((index, probe.exit.as_ref()?.point())));
    let entries = probes.iter().enumerate().filter_map(|(index, probe)| Some((index, probe.entry.as_ref()?)));
    let mut all: Vec<ProgramPoints<'_>> = Vec::new();
    for (index, point) in exits.chain(entries).filter(|(_, point)| !point.offsets.is_empty()) {
        let known = all.iter_mut().find(|one| one.program == point.program);
        let Some(one) = known else {
            let (program, offsets) = (point.program, point.offsets.clone());
            all.push(ProgramPoints { program, offsets, probes: vec![(index, &point.offsets)] });
            continue;
        };
        one.offsets.extend_from_slice(&point.offsets);
        one.probes.push((index, &point.offsets));
    }
    all
}

fn record_error(errors: &mut [Option<String>], probe: usize, error: String) {
    if let Some(place) = errors.get_mut(probe) {
        *place = Some(error);
    }
}

/// An error and its causes in one line.
#[must_use]
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use capture::stacks::ProbePlacement;

    fn point(program: &'static str, offsets: &[u64]) -> ProbePoint {
        ProbePoint { program, offsets: offsets.to_vec() }
    }

    fn probe(entry: Option<ProbePoint>, exit: Option<CallExit>) -> FunctionProbe {
        let (placement, why) = (ProbePlacement::Entry(0), String::new());
        FunctionProbe { function: "f", placement, why, entry, exit, calls: None }
    }

    #[test]
    fn each_program_is_put_in_once_and_exits_come_first() {
        let rets = CallExit::Returns(point("ret", &[17, 23]));
        let probes = [
            probe(Some(point("in", &[10])), Some(rets)),
            probe(Some(point("in", &[40])), Some(CallExit::ReturnProbe(point("done", &[40])))),
            probe(Some(point("free", &[])), None),
        ];
        let told: Vec<_> = together(&probes).into_iter().map(|one| (one.program, one.offsets)).collect();
        assert_eq!(told, [("ret", vec![17, 23]), ("done", vec![40]), ("in", vec![10, 40])]);
    }
}
