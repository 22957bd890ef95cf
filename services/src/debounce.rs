//! Waiting for a burst of changes to end, but not forever. What comes after a time of quiet waits for
//! nothing: only what follows on it may be a burst.

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
    /// The last change, also if it is no longer pending.
    latest: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
struct Pending {
    first: Instant,
    last: Instant,
    /// There was quiet before it.
    is_single: bool,
}

impl Debouncer {
    /// With nothing pending.
    pub const fn new(patience: Patience) -> Self {
        Self { patience, pending: None, latest: None }
    }

    /// There was a change.
    pub fn note(&mut self, now: Instant) {
        let is_quiet = self.latest.is_none_or(|latest| now >= latest + self.patience.idle);
        self.pending = Some(match self.pending {
            None => Pending { first: now, last: now, is_single: is_quiet },
            Some(pending) => Pending { last: now, ..pending },
        });
        self.latest = Some(now);
    }

    /// When what is pending is due; none if nothing is.
    pub fn due(&self) -> Option<Instant> {
        let Pending { first, last, is_single } = self.pending?;
        if is_single {
            return Some(first);
        }
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
    fn a_change_after_quiet_is_due_at_once() {
        let (start, mut debouncer) = (Instant::now(), Debouncer::new(Patience::default()));
        assert_eq!(debouncer.due(), None);
        for millis in [0, 10, 500] {
            debouncer.note(after(start, millis));
            assert!(debouncer.take(after(start, millis)));
            assert!(!debouncer.take(after(start, millis + 1)), "it was taken");
        }
    }

    #[test]
    fn what_follows_is_due_when_nothing_more_does_for_a_moment() {
        let (start, mut debouncer) = (Instant::now(), Debouncer::new(Patience::default()));
        debouncer.note(start);
        assert!(debouncer.take(start));
        debouncer.note(after(start, 3));
        assert!(!debouncer.take(after(start, 12)));
        assert!(debouncer.take(after(start, 13)));
    }

    #[test]
    fn changes_that_do_not_end_are_due_nevertheless() {
        let (start, mut debouncer) = (Instant::now(), Debouncer::new(Patience::default()));
        debouncer.note(start);
        assert!(debouncer.take(start));
        for millis in (5..105).step_by(5) {
            assert!(!debouncer.take(after(start, millis)));
            debouncer.note(after(start, millis));
        }
        assert_eq!(debouncer.oldest(), Some(after(start, 5)));
        assert_eq!(debouncer.due(), Some(after(start, 105)));
        assert!(debouncer.take(after(start, 105)));
        assert_eq!(debouncer.oldest(), None);
    }
}
