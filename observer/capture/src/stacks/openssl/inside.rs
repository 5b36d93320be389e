//! OpenSSL linked into a program or an addon that exports nothing of it: its functions are told by the errors that they
//! report. From 3.0 on each report carries the name of its function as a text; 1.1.1 has numbers for them.

use iced_x86::Register;

use super::super::anchors::{self, AnchorText, AnchorTextKind, AnchoredRole, Anchors};
use super::super::{AmbiguousStack, CallKind, LayoutCertainty, LocatedFunction, StackLayout, UnseenReason};
use crate::units::Direction;

const fn name(text: &'static [u8], decisive: bool) -> AnchorText {
    AnchorText { text, kind: AnchorTextKind::Name, decisive }
}

const READ_NAME: AnchorText = name(b"ssl_read_internal", true);
const WRITE_NAME: AnchorText = name(b"ssl_write_internal", true);
const NEW_NAME: AnchorText = name(b"SSL_new", false);
const SHUTDOWN_NAME: AnchorText = name(b"SSL_shutdown", false);
const VERSION: AnchorText = AnchorText { text: b"OpenSSL 3.", kind: AnchorTextKind::Beginning, decisive: false };
const FILE: AnchorText = AnchorText { text: b"ssl_lib.c", kind: AnchorTextKind::FileName, decisive: true };

pub(super) const TEXTS: &[AnchorText] = &[READ_NAME, WRITE_NAME, NEW_NAME, SHUTDOWN_NAME, VERSION, FILE];

const READ: &str = "ssl_read_internal";
const WRITE: &str = "ssl_write_internal";
/// From 3.2 on: flags come before the place of the length.
const WRITE_WITH_FLAGS: &str = "ssl_write_internal with flags";
const NEW: &str = "SSL_new";
const SHUTDOWN: &str = "SSL_shutdown";

const WRITES: Option<CallKind> = Some(CallKind { direction: Direction::Write, through_pointer: true });

/// What a connection does first comes first.
/// What its functions are told by, in words: of 3.x, and of 1.1.1.
const BY_NAMES: &str = "reports errors as ssl_read_internal, ssl_write_internal";
const BY_NUMBERS: &str = "reports errors 523, 524 of library 20 with ssl_lib.c";
pub(super) const ANCHORS: [&str; 2] = [BY_NAMES, BY_NUMBERS];

pub(super) const ROLES: &[AnchoredRole] = &[
    AnchoredRole {
        name: NEW,
        probe: "openssl_inside_new",
        entry: None,
        exit: Some("ssl_new_done"),
        calls: None,
        anchor: "OpenSSL's SSL_new: it alone reports errors of it",
    },
    AnchoredRole {
        name: WRITE,
        probe: "openssl_inside_write",
        entry: Some("ssl_write_ex"),
        exit: Some("ssl_write_done"),
        calls: WRITES,
        anchor: "OpenSSL's ssl_write_internal, as before 3.2: it alone reports errors of it",
    },
    AnchoredRole {
        name: WRITE_WITH_FLAGS,
        probe: "openssl_inside_write",
        entry: Some("ssl_write_ex2"),
        exit: Some("ssl_write_done"),
        calls: WRITES,
        anchor: "OpenSSL's ssl_write_internal, as from 3.2 on: it alone reports errors of it",
    },
    AnchoredRole {
        name: READ,
        probe: "openssl_inside_read",
        entry: Some("ssl_read_ex"),
        exit: Some("ssl_read_done"),
        calls: Some(CallKind { direction: Direction::Read, through_pointer: true }),
        anchor: "OpenSSL's ssl_read_internal: it alone reports errors of it",
    },
    AnchoredRole {
        name: SHUTDOWN,
        probe: "openssl_inside_shutdown",
        entry: Some("ssl_shutdown"),
        exit: None,
        calls: None,
        anchor: "OpenSSL's SSL_shutdown: it alone reports errors of it",
    },
];

/// Where its functions are.
pub(super) fn find(anchors: &mut Anchors<'_, '_>) -> Result<Option<StackLayout>, AmbiguousStack> {
    match by_names(anchors)? {
        None => by_numbers(anchors),
        found => Ok(found),
    }
}

/// 3.0 and later.
fn by_names(anchors: &mut Anchors<'_, '_>) -> Result<Option<StackLayout>, AmbiguousStack> {
    let (reads, writes) = (starts(anchors, &READ_NAME)?, starts(anchors, &WRITE_NAME)?);
    if reads.is_empty() && writes.is_empty() {
        return Ok(None);
    }
    let read = anchors::only("OpenSSL's ssl_read_internal", &reads)?;
    let write = anchors::only("OpenSSL's ssl_write_internal", &writes)?;
    let write_name = if with_flags(anchors, write)? { WRITE_WITH_FLAGS } else { WRITE };
    let mut found = vec![(write_name, write), (READ, read)];
    for (name, text) in [(NEW, &NEW_NAME), (SHUTDOWN, &SHUTDOWN_NAME)] {
        // Another function that took one of these in reports its errors, too; then it goes without.
        if let [one] = starts(anchors, text)?.as_slice() {
            found.push((name, *one));
        }
    }
    Ok(Some(layout(&found, BY_NAMES)))
}

fn starts(anchors: &mut Anchors<'_, '_>, text: &AnchorText) -> Result<Vec<u64>, AmbiguousStack> {
    Ok(anchors.functions(text)?.into_iter().map(|(function, _)| function.start).collect())
}

/// Has `ssl_write_internal` flags before the place of the length, as from 3.2 on? Then it has a fifth argument. The
/// library's version, where the file tells it, must not say otherwise.
fn with_flags(anchors: &mut Anchors<'_, '_>, write: u64) -> Result<bool, AmbiguousStack> {
    let functions = anchors.functions(&WRITE_NAME)?;
    let takes =
        |(function, _): &(anchors::CodeFunction, Vec<u64>)| function.start == write && function.takes(Register::R8);
    let with_flags = functions.iter().any(takes);
    let versions = anchors.follows(&VERSION);
    if versions.iter().filter_map(|version| minor(version)).any(|minor| (minor >= WITH_FLAGS) != with_flags) {
        let versions: Vec<_> = versions.iter().map(|version| String::from_utf8_lossy(version)).collect();
        let arguments = if with_flags { "five" } else { "four" };
        let detail = format!(
            "its ssl_write_internal has {arguments} arguments, its version is another one: OpenSSL 3.{}",
            versions.join(", 3.")
        );
        return Err(AmbiguousStack { reason: UnseenReason::AnchorAmbiguous, detail });
    }
    Ok(with_flags)
}

/// The first minor version whose `ssl_write_internal` has flags.
const WITH_FLAGS: u32 = 2;

/// Of a library's version as it stands in a file: `OpenSSL 3.6.4 3 Nov 2026`.
fn minor(version: &[u8]) -> Option<u32> {
    let digits = version.split(|byte| *byte == b'.').next()?;
    let dated = version.contains(&b' ');
    std::str::from_utf8(digits).ok().filter(|_| dated)?.parse().ok()
}

// OpenSSL 1.1.1: include/openssl/err.h, include/openssl/sslerr.h.
const LIBRARY: u32 = 20;
const READ_NUMBER: u32 = 523;
const WRITE_NUMBER: u32 = 524;
const NEW_NUMBER: u32 = 186;

/// 1.1.1: `ERR_put_error(20, function, reason, file, line)`.
fn by_numbers(anchors: &mut Anchors<'_, '_>) -> Result<Option<StackLayout>, AmbiguousStack> {
    let functions = anchors.functions(&FILE)?;
    let reports = |number: u32| -> Vec<u64> {
        let of = |(function, places): &&(anchors::CodeFunction, Vec<u64>)| {
            let near = |place: &u64| function.numbers_near(*place);
            places.iter().map(near).any(|numbers| numbers.contains(&LIBRARY) && numbers.contains(&number))
        };
        functions.iter().filter(of).map(|(function, _)| function.start).collect()
    };
    let (reads, writes) = (reports(READ_NUMBER), reports(WRITE_NUMBER));
    if reads.is_empty() && writes.is_empty() {
        return Ok(None);
    }
    let read = anchors::only("OpenSSL 1.1.1's ssl_read_internal", &reads)?;
    let write = anchors::only("OpenSSL 1.1.1's ssl_write_internal", &writes)?;
    let mut found = vec![(WRITE, write), (READ, read)];
    // The number is an error's reason, too.
    let new = functions.iter().filter(|(function, places)| {
        places.iter().any(|place| {
            function.puts_near(*place, Register::EDI, LIBRARY) && function.puts_near(*place, Register::ESI, NEW_NUMBER)
        })
    });
    if let [one] = new.map(|(function, _)| function.start).collect::<Vec<_>>().as_slice() {
        found.push((NEW, *one));
    }
    Ok(Some(layout(&found, BY_NUMBERS)))
}

fn layout(found: &[(&'static str, u64)], anchor: &'static str) -> StackLayout {
    let functions = found.iter().map(|(name, address)| LocatedFunction { name, address: *address, size: 0 }).collect();
    StackLayout { functions, certainty: LayoutCertainty::Anchored(anchor) }
}
