//! The TLS stacks whose plaintext we can read: one file and one row of `STACKS` each.
//!
//! A stack recognises itself in a file and says where its functions are there and how certain that
//! is (`StackLayout`), and where which kernel programs go (`ProbePlan`). Pure: bytes of a file in, places
//! out. `kernel` knows no stack by name: it reads the files, puts the programs where the plans say,
//! and tells of them. What is known of stacks that no probe enters is in `unseen`.
#![deny(clippy::disallowed_methods, reason = "reads what it is handed: opening files and clocks are the caller's")]
#![forbid(unsafe_code)]

mod anchors;
pub mod boringssl;
pub mod exported;
mod forwards;
mod fuzz;
pub mod gnutls;
pub mod go;
pub mod openssl;
mod plan;
mod prologue;
pub mod rustls;
mod saved;
mod unseen;

use std::fmt;

pub use self::anchors::{AnchorText, AnchorTextKind, Anchors};
pub use self::fuzz::fuzz;
pub use self::plan::{
    CallCoverage, CallExit, CallKind, FunctionProbe, FunctionRow, ProbePlacement, ProbePlan, ProbePoint,
};
pub use self::saved::SavedLayout;
pub use self::unseen::{ExecutableKind, UnseenReason, unseen};
use crate::elf::{ElfBudget, ElfImage, ElfRefusal, FileSurvey, SymbolNames};

/// Every stack that is probed. A file may carry several of them. Those come first that are told
/// from others without looking through a whole file.
pub const STACKS: &[&dyn TlsStack] = &[
    &openssl::OpenSsl,
    &gnutls::GnuTls,
    &exported::WOLFSSL,
    &exported::MBEDTLS,
    &go::GoTls,
    &boringssl::BoringSsl,
    &rustls::Rustls,
];

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

    /// Texts that its functions refer to: they are looked for in one pass over a file in which no symbol names them,
    /// whatever the number of stacks.
    fn texts(&self) -> &'static [AnchorText] {
        &[]
    }

    /// Where its functions are by what refers to those texts: asked only where `recognise` found nothing.
    ///
    /// # Errors
    /// As those of `recognise`; over the budget.
    fn anchored(&self, _anchors: &mut Anchors<'_, '_>) -> Result<Option<StackLayout>, AmbiguousStack> {
        Ok(None)
    }

    /// The words that its layouts hold where no symbol named them: names of functions, and anchors. A layout that was
    /// written down is read by them (`saved`).
    fn layout_words(&self) -> Vec<&'static str> {
        Vec::new()
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

impl fmt::Display for LayoutCertainty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named => f.write_str("named"),
            Self::Anchored(anchor) => f.write_str(anchor),
        }
    }
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

/// Those that its symbols name. Costs nothing: the symbols were read with the image.
///
/// # Errors
/// It carries one that cannot be told for sure, and no other.
pub fn named(image: &ElfImage) -> Result<RecognisedStacks, AmbiguousStack> {
    settled(of_each(STACKS, |stack| stack.recognise(image)))
}

/// Is it worth to look through the whole file for what no symbol names?
#[must_use]
pub fn may_hide(image: &ElfImage) -> bool {
    image.mapped() >= SURVEYED_FROM
}

/// Those that no symbol names, by looking through the whole file.
///
/// # Errors
/// As those of `named`; the file is over the budget.
pub fn hidden(image: &ElfImage, budget: &ElfBudget) -> Result<RecognisedStacks, AmbiguousStack> {
    hidden_among(STACKS, image, budget)
}

/// Those of them that are told without looking through the whole file.
///
/// # Errors
/// As those of `hidden`.
pub fn alone(image: &ElfImage, budget: &ElfBudget) -> Result<RecognisedStacks, AmbiguousStack> {
    let Some(mut survey) = image.survey(budget)? else { return Ok(Vec::new()) };
    settled(of_each(STACKS, |stack| if stack.is_alone() { stack.survey(&mut survey) } else { Ok(None) }))
}

fn hidden_among(
    stacks: &[&'static dyn TlsStack],
    image: &ElfImage,
    budget: &ElfBudget,
) -> Result<RecognisedStacks, AmbiguousStack> {
    let Some(mut survey) = image.survey(budget)? else { return Ok(Vec::new()) };
    if survey.mapped() > SURVEYED_TO {
        return Err(ElfRefusal::too_large(survey.mapped(), SURVEYED_TO).into());
    }
    let (alone, others): (Vec<_>, Vec<_>) = stacks.iter().copied().partition(|stack| stack.is_alone());
    let sole = settled(of_each(&alone, |stack| stack.survey(&mut survey)))?;
    if !sole.is_empty() {
        return Ok(sole);
    }
    let (mut found, doubt) = of_each(&others, |stack| stack.survey(&mut survey));
    let (anchored, other) = anchored(&others, &mut survey).unwrap_or_else(|doubt| (Vec::new(), Some(doubt)));
    found.extend(anchored);
    settled((found, doubt.or(other)))
}

/// What some stacks said of a file, and a doubt that one of them had.
type Answers = (RecognisedStacks, Option<AmbiguousStack>);

/// Asks each stack for its layout.
fn of_each(
    stacks: &[&'static dyn TlsStack],
    mut ask: impl FnMut(&dyn TlsStack) -> Result<Option<StackLayout>, AmbiguousStack>,
) -> Answers {
    let (mut found, mut doubt) = (Vec::new(), None);
    for stack in stacks {
        match ask(*stack) {
            Ok(layout) => found.extend(layout.map(|layout| (*stack, layout))),
            Err(reason) => doubt = Some(reason),
        }
    }
    (found, doubt)
}

/// A doubt is told if nothing else was found.
fn settled((found, doubt): Answers) -> Result<RecognisedStacks, AmbiguousStack> {
    match doubt {
        Some(doubt) if found.is_empty() => Err(doubt),
        _ => Ok(found),
    }
}

/// By the texts that their functions refer to.
fn anchored(stacks: &[&'static dyn TlsStack], survey: &mut FileSurvey<'_>) -> Result<Answers, AmbiguousStack> {
    let texts: Vec<AnchorText> = stacks.iter().flat_map(|stack| stack.texts()).copied().collect();
    if texts.is_empty() {
        return Ok(Answers::default());
    }
    let Some(mut anchors) = Anchors::look(survey, &texts)? else { return Ok(Answers::default()) };
    Ok(of_each(stacks, |stack| stack.anchored(&mut anchors)))
}

/// Bytes that a file has mapped to be worth looking through: a TLS stack with all that it needs
/// takes more.
const SURVEYED_FROM: u64 = 1 << 20;

/// Bytes that a file has mapped to be looked through, at most: the largest program known to carry a
/// stack has 330 MB, libraries for graphics processors have more than this. A stranger's file of
/// holes costs a second for as much.
const SURVEYED_TO: u64 = 1 << 30;

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
