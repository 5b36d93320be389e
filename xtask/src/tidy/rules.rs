//! The rules: a row and a function each.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path};

use super::{Fault, Faults, Rule, Source};

/// Lines of a file: what one reads in one sitting.
const LINES: usize = 400;
/// Columns of comments in code, and of pages; rustfmt holds the code itself.
const COLUMNS: usize = 120;

/// Every rule.
pub(super) const RULES: &[Rule] = &[
    Rule { name: "length", asks: "a Rust file has at most 400 lines", check: length },
    Rule { name: "comment", asks: "comments have at most 120 columns, better 100", check: comments },
    Rule { name: "page", asks: "pages are wrapped at 120 columns, better 100; tables are not", check: pages },
    Rule { name: "type", asks: "no two types of the daemon that others can name share their name", check: types },
    Rule { name: "allow", asks: "`#[expect(…, reason = …)]`, which ends with its cause", check: allows },
    Rule { name: "outside", asks: "nothing refers to folders beside the repository", check: outside },
    Rule { name: "link", asks: "links lead to files that there are", check: links },
    Rule { name: "place", asks: "paths that a page names in code marks are there", check: places },
    Rule { name: "orphan", asks: "a page is linked from another one", check: orphans },
];

fn with_extension<'a>(sources: &'a [Source], extension: &'a str) -> impl Iterator<Item = &'a Source> {
    sources.iter().filter(move |source| source.path.rsplit_once('.').is_some_and(|(_, end)| end == extension))
}

fn length(sources: &[Source]) -> Faults {
    let counted = with_extension(sources, "rs").map(|source| (source, source.text.lines().count()));
    let long = counted.filter(|(_, lines)| *lines > LINES);
    long.map(|(source, count)| (source.path.clone(), Fault { count, details: Vec::new() })).collect()
}

fn comments(sources: &[Source]) -> Faults {
    let is_wide = |line: &str| line.trim_start().starts_with("//") && line.chars().count() > COLUMNS;
    with_extension(sources, "rs").filter_map(|source| by_line(source, is_wide)).collect()
}

/// Tables and code cannot be wrapped.
fn pages(sources: &[Source]) -> Faults {
    with_extension(sources, "md")
        .filter_map(|source| {
            let mut in_code = false;
            by_line(source, |line| {
                in_code ^= line.trim_start().starts_with("```");
                !in_code && !line.trim_start().starts_with('|') && line.chars().count() > COLUMNS
            })
        })
        .collect()
}

/// In the daemon's crates. Types that mirror an API's own JSON bear that API's names.
fn types(sources: &[Source]) -> Faults {
    let mut places = BTreeMap::<&str, Vec<String>>::new();
    let in_daemon =
        |path: &str| path.starts_with("observer/") && path.contains("/src/") && !path.ends_with("/types.rs");
    for source in with_extension(sources, "rs").filter(|source| in_daemon(&source.path)) {
        for name in source.text.lines().filter_map(named_type) {
            places.entry(name).or_default().push(source.path.clone());
        }
    }
    let shared = places.into_iter().filter(|(_, paths)| paths.len() > 1);
    shared.map(|(name, details)| (name.to_owned(), Fault { count: details.len(), details })).collect()
}

/// The type that a line begins, if code outside of its own module can name it.
fn named_type(line: &str) -> Option<&str> {
    let rest = line.trim_start().strip_prefix("pub")?;
    let rest = match rest.strip_prefix('(') {
        Some(scope) => scope.split_once(')')?.1,
        None => rest,
    };
    let (kind, rest) = rest.strip_prefix(' ')?.split_once(' ')?;
    let name = rest.split(|c: char| !c.is_alphanumeric() && c != '_').next()?;
    (["struct", "enum", "trait", "union", "type"].contains(&kind) && !name.is_empty()).then_some(name)
}

fn allows(sources: &[Source]) -> Faults {
    let is_allow = |line: &str| ["#[allow(", "#![allow("].iter().any(|start| line.trim_start().starts_with(start));
    with_extension(sources, "rs").filter_map(|source| by_line(source, is_allow)).collect()
}

fn outside(sources: &[Source]) -> Faults {
    // Put together here, so that this file does not break its own rule.
    let folders = [concat!("..", "/shared/"), concat!("/work", "/")];
    let leads_out = |line: &str| folders.iter().any(|folder| line.contains(folder));
    let ours = sources.iter().filter(|source| !source.path.starts_with("tests/vectors/"));
    ours.filter_map(|source| by_line(source, leads_out)).collect()
}

fn links(sources: &[Source]) -> Faults {
    dead(sources, targets)
}

/// Those that begin with one of our folders; a word in capitals stands for a name that the reader chooses. A decision
/// speaks of its own day.
fn places(sources: &[Source]) -> Faults {
    let folders = ["observer/", "observer-common/", "observer-ebpf/", "tests/", "xtask/"];
    let is_path = |word: &&str| {
        let is_plain = word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"/_-.".contains(&b));
        is_plain && folders.iter().any(|folder| word.starts_with(folder))
    };
    dead(sources, |source| {
        let is_of_its_day = source.path.contains("/decisions/") || source.path == "CHANGELOG.md";
        let words = source.text.split('`').skip(1).step_by(2).filter(is_path).filter(|_| !is_of_its_day);
        words.map(|word| word.trim_end_matches('/').to_owned()).collect()
    })
}

/// The pages that name files or folders that are not there.
fn dead(sources: &[Source], named: impl Fn(&Source) -> Vec<String>) -> Faults {
    let files: BTreeSet<&str> = sources.iter().map(|source| source.path.as_str()).collect();
    let exists = |target: &str| {
        let folder = format!("{target}/");
        target.is_empty() || files.contains(target) || files.iter().any(|file| file.starts_with(&folder))
    };
    with_extension(sources, "md")
        .filter_map(|source| {
            let dead: Vec<String> = named(source).into_iter().filter(|target| !exists(target)).collect();
            (!dead.is_empty()).then(|| (source.path.clone(), Fault { count: dead.len(), details: dead }))
        })
        .collect()
}

/// Of the manual and the decisions; READMEs are found by their folder.
fn orphans(sources: &[Source]) -> Faults {
    let linked: BTreeSet<String> = with_extension(sources, "md").flat_map(targets).collect();
    let pages = with_extension(sources, "md").filter(|source| {
        ["observer/docs/", "observer/decisions/"].iter().any(|folder| source.path.starts_with(folder))
            && !source.path.ends_with("/README.md")
            && !linked.contains(&source.path)
    });
    pages.map(|source| (source.path.clone(), Fault { count: 1, details: Vec::new() })).collect()
}

/// The files that a page's links name, as paths from the workspace's folder.
fn targets(source: &Source) -> Vec<String> {
    let texts = source.text.split("](").skip(1).filter_map(|rest| rest.split([')', ' ']).next());
    let relative = texts.filter(|target| !target.contains("://") && !target.starts_with(['#', '<']));
    let folder = Path::new(&source.path).parent().unwrap_or(Path::new(""));
    relative.map(|target| normal(&folder.join(target.split('#').next().unwrap_or_default()))).collect()
}

/// The path without `.` and `..`; one that leaves the workspace names no file of it.
fn normal(path: &Path) -> String {
    let mut parts = Vec::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => parts.push(name.to_string_lossy().into_owned()),
            Component::ParentDir if parts.pop().is_none() => return "..".to_owned(),
            _ => {}
        }
    }
    parts.join("/")
}

/// The file's fault with the numbers of the lines that break a rule.
fn by_line(source: &Source, mut breaks: impl FnMut(&str) -> bool) -> Option<(String, Fault)> {
    let numbers = source.text.lines().zip(1..).filter_map(|(line, number)| breaks(line).then_some(number));
    let details: Vec<String> = numbers.map(|number: usize| format!("{}:{number}", source.path)).collect();
    (!details.is_empty()).then(|| (source.path.clone(), Fault { count: details.len(), details }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(path: &str, text: impl Into<String>) -> Source {
        Source { path: path.to_owned(), text: text.into() }
    }

    /// What a rule finds in one file: its count, 0 for nothing.
    fn count(check: fn(&[Source]) -> Faults, path: &str, text: impl Into<String>) -> usize {
        check(&[source(path, text)]).into_values().map(|fault| fault.count).sum()
    }

    #[test]
    fn long_files_and_wide_lines_are_found() {
        assert_eq!(count(length, "a.rs", "x\n".repeat(LINES)), 0);
        assert_eq!(count(length, "a.rs", "x\n".repeat(LINES + 1)), 401);
        let wide = "é".repeat(COLUMNS - 3);
        assert_eq!(count(comments, "a.rs", format!("// {wide}\n    // {wide}\nlet x = \"{wide}{wide}\";")), 1);
        assert_eq!(count(pages, "a.md", format!("{wide}éééé\n| {wide}é |\n```\n{wide}éééé\n```\n{wide}éé éé\n")), 2);
    }

    #[test]
    fn names_that_two_types_share_are_found() {
        assert_eq!(named_type("    pub(in crate::a) struct Ab<'a> {"), Some("Ab"));
        assert_eq!(named_type("pub enum Cd;"), Some("Cd"));
        assert_eq!(named_type("pub fn struct_of() {"), None);
        assert_eq!(named_type("struct Private;"), None);
        assert_eq!(named_type("pub struct $name {"), None);
        let two =
            [source("observer/a/src/x.rs", "pub struct A;"), source("observer/b/src/x.rs", "pub(crate) enum A {}")];
        assert_eq!(types(&two).into_keys().collect::<Vec<_>>(), ["A"]);
        let mirror = [source("observer/src/x.rs", "pub struct A;"), source("observer/src/d/types.rs", "pub struct A;")];
        assert_eq!(types(&mirror), Faults::new());
    }

    #[test]
    fn allow_and_what_lies_outside_are_found() {
        assert_eq!(count(allows, "a.rs", "    #[allow(dead_code)]\n#[expect(dead_code, reason = \"x\")]"), 1);
        assert_eq!(count(outside, "a.md", concat!("see ..", "/shared/x and ../sharedness")), 1);
        assert_eq!(count(outside, "a.md", "the working set"), 0);
    }

    #[test]
    fn dead_links_and_pages_that_nobody_links_to_are_found() {
        let page = source(
            "observer/docs/a.md",
            "[x](../b.md#y) [u](https://z) [d](sub) [h](#here) [n](none.md) [o](../../..)",
        );
        let all = [page, source("observer/b.md", ""), source("observer/docs/sub/c.md", "[a](../a.md)")];
        assert_eq!(links(&all)["observer/docs/a.md"].details, ["observer/docs/none.md", ".."]);
        let named = source("a.md", "`tests/x` `tests/none` `observer/docs/sub/` `tests/NAME.rs` `x/y` tests/none");
        assert_eq!(places(&[named, source("tests/x/y.rs", ""), source("observer/docs/sub/c.md", "")])["a.md"].count, 1);
        assert_eq!(orphans(&all).into_keys().collect::<Vec<_>>(), ["observer/docs/sub/c.md"]);
    }
}
