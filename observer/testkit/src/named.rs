//! Tests that get their names from tables and folders.

use std::any::Any;
use std::path::{Path, PathBuf};

use libtest_mimic::{Failed, Trial};

/// A test that fails by panicking.
pub fn trial(name: impl Into<String>, run: impl FnOnce() + Send + 'static) -> Trial {
    Trial::test(name, || {
        run();
        Ok(())
    })
}

/// A test that says why it fails.
pub fn trial_of(name: impl Into<String>, run: impl FnOnce() -> Result<(), Failed> + Send + 'static) -> Trial {
    Trial::test(name, run)
}

/// A sentence as a name that no shell takes apart: letters and digits, joined with `_`.
pub fn identifier(sentence: &str) -> String {
    let words = sentence.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join("_").to_lowercase()
}

/// What a caught panic said.
pub fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("it panicked").to_owned()
}

/// # Panics
///
/// If two tests have one name: neither could be run alone.
pub fn assert_distinct(trials: &[Trial]) {
    let mut names: Vec<&str> = trials.iter().map(Trial::name).collect();
    names.sort_unstable();
    let twice: Vec<_> = names.iter().zip(names.iter().skip(1)).filter(|(one, next)| one == next).collect();
    assert!(twice.is_empty(), "tests of one name: {twice:?}");
}

/// The folders in a folder, with their names, in the order of these.
///
/// # Errors
/// The folder cannot be read: a test without its cases is no test.
pub fn folders(root: &Path) -> Result<Vec<(String, PathBuf)>, Failed> {
    let told = |error: std::io::Error| Failed::from(format!("{}: {error}", root.display()));
    let mut all = Vec::new();
    for entry in std::fs::read_dir(root).map_err(told)? {
        let path = entry.map_err(told)?.path();
        if let Some(name) = path.file_name().filter(|_| path.is_dir()) {
            all.push((name.to_string_lossy().into_owned(), path.clone()));
        }
    }
    all.sort();
    Ok(all)
}
