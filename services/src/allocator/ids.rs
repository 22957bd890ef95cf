//! Ids that are not used again soon after they were released.

use std::collections::HashSet;

/// Ids, counted up. A released id is given again only after all four billion others, so a flow that
/// still refers to it does not meet another Service or backend.
#[derive(Debug)]
pub(super) struct Ids {
    last: u32,
    used: HashSet<u32>,
}

impl Ids {
    pub(super) fn starting_after(last: u32) -> Self {
        Self { last, used: HashSet::new() }
    }

    /// A new id; never 0.
    pub(super) fn next(&mut self) -> u32 {
        loop {
            self.last = self.last.wrapping_add(1);
            if self.last != 0 && self.used.insert(self.last) {
                return self.last;
            }
        }
    }

    /// Marks an id as in use. Returns false if it is 0 or already in use.
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
    fn a_released_id_is_not_given_again_soon_and_zero_is_never_given() {
        let mut ids = Ids::starting_after(u32::MAX - 2);
        assert!(ids.adopt(2));
        assert_eq!([ids.next(), ids.next()], [u32::MAX - 1, u32::MAX]);
        ids.release(u32::MAX);
        assert_eq!([ids.next(), ids.next()], [1, 3]);
        assert!(!ids.adopt(3) && !ids.adopt(0));
    }
}
