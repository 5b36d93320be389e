//! Stacks that are shared libraries whose reads and writes look like OpenSSL's, `int f(session, data, size)` with the
//! number of bytes as the result: wolfSSL, Mbed TLS. Each is a table of its functions, no code.

use super::prologue::first_cheap;
use super::{
    AmbiguousStack, CallCoverage, CallExit, CallKind, FunctionProbe, FunctionRow, LayoutCertainty, LikelyFiles,
    LocatedFunction, PlacementStrategy, ProbePlacement, ProbePlan, ProbePoint, StackLayout, TlsStack,
};
use crate::elf::{ElfImage, SymbolNames};
use crate::units::Direction;

/// A stack that is told by the names it exports.
#[derive(Debug)]
pub struct ExportedStack {
    name: &'static str,
    /// What all of its symbols begin with.
    prefix: &'static [u8],
    likely: LikelyFiles,
    /// In the order in which they are put in: what comes first of a new connection first.
    functions: &'static [ExportedFunction],
    /// The kernel programs that the functions name, each once.
    programs: &'static [&'static str],
}

/// One of its functions, and the kernel programs at its entry and its return.
#[derive(Debug)]
struct ExportedFunction {
    symbol: &'static str,
    entry: Option<&'static str>,
    exit: Option<&'static str>,
    direction: Option<Direction>,
}

const fn function(
    symbol: &'static str,
    entry: Option<&'static str>,
    exit: Option<&'static str>,
    direction: Option<Direction>,
) -> ExportedFunction {
    ExportedFunction { symbol, entry, exit, direction }
}

/// wolfSSL, 4 and 5: `wolfSSL_send` and `wolfSSL_recv` call the two below. Not seen: early data, and
/// `wolfSSL_read_ex` and `_write_ex`, which are built in since 5.7 where OpenSSL's names are.
pub static WOLFSSL: ExportedStack = ExportedStack {
    name: "wolfssl",
    prefix: b"wolfSSL_",
    likely: LikelyFiles { libraries: &["libwolfssl.so"], programs: &[], parts: &["wolfssl"] },
    functions: &[
        function("wolfSSL_new", None, Some("ssl_new_done"), None),
        function("wolfSSL_write", Some("ssl_write"), Some("ssl_write_done"), Some(Direction::Write)),
        function("wolfSSL_read", Some("ssl_read"), Some("ssl_read_done"), Some(Direction::Read)),
        function("wolfSSL_shutdown", Some("ssl_shutdown"), None, None),
        function("wolfSSL_free", Some("ssl_free"), None, None),
    ],
    programs: &["ssl_new_done", "ssl_write", "ssl_write_done", "ssl_read", "ssl_read_done", "ssl_shutdown", "ssl_free"],
};

/// Mbed TLS, 2 and 3: a session lives where its program puts it, so it is born when it is set up,
/// and again when it is reset for another connection. Not seen: early data.
pub static MBEDTLS: ExportedStack = ExportedStack {
    name: "mbedtls",
    prefix: b"mbedtls_ssl_",
    likely: LikelyFiles { libraries: &["libmbedtls.so"], programs: &[], parts: &["mbedtls"] },
    functions: &[
        function("mbedtls_ssl_setup", Some("mbedtls_birth"), None, None),
        function("mbedtls_ssl_session_reset", Some("mbedtls_birth"), None, None),
        function("mbedtls_ssl_write", Some("ssl_write"), Some("ssl_write_done"), Some(Direction::Write)),
        function("mbedtls_ssl_read", Some("ssl_read"), Some("mbedtls_read_done"), Some(Direction::Read)),
        function("mbedtls_ssl_close_notify", Some("ssl_shutdown"), None, None),
        function("mbedtls_ssl_free", Some("ssl_free"), None, None),
    ],
    programs: &[
        "mbedtls_birth",
        "ssl_write",
        "ssl_write_done",
        "ssl_read",
        "mbedtls_read_done",
        "ssl_shutdown",
        "ssl_free",
    ],
};

impl TlsStack for ExportedStack {
    fn name(&self) -> &'static str {
        self.name
    }

    fn programs(&self) -> &'static [&'static str] {
        self.programs
    }

    fn symbols(&self) -> SymbolNames {
        SymbolNames { prefix: self.prefix, names: self.functions.iter().map(|function| function.symbol).collect() }
    }

    fn likely(&self) -> LikelyFiles {
        self.likely
    }

    fn recognise(&self, image: &ElfImage) -> Result<Option<StackLayout>, AmbiguousStack> {
        let located = |function: &ExportedFunction| {
            let symbol = image.functions.get(function.symbol)?;
            Some(LocatedFunction { name: function.symbol, address: symbol.address, size: symbol.size })
        };
        let functions: Vec<_> = self.functions.iter().filter_map(located).collect();
        Ok((!functions.is_empty()).then_some(StackLayout { functions, certainty: LayoutCertainty::Named }))
    }

    fn plan(&self, image: &ElfImage, layout: &StackLayout, strategy: PlacementStrategy) -> ProbePlan {
        let mut plan = ProbePlan::default();
        for function in self.functions {
            let located = layout.functions.iter().find(|located| located.name == function.symbol);
            let served = located.map_or(CallCoverage::Absent, |located| {
                plan.probes.push(probe(image, located.address, strategy, function));
                CallCoverage::Own(plan.probes.len() - 1)
            });
            plan.rows.push(FunctionRow { probe: function.symbol, served });
        }
        plan
    }
}

fn probe(image: &ElfImage, address: u64, strategy: PlacementStrategy, function: &ExportedFunction) -> FunctionProbe {
    let cheap = first_cheap(image, address);
    let skip = cheap.filter(|_| strategy == PlacementStrategy::Auto).unwrap_or(0);
    let offsets: Vec<u64> = image.file_offset(address.saturating_add(skip)).into_iter().collect();
    let point = |program| ProbePoint { program, offsets: offsets.clone() };
    let why = match cheap {
        Some(_) => "the public symbol; the kernel emulates the instruction there",
        None => "the public symbol: certain, though the kernel single-steps its first instruction",
    };
    FunctionProbe {
        function: function.symbol,
        placement: ProbePlacement::Entry(skip),
        why: why.into(),
        entry: function.entry.map(point),
        exit: function.exit.map(point).map(CallExit::ReturnProbe),
        calls: function.direction.map(|direction| CallKind { direction, through_pointer: false }),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::elf::FunctionSymbol;

    const ADDRESS: u64 = 0x1000;

    #[test]
    fn the_programs_are_those_that_the_functions_name() {
        for stack in [&WOLFSSL, &MBEDTLS] {
            let named = stack.functions.iter().flat_map(|function| [function.entry, function.exit]).flatten();
            let named: BTreeSet<_> = named.collect();
            assert_eq!(named, stack.programs.iter().copied().collect(), "{}", stack.name);
            assert_eq!(named.len(), stack.programs.len(), "{}: one is named twice", stack.name);
            let all_begin = stack.functions.iter().all(|one| one.symbol.as_bytes().starts_with(stack.prefix));
            assert!(all_begin, "{}", stack.name);
        }
    }

    #[test]
    fn a_library_has_a_probe_for_each_function_that_it_exports() {
        // endbr64; push rbp; ret
        let code = vec![0xf3, 0x0f, 0x1e, 0xfa, 0x55, 0xc3];
        let symbol = FunctionSymbol { address: ADDRESS, size: 6 };
        let image = ElfImage::of_code(&[(ADDRESS, code)], &[("wolfSSL_write", symbol)], &[]);
        assert_eq!(MBEDTLS.recognise(&image), Ok(None));
        let layout = WOLFSSL.recognise(&image).expect("no doubt").expect("it is one");
        let plan = WOLFSSL.plan(&image, &layout, PlacementStrategy::Auto);
        let [probe] = plan.probes.as_slice() else { panic!("{plan:?}") };
        assert_eq!((probe.function, probe.placement), ("wolfSSL_write", ProbePlacement::Entry(4)));
        let absent = plan.rows.iter().filter(|row| row.served == CallCoverage::Absent).count();
        assert_eq!((plan.rows.len(), absent), (5, 4));
        let plain = WOLFSSL.plan(&image, &layout, PlacementStrategy::Symbol);
        assert!(plain.probes.iter().all(|probe| probe.placement.is_certain()));
    }
}
