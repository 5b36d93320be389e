//! Where stacks are in files that were looked through: the next run of an unchanged program is probed
//! at once, and so is the first one after the daemon was started again.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::open::{FileVersion, SeenAs};
use capture::stacks::{RecognisedStacks, SavedLayout};

/// Layouts kept; beyond it all are forgotten, and found again. A host has some hundred files that are
/// large enough to be looked through, most of which carry nothing.
const MAX_LAYOUTS: usize = 2048;

/// Bytes of code compared at each place of a layout before it is used.
pub(super) const COMPARED: usize = 32;

/// The form of what is saved.
const FORM: u32 = 1;

/// What looking through a file came to, and the code that was found at each place.
#[derive(Clone, Debug)]
pub(super) struct KeptLayout {
    /// Empty: it carries nothing.
    pub(super) recognised: RecognisedStacks,
    code: Vec<(u64, Vec<u8>)>,
}

impl KeptLayout {
    /// `code_at`: what a file has at an address, up to `COMPARED` bytes.
    pub(super) fn new(recognised: RecognisedStacks, code_at: impl Fn(u64) -> Vec<u8>) -> Self {
        let places = recognised.iter().flat_map(|(_, layout)| &layout.functions).map(|function| function.address);
        let code = places.map(|address| (address, code_at(address))).collect();
        Self { recognised, code }
    }

    /// Has this file the same code at each place?
    pub(super) fn fits(&self, code_at: impl Fn(u64) -> Vec<u8>) -> bool {
        self.code.iter().all(|(address, code)| !code.is_empty() && code_at(*address) == *code)
    }
}

/// By the real inode and its version, whose time of change the kernel alone sets: a file that only
/// looks like another one (by its content, its build id) must not say where that one is probed.
#[derive(Debug, Default)]
pub(super) struct KeptLayouts {
    files: HashMap<(SeenAs, FileVersion), KeptLayout>,
    /// There are some that were not saved.
    changed: bool,
}

impl KeptLayouts {
    pub(super) fn of(&self, file: (SeenAs, FileVersion)) -> Option<KeptLayout> {
        self.files.get(&file).cloned()
    }

    pub(super) fn keep(&mut self, file: (SeenAs, FileVersion), kept: KeptLayout) {
        if self.files.len() >= MAX_LAYOUTS {
            self.files.clear();
        }
        // Of another version nothing is asked any more.
        self.files.retain(|(seen, version), _| *seen != file.0 || *version == file.1);
        self.files.insert(file, kept);
        self.changed = true;
    }

    /// All of them as text, if there are new ones since the last time. `program`: which build found them.
    pub(super) fn news(&mut self, program: &str) -> Option<String> {
        if !std::mem::take(&mut self.changed) {
            return None;
        }
        let files = self.files.iter().map(|((seen, version), kept)| SavedFile::new(*seen, *version, kept)).collect();
        serde_json::to_string(&SavedFiles { form: FORM, program: program.to_owned(), files }).ok()
    }

    /// Takes up what `news` told an earlier process; what another build found is found again. How many were taken up.
    ///
    /// # Errors
    /// It is no such text.
    pub(super) fn restore(&mut self, text: &[u8], program: &str) -> Result<usize, serde_json::Error> {
        let saved: SavedFiles = serde_json::from_slice(text)?;
        if saved.form == FORM && saved.program == program {
            self.files.extend(saved.files.into_iter().take(MAX_LAYOUTS).filter_map(SavedFile::read));
        }
        Ok(self.files.len())
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct SavedFiles {
    form: u32,
    program: String,
    files: Vec<SavedFile>,
}

/// A file, and what was found in it. Times are nanoseconds since the epoch.
#[derive(Debug, Serialize, Deserialize)]
struct SavedFile {
    device: (u32, u32),
    inode: u64,
    size: u64,
    modified_ns: i64,
    changed_ns: i64,
    layouts: Vec<SavedLayout>,
    code: Vec<(u64, Vec<u8>)>,
}

impl SavedFile {
    fn new(seen: SeenAs, version: FileVersion, kept: &KeptLayout) -> Self {
        // A time beyond the year 2262 is of no file; one that is not told fits no file.
        let time = |ns: i128| i64::try_from(ns).unwrap_or(i64::MIN);
        Self {
            device: seen.device,
            inode: seen.inode,
            size: version.size,
            modified_ns: time(version.modified_ns),
            changed_ns: time(version.changed_ns),
            layouts: kept.recognised.iter().map(|(stack, layout)| SavedLayout::new(*stack, layout)).collect(),
            code: kept.code.clone(),
        }
    }

    /// `None`: a stack or a word that this build does not know.
    fn read(self) -> Option<((SeenAs, FileVersion), KeptLayout)> {
        let recognised: Option<RecognisedStacks> = self.layouts.iter().map(SavedLayout::read).collect();
        let version = FileVersion {
            size: self.size,
            modified_ns: i128::from(self.modified_ns),
            changed_ns: i128::from(self.changed_ns),
        };
        let seen = SeenAs { device: self.device, inode: self.inode };
        Some(((seen, version), KeptLayout { recognised: recognised?, code: self.code }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use capture::stacks::{LayoutCertainty, LocatedFunction, STACKS, StackLayout};

    const ADDRESS: u64 = 0x1000;

    fn seen(inode: u64) -> SeenAs {
        SeenAs { device: (8, 1), inode }
    }

    fn version(changed_ns: i128) -> FileVersion {
        FileVersion { size: 7, modified_ns: 1, changed_ns }
    }

    fn nothing() -> KeptLayout {
        KeptLayout { recognised: Vec::new(), code: Vec::new() }
    }

    /// A function of Go's TLS where this code is.
    fn found(code: &'static [u8]) -> KeptLayout {
        let go = *STACKS.iter().find(|stack| stack.name() == "go").expect("a stack");
        let name = *go.layout_words().first().expect("a word");
        let functions = vec![LocatedFunction { name, address: ADDRESS, size: 3 }];
        KeptLayout::new(vec![(go, StackLayout { functions, certainty: LayoutCertainty::Named })], at(code))
    }

    /// A file that has this code there, and nothing elsewhere.
    fn at(code: &'static [u8]) -> impl Fn(u64) -> Vec<u8> {
        move |address| if address == ADDRESS { code.to_vec() } else { Vec::new() }
    }

    #[test]
    fn a_layout_is_of_one_inode_in_one_version() {
        let mut kept = KeptLayouts::default();
        kept.keep((seen(5), version(2)), nothing());
        assert!(kept.of((seen(5), version(2))).is_some());
        assert!(kept.of((seen(6), version(2))).is_none(), "a copy, whatever its content");
        assert!(kept.of((seen(5), version(3))).is_none(), "written to since");
        kept.keep((seen(5), version(3)), nothing());
        assert!(kept.of((seen(5), version(2))).is_none());
        (0..5000).for_each(|inode| kept.keep((seen(inode), version(2)), nothing()));
        assert!(kept.files.len() <= MAX_LAYOUTS);
    }

    #[test]
    fn the_code_at_each_place_is_compared() {
        let kept = found(b"\x55\x90\xc3");
        assert!(kept.fits(at(b"\x55\x90\xc3")));
        assert!(!kept.fits(at(b"\x55\x91\xc3")) && !kept.fits(at(b"\x55\x90")) && !kept.fits(at(b"")));
        assert!(!found(b"").fits(at(b"")), "no code was there to be compared");
        assert!(nothing().fits(at(b"")), "nothing was found, nothing is put there");
    }

    #[test]
    fn what_was_found_outlives_the_process() {
        let layout = found(b"\x55\x90\xc3");
        let mut kept = KeptLayouts::default();
        assert_eq!(kept.news("1"), None);
        kept.keep((seen(5), version(2)), layout.clone());
        kept.keep((seen(6), version(2)), nothing());
        let text = kept.news("1").expect("there are new ones");
        assert_eq!(kept.news("1"), None, "they were told");
        let mut later = KeptLayouts::default();
        assert_eq!(later.restore(text.as_bytes(), "1").expect("as written"), 2);
        assert_eq!(later.news("1"), None, "they are saved already");
        let same = later.of((seen(5), version(2))).expect("the same file");
        assert!(same.fits(at(b"\x55\x90\xc3")) && same.code == layout.code);
        let names = |kept: &KeptLayout| kept.recognised.iter().map(|(stack, _)| stack.name()).collect::<Vec<_>>();
        assert_eq!(names(&same), ["go"]);
        assert!(later.of((seen(6), version(2))).is_some_and(|kept| kept.recognised.is_empty()));
    }

    #[test]
    fn what_another_build_found_and_what_is_no_text_of_ours_is_left_alone() {
        let mut kept = KeptLayouts::default();
        kept.keep((seen(5), version(2)), found(b"\x55"));
        let text = kept.news("1").expect("there are new ones");
        let mut later = KeptLayouts::default();
        assert_eq!(later.restore(text.as_bytes(), "2").expect("as written"), 0);
        for broken in ["", "{}", "[1]", text.trim_end_matches('}'), &text.replace("\"go\"", "7")] {
            assert!(later.restore(broken.as_bytes(), "1").is_err(), "{broken}");
        }
        let unknown = text.replace("\"go\"", "\"smalltalk\"");
        assert_eq!(later.restore(unknown.as_bytes(), "1").expect("it is one"), 0);
    }
}
