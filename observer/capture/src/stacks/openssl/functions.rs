//! The functions of OpenSSL that are probed, and by which kernel programs.

/// Where a function leaves the number of bytes it moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum LengthIn {
    /// It returns it (`SSL_read`, `SSL_write`).
    Result,
    /// It writes it where `rcx` points (fourth argument).
    Rcx,
    /// It writes it where `r8` points (fifth argument).
    R8,
}

/// What a probed function does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum FunctionRole {
    /// Moves plaintext to the application.
    Read,
    /// Moves plaintext from the application.
    Write,
    /// Makes a TLS object.
    Birth,
    /// Asks for an orderly end.
    Shutdown,
    /// Frees a TLS object.
    Free,
}

/// A function of a TLS library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TlsFunction {
    /// Its exported name.
    pub symbol: &'static str,
    /// Name of the probe in `inspect probes`.
    pub probe: &'static str,
    pub role: FunctionRole,
    pub length: LengthIn,
}

/// The functions of OpenSSL and its relatives (LibreSSL, BoringSSL and AWS-LC export the same
/// names). CPython calls only the `_ex` pair, curl and Node the plain one.
pub(super) const FUNCTIONS: &[TlsFunction] = &[
    TlsFunction { symbol: "SSL_read", probe: "ssl_read", role: FunctionRole::Read, length: LengthIn::Result },
    TlsFunction { symbol: "SSL_read_ex", probe: "ssl_read_ex", role: FunctionRole::Read, length: LengthIn::Rcx },
    TlsFunction { symbol: "SSL_write", probe: "ssl_write", role: FunctionRole::Write, length: LengthIn::Result },
    TlsFunction { symbol: "SSL_write_ex", probe: "ssl_write_ex", role: FunctionRole::Write, length: LengthIn::Rcx },
    TlsFunction { symbol: "SSL_write_ex2", probe: "ssl_write_ex2", role: FunctionRole::Write, length: LengthIn::R8 },
    TlsFunction { symbol: "SSL_new", probe: "ssl_new", role: FunctionRole::Birth, length: LengthIn::Result },
    TlsFunction {
        symbol: "SSL_shutdown",
        probe: "ssl_shutdown",
        role: FunctionRole::Shutdown,
        length: LengthIn::Result,
    },
    TlsFunction { symbol: "SSL_free", probe: "ssl_free", role: FunctionRole::Free, length: LengthIn::Result },
];

/// What all their names begin with.
pub(super) const PREFIX: &[u8] = b"SSL_";

/// The entry and return programs for a role and a place of the length. `inner`: at the function
/// that the public ones call, whose result tells the end of the stream (0) from a read that would
/// block (negative); `SSL_read_ex` returns 0 for both.
pub(super) fn programs(
    role: FunctionRole,
    length: LengthIn,
    inner: bool,
) -> (Option<&'static str>, Option<&'static str>) {
    match (role, length) {
        (FunctionRole::Read, LengthIn::Result) => (Some("ssl_read"), Some("ssl_read_done")),
        // No known read takes the pointer in r8; the placement refuses it.
        (FunctionRole::Read, LengthIn::Rcx | LengthIn::R8) if inner => (Some("ssl_read_ex"), Some("ssl_read_done")),
        (FunctionRole::Read, LengthIn::Rcx | LengthIn::R8) => (Some("ssl_read_ex"), Some("ssl_read_ex_done")),
        (FunctionRole::Write, LengthIn::Result) => (Some("ssl_write"), Some("ssl_write_done")),
        (FunctionRole::Write, LengthIn::Rcx) => (Some("ssl_write_ex"), Some("ssl_write_done")),
        (FunctionRole::Write, LengthIn::R8) => (Some("ssl_write_ex2"), Some("ssl_write_done")),
        (FunctionRole::Birth, _) => (None, Some("ssl_new_done")),
        (FunctionRole::Shutdown, _) => (Some("ssl_shutdown"), None),
        (FunctionRole::Free, _) => (Some("ssl_free"), None),
    }
}

/// All of them.
pub(super) const PROGRAMS: &[&str] = &[
    "ssl_read",
    "ssl_read_ex",
    "ssl_write",
    "ssl_write_ex",
    "ssl_write_ex2",
    "ssl_read_done",
    "ssl_read_ex_done",
    "ssl_write_done",
    "ssl_new_done",
    "ssl_shutdown",
    "ssl_free",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_function_has_programs_of_the_list() {
        for (function, inner) in FUNCTIONS.iter().flat_map(|function| [(function, false), (function, true)]) {
            let (entry, done) = programs(function.role, function.length, inner);
            assert!(entry.is_some() || done.is_some());
            assert!([entry, done].into_iter().flatten().all(|name| PROGRAMS.contains(&name)), "{}", function.symbol);
        }
    }
}
