//! Waits for a burst of changes to end, but not forever. The first change after a quiet time does
//! not wait: only the changes that follow it may be a burst.

use std::time::{Duration, Instant};

/// How long to wait for more changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DebounceWindow {
    /// After the last change.
    pub idle: Duration,
    /// After the first change, even if more changes follow.
    pub max: Duration,
}

impl Default for DebounceWindow {
    fn default() -> Self {
        Self { idle: Duration::from_millis(10), max: Duration::from_millis(100) }
    }
}

/// Collects changes until they are due.
#[derive(Debug, Clone)]
pub struct Debouncer {
    window: DebounceWindow,
    pending: Option<Pending>,
    /// The last change, also if it is no longer pending.
    latest: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
struct Pending {
    first: Instant,
    last: Instant,
    /// No other change came shortly before it.
    is_single: bool,
}

impl Debouncer {
    /// A debouncer without pending changes.
    pub const fn new(window: DebounceWindow) -> Self {
        Self { window, pending: None, latest: None }
    }

    /// Records a change.
    pub fn record(&mut self, now: Instant) {
        let is_quiet = self.latest.is_none_or(|latest| now >= latest + self.window.idle);
        self.pending = Some(match self.pending {
            None => Pending { first: now, last: now, is_single: is_quiet },
            Some(pending) => Pending { last: now, ..pending },
        });
        self.latest = Some(now);
    }

    /// When the pending changes are due. None if no change is pending.
    pub fn due(&self) -> Option<Instant> {
        let Pending { first, last, is_single } = self.pending?;
        if is_single {
            return Some(first);
        }
        Some((last + self.window.idle).min(first + self.window.max))
    }

    /// When the oldest pending change was recorded.
    pub fn oldest(&self) -> Option<Instant> {
        self.pending.map(|pending| pending.first)
    }

    /// Returns whether the pending changes are due. If so, they are pending no longer.
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
    fn a_change_after_a_quiet_time_is_due_at_once() {
        let (start, mut debouncer) = (Instant::now(), Debouncer::new(DebounceWindow::default()));
        assert_eq!(debouncer.due(), None);
        for millis in [0, 10, 500] {
            debouncer.record(after(start, millis));
            assert!(debouncer.take(after(start, millis)));
            assert!(!debouncer.take(after(start, millis + 1)), "it was taken");
        }
    }

    #[test]
    fn later_changes_are_due_when_no_other_follows_for_a_moment() {
        let (start, mut debouncer) = (Instant::now(), Debouncer::new(DebounceWindow::default()));
        debouncer.record(start);
        assert!(debouncer.take(start));
        debouncer.record(after(start, 3));
        assert!(!debouncer.take(after(start, 12)));
        assert!(debouncer.take(after(start, 13)));
    }

    #[test]
    fn an_endless_burst_is_due_after_the_longest_wait() {
        let (start, mut debouncer) = (Instant::now(), Debouncer::new(DebounceWindow::default()));
        debouncer.record(start);
        assert!(debouncer.take(start));
        for millis in (5..105).step_by(5) {
            assert!(!debouncer.take(after(start, millis)));
            debouncer.record(after(start, millis));
        }
        assert_eq!(debouncer.oldest(), Some(after(start, 5)));
        assert_eq!(debouncer.due(), Some(after(start, 105)));
        assert!(debouncer.take(after(start, 105)));
        assert_eq!(debouncer.oldest(), None);
    }
}
