//! How long to wait after a failure.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// After the first failure.
const SHORTEST: Duration = Duration::from_millis(200);
/// However often it has failed.
const LONGEST: Duration = Duration::from_secs(10);

/// Waits that grow, and that are not the same on thousands of nodes which fail at the same time.
#[derive(Debug)]
pub struct Backoff {
    wait: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { wait: SHORTEST }
    }
}

impl Backoff {
    /// How long to wait now: between half of the wait and all of it.
    pub fn next(&mut self) -> Duration {
        let wait = self.wait;
        self.wait = (wait * 2).min(LONGEST);
        // Its keys are random, and so is the hash of nothing.
        let share = RandomState::new().hash_one(()) % 1024;
        wait / 2 + wait.mul_f64(share as f64 / 2048.0)
    }

    /// It has worked: the next wait is a short one.
    pub fn reset(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_up_to_a_limit_and_begin_anew() {
        let mut backoff = Backoff::default();
        for round in 0..20 {
            let wait = backoff.next();
            assert!(wait >= SHORTEST / 2 && wait <= LONGEST, "{round}: {wait:?}");
        }
        assert!(backoff.next() >= LONGEST / 2);
        backoff.reset();
        assert!(backoff.next() <= SHORTEST);
    }
}
