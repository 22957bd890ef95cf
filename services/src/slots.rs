//! Which slots are free.
//!
//! A set of backends lies in a range of slots that nothing else uses. A range that is given back
//! rests for a while, because a packet may still be looking at it. Free ranges are joined with their
//! neighbours, and the smallest that fits is taken. When there is room but no hole that is large
//! enough, a window can be reserved: what is in it is moved elsewhere, and when all of it is free it
//! is given back as one.

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
    /// Ranges that rest, and until when; in the order of time.
    resting: VecDeque<(Instant, Range)>,
    reserved: Option<Reserved>,
}

#[derive(Debug, Clone)]
struct Reserved {
    window: Range,
    /// The parts of it that are free.
    held: Vec<Range>,
}

impl Slots {
    /// All are free.
    pub fn new(capacity: u32) -> Self {
        let mut slots = Self {
            capacity,
            free: BTreeMap::new(),
            by_count: BTreeSet::new(),
            resting: VecDeque::new(),
            reserved: None,
        };
        slots.put(Range { offset: 0, count: capacity });
        slots
    }

    /// How many slots are free.
    pub fn free(&self) -> u32 {
        self.free.values().sum()
    }

    /// How many slots rest.
    pub fn resting(&self) -> u32 {
        self.resting.iter().map(|(_, range)| range.count).sum()
    }

    /// Takes a range of this length, if there is a hole for it.
    pub fn take(&mut self, count: u32) -> Option<Range> {
        let (length, offset) = *self.by_count.range((count, 0)..).next()?;
        self.remove(offset, length);
        let rest = Range { offset: offset + count, count: length - count };
        self.put(rest);
        Some(Range { offset, count })
    }

    /// Takes whatever of this range is free, and tells the parts.
    pub fn carve(&mut self, range: Range) -> Vec<Range> {
        let first = self.free.range(..range.offset).next_back().map_or(0, |(offset, _)| *offset);
        let touched: Vec<Range> = self
            .free
            .range(first..range.end())
            .map(|(offset, count)| Range { offset: *offset, count: *count })
            .filter(|free| free.overlaps(range))
            .collect();
        let mut carved = Vec::new();
        for free in touched {
            self.remove(free.offset, free.count);
            let start = free.offset.max(range.offset);
            let end = free.end().min(range.end());
            self.put(Range { offset: free.offset, count: start - free.offset });
            self.put(Range { offset: end, count: free.end() - end });
            carved.push(Range { offset: start, count: end - start });
        }
        carved
    }

    /// Gives a range back that no packet looks at.
    pub fn give_back(&mut self, range: Range) {
        let Some(reserved) = self.reserved.as_mut().filter(|one| one.window.overlaps(range)) else {
            self.put(range);
            return;
        };
        let window = reserved.window;
        let start = range.offset.max(window.offset);
        let end = range.end().min(window.end());
        reserved.held.push(Range { offset: start, count: end - start });
        self.put(Range { offset: range.offset, count: start - range.offset });
        self.put(Range { offset: end, count: range.end() - end });
    }

    /// Gives a range back that packets may look at until then.
    pub fn rest(&mut self, range: Range, until: Instant) {
        if range.count > 0 {
            self.resting.push_back((until, range));
        }
    }

    /// Makes free what has rested long enough. Returns whether anything was.
    pub fn wake(&mut self, now: Instant) -> bool {
        let mut any = false;
        while let Some((_, range)) = self.resting.pop_front_if(|(until, _)| *until <= now) {
            self.give_back(range);
            any = true;
        }
        any
    }

    /// When something will be free again.
    pub fn wakes(&self) -> Option<Instant> {
        self.resting.front().map(|(until, _)| *until)
    }

    /// Reserves a window of this length, the one with the fewest slots in use. `used` are the ranges
    /// that can be moved out of it. Tells those that have to be; none if there is no such window or
    /// one is reserved.
    pub fn reserve(&mut self, count: u32, used: &BTreeSet<Range>) -> Option<Vec<Range>> {
        if self.reserved.is_some() || count > self.capacity {
            return None;
        }
        let window = self.cheapest_window(count, used)?;
        let moved = used.iter().copied().filter(|range| range.overlaps(window)).collect();
        let held = self.carve(window);
        self.reserved = Some(Reserved { window, held });
        Some(moved)
    }

    /// The window, starting where some range does, in which the fewest slots have to be moved. It
    /// spans nothing that is neither free, nor resting, nor movable.
    fn cheapest_window(&self, count: u32, used: &BTreeSet<Range>) -> Option<Range> {
        let free = self.free.iter().map(|(offset, count)| Range { offset: *offset, count: *count });
        let resting = self.resting.iter().map(|(_, range)| *range);
        let mut known: Vec<(Range, u32)> = free.chain(resting).map(|range| (range, 0)).collect();
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

    /// The window that is reserved.
    pub fn window(&self) -> Option<Range> {
        self.reserved.as_ref().map(|reserved| reserved.window)
    }

    /// Whether all of the window that is reserved is free.
    pub fn window_is_free(&self) -> bool {
        self.reserved.as_ref().is_some_and(|Reserved { window, held }| {
            held.iter().map(|range| range.count).sum::<u32>() == window.count
        })
    }

    /// Ends the reservation: what is free of the window can be taken by anybody.
    pub fn release_window(&mut self) {
        if let Some(Reserved { window: _, held }) = self.reserved.take() {
            for range in held {
                self.put(range);
            }
        }
    }

    fn put(&mut self, mut range: Range) {
        if range.count == 0 {
            return;
        }
        let before = self.free.range(..range.offset).next_back().map(|(o, c)| (*o, *c));
        if let Some((offset, count)) =
            before.filter(|(offset, count)| offset + count == range.offset)
        {
            self.remove(offset, count);
            range = Range { offset, count: count + range.count };
        }
        if let Some(count) = self.free.get(&range.end()).copied() {
            self.remove(range.end(), count);
            range.count += count;
        }
        self.free.insert(range.offset, range.count);
        self.by_count.insert((range.count, range.offset));
    }

    fn remove(&mut self, offset: u32, count: u32) {
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
    fn the_smallest_hole_that_fits_is_taken() {
        let mut slots = Slots::new(100);
        for (offset, count) in [(10, 5), (30, 20), (60, 3)] {
            assert_eq!(slots.carve(range(offset, count)), [range(offset, count)]);
        }
        assert_eq!(slots.take(10), Some(range(0, 10)));
        assert_eq!(slots.take(9), Some(range(50, 9)));
        assert_eq!(slots.take(38), None);
        assert_eq!(slots.take(37), Some(range(63, 37)));
    }

    #[test]
    fn what_is_given_back_is_free_only_when_it_has_rested() {
        let (mut slots, now) = (Slots::new(10), Instant::now());
        let all = slots.take(10).unwrap();
        let until = now + Duration::from_secs(1);
        slots.rest(all, until);
        assert!(!slots.wake(now));
        assert_eq!((slots.take(1), slots.resting(), slots.wakes()), (None, 10, Some(until)));
        assert!(slots.wake(until));
        assert_eq!(slots.take(10), Some(range(0, 10)));
    }

    #[test]
    fn a_window_becomes_one_hole_when_all_in_it_has_moved() {
        let mut slots = Slots::new(12);
        let used: BTreeSet<Range> = [range(1, 1), range(4, 3), range(8, 3)].into();
        for used in &used {
            slots.carve(*used);
        }
        assert_eq!(slots.take(4), None, "free are 0, 2, 3, 7 and 11");
        assert_eq!(slots.reserve(4, &used), Some(vec![range(1, 1)]));
        assert_eq!(slots.window(), Some(range(0, 4)));
        assert_eq!(slots.take(1), Some(range(7, 1)), "elsewhere");
        assert!(!slots.window_is_free());
        slots.give_back(range(1, 1));
        assert!(slots.window_is_free());
        assert_eq!(slots.take(4), None, "it is reserved");
        slots.release_window();
        assert_eq!(slots.take(4), Some(range(0, 4)));
    }

    #[test]
    fn what_cannot_be_moved_is_in_no_window() {
        let mut slots = Slots::new(10);
        slots.carve(range(4, 1));
        assert_eq!(slots.reserve(6, &BTreeSet::new()), None);
        assert_eq!(slots.reserve(5, &BTreeSet::new()), Some(vec![]));
        assert_eq!(slots.window(), Some(range(5, 5)));
    }

    proptest! {
        #[test]
        fn no_slot_is_given_twice_and_none_is_lost(
            steps in proptest::collection::vec((0u32..4, 1u32..12), 1..200),
        ) {
            let mut slots = Slots::new(64);
            let mut now = Instant::now();
            let mut live: Vec<Range> = Vec::new();
            for (what, number) in steps {
                match what {
                    0 | 1 => live.extend(slots.take(number)),
                    2 if !live.is_empty() => {
                        let range = live.swap_remove(number as usize % live.len());
                        slots.rest(range, now + Duration::from_secs(u64::from(number)));
                        // Times come in order.
                        now += Duration::from_secs(u64::from(number));
                    }
                    _ => { slots.wake(now); }
                }
                for (index, one) in live.iter().enumerate() {
                    prop_assert!(one.end() <= 64);
                    prop_assert!(live[index + 1..].iter().all(|other| !one.overlaps(*other)));
                }
                let used: u32 = live.iter().map(|range| range.count).sum();
                prop_assert_eq!(used + slots.free() + slots.resting(), 64);
                let joined = slots.free.iter().zip(slots.free.keys().skip(1));
                for ((offset, count), next) in joined {
                    prop_assert!(offset + count < *next, "neighbours are joined");
                }
            }
        }
    }
}
