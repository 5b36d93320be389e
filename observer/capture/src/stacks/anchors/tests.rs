use super::super::*;
use crate::elf::ElfBudget;

fn cpu() -> u64 {
    0
}

#[test]
#[ignore = "by hand"]
#[expect(clippy::disallowed_methods, reason = "recorded builds are files")]
fn look_at() {
    let paths = std::env::var("LLM_OBSERVER_LOOK_AT").expect("paths");
    for path in paths.split(':') {
        let began = std::time::Instant::now();
        let image = ElfImage::read(std::fs::File::open(path).expect("a file"), &symbols(), &ElfBudget::new(cpu))
            .expect("readable")
            .expect("ELF");
        let read = began.elapsed();
        println!("{path}: {read:?}");
        match recognise(&image, &ElfBudget::new(cpu)) {
            Err(doubt) => println!("   {doubt:?}"),
            Ok(found) => {
                for (stack, layout) in found {
                    println!("   {} {:?}", stack.name(), layout.certainty);
                    for f in &layout.functions {
                        println!("      {} va {:#x} off {:#x?}", f.name, f.address, image.file_offset(f.address));
                    }
                }
            }
        }
        println!("   took {:?}", began.elapsed());
    }
}
