//! The TLS stacks whose plaintext we can read: one file and one row of `STACKS` each.
//!
//! A stack recognises itself in a file and says where its functions are there and how certain that
//! is (`StackLayout`), and where which kernel programs go (`ProbePlan`). Pure: bytes of a file in, places
//! out. `kernel` knows no stack by name: it reads the files, puts the programs where the plans say,
//! and tells of them. What is known of stacks that no probe enters is in `unseen`.
#![deny(clippy::disallowed_methods, reason = "reads what it is handed: opening files and clocks are the caller's")]
#![forbid(unsafe_code)]

mod fuzz;
pub mod go;
pub mod openssl;
mod plan;
mod unseen;

use std::fmt;

pub use self::fuzz::fuzz;
pub use self::plan::{
    CallCoverage, CallExit, CallKind, FunctionProbe, FunctionRow, ProbePlacement, ProbePlan, ProbePoint,
};
pub use self::unseen::{ExecutableKind, UnseenReason, unseen};
use crate::elf::{ElfBudget, ElfImage, ElfRefusal, FileSurvey, SymbolNames};

/// Every stack that is probed. A file may carry several of them. Those come first that are told
/// from others without looking through a whole file.
pub const STACKS: &[&dyn TlsStack] = &[&openssl::OpenSsl, &go::GoTls];

/// A TLS stack.
pub trait TlsStack: fmt::Debug + Sync {
    /// How it is called.
    fn name(&self) -> &'static str;

    /// The kernel programs that its plans name: functions of `observer-ebpf` in sections `uprobe`
    /// and `uretprobe`.
    fn programs(&self) -> &'static [&'static str];

    /// Symbols by which it is recognised. They are searched for in one pass over a file's tables,
    /// whatever the number of stacks.
    fn symbols(&self) -> SymbolNames {
        SymbolNames::default()
    }

    /// Files that most likely carry it: probed before anybody maps them, or before others.
    fn likely(&self) -> LikelyFiles {
        LikelyFiles::default()
    }

    /// Where its functions are in this file; `None`: the file does not carry it.
    ///
    /// # Errors
    /// The file carries it and its functions cannot be told for sure: it is not probed, and the reason is shown.
    fn recognise(&self, image: &ElfImage) -> Result<Option<StackLayout>, AmbiguousStack>;

    /// The same of a file in which no symbol names them, by looking through it: asked only where
    /// `recognise` found nothing.
    ///
    /// # Errors
    /// As those of `recognise`; over the budget.
    fn survey(&self, _survey: &mut FileSurvey<'_>) -> Result<Option<StackLayout>, AmbiguousStack> {
        Ok(None)
    }

    /// A file in which `survey` finds it carries no other that no symbol names: nobody looks further.
    fn is_alone(&self) -> bool {
        false
    }

    /// Which programs go where. Each call of the stack's functions must pass one probe, and not
    /// two.
    fn plan(&self, image: &ElfImage, layout: &StackLayout, strategy: PlacementStrategy) -> ProbePlan;
}

/// Files that most likely carry a stack, by their names.
#[derive(Clone, Copy, Debug, Default)]
pub struct LikelyFiles {
    /// What names of shared libraries begin with: `libssl`.
    pub libraries: &'static [&'static str],
    /// Programs, by their whole names: `node`.
    pub programs: &'static [&'static str],
    /// What names of other files contain: `ssl`.
    pub parts: &'static [&'static str],
}

/// Where a stack's functions are in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StackLayout {
    pub functions: Vec<LocatedFunction>,
    pub certainty: LayoutCertainty,
}

/// A function's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocatedFunction {
    /// As the stack calls it.
    pub name: &'static str,
    /// Virtual address.
    pub address: u64,
    /// Bytes; 0: not known.
    pub size: u64,
}

/// How certain it is that the functions are what they are taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayoutCertainty {
    /// The file's own symbols name them.
    Named,
    /// They were found by what they do; in words: "raises 226, 215, 111 with ssl_lib.cc".
    Anchored(&'static str),
}

/// Why a file that carries a stack is not probed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AmbiguousStack {
    pub reason: UnseenReason,
    /// The same in a sentence.
    pub detail: String,
}

/// How to choose places.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum PlacementStrategy {
    /// The cheapest right place.
    #[default]
    Auto,
    /// The function's first instruction: the fallback, and for measuring.
    Symbol,
}

impl PlacementStrategy {
    /// What `LLM_OBSERVER_PLACEMENT` asks for: `auto` (default) or `symbol`. For measuring and for
    /// trouble, not for daily use.
    #[must_use]
    pub fn from_env() -> Self {
        match std::env::var("LLM_OBSERVER_PLACEMENT").as_deref() {
            Ok("symbol") => Self::Symbol,
            _ => Self::Auto,
        }
    }
}

/// The symbols that all stacks are recognised by.
#[must_use]
pub fn symbols() -> Vec<SymbolNames> {
    STACKS.iter().map(|stack| stack.symbols()).filter(|names| !names.names.is_empty()).collect()
}

/// The kernel programs of all stacks, each once.
#[must_use]
pub fn programs() -> Vec<&'static str> {
    let mut programs = Vec::new();
    for name in STACKS.iter().flat_map(|stack| stack.programs()) {
        if !programs.contains(name) {
            programs.push(*name);
        }
    }
    programs
}

/// What a file carries, and where: a stack for each layout.
pub type RecognisedStacks = Vec<(&'static dyn TlsStack, StackLayout)>;

/// The stacks that a file carries: by its symbols, and those that no symbol names by looking through
/// all of it, if it is large enough to carry one. `budget` is for the latter.
///
/// # Errors
/// It carries one that cannot be told for sure, and no other.
pub fn recognise(image: &ElfImage, budget: &ElfBudget) -> Result<RecognisedStacks, AmbiguousStack> {
    recognise_among(STACKS, image, budget)
}

fn recognise_among(
    stacks: &[&'static dyn TlsStack],
    image: &ElfImage,
    budget: &ElfBudget,
) -> Result<RecognisedStacks, AmbiguousStack> {
    let (mut recognised, mut doubt) = (Vec::new(), None);
    let mut unnamed = Vec::new();
    for stack in stacks {
        match stack.recognise(image) {
            Ok(Some(layout)) => recognised.push((*stack, layout)),
            Ok(None) => unnamed.push(*stack),
            Err(reason) => doubt = Some(reason),
        }
    }
    match survey(&unnamed, image, budget) {
        Ok(found) => recognised.extend(found),
        Err(reason) => doubt = Some(reason),
    }
    match doubt {
        Some(doubt) if recognised.is_empty() => Err(doubt),
        _ => Ok(recognised),
    }
}

/// Looks through a file for the stacks that no symbol names.
fn survey(
    stacks: &[&'static dyn TlsStack],
    image: &ElfImage,
    budget: &ElfBudget,
) -> Result<RecognisedStacks, AmbiguousStack> {
    let Some(mut survey) = image.survey(budget)? else { return Ok(Vec::new()) };
    if survey.mapped() < SURVEYED_FROM {
        return Ok(Vec::new());
    }
    let (mut found, mut doubt) = (Vec::new(), None);
    for stack in stacks {
        match stack.survey(&mut survey) {
            Ok(Some(layout)) if stack.is_alone() => return Ok(vec![(*stack, layout)]),
            Ok(layout) => found.extend(layout.map(|layout| (*stack, layout))),
            Err(reason) => doubt = Some(reason),
        }
    }
    match doubt {
        Some(doubt) if found.is_empty() => Err(doubt),
        _ => Ok(found),
    }
}

/// Bytes that a file has mapped to be worth looking through: a TLS stack with all that it needs
/// takes more.
const SURVEYED_FROM: u64 = 1 << 20;

impl From<ElfRefusal> for AmbiguousStack {
    fn from(refusal: ElfRefusal) -> Self {
        Self { reason: UnseenReason::Elf(refusal.reason), detail: refusal.detail }
    }
}

/// Is a file called after TLS? By its path: such files are looked at first, and told of if they are
/// not looked at.
#[must_use]
pub fn is_likely(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    STACKS.iter().map(|stack| stack.likely()).any(|likely| {
        likely.parts.iter().any(|part| name.contains(part))
            || likely.libraries.iter().any(|prefix| name.starts_with(prefix))
            || likely.programs.contains(&name)
    })
}

#[cfg(test)]
mod tests;
