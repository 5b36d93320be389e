use std::collections::HashMap;
use std::fs::File;

use super::builder::Builder;
use super::*;

const BUDGET: ElfBudget = ElfBudget::new(|| 0);

/// This very program: a real one that can be loaded anywhere.
fn own() -> File {
    File::open("/proc/self/exe").expect("it runs")
}

extern "C" fn known() {}

/// Its slot is one that the loader fills in.
static POINTER: extern "C" fn() = known;

#[test]
fn a_real_program_is_read_by_address() {
    let (file, budget) = (own(), BUDGET);
    let mut survey = FileSurvey::open(&file, &budget).expect("within the budget").expect("an ELF file");
    assert!(!survey.is_fixed() && survey.mapped() > 1 << 20);
    let text = survey.section(".text").expect("it has one");
    assert!(text.executable && !text.writable && survey.is_code(text.address));
    assert_eq!(survey.section(".no such section"), None);
    // In windows or in one go, the same bytes.
    let whole = survey.read(text.address, 600 << 10).expect("within the budget");
    let mut seen = vec![0; whole.len()];
    let (from, overlap, mut last) = (text.address, 40, 0);
    survey
        .windows(from, whole.len() as u64, overlap, |address, window| {
            assert!(address == from || window.len() > overlap, "the overlap and more");
            let at = usize::try_from(address - from).expect("small");
            assert!(at == 0 || at + overlap == last, "each begins within the one before");
            last = at + window.len();
            seen.get_mut(at..last).expect("no more than was asked for").copy_from_slice(window);
            Ok(())
        })
        .expect("within the budget");
    assert!(last == whole.len() && seen == whole);
    let beyond = survey.segments().map(|segment| segment.addresses().end).max().expect("segments") + (1 << 30);
    assert_eq!(survey.read(beyond, 8).expect("nothing to read"), Vec::<u8>::new());
}

#[test]
fn the_loaders_pointers_are_told_as_it_fills_them_in() {
    let (file, budget) = (own(), BUDGET);
    let mut survey = FileSurvey::open(&file, &budget).expect("within the budget").expect("an ELF file");
    let mut pointers = HashMap::new();
    survey
        .pointers(|slot, value| {
            pointers.insert(slot, value);
            Ok(())
        })
        .expect("within the budget");
    let slot = std::ptr::from_ref(&POINTER) as u64;
    let code = POINTER as usize as u64;
    // Where this runs and where the file has it differ by the same for all addresses.
    let there = pointers
        .iter()
        .any(|(at, value)| slot.wrapping_sub(*at) == code.wrapping_sub(*value) && slot % 4096 == at % 4096);
    assert!(there, "{} pointers", pointers.len());
    assert!(pointers.values().filter(|value| survey.is_code(**value)).count() > 100);
}

/// A file with one writable segment at 0x10000 that has the given words, RELR in front of them.
fn packed(table: &[u64], words: &[u64]) -> Vec<u8> {
    let data: Vec<u8> = table.iter().chain(words).flat_map(|word| word.to_le_bytes()).collect();
    let dynamic = [(36u64, ADDRESS), (35, table.len() as u64 * 8), (0, 0)];
    let dynamic: Vec<u8> =
        dynamic.iter().flat_map(|(tag, value)| [tag.to_le_bytes(), value.to_le_bytes()].concat()).collect();
    let mut builder = Builder::default().part(".data", 1, 0, data.clone()).part(".dynamic", 6, 0, dynamic.clone());
    builder.segments = vec![(1, 6, ADDRESS, 0, 0), (2, 6, 0, 0, 0)];
    let built = builder.build();
    let at = |name: &str| built.offsets[name] as u64;
    builder.segments =
        vec![(1, 6, ADDRESS, at(".data"), data.len() as u64), (2, 6, 0, at(".dynamic"), dynamic.len() as u64)];
    builder.build().bytes
}

const ADDRESS: u64 = 0x10000;

fn pointers(file: &[u8]) -> Result<Vec<(u64, u64)>, ElfRefusal> {
    let budget = BUDGET;
    let mut survey = FileSurvey::open(&file, &budget)?.expect("an ELF file");
    let mut found = Vec::new();
    survey.pointers(|slot, value| {
        found.push((slot, value));
        Ok(())
    })?;
    Ok(found)
}

#[test]
fn packed_pointers_are_addresses_and_bitmaps() {
    let first = ADDRESS + 16;
    let words = [0xa, 0xb, 0xc, 0xd];
    assert_eq!(
        pointers(&packed(&[first, 0b1011], &words)).expect("within the budget"),
        [(first, 0xa), (first + 8, 0xb), (first + 24, 0xd)]
    );
}

#[test]
fn absurd_pointers_are_survived() {
    // Slots outside of the file, at the end of all addresses, and bitmaps without a slot before them.
    for table in [[u64::MAX - 1, u64::MAX], [1, u64::MAX], [0, 0], [ADDRESS + 12, u64::MAX]] {
        let _ = pointers(&packed(&table, &[1, 2, 3]));
    }
}
