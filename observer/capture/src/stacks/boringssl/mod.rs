//! BoringSSL where it is linked into a program or an addon and exports nothing: Bun and what is
//! built with it, Chromium, gRPC, curl with a browser's handshake.
//!
//! Its functions are told by the errors that they report: `OPENSSL_PUT_ERROR` hands the reason and
//! the file's name to `ERR_put_error`. Reasons are a public interface and never change; the lines,
//! the registers and the code around do with each release and compiler, and nothing is made of
//! them.

use std::collections::BTreeSet;

use super::anchors::{self, AnchorText, AnchorTextKind, AnchoredRole, Anchors, CodeFunction};
use super::{
    AmbiguousStack, CallKind, LayoutCertainty, LocatedFunction, PlacementStrategy, ProbePlan, StackLayout, TlsStack,
};
use crate::elf::ElfImage;
use crate::units::Direction;

/// The stack.
#[derive(Debug)]
pub struct BoringSsl;

/// The file that has them, whatever the path in front of it.
const FILE: AnchorText = AnchorText { text: b"ssl_lib.cc", kind: AnchorTextKind::FileName, decisive: true };

// BoringSSL: include/openssl/ssl.h.
const BAD_LENGTH: u32 = 111;
const NULL_SSL_CTX: u32 = 185;
const SSL_HANDSHAKE_FAILURE: u32 = 215;
const UNINITIALIZED: u32 = 226;

const WRITE: &str = "SSL_write";
const READ: &str = "SSL_read";
const NEW: &str = "SSL_new";
const SHUTDOWN: &str = "SSL_shutdown";

/// What a connection does first comes first.
const ROLES: &[AnchoredRole] = &[
    AnchoredRole {
        name: NEW,
        probe: "boringssl_new",
        entry: None,
        exit: Some("ssl_new_done"),
        calls: None,
        anchor: "BoringSSL's SSL_new: it alone raises 185 with ssl_lib.cc",
    },
    AnchoredRole {
        name: WRITE,
        probe: "boringssl_write",
        entry: Some("ssl_write"),
        exit: Some("ssl_write_done"),
        calls: Some(CallKind { direction: Direction::Write, through_pointer: false }),
        anchor: "BoringSSL's SSL_write: it alone raises 226, 215 and 111 with ssl_lib.cc",
    },
    AnchoredRole {
        name: READ,
        probe: "boringssl_read",
        entry: Some("ssl_read"),
        exit: Some("ssl_read_done"),
        calls: Some(CallKind { direction: Direction::Read, through_pointer: false }),
        anchor: "BoringSSL's SSL_read: it calls the function that raises 226 and 215 with ssl_lib.cc, and takes away what was read",
    },
    AnchoredRole {
        name: SHUTDOWN,
        probe: "boringssl_shutdown",
        entry: Some("ssl_shutdown"),
        exit: None,
        calls: None,
        anchor: "BoringSSL's SSL_shutdown: it raises 226 with ssl_lib.cc, and calls the function that raises 226 and 215",
    },
];

/// Changes of memory by which `SSL_read`, which takes the bytes away, is told from `SSL_peek`, which has none.
const CONSUMES: usize = 2;

impl TlsStack for BoringSsl {
    fn name(&self) -> &'static str {
        "boringssl"
    }

    fn programs(&self) -> &'static [&'static str] {
        &["ssl_new_done", "ssl_write", "ssl_write_done", "ssl_read", "ssl_read_done", "ssl_shutdown"]
    }

    /// Where its functions have names they are those of OpenSSL, and recognised as such.
    fn recognise(&self, _: &ElfImage) -> Result<Option<StackLayout>, AmbiguousStack> {
        Ok(None)
    }

    fn texts(&self) -> &'static [AnchorText] {
        &[FILE]
    }

    fn anchored(&self, anchors: &mut Anchors<'_, '_>) -> Result<Option<StackLayout>, AmbiguousStack> {
        let functions: Vec<ErrorReporter> = anchors.functions(&FILE)?.into_iter().map(ErrorReporter::new).collect();
        if functions.is_empty() {
            // The name alone: another version, or a program that was built without its texts of errors.
            return Ok(None);
        }
        let functions = Functions::among(&functions)?;
        let certainty = LayoutCertainty::Anchored(ANCHOR);
        Ok(Some(StackLayout { functions: functions.located(), certainty }))
    }

    fn layout_words(&self) -> Vec<&'static str> {
        ROLES.iter().map(|role| role.name).chain([ANCHOR]).collect()
    }

    fn plan(&self, image: &ElfImage, layout: &StackLayout, strategy: PlacementStrategy) -> ProbePlan {
        anchors::plan(image, layout, strategy, ROLES)
    }
}

/// What its functions are told by, in words.
const ANCHOR: &str = "raises 226, 215, 111 with ssl_lib.cc";

/// A function that reports errors.
struct ErrorReporter {
    function: CodeFunction,
    raises: BTreeSet<u32>,
}

impl ErrorReporter {
    fn new((function, places): (CodeFunction, Vec<u64>)) -> Self {
        let raises = places.iter().flat_map(|place| function.numbers_near(*place)).collect();
        Self { function, raises }
    }

    fn raises(&self, reasons: &[u32]) -> bool {
        reasons.iter().all(|reason| self.raises.contains(reason))
    }
}

/// Where the functions begin.
struct Functions {
    write: u64,
    read: u64,
    shutdown: Option<u64>,
    new: Option<u64>,
}

impl Functions {
    fn among(reporters: &[ErrorReporter]) -> Result<Self, AmbiguousStack> {
        let starts = |is: &dyn Fn(&ErrorReporter) -> bool| -> Vec<u64> {
            reporters.iter().filter(|one| is(one)).map(|one| one.function.start).collect()
        };
        let write = starts(&|one| one.raises(&[UNINITIALIZED, SSL_HANDSHAKE_FAILURE, BAD_LENGTH]));
        let inner = starts(&|one| one.raises(&[UNINITIALIZED, SSL_HANDSHAKE_FAILURE]) && !one.raises(&[BAD_LENGTH]));
        let write = anchors::only("BoringSSL's SSL_write", &write)?;
        let inner = anchors::only("BoringSSL's ssl_read_impl", &inner)?;
        let calls = |one: &ErrorReporter| one.function.start != inner && one.function.leads_to(inner);
        let read = starts(&|one| calls(one) && !one.raises(&[UNINITIALIZED]) && one.function.stores() >= CONSUMES);
        let read = anchors::only("BoringSSL's SSL_read", &read)?;
        let shutdown = starts(&|one| calls(one) && one.raises(&[UNINITIALIZED]));
        let new = starts(&|one| one.raises(&[NULL_SSL_CTX]));
        let optional = |found: Vec<u64>| if let [one] = found.as_slice() { Some(*one) } else { None };
        Ok(Self { write, read, shutdown: optional(shutdown), new: optional(new) })
    }

    fn located(&self) -> Vec<LocatedFunction> {
        let all = [(NEW, self.new), (WRITE, Some(self.write)), (READ, Some(self.read)), (SHUTDOWN, self.shutdown)];
        let located =
            |(name, address): (&'static str, Option<u64>)| Some(LocatedFunction { name, address: address?, size: 0 });
        all.into_iter().filter_map(located).collect()
    }
}
