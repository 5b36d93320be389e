//! The texts that functions refer to, in the parts of a file that are mapped to be read alone.

use std::collections::BTreeMap;

use memchr::memmem::Finder;

use super::super::AmbiguousStack;
use crate::elf::FileSurvey;

/// A text that code of a stack refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnchorText {
    /// Without the NUL behind it.
    pub text: &'static [u8],
    pub kind: AnchorTextKind,
    /// The stack is not without it: where none of these is, no code is looked at.
    pub decisive: bool,
}

/// How a text stands in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnchorTextKind {
    /// As it is, with a NUL behind it.
    Name,
    /// At the end of a path, of which only that is known.
    FileName,
    /// At the beginning of a longer text, which nothing needs to refer to.
    Beginning,
}

impl AnchorText {
    /// In words.
    pub(super) fn shown(&self) -> String {
        String::from_utf8_lossy(self.text).into_owned()
    }

    fn needle(&self) -> Vec<u8> {
        let mut needle = self.text.to_vec();
        if self.kind != AnchorTextKind::Beginning {
            needle.push(0);
        }
        needle
    }
}

/// Bytes of a path in front of a file's name: longer ones are cut, and not found by their beginning.
const PATH: usize = 512;

/// Bytes shown behind a beginning: a version and a date.
const FOLLOWS: usize = 32;

/// Places of one text that are kept: a linker keeps each text once or twice, names of symbols stand a few times more.
const PLACES: usize = 64;

/// Where each text stands.
#[derive(Debug, Default)]
pub(super) struct FoundTexts {
    /// By the number of the text: where, and what follows.
    found: Vec<(AnchorText, BTreeMap<u64, Vec<u8>>)>,
}

impl FoundTexts {
    pub(super) fn find(survey: &mut FileSurvey<'_>, texts: &[AnchorText]) -> Result<Self, AmbiguousStack> {
        let mut found = Self::default();
        for text in texts {
            if !found.found.iter().any(|(known, _)| known == text) {
                found.found.push((*text, BTreeMap::new()));
            }
        }
        let needles: Vec<Vec<u8>> = found.found.iter().map(|(text, _)| text.needle()).collect();
        let finders: Vec<Finder<'_>> = needles.iter().map(Finder::new).collect();
        for part in survey.constants() {
            survey.windows(part.address, part.len, PATH + FOLLOWS, |address, window| {
                for (finder, (text, places)) in finders.iter().zip(&mut found.found) {
                    in_window(finder, text, address, window, places);
                }
                Ok(())
            })?;
        }
        Ok(found)
    }

    pub(super) fn has_decisive(&self) -> bool {
        self.found.iter().any(|(text, places)| text.decisive && !places.is_empty())
    }

    /// Where a text stands.
    pub(super) fn places(&self, text: &AnchorText) -> Vec<u64> {
        self.of(text).map(|places| places.keys().copied().collect()).unwrap_or_default()
    }

    /// What follows a text.
    pub(super) fn follows(&self, text: &AnchorText) -> Vec<&[u8]> {
        self.of(text).map(|places| places.values().map(Vec::as_slice).collect()).unwrap_or_default()
    }

    /// All places that are referred to, in order.
    pub(super) fn addresses(&self) -> Vec<u64> {
        let texts = self.found.iter().filter(|(text, _)| text.kind != AnchorTextKind::Beginning);
        let mut addresses: Vec<u64> = texts.flat_map(|(_, places)| places.keys().copied()).collect();
        addresses.sort_unstable();
        addresses.dedup();
        addresses
    }

    fn of(&self, text: &AnchorText) -> Option<&BTreeMap<u64, Vec<u8>>> {
        self.found.iter().find(|(known, _)| known == text).map(|(_, places)| places)
    }
}

fn in_window(finder: &Finder<'_>, text: &AnchorText, address: u64, window: &[u8], places: &mut BTreeMap<u64, Vec<u8>>) {
    for at in finder.find_iter(window) {
        let mut keep = |at: usize, follows: &[u8]| {
            if places.len() < PLACES {
                let place = places.entry(address.saturating_add(at as u64)).or_default();
                // The end of a window may cut it; the next one shows more.
                if place.len() < follows.len() {
                    *place = follows.to_vec();
                }
            }
        };
        let behind = window.get(at + text.text.len()..).unwrap_or_default();
        let follows = behind.get(..behind.len().min(FOLLOWS)).unwrap_or_default();
        keep(at, follows.split(|byte| *byte == 0).next().unwrap_or_default());
        // Linkers keep one of several texts with a common end: both what begins here and what
        // begins further up is referred to.
        let before = window.get(at.saturating_sub(PATH)..at).unwrap_or_default();
        if text.kind == AnchorTextKind::FileName
            && let Some(zero) = before.iter().rposition(|byte| *byte == 0)
        {
            keep(at - (before.len() - zero - 1), &[]);
        }
    }
}
