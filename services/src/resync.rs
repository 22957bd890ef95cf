//! When the maps are compared with their desired contents.
//!
//! A comparison takes some system calls for each entry, and only the agent writes the maps, so it
//! is done rarely. After a failure the contents of the maps are in doubt, and a comparison follows
//! soon. If failures continue, for example because the kernel has no memory, the delay grows.

use std::time::{Duration, Instant};

/// The delay between a failure and the next schedule.
const RETRY: Duration = Duration::from_secs(1);

/// The time of the next schedule.
#[derive(Debug, Clone)]
pub struct ResyncSchedule {
    period: Duration,
    /// The delay after the next failure.
    retry: Duration,
    at: Option<Instant>,
}

impl ResyncSchedule {
    /// A schedule with this period. No comparison is due before the first
    /// [`ResyncSchedule::record`].
    pub fn every(period: Duration) -> Self {
        Self { period, retry: RETRY.min(period), at: None }
    }

    /// When the next comparison is due.
    pub const fn due(&self) -> Option<Instant> {
        self.at
    }

    /// Whether a comparison is due now.
    pub fn is_due(&self, now: Instant) -> bool {
        self.at.is_some_and(|at| at <= now)
    }

    /// Records that the maps were written. `compared` says whether a comparison was part of it.
    pub fn record(&mut self, compared: bool, succeeded: bool, now: Instant) {
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
    fn a_comparison_is_due_once_in_a_period_whatever_else_is_written() {
        let (start, mut schedule) = (Instant::now(), ResyncSchedule::every(PERIOD));
        assert_eq!(schedule.due(), None, "nothing has been written yet");
        schedule.record(false, true, start);
        schedule.record(false, true, start + seconds(30));
        assert_eq!(schedule.due(), Some(start + PERIOD));
        assert!(!schedule.is_due(start + seconds(59)));
        assert!(schedule.is_due(start + PERIOD));
        schedule.record(true, true, start + PERIOD);
        assert_eq!(schedule.due(), Some(start + PERIOD * 2));
    }

    #[test]
    fn a_comparison_follows_soon_after_a_failure_and_later_after_each_further_failure() {
        let (mut now, mut schedule) = (Instant::now(), ResyncSchedule::every(PERIOD));
        schedule.record(false, false, now);
        let mut waits = Vec::new();
        for _ in 0..8 {
            let due = schedule.due().unwrap();
            waits.push((due - now).as_secs());
            now = due;
            schedule.record(true, false, now);
        }
        assert_eq!(waits, [1, 1, 2, 4, 8, 16, 32, 60]);
        schedule.record(true, true, now);
        schedule.record(false, false, now);
        assert_eq!(schedule.due(), Some(now + seconds(1)));
    }

    #[test]
    fn a_success_does_not_delay_the_comparison_after_a_failure() {
        let (start, mut schedule) = (Instant::now(), ResyncSchedule::every(PERIOD));
        schedule.record(false, false, start);
        schedule.record(false, true, start + Duration::from_millis(500));
        assert_eq!(schedule.due(), Some(start + seconds(1)));
    }
}
