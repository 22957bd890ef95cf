//! When the maps are compared with what they should hold.
//!
//! That takes some system calls for each entry, so it is done seldom: nobody but the agent writes
//! the maps. After a failure it is done soon, as what the maps hold is in doubt then; but a failure
//! that stays, such as memory that the kernel has not got, is no reason to do nothing else.

use std::time::{Duration, Instant};

/// The first comparison after a failure comes after this.
const RETRY: Duration = Duration::from_secs(1);

/// The time of the next comparison.
#[derive(Debug, Clone)]
pub struct Comparison {
    period: Duration,
    /// How long to wait after the next failure.
    retry: Duration,
    at: Option<Instant>,
}

impl Comparison {
    /// With none to come before something was done.
    pub fn every(period: Duration) -> Self {
        Self { period, retry: RETRY.min(period), at: None }
    }

    /// When the next one is due.
    pub const fn due(&self) -> Option<Instant> {
        self.at
    }

    /// Whether it is due now.
    pub fn is_due(&self, now: Instant) -> bool {
        self.at.is_some_and(|at| at <= now)
    }

    /// Something was done; `compared` if a comparison was part of it.
    pub fn note(&mut self, compared: bool, succeeded: bool, now: Instant) {
        if compared {
            self.at = None;
        }
        let next = if succeeded { now + self.period } else { now + self.retry };
        self.at = Some(self.at.map_or(next, |at| at.min(next)));
        if compared {
            let longer = if succeeded { RETRY } else { self.retry * 2 };
            self.retry = longer.min(self.period);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERIOD: Duration = Duration::from_secs(60);

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn everything_is_compared_once_in_a_period_whatever_else_is_done() {
        let (start, mut comparison) = (Instant::now(), Comparison::every(PERIOD));
        assert_eq!(comparison.due(), None, "there is nothing to compare yet");
        comparison.note(false, true, start);
        comparison.note(false, true, start + seconds(30));
        assert_eq!(comparison.due(), Some(start + PERIOD));
        assert!(!comparison.is_due(start + seconds(59)));
        assert!(comparison.is_due(start + PERIOD));
        comparison.note(true, true, start + PERIOD);
        assert_eq!(comparison.due(), Some(start + PERIOD * 2));
    }

    #[test]
    fn what_failed_is_tried_again_soon_and_then_ever_less_often() {
        let (mut now, mut comparison) = (Instant::now(), Comparison::every(PERIOD));
        comparison.note(false, false, now);
        let mut waits = Vec::new();
        for _ in 0..8 {
            let due = comparison.due().unwrap();
            waits.push((due - now).as_secs());
            now = due;
            comparison.note(true, false, now);
        }
        assert_eq!(waits, [1, 1, 2, 4, 8, 16, 32, 60]);
        comparison.note(true, true, now);
        comparison.note(false, false, now);
        assert_eq!(comparison.due(), Some(now + seconds(1)));
    }

    #[test]
    fn a_success_in_between_does_not_put_off_what_is_due_after_a_failure() {
        let (start, mut comparison) = (Instant::now(), Comparison::every(PERIOD));
        comparison.note(false, false, start);
        comparison.note(false, true, start + Duration::from_millis(500));
        assert_eq!(comparison.due(), Some(start + seconds(1)));
    }
}
