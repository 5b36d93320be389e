//! `cargo xtask tidy`: the rules of the house that no compiler knows.
//!
//! What broke a rule before there was one stands in `tidy/exceptions.txt`, with the reason. That
//! list only shrinks: a row that says more than there is fails like a broken rule does, and
//! `--shrink` mends it.

mod exceptions;
mod rules;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use self::exceptions::Exceptions;
use self::rules::RULES;

/// Folders that hold nothing of ours (`.git` is a file in a second work tree).
const FOREIGN: [&str; 5] = [".git", "target", "node_modules", "__pycache__", ".hypothesis"];

/// A file of the repository.
struct Source {
    /// From the workspace's folder, with `/`.
    path: String,
    text: String,
}

/// How often a rule is broken by one subject (a file, or a name), and where.
#[derive(Debug, Default, PartialEq, Eq)]
struct Fault {
    count: usize,
    details: Vec<String>,
}

/// Faults by what broke the rule.
type Faults = BTreeMap<String, Fault>;

/// A rule: its name, what it asks for, and who breaks it.
struct Rule {
    name: &'static str,
    asks: &'static str,
    check: fn(&[Source]) -> Faults,
}

/// Checks all rules and says what is wrong; false when anything is. With `shrink` the list of exceptions is cut first.
pub(crate) fn run(shrink: bool) -> Result<bool> {
    let root = crate::test::root();
    let mut sources = Vec::new();
    read(&root, "", &mut sources)?;
    let list = root.join("xtask/src/tidy/exceptions.txt");
    let text = fs::read_to_string(&list).with_context(|| format!("cannot read {}", list.display()))?;
    let mut exceptions = Exceptions::parse(&text)?;
    let found: Vec<(&Rule, Faults)> = RULES.iter().map(|rule| (rule, (rule.check)(&sources))).collect();
    if shrink {
        exceptions.shrink(&found);
        fs::write(&list, exceptions.text()).with_context(|| format!("cannot write {}", list.display()))?;
    }
    let problems = exceptions.judge(&found);
    for problem in &problems {
        println!("{problem}");
    }
    println!("tidy: {} files, {} rules, {} problems", sources.len(), RULES.len(), problems.len());
    Ok(problems.is_empty())
}

/// Reads all text below a folder; what is no text is left out.
fn read(root: &Path, folder: &str, sources: &mut Vec<Source>) -> Result<()> {
    let at = root.join(folder);
    for entry in fs::read_dir(&at).with_context(|| format!("cannot read {}", at.display()))? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        if FOREIGN.contains(&name.as_str()) {
            continue;
        }
        let path = if folder.is_empty() { name.clone() } else { format!("{folder}/{name}") };
        let kind = entry.file_type()?;
        if kind.is_dir() {
            read(root, &path, sources)?;
        } else if kind.is_file()
            && let Ok(text) = fs::read_to_string(entry.path())
        {
            sources.push(Source { path, text });
        }
    }
    Ok(())
}
