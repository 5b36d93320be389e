use super::*;

#[test]
fn real_programs() {
    for path in std::env::var("GO_BINS").unwrap_or_default().split(':').filter(|p| !p.is_empty()) {
        let file = std::fs::File::open(path).expect(path);
        let budget = crate::elf::ElfBudget::new(|| 0);
        let began = std::time::Instant::now();
        let image = ElfImage::read(file, &super::super::symbols(), &budget).expect(path).expect(path);
        let read = began.elapsed();
        let found = super::super::recognise(&image, &budget);
        let took = began.elapsed();
        match found {
            Ok(found) => {
                println!("{path}: {} stacks, read {read:?} all {took:?}", found.len());
                for (stack, layout) in found {
                    println!("{layout:x?}");
                    for probe in stack.plan(&image, &layout, PlacementStrategy::Auto).probes {
                        println!("  {} {} {:x?} {:x?}", probe.function, probe.placement, probe.entry.map(|e| e.offsets), probe.exit.map(|e| e.point().offsets.clone()));
                    }
                }
            }
            Err(doubt) => println!("{path}: {} {}", doubt.reason.name(), doubt.detail),
        }
    }
}
