//! Under which names a connection takes messages.
//!
//! A name is a random number nobody else has, drawn from the operating system: a generator of the process's own says the same in
//! a fork of it. The name lasts as long as the lease under it: a connection that gave no sign of life for too long takes another,
//! and what it held under the old one is given to others.
//!
//! A process that goes on twice, as a copy of a virtual machine does, has one name in both. The server finds out, and one of them
//! loses the lease: the fields of a name are numbered upwards, so that a number comes once, and each sign of life names the one
//! before it and a word for the next to name.

use std::sync::Arc;
use std::time::Instant;

/// The names of a connection, the last one in use.
pub(crate) struct Identity {
    /// Each with the first number of a field of `unacked` that was taken under it.
    names: Vec<(u64, Arc<str>)>,
    /// Whether the server was told of the last one.
    is_registered: bool,
    /// When the last name before this one was lost.
    lost: Option<Instant>,
}

impl Identity {
    /// Makes one with a first name.
    pub(crate) fn new() -> Self {
        Identity { names: vec![(0, random())], is_registered: false, lost: None }
    }

    /// Returns the name in use.
    pub(crate) fn name(&self) -> &Arc<str> {
        // There is always one.
        &self.names[self.names.len() - 1].1
    }

    /// Says whether a name is the one in use.
    pub(crate) fn has(&self, name: &str) -> bool {
        **self.name() == *name
    }

    /// Returns the name under which the field `number` was taken.
    pub(crate) fn name_of(&self, number: u64) -> &str {
        let found = self.names.iter().rev().find(|(first, _)| *first <= number);
        found.map_or("", |(_, name)| name)
    }

    /// Notes that the server is told of the name; says whether it was told before.
    pub(crate) fn register(&mut self) -> bool {
        std::mem::replace(&mut self.is_registered, true)
    }

    /// Says whether the server was told of the name.
    pub(crate) fn is_registered(&self) -> bool {
        self.is_registered
    }

    /// Takes another name from field `next` on, if `name` is the one in use and the server knows it no more. Says how long ago
    /// that happened before, or `None` when it was another name.
    pub(crate) fn lose(&mut self, name: &str, next: u64, now: Instant) -> Option<Option<std::time::Duration>> {
        if &**self.name() != name {
            return None;
        }
        self.names.push((next, random()));
        self.is_registered = false;
        let before = self.lost.replace(now);
        Some(before.map(|before| now.saturating_duration_since(before)))
    }
}

/// The signs of life given under one name: each carries a word that the next has to know.
#[derive(Default)]
pub(crate) struct Signs {
    name: Option<Arc<str>>,
    /// The last word the server has confirmed; empty before the first.
    known: Arc<str>,
    /// The word of the sign under way, until it is confirmed.
    word: Option<Arc<str>>,
}

impl Signs {
    /// Returns the word of the last sign given under `name`, and that of the next. A sign without an answer is repeated with its
    /// own word: the server may have it or not.
    pub(crate) fn next(&mut self, name: &Arc<str>) -> (Arc<str>, Arc<str>) {
        if self.name.as_ref() != Some(name) {
            *self = Signs { name: Some(Arc::clone(name)), ..Signs::default() };
        }
        let word = self.word.get_or_insert_with(random);
        (Arc::clone(&self.known), Arc::clone(word))
    }

    /// The server has confirmed the last sign.
    pub(crate) fn confirm(&mut self) {
        if let Some(word) = self.word.take() {
            self.known = word;
        }
    }
}

/// Returns a text nobody else has.
fn random() -> Arc<str> {
    let mut bytes = [0; 16];
    // Without the system's numbers those of the process must do.
    if getrandom::fill(&mut bytes).is_err() {
        bytes = *uuid::Uuid::new_v4().as_bytes();
    }
    uuid::Builder::from_random_bytes(bytes).into_uuid().simple().to_string().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_keep_the_name_they_were_taken_under() {
        let mut identity = Identity::new();
        let first = Arc::clone(identity.name());
        assert!(!identity.register() && identity.register());
        assert_eq!(identity.lose("another", 5, Instant::now()), None);
        assert_eq!(identity.lose(&first, 5, Instant::now()), Some(None));
        assert!(!identity.is_registered());
        assert_ne!(identity.name(), &first);
        assert_eq!((identity.name_of(4), identity.name_of(5)), (&*first, &*Arc::clone(identity.name())));
    }

    #[test]
    fn a_sign_names_the_one_before_it_and_is_repeated_until_it_is_confirmed() {
        let (name, other): (Arc<str>, Arc<str>) = ("n".into(), "o".into());
        let mut signs = Signs::default();
        let (none, first) = signs.next(&name);
        assert_eq!((&*none, signs.next(&name)), ("", ("".into(), Arc::clone(&first))));
        signs.confirm();
        let (known, second) = signs.next(&name);
        assert_eq!(known, first);
        assert_ne!(second, first);
        assert_eq!(&*signs.next(&other).0, "");
    }
}
