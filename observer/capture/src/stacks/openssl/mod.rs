//! OpenSSL and its relatives (LibreSSL, BoringSSL, AWS-LC) where they export their functions:
//! shared libraries, and programs such as Node. And where it is inside of a program that exports nothing (`inside`).

mod functions;
mod inside;
mod placement;

use self::functions::{FUNCTIONS, FunctionRole, LengthIn, PREFIX, PROGRAMS, TlsFunction, programs};
use self::placement::{LibraryFile, ProbePlace, places};
use super::anchors::{self, AnchorText, Anchors};
use super::forwards::{CallTarget, targets};
use super::{
    AmbiguousStack, CallCoverage, CallExit, CallKind, FunctionProbe, FunctionRow, LayoutCertainty, LikelyFiles,
    LocatedFunction, ProbePlan, ProbePoint, StackLayout,
};
use super::{PlacementStrategy, TlsStack};
use crate::elf::{ElfImage, SymbolNames};
use crate::units::Direction;

/// The stack.
#[derive(Debug)]
pub struct OpenSsl;

impl TlsStack for OpenSsl {
    fn name(&self) -> &'static str {
        "openssl"
    }

    fn programs(&self) -> &'static [&'static str] {
        PROGRAMS
    }

    fn symbols(&self) -> SymbolNames {
        SymbolNames { prefix: PREFIX, names: FUNCTIONS.iter().map(|function| function.symbol).collect() }
    }

    fn likely(&self) -> LikelyFiles {
        LikelyFiles { libraries: &["libssl"], programs: &["node"], parts: &["ssl"] }
    }

    fn recognise(&self, image: &ElfImage) -> Result<Option<StackLayout>, AmbiguousStack> {
        let located = |function: &TlsFunction| {
            let symbol = image.functions.get(function.symbol)?;
            Some(LocatedFunction { name: function.symbol, address: symbol.address, size: symbol.size })
        };
        let functions: Vec<_> = FUNCTIONS.iter().filter_map(located).collect();
        if functions.iter().any(|function| is_anothers(image, function)) {
            return Ok(None);
        }
        Ok((!functions.is_empty()).then_some(StackLayout { functions, certainty: LayoutCertainty::Named }))
    }

    fn texts(&self) -> &'static [AnchorText] {
        inside::TEXTS
    }

    fn anchored(&self, anchors: &mut Anchors<'_, '_>) -> Result<Option<StackLayout>, AmbiguousStack> {
        inside::find(anchors)
    }

    fn layout_words(&self) -> Vec<&'static str> {
        inside::ROLES.iter().map(|role| role.name).chain(inside::ANCHORS).collect()
    }

    fn plan(&self, image: &ElfImage, layout: &StackLayout, strategy: PlacementStrategy) -> ProbePlan {
        if layout.certainty != LayoutCertainty::Named {
            return anchors::plan(image, layout, strategy, inside::ROLES);
        }
        let mut places = places(LibraryFile { image, layout }, strategy);
        // Births first, then writes: what comes first of a new connection, and a request cannot be
        // recovered.
        places.sort_by_key(|place| place.function.role != FunctionRole::Birth);
        let rows = FUNCTIONS.iter().map(|function| row(function, layout, &places)).collect();
        ProbePlan { probes: places.iter().map(|place| probe(image, place)).collect(), rows }
    }
}

/// Is it only a name for the function of another stack, which is probed there? `libgnutls-openssl`
/// has such.
fn is_anothers(image: &ElfImage, function: &LocatedFunction) -> bool {
    let anothers = |target| matches!(target, CallTarget::Import(name) if !name.as_bytes().starts_with(PREFIX));
    targets(image, function).into_iter().any(anothers)
}

fn probe(image: &ElfImage, place: &ProbePlace) -> FunctionProbe {
    let offsets = || image.file_offset(place.address).into_iter().collect();
    let (entry, exit) = programs(place.function.role, place.length, place.how.is_inner());
    let point = |program| ProbePoint { program, offsets: offsets() };
    let direction = match place.function.role {
        FunctionRole::Read => Some(Direction::Read),
        FunctionRole::Write => Some(Direction::Write),
        FunctionRole::Birth | FunctionRole::Shutdown | FunctionRole::Free => None,
    };
    let through_pointer = place.length != LengthIn::Result;
    FunctionProbe {
        function: place.function.symbol,
        placement: place.how,
        why: place.why.clone(),
        entry: entry.map(point),
        exit: exit.map(point).map(CallExit::ReturnProbe),
        calls: direction.map(|direction| CallKind { direction, through_pointer }),
    }
}

fn row(function: &'static TlsFunction, layout: &StackLayout, places: &[ProbePlace]) -> FunctionRow {
    let own = places.iter().position(|place| place.function == function);
    let host = places.iter().enumerate().find(|(_, place)| place.serves.contains(&function));
    let served = match (own, host) {
        (Some(own), _) => CallCoverage::Own(own),
        (None, Some((index, place))) => CallCoverage::Shared {
            probe: Some(index),
            reason: format!("calls pass the probe of {}, which counts them", place.function.symbol),
        },
        (None, None) if layout.functions.iter().any(|located| located.name == function.symbol) => {
            CallCoverage::Shared { probe: None, reason: "it forwards to a function that is probed".into() }
        }
        (None, None) => CallCoverage::Absent,
    };
    FunctionRow { probe: function.probe, served }
}
