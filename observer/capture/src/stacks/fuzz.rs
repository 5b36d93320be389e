//! For fuzzing: a file of any bytes, as a stranger would make it.

use super::{CallExit, PlacementStrategy, RecognisedStacks, TlsStack, hidden, named, symbols};
use crate::elf::{ElfBudget, ElfImage, ElfReadCost, ElfRefusal, RandomAccess, fingerprint};

/// Small, so that a small input can be over it.
const BUDGET: ElfBudget = ElfBudget {
    bytes: 1 << 20,
    sections: 256,
    strings: 1 << 16,
    names: 512,
    symbols: 4096,
    relocations: 4096,
    cpu_ns: 1,
    cpu: || 0,
};

/// Reads the input as a file and places its probes. Nothing panics or costs more than the budget,
/// what it says of the file is the same however the system hands the bytes out, and probes lie
/// where the file has code. A file that shrinks in the midst of it is survived.
pub fn fuzz(data: &[u8]) {
    let whole = read(data.to_vec());
    within(&whole);
    let in_pieces = read(Pieces { bytes: data.to_vec(), most: 1 + data.len() % 61 });
    assert_eq!(said(&whole), said(&in_pieces));
    let cut = data.get(..data.len() / 2).unwrap_or_default();
    within(&read(cut.to_vec()));
    let Ok(Some(image)) = whole else { return };
    for (stack, layout) in all(&image) {
        for strategy in [PlacementStrategy::Auto, PlacementStrategy::Symbol] {
            let plan = stack.plan(&image, &layout, strategy);
            assert!(plan.probes.len() <= layout.functions.len());
            let points =
                plan.probes.iter().flat_map(|probe| probe.entry.iter().chain(probe.exit.as_ref().map(CallExit::point)));
            let points: Vec<_> = points.collect();
            assert!(points.iter().all(|point| stack.programs().contains(&point.program)), "only what it says it needs");
            let offsets: Vec<u64> = points.iter().flat_map(|point| point.offsets.iter().copied()).collect();
            let print = fingerprint(&data, &offsets);
            assert!(print.is_ok_and(|print| fingerprint(&data, &offsets).is_ok_and(|again| again == print)));
        }
    }
}

/// What its symbols name, and what is found by looking through it: small as it is, and though its symbols tell.
fn all(image: &ElfImage) -> RecognisedStacks {
    [named(image).unwrap_or_default(), hidden(image, &BUDGET).unwrap_or_default()].concat()
}

fn read<B: RandomAccess + 'static>(file: B) -> Result<Option<ElfImage>, ElfRefusal> {
    ElfImage::read(file, &symbols(), &BUDGET)
}

fn within(read: &Result<Option<ElfImage>, ElfRefusal>) {
    let spent = match read {
        Ok(Some(image)) => image.spent,
        Ok(None) => ElfReadCost::default(),
        Err(refusal) => refusal.spent,
    };
    assert!(spent.bytes <= BUDGET.bytes && spent.sections <= BUDGET.sections && spent.symbols <= BUDGET.symbols);
    assert!(spent.names <= 2 * BUDGET.names + 1 && spent.relocations <= BUDGET.relocations);
}

/// What must not depend on how the bytes come.
fn said(read: &Result<Option<ElfImage>, ElfRefusal>) -> String {
    match read {
        Ok(None) => "no ELF file".into(),
        Err(refusal) => refusal.to_string(),
        Ok(Some(image)) => {
            let mut functions: Vec<_> = image.functions.iter().collect();
            functions.sort_unstable_by_key(|(name, _)| **name);
            let plan =
                |(stack, layout): &(&'static dyn TlsStack, _)| stack.plan(image, layout, PlacementStrategy::Auto);
            let plans = [named(image), hidden(image, &BUDGET)]
                .map(|recognised| recognised.map(|recognised| recognised.iter().map(plan).collect::<Vec<_>>()));
            format!("{functions:?} {plans:?} {:?} {:?}", image.build_id, image.marks)
        }
    }
}

/// Hands out a few bytes at a time, as a slow file system may.
#[derive(Debug)]
struct Pieces {
    bytes: Vec<u8>,
    most: usize,
}

impl RandomAccess for Pieces {
    fn read_at(&self, into: &mut [u8], offset: u64) -> std::io::Result<usize> {
        let len = into.len().min(self.most);
        self.bytes.read_at(into.get_mut(..len).unwrap_or_default(), offset)
    }
}
