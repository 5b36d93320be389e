mod file;

use self::file::{APART, GoFile, LARGE, OF_1_16, READ, SMALL, TEXT, WRITE};
use super::code::CallPlaces;
use super::*;
use crate::elf::{ElfBudget, ElfRefusalReason, RandomAccess};

const BUDGET: ElfBudget = ElfBudget::new(|| 0);

fn surveyed_within(bytes: &dyn RandomAccess, budget: &ElfBudget) -> Result<Option<StackLayout>, AmbiguousStack> {
    let mut survey = FileSurvey::open(bytes, budget)?.expect("an ELF file");
    GoTls.survey(&mut survey)
}

fn surveyed(file: &GoFile) -> Result<Option<StackLayout>, AmbiguousStack> {
    surveyed_within(&file.build(), &BUDGET)
}

/// The label of the reason why a file is refused, and the sentence.
fn refused(file: &GoFile) -> (&'static str, String) {
    let doubt = surveyed(file).expect_err("a refusal");
    (doubt.reason.name(), doubt.detail)
}

fn assert_found(file: &GoFile) {
    let layout = surveyed(file).expect("no doubt").expect("it is there");
    let found: Vec<_> = layout.functions.iter().map(|function| (function.name, function.address)).collect();
    let names = ["crypto/tls.(*Conn).clientHandshake", WRITE, READ, "crypto/tls.(*Conn).Close"];
    assert_eq!(found, names.map(|name| (name, TEXT + file.entry(name))));
    assert!(layout.functions.iter().all(|function| function.size == APART));
}

#[test]
fn functions_are_found_wherever_the_table_is_and_whatever_says_where_the_code_begins() {
    assert_found(&GoFile::new());
    assert_found(&GoFile { text_in_header: true, module: false, ..GoFile::new() });
    assert_found(&GoFile { magic: 0xffff_fff0, text_in_header: true, ..GoFile::new() });
    assert_found(&GoFile { magic: 0xffff_fffa, module: false, ..GoFile::new() });
    assert_found(&GoFile { sections: false, ..GoFile::new() });
    assert_found(&GoFile { sections: false, text_in_header: true, module: false, ..GoFile::new() });
    assert_found(&GoFile { relocated: true, ..GoFile::new() });
    assert_found(&GoFile { relocated: true, sections: false, ..GoFile::new() });
    assert_found(&GoFile { relocated: true, text_in_header: true, module: false, ..GoFile::new() });
}

/// Names stand in the order of the functions, but for those that were inlined before.
#[test]
fn functions_whose_names_are_out_of_order_are_found() {
    for first in [READ, WRITE] {
        assert_found(&GoFile { named_first: Some(first), ..GoFile::new() });
        assert_found(&GoFile { named_first: Some(first), magic: 0xffff_fffa, module: false, ..GoFile::new() });
    }
}

#[test]
fn what_is_no_go_program_or_makes_no_connections_is_none() {
    let file = GoFile { magic: 0xffff_fff7, ..GoFile::new() };
    assert_eq!(surveyed(&file), Ok(None));
    for name in [READ, WRITE] {
        let mut file = GoFile::new();
        file.functions.retain(|(one, _)| *one != name);
        assert_eq!(surveyed(&file), Ok(None), "without {name}");
    }
}

#[test]
fn programs_of_old_versions_are_refused_and_told_so() {
    let (reason, detail) = refused(&GoFile { magic: 0xffff_fffb, ..GoFile::new() });
    assert_eq!(reason, "go_before_1_17");
    assert!(detail.contains("Go 1.15 or older"), "{detail}");
    let (reason, detail) = refused(&GoFile { magic: 0xffff_fffa, ..GoFile::new() }.with(READ, OF_1_16));
    assert_eq!(reason, "go_before_1_17");
    assert!(detail.contains("arguments on the stack"), "{detail}");
}

#[test]
fn what_is_in_doubt_is_refused_with_its_reason() {
    let mut twice = GoFile::new();
    twice.functions.push((READ, SMALL.to_vec()));
    let many = [&[0xc3; 65][..], SMALL].concat();
    let many = [&SMALL[..6], &many].concat();
    let cases = [
        (twice, "two functions are called"),
        (GoFile::new().with(READ, &[0x55, 0xc3]), "does not begin with a stack check"),
        (GoFile::new().with(WRITE, &many), "too many"),
        (GoFile::new().with(WRITE, &[&LARGE[..15], &[0x06, 0xc3]].concat()), "not made of instructions"),
        (GoFile { module: false, ..GoFile::new() }, "where its code begins"),
        (GoFile { module: false, sections: false, ..GoFile::new() }, "where its code begins"),
    ];
    for (file, said) in cases {
        let (reason, detail) = refused(&file);
        assert_eq!(reason, "go_crypto_tls", "{detail}");
        assert!(detail.contains(said), "{detail}, not {said}");
    }
}

/// Whatever of the description does not agree with the table, it is not of this table.
#[test]
fn a_description_that_does_not_agree_is_not_believed() {
    for index in [0, 1, 13, 16, 17, 20, 21, 22, 23] {
        for value in [0, 1, 0x40_1010, u64::MAX] {
            let file = GoFile { described: vec![(index, value)], ..GoFile::new() };
            let found = surveyed(&file);
            // Of the code's end it is known where it is not: within a function.
            assert!(found.is_err() || (index, value) == (23, u64::MAX), "{index} {value:x}: {found:?}");
        }
    }
}

/// Absurd counts and places, alone and together; a file that ends anywhere.
#[test]
fn hostile_tables_are_survived_within_the_budget() {
    let values = [0, 1, 7, 79, 0x100, 0xffff, 1 << 20, 1 << 21, (1 << 21) + 1, 1 << 32, u64::MAX >> 1, u64::MAX];
    for text_in_header in [false, true] {
        for index in 1..9 {
            for value in values {
                let file = GoFile { header: vec![(index, value)], text_in_header, ..GoFile::new() };
                drop(surveyed(&file));
                drop(surveyed(&GoFile { sections: false, ..file }));
            }
        }
    }
    let whole = GoFile { relocated: true, ..GoFile::new() }.build();
    for len in 64..whole.len() {
        let cut = whole.get(..len).expect("shorter").to_vec();
        drop(surveyed_within(&cut, &BUDGET));
    }
}

#[test]
fn a_table_that_is_too_large_to_read_is_refused_by_name() {
    let over = |bytes| {
        let budget = ElfBudget { bytes, ..BUDGET };
        surveyed_within(&GoFile::new().build(), &budget).err().map(|doubt| doubt.reason)
    };
    let refusals: Vec<_> = (800..2_000).step_by(20).filter_map(over).collect();
    assert!(refusals.len() > 10 && over(4_000).is_none());
    assert!(refusals.iter().all(|reason| *reason == UnseenReason::Elf(ElfRefusalReason::TooManyBytes)));
}

/// Records that claim to be a wanted function's, more than any file has.
#[test]
fn a_table_full_of_one_name_is_refused() {
    let mut file = GoFile::new();
    file.functions.extend((0..300).map(|_| (READ, SMALL.to_vec())));
    assert!(matches!(surveyed(&file), Err(doubt) if doubt.reason == UnseenReason::GoCryptoTls));
}

#[test]
fn probes_are_on_the_stack_checks_jump_and_on_every_return() {
    let file = GoFile::new();
    let image = ElfImage::read(file.build(), &[], &BUDGET).expect("within the budget").expect("an ELF file");
    let layout = surveyed(&file).expect("no doubt").expect("it is there");
    let offset = |name: &str, into: u64| image.file_offset(TEXT + file.entry(name) + into).expect("code");
    let plan = GoTls.plan(&image, &layout, PlacementStrategy::Auto);
    let told: Vec<_> = plan
        .probes
        .iter()
        .map(|probe| {
            let entry = probe.entry.clone().expect("an entry");
            let exit = probe.exit.as_ref().map(|exit| exit.point().clone());
            (entry.program, entry.offsets, exit.map(|exit| (exit.program, exit.offsets)))
        })
        .collect();
    let handshake = "crypto/tls.(*Conn).clientHandshake";
    let expected = [
        ("go_tls_handshake", vec![offset(handshake, 9)], None),
        ("go_tls_write", vec![offset(WRITE, 9)], Some(("go_tls_write_returns", vec![offset(WRITE, 15)]))),
        ("go_tls_read", vec![offset(READ, 4)], Some(("go_tls_read_returns", vec![offset(READ, 11), offset(READ, 13)]))),
        ("go_tls_close", vec![offset("crypto/tls.(*Conn).Close", 4)], None),
    ];
    assert_eq!(told, expected);
    assert!(plan.probes.iter().all(|probe| !matches!(probe.exit, Some(CallExit::ReturnProbe(_)))), "Go moves stacks");
    let absent: Vec<_> =
        plan.rows.iter().filter(|row| row.served == CallCoverage::Absent).map(|row| row.probe).collect();
    assert_eq!(absent, ["go_tls_server_handshake"], "a client has none");
    let certain = GoTls.plan(&image, &layout, PlacementStrategy::Symbol);
    let entries = certain.probes.iter().filter_map(|probe| probe.entry.as_ref()?.offsets.first().copied());
    let names = [handshake, WRITE, READ, "crypto/tls.(*Conn).Close"];
    assert_eq!(entries.collect::<Vec<_>>(), names.map(|name| offset(name, 0)));
    for program in plan.probes.iter().flat_map(|probe| &probe.entry) {
        assert!(PROGRAMS.contains(&program.program));
    }
}

/// Prologues as Go 1.17 to 1.27 writes them: small, middle and large frames.
#[test]
fn the_stack_check_is_told_from_other_code() {
    let at = |code: &[u8]| code::places(code, 0x1000);
    assert_eq!(at(SMALL), Ok(CallPlaces { check: 4, returns: vec![11, 13] }));
    assert_eq!(at(LARGE), Ok(CallPlaces { check: 9, returns: vec![15] }));
    // `mov r12,rsp; sub r12,0x2000; jb; cmp r12,[r14+0x10]; jbe; ret`
    let largest = [
        &[0x49, 0x89, 0xe4][..],
        &[0x49, 0x81, 0xec, 0, 0x20, 0, 0],
        &[0x72, 7],
        &[0x4d, 0x3b, 0x66, 0x10],
        &[0x76, 1, 0xc3],
    ]
    .concat();
    assert_eq!(at(&largest), Ok(CallPlaces { check: 16, returns: vec![18] }));
    assert_eq!(at(OF_1_16), Err(CodeFault::StackArguments));
    // A jump before the comparison; another limit (`[r14+0x18]`, of what runs on the system's stack); an argument's
    // register is written.
    assert_eq!(at(&[0x76, 0, 0xc3]), Err(CodeFault::NoStackCheck));
    assert_eq!(at(&[0x49, 0x3b, 0x66, 0x18, 0x76, 0, 0xc3]), Err(CodeFault::NoStackCheck));
    assert_eq!(at(&[&[0x48, 0x89, 0xd8][..], SMALL].concat()), Err(CodeFault::NoStackCheck));
    assert_eq!(at(&[]), Err(CodeFault::NoStackCheck));
    assert_eq!(at(SMALL.get(..6).expect("shorter")), Err(CodeFault::Returns));
    // `ret 8` and `retf` are none of Go's.
    assert_eq!(at(&[&SMALL[..6], &[0xc2, 8, 0]].concat()), Err(CodeFault::Returns));
    assert_eq!(at(&[&SMALL[..6], &[0xcb]].concat()), Err(CodeFault::Returns));
}

/// The table as Go's own linker writes it, with nothing made by us.
#[test]
#[expect(clippy::disallowed_methods, reason = "real programs are files")]
fn programs_of_this_machines_go_are_read() {
    let Some(programs) = std::env::var_os("LLMO_GO_PROGRAMS") else { return };
    for path in std::env::split_paths(&programs) {
        let file = std::fs::File::open(&path).expect("there");
        let layout = surveyed_within(&file, &BUDGET).expect("no doubt").expect("it is there");
        println!("{}: {layout:x?}", path.display());
        assert!(layout.functions.len() >= 4);
    }
}
