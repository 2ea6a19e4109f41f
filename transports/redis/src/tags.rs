//! Names that nobody else gives: delivery tags of what is published, ids of what is held back.

use std::sync::atomic::{AtomicU64, Ordering};

use uuid::Uuid;

/// Gives names in the form of UUIDs: a random beginning of the connection's own, and a number that goes up.
///
/// The system gives the beginning, anew for each socket. So a process and its copy, made by `fork` or from a snapshot, give different
/// names as soon as each has a socket of its own; the numbers of a generator that the process keeps would be the same in both.
pub(crate) struct Tags {
    beginning: AtomicU64,
    next: AtomicU64,
}

/// The text of a name, in place.
pub(crate) struct Tag([u8; Tag::LENGTH]);

impl Tags {
    /// Begins.
    pub(crate) fn new() -> Self {
        let tags = Tags { beginning: AtomicU64::default(), next: AtomicU64::default() };
        tags.begin_anew();
        tags
    }

    /// Takes another beginning.
    pub(crate) fn begin_anew(&self) {
        let (beginning, next) = random();
        self.next.store(next, Ordering::Relaxed);
        self.beginning.store(beginning, Ordering::Relaxed);
    }

    /// Returns a new name.
    pub(crate) fn tag(&self) -> Tag {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let bits = u128::from(self.beginning.load(Ordering::Relaxed)) << 64 | u128::from(number);
        let mut text = [0; Tag::LENGTH];
        uuid::Builder::from_random_bytes(bits.to_be_bytes()).into_uuid().hyphenated().encode_lower(&mut text);
        Tag(text)
    }
}

impl Tag {
    /// How long each is.
    pub(crate) const LENGTH: usize = uuid::fmt::Hyphenated::LENGTH;
}

impl std::ops::Deref for Tag {
    type Target = str;

    fn deref(&self) -> &str {
        // A UUID is ASCII.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl std::fmt::Display for Tag {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self)
    }
}

fn random() -> (u64, u64) {
    let mut bytes = [0; 16];
    // Without the system's numbers those of the process must do.
    if getrandom::fill(&mut bytes).is_err() {
        bytes = Uuid::new_v4().into_bytes();
    }
    Uuid::from_bytes(bytes).as_u64_pair()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_two_names_are_alike_and_each_is_a_uuid() {
        let (one, other) = (Tags::new(), Tags::new());
        let mut names = HashSet::new();
        for round in 0..1000 {
            if round % 100 == 0 {
                one.begin_anew();
            }
            for name in [one.tag(), other.tag()] {
                assert_eq!(Uuid::parse_str(&name).unwrap().get_version_num(), 4);
                assert!(names.insert(name.to_string()), "{name} twice");
            }
        }
    }

    #[test]
    fn a_copy_of_a_process_gives_other_names_on_its_own_socket() {
        let original = Tags::new();
        let value = |part: &AtomicU64| AtomicU64::new(part.load(Ordering::Relaxed));
        let copy = Tags { beginning: value(&original.beginning), next: value(&original.next) };
        copy.begin_anew();
        let names: HashSet<String> =
            (0..100).flat_map(|_| [original.tag(), copy.tag()]).map(|name| name.to_string()).collect();
        assert_eq!(names.len(), 200);
    }
}
