//! Under which names a connection takes messages.
//!
//! A name is a random number nobody else has. It lasts as long as the lease under it: a connection that gave no sign of life for
//! too long takes another, and what it held under the old one is given to others.

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
        Identity { names: vec![(0, new_name())], is_registered: false, lost: None }
    }

    /// Returns the name in use.
    pub(crate) fn name(&self) -> &Arc<str> {
        // There is always one.
        &self.names[self.names.len() - 1].1
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
        self.names.push((next, new_name()));
        self.is_registered = false;
        let before = self.lost.replace(now);
        Some(before.map(|before| now.saturating_duration_since(before)))
    }
}

fn new_name() -> Arc<str> {
    uuid::Uuid::new_v4().simple().to_string().into()
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
}
