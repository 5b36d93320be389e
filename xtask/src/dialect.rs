//! `cargo xtask new-dialect NAME`: a dialect from the living template, which is compiled and tested
//! with the others: its folder, its vectors, a fuzz target with a seed, and a line in each table.
//! What comes out builds and passes its tests; what is particular to the API is then changed in it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

const SOURCE: &str = "observer/dialects/src/template";
const VECTORS: &str = "tests/vectors/template";

/// Files by their place in the repository.
type Files = BTreeMap<PathBuf, Vec<u8>>;

/// A line that goes into a file.
struct Line {
    file: &'static str,
    /// It goes before the first line that is this (or, with `end`, into the list that such a line begins, at its end).
    anchor: &'static str,
    end: Option<&'static str>,
    text: fn(&str) -> String,
}

/// The tables that name each dialect.
const LINES: &[Line] = &[
    Line {
        file: "observer/dialects/src/lib.rs",
        anchor: "mod error;",
        end: None,
        text: |name| format!("pub mod {name};"),
    },
    Line {
        file: "observer/dialects/src/table.rs",
        anchor: "pub static DIALECTS: &[&DialectRow] = &[",
        end: Some("];"),
        text: |name| format!("    &super::{name}::ROW,"),
    },
    Line {
        file: "observer/dialects/src/exchange.rs",
        anchor: "            anthropic_messages::fuzz(&data);",
        end: None,
        text: |name| format!("            crate::{name}::fuzz(&data);"),
    },
    Line {
        file: "observer/tests/cases/corpus.rs",
        anchor: "const TARGETS: &[(&str, Fuzz)] = &[",
        end: Some("];"),
        text: |name| format!("    (\"{name}\", dialects::{name}::fuzz),"),
    },
];

/// Text made of the dialect's name.
type Text = fn(&str) -> String;

/// What is put at the end of a file.
const ENDS: &[(&str, Text)] = &[("tests/fuzz/Cargo.toml", |name| {
    format!(
        "\n[[bin]]\nname = \"{name}\"\npath = \"fuzz_targets/{name}.rs\"\ntest = false\ndoc = false\nbench = false\n"
    )
})];

pub(crate) fn run(name: &str) -> Result<()> {
    let root = &crate::test::root();
    let files = make(root, name)?;
    for (path, bytes) in &files {
        let path = root.join(path);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        }
        fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
    }
    println!("{} files written or changed. Next:", files.len());
    println!("  cargo fmt --all && cargo test -p dialects --test golden golden::{name}::   # passes now");
    println!("  observer/dialects/src/{name}/      what the API's events say; whose paths are its own");
    println!("  tests/vectors/{name}/             its bytes, and by hand what must come out; then the README there");
    println!("  observer/dialects/README.md    the rules that are easy to break, and the order to work in");
    Ok(())
}

/// All files that a new dialect writes or changes.
fn make(root: &Path, name: &str) -> Result<Files> {
    check(root, name)?;
    let mut files = Files::new();
    for (from, to) in [(SOURCE, format!("observer/dialects/src/{name}")), (VECTORS, format!("tests/vectors/{name}"))] {
        copy(&root.join(from), Path::new(&to), name, &mut files)?;
    }
    let target = format!("#![no_main]\n\nlibfuzzer_sys::fuzz_target!(|data: &[u8]| dialects::{name}::fuzz(data));\n");
    files.insert(format!("tests/fuzz/fuzz_targets/{name}.rs").into(), target.into());
    // The first byte says that events follow, one a line.
    let seed = b"\x08{\"type\":\"delta\",\"id\":\"a\",\"delta\":{\"text\":\"x\"}}\n{\"type\":\"end\"}";
    files.insert(format!("tests/fuzz/corpus/{name}/events").into(), seed.to_vec());
    for line in LINES {
        let text = read(root, line.file)?;
        let text = line.insert(&text, name).with_context(|| format!("{}: no line is `{}`", line.file, line.anchor))?;
        files.insert(line.file.into(), text.into());
    }
    for (file, end) in ENDS {
        files.insert((*file).into(), (read(root, file)? + &end(name)).into());
    }
    Ok(files)
}

fn check(root: &Path, name: &str) -> Result<()> {
    let word = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    ensure!(
        word && name != "template",
        "`{name}` cannot be a module: use small letters, digits and `_`, as in `acme_chat`"
    );
    for folder in ["observer/dialects/src", "tests/vectors"] {
        let (folder, file) = (root.join(folder).join(name), root.join(folder).join(format!("{name}.rs")));
        if folder.exists() || file.exists() {
            bail!("there is a {} already", folder.display());
        }
    }
    Ok(())
}

/// Copies a folder under its new name, the template's name in names and texts replaced.
fn copy(from: &Path, to: &Path, name: &str, files: &mut Files) -> Result<()> {
    for entry in fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target, name, files)?;
        } else {
            files.insert(target, renamed(&fs::read(entry.path())?, name));
        }
    }
    Ok(())
}

/// `template` becomes `NAME`, `Template` becomes `Name`; all else stays, in text and in recorded bytes alike.
fn renamed(bytes: &[u8], name: &str) -> Vec<u8> {
    let camel: String = name
        .split('_')
        .flat_map(|word| {
            let (first, rest) = word.split_at(word.len().min(1));
            [first.to_uppercase(), rest.to_owned()]
        })
        .collect();
    // Host and path of the recorded requests are of no length that is written elsewhere.
    let (mut out, mut rest) = (Vec::with_capacity(bytes.len()), bytes);
    while let Some((&byte, tail)) = rest.split_first() {
        if let Some(after) = rest.strip_prefix(b"template") {
            out.extend_from_slice(name.as_bytes());
            rest = after;
        } else if let Some(after) = rest.strip_prefix(b"Template") {
            out.extend_from_slice(camel.as_bytes());
            rest = after;
        } else {
            out.push(byte);
            rest = tail;
        }
    }
    out
}

impl Line {
    /// The file with the line in its place; `None` if that is not there.
    fn insert(&self, text: &str, name: &str) -> Option<String> {
        let lines: Vec<&str> = text.lines().collect();
        let anchor = lines.iter().position(|line| *line == self.anchor)?;
        let at = match self.end {
            Some(end) => anchor + lines.iter().skip(anchor).position(|line| *line == end)?,
            None => anchor,
        };
        let (before, after) = lines.split_at_checked(at)?;
        let line = (self.text)(name);
        let all = before.iter().copied().chain([line.as_str()]).chain(after.iter().copied());
        Some(all.flat_map(|line| [line, "\n"]).collect())
    }
}

fn read(root: &Path, file: &str) -> Result<String> {
    fs::read_to_string(root.join(file)).with_context(|| format!("cannot read {file}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_gets_its_line() {
        let files = make(&crate::test::root(), "acme_chat_v2").unwrap();
        let text = |path: &str| String::from_utf8(files[Path::new(path)].clone()).unwrap();
        for (path, line) in [
            ("observer/dialects/src/lib.rs", "pub mod acme_chat_v2;"),
            ("observer/dialects/src/table.rs", "    &super::acme_chat_v2::ROW,"),
            ("observer/dialects/src/exchange.rs", "            crate::acme_chat_v2::fuzz(&data);"),
            ("observer/tests/cases/corpus.rs", "    (\"acme_chat_v2\", dialects::acme_chat_v2::fuzz),"),
            ("tests/fuzz/Cargo.toml", "name = \"acme_chat_v2\""),
        ] {
            let old = read(&crate::test::root(), path).unwrap();
            assert_eq!(text(path).lines().filter(|found| *found == line).count(), 1, "{path}: {line}");
            assert!(text(path).len() > old.len() && !old.contains("acme_chat_v2"), "{path}");
        }
        assert!(files.contains_key(Path::new("tests/fuzz/fuzz_targets/acme_chat_v2.rs")));
    }

    #[test]
    fn nothing_of_the_template_is_left() {
        let files = make(&crate::test::root(), "acme").unwrap();
        let own = files.iter().filter(|(path, _)| path.components().any(|part| part.as_os_str() == "acme"));
        let mut cases = 0;
        for (path, bytes) in own {
            let text = String::from_utf8_lossy(bytes).to_lowercase();
            assert!(!text.contains("template"), "{}", path.display());
            cases += usize::from(path.ends_with("expect.jsonl"));
        }
        assert!(cases >= 12, "{cases} vectors");
        let module = String::from_utf8_lossy(&files[Path::new("observer/dialects/src/acme/mod.rs")]).into_owned();
        assert!(module.contains("api: \"acme.chat\"") && module.contains("pub struct Acme {"));
    }

    #[test]
    fn names_that_cannot_be_are_refused() {
        for name in ["", "Acme", "a-b", "9a", "template", "gemini", "error", "a/b", "../x"] {
            assert!(make(&crate::test::root(), name).is_err(), "{name}");
        }
    }

    #[test]
    fn names_of_types_are_in_camel_case() {
        let renamed = |name| String::from_utf8(renamed(b"Template template_x", name)).unwrap();
        assert_eq!(renamed("acme_chat_v2"), "AcmeChatV2 acme_chat_v2_x");
        assert_eq!(renamed("x"), "X x_x");
    }
}
