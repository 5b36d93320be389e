//! The finder on recorded builds: what it looks at in them, in `tests/vectors/rustls/`.
//!
//! A file is lines of `code ADDRESS HEX`, `data ADDRESS HEX`, `text ADDRESS HEX`, `pointer SLOT VALUE` and
//! `expect …`; the test makes an ELF file of them. To record a build:
//! `LLM_OBSERVER_RECORD=/path/program:name cargo test -p capture --lib record_a_rustls -- --ignored`.

#![expect(clippy::string_slice, reason = "hexadecimal digits")]
#![expect(clippy::disallowed_methods, reason = "recorded builds are files")]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::*;
use crate::elf::{ElfBudget, RandomAccess};
use crate::stacks::{recognise, symbols};

const BUDGET: ElfBudget = ElfBudget::new(|| 0);

fn image(file: impl RandomAccess + 'static) -> ElfImage {
    ElfImage::read(file, &symbols(), &BUDGET).expect("within the budget").expect("an ELF file")
}

/// What the stack says of a file.
fn told(image: &ElfImage) -> Result<Option<StackLayout>, AmbiguousStack> {
    let budget = BUDGET;
    let mut survey = image.survey(&budget).expect("within the budget").expect("it is open");
    Rustls.survey(&mut survey)
}

fn described(image: &ElfImage) -> Vec<String> {
    let layout = match told(image) {
        Ok(Some(layout)) => layout,
        Ok(None) => return vec!["expect nothing".into()],
        Err(doubt) => return vec![format!("expect {} {}", doubt.reason.name(), doubt.detail)],
    };
    let line = |function: &LocatedFunction| {
        let skip = places::skip(image, function.address, PlacementStrategy::Auto);
        format!("expect {:#x} +{} {}", function.address, skip.bytes, function.name)
    };
    layout.functions.iter().map(line).collect()
}

#[test]
#[ignore = "tells what is found in a program: LLM_OBSERVER_RECORD=path"]
fn look_at_a_rustls() {
    let path = std::env::var("LLM_OBSERVER_RECORD").expect("LLM_OBSERVER_RECORD=path");
    let image = image(std::fs::File::open(path).expect("a file"));
    let began = std::time::Instant::now();
    let lines = described(&image);
    println!("{:?}\n{}", began.elapsed(), lines.join("\n"));
    let budget = BUDGET;
    let began = std::time::Instant::now();
    let mut survey = image.survey(&budget).expect("within the budget").expect("it is open");
    let markers = markers::find(&mut survey);
    println!("markers {:?} {markers:?}", began.elapsed());
    let began = std::time::Instant::now();
    let pairs = vtables::find(&mut survey).expect("no doubt");
    println!("pairs {:?}", began.elapsed());
    for pair in pairs {
        println!("{:#x} {:#x} {} {}", pair.encrypt, pair.decrypt, pair.reads_chunks, String::from_utf8_lossy(&pair.source));
    }
    if let Ok(Some(layout)) = told(&image) {
        println!("{:#x?}", Rustls.plan(&image, &layout, PlacementStrategy::Auto));
    }
}
