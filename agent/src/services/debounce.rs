//! Waiting for a burst of changes to end, but not forever.

use std::time::{Duration, Instant};

/// How long to wait for more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// After a change, as long as no other follows.
    pub idle: Duration,
    /// After the first change, whatever follows.
    pub most: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { idle: Duration::from_millis(10), most: Duration::from_millis(100) }
    }
}

/// Collects changes until they are due.
#[derive(Debug, Clone)]
pub struct Debouncer {
    patience: Patience,
    pending: Option<Pending>,
}

#[derive(Debug, Clone, Copy)]
struct Pending {
    first: Instant,
    last: Instant,
}

impl Debouncer {
    /// With nothing pending.
    pub const fn new(patience: Patience) -> Self {
        Self { patience, pending: None }
    }

    /// There was a change.
    pub fn note(&mut self, now: Instant) {
        let first = self.pending.map_or(now, |pending| pending.first);
        self.pending = Some(Pending { first, last: now });
    }

    /// When what is pending is due; none if nothing is.
    pub fn due(&self) -> Option<Instant> {
        let Pending { first, last } = self.pending?;
        Some((last + self.patience.idle).min(first + self.patience.most))
    }

    /// When the oldest change that is pending came.
    pub fn oldest(&self) -> Option<Instant> {
        self.pending.map(|pending| pending.first)
    }

    /// Whether what was pending is due now; then it no longer is pending.
    pub fn take(&mut self, now: Instant) -> bool {
        let due = self.due().is_some_and(|due| due <= now);
        if due {
            self.pending = None;
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(start: Instant, millis: u64) -> Instant {
        start + Duration::from_millis(millis)
    }

    #[test]
    fn a_single_change_is_due_when_nothing_follows_for_a_moment() {
        let (start, mut debouncer) = (Instant::now(), Debouncer::new(Patience::default()));
        assert_eq!(debouncer.due(), None);
        debouncer.note(start);
        assert!(!debouncer.take(after(start, 9)));
        assert!(debouncer.take(after(start, 10)));
        assert!(!debouncer.take(after(start, 11)), "it was taken");
    }

    #[test]
    fn changes_that_do_not_end_are_due_nevertheless() {
        let (start, mut debouncer) = (Instant::now(), Debouncer::new(Patience::default()));
        for millis in (0..95).step_by(5) {
            assert!(!debouncer.take(after(start, millis)));
            debouncer.note(after(start, millis));
        }
        debouncer.note(after(start, 95));
        assert_eq!(debouncer.oldest(), Some(start));
        assert_eq!(debouncer.due(), Some(after(start, 100)));
        assert!(debouncer.take(after(start, 100)));
        assert_eq!(debouncer.oldest(), None);
    }
}
