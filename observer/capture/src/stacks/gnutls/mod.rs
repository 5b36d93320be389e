//! GnuTLS, a shared library that exports its functions: wget, what is built on `libcurl-gnutls`
//! (git, among others), GNOME's network stack.
//!
//! Not seen: early data (0-RTT) and `gnutls_record_recv_packet`, which no client in use calls.

mod inner;

#[cfg(test)]
mod tests;

use self::inner::receivers;
use super::forwards::{CallTarget, targets};
use super::prologue::first_cheap;
use super::{
    AmbiguousStack, CallCoverage, CallExit, CallKind, FunctionProbe, FunctionRow, LayoutCertainty, LikelyFiles,
    LocatedFunction, PlacementStrategy, ProbePlacement, ProbePlan, ProbePoint, StackLayout, TlsStack,
};
use crate::elf::{ElfImage, SymbolNames};
use crate::units::Direction;

/// The stack.
#[derive(Debug)]
pub struct GnuTls;

const INIT: &str = "gnutls_init";
const SEND: &str = "gnutls_record_send";
/// Since 3.6.3 what `gnutls_record_send` calls.
const SEND2: &str = "gnutls_record_send2";
const SEND_RANGE: &str = "gnutls_record_send_range";
const UNCORK: &str = "gnutls_record_uncork";
const RECV: &str = "gnutls_record_recv";
const RECV_SEQ: &str = "gnutls_record_recv_seq";
const BYE: &str = "gnutls_bye";
const DEINIT: &str = "gnutls_deinit";

/// In the order in which they are put in: what comes first of a new connection first.
const FUNCTIONS: &[&str] = &[INIT, UNCORK, SEND2, SEND, SEND_RANGE, RECV, RECV_SEQ, BYE, DEINIT];

impl TlsStack for GnuTls {
    fn name(&self) -> &'static str {
        "gnutls"
    }

    fn programs(&self) -> &'static [&'static str] {
        &[
            "gnutls_init",
            "gnutls_init_done",
            "gnutls_uncork",
            "gnutls_uncork_done",
            "gnutls_send",
            "ssl_write_done",
            "gnutls_recv_inner",
            "ssl_read",
            "ssl_read_done",
            "ssl_shutdown",
            "ssl_free",
        ]
    }

    fn symbols(&self) -> SymbolNames {
        SymbolNames { prefix: b"gnutls_", names: FUNCTIONS.to_vec() }
    }

    fn likely(&self) -> LikelyFiles {
        LikelyFiles { libraries: &["libgnutls.so"], programs: &[], parts: &["gnutls"] }
    }

    fn recognise(&self, image: &ElfImage) -> Result<Option<StackLayout>, AmbiguousStack> {
        let located = |name: &&'static str| {
            let symbol = image.functions.get(name)?;
            Some(LocatedFunction { name, address: symbol.address, size: symbol.size })
        };
        let functions: Vec<_> = FUNCTIONS.iter().filter_map(located).collect();
        Ok((!functions.is_empty()).then_some(StackLayout { functions, certainty: LayoutCertainty::Named }))
    }

    fn plan(&self, image: &ElfImage, layout: &StackLayout, strategy: PlacementStrategy) -> ProbePlan {
        let file = GnuTlsFile { image, layout, strategy };
        let inner = file.inner();
        let sends_by_send2 = file.sends_by_send2();
        let probe = |function: &LocatedFunction| match (function.name, &inner) {
            (SEND, _) if sends_by_send2 => None,
            (RECV | RECV_SEQ, Some(inner)) => Some(inner.clone()).filter(|probe| probe.function == function.name),
            _ => Some(file.probe(function)),
        };
        let probes: Vec<_> = layout.functions.iter().filter_map(probe).collect();
        let rows = FUNCTIONS.iter().map(|name| FunctionRow { probe: name, served: file.served(name, &probes) });
        ProbePlan { rows: rows.collect(), probes }
    }
}

#[derive(Clone, Copy)]
struct GnuTlsFile<'a> {
    image: &'a ElfImage,
    layout: &'a StackLayout,
    strategy: PlacementStrategy,
}

impl GnuTlsFile<'_> {
    fn function(&self, name: &str) -> Option<&LocatedFunction> {
        self.layout.functions.iter().find(|function| function.name == name)
    }

    /// Calls of `gnutls_record_send` pass `gnutls_record_send2`: a probe on both would see them
    /// twice. Where the compiler put the one into the other they do not.
    fn sends_by_send2(&self) -> bool {
        let (Some(send), Some(send2)) = (self.function(SEND), self.function(SEND2)) else { return false };
        targets(self.image, send).contains(&CallTarget::Address(send2.address))
    }

    /// The probe inside the reads, if all that the file has lead there.
    fn inner(&self) -> Option<FunctionProbe> {
        let reads: Vec<_> = [RECV, RECV_SEQ].iter().filter_map(|name| self.function(name)).collect();
        if self.strategy == PlacementStrategy::Symbol {
            return None;
        }
        let found: Vec<_> = reads.iter().map(|read| receivers(self.image, read)).collect();
        if found.iter().any(Vec::is_empty) {
            return None;
        }
        let mut places: Vec<u64> = found.into_iter().flatten().collect();
        places.sort_unstable();
        places.dedup();
        // One for each of the two transports, each cheap or rarely passed.
        let skip = |place: &u64| first_cheap(self.image, *place);
        let cheapest = places.iter().filter_map(skip).min()?;
        if places.len() > MAX_RECEIVERS {
            return None;
        }
        let offsets: Vec<u64> =
            places.iter().filter_map(|place| self.offset(*place + skip(place).unwrap_or(0))).collect();
        let point = |program| ProbePoint { program, offsets: offsets.clone() };
        Some(FunctionProbe {
            function: reads.first()?.name,
            placement: ProbePlacement::Callee(cheapest),
            why: "it ends in a jump to the function that both reads share, whose first instruction the kernel emulates"
                .into(),
            entry: Some(point("gnutls_recv_inner")),
            exit: Some(CallExit::ReturnProbe(point("ssl_read_done"))),
            calls: Some(CallKind { direction: Direction::Read, through_pointer: false }),
        })
    }

    /// By what a function's calls are seen: what has no probe of its own passes that of a sibling.
    fn served(&self, name: &str, probes: &[FunctionProbe]) -> CallCoverage {
        let at = |names: &[&str]| probes.iter().position(|probe| names.contains(&probe.function));
        let sibling = match name {
            SEND => at(&[SEND2]),
            RECV | RECV_SEQ => at(&[RECV, RECV_SEQ]),
            _ => None,
        };
        match (at(&[name]), sibling) {
            (Some(own), _) => CallCoverage::Own(own),
            (None, Some(probe)) if self.function(name).is_some() => {
                CallCoverage::Shared { probe: Some(probe), reason: "its calls pass the probe of its sibling".into() }
            }
            (None, _) => CallCoverage::Absent,
        }
    }

    fn probe(&self, function: &LocatedFunction) -> FunctionProbe {
        let skip = first_cheap(self.image, function.address);
        let auto = self.strategy == PlacementStrategy::Auto;
        let placed = skip.filter(|_| auto).unwrap_or(0);
        let offsets: Vec<u64> = self.offset(function.address.saturating_add(placed)).into_iter().collect();
        let point = |program| ProbePoint { program, offsets: offsets.clone() };
        let (entry, exit) = programs(function.name);
        FunctionProbe {
            function: function.name,
            placement: ProbePlacement::Entry(placed),
            why: match skip {
                Some(_) => "the kernel emulates the instruction",
                None => "the public symbol: certain, though the kernel single-steps its first instruction",
            }
            .into(),
            entry: Some(point(entry)),
            exit: exit.map(point).map(CallExit::ReturnProbe),
            calls: counted(function.name).map(|direction| CallKind { direction, through_pointer: false }),
        }
    }

    fn offset(&self, address: u64) -> Option<u64> {
        self.image.file_offset(address)
    }
}

/// Functions that reads hand on to: one of GnuTLS itself, one for TLS in the kernel; more would be something else.
const MAX_RECEIVERS: usize = 2;

/// The programs at a public function's entry and return.
fn programs(function: &str) -> (&'static str, Option<&'static str>) {
    match function {
        INIT => ("gnutls_init", Some("gnutls_init_done")),
        UNCORK => ("gnutls_uncork", Some("gnutls_uncork_done")),
        RECV | RECV_SEQ => ("ssl_read", Some("ssl_read_done")),
        BYE => ("ssl_shutdown", None),
        DEINIT => ("ssl_free", None),
        _ => ("gnutls_send", Some("ssl_write_done")),
    }
}

/// The direction whose calls are counted at a function: records do not tell siblings apart, so the
/// one that programs use.
fn counted(function: &str) -> Option<Direction> {
    match function {
        RECV => Some(Direction::Read),
        SEND | SEND2 => Some(Direction::Write),
        _ => None,
    }
}
