//! Whose turn it is among the consumers of a queue.

/// Serves its members one after the other: those of the highest priority, as long as there are any. A member that leaves and comes
/// back is served last among its equals.
#[derive(Debug)]
pub(crate) struct Round<T> {
    /// By priority, the highest first.
    members: Vec<T>,
    priorities: Vec<i64>,
    /// How many have the highest priority.
    top: usize,
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
        if self.next >= self.top {
            self.next = 0;
        }
    }

    /// Adds a member, to be served after all others of its priority.
    pub(crate) fn join(&mut self, member: T, priority: i64) {
        match self.priorities.first() {
            Some(highest) if *highest == priority => {
                self.insert(self.next, member, priority);
                self.top += 1;
                self.advance();
            }
            Some(highest) if *highest > priority => {
                let place = self.priorities.partition_point(|other| *other >= priority);
                self.insert(place, member, priority);
            }
            _ => {
                self.insert(0, member, priority);
                (self.top, self.next) = (1, 0);
            }
        }
    }

    fn insert(&mut self, place: usize, member: T, priority: i64) {
        self.members.insert(place, member);
        self.priorities.insert(place, priority);
    }

    /// Takes a member out; the order of the others stays.
    pub(crate) fn leave(&mut self, member: T) {
        let Some(index) = self.members.iter().position(|other| *other == member) else { return };
        self.members.remove(index);
        self.priorities.remove(index);
        if index >= self.top {
            return;
        }
        self.top -= 1;
        if index < self.next {
            self.next -= 1;
        }
        if self.next >= self.top {
            self.next = 0;
        }
        if self.top == 0 {
            let highest = self.priorities.first().copied();
            self.top = self.priorities.iter().take_while(|other| Some(**other) == highest).count();
        }
    }
}

impl<T> Default for Round<T> {
    fn default() -> Self {
        Round { members: Vec::new(), priorities: Vec::new(), top: 0, next: 0 }
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
        "abc".chars().for_each(|member| round.join(member, 0));
        assert_eq!(turns(&mut round, 4), "abca");
        round.leave('c');
        assert_eq!(turns(&mut round, 2), "ba");
        round.join('c', 0);
        assert_eq!(turns(&mut round, 4), "bacb");
        round.leave('a');
        round.leave('b');
        round.leave('c');
        assert_eq!(round.current(), None);
        round.join('d', 0);
        assert_eq!(turns(&mut round, 2), "dd");
    }

    #[test]
    fn those_of_the_highest_priority_come_first() {
        let mut round = Round::default();
        for (member, priority) in [('a', 0), ('b', 5), ('c', -1), ('d', 5), ('e', 0)] {
            round.join(member, priority);
        }
        assert_eq!(turns(&mut round, 4), "bdbd");
        round.leave('b');
        assert_eq!(turns(&mut round, 2), "dd");
        round.leave('d');
        assert_eq!(turns(&mut round, 3), "aea");
        round.join('b', 5);
        assert_eq!(turns(&mut round, 2), "bb");
        for member in ['b', 'e', 'a'] {
            round.leave(member);
        }
        assert_eq!(turns(&mut round, 2), "cc");
    }
}
