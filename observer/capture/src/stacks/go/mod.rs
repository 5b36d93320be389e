//! Go's own TLS, in every program that the Go compiler makes, stripped or not: its functions are
//! found by the names that the runtime keeps of them (`pclntab`), and probed where the goroutine
//! and the arguments are still in registers (`code`).
//!
//! `Read` and `Write` hold a lock until they return, by `defer`, so no compiler inlines them: each
//! call passes here. HTTP/2 uses the same two.

mod code;
mod module;
mod pclntab;

use self::code::{CallPlaces, CodeFault};
use self::pclntab::{FoundTable, GoFunction, TableFault};
use super::{
    AmbiguousStack, CallCoverage, CallExit, CallKind, FunctionProbe, FunctionRow, LayoutCertainty, LocatedFunction,
    PlacementStrategy, ProbePlacement, ProbePlan, ProbePoint, StackLayout, TlsStack, UnseenReason,
};
use crate::elf::{ElfImage, FileSurvey};
use crate::units::Direction;

/// The stack.
#[derive(Debug)]
pub struct GoTls;

/// A function of `crypto/tls` that is probed.
#[derive(Debug)]
struct TlsFunction {
    /// As the table of functions calls it.
    name: &'static str,
    /// Its row in `inspect probes`, and the kernel program at its entry.
    probe: &'static str,
    /// The kernel program at its returns.
    returns: Option<&'static str>,
    calls: Option<CallKind>,
}

const fn calls(direction: Direction) -> Option<CallKind> {
    Some(CallKind { direction, through_pointer: false })
}

/// Births first, then writes: what comes first of a new connection. A handshake is made once for
/// each connection, and `Handshake` itself is asked for at each call.
const FUNCTIONS: [TlsFunction; 5] = [
    TlsFunction {
        name: "crypto/tls.(*Conn).clientHandshake",
        probe: "go_tls_client_handshake",
        returns: None,
        calls: None,
    },
    TlsFunction {
        name: "crypto/tls.(*Conn).serverHandshake",
        probe: "go_tls_server_handshake",
        returns: None,
        calls: None,
    },
    TlsFunction {
        name: "crypto/tls.(*Conn).Write",
        probe: "go_tls_write",
        returns: Some("go_tls_write_returns"),
        calls: calls(Direction::Write),
    },
    TlsFunction {
        name: "crypto/tls.(*Conn).Read",
        probe: "go_tls_read",
        returns: Some("go_tls_read_returns"),
        calls: calls(Direction::Read),
    },
    TlsFunction { name: "crypto/tls.(*Conn).Close", probe: "go_tls_close", returns: None, calls: None },
];

/// The kernel programs.
const PROGRAMS: &[&str] =
    &["go_tls_handshake", "go_tls_write", "go_tls_write_returns", "go_tls_read", "go_tls_read_returns", "go_tls_close"];

impl TlsFunction {
    /// The kernel program at its entry.
    fn program(&self) -> &'static str {
        match self.calls {
            None if self.probe.ends_with("_handshake") => "go_tls_handshake",
            _ => self.probe,
        }
    }
}

impl TlsStack for GoTls {
    fn name(&self) -> &'static str {
        "go"
    }

    fn programs(&self) -> &'static [&'static str] {
        PROGRAMS
    }

    /// No symbol table is needed: programs are most often stripped.
    fn recognise(&self, _: &ElfImage) -> Result<Option<StackLayout>, AmbiguousStack> {
        Ok(None)
    }

    fn survey(&self, survey: &mut FileSurvey<'_>) -> Result<Option<StackLayout>, AmbiguousStack> {
        let table = match pclntab::find(survey)? {
            FoundTable::None => return Ok(None),
            FoundTable::Old => return Err(too_old("its table of functions is that of Go 1.15 or older")),
            FoundTable::Table(table) => table,
        };
        let wanted = FUNCTIONS.map(|function| function.name);
        let found = table.functions(survey, &wanted).map_err(unclear)?;
        let mut functions = Vec::new();
        for (index, function) in FUNCTIONS.iter().enumerate() {
            functions.extend(located(survey, function, found.iter().filter(|found| found.wanted == index))?);
        }
        // A program that makes no connections has parts of it at most.
        let whole = FUNCTIONS.iter().filter(|function| function.calls.is_some());
        let whole = whole.into_iter().all(|function| functions.iter().any(|located| located.name == function.name));
        Ok(whole.then_some(StackLayout { functions, certainty: LayoutCertainty::Named }))
    }

    /// Nobody links a second stack into a Go program whose own is there; what a C library that it
    /// carries exports was asked before.
    fn is_alone(&self) -> bool {
        true
    }

    fn layout_words(&self) -> Vec<&'static str> {
        FUNCTIONS.iter().map(|function| function.name).collect()
    }

    fn plan(&self, image: &ElfImage, layout: &StackLayout, strategy: PlacementStrategy) -> ProbePlan {
        let (mut probes, mut rows) = (Vec::new(), Vec::new());
        for function in &FUNCTIONS {
            let located = layout.functions.iter().find(|located| located.name == function.name);
            let probe = located.and_then(|located| probe(image, function, *located, strategy));
            let served = probe.as_ref().map_or(CallCoverage::Absent, |_| CallCoverage::Own(probes.len()));
            rows.push(FunctionRow { probe: function.probe, served });
            probes.extend(probe);
        }
        ProbePlan { probes, rows }
    }
}

/// A function's place, if its code is what it must be: all is decoded before anything is probed.
fn located<'a>(
    survey: &mut FileSurvey<'_>,
    function: &TlsFunction,
    mut found: impl Iterator<Item = &'a GoFunction>,
) -> Result<Option<LocatedFunction>, AmbiguousStack> {
    let (Some(first), second) = (found.next(), found.next()) else { return Ok(None) };
    if second.is_some() {
        return Err(doubt(format!("two functions are called {}", function.name)));
    }
    let size = first.end - first.address;
    if size > code::LONGEST {
        return Err(doubt(format!("{} would be {size} bytes long", function.name)));
    }
    let code = survey.read(first.address, size)?;
    if code.len() as u64 != size {
        return Err(doubt(format!("{} goes beyond the end of its segment", function.name)));
    }
    match code::places(&code, first.address) {
        Ok(_) => Ok(Some(LocatedFunction { name: function.name, address: first.address, size })),
        Err(fault @ CodeFault::StackArguments) => Err(too_old(&format!("{} {}", function.name, fault.words()))),
        Err(fault) => Err(doubt(format!("{} {}", function.name, fault.words()))),
    }
}

fn probe(
    image: &ElfImage,
    function: &TlsFunction,
    located: LocatedFunction,
    strategy: PlacementStrategy,
) -> Option<FunctionProbe> {
    let size = usize::try_from(located.size).ok()?;
    let CallPlaces { check, returns } = code::places(&image.code_up_to(located.address, size), located.address).ok()?;
    let (into, why) = match strategy {
        PlacementStrategy::Auto => (check, "the stack check's jump, which the kernel emulates"),
        PlacementStrategy::Symbol => (0, "the first instruction: certain, though the kernel single-steps it"),
    };
    let offset = |into: u64| image.file_offset(located.address + into);
    let returns: Option<Vec<u64>> = returns.into_iter().map(offset).collect();
    let exit = function.returns.map(|program| ProbePoint { program, offsets: returns.unwrap_or_default() });
    Some(FunctionProbe {
        function: function.name,
        placement: ProbePlacement::Entry(into),
        why: why.into(),
        entry: Some(ProbePoint { program: function.program(), offsets: offset(into).into_iter().collect() }),
        exit: exit.map(CallExit::Returns),
        calls: function.calls,
    })
}

fn too_old(detail: &str) -> AmbiguousStack {
    AmbiguousStack {
        reason: UnseenReason::GoTooOld,
        detail: format!("{detail}; programs of Go 1.17 and later are read"),
    }
}

fn doubt(detail: String) -> AmbiguousStack {
    AmbiguousStack { reason: UnseenReason::GoCryptoTls, detail }
}

fn unclear(fault: TableFault) -> AmbiguousStack {
    match fault {
        TableFault::Unread(refusal) => refusal.into(),
        TableFault::NoText => {
            doubt("neither its table of functions nor its module data says where its code begins".into())
        }
        TableFault::Crowded => doubt("its table of functions has more places for a name than a real one".into()),
    }
}

#[cfg(test)]
mod tests;
