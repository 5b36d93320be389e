//! Why a process that uses TLS is not seen into.

use crate::elf::{self, OtherTlsStacks};

/// The kinds of reasons: label values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum UnseenReason {
    /// Its file was not read to its end.
    Elf(elf::ElfRefusalReason),
    FileUnreadable,
    /// It lies on a file system in user space.
    FuseMount,
    /// It lies on an overlay whose layers cannot be found.
    OverlayOutOfSight,
    FileDoesNotAnswer,
    FileLeased,
    NoDescriptors,
    ExecutableUnreadable,
    /// Java's own TLS.
    JavaJsse,
    /// Go's own TLS, in a program whose functions cannot be told for sure.
    GoCryptoTls,
    /// Go's own TLS up to 1.16, whose functions take their arguments on the stack.
    GoTooOld,
    Nss,
    /// A program without symbols.
    StrippedStaticTls,
    UnknownTlsLibrary,
    /// It carries a stack whose functions no symbol names, and they cannot be told for sure.
    AnchorAmbiguous,
    /// It carries rustls of a release whose functions or messages are laid out otherwise.
    RustlsLayoutUnknown,
    /// What its TLS sockets carried fits nothing that the probes of its library saw.
    SocketsUnmatched,
    /// Its library has probes that could not all be put in.
    ProbeBroken,
    /// Nobody has looked yet.
    NotExaminedYet,
}

impl UnseenReason {
    /// The label value.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Elf(reason) => reason.as_str(),
            Self::FileUnreadable => "file_unreadable",
            Self::FuseMount => "fuse_mount",
            Self::OverlayOutOfSight => "overlay_out_of_sight",
            Self::FileDoesNotAnswer => "file_does_not_answer",
            Self::FileLeased => "file_leased",
            Self::NoDescriptors => "no_descriptors",
            Self::ExecutableUnreadable => "executable_unreadable",
            Self::JavaJsse => "java_jsse",
            Self::GoCryptoTls => "go_crypto_tls",
            Self::GoTooOld => "go_before_1_17",
            Self::Nss => "nss",
            Self::StrippedStaticTls => "stripped_static_tls",
            Self::UnknownTlsLibrary => "unknown_tls_library",
            Self::AnchorAmbiguous => "anchor_ambiguous",
            Self::RustlsLayoutUnknown => "rustls_layout_unknown",
            Self::SocketsUnmatched => "sockets_unmatched",
            Self::ProbeBroken => "probe_broken",
            Self::NotExaminedYet => "not_examined_yet",
        }
    }
}

/// What a process's executable is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExecutableKind {
    /// It carries no stack that we probe.
    Plain(OtherTlsStacks),
    /// It is not looked at.
    Refused(UnseenReason),
    /// It is probed.
    Probed,
    /// It could not be looked at.
    Unreadable,
}

/// Signs of a stack that no probe enters.
enum OtherStackSign {
    /// A mapped file's name begins so, whatever the executable is.
    Library(&'static str),
    /// A mapped file's name begins so, and the executable tells nothing of itself.
    PlainLibrary(&'static str),
}

/// Stacks that no probe enters, the surest sign first. Whoever adds a stack takes its line out.
const UNPROBED: &[(OtherStackSign, UnseenReason)] = &[
    (OtherStackSign::Library("libjvm.so"), UnseenReason::JavaJsse),
    (OtherStackSign::PlainLibrary("libnss3"), UnseenReason::Nss),
];

/// Which TLS a process uses that no probe enters, by the names of what it has mapped and by what
/// its executable is.
#[must_use]
pub fn unseen(executable: ExecutableKind, mapped: &[&str]) -> UnseenReason {
    let carries = |prefix: &str| mapped.iter().any(|name| name.starts_with(prefix));
    let shown = UNPROBED.iter().find(|(sign, _)| match sign {
        OtherStackSign::Library(prefix) => carries(prefix),
        OtherStackSign::PlainLibrary(prefix) => {
            matches!(executable, ExecutableKind::Plain(_) | ExecutableKind::Unreadable) && carries(prefix)
        }
    });
    match (shown, executable) {
        (Some((_, reason)), _) => *reason,
        (None, ExecutableKind::Refused(reason)) => reason,
        (None, ExecutableKind::Plain(OtherTlsStacks { stripped: true, .. })) => UnseenReason::StrippedStaticTls,
        (None, ExecutableKind::Plain(_) | ExecutableKind::Probed) => UnseenReason::UnknownTlsLibrary,
        (None, ExecutableKind::Unreadable) => UnseenReason::ExecutableUnreadable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_surest_sign_is_told() {
        let plain = |go, stripped| ExecutableKind::Plain(OtherTlsStacks { go, stripped });
        let refused = ExecutableKind::Refused(UnseenReason::Elf(elf::ElfRefusalReason::CutShort));
        let told = |executable, mapped: &[&str]| unseen(executable, mapped).name();
        assert_eq!(told(refused, &["java", "libjvm.so", "libnss3.so"]), "java_jsse");
        assert_eq!(told(refused, &["x", "libnss3.so"]), "elf_cut_short");
        assert_eq!(told(plain(false, true), &["x", "libnss3.so"]), "nss");
        let go = ExecutableKind::Refused(UnseenReason::GoTooOld);
        assert_eq!(told(go, &["agent", "libnss3.so"]), "go_before_1_17");
        assert_eq!(told(plain(true, true), &["agent"]), "stripped_static_tls", "a Go program without Go's TLS");
        assert_eq!(told(ExecutableKind::Unreadable, &["x", "libnss3.so"]), "nss");
        assert_eq!(told(ExecutableKind::Unreadable, &["x"]), "executable_unreadable");
        assert_eq!(told(ExecutableKind::Probed, &["node", "libnss3.so"]), "unknown_tls_library");
        assert_eq!(told(plain(false, false), &["x"]), "unknown_tls_library");
        assert_eq!(told(plain(false, true), &["x"]), "stripped_static_tls");
    }
}
