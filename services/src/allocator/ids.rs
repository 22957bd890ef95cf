//! Numbers that stand for something, and are not used again soon.

use std::collections::HashSet;

/// Ids, counted up. What still remembers an id that was released meets no other thing under it until
/// four billion have been given.
#[derive(Debug)]
pub(super) struct Ids {
    last: u32,
    used: HashSet<u32>,
}

impl Ids {
    pub(super) fn starting_after(last: u32) -> Self {
        Self { last, used: HashSet::new() }
    }

    /// A new one; never 0.
    pub(super) fn next(&mut self) -> u32 {
        loop {
            self.last = self.last.wrapping_add(1);
            if self.last != 0 && self.used.insert(self.last) {
                return self.last;
            }
        }
    }

    /// Takes one that is in use already. Returns whether nothing else has it.
    pub(super) fn adopt(&mut self, id: u32) -> bool {
        id != 0 && self.used.insert(id)
    }

    pub(super) fn release(&mut self, id: u32) {
        self.used.remove(&id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_that_was_released_does_not_come_back_soon_and_zero_never_comes() {
        let mut ids = Ids::starting_after(u32::MAX - 2);
        assert!(ids.adopt(2));
        assert_eq!([ids.next(), ids.next()], [u32::MAX - 1, u32::MAX]);
        ids.release(u32::MAX);
        assert_eq!([ids.next(), ids.next()], [1, 3]);
        assert!(!ids.adopt(3) && !ids.adopt(0));
    }
}
