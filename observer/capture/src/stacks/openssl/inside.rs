//! OpenSSL linked into a program or an addon that exports nothing of it: its functions are told by the errors that they
//! report. From 3.0 on each report carries the name of its function as a text; 1.1.1 has numbers for them.

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
    let write_name = if with_flags(&anchors.follows(&VERSION))? { WRITE_WITH_FLAGS } else { WRITE };
    let mut found = vec![(write_name, write), (READ, read)];
    for (name, text) in [(NEW, &NEW_NAME), (SHUTDOWN, &SHUTDOWN_NAME)] {
        // Another function that took one of these in reports its errors, too; then it goes without.
        if let [one] = starts(anchors, text)?.as_slice() {
            found.push((name, *one));
        }
    }
    Ok(Some(layout(&found, "reports errors as ssl_read_internal, ssl_write_internal")))
}

fn starts(anchors: &mut Anchors<'_, '_>, text: &AnchorText) -> Result<Vec<u64>, AmbiguousStack> {
    Ok(anchors.functions(text)?.into_iter().map(|(function, _)| function.start).collect())
}

/// Has `ssl_write_internal` flags before the place of the length? By the library's own version: it is in the file as
/// `OpenSSL 3.6.4 3 Nov 2026`.
fn with_flags(versions: &[&[u8]]) -> Result<bool, AmbiguousStack> {
    let minor = |version: &&[u8]| {
        let digits = version.split(|byte| *byte == b'.').next()?;
        let dated = version.contains(&b' ');
        std::str::from_utf8(digits).ok().filter(|_| dated)?.parse::<u32>().ok()
    };
    let mut forms: Vec<bool> = versions.iter().filter_map(minor).map(|minor| minor >= 2).collect();
    forms.sort_unstable();
    forms.dedup();
    match forms.as_slice() {
        [form] => Ok(*form),
        _ => {
            let versions: Vec<_> = versions.iter().map(|version| String::from_utf8_lossy(version)).collect();
            let detail = format!(
                "OpenSSL's ssl_write_internal has other arguments from 3.2 on than before, and the versions in the file do not tell: 3.({})",
                versions.join(", 3.")
            );
            Err(AmbiguousStack { reason: UnseenReason::AnchorAmbiguous, detail })
        }
    }
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
    if let [one] = reports(NEW_NUMBER).as_slice() {
        found.push((NEW, *one));
    }
    Ok(Some(layout(&found, "reports errors 523, 524 of library 20 with ssl_lib.c")))
}

fn layout(found: &[(&'static str, u64)], anchor: &'static str) -> StackLayout {
    let functions = found.iter().map(|(name, address)| LocatedFunction { name, address: *address, size: 0 }).collect();
    StackLayout { functions, certainty: LayoutCertainty::Anchored(anchor) }
}
