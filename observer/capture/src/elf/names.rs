//! Finds names in a string table: one search over its bytes, and no walk over 100,000 symbols where
//! there is nothing to find.

use memchr::memmem::Finder;

use super::budget::{ElfRefusal, ElfRefusalReason, KEPT};
use super::reader::{ElfReader, TableExtent, cut_short};

/// Names that are looked for, and what all of them begin with.
#[derive(Clone, Debug, Default)]
pub struct SymbolNames {
    pub prefix: &'static [u8],
    /// Each shorter than `LONGEST`.
    pub names: Vec<&'static str>,
}

/// Longer than any wanted name with its NUL.
const LONGEST: usize = 32;

/// Where names stand in a string table, in order.
#[derive(Debug, Default)]
pub(super) struct NameOffsets(Vec<(u32, &'static str)>);

impl NameOffsets {
    /// The name that stands at an offset.
    pub(super) fn get(&self, at: u32) -> Option<&'static str> {
        let index = self.0.binary_search_by_key(&at, |(at, _)| *at).ok()?;
        self.0.get(index).map(|(_, name)| *name)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Finds each place where a wanted name stands with its NUL. Linkers merge tails, so a name need
/// not follow a NUL.
pub(super) fn find(
    reader: &mut ElfReader<'_>,
    strings: TableExtent,
    wanted: &[SymbolNames],
) -> Result<NameOffsets, ElfRefusal> {
    let budget = reader.budget();
    if strings.len > budget.strings {
        let detail = format!("it claims a string table of {} bytes; {} are searched", strings.len, budget.strings);
        return Err(ElfRefusal::new(ElfRefusalReason::StringsTooLarge, detail));
    }
    let finders: Vec<_> = wanted.iter().map(|names| (Finder::new(names.prefix), &names.names)).collect();
    let (mut places, mut names, mut base) = (NameOffsets::default(), reader.spent.names, 0u64);
    let read = reader.windows(strings, LONGEST, |window, last| {
        // What stands at the very end may go on in the next window.
        let settled = if last { window.len() } else { window.len().saturating_sub(LONGEST) };
        for (finder, wanted) in &finders {
            for at in finder.find_iter(window).take_while(|at| *at < settled) {
                names += 1;
                if names > budget.names || places.0.len() == KEPT {
                    return Err(too_many(names, budget.names));
                }
                if let Some(name) = whole_name(window.get(at..).unwrap_or_default(), wanted)
                    && let Ok(at) = u32::try_from(base + at as u64)
                {
                    places.0.push((at, name));
                }
            }
        }
        base += settled as u64;
        Ok(settled)
    });
    reader.spent.names = names;
    if read? < strings.len {
        return Err(cut_short("string table"));
    }
    // One prefix was searched after the other.
    places.0.sort_unstable();
    Ok(places)
}

fn too_many(names: u64, limit: u64) -> ElfRefusal {
    let (over, what) = if names > limit { (limit, "strings like") } else { (KEPT as u64, "copies of") };
    ElfRefusal::new(
        ElfRefusalReason::TooManyNames,
        format!("it has over {over} {what} the few names that are looked for"),
    )
}

fn whole_name(text: &[u8], wanted: &[&'static str]) -> Option<&'static str> {
    let ends = |name: &str| text.strip_prefix(name.as_bytes()).is_some_and(|rest| rest.first() == Some(&0));
    wanted.iter().copied().find(|name| ends(name))
}

#[cfg(test)]
mod tests {
    use super::super::budget::ElfBudget;
    use super::*;
    use crate::stacks;

    fn wanted() -> Vec<SymbolNames> {
        stacks::symbols()
    }

    fn found(strings: &[u8]) -> Vec<(u32, &'static str)> {
        let budget = ElfBudget::new(|| 0);
        let mut reader = ElfReader::new(&strings, &budget);
        find(&mut reader, TableExtent { offset: 0, len: strings.len() as u64 }, &wanted()).expect("within the budget").0
    }

    #[test]
    fn every_function_can_be_found() {
        for SymbolNames { prefix, names } in wanted() {
            for name in names {
                assert!(name.as_bytes().starts_with(prefix) && name.len() + 1 < LONGEST);
                // A name may end in another one, whose symbol the linker lets begin there: `wolfSSL_new`.
                assert!(found(format!("\0{name}\0").as_bytes()).contains(&(1, name)), "{name}");
            }
        }
    }

    #[test]
    fn names_of_several_stacks_are_found_in_one_pass_and_in_order() {
        let of = |prefix, names: &[&'static str]| SymbolNames { prefix, names: names.to_vec() };
        let wanted = [of(b"SSL_", &["SSL_read"]), of(b"gnutls_", &["gnutls_record_recv", "gnutls_init"])];
        let strings = b"\0gnutls_init\0SSL_read\0gnutls_record_recv\0".as_slice();
        let budget = ElfBudget::new(|| 0);
        let mut reader = ElfReader::new(&strings, &budget);
        let places =
            find(&mut reader, TableExtent { offset: 0, len: strings.len() as u64 }, &wanted).expect("within it");
        assert_eq!(places.0, [(1, "gnutls_init"), (13, "SSL_read"), (22, "gnutls_record_recv")]);
        assert_eq!((places.get(13), places.get(14)), (Some("SSL_read"), None));
    }

    #[test]
    fn names_are_found_as_tails_of_others_and_not_as_their_heads() {
        assert_eq!(found(b"\0BIO_SSL_read\0SSL_read_early\0SSL_read"), [(5, "SSL_read")]);
    }

    #[test]
    fn names_across_windows_are_found_once_wherever_they_lie() {
        for shift in 0..40 {
            let mut strings = vec![b'x'; (256 << 10) - 20 + shift];
            strings.extend_from_slice(b"SSL_write_ex2\0");
            let at = u32::try_from(strings.len() - 14).expect("small");
            assert_eq!(found(&strings), [(at, "SSL_write_ex2")], "{shift}");
            strings.extend_from_slice(&vec![b'y'; 600 << 10]);
            assert_eq!(found(&strings), [(at, "SSL_write_ex2")], "{shift}, more behind");
        }
    }
}
