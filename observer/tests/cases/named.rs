//! Tests that get their names from tables and folders.

use std::any::Any;
use std::path::{Path, PathBuf};

use libtest_mimic::{Failed, Trial};

/// A test that fails by panicking.
pub(crate) fn trial(name: impl Into<String>, run: impl FnOnce() + Send + 'static) -> Trial {
    Trial::test(name, || {
        run();
        Ok(())
    })
}

/// A test that says why it fails.
pub(crate) fn trial_of(name: impl Into<String>, run: impl FnOnce() -> Result<(), Failed> + Send + 'static) -> Trial {
    Trial::test(name, run)
}

/// A sentence as a name that no shell takes apart: letters and digits, joined with `_`.
pub(crate) fn identifier(sentence: &str) -> String {
    let words = sentence.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join("_").to_lowercase()
}

/// What a caught panic said.
pub(crate) fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("it panicked").to_owned()
}

/// # Panics
///
/// If two tests have one name: neither could be run alone.
pub(crate) fn assert_distinct(trials: &[Trial]) {
    let mut names: Vec<&str> = trials.iter().map(Trial::name).collect();
    names.sort_unstable();
    let twice: Vec<_> = names.windows(2).filter(|two| two[0] == two[1]).map(|two| two[0]).collect();
    assert!(twice.is_empty(), "tests of one name: {twice:?}");
}

/// The folders in a folder, with their names, in the order of these.
pub(crate) fn folders(root: &Path) -> Vec<(String, PathBuf)> {
    let all = std::fs::read_dir(root).unwrap_or_else(|error| panic!("{}: {error}", root.display()));
    let mut all: Vec<PathBuf> = all.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect();
    all.sort();
    all.into_iter().map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), path)).collect()
}
