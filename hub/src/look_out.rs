//! How long the hub looks out for more work before it goes to sleep.

use std::cell::Cell;

/// Grows while looking out pays, and shrinks while it does not.
///
/// To be put to sleep and woken costs a thread more than the few microseconds until the next thing comes, where things come one after
/// the other: another thread hands them in, or a server answers what it was just asked. Where they do not, it is in vain.
#[derive(Debug)]
pub(crate) struct LookOut {
    looks: Cell<u32>,
}

impl LookOut {
    pub(crate) fn new() -> Self {
        LookOut { looks: Cell::new(LEAST) }
    }

    /// Looks out by `look`, which says whether something came; says so itself.
    pub(crate) fn run(&self, mut look: impl FnMut() -> bool) -> bool {
        let looks = self.looks.get();
        let paid = (0..looks).any(|_| look());
        self.looks.set(if paid { (looks * 2).min(MOST) } else { (looks / 2).max(LEAST) });
        paid
    }
}

/// A few microseconds.
const LEAST: u32 = 4;
/// A few tens of microseconds.
const MOST: u32 = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_short_where_it_is_in_vain_and_longer_where_it_pays() {
        let look_out = LookOut::new();
        let looks = |came_at: u32| {
            let mut looks = 0;
            look_out.run(|| {
                looks += 1;
                looks == came_at
            });
            looks
        };
        assert_eq!(looks(0), LEAST, "in vain at first");
        assert_eq!(looks(LEAST), LEAST);
        assert_eq!(looks(2 * LEAST), 2 * LEAST, "it paid, and goes on for longer");
        for _ in 0..8 {
            looks(1);
        }
        assert_eq!(looks(0), MOST);
        assert_eq!(looks(0), MOST / 2);
        for _ in 0..8 {
            looks(0);
        }
        assert_eq!(looks(0), LEAST);
    }
}
