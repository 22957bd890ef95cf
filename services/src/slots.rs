//! Which slots are free.
//!
//! Each set of backends has a range of slots of its own. A range that is no longer used goes into
//! quarantine, because a packet may still be looking at it. Free ranges are joined with their
//! neighbours, and the smallest range that fits is taken. If enough slots are free but no free
//! range is large enough, a window can be reserved: the sets in it are moved, and when the whole
//! window is free it is returned as one range.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Instant;

use super::tables::Range;

/// The free slots.
#[derive(Debug, Clone)]
pub struct Slots {
    capacity: u32,
    /// Free ranges, by offset.
    free: BTreeMap<u32, u32>,
    /// The same by length, for the best fit.
    by_count: BTreeSet<(u32, u32)>,
    /// The ranges in quarantine and when it ends, in the order of time.
    quarantined: VecDeque<(Instant, Range)>,
    reserved: Option<Reserved>,
}

#[derive(Debug, Clone)]
struct Reserved {
    window: Range,
    /// The free parts of the window.
    free_parts: Vec<Range>,
}

impl Slots {
    /// All slots are free.
    pub fn new(capacity: u32) -> Self {
        let mut slots = Self {
            capacity,
            free: BTreeMap::new(),
            by_count: BTreeSet::new(),
            quarantined: VecDeque::new(),
            reserved: None,
        };
        slots.insert_free(Range { offset: 0, count: capacity });
        slots
    }

    /// How many slots are free.
    pub fn free_count(&self) -> u32 {
        self.free.values().sum()
    }

    /// How many slots are in quarantine.
    pub fn quarantined_count(&self) -> u32 {
        self.quarantined.iter().map(|(_, range)| range.count).sum()
    }

    /// Takes a range of this length from the smallest free range that is large enough.
    pub fn take(&mut self, count: u32) -> Option<Range> {
        let (length, offset) = *self.by_count.range((count, 0)..).next()?;
        self.remove_free(offset, length);
        let remainder = Range { offset: offset + count, count: length - count };
        self.insert_free(remainder);
        Some(Range { offset, count })
    }

    /// Takes the free parts of this range. Returns the parts.
    pub fn take_free_parts(&mut self, range: Range) -> Vec<Range> {
        let first = self.free.range(..range.offset).next_back().map_or(0, |(offset, _)| *offset);
        let touched: Vec<Range> = self
            .free
            .range(first..range.end())
            .map(|(offset, count)| Range { offset: *offset, count: *count })
            .filter(|free| free.overlaps(range))
            .collect();
        let mut taken = Vec::new();
        for free in touched {
            self.remove_free(free.offset, free.count);
            let start = free.offset.max(range.offset);
            let end = free.end().min(range.end());
            self.insert_free(Range { offset: free.offset, count: start - free.offset });
            self.insert_free(Range { offset: end, count: free.end() - end });
            taken.push(Range { offset: start, count: end - start });
        }
        taken
    }

    /// Frees a range at once. No packet may be looking at it.
    pub fn free_range(&mut self, range: Range) {
        let Some(reserved) =
            self.reserved.as_mut().filter(|reserved| reserved.window.overlaps(range))
        else {
            self.insert_free(range);
            return;
        };
        let window = reserved.window;
        let start = range.offset.max(window.offset);
        let end = range.end().min(window.end());
        reserved.free_parts.push(Range { offset: start, count: end - start });
        self.insert_free(Range { offset: range.offset, count: start - range.offset });
        self.insert_free(Range { offset: end, count: range.end() - end });
    }

    /// Frees a range when a time has come. Packets may look at it until then. The times must not
    /// decrease.
    pub fn quarantine(&mut self, range: Range, until: Instant) {
        if range.count > 0 {
            self.quarantined.push_back((until, range));
        }
    }

    /// Frees the ranges whose quarantine has ended. Returns whether there were any.
    pub fn release_expired(&mut self, now: Instant) -> bool {
        let mut any = false;
        while let Some((_, range)) = self.quarantined.pop_front_if(|(until, _)| *until <= now) {
            self.free_range(range);
            any = true;
        }
        any
    }

    /// When the next quarantine ends.
    pub fn next_release(&self) -> Option<Instant> {
        self.quarantined.front().map(|(until, _)| *until)
    }

    /// Reserves a window of this length, the one with the fewest used slots. `used` are the ranges
    /// that can be moved out of it. Returns the ranges that have to be moved. None if there is no
    /// such window or if a window is reserved already.
    pub fn reserve(&mut self, count: u32, used: &BTreeSet<Range>) -> Option<Vec<Range>> {
        if self.reserved.is_some() || count > self.capacity {
            return None;
        }
        let window = self.cheapest_window(count, used)?;
        let moved = used.iter().copied().filter(|range| range.overlaps(window)).collect();
        let free_parts = self.take_free_parts(window);
        self.reserved = Some(Reserved { window, free_parts });
        Some(moved)
    }

    /// The window in which the fewest slots have to be moved. It begins where a range begins, and
    /// contains only slots that are free, in quarantine or movable.
    fn cheapest_window(&self, count: u32, used: &BTreeSet<Range>) -> Option<Range> {
        let free = self.free.iter().map(|(offset, count)| Range { offset: *offset, count: *count });
        let quarantined = self.quarantined.iter().map(|(_, range)| *range);
        let mut known: Vec<(Range, u32)> =
            free.chain(quarantined).map(|range| (range, 0)).collect();
        known.extend(used.iter().map(|range| (*range, range.count)));
        known.sort_unstable();
        let mut best: Option<(u32, Range)> = None;
        // The ranges of the window are those from `first` up to, and without, `next`.
        let (mut next, mut cost) = (0, 0);
        for first in 0..known.len() {
            let window = Range { offset: known.get(first)?.0.offset, count };
            if next <= first {
                (next, cost) = (first, 0);
            }
            let last = next.checked_sub(1).filter(|last| *last >= first);
            let last = last.and_then(|last| known.get(last));
            let mut reached = last.map_or(window.offset, |(range, _)| range.end());
            while let Some((range, price)) = known.get(next)
                && reached < window.end()
                && range.offset == reached
            {
                reached = range.end();
                cost += price;
                next += 1;
            }
            if reached >= window.end() && best.is_none_or(|(cheapest, _)| cost < cheapest) {
                best = Some((cost, window));
            }
            if next > first {
                cost -= known.get(first)?.1;
            }
        }
        best.map(|(_, window)| window)
    }

    /// The reserved window.
    pub fn window(&self) -> Option<Range> {
        self.reserved.as_ref().map(|reserved| reserved.window)
    }

    /// Whether the whole reserved window is free.
    pub fn window_is_free(&self) -> bool {
        self.reserved.as_ref().is_some_and(|Reserved { window, free_parts }| {
            free_parts.iter().map(|range| range.count).sum::<u32>() == window.count
        })
    }

    /// Ends the reservation. The free parts of the window can be taken by any set.
    pub fn end_reservation(&mut self) {
        if let Some(Reserved { window: _, free_parts }) = self.reserved.take() {
            for range in free_parts {
                self.insert_free(range);
            }
        }
    }

    fn insert_free(&mut self, mut range: Range) {
        if range.count == 0 {
            return;
        }
        let before = self.free.range(..range.offset).next_back().map(|(o, c)| (*o, *c));
        if let Some((offset, count)) =
            before.filter(|(offset, count)| offset + count == range.offset)
        {
            self.remove_free(offset, count);
            range = Range { offset, count: count + range.count };
        }
        if let Some(count) = self.free.get(&range.end()).copied() {
            self.remove_free(range.end(), count);
            range.count += count;
        }
        self.free.insert(range.offset, range.count);
        self.by_count.insert((range.count, range.offset));
    }

    fn remove_free(&mut self, offset: u32, count: u32) {
        self.free.remove(&offset);
        self.by_count.remove(&(count, offset));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    const fn range(offset: u32, count: u32) -> Range {
        Range { offset, count }
    }

    #[test]
    fn the_smallest_free_range_that_fits_is_taken() {
        let mut slots = Slots::new(100);
        for (offset, count) in [(10, 5), (30, 20), (60, 3)] {
            assert_eq!(slots.take_free_parts(range(offset, count)), [range(offset, count)]);
        }
        assert_eq!(slots.take(10), Some(range(0, 10)));
        assert_eq!(slots.take(9), Some(range(50, 9)));
        assert_eq!(slots.take(38), None);
        assert_eq!(slots.take(37), Some(range(63, 37)));
    }

    #[test]
    fn a_range_in_quarantine_is_free_only_when_its_time_has_come() {
        let (mut slots, now) = (Slots::new(10), Instant::now());
        let all = slots.take(10).unwrap();
        let until = now + Duration::from_secs(1);
        slots.quarantine(all, until);
        assert!(!slots.release_expired(now));
        assert_eq!(
            (slots.take(1), slots.quarantined_count(), slots.next_release()),
            (None, 10, Some(until))
        );
        assert!(slots.release_expired(until));
        assert_eq!(slots.take(10), Some(range(0, 10)));
    }

    #[test]
    fn a_reserved_window_becomes_one_free_range_when_its_sets_have_moved() {
        let mut slots = Slots::new(12);
        let used: BTreeSet<Range> = [range(1, 1), range(4, 3), range(8, 3)].into();
        for used in &used {
            slots.take_free_parts(*used);
        }
        assert_eq!(slots.take(4), None, "free are 0, 2, 3, 7 and 11");
        assert_eq!(slots.reserve(4, &used), Some(vec![range(1, 1)]));
        assert_eq!(slots.window(), Some(range(0, 4)));
        assert_eq!(slots.take(1), Some(range(7, 1)), "elsewhere");
        assert!(!slots.window_is_free());
        slots.free_range(range(1, 1));
        assert!(slots.window_is_free());
        assert_eq!(slots.take(4), None, "it is reserved");
        slots.end_reservation();
        assert_eq!(slots.take(4), Some(range(0, 4)));
    }

    #[test]
    fn a_window_contains_no_range_that_cannot_be_moved() {
        let mut slots = Slots::new(10);
        slots.take_free_parts(range(4, 1));
        assert_eq!(slots.reserve(6, &BTreeSet::new()), None);
        assert_eq!(slots.reserve(5, &BTreeSet::new()), Some(vec![]));
        assert_eq!(slots.window(), Some(range(5, 5)));
    }

    proptest! {
        #[test]
        fn no_slot_is_taken_twice_and_none_is_lost(
            steps in proptest::collection::vec((0u32..4, 1u32..12), 1..200),
        ) {
            let mut slots = Slots::new(64);
            let mut now = Instant::now();
            let mut live: Vec<Range> = Vec::new();
            for (step, number) in steps {
                match step {
                    0 | 1 => live.extend(slots.take(number)),
                    2 if !live.is_empty() => {
                        let range = live.swap_remove(number as usize % live.len());
                        slots.quarantine(range, now + Duration::from_secs(u64::from(number)));
                        // The times do not decrease.
                        now += Duration::from_secs(u64::from(number));
                    }
                    _ => { slots.release_expired(now); }
                }
                for (index, range) in live.iter().enumerate() {
                    prop_assert!(range.end() <= 64);
                    prop_assert!(live[index + 1..].iter().all(|other| !range.overlaps(*other)));
                }
                let used: u32 = live.iter().map(|range| range.count).sum();
                prop_assert_eq!(used + slots.free_count() + slots.quarantined_count(), 64);
                let joined = slots.free.iter().zip(slots.free.keys().skip(1));
                for ((offset, count), next) in joined {
                    prop_assert!(offset + count < *next, "neighbours are joined");
                }
            }
        }
    }
}
