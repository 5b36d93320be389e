use super::*;
use crate::elf::FunctionSymbol;

/// What a stranger adds: a file like this, and a row.
#[derive(Debug)]
struct Stub;

impl TlsStack for Stub {
    fn name(&self) -> &'static str {
        "stub"
    }

    fn programs(&self) -> &'static [&'static str] {
        &["stub_write", "stub_write_returns"]
    }

    /// A file of its kind has code, and no symbols by which it could be told.
    fn recognise(&self, image: &ElfImage) -> Result<Option<StackLayout>, AmbiguousStack> {
        match image.code(ADDRESS).first() {
            Some(0x55) => {
                let functions = vec![LocatedFunction { name: "write", address: ADDRESS, size: 3 }];
                Ok(Some(StackLayout { functions, certainty: LayoutCertainty::Anchored("begins with a push") }))
            }
            Some(0x90) => {
                let detail = "two functions begin with a push".into();
                Err(AmbiguousStack { reason: UnseenReason::UnknownTlsLibrary, detail })
            }
            _ => Ok(None),
        }
    }

    /// Its returns have places of their own.
    fn plan(&self, image: &ElfImage, layout: &StackLayout, _: PlacementStrategy) -> ProbePlan {
        let at = |into| layout.functions.iter().filter_map(|f| image.file_offset(f.address + into)).collect();
        let probe = FunctionProbe {
            function: "write",
            placement: ProbePlacement::Entry(0),
            why: "it has no other".into(),
            entry: Some(ProbePoint { program: "stub_write", offsets: at(0) }),
            exit: Some(CallExit::Returns(ProbePoint {
                program: "stub_write_returns",
                offsets: [at(1), at(2)].concat(),
            })),
            calls: None,
        };
        ProbePlan { probes: vec![probe], rows: vec![FunctionRow { probe: "stub_write", served: CallCoverage::Own(0) }] }
    }
}

const ADDRESS: u64 = 0x1000;

const BOTH: &[&dyn TlsStack] = &[&openssl::OpenSsl, &Stub];

#[test]
fn a_file_may_carry_several_stacks_and_each_has_its_plan() {
    let write = FunctionSymbol { address: ADDRESS, size: 3 };
    let image = ElfImage::of_code(&[(ADDRESS, vec![0x55, 0xc3, 0xc3])], &[("SSL_write", write)], &[]);
    let recognised = settled(of_each(BOTH, |stack| stack.recognise(&image))).expect("no doubt");
    let names: Vec<_> = recognised.iter().map(|(stack, layout)| (stack.name(), layout.certainty)).collect();
    assert_eq!(names, [("openssl", LayoutCertainty::Named), ("stub", LayoutCertainty::Anchored("begins with a push"))]);
    let plan = Stub.plan(&image, &recognised[1].1, PlacementStrategy::Auto);
    let points = plan.probes.iter().map(|probe| (probe.entry.clone(), probe.exit.clone())).next().expect("one probe");
    let (entry, exit) = (points.0.expect("an entry"), points.1.expect("an exit"));
    assert_eq!((entry.offsets, exit.point().offsets.clone()), (vec![0], vec![1, 2]), "several places of their own");
}

#[test]
fn a_doubt_is_told_unless_another_stack_is_there() {
    let code = [(ADDRESS, vec![0x90, 0xc3])];
    let recognise = |image: &ElfImage| settled(of_each(BOTH, |stack| stack.recognise(image)));
    let doubt = recognise(&ElfImage::of_code(&code, &[], &[])).expect_err("a doubt");
    assert_eq!(
        (doubt.reason.name(), doubt.detail.as_str()),
        ("unknown_tls_library", "two functions begin with a push")
    );
    let openssl = [("SSL_read", FunctionSymbol { address: ADDRESS, size: 2 })];
    let recognised = recognise(&ElfImage::of_code(&code, &openssl, &[])).expect("one is sure");
    assert_eq!(recognised.len(), 1);
    assert!(recognise(&ElfImage::default()).expect("no doubt").is_empty());
}

#[test]
fn names_of_stacks_and_programs_are_of_one_stack_each() {
    let mut names: Vec<_> = STACKS.iter().map(|stack| stack.name()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), STACKS.len());
    let all: usize = STACKS.iter().map(|stack| stack.programs().len()).sum();
    assert!(!programs().is_empty() && programs().len() <= all);
}

#[test]
fn files_called_after_tls_are_likely() {
    for path in ["/usr/lib/libssl.so.3", "/x/_ssl.cpython-311-x86_64-linux-gnu.so", "/usr/bin/node"] {
        assert!(is_likely(path), "{path}");
    }
    for path in ["/usr/lib/libc.so.6", "/usr/bin/nodejs", "/ssl/x", ""] {
        assert!(!is_likely(path), "{path}");
    }
}
