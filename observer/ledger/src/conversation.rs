//! Which conversation a request goes on with: its history begins with that of an earlier request of
//! the same application.

use std::collections::{HashMap, VecDeque};

use foldhash::fast::RandomState;

use capture::hash::mix;
use capture::limits;
use dialects::prompt::Prompt;

/// Places in conversations, by a hash over the scope and all messages up to there.
#[derive(Debug, Default)]
pub(super) struct ConversationIndex {
    places: HashMap<u64, u64, RandomState>,
    order: VecDeque<u64>,
}

impl ConversationIndex {
    /// The conversation of a prompt; a new one where nothing is known that it goes on with. `scope`: who may share one.
    /// `None` where the body was not seen whole.
    pub(super) fn of(&mut self, prompt: &Prompt, scope: u64) -> Option<u64> {
        if prompt.truncated || (prompt.chain.is_empty() && prompt.server_held.is_none()) {
            return None;
        }
        let place = |hash: &u64| mix(scope, *hash);
        let held = prompt.server_held.map(|id| mix(scope.rotate_left(1), id));
        let known = held.into_iter().chain(prompt.chain.iter().rev().map(place));
        let found = known.into_iter().find_map(|place| self.places.get(&place).copied());
        let whole = prompt.chain.last().map(place);
        let conversation = found.or(whole).or(held)?;
        if let Some(whole) = whole {
            self.remember(whole, conversation);
        }
        Some(conversation)
    }

    /// The provider gave the answer an id by which a later request may refer to it.
    pub(super) fn answered(&mut self, response_id: u64, scope: u64, conversation: u64) {
        self.remember(mix(scope.rotate_left(1), response_id), conversation);
    }

    fn remember(&mut self, place: u64, conversation: u64) {
        if self.places.insert(place, conversation).is_none() {
            self.order.push_back(place);
        }
        while self.order.len() > limits::CONVERSATION_PLACES
            && let Some(oldest) = self.order.pop_front()
        {
            self.places.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prompt(chain: &[u64], held: Option<u64>) -> Prompt {
        Prompt { chain: chain.to_vec(), server_held: held, ..Prompt::default() }
    }

    #[test]
    fn histories_that_go_on_are_one_conversation() {
        let mut conversations = ConversationIndex::default();
        let first = conversations.of(&prompt(&[1], None), 9);
        assert!(first.is_some());
        assert_eq!(conversations.of(&prompt(&[1, 2, 3], None), 9), first);
        assert_eq!(conversations.of(&prompt(&[2, 3, 4, 5], None), 9), first, "the oldest places are not told any more");
        assert_ne!(conversations.of(&prompt(&[1], None), 8), first, "another application");
        assert_ne!(conversations.of(&prompt(&[7], None), 9), first);
        assert_eq!(conversations.of(&Prompt { truncated: true, ..prompt(&[1], None) }, 9), None);
        assert_eq!(conversations.of(&prompt(&[], None), 9), None);
    }

    #[test]
    fn histories_that_the_provider_holds_are_followed_by_id() {
        let mut conversations = ConversationIndex::default();
        let first = conversations.of(&prompt(&[1], None), 9).unwrap();
        conversations.answered(100, 9, first);
        assert_eq!(conversations.of(&prompt(&[5], Some(100)), 9), Some(first));
        assert_ne!(conversations.of(&prompt(&[6], Some(100)), 8), Some(first));
    }

    #[test]
    fn a_million_conversations_take_no_more_room() {
        let mut conversations = ConversationIndex::default();
        for n in 0..1_000_000 {
            conversations.of(&prompt(&[n], Some(n)), 1);
        }
        assert!(conversations.places.len() <= limits::CONVERSATION_PLACES);
        assert!(conversations.order.len() <= limits::CONVERSATION_PLACES);
    }
}
