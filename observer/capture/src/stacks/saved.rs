//! A layout in words, as it outlives the program that found it.

use serde::{Deserialize, Serialize};

use super::{LayoutCertainty, LocatedFunction, STACKS, StackLayout, TlsStack};

/// Where a stack's functions are in a file, written down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedLayout {
    stack: String,
    /// What its functions were recognised by; absent where the file itself names them.
    anchor: Option<String>,
    functions: Vec<SavedFunction>,
}

/// A function's place, written down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct SavedFunction {
    name: String,
    address: u64,
    size: u64,
}

impl SavedLayout {
    #[must_use]
    pub fn new(stack: &dyn TlsStack, layout: &StackLayout) -> Self {
        let saved = |function: &LocatedFunction| SavedFunction {
            name: function.name.to_owned(),
            address: function.address,
            size: function.size,
        };
        let anchor = match layout.certainty {
            LayoutCertainty::Named => None,
            LayoutCertainty::Anchored(anchor) => Some(anchor.to_owned()),
        };
        Self { stack: stack.name().to_owned(), anchor, functions: layout.functions.iter().map(saved).collect() }
    }

    /// `None`: a stack or a word that this version does not know.
    #[must_use]
    pub fn read(&self) -> Option<(&'static dyn TlsStack, StackLayout)> {
        let stack = *STACKS.iter().find(|stack| stack.name() == self.stack)?;
        let words = stack.layout_words();
        let word = |text: &str| words.iter().copied().find(|word| *word == text);
        let certainty = match &self.anchor {
            None => LayoutCertainty::Named,
            Some(anchor) => LayoutCertainty::Anchored(word(anchor)?),
        };
        let located = |function: &SavedFunction| {
            Some(LocatedFunction { name: word(&function.name)?, address: function.address, size: function.size })
        };
        let functions: Option<Vec<_>> = self.functions.iter().map(located).collect();
        Some((stack, StackLayout { functions: functions?, certainty }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layout_is_read_as_it_was_written() {
        for stack in STACKS.iter().filter(|stack| !stack.layout_words().is_empty()) {
            for word in stack.layout_words() {
                let functions = vec![LocatedFunction { name: word, address: 0x1000, size: 7 }];
                for certainty in [LayoutCertainty::Named, LayoutCertainty::Anchored(word)] {
                    let layout = StackLayout { functions: functions.clone(), certainty };
                    let text = serde_json::to_string(&SavedLayout::new(*stack, &layout)).expect("it is JSON");
                    let (read, same) =
                        serde_json::from_str::<SavedLayout>(&text).expect("as written").read().expect("known");
                    assert_eq!((read.name(), same), (stack.name(), layout));
                }
            }
        }
    }

    #[test]
    fn words_of_another_version_are_not_guessed_at() {
        let of = |stack: &str, anchor: Option<&str>, name: &str| {
            let functions = vec![SavedFunction { name: name.into(), address: 1, size: 1 }];
            SavedLayout { stack: stack.into(), anchor: anchor.map(str::to_owned), functions }.read().is_some()
        };
        assert!(of("go", None, "crypto/tls.(*Conn).Read"));
        assert!(!of("go", None, "crypto/tls.(*Conn).Peek"));
        assert!(!of("go", Some("by its smell"), "crypto/tls.(*Conn).Read"));
        assert!(!of("nss", None, "PR_Read"));
    }
}
