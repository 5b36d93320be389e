//! Strings by which a file tells that it carries rustls, and which: the paths of the sources that its
//! panics name.

use std::fmt;

use memchr::memmem;

use super::vtables::SuitePair;
use crate::elf::FileSurvey;
use crate::stacks::AmbiguousStack;

/// A release of rustls, as far as its layout depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct RustlsVersion {
    pub major: u16,
    pub minor: u16,
}

/// The release whose layout is known.
const KNOWN: RustlsVersion = RustlsVersion { major: 0, minor: 23 };

impl fmt::Display for RustlsVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// What the strings of a file say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Markers {
    /// Releases that paths name, each once.
    versions: Vec<RustlsVersion>,
    /// A path of its sources that names no release: built from a folder of one's own.
    unversioned: bool,
}

/// Before the release in a path: `…/rustls-0.23.46/src/…`.
const NAME: &[u8] = b"/rustls-";
/// Where its cryptography is written.
const CRYPTO: &[u8] = b"/src/crypto/";
/// What follows there.
const CRYPTO_FILES: [&[u8]; 4] = [b"ring/tls13.rs", b"ring/tls12.rs", b"aws_lc_rs/tls13.rs", b"aws_lc_rs/tls12.rs"];
/// The longest that is looked at as a whole: a release, or a file of the cryptography.
const LONGEST: usize = 40;
/// Releases kept: programs carry one, rarely two.
const VERSIONS: usize = 8;

/// Looks through what a file has to be read only.
///
/// # Errors
/// Over the budget.
pub(super) fn find(survey: &mut FileSurvey<'_>) -> Result<Markers, AmbiguousStack> {
    let (name, crypto) = (memmem::Finder::new(NAME), memmem::Finder::new(CRYPTO));
    let mut markers = Markers::default();
    for segment in survey.constants() {
        survey.windows(segment.address, segment.len, NAME.len() + LONGEST, |_, window| {
            markers.look(window, &name, &crypto);
            Ok(())
        })?;
    }
    Ok(markers)
}

impl Markers {
    pub(super) fn any(&self) -> bool {
        self.unversioned || !self.versions.is_empty()
    }

    fn look(&mut self, window: &[u8], name: &memmem::Finder<'_>, crypto: &memmem::Finder<'_>) {
        for at in name.find_iter(window) {
            if let Some(version) = window.get(at..).and_then(version_of)
                && !self.versions.contains(&version)
                && self.versions.len() < VERSIONS
            {
                self.versions.push(version);
            }
        }
        let follows = |at: usize| {
            let rest = window.get(at + CRYPTO.len()..).unwrap_or_default();
            CRYPTO_FILES.iter().any(|file| rest.starts_with(file))
        };
        self.unversioned = self.unversioned || crypto.find_iter(window).any(follows);
    }

    /// Is a pair's layout the one that the kernel programs read?
    pub(super) fn lays_out_as_known(&self, pair: &SuitePair) -> bool {
        match own_version(pair) {
            Some(version) => version == KNOWN,
            // A path that names no release, of rustls itself or of a provider of cryptography of its own.
            None => pair.reads_chunks && self.versions.iter().all(|version| *version == KNOWN),
        }
    }

    /// Why no function of a file that carries rustls is probed, and what it would take.
    pub(super) fn unknown(&self, pairs: &[SuitePair]) -> String {
        let newest = pairs.iter().filter_map(own_version).chain(self.versions.iter().copied()).max();
        match newest {
            Some(version) if version < RustlsVersion { minor: 22, ..KNOWN } => format!(
                "it carries rustls {version}, whose encrypters have no encrypted_payload_len to be found by; a build with rustls {KNOWN} is seen"
            ),
            Some(version) if version < KNOWN => format!(
                "it carries rustls {version}, which hands messages over in another form; a build with rustls {KNOWN} is seen"
            ),
            Some(version) if version > KNOWN => format!(
                "it carries rustls {version}, whose messages may be laid out otherwise than in {KNOWN}; ask for it to be added, naming the program"
            ),
            _ if pairs.is_empty() => {
                "it carries rustls, but no vtables of encrypters where panics tell their places: it was built without optimisation or without the places of panics; a release build is seen".into()
            }
            _ => "it carries rustls of a release that nothing names, and its encrypters read messages otherwise than in 0.23".into(),
        }
    }
}

fn own_version(pair: &SuitePair) -> Option<RustlsVersion> {
    memmem::rfind(&pair.source, NAME).and_then(|at| pair.source.get(at..)).and_then(version_of)
}

/// The release in `/rustls-0.23.46/src/…` or `/rustls-0.24.0-dev.0/src/…`.
fn version_of(path: &[u8]) -> Option<RustlsVersion> {
    let rest = path.strip_prefix(NAME)?;
    let end = rest.iter().take(LONGEST).position(|byte| *byte == b'/')?;
    let mut numbers = rest.get(..end)?.split(|byte| *byte == b'.');
    let number = |text: &[u8]| std::str::from_utf8(text).ok()?.parse().ok();
    let (major, minor) = (number(numbers.next()?)?, number(numbers.next()?)?);
    numbers.next()?;
    Some(RustlsVersion { major, minor })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_tells_the_release_of_rustls_alone() {
        let version = |major, minor| Some(RustlsVersion { major, minor });
        for (path, told) in [
            ("/rustls-0.23.46/src/crypto/ring/tls13.rs", version(0, 23)),
            ("/rustls-0.24.0-dev.0/src/lib.rs", version(0, 24)),
            ("/rustls-1.2.3/", version(1, 2)),
            ("/rustls-pemfile-2.2.0/src/lib.rs", None),
            ("/rustls-0.23/src/lib.rs", None),
            ("/rustls-0.99999999.1/", None),
            ("/rustls-0.23.46", None),
            ("/rustls-", None),
        ] {
            assert_eq!(version_of(path.as_bytes()), told, "{path}");
        }
    }

    #[test]
    fn what_is_not_probed_says_why() {
        let of = |minor| Markers { versions: vec![RustlsVersion { major: 0, minor }], unversioned: false };
        let pair =
            |source: &str, reads_chunks| SuitePair { encrypt: 1, decrypt: 2, source: source.into(), reads_chunks };
        let vendored = pair("vendor/rustls/src/crypto/ring/tls13.rs", true);
        assert!(of(23).lays_out_as_known(&vendored) && Markers::default().lays_out_as_known(&vendored));
        assert!(!of(24).lays_out_as_known(&vendored), "which of two is not known");
        assert!(!of(23).lays_out_as_known(&pair("x/rustls-0.22.4/src/crypto/ring/tls13.rs", true)));
        assert!(!Markers::default().lays_out_as_known(&pair("a.rs", false)));
        for (minor, part) in [
            (21, "no encrypted_payload_len"),
            (22, "another form"),
            (23, "release build"),
            (24, "otherwise than in 0.23"),
        ] {
            assert!(of(minor).unknown(&[]).contains(part), "{minor}");
        }
    }
}
