//! Functions that no symbol names, found by the texts that they refer to: file names and function
//! names that error reports carry. One pass over a file for all stacks that need it: texts in its
//! read-only parts, then the instructions that refer to them together with the calls, which tell
//! where functions begin where no unwind table does.
//!
//! All that comes of it is held against the code, decoded from the function's first instruction:
//! a reference that is no instruction of its function, or a place for a probe that is none, is not used.

mod function;
mod plan;
mod references;
mod starts;
mod texts;
mod walk;

use std::collections::BTreeMap;

use super::{AmbiguousStack, UnseenReason};
use crate::elf::{FileSurvey, SurveyRange};

pub(super) use self::function::CodeFunction;
pub(super) use self::plan::{AnchoredRole, plan};
use self::references::References;
use self::starts::{FunctionExtent, FunctionStarts, LONGEST};
use self::texts::FoundTexts;
pub use self::texts::{AnchorText, AnchorTextKind};

/// A file looked through for the texts of all stacks that ask.
#[derive(Debug)]
pub struct Anchors<'s, 'a> {
    survey: &'s mut FileSurvey<'a>,
    texts: FoundTexts,
    references: References,
    starts: FunctionStarts,
    /// Functions that were read already, by where they begin.
    functions: BTreeMap<u64, CodeFunction>,
}

/// References to one name that are looked at: those known have under 10.
const REFERENCES: usize = 64;

/// … and to one file's name, which every error that its functions report refers to: OpenSSL 1.1.1's has 300.
const FILE_REFERENCES: usize = 1024;

impl<'s, 'a> Anchors<'s, 'a> {
    /// Looks through a file. `Ok(None)`: none of the texts that a stack cannot be without is in it;
    /// then its code is not read.
    ///
    /// # Errors
    /// The file cannot be read, or is over the budget.
    pub(super) fn look(survey: &'s mut FileSurvey<'a>, texts: &[AnchorText]) -> Result<Option<Self>, AmbiguousStack> {
        let found = FoundTexts::find(survey, texts)?;
        if !found.has_decisive() {
            return Ok(None);
        }
        let starts = FunctionStarts::new(survey)?;
        let mut anchors =
            Self { survey, texts: found, references: References::default(), starts, functions: BTreeMap::new() };
        anchors.pass()?;
        Ok(Some(anchors))
    }

    /// Over all code once.
    fn pass(&mut self) -> Result<(), AmbiguousStack> {
        let (targets, fixed) = (self.texts.addresses(), self.survey.is_fixed());
        let code: Vec<SurveyRange> = self.survey.segments().filter(|segment| segment.executable).collect();
        for segment in code {
            let (references, starts) = (&mut self.references, &mut self.starts);
            let mut pass = references::CodePass::new(&targets, fixed, segment.addresses());
            self.survey.windows(segment.address, segment.len, references::OVERLAP, |address, window| {
                pass.window(address, window, references, starts);
                Ok(())
            })?;
        }
        Ok(())
    }

    /// The functions that refer to a text, in the order of their addresses, each with its references. Those
    /// whose beginning cannot be told, and references that are no instructions, are left out.
    ///
    /// # Errors
    /// There are more references than such a text has; the file cannot be read, or is over the budget.
    pub(super) fn functions(&mut self, text: &AnchorText) -> Result<Vec<(CodeFunction, Vec<u64>)>, AmbiguousStack> {
        let places = self.references.to(&self.texts.places(text));
        let most = if text.kind == AnchorTextKind::FileName { FILE_REFERENCES } else { REFERENCES };
        if places.len() > most {
            let detail = format!(
                "over {most} instructions refer to \"{}\": it is none of the libraries that are known",
                text.shown()
            );
            return Err(AmbiguousStack { reason: UnseenReason::AnchorAmbiguous, detail });
        }
        let mut functions: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        for place in places {
            if let Some(start) = self.function(place)? {
                functions.entry(start).or_default().push(place);
            }
        }
        let function = |(start, places)| Some((self.functions.get(&start)?.clone(), places));
        Ok(functions.into_iter().filter_map(function).collect())
    }

    /// Is a text in the file, and what follows it there?
    pub(super) fn follows(&self, text: &AnchorText) -> Vec<&[u8]> {
        self.texts.follows(text)
    }

    /// Where the function begins that has this instruction; `None`: that cannot be told, or there
    /// is no such instruction.
    fn function(&mut self, place: u64) -> Result<Option<u64>, AmbiguousStack> {
        if let Some(extent) = self.starts.described(self.survey, place)? {
            let known = extent.end - extent.start <= LONGEST && self.is_in(place, extent, |function| function)?;
            return Ok(known.then_some(extent.start));
        }
        for start in self.starts.called_before(place) {
            let extent = FunctionExtent { start, end: start.saturating_add(LONGEST) };
            if self.is_in(place, extent, CodeFunction::trimmed)? {
                return Ok(Some(start));
            }
        }
        Ok(None)
    }

    /// Is there a function, and has it this instruction? It is read once.
    fn is_in(
        &mut self,
        place: u64,
        extent: FunctionExtent,
        made: impl FnOnce(CodeFunction) -> CodeFunction,
    ) -> Result<bool, AmbiguousStack> {
        if !self.functions.contains_key(&extent.start) {
            let code = self.survey.read(extent.start, extent.end.saturating_sub(extent.start))?;
            self.functions.insert(extent.start, made(CodeFunction::decode(extent.start, &code)));
        }
        let function = self.functions.get(&extent.start);
        Ok(function.is_some_and(|function| function.is_whole() && function.has(place)))
    }
}

/// One function alone plays a role.
///
/// # Errors
/// None does, or several: which is told.
pub(super) fn only(role: &str, found: &[u64]) -> Result<u64, AmbiguousStack> {
    match found {
        [one] => Ok(*one),
        _ => {
            let places: Vec<String> = found.iter().take(SHOWN).map(|start| format!("{start:#x}")).collect();
            let detail = match found.len() {
                0 => format!("no function is like {role}"),
                count => format!("{count} functions are like {role} where one is expected ({})", places.join(", ")),
            };
            Err(AmbiguousStack { reason: UnseenReason::AnchorAmbiguous, detail })
        }
    }
}

/// Candidates told of one role.
const SHOWN: usize = 8;

#[cfg(test)]
mod tests;
