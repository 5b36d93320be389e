//! Which programs go to functions that were found by what they do.

use super::super::prologue::first_cheap;
use super::super::{
    CallCoverage, CallExit, CallKind, FunctionProbe, FunctionRow, PlacementStrategy, ProbePlacement, ProbePlan,
    ProbePoint, StackLayout,
};
use crate::elf::ElfImage;

/// What a function is found as, and its programs.
#[derive(Clone, Copy, Debug)]
pub(in crate::stacks) struct AnchoredRole {
    /// As the stack calls the function.
    pub name: &'static str,
    /// Name of its probe.
    pub probe: &'static str,
    pub entry: Option<&'static str>,
    pub exit: Option<&'static str>,
    pub calls: Option<CallKind>,
    /// What it was recognised by, in words: "raises 226, 215 and 111 with ssl_lib.cc".
    pub anchor: &'static str,
}

/// One probe for each function of a layout, at its first instruction or behind its `endbr64`. Rows
/// in the order of `roles`, those that play the same role (`probe`) together.
pub(in crate::stacks) fn plan(
    image: &ElfImage,
    layout: &StackLayout,
    strategy: PlacementStrategy,
    roles: &[AnchoredRole],
) -> ProbePlan {
    let mut plan = ProbePlan::default();
    for role in roles {
        let located = layout.functions.iter().find(|function| function.name == role.name);
        let served = match located {
            Some(function) => {
                plan.probes.push(probe(image, function.address, strategy, role));
                CallCoverage::Own(plan.probes.len() - 1)
            }
            None => CallCoverage::Absent,
        };
        match plan.rows.iter_mut().find(|row| row.probe == role.probe) {
            Some(row) if row.served == CallCoverage::Absent => row.served = served,
            Some(_) => {}
            None => plan.rows.push(FunctionRow { probe: role.probe, served }),
        }
    }
    plan
}

fn probe(image: &ElfImage, address: u64, strategy: PlacementStrategy, role: &AnchoredRole) -> FunctionProbe {
    let cheap = first_cheap(image, address);
    let skip = cheap.filter(|_| strategy == PlacementStrategy::Auto).unwrap_or(0);
    let offsets: Vec<u64> = image.file_offset(address.saturating_add(skip)).into_iter().collect();
    let point = |program| ProbePoint { program, offsets: offsets.clone() };
    let cost = match cheap {
        Some(_) => "the kernel emulates the instruction there",
        None => "the kernel single-steps the instruction there",
    };
    FunctionProbe {
        function: role.name,
        placement: ProbePlacement::Entry(skip),
        why: format!("no symbol names it; {}; {cost}", role.anchor),
        entry: role.entry.map(point),
        exit: role.exit.map(point).map(CallExit::ReturnProbe),
        calls: role.calls,
    }
}
