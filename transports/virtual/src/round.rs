//! Whose turn it is among the consumers of a queue.

/// Serves its members one after the other. A member that leaves and comes back is served last.
#[derive(Debug)]
pub(crate) struct Round<T> {
    members: Vec<T>,
    next: usize,
}

impl<T: Copy + PartialEq> Round<T> {
    /// Returns who is next.
    #[inline]
    pub(crate) fn current(&self) -> Option<T> {
        self.members.get(self.next).copied()
    }

    /// Goes on behind the current one.
    #[inline]
    pub(crate) fn advance(&mut self) {
        self.next += 1;
        if self.next >= self.members.len() {
            self.next = 0;
        }
    }

    /// Adds a member, to be served after all others.
    pub(crate) fn join(&mut self, member: T) {
        self.members.insert(self.next, member);
        self.advance();
    }

    /// Takes a member out; the order of the others stays.
    pub(crate) fn leave(&mut self, member: T) {
        if let Some(index) = self.members.iter().position(|other| *other == member) {
            self.members.remove(index);
            if index < self.next {
                self.next -= 1;
            }
            if self.next >= self.members.len() {
                self.next = 0;
            }
        }
    }
}

impl<T> Default for Round<T> {
    fn default() -> Self {
        Round { members: Vec::new(), next: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turns(round: &mut Round<char>, count: usize) -> String {
        (0..count)
            .filter_map(|_| {
                let current = round.current();
                round.advance();
                current
            })
            .collect()
    }

    #[test]
    fn everyone_is_served_in_turn() {
        let mut round = Round::default();
        assert_eq!(turns(&mut round, 2), "");
        "abc".chars().for_each(|member| round.join(member));
        assert_eq!(turns(&mut round, 4), "abca");
        round.leave('c');
        assert_eq!(turns(&mut round, 2), "ba");
        round.join('c');
        assert_eq!(turns(&mut round, 4), "bacb");
        round.leave('a');
        round.leave('b');
        round.leave('c');
        assert_eq!(round.current(), None);
        round.join('d');
        assert_eq!(turns(&mut round, 2), "dd");
    }
}
